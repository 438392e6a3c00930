//! What a socket is set up with. Defaults are in the table of [`Options`].

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

mod check;

pub use bowline_core::config::QueueLimit;

use crate::mechanism::{Admission, Mechanism};
use crate::socket_type::SocketType;

/// When a peer that says nothing is asked whether it is there, and when it counts as dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// So long without a byte from the peer, and it is asked.
    pub interval: Duration,
    /// So long after it was asked, still without a byte, its connection is closed.
    pub timeout: Duration,
    /// What the peer is told: silence for so long may be taken for our death. At most 65.5 s, because
    /// libzmq counts in 16 bits of milliseconds; zero: nothing is said. Otherwise the peer is asked at
    /// every interval, silent or not, so that it hears of us.
    pub ttl: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(20), ttl: Duration::ZERO }
    }
}

/// What becomes of a message for a pipe that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// What the socket type does: it waits, fails or drops.
    #[default]
    AsType,
    /// It fails with [`Full`](crate::pipe::Refusal::Full), also where the type would wait or drop.
    Reject,
    /// It is dropped and counted.
    DropNewest,
    /// The oldest waiting message of that pipe is dropped and counted.
    DropOldest,
}

/// How a socket and its pipes are set up.
///
/// | option | default |
/// |---|---|
/// | [`send_limit`](Self::send_limit), [`receive_limit`](Self::receive_limit) of a pipe | 1,000 messages and 4 MiB |
/// | [`overflow`](Self::overflow) | as the type does |
/// | [`max_message`](Self::max_message), [`max_parts`](Self::max_parts) | 8 MiB, 1,024 |
/// | [`send_sum`](Self::send_sum), [`receive_sum`](Self::receive_sum) of all pipes of a socket | 64 MiB each |
/// | [`left_behind`](Self::left_behind) by peers that went | 64 MiB |
/// | [`immediate`](Self::immediate) | on |
/// | [`handshake`](Self::handshake) | 10 s |
/// | [`message_timeout`](Self::message_timeout) | 5 min |
/// | [`write_stall`](Self::write_stall) | off |
/// | [`heartbeat`](Self::heartbeat) | asked after 10 s, dead after 30 s |
/// | [`router_mandatory`](Self::router_mandatory) | on |
/// | [`subscriptions`](Self::subscriptions) of a peer | 10,000 and 1 MiB |
/// | [`mechanism`](Self::mechanism) | NULL, anybody |
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

/// A routing id is of so many bytes at most.
pub(crate) const MAX_ROUTING_ID: usize = 255;
/// What a peer may hold before its handshake is done, bytes.
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

    /// What a ROUTER on the other side knows us by: up to 255 bytes, not beginning with a zero.
    pub fn routing_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.routing_id = id.into();
        self
    }

    /// How both sides make sure of each other.
    pub fn mechanism(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// Which clients of CURVE are let in, by their keys; others are closed, and the
    /// [authenticator](Self::admission), if there is one, is asked about these only.
    #[cfg(feature = "curve")]
    pub fn allowed_keys(mut self, keys: impl IntoIterator<Item = crate::mechanism::PublicKey>) -> Self {
        self.allowed_keys = Some(keys.into_iter().collect());
        self
    }

    /// Who is let in. A server of PLAIN or CURVE has to say so (of CURVE, here or by
    /// keys); without it a socket with NULL lets anybody in.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// What the authenticator is told about which socket it is asked for (up to 255 bytes).
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// A property that the peer is told. Its name begins with `X-` if it is no name of the protocol's.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// What may wait to be sent to one peer. (Up to one message, and one batch that is being written, of
    /// 64 KiB or one message, stand beside it.)
    pub fn send_limit(mut self, limit: QueueLimit) -> Self {
        self.send_limit = limit;
        self
    }

    /// What may wait to be received from one peer: half of it in the pipe, half with the receiver. (Up to
    /// one message more stands in each half.)
    pub fn receive_limit(mut self, limit: QueueLimit) -> Self {
        self.receive_limit = limit;
        self
    }

    /// What may wait to be sent, or is being written, in all pipes of the socket together, bytes; 4 KiB of each pipe
    /// do not count. When it is reached a pipe that holds more than that counts as full, until half of it is free. (Up to
    /// one message stands beside it.)
    pub fn send_sum(mut self, bytes: usize) -> Self {
        self.send_sum = bytes;
        self
    }

    /// What may wait to be received in all pipes of the socket together, bytes, whole messages; 4 KiB of each pipe do not
    /// count. When it is reached those that hold more than that, or are at a message of 16 KiB or more, stop reading, until
    /// half of it is free. (What one read brings, or the message that it completes, stands beside it.)
    pub fn receive_sum(mut self, bytes: usize) -> Self {
        self.receive_sum = bytes;
        self
    }

    /// What becomes of a message for a pipe that is full.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Whether of the messages that wait with one peer, both ways, only the newest of each first part is
    /// kept: whole messages, so that a topic's newest state is what is received. For PUSH, PULL, PUB, SUB, XPUB,
    /// XSUB and DEALER.
    pub fn conflate(mut self, on: bool) -> Self {
        self.conflate = on;
        self
    }

    /// The longest message, bytes of all its parts, both ways.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// The most parts of a message, both ways. Types whose messages have one part only have that limit.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.max_parts = parts;
        self
    }

    /// How much of what peers sent before they went is kept until it is received, bytes, of all such peers. What
    /// a peer leaves beyond that is dropped, and an event.
    pub fn left_behind(mut self, bytes: usize) -> Self {
        self.left_behind = bytes;
        self
    }

    /// Whether messages go only to peers that are there. Off: also to those that were connected to and
    /// have not answered yet.
    pub fn immediate(mut self, on: bool) -> Self {
        self.immediate = on;
        self
    }

    /// How long a handshake may take.
    pub fn handshake(mut self, within: Duration) -> Self {
        self.handshake = within;
        self
    }

    /// When a silent peer is asked, and counts as dead; `None`: never. To peers of 3.1 only: older ones
    /// need not answer.
    ///
    /// While something is to be written and the peer takes nothing it does not count as dead: a socket of
    /// libzmq that is full reads nothing, and answers nothing. How long that is borne
    /// [`write_stall`](Self::write_stall) says, and TCP.
    pub fn heartbeat(mut self, heartbeat: Option<Heartbeat>) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How long a peer may take nothing of what is written to it before its connection is closed; `None`: as long
    /// as TCP lets it. What the peer's system has then and the peer has not read is lost, so that this is to be
    /// longer than a slow receiver's longest pause.
    pub fn write_stall(mut self, limit: Option<Duration>) -> Self {
        self.write_stall = limit;
        self
    }

    /// How long a message (or a command) of which a part came may take until it is whole, before its connection is closed
    /// ([`SlowMessage`](bowline_core::error::Disconnect::SlowMessage)); `None`: as long as it likes. While the socket
    /// itself does not read, the time does not count.
    pub fn message_timeout(mut self, limit: Option<Duration>) -> Self {
        self.message_timeout = limit;
        self
    }

    /// Whether a ROUTER, SERVER or PEER fails to send to a peer that is not there or has no room, instead of
    /// dropping the message.
    pub fn router_mandatory(mut self, on: bool) -> Self {
        self.router_mandatory = on;
        self
    }

    /// Whether a newcomer with a routing id that is in use takes it over. Off: the newcomer is closed.
    pub fn router_handover(mut self, on: bool) -> Self {
        self.router_handover = on;
        self
    }

    /// Whether a new peer gets an empty message, so that a ROUTER there knows of us.
    pub fn probe_router(mut self, on: bool) -> Self {
        self.probe_router = on;
        self
    }

    /// Whether a REQ may send again before its reply came.
    pub fn req_relaxed(mut self, on: bool) -> Self {
        self.req_relaxed = on;
        self
    }

    /// Whether a REQ numbers its requests and takes the reply with the same number only.
    pub fn req_correlate(mut self, on: bool) -> Self {
        self.req_correlate = on;
        self
    }

    /// Whether an XPUB hears of subscriptions to topics that another peer is subscribed to already.
    pub fn xpub_verbose(mut self, on: bool) -> Self {
        self.xpub_verbose = on;
        self
    }

    /// Whether it hears of ends of subscriptions likewise, too.
    pub fn xpub_verboser(mut self, on: bool) -> Self {
        self.xpub_verboser = on;
        self
    }

    /// Whether an XPUB hears of every subscription and of every end of one, and nothing comes of them but what
    /// its application [makes of them](crate::socket::Socket::subscribe_peer).
    pub fn xpub_manual(mut self, on: bool) -> Self {
        self.xpub_manual = on;
        self
    }

    /// Whether a publisher fails to send ([`Full`](crate::pipe::Refusal::Full)) when one of those who
    /// should get the message has no room, instead of leaving it out. Then nobody gets it.
    pub fn pub_nodrop(mut self, on: bool) -> Self {
        self.pub_nodrop = on;
        self
    }

    /// What each subscriber of an XPUB is sent first, with its first subscription that it matches.
    pub fn xpub_welcome(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.xpub_welcome = Some(message.into());
        self
    }

    /// Whether subscribers get what does not match their topics. Both sides have to say so.
    pub fn invert_matching(mut self, on: bool) -> Self {
        self.invert_matching = on;
        self
    }

    /// To how many topics (or groups) a peer may be subscribed, and of how many bytes in all.
    pub fn subscriptions(mut self, limit: QueueLimit) -> Self {
        self.subscriptions = limit;
        self
    }

    /// Half of the limit for what came in: the other half is with the receiver.
    pub(crate) fn inbox_limit(&self) -> QueueLimit {
        self.receive_limit.low_mark()
    }

    /// The longest command of a handshake, bytes.
    pub(crate) fn max_handshake(&self) -> usize {
        // CURVE's INITIATE has a cookie, a nonce, keys and a vouch beside the metadata.
        MAX_HANDSHAKE + if self.mechanism.name() == "CURVE" { 96 + 8 + 16 + 128 } else { 0 }
    }

    /// The properties that our READY or INITIATE has.
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
