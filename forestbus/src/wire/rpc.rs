//! CBOR RPC, Go's `net/rpc` over CBOR, as a framing of Bowline's links.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use bowline_core::error::{ConfigError, EncodeError, FrameError, Status};
use bowline_core::frame::{Calls, DEFAULT_MAX_MESSAGE, Framing, Kind, Meta, Profile, Step, looks_like};

use super::codec::KeyOrder;
use super::head;
use super::header::{self, Header, MAX_ERROR, MAX_HEADER, MAX_NAME};
use super::method::{self, METHODS, refusal, text_of};
use super::walker::{Walk, Walker};

/// Largest configurable limit of a body, bytes.
const LARGEST_MESSAGE: usize = i32::MAX as usize;

/// First byte of an unfinished frame: an error reply whose text is not known yet. No item begins with it.
const PENDING_ERROR: u8 = head::BREAK;
/// That byte, the status, the Seq, and the length of the name.
const PENDING: usize = 1 + 2 + 8 + 2;

/// Go's `net/rpc` over CBOR: a request is a header `{ServiceMethod, Seq}` and its arguments, a response a
/// header `{ServiceMethod, Seq, Error}` and its result. Neither has a length: a [`Walker`] finds their ends.
///
/// * A header without `Error` is a [`Kind::Request`], one with an empty `Error` a [`Kind::Reply`], any other a
///   [`Kind::ErrorReply`] whose body is the text; its status is [`Status::NO_METHOD`] where Go refused the
///   method, else [`Status::FAILED`]. [`Meta::id`] is Seq.
/// * [`Meta::method`] is the place of `ServiceMethod` in the [table](Self::methods), from 1, and 0 for a name
///   that is not in it.
/// * A request's extensions are that name ([`text_of`] reads it). They come back with its answer
///   ([`Profile::repeats_extensions`]), because a response repeats the name of the method, whatever it was. On
///   the way out a request's extensions, if there are any, name the method in place of its number.
/// * A body is one item: a map, an array or null. Its bytes are handed over as they are; the
///   [`Codec`](super::Codec) makes values of them.
/// * There are no casts, no cancels, no heartbeat; attempts, deadlines and the status of a failure stay here.
///   A failure without text goes out with words for its status: an empty `Error` is success.
///
/// # Example
///
/// ```
/// use bowline_core::frame::{Framing, Kind, Meta, Step};
/// use bowline_forestbus::wire::{CborRpc, Method};
///
/// let mut framing = CborRpc::new();
/// let mut out = Vec::new();
/// let meta = Meta { method: Method::ClusterDetails.number(), ..Meta::new(Kind::Request, 7) };
/// framing.encode(&mut out, &meta, &[], b"\xa0")?;
/// assert_eq!(out, b"\xa2\x6dServiceMethod\x78\x1cRPCHandler.GetClusterDetails\x63Seq\x07\xa0");
///
/// let Step::Frame { meta, extensions, body, .. } = framing.next_frame(&out)? else { unreachable!() };
/// assert_eq!((meta.kind, meta.id, meta.method), (Kind::Request, 7, 1));
/// assert_eq!(&out[extensions], b"RPCHandler.GetClusterDetails");
/// assert_eq!(&out[body], b"\xa0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CborRpc {
    max_message: usize,
    methods: &'static [&'static str],
    order: KeyOrder,
    /// The progress of the walk through the current header, or through the body if the header was read.
    walker: Walker,
    header: Option<ReadHeader>,
}

/// The header of the current frame.
#[derive(Debug)]
struct ReadHeader {
    header: Header,
    meta: Meta,
    /// The offset of the body.
    end: usize,
}

impl Default for CborRpc {
    fn default() -> Self {
        Self::new()
    }
}

/// A clone has no state of the stream: it reads that of another connection.
impl Clone for CborRpc {
    fn clone(&self) -> Self {
        let &Self { max_message, methods, order, .. } = self;
        Self { max_message, methods, order, ..Self::new() }
    }
}

impl CborRpc {
    /// The methods of Forest Bus, keys in the order of declaration, and bodies of up to 8 MiB.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_message: DEFAULT_MAX_MESSAGE,
            methods: METHODS,
            order: KeyOrder::Declared,
            walker: Walker::new(MAX_HEADER),
            header: None,
        }
    }

    /// Sets the order of a header's keys when writing. Any order can be read.
    #[must_use]
    pub const fn with_order(mut self, order: KeyOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the table of methods, for another service. It is searched linearly for each received request and
    /// reply: keep it short.
    #[must_use]
    pub const fn with_methods(mut self, methods: &'static [&'static str]) -> Self {
        self.methods = methods;
        self
    }

    /// The names of the methods; the first has number 1.
    #[must_use]
    pub const fn methods(&self) -> &'static [&'static str] {
        self.methods
    }

    /// The method's name of a frame, from its extensions or its number.
    fn name<'a>(&self, meta: &Meta, extensions: &'a [u8]) -> Result<Cow<'a, str>, EncodeError> {
        let known = (meta.method as usize).checked_sub(1).map(|at| self.methods.get(at).copied());
        let name = match (extensions, known) {
            (_, Some(None)) => {
                return Err(EncodeError::Unsupported { what: "a method that is not in its table" });
            }
            ([], Some(Some(known))) => return Ok(Cow::Borrowed(known)),
            ([], None) => return Ok(Cow::Borrowed("")),
            (_, known) => {
                let name = text_of(extensions);
                if known.flatten().is_some_and(|known| known != name) {
                    return Err(EncodeError::Unsupported { what: "a method and the name of another one" });
                }
                name
            }
        };
        if name.len() > MAX_NAME {
            return Err(EncodeError::TooLarge { len: name.len() as u64, max: MAX_NAME as u64 });
        }
        Ok(name)
    }

    /// Handles the complete header of a frame: its body is walked next.
    fn read_header(&mut self, item: &[u8]) -> Result<ReadHeader, FrameError> {
        let header = Header::read(item)?;
        let name = text_of(&item[header.method.clone()]);
        let method = self.methods.iter().position(|known| *known == name).map_or(0, |at| at as u32 + 1);
        let (kind, status) = match &header.error {
            None => (Kind::Request, Status(0)),
            Some(error) if error.is_empty() => (Kind::Reply, Status(0)),
            Some(error) if method::is_refusal(&item[error.clone()]) => (Kind::ErrorReply, Status::NO_METHOD),
            Some(_) => (Kind::ErrorReply, Status::FAILED),
        };
        let meta = Meta { method, status: status.0, ..Meta::new(kind, header.seq) };
        self.walker = Walker::new(self.max_message);
        Ok(ReadHeader { header, meta, end: item.len() })
    }

    /// Writes an error reply in place of its placeholder, now that its text is known.
    #[cold]
    fn finish_error(&self, out: &mut Vec<u8>, mark: usize) {
        let pending = out.split_off(mark);
        let (fields, rest) = pending.split_at(PENDING);
        let number = |at: usize, len: usize| {
            fields[at..at + len].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let status = Status(number(1, 2) as u16);
        let (name, text) = rest.split_at(number(11, 2) as usize);
        let (name, text) = (String::from_utf8_lossy(name), text_of(text));
        let text = match (&*text, status) {
            ("", Status::NO_METHOD | Status::NO_HANDLER) => refusal(&name, self.methods).into(),
            ("", status) => Cow::Borrowed(words(status)),
            _ => text,
        };
        let end = (0..=MAX_ERROR.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        let text = &text[..end.unwrap_or(0)];
        header::write(out, self.order, &name, number(3, 8), Some(text));
        out.push(EMPTY_MAP);
    }

    /// Checks that `bytes` are exactly one body.
    fn check_body(&self, bytes: &[u8]) -> Result<(), EncodeError> {
        let (len, max) = (bytes.len() as u64, self.max_message as u64);
        if len > max {
            return Err(EncodeError::TooLarge { len, max });
        }
        let is_body = bytes.first().is_some_and(|first| is_struct(*first));
        match Walker::new(bytes.len()).walk(bytes) {
            Ok(Walk::Whole(end)) if is_body && end == bytes.len() => Ok(()),
            _ => Err(EncodeError::Unsupported { what: "a body that is no map, array or null of CBOR" }),
        }
    }
}

const EMPTY_MAP: u8 = 0xa0;

/// Whether an item with that first byte can be a header or a body.
const fn is_struct(first: u8) -> bool {
    matches!(first >> 5, head::major::ARRAY | head::major::MAP)
        || matches!(first, head::NULL | head::UNDEFINED)
}

/// Refuses what is no header at its first byte, and names the protocol that it looks like: the wrong port, mostly.
fn check_beginning(unread: &[u8]) -> Result<(), FrameError> {
    // One byte alone may be anything.
    let other = || looks_like(unread).filter(|_| unread.len() >= 4);
    check_first("header", 0, unread.first()).map_err(|error| match other() {
        Some(looks_like) => FrameError::other(alloc::format!("this looks like {looks_like}: {error}")),
        None => error,
    })
}

/// Refuses an item that is neither a header nor a body, at its first byte.
fn check_first(part: &'static str, base: usize, first: Option<&u8>) -> Result<(), FrameError> {
    match first {
        Some(&first) if !is_struct(first) => Err(no_struct(part, base, first)),
        _ => Ok(()),
    }
}

#[cold]
fn no_struct(part: &'static str, base: usize, first: u8) -> FrameError {
    // The walker reports a first byte that begins no item.
    if let Err(error) = Walker::new(usize::MAX).walk(&[first]) {
        return error.in_frame(part, base);
    }
    let found = head::kind_of(first);
    FrameError::other(alloc::format!("the {part} at offset {base} is {found}, not a map or an array"))
}

/// The text of an error reply without one.
fn words(status: Status) -> &'static str {
    match status {
        Status::BUSY => "busy",
        Status::DEADLINE_EXCEEDED => "deadline exceeded",
        Status::PANICKED => "the handler panicked",
        Status::SHUTTING_DOWN => "shutting down",
        Status::REPLY_TOO_LARGE => "the reply is too large",
        Status::NO_ANSWER => "no answer",
        Status::OUT_OF_MEMORY => "no memory for the answer",
        Status::FORBIDDEN => "forbidden",
        _ => "failed",
    }
}

impl Framing for CborRpc {
    fn profile(&self) -> Profile {
        let mut profile = Profile::messages("cbor rpc").with_calls(Calls::ByKind).with_repeated_extensions();
        profile.error_reply = true;
        profile
    }

    fn max_message(&self) -> usize {
        self.max_message
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        if bytes == 0 || bytes > LARGEST_MESSAGE {
            return Err(ConfigError::OutOfRange {
                field: "max_message",
                value: bytes as u64,
                must: "between 1 and 2147483647 bytes",
            });
        }
        self.max_message = bytes;
        Ok(())
    }

    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let read = match self.header.take() {
            Some(read) => read,
            None => {
                check_beginning(unread)?;
                match self.walker.walk(unread).map_err(|error| error.in_frame("header", 0))? {
                    Walk::Need(need) => return Ok(Step::Need(need)),
                    Walk::Whole(end) => self.read_header(&unread[..end])?,
                }
            }
        };
        let begin = read.end;
        let rest = unread.get(begin..).unwrap_or_default();
        if read.meta.kind != Kind::ErrorReply {
            check_first("body", begin, rest.first())?;
        }
        let end = match self.walker.walk(rest).map_err(|error| error.in_frame("body", begin))? {
            Walk::Whole(len) => begin + len,
            Walk::Need(need) => {
                self.header = Some(read);
                return Ok(Step::Need(begin + need));
            }
        };
        self.walker = Walker::new(MAX_HEADER);
        let ReadHeader { header, meta, .. } = read;
        let (extensions, body) = match header.error {
            None => (header.method, begin..end),
            Some(error) if meta.kind == Kind::ErrorReply => (0..0, error),
            // The caller knows the method of its call: the name is not stored with its reply.
            Some(_) => (0..0, begin..end),
        };
        Ok(Step::Frame { meta, extensions, body, consumed: end })
    }

    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        if !matches!(meta.kind, Kind::Request | Kind::Reply | Kind::ErrorReply) {
            return Err(EncodeError::Unsupported { what: "anything but requests and their answers" });
        }
        let name = self.name(meta, extensions)?;
        let mark = out.len();
        match meta.kind {
            Kind::Request if name.is_empty() => {
                return Err(EncodeError::Unsupported { what: "a request without a method" });
            }
            Kind::Request => header::write(out, self.order, &name, meta.id, None),
            Kind::Reply => header::write(out, self.order, &name, meta.id, Some("")),
            _ => {
                out.push(PENDING_ERROR);
                out.extend_from_slice(&meta.status.to_be_bytes());
                out.extend_from_slice(&meta.id.to_be_bytes());
                // No overflow: a name has at most MAX_NAME bytes.
                out.extend_from_slice(&(name.len() as u16).to_be_bytes());
                out.extend_from_slice(name.as_bytes());
            }
        }
        Ok(mark)
    }

    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError> {
        debug_assert_eq!(external, 0, "without external bodies");
        if out.get(mark) == Some(&PENDING_ERROR) {
            self.finish_error(out, mark);
            return Ok(());
        }
        let frame = &out[mark..];
        let checked = match Walker::new(MAX_HEADER).walk(frame) {
            Ok(Walk::Whole(header)) => self.check_body(&frame[header..]),
            _ => Err(EncodeError::Unsupported { what: "a frame without its header" }),
        };
        if checked.is_err() {
            out.truncate(mark);
        }
        checked
    }
}

#[cfg(test)]
mod tests;
