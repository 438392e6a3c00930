//! A task of an I/O group: a future, and what queues it when it is woken.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bowline_driver::sync::Mutex;

use super::group::Handle;
use super::reactor::Reactor;

/// It waits for its waker.
const IDLE: u8 = 0;
/// It is in the queue of its reactor.
const QUEUED: u8 = 1;
/// It is being polled.
const RUNNING: u8 = 2;
/// It is being polled, and its waker was called meanwhile.
const WOKEN: u8 = 3;
/// It is over: its future is gone.
const OVER: u8 = 4;

/// What the group's threads live for; dropped with the future.
type Keep = Option<Arc<Handle>>;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Task {
    state: AtomicU8,
    /// Its place among the tasks of its reactor.
    key: AtomicUsize,
    work: Mutex<Option<(Work, Keep)>>,
    cancelled: AtomicBool,
    reactor: Weak<Reactor>,
}

impl Task {
    /// A task that has to be queued by whoever makes it.
    pub(super) fn new(work: Work, reactor: &Arc<Reactor>, keep: Keep) -> Arc<Self> {
        let (state, key) = (AtomicU8::new(QUEUED), AtomicUsize::new(0));
        let (work, cancelled) = (Mutex::new(Some((work, keep))), AtomicBool::new(false));
        Arc::new(Self { state, key, work, cancelled, reactor: Arc::downgrade(reactor) })
    }

    pub(super) fn set_key(&self, key: usize) {
        self.key.store(key, Ordering::Relaxed);
    }

    pub(super) fn key(&self) -> usize {
        self.key.load(Ordering::Relaxed)
    }

    /// Polls it once. By the thread that took it out of the queue only.
    pub(super) fn run(self: &Arc<Self>) -> Ran {
        self.state.store(RUNNING, Ordering::Release);
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock();
        let polled = match work.as_mut() {
            None => Ok(Poll::Ready(())),
            Some((work, _)) => {
                catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker))))
            }
        };
        // A task that panics ends alone: dropping its future ends its connection.
        if !matches!(polled, Ok(Poll::Pending)) {
            self.state.store(OVER, Ordering::Release);
            let work = work.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
            return Ran::Over;
        }
        drop(work);
        if self.cancelled.load(Ordering::Acquire) {
            self.cancel();
            return Ran::Over;
        }
        match self.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ran::Waits,
            Err(_) => {
                self.state.store(QUEUED, Ordering::Release);
                Ran::Woken
            }
        }
    }

    /// Drops the future; one that is being polled, when that is over.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        if let Some(mut work) = self.work.try_lock() {
            self.state.store(OVER, Ordering::Release);
            let work = work.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
    }
}

/// What came of polling a task.
pub(super) enum Ran {
    /// It waits for its waker.
    Waits,
    /// It was woken while it ran: it is to be queued again.
    Woken,
    /// It is over.
    Over,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => WOKEN,
                _ => return,
            };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(other) => state = other,
            }
        }
        if state == IDLE
            && let Some(reactor) = self.reactor.upgrade()
        {
            reactor.queue(Arc::clone(self));
        }
    }
}
