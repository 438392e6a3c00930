//! Errors by blame: the peer broke the protocol, you misused the API, a limit was reached, the
//! transport failed.

use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;

use crate::body::Body;
use crate::frame::Class;

/// The peer sent bytes that the framing does not allow. The connection is closed.
///
/// Every variant names the field, the value found and the limit it broke.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes that mark the protocol are others.
    #[error("magic is {found:#x}, not {expected:#x}")]
    BadMagic {
        /// What came.
        found: u64,
        /// What the protocol asks for.
        expected: u64,
    },
    /// A field has a value outside what the protocol allows.
    #[error("{field} is {value}, which the protocol does not allow (limit {limit})")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The largest (or only) value allowed.
        limit: u64,
    },
    /// A length is over the limit.
    #[error("{field} of {value} bytes is over the limit of {limit}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its value, bytes.
        value: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// A length is smaller than the fields it has to cover.
    #[error("{field} of {value} bytes is under the minimum of {limit}")]
    TooShort {
        /// The field's name.
        field: &'static str,
        /// Its value, bytes.
        value: u64,
        /// The minimum, bytes.
        limit: u64,
    },
    /// A length cannot be represented, or overflows when adjusted.
    #[error("{field} overflows: {value} adjusted by {adjustment}")]
    LengthOverflow {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What was to be added to it.
        adjustment: i64,
    },
    /// A length is negative.
    #[error("{field} is negative: {value}")]
    NegativeLength {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A variable-length integer does not end within its room.
    #[error("{field} has no end within {limit} bytes")]
    UnterminatedVarint {
        /// The field's name.
        field: &'static str,
        /// The room, bytes.
        limit: u64,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame: {have} bytes of at least {need}")]
    Truncated {
        /// Bytes there were.
        have: u64,
        /// Bytes wanted.
        need: u64,
    },
}

/// The peer broke the protocol, in its bytes or in what it said with them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Bytes that the framing does not allow.
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    /// Something other than a hello came first.
    #[error("expected a hello first, got {found}")]
    ExpectedHello {
        /// What came.
        found: &'static str,
    },
    /// A second hello on one connection.
    #[error("a second hello on one connection")]
    SecondHello,
    /// No version that both sides speak.
    #[error("no common protocol version: ours {ours_min}..={ours_max}, theirs {theirs_min}..={theirs_max}")]
    Version {
        /// Our lowest.
        ours_min: u8,
        /// Our highest.
        ours_max: u8,
        /// Their lowest.
        theirs_min: u8,
        /// Their highest.
        theirs_max: u8,
    },
    /// A value in the hello that cannot work.
    #[error("hello field {field} is {value}, limit {limit}")]
    HelloField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The limit it broke.
        limit: u64,
    },
    /// More requests in flight than we said we take.
    #[error("{value} requests in flight, limit {limit}")]
    TooManyRequests {
        /// How many.
        value: u64,
        /// What our hello said.
        limit: u64,
    },
    /// A request with the id of one that is still being handled.
    #[error("request id {id} is in use")]
    RequestIdInUse {
        /// The id.
        id: u64,
    },
    /// More than we granted.
    #[error("a message that costs {cost} in class {class:?}, with a credit of {credit}")]
    Credit {
        /// The class.
        class: Class,
        /// What the message (or its fragment) costs.
        cost: u64,
        /// What was left of our grant.
        credit: u64,
    },
    /// A grant that takes something back, or names bytes that were never sent.
    #[error("a grant of {limit} with {seen} bytes seen in class {class:?}, which cannot be")]
    BadGrant {
        /// The class.
        class: Class,
        /// The limit it names.
        limit: u64,
        /// The bytes it says were read.
        seen: u64,
    },
    /// Fragments that make no message.
    #[error("fragment: {field} is {value}, limit {limit}")]
    Fragment {
        /// What is wrong with it.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it could be.
        limit: u64,
    },
    /// More of something than any honest peer has a reason to send.
    #[error("a flood of {what}: {value}, limit {limit}")]
    Flood {
        /// Of what.
        what: &'static str,
        /// How much came.
        value: u64,
        /// How much there may be.
        limit: u64,
    },
}

/// What the operating system said of a socket, without the operating system's own type (a driver
/// keeps that beside it).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind:?}: {message}")]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportKind,
    /// The system's words.
    pub message: String,
}

/// Kinds of transport failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TransportKind {
    /// Nobody listens there.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The name could not be resolved.
    Resolve,
    /// No route, network down.
    Unreachable,
    /// The system gave up waiting.
    TimedOut,
    /// Out of descriptors, memory or ports.
    Resources,
    /// Anything else.
    Other,
}

/// Why a connection ended, or did not come about.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The peer ended the stream between two frames.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer said go-away and everything in flight was finished.
    #[error("the peer said go-away")]
    GoneAway,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] PeerError),
    /// The socket failed.
    #[error("the transport failed: {0}")]
    Transport(#[from] TransportError),
    /// Nothing at all came from the peer for that long although it was asked.
    #[error("the peer was silent for {silent:?} (limit {limit:?})")]
    DeadPeer {
        /// How long.
        silent: Duration,
        /// The configured limit.
        limit: Duration,
    },
    /// Nothing could be written for that long.
    #[error("nothing could be written for {stalled:?} (limit {limit:?})")]
    WriteStalled {
        /// How long.
        stalled: Duration,
        /// The configured limit.
        limit: Duration,
    },
    /// Dial and handshake together took too long.
    #[error("no connection and handshake within {limit:?}")]
    ConnectTimeout {
        /// The configured limit.
        limit: Duration,
    },
    /// A message began but was not whole within the limit.
    #[error("a message was not whole within {limit:?}")]
    SlowMessage {
        /// The configured limit.
        limit: Duration,
    },
    /// Our side closed the link.
    #[error("closed by this side")]
    LocalClose,
}

impl Disconnect {
    /// Whether another connection may fare better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::LocalClose | Self::Protocol(PeerError::Version { .. }))
    }
}

/// A frame that cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is longer than either side takes.
    #[error("message of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// Length, bytes.
        len: u64,
        /// Limit, bytes.
        max: u64,
    },
    /// The framing has no way to say this.
    #[error("this framing cannot carry {what}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
}

/// A value in a configuration that cannot work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number outside its range.
    #[error("{field} is {value}, must be {must}")]
    OutOfRange {
        /// The setting's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it has to be, in words.
        must: &'static str,
    },
    /// Two settings that exclude each other, or a setting the framing has no room for.
    #[error("{field}: {why}")]
    Conflict {
        /// The setting's name.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// An endpoint that is not an address.
    #[error("not an address: {0:?}")]
    Address(String),
}

/// One final outcome per message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// A reply (or an error reply) came.
    Replied,
    /// Handed to the kernel whole.
    Written,
    /// Provably never left.
    NeverSent,
    /// It left, wholly or in part; what became of it only the other side knows.
    MaybeDelivered,
    /// Its deadline passed.
    Expired,
    /// A queue's policy dropped it.
    Dropped,
}

/// Why a peer did not answer a request with a reply.
///
/// The numbers travel on the wire (native); 1000 and above are the application's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Status(pub u16);

impl Status {
    /// The handler returned an error.
    pub const FAILED: Self = Self(1);
    /// The peer has no handler for requests.
    pub const NO_HANDLER: Self = Self(2);
    /// The peer has no room now; it did not start the request.
    pub const BUSY: Self = Self(3);
    /// The deadline passed on the peer's side.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// The handler panicked.
    pub const PANICKED: Self = Self(5);
    /// The peer is shutting down; it did not start the request.
    pub const SHUTTING_DOWN: Self = Self(6);
    /// The reply was longer than this side takes.
    pub const REPLY_TOO_LARGE: Self = Self(7);
    /// The handler let go of its responder without an answer.
    pub const NO_ANSWER: Self = Self(8);
    /// The peer does not know this method.
    pub const NO_METHOD: Self = Self(9);
    /// The first number that is the application's own.
    pub const APPLICATION: Self = Self(1000);

    /// Whether the peer says that it did not start the request, so that trying again is safe.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::BUSY | Self::SHUTTING_DOWN)
    }
}

/// A failed answer, as a handler returns it and as a caller sees it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("status {}: {}", .status.0, String::from_utf8_lossy(.body))]
pub struct Failure {
    /// The kind of failure.
    pub status: Status,
    /// How long the caller should wait before it tries again.
    pub retry_after: Option<Duration>,
    /// Details, usually text.
    pub body: Bytes,
}

impl Failure {
    /// A failure with a status and text for the caller.
    #[must_use]
    pub fn new(status: Status, text: impl AsRef<[u8]>) -> Self {
        Self { status, retry_after: None, body: Bytes::copy_from_slice(text.as_ref()) }
    }

    /// The same with advice on when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(Status::FAILED, text)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(Status::FAILED, text)
    }
}

/// Why a call has no reply. [`CallError::outcome`] says what became of the request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer answered with a failure.
    #[error("the peer answered with a failure: {0}")]
    Failed(Failure),
    /// The deadline passed. `outcome` is [`Outcome::NeverSent`] or [`Outcome::MaybeDelivered`].
    #[error("no reply before the deadline ({outcome:?})")]
    DeadlineExceeded {
        /// Whether the request had left.
        outcome: Outcome,
    },
    /// The connection ended after the request had left.
    #[error("the connection ended before the reply: {0}")]
    MaybeDelivered(Disconnect),
    /// The request never left, and will not.
    #[error("the request was never sent: {0}")]
    NeverSent(Disconnect),
    /// The request cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No room now (only from the forms that do not wait).
    #[error("no room: {0}")]
    Full(Full),
    /// The link is closed or closing.
    #[error("the link is closed")]
    Closed,
}

impl CallError {
    /// What became of the request.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(_) => Outcome::Replied,
            Self::DeadlineExceeded { outcome: Outcome::MaybeDelivered } | Self::MaybeDelivered(_) => {
                Outcome::MaybeDelivered
            }
            Self::DeadlineExceeded { .. } => Outcome::Expired,
            Self::NeverSent(_) | Self::Encode(_) | Self::Full(_) | Self::Closed => Outcome::NeverSent,
        }
    }

    /// Whether the same call may be made again without running twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.status.is_retryable(),
            Self::NeverSent(cause) => cause.is_retryable(),
            Self::Full(_) => true,
            Self::DeadlineExceeded { outcome } => *outcome == Outcome::NeverSent,
            Self::MaybeDelivered(_) | Self::Encode(_) | Self::Closed => false,
        }
    }
}

/// Which bound was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The write queue is at its high-water mark.
    #[error("the write queue is full ({bytes} bytes, {messages} messages)")]
    WriteQueue {
        /// Bytes queued.
        bytes: u64,
        /// Messages queued.
        messages: u64,
    },
    /// As many calls are in flight as allowed.
    #[error("{in_flight} calls are in flight")]
    InFlight {
        /// How many.
        in_flight: u64,
    },
}

/// Why a message was not queued. The message comes back in [`CastError::into_body`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CastError {
    /// Why.
    pub reason: CastRefusal,
    body: Option<Bytes>,
}

impl CastError {
    /// An error that hands `body` back.
    #[must_use]
    pub fn new(reason: CastRefusal, body: Option<Bytes>) -> Self {
        Self { reason, body }
    }

    /// The refused message, if it was handed over by value (a borrowed one the caller still has).
    #[must_use]
    pub fn into_body(self) -> Option<Body> {
        self.body.map(Body::from)
    }

    /// Whether the same cast may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.reason, CastRefusal::Full(_))
    }
}

/// Reasons to refuse a cast.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CastRefusal {
    /// It cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No room now.
    #[error("no room: {0}")]
    Full(Full),
    /// The link is closed or closing.
    #[error("the link is closed")]
    Closed,
}
