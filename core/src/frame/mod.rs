//! Framings: how frames are read from and written as bytes.
//!
//! One file each: [`raw`], [`length_prefixed`], [`buffstreams`], [`tcpstream`] and [`native`] (Bowline's own
//! protocol). All implement [`Framing`], which programs can implement for their own protocols; every runtime
//! drives such a framing like the built-in ones.

use alloc::vec::Vec;

use crate::error::{ConfigError, EncodeError, FrameError};

pub mod buffstreams;
pub mod length_prefixed;
mod lookalike;
mod meta;
pub mod native;
pub mod raw;
pub mod tcpstream;

pub use lookalike::looks_like;
pub use meta::{Class, Kind, Meta, Plain, Step};

/// The default limit on one message, in bytes, both ways: 8 MiB.
pub const DEFAULT_MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// Whether and how a framing carries calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Calls {
    /// Messages only: a call is refused with a typed error.
    None,
    /// Frames say whether they are a request or a reply: both sides may use any ids. A link counts its ids up
    /// and does not use one again: a framing refuses an id for which its field is too narrow.
    ByKind,
    /// Frames carry a number but not which side chose it ([`Kind::Numbered`]): an id in our
    /// range and in flight is a reply, one in our range otherwise is late, anything else is a
    /// request, or a plain message where the number is 0.
    ByRange,
}

/// The capabilities of a framing. The link decides its behaviour by this value only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// The name, for error messages.
    pub name: &'static str,
    /// Whether calls are possible.
    pub calls: Calls,
    /// Connections begin with an exchange of [`Kind::Hello`].
    pub handshake: bool,
    /// [`Kind::Ping`] and [`Kind::Pong`] exist: a silent peer is detected.
    pub heartbeat: bool,
    /// [`Kind::ErrorReply`] exists: a failed request can be answered as such.
    pub error_reply: bool,
    /// [`Kind::Cancel`] exists.
    pub cancel: bool,
    /// [`Kind::GoAway`] exists.
    pub go_away: bool,
    /// [`Kind::Credit`], [`Kind::Fragment`] and [`Kind::Abort`] exist, and frames carry their priority class:
    /// each class has its own flow control, and long messages are cut into fragments so that other messages
    /// can be sent in between.
    pub flow_control: bool,
    /// A receiver gets a message completely or not at all. Not so with raw bytes: a message that was cut in
    /// the middle was delivered in part and is not sent again.
    pub atomic: bool,
    /// [`Framing::finish`] needs only the length of the body, not its bytes, and writes nothing after it:
    /// large bodies may be sent by reference. A message that is given back to its sender is then read from
    /// the end of its frame, with the length that it was given with; otherwise it is read back with
    /// [`Framing::next_frame`].
    pub external_bodies: bool,
    /// Answers repeat the extensions of their request: for protocols whose replies contain more of the
    /// request than a number, for example the method's name. The framing reads the bytes to repeat as the
    /// request's extensions, and gets them in [`Framing::begin`] of the reply or error reply. Exception: an
    /// answer that was encoded and then refused for lack of server memory has none.
    pub repeats_extensions: bool,
}

impl Profile {
    /// A profile for plain messages: no calls, no handshake, no control frames, atomic messages, copied
    /// bodies. The starting point for a framing of your own.
    #[must_use]
    pub const fn messages(name: &'static str) -> Self {
        Self {
            name,
            calls: Calls::None,
            handshake: false,
            heartbeat: false,
            error_reply: false,
            cancel: false,
            go_away: false,
            flow_control: false,
            atomic: true,
            external_bodies: false,
            repeats_extensions: false,
        }
    }

    /// Adds calls.
    #[must_use]
    pub const fn with_calls(mut self, calls: Calls) -> Self {
        self.calls = calls;
        self
    }

    /// Sets [`Profile::repeats_extensions`].
    #[must_use]
    pub const fn with_repeated_extensions(mut self) -> Self {
        self.repeats_extensions = true;
        self
    }

    /// Sets [`Profile::external_bodies`].
    #[must_use]
    pub const fn with_external_bodies(mut self) -> Self {
        self.external_bodies = true;
        self
    }
}

/// How a wire protocol reads frames from bytes and writes them as bytes.
///
/// The link clones its configured value for each connection: once for reading, and any number of times for
/// writing. A clone starts without state. Reading may keep state between calls (for example how far a
/// delimiter was searched); writing must not, which is why it takes `&self`.
///
/// Implementations must not panic on any input, and must compare lengths (as `u64`) with
/// [`max_message`](Self::max_message) before they ask for more bytes, so that a hostile header cannot make
/// the link allocate memory.
///
/// # Example
///
/// Lines of text, one message each:
///
/// ```
/// use bowline_core::error::{ConfigError, EncodeError, FrameError};
/// use bowline_core::frame::{Framing, Meta, Profile, Step};
///
/// #[derive(Clone, Debug)]
/// struct Lines { max: usize, searched: usize }
///
/// impl Framing for Lines {
///     fn profile(&self) -> Profile { Profile::messages("lines") }
///     fn max_message(&self) -> usize { self.max }
///     fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
///         self.max = bytes;
///         Ok(())
///     }
///     fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
///         let end = unread[self.searched..].iter().position(|&b| b == b'\n');
///         match end.map(|at| at + self.searched) {
///             Some(end) if end <= self.max => {
///                 self.searched = 0;
///                 Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..end, consumed: end + 1 })
///             }
///             None if unread.len() <= self.max => {
///                 self.searched = unread.len();
///                 Ok(Step::Need(unread.len() + 1))
///             }
///             _ => Err(FrameError::TooLong { field: "line", value: unread.len() as u64, limit: self.max as u64 }),
///         }
///     }
///     fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
///         meta.check_plain(extensions)?;
///         Ok(out.len())
///     }
///     fn finish(&self, out: &mut Vec<u8>, mark: usize, _external: usize) -> Result<(), EncodeError> {
///         if out[mark..].contains(&b'\n') {
///             out.truncate(mark);
///             return Err(EncodeError::Unsupported { what: "a line break inside a line" });
///         }
///         out.push(b'\n');
///         Ok(())
///     }
/// }
///
/// let mut lines = Lines { max: 100, searched: 0 };
/// let mut out = Vec::new();
/// let mark = lines.begin(&mut out, &Meta::default(), &[]).unwrap();
/// out.extend_from_slice(b"hello");
/// lines.finish(&mut out, mark, 0).unwrap();
/// assert_eq!(out, b"hello\n");
/// assert_eq!(lines.next_frame(&out[..3]).unwrap(), Step::Need(4));
/// ```
pub trait Framing: Clone + core::fmt::Debug + Send + Sync + 'static {
    /// The capabilities of this framing. Constant during the life of a value.
    fn profile(&self) -> Profile;

    /// The maximum length in bytes of a body that is written or read.
    fn max_message(&self) -> usize;

    /// Sets [`max_message`](Self::max_message).
    ///
    /// # Errors
    /// If the wire format cannot express this length, or has a fixed limit: [`ConfigError::OutOfRange`].
    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError>;

    /// Reads the frame at the start of the received, unconsumed bytes.
    ///
    /// The next call gets the same bytes with more after them (after [`Step::Need`]), or the bytes after
    /// `consumed` (after [`Step::Frame`]). May be called without bytes.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection is closed and this value dropped.
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError>;

    /// Checks whether the stream may end here. `unread` are the bytes after the last frame.
    ///
    /// # Errors
    /// By default [`FrameError::Truncated`] if any bytes are left.
    fn end_of_stream(&mut self, unread: &[u8]) -> Result<(), FrameError> {
        if unread.is_empty() {
            return Ok(());
        }
        let need = match self.next_frame(unread) {
            Ok(Step::Need(need)) => need,
            Ok(Step::Frame { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        Err(FrameError::Truncated { have: unread.len() as u64, need: need as u64 })
    }

    /// Appends a frame's header to `out`, with a placeholder for the length, and returns where the frame
    /// begins in `out`. The caller then appends the body and calls [`finish`](Self::finish). `extensions` are
    /// encoded already (see [`native`]).
    ///
    /// # Errors
    /// The framing cannot carry such a frame, or a value in `meta` ([`Meta::check_plain`] for framings of
    /// plain messages); `out` is unchanged.
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError>;

    /// Fills in the length of the frame that begins at `mark`. `external` more bytes of its body follow
    /// outside of `out` (always 0 without [`Profile::external_bodies`]).
    ///
    /// # Errors
    /// The body is too long or cannot be carried; `out` is truncated to `mark`.
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError>;

    /// [`begin`](Self::begin) of a plain reply: of the normal class, without extensions. Override it if there
    /// is a faster way. Not used for a reply that [repeats](Profile::repeats_extensions) extensions.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    #[inline]
    fn begin_reply(&self, out: &mut Vec<u8>, id: u64) -> Result<usize, EncodeError> {
        self.begin(out, &Meta::new(Kind::Reply, id), &[])
    }

    /// [`finish`](Self::finish) of a reply that [`begin_reply`](Self::begin_reply) began.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    #[inline]
    fn finish_reply(&self, out: &mut Vec<u8>, mark: usize) -> Result<(), EncodeError> {
        self.finish(out, mark, 0)
    }

    /// Appends a complete frame to `out`: [`begin`](Self::begin), the body, [`finish`](Self::finish).
    /// Override it if there is a faster way in one step.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`finish`](Self::finish); `out` is unchanged.
    #[inline]
    fn encode(
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

    /// The frame that `unread` begins with, if it is a complete, valid cast, request or reply of the normal
    /// class without extensions: the most frequent kinds. It is a fast path; for everything else
    /// [`next_frame`](Self::next_frame) decides. Used after the handshake, and only with
    /// [`Profile::flow_control`].
    #[inline]
    fn plain(&self, unread: &[u8]) -> Option<Plain> {
        let _ = unread;
        None
    }

    /// Updates the remaining time in an encoded request that waited for a connection, if the wire format
    /// carries it. `frame` begins with the frame's first byte.
    fn set_remaining(&self, frame: &mut [u8], remaining_ms: u32) {
        let _ = (frame, remaining_ms);
    }

    /// Updates the attempt number in an encoded request, if the wire format carries it.
    fn set_attempt(&self, frame: &mut [u8], attempt: u8) {
        let _ = (frame, attempt);
    }

    /// Sets the method (message type) in an encoded reply. `frame` begins with its first byte, and need not
    /// be finished; an empty `frame` asks whether replies can carry a method.
    ///
    /// # Errors
    /// By default, and if replies carry none: [`EncodeError::Unsupported`].
    fn set_method(&self, frame: &mut [u8], method: u32) -> Result<(), EncodeError> {
        let _ = (frame, method);
        Err(EncodeError::Unsupported { what: "a method (message type) in an answer" })
    }

    /// The metadata of the frame that begins with these bytes, if they contain the complete header. A
    /// receiver uses it to check a long frame by its first fragment. Only with [`Profile::flow_control`].
    fn peek(&self, start: &[u8]) -> Option<Meta> {
        let _ = start;
        None
    }

    /// Sets the priority class of an encoded frame, if the wire format carries it.
    fn set_class(&self, frame: &mut [u8], class: Class) {
        let _ = (frame, class);
    }
}
