//! Framings: how frames are cut out of bytes and put into bytes.
//!
//! One file each: [`raw`], [`length_prefixed`], [`buffstreams`], [`tcpstream`] and [`native`]
//! (Bowline's own protocol). All stand behind [`Framing`], which users implement for protocols of
//! their own; every runtime drives such a framing like ours.

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
    /// Frames say whether they are a request or a reply: both sides may use any ids.
    ByKind,
    /// Frames carry a number but not which side chose it ([`Kind::Numbered`]): an id in our
    /// range and in flight is a reply, one in our range otherwise is late, anything else is a
    /// request, or a plain message where the number is 0.
    ByRange,
}

/// What a framing can carry; the link decides its behaviour by this and by nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// The name, for error messages.
    pub name: &'static str,
    /// Whether calls are possible.
    pub calls: Calls,
    /// Connections begin with an exchange of [`Kind::Hello`].
    pub handshake: bool,
    /// [`Kind::Ping`] and [`Kind::Pong`] exist: silence is watched.
    pub heartbeat: bool,
    /// [`Kind::ErrorReply`] exists: a failed request can be answered as such.
    pub error_reply: bool,
    /// [`Kind::Cancel`] exists.
    pub cancel: bool,
    /// [`Kind::GoAway`] exists.
    pub go_away: bool,
    /// [`Kind::Credit`], [`Kind::Fragment`] and [`Kind::Abort`] exist, and frames say their
    /// priority class: each class has its own flow control, and long messages are cut up so that
    /// others get between.
    pub flow_control: bool,
    /// A receiver sees a message whole or not at all. Not so for raw bytes: a message cut in
    /// the middle was delivered in part and is not sent again.
    pub atomic: bool,
    /// [`Framing::finish`] needs only the length of the body, not its bytes, and writes nothing
    /// after it: large bodies may be sent by reference. A message that goes back to its sender is
    /// then read from the end of its frame, as long as it was given; elsewhere it is read back with
    /// [`Framing::next_frame`].
    pub external_bodies: bool,
    /// Answers repeat the extensions of their request: for protocols whose replies name what they
    /// answer in more than a number (the method's name, say). The framing reads what is to be
    /// repeated as the request's extensions, and gets it with [`Framing::begin`] of the reply or error
    /// reply. Only an answer that was encoded and then refused for the server's memory has none.
    pub repeats_extensions: bool,
}

impl Profile {
    /// A framing of plain messages: no calls, no handshake, no control frames, whole messages,
    /// bodies copied. The starting point for a framing of your own.
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

    /// The same with calls.
    #[must_use]
    pub const fn with_calls(mut self, calls: Calls) -> Self {
        self.calls = calls;
        self
    }

    /// The same with [`Profile::repeats_extensions`].
    #[must_use]
    pub const fn with_repeated_extensions(mut self) -> Self {
        self.repeats_extensions = true;
        self
    }

    /// The same with [`Profile::external_bodies`].
    #[must_use]
    pub const fn with_external_bodies(mut self) -> Self {
        self.external_bodies = true;
        self
    }
}

/// A wire protocol's way to cut frames out of bytes and to put them into bytes.
///
/// The link clones the value it was configured with for each connection, once for reading and as
/// often as it likes for writing; a clone starts fresh. Reading may keep state between calls
/// (how far a delimiter was searched, say); writing must not, which is why it takes `&self`.
///
/// Implementations must not panic on any input and must compare lengths (as `u64`) with
/// [`max_message`](Self::max_message) before they ask for more bytes, so that a hostile header
/// cannot make the link set memory aside.
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
    /// What this framing can carry. Constant over the life of a value.
    fn profile(&self) -> Profile;

    /// The longest body, in bytes, that is written or read.
    fn max_message(&self) -> usize;

    /// Sets [`max_message`](Self::max_message).
    ///
    /// # Errors
    /// If the wire format cannot express such a length, or fixes it.
    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError>;

    /// Looks at the front of the bytes that came in and were not consumed yet.
    ///
    /// The next call sees the same front with more bytes behind it (after [`Step::Need`]) or the
    /// bytes after `consumed` (after [`Step::Frame`]). May be called with nothing.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection is closed and this value dropped.
    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError>;

    /// Says whether a stream may end here. `unread` is what is left after the last frame.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] by default if anything is left.
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

    /// Writes a frame's header to the end of `out`, with a hole where the length goes, and
    /// returns where the frame begins in `out`. The caller then appends the body and calls
    /// [`finish`](Self::finish). `extensions` are encoded already (see [`native`]).
    ///
    /// # Errors
    /// The framing cannot carry such a frame, or something that `meta` says
    /// ([`Meta::check_plain`] for framings of plain messages); `out` is as it was.
    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError>;

    /// Fills the hole of the frame that begins at `mark`. `external` more bytes of its body follow
    /// outside of `out` (always 0 without [`Profile::external_bodies`]).
    ///
    /// # Errors
    /// The body is too long or cannot be carried; `out` is cut back to `mark`.
    fn finish(&self, out: &mut Vec<u8>, mark: usize, external: usize) -> Result<(), EncodeError>;

    /// [`begin`](Self::begin) of a plain reply: of the normal class, without extensions. A framing
    /// with a faster way replaces it. Not used for a reply that
    /// [repeats](Profile::repeats_extensions) extensions.
    ///
    /// # Errors
    /// As there.
    #[inline]
    fn begin_reply(&self, out: &mut Vec<u8>, id: u64) -> Result<usize, EncodeError> {
        self.begin(out, &Meta::new(Kind::Reply, id), &[])
    }

    /// [`finish`](Self::finish) of what [`begin_reply`](Self::begin_reply) began.
    ///
    /// # Errors
    /// As there.
    #[inline]
    fn finish_reply(&self, out: &mut Vec<u8>, mark: usize) -> Result<(), EncodeError> {
        self.finish(out, mark, 0)
    }

    /// Appends a whole frame to `out`: [`begin`](Self::begin), the body, [`finish`](Self::finish).
    /// A framing that can do so in one step, faster, replaces it.
    ///
    /// # Errors
    /// As theirs; `out` is as it was.
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

    /// Whether `unread` begins with a whole cast, request or reply of the normal class, without
    /// extensions, that breaks no rule: what a receiver gets most of. A shortcut past
    /// [`next_frame`](Self::next_frame), which has the last word on everything else. Used once a
    /// connection is ready, and only with [`Profile::flow_control`].
    #[inline]
    fn plain(&self, unread: &[u8]) -> Option<Plain> {
        let _ = unread;
        None
    }

    /// Rewrites the remaining time in an encoded request that waited for a connection, if the
    /// wire carries it. `frame` begins at the frame's first byte.
    fn set_remaining(&self, frame: &mut [u8], remaining_ms: u32) {
        let _ = (frame, remaining_ms);
    }

    /// Rewrites the attempt number in an encoded request, if the wire carries it.
    fn set_attempt(&self, frame: &mut [u8], attempt: u8) {
        let _ = (frame, attempt);
    }

    /// Rewrites the method (message type) in an encoded reply. `frame` begins at its first byte, and
    /// need not be finished; without any bytes, it is asked whether replies have room for one.
    ///
    /// # Errors
    /// By default and where replies carry none: [`EncodeError::Unsupported`].
    fn set_method(&self, frame: &mut [u8], method: u32) -> Result<(), EncodeError> {
        let _ = (frame, method);
        Err(EncodeError::Unsupported { what: "a method (message type) in an answer" })
    }

    /// What the frame that begins with these bytes says, if its header is whole here: how a
    /// receiver judges a long frame by its first fragment. Only with [`Profile::flow_control`].
    fn peek(&self, start: &[u8]) -> Option<Meta> {
        let _ = start;
        None
    }

    /// Rewrites the priority class of an encoded frame, if the wire carries it.
    fn set_class(&self, frame: &mut [u8], class: Class) {
        let _ = (frame, class);
    }
}
