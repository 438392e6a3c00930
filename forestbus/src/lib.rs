//! Forest Bus, a replicated commit log, as pure state machines.
//!
//! This crate opens no socket, reads no clock, spawns no thread and takes no lock. [`protocol`] defines the
//! requests of clients and the answers of nodes as values. [`wire`] is the protocol over TCP: a framing for
//! Bowline's links, and the encoding of bodies. [`cluster`] is a client of a cluster: it chooses nodes,
//! repeats attempts and classifies failures. [`node`] is a node in memory, for tests and development.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cluster;
#[cfg(test)]
mod error_walk;
pub mod node;
pub mod protocol;
pub mod wire;
