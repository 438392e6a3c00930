//! A timer that is rarely reset.

use std::task::{Context, Poll};

use bowline_core::time::Instant;

use crate::clock;
use crate::runtime::Timer;

/// A timer that is not reset while it fires early enough: resetting costs more than waking once too early.
#[derive(Debug)]
pub struct Alarm<T> {
    timer: T,
    armed: Option<Instant>,
}

impl<T: Timer> Alarm<T> {
    /// An alarm that is not set.
    pub fn new(timer: T) -> Self {
        Self { timer, armed: None }
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// Whether it is set to that time or an earlier one.
    #[must_use]
    pub fn is_set_until(&self, at: Instant) -> bool {
        self.armed.is_some_and(|armed| armed <= at)
    }

    /// Wakes the task at `at` or somewhat earlier. `true`: it is time to check.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> bool {
        if self.armed.is_none_or(|armed| armed > at) {
            self.timer.reset(clock::to_std(at));
            self.armed = Some(at);
        }
        let expired = self.timer.poll_expired(cx).is_ready();
        if expired {
            self.armed = None;
        }
        expired
    }

    /// Ready when it is `at` or later.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        while clock::now() < at {
            if !self.poll(cx, at) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}
