//! Greetings: the first bytes of a connection, and its version.
//!
//! A greeting is parsed again from its first byte whenever bytes arrive: it has at most 64 bytes, so no state
//! is needed. This side sends the signature at once, the major version after the peer's signature, and the
//! rest after the peer's major version.

use super::{Frame, Version};
use crate::error::ZmtpError;

/// Length of the signature, bytes.
pub const SIGNATURE: usize = 10;
/// Length of a mechanism's name with its zero padding, bytes.
pub const MECHANISM: usize = 20;
/// Length of a greeting of version 3, bytes.
const WHOLE: usize = 64;

/// The part of the peer's greeting that is known so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// Too little to recognize the signature. That many bytes are needed.
    Nothing(usize),
    /// A signature of 2.0 or later: the major version may be sent.
    Signature,
    /// The major version, 2 or 3: the rest may be sent. That many bytes are needed.
    Major(Version, usize),
    /// The whole greeting.
    Whole(Greeted),
}

/// A whole greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Greeted {
    /// 1.0: there is no greeting; the first frame contains the peer's routing id.
    V1,
    /// 2.0: after these 12 bytes a frame with the peer's routing id follows.
    V2 {
        /// The number of the peer's socket type.
        socket_type: u8,
    },
    /// 3.0 or 3.1, 64 bytes.
    V3 {
        /// The version: 3.0 or 3.1.
        version: Version,
        /// The mechanism's name, padded with zeros.
        mechanism: [u8; MECHANISM],
    },
}

impl Greeted {
    /// The length of the greeting, bytes.
    #[must_use]
    pub fn consumed(&self) -> usize {
        match self {
            Self::V1 => 0,
            Self::V2 { .. } => SIGNATURE + 2,
            Self::V3 { .. } => WHOLE,
        }
    }
}

impl Greeting {
    /// Parses the part of a greeting that is at the front of `bytes`.
    ///
    /// # Errors
    /// The version does not exist.
    pub fn read(bytes: &[u8]) -> Result<Self, ZmtpError> {
        match bytes {
            [] => return Ok(Self::Nothing(1)),
            [0xff, ..] if bytes.len() < SIGNATURE => return Ok(Self::Nothing(SIGNATURE)),
            [0xff, ..] if bytes[SIGNATURE - 1] & 1 == 1 => {}
            _ => return Ok(Self::Whole(Greeted::V1)),
        }
        match bytes[SIGNATURE..] {
            [] => Ok(Self::Signature),
            [1] => Ok(Self::Major(Version::V2, SIGNATURE + 2)),
            [1, socket_type, ..] => Ok(Self::Whole(Greeted::V2 { socket_type })),
            [major @ (0 | 2), ..] => {
                Err(ZmtpError::BadField { field: "major version", value: u64::from(major), limit: 3 })
            }
            [major, minor, ref rest @ ..] if bytes.len() >= WHOLE => {
                let version = if major == 3 && minor == 0 { Version::V3_0 } else { Version::V3_1 };
                let mut mechanism = [0; MECHANISM];
                mechanism.copy_from_slice(&rest[..MECHANISM]);
                // The fields as-server and filler are ignored: libzmq's servers set as-server to 0.
                Ok(Self::Whole(Greeted::V3 { version, mechanism }))
            }
            _ => Ok(Self::Major(Version::V3_1, WHOLE)),
        }
    }
}

/// The first bytes of a connection, for a side with a routing id of that length.
///
/// A peer of 1.0 takes them for the header of a long frame whose body is the routing id.
#[must_use]
pub fn signature(routing_id: usize) -> [u8; SIGNATURE] {
    let mut bytes = [0xff; SIGNATURE];
    bytes[1..9].copy_from_slice(&(routing_id as u64 + 1).to_be_bytes());
    bytes[9] = 0x7f;
    bytes
}

/// The bytes after the major version, for a peer of version 3.
#[must_use]
pub fn rest_of_greeting(mechanism: &str) -> [u8; WHOLE - SIGNATURE - 1] {
    let mut bytes = [0; WHOLE - SIGNATURE - 1];
    bytes[0] = 1;
    bytes[1..=mechanism.len()].copy_from_slice(mechanism.as_bytes());
    bytes
}

// A header of 1.0 is as long as a signature; that is why a signature can be taken for such a header.
const _: () = assert!(Frame::HEADER == SIGNATURE);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn whole(major: u8, minor: u8, mechanism: &str) -> Vec<u8> {
        let mut bytes = signature(0).to_vec();
        bytes.push(major);
        bytes.extend(rest_of_greeting(mechanism));
        bytes[11] = minor;
        bytes
    }

    fn version(bytes: &[u8]) -> Option<Version> {
        match Greeting::read(bytes) {
            Ok(Greeting::Whole(Greeted::V1)) => Some(Version::V1),
            Ok(Greeting::Whole(Greeted::V2 { .. })) => Some(Version::V2),
            Ok(Greeting::Whole(Greeted::V3 { version, .. })) => Some(version),
            _ => None,
        }
    }

    #[test]
    fn versions_are_told_apart() {
        for (major, minor, expected) in [
            (3, 0, Version::V3_0),
            (3, 1, Version::V3_1),
            (3, 2, Version::V3_1),
            (4, 0, Version::V3_1),
            (255, 255, Version::V3_1),
        ] {
            assert_eq!(version(&whole(major, minor, "NULL")), Some(expected));
        }
        assert_eq!(version(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05"), Some(Version::V2));
        assert_eq!(version(b"\x01\0"), Some(Version::V1));
        assert_eq!(version(b"\xff\0\0\0\0\0\0\0\x01\x7e"), Some(Version::V1), "the tenth byte is even");
        for major in [0, 2] {
            let error = Greeting::read(&whole(major, 0, "NULL")).unwrap_err();
            assert_eq!(error, ZmtpError::BadField { field: "major version", value: major.into(), limit: 3 });
        }
    }

    #[test]
    fn the_signature_of_a_side_with_an_id_is_the_header_of_a_frame_of_one() {
        let mut bytes = signature(2).to_vec();
        let frame = Frame::parse(Version::V1, &bytes).unwrap().unwrap();
        assert_eq!((frame.header, frame.body), (SIGNATURE, 2));
        bytes[8] = 9;
        assert_eq!(Greeting::read(&bytes), Ok(Greeting::Signature), "the number means nothing");
    }

    #[test]
    fn what_is_sent_follows_what_was_read() {
        let bytes = whole(3, 1, "PLAIN");
        for have in 0..bytes.len() {
            let expected = match have {
                0 => Greeting::Nothing(1),
                1..10 => Greeting::Nothing(SIGNATURE),
                10 => Greeting::Signature,
                _ => Greeting::Major(Version::V3_1, WHOLE),
            };
            assert_eq!(Greeting::read(&bytes[..have]), Ok(expected), "{have} bytes");
        }
        let Ok(Greeting::Whole(greeted)) = Greeting::read(&bytes) else { panic!() };
        assert_eq!(greeted.consumed(), 64);
        assert!(matches!(greeted, Greeted::V3 { mechanism, .. } if mechanism.starts_with(b"PLAIN\0")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_greeting_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Greeting::Nothing(need) | Greeting::Major(_, need)) = Greeting::read(&bytes) {
                prop_assert!(need > bytes.len(), "it needs what it has");
            }
        }
    }
}
