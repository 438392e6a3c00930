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
#![cfg_attr(docsrs, feature(doc_cfg))]

mod aside;
mod handler_pool;
mod io_group;
mod own_stream;
mod pool_task;
mod runtime;
mod socket;
mod style;
mod task_state;
mod timer;
mod waiting;
mod wire;

pub use io_group::{Entered, IoGroup};
pub use own_stream::stream;
pub use runtime::Threads;
pub use style::Parks;
pub use timer::Timer;
pub use waiting::block_on;
pub use wire::{Listener, Socket};
