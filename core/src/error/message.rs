//! Outcomes and errors of messages.

use alloc::boxed::Box;
use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::{Disconnect, LinkWas};
use crate::body::Body;
use crate::config::Overflow;
use crate::link::Undelivered;

/// Why a frame cannot be encoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is longer than one of the sides allows.
    #[error("message of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// Length, bytes.
        len: u64,
        /// Limit, bytes.
        max: u64,
    },
    /// The framing cannot express this.
    #[error("this framing cannot carry {what}")]
    Unsupported {
        /// The requested value.
        what: &'static str,
    },
}

/// An invalid value in a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number is outside its range.
    #[error("{field} is {value}, must be {must}")]
    OutOfRange {
        /// The setting's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The requirement: the text after "must be", for example `at most 65535`.
        must: &'static str,
    },
    /// Two settings exclude each other, or the framing does not support a setting.
    #[error("{field}: {why}")]
    Conflict {
        /// The setting's name.
        field: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A text that is not a valid address.
    #[error("not an address: {0:?}")]
    Address(String),
}

/// The final outcome of a message. Each message has exactly one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// A reply or an error reply was received.
    Replied,
    /// In a session: the peer's link has received it, in order, and hands it over once while its process
    /// lives.
    Acked,
    /// The system accepted all of its bytes.
    Written,
    /// It was provably never sent.
    NeverSent,
    /// It was sent, completely or in part; whether it was delivered is known to the peer only.
    MaybeDelivered,
    /// Its deadline passed.
    Expired,
    /// It was dropped by the policy of a queue.
    Dropped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replied => "answered",
            Self::Acked => "acknowledged",
            Self::Written => "written",
            Self::NeverSent => "never sent",
            Self::MaybeDelivered => "may have been delivered",
            Self::Expired => "expired before it was sent",
            Self::Dropped => "dropped",
        })
    }
}

/// Why a peer answered a request with a failure.
///
/// The numbers are sent on the wire (native); 1000 and above are for applications.
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
    /// The reply exceeds the limit of this side.
    pub const REPLY_TOO_LARGE: Self = Self(7);
    /// The handler dropped its responder without an answer.
    pub const NO_ANSWER: Self = Self(8);
    /// The peer does not know this method.
    pub const NO_METHOD: Self = Self(9);
    /// The request was handled, but the server had no memory for its answer: see
    /// [`AcceptLimits::memory`](crate::config::AcceptLimits::memory).
    pub const OUT_OF_MEMORY: Self = Self(10);
    /// The caller may not call this method; the request was not started.
    pub const FORBIDDEN: Self = Self(11);
    /// The first number for applications.
    pub const APPLICATION: Self = Self(1000);

    /// Whether the status says that the request was not started, so that a retry is safe.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::BUSY | Self::SHUTTING_DOWN)
    }
}

/// A failed answer, as a handler returns it and as a caller receives it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("status {}{}", .status.0, Details(.body))]
pub struct Failure {
    /// The kind of failure.
    pub status: Status,
    /// How long the caller should wait before it tries again.
    pub retry_after: Option<Duration>,
    /// Details, usually text.
    pub body: Bytes,
}

/// The text of a failure, if it has one.
struct Details<'a>(&'a [u8]);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            text => write!(f, ": {}", String::from_utf8_lossy(text)),
        }
    }
}

impl Failure {
    /// A failure with a status and text for the caller.
    #[must_use]
    pub fn new(status: Status, text: impl AsRef<[u8]>) -> Self {
        Self { status, retry_after: None, body: Bytes::copy_from_slice(text.as_ref()) }
    }

    /// Adds how long the caller should wait before it tries again.
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

/// Why a call has no reply. [`CallError::outcome`] and the message say whether the request may have been
/// delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The peer answered with a failure.
    Failed(Failure),
    /// The deadline passed.
    DeadlineExceeded {
        /// [`Outcome::Expired`] or [`Outcome::MaybeDelivered`]: whether the request had been sent.
        outcome: Outcome,
        /// The state of the link at that time.
        link: LinkWas,
    },
    /// The connection ended after the request had been sent.
    MaybeDelivered(Disconnect),
    /// The request was not sent, and will not be.
    NeverSent(Disconnect),
    /// The request cannot be encoded.
    Encode(EncodeError),
    /// There is no room now (only from methods that do not wait).
    Full(Full),
    /// The link is closed or closing.
    Closed,
    /// The call was made on a thread that runs connections, and waiting would have blocked them all. Nothing
    /// was sent.
    WouldPark,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Failed(_) => return f.write_str("the peer answered with a failure"),
            Self::DeadlineExceeded { link, .. } => {
                return write!(f, "no reply before the deadline ({}): {link}", self.outcome());
            }
            Self::MaybeDelivered(_) => "the connection ended before the reply",
            Self::NeverSent(_) => "there was no connection for the request",
            Self::Encode(_) => "the request cannot be encoded",
            Self::Full(_) => "no room for the request",
            Self::Closed => "the link is closed",
            Self::WouldPark => "an I/O thread must not wait",
        };
        write!(f, "{what} ({})", self.outcome())
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::MaybeDelivered(cause) | Self::NeverSent(cause) => Some(cause),
            Self::Encode(error) => Some(error),
            Self::Full(full) => Some(full),
            Self::DeadlineExceeded { .. } | Self::Closed | Self::WouldPark => None,
        }
    }
}

impl From<EncodeError> for CallError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl CallError {
    /// Whether the request may have been delivered.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(_) => Outcome::Replied,
            Self::DeadlineExceeded { outcome, .. } => *outcome,
            Self::MaybeDelivered(_) => Outcome::MaybeDelivered,
            Self::NeverSent(_) | Self::Encode(_) | Self::Full(_) | Self::Closed | Self::WouldPark => {
                Outcome::NeverSent
            }
        }
    }

    /// Whether the same call may be made again without being executed twice, and may then succeed. Not on an
    /// I/O thread: [`WouldPark`](Self::WouldPark).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.status.is_retryable(),
            Self::NeverSent(cause) => cause.is_retryable(),
            Self::Full(_) => true,
            Self::DeadlineExceeded { outcome, .. } => *outcome == Outcome::Expired,
            Self::MaybeDelivered(_) | Self::Encode(_) | Self::Closed | Self::WouldPark => false,
        }
    }
}

/// Why a message was not delivered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Undeliverable {
    /// The link was closed.
    #[error("the link was closed")]
    Closed,
    /// The connection ended.
    #[error("the connection ended")]
    Disconnected(#[from] Disconnect),
    /// It waited longer than allowed.
    #[error("it waited for too long: {0}")]
    Expired(LinkWas),
    /// It was dropped by the policy of a queue.
    #[error("dropped by the policy {0:?}")]
    Dropped(Overflow),
    /// The peer of the present connection does not accept it.
    #[error("the peer does not accept it")]
    Encode(#[from] EncodeError),
    /// It was sent again as often as allowed.
    #[error("tried {attempts} times")]
    RetriesExhausted {
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        #[source]
        cause: Disconnect,
    },
}

/// The limit that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The write queue is full.
    #[error("the write queue is full ({bytes} bytes, {messages} messages)")]
    WriteQueue {
        /// Bytes queued.
        bytes: u64,
        /// Messages queued.
        messages: u64,
    },
    /// The maximum number of calls is in flight.
    #[error("{in_flight} calls are in flight")]
    InFlight {
        /// Their number.
        in_flight: u64,
    },
}

/// Why a message was not queued. [`CastError::into_body`] gives the message back.
///
/// It has the size of a pointer, so that results with it are cheap to return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CastError(Box<Refused>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Refused {
    reason: CastRefusal,
    back: Back,
}

/// The part of the message that is returned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Back {
    Nothing,
    Body(Bytes),
    Whole(Box<Undelivered>),
}

impl fmt::Display for CastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reason.fmt(f)
    }
}

impl Error for CastError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.reason.source()
    }
}

impl CastError {
    /// An error that gives `body` back.
    #[must_use]
    pub fn new(reason: CastRefusal, body: Option<Bytes>) -> Self {
        Self(Box::new(Refused { reason, back: body.map_or(Back::Nothing, Back::Body) }))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &CastRefusal {
        &self.0.reason
    }

    /// The reason, by value; the message is dropped.
    #[must_use]
    pub fn into_reason(self) -> CastRefusal {
        self.0.reason
    }

    /// The refused message, if it was passed by value (the caller still has a borrowed one).
    #[must_use]
    pub fn into_body(self) -> Option<Body> {
        match self.0.back {
            Back::Nothing => None,
            Back::Body(body) => Some(body.into()),
            Back::Whole(message) => Some(message.body),
        }
    }

    /// The message as it was given (method, class, Seq, extensions and body), with its outcome, if it was
    /// accepted and could not be delivered: the reason is then [`CastRefusal::Undelivered`]. `None` for other
    /// reasons; see [`into_body`](Self::into_body).
    #[must_use]
    pub fn into_undelivered(self) -> Option<Undelivered> {
        match self.0.back {
            Back::Whole(message) => Some(*message),
            Back::Nothing | Back::Body(_) => None,
        }
    }

    /// The outcome of the message.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.reason.outcome()
    }

    /// Whether the same cast may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.reason, CastRefusal::Full(_))
    }
}

impl From<Undelivered> for CastError {
    /// The error of a cast that was accepted and could not be delivered: it gives the message back.
    fn from(message: Undelivered) -> Self {
        let reason = CastRefusal::Undelivered { outcome: message.outcome, reason: message.reason.clone() };
        Self(Box::new(Refused { reason, back: Back::Whole(Box::new(message)) }))
    }
}

/// Why a cast was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CastRefusal {
    /// It cannot be encoded.
    Encode(EncodeError),
    /// There is no room now.
    Full(Full),
    /// It was queued, and could not be delivered (only from methods that wait for the outcome).
    Undelivered {
        /// Its outcome.
        outcome: Outcome,
        /// The reason.
        reason: Undeliverable,
    },
    /// The link is closed or closing.
    Closed,
    /// The cast was made on a thread that runs connections, and waiting would have blocked them all. Nothing
    /// was sent.
    WouldPark,
}

impl CastRefusal {
    /// The outcome of the message.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Undelivered { outcome, .. } => *outcome,
            Self::Encode(_) | Self::Full(_) | Self::Closed | Self::WouldPark => Outcome::NeverSent,
        }
    }
}

impl fmt::Display for CastRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Encode(_) => "the message cannot be encoded",
            Self::Full(_) => "no room for the message",
            Self::Undelivered { .. } => "the message was not delivered",
            Self::Closed => "the link is closed",
            Self::WouldPark => "an I/O thread must not wait",
        };
        write!(f, "{what} ({})", self.outcome())
    }
}

impl Error for CastRefusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            Self::Full(full) => Some(full),
            Self::Undelivered { reason, .. } => Some(reason),
            Self::Closed | Self::WouldPark => None,
        }
    }
}

impl From<EncodeError> for CastRefusal {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
