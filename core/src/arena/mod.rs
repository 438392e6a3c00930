//! What waits to be written: a queue of chunks per priority class, lent out one at a time.
//!
//! Messages are encoded into the newest chunk of their class. [`Arena::begin_write`] swaps the
//! oldest chunk out whole (never shifting bytes) as a [`Batch`]; whoever holds the batch has the
//! right to write the socket, and there is only one. Beside each chunk's bytes runs a list of
//! marks, which message ends where: when a connection dies, the marks tell what had left and what
//! had not, and what had not is kept whole for the next connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::body::Payload;
use crate::error::EncodeError;
use crate::frame::{Class, Framing, Meta};

mod chunk;

use chunk::Cursor;
pub(crate) use chunk::{CHUNK, Chunk, FrameRef, Sent};

/// How many empty chunks are kept for reuse.
const SPARE_CHUNKS: usize = 3;
/// While normal messages wait, bulk gets one chunk after this many of theirs.
const NORMAL_PER_BULK: u32 = 4;

/// A run of whole frames on loan to whoever writes the socket.
///
/// Write [`slices`](Self::slices), say how far it got with [`wrote`](Self::wrote), and give it
/// back to `end_write` of the machine it came from: wholly written or, if somebody else shall go
/// on, not. On a dead connection it goes to `handle_disconnected` instead.
#[derive(Debug)]
pub struct Batch {
    chunk: Chunk,
    class: Class,
    /// Which connection it was lent for.
    generation: u64,
    written: usize,
    cursor: Cursor,
}

impl Batch {
    /// A batch of bytes that are no machine's messages, for machines with a queue of their own.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut chunk = Chunk::default();
        let raw = crate::frame::raw::Raw::default();
        let encoded = chunk.push(&raw, Sent::Control, &Meta::default(), &[], Payload::Borrowed(bytes), false);
        debug_assert!(encoded.is_ok());
        Self::new(chunk, Class::Normal, 0)
    }

    fn new(chunk: Chunk, class: Class, generation: u64) -> Self {
        Self { chunk, class, generation, written: 0, cursor: Cursor::default() }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether every byte was written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.written == self.chunk.len()
    }

    /// How many cancels are in it.
    pub(crate) fn cancels(&self) -> usize {
        self.chunk.marks().iter().filter(|mark| matches!(mark.sent, Sent::Cancel(_))).count()
    }

    /// Fills `out` with what is to be written next, in order; returns how many slices those are
    /// (not necessarily all: large bodies stand apart from the small messages between them).
    pub fn slices<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        self.chunk.slices(&self.cursor, out)
    }

    /// The socket took the next `n` bytes.
    ///
    /// # Panics
    /// If that is more than there are.
    pub fn wrote(&mut self, n: usize) {
        self.chunk.advance(&mut self.cursor, n);
        self.written += n;
    }
}

/// Bounds of a queue. It admits one message when empty, however large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimit {
    /// Messages.
    pub messages: usize,
    /// Bytes, headers included where there are any.
    pub bytes: usize,
}

impl QueueLimit {
    /// Whether a queue that holds so much is at its limit.
    #[must_use]
    pub fn is_reached(&self, messages: usize, bytes: usize) -> bool {
        messages >= self.messages || bytes >= self.bytes
    }

    /// Half: where those who wait are let in again.
    #[must_use]
    pub fn low_mark(&self) -> Self {
        Self { messages: (self.messages / 2).max(1), bytes: (self.bytes / 2).max(1) }
    }
}

/// Frames encoded by the reader, without the lock, to be appended in one go.
#[derive(Debug, Default)]
pub(crate) struct LocalFrames {
    pub(crate) chunk: Chunk,
}

#[derive(Debug)]
pub(crate) struct Arena {
    classes: [VecDeque<Chunk>; Class::COUNT],
    spare: Vec<Chunk>,
    /// A batch given back before it was wholly written: it goes out first.
    returned: Option<Batch>,
    lent: bool,
    /// Counts connections, so that a batch lent for a dead one is known.
    generation: u64,
    /// Waiting, without control frames and without what is lent.
    messages: usize,
    bytes: usize,
    normal_in_a_row: u32,
}

impl Arena {
    pub(crate) fn new() -> Self {
        Self {
            classes: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
            spare: Vec::new(),
            returned: None,
            lent: false,
            generation: 0,
            messages: 0,
            bytes: 0,
            normal_in_a_row: 0,
        }
    }

    /// Messages waiting (control frames and the batch on loan do not count).
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes waiting (control frames and the batch on loan do not count).
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `batch` was lent for the connection that is up.
    pub(crate) fn is_current(&self, batch: &Batch) -> bool {
        self.lent && batch.generation == self.generation
    }

    /// Whether a batch is out.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Whether no message waits or is being written (control frames do not count).
    pub(crate) fn has_no_data(&self) -> bool {
        !self.lent && self.returned.is_none() && self.messages == 0
    }

    /// Whether nothing is left to write and nothing is being written.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.lent
            && self.returned.is_none()
            && self.classes.iter().all(|chunks| chunks.iter().all(Chunk::is_empty))
    }

    /// Bytes of memory held for writing (the batch on loan not included).
    pub(crate) fn memory(&self) -> usize {
        let queued = self.classes.iter().flatten().map(Chunk::capacity).sum::<usize>();
        queued
            + self.spare.iter().map(Chunk::capacity).sum::<usize>()
            + self.returned.as_ref().map_or(0, |batch| batch.chunk.capacity())
    }

    fn tail(&mut self, class: Class, bytes: usize) -> &mut Chunk {
        let chunks = &mut self.classes[class.index()];
        if !chunks.back().is_some_and(|chunk| chunk.has_room(bytes)) {
            chunks.push_back(self.spare.pop().unwrap_or_default());
        }
        // There is one: it was pushed above if there was none.
        let last = chunks.len() - 1;
        let chunk = &mut chunks[last];
        chunk.reserve(bytes);
        chunk
    }

    /// Encodes a message behind the others of its class. On error nothing changed.
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
        let copied = match &payload {
            Payload::Owned(body) if external_bodies && body.len() >= chunk::EXTERNAL_FROM => 0,
            payload => payload.len(),
        };
        let added = self.tail(meta.class, copied + extensions.len() + 64).push(
            framing,
            sent,
            meta,
            extensions,
            payload,
            external_bodies,
        )?;
        if meta.class != Class::Control && added > 0 {
            self.messages += 1;
            self.bytes += added;
        }
        Ok(added)
    }

    /// Appends what the reader encoded, as messages of `class`.
    pub(crate) fn append(&mut self, class: Class, local: &mut LocalFrames) {
        if local.chunk.is_empty() {
            return;
        }
        self.messages += local.chunk.messages();
        self.bytes += local.chunk.len();
        let room = self.classes[class.index()].back().is_some_and(|chunk| chunk.has_room(local.chunk.len()));
        if room {
            self.tail(class, local.chunk.len()).append(&mut local.chunk);
        } else {
            let fresh = self.spare.pop().unwrap_or_default();
            let full = core::mem::replace(&mut local.chunk, fresh);
            self.classes[class.index()].push_back(full);
        }
    }

    /// Lends the next chunk: what came back unfinished, control, then normal and bulk. `data`
    /// says whether others than control may go (not before the handshake is done).
    pub(crate) fn begin_write(&mut self, data: bool) -> Option<Batch> {
        if self.lent {
            return None;
        }
        let batch = match self.returned.take() {
            Some(batch) => batch,
            None => {
                let class = self.next_class(data)?;
                let chunk = self.classes[class.index()].pop_front()?;
                if class != Class::Control {
                    self.messages -= chunk.messages();
                    self.bytes -= chunk.len();
                }
                Batch::new(chunk, class, self.generation)
            }
        };
        self.lent = true;
        Some(batch)
    }

    /// Lends what is owed to the peer (answers, cancels, control), and leaves our own calls and
    /// casts where they are: they wait for another connection.
    pub(crate) fn begin_write_answers(&mut self) -> Option<Batch> {
        let first = self.returned.is_some()
            || self.classes[Class::Control.index()].iter().any(|chunk| !chunk.is_empty());
        if self.lent || first {
            return self.begin_write(false);
        }
        let mut owed = Chunk::default();
        self.retain(|frame| {
            let ours = matches!(frame.sent, Sent::Call(_) | Sent::Cast(_));
            if !ours {
                owed.push_frame(frame);
            }
            ours
        });
        if owed.is_empty() {
            return None;
        }
        self.lent = true;
        Some(Batch::new(owed, Class::Normal, self.generation))
    }

    /// Whether an answer waits to be written.
    pub(crate) fn has_answers(&self) -> bool {
        let mut chunks = self.classes.iter().flatten().chain(self.returned.iter().map(|batch| &batch.chunk));
        chunks.any(|chunk| chunk.marks().iter().any(|mark| matches!(mark.sent, Sent::Answer(_))))
    }

    fn next_class(&mut self, data: bool) -> Option<Class> {
        let waits = |class: Class| self.classes[class.index()].front().is_some_and(|chunk| !chunk.is_empty());
        if waits(Class::Control) {
            return Some(Class::Control);
        }
        if !data {
            return None;
        }
        match (waits(Class::Normal), waits(Class::Bulk)) {
            (true, true) if self.normal_in_a_row >= NORMAL_PER_BULK => {
                self.normal_in_a_row = 0;
                Some(Class::Bulk)
            }
            (true, _) => {
                self.normal_in_a_row = self.normal_in_a_row.saturating_add(1);
                Some(Class::Normal)
            }
            (false, true) => {
                self.normal_in_a_row = 0;
                Some(Class::Bulk)
            }
            (false, false) => None,
        }
    }

    /// Takes a batch back. True if more is to be written.
    pub(crate) fn end_write(&mut self, batch: Batch) {
        debug_assert!(self.lent, "a batch that was not lent");
        self.lent = false;
        if batch.is_done() {
            self.recycle(batch.chunk);
        } else {
            self.returned = Some(batch);
        }
    }

    fn recycle(&mut self, mut chunk: Chunk) {
        if self.spare.len() < SPARE_CHUNKS && chunk.capacity() <= 2 * CHUNK {
            chunk.clear();
            self.spare.push(chunk);
        }
    }

    /// The id of the first of our calls of `class` that has not left; later ones have not either.
    /// What is on loan counts as having left.
    pub(crate) fn first_queued_call(&self, class: Class) -> Option<u64> {
        let returned = self.returned.iter().filter(|batch| batch.class == class).flat_map(|batch| {
            batch.chunk.marks().iter().filter(|mark| {
                // A frame that left in part has left: the next batch ends it.
                mark.end as usize > batch.written && batch.written == 0
            })
        });
        returned.chain(self.classes[class.index()].iter().flat_map(|chunk| chunk.marks())).find_map(|mark| {
            match mark.sent {
                Sent::Call(id) => Some(id),
                _ => None,
            }
        })
    }

    /// The connection died with `lent` out (or given back unfinished). Drops what belonged to it
    /// and what had left, and keeps every other frame that `keep` wants, in order.
    ///
    /// Without `atomic` (raw bytes) a frame that left in part counts as left: `partial` is told.
    pub(crate) fn disconnect(
        &mut self,
        lent: Option<Batch>,
        atomic: bool,
        mut partial: impl FnMut(Sent),
        keep: impl FnMut(&mut FrameRef<'_>) -> bool,
    ) {
        self.lent = false;
        self.generation += 1;
        for chunk in core::mem::take(&mut self.classes[Class::Control.index()]) {
            self.recycle(chunk);
        }
        if let Some(mut batch) = lent.or_else(|| self.returned.take())
            && batch.class != Class::Control
        {
            let mut unsent = Chunk::default();
            let written = batch.written;
            batch.chunk.for_each_frame(|frame| {
                if frame.end <= written {
                    return;
                }
                if frame.start < written && !atomic {
                    partial(frame.sent);
                } else {
                    unsent.push_frame(&frame);
                }
            });
            self.messages += unsent.messages();
            self.bytes += unsent.len();
            self.classes[batch.class.index()].push_front(unsent);
        }
        self.returned = None;
        self.retain(keep);
    }

    /// Keeps the waiting frames that `keep` wants, in order, and drops the others.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut FrameRef<'_>) -> bool) {
        for class in [Class::Normal, Class::Bulk] {
            let old = core::mem::take(&mut self.classes[class.index()]);
            for mut chunk in old {
                let mut kept = Chunk::default();
                chunk.for_each_frame(|mut frame| {
                    if keep(&mut frame) {
                        kept.push_frame(&frame);
                    }
                });
                self.messages -= chunk.messages() - kept.messages();
                self.bytes -= chunk.len() - kept.len();
                if kept.is_empty() {
                    self.recycle(chunk);
                } else {
                    self.classes[class.index()].push_back(kept);
                }
            }
        }
    }

    /// Drops the oldest waiting cast, if there is one, and tells its number.
    pub(crate) fn drop_oldest_cast(&mut self) -> Option<u64> {
        let is_cast = |sent| matches!(sent, Sent::Cast(_));
        for class in [Class::Bulk, Class::Normal] {
            let chunks = &mut self.classes[class.index()];
            let Some(index) =
                chunks.iter().position(|chunk| chunk.marks().iter().any(|mark| is_cast(mark.sent)))
            else {
                continue;
            };
            let mut dropped = None;
            let mut kept = self.spare.pop().unwrap_or_default();
            chunks[index].for_each_frame(|frame| match (dropped, frame.sent) {
                (None, Sent::Cast(number)) => {
                    dropped = Some(number);
                    self.messages -= 1;
                    self.bytes -= frame.end - frame.start;
                }
                _ => kept.push_frame(&frame),
            });
            let old = core::mem::replace(&mut chunks[index], kept);
            self.recycle(old);
            return dropped;
        }
        None
    }
}

#[cfg(test)]
mod tests;
