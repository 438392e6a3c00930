//! Long-lived message links over TCP: framing, calls both ways on one socket, reconnect, servers
//! and push, on the runtime of your choice or on none.
//!
//! Every runtime is a module with the same names and methods: `bowline::tokio`, `bowline::smol`,
//! `bowline::async_std` and `bowline::blocking`, each behind the feature of its name. What they
//! share is here at the root.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use bowline::tokio::{Client, Server};
//!
//! let server = Server::builder()
//!     .on_request(|request| async move { Ok(request.into_body()) })
//!     .bind("127.0.0.1:0")
//!     .await?;
//! server.start()?;
//!
//! let client = Client::connect(server.local_addr()).await?;
//! let reply = client.call(1, b"hello").await?;
//! assert_eq!(&reply[..], b"hello");
//! # Ok(()) }) }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # What becomes of a message
//!
//! Every call ends with a reply or a [`CallError`](error::CallError) whose
//! [`outcome`](error::CallError::outcome) says what is known: it was never sent, or it may have
//! been delivered. A [`cast`](error::CastError) that only queued says so in its type. What never
//! left a dying connection goes out on the next one; what left is not repeated.
#![forbid(unsafe_code)]

pub use bowline_core::address::Address;
pub use bowline_core::body::{Body, Payload};
pub use bowline_core::config::{
    AcceptLimits, Config, ConfigBuilder, Delivery, OnDisconnect, OnFailure, Overflow, QueueLimit,
    SocketOptions,
};
pub use bowline_core::error;
pub use bowline_core::frame;
pub use bowline_core::link::{
    CallOptions, CastOptions, Counters, Depth, Incoming, LinkEvent, LinkStats, Message, Queued, Reply, State,
    Undelivered,
};
pub use bowline_core::routing::{Blacklist, Hedging, Policy};
pub use bowline_core::supervisor::{DialFailure, Endpoint, Epoch, ReconnectPolicy};

#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_driver::{
    AcceptCounters, BindError, ConnectError, PeerId, ReceiveError, Refused, RuntimeMissing, ServerEvent,
    StartError, ToAddress, Wait,
};
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_links::{
    Answer, Broadcast, Closed, Cut, Drained, Handled, HubCore, LinkSnapshot, ManagerError, MessageRef,
    Monitor, PeerCore, PushError, ReplyBuf, RequestRef, Snapshot,
};

/// The sans-IO core, for protocols and drivers of your own.
pub use bowline_core as core;
/// What drives any protocol on any runtime, for runtimes and machines of your own.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_driver as driver;
/// The handles of links, generic over their runtime.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_links as links;

/// ZeroMQ: what its sockets have in common on all runtimes. The sockets are in `bowline::tokio::zmtp` and its
/// sisters; `docs/zeromq.md` says what is there.
///
/// ```
/// # #[cfg(feature = "blocking")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::blocking::zmtp::{Rep, Req};
///
/// let rep = Rep::new();
/// let endpoint = rep.bind("tcp://127.0.0.1:*")?;
/// let req = Req::new();
/// req.connect(&endpoint)?;
/// req.send(["how", "many"])?;
/// let question = rep.recv()?;
/// assert_eq!((question.len(), &question[1][..]), (2, &b"many"[..]));
/// rep.send("42")?;
/// assert_eq!(&req.recv()?[0][..], b"42");
/// # Ok(()) }
/// # #[cfg(not(feature = "blocking"))]
/// # fn main() {}
/// ```
#[cfg(feature = "zmtp")]
pub mod zmtp {
    pub use bowline_zmtp::{endpoint, error, mechanism, pipe, wire, z85};
    pub use bowline_zmtp_driver::{
        ConnectError, Heartbeat, Kind, Message, OptionError, Options, Outgoing, Overflow, PipeId, Publishes,
        ReceiveError, Receives, Refusal, SendError, Sends, SocketEvent, SocketStats, SocketType, Subscribes,
        kinds,
    };
}

#[cfg(feature = "async-std")]
pub mod async_std;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(feature = "tokio")]
pub mod tokio;
