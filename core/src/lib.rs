//! The sans-IO heart of Bowline.
//!
//! Nothing here opens a socket, reads a clock, spawns a thread, takes a lock or draws a random
//! number: bytes, the time and a seed come in as arguments; batches of bytes, events and timeouts
//! come out. Whatever drives it (tokio, smol, async-std, blocking threads, a simulated network, a
//! fuzzer) drives the same machine, and the same seed and inputs give the same bytes and events.
//!
//! Start with [`link::Link`], whose documentation explains the whole contract; [`frame::Framing`]
//! is the trait to implement for a protocol of your own.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
mod arena;
pub mod body;
pub mod budget;
mod calls;
pub mod config;
mod deadlines;
pub mod error;
pub mod frame;
pub mod link;
pub mod machine;
pub mod memory;
pub mod recv_buf;
pub mod routing;
pub mod supervisor;
pub mod time;
mod waiters;

pub use arena::Batch;
