//! Streams of messages: while callers write large batches themselves, the driver leaves the rest to them for a moment.

use std::time::Duration;

use bowline_core::time::Instant;

/// How long the driver leaves waiting bytes to callers after the last batch.
const MOMENT: Duration = Duration::from_micros(100);
/// Batches of a stream, one soon after the other, before the driver leaves the next bytes to callers.
const STREAM: u32 = if cfg!(bowline_loom) { 1 } else { 4 };

/// For connections whose driver runs on another thread than the callers. Without this the driver would write a few
/// messages at a time while a caller in a loop queues more of them: two threads that wait for one lock, and for the
/// socket.
///
/// What remains at the end of a stream is written by the driver, a [`MOMENT`] after the last batch.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Batches of the stream, each soon after the one before.
    batches: u32,
    last: Instant,
    /// Until when waiting bytes are left to callers.
    until: Option<Instant>,
    /// When the driver, which sleeps, wakes by itself; `None` if that is not known.
    driver_wakes: Option<Instant>,
}

impl Hold {
    pub(crate) const fn new() -> Self {
        Self { batches: 0, last: Instant::ZERO, until: None, driver_wakes: None }
    }

    /// A batch of a stream was written: a large one by a caller, or one by the driver with more messages behind it.
    pub(crate) fn note_batch(&mut self, now: Instant) {
        let is_soon = now.saturating_since(self.last) <= MOMENT * 2;
        self.batches = if is_soon { self.batches.saturating_add(1) } else { 1 };
        self.last = now;
        self.until = (self.batches >= STREAM).then(|| now + MOMENT);
    }

    /// The stream is over, or something else waits: the driver is to write at once.
    pub(crate) fn end(&mut self) {
        (self.batches, self.until) = (0, None);
    }

    /// Until when the driver leaves waiting bytes to callers.
    pub(crate) fn until(&mut self, now: Instant) -> Option<Instant> {
        if self.until.is_some_and(|until| until <= now) {
            // No caller wrote in that moment: the stream is slower than the driver.
            self.end();
        }
        self.until
    }

    /// The driver sleeps, at most until then.
    pub(crate) fn note_sleep(&mut self, at: Option<Instant>) {
        self.driver_wakes = at;
    }

    /// Bytes wait. `None`: the driver is to be woken to write them. Otherwise they are left to callers, and the value
    /// says whether the driver must be woken to set its timer.
    pub(crate) fn leaves_to_callers(&self) -> Option<bool> {
        let until = self.until?;
        Some(self.driver_wakes.is_none_or(|at| at > until))
    }
}

#[cfg(all(test, not(bowline_loom)))]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn at(us: u32) -> Instant {
        Instant::ZERO + Duration::from_secs(1) + US * us
    }

    #[test]
    fn only_a_stream_of_batches_holds_the_driver_back_and_only_for_a_moment() {
        let mut hold = Hold::new();
        for batch in 0..3 {
            hold.note_batch(at(batch * 30));
            assert_eq!((hold.until(at(batch * 30)), hold.leaves_to_callers()), (None, None));
        }
        hold.note_batch(at(90));
        assert_eq!(hold.until(at(91)), Some(at(190)));
        assert_eq!(hold.leaves_to_callers(), Some(true), "the driver has no timer yet");
        hold.note_sleep(Some(at(190)));
        assert_eq!(hold.leaves_to_callers(), Some(false));
        hold.note_batch(at(120));
        assert_eq!(hold.leaves_to_callers(), Some(false), "an earlier timer will do");
        hold.note_sleep(Some(at(5_000)));
        assert_eq!(hold.leaves_to_callers(), Some(true));
        assert_eq!(hold.until(at(220)), None, "over");
        assert_eq!(hold.leaves_to_callers(), None);
        (0..3).for_each(|batch| hold.note_batch(at(230 + batch)));
        assert_eq!(hold.until(at(233)), None, "it is counted anew");
        hold.note_batch(at(500));
        assert_eq!(hold.until(at(500)), None, "too late after the one before");
    }

    #[test]
    fn what_else_waits_ends_it() {
        let mut hold = Hold::new();
        (0..4).for_each(|batch| hold.note_batch(at(batch)));
        hold.end();
        assert_eq!((hold.until(at(5)), hold.leaves_to_callers()), (None, None));
        hold.note_batch(at(6));
        assert!(hold.until(at(6)).is_none(), "a stream begins anew");
    }
}
