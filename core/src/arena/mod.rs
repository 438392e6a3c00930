//! What waits to be written: a lane per priority class, lent out one batch at a time.
//!
//! Messages are encoded into the newest chunk of their class. [`Arena::begin_write`] swaps the
//! oldest chunk out whole (never shifting bytes) as a [`Batch`]; the holder of the batch has the
//! right to write the socket, and there is only one. Beside each chunk's bytes runs a list of
//! marks, which message ends where: when a connection dies, the marks tell what had left and what
//! had not, and what had not is kept whole for the next connection. The arena holds whole frames;
//! fragments are cut when a batch is taken, and only as many as the peer's credit covers.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::frame::{Class, Framing};

mod batch;
mod chunk;
mod cursor;
mod lane;
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
pub(crate) use parts::Growing;
pub(crate) use reconnect::Late;
use replay::{Abandoned, Replay};
use send_credit::SendCredit;

/// How many empty chunks are kept for reuse.
const SPARE_CHUNKS: usize = 3;
/// While normal messages wait, bulk gets one fragment after so many bytes of theirs.
const NORMAL_PER_BULK: usize = 64 * 1024;

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
    #[inline]
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
    /// Short ones, of the normal class.
    pub(crate) chunk: Chunk,
    /// Long ones, of the bulk class.
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

    /// Bytes of the normal class, and of bulk.
    #[inline]
    pub(crate) fn by_class(&self) -> [usize; 2] {
        [self.chunk.len(), self.large_bytes]
    }

    /// Takes the oldest of the long ones out.
    pub(crate) fn pop_large(&mut self) -> Option<Chunk> {
        let alone = self.large.pop_front()?;
        self.large_bytes -= alone.len();
        Some(alone)
    }

    /// The last frame of the chunk, which begins at `before` of its own bytes, is a long one.
    pub(crate) fn split_last(&mut self, before: usize) {
        let alone = self.chunk.split_last(before);
        self.large_bytes += alone.len();
        self.large.push_back(alone);
    }
}

#[derive(Debug)]
pub(crate) struct Arena {
    /// Made when there is something for it, and kept until nothing was sent for a while.
    control: Option<Box<Chunk>>,
    lanes: [Lane; 2],
    spare: Vec<Chunk>,
    /// A batch given back before it was wholly written: it goes out first.
    returned: Option<Box<Batch>>,
    /// The class of the batch that is out.
    lent: Option<Class>,
    /// Bytes that it keeps in memory: a long message as a whole until its last piece is written.
    lent_bytes: usize,
    /// Counts connections, so that a batch lent for a dead one is known.
    generation: u64,
    /// Longer frames are cut into pieces of so many bytes; `usize::MAX` where they cannot be.
    fragment: usize,
    /// Bodies below that length are copied, and not cut up.
    short: usize,
    next_message: u64,
    normal_since_bulk: usize,
    /// Most bytes of bulk in one batch. One fragment while the socket is what holds it up, because
    /// then whatever is in the batch is in the way of others; more while it takes all at once.
    bulk_run: usize,
    /// The batch that is out was not taken at once.
    slowed: bool,
    /// Written bytes of each class that are kept, in case the system loses them.
    resend_window: usize,
    /// In a session: what the peer has not acknowledged.
    replay: Option<Box<Replay>>,
    /// Batches of sessions that are over, which a writer still has: mostly there is none.
    #[allow(clippy::box_collection, reason = "one word in place of three")]
    abandoned: Option<Box<Vec<Abandoned>>>,
    /// How many batches of connections without a session are still with their writers, and how many of
    /// those are not waited for any more.
    late: u16,
    given_up: u16,
}

impl Arena {
    /// Frames longer than `fragment` will be cut up.
    pub(crate) fn new(fragment: usize) -> Self {
        Self {
            control: None,
            lanes: [Lane::new(Class::Normal), Lane::new(Class::Bulk)],
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

    /// Keeps so many written bytes of each class, to be sent again on the next connection.
    pub(crate) fn set_resend_window(&mut self, bytes: usize) {
        self.resend_window = bytes;
    }

    #[inline]
    fn lane(&self, class: Class) -> &Lane {
        &self.lanes[usize::from(class == Class::Bulk)]
    }

    fn lane_mut(&mut self, class: Class) -> &mut Lane {
        &mut self.lanes[usize::from(class == Class::Bulk)]
    }

    /// Calls and casts of a class that wait (the batch on loan does not count).
    pub(crate) fn ours(&self, class: Class) -> Load {
        self.lane(class).ours()
    }

    /// Answers and cancels that wait (the batch on loan does not count).
    pub(crate) fn owed(&self) -> Load {
        let mut owed = self.lanes[0].owed();
        owed.add(self.lanes[1].owed());
        owed
    }

    /// Those of one class.
    #[inline]
    pub(crate) fn owed_in(&self, class: Class) -> Load {
        self.lane(class).owed()
    }

    /// Aborts of one class that wait. Walks over everything that does.
    pub(crate) fn aborts(&self, class: Class) -> usize {
        self.lane(class).aborts()
    }

    /// Whether `batch` was lent for the connection that is up.
    pub(crate) fn is_current(&self, batch: &Batch) -> bool {
        self.lent.is_some() && batch.generation == self.generation
    }

    /// Whether a batch can be taken of which no byte has left yet.
    #[inline]
    pub(crate) fn can_take(&self) -> bool {
        self.lent.is_none() && self.returned.is_none()
    }

    /// Whether so many bytes of the normal class wait, and there is credit for about as many: with
    /// next to none, a batch would not be worth its write.
    #[inline]
    pub(crate) fn has_pile(&self, bytes: usize) -> bool {
        let lane = &self.lanes[0];
        lane.ours().bytes >= bytes && lane.flow.credit() >= bytes as u64 * 5 / 4
    }

    /// Whether a batch is out.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Whether no message waits or is being written (control frames do not count).
    pub(crate) fn has_no_data(&self) -> bool {
        let again = self.replay.as_deref().is_some_and(Replay::has_again);
        self.lent.is_none() && self.returned.is_none() && !again && self.lanes.iter().all(Lane::is_empty)
    }

    /// Whether nothing is left to write and nothing is being written.
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

    /// Bytes that are lent, or came back, or are kept until their message is out, or acknowledged.
    pub(crate) fn kept_bytes(&self) -> usize {
        let under_way = self.lanes.iter().map(Lane::lent_of_message).sum::<usize>();
        let returned = self.returned.as_ref().map_or(0, |batch| batch.keeps());
        let replay = self.replay.as_deref().map_or(0, |replay| replay.bytes() + replay.finished_bytes());
        under_way + self.lent_bytes + returned + replay + self.abandoned().map(Chunk::len).sum::<usize>()
    }

    /// Bytes of memory held for writing (the batch on loan not included).
    pub(crate) fn memory(&self) -> usize {
        let returned = self.returned.iter().map(|batch| &batch.chunk);
        let chunks = self.control.as_deref().into_iter().chain(&self.spare).chain(returned);
        let replay = self.replay.as_deref().map_or(0, Replay::memory);
        chunks.map(Chunk::capacity).sum::<usize>()
            + self.lanes.iter().map(Lane::memory).sum::<usize>()
            + replay
            + self.abandoned().map(Chunk::capacity).sum::<usize>()
    }

    /// Long messages of sessions that are over, whose last fragments a writer still has.
    fn abandoned(&self) -> impl Iterator<Item = &Chunk> {
        self.abandoned.iter().flat_map(|sessions| &**sessions).flat_map(|session| &session.finished)
    }

    /// Gives back what is kept for reuse: nothing was sent for a while.
    pub(crate) fn trim(&mut self) {
        self.spare = Vec::new();
        self.control.take_if(|chunk| chunk.is_empty());
        for lane in &mut self.lanes {
            lane.trim();
        }
        if let Some(replay) = &mut self.replay {
            replay.release_empty();
        }
    }

    /// Appends short frames of the normal class that the reader encoded.
    pub(crate) fn append(&mut self, local: &mut Chunk) {
        let Self { lanes, spare, .. } = self;
        lanes[0].append(local, spare);
    }

    /// Appends a chunk as it is.
    pub(crate) fn append_alone(&mut self, class: Class, chunk: Chunk) {
        self.lane_mut(class).push_chunk(chunk);
    }

    /// Longer frames are cut up.
    #[inline]
    pub(crate) fn fragment(&self) -> usize {
        self.fragment
    }

    /// The peer granted so much at the beginning of a connection; frames longer than `fragment`
    /// are cut up, and so many bytes of bulk may be unseen by it.
    pub(crate) fn open_flow(&mut self, credit: [u64; 2], bulk_ahead: u64, fragment: usize) {
        self.lanes[0].flow = SendCredit::granted(credit[0], u64::MAX);
        self.lanes[1].flow = SendCredit::granted(credit[1], bulk_ahead);
        self.next_message = 1;
        if fragment < self.fragment {
            self.retain_with(fragment, |_| true);
        }
        self.fragment = fragment;
        self.short = fragment.min(EXTERNAL_FROM);
    }

    /// The peer grants more of a class, or has seen more of it. False: what it says cannot be.
    #[must_use]
    pub(crate) fn update_flow(&mut self, class: Class, limit: u64, seen: u64) -> bool {
        self.lane_mut(class).flow.update(limit, seen)
    }

    /// Our own calls and casts stay where they are from now on: they wait for another connection.
    /// The numbers of those, by class, that were begun and will not be completed on this one.
    pub(crate) fn hold_back(&mut self) -> [Option<u64>; 2] {
        let [normal, bulk] = &mut self.lanes;
        [normal.hold_back(), bulk.hold_back()]
    }

    /// Lends the next bytes: what came back unfinished, control, then normal and bulk. `data` says
    /// whether others than control may go (not before the handshake is done).
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
        let bulk_first = self.normal_since_bulk >= NORMAL_PER_BULK && !self.lanes[1].is_empty();
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
        let [normal, bulk] = lanes;
        let (lane, budget) = match class {
            Class::Bulk if normal.is_empty() => (bulk, (*bulk_run).max((*fragment).min(CHUNK))),
            Class::Bulk => (bulk, (*fragment).min(CHUNK)),
            _ => (normal, CHUNK),
        };
        let Gathered { chunk, finished } = lane.take(framing, budget, *fragment, next_message, spare)?;
        // What is over counts for the next turn.
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

    /// The socket took the batch that is out only in part.
    pub(crate) fn slow_down(&mut self) {
        self.slowed = true;
        self.bulk_run = 0;
    }

    /// Throws a batch that was written away, whose memory is not worth keeping.
    pub(crate) fn end_rare_write(&mut self, batch: Batch) {
        self.control.take_if(|chunk| chunk.is_empty());
        debug_assert!(batch.is_done() && batch.class == Class::Control);
        (self.lent, self.lent_bytes) = (None, 0);
        drop(batch);
    }

    /// Takes a batch back. `acked` is called with frames of a session that the peer acknowledged while they
    /// were being written.
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

    /// Keeps the waiting frames that `keep` wants, in order, and drops the others.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut FrameRef<'_>) -> bool) {
        self.retain_with(self.fragment, keep);
    }

    fn retain_with(&mut self, fragment: usize, mut keep: impl FnMut(&mut FrameRef<'_>) -> bool) {
        let Self { lanes, spare, .. } = self;
        for lane in lanes {
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
