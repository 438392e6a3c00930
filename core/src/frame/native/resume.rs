//! The resume frame: the session that a connection belongs to, and how much of it its sender has received.

use super::numbers::get_u64;
use crate::error::FrameError;

/// The state of the session that each side sends after its hello.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resume {
    /// The session. The dialing side sends 0 to ask for a new one. The accepting side sends the session that
    /// is used: if it differs from the one asked for, it is a new session and the old one is lost.
    pub session: u64,
    /// Proves that the session belongs to the sender: 128 random bits, chosen by the accepting side.
    pub token: [u8; 16],
    /// How many of the other side's frames of this session its sender has received.
    pub received: u64,
}

impl core::fmt::Debug for Resume {
    /// Does not print the token: it is a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { session, received, .. } = self;
        f.debug_struct("Resume").field("session", session).field("received", received).finish_non_exhaustive()
    }
}

impl Resume {
    /// Bytes on the wire.
    pub(super) const LEN: usize = 32;

    /// A resume with these values.
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
    /// The length is invalid.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (len, limit) = (body.len() as u64, Self::LEN as u64);
        if len < limit {
            return Err(FrameError::TooShort { field: "resume", value: len, limit });
        }
        let mut token = [0; 16];
        token.copy_from_slice(&body[8..24]);
        Ok(Self { session: get_u64(body, 0), token, received: get_u64(body, 24) })
    }

    /// Compares the token in constant time.
    #[must_use]
    pub fn has_token(&self, token: &[u8; 16]) -> bool {
        self.token.iter().zip(token).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}
