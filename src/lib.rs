//! Long-lived message links over TCP: calls and messages both ways on one connection, reconnect, and an outcome for every
//! message, on tokio, smol, async-std or plain threads.
//!
//! A *link* frames messages, carries calls in both directions by sequence number, connects again after a failure, and
//! tells its user what became of every message. The protocol is a state machine without sockets, clocks, threads or locks
//! ([`bowline::core`](crate::core)). Each runtime drives that same machine through a thin adapter, so programs look the same
//! on all of them. Bowline speaks its own protocol, the wire formats of buffstreams and tcpstream, length-prefixed and raw
//! bytes, any [framing](crate::frame) that you write, and ZeroMQ's protocol.
//!
//! # Install
//!
//! ```text
//! cargo add bowline                                             # tokio and plain threads
//! cargo add bowline --no-default-features --features blocking   # plain threads alone, without any async runtime
//! ```
//!
//! # First program
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
//! On threads a method returns the reply itself instead of a future of it:
//!
//! ```
//! # #[cfg(feature = "blocking")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bowline::blocking::{Client, Server};
//!
//! let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
//! server.start()?;
//!
//! let client = Client::connect(server.local_addr())?;
//! let reply = client.call(1, b"hello")?;
//! assert_eq!(&reply[..], b"hello");
//! # Ok(()) }
//! # #[cfg(not(feature = "blocking"))]
//! # fn main() {}
//! ```
//!
//! # Which type for which job
//!
//! Each runtime is a module with the same names: `bowline::tokio`, `bowline::smol`, `bowline::async_std` and
//! `bowline::blocking`, each behind the feature of its name. The links lead to the types that are generic over the runtime;
//! the modules have the same types for one runtime, with an example for each.
//!
//! | job | type |
//! |---|---|
//! | connect to one peer and stay connected | [`Client`](crate::links::Client), made by [`ClientBuilder`](crate::links::ClientBuilder) |
//! | accept links, answer calls, push | [`Server`](crate::links::Server), made by [`ServerBuilder`](crate::links::ServerBuilder) |
//! | call and send, whichever side connected; the other side in a handler | [`Peer`](crate::links::Peer); a client is one |
//! | push to some or all clients, to groups, over several servers | [`Hub`](crate::links::Hub) |
//! | many calls under way from one task or thread | [`start_call`](crate::links::Peer::start_call), which gives a [`Pending`](crate::links::Pending) |
//! | several servers behind one handle: routing by key, fail-over, hedging | [`Pool`](crate::links::Pool) |
//! | many peers by address | [`Manager`](crate::links::Manager) |
//! | the last bit of speed, with one owner | [`Exclusive`](crate::links::Exclusive) |
//! | many small messages in batches, each with an outcome | [`Batcher`](crate::links::batcher::Batcher) |
//! | answer now on the reading task, or later from anywhere | [`Context`](crate::links::Context), [`Responder`](crate::links::Responder) |
//! | see links from outside | [`Monitor`], [`LinkEvent`]; the features `tracing` and `metrics` |
//! | settings, limits, reconnect, delivery | [`Config`], [`AcceptLimits`], [`ReconnectPolicy`], [`Delivery`] |
//! | tokens, shared secrets, a verifier of your own | [`auth`] |
#![cfg_attr(feature = "tls", doc = "| TLS | [`tls`] |")]
#![cfg_attr(
    feature = "zmtp",
    doc = "| ZeroMQ sockets | [`zmtp`], with the sockets in each runtime's module `zmtp` |"
)]
#![cfg_attr(
    feature = "forestbus",
    doc = "| Forest Bus, logs | [`forestbus`], [`log`], with the clients in each runtime's module `forestbus` |"
)]
//! | a framing of your own | [`frame::Framing`] |
//! | a protocol of your own, a runtime of your own | [`bowline::core`](crate::core), [`bowline::driver`](crate::driver) |
//!
//! # Features
//!
//! All are additive, any subset compiles, and none changes the meaning of code that does not name it.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tokio` (default) | `bowline::tokio` |
//! | `blocking` (default) | `bowline::blocking`: one I/O thread for all links, or several, or none; no async runtime |
//! | `smol` | `bowline::smol` |
//! | `async-std` | `bowline::async_std`; async-std is discontinued (RUSTSEC-2025-0052), prefer smol |
//! | `zmtp`, `curve` | ZeroMQ sockets without libzmq; CURVE encryption for them |
//! | `forestbus`, `forestbus-node` | a client of Forest Bus clusters; a node in memory, for tests |
//! | `tls`, `tls-webpki-roots`, `tls-platform-verifier` | TLS by rustls under everything; Mozilla's roots; the platform's verifier |
//! | `tracing`, `metrics` | changes of state as events; counters, gauges and histograms |
//! | `serde` | `Serialize` for snapshots of links |
//!
//! # Guarantees
//!
//! * Every call ends with a reply or a [`CallError`](error::CallError) whose [`outcome`](error::CallError::outcome) says what
//!   is known: it was never sent, it may have been delivered, or its time was over before it was sent.
//! * A cast that only was queued says so in its type, [`Queued`]. Its outcome is an event, if it is wanted.
//! * What left a dying connection is not repeated. What did not leave goes out whole, and in order, on the next connection.
//!   In a [session](Delivery::Session) every message is delivered exactly once and in order, as long as both processes live.
//! * Every queue is bounded in messages and in bytes. Nothing that a peer sends makes a link hold more than its configured
//!   limits, and no bytes make it panic.
//! * Every method that waits can be cancelled by dropping its future, and says what that means.
//!
//! What each framing can promise, with the tests that check it, is in
//! [docs/guarantees.md](https://github.com/bowline-rs/bowline/blob/main/docs/guarantees.md).
//!
//! # Where to read on
//!
//! The book is in the folder [docs](https://github.com/bowline-rs/bowline/tree/main/docs) of the repository: its
//! introduction, a tutorial, outcomes and errors, limits, sessions, operations, how to test, and how to come from other
//! libraries. The [README](https://github.com/bowline-rs/bowline#readme) has the map.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use bowline_core::address::Address;
pub use bowline_core::body::{Body, Payload};
pub use bowline_core::config::{
    AcceptLimits, Config, ConfigBuilder, Delivery, OnDisconnect, OnFailure, Overflow, QueueLimit,
    SocketOptions,
    settings::{Settings, SettingsError},
};
pub use bowline_core::error;
pub use bowline_core::frame;
pub use bowline_core::link::{
    CallOptions, CastOptions, Counters, Depth, Incoming, LinkEvent, LinkStats, Message, Queued, Reply, State,
    Undelivered,
};
pub use bowline_core::preamble::{self, Preamble};
pub use bowline_core::proxy::{self, Proxy};
pub use bowline_core::routing::{AttemptRules, Blacklist, Hedging, Policy};
pub use bowline_core::step;
pub use bowline_core::supervisor::{DialFailure, Endpoint, Epoch, ReconnectPolicy};

#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_driver::{
    AcceptCounters, BindError, ConnectError, PeerId, ReceiveError, Refused, RuntimeMissing, ServerEvent,
    StartError, ToAddress, Wait,
};
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_links::{
    Answer, Broadcast, Closed, Cut, Drained, Handled, HubCore, LinkSnapshot, ManagerError, MessageRef,
    Monitor, PeerCore, PushError, Redirect, ReplyBuf, RequestRef, Snapshot,
};

/// The sans-IO core, for protocols and drivers of your own.
pub use bowline_core as core;
/// What drives any protocol on any runtime, for runtimes and machines of your own.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_driver as driver;
/// The handles of links, generic over their runtime.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
pub use bowline_links as links;

/// Who connects, and who may: credentials, verifiers, identities. `docs/security.md` says what holds.
///
/// ```
/// # #[cfg(feature = "blocking")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::auth::{BearerToken, Identity, Tokens};
/// use bowline::blocking::{Client, Server};
/// use bowline::Config;
///
/// let tokens = Tokens::new().with("a token", Identity::new("reporting"));
/// let server = Server::builder()
///     .verifier_inline(move |attempt| tokens.verify(attempt))
///     .on_request(|request| Ok(request.identity().expect("verified").name().to_owned().into_bytes()))
///     .bind("127.0.0.1:0")?;
/// server.start()?;
///
/// let config = Config::builder().credentials(BearerToken::new("a token")?).build()?;
/// let client = Client::with_config(server.local_addr(), config).connect()?;
/// assert_eq!(&client.call(1, "who am I?")?[..], b"reporting");
/// # Ok(()) }
/// # #[cfg(not(feature = "blocking"))]
/// # fn main() {}
/// ```
pub mod auth {
    pub use bowline_core::auth::{
        Challenge, CredentialSource, Credentials, CredentialsError, Decision, Grant, Identity, MAX_CHALLENGE,
        MAX_CREDENTIALS, Refusal, RefusalCode, Shown,
    };
    #[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
    pub use bowline_driver::connection_info::ConnectionInfo;
    #[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
    pub use bowline_links::auth::{
        Attempt, BearerToken, CertificateNames, Deciding, SharedSecret, SharedSecrets, Tokens,
    };
}

/// Batchers: messages gather while a batch is under way. The handles are in `bowline::tokio` and its sisters;
/// `docs/batching.md` says what holds.
///
/// ```
/// # #[cfg(feature = "blocking")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::batcher::EachCall;
/// use bowline::blocking::{Batcher, Client, Server};
///
/// let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
/// server.start()?;
/// let client = Client::connect(server.local_addr())?;
///
/// let batcher = Batcher::builder(EachCall::<_, Vec<u8>>::new(client, 1)).open()?;
/// let senders: Vec<_> = (0..4)
///     .map(|number: u32| {
///         let batcher = batcher.clone();
///         std::thread::spawn(move || batcher.send(number.to_string()))
///     })
///     .collect();
/// for (number, sender) in senders.into_iter().enumerate() {
///     let reply = sender.join().expect("no panic")?;
///     assert_eq!(&reply[..], number.to_string().as_bytes());
/// }
/// batcher.close();
/// # Ok(()) }
/// # #[cfg(not(feature = "blocking"))]
/// # fn main() {}
/// ```
pub mod batcher {
    pub use bowline_core::batcher::{
        Answers, Batch, Failed, Failures, Refusal, Refused, Retries, SendError, Sent, Settings, Stats,
    };
    #[cfg(any(feature = "tokio", feature = "smol", feature = "async-std", feature = "blocking"))]
    pub use bowline_links::batcher::{
        BatchCall, Batcher, BatcherBuilder, Blocking, BlockingSink, Caller, Closing, EachCall, Forgetting,
        Keyed, NextResult, OpenBatcherError, Referencing, SendResult, SendResults, Sending, Sink,
        failed_call,
    };
}

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
///
/// A context ends all of its sockets together; events say what happens to a socket:
///
/// ```
/// # #[cfg(feature = "blocking")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::blocking::zmtp::Context;
/// use bowline::zmtp::{SocketEvent, kinds};
///
/// let context = Context::builder().name("orders").io_threads(2).open()?;
/// let pull = context.socket::<kinds::Pull>()?;
/// let endpoint = pull.bind("tcp://127.0.0.1:*")?;
/// let push = context.socket::<kinds::Push>()?;
/// push.connect_ready(&endpoint)?;
/// push.send("one")?;
/// assert_eq!(&pull.recv()?[0][..], b"one");
/// assert!(matches!(pull.next_event(), Some(SocketEvent::Listening { .. })));
/// assert!(matches!(pull.next_event(), Some(SocketEvent::Accepted { .. })));
/// // Nothing was left to be sent; both I/O threads end.
/// assert!(context.shutdown().is_empty());
/// # Ok(()) }
/// # #[cfg(not(feature = "blocking"))]
/// # fn main() {}
/// ```
#[cfg(feature = "zmtp")]
pub mod zmtp {
    pub use bowline_zmtp::{endpoint, error, mechanism, pipe, wire, z85};
    #[cfg(feature = "curve")]
    pub use bowline_zmtp_driver::generate_secret_key;
    pub use bowline_zmtp_driver::{
        AcceptLimit, Buffer, ChannelReceive, ChannelSend, ChannelStats, ConnectError, ContextSnapshot,
        FlowStats, HandshakeFailure, Heartbeat, Kind, Message, OpenError, OptionError, Options, Outgoing,
        Overflow, PeerId, PipeId, PipeInfo, PipeSnapshot, PollAny, PollError, PollItem, ProxyEnd, ProxyError,
        ProxyReason, ProxyStats, Publishes, Receive, ReceiveError, Receives, Refusal, RegisterError,
        RegisterStats, Routes, SendError, SendManyError, Sends, Socket, SocketBuilder, SocketEvent,
        SocketSnapshot, SocketStats, SocketType, SubscribeError, Subscribes, Unsent, kinds,
    };
}

/// One trait for append-only logs: `docs/logs.md`. A [topic](crate::forestbus::Topic) of Forest Bus is one.
///
/// ```
/// # #[cfg(all(feature = "blocking", feature = "forestbus-node"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::blocking::forestbus::{Client, Node};
/// use bowline::forestbus::NodeSettings;
/// use bowline::log::Blocking;
///
/// let node = Node::builder(NodeSettings::new("n1").topic("orders")).bind("127.0.0.1:0")?;
/// let client = Client::connect_to(&format!("@{}", node.local_addr()))?;
/// let log = Blocking::new(client.topic("orders"));
/// assert_eq!(log.append(vec!["one".into(), "two".into()]).all()?, [1, 2]);
///
/// let mut follow = log.follow(1);
/// let entry = follow.next().expect("it has no end")?;
/// assert_eq!((entry.position, &entry.record.body[..]), (1, &b"one"[..]));
/// # Ok(()) }
/// # #[cfg(not(all(feature = "blocking", feature = "forestbus-node")))]
/// # fn main() {}
/// ```
#[cfg(feature = "forestbus")]
pub use bowline_forestbus_driver::bowline_log as log;

/// Forest Bus, a replicated commit log: what its clients have in common on all runtimes. The handles are in
/// `bowline::tokio::forestbus` and its sisters; `docs/forestbus.md` says what is there.
///
/// With the feature `forestbus-node` there is a node in memory as well:
///
/// ```
/// # #[cfg(all(feature = "blocking", feature = "forestbus-node"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::blocking::forestbus::{Client, Node};
/// use bowline::forestbus::{Followed, NodeSettings};
///
/// let node = Node::builder(NodeSettings::new("n1").cluster_id("shop").topic("orders")).bind("127.0.0.1:0")?;
/// let client = Client::connect_to(&format!("shop@{}", node.local_addr()))?;
/// assert_eq!(client.send_messages("orders", ["one", "two"])?.ids, [1, 2]);
///
/// let mut follower = client.follow("orders", 1)?;
/// let Some(Ok(Followed::Page(page))) = follower.next() else { panic!() };
/// assert_eq!((page.first, &page.messages[1][..]), (1, &b"two"[..]));
/// # Ok(()) }
/// # #[cfg(not(all(feature = "blocking", feature = "forestbus-node")))]
/// # fn main() {}
/// ```
#[cfg(feature = "forestbus")]
pub mod forestbus {
    pub use bowline_forestbus::{cluster, node, protocol, wire};
    pub use bowline_forestbus_driver::{
        Appended, Attempts, Blame, Bounds, CheckedSettings, Client, ClientBuilder, ClientError,
        ClusterDetails, ClusterError, Code, Commit, ConnectionString, ConnectionStringError, Counters,
        DecodeError, FollowTopic, Followed, Follower, Index, Messages, Next, NodeCause, NodeFailure, NodeId,
        NodeOrder, OpenError, Options, Page, ReplyError, Settings, Snapshot, Status, Topic,
    };
    #[cfg(feature = "forestbus-node")]
    pub use bowline_forestbus_driver::{
        CheckedNodeSettings, Node, NodeBuilder, NodeError, NodeSettings, NodeSnapshot, Stopped,
    };
}

/// TLS: settings for `tls` of configurations and of builders. `docs/security.md` says what holds.
///
/// ```
/// # fn example(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// use bowline::Config;
/// use bowline::tls::{Certificates, Identity, TlsClient, TlsServer};
///
/// let serving = Config::default().tls(TlsServer::builder().identity(Identity::from_pem(chain, key)?).build()?);
/// let dialing = Config::default().tls(TlsClient::builder().roots(Certificates::from_pem(ca)?).build()?);
/// # drop((serving, dialing));
/// # Ok(()) }
/// ```
#[cfg(feature = "tls")]
pub mod tls {
    pub use bowline_core::layer::Secured;
    pub use bowline_tls::{
        CertificateFlaw, Certificates, Identity, RevocationLists, SettingsError, TlsClient, TlsClientBuilder,
        TlsError, TlsServer, TlsServerBuilder, VersionMismatch, rustls,
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
