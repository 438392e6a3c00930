//! The framing of the Go library buffstreams: a header of fixed width, then the body.
//!
//! The header holds the body's length as a zig-zag varint (Go `binary.PutVarint`); the rest of it
//! is zero when written and ignored when read. Its width follows from the largest message, and
//! both sides must have the same: nothing announces it.

use alloc::vec::Vec;

use super::{Framing, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

/// What the Go library takes when it is given 0, in bytes.
const DEFAULT_MAX: usize = 4096;
/// Widest header: what a largest message of 4 GiB - 1 needs.
const MAX_WIDTH: usize = 5;

/// buffstreams' framing (v1 and v2 write the same bytes; messages of length 0 are delivered, as
/// in v2). Where the Go listener dies, this one closes the connection with a typed error.
///
/// ```
/// use bowline_core::frame::buffstreams::Buffstreams;
/// use bowline_core::frame::{Framing, Meta};
///
/// let framing = Buffstreams::new(); // up to 4,096 bytes: a header of 3
/// let mut out = Vec::new();
/// let mark = framing.begin(&mut out, &Meta::default(), &[])?;
/// out.extend_from_slice(b"abc");
/// framing.finish(&mut out, mark, 0)?;
/// assert_eq!(out, [6, 0, 0, b'a', b'b', b'c']);
/// # Ok::<(), bowline_core::error::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buffstreams {
    max_message: usize,
    width: usize,
}

impl Buffstreams {
    /// With messages of up to 4,096 bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX, width: width(DEFAULT_MAX as u64) }
    }

    /// Bytes of header before each message.
    #[must_use]
    pub const fn header_width(&self) -> usize {
        self.width
    }
}

impl Default for Buffstreams {
    fn default() -> Self {
        Self::new()
    }
}

/// ceil(bits / 8) + 1, where bits is the length of `max` in binary.
const fn width(max: u64) -> usize {
    let bits = (u64::BITS - max.leading_zeros()) as usize;
    bits.div_ceil(8) + 1
}

impl Framing for Buffstreams {
    fn profile(&self) -> Profile {
        Profile::messages("buffstreams").with_external_bodies()
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    /// Sets the width of the header, too.
    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        super::check_limit(bytes, u64::from(u32::MAX / 2))?;
        self.max_message = bytes;
        self.width = width(bytes as u64);
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let header = &unread[..unread.len().min(self.width)];
        // Most lengths take one or two bytes.
        let mut zigzag = 0_u64;
        let mut ended = false;
        for (index, &byte) in header.iter().enumerate() {
            zigzag |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                ended = true;
                break;
            }
        }
        if !ended {
            if header.len() == self.width {
                let limit = self.width as u64;
                return Err(FrameError::UnterminatedVarint { field: "length", limit });
            }
            return Ok(Step::Need(self.width));
        }
        if zigzag & 1 == 1 {
            // -1 - n for the odd number 2n + 1. It fits: at most 35 bits were read.
            let value = -1 - i64::try_from(zigzag >> 1).unwrap_or(i64::MAX - 1);
            return Err(FrameError::NegativeLength { field: "length", value });
        }
        let (value, limit) = (zigzag >> 1, self.max_message as u64);
        if value > limit {
            return Err(FrameError::TooLong { field: "length", value, limit });
        }
        let end = self.width + usize::try_from(value).unwrap_or(usize::MAX - MAX_WIDTH);
        if unread.len() < end {
            return Ok(Step::Need(end));
        }
        Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: self.width..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, _: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        super::check_no_extensions(extensions)?;
        let mark = out.len();
        out.extend_from_slice(&[0; MAX_WIDTH][..self.width]);
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        super::check_body(out, mark, mark + self.width, external, self.max_message)?;
        let mut zigzag = ((out.len() - mark - self.width + external) as u64) << 1;
        // Every length up to the largest message fits the width.
        for byte in &mut out[mark..mark + self.width] {
            let low = (zigzag & 0x7f) as u8;
            zigzag >>= 7;
            if zigzag == 0 {
                *byte = low;
                break;
            }
            *byte = low | 0x80;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(max: usize) -> Buffstreams {
        let mut framing = Buffstreams::new();
        framing.set_max_message(max).unwrap();
        framing
    }

    #[test]
    fn the_width_follows_the_largest_message() {
        for (max, width) in [
            (1, 2),
            (64, 2),
            (255, 2),
            (256, 3),
            (4096, 3),
            (65_535, 3),
            (65_536, 4),
            (16_777_215, 4),
            (16_777_216, 5),
        ] {
            assert_eq!(of(max).header_width(), width, "{max}");
        }
    }

    #[test]
    fn what_kills_a_go_listener_is_a_typed_error() {
        let negative = |value| Err(FrameError::NegativeLength { field: "length", value });
        assert_eq!(of(255).next_frame(&[1, 0]), negative(-1));
        assert_eq!(of(255).next_frame(&[0x7f, 0]), negative(-64));
        assert_eq!(of(4096).next_frame(&[0xff, 0xff, 0x7f]), negative(-1_048_576));
        let unterminated = |limit| Err(FrameError::UnterminatedVarint { field: "length", limit });
        assert_eq!(of(255).next_frame(&[0x80, 0x80]), unterminated(2));
        assert_eq!(of(4096).next_frame(&[0x80, 0x80]), Ok(Step::Need(3)));
        assert_eq!(of(4096).next_frame(&[0x80, 0x80, 0x80]), unterminated(3));
        let over = Err(FrameError::TooLong { field: "length", value: 256, limit: 255 });
        assert_eq!(of(255).next_frame(&[0x80, 0x04]), over);
    }
}
