//! Bowline on plain threads: `std::net`, no async runtime, hidden or otherwise.
//!
//! An [`IoGroup`] runs every link's work: reading, writing, heartbeats, dialing, accepting. Unless the
//! program says otherwise it is one thread for the whole process, which starts with the first link and
//! ends with the last. Callers park until their reply is there. A caller with the only call in flight
//! writes its request and reads its reply on its own thread, so that a lone call costs what the socket
//! costs. Works inside async programs too: nothing here is a runtime, nothing panics in one (but a
//! blocking call blocks the thread it is made on).
//!
//! Handlers that are called inline (`on_message_inline`, `on_request_inline`) run on the I/O thread, or on
//! that of a caller that reads: they must not wait. All others (`on_message`, `on_request`, `on_connect`,
//! `on_disconnect`, `on_event`) run on a pool of threads, one for each client or server, which has threads
//! while there is something to handle.
#![forbid(unsafe_code)]

mod aside;
mod exclusive;
mod handler_pool;
mod io_group;
mod own_stream;
mod park;
mod pool_task;
mod runtime;
mod socket;
mod style;
mod task_state;
mod timer;
mod wire;

use bowline_core::frame::native::Native;

pub use bowline_core::link::CallId;
pub use bowline_driver::exclusive::Handler;
pub use exclusive::Exclusive;
pub use io_group::{Entered, IoGroup};
pub use own_stream::stream;
pub use park::block_on;
pub use runtime::Threads;
pub use style::Parks;
pub use timer::Timer;
pub use wire::{Listener, Socket};

/// A link's dialing end on threads. See [`bowline_driver::Client`].
pub type Client<F = Native> = bowline_driver::Client<Threads, F>;
/// Builds a [`Client`].
pub type ClientBuilder<F = Native> = bowline_driver::ClientBuilder<Threads, F>;
/// The accepting end on threads. See [`bowline_driver::Server`].
pub type Server<F = Native> = bowline_driver::Server<Threads, F>;
/// Builds a [`Server`].
pub type ServerBuilder<F = Native> = bowline_driver::ServerBuilder<Threads, F>;
/// Many listeners and links by address, on threads. See [`bowline_driver::Manager`].
pub type Manager<F = Native> = bowline_driver::Manager<Threads, F>;
/// Several links to one target, on threads. See [`bowline_driver::Pool`].
pub type Pool<F = Native> = bowline_driver::Pool<Threads, F>;
/// Builds a [`Pool`].
pub type PoolBuilder<F = Native> = bowline_driver::PoolBuilder<Threads, F>;
/// The other side of a link, as handlers see it.
pub type Peer<F = Native> = bowline_driver::Peer<Threads, F>;
/// The peers of servers, by id and in groups.
pub type Hub<F = Native> = bowline_driver::Hub<Threads, F>;
/// Received messages, one after another.
pub type Messages<F = Native> = bowline_driver::Messages<Threads, F>;
/// What an inline handler may do besides answering.
pub type Context<'a, F = Native> = bowline_driver::Context<'a, Threads, F>;
/// A call under way.
pub type Pending<F = Native> = bowline_driver::Pending<Threads, F>;
/// A request that may take its time.
pub type Request<F = Native> = bowline_driver::Request<Threads, F>;
/// The right to answer a request later.
pub type Responder<F = Native> = bowline_driver::Responder<F>;
