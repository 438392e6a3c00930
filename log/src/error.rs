//! Errors. The message of each describes its own level; its sources have the rest.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::position::Position;

/// Why a log could not do something that it supports: the client's or server's own error, and whether it is
/// expected to be transient.
#[derive(Clone, Debug)]
pub struct Cause {
    transient: bool,
    error: Arc<dyn Error + Send + Sync>,
}

impl Cause {
    /// A transient error, such as a lost connection.
    pub fn transient(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { transient: true, error: Arc::from(error.into()) }
    }

    /// An error that stays until it is fixed, such as a log that does not exist.
    pub fn lasting(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { transient: false, error: Arc::from(error.into()) }
    }

    /// Whether the error is expected to be transient.
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

/// The outcome of a record that is not known to be appended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// It was not appended, and will not be.
    #[error("the record was not appended")]
    NotAppended(#[source] Cause),
    /// The outcome is unknown: the answer was lost, or late. The record may also be appended later.
    #[error("the record may have been appended")]
    MaybeAppended(#[source] Cause),
    /// The log does not accept such a record.
    #[error("the record was refused")]
    Refused(#[source] Refusal),
    /// This handle, or the log, was closed. The record was not appended.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Whether appending the same record again may succeed, and cannot store it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotAppended(cause) => cause.is_transient(),
            Self::MaybeAppended(_) | Self::Refused(_) | Self::Closed => false,
        }
    }

    /// Whether the record may be in the log nevertheless.
    pub fn may_be_appended(&self) -> bool {
        matches!(self, Self::MaybeAppended(_))
    }
}

/// Why a record is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is too large.
    #[error("{size} bytes, limit {limit}")]
    TooLarge {
        /// Its size in bytes, as the log counts.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many records at once for a log that stores a batch as a whole.
    #[error("a batch of {records} records, limit {limit}")]
    TooMany {
        /// The number of records.
        records: usize,
        /// The limit.
        limit: usize,
    },
    /// It has an id, and the log does not deduplicate by ids.
    #[error("the log does not support ids")]
    Id,
    /// It has a header, and the log does not support headers.
    #[error("the log does not support headers")]
    Headers,
    /// A header, or the id, cannot be stored unchanged.
    #[error("header {name:?} cannot be stored")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The server refused it for its own reason.
    #[error("the server refused it")]
    Server(#[source] Cause),
}

/// Why nothing was read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<P: Position> {
    /// Records from `from` on are gone, by retention or because they were removed. The log continues at `to`.
    #[error("records from {from} up to {to} were trimmed")]
    Trimmed {
        /// The position of the reader.
        from: P,
        /// The first position that is not gone.
        to: P,
    },
    /// The log ends before the position: it lost records, or never had that many.
    #[error("the log ends at {end}, before {from}")]
    Truncated {
        /// The position of the reader.
        from: P,
        /// The lowest possible position of the next record.
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
    /// Whether the same read may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(cause) => cause.is_transient(),
            Self::Trimmed { .. } | Self::Truncated { .. } | Self::Closed => false,
        }
    }
}
