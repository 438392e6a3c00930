//! The wire format of the Go library `StabbyCutyou/buffstreams` ([`Buffstreams`]).

use alloc::vec::Vec;

use super::{Framing, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

/// The limit on one message when none is set, in bytes, as in the original.
pub const DEFAULT_MAX_MESSAGE: usize = 4096;

/// The largest limit that can be set, in bytes: 4 GiB less one (headers of 5 bytes).
pub const LARGEST_MAX_MESSAGE: u64 = u32::MAX as u64;

/// The widest header, in bytes.
pub const MAX_HEADER: usize = 5;

/// Wire-compatible with `StabbyCutyou/buffstreams` (v1 and v2): a header of fixed width, then the
/// body.
///
/// The header holds the body's length as a zigzag varint, low bits first, and zeros behind it. Its
/// width follows from the limit on one message and nothing announces it: **both sides must be
/// configured with limits of the same width**, best with the same limit.
///
/// | limit, bytes | header, bytes |
/// | --- | --- |
/// | 1 to 255 | 2 |
/// | 256 to 65,535 | 3 |
/// | 65,536 to 16,777,215 | 4 |
/// | 16,777,216 to 4,294,967,295 | 5 |
///
/// When reading, bytes after the varint are ignored and overlong varints are accepted, as in the original.
/// Empty messages are delivered (as in v2; v1 drops them). Where the original's process crashes (a length
/// over the limit, a negative length), this is an error that ends the connection; a message over the limit is
/// refused before it is sent.
///
/// # Example
///
/// ```
/// use bowline_core::frame::buffstreams::Buffstreams;
/// use bowline_core::frame::{Framing, Meta, Step};
///
/// let mut buffstreams = Buffstreams::new().with_max_message(2048)?;
/// let mut out = Vec::new();
/// let mark = buffstreams.begin(&mut out, &Meta::default(), &[])?;
/// out.extend_from_slice(b"hello");
/// buffstreams.finish(&mut out, mark, 0)?;
/// assert_eq!(out, b"\x0a\0\0hello");
///
/// let Step::Frame { body, .. } = buffstreams.next_frame(&out)? else { unreachable!() };
/// assert_eq!(&out[body], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buffstreams {
    max_message: usize,
    width: usize,
}

impl Default for Buffstreams {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffstreams {
    /// With the original's limit, [`DEFAULT_MAX_MESSAGE`], which makes headers of 3 bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX_MESSAGE, width: header_width(DEFAULT_MAX_MESSAGE) }
    }

    /// Sets the longest body that is written or read, in bytes, and with it the width of the
    /// header (`MaxMessageSize` in the original, whose 0 stands for [`DEFAULT_MAX_MESSAGE`]).
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] if `bytes` is 0 or over [`LARGEST_MAX_MESSAGE`].
    pub fn with_max_message(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.set_max_message(bytes)?;
        Ok(self)
    }

    /// The width of every header, in bytes, both ways.
    #[must_use]
    pub const fn header_width(&self) -> usize {
        self.width
    }

    /// The result when none of the available bytes ends the varint.
    #[cold]
    fn unfinished_varint(&self, word: u64, have: usize) -> Result<Step, FrameError> {
        // Further bytes can only increase the length, so it may be too long already. The size of a negative
        // one is not known yet.
        let zigzag = join_groups(word);
        if zigzag & 1 == 0 && zigzag >> 1 > self.max_message as u64 {
            return Err(self.bad_length(zigzag));
        }
        if have == self.width {
            return Err(FrameError::UnterminatedVarint { field: "length", limit: self.width as u64 });
        }
        Ok(Step::Need(self.width))
    }

    #[cold]
    fn bad_length(&self, zigzag: u64) -> FrameError {
        let half = zigzag >> 1;
        if zigzag & 1 == 1 {
            return FrameError::NegativeLength { field: "length", value: !(half as i64) };
        }
        FrameError::TooLong { field: "length", value: half, limit: self.max_message as u64 }
    }
}

/// ceil((floor(log2(max)) + 1) / 8) + 1: the bytes that `max` takes, and one.
const fn header_width(max_message: usize) -> usize {
    (max_message.ilog2() as usize + 8) / 8 + 1
}

/// The bit in each byte of a varint that says whether another follows.
const MORE: u64 = 0x8080_8080_8080_8080;

/// The first `bytes` (at most 7) bytes of a little-endian word.
const fn low_bytes(bytes: usize) -> u64 {
    (1 << (8 * bytes)) - 1
}

/// The number whose groups of 7 bits are in the first [`MAX_HEADER`] bytes of `word`.
#[inline]
const fn join_groups(word: u64) -> u64 {
    word & 0x7f
        | (word & 0x7f00) >> 1
        | (word & 0x7f_0000) >> 2
        | (word & 0x7f00_0000) >> 3
        | (word & 0x7f_0000_0000) >> 4
}

/// The varint of a number under 2^35, as the bytes of a little-endian word.
#[inline]
const fn varint(number: u64) -> u64 {
    let groups = number & 0x7f
        | (number & 0x7f << 7) << 1
        | (number & 0x7f << 14) << 2
        | (number & 0x7f << 21) << 3
        | (number & 0x7f << 28) << 4;
    // All bytes before the highest used one are followed by another.
    let last = (63 - (groups | 1).leading_zeros() as usize) / 8;
    groups | MORE & low_bytes(last)
}

impl Framing for Buffstreams {
    fn profile(&self) -> Profile {
        Profile::messages("buffstreams").with_external_bodies()
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    /// Sets [`max_message`](Framing::max_message), and the width of the header with it.
    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        let value = bytes as u64;
        if !(1..=LARGEST_MAX_MESSAGE).contains(&value) {
            return Err(ConfigError::OutOfRange {
                field: "max_message",
                value,
                must: "1 to 4294967295 (buffstreams)",
            });
        }
        *self = Self { max_message: bytes, width: header_width(bytes) };
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let have = unread.len().min(self.width);
        let word = match unread.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut word = [0; 8];
                word[..unread.len()].copy_from_slice(unread);
                u64::from_le_bytes(word)
            }
        };
        let ends = !word & MORE & low_bytes(have);
        if ends == 0 {
            return self.unfinished_varint(word & low_bytes(have), have);
        }
        // All bytes up to the first one without a continuation bit; the rest is padding.
        let zigzag = join_groups(word & (ends ^ ends.wrapping_sub(1)));
        // Odd numbers are the negative ones.
        if zigzag & 1 == 1 || zigzag >> 1 > self.max_message as u64 {
            return Err(self.bad_length(zigzag));
        }
        let end = self.width.saturating_add((zigzag >> 1) as usize);
        if unread.len() < end {
            return Ok(Step::Need(end));
        }
        Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: self.width..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        meta.check_plain(extensions)?;
        let mark = out.len();
        // Copies of a fixed size are single instructions, so the widest is written and truncated.
        out.extend_from_slice(&[0; MAX_HEADER]);
        out.truncate(mark + self.width);
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let len = ((out.len() - mark - self.width) as u64).saturating_add(external as u64);
        let max = self.max_message as u64;
        if len > max {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len, max });
        }
        let header = varint(len << 1).to_le_bytes();
        out[mark..mark + self.width].copy_from_slice(&header[..self.width]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn with_max(max: usize) -> Buffstreams {
        Buffstreams::new().with_max_message(max).unwrap()
    }

    fn frame(body: core::ops::Range<usize>) -> Result<Step, FrameError> {
        let consumed = body.end;
        Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body, consumed })
    }

    fn encode(framing: &Buffstreams, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
        framing.finish(&mut out, mark, len).unwrap();
        out
    }

    #[test]
    fn the_width_follows_from_the_limit() {
        let widths = [
            (1, 2),
            (255, 2),
            (256, 3),
            (4096, 3),
            (65_535, 3),
            (65_536, 4),
            (16_777_215, 4),
            (16_777_216, 5),
            (4_294_967_295, 5),
        ];
        for (max, width) in widths {
            assert_eq!(with_max(max).header_width(), width, "{max}");
        }
        assert_eq!(Buffstreams::default().header_width(), 3);
        assert_eq!(Buffstreams::default().max_message(), 4096);
    }

    #[test]
    fn limits_outside_the_range_are_refused() {
        for bytes in [Some(0), usize::try_from(1_u64 << 32).ok()].into_iter().flatten() {
            let mut framing = Buffstreams::new();
            let error = framing.set_max_message(bytes).unwrap_err();
            let must = "1 to 4294967295 (buffstreams)";
            assert_eq!(error, ConfigError::OutOfRange { field: "max_message", value: bytes as u64, must });
            assert_eq!((framing.max_message(), framing.header_width()), (4096, 3));
        }
    }

    #[test]
    fn every_length_goes_there_and_back() {
        for max in [1, 255, 256, 65_535, 65_536, 16_777_215, 16_777_216, 4_294_967_295] {
            let mut framing = with_max(max);
            let bits = (0..32).flat_map(|bit| [(1_usize << bit) - 1, 1 << bit, (1 << bit) + 1]);
            for len in bits.chain([max]).filter(|&len| len <= max) {
                let header = encode(&framing, len);
                let end = framing.width + len;
                let expected = if len == 0 { frame(end..end) } else { Ok(Step::Need(end)) };
                assert_eq!(framing.next_frame(&header), expected, "{max} {len}");
            }
        }
    }

    #[test]
    fn headers_are_the_originals() {
        let headers: [(usize, usize, &[u8]); 7] = [
            (64, 0, &[0, 0]),
            (64, 63, &[0x7e, 0]),
            (64, 64, &[0x80, 1]),
            (4096, 4095, &[0xfe, 0x3f, 0]),
            (1_048_576, 8191, &[0xfe, 0x7f, 0, 0]),
            (1_048_576, 1_048_576, &[0x80, 0x80, 0x80, 1]),
            (u32::MAX as usize, u32::MAX as usize, &[0xfe, 0xff, 0xff, 0xff, 0x1f]),
        ];
        for (max, len, header) in headers {
            assert_eq!(encode(&with_max(max), len), header);
        }
    }

    #[test]
    fn asks_for_what_it_needs() {
        let bytes = [6, 0, 0, 1, 2, 3, 99, 99, 99, 99];
        let mut framing = Buffstreams::new();
        assert_eq!(framing.next_frame(&[]), Ok(Step::Need(3)));
        // One byte determines the length; the padding is not needed.
        for have in 1..6 {
            assert_eq!(framing.next_frame(&bytes[..have]), Ok(Step::Need(6)), "{have}");
        }
        for have in 6..bytes.len() {
            assert_eq!(framing.next_frame(&bytes[..have]), frame(3..6), "{have}");
        }
    }

    #[test]
    fn padding_and_needless_bytes_are_accepted() {
        let mut framing = Buffstreams::new();
        assert_eq!(framing.next_frame(&[2, 0xaa, 0xbb, 7]), frame(3..4));
        assert_eq!(framing.next_frame(&[2, 0xaa, 0x3b, 7, 9, 9, 9, 9]), frame(3..4));
        assert_eq!(framing.next_frame(&[0x82, 0x80, 0, 7]), frame(3..4));
        assert_eq!(framing.next_frame(&[0x80, 0x80, 0]), frame(3..3));
    }

    #[test]
    fn lengths_over_the_limit_and_negative_ones_are_errors_at_once() {
        let too_long = |value, limit| Err(FrameError::TooLong { field: "length", value, limit });
        let negative = |value| Err(FrameError::NegativeLength { field: "length", value });
        assert_eq!(with_max(255).next_frame(&[0x80, 4]), too_long(256, 255));
        assert_eq!(with_max(255).next_frame(&[0xfe, 0x7f]), too_long(8191, 255));
        assert_eq!(with_max(255).next_frame(&[0xfe, 3]), Ok(Step::Need(257)));
        assert_eq!(with_max(1).next_frame(&[4]), too_long(2, 1));
        assert_eq!(with_max(4096).next_frame(&[0x82, 0x40]), too_long(4097, 4096));
        assert_eq!(with_max(4096).next_frame(&[0x82, 0xc1]), too_long(4161, 4096));
        assert_eq!(with_max(4096).next_frame(&[1]), negative(-1));
        assert_eq!(with_max(4096).next_frame(&[0x7f]), negative(-64));
        assert_eq!(with_max(4096).next_frame(&[0xff]), Ok(Step::Need(3)));
        assert_eq!(with_max(4096).next_frame(&[0xff, 0xff, 0x7f]), negative(-1_048_576));
        let widest = with_max(u32::MAX as usize).next_frame(&[0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(widest, negative(-17_179_869_184));
    }

    #[test]
    fn a_varint_without_an_end_is_an_error() {
        let no_end = |limit| Err(FrameError::UnterminatedVarint { field: "length", limit });
        assert_eq!(with_max(255).next_frame(&[0x80]), Ok(Step::Need(2)));
        assert_eq!(with_max(255).next_frame(&[0x80, 0x80]), no_end(2));
        assert_eq!(with_max(255).next_frame(&[0xff, 0xff]), no_end(2));
        assert_eq!(with_max(255).next_frame(&[0x80, 0x80, 9, 9, 9, 9, 9, 9, 9]), no_end(2));
        assert_eq!(with_max(4096).next_frame(&[0x80, 0x80, 0x80]), no_end(3));
        assert_eq!(with_max(16_777_216).next_frame(&[0x80; 5]), no_end(5));
    }

    #[test]
    fn a_body_over_the_limit_leaves_no_trace() {
        let framing = with_max(255);
        let mut out = vec![9];
        let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
        out.push(1);
        assert_eq!(framing.finish(&mut out, mark, 254), Ok(()));
        let error = framing.finish(&mut out, mark, 255).unwrap_err();
        assert_eq!(error, EncodeError::TooLarge { len: 256, max: 255 });
        assert_eq!(out, [9]);
    }

    #[test]
    fn only_plain_messages() {
        let mut out = vec![9];
        let refused = Buffstreams::new().begin(&mut out, &Meta::new(super::super::Kind::Request, 1), &[]);
        assert_eq!(refused, Err(EncodeError::Unsupported { what: "anything but casts" }));
        assert_eq!(out, [9]);
    }

    #[test]
    fn a_stream_may_not_end_inside_a_frame() {
        let mut framing = Buffstreams::new();
        assert_eq!(framing.end_of_stream(&[]), Ok(()));
        assert_eq!(framing.end_of_stream(&[2]), Err(FrameError::Truncated { have: 1, need: 4 }));
        let cut = framing.end_of_stream(&[0x14, 0, 0, 0, 0, 0]);
        assert_eq!(cut, Err(FrameError::Truncated { have: 6, need: 13 }));
    }
}
