//! The write queue: a lane per priority class, from which one batch at a time is taken.
//!
//! Messages are encoded into the newest chunk of their class. [`Arena::begin_write`] takes the oldest chunk
//! as a whole (bytes are never shifted) as a [`Batch`]. There is one batch at a time; its holder has the
//! right to write to the socket. Each chunk has a list of marks that say which message ends where. When a
//! connection ends, the marks tell which messages were sent, and the others are kept whole for the next
//! connection. The arena holds whole frames; fragments are cut when a batch is taken, and only as many as the
//! peer's credit covers.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::frame::{Class, Framing};

mod batch;
mod chunk;
mod cursor;
mod lane;
mod lanes;
mod partial;
mod parts;
mod push;
mod reconnect;
mod replay;
mod send_credit;
mod withdraw;

pub use batch::Batch;
pub use chunk::Fate;
pub(crate) use chunk::{CHUNK, Chunk, EXTERNAL_FROM, FrameRef, Load, Sent};
pub(crate) use cursor::Cursor;
pub(crate) use lane::Withdrawn;
use lane::{Gathered, Lane};
use lanes::Lanes;
pub(crate) use parts::Growing;
pub(crate) use reconnect::Late;
use replay::{Abandoned, Replay};

/// The number of empty chunks kept for reuse.
const SPARE_CHUNKS: usize = 3;
/// While normal messages wait, bulk gets one fragment after this many bytes of normal messages.
const NORMAL_PER_BULK: usize = 64 * 1024;

/// The bounds of a queue. An empty queue admits one message of any size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimit {
    /// The number of messages.
    pub messages: usize,
    /// The number of bytes, including headers where there are any.
    pub bytes: usize,
}

impl QueueLimit {
    /// Whether a queue with this content is at its limit.
    #[must_use]
    #[inline]
    pub fn is_reached(&self, messages: usize, bytes: usize) -> bool {
        messages >= self.messages || bytes >= self.bytes
    }

    /// Half of the limit: at this level, waiting callers are admitted again.
    #[must_use]
    pub fn low_mark(&self) -> Self {
        Self { messages: (self.messages / 2).max(1), bytes: (self.bytes / 2).max(1) }
    }
}

/// Frames that the reader encoded without the lock, to be appended at once.
#[derive(Debug, Default)]
pub(crate) struct LocalFrames {
    /// Short frames, of the normal class.
    pub(crate) chunk: Chunk,
    /// Long frames, of the bulk class.
    large: VecDeque<Chunk>,
    large_bytes: usize,
}

impl LocalFrames {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.large.is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.chunk.len() + self.large_bytes
    }

    /// Bytes of the normal class, and of the bulk class.
    #[inline]
    pub(crate) fn by_class(&self) -> [usize; 2] {
        [self.chunk.len(), self.large_bytes]
    }

    /// Removes the oldest long frame.
    pub(crate) fn pop_large(&mut self) -> Option<Chunk> {
        let alone = self.large.pop_front()?;
        self.large_bytes -= alone.len();
        Some(alone)
    }

    /// Moves the last frame of the chunk, which begins at `before` in its own bytes, to the long frames.
    pub(crate) fn split_last(&mut self, before: usize) {
        let alone = self.chunk.split_last(before);
        self.large_bytes += alone.len();
        self.large.push_back(alone);
    }
}

#[derive(Debug)]
pub(crate) struct Arena {
    /// Allocated when needed, and kept until nothing was sent for a while.
    control: Option<Box<Chunk>>,
    lanes: Lanes,
    spare: Vec<Chunk>,
    /// A batch that was given back before it was completely written: it goes out first.
    returned: Option<Box<Batch>>,
    /// The class of the batch that a writer has.
    lent: Option<Class>,
    /// Bytes that this batch keeps in memory: a long message as a whole until its last fragment is written.
    lent_bytes: usize,
    /// Counts connections, so that a batch of an earlier connection is recognised.
    generation: u64,
    /// Longer frames are cut into fragments of this many bytes; `usize::MAX` if the framing has no fragments.
    fragment: usize,
    /// Bodies below this length are copied, and not cut into fragments.
    short: usize,
    next_message: u64,
    normal_since_bulk: usize,
    /// Maximum bytes of bulk in one batch. One fragment while the socket is the bottleneck, because then
    /// every byte in the batch delays other messages; more while the socket takes everything at once.
    bulk_run: usize,
    /// The current batch was not taken at once.
    slowed: bool,
    /// Written bytes of each class that are kept, in case the system loses them.
    resend_window: usize,
    /// In a session: the frames that the peer has not acknowledged.
    replay: Option<Box<Replay>>,
    /// Batches of ended sessions that a writer still has. Boxed: usually there is none.
    #[allow(clippy::box_collection, reason = "one word in place of three")]
    abandoned: Option<Box<Vec<Abandoned>>>,
    /// How many batches of ended connections without a session are still with their writers, and how many of
    /// those are no longer waited for.
    late: u16,
    given_up: u16,
}

impl Arena {
    /// An empty arena; longer frames than `fragment` are cut into fragments.
    pub(crate) fn new(fragment: usize) -> Self {
        Self {
            control: None,
            lanes: Lanes::new(),
            spare: Vec::new(),
            returned: None,
            lent: None,
            lent_bytes: 0,
            generation: 0,
            fragment,
            short: fragment.min(EXTERNAL_FROM),
            next_message: 1,
            normal_since_bulk: 0,
            bulk_run: 0,
            slowed: false,
            resend_window: 0,
            replay: None,
            abandoned: None,
            late: 0,
            given_up: 0,
        }
    }

    /// Keeps this many written bytes of each class, to be sent again on the next connection.
    pub(crate) fn set_resend_window(&mut self, bytes: usize) {
        self.resend_window = bytes;
    }

    #[inline]
    fn lane(&self, class: Class) -> &Lane {
        self.lanes.get(class)
    }

    fn lane_mut(&mut self, class: Class) -> &mut Lane {
        self.lanes.get_mut(class)
    }

    /// Waiting calls and casts of a class (not those in the current batch).
    pub(crate) fn ours(&self, class: Class) -> Load {
        self.lane(class).ours()
    }

    /// Waiting answers and cancels (not those in the current batch).
    pub(crate) fn owed(&self) -> Load {
        let mut owed = self.lanes.normal().owed();
        owed.add(self.lane(Class::Bulk).owed());
        owed
    }

    /// Waiting answers and cancels of one class.
    #[inline]
    pub(crate) fn owed_in(&self, class: Class) -> Load {
        self.lane(class).owed()
    }

    /// Aborts of one class that wait. Walks over everything that does.
    pub(crate) fn aborts(&self, class: Class) -> usize {
        self.lane(class).aborts()
    }

    /// Whether `batch` was taken for the present connection.
    pub(crate) fn is_current(&self, batch: &Batch) -> bool {
        self.lent.is_some() && batch.generation == self.generation
    }

    /// Whether a batch can be taken of which no byte was sent yet.
    #[inline]
    pub(crate) fn can_take(&self) -> bool {
        self.lent.is_none() && self.returned.is_none()
    }

    /// Whether this many bytes of the normal class wait, with credit for about as many: with almost no
    /// credit, a batch would not be worth a write.
    #[inline]
    pub(crate) fn has_pile(&self, bytes: usize) -> bool {
        let lane = self.lanes.normal();
        lane.ours().bytes >= bytes && lane.flow.credit() >= bytes as u64 * 5 / 4
    }

    /// Whether a writer has a batch.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Whether no message waits or is being written (control frames do not count).
    pub(crate) fn has_no_data(&self) -> bool {
        let again = self.replay.as_deref().is_some_and(Replay::has_again);
        self.lent.is_none() && self.returned.is_none() && !again && self.lanes.iter().all(Lane::is_empty)
    }

    /// Whether nothing waits to be written and nothing is being written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.has_no_data() && !self.has_control()
    }

    /// Whether a control frame waits to be written.
    pub(crate) fn has_control(&self) -> bool {
        self.control.as_ref().is_some_and(|chunk| !chunk.is_empty())
    }

    /// Whether an answer waits to be written.
    pub(crate) fn has_answers(&self) -> bool {
        let is_answer = |sent| matches!(sent, Sent::Answer(_));
        let returned = self.returned.iter().flat_map(|batch| batch.chunk.marks());
        self.owed().messages > 0 || returned.into_iter().any(|mark| is_answer(mark.sent))
    }

    /// Bytes that are in batches, were given back, or are kept until their message is sent or acknowledged.
    pub(crate) fn kept_bytes(&self) -> usize {
        let under_way = self.lanes.iter().map(Lane::lent_of_message).sum::<usize>();
        let returned = self.returned.as_ref().map_or(0, |batch| batch.keeps());
        let replay = self.replay.as_deref().map_or(0, |replay| replay.bytes() + replay.finished_bytes());
        under_way + self.lent_bytes + returned + replay + self.abandoned().map(Chunk::len).sum::<usize>()
    }

    /// Bytes of memory held for writing (the current batch not included).
    pub(crate) fn memory(&self) -> usize {
        let returned = self.returned.iter().map(|batch| &batch.chunk);
        let chunks = self.control.as_deref().into_iter().chain(&self.spare).chain(returned);
        let replay = self.replay.as_deref().map_or(0, Replay::memory);
        chunks.map(Chunk::capacity).sum::<usize>()
            + self.lanes.iter().map(Lane::memory).sum::<usize>()
            + replay
            + self.abandoned().map(Chunk::capacity).sum::<usize>()
    }

    /// Long messages of ended sessions whose last fragments a writer still has.
    fn abandoned(&self) -> impl Iterator<Item = &Chunk> {
        self.abandoned.iter().flat_map(|sessions| &**sessions).flat_map(|session| &session.finished)
    }

    /// Frees memory that is kept for reuse: nothing was sent for a while.
    pub(crate) fn trim(&mut self) {
        self.spare = Vec::new();
        self.control.take_if(|chunk| chunk.is_empty());
        self.lanes.trim();
        if let Some(replay) = &mut self.replay {
            replay.release_empty();
        }
    }

    /// Appends short frames of the normal class that the reader encoded.
    pub(crate) fn append(&mut self, local: &mut Chunk) {
        let Self { lanes, spare, .. } = self;
        lanes.normal_mut().append(local, spare);
    }

    /// Appends a chunk unchanged.
    pub(crate) fn append_alone(&mut self, class: Class, chunk: Chunk) {
        self.lane_mut(class).push_chunk(chunk);
    }

    /// Longer frames are cut into fragments.
    #[inline]
    pub(crate) fn fragment(&self) -> usize {
        self.fragment
    }

    /// Starts a connection with the peer's first grants; frames longer than `fragment` are cut into
    /// fragments, and at most `bulk_ahead` bytes of bulk may be unseen by the peer.
    pub(crate) fn open_flow(&mut self, credit: [u64; 2], bulk_ahead: u64, fragment: usize) {
        self.lanes.open(credit, bulk_ahead);
        self.next_message = 1;
        if fragment < self.fragment {
            self.retain_with(fragment, |_| true);
        }
        self.fragment = fragment;
        self.short = fragment.min(EXTERNAL_FROM);
    }

    /// The peer grants more of a class, or has seen more of it. `false`: the values are invalid.
    #[must_use]
    pub(crate) fn update_flow(&mut self, class: Class, limit: u64, seen: u64) -> bool {
        self.lane_mut(class).flow.update(limit, seen)
    }

    /// From now on calls and casts of this side stay in the queue and wait for another connection. Returns,
    /// by class, the numbers of messages that were begun and will not be completed on this one.
    pub(crate) fn hold_back(&mut self) -> [Option<u64>; 2] {
        [Class::Normal, Class::Bulk].map(|class| self.lane_mut(class).hold_back())
    }

    /// Takes the next batch: first what was given back incomplete, then control frames, then normal and bulk.
    /// `data` says whether frames other than control may be sent (not before the handshake is done).
    pub(crate) fn begin_write<F: Framing>(&mut self, framing: &F, data: bool) -> Option<Batch> {
        if self.lent.is_some() {
            return None;
        }
        let batch = match self.returned.take() {
            Some(batch) => *batch,
            None => self.next_batch(framing, data)?,
        };
        self.lent = Some(batch.class);
        self.lent_bytes = batch.keeps();
        self.slowed = false;
        Some(batch)
    }

    fn next_batch<F: Framing>(&mut self, framing: &F, data: bool) -> Option<Batch> {
        if let Some(chunk) = self.control.as_deref_mut().filter(|chunk| !chunk.is_empty()) {
            return Some(Batch::new(core::mem::take(chunk), Class::Control, self.generation));
        }
        if !data {
            return None;
        }
        if let Some(replay) = &mut self.replay {
            if let Some(chunk) = replay.next_again() {
                return Some(Batch::new(chunk, Class::Normal, self.generation));
            }
            if !replay.is_open() {
                return None;
            }
        }
        let bulk_first = self.normal_since_bulk >= NORMAL_PER_BULK && !self.lane(Class::Bulk).is_empty();
        if bulk_first && let Some(batch) = self.take(framing, Class::Bulk) {
            return Some(batch);
        }
        match self.take(framing, Class::Normal) {
            Some(batch) => Some(batch),
            None if bulk_first => None,
            None => self.take(framing, Class::Bulk),
        }
    }

    fn take<F: Framing>(&mut self, framing: &F, class: Class) -> Option<Batch> {
        let Self { lanes, spare, fragment, next_message, bulk_run, normal_since_bulk, .. } = self;
        let budget = match class {
            Class::Bulk if lanes.normal().is_empty() => (*bulk_run).max((*fragment).min(CHUNK)),
            Class::Bulk => (*fragment).min(CHUNK),
            _ => CHUNK,
        };
        let lane = lanes.find_mut(class)?;
        let Gathered { chunk, finished } = lane.take(framing, budget, *fragment, next_message, spare)?;
        // The excess counts for the next turn.
        *normal_since_bulk = match class {
            Class::Bulk => normal_since_bulk.saturating_sub(NORMAL_PER_BULK).min(NORMAL_PER_BULK),
            _ => normal_since_bulk.saturating_add(chunk.len()),
        };
        if let Some(replay) = &mut self.replay {
            replay.note_lent(&chunk);
        }
        let mut batch = Batch::new(chunk, class, self.generation);
        batch.finished = finished;
        Some(batch)
    }

    /// The socket took only a part of the current batch.
    pub(crate) fn slow_down(&mut self) {
        self.slowed = true;
        self.bulk_run = 0;
    }

    /// Drops a written batch whose memory is not worth keeping.
    pub(crate) fn end_rare_write(&mut self, batch: Batch) {
        self.control.take_if(|chunk| chunk.is_empty());
        debug_assert!(batch.is_done() && batch.class == Class::Control);
        (self.lent, self.lent_bytes) = (None, 0);
        drop(batch);
    }

    /// Takes a batch back. `acked` is called for the frames of a session that the peer acknowledged while
    /// they were being written.
    pub(crate) fn end_write(&mut self, batch: Batch, acked: impl FnMut(Sent)) {
        debug_assert!(self.lent.is_some(), "a batch that was not lent");
        (self.lent, self.lent_bytes) = (None, 0);
        if batch.is_done() {
            if batch.class == Class::Bulk && !self.slowed {
                self.bulk_run = (self.bulk_run + self.fragment.min(CHUNK)).min(CHUNK);
            }
            if let Some(replay) = &mut self.replay
                && batch.class != Class::Control
            {
                if let Some(chunk) = replay.note_written(batch.chunk, batch.finished, acked) {
                    self.recycle(chunk);
                }
                return;
            }
            if self.resend_window > 0 && batch.class != Class::Control {
                let window = self.resend_window;
                for chunk in self.lane_mut(batch.class).keep_written(batch.chunk, window) {
                    self.recycle(chunk);
                }
                return;
            }
            self.recycle(batch.chunk);
        } else {
            self.returned = Some(Box::new(batch));
        }
    }

    fn recycle(&mut self, chunk: Chunk) {
        recycle(&mut self.spare, chunk);
    }

    /// Keeps the waiting frames for which `keep` returns true, in order, and drops the others.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut FrameRef<'_>) -> bool) {
        self.retain_with(self.fragment, keep);
    }

    fn retain_with(&mut self, fragment: usize, mut keep: impl FnMut(&mut FrameRef<'_>) -> bool) {
        let Self { lanes, spare, .. } = self;
        for lane in lanes.iter_mut() {
            lane.retain(fragment, &mut keep, |chunk| recycle(spare, chunk));
        }
    }
}

/// Keeps an empty chunk for reuse, if few are kept.
pub(crate) fn recycle(spare: &mut Vec<Chunk>, mut chunk: Chunk) {
    if spare.len() < SPARE_CHUNKS && (1..=2 * CHUNK).contains(&chunk.capacity()) {
        chunk.clear();
        // One by one: an idle link keeps little.
        spare.reserve_exact(1);
        spare.push(chunk);
    }
}

#[cfg(test)]
mod tests;
