//! Waiting: threads that park, and a thread that waits for sockets as well.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

use crate::io_group;

/// Wakes a parked thread.
pub(crate) struct ThreadWaker {
    thread: Thread,
    notified: AtomicBool,
}

impl ThreadWaker {
    pub(crate) fn current() -> Arc<Self> {
        Arc::new(Self { thread: std::thread::current(), notified: AtomicBool::new(false) })
    }

    /// Whether it was woken since the last call.
    pub(crate) fn take(&self) -> bool {
        // Usually it was not: a load costs less than a swap.
        self.is_notified() && self.notified.swap(false, Ordering::Acquire)
    }

    pub(crate) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.notified.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

/// A thread's waker, created once: counting a reference for each call costs as much as a lock.
struct OwnWaker {
    thread: Arc<ThreadWaker>,
    waker: Waker,
}

impl OwnWaker {
    fn new() -> Self {
        let thread = ThreadWaker::current();
        Self { waker: Waker::from(Arc::clone(&thread)), thread }
    }
}

std::thread_local! {
    static WAKER: OwnWaker = OwnWaker::new();
    /// This thread reads a connection while it waits for its reply.
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread reads connections and calls inline handlers: it must not wait.
pub(crate) fn must_not_wait() -> bool {
    io_group::is_io_thread() || READS.get()
}

/// While this exists, the thread reads a connection.
struct Reads;

impl Reads {
    fn begin() -> Self {
        READS.set(true);
        Self
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        READS.set(false);
    }
}

/// Polls a future to its end on this thread, parking while it waits. A thread that has entered an
/// [`IoGroup`](crate::IoGroup) without threads drives it instead.
///
/// For the futures of Bowline's handles, which need no runtime; it is not a general executor.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    if let Some(group) = io_group::entered_manual()
        && let Ok(Some(output)) = io_group::turn_until(&group, future.as_mut(), None)
    {
        return output;
    }
    // Or the system cannot wait for sockets here: another thread may drive the group.
    park_until_ready(future, |_| {})
}

/// As [`block_on`]; before parking, `help` may do work that makes the future ready, until its argument
/// returns true.
pub(crate) fn block_on_helping<T>(future: impl Future<Output = T>, help: impl Fn(&dyn Fn() -> bool)) -> T {
    if io_group::entered_manual().is_some() {
        return block_on(future);
    }
    let future = pin!(future);
    park_until_ready(future, help)
}

fn park_until_ready<T>(mut future: Pin<&mut impl Future<Output = T>>, help: impl Fn(&dyn Fn() -> bool)) -> T {
    WAKER.with(|OwnWaker { thread, waker }| {
        let mut cx = Context::from_waker(waker);
        thread.take();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            if !thread.is_notified() {
                let _reads = Reads::begin();
                help(&|| thread.is_notified());
            }
            while !thread.take() {
                std::thread::park();
            }
        }
    })
}

/// Waits for `fd` to become readable. `false`: it did not within the timeout.
#[cfg(unix)]
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timespec(timeout))), Ok(1..))
}

/// Waits for `fd` to be readable or writable, or for the timeout (`None`: without limit).
pub(crate) fn wait_for(
    fd: BorrowedFd<'_>,
    read: bool,
    write: bool,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, read);
    flags.set(PollFlags::OUT, write);
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], timeout.map(timespec).as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn timespec(duration: Duration) -> Timespec {
    // A duration out of range means forever.
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
