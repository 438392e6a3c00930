//! The wire format of the Go library `kumustone/tcpstream` ([`Tcpstream`]).

use alloc::vec::Vec;

use super::raw::check_no_extensions;
use super::{Calls, Framing, Kind, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

/// The maximum length of a body in the protocol, in bytes: 8 MiB. A longer one is an error on both sides.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// The first two bytes of every message.
pub const MAGIC: u16 = 0xAD12;

/// The length of the header, in bytes.
pub const HEADER: usize = 18;

/// Wire-compatible with `kumustone/tcpstream`: an 18-byte header, then the body.
///
/// | offset | size | field, big-endian |
/// | --- | --- | --- |
/// | 0 | 2 | [`MAGIC`] |
/// | 2 | 4 | length of the body, bytes, at most [`MAX_MESSAGE`] |
/// | 6 | 8 | Seq: [`Meta::id`] |
/// | 14 | 4 | MsgType: [`Meta::method`] |
///
/// A reply carries the Seq of its request and nothing else distinguishes them, so every received frame is
/// [`Kind::Numbered`] and the link decides by its range of ids ([`Calls::ByRange`]). Plain messages carry Seq
/// 0. There is no handshake, no keepalive, no cancel and no error reply.
///
/// The magic and the length are checked as soon as their bytes arrive, without waiting for the rest of the
/// header; in errors, missing bytes count as zero.
///
/// # Example
///
/// ```
/// use bowline_core::frame::tcpstream::Tcpstream;
/// use bowline_core::frame::{Framing, Kind, Meta, Step};
///
/// let mut tcpstream = Tcpstream::new();
/// let mut out = Vec::new();
/// let mark = tcpstream.begin(&mut out, &Meta { method: 7, ..Meta::new(Kind::Request, 1) }, &[])?;
/// out.extend_from_slice(b"hi");
/// tcpstream.finish(&mut out, mark, 0)?;
/// assert_eq!(out, b"\xad\x12\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x07hi");
///
/// let Step::Frame { meta, body, .. } = tcpstream.next_frame(&out)? else { unreachable!() };
/// assert_eq!((meta.kind, meta.id, meta.method), (Kind::Numbered, 1, 7));
/// assert_eq!(&out[body], b"hi");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tcpstream {
    max_message: u32,
}

impl Default for Tcpstream {
    fn default() -> Self {
        Self::new()
    }
}

impl Tcpstream {
    /// With the limit of the protocol, [`MAX_MESSAGE`].
    #[must_use]
    pub const fn new() -> Self {
        Self { max_message: MAX_MESSAGE as u32 }
    }

    /// Sets the longest body that is written or read, in bytes.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] if `bytes` is over [`MAX_MESSAGE`]: the peer would close the
    /// connection.
    pub fn with_max_message(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.set_max_message(bytes)?;
        Ok(self)
    }

    /// Checks the first bytes of a header, and returns how many bytes are needed.
    #[cold]
    fn part_of_header(&self, unread: &[u8]) -> Result<Step, FrameError> {
        let mut header = [0; HEADER];
        header[..unread.len()].copy_from_slice(unread);
        let compared = unread.len().min(2);
        if header[..compared] != MAGIC.to_be_bytes()[..compared] {
            return Err(bad_magic(&header, unread));
        }
        let len = length(&header);
        if len > self.max_message {
            return Err(self.too_long(len));
        }
        Ok(Step::Need(HEADER + len as usize))
    }

    #[cold]
    fn too_long(&self, len: u32) -> FrameError {
        FrameError::TooLong { field: "length", value: u64::from(len), limit: u64::from(self.max_message) }
    }
}

#[inline]
fn field<const SIZE: usize>(header: &[u8; HEADER], at: usize) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes.copy_from_slice(&header[at..at + SIZE]);
    bytes
}

#[inline]
fn magic(header: &[u8; HEADER]) -> u16 {
    u16::from_be_bytes(field(header, 0))
}

#[inline]
fn length(header: &[u8; HEADER]) -> u32 {
    u32::from_be_bytes(field(header, 2))
}

#[cold]
fn bad_magic(header: &[u8; HEADER], unread: &[u8]) -> FrameError {
    FrameError::bad_magic(unread, magic(header).into(), MAGIC.into())
}

impl Framing for Tcpstream {
    fn profile(&self) -> Profile {
        Profile::messages("tcpstream").with_calls(Calls::ByRange).with_external_bodies()
    }

    fn max_message(&self) -> usize {
        self.max_message as usize
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        if bytes > MAX_MESSAGE {
            let value = bytes as u64;
            return Err(ConfigError::OutOfRange {
                field: "max_message",
                value,
                must: "at most 8388608 (tcpstream)",
            });
        }
        self.max_message = bytes as u32;
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let Some(header) = unread.first_chunk::<HEADER>() else {
            return self.part_of_header(unread);
        };
        if magic(header) != MAGIC {
            return Err(bad_magic(header, unread));
        }
        let len = length(header);
        if len > self.max_message {
            return Err(self.too_long(len));
        }
        let end = HEADER + len as usize;
        if unread.len() < end {
            return Ok(Step::Need(end));
        }
        let meta = Meta {
            kind: Kind::Numbered,
            id: u64::from_be_bytes(field(header, 6)),
            method: u32::from_be_bytes(field(header, 14)),
            ..Meta::default()
        };
        Ok(Step::Frame { meta, extensions: 0..0, body: HEADER..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        if !matches!(meta.kind, Kind::Request | Kind::Reply | Kind::Cast | Kind::Numbered) {
            return Err(EncodeError::Unsupported { what: "anything but requests, replies and casts" });
        }
        check_no_extensions(extensions)?;
        let mark = out.len();
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&MAGIC.to_be_bytes());
        header[6..14].copy_from_slice(&meta.id.to_be_bytes());
        header[14..].copy_from_slice(&meta.method.to_be_bytes());
        out.extend_from_slice(&header);
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let len = ((out.len() - mark - HEADER) as u64).saturating_add(external as u64);
        let max = u64::from(self.max_message);
        if len > max {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len, max });
        }
        out[mark + 2..mark + 6].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(())
    }

    fn set_method(&self, frame: &mut [u8], method: u32) -> Result<(), EncodeError> {
        if let Some(header) = frame.first_chunk_mut::<HEADER>() {
            header[14..].copy_from_slice(&method.to_be_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const ONE: [u8; HEADER] = [0xad, 0x12, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0xde, 0xad, 0xbe, 0xef];

    fn header(len: u32) -> [u8; HEADER] {
        let mut header = ONE;
        header[2..6].copy_from_slice(&len.to_be_bytes());
        header
    }

    fn next(unread: &[u8]) -> Result<Step, FrameError> {
        Tcpstream::new().next_frame(unread)
    }

    #[test]
    fn asks_for_the_header_then_for_the_body() {
        let mut bytes = ONE.to_vec();
        bytes.extend_from_slice(b"abc and more");
        for have in 0..21 {
            // The body's length is known from the sixth byte on.
            let need = if have < 6 { 18 } else { 21 };
            assert_eq!(next(&bytes[..have]), Ok(Step::Need(need)), "{have}");
        }
        let meta =
            Meta { kind: Kind::Numbered, id: 0x0102_0304_0506_0708, method: 0xdead_beef, ..Meta::default() };
        let frame = Step::Frame { meta, extensions: 0..0, body: 18..21, consumed: 21 };
        assert_eq!(next(&bytes[..21]), Ok(frame.clone()));
        assert_eq!(next(&bytes), Ok(frame));
    }

    #[test]
    fn a_wrong_magic_is_seen_at_its_first_wrong_byte() {
        let bad = |found| Err(FrameError::BadMagic { found, expected: 0xad12 });
        assert_eq!(next(&[0x12]), bad(0x1200));
        assert_eq!(next(&[0x12, 0xad]), bad(0x12ad));
        assert_eq!(next(&[0xad, 0x13]), bad(0xad13));
        assert_eq!(next(&[0xad]), Ok(Step::Need(18)));
        let mut whole = ONE;
        whole[1] = 0x13;
        assert_eq!(next(&whole), bad(0xad13));
        // The magic is checked before the length.
        assert_eq!(next(&[0x12, 0xad, 0xff, 0xff, 0xff, 0xff]), bad(0x12ad));
    }

    #[test]
    fn the_length_is_bounded_exactly() {
        let too_long = |value| Err(FrameError::TooLong { field: "length", value, limit: 8_388_608 });
        assert_eq!(next(&header(1 << 23)), Ok(Step::Need(18 + (1 << 23))));
        assert_eq!(next(&header((1 << 23) + 1)), too_long((1 << 23) + 1));
        assert_eq!(next(&header(u32::MAX)), too_long(u64::from(u32::MAX)));
        let small = Tcpstream::new().with_max_message(2).unwrap().next_frame(&ONE);
        assert_eq!(small, Err(FrameError::TooLong { field: "length", value: 3, limit: 2 }));
    }

    #[test]
    fn a_length_is_too_long_as_soon_as_its_bytes_say_so() {
        let too_long = |value| Err(FrameError::TooLong { field: "length", value, limit: 8_388_608 });
        assert_eq!(next(&header(u32::MAX)[..3]), too_long(0xff00_0000));
        assert_eq!(next(&header((1 << 23) + 1)[..5]), Ok(Step::Need(18 + (1 << 23))));
        assert_eq!(next(&header((1 << 23) + 1)[..6]), too_long((1 << 23) + 1));
    }

    #[test]
    fn encodes_each_kind_with_a_number() {
        for kind in [Kind::Request, Kind::Reply, Kind::Cast, Kind::Numbered] {
            let mut out = vec![9];
            let meta = Meta { method: 0xdead_beef, ..Meta::new(kind, 0x0102_0304_0506_0708) };
            let mark = Tcpstream::new().begin(&mut out, &meta, &[]).unwrap();
            assert_eq!(mark, 1);
            out.push(b'a');
            Tcpstream::new().finish(&mut out, mark, 2).unwrap();
            assert_eq!(out[1..19], ONE);
            assert_eq!(out[19..], [b'a']);
        }
    }

    #[test]
    fn refuses_what_it_cannot_say() {
        let mut out = vec![9];
        for kind in [Kind::Hello, Kind::ErrorReply, Kind::Cancel, Kind::Ping, Kind::Pong, Kind::GoAway] {
            let refused = Tcpstream::new().begin(&mut out, &Meta::new(kind, 1), &[]);
            let what = "anything but requests, replies and casts";
            assert_eq!(refused, Err(EncodeError::Unsupported { what }));
        }
        let refused = Tcpstream::new().begin(&mut out, &Meta::default(), &[0]);
        assert_eq!(refused, Err(EncodeError::Unsupported { what: "extensions" }));
        assert_eq!(out, [9]);
    }

    #[test]
    fn a_body_over_the_limit_leaves_no_trace() {
        let mut out = vec![9];
        let framing = Tcpstream::new();
        let mark = framing.begin(&mut out, &Meta::default(), &[]).unwrap();
        out.push(1);
        assert_eq!(framing.finish(&mut out, mark, MAX_MESSAGE - 1), Ok(()));
        assert_eq!(out[3..7], (1_u32 << 23).to_be_bytes());
        let error = framing.finish(&mut out, mark, MAX_MESSAGE).unwrap_err();
        assert_eq!(error, EncodeError::TooLarge { len: 8_388_609, max: 8_388_608 });
        assert_eq!(out, [9]);
    }

    #[test]
    fn the_limit_is_the_protocols_at_most() {
        let value = MAX_MESSAGE as u64 + 1;
        let error = Tcpstream::new().with_max_message(MAX_MESSAGE + 1).unwrap_err();
        let must = "at most 8388608 (tcpstream)";
        assert_eq!(error, ConfigError::OutOfRange { field: "max_message", value, must });
        assert_eq!(Tcpstream::default().max_message(), MAX_MESSAGE);
    }

    #[test]
    fn a_stream_may_not_end_inside_a_frame() {
        let cut = |unread: &[u8]| Tcpstream::new().end_of_stream(unread);
        assert_eq!(cut(&[]), Ok(()));
        assert_eq!(cut(&ONE[..1]), Err(FrameError::Truncated { have: 1, need: 18 }));
        assert_eq!(cut(&ONE), Err(FrameError::Truncated { have: 18, need: 21 }));
    }
}
