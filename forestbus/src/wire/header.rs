//! The header of a frame: `{ServiceMethod, Seq}` of a request, with `Error` of a response.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use bowline_core::error::FrameError;

use super::codec::KeyOrder;
use super::error::DecodeError;
use super::read::Cursor;
use super::write::Out;

/// Longest header that is read, bytes.
pub const MAX_HEADER: usize = 64 * 1024;
/// Longest name of a method, bytes.
pub const MAX_NAME: usize = 4 * 1024;
/// Longest error text that is written, bytes; longer texts are truncated.
pub const MAX_ERROR: usize = 32 * 1024;

const METHOD: &str = "ServiceMethod";
const SEQ: &str = "Seq";
const ERROR: &str = "Error";

/// A parsed header. Ranges are relative to its first byte.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Header {
    /// The place of the method's name, for [`text_of`](super::text_of).
    pub(super) method: Range<usize>,
    pub(super) seq: u64,
    /// The place of the error text. `None`: a request.
    pub(super) error: Option<Range<usize>>,
}

impl Header {
    /// Parses a whole header.
    pub(super) fn read(item: &[u8]) -> Result<Self, FrameError> {
        let mut header = Self::default();
        let mut cursor = Cursor::new(item);
        let read = cursor.fields("header", &[METHOD, SEQ, ERROR], |cursor, field| {
            match field {
                0 => header.method = place(cursor, METHOD)?,
                1 => header.seq = cursor.unsigned(SEQ)?,
                _ => header.error = Some(place(cursor, ERROR)?),
            }
            Ok(())
        });
        if let Err(error) = read {
            return Err(FrameError::other(format!("in the header: {error}")));
        }
        let (value, limit) = (header.method.len() as u64, MAX_NAME as u64);
        if value > limit {
            return Err(FrameError::TooLong { field: METHOD, value, limit });
        }
        Ok(header)
    }
}

/// The place of a text.
fn place(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Range<usize>, DecodeError> {
    let at = cursor.at() as u64;
    if cursor.take_null(field)? {
        return Ok(0..0);
    }
    let text = cursor.string(field, "a string")?;
    match core::str::from_utf8(&text.bytes) {
        Ok(_) => Ok(text.place),
        Err(_) => Err(DecodeError::Utf8 { field, at }),
    }
}

/// Writes a header; with `error` it is that of a response.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, order: KeyOrder, method: &str, seq: u64, error: Option<&str>) {
    let mut out = Out(out);
    match (order, error) {
        (KeyOrder::Declared, None) => {
            out.map(2).text(METHOD).text(method).text(SEQ).unsigned(seq);
        }
        (KeyOrder::Declared, Some(error)) => {
            out.map(3).text(METHOD).text(method).text(SEQ).unsigned(seq).text(ERROR).text(error);
        }
        (KeyOrder::Alphabetical, None) => {
            out.map(2).text(SEQ).unsigned(seq).text(METHOD).text(method);
        }
        (KeyOrder::Alphabetical, Some(error)) => {
            out.map(3).text(ERROR).text(error).text(SEQ).unsigned(seq).text(METHOD).text(method);
        }
    }
}
