//! Finding and removing waiting messages.

use super::Arena;
use super::chunk::{Chunk, FrameRef, Load, Sent};
use super::lane::{Lane, Withdrawn};
use crate::frame::Class;

impl Arena {
    /// The id of the first call of this side in `class` that was not sent; later ones were not sent either.
    /// The current batch counts as sent.
    pub(crate) fn first_queued_call(&self, class: Class) -> Option<u64> {
        // A partly written frame counts as sent: the next batch completes it.
        let returned = self.returned.iter().filter(|batch| batch.class == class && batch.written == 0);
        let mut marks = returned.flat_map(|batch| batch.chunk.marks());
        let id = marks.find_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        });
        id.or_else(|| self.lane(class).first_call())
    }

    /// Removes a call or cast that was not sent.
    pub(crate) fn withdraw(&mut self, class: Class, sent: Sent) -> Withdrawn {
        self.take_out(class, sent, |_| {})
    }

    /// As [`withdraw`](Self::withdraw); `taken` gets the frame if none of its bytes was sent.
    pub(crate) fn take_out(
        &mut self,
        class: Class,
        sent: Sent,
        taken: impl FnMut(&FrameRef<'_>),
    ) -> Withdrawn {
        self.lanes.find_mut(class).map_or(Withdrawn::Gone, |lane| lane.withdraw(sent, taken))
    }

    /// Removes the oldest waiting casts of a class, until `is_enough` returns true for the rest.
    pub(crate) fn take_oldest_casts(
        &mut self,
        class: Class,
        is_enough: impl Fn(Load) -> bool,
        taken: impl FnMut(&FrameRef<'_>),
    ) {
        if let Some(lane) = self.lanes.find_mut(class) {
            lane.take_oldest_casts(is_enough, taken);
        }
    }

    /// Removes a long answer that was not sent (or not completely). Short ones are not worth a search.
    pub(crate) fn withdraw_long_answer(&mut self, id: u64) -> Withdrawn {
        let sent = Sent::Answer(id);
        match self.lanes.iter_mut().find(|lane| lane.has_large(sent)) {
            Some(lane) => lane.withdraw(sent, |_| {}),
            None => Withdrawn::Gone,
        }
    }

    /// Inserts an encoded frame, of a message whose body has `body` bytes, in front of its class.
    pub(crate) fn push_encoded(&mut self, class: Class, sent: Sent, frame: &[u8], body: usize) {
        let large = frame.len() > self.fragment;
        let chunk = Chunk::of_frame(sent, frame, body, large);
        self.lane_mut(class).insert_chunk(chunk);
    }

    /// Whether the message waits or is under way.
    pub(crate) fn holds(&self, class: Class, sent: Sent) -> bool {
        self.lane(class).holds(sent)
    }

    /// Whether the message queued last, of any class, is this cast.
    pub(crate) fn ends_with_cast(&self, number: u64) -> bool {
        self.lanes.iter().any(|lane| lane.last_queued() == Some(Sent::Cast(number)))
    }

    /// The number of the oldest cast of a class that waits.
    pub(crate) fn oldest_cast(&self, class: Class) -> Option<u64> {
        self.lane(class).oldest_cast()
    }

    /// The number of the oldest cast of a class that waits, or is under way.
    pub(crate) fn oldest_unsent_cast(&self, class: Class) -> Option<u64> {
        self.lane(class).oldest_unsent_cast()
    }

    /// Whether a writer still has a batch of a connection that ended (without a session).
    pub(crate) fn has_late(&self) -> bool {
        self.late > 0
    }

    /// Whether such a batch is waited for.
    pub(crate) fn expects_late(&self) -> bool {
        self.late > self.given_up
    }

    /// Writers that have such a batch are no longer waited for.
    pub(crate) fn give_up_late(&mut self) {
        self.given_up = self.late;
    }

    /// Whether a writer has a batch, of the present connection or of an ended one.
    pub(crate) fn awaits_writer(&self) -> bool {
        self.late > 0 || self.lent.is_some() || self.abandoned.is_some()
    }

    /// The number of the oldest cast that is kept in any way, the current batch not included.
    pub(crate) fn oldest_kept_cast(&self) -> Option<u64> {
        self.lanes.iter().filter_map(Lane::oldest_kept_cast).min()
    }
}
