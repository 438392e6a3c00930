//! A task of an I/O group: a future, and its queueing when it is woken.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bowline_driver::sync::Mutex;

use super::group::Handle;
use super::reactor::Reactor;
use crate::task_state::TaskState;

/// Keeps the group's threads alive; dropped with the future.
type Keep = Option<Arc<Handle>>;
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Task {
    state: TaskState,
    /// Its key among the tasks of its reactor.
    key: AtomicUsize,
    work: Mutex<Option<(Work, Keep)>>,
    cancelled: AtomicBool,
    /// It had more work than one turn when it was last busy, and whether it is in the middle of that.
    is_long: AtomicBool,
    goes_on: AtomicBool,
    reactor: Weak<Reactor>,
}

impl Task {
    /// A task that is not queued yet.
    pub(super) fn new(work: Work, reactor: &Arc<Reactor>, keep: Keep) -> Arc<Self> {
        let (state, key) = (TaskState::queued(), AtomicUsize::new(0));
        let (work, cancelled) = (Mutex::new(Some((work, keep))), AtomicBool::new(false));
        let (is_long, goes_on) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { state, key, work, cancelled, is_long, goes_on, reactor: Arc::downgrade(reactor) })
    }

    pub(super) fn set_key(&self, key: usize) {
        self.key.store(key, Ordering::Relaxed);
    }

    pub(super) fn key(&self) -> usize {
        self.key.load(Ordering::Relaxed)
    }

    /// Polls it once. Only on the thread that took it out of the queue.
    pub(super) fn run(self: &Arc<Self>) -> Ran {
        self.state.begin();
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock();
        let polled = match work.as_mut() {
            None => Ok(Poll::Ready(())),
            Some((work, _)) => {
                catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker))))
            }
        };
        // A panic ends only this task: dropping its future ends its connection.
        if !matches!(polled, Ok(Poll::Pending)) {
            self.state.end();
            let work = work.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
            return Ran::Over;
        }
        drop(work);
        if self.cancelled.load(Ordering::Acquire) {
            self.cancel();
            return Ran::Over;
        }
        // Recorded before it rests: a later wake queues it accordingly.
        let is_woken = self.state.is_woken();
        let went_on = self.goes_on.swap(is_woken, Ordering::Relaxed);
        self.is_long.store(is_woken || went_on, Ordering::Relaxed);
        if self.state.rest() { Ran::Woken } else { Ran::Waits }
    }

    /// Whether it needed several turns when it was last busy: such a task waits behind those that need one.
    pub(super) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    /// Drops the future; if it is being polled, after the poll.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        if let Some(mut work) = self.work.try_lock() {
            self.state.end();
            let work = work.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
    }
}

/// The result of polling a task.
pub(super) enum Ran {
    /// It waits for its waker.
    Waits,
    /// It was woken while it ran: it must be queued again.
    Woken,
    /// It is over.
    Over,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.wake()
            && let Some(reactor) = self.reactor.upgrade()
        {
            reactor.queue(Arc::clone(self));
        }
    }
}
