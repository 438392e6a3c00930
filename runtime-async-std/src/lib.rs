//! Bowline on smol and on async-std: both use async-io, and differ in the executor of the tasks.
//!
//! async-std is discontinued (RUSTSEC-2025-0052); use smol where you can choose.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod io;
mod own_stream;

pub use io::{Listener, Socket, Timer};
pub use own_stream::stream;

#[cfg(feature = "smol")]
pub mod smol;

#[cfg(feature = "async-std")]
pub mod async_std;
