//! Conversion of the server's and the client's errors to those of the log trait.

use std::error::Error;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use bowline_log::Cause;

type BoxError = Box<dyn Error + Send + Sync>;

/// Why a stream could not be opened as a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The stream does not exist.
    #[error("there is no stream {stream:?}")]
    Missing {
        /// The stream's name.
        stream: String,
        /// The server's error.
        #[source]
        source: BoxError,
    },
    /// The server could not be reached.
    #[error("stream {stream:?} could not be asked for")]
    Unavailable {
        /// The stream's name.
        stream: String,
        /// The client's error.
        #[source]
        source: BoxError,
    },
    /// The system has no random bytes for the names of this handle's records.
    #[error("no random numbers")]
    Random(#[source] getrandom::Error),
}

impl OpenError {
    /// Whether retrying may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// The server's error code, if the error came from it.
pub(crate) fn said(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(said) = error.downcast_ref::<jetstream::Error>() {
            return Some(said.error_code());
        }
        next = error.source();
    }
    None
}

/// Whether the server knows that the stream does not exist. A missing answer is no proof: a stream is also
/// silent while its servers restart or elect a leader.
pub(crate) fn is_missing(error: &(dyn Error + 'static)) -> bool {
    said(error) == Some(ErrorCode::STREAM_NOT_FOUND)
}

/// Converts an error to a cause: permanent only if the stream is known to be missing.
pub(crate) fn cause(error: impl Error + Send + Sync + 'static) -> Cause {
    if is_missing(&error) { Cause::lasting(error) } else { Cause::transient(error) }
}
