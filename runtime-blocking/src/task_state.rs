//! The state of a task, which determines who has to queue it.

use std::sync::atomic::{AtomicU8, Ordering};

/// It waits for its waker.
const IDLE: u8 = 0;
/// It is in a queue.
const QUEUED: u8 = 1;
/// It is being polled.
const RUNNING: u8 = 2;
/// It is being polled, and its waker was called meanwhile.
const WOKEN: u8 = 3;
/// It is over: its future is dropped.
const OVER: u8 = 4;

/// The state of a task, which is queued when it has to be polled, and never twice.
#[derive(Debug)]
pub(crate) struct TaskState(AtomicU8);

impl TaskState {
    /// In the queue, or about to be put there.
    pub(crate) fn queued() -> Self {
        Self(AtomicU8::new(QUEUED))
    }

    /// It was taken out of the queue, to be polled.
    pub(crate) fn begin(&self) {
        self.0.store(RUNNING, Ordering::Release);
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.0.store(OVER, Ordering::Release);
    }

    /// Whether it was woken while it was being polled.
    pub(crate) fn is_woken(&self) -> bool {
        self.0.load(Ordering::Acquire) == WOKEN
    }

    /// It was polled, and has to be polled again later. `true`: it was woken meanwhile, and the caller must
    /// queue it.
    pub(crate) fn rest(&self) -> bool {
        let rests = self.0.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !rests {
            self.0.store(QUEUED, Ordering::Release);
        }
        !rests
    }

    /// Its waker was called. `true`: the caller must queue it.
    pub(crate) fn wake(&self) -> bool {
        let mut state = self.0.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => WOKEN,
                _ => return false,
            };
            match self.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return state == IDLE,
                Err(other) => state = other,
            }
        }
    }
}
