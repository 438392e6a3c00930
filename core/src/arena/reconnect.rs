//! From one connection to the next: what is kept, and what is sent again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::batch::Batch;
use super::chunk::{Chunk, Fate, FrameRef, Sent};
use super::replay::Replay;
use super::{Arena, recycle};
use crate::frame::Class;

impl Arena {
    /// The connection ended with the batch `lent` with the writer (or given back incomplete). Keeps the
    /// frames for which `keep` returns true, in order. `keep` is called once for every frame of that batch,
    /// and then for every frame that is kept or waited, with [`Fate::Waiting`]. A long message counts as sent
    /// when its last fragment is.
    pub(crate) fn disconnect(
        &mut self,
        lent: Option<Batch>,
        mut keep: impl FnMut(&mut FrameRef<'_>, Fate) -> bool,
    ) {
        let out = self.lent.take().is_some_and(|class| class != Class::Control) && lent.is_none();
        self.late = self.late.saturating_add(u16::from(out));
        self.lent_bytes = 0;
        self.generation += 1;
        self.bulk_run = 0;
        if let Some(control) = self.control.take() {
            self.recycle(*control);
        }
        let returned = self.returned.take().map(|batch| *batch);
        self.lanes.restore();
        if let Some(mut batch) = lent.or(returned)
            && batch.class != Class::Control
        {
            let unsent = unsent(&mut batch, &mut keep);
            self.lane_mut(batch.class).restore(unsent);
        }
        for lane in self.lanes.iter_mut() {
            lane.restore_written(self.resend_window, &mut keep);
        }
        self.retain(|frame| keep(frame, Fate::Waiting));
    }

    /// Waiting messages will be sent in another session: long messages start again from the beginning. Keeps
    /// the frames for which `keep` returns true, in order.
    pub(crate) fn begin_anew(&mut self, mut keep: impl FnMut(&mut FrameRef<'_>, Fate) -> bool) {
        self.lanes.restore();
        self.retain(|frame| keep(frame, Fate::Waiting));
    }

    /// Begins to keep sent frames until they are acknowledged: at most this many bytes, and one batch.
    pub(crate) fn begin_session(&mut self, window: usize) {
        self.replay = Some(Box::new(Replay::new(window)));
    }

    /// The session is over: calls `lost` for every message that the peer has not acknowledged, and `acked`
    /// for every acknowledged frame that was not reported before.
    pub(crate) fn end_session(&mut self, acked: impl FnMut(Sent), lost: impl FnMut(&FrameRef<'_>)) {
        if let Some(replay) = self.replay.take()
            && let Some(abandoned) = replay.lose(acked, lost)
        {
            self.abandoned.get_or_insert_default().push(abandoned);
        }
    }

    /// The connection of a session ended with the batch `lent` with the writer (or given back incomplete).
    pub(crate) fn detach(&mut self, lent: Option<Batch>) {
        let out = self.lent.take().is_some_and(|class| class != Class::Control) && lent.is_none();
        self.lent_bytes = 0;
        let missing = out.then_some(self.generation);
        self.generation += 1;
        self.bulk_run = 0;
        if let Some(control) = self.control.take() {
            self.recycle(*control);
        }
        // A go-away applied to that connection only, and the credit belongs to the session.
        for lane in self.lanes.iter_mut() {
            lane.flow.stopped = false;
        }
        let lent = lent
            .or_else(|| self.returned.take().map(|batch| *batch))
            .filter(|batch| batch.class != Class::Control);
        if let Some(replay) = &mut self.replay {
            replay.detach(lent.map(|batch| (batch.chunk, batch.finished)), missing);
        }
    }

    /// The writer gives back a batch of an ended connection. In a session that continues, the batch returns
    /// to its place to be written again, `each` is called for the frames that the peer acknowledged
    /// meanwhile, and the result is true: there is something to write. Otherwise `each` is called for every
    /// frame, with its fate. A long message is whole if its last fragment is in the batch.
    pub(crate) fn return_late(&mut self, mut batch: Batch, mut each: impl FnMut(Late<'_, '_>)) -> bool {
        if batch.class == Class::Control {
            return false;
        }
        let Self { replay, spare, abandoned, .. } = self;
        if let Some(replay) = replay
            && replay.misses(batch.generation)
        {
            let told = |sent| each(Late::Acked(sent));
            replay.return_late(batch.chunk, batch.finished, told, |chunk| recycle(spare, chunk));
            return true;
        }
        let session = abandoned.as_mut().and_then(|abandoned| {
            let at = abandoned.iter().position(|session| session.generation == batch.generation)?;
            Some(abandoned.swap_remove(at))
        });
        abandoned.take_if(|abandoned| abandoned.is_empty());
        let session = session.map(|session| {
            batch.finished.extend(session.finished);
            session.acked
        });
        if session.is_none() {
            self.late_is_back();
        }
        let mut number = 0;
        batch.for_each_message(|frame, whole, fate| {
            number += 1;
            match session {
                Some(acked) if number <= acked => each(Late::Acked(frame.sent)),
                // A part is not a message.
                _ if frame.sent == Sent::Part => {}
                _ => {
                    let mut tell = |frame: &FrameRef<'_>| match session {
                        Some(_) => each(Late::Lost(frame)),
                        None => each(Late::Ended(frame, fate)),
                    };
                    match whole {
                        Some(mut whole) => whole.for_each_frame(|frame| tell(&frame)),
                        None => tell(&frame),
                    }
                }
            }
        });
        false
    }

    /// The writer gives back a batch of an ended connection, without a session, with at-least-once delivery.
    /// The casts for which `keep` returns true return to their place by number; it is called as in
    /// [`disconnect`](Self::disconnect). Returns whether there are any.
    pub(crate) fn restore_late(
        &mut self,
        mut batch: Batch,
        mut keep: impl FnMut(&mut FrameRef<'_>, Fate) -> bool,
    ) -> bool {
        if batch.class == Class::Control {
            return false;
        }
        self.late_is_back();
        let unsent = unsent(&mut batch, &mut |frame, fate| {
            frame.sent.cast().is_some() && keep(frame, fate) && keep(frame, Fate::Waiting)
        });
        let any = !unsent.is_empty();
        self.lane_mut(batch.class).insert_by_number(unsent);
        any
    }

    fn late_is_back(&mut self) {
        self.late = self.late.saturating_sub(1);
        self.given_up = self.given_up.min(self.late);
    }

    /// Whether the batch belongs to an ended connection without a session.
    pub(crate) fn is_late_without_session(&self, batch: &Batch) -> bool {
        let generation = batch.generation;
        let in_session = self.replay.as_ref().is_some_and(|replay| replay.misses(generation));
        !in_session
            && !self
                .abandoned
                .iter()
                .flat_map(|sessions| &**sessions)
                .any(|session| session.generation == generation)
    }

    /// The session continues and the peer has received `received` frames in total. `each` is called for every
    /// frame that this acknowledges for the first time. Returns how many frames are sent again; `None`: the
    /// value is invalid.
    pub(crate) fn resume(&mut self, received: u64, each: impl FnMut(Sent)) -> Option<u64> {
        let Self { replay, spare, .. } = self;
        replay.as_mut()?.resume(received, each, |chunk| recycle(spare, chunk))
    }

    /// The peer acknowledged `received` frames in total; `each` is called for every frame that this
    /// acknowledges for the first time. `false`: the value is invalid.
    #[must_use]
    pub(crate) fn ack(&mut self, received: u64, each: impl FnMut(Sent)) -> bool {
        let Self { replay, spare, .. } = self;
        let Some(replay) = replay else { return false };
        replay.ack(received, each, |chunk| recycle(spare, chunk))
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

/// The known fate of a message whose batch came back late.
#[derive(Debug)]
pub(crate) enum Late<'f, 'c> {
    /// The peer acknowledged it.
    Acked(Sent),
    /// Its session is over; the peer may have received it.
    Lost(&'f FrameRef<'c>),
    /// There was no session.
    Ended(&'f FrameRef<'c>, Fate),
}

/// The frames of a batch for which `keep` returns true, in order.
fn unsent(batch: &mut Batch, keep: &mut impl FnMut(&mut FrameRef<'_>, Fate) -> bool) -> Vec<Chunk> {
    let (mut unsent, mut run) = (Vec::new(), Chunk::default());
    batch.for_each_message(|mut frame, whole, fate| {
        if frame.sent == Sent::Part {
            return;
        }
        let Some(mut whole) = whole else {
            if keep(&mut frame, fate) {
                run.push_frame(&frame);
            }
            return;
        };
        let mut keeps = false;
        whole.for_each_frame(|mut frame| keeps = keep(&mut frame, fate));
        if keeps {
            if !run.is_empty() {
                unsent.push(core::mem::take(&mut run));
            }
            unsent.push(whole);
        }
    });
    if !run.is_empty() {
        unsent.push(run);
    }
    unsent
}
