//! A length, then that many bytes ([`LengthPrefixed`]).

use alloc::vec::Vec;

use bytes::Bytes;

use super::{DEFAULT_MAX_MESSAGE, Framing, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

mod builder;
#[cfg(test)]
mod tests;

pub use builder::Builder;

/// The longest header that can be configured, in bytes.
pub const LONGEST_HEADER: usize = 65_535;

/// The most bytes that a varint takes.
const LONGEST_VARINT: usize = 10;

/// A length field, then that many bytes of body: 4 bytes big-endian and at most 8 MiB unless
/// configured otherwise with [`LengthPrefixed::builder`].
///
/// The settings and their meaning are those of tokio-util's `LengthDelimitedCodec`. With the same settings
/// the same bytes are read, with these differences:
///
/// * The limit applies to the body that is handed over (the length after adjustment and skipping), and
///   equally to the body that is sent. In tokio-util it applies to the value of the field.
/// * A length that does not reach the end of the header is an error ([`FrameError::TooShort`]). In
///   tokio-util, with `num_skip` below the header's length, the rest of the header would be read as the next
///   frame.
/// * Writing applies all settings, so that what one side writes the other one reads. In tokio-util only the
///   length field and the adjustment are written.
/// * A limit that the length field cannot express is refused when it is set; tokio-util lowers it.
///
/// # The header
///
/// ```text
///            length_field_offset   length_field_length
///          |---------------------|---------------------|
///  frame:  [    header_prefix    |       length        | ... | body ]
///          |----------------- num_skip ----------------------|
///                                (default: up to here ^)
/// ```
///
/// When reading, the body begins after `num_skip` bytes and has the length in the length field plus
/// `length_adjustment`. With a smaller `num_skip` the received body begins with the rest of the header; **the
/// body to send never contains it**: the framing always writes the header, and the length field counts what
/// the receiver will count. With a larger `num_skip` the bytes between length and body are written as zeros.
///
/// # Errors
///
/// Lengths are checked as soon as bytes of the field are available, without waiting for the rest of the
/// header; in errors, missing bytes count as zero.
///
/// # Example
///
/// A protocol whose 2-byte little-endian length counts the whole frame, its 3-byte header included:
///
/// ```
/// use bowline_core::frame::length_prefixed::LengthPrefixed;
/// use bowline_core::frame::{Framing, Meta, Step};
///
/// let mut framing = LengthPrefixed::builder()
///     .header_prefix(&[0xbb])
///     .length_field_length(2)
///     .little_endian()
///     .length_adjustment(-3)
///     .max_frame_length(1000)
///     .build()?;
/// let mut out = Vec::new();
/// let mark = framing.begin(&mut out, &Meta::default(), &[])?;
/// out.extend_from_slice(b"hello");
/// framing.finish(&mut out, mark, 0)?;
/// assert_eq!(out, b"\xbb\x08\x00hello");
///
/// let Step::Frame { body, .. } = framing.next_frame(&out)? else { unreachable!() };
/// assert_eq!(&out[body], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    field: Field,
    /// Where the length field begins.
    offset: usize,
    /// The amount to add to the field's value to get the bytes after `skip`.
    adjustment: i64,
    /// Bytes from the start of the frame to the received body (fixed fields only).
    skip: usize,
    /// Bytes of the header at the start of the received body.
    kept: usize,
    /// The bytes written before a body, with zeros for the length. A varint has one byte here: room for the
    /// others is made when the length is known.
    header: Bytes,
    max_message: usize,
    /// The smallest value of the field that reaches the end of the header.
    min_value: u64,
    /// The value of the field of the longest body.
    max_value: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Big(usize),
    Little(usize),
    Varint,
}

impl Field {
    /// The largest value that fits.
    const fn largest(self) -> u64 {
        match self {
            Self::Big(len) | Self::Little(len) => u64::MAX >> (64 - 8 * len),
            Self::Varint => u64::MAX,
        }
    }
}

impl Default for LengthPrefixed {
    fn default() -> Self {
        Self::new()
    }
}

impl LengthPrefixed {
    /// A length of 4 bytes, big-endian, that counts the body; bodies of up to
    /// [`DEFAULT_MAX_MESSAGE`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            field: Field::Big(4),
            offset: 0,
            adjustment: 0,
            skip: 4,
            kept: 0,
            header: Bytes::from_static(&[0; 4]),
            max_message: DEFAULT_MAX_MESSAGE,
            min_value: 0,
            max_value: DEFAULT_MAX_MESSAGE as u64,
        }
    }

    /// Starts from [`LengthPrefixed::new`]'s settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Sets the longest body that is written or read, in bytes.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] if the length field cannot express it.
    pub fn with_max_message(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.set_max_message(bytes)?;
        Ok(self)
    }

    /// The value of a fixed field; missing bytes count as 0.
    #[inline]
    fn fixed_value(&self, unread: &[u8], len: usize, big: bool) -> u64 {
        let behind = unread.get(self.offset..).unwrap_or_default();
        let word = match behind.first_chunk::<8>() {
            Some(word) => *word,
            None => {
                let mut word = [0; 8];
                word[..behind.len()].copy_from_slice(behind);
                word
            }
        };
        let unused = 64 - 8 * len;
        if big { u64::from_be_bytes(word) >> unused } else { u64::from_le_bytes(word) << unused >> unused }
    }

    #[inline]
    fn next_fixed(&self, unread: &[u8], len: usize, big: bool) -> Result<Step, FrameError> {
        let value = self.fixed_value(unread, len, big);
        let head = self.offset + len;
        if unread.len() < head {
            return self.part_of_header(value, head);
        }
        if value < self.min_value || value > self.max_value {
            return Err(self.bad_length(value));
        }
        Ok(self.step(unread, self.skip, value))
    }

    #[inline]
    fn next_varint(&self, unread: &[u8]) -> Result<Step, FrameError> {
        let behind = unread.get(self.offset..).unwrap_or_default();
        let mut value = 0;
        for (at, &byte) in behind.iter().take(LONGEST_VARINT).enumerate() {
            if at == LONGEST_VARINT - 1 && byte > 1 {
                if byte & 0x80 != 0 {
                    break;
                }
                return Err(FrameError::LengthOverflow { field: "length", value: u64::MAX, adjustment: 0 });
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                if value < self.min_value || value > self.max_value {
                    return Err(self.bad_length(value));
                }
                return Ok(self.step(unread, self.offset + at + 1, value));
            }
            // Further bytes can only increase it.
            if value > self.max_value {
                return Err(self.bad_length(value));
            }
        }
        if behind.len() >= LONGEST_VARINT {
            return Err(FrameError::UnterminatedVarint { field: "length", limit: LONGEST_VARINT as u64 });
        }
        Ok(Step::Need(unread.len().max(self.offset) + 1))
    }

    /// The frame whose body begins at `start`, if it is complete. `value` is checked already.
    #[inline]
    fn step(&self, unread: &[u8], start: usize, value: u64) -> Step {
        let end = start + value.wrapping_add_signed(self.adjustment) as usize;
        if unread.len() < end {
            return Step::Need(end);
        }
        Step::Frame { meta: Meta::default(), extensions: 0..0, body: start..end, consumed: end }
    }

    /// Checks an incomplete fixed field. `value` is its minimum.
    #[cold]
    fn part_of_header(&self, value: u64, head: usize) -> Result<Step, FrameError> {
        if value > self.max_value {
            return Err(self.bad_length(value));
        }
        Ok(Step::Need(head))
    }

    /// The error for a value outside of `min_value..=max_value`.
    #[cold]
    fn bad_length(&self, value: u64) -> FrameError {
        let field = "length";
        if value < self.min_value {
            return FrameError::TooShort { field, value, limit: self.min_value };
        }
        match value.checked_add_signed(self.adjustment) {
            Some(value) => FrameError::TooLong { field, value, limit: self.max_message as u64 },
            None => FrameError::LengthOverflow { field, value, adjustment: self.adjustment },
        }
    }

    /// Makes room for the varint of `value` in the header at `mark` and writes it.
    #[inline]
    fn write_varint(&self, out: &mut Vec<u8>, mark: usize, value: u64) {
        let at = mark + self.offset;
        if value < 0x80 {
            out[at] = value as u8;
            return;
        }
        let mut bytes = [0; LONGEST_VARINT];
        let mut len = 0;
        let mut rest = value;
        while rest >= 0x80 {
            bytes[len] = rest as u8 | 0x80;
            rest >>= 7;
            len += 1;
        }
        bytes[len] = rest as u8;
        let body = at + 1..out.len();
        out.extend_from_slice(&bytes[..len]);
        out.copy_within(body, at + 1 + len);
        out[at..=at + len].copy_from_slice(&bytes[..=len]);
    }
}

impl Framing for LengthPrefixed {
    fn profile(&self) -> Profile {
        Profile::messages("length-prefixed").with_external_bodies()
    }

    /// The maximum length of a received body. For a body to send, the limit includes the header's bytes that
    /// the receiver keeps in front of it.
    fn max_message(&self) -> usize {
        self.max_message
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        let out_of_range = |must| ConfigError::OutOfRange { field: "max_message", value: bytes as u64, must };
        // No allocation is longer than `isize::MAX`, and sums with the header stay in range.
        if bytes > isize::MAX as usize - LONGEST_HEADER - LONGEST_VARINT {
            return Err(out_of_range("less than the address space less a header"));
        }
        if bytes < self.kept {
            return Err(out_of_range("at least the bytes of the header that are kept"));
        }
        let value = bytes as i128 - i128::from(self.adjustment);
        let max_value = match u64::try_from(value) {
            Ok(value) if value <= self.field.largest() => value,
            Ok(_) => return Err(out_of_range("within what the length field can express")),
            Err(_) => return Err(out_of_range("at least the length adjustment")),
        };
        self.max_message = bytes;
        self.max_value = max_value;
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        match self.field {
            // The width as a constant, for the most common ones.
            Field::Big(4) => self.next_fixed(unread, 4, true),
            Field::Big(len) => self.next_fixed(unread, len, true),
            Field::Little(4) => self.next_fixed(unread, 4, false),
            Field::Little(len) => self.next_fixed(unread, len, false),
            Field::Varint => self.next_varint(unread),
        }
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        meta.check_plain(extensions)?;
        let mark = out.len();
        out.extend_from_slice(&self.header);
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let inside = out.len() - mark - self.header.len() + self.kept;
        let len = (inside as u64).saturating_add(external as u64);
        let max = self.max_message as u64;
        if len > max {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len, max });
        }
        let distance = self.adjustment.unsigned_abs();
        let value = if self.adjustment < 0 { len.checked_add(distance) } else { len.checked_sub(distance) };
        let Some(value) = value else {
            out.truncate(mark);
            return Err(EncodeError::Unsupported { what: "a body shorter than the length adjustment" });
        };
        let at = mark + self.offset;
        match self.field {
            Field::Big(4) => out[at..at + 4].copy_from_slice(&(value as u32).to_be_bytes()),
            Field::Little(4) => out[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes()),
            Field::Big(len) => out[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]),
            Field::Little(len) => out[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]),
            Field::Varint => self.write_varint(out, mark, value),
        }
        Ok(())
    }
}
