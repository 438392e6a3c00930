//! The resume: which session a connection belongs to, and what of it its sender has.

use super::numbers::get_u64;
use crate::error::FrameError;

/// What each side says about the session, behind its hello.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The session. From the dialing side 0 asks for a new one; what the accepting side names is
    /// the one that holds: another than was asked for is new, and the old one is lost.
    pub session: u64,
    /// What proves that the session is the sender's: 128 bits of the system's randomness, chosen
    /// by the accepting side.
    pub token: [u8; 16],
    /// How many of the other side's frames of this session its sender has.
    pub received: u64,
}

impl core::fmt::Debug for Resume {
    /// Without the token: it is a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { session, received, .. } = self;
        f.debug_struct("Resume").field("session", session).field("received", received).finish_non_exhaustive()
    }
}

impl Resume {
    /// Bytes on the wire.
    pub(super) const LEN: usize = 32;

    /// What a side says.
    #[must_use]
    pub const fn new(session: u64, token: [u8; 16], received: u64) -> Self {
        Self { session, token, received }
    }

    /// The frame's body.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.session.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.token);
        bytes[24..].copy_from_slice(&self.received.to_be_bytes());
        bytes
    }

    /// Reads the frame's body.
    ///
    /// # Errors
    /// A length that cannot be.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (len, limit) = (body.len() as u64, Self::LEN as u64);
        if len < limit {
            return Err(FrameError::TooShort { field: "resume", value: len, limit });
        }
        let mut token = [0; 16];
        token.copy_from_slice(&body[8..24]);
        Ok(Self { session: get_u64(body, 0), token, received: get_u64(body, 24) })
    }

    /// Whether the token is the same, without telling by the time it takes where it differs.
    #[must_use]
    pub fn has_token(&self, token: &[u8; 16]) -> bool {
        self.token.iter().zip(token).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}
