//! Finding messages that wait, and taking them out again.

use super::Arena;
use super::chunk::{Chunk, FrameRef, Load, Sent};
use super::lane::{Lane, Withdrawn};
use crate::frame::Class;

impl Arena {
    /// The id of the first of our calls of `class` that has not left; later ones have not either.
    /// What is on loan counts as having left.
    pub(crate) fn first_queued_call(&self, class: Class) -> Option<u64> {
        // A frame that left in part has left: the next batch ends it.
        let returned = self.returned.iter().filter(|batch| batch.class == class && batch.written == 0);
        let mut marks = returned.flat_map(|batch| batch.chunk.marks());
        let id = marks.find_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        });
        id.or_else(|| self.lane(class).first_call())
    }

    /// Takes a call or cast that has not left out again.
    pub(crate) fn withdraw(&mut self, class: Class, sent: Sent) -> Withdrawn {
        self.lane_mut(class).withdraw(sent, |_| {})
    }

    /// The same; `taken` gets the frame if no byte of it had left.
    pub(crate) fn take_out(
        &mut self,
        class: Class,
        sent: Sent,
        taken: impl FnMut(&FrameRef<'_>),
    ) -> Withdrawn {
        self.lane_mut(class).withdraw(sent, taken)
    }

    /// Takes the oldest casts of a class that wait out, until `is_enough` says so of what is left.
    pub(crate) fn take_oldest_casts(
        &mut self,
        class: Class,
        is_enough: impl Fn(Load) -> bool,
        taken: impl FnMut(&FrameRef<'_>),
    ) {
        self.lane_mut(class).take_oldest_casts(is_enough, taken);
    }

    /// Takes a long answer that has not left (or not wholly) out again. Short ones are not worth
    /// looking for.
    pub(crate) fn withdraw_long_answer(&mut self, id: u64) -> Withdrawn {
        let sent = Sent::Answer(id);
        match self.lanes.iter_mut().find(|lane| lane.has_large(sent)) {
            Some(lane) => lane.withdraw(sent, |_| {}),
            None => Withdrawn::Gone,
        }
    }

    /// Puts a frame that is encoded already, of a message whose body has `body` bytes, in front of its
    /// class.
    pub(crate) fn push_encoded(&mut self, class: Class, sent: Sent, frame: &[u8], body: usize) {
        let large = frame.len() > self.fragment;
        let chunk = Chunk::of_frame(sent, frame, body, large);
        self.lane_mut(class).insert_chunk(chunk);
    }

    /// Whether that message waits, or is under way.
    pub(crate) fn holds(&self, class: Class, sent: Sent) -> bool {
        self.lane(class).holds(sent)
    }

    /// Whether the message queued last, of any class, is that cast.
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

    /// No writer is waited for any more that has such a batch now.
    pub(crate) fn give_up_late(&mut self) {
        self.given_up = self.late;
    }

    /// Whether a writer has a batch, of the present connection or of one that ended.
    pub(crate) fn awaits_writer(&self) -> bool {
        self.late > 0 || self.lent.is_some() || self.abandoned.is_some()
    }

    /// The number of the oldest cast that is kept in any way, the batch on loan not included.
    pub(crate) fn oldest_kept_cast(&self) -> Option<u64> {
        self.lanes.iter().filter_map(Lane::oldest_kept_cast).min()
    }
}
