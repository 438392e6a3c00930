//! The head of a CBOR item: its major type and its argument.

/// Major types, the upper three bits of an item's first byte.
pub(super) mod major {
    pub(in crate::wire) const UNSIGNED: u8 = 0;
    pub(in crate::wire) const NEGATIVE: u8 = 1;
    pub(in crate::wire) const BYTES: u8 = 2;
    pub(in crate::wire) const TEXT: u8 = 3;
    pub(in crate::wire) const ARRAY: u8 = 4;
    pub(in crate::wire) const MAP: u8 = 5;
    pub(in crate::wire) const TAG: u8 = 6;
}

/// The break, which ends an item of indefinite length.
pub(super) const BREAK: u8 = 0xff;
/// `null`.
pub(super) const NULL: u8 = 0xf6;
/// `undefined`.
pub(super) const UNDEFINED: u8 = 0xf7;

/// The lower five bits that mean "of indefinite length", or with major type 7 "break".
const INDEFINITE: u8 = 31;

/// The head of an item: one to nine bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// One of [`major`].
    pub(super) major: u8,
    /// The length, count, number or bits of a float. `None`: indefinite length, or a break.
    pub(super) argument: Option<u64>,
    /// Length of the head, bytes.
    pub(super) len: usize,
}

/// The result of reading a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// The whole head.
    Head(Head),
    /// That many bytes are needed.
    Need(usize),
    /// The lower five bits of the first byte are reserved.
    Reserved(u8),
}

/// Reads the head at the front of `bytes`.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Read {
    let Some(&first) = bytes.first() else { return Read::Need(1) };
    let (major, info) = (first >> 5, first & 31);
    let width = match info {
        0..=23 => return Read::Head(Head { major, argument: Some(u64::from(info)), len: 1 }),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        INDEFINITE if !matches!(major, major::UNSIGNED | major::NEGATIVE | major::TAG) => {
            return Read::Head(Head { major, argument: None, len: 1 });
        }
        _ => return Read::Reserved(first),
    };
    let Some(argument) = bytes.get(1..=width) else { return Read::Need(1 + width) };
    let argument = argument.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Read::Head(Head { major, argument: Some(argument), len: 1 + width })
}

/// The type of an item with this first byte, for errors.
pub(super) const fn kind_of(first: u8) -> &'static str {
    match first >> 5 {
        major::UNSIGNED => "an unsigned integer",
        major::NEGATIVE => "a negative integer",
        major::BYTES => "a byte string",
        major::TEXT => "a text string",
        major::ARRAY => "an array",
        major::MAP => "a map",
        major::TAG => "a tag",
        _ => match first {
            0xf4 | 0xf5 => "a boolean",
            NULL => "null",
            UNDEFINED => "undefined",
            0xf9..=0xfb => "a float",
            BREAK => "a break",
            _ => "a simple value",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(major: u8, argument: u64, len: usize) -> Read {
        Read::Head(Head { major, argument: Some(argument), len })
    }

    #[test]
    fn reads_each_width() {
        assert_eq!(read(&[0x17]), head(0, 23, 1));
        assert_eq!(read(&[0x38, 0xff]), head(1, 255, 2));
        assert_eq!(read(&[0x59, 1, 2]), head(2, 0x0102, 3));
        assert_eq!(read(&[0x7a, 1, 2, 3, 4]), head(3, 0x0102_0304, 5));
        assert_eq!(read(&[0x9b, 1, 2, 3, 4, 5, 6, 7, 8, 9]), head(4, 0x0102_0304_0506_0708, 9));
        for first in [0x5f, 0x7f, 0x9f, 0xbf, 0xff] {
            assert_eq!(read(&[first]), Read::Head(Head { major: first >> 5, argument: None, len: 1 }));
        }
    }

    #[test]
    fn says_what_is_missing_and_what_has_no_meaning() {
        assert_eq!(read(&[]), Read::Need(1));
        assert_eq!(read(&[0x1b, 0, 0]), Read::Need(9));
        for first in [0x1c, 0x3d, 0x5e, 0xfc, 0x1f, 0x3f, 0xdf] {
            assert_eq!(read(&[first]), Read::Reserved(first), "{first:#x}");
        }
    }
}
