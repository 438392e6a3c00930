//! Blocking work on separate threads: name resolution, and the program's connectors.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use bowline_driver::error::no_thread;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::sync::Mutex;
use bowline_driver::workers::{Turn, Work};

use crate::handler_pool::HandlerPool;

/// Maximum number of jobs at a time; others wait for their turn, within the time limit of dialing.
const THREADS: usize = 8;

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<(Option<io::Result<T>>, Option<Waker>)>,
}

/// The result of work on another thread. If it is dropped before the work's turn, the work is not begun.
#[derive(Debug)]
pub(crate) struct Aside<T>(Arc<Slot<T>>);

/// Work, and its receiver.
struct Job<T, W> {
    work: W,
    slot: Weak<Slot<T>>,
}

impl<T, W> Work for Job<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> io::Result<T> + Send + 'static,
{
    fn outlook(&self) -> Option<Outlook> {
        // Some addresses, or a socket: not counted as memory.
        (self.slot.strong_count() > 0).then_some(Outlook { bytes: 0, spare: usize::MAX })
    }

    fn run(self: Box<Self>, turn: Turn) {
        let done = match turn {
            // It may be the program's code: after a panic, the receiver is told that there is no result.
            Turn::Work => catch_unwind(AssertUnwindSafe(self.work))
                .unwrap_or_else(|_| Err(io::Error::other("connecting panicked"))),
            Turn::NoThread => Err(no_thread(io::Error::from(io::ErrorKind::WouldBlock))),
            Turn::Unwanted => return,
        };
        if let Some(slot) = self.slot.upgrade() {
            let mut state = slot.state.lock();
            state.0 = Some(done);
            let waker = state.1.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

/// Runs `work`, which may block, on another thread.
pub(crate) fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Aside<T> {
    static POOL: OnceLock<Arc<HandlerPool>> = OnceLock::new();
    let slot = Arc::new(Slot { state: Mutex::new((None, None)) });
    let pool = POOL.get_or_init(|| HandlerPool::named("bowline-dial", THREADS));
    pool.run(0, Box::new(Job { work, slot: Arc::downgrade(&slot) }));
    Aside(slot)
}

impl<T> Future for Aside<T> {
    type Output = io::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut state = self.0.state.lock();
        match state.0.take() {
            Some(done) => Poll::Ready(done),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn work_that_panics_has_failed() {
        let mut work = aside::<()>(|| std::panic::resume_unwind(Box::new(())));
        let until = Instant::now() + Duration::from_secs(10);
        let done = loop {
            if let Poll::Ready(done) = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
                break done;
            }
            assert!(Instant::now() < until, "it is never told");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(done.expect_err("it panicked").kind(), io::ErrorKind::Other);
    }
}
