//! Outcomes of messages, and refusals.

use core::error::Error;
use core::fmt;

/// Why a sink did not append a message: its answer in one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Failed<E> {
    /// The sink's error.
    pub cause: E,
    /// Whether the message may have been appended nevertheless. `false`: it provably was not.
    pub maybe_appended: bool,
    /// Whether another attempt may succeed.
    pub retryable: bool,
}

impl<E> Failed<E> {
    /// The message was not appended; another attempt would be useless.
    pub const fn not_appended(cause: E) -> Self {
        Self { cause, maybe_appended: false, retryable: false }
    }

    /// The message may have been appended.
    pub const fn maybe_appended(cause: E) -> Self {
        Self { cause, maybe_appended: true, retryable: false }
    }

    /// Sets whether another attempt may succeed.
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }
}

/// The outcome of a message without a position.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SendError<E> {
    /// It was not appended.
    Failed(E),
    /// The message may have been appended. The error is that of the last attempt after which it may have been.
    /// Without one, its batch was given up before there was an answer, or its sender was on an I/O thread,
    /// which must not wait for the answer.
    MaybeAppended(Option<E>),
    /// Its delivery time was over. It was not appended; the error is that of its last attempt. If there was no
    /// attempt with this message, it is that of the last attempt with others, if they were not appended either.
    Expired(Option<E>),
    /// The batcher was closed. It was not appended; the error is as for [`Expired`](Self::Expired).
    Closed(Option<E>),
    /// It was sent on a thread that runs connections, and waiting would have blocked them all. It was not
    /// accepted.
    WouldPark,
}

impl<E> SendError<E> {
    /// The sink's error.
    #[must_use]
    pub const fn cause(&self) -> Option<&E> {
        match self {
            Self::Failed(cause) => Some(cause),
            Self::MaybeAppended(cause) | Self::Expired(cause) | Self::Closed(cause) => cause.as_ref(),
            Self::WouldPark => None,
        }
    }

    /// Whether the message may have been appended.
    #[must_use]
    pub const fn may_be_appended(&self) -> bool {
        matches!(self, Self::MaybeAppended(_))
    }

    /// Whether the same message may be sent again with a chance to succeed and without being appended twice.
    /// For [`Failed`](Self::Failed) this depends on the sink's error. [`WouldPark`](Self::WouldPark) repeats
    /// on the same thread.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Expired(_))
    }
}

impl<E> fmt::Display for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "the message was not appended",
            Self::MaybeAppended(Some(_)) => "the message may have been appended",
            Self::MaybeAppended(None) => "the message may have been appended: there was no answer",
            Self::Expired(_) => "the message was not appended in its time",
            Self::Closed(_) => "the batcher was closed before the message was appended",
            Self::WouldPark => "an I/O thread must not wait",
        })
    }
}

impl<E: Error + 'static> Error for SendError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Why a message was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The buffer is full, or the receiver has no free place.
    BufferFull,
    /// The batcher is closed or closing.
    Closed,
    /// The receiver of the results does not exist any more.
    NoReceiver,
    /// The thread runs connections, and waiting would have blocked them all.
    WouldPark,
}

impl Refusal {
    /// Whether the message may be accepted later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::BufferFull)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferFull => "the batcher has no room",
            Self::Closed => "the batcher is closed",
            Self::NoReceiver => "the receiver of the results is gone",
            Self::WouldPark => "an I/O thread must not wait",
        })
    }
}

/// A message that was not accepted, given back.
#[derive(Clone, PartialEq, Eq)]
pub struct Refused<M> {
    /// The message, or the message and its reference.
    pub message: M,
    /// The reason.
    pub why: Refusal,
}

impl<M> Refused<M> {
    pub(super) const fn new(message: M, why: Refusal) -> Self {
        Self { message, why }
    }

    /// Whether the message may be accepted later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.why.is_retryable()
    }
}

// Does not print the message: it may be long, or secret.
impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<M> Error for Refused<M> {}

/// The result of a message with a reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent<M, R, P, E> {
    /// The reference that the sender gave.
    pub reference: R,
    /// The message.
    pub message: M,
    /// Its position, or why it has none.
    pub result: Result<P, SendError<E>>,
}

/// Failures of messages that were sent and forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Failures<E> {
    /// The number of failures since they were last taken.
    pub count: u64,
    /// The error of the last one.
    pub last: SendError<E>,
}

/// The counters of a batcher. Every accepted message is finally counted in one of `appended`, `failed`,
/// `maybe_appended`, `expired`, `closed` and `withdrawn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were accepted.
    pub accepted: u64,
    /// Messages that were refused: no room, no receiver, closed.
    pub refused: u64,
    /// Messages that were appended.
    pub appended: u64,
    /// Messages that were not appended.
    pub failed: u64,
    /// Messages that may have been appended.
    pub maybe_appended: u64,
    /// Messages whose delivery time was over.
    pub expired: u64,
    /// Messages that were left when a close ended.
    pub closed: u64,
    /// Accepted messages that their senders withdrew.
    pub withdrawn: u64,
    /// Failures of messages that were sent and forgotten; they are also counted above.
    pub forgotten_failures: u64,
    /// Results that no owner took.
    pub discarded: u64,
    /// Batches.
    pub batches: u64,
    /// Retries of batches.
    pub retries: u64,
}
