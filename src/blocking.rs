//! Bowline on plain threads: no async runtime, hidden or otherwise.
//!
//! ```
//! use bowline::blocking::{Client, Server};
//!
//! let server = Server::builder()
//!     // Called for each request, on a pool of threads.
//!     .on_request(|request| Ok(request.into_body()))
//!     .bind("127.0.0.1:0")?;
//! server.start()?;
//!
//! let client = Client::connect(server.local_addr())?;
//! let reply = client.call(1, b"hello")?;
//! assert_eq!(&reply[..], b"hello");
//! client.close();
//! server.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | for |
//! |---|---|
//! | [`Client`] | one link to one peer, which connects again by itself; calls, casts, received messages |
//! | [`Server`] | accepts links; handlers, push to its [`Peer`]s, limits, drain |
//! | [`Hub`] | messages to one, some or all peers of one server or of several, and to groups |
//! | [`Pool`] | several links to one target: routing, keys, fail-over, hedging |
//! | [`Manager`] | many links and servers by address |
//! | [`Exclusive`] | a connection with one owner, who takes turns: no lock, no task, no copy |
//! | [`Batcher`] | messages that gather while a batch is under way |
//! | [`Pending`] | a call that was started and is waited for later |
//! | [`Request`], [`Responder`], [`Context`] | what handlers get |
//! | [`stream`], [`Listener`] | links over sockets and streams of the program's own |
//! | [`IoGroup`] | which threads do the I/O |
//!
//! The types are those of [`bowline::links`](crate::links), for this runtime; the page of each lists its methods and has an
//! example.
//!
//! # Threads
//!
//! An [`IoGroup`] does the work of all links: reading, writing, heartbeats, dialing, accepting. By default it is one thread
//! for the whole process, which starts with the first link and ends with the last. A caller parks until its reply has come.
//! A caller with the only call in flight writes its request and reads its reply on its own thread, so that a single call
//! costs what the socket costs. All of this also works inside of async programs, but a blocking call blocks the thread on
//! which it is made.
//!
//! Inline handlers (`on_message_inline`, `on_request_inline`) are called on the I/O thread, or on the thread of a caller
//! that reads: they must not wait. All others (`on_message`, `on_request`, `on_connect`, `on_disconnect`, `on_event`) are
//! called on a pool of threads, one pool for each client or server, which has threads while there is something to handle.
//!
//! A program can have other groups. A group runs what is made while it is entered, or what a builder's `io_group` names.
//! The program itself turns a group without threads:
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
//! An [`Exclusive`] connection needs none of these threads.

pub use bowline_blocking::{Entered, IoGroup, Listener, Parks, Socket, Threads, Timer, block_on, stream};

bowline_links::names!(
    Threads,
    "threads",
    examples: "blocking",
    "",
    "# Ok(())\n",
    "",
    "|request| Ok(request.into_body())"
);

/// ZeroMQ sockets on threads. Each type of socket is a type here; [`Socket`](zmtp::Socket) has their methods and an example.
/// [`bowline::zmtp`](crate::zmtp) has what does not depend on the runtime.
#[cfg(feature = "zmtp")]
pub mod zmtp {
    bowline_zmtp_driver::names!(super::Threads, "threads", examples: "blocking", "", "# Ok(())\n", "");
}

/// Forest Bus on threads: clients of a cluster, and a node in memory for tests. [`bowline::forestbus`](crate::forestbus) has
/// what does not depend on the runtime.
#[cfg(feature = "forestbus")]
pub mod forestbus {
    bowline_forestbus_driver::names!(super::Threads, "threads", examples: "blocking", "", "# Ok(())\n", "");
}
