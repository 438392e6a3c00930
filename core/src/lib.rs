//! The sans-IO core of Bowline.
//!
//! Nothing here opens a socket, reads a clock, spawns a thread, takes a lock or draws a random number: bytes,
//! the time and a seed are arguments; batches of bytes, events and timeouts are results. All drivers (tokio,
//! smol, async-std, blocking threads, a simulated network, a fuzzer) drive the same machine, and the same
//! seed and inputs give the same bytes and events.
//!
//! Start with [`link::Link`], whose documentation explains the whole contract; [`frame::Framing`] is the
//! trait to implement for a protocol of messages and calls.
//!
//! # Another protocol
//!
//! A protocol that is not a framing of messages and calls is a [`machine::Machine`] of its own, in a crate of
//! its own, and every driver drives it as it drives the link. It builds on the tools that the link is made
//! of:
//!
//! | tool | purpose |
//! |---|---|
//! | [`recv_buf::RecvBuf`] | received bytes, parsed in place |
//! | [`out_queue::OutQueue`] | messages that wait to be written, and which of them are kept after a connection |
//! | [`Batch`] | bytes that the writer of the socket takes at a time |
//! | [`waiters::Waiters`] | callers that wait for room or for a message, in order |
//! | [`deadlines::Deadlines`] | many deadlines with few distinct timeouts |
//! | [`supervisor::Supervisor`] | which endpoint to connect to, and when |
//! | [`step::Steps`] | what happens on a connection before its machine: proxies, a preamble |
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod address;
mod arena;
pub mod auth;
pub mod batcher;
pub mod body;
pub mod budget;
mod calls;
pub mod config;
pub mod deadlines;
pub mod error;
pub mod frame;
pub mod layer;
pub mod link;
pub mod machine;
pub mod memory;
pub mod out_queue;
pub mod preamble;
pub mod proxy;
mod reason;
pub mod recv_buf;
pub mod routing;
pub mod step;
pub mod supervisor;
pub mod time;
pub mod waiters;

pub use arena::Batch;
