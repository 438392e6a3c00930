//! Bowline's own protocol, version 1. `docs/protocol.md` specifies it byte by byte.

use alloc::vec::Vec;

use super::{Calls, DEFAULT_MAX_MESSAGE, Framing, Meta, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

mod extensions;
mod header;
mod hello;

pub use extensions::{Extension, Extensions, TRACE_CONTEXT, parse_extensions};
pub use hello::{Agreed, Hello, VERSION};

use header::{BASE, Code, FLAG_EXTENSIONS, Fixed, NO_TIME, put_u16, put_u32, put_u64};

/// Longest hello, in bytes after the 8 fixed ones.
const MAX_HELLO: u64 = 1024;
/// Longest extensions, in bytes.
const MAX_EXTENSIONS: usize = u16::MAX as usize;
/// The largest limit that a message may be given: what a length field can say, less the rest of a
/// frame.
const LARGEST_MESSAGE: usize = u32::MAX as usize - 2 * MAX_EXTENSIONS;

/// Bowline's own framing.
///
/// ```
/// use bowline_core::frame::native::Native;
/// use bowline_core::frame::{Framing, Kind, Meta};
///
/// let native = Native::new();
/// let mut out = Vec::new();
/// let mark = native.begin(&mut out, &Meta { method: 3, ..Meta::new(Kind::Cast, 0) }, &[])?;
/// out.extend_from_slice(b"hi");
/// native.finish(&mut out, mark, 0)?;
/// assert_eq!(out, [5, 1, 0, 0, 0, 0, 0, 6, 0, 0, 0, 3, b'h', b'i']);
/// # Ok::<(), bowline_core::error::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Native {
    max_message: usize,
    /// The first frame was read: before it, only a short hello can come.
    past_hello: bool,
}

impl Native {
    /// With messages of up to 8 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX_MESSAGE, past_hello: false }
    }

    /// The most bytes that may follow the fixed ones of a frame.
    fn max_length(&self, fixed: usize) -> u64 {
        if self.past_hello {
            (fixed + 2 + MAX_EXTENSIONS) as u64 + self.max_message as u64
        } else {
            MAX_HELLO
        }
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Framing for Native {
    fn profile(&self) -> Profile {
        Profile {
            name: "native",
            calls: Calls::ByKind,
            handshake: true,
            heartbeat: true,
            error_reply: true,
            cancel: true,
            go_away: true,
            atomic: true,
            external_bodies: true,
        }
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        if bytes == 0 || bytes > LARGEST_MESSAGE {
            return Err(ConfigError::OutOfRange {
                field: "max_message",
                value: bytes as u64,
                must: "between 1 and 4294836225 bytes",
            });
        }
        self.max_message = bytes;
        Ok(())
    }

    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let Some(base) = unread.first_chunk::<BASE>() else {
            return self.check_partial(unread).map(|()| Step::Need(BASE));
        };
        let (code, class) = header::check_base(base)?;
        if !self.past_hello && code != Code::Hello {
            return Err(expected_hello(base[0]));
        }
        let length = u64::from(u32::from_be_bytes([base[4], base[5], base[6], base[7]]));
        let fixed = code.fixed_len();
        if length < fixed as u64 {
            return Err(FrameError::TooShort { field: "length", value: length, limit: fixed as u64 });
        }
        let limit = self.max_length(fixed);
        if length > limit {
            return Err(FrameError::TooLong { field: "length", value: length, limit });
        }
        // Both fit a usize: the limit does.
        let end = BASE + usize::try_from(length).unwrap_or(usize::MAX - BASE);
        let Some(frame) = unread.get(..end) else { return Ok(Step::Need(end)) };

        let mut meta = header::read_fixed(code, &frame[BASE..BASE + fixed])?;
        meta.class = class;
        meta.attempt = base[2];
        let mut body = BASE + fixed;
        let mut extensions = 0..0;
        if base[1] & FLAG_EXTENSIONS != 0 {
            extensions = extensions::locate(frame, body)?;
            body = extensions.end;
        }
        let body_len = (end - body) as u64;
        let max_body = code.max_body(self.max_message);
        if body_len > max_body {
            return Err(FrameError::TooLong { field: "body", value: body_len, limit: max_body });
        }
        self.past_hello = true;
        Ok(Step::Frame { meta, extensions, body: body..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        let code = Code::of(meta.kind)?;
        if extensions.len() > MAX_EXTENSIONS {
            return Err(EncodeError::TooLarge { len: extensions.len() as u64, max: MAX_EXTENSIONS as u64 });
        }
        let mark = out.len();
        let flags = (meta.class.index() as u8) | if extensions.is_empty() { 0 } else { FLAG_EXTENSIONS };
        let attempt = if code == Code::Request { meta.attempt.max(1) } else { 0 };
        // One run of bytes for the whole header: the vector is grown once.
        let mut fixed = Fixed::new();
        fixed.put(&[code as u8, flags, attempt, 0, 0, 0, 0, 0]);
        match code {
            Code::Request => {
                put_u64(&mut fixed, meta.id);
                put_u32(&mut fixed, meta.method);
                put_u32(&mut fixed, meta.remaining_ms.unwrap_or(NO_TIME));
            }
            Code::Reply | Code::Cancel | Code::Ping | Code::Pong => put_u64(&mut fixed, meta.id),
            Code::ErrorReply => {
                put_u64(&mut fixed, meta.id);
                put_u16(&mut fixed, meta.status);
                put_u16(&mut fixed, 0);
                put_u32(&mut fixed, meta.retry_after_ms.unwrap_or(NO_TIME));
            }
            Code::Cast => put_u32(&mut fixed, meta.method),
            Code::GoAway => {
                put_u64(&mut fixed, meta.id);
                put_u16(&mut fixed, meta.status);
                put_u16(&mut fixed, 0);
            }
            Code::Hello => {}
        }
        out.extend_from_slice(fixed.as_slice());
        if !extensions.is_empty() {
            out.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
            out.extend_from_slice(extensions);
        }
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let length = out.len() - mark - BASE + external;
        let fixed = Code::from_byte(out[mark]).map_or(0, Code::fixed_len);
        let mut body = length - fixed;
        if out[mark + 1] & FLAG_EXTENSIONS != 0 {
            let at = mark + BASE + fixed;
            body -= 2 + usize::from(u16::from_be_bytes([out[at], out[at + 1]]));
        }
        if body > self.max_message {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len: body as u64, max: self.max_message as u64 });
        }
        // It fits: max_message is at most LARGEST_MESSAGE.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out[mark + 4..mark + BASE].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn set_remaining(&self, frame: &mut [u8], remaining_ms: u32) {
        const AT: usize = BASE + 8 + 4;
        if frame.first() == Some(&(Code::Request as u8))
            && let Some(field) = frame.get_mut(AT..AT + 4)
        {
            field.copy_from_slice(&remaining_ms.to_be_bytes());
        }
    }
}

impl Native {
    /// What fewer than 8 bytes can already tell.
    fn check_partial(&self, unread: &[u8]) -> Result<(), FrameError> {
        let Some(&first) = unread.first() else { return Ok(()) };
        let code = Code::from_byte(first)?;
        if !self.past_hello && code != Code::Hello {
            return Err(expected_hello(first));
        }
        if let Some(&flags) = unread.get(1) {
            header::check_flags(flags)?;
        }
        Ok(())
    }
}

/// Something else speaks: TLS, HTTP, an older protocol.
fn expected_hello(found: u8) -> FrameError {
    FrameError::BadMagic { found: u64::from(found), expected: Code::Hello as u64 }
}

#[cfg(test)]
mod tests;
