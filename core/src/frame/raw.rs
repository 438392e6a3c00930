//! Bytes without any framing ([`Raw`]).

use alloc::vec::Vec;

use super::{DEFAULT_MAX_MESSAGE, Framing, Kind, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

/// The default limit on one received piece, in bytes: 64 KiB.
pub const DEFAULT_CHUNK: usize = 64 * 1024;

/// No framing: every message is sent as its bytes and nothing else, and the bytes of each read are one
/// message.
///
/// Message boundaries are not on the wire, so the received pieces do not correspond to the messages sent;
/// only their concatenation is the same. An empty message writes nothing and is not received. A connection
/// that ends in the middle of a message has delivered a part of it ([`Profile::atomic`] is false).
///
/// # Example
///
/// ```
/// use bowline_core::frame::raw::Raw;
/// use bowline_core::frame::{Framing, Meta, Step};
///
/// let mut raw = Raw::new().with_chunk(4)?;
/// let mut out = Vec::new();
/// let mark = raw.begin(&mut out, &Meta::default(), &[])?;
/// out.extend_from_slice(b"knots");
/// raw.finish(&mut out, mark, 0)?;
/// assert_eq!(out, b"knots");
///
/// let Step::Frame { body, consumed, .. } = raw.next_frame(&out)? else { unreachable!() };
/// assert_eq!((body, consumed), (0..4, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Raw {
    chunk: usize,
    max_message: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self::new()
    }
}

impl Raw {
    /// Receives pieces of up to [`DEFAULT_CHUNK`] bytes, sends messages of up to [`DEFAULT_MAX_MESSAGE`]
    /// bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { chunk: DEFAULT_CHUNK, max_message: DEFAULT_MAX_MESSAGE }
    }

    /// Sets the maximum length in bytes of a received piece. A piece is also never longer than
    /// [`max_message`](Framing::max_message).
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] if `bytes` is 0.
    pub const fn with_chunk(mut self, bytes: usize) -> Result<Self, ConfigError> {
        if bytes == 0 {
            return Err(ConfigError::OutOfRange { field: "chunk", value: 0, must: "at least 1" });
        }
        self.chunk = bytes;
        Ok(self)
    }

    /// Sets the longest message that is written, in bytes.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] if `bytes` is 0.
    pub fn with_max_message(mut self, bytes: usize) -> Result<Self, ConfigError> {
        self.set_max_message(bytes)?;
        Ok(self)
    }

    /// The maximum length in bytes of a received piece.
    #[must_use]
    pub const fn chunk(&self) -> usize {
        self.chunk
    }
}

impl Framing for Raw {
    fn profile(&self) -> Profile {
        Profile { atomic: false, ..Profile::messages("raw").with_external_bodies() }
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        if bytes == 0 {
            return Err(ConfigError::OutOfRange { field: "max_message", value: 0, must: "at least 1" });
        }
        self.max_message = bytes;
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        if unread.is_empty() {
            return Ok(Step::Need(1));
        }
        let len = unread.len().min(self.chunk).min(self.max_message);
        Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..len, consumed: len })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        meta.check_plain(extensions)?;
        Ok(out.len())
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let len = ((out.len() - mark) as u64).saturating_add(external as u64);
        let max = self.max_message as u64;
        if len > max {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len, max });
        }
        Ok(())
    }
}

impl Meta {
    /// Refuses everything that a framing of plain messages cannot express: call it first in
    /// [`Framing::begin`] of such a framing.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`] for anything but a cast with method 0, Seq 0 and no extensions.
    #[inline]
    pub fn check_plain(&self, extensions: &[u8]) -> Result<(), EncodeError> {
        let what = if self.kind != Kind::Cast {
            "anything but casts"
        } else if self.method != 0 {
            "a method (message type)"
        } else if self.id != 0 {
            "a Seq"
        } else {
            return check_no_extensions(extensions);
        };
        Err(EncodeError::Unsupported { what })
    }
}

/// Refuses extensions: the receiver would act on them, and only the native framing carries them.
#[inline]
pub(super) fn check_no_extensions(extensions: &[u8]) -> Result<(), EncodeError> {
    if extensions.is_empty() {
        return Ok(());
    }
    Err(EncodeError::Unsupported { what: "extensions" })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn frame(len: usize) -> Step {
        Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..len, consumed: len }
    }

    #[test]
    fn what_has_come_is_one_message_up_to_the_chunk() {
        let mut raw = Raw::new().with_chunk(8).unwrap();
        assert_eq!(raw.next_frame(&[]), Ok(Step::Need(1)));
        for len in 1..=8 {
            assert_eq!(raw.next_frame(&[7; 8][..len]), Ok(frame(len)));
        }
        assert_eq!(raw.next_frame(&[7; 9]), Ok(frame(8)));
    }

    #[test]
    fn a_piece_is_never_longer_than_max_message() {
        let mut raw = Raw::new().with_max_message(3).unwrap();
        assert_eq!(raw.next_frame(&[7; 9]), Ok(frame(3)));
    }

    #[test]
    fn defaults() {
        let raw = Raw::default();
        assert_eq!((raw.chunk(), raw.max_message()), (65_536, 8_388_608));
        assert_eq!(raw.profile().name, "raw");
        assert!(!raw.profile().atomic);
        assert!(raw.profile().external_bodies);
    }

    #[test]
    fn zero_is_not_a_limit() {
        let zero = |field| ConfigError::OutOfRange { field, value: 0, must: "at least 1" };
        assert_eq!(Raw::new().with_chunk(0).unwrap_err(), zero("chunk"));
        assert_eq!(Raw::new().with_max_message(0).unwrap_err(), zero("max_message"));
    }

    #[test]
    fn a_message_over_the_limit_leaves_no_trace() {
        let raw = Raw::new().with_max_message(4).unwrap();
        for (inside, external, fits) in
            [(4, 0, true), (5, 0, false), (1, 3, true), (1, 4, false), (0, 0, true)]
        {
            let mut out = vec![9; 2];
            let mark = raw.begin(&mut out, &Meta::default(), &[]).unwrap();
            out.resize(mark + inside, 1);
            let done = raw.finish(&mut out, mark, external);
            if fits {
                assert_eq!(done, Ok(()));
                assert_eq!(out.len(), 2 + inside);
            } else {
                assert_eq!(done, Err(EncodeError::TooLarge { len: (inside + external) as u64, max: 4 }));
                assert_eq!(out, [9, 9]);
            }
        }
    }

    #[test]
    fn only_plain_messages() {
        let mut out = vec![9];
        for kind in [Kind::Request, Kind::Reply, Kind::Numbered, Kind::Ping] {
            let refused = Raw::new().begin(&mut out, &Meta::new(kind, 1), &[]);
            assert_eq!(refused, Err(EncodeError::Unsupported { what: "anything but casts" }));
        }
        let refused = Raw::new().begin(&mut out, &Meta::default(), &[1]);
        assert_eq!(refused, Err(EncodeError::Unsupported { what: "extensions" }));
        let refused = Raw::new().begin(&mut out, &Meta { method: 1, ..Meta::default() }, &[]);
        assert_eq!(refused, Err(EncodeError::Unsupported { what: "a method (message type)" }));
        let refused = Raw::new().begin(&mut out, &Meta::new(Kind::Cast, 1), &[]);
        assert_eq!(refused, Err(EncodeError::Unsupported { what: "a Seq" }));
        assert_eq!(out, [9]);
    }

    #[test]
    fn a_stream_may_end_anywhere() {
        assert_eq!(Raw::new().end_of_stream(&[]), Ok(()));
        assert_eq!(Raw::new().end_of_stream(&[1]), Ok(()));
    }
}
