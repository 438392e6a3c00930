//! The credit frame: how much more of a class the receiver accepts.

use super::numbers::get_u64;
use crate::error::FrameError;
use crate::frame::Class;

/// The smallest window a side may have, bytes.
pub const MIN_WINDOW: u32 = 64 * 1024;
/// The cost of a message in addition to the bytes of its frame: about the memory needed to keep one, so that
/// the number of small messages is bounded, too.
pub const MESSAGE_COST: u64 = 256;

/// The limit granted and the bytes read by one side in one class, counted from the beginning of the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Credit {
    /// Which class: normal or bulk.
    pub class: Class,
    /// The total cost that requests and casts may have.
    pub limit: u64,
    /// Bytes of the class read so far, frames of every kind.
    pub seen: u64,
}

impl Credit {
    /// Bytes on the wire.
    pub(super) const LEN: usize = 20;

    /// A grant of this total.
    #[must_use]
    pub const fn new(class: Class, limit: u64, seen: u64) -> Self {
        Self { class, limit, seen }
    }

    /// The frame's body.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 20] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.class.index() as u8;
        bytes[4..12].copy_from_slice(&self.limit.to_be_bytes());
        bytes[12..].copy_from_slice(&self.seen.to_be_bytes());
        bytes
    }

    /// Reads the frame's body.
    ///
    /// # Errors
    /// The length or the class is invalid.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (len, limit) = (body.len() as u64, Self::LEN as u64);
        if len < limit {
            return Err(FrameError::TooShort { field: "credit", value: len, limit });
        }
        let class = match Class::from_index(body[0]) {
            Some(class) if class != Class::Control => class,
            _ => return Err(FrameError::BadField { field: "class", value: u64::from(body[0]), limit: 2 }),
        };
        if let Some(&value) = body[1..4].iter().find(|&&byte| byte != 0) {
            return Err(FrameError::BadField { field: "reserved", value: u64::from(value), limit: 0 });
        }
        Ok(Self { class, limit: get_u64(body, 4), seen: get_u64(body, 12) })
    }
}
