//! Errors of a connection's preamble.

use super::ForeignError;
use crate::step::Interrupted;

/// Why a connection's preamble failed: see [`Preamble`](crate::preamble::Preamble).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreambleError {
    /// The peer closed the connection, took too long, or sent too much.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The peer sent something other than expected.
    #[error("byte {at} is {found:#04x}, not {expected:#04x}")]
    Unexpected {
        /// The position, counted from 0.
        at: usize,
        /// The byte received.
        found: u8,
        /// The byte expected.
        expected: u8,
    },
    /// A step of the program failed, and may succeed the next time: made with [`PreambleError::failed`].
    #[error(transparent)]
    Failed(ForeignError),
    /// A step of the program found that the peer refused: made with [`PreambleError::refused`].
    #[error(transparent)]
    Refused(ForeignError),
}

impl PreambleError {
    /// A failure that may not repeat. Its text and its sources are kept.
    pub fn failed(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Failed(ForeignError::new(error))
    }

    /// The peer refused. Another attempt is made only if the
    /// [policy](crate::supervisor::ReconnectPolicy::retry_when_denied) says so.
    pub fn refused(error: impl core::error::Error + Send + Sync + 'static) -> Self {
        Self::Refused(ForeignError::new(error))
    }

    /// Whether the peer refused.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.is_denial()
    }
}
