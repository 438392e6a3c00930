//! Errors by blame. Each says its own level, its sources have the rest.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::position::Position;

/// Why a log could not do something that it usually can: the client's or server's own error, and whether it is
/// expected to pass.
#[derive(Clone, Debug)]
pub struct Cause {
    transient: bool,
    error: Arc<dyn Error + Send + Sync>,
}

impl Cause {
    /// One that is expected to pass, such as a connection that was lost.
    pub fn transient(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { transient: true, error: Arc::from(error.into()) }
    }

    /// One that stays until somebody does something about it, such as a log that does not exist.
    pub fn lasting(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { transient: false, error: Arc::from(error.into()) }
    }

    /// Whether it is expected to pass.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The client's or server's own error.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// What became of a record that was not known to be appended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// It was not appended, and will not be.
    #[error("the record was not appended")]
    NotAppended(#[source] Cause),
    /// Nobody knows: the answer was lost, or did not come in time. It may also be appended later on.
    #[error("the record may have been appended")]
    MaybeAppended(#[source] Cause),
    /// The log does not take such a record.
    #[error("the record was refused")]
    Refused(#[source] Refusal),
    /// This handle, or the log, was closed. The record was not appended.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether to append the same record again may succeed, and cannot store it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotAppended(cause) => cause.is_transient(),
            Self::MaybeAppended(_) | Self::Refused(_) | Self::Closed => false,
        }
    }

    /// Whether the record may be in the log all the same.
    pub fn may_be_appended(&self) -> bool {
        matches!(self, Self::MaybeAppended(_))
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is too large.
    #[error("{size} bytes, limit {limit}")]
    TooLarge {
        /// Its bytes, as the log counts them.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Too many records at once for a log that stores a batch as a whole.
    #[error("a batch of {records} records, limit {limit}")]
    TooMany {
        /// How many records were to be appended.
        records: usize,
        /// How many may be.
        limit: usize,
    },
    /// It has an id, and the log cannot tell repeats by one.
    #[error("the log knows no ids")]
    Id,
    /// It has a header, and the log keeps none.
    #[error("the log keeps no headers")]
    Headers,
    /// A header, or the id, that cannot be stored as it is.
    #[error("header {name:?} cannot be stored")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The server refused it for a reason of its own.
    #[error("the server refused it")]
    Server(#[source] Cause),
}

/// Why nothing was read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<P: Position> {
    /// Records from `from` on are gone, by retention or because somebody removed them. The log goes on at `to`.
    #[error("records from {from} up to {to} were trimmed")]
    Trimmed {
        /// Where the reader was.
        from: P,
        /// Where the log begins now. The position itself is not gone.
        to: P,
    },
    /// The log ends before the position: it lost records, or never had so many.
    #[error("the log ends at {end}, before {from}")]
    Truncated {
        /// Where the reader was.
        from: P,
        /// Where the next record will stand, at the earliest.
        end: P,
    },
    /// The log cannot be reached, or does not exist.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// This handle, or the log, was closed.
    #[error("the log is closed")]
    Closed,
}

impl<P: Position> ReadError<P> {
    /// Whether the same read may succeed later on.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(cause) => cause.is_transient(),
            Self::Trimmed { .. } | Self::Truncated { .. } | Self::Closed => false,
        }
    }
}
