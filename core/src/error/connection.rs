//! What ends a connection.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::time::Duration;

use super::{ForeignError, PreambleError, TransportError};
use crate::auth::{CredentialsError, Refusal};
use crate::frame::Class;
use crate::frame::native::Features;
use crate::proxy::ProxyError;
use crate::supervisor::Endpoint;

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
    /// The bytes that mark the protocol are those of another: the wrong port, mostly.
    #[error("this looks like {looks_like}: magic is {found:#x}, not {expected:#x}")]
    OtherProtocol {
        /// The protocol it looks like.
        looks_like: &'static str,
        /// What came.
        found: u64,
        /// What the protocol asks for.
        expected: u64,
    },
    /// Anything else that is wrong, in words: for framings of your own.
    ///
    /// ```
    /// use bowline_core::error::FrameError;
    ///
    /// let plain = FrameError::other("the line is not UTF-8");
    /// let exact = FrameError::other(format!("the checksum is {:#x}, not {:#x}", 7, 8));
    /// assert_eq!(exact.to_string(), "the checksum is 0x7, not 0x8");
    /// # let _ = plain;
    /// ```
    #[error("{what}")]
    Other {
        /// What is wrong. Fixed words need no memory.
        what: Cow<'static, str>,
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

impl FrameError {
    /// What is wrong, in words: for framings of your own.
    #[must_use]
    pub fn other(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Other { what: what.into() }
    }

    /// The marks of the protocol are others: names the one that a connection with this beginning
    /// looks like, if that is known.
    #[cold]
    pub(crate) fn bad_magic(beginning: &[u8], found: u64, expected: u64) -> Self {
        match crate::frame::looks_like(beginning) {
            Some(looks_like) => Self::OtherProtocol { looks_like, found, expected },
            None => Self::BadMagic { found, expected },
        }
    }
}

/// The peer broke the protocol, in its bytes or in what it said with them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Bytes that the framing does not allow.
    #[error("bad frame")]
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
    /// The peer cannot do without features that this side does not offer.
    #[error("the peer requires features that this side does not offer: {features}")]
    FeatureRequired {
        /// Which.
        features: Features,
    },
    /// The peer does not offer features that this side cannot do without.
    #[error("the peer does not offer features that this side requires: {features}")]
    FeatureLacking {
        /// Which.
        features: Features,
    },
    /// Something came before the peer was let in, or where only the exchange of credentials can be.
    #[error("expected {expected}, got {found}")]
    Unauthenticated {
        /// What had to come.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// A frame of the exchange of credentials where that is over, or was not agreed on.
    #[error("{found} outside of the handshake")]
    AfterHandshake {
        /// What came.
        found: &'static str,
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
    /// A resume that cannot be.
    #[error("resume: {field} is {value} (limit {limit})")]
    Resume {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it can be at most.
        limit: u64,
    },
    /// The connection belongs to a session, and another frame than a resume came.
    #[error("expected a resume, found {found}")]
    ExpectedResume {
        /// What came.
        found: &'static str,
    },
    /// An acknowledgement of frames that were never sent, or that takes something back.
    #[error("{value} frames are acknowledged, and {limit} were sent")]
    Ack {
        /// Frames acknowledged.
        value: u64,
        /// Frames sent.
        limit: u64,
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
    #[error("the peer broke the protocol")]
    Protocol(#[from] PeerError),
    /// The socket failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Another protocol than the link's ended the connection: the error of a
    /// [`Machine`](crate::machine::Machine) of another crate. Made with
    /// [`Disconnect::foreign`].
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A proxy did not let the connection through.
    #[error(transparent)]
    Proxy(#[from] Box<ProxyError>),
    /// What the connection begins with ([`ConfigBuilder::preamble`](crate::config::ConfigBuilder::preamble)) failed.
    #[error("the connection's preamble failed")]
    Preamble(#[from] PreambleError),
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
    /// No message either way for that long.
    #[error("no message for {limit:?}")]
    Idle {
        /// The configured limit.
        limit: Duration,
    },
    /// The peer takes what is written to it too slowly.
    #[error("the peer takes {rate} bytes a second (limit {limit})")]
    SlowReader {
        /// Bytes a second it took.
        rate: u64,
        /// Bytes a second it has to take.
        limit: u64,
    },
    /// Room was needed for others whose handshake is not done.
    #[error("given up for others whose handshakes are younger")]
    HandshakeCrowd,
    /// The server's memory limit was reached, and this connection was the one to close: of those
    /// whose peers do not read, or of all, the one that held most.
    #[error("the server reached its memory limit of {limit} bytes, and this connection held {held} of them")]
    ServerMemory {
        /// What it held, bytes.
        held: u64,
        /// The limit, bytes: see [`AcceptLimits::memory`](crate::config::AcceptLimits::memory).
        limit: u64,
    },
    /// A queue was full, and its policy is to disconnect.
    #[error("the {queue} queue is full")]
    Overflow {
        /// Read or write.
        queue: &'static str,
    },
    /// A request failed, and its answer could not say so
    /// ([`OnFailure::Disconnect`](crate::config::OnFailure)).
    #[error("a request failed (status {}), which this framing cannot answer", .status.0)]
    HandlerFailed {
        /// How it failed.
        status: super::Status,
    },
    /// Another connection took the session over.
    #[error("another connection took the session over")]
    Superseded,
    /// The peer does not know the session any more: it was restarted, or forgot it.
    #[error("the session is lost")]
    SessionLost,
    /// The session was without a connection for too long.
    #[error("the session expired")]
    SessionExpired,
    /// The peer did not let this side in, or told it to go: its identity was withdrawn.
    #[error("the peer refused this side")]
    Refused(#[source] Refusal),
    /// This side did not let the peer in, or told it to go.
    #[error("this side refused the peer")]
    Denied(#[source] Refusal),
    /// The peer asked for credentials, and there were none to show.
    #[error("the peer asked for credentials, and there are none")]
    NoCredentials(#[source] CredentialsError),
    /// There was no connection yet.
    #[error("not connected yet")]
    NotConnected,
    /// Our side asked for a new connection.
    #[error("closed by this side for a new connection")]
    Reopened,
    /// Our side closed the link.
    #[error("closed by this side")]
    LocalClose,
}

impl Disconnect {
    /// The same, with the place it was about, where it is the socket that failed and the error does not say yet
    /// which.
    #[must_use]
    pub fn at(self, place: impl Into<Endpoint>) -> Self {
        match self {
            Self::Transport(error) => Self::Transport(error.at(place)),
            other => other,
        }
    }

    /// The error of another protocol, kept as it is:
    /// [`ForeignError::downcast_ref`] gives it back.
    pub fn foreign(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Foreign(ForeignError::new(error))
    }

    /// Whether a proxy, the peer's side of a preamble, or the server's verifier said no to this side: credentials that are
    /// missing or wrong, or a rule.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Proxy(error) => error.fault.is_denial(),
            Self::Preamble(error) => error.is_denial(),
            _ => false,
        }
    }

    /// Whether another connection may fare better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::LocalClose | Self::Protocol(PeerError::Version { .. }) => false,
            Self::Transport(error) => error.is_retryable(),
            Self::Proxy(error) => error.fault.is_retryable(),
            Self::Preamble(error) => error.is_retryable(),
            Self::Refused(refusal) | Self::Denied(refusal) => refusal.is_retryable(),
            Self::NoCredentials(error) => error.is_retryable(),
            _ => true,
        }
    }

    /// How long the peer asks this side to wait before it tries again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}
