//! Bowline on plain threads: `std::net`, without any async runtime.
//!
//! An [`IoGroup`] runs the work of all links: reading, writing, heartbeats, dialing, accepting. By default it
//! is one thread for the whole process, which starts with the first link and ends with the last one. Callers
//! block until their reply has arrived. The caller of the only call in flight writes its request and reads
//! its reply on its own thread, so that a single call costs no switch between threads. It also works inside
//! async programs: nothing here is a runtime, nothing panics inside one (but a blocking call blocks its
//! thread).
//!
//! Inline handlers (`on_message_inline`, `on_request_inline`) run on the I/O thread, or on that of a caller
//! that reads: they must not wait. All others (`on_message`, `on_request`, `on_connect`, `on_disconnect`,
//! `on_event`) run on a pool of threads, one for each client or server, which has threads only while there is
//! something to handle.
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
