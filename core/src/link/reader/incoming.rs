//! Events for the application: what came in.

use core::time::Duration;

use bytes::Bytes;

use crate::body::Body;
use crate::frame::{Meta, Plain};
use crate::link::classes::cost;
use crate::recv_buf::Place;

/// Events for the application: what came in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The connection is ready for messages: the handshake is done, or there is none. First on
    /// every connection.
    Ready,
    /// The connection is ready for messages, and a session goes on with it: in place of
    /// [`Ready`](Self::Ready).
    Resumed,
    /// A message that wants no answer.
    Message(Incoming<'b>),
    /// Several that want none, of the normal class and without extensions. All of them are taken
    /// with the event: it is not to be refused.
    Burst(Burst<'b>),
    /// The answer to a call of ours, which is over with it: only where replies are lent
    /// ([`Link::lend_replies`](crate::link::Link::lend_replies)). Its id is the call's.
    Reply(Incoming<'b>),
    /// A request: answer it with [`Reader::answer`](super::Reader::answer) on the spot, or note it with
    /// [`Link::open_inbound`](crate::link::Link::open_inbound) and answer later.
    Request(Incoming<'b>),
}

/// A run of messages as they lie in the receive buffer, oldest first: an iterator.
#[derive(Clone, Debug)]
pub struct Burst<'b> {
    bytes: &'b [u8],
    rest: core::slice::Iter<'b, Place>,
    /// Where the next one begins.
    at: usize,
}

impl<'b> Burst<'b> {
    pub(super) fn new((bytes, messages): (&'b [u8], &'b [Place])) -> Self {
        Self { bytes, rest: messages.iter(), at: 0 }
    }
}

impl<'b> Iterator for Burst<'b> {
    type Item = Incoming<'b>;

    #[inline]
    fn next(&mut self) -> Option<Incoming<'b>> {
        let &Place { method, body, end } = self.rest.next()?;
        let cost = cost(end - self.at);
        self.at = end;
        let meta = Meta { method, ..Meta::default() };
        Some(Incoming { meta, extensions: &[], body: &self.bytes[body..end], frame: None, cost })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Burst<'_> {}

/// A message as it lies in the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Incoming<'b> {
    /// What its frame says.
    pub meta: Meta,
    /// Its extensions, encoded.
    pub extensions: &'b [u8],
    /// Its bytes.
    pub body: &'b [u8],
    /// Its frame, where that has memory of its own.
    pub(super) frame: Option<&'b Bytes>,
    /// What it costs of the credit this side granted.
    pub(in crate::link) cost: u64,
}

impl<'b> Incoming<'b> {
    /// The frame that `bytes` begin with.
    #[inline]
    pub(super) fn plain(frame: &Plain, bytes: &'b [u8]) -> Self {
        let body = &bytes[frame.body..frame.end];
        Self { meta: frame.meta(), extensions: &[], body, frame: None, cost: cost(frame.end) }
    }
}

impl Incoming<'_> {
    /// Its bytes, owned: copied, unless they came in fragments.
    #[must_use]
    pub fn to_body(&self) -> Body {
        match self.frame {
            Some(frame) if self.body.len() > crate::body::INLINE_BODY => {
                Body::from(frame.slice_ref(self.body))
            }
            _ => Body::copy_from(self.body),
        }
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

    /// Time left until the caller's deadline, as of when it was sent.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.remaining_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }
}
