//! Frames: flags, a length, a body.

use alloc::vec::Vec;

use super::Version;
use crate::error::ZmtpError;

/// More frames of the message follow.
pub const MORE: u8 = 1;
/// The length field has eight bytes.
pub const LONG: u8 = 2;
/// The frame is a command (3.0 and later).
pub const COMMAND: u8 = 4;

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// More frames of the message follow.
    pub more: bool,
    /// The frame is a command and belongs to no message.
    pub command: bool,
    /// The bytes are those that this crate would write for a peer of 2.0 or later, so they may be stored
    /// unchanged.
    pub as_written: bool,
    /// Length of the header, bytes.
    pub header: usize,
    /// Length of the body, bytes.
    pub body: usize,
}

impl Frame {
    /// Longest header, bytes.
    pub const HEADER: usize = 10;

    #[inline]
    /// Parses the header at the front of `bytes`; `None` if it is incomplete. The body need not be present.
    ///
    /// # Errors
    /// The length is invalid.
    pub fn parse(version: Version, bytes: &[u8]) -> Result<Option<Self>, ZmtpError> {
        if version == Version::V1 { Self::parse_v1(bytes) } else { Self::parse_v2(version, bytes) }
    }

    #[inline]
    fn parse_v2(version: Version, bytes: &[u8]) -> Result<Option<Self>, ZmtpError> {
        let [flags, rest @ ..] = bytes else { return Ok(None) };
        let (length, header) = if flags & LONG == 0 {
            let [length, ..] = rest else { return Ok(None) };
            (u64::from(*length), 2)
        } else {
            let Some(length) = rest.first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), 9)
        };
        let command = flags & COMMAND != 0 && version.has_commands();
        let short = length <= 255;
        Ok(Some(Self {
            more: flags & MORE != 0,
            command,
            as_written: flags & !(MORE | LONG) == 0 && short == (header == 2),
            header,
            body: body_length(length)?,
        }))
    }

    /// The length includes the flags, which follow it.
    fn parse_v1(bytes: &[u8]) -> Result<Option<Self>, ZmtpError> {
        let (length, header) = match bytes {
            [0xff, rest @ ..] => match rest.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            [length, ..] => (u64::from(*length), 2),
            [] => return Ok(None),
        };
        let Some(body) = length.checked_sub(1) else {
            return Err(ZmtpError::BadField { field: "frame length", value: 0, limit: 1 });
        };
        let body = body_length(body)?;
        let Some(flags) = bytes.get(header - 1) else { return Ok(None) };
        Ok(Some(Self { more: flags & MORE != 0, command: false, as_written: false, header, body }))
    }

    /// Header and body, bytes.
    #[must_use]
    #[inline]
    pub fn total(&self) -> usize {
        self.header + self.body
    }
}

#[inline]
fn body_length(length: u64) -> Result<usize, ZmtpError> {
    // A header can be added to it without overflow on every platform.
    let limit = (isize::MAX as u64) - Frame::HEADER as u64;
    match usize::try_from(length) {
        Ok(body) if length <= limit => Ok(body),
        _ => Err(ZmtpError::TooLong { field: "frame", value: length, limit }),
    }
}

/// Appends the header of a frame with a body of `length` bytes, in the short form if it fits.
#[inline]
pub fn put_header(out: &mut Vec<u8>, version: Version, flags: u8, length: usize) {
    if version == Version::V1 {
        let counted = length as u64 + 1;
        match u8::try_from(counted) {
            Ok(short) if short < 0xff => out.push(short),
            _ => {
                out.push(0xff);
                out.extend_from_slice(&counted.to_be_bytes());
            }
        }
        out.push(flags & MORE);
    } else if let Ok(short) = u8::try_from(length) {
        out.extend_from_slice(&[flags, short]);
    } else {
        out.push(flags | LONG);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VERSIONS: [Version; 4] = [Version::V1, Version::V2, Version::V3_0, Version::V3_1];

    #[test]
    fn headers_come_back_in_every_version_and_length() {
        for version in VERSIONS {
            for length in [0, 1, 253, 254, 255, 256, 70_000] {
                for flags in [0, MORE] {
                    let mut bytes = Vec::new();
                    put_header(&mut bytes, version, flags, length);
                    for cut in 0..bytes.len() {
                        assert_eq!(Frame::parse(version, &bytes[..cut]), Ok(None));
                    }
                    let frame = Frame::parse(version, &bytes).unwrap().unwrap();
                    assert_eq!((frame.more, frame.command), (flags == MORE, false));
                    assert_eq!((frame.header, frame.body), (bytes.len(), length));
                    assert_eq!(frame.as_written, version != Version::V1);
                }
            }
        }
    }

    #[test]
    fn commands_are_commands_from_three_on() {
        let frame = |version| Frame::parse(version, &[COMMAND, 3]).unwrap().unwrap();
        assert!(frame(Version::V3_0).command && !frame(Version::V2).command);
        assert!(!frame(Version::V3_1).as_written, "it stands in no message");
    }

    #[test]
    fn a_frame_that_we_would_write_otherwise_is_known() {
        let long_form = [LONG, 0, 0, 0, 0, 0, 0, 0, 5];
        for bytes in [&long_form[..], &[0x80, 5], &[0x08, 5]] {
            let frame = Frame::parse(Version::V3_1, bytes).unwrap().unwrap();
            assert!(!frame.as_written && frame.body == 5 && !frame.more);
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        let mut bytes = [0xff; 9];
        bytes[0] = LONG;
        let error = Frame::parse(Version::V3_1, &bytes).unwrap_err();
        let ZmtpError::TooLong { field: "frame", value: u64::MAX, limit } = error else { panic!("{error}") };
        assert!(limit < 1 << 63);
        let none = Frame::parse(Version::V1, &[0, 0]).unwrap_err();
        assert_eq!(none, ZmtpError::BadField { field: "frame length", value: 0, limit: 1 });
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            for version in VERSIONS {
                if let Ok(Some(frame)) = Frame::parse(version, &bytes) {
                    prop_assert!(frame.header <= Frame::HEADER && frame.total() >= frame.header);
                }
            }
        }
    }
}
