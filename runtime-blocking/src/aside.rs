//! Work that waits, done on threads that are there for it: looking up names, and connecting in the
//! program's own way.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use bowline_driver::error::no_thread;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::sync::Mutex;
use bowline_driver::workers::{Turn, Work};

use crate::handler_pool::HandlerPool;

/// Pieces of work at a time; others wait for their turn, within the time that dialing has.
const THREADS: usize = 8;

#[derive(Debug)]
struct Slot<T> {
    state: Mutex<(Option<io::Result<T>>, Option<Waker>)>,
}

/// What becomes of work on another thread. Dropped before its turn, it is not begun at all.
#[derive(Debug)]
pub(crate) struct Aside<T>(Arc<Slot<T>>);

/// Work, and who waits for it.
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
        // Some addresses, or a socket: nothing to count.
        (self.slot.strong_count() > 0).then_some(Outlook { bytes: 0, spare: usize::MAX })
    }

    fn run(self: Box<Self>, turn: Turn) {
        let done = match turn {
            Turn::Work => (self.work)(),
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

/// Does `work`, which may wait, on another thread.
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
