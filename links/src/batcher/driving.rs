//! The future that drives a batcher: polled by its task, or by a sender that would otherwise wake the task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use bowline_driver::sync::{Arc, Mutex};

use super::shared::Shared;
use super::sink::Sink;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The driving future, and who polls it.
#[derive(Default)]
pub(super) struct Driving {
    place: Mutex<Place>,
    /// The future is being polled by a sender. Only the thread that polls reads and writes it.
    by_sender: AtomicBool,
}

#[derive(Default)]
enum Place {
    /// The future is not polled at the moment.
    Idle(BoxFuture),
    /// A thread has taken the future to poll it. `again`: another thread wanted to poll it meanwhile.
    Polled { again: bool },
    /// The future was dropped, or is not there yet.
    #[default]
    Over,
}

impl Driving {
    /// Whether the thread that polls the future is a sender: the timers of the batcher's task may not work there.
    pub(super) fn is_by_sender(&self) -> bool {
        self.by_sender.load(Relaxed)
    }

    pub(super) fn begin(&self, future: impl Future<Output = ()> + Send + 'static) {
        *self.place.lock() = Place::Idle(Box::pin(future));
    }

    /// A sender polls the future in place of the task, whose waker this is.
    pub(super) fn poll_by_sender(&self, task: &Waker) {
        // If it is ready, the task is woken, and ends.
        let _ = self.poll(&mut Context::from_waker(task), true);
    }

    fn poll(&self, cx: &mut Context<'_>, by_sender: bool) -> Poll<()> {
        let mut place = self.place.lock();
        let future = match std::mem::take(&mut *place) {
            Place::Idle(future) => future,
            Place::Polled { .. } => {
                *place = Place::Polled { again: true };
                return Poll::Pending;
            }
            Place::Over => return Poll::Ready(()),
        };
        *place = Place::Polled { again: false };
        drop(place);
        self.by_sender.store(by_sender, Relaxed);
        let mut taken = Taken { driving: self, task: cx.waker(), future: Some(future) };
        let polled = taken.future.as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(cx));
        if polled.is_pending() && taken.put_back() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// The task has ended or was dropped by its runtime: so is the future.
    fn end(&self) {
        let ended = std::mem::take(&mut *self.place.lock());
        // Dropped when the place is not locked any more. If a sender polls the future, the sender drops it.
        drop(ended);
    }
}

/// The future while a thread polls it. If it is not put back, because it is ready or has panicked, the batcher is over.
struct Taken<'a> {
    driving: &'a Driving,
    task: &'a Waker,
    future: Option<BoxFuture>,
}

impl Taken<'_> {
    /// Returns whether it must be polled again. If the task has ended meanwhile, the future is dropped.
    fn put_back(&mut self) -> bool {
        let mut place = self.driving.place.lock();
        let Place::Polled { again } = *place else { return false };
        if let Some(future) = self.future.take() {
            *place = Place::Idle(future);
        }
        again
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.future.is_some() {
            *self.driving.place.lock() = Place::Over;
            // A sender may have polled it, also one that panicked: the task must not wait for ever.
            self.task.wake_by_ref();
        }
    }
}

/// The batcher's task.
pub(super) struct DrivingTask<S: Sink, T: Send + 'static>(pub(super) Arc<Shared<S, T>>);

impl<S: Sink, T: Send + 'static> Future for DrivingTask<S, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.driving.poll(cx, false)
    }
}

impl<S: Sink, T: Send + 'static> Drop for DrivingTask<S, T> {
    fn drop(&mut self) {
        self.0.driving.end();
    }
}

#[cfg(all(test, not(bowline_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_panic_while_a_sender_polls_ends_the_task() {
        let (woken, driving) = (std::sync::Arc::new(Woken::default()), Driving::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut polls = 0;
        driving.begin(std::future::poll_fn(move |_| {
            polls += 1;
            assert!(polls < 2, "as a waker of the program may");
            Poll::Pending
        }));
        let mut cx = Context::from_waker(&waker);
        assert!(driving.poll(&mut cx, false).is_pending());
        let polled = catch_unwind(AssertUnwindSafe(|| driving.poll_by_sender(&waker)));
        assert!(polled.is_err(), "the sender gets the panic");
        assert_eq!(woken.0.load(Relaxed), 1);
        assert!(driving.poll(&mut cx, false).is_ready());
    }
}
