//! Flow control of received messages: grants to the peer, and the peer's grants.

use super::classes::CLASSES;
use super::inflow::{Arrived, Held, Inflow};
use super::{Link, Phase};
use crate::arena::Withdrawn;
use crate::error::PeerError;
use crate::frame::native::Credit;
use crate::frame::{Class, Framing, Kind, Meta};
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Encodes the grants that are due.
    pub(super) fn encode_credit(&mut self) {
        for class in CLASSES {
            let due = self.inflows.find_mut(class).filter(|inflow| inflow.is_due(class));
            let Some(credit) = due.map(|inflow| inflow.say(class)) else { continue };
            self.send_control(Meta::control(Kind::Credit, 0), &credit.to_bytes());
            self.counters.grants += 1;
        }
    }

    pub(super) fn has_credit_due(&self) -> bool {
        self.framing.profile().flow_control && self.inflows.any_due()
    }

    /// The reader reports what it received. Wakes the writing side if the peer must be told.
    pub(super) fn note_arrived(&mut self, arrived: &[Arrived; 2], held: &[Held; 2]) {
        self.inflows.note(arrived, held);
        if self.has_credit_due() {
            self.wake_driver();
        }
    }

    /// A kept message was taken.
    #[inline]
    pub(super) fn release(&mut self, class: Class, cost: u64) {
        if self.framing.profile().flow_control && self.inflows.get_mut(class).release(cost) {
            self.grant_if_due();
        }
    }

    #[inline(never)]
    fn grant_if_due(&mut self) {
        if self.phase == Phase::Ready && self.has_credit_due() {
            self.wake_driver();
        }
    }

    /// The peer grants more, or has read more.
    pub(super) fn handle_credit(&mut self, credit: &Credit) -> Result<(), PeerError> {
        let Credit { class, limit, seen } = *credit;
        if !self.arena.update_flow(class, limit, seen) {
            return Err(PeerError::BadGrant { class, limit, seen });
        }
        if !self.arena.has_no_data() {
            self.wake_driver();
        }
        Ok(())
    }

    /// A message of this side was withdrawn: the peer gets an abort if it has received a part of it. Returns
    /// whether it was still here.
    pub(super) fn after_withdrawing(&mut self, withdrawn: Withdrawn) -> bool {
        match withdrawn {
            Withdrawn::Gone => return false,
            Withdrawn::Waiting => {}
            Withdrawn::UnderWay { class, message } => self.abort_message(class, message),
        }
        // Messages that waited behind it may use the credit that it lacked.
        if !self.arena.has_no_data() {
            self.wake_driver();
        }
        self.after_taking();
        true
    }

    /// No more fragments of that message follow.
    pub(super) fn abort_message(&mut self, class: Class, message: u64) {
        self.push_abort(class, message);
        self.counters.aborts += 1;
        self.wake_driver();
    }

    /// When the message being assembled must be complete.
    pub(super) fn next_slow_message(&self) -> Option<Instant> {
        let since = self.conn.reading.assembly_since.iter().chain([&self.conn.reading.frame_since]);
        since.flatten().min().map(|&since| since + self.limits().message)
    }

    /// Whether a message takes too long. The time restarts for a message that this side itself delays.
    pub(super) fn is_message_slow(&mut self, now: Instant) -> bool {
        let limit = self.limits().message;
        for (since, class) in self.conn.reading.assembly_since.iter_mut().zip(CLASSES) {
            if let Some(began) = *since
                && now >= began + limit
            {
                if !self.inflows.find(class).is_some_and(Inflow::is_overfull) {
                    return true;
                }
                *since = Some(now);
            }
        }
        self.conn.reading.frame_since.is_some_and(|since| now >= since + limit)
    }
}
