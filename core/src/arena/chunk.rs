//! One run of whole frames.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::body::{Payload, REFERENCED_FROM};
use crate::error::EncodeError;
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Framing, Kind, Meta};

/// Limit of a chunk's bytes: a frame that would exceed it begins a new chunk. Blocks of about 64 KiB stay in the cache
/// between encoding and writing: their throughput is twice that of 256 KiB blocks. Two segments of Linux's loopback
/// interface hold 65,472 bytes: a few bytes more in one write cost a third segment, and up to a quarter of the speed.
pub(crate) const CHUNK: usize = 2 * 32_736;

/// The first size of a chunk in bytes, before it grows to its full size.
const LITTLE: usize = 1024;

/// Owned bodies of this size or more are kept by reference; copying smaller ones is cheaper.
pub(crate) const EXTERNAL_FROM: usize = REFERENCED_FROM;

/// The message that a frame belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// A request of this side, by call id.
    Call(u64),
    /// A cast of this side, by its number.
    Cast(u64),
    /// An answer to the peer's request with this id.
    Answer(u64),
    /// A cancel of this side's call with this id.
    Cancel(u64),
    /// Hello, ping, pong, go-away, credit, ack, resume.
    Control,
    /// The end of a long message that was aborted.
    Abort,
    /// A fragment other than the last one of its message.
    Part,
}

impl Sent {
    /// The number, for a cast.
    pub(crate) fn cast(self) -> Option<u64> {
        match self {
            Self::Cast(number) => Some(number),
            _ => None,
        }
    }

    /// Whether sending it takes credit of the peer. Requests and casts do. Answers and cancels do not: they
    /// belong to requests that were sent before.
    pub(crate) fn takes_credit(self) -> bool {
        matches!(self, Self::Call(_) | Self::Cast(_))
    }
}

/// Messages and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) const NONE: Self = Self { messages: 0, bytes: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    pub(crate) fn sub(&mut self, other: Self) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

/// A frame of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Where it ends, in bytes on the wire from the start of its chunk.
    pub(crate) end: u32,
    /// The length of the message's body as it was given, for calls and casts. The framing cannot tell: it
    /// only reads frames that the peer sent.
    body: u32,
    pub(crate) sent: Sent,
}

/// A large body kept by reference: it follows after `at` bytes of the chunk's own.
#[derive(Clone, Debug)]
pub(super) struct External {
    pub(super) at: usize,
    pub(super) body: Bytes,
}

/// Whole frames, one after the other: small ones copied, large bodies by reference.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) externals: Vec<External>,
    pub(super) marks: Vec<Mark>,
    /// Bytes on the wire, externals included.
    pub(super) len: usize,
    /// The part of it that takes no credit.
    pub(super) owed: Load,
    /// One message that is too long for one frame.
    pub(super) large: bool,
}

/// How far a message was sent when its connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its last byte was written.
    Left,
    /// Some of its bytes were written.
    InPart,
    /// None of its bytes were written, but it was in the batch being written.
    Unsent,
    /// It was in the queue.
    Waiting,
}

/// One frame of a chunk, during a visit of its frames.
#[derive(Debug)]
pub(crate) struct FrameRef<'a> {
    pub(crate) sent: Sent,
    /// The header, and the body unless that is external.
    pub(crate) bytes: &'a mut [u8],
    pub(crate) external: Option<&'a Bytes>,
    /// The length of the message's body as it was given, for calls and casts.
    pub(crate) body: usize,
    /// Where it ends in the chunk.
    pub(crate) end: usize,
    /// Where it begins in the chunk.
    pub(crate) start: usize,
}

impl Chunk {
    /// Its bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Answers and cancels in it.
    pub(crate) fn owed(&self) -> Load {
        self.owed
    }

    /// Calls and casts in it.
    pub(crate) fn ours(&self) -> Load {
        Load { messages: self.marks.len() - self.owed.messages, bytes: self.len - self.owed.bytes }
    }

    /// The credit that sending it takes.
    pub(super) fn cost(&self) -> u64 {
        let ours = self.ours();
        ours.bytes as u64 + ours.messages as u64 * MESSAGE_COST
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Whether a frame with about this many copied bytes may be added, if the chunk must not exceed `most`
    /// bytes.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize, most: usize) -> bool {
        self.len == 0 || (!self.large && self.len < most && self.bytes.len() + bytes <= most)
    }

    /// Whether this many bytes fit into its allocated memory.
    #[inline]
    pub(crate) fn has_memory(&self, bytes: usize) -> bool {
        let free = self.bytes.capacity().min(CHUNK).checked_sub(self.bytes.len());
        free >= Some(bytes) && !self.large && self.len < CHUNK
    }

    /// Allocates the memory of an empty chunk, once, in one piece.
    #[inline]
    pub(crate) fn reserve(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() < bytes {
            self.grow(bytes);
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        if self.bytes.capacity() == 0 {
            // Small first: an idle connection that only sends heartbeats stays small.
            self.bytes.reserve(bytes.max(128));
        } else if self.bytes.len() + bytes <= LITTLE {
            // A greeting, or a few small messages.
            self.bytes.reserve_exact(LITTLE - self.bytes.len());
        } else if self.bytes.capacity() < CHUNK {
            self.bytes.reserve_exact(CHUNK - self.bytes.len());
        }
    }

    /// Encodes one message. On error the chunk is as it was.
    #[inline]
    pub(crate) fn push<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        extensions: &[u8],
        payload: Payload<'_>,
        external_bodies: bool,
    ) -> Result<usize, EncodeError> {
        match payload {
            Payload::Owned(body) if external_bodies && body.len() >= EXTERNAL_FROM => {
                self.push_external(framing, sent, meta, extensions, body)
            }
            payload => self.push_copied(framing, sent, meta, extensions, payload.as_slice()),
        }
    }

    /// Encodes one message with its body. On error the chunk is as it was.
    #[inline(always)]
    pub(crate) fn push_copied<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        extensions: &[u8],
        body: &[u8],
    ) -> Result<usize, EncodeError> {
        let before = self.bytes.len();
        framing.encode(&mut self.bytes, meta, extensions, body)?;
        let added = self.bytes.len() - before;
        self.mark(added, sent, body.len());
        Ok(added)
    }

    fn push_external<F: Framing>(
        &mut self,
        framing: &F,
        sent: Sent,
        meta: &Meta,
        extensions: &[u8],
        body: Bytes,
    ) -> Result<usize, EncodeError> {
        let before = self.bytes.len();
        let mark = framing.begin(&mut self.bytes, meta, extensions)?;
        framing.finish(&mut self.bytes, mark, body.len())?;
        let added = self.bytes.len() - before + body.len();
        let len = body.len();
        self.externals.push(External { at: self.bytes.len(), body });
        self.mark(added, sent, len);
        Ok(added)
    }

    /// Encodes the reply to a request; `fill` appends its body in place. On error (of `fill` or of the
    /// framing) the chunk is as it was. The reply carries `extensions` if there are any.
    #[inline]
    pub(crate) fn push_reply<F: Framing, E>(
        &mut self,
        framing: &F,
        id: u64,
        extensions: &[u8],
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<usize, EncodeError>, E> {
        let before = self.bytes.len();
        let begun = match extensions {
            [] => framing.begin_reply(&mut self.bytes, id),
            extensions => framing.begin(&mut self.bytes, &Meta::new(Kind::Reply, id), extensions),
        };
        let mark = match begun {
            Ok(mark) => mark,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = fill(&mut self.bytes) {
            self.bytes.truncate(before);
            return Err(error);
        }
        let finished = match extensions {
            [] => framing.finish_reply(&mut self.bytes, mark),
            _ => framing.finish(&mut self.bytes, mark, 0),
        };
        if let Err(error) = finished {
            return Ok(Err(error));
        }
        let added = self.bytes.len() - before;
        self.mark(added, Sent::Answer(id), 0);
        Ok(Ok(added))
    }

    #[inline]
    pub(super) fn mark(&mut self, added: usize, sent: Sent, body: usize) {
        if added == 0 {
            return;
        }
        self.len += added;
        if !sent.takes_credit() {
            self.owed.add(Load { messages: 1, bytes: added });
        }
        // A chunk is below CHUNK plus one message, and a message is below 4 GiB.
        let end = u32::try_from(self.len).unwrap_or(u32::MAX);
        let body = u32::try_from(body).unwrap_or(u32::MAX);
        self.marks.push(Mark { end, body, sent });
    }

    /// Copies the frames of `other` behind this chunk's own.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let base = self.len;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.externals.extend(other.externals.drain(..).map(|e| External { at: e.at + at, ..e }));
        self.marks.extend(
            other.marks.iter().map(|mark| Mark {
                end: u32::try_from(base + mark.end as usize).unwrap_or(u32::MAX),
                ..*mark
            }),
        );
        self.len += other.len;
        self.owed.add(other.owed);
        other.clear();
    }

    /// Removes the last frame, which begins at `before` in the chunk's own bytes and has no external body,
    /// and returns it as a chunk of its own that holds it by reference.
    pub(crate) fn split_last(&mut self, before: usize) -> Self {
        let Some(mark) = self.marks.pop() else { return Self::default() };
        let frame = Bytes::from(self.bytes.split_off(before));
        self.len -= frame.len();
        if !mark.sent.takes_credit() {
            self.owed.sub(Load { messages: 1, bytes: frame.len() });
        }
        let mut alone = Self { large: true, ..Self::default() };
        let len = frame.len();
        alone.externals.push(External { at: 0, body: frame });
        alone.mark(len, mark.sent, mark.body as usize);
        alone
    }

    /// Drops its last frame, which is an answer; returns the id.
    pub(crate) fn drop_last_answer(&mut self) -> Option<u64> {
        let &Mark { sent: Sent::Answer(id), .. } = self.marks.last()? else { return None };
        let mut kept = Self::default();
        let last = self.marks.len() - 1;
        let mut at = 0;
        self.for_each_frame(|frame| {
            if at < last {
                kept.push_frame(&frame);
            }
            at += 1;
        });
        kept.large = self.large && !kept.is_empty();
        *self = kept;
        Some(id)
    }

    /// Whether it can be split between any two of its frames.
    pub(super) fn can_split(&self) -> bool {
        !self.large && self.externals.is_empty() && self.owed.messages == 0
    }

    /// How many of its frames, which all take credit, this much credit covers.
    pub(super) fn covered_by(&self, credit: u64) -> usize {
        let (mut low, mut high) = (0, self.marks.len());
        while low < high {
            let middle = low.midpoint(high);
            let cost = u64::from(self.marks[middle].end) + (middle as u64 + 1) * MESSAGE_COST;
            if cost <= credit { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Moves the frames after the first `frames` to `rest`, which is empty, and returns it. Only if the chunk
    /// [can be split](Self::can_split).
    pub(super) fn split_off(&mut self, frames: usize, mut rest: Self) -> Self {
        let end = frames.checked_sub(1).map_or(0, |last| self.marks[last].end);
        rest.bytes.extend_from_slice(&self.bytes[end as usize..]);
        rest.marks.extend(self.marks.drain(frames..).map(|mark| Mark { end: mark.end - end, ..mark }));
        rest.len = self.len - end as usize;
        self.len = end as usize;
        self.bytes.truncate(self.len);
        rest
    }

    /// The chunk's own bytes, without external bodies.
    pub(crate) fn own_len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of the last frame, which begins at `before` in the chunk's own bytes.
    pub(crate) fn own_from(&mut self, before: usize) -> &mut [u8] {
        &mut self.bytes[before..]
    }

    /// A chunk of one encoded frame, of a message whose body has `body` bytes.
    pub(super) fn of_frame(sent: Sent, frame: &[u8], body: usize, large: bool) -> Self {
        let mut chunk = Self { large, ..Self::default() };
        if large {
            chunk.externals.push(External { at: 0, body: Bytes::copy_from_slice(frame) });
        } else {
            chunk.bytes.extend_from_slice(frame);
        }
        chunk.mark(frame.len(), sent, body);
        chunk
    }

    /// Appends a copy of one encoded frame.
    pub(crate) fn push_encoded(&mut self, sent: Sent, frame: &[u8], body: usize) {
        self.bytes.extend_from_slice(frame);
        self.mark(frame.len(), sent, body);
    }

    /// Appends bytes by reference, as a frame.
    pub(crate) fn push_shared(&mut self, sent: Sent, bytes: Bytes) {
        let len = bytes.len();
        if len > 0 {
            self.externals.push(External { at: self.bytes.len(), body: bytes });
        }
        self.mark(len, sent, len);
    }

    /// Appends a copy of one frame of another chunk.
    pub(crate) fn push_frame(&mut self, frame: &FrameRef<'_>) {
        self.bytes.extend_from_slice(frame.bytes);
        if let Some(body) = frame.external {
            self.externals.push(External { at: self.bytes.len(), body: body.clone() });
        }
        self.mark(frame.end - frame.start, frame.sent, frame.body);
    }

    /// Visits the frames, first to last.
    pub(crate) fn for_each_frame(&mut self, mut f: impl FnMut(FrameRef<'_>)) {
        let mut rest = &mut self.bytes[..];
        let mut externals = self.externals.iter().peekable();
        let (mut at, mut start) = (0, 0);
        for mark in &self.marks {
            let end = mark.end as usize;
            // An external body belongs to the frame whose copied bytes end where the body is inserted. If
            // several frames end there, the frame's own length tells which one.
            let mut own = end - start;
            let external = externals.next_if(|e| e.body.len() <= own && e.at == at + own - e.body.len());
            if let Some(e) = external {
                own -= e.body.len();
            }
            let (bytes, tail) = core::mem::take(&mut rest).split_at_mut(own);
            rest = tail;
            let (external, body) = (external.map(|e| &e.body), mark.body as usize);
            f(FrameRef { sent: mark.sent, bytes, external, body, end, start });
            at += own;
            start = end;
        }
    }

    /// Removes everything; keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.externals.clear();
        self.marks.clear();
        self.len = 0;
        self.owed = Load::default();
        self.large = false;
    }

    /// Bytes of allocated memory, large bodies kept by reference included.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.marks.capacity() * size_of::<Mark>()
            + self.externals.iter().map(|e| e.body.len()).sum::<usize>()
    }
}
