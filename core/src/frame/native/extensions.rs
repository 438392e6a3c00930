//! Extensions: typed values that a receiver may skip.

use alloc::vec::Vec;
use core::ops::Range;

use super::numbers::get_u16;
use crate::error::{EncodeError, FrameError};

/// Type of the extension that carries a W3C `traceparent` as text.
pub const TRACE_CONTEXT: u16 = 1;

/// Bytes before all extensions of a frame: their total length.
pub(super) const TOTAL: usize = 2;
/// The maximum total length of the extensions of one frame.
pub(super) const MAX: usize = u16::MAX as usize;
/// Bytes before an extension's value: its type and length.
pub(super) const HEAD: usize = 4;

/// One extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extension<'a> {
    /// Its type; 0x8000 and above are for applications.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// Builds the extensions of a message.
///
/// ```
/// use bowline_core::frame::native::{Extensions, TRACE_CONTEXT, parse_extensions};
///
/// let mut extensions = Extensions::new();
/// extensions.push(TRACE_CONTEXT, b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")?;
/// let encoded = extensions.into_bytes();
/// let first = parse_extensions(&encoded).next().unwrap();
/// assert_eq!(first.unwrap().kind, TRACE_CONTEXT);
/// # Ok::<(), bowline_core::error::EncodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    encoded: Vec<u8>,
}

impl Extensions {
    /// No extensions.
    #[must_use]
    pub const fn new() -> Self {
        Self { encoded: Vec::new() }
    }

    /// Adds an extension.
    ///
    /// # Errors
    /// The total would exceed 65,535 bytes.
    pub fn push(&mut self, kind: u16, value: &[u8]) -> Result<(), EncodeError> {
        let total = self.encoded.len() + HEAD + value.len();
        let (Ok(len), true) = (u16::try_from(value.len()), total <= MAX) else {
            return Err(EncodeError::TooLarge { len: total as u64, max: MAX as u64 });
        };
        self.encoded.extend_from_slice(&kind.to_be_bytes());
        self.encoded.extend_from_slice(&len.to_be_bytes());
        self.encoded.extend_from_slice(value);
        Ok(())
    }

    /// The encoded form, as options take it.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.encoded
    }
}

/// Iterates over encoded extensions. Those of a received frame were checked with it and contain no errors.
pub fn parse_extensions(encoded: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, FrameError>> {
    let mut rest = encoded;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = usize::from(get_u16(rest, 2));
        if rest.len() < HEAD + len {
            let value = (HEAD + len) as u64;
            let error = FrameError::TooLong { field: "extension", value, limit: rest.len() as u64 };
            rest = &[];
            return Some(Err(error));
        }
        let extension = Extension { kind: get_u16(rest, 0), value: &rest[HEAD..HEAD + len] };
        rest = &rest[HEAD + len..];
        Some(Ok(extension))
    })
}

/// Checks that `encoded` consists of valid extensions.
pub(super) fn check(encoded: &[u8]) -> Result<(), FrameError> {
    parse_extensions(encoded).try_for_each(|extension| extension.map(drop))
}

/// The position of the extensions of a frame of `end` bytes, whose two-byte length is at `at`, as soon as
/// these bytes have arrived. The bytes after the extensions may be at most `max_body`.
pub(super) fn locate(
    unread: &[u8],
    at: usize,
    end: usize,
    max_body: u64,
) -> Result<Option<Range<usize>>, FrameError> {
    let Some(&[high, low]) = unread.get(at..at + TOTAL) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let room = end - at - TOTAL;
    if len < HEAD {
        return Err(FrameError::TooShort { field: "extensions", value: len as u64, limit: HEAD as u64 });
    }
    let Some(body) = room.checked_sub(len) else {
        return Err(FrameError::TooLong { field: "extensions", value: len as u64, limit: room as u64 });
    };
    if body as u64 > max_body {
        return Err(FrameError::TooLong { field: "body", value: body as u64, limit: max_body });
    }
    Ok(Some(at + TOTAL..at + TOTAL + len))
}
