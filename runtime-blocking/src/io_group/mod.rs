//! The threads that run the work of all links: tasks, sockets, timers.

mod group;
mod reactor;
mod short_timer;
mod source;
mod task;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bowline_driver::StartError;

use group::{Handle, Here};
pub(crate) use group::{Held, entered_manual, is_io_thread, spawn, threads};
use reactor::Reactor;
pub(crate) use reactor::TimerKey;
pub(crate) use source::{Source, Way};

/// The threads that run connections, dialing and accepting.
///
/// By default everything runs on one thread that the process shares, which starts with the first link and
/// ends with the last one. Use a group to have several threads for a busy server, or no thread at all.
///
/// Everything that is made while a group is [entered](Self::enter) runs in it, to its end. A group with
/// threads runs until everything in it is over, whether or not an `IoGroup` is kept. A group without threads
/// ([`manual`](Self::manual)) is driven by the program; it ends, and its links with it, when its last
/// `IoGroup` is dropped.
///
/// ```
/// use bowline_blocking::{IoGroup, Threads};
/// use bowline_driver::runtime::Runtime;
///
/// let group = IoGroup::manual()?;
/// let entered = group.enter();
/// // No thread is started: the task runs where the group is turned.
/// let (done, result) = std::sync::mpsc::channel();
/// Threads::spawn(async move { drop(done.send(std::thread::current().id())) })?;
/// drop(entered);
/// let ran_on = loop {
///     group.turn(Some(std::time::Duration::ZERO))?;
///     if let Ok(thread) = result.try_recv() {
///         break thread;
///     }
/// };
/// assert_eq!(ran_on, std::thread::current().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct IoGroup(Arc<Handle>);

impl IoGroup {
    /// A group of this many threads, which are started at once. `0` is the same as [`manual`](Self::manual).
    ///
    /// # Errors
    /// The system has no threads or descriptors left.
    pub fn new(threads: usize) -> Result<Self, StartError> {
        Handle::start(threads).map(Self).map_err(|error| StartError::Thread(Arc::new(error)))
    }

    /// A group without threads: drive it with [`turn`](Self::turn) or [`run`](Self::run), or by waiting in a
    /// thread that [entered](Self::enter) it.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn manual() -> Result<Self, StartError> {
        Self::new(0)
    }

    /// Until the returned value is dropped, new clients, servers and other tasks of this thread run in this
    /// group. If the group has no threads, this thread drives it whenever it waits for one of them.
    #[must_use = "it counts until it is dropped"]
    pub fn enter(&self) -> Entered<'_> {
        Entered { _here: Here::entered(&self.0), _group: std::marker::PhantomData }
    }

    /// Drives a group without threads once: runs ready tasks, waits for sockets and timers for at most
    /// `timeout` (`None`: without limit), and runs the tasks that became ready. `false`: the group has
    /// threads, or another thread is driving it; nothing was done.
    ///
    /// # Errors
    /// [`Deadlock`](io::ErrorKind::Deadlock) within a task or an inline handler of a group; or the system
    /// cannot wait for sockets.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.0.group().turn(timeout)
    }

    /// Drives the group, or waits for its threads, until `until` is ready.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run<T>(&self, until: impl Future<Output = T>) -> io::Result<T> {
        let _entered = self.enter();
        let mut until = pin!(until);
        match entered_manual() {
            Some(group) => loop {
                if let Some(output) = turn_until(&group, until.as_mut(), None)? {
                    return Ok(output);
                }
            },
            None => Ok(crate::waiting::block_on(until)),
        }
    }
}

impl bowline_driver::place::Group for IoGroup {
    fn within(&self, work: &mut dyn FnMut()) {
        let _entered = self.enter();
        work();
    }
}

/// The guard of an entered group: see [`IoGroup::enter`].
#[derive(Debug)]
pub struct Entered<'g> {
    _here: Here,
    /// Not `Send`: it must be dropped on the thread that entered.
    _group: std::marker::PhantomData<(&'g IoGroup, *const ())>,
}

/// How often a waiting thread checks whether another one still drives the group.
const BESIDE: Duration = Duration::from_millis(5);

/// Wakes a thread that drives a group, or waits for another one that does.
struct Interrupt {
    woken: AtomicBool,
    reactor: Arc<Reactor>,
    thread: Thread,
}

impl Wake for Interrupt {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.reactor.interrupt();
            self.thread.unpark();
        }
    }
}

/// Drives `group` until `future` is ready, or until then (`None`).
pub(crate) fn turn_until<T>(
    group: &Arc<group::Group>,
    future: impl Future<Output = T>,
    deadline: Option<Instant>,
) -> io::Result<Option<T>> {
    let interrupt = Arc::new(Interrupt {
        woken: AtomicBool::new(false),
        reactor: Arc::clone(group.first()),
        thread: std::thread::current(),
    });
    let waker = Waker::from(Arc::clone(&interrupt));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(Some(output));
        }
        while !interrupt.woken.swap(false, Ordering::AcqRel) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            if !group.turn(left)? {
                std::thread::park_timeout(left.map_or(BESIDE, |left| left.min(BESIDE)));
            }
        }
    }
}
