//! Timers of an I/O group.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bowline_driver::runtime;

use crate::io_group::{Held, TimerKey};

/// A timer. Its reactor knows it while a task waits for it.
#[derive(Debug, Default)]
pub struct Timer {
    at: Option<Instant>,
    set: Option<Set>,
}

#[derive(Debug)]
struct Set {
    held: Held,
    key: TimerKey,
    waker: Waker,
}

impl Timer {
    fn unset(&mut self) {
        if let Some(Set { held, key, .. }) = self.set.take() {
            held.reactor.remove_timer(key);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.unset();
    }
}

impl runtime::Timer for Timer {
    fn reset(&mut self, at: Instant) {
        self.unset();
        self.at = Some(at);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            self.unset();
            self.at = None;
            return Poll::Ready(());
        }
        if let Some(Set { held, key, waker }) = &mut self.set {
            if waker.will_wake(cx.waker()) {
                return Poll::Pending;
            }
            if held.reactor.renew_timer(*key, cx.waker()) {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            self.set = None;
        }
        match Held::current() {
            Ok(held) => {
                let waker = cx.waker().clone();
                let key = held.reactor.set_timer(at, waker.clone());
                self.set = Some(Set { held, key, waker });
            }
            // There is no reactor here: the waiting thread polls repeatedly.
            Err(_) => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
