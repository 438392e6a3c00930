//! From one connection to the next: what is kept, what is sent again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::batch::Batch;
use super::chunk::{Chunk, Fate, FrameRef, Sent};
use super::replay::Replay;
use super::{Arena, recycle};
use crate::frame::Class;

impl Arena {
    /// The connection died with `lent` out (or given back unfinished). Keeps the frames that `keep`
    /// wants, in order; it is asked once for every frame of that batch, and then for every frame
    /// that is kept or waited, with [`Fate::Waiting`]. A long message has left once its last
    /// fragment has.
    pub(crate) fn disconnect(
        &mut self,
        lent: Option<Batch>,
        mut keep: impl FnMut(&mut FrameRef<'_>, Fate) -> bool,
    ) {
        self.lent = None;
        self.generation += 1;
        self.bulk_run = 0;
        if let Some(control) = self.control.take() {
            self.recycle(*control);
        }
        let returned = self.returned.take().map(|batch| *batch);
        for lane in &mut self.lanes {
            lane.restore(Vec::new());
        }
        if let Some(mut batch) = lent.or(returned)
            && batch.class != Class::Control
        {
            let unsent = unsent(&mut batch, &mut keep);
            self.lane_mut(batch.class).restore(unsent);
        }
        for lane in &mut self.lanes {
            lane.restore_written(&mut keep);
        }
        self.retain(|frame| keep(frame, Fate::Waiting));
    }

    /// What waits will go out on another session: long messages that were begun from their
    /// beginning. Keeps the frames that `keep` wants, in order.
    pub(crate) fn begin_anew(&mut self, mut keep: impl FnMut(&mut FrameRef<'_>, Fate) -> bool) {
        for lane in &mut self.lanes {
            lane.restore(Vec::new());
        }
        self.retain(|frame| keep(frame, Fate::Waiting));
    }

    /// Begins to keep what is sent until it is acknowledged: at most so many bytes, and a batch.
    pub(crate) fn begin_session(&mut self, window: usize) {
        self.replay = Some(Box::new(Replay::new(window)));
    }

    /// The session is over; what the peer has not acknowledged is told.
    pub(crate) fn end_session(&mut self, each: impl FnMut(&FrameRef<'_>)) {
        if let Some(replay) = self.replay.take() {
            replay.lose(each);
        }
    }

    /// The connection of a session died with `lent` out (or given back unfinished).
    pub(crate) fn detach(&mut self, lent: Option<Batch>) {
        let out = self.lent.take().is_some_and(|class| class != Class::Control) && lent.is_none();
        let missing = out.then_some(self.generation);
        self.generation += 1;
        self.bulk_run = 0;
        if let Some(control) = self.control.take() {
            self.recycle(*control);
        }
        let lent = lent
            .or_else(|| self.returned.take().map(|batch| *batch))
            .filter(|batch| batch.class != Class::Control);
        if let Some(replay) = &mut self.replay {
            replay.detach(lent.map(|batch| (batch.chunk, batch.finished)), missing);
        }
    }

    /// A batch comes back whose connection is gone. In a session it goes where it belongs, and
    /// there is something to write; otherwise `each` is told of its frames.
    pub(crate) fn return_late(
        &mut self,
        mut batch: Batch,
        mut each: impl FnMut(&mut FrameRef<'_>, Fate),
    ) -> bool {
        if batch.class == Class::Control {
            return false;
        }
        let Self { replay, spare, .. } = self;
        if let Some(replay) = replay
            && replay.misses(batch.generation)
        {
            replay.return_late(batch.chunk, batch.finished, |chunk| recycle(spare, chunk));
            return true;
        }
        unsent(&mut batch, &mut |frame, fate| {
            each(frame, fate);
            false
        });
        false
    }

    /// The session goes on: the peer has so many frames. How many are sent again; `None`: it
    /// cannot have so many.
    pub(crate) fn resume(&mut self, received: u64) -> Option<u64> {
        let Self { replay, spare, .. } = self;
        replay.as_mut()?.resume(received, |chunk| recycle(spare, chunk))
    }

    /// The peer has so many frames; `each` is told what they are. False: it cannot have so many.
    #[must_use]
    pub(crate) fn ack(&mut self, received: u64, mut each: impl FnMut(Sent)) -> bool {
        let Self { replay, spare, .. } = self;
        let Some(replay) = replay else { return false };
        replay.ack(received, |chunk| {
            for mark in chunk.marks() {
                each(mark.sent);
            }
            recycle(spare, chunk);
        })
    }

    /// Frames of the session that the peer has not acknowledged.
    pub(crate) fn unacked(&self) -> u64 {
        self.replay.as_deref().map_or(0, Replay::unacked)
    }

    /// Frames of the session that were sent.
    pub(crate) fn lent(&self) -> u64 {
        self.replay.as_deref().map_or(0, Replay::lent)
    }
}

/// The frames of a batch that are kept, in order.
fn unsent(batch: &mut Batch, keep: &mut impl FnMut(&mut FrameRef<'_>, Fate) -> bool) -> Vec<Chunk> {
    let (written, finished) = (batch.written, &mut batch.finished);
    let (mut unsent, mut run) = (Vec::new(), Chunk::default());
    batch.chunk.for_each_frame(|mut frame| {
        let is_last = |chunk: &Chunk| chunk.marks().first().is_some_and(|mark| mark.sent == frame.sent);
        let whole = if finished.front().is_some_and(is_last) { finished.pop_front() } else { None };
        if frame.sent == Sent::Part {
            return;
        }
        let fate = match (frame.start, frame.end) {
            (_, end) if end <= written => Fate::Left,
            (start, _) if start < written => Fate::InPart,
            _ => Fate::Unsent,
        };
        if !keep(&mut frame, fate) {
            return;
        }
        if let Some(whole) = whole {
            if !run.is_empty() {
                unsent.push(core::mem::take(&mut run));
            }
            unsent.push(whole);
        } else {
            run.push_frame(&frame);
        }
    });
    if !run.is_empty() {
        unsent.push(run);
    }
    unsent
}
