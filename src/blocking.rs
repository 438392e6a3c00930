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
//!
//! Another group runs what is made while it is entered, or what a builder's `io_group` says; one without threads is
//! turned by the program:
//!
//! ```
//! use bowline::blocking::{Client, IoGroup, Server};
//!
//! let group = IoGroup::manual()?;
//! let entered = group.enter();
//! // No thread is started from here on: a call that waits turns the group.
//! let server = Server::builder()
//!     .on_request_inline(|_, request, reply| Ok(reply.extend_from_slice(request.body)))
//!     .bind("127.0.0.1:0")?;
//! server.start()?;
//! let client = Client::connect(server.local_addr())?;
//! assert_eq!(client.call(1, b"hello")?.body.as_ref(), b"hello");
//! # drop(entered);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Exclusive`] connection needs none of these threads:
//!
//! ```
//! use bowline::blocking::{CallId, Exclusive, Handler, Server};
//!
//! #[derive(Default)]
//! struct Replies(Vec<Vec<u8>>);
//!
//! impl Handler for Replies {
//!     fn reply(&mut self, _: CallId, body: &[u8]) {
//!         self.0.push(body.to_vec());
//!     }
//! }
//!
//! let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
//! server.start()?;
//! let mut link = Exclusive::connect(server.local_addr())?;
//! let mut replies = Replies::default();
//! for number in 0..10_u8 {
//!     link.call(1, &[number])?;
//! }
//! while replies.0.len() < 10 {
//!     link.turn(&mut replies, None)?;
//! }
//! link.close(&mut replies);
//! server.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use bowline_blocking::{Entered, IoGroup, Listener, Parks, Socket, Threads, Timer, block_on, stream};

bowline_links::names!(Threads, "threads");

/// ZeroMQ sockets on threads.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(super::Threads, "threads");
}

/// Forest Bus on threads: see [`bowline::forestbus`](crate::forestbus).
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(super::Threads, "threads");
}
