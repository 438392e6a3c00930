//! Timers of an I/O group.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bowline_driver::runtime;

use crate::io_group::{Held, TimerKey};

/// A timer. Its reactor knows it while a task waits for it.
#[derive(Debug, Default)]
pub struct Timer(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Off,
    /// Set to this time; no task waits for it yet.
    At(Instant),
    /// A task waits for it. The key begins with the time.
    Waiting { held: Held, key: TimerKey, waker: Waker },
}

impl Timer {
    /// Replaces the state; the reactor forgets the old one.
    fn replace(&mut self, state: State) {
        if let State::Waiting { held, key, .. } = std::mem::replace(&mut self.0, state) {
            held.reactor.remove_timer(key);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.replace(State::Off);
    }
}

impl runtime::Timer for Timer {
    fn reset(&mut self, at: Instant) {
        self.replace(State::At(at));
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = match &self.0 {
            State::Off => return Poll::Pending,
            State::At(at) | State::Waiting { key: (at, _), .. } => *at,
        };
        if Instant::now() >= at {
            self.replace(State::Off);
            return Poll::Ready(());
        }
        if let State::Waiting { held, key, waker } = &mut self.0 {
            if waker.will_wake(cx.waker()) {
                return Poll::Pending;
            }
            if held.reactor.renew_timer(*key, cx.waker()) {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            // The reactor has forgotten it.
            self.0 = State::At(at);
        }
        match Held::current() {
            Ok(held) => {
                let waker = cx.waker().clone();
                let key = held.reactor.set_timer(at, waker.clone());
                self.0 = State::Waiting { held, key, waker };
            }
            // There is no reactor here: the waiting thread polls repeatedly.
            Err(_) => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
