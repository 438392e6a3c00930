//! ZeroMQ's protocol (ZMTP and the routing of its sockets) as pure state machines.
//!
//! This crate opens no socket, reads no clock, spawns no thread and takes no lock: it is built on
//! [`bowline_core`] and its machines are driven in the same way. [`pipe::Pipe`] is the connection to one
//! peer: greeting, mechanism, frames, heartbeats, and the queues of messages to send and of received
//! messages. [`socket::Socket`] decides which of its pipes a message goes to or comes from, and interprets
//! the parts of messages.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod endpoint;
pub mod error;
#[cfg(test)]
mod error_walk;
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
