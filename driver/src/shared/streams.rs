//! Streams of callers on a shared machine: see [`Hold`].

use bowline_core::machine::Machine;
use bowline_core::time::Instant;

use super::State;
use crate::clock;
use crate::hold::Hold;

impl<M: Machine> State<M> {
    /// A batch was written. `streams`: it was large, or more casts were queued meanwhile, and no outcome is awaited.
    pub(super) fn note_batch(&mut self, streams: bool) {
        if streams && self.writes_apart && self.machine.streams() {
            self.hold.get_or_insert_with(|| Box::new(Hold::new())).note_batch(clock::now());
        } else if let Some(hold) = &mut self.hold {
            hold.end();
        }
    }

    /// Until when the driver leaves what waits to callers.
    pub(super) fn held(&mut self, now: Instant) -> Option<Instant> {
        let until = self.hold.as_mut()?.until(now)?;
        if !self.machine.streams() {
            self.note_batch(false);
            return None;
        }
        Some(until)
    }

    /// See [`Hold::leaves_to_callers`].
    pub(super) fn left_to_callers(&self) -> Option<bool> {
        self.hold.as_ref().filter(|_| self.machine.streams())?.leaves_to_callers()
    }

    /// The driver sleeps, at most until `at`.
    pub(super) fn sleep_until(&mut self, at: Option<Instant>) -> Option<Instant> {
        if let Some(hold) = &mut self.hold {
            hold.note_sleep(at);
        }
        at
    }
}
