//! Decoding of values from a whole item, as codec 1.2.8 of the Go servers decodes them.
//!
//! The walker has validated the item, but this code does not rely on that: any bytes result in a value or an
//! error.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::Range;

use bytes::Bytes;
use cbor4ii::core::dec::{self, Decode, Reference};
use cbor4ii::core::types;

use super::error::{DecodeError, Float};
use super::head::{self, Head, Read, major};
use super::walker::{Walk, Walker};

/// Reads values at its position.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The bytes of a string, and their place.
#[derive(Debug)]
pub(super) struct Str<'a> {
    /// Borrowed if the string has one chunk, or only one of its chunks is not empty.
    pub(super) bytes: Cow<'a, [u8]>,
    /// The place of the bytes; for a string of several chunks, of the whole item.
    pub(super) place: Range<usize>,
}

impl<'a> dec::Read<'a> for Cursor<'a> {
    type Error = Infallible;

    #[inline]
    fn fill<'short>(&'short mut self, want: usize) -> Result<Reference<'a, 'short>, Infallible> {
        let rest = &self.bytes[self.at..];
        Ok(Reference::Long(&rest[..want.min(rest.len())]))
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        self.at = self.bytes.len().min(self.at + n);
    }
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Checks that no bytes follow.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(DecodeError::Trailing { at: self.at as u64, value: rest as u64 }),
        }
    }

    /// The first byte of the next item.
    fn peek(&self, field: &'static str) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.malformed(field))
    }

    #[cold]
    fn malformed(&self, field: &'static str) -> DecodeError {
        DecodeError::Malformed { field, at: self.at as u64 }
    }

    #[cold]
    fn wrong_type(&self, field: &'static str, first: u8, expected: &'static str) -> DecodeError {
        DecodeError::Type { field, at: self.at as u64, found: head::kind_of(first), expected }
    }

    /// A value that the library decodes.
    #[inline]
    fn value<T: Decode<'a>>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        let at = self.at;
        T::decode(self).map_err(|_| DecodeError::Malformed { field, at: at as u64 })
    }

    /// Skips `null` or `undefined`, which stand for zero or empty. Returns whether there was one.
    #[inline]
    pub(super) fn take_null(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        let is_null = matches!(self.peek(field)?, head::NULL | head::UNDEFINED);
        self.at += usize::from(is_null);
        Ok(is_null)
    }

    /// Skips a break. Returns whether there was one.
    #[inline]
    fn take_break(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        dec::is_break(self).map_err(|_| self.malformed(field))
    }

    /// Skips any item.
    fn skip(&mut self, field: &'static str) -> Result<(), DecodeError> {
        let rest = &self.bytes[self.at..];
        match Walker::new(rest.len()).walk(rest) {
            Ok(Walk::Whole(len)) => {
                self.at += len;
                Ok(())
            }
            _ => Err(self.malformed(field)),
        }
    }

    /// A struct: a map by keys, or an array in the order of `names`. `each` reads the value of the name with
    /// that index; other keys, and array items after the last name, are skipped. Null has no fields.
    pub(super) fn fields(
        &mut self,
        field: &'static str,
        names: &[&'static str],
        mut each: impl FnMut(&mut Self, usize) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.take_null(field)? {
            return Ok(());
        }
        let first = self.peek(field)?;
        let is_map = match first >> 5 {
            major::MAP => true,
            major::ARRAY => false,
            _ => return Err(self.wrong_type(field, first, "a map or an array")),
        };
        let count = self.count(field, is_map)?;
        let mut read = 0;
        while count != Some(read) && !(count.is_none() && self.take_break(field)?) {
            let name = if is_map {
                let key = self.string("key", "a string")?;
                names.iter().position(|name| name.as_bytes() == &*key.bytes)
            } else {
                Some(read).filter(|at| *at < names.len())
            };
            match name {
                Some(name) => each(self, name)?,
                None => self.skip(field)?,
            }
            read += 1;
        }
        Ok(())
    }

    /// The announced number of pairs or items of a container, if it is of definite length.
    fn count(&mut self, field: &'static str, is_map: bool) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let len = if is_map { types::Map::len(self) } else { types::Array::len(self) };
        len.map_err(|_| DecodeError::Malformed { field, at: at as u64 })
    }

    /// An array of at most `limit` items; null is empty. Memory for the announced number is allocated only if
    /// the body is long enough.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        limit: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let at = self.at;
        if self.take_null(field)? {
            return Ok(Vec::new());
        }
        let first = self.peek(field)?;
        if first >> 5 != major::ARRAY {
            return Err(self.wrong_type(field, first, "an array"));
        }
        let too_many = |value: usize, limit: usize| DecodeError::TooMany {
            field,
            at: at as u64,
            value: value as u64,
            limit: limit as u64,
        };
        let count = self.count(field, false)?;
        let most = limit.min(self.bytes.len() - self.at);
        if let Some(count) = count.filter(|count| *count > most) {
            return Err(too_many(count, most));
        }
        let mut items = Vec::with_capacity(count.unwrap_or(0));
        while count != Some(items.len()) && !(count.is_none() && self.take_break(field)?) {
            if items.len() == limit {
                return Err(too_many(limit + 1, limit));
            }
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// A string of either type, in one piece or in chunks.
    pub(super) fn string(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Str<'a>, DecodeError> {
        let begin = self.at;
        let first = self.peek(field)?;
        let kind = first >> 5;
        if !matches!(kind, major::BYTES | major::TEXT) {
            return Err(self.wrong_type(field, first, expected));
        }
        if first & 31 != 31 {
            let bytes = self.piece(field, kind)?;
            return Ok(Str { bytes: bytes.into(), place: self.at - bytes.len()..self.at });
        }
        self.at += 1;
        let mut whole = Str { bytes: Cow::Borrowed(&[]), place: self.at..self.at };
        while !self.take_break(field)? {
            let piece = self.piece(field, kind)?;
            if piece.is_empty() {
                continue;
            }
            if whole.bytes.is_empty() {
                whole = Str { bytes: piece.into(), place: self.at - piece.len()..self.at };
            } else {
                whole.bytes.to_mut().extend_from_slice(piece);
            }
        }
        if matches!(whole.bytes, Cow::Owned(_)) {
            whole.place = begin..self.at;
        }
        Ok(whole)
    }

    /// A string of definite length and of that type.
    #[inline]
    fn piece(&mut self, field: &'static str, kind: u8) -> Result<&'a [u8], DecodeError> {
        // The walker's own reader of heads: messages are read this way, and the library's reader takes
        // several times as long.
        let rest = &self.bytes[self.at..];
        if let Read::Head(Head { major, argument: Some(len), len: head }) = head::read(rest)
            && major == kind
            && let Some(string) = usize::try_from(len).ok().and_then(|len| rest[head..].get(..len))
        {
            self.at += head + string.len();
            return Ok(string);
        }
        Err(self.malformed(field))
    }

    /// Text, from either type of string; null is empty.
    pub(super) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let at = self.at as u64;
        if self.take_null(field)? {
            return Ok(String::new());
        }
        let text = self.string(field, "a string")?;
        match core::str::from_utf8(&text.bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(DecodeError::Utf8 { field, at }),
        }
    }

    /// Bytes: a slice of `whole`, which this cursor reads, unless they are encoded in several chunks or as an
    /// array of numbers. Null is empty.
    #[inline]
    pub(super) fn message(&mut self, field: &'static str, whole: &Bytes) -> Result<Bytes, DecodeError> {
        let first = self.peek(field)?;
        // Most are one string in one piece.
        if matches!(first, 0x40..=0x5b | 0x60..=0x7b) {
            let len = self.piece(field, first >> 5)?.len();
            return Ok(whole.slice(self.at - len..self.at));
        }
        if self.take_null(field)? {
            return Ok(Bytes::new());
        }
        if first >> 5 == major::ARRAY {
            let bytes = self.list(field, usize::MAX, |cursor| {
                let (at, value) = (cursor.at as u64, cursor.integer(field)?);
                let wrong = DecodeError::Range { field, at, value, least: 0, limit: 255 };
                u8::try_from(value).map_err(|_| wrong)
            })?;
            return Ok(bytes.into());
        }
        let string = self.string(field, "a string")?;
        Ok(match string.bytes {
            Cow::Borrowed(_) => whole.slice(string.place),
            Cow::Owned(bytes) => bytes.into(),
        })
    }

    /// An integer, or a float with an integer value; null is 0.
    fn integer(&mut self, field: &'static str) -> Result<i128, DecodeError> {
        let at = self.at as u64;
        if self.take_null(field)? {
            return Ok(0);
        }
        let first = self.peek(field)?;
        let value = match (first >> 5, first) {
            (major::UNSIGNED, _) => return self.value::<u64>(field).map(i128::from),
            (major::NEGATIVE, _) => {
                return self.value::<types::Negative<u64>>(field).map(|negative| -1 - i128::from(negative.0));
            }
            (_, 0xf9) => half(self.value::<types::F16>(field)?.0),
            (_, 0xfa) => f64::from(self.value::<f32>(field)?),
            (_, 0xfb) => self.value::<f64>(field)?,
            _ => return Err(self.wrong_type(field, first, "an integer")),
        };
        // NaN, infinities and fractions do not convert back to the same float.
        let integer = value as i128;
        let value = Float(value);
        if integer as f64 == value.0 { Ok(integer) } else { Err(DecodeError::Fraction { field, at, value }) }
    }

    /// A signed 64-bit integer.
    pub(super) fn signed(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let (at, value) = (self.at as u64, self.integer(field)?);
        let (least, limit) = (i64::MIN.into(), i64::MAX.into());
        i64::try_from(value).map_err(|_| DecodeError::Range { field, at, value, least, limit })
    }

    /// A signed 64-bit integer as the servers read it: from 2^63 to 2^64 - 1 the highest bit becomes the
    /// sign.
    pub(super) fn wrapping(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let is_unsigned = self.peek(field)? >> 5 == major::UNSIGNED;
        if is_unsigned { self.value::<u64>(field).map(|value| value as i64) } else { self.signed(field) }
    }

    /// An unsigned 64-bit integer.
    pub(super) fn unsigned(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let (at, value) = (self.at as u64, self.integer(field)?);
        let limit = u64::MAX.into();
        u64::try_from(value).map_err(|_| DecodeError::Range { field, at, value, least: 0, limit })
    }

    /// A boolean; null is false.
    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        if self.take_null(field)? {
            return Ok(false);
        }
        let first = self.peek(field)?;
        match first {
            0xf4 | 0xf5 => self.value(field),
            _ => Err(self.wrong_type(field, first, "a boolean")),
        }
    }
}

/// A 16-bit float: a sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction / f64::from(1 << 24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        // From 2^-14 on, with 2^-24 for the last bit of the fraction.
        _ => (1024.0 + fraction) * f64::from(1_u32 << (exponent - 1)) / f64::from(1 << 24),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use std::prelude::rust_2024::*;

    use super::*;

    fn signed(bytes: &[u8]) -> Result<i64, DecodeError> {
        Cursor::new(bytes).signed("n")
    }

    #[test]
    fn integers_of_each_kind() {
        for (bytes, value) in [
            (&[0x17][..], 23),
            (&[0x18, 0xff], 255),
            (&[0x1b, 0x7f, 255, 255, 255, 255, 255, 255, 255], i64::MAX),
            (&[0x20], -1),
            (&[0x3b, 0x7f, 255, 255, 255, 255, 255, 255, 255], i64::MIN),
            (&[0xf9, 0x3c, 0x00], 1),
            (&[0xf9, 0xc4, 0x00], -4),
            (&[0xf9, 0x00, 0x00], 0),
            (&[0xf9, 0x7b, 0xff], 65504),
            (&[0xfa, 0x4b, 0x80, 0, 0], 1 << 24),
            (&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], 1),
            (&[0xf6], 0),
            (&[0xf7], 0),
        ] {
            assert_eq!(signed(bytes), Ok(value), "{bytes:x?}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_said() {
        let (field, at) = ("n", 0);
        let range =
            |value, least: i128, limit: i128| Err(DecodeError::Range { field, at, value, least, limit });
        let least_and_limit = (i64::MIN.into(), i64::MAX.into());
        let huge = [0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(signed(&huge), range(1 << 63, least_and_limit.0, least_and_limit.1));
        assert_eq!(Cursor::new(&huge).wrapping("n"), Ok(i64::MIN));
        let lowest = [0x3b, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(signed(&lowest), range(-(1 << 64), least_and_limit.0, least_and_limit.1));
        assert_eq!(
            Cursor::new(&[0x20]).unsigned("n").unwrap_err(),
            range(-1, 0, u64::MAX.into()).unwrap_err()
        );
        for (bytes, value) in [(&[0xf9, 0x3e, 0x00][..], 1.5), (&[0xf9, 0x7c, 0], f64::INFINITY)] {
            let value = Float(value);
            assert_eq!(signed(bytes), Err(DecodeError::Fraction { field, at, value }), "{bytes:x?}");
        }
        // The smallest half float, 2^-24, and NaN.
        assert!(matches!(signed(&[0xf9, 0, 1]), Err(DecodeError::Fraction { .. })));
        assert!(matches!(signed(&[0xf9, 0x7e, 0]), Err(DecodeError::Fraction { .. })));
        let found = "a text string";
        assert_eq!(
            signed(&[0x61, b'1']),
            Err(DecodeError::Type { field, at, found, expected: "an integer" })
        );
        assert_eq!(signed(&[0x19, 1]), Err(DecodeError::Malformed { field, at }));
        assert_eq!(signed(&[]), Err(DecodeError::Malformed { field, at }));
    }

    #[test]
    fn halves_as_the_hardware_reads_floats() {
        // Through the 32-bit format, whose exponent has another bias and whose fraction is longer.
        for bits in 0..=u16::MAX {
            let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, u32::from(bits & 0x3ff));
            let expected = match exponent {
                0 => fraction as f32 * f32::from_bits((127 - 24) << 23),
                31 => f32::from_bits(255 << 23 | fraction << 13),
                _ => f32::from_bits((u32::from(exponent) + 112) << 23 | fraction << 13),
            };
            let expected = f64::from(if sign == 1 { -expected } else { expected });
            let found = half(bits);
            assert!(
                found == expected || found.is_nan() && expected.is_nan(),
                "{bits:#x}: {found} {expected}"
            );
        }
    }

    #[test]
    fn strings_lie_where_they_came_unless_in_several_chunks() {
        let read = |bytes: &'static [u8]| {
            let string = Cursor::new(bytes).string("s", "a string").unwrap();
            (string.bytes.into_owned(), string.place)
        };
        assert_eq!(read(b"\x63abc"), (b"abc".to_vec(), 1..4));
        assert_eq!(read(b"\x58\x03abc"), (b"abc".to_vec(), 2..5));
        assert_eq!(read(b"\x7f\x60\x63abc\x60\xff"), (b"abc".to_vec(), 3..6));
        assert_eq!(read(b"\x5f\x42ab\x41c\xff"), (b"abc".to_vec(), 0..7));
        assert_eq!(read(b"\x7f\xff"), (vec![], 1..1));
    }

    #[test]
    fn messages_are_slices_where_they_can_be() {
        let whole =
            Bytes::from_static(b"\x42ab\x5f\x41a\x41b\xff\x82\x18\x61\x18\x62\x62ab\xf6\x5f\x42ab\xff");
        let mut cursor = Cursor::new(&whole);
        let mut shared = Vec::new();
        for expected in [&b"ab"[..], b"ab", b"ab", b"ab", b"", b"ab"] {
            let message = cursor.message("m", &whole).unwrap();
            assert_eq!(message, expected);
            shared.push(whole.as_ptr_range().contains(&message.as_ptr()));
        }
        assert_eq!(shared, [true, false, false, true, false, true]);
        cursor.finish().unwrap();
        let wrong = Bytes::from_static(b"\x82\x01\x19\x01\x00");
        let error = DecodeError::Range { field: "m", at: 2, value: 256, least: 0, limit: 255 };
        assert_eq!(Cursor::new(&wrong).message("m", &wrong), Err(error));
    }

    #[test]
    fn lists_set_nothing_aside_that_did_not_come() {
        let list = |bytes: &[u8], limit| Cursor::new(bytes).list("l", limit, |cursor| cursor.signed("n"));
        let too_many = |value, limit| Err(DecodeError::TooMany { field: "l", at: 0, value, limit });
        assert_eq!(list(&[0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0], 9), too_many(1 << 62, 0));
        assert_eq!(list(&[0x83, 1, 2], 9), too_many(3, 2));
        assert_eq!(list(&[0x83, 1, 2, 3], 3), Ok(vec![1, 2, 3]));
        assert_eq!(list(&[0x83, 1, 2, 3], 2), too_many(3, 2));
        assert_eq!(list(&[0x9f, 1, 2, 3, 0xff], 3), Ok(vec![1, 2, 3]));
        assert_eq!(list(&[0x9f, 1, 2, 3, 0xff], 2), too_many(3, 2));
        assert_eq!(list(&[0xf6], 2), Ok(vec![]));
    }
}
