//! How simulated time passes.

use std::fmt::Debug;
use std::time::Duration;

use bowline_core::machine::Reason;
use bowline_core::time::Instant;

/// Far more than any honest burst needs: a livelock shows as a panic, not as a hang.
const MOST_STEPS: usize = 1_000_000;

/// What happens at instants, and changes nothing between them.
pub(crate) trait Timeline {
    fn now(&self) -> Instant;
    fn set_now(&mut self, now: Instant);
    /// Does a part of what can be done now. False: nothing moved.
    fn step(&mut self) -> bool;
    /// When each machine is due, and why.
    fn deadlines(&mut self) -> Vec<(Instant, Reason)>;
    /// When something else happens by itself.
    fn next_change(&mut self) -> Option<Instant>;
    /// What helps to understand that it never settles.
    fn trouble(&self) -> impl Debug {}
}

/// Lets time pass, from one event to the next.
pub(crate) fn run_for(timeline: &mut impl Timeline, duration: Duration) {
    let until = timeline.now() + duration;
    loop {
        settle(timeline);
        let deadlines = timeline.deadlines();
        match next_due(timeline, &deadlines).filter(|at| *at <= until) {
            Some(at) => {
                // It would spin: a driver asks again at once.
                assert!(at > timeline.now(), "due, and still due when everything was done: {deadlines:?}");
                timeline.set_now(at);
            }
            None => break,
        }
    }
    timeline.set_now(until);
    settle(timeline);
}

/// When something happens next by itself.
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
