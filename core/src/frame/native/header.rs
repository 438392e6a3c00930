//! The bytes before a frame's body.

use crate::error::{EncodeError, FrameError};
use crate::frame::{Class, Kind, Meta};

/// Bytes that every frame begins with.
pub(super) const BASE: usize = 8;
/// Flag: extensions follow the fixed fields.
pub(super) const FLAG_EXTENSIONS: u8 = 0b100;
/// The class is in these bits of the flags.
const CLASS_BITS: u8 = 0b11;
/// In a field of milliseconds: none.
pub(super) const NO_TIME: u32 = u32::MAX;
/// Longest header without extensions: an error reply's or a request's.
const MAX_HEADER: usize = BASE + 16;

/// The kinds, as numbers on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Code {
    Hello = 1,
    Request = 2,
    Reply = 3,
    ErrorReply = 4,
    Cast = 5,
    Cancel = 6,
    Ping = 7,
    Pong = 8,
    GoAway = 9,
}

/// The largest number in use; 10 to 14 are kept for acknowledgement, resume, credit, fragments.
const LAST_CODE: u8 = 9;

impl Code {
    #[inline]
    pub(super) fn from_byte(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::ErrorReply,
            5 => Self::Cast,
            6 => Self::Cancel,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::GoAway,
            value => {
                let (value, limit) = (u64::from(value), u64::from(LAST_CODE));
                return Err(FrameError::BadField { field: "kind", value, limit });
            }
        })
    }

    #[inline]
    pub(super) fn of(kind: Kind) -> Result<Self, EncodeError> {
        Ok(match kind {
            Kind::Hello => Self::Hello,
            Kind::Request => Self::Request,
            Kind::Reply => Self::Reply,
            Kind::ErrorReply => Self::ErrorReply,
            Kind::Cast => Self::Cast,
            Kind::Cancel => Self::Cancel,
            Kind::Ping => Self::Ping,
            Kind::Pong => Self::Pong,
            Kind::GoAway => Self::GoAway,
            Kind::Numbered => return Err(EncodeError::Unsupported { what: "a numbered message" }),
        })
    }

    fn kind(self) -> Kind {
        match self {
            Self::Hello => Kind::Hello,
            Self::Request => Kind::Request,
            Self::Reply => Kind::Reply,
            Self::ErrorReply => Kind::ErrorReply,
            Self::Cast => Kind::Cast,
            Self::Cancel => Kind::Cancel,
            Self::Ping => Kind::Ping,
            Self::Pong => Kind::Pong,
            Self::GoAway => Kind::GoAway,
        }
    }

    /// Bytes of fixed fields after the base.
    #[inline]
    pub(super) fn fixed_len(self) -> usize {
        match self {
            Self::Hello => 0,
            Self::Request | Self::ErrorReply => 16,
            Self::Reply | Self::Cancel | Self::Ping | Self::Pong => 8,
            Self::Cast => 4,
            Self::GoAway => 12,
        }
    }

    /// The longest body of this kind.
    #[inline]
    pub(super) fn max_body(self, max_message: usize) -> u64 {
        match self {
            Self::Cancel | Self::Ping | Self::Pong => 0,
            Self::Hello | Self::GoAway => 1024,
            _ => max_message as u64,
        }
    }
}

#[inline]
pub(super) fn check_flags(flags: u8) -> Result<Class, FrameError> {
    if flags & !(CLASS_BITS | FLAG_EXTENSIONS) != 0 {
        let limit = u64::from(CLASS_BITS | FLAG_EXTENSIONS);
        return Err(FrameError::BadField { field: "flags", value: u64::from(flags), limit });
    }
    let class = flags & CLASS_BITS;
    let wrong = || FrameError::BadField { field: "class", value: u64::from(class), limit: 2 };
    Class::from_index(class).ok_or_else(wrong)
}

/// Checks everything in the first 8 bytes but the length.
#[inline]
pub(super) fn check_base(base: &[u8; BASE]) -> Result<(Code, Class), FrameError> {
    let code = Code::from_byte(base[0])?;
    let class = check_flags(base[1])?;
    let attempt = base[2];
    if (code == Code::Request) != (attempt > 0) {
        let limit = u64::from(code == Code::Request);
        return Err(FrameError::BadField { field: "attempt", value: u64::from(attempt), limit });
    }
    if base[3] != 0 {
        return Err(FrameError::BadField { field: "reserved", value: u64::from(base[3]), limit: 0 });
    }
    Ok((code, class))
}

/// Reads the fixed fields; `bytes` is as long as [`Code::fixed_len`] says.
#[inline]
pub(super) fn read_fixed(code: Code, bytes: &[u8]) -> Result<Meta, FrameError> {
    let mut meta = Meta { kind: code.kind(), ..Meta::default() };
    match code {
        Code::Hello => {}
        Code::Request => {
            meta.id = get_u64(bytes, 0);
            meta.method = get_u32(bytes, 8);
            meta.remaining_ms = time(get_u32(bytes, 12));
        }
        Code::Reply | Code::Cancel | Code::Ping | Code::Pong => meta.id = get_u64(bytes, 0),
        Code::ErrorReply => {
            meta.id = get_u64(bytes, 0);
            meta.status = get_u16(bytes, 8);
            check_reserved(get_u16(bytes, 10))?;
            meta.retry_after_ms = time(get_u32(bytes, 12));
        }
        Code::Cast => meta.method = get_u32(bytes, 0),
        Code::GoAway => {
            meta.id = get_u64(bytes, 0);
            meta.status = get_u16(bytes, 8);
            check_reserved(get_u16(bytes, 10))?;
        }
    }
    Ok(meta)
}

fn check_reserved(value: u16) -> Result<(), FrameError> {
    if value != 0 {
        return Err(FrameError::BadField { field: "reserved", value: u64::from(value), limit: 0 });
    }
    Ok(())
}

fn time(ms: u32) -> Option<u32> {
    (ms != NO_TIME).then_some(ms)
}

/// Reads a big-endian number at `at`; missing bytes count as zero (callers checked the length).
pub(super) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// A header being put together, without a vector.
#[derive(Debug)]
pub(super) struct Fixed {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Fixed {
    #[inline]
    pub(super) fn new() -> Self {
        Self { bytes: [0; MAX_HEADER], len: 0 }
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
pub(super) fn put_u16(fixed: &mut Fixed, value: u16) {
    fixed.put(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_u32(fixed: &mut Fixed, value: u32) {
    fixed.put(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_u64(fixed: &mut Fixed, value: u64) {
    fixed.put(&value.to_be_bytes());
}
