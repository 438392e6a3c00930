//! Batches that are given back after the end of their connection, or of the link.

use super::settle::Ended;
use super::{Link, Phase};
use crate::arena::{Batch, Fate, FrameRef, Late};
use crate::config::OnDisconnect;
use crate::error::{Disconnect, Outcome, Undeliverable};
use crate::frame::Framing;
use crate::link::undelivered::decode;
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Whether a batch whose connection has ended will be sent again once its writer gives it back. Until
    /// then nothing younger may be sent. The writer does not wait for the socket, so this is soon; a writer
    /// that takes longer than a write may stall is given up.
    pub(super) fn waits_for_late_batch(&self) -> bool {
        self.arena.expects_late()
            && self.phase != Phase::Closed
            && self.settings.on_disconnect == OnDisconnect::Keep
    }

    /// When a writer that holds a batch of an earlier connection is given up.
    pub(super) fn next_late_check(&self) -> Option<Instant> {
        self.waits_for_late_batch().then(|| self.conn.life.began + self.settings.write_stall)
    }

    /// Gives such a writer up, if it is time: messages that it gives back later are returned to their
    /// senders.
    pub(super) fn check_late_batch(&mut self, now: Instant) {
        if self.next_late_check().is_some_and(|at| now >= at) {
            self.arena.give_up_late();
            self.wake_driver();
        }
    }

    /// The writer gives back a batch whose connection has ended. The outcomes of its calls were reported when
    /// the connection ended; those of its casts are reported now.
    pub(super) fn handle_late_batch(&mut self, batch: Batch) {
        if self.waits_for_late_batch() && !batch.is_control() && self.arena.is_late_without_session(&batch) {
            let cause = self.route.last_cause.as_deref().cloned().unwrap_or(Disconnect::LocalClose);
            self.settle(Ended::LateWrite(batch), &cause);
            if self.phase == Phase::Ready {
                // The present peer may accept less than the last one.
                self.freshen_queue(self.last_time);
            }
            self.wake_driver();
            self.wakes.attend();
            return;
        }
        let (mut acked, mut left, mut failed) = (alloc::vec![], alloc::vec![], alloc::vec![]);
        let Self { arena, framing, route, .. } = &mut *self;
        let cause = route.last_cause.as_deref().cloned().unwrap_or(Disconnect::LocalClose);
        let reason = Undeliverable::Disconnected(cause);
        // A part of an atomic message is not delivered.
        let in_part = if framing.profile().atomic { Outcome::NeverSent } else { Outcome::MaybeDelivered };
        let mut fail = |frame: &FrameRef<'_>, outcome| {
            if frame.sent.cast().is_some() {
                failed.extend(decode(framing, frame, outcome, &reason));
            }
        };
        let goes_on = arena.return_late(batch, |late| match late {
            Late::Acked(sent) => acked.extend(sent.cast()),
            Late::Lost(frame) => fail(frame, Outcome::MaybeDelivered),
            Late::Ended(frame, Fate::Left) => left.extend(frame.sent.cast()),
            Late::Ended(frame, Fate::InPart) => fail(frame, in_part),
            Late::Ended(frame, _) => fail(frame, Outcome::NeverSent),
        });
        self.note_acked(acked);
        for number in left {
            self.note_outcome(number, Outcome::Written);
        }
        for undelivered in failed {
            self.fail_cast(undelivered);
        }
        if goes_on {
            self.wake_driver();
        }
        self.after_late_write();
    }

    /// Whether no writer holds a batch of this ended link any more. Until then the outcome of the messages in
    /// the batch is not known, and [`take_undelivered`](Self::take_undelivered) does not return them. The
    /// token is kept in that case; a writer does not wait for the socket, so this is soon.
    pub fn poll_late_writes(&mut self, token: impl FnOnce() -> T) -> bool {
        let is_over = !self.has_late_writes();
        if !is_over {
            self.outcomes.get_or_insert_default().late.push(token());
        }
        is_over
    }

    /// Whether a writer still holds a batch of this ended link.
    pub fn has_late_writes(&self) -> bool {
        self.arena.awaits_writer()
    }

    /// A writer gave a batch back. With the last batch of an ended link, all outcomes are known.
    pub(super) fn after_late_write(&mut self) {
        if self.phase != Phase::Closed || self.arena.awaits_writer() {
            return;
        }
        let cause = self.route.last_cause.as_deref().cloned().unwrap_or(Disconnect::LocalClose);
        self.end_watched_casts(&cause);
        let Self { outcomes, wakes, .. } = &mut *self;
        let late = outcomes.iter_mut().flat_map(|outcomes| outcomes.late.drain(..));
        late.for_each(|token| wakes.caller(token));
    }
}
