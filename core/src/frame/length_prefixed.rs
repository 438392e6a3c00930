//! A length, then as many bytes: the vocabulary of tokio-util's `LengthDelimitedCodec`.

use alloc::vec::Vec;

use super::{DEFAULT_MAX_MESSAGE, Framing, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

/// The longest varint, in bytes: ten times 7 bits hold 64.
const MAX_VARINT: usize = 10;

/// How a length is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LengthField {
    /// 1 to 8 bytes.
    Fixed { width: usize, big_endian: bool },
    /// Unsigned LEB128.
    Varint,
}

/// Length-prefixed messages.
///
/// The header is `length_field_offset` bytes (written as zeros, not looked at), the length, and
/// whatever `length_adjustment` says it does not count: the length in the field plus the
/// adjustment is the number of bytes after the length field that belong to the frame. `num_skip`
/// bytes are taken off a received frame before it is handed over; by default the header up to and
/// including the length.
///
/// ```
/// use bowline_core::frame::length_prefixed::LengthPrefixed;
/// use bowline_core::frame::{Framing, Meta, Step};
///
/// let mut framing = LengthPrefixed::builder().length_field_length(2).little_endian().build()?;
/// let unread = [3, 0, b'a', b'b', b'c'];
/// assert!(matches!(framing.next_frame(&unread), Ok(Step::Frame { body, .. }) if body == (2..5)));
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    field: LengthField,
    offset: usize,
    adjustment: i64,
    num_skip: Option<usize>,
    max_message: usize,
}

impl LengthPrefixed {
    /// A length of 4 bytes, big-endian, messages of up to 8 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            field: LengthField::Fixed { width: 4, big_endian: true },
            offset: 0,
            adjustment: 0,
            num_skip: None,
            max_message: DEFAULT_MAX_MESSAGE,
        }
    }

    /// Anything else.
    pub const fn builder() -> LengthPrefixedBuilder {
        LengthPrefixedBuilder { framing: Self::new(), max_frame_length: None }
    }

    /// The largest number the length field can hold.
    fn field_max(&self) -> u64 {
        match self.field {
            LengthField::Fixed { width, .. } if width < 8 => (1_u64 << (8 * width)) - 1,
            _ => u64::MAX,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let LengthField::Fixed { width, .. } = self.field
            && !(1..=8).contains(&width)
        {
            let value = width as u64;
            return Err(ConfigError::OutOfRange {
                field: "length_field_length",
                value,
                must: "between 1 and 8",
            });
        }
        let value = self.offset as u64;
        if self.offset > 64 {
            return Err(ConfigError::OutOfRange {
                field: "length_field_offset",
                value,
                must: "at most 64 bytes",
            });
        }
        if self.adjustment.unsigned_abs() > 1 << 20 {
            let value = self.adjustment.unsigned_abs();
            let must = "between -1048576 and 1048576";
            return Err(ConfigError::OutOfRange { field: "length_adjustment", value, must });
        }
        if self.num_skip.is_some_and(|skip| skip > 1 << 20) {
            let value = self.num_skip.unwrap_or_default() as u64;
            return Err(ConfigError::OutOfRange { field: "num_skip", value, must: "at most 1048576" });
        }
        super::check_limit(self.max_message, u64::from(u32::MAX / 2))?;
        let largest = self.max_message as i128 - i128::from(self.adjustment);
        if largest > i128::from(self.field_max()) {
            let value = self.max_message as u64;
            let must = "what the length field can hold";
            return Err(ConfigError::OutOfRange { field: "max_message", value, must });
        }
        Ok(())
    }

    /// The length in the field and the bytes it takes, if they are there.
    #[inline]
    fn read_field(&self, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
        match self.field {
            LengthField::Fixed { width, big_endian } => {
                let Some(field) = bytes.get(..width) else { return Ok(None) };
                let mut wide = [0; 8];
                let value = if big_endian {
                    wide[8 - width..].copy_from_slice(field);
                    u64::from_be_bytes(wide)
                } else {
                    wide[..width].copy_from_slice(field);
                    u64::from_le_bytes(wide)
                };
                Ok(Some((value, width)))
            }
            LengthField::Varint => {
                let mut value = 0_u64;
                for (index, &byte) in bytes.iter().take(MAX_VARINT).enumerate() {
                    let bits = u64::from(byte & 0x7f);
                    // The tenth byte has room for one bit.
                    if index == MAX_VARINT - 1 && byte > 1 {
                        return Err(FrameError::UnterminatedVarint {
                            field: "length",
                            limit: MAX_VARINT as u64,
                        });
                    }
                    value |= bits << (7 * index);
                    if byte & 0x80 == 0 {
                        return Ok(Some((value, index + 1)));
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Default for LengthPrefixed {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a [`LengthPrefixed`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LengthPrefixedBuilder {
    framing: LengthPrefixed,
    max_frame_length: Option<usize>,
}

impl LengthPrefixedBuilder {
    /// Bytes of the length field, 1 to 8. Default 4.
    pub fn length_field_length(mut self, bytes: usize) -> Self {
        let big_endian = !matches!(self.framing.field, LengthField::Fixed { big_endian: false, .. });
        self.framing.field = LengthField::Fixed { width: bytes, big_endian };
        self
    }

    /// The length is big-endian (the default).
    pub fn big_endian(mut self) -> Self {
        if let LengthField::Fixed { big_endian, .. } = &mut self.framing.field {
            *big_endian = true;
        }
        self
    }

    /// The length is little-endian.
    pub fn little_endian(mut self) -> Self {
        if let LengthField::Fixed { big_endian, .. } = &mut self.framing.field {
            *big_endian = false;
        }
        self
    }

    /// The length is an unsigned LEB128, written as short as it can be, read as it comes.
    pub fn varint(mut self) -> Self {
        self.framing.field = LengthField::Varint;
        self
    }

    /// Bytes before the length field. Default 0.
    pub fn length_field_offset(mut self, bytes: usize) -> Self {
        self.framing.offset = bytes;
        self
    }

    /// What to add to the number in the length field to get the bytes behind it. Default 0; minus
    /// the header's length where the number counts the header, too.
    pub fn length_adjustment(mut self, bytes: i64) -> Self {
        self.framing.adjustment = bytes;
        self
    }

    /// Bytes taken off the front of a received frame. Default: up to and including the length;
    /// 0 keeps the header.
    pub fn num_skip(mut self, bytes: usize) -> Self {
        self.framing.num_skip = Some(bytes);
        self
    }

    /// The longest message, in bytes behind the length field. Default 8 MiB, or what the length
    /// field can hold if that is less.
    pub fn max_frame_length(mut self, bytes: usize) -> Self {
        self.max_frame_length = Some(bytes);
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn build(mut self) -> Result<LengthPrefixed, ConfigError> {
        let framing = &mut self.framing;
        framing.max_message = match self.max_frame_length {
            Some(bytes) => bytes,
            None => {
                let most = framing.field_max().saturating_add_signed(framing.adjustment.min(0));
                usize::try_from(most).unwrap_or(usize::MAX).min(DEFAULT_MAX_MESSAGE)
            }
        };
        self.framing.check()?;
        Ok(self.framing)
    }
}

impl Framing for LengthPrefixed {
    fn profile(&self) -> Profile {
        Profile::messages("length-prefixed").with_external_bodies()
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        let changed = Self { max_message: bytes, ..self.clone() };
        changed.check()?;
        *self = changed;
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let field = match unread.get(self.offset..) {
            Some(bytes) => self.read_field(bytes)?,
            None => None,
        };
        let Some((value, width)) = field else {
            let need = match self.field {
                LengthField::Fixed { width, .. } => self.offset + width,
                LengthField::Varint => unread.len().max(self.offset) + 1,
            };
            return Ok(Step::Need(need));
        };
        let Some(behind) = value.checked_add_signed(self.adjustment) else {
            let adjustment = self.adjustment;
            return Err(FrameError::LengthOverflow { field: "length", value, adjustment });
        };
        let limit = self.max_message as u64;
        if behind > limit {
            return Err(FrameError::TooLong { field: "length", value: behind, limit });
        }
        let head = self.offset + width;
        let end = head + usize::try_from(behind).unwrap_or(usize::MAX / 2);
        if unread.len() < end {
            return Ok(Step::Need(end));
        }
        let skip = self.num_skip.unwrap_or(head).min(end);
        Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: skip..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, _: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        super::check_no_extensions(extensions)?;
        let mark = out.len();
        let width = match self.field {
            LengthField::Fixed { width, .. } => width,
            LengthField::Varint => 1,
        };
        out.resize(mark + self.offset + width, 0);
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let at = mark + self.offset;
        let width = match self.field {
            LengthField::Fixed { width, .. } => width,
            LengthField::Varint => 1,
        };
        super::check_body(out, mark, at + width, external, self.max_message)?;
        let len = (out.len() - at - width + external) as u64;
        // A negative number: the body is shorter than what the peer's arithmetic takes off.
        let Some(value) = len.checked_add_signed(-self.adjustment) else {
            out.truncate(mark);
            return Err(EncodeError::Unsupported { what: "a message shorter than the length adjustment" });
        };
        match self.field {
            LengthField::Fixed { width, big_endian: true } => {
                out[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
            }
            LengthField::Fixed { width, big_endian: false } => {
                out[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            LengthField::Varint => write_varint(out, at, value),
        }
        Ok(())
    }
}

/// Writes `value` over the one byte kept for it at `at`; a longer one moves what is behind.
fn write_varint(out: &mut Vec<u8>, at: usize, mut value: u64) {
    let mut bytes = [0; MAX_VARINT];
    let mut len = 0;
    loop {
        bytes[len] = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        bytes[len] |= 0x80;
        len += 1;
    }
    out.splice(at..=at, bytes[..=len].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(framing: &LengthPrefixed, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
        out.extend_from_slice(body);
        framing.finish(&mut out, mark, 0).unwrap();
        out
    }

    #[test]
    fn widths_orders_and_varints() {
        let build = |b: LengthPrefixedBuilder| b.build().unwrap();
        let b = LengthPrefixed::builder;
        assert_eq!(encode(&build(b().length_field_length(3)), b"ab"), b"\0\0\x02ab");
        assert_eq!(encode(&build(b().length_field_length(2).little_endian()), b"ab"), b"\x02\0ab");
        assert_eq!(encode(&build(b().varint()), &[7; 300])[..2], [0xAC, 0x02]);
        let counts_itself = build(b().length_field_offset(2).length_adjustment(-6));
        assert_eq!(encode(&counts_itself, b"ab"), b"\0\0\0\0\0\x08ab");
    }

    #[test]
    fn lengths_that_cannot_be_are_named() {
        let mut shifted = LengthPrefixed::builder().length_adjustment(-6).build().unwrap();
        assert_eq!(
            shifted.next_frame(&[0, 0, 0, 5]),
            Err(FrameError::LengthOverflow { field: "length", value: 5, adjustment: -6 })
        );
        let mut wide = LengthPrefixed::builder().length_field_length(8).build().unwrap();
        assert_eq!(
            wide.next_frame(&[0xff; 8]),
            Err(FrameError::TooLong { field: "length", value: u64::MAX, limit: 8 << 20 })
        );
        let mut varint = LengthPrefixed::builder().varint().build().unwrap();
        assert_eq!(
            varint.next_frame(&[0xff; 10]),
            Err(FrameError::UnterminatedVarint { field: "length", limit: 10 })
        );
        assert_eq!(varint.next_frame(&[0x80, 0x80]), Ok(Step::Need(3)));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let b = LengthPrefixed::builder;
        assert!(b().length_field_length(0).build().is_err());
        assert!(b().length_field_length(9).build().is_err());
        assert_eq!(b().length_field_length(1).build().unwrap().max_message(), 255);
        assert!(b().length_field_length(1).max_frame_length(256).build().is_err());
        assert!(b().length_field_offset(65).build().is_err());
    }

    #[test]
    fn the_header_can_be_kept() {
        let mut kept = LengthPrefixed::builder().num_skip(0).build().unwrap();
        assert!(matches!(kept.next_frame(b"\0\0\0\x01x"), Ok(Step::Frame { body, .. }) if body == (0..5)));
    }
}
