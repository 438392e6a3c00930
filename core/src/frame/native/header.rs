//! The bytes before a frame's body.

use super::credit::Credit;
use super::numbers::{get_u16, get_u32, get_u64};
use super::resume::Resume;
use super::verdict::Accepted;
use crate::auth::{MAX_CHALLENGE, MAX_CREDENTIALS, Refusal};
use crate::error::{EncodeError, FrameError};
use crate::frame::{Class, Kind, Meta};

/// The number of bytes that every frame begins with.
pub(super) const BASE: usize = 8;
/// Flag: extensions follow the fixed fields.
pub(super) const FLAG_EXTENSIONS: u8 = 0b100;
/// The bits of the flags that contain the class.
const CLASS_BITS: u8 = 0b11;
/// The value of a field of milliseconds that means none.
const NO_TIME: u32 = u32::MAX;
/// Longest body of a hello.
const MAX_HELLO: u64 = 1024;
/// Longest text of a go-away.
const MAX_GO_AWAY: u64 = 1024;
/// Longest body of an accepted or refused frame.
const MAX_VERDICT: u64 = 1024;
/// Maximum bytes of a message in one fragment.
pub(super) const MAX_FRAGMENT: u64 = 64 * 1024;

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
    Ack = 10,
    Resume = 11,
    Credit = 12,
    Fragment = 13,
    Abort = 14,
    // Of the feature authentication.
    Challenge = 128,
    Credentials = 129,
    Accepted = 130,
    Refused = 131,
}

/// The largest number in use that belongs to no feature.
const LAST_CODE: u8 = 14;

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
            10 => Self::Ack,
            11 => Self::Resume,
            12 => Self::Credit,
            13 => Self::Fragment,
            14 => Self::Abort,
            128 => Self::Challenge,
            129 => Self::Credentials,
            130 => Self::Accepted,
            131 => Self::Refused,
            value => return Err(bad_field("kind", value, LAST_CODE)),
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
            Kind::Ack => Self::Ack,
            Kind::Resume => Self::Resume,
            Kind::Credit => Self::Credit,
            Kind::Fragment => Self::Fragment,
            Kind::Abort => Self::Abort,
            Kind::Challenge => Self::Challenge,
            Kind::Credentials => Self::Credentials,
            Kind::Accepted => Self::Accepted,
            Kind::Refused => Self::Refused,
            Kind::Numbered => return Err(EncodeError::Unsupported { what: "a numbered message" }),
        })
    }

    #[inline]
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
            Self::Ack => Kind::Ack,
            Self::Resume => Kind::Resume,
            Self::Credit => Kind::Credit,
            Self::Fragment => Kind::Fragment,
            Self::Abort => Kind::Abort,
            Self::Challenge => Kind::Challenge,
            Self::Credentials => Kind::Credentials,
            Self::Accepted => Kind::Accepted,
            Self::Refused => Kind::Refused,
        }
    }

    /// Bytes of fixed fields after the base.
    #[inline]
    pub(super) fn fixed_len(self) -> usize {
        match self {
            Self::Hello | Self::Credit | Self::Resume => 0,
            Self::Challenge | Self::Credentials | Self::Accepted | Self::Refused => 0,
            Self::Request | Self::ErrorReply => 16,
            Self::Reply
            | Self::Cancel
            | Self::Ping
            | Self::Pong
            | Self::Ack
            | Self::Fragment
            | Self::Abort => 8,
            Self::Cast => 4,
            Self::GoAway => 12,
        }
    }

    /// The maximum length of a body of this kind. Bodies that the protocol itself defines are allowed
    /// whatever the limit on messages is.
    #[inline]
    pub(super) fn max_body(self, max_message: usize) -> u64 {
        match self {
            Self::Cancel | Self::Ping | Self::Pong | Self::Ack | Self::Abort => 0,
            Self::Hello => MAX_HELLO,
            Self::GoAway => MAX_GO_AWAY,
            Self::Credit => Credit::LEN as u64,
            Self::Resume => Resume::LEN as u64,
            Self::Fragment => MAX_FRAGMENT,
            Self::Challenge => MAX_CHALLENGE as u64,
            Self::Credentials => MAX_CREDENTIALS as u64,
            Self::Accepted | Self::Refused => MAX_VERDICT,
            _ => max_message as u64,
        }
    }

    /// The shortest body of this kind.
    #[inline]
    pub(super) fn min_body(self) -> usize {
        match self {
            Self::Credit => Credit::LEN,
            Self::Resume => Resume::LEN,
            Self::Accepted => Accepted::LEN,
            Self::Refused => Refusal::LEN,
            // An empty one would cause work without effect.
            Self::Fragment => 1,
            _ => 0,
        }
    }

    /// Whether extensions may follow the fixed fields. Not for kinds whose receiver would ignore them.
    #[inline]
    pub(super) fn takes_extensions(self) -> bool {
        matches!(self, Self::Request | Self::Reply | Self::ErrorReply | Self::Cast | Self::GoAway)
    }

    /// Whether it belongs to a message of the application, which is never in the control class.
    #[inline]
    fn is_part(self) -> bool {
        matches!(self, Self::Fragment | Self::Abort)
    }
}

/// The first byte of a connection: any other value belongs to another protocol (TLS, HTTP, ...).
#[inline]
pub(super) fn check_first(unread: &[u8]) -> Result<(), FrameError> {
    match unread.first() {
        Some(&byte) if byte != Code::Hello as u8 => {
            Err(FrameError::bad_magic(unread, byte.into(), Code::Hello as u64))
        }
        _ => Ok(()),
    }
}

/// The class, and whether there are extensions.
#[inline]
pub(super) fn check_flags(code: Code, flags: u8) -> Result<(Class, bool), FrameError> {
    let allowed = if code.takes_extensions() { CLASS_BITS | FLAG_EXTENSIONS } else { CLASS_BITS };
    if flags & !allowed != 0 {
        return Err(bad_field("flags", flags, allowed));
    }
    match Class::from_index(flags & CLASS_BITS) {
        Some(Class::Control) if code.is_part() => Err(bad_field("class", 0_u8, 2)),
        Some(class) => Ok((class, flags & FLAG_EXTENSIONS != 0)),
        None => Err(bad_field("class", flags & CLASS_BITS, 2)),
    }
}

#[inline]
pub(super) fn check_attempt(code: Code, attempt: u8) -> Result<(), FrameError> {
    if (code == Code::Request) != (attempt > 0) {
        return Err(bad_field("attempt", attempt, u8::from(code == Code::Request)));
    }
    Ok(())
}

#[inline]
pub(super) fn check_reserved(value: u16) -> Result<(), FrameError> {
    if value != 0 {
        return Err(bad_field("reserved", value, 0));
    }
    Ok(())
}

#[cold]
fn bad_field<T: Into<u64>>(field: &'static str, value: T, limit: u8) -> FrameError {
    FrameError::BadField { field, value: value.into(), limit: u64::from(limit) }
}

/// Reads the fixed fields after the first 8 bytes of `frame`.
#[inline]
pub(super) fn read_fixed(code: Code, class: Class, attempt: u8, frame: &[u8]) -> Result<Meta, FrameError> {
    let (mut id, mut method, mut status, mut remaining, mut retry) = (0, 0, 0, NO_TIME, NO_TIME);
    match code {
        Code::Hello | Code::Credit | Code::Resume => {}
        Code::Challenge | Code::Credentials | Code::Accepted | Code::Refused => {}
        Code::Request => {
            id = get_u64(frame, 8);
            method = get_u32(frame, 16);
            remaining = get_u32(frame, 20);
        }
        Code::Reply | Code::Cancel | Code::Ping | Code::Pong | Code::Ack | Code::Fragment | Code::Abort => {
            id = get_u64(frame, 8);
        }
        Code::ErrorReply => {
            id = get_u64(frame, 8);
            status = get_u16(frame, 16);
            check_reserved(get_u16(frame, 18))?;
            retry = get_u32(frame, 20);
        }
        Code::Cast => method = get_u32(frame, 8),
        Code::GoAway => {
            id = get_u64(frame, 8);
            status = get_u16(frame, 16);
            check_reserved(get_u16(frame, 18))?;
        }
    }
    // Built in one expression: a value that is changed in place and then copied costs more than everything
    // above.
    Ok(Meta {
        kind: code.kind(),
        class,
        attempt,
        id,
        method,
        remaining_ms: (remaining != NO_TIME).then_some(remaining),
        status,
        retry_after_ms: (retry != NO_TIME).then_some(retry),
    })
}

/// Changes the class of the frame that begins here.
pub(super) fn set_class(frame: &mut [u8], class: Class) {
    if let Some(flags) = frame.get_mut(1) {
        *flags = (*flags & !CLASS_BITS) | class.index() as u8;
    }
}

/// Encodes a time for the wire: none, or at most the largest value.
#[inline]
pub(super) fn put_time(ms: Option<u32>) -> [u8; 4] {
    ms.map_or(NO_TIME, |ms| ms.min(NO_TIME - 1)).to_be_bytes()
}

/// A time from the wire.
#[inline]
pub(super) fn get_time(bytes: &[u8], at: usize) -> Option<u32> {
    Some(get_u32(bytes, at)).filter(|&ms| ms != NO_TIME)
}
