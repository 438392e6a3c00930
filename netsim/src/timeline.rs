//! The passing of simulated time.

use std::fmt::Debug;
use std::time::Duration;

use bowline_core::machine::Reason;
use bowline_core::time::Instant;

/// Far more than any legitimate burst needs, so that a livelock panics instead of hanging.
const MOST_STEPS: usize = 1_000_000;

/// A simulation in which events occur at instants and nothing changes between them.
pub(crate) trait Timeline {
    fn now(&self) -> Instant;
    fn set_now(&mut self, now: Instant);
    /// Does a part of the work that is possible now. Returns whether something changed.
    fn step(&mut self) -> bool;
    /// When each machine is due, and why.
    fn deadlines(&mut self) -> Vec<(Instant, Reason)>;
    /// When the next event occurs that is not a machine's deadline.
    fn next_change(&mut self) -> Option<Instant>;
    /// Information for the panic of a simulation that never comes to rest.
    fn trouble(&self) -> impl Debug {}
}

/// Advances the time from event to event.
pub(crate) fn run_for(timeline: &mut impl Timeline, duration: Duration) {
    let until = timeline.now() + duration;
    loop {
        settle(timeline);
        let deadlines = timeline.deadlines();
        match next_due(timeline, &deadlines).filter(|at| *at <= until) {
            Some(at) => {
                // It would spin: a driver would ask again at once.
                assert!(at > timeline.now(), "due, and still due when everything was done: {deadlines:?}");
                timeline.set_now(at);
            }
            None => break,
        }
    }
    timeline.set_now(until);
    settle(timeline);
}

/// When the next event occurs.
pub(crate) fn next_due(timeline: &mut impl Timeline, deadlines: &[(Instant, Reason)]) -> Option<Instant> {
    deadlines.iter().map(|(at, _)| *at).chain(timeline.next_change()).min()
}

fn settle(timeline: &mut impl Timeline) {
    for _ in 0..MOST_STEPS {
        if !timeline.step() {
            return;
        }
    }
    panic!("it never settles: {:?}", timeline.trouble());
}
