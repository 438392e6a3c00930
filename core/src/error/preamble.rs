//! How a connection's preamble fails.

use super::ForeignError;
use crate::step::Interrupted;

/// Why a connection's preamble failed: see [`Preamble`](crate::preamble::Preamble).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreambleError {
    /// The peer closed the connection, took too long, or sent too much.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The peer sent something else than was expected.
    #[error("byte {at} is {found:#04x}, not {expected:#04x}")]
    Unexpected {
        /// Where, from 0.
        at: usize,
        /// What came.
        found: u8,
        /// What was expected.
        expected: u8,
    },
    /// A step of the program's own failed, and may not the next time: made with [`PreambleError::failed`].
    #[error(transparent)]
    Failed(ForeignError),
    /// The peer said no, in the eyes of a step of the program's own: made with [`PreambleError::refused`].
    #[error(transparent)]
    Refused(ForeignError),
}

impl PreambleError {
    /// A failure that may be another one next time. Its text and its sources are kept.
    pub fn failed(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(ForeignError::new(error))
    }

    /// The peer said no: trying again makes no sense, unless the
    /// [policy](crate::supervisor::ReconnectPolicy::retry_when_denied) says so.
    pub fn refused(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Refused(ForeignError::new(error))
    }

    /// Whether the peer said no.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.is_denial()
    }
}
