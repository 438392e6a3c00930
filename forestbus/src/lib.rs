//! Forest Bus, a replicated commit log, as pure state machines.
//!
//! Nothing here opens a socket, reads a clock, spawns a thread or takes a lock. [`protocol`] says what a
//! client asks a node for and what a node answers. [`wire`] is its protocol over TCP: a framing for Bowline's links,
//! and bodies as values. [`cluster`] is a client of a cluster: which node to ask, how often, and what a failure means.
//! [`node`] is a node in memory, for tests and development.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cluster;
pub mod node;
pub mod protocol;
pub mod wire;
