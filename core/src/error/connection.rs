//! Errors that end a connection.

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
/// Every variant names the field, the value found and the limit that it exceeds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes that identify the protocol are wrong.
    #[error("magic is {found:#x}, not {expected:#x}")]
    BadMagic {
        /// The value received.
        found: u64,
        /// The value that the protocol requires.
        expected: u64,
    },
    /// The bytes that identify the protocol belong to another one, usually because of a wrong port.
    #[error("this looks like {looks_like}: magic is {found:#x}, not {expected:#x}")]
    OtherProtocol {
        /// The protocol that they belong to.
        looks_like: &'static str,
        /// The value received.
        found: u64,
        /// The value that the protocol requires.
        expected: u64,
    },
    /// Any other error, as text: for framings of your own.
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
        /// The description. A static text needs no allocation.
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
    /// A length exceeds the limit.
    #[error("{field} of {value} bytes is over the limit of {limit}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its value, bytes.
        value: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// A length is smaller than the fields that it includes.
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
        /// The amount to be added to it.
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
    /// A variable-length integer does not end within its maximum length.
    #[error("{field} has no end within {limit} bytes")]
    UnterminatedVarint {
        /// The field's name.
        field: &'static str,
        /// The maximum length, bytes.
        limit: u64,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame: {have} bytes of at least {need}")]
    Truncated {
        /// Bytes available.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
}

impl FrameError {
    /// An error described by a text: for framings of your own.
    #[must_use]
    pub fn other(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Other { what: what.into() }
    }

    /// The bytes that identify the protocol are wrong: names the protocol that `beginning` belongs to, if it
    /// is known.
    #[cold]
    pub(crate) fn bad_magic(beginning: &[u8], found: u64, expected: u64) -> Self {
        match crate::frame::looks_like(beginning) {
            Some(looks_like) => Self::OtherProtocol { looks_like, found, expected },
            None => Self::BadMagic { found, expected },
        }
    }
}

/// The peer broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Bytes that the framing does not allow.
    #[error("bad frame")]
    Frame(#[from] FrameError),
    /// The first frame was not a hello.
    #[error("expected a hello first, got {found}")]
    ExpectedHello {
        /// The frame received.
        found: &'static str,
    },
    /// A second hello on one connection.
    #[error("a second hello on one connection")]
    SecondHello,
    /// There is no version that both sides speak.
    #[error("no common protocol version: ours {ours_min}..={ours_max}, theirs {theirs_min}..={theirs_max}")]
    Version {
        /// The lowest version of this side.
        ours_min: u8,
        /// The highest version of this side.
        ours_max: u8,
        /// The lowest version of the peer.
        theirs_min: u8,
        /// The highest version of the peer.
        theirs_max: u8,
    },
    /// A value in the hello is invalid.
    #[error("hello field {field} is {value}, limit {limit}")]
    HelloField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The limit that it exceeds.
        limit: u64,
    },
    /// The peer requires features that this side does not offer.
    #[error("the peer requires features that this side does not offer: {features}")]
    FeatureRequired {
        /// The features.
        features: Features,
    },
    /// This side requires features that the peer does not offer.
    #[error("the peer does not offer features that this side requires: {features}")]
    FeatureLacking {
        /// The features.
        features: Features,
    },
    /// A frame arrived before the peer was let in, or during the exchange of credentials, that does not
    /// belong there.
    #[error("expected {expected}, got {found}")]
    Unauthenticated {
        /// The frame expected.
        expected: &'static str,
        /// The frame received.
        found: &'static str,
    },
    /// A frame of the exchange of credentials arrived after its end, or without an agreement on it.
    #[error("{found} outside of the handshake")]
    AfterHandshake {
        /// The frame received.
        found: &'static str,
    },
    /// The peer has more requests in flight than this side allows.
    #[error("{value} requests in flight, limit {limit}")]
    TooManyRequests {
        /// Their number.
        value: u64,
        /// The limit in this side's hello.
        limit: u64,
    },
    /// A request with the id of one that is still being handled.
    #[error("request id {id} is in use")]
    RequestIdInUse {
        /// The id.
        id: u64,
    },
    /// A resume is invalid.
    #[error("resume: {field} is {value} (limit {limit})")]
    Resume {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its maximum.
        limit: u64,
    },
    /// The connection belongs to a session, and the first frame after the hello was not a resume.
    #[error("expected a resume, found {found}")]
    ExpectedResume {
        /// The frame received.
        found: &'static str,
    },
    /// An acknowledgement of frames that were never sent, or of fewer frames than before.
    #[error("{value} frames are acknowledged, and {limit} were sent")]
    Ack {
        /// Frames acknowledged.
        value: u64,
        /// Frames sent.
        limit: u64,
    },
    /// The peer exceeded its credit.
    #[error("a message that costs {cost} in class {class:?}, with a credit of {credit}")]
    Credit {
        /// The class.
        class: Class,
        /// The cost of the message (or of its fragment).
        cost: u64,
        /// The credit that was left.
        credit: u64,
    },
    /// A grant that revokes credit, or acknowledges bytes that were never sent.
    #[error("an invalid grant: limit {limit}, {seen} bytes seen, class {class:?}")]
    BadGrant {
        /// The class.
        class: Class,
        /// The limit it names.
        limit: u64,
        /// The bytes that it reports as read.
        seen: u64,
    },
    /// Fragments that are not a valid message.
    #[error("fragment: {field} is {value}, limit {limit}")]
    Fragment {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its limit.
        limit: u64,
    },
    /// More of something than an honest peer has a reason to send.
    #[error("a flood of {what}: {value}, limit {limit}")]
    Flood {
        /// The kind of frames.
        what: &'static str,
        /// The amount received.
        value: u64,
        /// The amount allowed.
        limit: u64,
    },
}

/// Why a connection ended, or could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The peer ended the stream between two frames.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer sent a go-away, and everything in flight was finished.
    #[error("the peer said go-away")]
    GoneAway,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Protocol(#[from] PeerError),
    /// The socket failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Another protocol than the link's ended the connection: the error of a
    /// [`Machine`](crate::machine::Machine) of another crate. Made with [`Disconnect::foreign`].
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A proxy did not connect to the target.
    #[error(transparent)]
    Proxy(#[from] Box<ProxyError>),
    /// The preamble of the connection ([`ConfigBuilder::preamble`](crate::config::ConfigBuilder::preamble))
    /// failed.
    #[error("the connection's preamble failed")]
    Preamble(#[from] PreambleError),
    /// The peer sent nothing for this time, although it was pinged.
    #[error("the peer was silent for {silent:?} (limit {limit:?})")]
    DeadPeer {
        /// How long.
        silent: Duration,
        /// The configured limit.
        limit: Duration,
    },
    /// No byte could be written for this time.
    #[error("nothing could be written for {stalled:?} (limit {limit:?})")]
    WriteStalled {
        /// How long.
        stalled: Duration,
        /// The configured limit.
        limit: Duration,
    },
    /// Dialing and the handshake together took too long.
    #[error("no connection and handshake within {limit:?}")]
    ConnectTimeout {
        /// The configured limit.
        limit: Duration,
    },
    /// A message was not complete within the time limit.
    #[error("a message was not complete within {limit:?}")]
    SlowMessage {
        /// The configured limit.
        limit: Duration,
    },
    /// There was no message in either direction for this time.
    #[error("no message for {limit:?}")]
    Idle {
        /// The configured limit.
        limit: Duration,
    },
    /// The peer reads too slowly.
    #[error("the peer takes {rate} bytes a second (limit {limit})")]
    SlowReader {
        /// The rate at which it read, bytes per second.
        rate: u64,
        /// The required rate, bytes per second.
        limit: u64,
    },
    /// The connection was closed before the end of its handshake, to make room for newer ones.
    #[error("closed before its handshake was done, to make room for newer connections")]
    HandshakeCrowd,
    /// The server's memory limit was reached, and this connection was closed: the largest of those whose
    /// peers do not read, or the largest of all.
    #[error("the server reached its memory limit of {limit} bytes, and this connection held {held} of them")]
    ServerMemory {
        /// The bytes that it held.
        held: u64,
        /// The limit, bytes: see [`AcceptLimits::memory`](crate::config::AcceptLimits::memory).
        limit: u64,
    },
    /// A queue was full, and its policy is to disconnect.
    #[error("the {queue} queue is full")]
    Overflow {
        /// `"read"` or `"write"`.
        queue: &'static str,
    },
    /// A request failed, and the framing has no error replies
    /// ([`OnFailure::Disconnect`](crate::config::OnFailure)).
    #[error("a request failed (status {}), which this framing cannot answer", .status.0)]
    HandlerFailed {
        /// The status of the failure.
        status: super::Status,
    },
    /// Another connection took the session over.
    #[error("another connection took the session over")]
    Superseded,
    /// The peer does not know the session any more: it was restarted, or has dropped the session.
    #[error("the session is lost")]
    SessionLost,
    /// The session was without a connection for too long.
    #[error("the session expired")]
    SessionExpired,
    /// The peer refused this side, or withdrew its identity later.
    #[error("the peer refused this side")]
    Refused(#[source] Refusal),
    /// This side refused the peer, or withdrew its identity later.
    #[error("this side refused the peer")]
    Denied(#[source] Refusal),
    /// The peer asked for credentials, and there were none.
    #[error("the peer asked for credentials, and there are none")]
    NoCredentials(#[source] CredentialsError),
    /// There was no connection yet.
    #[error("not connected yet")]
    NotConnected,
    /// This side requested a new connection.
    #[error("closed by this side for a new connection")]
    Reopened,
    /// This side closed the link.
    #[error("closed by this side")]
    LocalClose,
}

impl Disconnect {
    /// Adds the place, if this is a socket error that does not have one yet.
    #[must_use]
    pub fn at(self, place: impl Into<Endpoint>) -> Self {
        match self {
            Self::Transport(error) => Self::Transport(error.at(place)),
            other => other,
        }
    }

    /// Wraps the error of another protocol; [`ForeignError::downcast_ref`] returns it.
    pub fn foreign(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Foreign(ForeignError::new(error))
    }

    /// Whether this side was denied by a proxy, in a preamble, or by the server's verifier: because of
    /// missing or wrong credentials, or because of a rule.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Proxy(error) => error.fault.is_denial(),
            Self::Preamble(error) => error.is_denial(),
            _ => false,
        }
    }

    /// Whether another connection may succeed.
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

    /// How long the peer asked this side to wait before the next attempt.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}
