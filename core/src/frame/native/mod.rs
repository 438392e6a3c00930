//! Bowline's own protocol, version 1. `docs/protocol.md` specifies it byte by byte.

use alloc::vec::Vec;

use super::{Calls, Class, DEFAULT_MAX_MESSAGE, Framing, Kind, Meta, Plain, Profile, Step};
use crate::error::{ConfigError, EncodeError, FrameError};

mod credit;
mod extensions;
mod features;
mod header;
mod hello;
mod numbers;
mod resume;
mod verdict;

pub use credit::{Credit, MESSAGE_COST, MIN_WINDOW};
pub use extensions::{Extension, Extensions, TRACE_CONTEXT, parse_extensions};
pub use features::Features;
pub use hello::{AUTHENTICATION, Agreed, Hello, SERVICES, SESSION, STREAMS, VERSION, Window};
pub use resume::Resume;
pub use verdict::Accepted;

use header::{BASE, Code, FLAG_EXTENSIONS};
use numbers::{get_u16, get_u32, get_u64};

/// The largest limit for messages: the maximum of the length field, minus the rest of a frame.
const LARGEST_MESSAGE: usize = u32::MAX as usize - 2 * extensions::MAX;

/// Maximum bytes of a message in one fragment.
pub const MAX_FRAGMENT: usize = header::MAX_FRAGMENT as usize;

/// Casts are not numbered on the wire.
const SEQ: EncodeError = EncodeError::Unsupported { what: "a Seq" };

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
#[derive(Debug)]
pub struct Native {
    max_message: usize,
    /// The first frame was read: before it, only a hello is valid.
    past_hello: bool,
}

impl Native {
    /// Accepts messages of up to 8 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_message: DEFAULT_MAX_MESSAGE, past_hello: false }
    }
}

/// A clone starts without state: it reads the stream of another connection.
impl Clone for Native {
    fn clone(&self) -> Self {
        Self { max_message: self.max_message, past_hello: false }
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
            flow_control: true,
            atomic: true,
            external_bodies: true,
            repeats_extensions: false,
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
        if !self.past_hello {
            self.check_hello(unread)?;
        }
        let code = Code::from_byte(base[0])?;
        let (class, extended) = header::check_flags(code, base[1])?;
        header::check_attempt(code, base[2])?;
        header::check_reserved(u16::from(base[3]))?;
        // Every error in the length is found before memory is allocated for it.
        let length = u64::from(u32::from_be_bytes([base[4], base[5], base[6], base[7]]));
        let fixed = code.fixed_len();
        let max_body = code.max_body(self.max_message);
        let (least, most) = if extended {
            (extensions::TOTAL + extensions::HEAD, extensions::TOTAL + extensions::MAX)
        } else {
            (code.min_body(), 0)
        };
        let (least, most) = ((fixed + least) as u64, (fixed + most) as u64 + max_body);
        if length < least {
            return Err(FrameError::TooShort { field: "length", value: length, limit: least });
        }
        if length > most {
            return Err(FrameError::TooLong { field: "length", value: length, limit: most });
        }
        // It fits a usize: the limit does.
        let end = BASE + usize::try_from(length).unwrap_or(usize::MAX - BASE);
        let (mut extensions, mut body) = (0..0, BASE + fixed);
        if extended {
            let Some(located) = extensions::locate(unread, body, end, max_body)? else {
                return Ok(Step::Need(body + extensions::TOTAL));
            };
            body = located.end;
            extensions = located;
        }
        let Some(frame) = unread.get(..end) else { return Ok(Step::Need(end)) };
        if extended {
            extensions::check(&frame[extensions.clone()])?;
        }
        let meta = header::read_fixed(code, class, base[2], frame)?;
        self.past_hello = true;
        Ok(Step::Frame { meta, extensions, body: body..end, consumed: end })
    }

    #[inline]
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        let code = Code::of(meta.kind)?;
        let mut flags = meta.class.index() as u8;
        if !extensions.is_empty() {
            check_outgoing(code, extensions)?;
            flags |= FLAG_EXTENSIONS;
        }
        let mark = out.len();
        let attempt = if code == Code::Request { meta.attempt.max(1) } else { 0 };
        let base = [code as u8, flags, attempt, 0, 0, 0, 0, 0];
        // One array of fixed length for each kind: the vector grows once, and nothing is copied by a loop.
        match code {
            Code::Hello | Code::Credit | Code::Resume => out.extend_from_slice(&base),
            Code::Challenge | Code::Credentials | Code::Accepted | Code::Refused => {
                out.extend_from_slice(&base);
            }
            Code::Request => {
                let mut header = header_of::<24>(base, meta.id);
                header[16..20].copy_from_slice(&meta.method.to_be_bytes());
                header[20..].copy_from_slice(&header::put_time(meta.remaining_ms));
                out.extend_from_slice(&header);
            }
            Code::Reply
            | Code::Cancel
            | Code::Ping
            | Code::Pong
            | Code::Ack
            | Code::Fragment
            | Code::Abort => {
                out.extend_from_slice(&header_of::<16>(base, meta.id));
            }
            Code::ErrorReply => {
                let mut header = header_of::<24>(base, meta.id);
                header[16..18].copy_from_slice(&meta.status.to_be_bytes());
                header[20..].copy_from_slice(&header::put_time(meta.retry_after_ms));
                out.extend_from_slice(&header);
            }
            Code::Cast => {
                if meta.id != 0 {
                    return Err(SEQ);
                }
                let [a, b, c, d] = meta.method.to_be_bytes();
                out.extend_from_slice(&[base[0], base[1], 0, 0, 0, 0, 0, 0, a, b, c, d]);
            }
            Code::GoAway => {
                let mut header = header_of::<20>(base, meta.id);
                header[16..18].copy_from_slice(&meta.status.to_be_bytes());
                out.extend_from_slice(&header);
            }
        }
        if !extensions.is_empty() {
            // It fits: check_outgoing() saw to it.
            out.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
            out.extend_from_slice(extensions);
        }
        Ok(mark)
    }

    #[inline]
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        let frame = &mut out[mark..];
        // begin() wrote all of this.
        let (code, flags) = (Code::from_byte(frame[0]).unwrap_or(Code::Cast), frame[1]);
        let mut header = BASE + code.fixed_len();
        if flags & FLAG_EXTENSIONS != 0 {
            header += extensions::TOTAL + usize::from(get_u16(frame, header));
        }
        let body = (frame.len() - header) as u64 + external as u64;
        let max = code.max_body(self.max_message);
        if body > max {
            out.truncate(mark);
            return Err(EncodeError::TooLarge { len: body, max });
        }
        // It fits: max_message is at most LARGEST_MESSAGE.
        let length = u32::try_from((header - BASE) as u64 + body).unwrap_or(u32::MAX);
        frame[4..BASE].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn begin_reply(&self, out: &mut Vec<u8>, id: u64) -> Result<usize, EncodeError> {
        let mark = out.len();
        let base = [Code::Reply as u8, Class::Normal.index() as u8, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(&header_of::<16>(base, id));
        Ok(mark)
    }

    #[inline]
    fn finish_reply(&self, out: &mut Vec<u8>, mark: usize) -> Result<(), EncodeError> {
        let length = out.len() - mark - BASE;
        match out.get_mut(mark + 4..mark + BASE) {
            // It fits: max_message is at most LARGEST_MESSAGE.
            Some(field) if length - 8 <= self.max_message => {
                field.copy_from_slice(&(length as u32).to_be_bytes());
                Ok(())
            }
            _ => self.finish(out, mark, 0),
        }
    }

    #[inline(always)]
    fn encode(
        &self,
        out: &mut Vec<u8>,
        meta: &Meta,
        extensions: &[u8],
        body: &[u8],
    ) -> Result<(), EncodeError> {
        // The most frequent frames, in one piece: their length is known.
        if extensions.is_empty() && body.len() <= self.max_message {
            // It fits: max_message is at most LARGEST_MESSAGE.
            let base = |code: Code, attempt: u8, fixed: usize| {
                let head = u32::from_be_bytes([code as u8, meta.class.index() as u8, attempt, 0]);
                words(head, (fixed + body.len()) as u32)
            };
            match meta.kind {
                Kind::Cast => {
                    // Refused here and not by begin(): on this path the metadata is in registers.
                    if meta.id != 0 {
                        return Err(SEQ);
                    }
                    append_cast(out, base(Code::Cast, 0, 4), meta.method, body);
                    return Ok(());
                }
                Kind::Request => {
                    let time = u32::from_be_bytes(header::put_time(meta.remaining_ms));
                    let base = base(Code::Request, meta.attempt.max(1), 16);
                    append_request(out, base, meta.id, words(meta.method, time), body);
                    return Ok(());
                }
                Kind::Reply => {
                    append_reply(out, base(Code::Reply, 0, 8), meta.id, body);
                    return Ok(());
                }
                _ => {}
            }
        }
        // A copy, so that the value that was built in registers is stored to memory here only.
        let other = *meta;
        self.encode_other(out, &other, extensions, body)
    }

    #[inline]
    fn plain(&self, unread: &[u8]) -> Option<Plain> {
        const CAST: u8 = Code::Cast as u8;
        const REQUEST: u8 = Code::Request as u8;
        const REPLY: u8 = Code::Reply as u8;
        const NORMAL: u8 = Class::Normal.index() as u8;
        let [code, class, attempt, reserved, a, b, c, d] = *unread.first_chunk::<BASE>()?;
        // A length that is too small wraps to one that is too large.
        let body = |head: usize| {
            let body = (u32::from_be_bytes([a, b, c, d]) as usize).wrapping_sub(head - BASE);
            (body <= self.max_message && unread.len() - head >= body).then(|| head + body)
        };
        match [code, class, attempt, reserved] {
            [CAST, NORMAL, 0, 0] => {
                let head = unread.first_chunk::<12>()?;
                let method = get_u32(head, 8);
                let end = body(12)?;
                Some(Plain { kind: Kind::Cast, attempt, method, id: 0, remaining_ms: None, body: 12, end })
            }
            [REPLY, NORMAL, 0, 0] => {
                let head = unread.first_chunk::<16>()?;
                let (id, end) = (get_u64(head, 8), body(16)?);
                Some(Plain { kind: Kind::Reply, attempt, method: 0, id, remaining_ms: None, body: 16, end })
            }
            [REQUEST, NORMAL, attempt, 0] if attempt > 0 => {
                let head = unread.first_chunk::<24>()?;
                let (id, method) = (get_u64(head, 8), get_u32(head, 16));
                let (remaining_ms, end) = (header::get_time(head, 20), body(24)?);
                Some(Plain { kind: Kind::Request, attempt, method, id, remaining_ms, body: 24, end })
            }
            _ => None,
        }
    }

    fn set_remaining(&self, frame: &mut [u8], remaining_ms: u32) {
        const AT: usize = BASE + 8 + 4;
        if frame.first() == Some(&(Code::Request as u8))
            && let Some(field) = frame.get_mut(AT..AT + 4)
        {
            field.copy_from_slice(&header::put_time(Some(remaining_ms)));
        }
    }

    fn set_attempt(&self, frame: &mut [u8], attempt: u8) {
        if frame.first() == Some(&(Code::Request as u8))
            && let Some(field) = frame.get_mut(2)
        {
            *field = attempt.max(1);
        }
    }

    fn peek(&self, start: &[u8]) -> Option<Meta> {
        let code = Code::from_byte(*start.first()?).ok()?;
        let frame = start.get(..BASE + code.fixed_len())?;
        let (class, _) = header::check_flags(code, frame[1]).ok()?;
        header::read_fixed(code, class, frame[2], frame).ok()
    }

    fn set_class(&self, frame: &mut [u8], class: Class) {
        header::set_class(frame, class);
    }
}

impl Native {
    /// Rare frames: of other kinds, or with extensions.
    #[inline(never)]
    fn encode_other(
        &self,
        out: &mut Vec<u8>,
        meta: &Meta,
        extensions: &[u8],
        body: &[u8],
    ) -> Result<(), EncodeError> {
        let mark = self.begin(out, meta, extensions)?;
        out.extend_from_slice(body);
        self.finish(out, mark, 0)
    }

    /// Checks that are possible with fewer than 8 bytes.
    #[cold]
    fn check_partial(&self, unread: &[u8]) -> Result<(), FrameError> {
        let Some(&first) = unread.first() else { return Ok(()) };
        if !self.past_hello {
            header::check_first(unread)?;
        }
        let code = Code::from_byte(first)?;
        if let Some(&flags) = unread.get(1) {
            header::check_flags(code, flags)?;
        }
        if let Some(&attempt) = unread.get(2) {
            header::check_attempt(code, attempt)?;
        }
        if let Some(&reserved) = unread.get(3) {
            header::check_reserved(u16::from(reserved))?;
        }
        Ok(())
    }

    /// Whether these 8 or more bytes can be the beginning of a connection.
    #[cold]
    fn check_hello(&self, unread: &[u8]) -> Result<(), FrameError> {
        self.check_partial(&unread[..BASE])?;
        let body = &unread[BASE..];
        let length = usize::try_from(get_u32(unread, 4)).unwrap_or(usize::MAX);
        hello::check_magic(&body[..body.len().min(length)])
    }
}

/// Two words of a header as one.
#[inline(always)]
fn words(first: u32, second: u32) -> u64 {
    (u64::from(first) << 32) | u64::from(second)
}

// Headers are words that are passed in registers: a header that is built from bytes and then copied at once
// waits for each of its bytes to reach the cache, which takes longer than the copy.

#[inline(never)]
fn append_cast(out: &mut Vec<u8>, base: u64, method: u32, body: &[u8]) {
    let mut header = [0; 12];
    header[..8].copy_from_slice(&base.to_be_bytes());
    header[8..].copy_from_slice(&method.to_be_bytes());
    append(out, &header, body);
}

#[inline(never)]
fn append_reply(out: &mut Vec<u8>, base: u64, id: u64, body: &[u8]) {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&base.to_be_bytes());
    header[8..].copy_from_slice(&id.to_be_bytes());
    append(out, &header, body);
}

#[inline(never)]
fn append_request(out: &mut Vec<u8>, base: u64, id: u64, method_and_time: u64, body: &[u8]) {
    let mut header = [0; 24];
    header[..8].copy_from_slice(&base.to_be_bytes());
    header[8..16].copy_from_slice(&id.to_be_bytes());
    header[16..].copy_from_slice(&method_and_time.to_be_bytes());
    append(out, &header, body);
}

/// Appends a header and a body.
#[inline(always)]
fn append<const N: usize>(out: &mut Vec<u8>, header: &[u8; N], body: &[u8]) {
    out.reserve(N + body.len());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
}

/// The first 8 bytes and the id after them; the rest is zero.
#[inline]
fn header_of<const N: usize>(base: [u8; BASE], id: u64) -> [u8; N] {
    let mut header = [0; N];
    header[..BASE].copy_from_slice(&base);
    header[BASE..BASE + 8].copy_from_slice(&id.to_be_bytes());
    header
}

/// Refuses extensions that the other side would refuse.
fn check_outgoing(code: Code, extensions: &[u8]) -> Result<(), EncodeError> {
    if extensions.len() > extensions::MAX {
        return Err(EncodeError::TooLarge { len: extensions.len() as u64, max: extensions::MAX as u64 });
    }
    if !code.takes_extensions() {
        return Err(EncodeError::Unsupported { what: "extensions with a frame of this kind" });
    }
    extensions::check(extensions)
        .map_err(|_| EncodeError::Unsupported { what: "extensions that do not add up" })
}

#[cfg(test)]
mod tests;
