//! Records which of several futures were woken, so that only those are polled again.

use std::task::{Wake, Waker};

use bowline_driver::sync::{Arc, Mutex};

/// Wakers of the futures that one task polls, reused from batch to batch.
#[derive(Default)]
pub(super) struct Wakers {
    woken: Arc<Woken>,
    each: Vec<Waker>,
}

/// The futures that were woken, and the task that polls them.
#[derive(Default)]
struct Woken(Mutex<State>);

#[derive(Default)]
struct State {
    ready: Vec<usize>,
    task: Option<Waker>,
}

/// The waker of one future: it wakes the task.
struct One {
    woken: Arc<Woken>,
    index: usize,
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.woken.0.lock();
        state.ready.push(self.index);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wakers {
    /// Prepares wakers for `count` futures, all of which are to be polled first.
    pub(super) fn begin(&mut self, count: usize) {
        for index in self.each.len()..count {
            self.each.push(Arc::new(One { woken: Arc::clone(&self.woken), index }).into());
        }
        let mut state = self.woken.0.lock();
        // A waker of an earlier batch may still be woken; that costs one extra poll.
        state.ready.clear();
        state.ready.extend(0..count);
    }

    /// The waker of the future `index`.
    pub(super) fn of(&self, index: usize) -> &Waker {
        &self.each[index]
    }

    /// All futures are done: the task is no longer woken for them.
    pub(super) fn end(&self) {
        let task = self.woken.0.lock().task.take();
        drop(task);
    }

    /// Moves the indices of the woken futures into `ready`, which is empty. If there are none, the next wake
    /// wakes the task.
    pub(super) fn take(&self, ready: &mut Vec<usize>, task: &Waker) {
        let mut state = self.woken.0.lock();
        std::mem::swap(&mut state.ready, ready);
        if ready.is_empty() {
            match &mut state.task {
                Some(kept) => kept.clone_from(task),
                none => *none = Some(task.clone()),
            }
        }
    }
}

#[cfg(all(test, not(bowline_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn those_that_were_woken_are_polled_and_the_task_is_woken_once() {
        let (mut wakers, counter, mut ready) = (Wakers::default(), Arc::<Counter>::default(), Vec::new());
        let task = Waker::from(Arc::clone(&counter));
        let mut taken = |wakers: &Wakers| {
            ready.clear();
            wakers.take(&mut ready, &task);
            ready.clone()
        };
        wakers.begin(3);
        assert_eq!(taken(&wakers), [0, 1, 2], "all of them first");
        assert!(taken(&wakers).is_empty());
        wakers.of(2).wake_by_ref();
        wakers.of(0).wake_by_ref();
        assert_eq!(counter.0.load(Relaxed), 1);
        assert_eq!(taken(&wakers), [2, 0]);
        // Before the task waits again it need not be woken.
        wakers.of(1).wake_by_ref();
        assert_eq!((counter.0.load(Relaxed), taken(&wakers)), (1, vec![1]));
        let late = wakers.of(2).clone();
        wakers.begin(2);
        late.wake();
        assert_eq!(taken(&wakers), [0, 1, 2]);
    }
}
