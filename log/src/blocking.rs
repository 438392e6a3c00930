//! Logs for threads: each method blocks until the log's future is ready.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::appended::Appended;
use crate::capabilities::Capabilities;
use crate::error::ReadError;
use crate::log::{Bounds, Following, Limit, Log, Page};
use crate::record::{Entry, Record};

/// How a thread waits for a future.
///
/// [`Park`] suits every log whose futures are woken from other threads. A log whose futures must run inside a
/// runtime brings its own waiter.
pub trait Waiter {
    /// Waits for the future, and returns its output.
    fn wait<F: Future>(&self, future: F) -> F::Output;
}

/// Parks the thread until the future is woken.
#[derive(Clone, Copy, Default, Debug)]
pub struct Park;

impl Waiter for Park {
    fn wait<F: Future>(&self, future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                // A wake since the poll leaves a token: `park` then returns at once.
                Poll::Pending => thread::park(),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A log with blocking methods: [`Log`] for threads. Errors are those of the log's own methods.
///
/// Every method waits for the log's own future, so that a log is written once for tasks and threads. Do not
/// call them in async tasks, because they block the thread.
#[derive(Clone, Debug)]
pub struct Blocking<L, W = Park> {
    log: L,
    waiter: W,
}

impl<L: Log> Blocking<L> {
    /// A log for threads that park.
    pub fn new(log: L) -> Self {
        Self { log, waiter: Park }
    }
}

impl<L: Log, W: Waiter + Clone> Blocking<L, W> {
    /// A log for threads that wait with this waiter.
    pub fn with(log: L, waiter: W) -> Self {
        Self { log, waiter }
    }

    /// The log itself, for tasks.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The capabilities of the log.
    pub fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    /// Appends records, and waits for their outcomes: [`Log::append`].
    pub fn append(&self, records: Vec<Record>) -> Appended<L::Position> {
        self.waiter.wait(self.log.append(records))
    }

    /// Reads a page, and waits for it: [`Log::read`].
    ///
    /// # Errors
    /// As those of [`Log::read`].
    pub fn read(
        &self,
        from: L::Position,
        limit: Limit,
        wait: Duration,
    ) -> Result<Page<L::Position>, ReadError<L::Position>> {
        self.waiter.wait(self.log.read(from, limit, wait))
    }

    /// The first position and the end of the log: [`Log::bounds`].
    ///
    /// # Errors
    /// As those of [`Log::bounds`].
    pub fn bounds(&self) -> Result<Bounds<L::Position>, ReadError<L::Position>> {
        self.waiter.wait(self.log.bounds())
    }

    /// Every record from a position on: [`Log::follow`] as an iterator.
    pub fn follow(&self, from: L::Position) -> BlockingFollow<L, W> {
        BlockingFollow { follow: self.log.follow(from), waiter: self.waiter.clone() }
    }
}

/// An iterator over a log's records that waits for new ones.
#[derive(Debug)]
pub struct BlockingFollow<L: Log, W = Park> {
    follow: L::Follow,
    waiter: W,
}

impl<L: Log, W> BlockingFollow<L, W> {
    /// The position at which it continues: [`Following::cursor`].
    pub fn cursor(&self) -> L::Position {
        self.follow.cursor()
    }

    /// Continues at another position.
    pub fn seek(&mut self, to: L::Position) {
        self.follow.seek(to);
    }
}

impl<L: Log, W: Waiter> Iterator for BlockingFollow<L, W> {
    type Item = Result<Entry<L::Position>, ReadError<L::Position>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.waiter.wait(self.follow.next_entry())
    }
}
