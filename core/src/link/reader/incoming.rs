//! Events for the application: received messages.

use alloc::boxed::Box;
use core::time::Duration;

use crate::auth::{Challenge, Shown};
use crate::body::{Body, INLINE_BODY};
use crate::frame::{Meta, Plain};
use crate::link::classes::cost;
use crate::recv_buf::{Frame, Place, RecvBuf, Source};

/// Events for the application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The connection is ready for messages: the handshake is done, or there is none. The first event of
    /// every connection.
    Ready,
    /// The connection is ready for messages and continues a session: in place of [`Ready`](Self::Ready).
    Resumed,
    /// The accepting side asks this side to authenticate, once for each connection: answer with
    /// [`Link::show`](crate::link::Link::show), now or later.
    Challenge(Box<Challenge>),
    /// The dialing side sent its credentials, once for each connection: answer with
    /// [`Link::decide`](crate::link::Link::decide), now or later. No other event comes before that.
    Credentials(Box<Shown>),
    /// A message that is not answered.
    Message(Incoming<'b>),
    /// Several messages that are not answered, of the normal class and without extensions. The event takes
    /// all of them: it must not be refused.
    Burst(Burst<'b>),
    /// The answer to a call of this side, which has ended with it: only after
    /// [`Link::lend_replies`](crate::link::Link::lend_replies). Its id is that of the call.
    Reply(Incoming<'b>),
    /// A request. Answer it at once with [`Reader::answer`](super::Reader::answer), or record it with
    /// [`Link::open_inbound`](crate::link::Link::open_inbound) and answer later.
    Request(Incoming<'b>),
}

/// A run of messages in the receive buffer, oldest first: an iterator.
#[derive(Clone, Debug)]
pub struct Burst<'b> {
    bytes: &'b [u8],
    rest: core::slice::Iter<'b, Place>,
    /// Where the next one begins.
    at: usize,
    buf: &'b RecvBuf,
}

impl<'b> Burst<'b> {
    pub(super) fn new(buf: &'b RecvBuf) -> Self {
        let (bytes, messages) = buf.run();
        Self { bytes, rest: messages.iter(), at: 0, buf }
    }

    /// The rest of the messages: their bytes, their positions counted from `at`, and the block.
    pub(in crate::link) fn into_rest(self) -> Rest<'b> {
        Rest { bytes: self.bytes, places: self.rest.as_slice(), at: self.at, source: self.buf.source() }
    }
}

/// The messages of a [`Burst`] that were not taken yet.
pub(in crate::link) struct Rest<'b> {
    pub(in crate::link) bytes: &'b [u8],
    pub(in crate::link) places: &'b [Place],
    pub(in crate::link) at: usize,
    pub(in crate::link) source: Option<Source<'b>>,
}

impl<'b> Iterator for Burst<'b> {
    type Item = Incoming<'b>;

    #[inline]
    fn next(&mut self) -> Option<Incoming<'b>> {
        let &Place { method, body, end } = self.rest.next()?;
        let cost = cost(end - self.at);
        self.at = end;
        let meta = Meta { method, ..Meta::default() };
        let body = &self.bytes[body..end];
        Some(Incoming { meta, extensions: &[], body, buf: self.buf, cost })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Burst<'_> {}

/// A message in the receive buffer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Incoming<'b> {
    /// The metadata of its frame.
    pub meta: Meta,
    /// Its extensions, encoded.
    pub extensions: &'b [u8],
    /// Its bytes.
    pub body: &'b [u8],
    /// The buffer that contains it.
    pub(super) buf: &'b RecvBuf,
    /// Its cost in the credit that this side granted.
    pub(in crate::link) cost: u64,
}

impl<'b> Incoming<'b> {
    /// The frame that `bytes` begin with.
    #[inline(always)]
    pub(super) fn plain(frame: &Plain, buf: &'b RecvBuf) -> Self {
        let body = &buf.lent()[frame.body..frame.end];
        Self { meta: frame.meta(), extensions: &[], body, buf, cost: cost(frame.end) }
    }
}

/// The position does not matter for equality.
impl PartialEq for Incoming<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.meta, self.extensions, self.body) == (other.meta, other.extensions, other.body)
    }
}

impl Eq for Incoming<'_> {}

impl Incoming<'_> {
    /// The body, owned: by reference if its block of memory can be kept, as [`RecvBuf::keep`] decides;
    /// otherwise a copy.
    #[must_use]
    pub fn to_body(&self) -> Body {
        match self.buf.aside() {
            Some(frame) => frame.keep(self.body),
            None => self.buf.keep(self.body),
        }
    }

    /// The length of the body, if the receive buffer counts its memory: no copy of it, and no extensions.
    pub(in crate::link) fn counted_with_buffer(&self) -> Option<usize> {
        let is_watched = self.buf.aside().is_some_and(Frame::is_watched);
        (is_watched && self.body.len() > INLINE_BODY && self.extensions.is_empty()).then_some(self.body.len())
    }

    /// Method id or message type.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// Call id or Seq.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.meta.id
    }

    /// The time left until the caller's deadline, at the time of sending.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.remaining_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }
}
