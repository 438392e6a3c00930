//! ZeroMQ's protocol as pure state machines.
//!
//! Nothing here opens a socket, reads a clock, spawns a thread or takes a lock: it is built on
//! [`bowline_core`] and is driven as its machines are. [`pipe::Pipe`] is what one peer's connection is:
//! greeting, mechanism, frames, heartbeats, what waits to be sent and to be received. [`socket::Socket`]
//! decides which of its pipes a message goes to and comes from, and what its parts mean.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod endpoint;
pub mod error;
pub mod inbox;
pub mod mechanism;
pub mod message;
pub mod options;
pub mod pipe;
pub mod socket;
pub mod socket_type;
pub mod sum;
mod trie;
pub mod wire;
pub mod z85;
