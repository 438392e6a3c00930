//! The threads of an I/O group, and which group a thread uses.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bowline_driver::StartError;
use bowline_driver::error::no_thread;
use bowline_driver::sync::Mutex;

use super::reactor::{Reactor, Turner};
use super::task::Task;

/// The reactors of a group, and whether it is in use.
#[derive(Debug)]
pub(crate) struct Group {
    reactors: Box<[Arc<Reactor>]>,
    next: AtomicUsize,
    /// It is no longer used: its threads end.
    released: AtomicBool,
    /// Drives a group without threads.
    turner: Option<Mutex<Turner>>,
    handle: Weak<Handle>,
}

/// Keeps a group's threads running: held by its users and its tasks.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Group>);

impl Handle {
    /// A group of this many threads; with 0, its user drives it.
    pub(super) fn start(threads: usize) -> io::Result<Arc<Self>> {
        let made: Vec<_> = (0..threads.max(1)).map(|_| Reactor::new()).collect::<io::Result<_>>()?;
        let (reactors, mut turners): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let turner = if threads == 0 { turners.pop().map(Mutex::new) } else { None };
        let handle = Arc::new_cyclic(|handle| {
            let (next, released) = (AtomicUsize::new(0), AtomicBool::new(false));
            let (reactors, handle) = (reactors.into_boxed_slice(), Weak::clone(handle));
            Self(Arc::new(Group { reactors, next, released, turner, handle }))
        });
        for (index, turner) in turners.into_iter().enumerate() {
            let group = Arc::clone(&handle.0);
            // If one cannot be started, the others end with the handle.
            let thread = std::thread::Builder::new().name(format!("bowline-io-{index}"));
            thread.spawn(move || group.work(index, turner))?;
        }
        Ok(handle)
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let group = &self.0;
        group.released.store(true, Ordering::Release);
        for reactor in &group.reactors {
            match group.turner {
                // No thread drives it any more.
                Some(_) => reactor.end(),
                None => reactor.interrupt(),
            }
        }
    }
}

impl Group {
    /// One of its threads.
    fn work(self: Arc<Self>, index: usize, mut turner: Turner) {
        let reactor = Arc::clone(&self.reactors[index]);
        let _here = Here::enter(Current::Turning(Arc::clone(&self), Arc::clone(&reactor)));
        loop {
            if self.released.load(Ordering::Acquire) && reactor.end_if_idle() {
                return;
            }
            if reactor.turn(&mut turner, None).is_err() {
                // The system does not let it wait: without sockets there is nothing to do here.
                reactor.end();
                return;
            }
        }
    }

    /// Drives a group without threads once. `false`: it has its own threads, or another thread is driving it.
    ///
    /// # Errors
    /// On a thread that is driving a group already, which would wait for itself; or the system's error.
    pub(super) fn turn(self: &Arc<Self>, limit: Option<Duration>) -> io::Result<bool> {
        if is_io_thread() {
            return Err(io::ErrorKind::Deadlock.into());
        }
        let Some(mut turner) = self.turner.as_ref().and_then(Mutex::try_lock) else { return Ok(false) };
        let reactor = &self.reactors[0];
        let _here = Here::enter(Current::Turning(Arc::clone(self), Arc::clone(reactor)));
        reactor.turn(&mut turner, limit).map(|()| true)
    }

    pub(super) fn is_manual(&self) -> bool {
        self.turner.is_some()
    }

    /// The only reactor of a group without threads.
    pub(super) fn first(&self) -> &Arc<Reactor> {
        &self.reactors[0]
    }

    fn next(&self) -> &Arc<Reactor> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.reactors[next % self.reactors.len()]
    }

    /// Runs a task, on the next thread in turn, or on `here` if that one has ended.
    ///
    /// # Errors
    /// The group's threads have ended, because the system did not let them wait for sockets.
    fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        here: Option<&Arc<Reactor>>,
    ) -> Result<(), StartError> {
        // A group that its user drives ends with its user, whatever work it has.
        let keep = if self.is_manual() { None } else { self.handle.upgrade() };
        let mut reactor = self.next();
        let task = Box::pin(task);
        if let Some(here) = here.filter(|_| reactor.has_ended()) {
            reactor = here;
        }
        if reactor.adopt(Task::new(task, reactor, keep)) {
            return Ok(());
        }
        Err(StartError::Thread(Arc::new(io::ErrorKind::BrokenPipe.into())))
    }
}

/// The group that a thread uses.
#[derive(Clone, Debug)]
enum Current {
    /// The thread drives this one.
    Turning(Arc<Group>, Arc<Reactor>),
    /// The user entered it.
    Entered(Arc<Handle>),
}

std::thread_local! {
    /// Each with the number of its guard: guards may be dropped in any order.
    static CURRENT: RefCell<Vec<(u64, Current)>> = const { RefCell::new(Vec::new()) };
}

/// The group that the process shares.
static SHARED: Mutex<Weak<Handle>> = Mutex::new(Weak::new());

fn shared() -> io::Result<Arc<Handle>> {
    let mut shared = SHARED.lock();
    if let Some(handle) = shared.upgrade() {
        return Ok(handle);
    }
    let handle = Handle::start(1)?;
    *shared = Arc::downgrade(&handle);
    Ok(handle)
}

/// Until it is dropped, this thread uses another group.
#[derive(Debug)]
pub(super) struct Here(u64);

impl Here {
    pub(super) fn entered(handle: &Arc<Handle>) -> Self {
        Self::enter(Current::Entered(Arc::clone(handle)))
    }

    fn enter(current: Current) -> Self {
        CURRENT.with_borrow_mut(|stack| {
            let number = stack.last().map_or(0, |(last, _)| last + 1);
            stack.push((number, current));
            Self(number)
        })
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let left = CURRENT.with_borrow_mut(|stack| {
            let place = stack.iter().position(|(number, _)| *number == self.0)?;
            Some(stack.remove(place))
        });
        // Without the borrow: it may be the last handle of its group.
        drop(left);
    }
}

fn current() -> Option<Current> {
    CURRENT.with_borrow(|stack| stack.last().map(|(_, current)| current.clone()))
}

/// Whether this thread drives an I/O group: it must not wait for anything else.
pub(crate) fn is_io_thread() -> bool {
    CURRENT.with_borrow(|stack| matches!(stack.last(), Some((_, Current::Turning(..)))))
}

/// The group without threads that this thread entered, and drives while it waits.
pub(crate) fn entered_manual() -> Option<Arc<Group>> {
    CURRENT.with_borrow(|stack| match stack.last() {
        Some((_, Current::Entered(handle))) if handle.0.is_manual() => Some(Arc::clone(&handle.0)),
        _ => None,
    })
}

/// The number of threads of this thread's group.
pub(crate) fn threads() -> usize {
    match current() {
        Some(Current::Turning(group, _)) => group.reactors.len(),
        Some(Current::Entered(handle)) => handle.0.reactors.len(),
        None => 1,
    }
}

/// Runs a task in this thread's group.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
    match current() {
        Some(Current::Turning(group, here)) => group.spawn(task, Some(&here)),
        Some(Current::Entered(handle)) => handle.0.spawn(task, None),
        None => shared().map_err(|error| StartError::Thread(Arc::new(error)))?.0.spawn(task, None),
    }
}

/// A reactor, and a handle that keeps it running.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) reactor: Arc<Reactor>,
    _keep: Option<Arc<Handle>>,
}

impl Held {
    /// A reactor of this thread's group, to register a socket or a timer with.
    pub(crate) fn current() -> io::Result<Self> {
        let handle = match current() {
            // Its task keeps it running.
            Some(Current::Turning(_, reactor)) => return Ok(Self { reactor, _keep: None }),
            Some(Current::Entered(handle)) => handle,
            None => shared().map_err(no_thread)?,
        };
        let reactor = Arc::clone(handle.0.next());
        // As for tasks: waiting work does not keep a group alive that its user drives.
        let keep = if handle.0.is_manual() { None } else { Some(handle) };
        Ok(Self { reactor, _keep: keep })
    }
}
