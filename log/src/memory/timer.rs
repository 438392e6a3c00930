//! The timer of waiting reads: one thread for the whole process, while there are any.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Instant;

static CLOCK: Clock = Clock { alarms: Mutex::new(Alarms::new()), changed: Condvar::new() };

struct Clock {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

struct Alarms {
    /// By time, and by the order in which they were set.
    set: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    running: bool,
}

impl Alarms {
    const fn new() -> Self {
        Self { set: BTreeMap::new(), next: 0, running: false }
    }
}

/// Wakes a task at a time, unless it is dropped before.
pub(super) struct Alarm {
    key: (Instant, u64),
}

impl Alarm {
    pub(super) fn set(at: Instant, waker: Waker) -> Self {
        let mut alarms = CLOCK.lock();
        let key = (at, alarms.next);
        alarms.next += 1;
        alarms.set.insert(key, waker);
        if !alarms.running {
            // Without a thread the read still ends with the next change of its log, only not in time. The
            // next alarm tries again.
            alarms.running = thread::Builder::new().name("memory-log-time".into()).spawn(run).is_ok();
        } else if alarms.set.first_key_value().is_some_and(|(first, _)| *first == key) {
            CLOCK.changed.notify_one();
        }
        Self { key }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut alarms = CLOCK.lock();
        let waker = alarms.set.remove(&self.key);
        if alarms.set.is_empty() {
            CLOCK.changed.notify_one();
        }
        // After the lock is released, because a whole task, with its alarms, may be dropped with a waker.
        drop(alarms);
        drop(waker);
    }
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run() {
    let mut alarms = CLOCK.lock();
    loop {
        let Some((&(at, _), _)) = alarms.set.first_key_value() else {
            alarms.running = false;
            return;
        };
        let now = Instant::now();
        if now >= at {
            let waker = alarms.set.pop_first().map(|(_, waker)| waker);
            drop(alarms);
            if let Some(waker) = waker {
                waker.wake();
            }
            alarms = CLOCK.lock();
        } else {
            let waited = CLOCK.changed.wait_timeout(alarms, at - now);
            alarms = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
