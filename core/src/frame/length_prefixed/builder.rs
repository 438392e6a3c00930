//! The settings of a length-prefixed framing, and their check.

use alloc::vec;
use alloc::vec::Vec;

use super::{DEFAULT_MAX_MESSAGE, Field, LONGEST_HEADER, LengthPrefixed};
use crate::error::ConfigError;
#[cfg(doc)]
use crate::error::FrameError;
use crate::frame::Framing;

/// The settings of a [`LengthPrefixed`], with the names that they have in tokio-util.
///
/// # Example
///
/// The length counts the body but comes before a byte of flags, which is handed over in front of the body
/// together with the length:
///
/// ```
/// use bowline_core::frame::length_prefixed::LengthPrefixed;
/// use bowline_core::frame::{Framing, Step};
///
/// let mut framing = LengthPrefixed::builder()
///     .length_field_length(2)
///     .length_adjustment(3)
///     .num_skip(0)
///     .build()?;
/// let bytes = b"\x00\x05\x01hello";
/// let Step::Frame { body, .. } = framing.next_frame(bytes)? else { unreachable!() };
/// assert_eq!(&bytes[body], b"\x00\x05\x01hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` is called"]
pub struct Builder {
    length: Length,
    big_endian: bool,
    prefix: Prefix,
    adjustment: i64,
    num_skip: Option<usize>,
    max_frame_length: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Fixed(usize),
    Varint,
}

#[derive(Clone, Debug)]
enum Prefix {
    Zeros(usize),
    Given(Vec<u8>),
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The settings of [`LengthPrefixed::new`].
    pub const fn new() -> Self {
        Self {
            length: Length::Fixed(4),
            big_endian: true,
            prefix: Prefix::Zeros(0),
            adjustment: 0,
            num_skip: None,
            max_frame_length: None,
        }
    }

    /// The length's high byte comes first (the default). Without effect on a varint.
    pub const fn big_endian(mut self) -> Self {
        self.big_endian = true;
        self
    }

    /// The length's low byte comes first. Without effect on a varint.
    pub const fn little_endian(mut self) -> Self {
        self.big_endian = false;
        self
    }

    /// The longest body that is read or written, in bytes; by default
    /// [`DEFAULT_MAX_MESSAGE`], or less where the length field cannot express that.
    pub const fn max_frame_length(mut self, bytes: usize) -> Self {
        self.max_frame_length = Some(bytes);
        self
    }

    /// The length field has this many bytes, 1 to 8; default 4. Resets [`varint`](Self::varint).
    pub const fn length_field_length(mut self, bytes: usize) -> Self {
        self.length = Length::Fixed(bytes);
        self
    }

    /// The length is an unsigned LEB128 number (7 bits a byte, low bits first, the top bit says
    /// that another byte follows), as in Protocol Buffers.
    ///
    /// The shortest form is written. When reading, overlong forms of up to 10 bytes are accepted; a number of
    /// 2^64 or more is a [`FrameError::LengthOverflow`], one without an end a
    /// [`FrameError::UnterminatedVarint`].
    pub const fn varint(mut self) -> Self {
        self.length = Length::Varint;
        self
    }

    /// This many bytes come before the length; default 0. They are written as zeros, and ignored when
    /// reading. Resets [`header_prefix`](Self::header_prefix).
    pub fn length_field_offset(mut self, bytes: usize) -> Self {
        self.prefix = Prefix::Zeros(bytes);
        self
    }

    /// Sets the bytes before the length, and with them the
    /// [`length_field_offset`](Self::length_field_offset). They are ignored when reading.
    pub fn header_prefix(mut self, bytes: &[u8]) -> Self {
        self.prefix = Prefix::Given(bytes.to_vec());
        self
    }

    /// The amount to add to the value of the length field to get the number of bytes after
    /// [`num_skip`](Self::num_skip); default 0. Negative if the length counts parts of the header that are
    /// skipped, positive if it does not count all bytes that follow.
    pub const fn length_adjustment(mut self, bytes: i64) -> Self {
        self.adjustment = bytes;
        self
    }

    /// The body begins after this many bytes of the frame; default: after the length field.
    pub const fn num_skip(mut self, bytes: usize) -> Self {
        self.num_skip = Some(bytes);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// * [`ConfigError::OutOfRange`] if the length field does not have 1 to 8 bytes, the header is longer
    ///   than [`LONGEST_HEADER`], or the length field cannot express
    ///   [`max_frame_length`](Self::max_frame_length).
    /// * [`ConfigError::Conflict`] for [`varint`](Self::varint) with [`num_skip`](Self::num_skip): the end of
    ///   such a header is not known beforehand.
    pub fn build(self) -> Result<LengthPrefixed, ConfigError> {
        let (field, len) = match self.length {
            Length::Varint if self.num_skip.is_some() => {
                let why = "a varint is always skipped whole";
                return Err(ConfigError::Conflict { field: "num_skip", why });
            }
            Length::Varint => (Field::Varint, 1),
            Length::Fixed(len @ 1..=8) if self.big_endian => (Field::Big(len), len),
            Length::Fixed(len @ 1..=8) => (Field::Little(len), len),
            Length::Fixed(len) => {
                let value = len as u64;
                return Err(ConfigError::OutOfRange { field: "length_field_length", value, must: "1 to 8" });
            }
        };
        let mut header = match self.prefix {
            Prefix::Zeros(bytes) => {
                check_header("length_field_offset", bytes, LONGEST_HEADER - len)?;
                vec![0; bytes]
            }
            Prefix::Given(bytes) => {
                check_header("header_prefix", bytes.len(), LONGEST_HEADER - len)?;
                bytes
            }
        };
        let offset = header.len();
        let head = offset + len;
        let skip = self.num_skip.unwrap_or(head);
        check_header("num_skip", skip, LONGEST_HEADER)?;
        header.resize(head.max(skip), 0);
        let kept = head.saturating_sub(skip);

        let adjustment = self.adjustment;
        let min_value = (kept as i128 - i128::from(adjustment)).clamp(0, i128::from(u64::MAX)) as u64;
        let mut framing = LengthPrefixed {
            field,
            offset,
            adjustment,
            skip,
            kept,
            header: header.into(),
            max_message: 0,
            min_value,
            max_value: 0,
        };
        let max_message = self.max_frame_length.unwrap_or_else(|| {
            let expressible = field.largest().saturating_add_signed(adjustment);
            expressible.min(DEFAULT_MAX_MESSAGE as u64) as usize
        });
        framing.set_max_message(max_message)?;
        Ok(framing)
    }
}

fn check_header(field: &'static str, bytes: usize, limit: usize) -> Result<(), ConfigError> {
    if bytes > limit {
        let must = "within a header of 65535 bytes";
        return Err(ConfigError::OutOfRange { field, value: bytes as u64, must });
    }
    Ok(())
}
