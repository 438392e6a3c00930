//! Bowline on plain threads: `std::net`, no async runtime, hidden or otherwise.
//!
//! An [`IoGroup`] runs every link's work: reading, writing, heartbeats, dialing, accepting. Unless the
//! program says otherwise it is one thread for the whole process, which starts with the first link and
//! ends with the last. Callers park until their reply is there. A caller with the only call in flight
//! writes its request and reads its reply on its own thread, so that a lone call costs what the socket
//! costs. Works inside async programs too: nothing here is a runtime, nothing panics in one (but a
//! blocking call blocks the thread it is made on).
//!
//! Handlers that are called inline (`on_message`, `on_request_inline`, `on_connect`, `on_disconnect`,
//! `on_event`) run on the I/O thread, or on that of a caller that reads: they must not wait. What
//! takes its time belongs into `on_request`, which runs on a pool of threads.
#![forbid(unsafe_code)]

mod client;
mod exclusive;
mod handler_pool;
mod io_group;
mod manager;
mod park;
mod peer;
mod pool;
mod resolve;
mod runtime;
mod server;
mod socket;
mod timer;
mod wire;

pub use client::{Client, ClientBuilder};
pub use exclusive::Exclusive;
pub use io_group::{Entered, IoGroup};
pub use manager::Manager;
pub use park::block_on;
pub use peer::{Messages, Peer, Pending, Request};
pub use pool::{Pool, PoolBuilder};
pub use runtime::Threads;
pub use server::{Server, ServerBuilder};
pub use timer::Timer;
pub use wire::{Listener as IoListener, Socket as IoSocket};

pub use bowline_core::link::CallId;
pub use bowline_driver::exclusive::Handler;

/// The right to answer a request later.
pub type Responder<F = bowline_core::frame::native::Native> = bowline_driver::Responder<F>;
