//! The configuration of a socket. [`Options`] has a table of the defaults.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

mod check;

pub use bowline_core::config::QueueLimit;

use crate::mechanism::{Admission, Mechanism};
use crate::socket_type::SocketType;

/// When a silent peer is sent a PING, and when it counts as dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Time without a byte from the peer after which it is sent a PING.
    pub interval: Duration,
    /// Time after a PING, still without a byte, after which the connection is closed.
    pub timeout: Duration,
    /// The TTL that PINGs carry: the peer may take silence of that length for this side's death. At most 65.5
    /// s, because libzmq counts in 16 bits of milliseconds; zero sends none. If it is not zero, a PING is
    /// sent at every interval, also while the peer is not silent, so that the peer hears from this side.
    pub ttl: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(20), ttl: Duration::ZERO }
    }
}

/// Handling of a message whose pipe is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// As the socket type defines: waiting, failing or dropping.
    #[default]
    AsType,
    /// Sending fails with [`Full`](crate::pipe::Refusal::Full), also where the type would wait or drop.
    Reject,
    /// The new message is dropped and counted.
    DropNewest,
    /// The pipe's oldest queued message is dropped and counted.
    DropOldest,
}

/// The configuration of a socket and its pipes.
///
/// | option | default |
/// |---|---|
/// | [`send_limit`](Self::send_limit), [`receive_limit`](Self::receive_limit) of a pipe | 1,000 messages and 4 MiB |
/// | [`overflow`](Self::overflow) | as the type defines |
/// | [`max_message`](Self::max_message), [`max_parts`](Self::max_parts) | 8 MiB, 1,024 |
/// | [`send_sum`](Self::send_sum), [`receive_sum`](Self::receive_sum) of all pipes of a socket | 64 MiB each |
/// | [`left_behind`](Self::left_behind) by disconnected peers | 64 MiB |
/// | [`immediate`](Self::immediate) | on |
/// | [`handshake`](Self::handshake) | 10 s |
/// | [`message_timeout`](Self::message_timeout) | 5 min |
/// | [`write_stall`](Self::write_stall) | off |
/// | [`heartbeat`](Self::heartbeat) | PING after 10 s of silence, dead after 30 s |
/// | [`router_mandatory`](Self::router_mandatory) | on |
/// | [`subscriptions`](Self::subscriptions) of a peer | 10,000 and 1 MiB |
/// | [`mechanism`](Self::mechanism) | NULL, every peer accepted |
/// | everything else | off |
///
/// ```
/// use bowline_zmtp::options::Options;
/// use bowline_zmtp::socket_type::SocketType;
///
/// let options = Options::new(SocketType::Router).routing_id("me").router_handover(true).build()?;
/// assert!(Options::new(SocketType::Router).routing_id([1; 256]).build().is_err());
/// # Ok::<(), bowline_zmtp::error::OptionError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) kind: SocketType,
    pub(crate) routing_id: Vec<u8>,
    pub(crate) mechanism: Mechanism,
    pub(crate) admission: Option<Admission>,
    #[cfg(feature = "curve")]
    pub(crate) allowed_keys: Option<crate::mechanism::AllowedKeys>,
    pub(crate) domain: String,
    pub(crate) metadata: Vec<(String, Vec<u8>)>,
    pub(crate) send_limit: QueueLimit,
    pub(crate) receive_limit: QueueLimit,
    pub(crate) send_sum: usize,
    pub(crate) receive_sum: usize,
    pub(crate) overflow: Overflow,
    pub(crate) conflate: bool,
    pub(crate) max_message: usize,
    pub(crate) max_parts: usize,
    pub(crate) left_behind: usize,
    pub(crate) immediate: bool,
    pub(crate) handshake: Duration,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) write_stall: Option<Duration>,
    pub(crate) message_timeout: Option<Duration>,
    pub(crate) router_mandatory: bool,
    pub(crate) router_handover: bool,
    pub(crate) probe_router: bool,
    pub(crate) req_relaxed: bool,
    pub(crate) req_correlate: bool,
    pub(crate) xpub_verbose: bool,
    pub(crate) xpub_verboser: bool,
    pub(crate) xpub_manual: bool,
    pub(crate) pub_nodrop: bool,
    pub(crate) xpub_welcome: Option<Vec<u8>>,
    pub(crate) invert_matching: bool,
    pub(crate) subscriptions: QueueLimit,
}

/// Longest routing id, bytes.
pub(crate) const MAX_ROUTING_ID: usize = 255;
/// Longest data that a peer may send before its handshake is done, bytes.
pub(crate) const MAX_HANDSHAKE: usize = 1024;
impl Options {
    /// The type of the socket.
    #[must_use]
    pub fn kind(&self) -> SocketType {
        self.kind
    }

    /// The defaults for a socket of that type.
    pub fn new(kind: SocketType) -> Self {
        let limit = QueueLimit { messages: 1_000, bytes: 4 << 20 };
        Self {
            kind,
            routing_id: Vec::new(),
            mechanism: Mechanism::Null,
            admission: None,
            #[cfg(feature = "curve")]
            allowed_keys: None,
            domain: String::new(),
            metadata: Vec::new(),
            send_limit: limit,
            receive_limit: limit,
            send_sum: 64 << 20,
            receive_sum: 64 << 20,
            overflow: Overflow::AsType,
            conflate: false,
            max_message: 8 << 20,
            max_parts: 1024,
            left_behind: 64 << 20,
            immediate: true,
            handshake: Duration::from_secs(10),
            heartbeat: Some(Heartbeat::default()),
            write_stall: None,
            message_timeout: Some(Duration::from_secs(300)),
            router_mandatory: true,
            router_handover: false,
            probe_router: false,
            req_relaxed: false,
            req_correlate: false,
            xpub_verbose: false,
            xpub_verboser: false,
            xpub_manual: false,
            pub_nodrop: false,
            xpub_welcome: None,
            invert_matching: false,
            subscriptions: QueueLimit { messages: 10_000, bytes: 1 << 20 },
        }
    }

    /// This socket's routing id, by which a ROUTER at the other end knows it: up to 255 bytes, the first not
    /// zero.
    pub fn routing_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.routing_id = id.into();
        self
    }

    /// How both sides authenticate each other.
    pub fn mechanism(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// The public keys of the CURVE clients that are accepted. Other clients are disconnected; if there is an
    /// [authenticator](Self::admission), it is asked about clients with these keys only.
    #[cfg(feature = "curve")]
    pub fn allowed_keys(mut self, keys: impl IntoIterator<Item = crate::mechanism::PublicKey>) -> Self {
        self.allowed_keys = Some(keys.into_iter().collect());
        self
    }

    /// Which peers are accepted. Required for a PLAIN server; a CURVE server needs this or
    /// [`allowed_keys`](Self::allowed_keys). Without it a socket with NULL accepts every peer.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// A name (up to 255 bytes) that tells the authenticator which socket a request is for.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// A property that is sent to the peer. Its name must begin with `X-` unless the protocol defines it.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Limit of the messages queued for one peer. (Up to one message, and one batch that is being written, of
    /// 64 KiB or one message, may exist in addition.)
    pub fn send_limit(mut self, limit: QueueLimit) -> Self {
        self.send_limit = limit;
        self
    }

    /// Limit of the received messages of one peer that the application has not taken: half of it in the pipe,
    /// half at the receiver. (Each half may exceed its share by one message.)
    pub fn receive_limit(mut self, limit: QueueLimit) -> Self {
        self.receive_limit = limit;
        self
    }

    /// Limit in bytes of the messages queued or being written in all pipes of the socket together; 4 KiB of
    /// each pipe are not counted. When it is reached, a pipe that holds more than 4 KiB counts as full until
    /// half of the limit is free. (It may be exceeded by one message.)
    pub fn send_sum(mut self, bytes: usize) -> Self {
        self.send_sum = bytes;
        self
    }

    /// Limit in bytes of the received whole messages in all pipes of the socket together; 4 KiB of each pipe
    /// are not counted. When it is reached, pipes that hold more than 4 KiB, or that are reading a message of
    /// 16 KiB or more, stop reading until half of the limit is free. (It may be exceeded by one read, or by
    /// the message that the read completes.)
    pub fn receive_sum(mut self, bytes: usize) -> Self {
        self.receive_sum = bytes;
        self
    }

    /// Handling of a message whose pipe is full.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Whether only the newest message for each first part is kept in a peer's queues, in both directions.
    /// Whole messages are kept, so that the receiver gets the newest state of each topic. For PUSH, PULL,
    /// PUB, SUB, XPUB, XSUB and DEALER.
    pub fn conflate(mut self, on: bool) -> Self {
        self.conflate = on;
        self
    }

    /// Longest message in either direction, bytes of all its parts.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Largest number of parts of a message in either direction. Types with single-part messages have a limit
    /// of 1.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.max_parts = parts;
        self
    }

    /// Limit in bytes of the messages that disconnected peers sent and that have not been received, for all
    /// such peers together. Messages beyond it are dropped, which is reported as an event.
    pub fn left_behind(mut self, bytes: usize) -> Self {
        self.left_behind = bytes;
        self
    }

    /// Whether messages are sent only to connected peers. If off, they are also queued for peers that this
    /// socket dials and that are not connected yet.
    pub fn immediate(mut self, on: bool) -> Self {
        self.immediate = on;
        self
    }

    /// Time limit of a handshake.
    pub fn handshake(mut self, within: Duration) -> Self {
        self.handshake = within;
        self
    }

    /// When a silent peer is sent a PING, and when it counts as dead; `None` disables heartbeats. Only peers
    /// of 3.1 are sent PINGs: older ones need not answer.
    ///
    /// While data is waiting to be written and the peer accepts none, the peer does not count as dead: a
    /// libzmq socket whose queue is full neither reads nor answers. [`write_stall`](Self::write_stall) and
    /// TCP limit that time.
    pub fn heartbeat(mut self, heartbeat: Option<Heartbeat>) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Longest time for which a peer may accept no written bytes before its connection is closed; `None`
    /// leaves it to TCP. Data in the peer's receive buffer that the peer has not read is lost then, so the
    /// limit should be longer than the longest pause of a slow receiver.
    pub fn write_stall(mut self, limit: Option<Duration>) -> Self {
        self.write_stall = limit;
        self
    }

    /// Longest time from the first byte of a message (or command) until it is complete; then the connection
    /// is closed ([`SlowMessage`](bowline_core::error::Disconnect::SlowMessage)). `None`: no limit. Time in
    /// which this socket has paused reading is not counted.
    pub fn message_timeout(mut self, limit: Option<Duration>) -> Self {
        self.message_timeout = limit;
        self
    }

    /// Whether sending fails in a ROUTER, SERVER or PEER if the peer is not connected or its queue is full.
    /// If off, the message is dropped.
    pub fn router_mandatory(mut self, on: bool) -> Self {
        self.router_mandatory = on;
        self
    }

    /// Whether a new peer with a routing id in use replaces the earlier one. If off, the new peer is
    /// disconnected.
    pub fn router_handover(mut self, on: bool) -> Self {
        self.router_handover = on;
        self
    }

    /// Whether each new peer is first sent an empty message, by which a ROUTER learns of this socket. The
    /// message is sent once on each connection; it is not subject to [`send_limit`](Self::send_limit).
    pub fn probe_router(mut self, on: bool) -> Self {
        self.probe_router = on;
        self
    }

    /// Whether a REQ may send again before the reply was received.
    pub fn req_relaxed(mut self, on: bool) -> Self {
        self.req_relaxed = on;
        self
    }

    /// Whether a REQ numbers its requests and accepts only the reply with the same number.
    pub fn req_correlate(mut self, on: bool) -> Self {
        self.req_correlate = on;
        self
    }

    /// Whether an XPUB also receives subscriptions to topics that another peer already subscribed to.
    pub fn xpub_verbose(mut self, on: bool) -> Self {
        self.xpub_verbose = on;
        self
    }

    /// Whether an XPUB also receives every end of a subscription.
    pub fn xpub_verboser(mut self, on: bool) -> Self {
        self.xpub_verboser = on;
        self
    }

    /// Whether an XPUB receives every subscription and every end of one, and they take effect only through
    /// calls by its application ([`subscribe_peer`](crate::socket::Socket::subscribe_peer)).
    pub fn xpub_manual(mut self, on: bool) -> Self {
        self.xpub_manual = on;
        self
    }

    /// Whether a publisher's send fails with [`Full`](crate::pipe::Refusal::Full), and no peer gets the
    /// message, if the queue of one matching subscriber is full. If off, that subscriber is skipped.
    pub fn pub_nodrop(mut self, on: bool) -> Self {
        self.pub_nodrop = on;
        self
    }

    /// A message that an XPUB sends to each subscriber first, at its first subscription that matches the
    /// message.
    pub fn xpub_welcome(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.xpub_welcome = Some(message.into());
        self
    }

    /// Whether subscribers get the messages that do not match their topics. Both sides have to set it.
    pub fn invert_matching(mut self, on: bool) -> Self {
        self.invert_matching = on;
        self
    }

    /// Largest number of topics (or groups) that a peer may subscribe to, and their total bytes.
    pub fn subscriptions(mut self, limit: QueueLimit) -> Self {
        self.subscriptions = limit;
        self
    }

    /// Whether each new peer is sent a probe.
    pub(crate) fn probes(&self) -> bool {
        self.probe_router && matches!(self.kind, SocketType::Router | SocketType::Dealer | SocketType::Req)
    }

    /// Half of the receive limit; the other half is at the receiver.
    pub(crate) fn inbox_limit(&self) -> QueueLimit {
        self.receive_limit.low_mark()
    }

    /// Longest command of a handshake, bytes.
    pub(crate) fn max_handshake(&self) -> usize {
        // CURVE's INITIATE contains a cookie, a nonce, keys and a vouch besides the metadata.
        MAX_HANDSHAKE + if self.mechanism.name() == "CURVE" { 96 + 8 + 16 + 128 } else { 0 }
    }

    /// The properties in this side's READY or INITIATE.
    pub(crate) fn own_metadata(&self) -> Vec<u8> {
        use crate::wire::put_property;
        let mut out = Vec::new();
        put_property(&mut out, "Socket-Type", self.kind.name().as_bytes());
        if self.kind.says_identity() {
            put_property(&mut out, "Identity", &self.routing_id);
        }
        for (name, value) in &self.metadata {
            put_property(&mut out, name, value);
        }
        out
    }
}

#[cfg(test)]
mod tests;
