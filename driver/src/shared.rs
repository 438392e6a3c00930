//! A machine behind its lock, and the wakers of the tasks that wait for it.

use std::io::{self, IoSlice};
use std::task::Waker;

use bowline_core::Batch;
use bowline_core::address::Address;
use bowline_core::layer::Secured;
use bowline_core::machine::{Machine, Wake};
use bowline_core::memory::{Holding, Verdict};
use bowline_core::time::Instant;

use crate::heavy::Turn;
use crate::hold::Hold;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::{clock, observe};

mod lazy_guard;
mod streams;

pub use lazy_guard::LazyGuard;

/// Lengths of batches, in bytes, from which the driver recognises a fast stream, if more messages are queued meanwhile.
/// Longer ones are written as well by the driver as by callers; shorter ones come from callers that are slower than it.
const STREAMED: std::ops::Range<usize> = 4 * 1024..48 * 1024;

/// Maximum number of slices in one write.
pub const MAX_SLICES: usize = 16;

/// Writes without waiting: what a caller needs to write a single call itself.
pub trait WriteNow: Send + Sync + 'static {
    /// Writes as much as the socket takes at once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it takes nothing now; other errors if the socket failed.
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A connection, as the callers of its machine see it.
pub trait Connected: WriteNow {
    /// Reads on the caller's own thread, until `served` returns true, or for a moment; does nothing if
    /// another thread reads already, or the socket cannot be waited for this way.
    fn read_for(&self, served: &dyn Fn() -> bool);

    /// See [`Socket::writes_apart`](crate::runtime::Socket::writes_apart).
    fn writes_apart(&self) -> bool {
        false
    }

    /// The properties of the peer from a layer over the socket (TLS); by default there is none.
    fn secured(&self) -> Option<Arc<Secured>> {
        None
    }
}

/// A machine that is shared by the users' handles and the task that drives it.
///
/// All access goes through [`with`](Self::with): it takes the lock, calls a closure with the machine, and
/// after unlocking wakes the tasks that the machine wants woken.
///
/// ```
/// use std::task::Waker;
///
/// use std::time::Duration;
///
/// use bowline_core::config::Config;
/// use bowline_core::frame::native::Native;
/// use bowline_core::link::{Link, Role};
/// use bowline_core::machine::Machine;
/// use bowline_driver::{Shared, clock};
///
/// let link: Link<Native, Waker> = Link::new(Config::default(), Role::Dialing);
/// let shared = Shared::new(link);
/// // A command of the application: a task that drives the link is woken after unlocking.
/// shared.with(|link| link.close(clock::now(), Duration::ZERO));
/// assert!(shared.with(|link| link.is_closed()));
/// ```
#[derive(Debug)]
pub struct Shared<M: Machine<Token = Waker>> {
    state: Mutex<State<M>>,
}

struct State<M> {
    machine: M,
    /// Wakes the writer. Registered under the same lock in which there was nothing to write.
    writer: Option<Waker>,
    /// Wakes the attendant, which reads and watches the time.
    attendant: Option<Waker>,
    /// A wake that was requested while no waker was registered.
    missed: Wake,
    /// Callers run on other threads than the driver: see [`Hold`].
    writes_apart: bool,
    /// Made when a caller has written a large batch.
    hold: Option<Box<Hold>>,
    connection: Option<Arc<dyn Connected>>,
    /// Counts what the machine holds, and limits it.
    memory: Option<Arc<dyn CountMemory>>,
}

/// Counts what machines hold, and limits it: see [`bowline_core::memory`].
pub trait CountMemory: Send + Sync + 'static {
    /// A report of the machine. Called without its lock.
    fn report(&self, holding: Holding) -> Verdict;

    /// Bytes available for a short time to data that no machine holds yet, such as answers in progress.
    fn spare(&self) -> usize;

    /// A place in the queue for heavy work, for a task of this machine.
    fn turn(&self) -> Turn;

    /// Memory that no machine holds, such as that kept for handlers of all of them, was `before` bytes and is
    /// `after` bytes now.
    fn resize_beside(&self, before: usize, after: usize);
}

impl<M> std::fmt::Debug for State<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("missed", &self.missed).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>> Shared<M> {
    /// Puts `machine` behind a lock.
    #[must_use]
    pub fn new(machine: M) -> Self {
        let (missed, writer, attendant) = (Wake::default(), None, None);
        let (writes_apart, hold) = (false, None);
        let state =
            State { machine, writer, attendant, missed, writes_apart, hold, connection: None, memory: None };
        Self { state: Mutex::new(state) }
    }

    /// Calls `f` with the machine under the lock, then wakes the tasks that it wants woken.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state.machine);
        if state.machine.has_wakes() {
            self.settle_and_wake(state);
        }
        result
    }

    /// As [`with`](Self::with), for a caller that holds another lock: the wakers are added to `wakers`, to be
    /// called when that lock is released.
    pub fn with_wakers<R>(&self, wakers: &mut Vec<Waker>, f: impl FnOnce(&mut M) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state.machine);
        if state.machine.has_wakes() {
            let sides = settle(&mut state, wakers);
            let said = holding(&mut state);
            drop(state);
            wakers.extend(sides.into_iter().flatten());
            self.say(said);
        }
        result
    }

    /// Calls `f` with the machine under the lock, and wakes no task: for counting the machine's memory.
    pub fn look<R>(&self, f: impl FnOnce(&mut M) -> R) -> R {
        f(&mut self.state.lock().machine)
    }

    /// From now on `memory` counts what the machine holds.
    pub fn set_memory(&self, memory: Arc<dyn CountMemory>) {
        self.state.lock().memory = Some(memory);
    }

    /// See [`CountMemory::spare`]; unlimited if the memory is not counted.
    #[must_use]
    pub fn spare_memory(&self) -> usize {
        let memory = self.state.lock().memory.clone();
        memory.map_or(usize::MAX, |memory| memory.spare())
    }

    /// See [`CountMemory::turn`]; `None` if the memory is not counted.
    #[must_use]
    pub fn turn(&self) -> Option<Turn> {
        let memory = self.state.lock().memory.clone();
        memory.map(|memory| memory.turn())
    }

    /// See [`CountMemory::resize_beside`]; nothing if the memory is not counted.
    pub fn resize_beside(&self, before: usize, after: usize) {
        let memory = self.state.lock().memory.clone();
        if let Some(memory) = memory {
            memory.resize_beside(before, after);
        }
    }

    /// Handles what is due while there is no connection. Returns whether the machine is closed.
    pub fn tend(&self, now: Instant) -> bool {
        self.with(|machine| {
            if machine.poll_timeout().is_some_and(|(at, _)| at <= now) {
                machine.handle_timeout(now);
            }
            machine.is_closed()
        })
    }

    /// A dial begins.
    pub fn dialing(&self, address: &Address, attempt: u32) {
        observe::dialing(address, attempt);
        self.with(|machine| machine.handle_dialing(address.clone(), attempt));
    }

    /// A guard that takes the lock on first use.
    pub fn lazy<'a>(&'a self, tokens: &'a mut Vec<Waker>) -> LazyGuard<'a, M> {
        LazyGuard { shared: self, guard: None, tokens }
    }

    /// Takes the next batch, or registers the waker of the driver that both writes and attends. One lock
    /// covers both the check and the registration.
    pub fn begin_write_or_sleep(&self, now: Instant, waker: &Waker) -> Step {
        let mut state = self.state.lock();
        let held = state.held(now);
        if held.is_none()
            && let Some(batch) = state.machine.begin_write(now)
        {
            drop(state);
            return Step::Write(batch);
        }
        // A missed wake for writing concerned something that is no longer there.
        if std::mem::take(&mut state.missed).attend {
            return Step::Again;
        }
        register(&mut state.writer, waker);
        register(&mut state.attendant, waker);
        let timeout = state.machine.poll_timeout().map(|(at, _)| at);
        Step::Sleep(state.sleep_until(timeout.into_iter().chain(held).min()))
    }

    /// Registers the attendant's waker, unless a wake was requested since the last time. Returns
    /// [`Step::Again`] or [`Step::Sleep`].
    pub fn sleep_attendant(&self, waker: &Waker) -> Step {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.missed.attend) {
            return Step::Again;
        }
        register(&mut state.attendant, waker);
        let timeout = state.machine.poll_timeout().map(|(at, _)| at);
        Step::Sleep(state.sleep_until(timeout))
    }

    /// The driver has written a batch. Returns whether there is more to write.
    pub fn end_write(&self, now: Instant, batch: Batch) -> bool {
        let is_streamed = STREAMED.contains(&batch.written());
        let mut state = self.state.lock();
        let more = state.machine.end_write(now, batch);
        state.note_batch(more && is_streamed);
        if state.machine.has_wakes() {
            self.settle_and_wake(state);
        }
        more
    }

    /// The driver is awake: it need not be woken until it sleeps again.
    pub fn awake(&self) {
        let mut state = self.state.lock();
        state.writer = None;
        state.attendant = None;
    }

    /// Sets the connection that callers may write single calls to, and read from; `None` when it has ended.
    pub fn set_connection(&self, connection: Option<Arc<dyn Connected>>) {
        let mut state = self.state.lock();
        state.writes_apart = connection.as_ref().is_some_and(|connection| connection.writes_apart());
        state.hold = None;
        let old = std::mem::replace(&mut state.connection, connection);
        drop(state);
        drop(old);
    }

    /// The present connection.
    pub fn connection(&self) -> Option<Arc<dyn Connected>> {
        self.state.lock().connection.clone()
    }

    /// Wakes the driver, whether or not there is something to do.
    pub fn wake_attendant(&self) {
        let mut state = self.state.lock();
        let attendant = state.attendant.take();
        state.missed.attend |= attendant.is_none();
        drop(state);
        if let Some(waker) = attendant {
            waker.wake();
        }
    }

    /// As [`with`](Self::with), and if `f` returns true, writes what it queued on the caller's thread,
    /// without waiting, instead of waking the driver: for single calls this saves a switch between threads.
    /// What the socket does not take at once is left to the driver.
    #[inline]
    pub fn with_inline<R>(&self, f: impl FnOnce(&mut M) -> (R, bool)) -> R {
        self.with_written(false, f)
    }

    /// As [`with_inline`](Self::with_inline), for casts whose outcome is not awaited: if callers write one large batch
    /// after the other, the driver leaves the next messages to them for a moment.
    #[inline]
    pub fn with_stream<R>(&self, f: impl FnOnce(&mut M) -> (R, bool)) -> R {
        self.with_written(true, f)
    }

    #[inline]
    fn with_written<R>(&self, streams: bool, f: impl FnOnce(&mut M) -> (R, bool)) -> R {
        let mut state = self.state.lock();
        let (result, inline) = f(&mut state.machine);
        if inline {
            self.write_and_wake(state, streams);
        } else if state.machine.has_wakes() {
            self.settle_and_wake(state);
        }
        result
    }

    /// As [`with_inline`](Self::with_inline), but only while the driver sleeps: if it is awake, it writes
    /// what was queued together with the rest.
    pub fn with_inline_asleep<R>(&self, f: impl FnOnce(&mut M) -> (R, bool)) -> R {
        let mut state = self.state.lock();
        let (result, inline) = f(&mut state.machine);
        if inline && state.writer.is_some() {
            self.write_and_wake(state, false);
        } else if state.machine.has_wakes() {
            self.settle_and_wake(state);
        }
        result
    }

    /// Releases the lock, wakes the tasks to be woken, and reports what the machine holds.
    #[inline(never)]
    fn settle_and_wake(&self, mut state: MutexGuard<'_, State<M>>) {
        let mut tokens = Vec::new();
        let wakers = settle(&mut state, &mut tokens);
        let said = holding(&mut state);
        drop(state);
        wake(wakers, &mut tokens);
        self.say(said);
    }

    /// Reports what the machine holds, and gives the machine the verdict.
    fn say(&self, said: Option<(Arc<dyn CountMemory>, Holding)>) {
        if let Some((memory, holding)) = said {
            let verdict = memory.report(holding);
            self.with(|machine| machine.handle_memory(clock::now(), verdict));
        }
    }

    /// Writes waiting bytes, once, as many as the socket takes; then wakes the tasks to be woken. `streams`: a
    /// large batch of casts whose outcome is not awaited.
    #[inline(never)]
    fn write_and_wake<'a>(&'a self, mut state: MutexGuard<'a, State<M>>, streams: bool) {
        let now = clock::now();
        let lent = match &state.connection {
            Some(connection) => {
                let connection = Arc::clone(connection);
                state.machine.begin_write(now).map(|batch| (connection, batch))
            }
            None => None,
        };
        let Some((connection, mut batch)) = lent else { return self.settle_and_wake(state) };
        let mut tokens = Vec::new();
        // The writer need not be woken for what is written here.
        let Wake { attend, .. } = state.machine.take_wake();
        drop(state);
        let written = matches!(write_batch(&*connection, &mut batch), Ok(true));
        let mut state = self.state.lock();
        let more = state.machine.end_write(now, batch);
        let mut wakers = settle(&mut state, &mut tokens);
        state.note_batch(streams && written);
        if more || !written {
            match state.left_to_callers() {
                Some(true) => wakers[1] = wakers[1].take().or_else(|| state.attendant.take()),
                Some(false) => {}
                None => {
                    // The driver handles a socket that failed or is full.
                    wakers[0] = state.writer.take().or_else(|| wakers[0].take());
                    state.missed.write |= wakers[0].is_none();
                }
            }
        }
        if attend && wakers[1].is_none() {
            wakers[1] = state.attendant.take();
            state.missed.attend |= wakers[1].is_none();
        }
        let said = holding(&mut state);
        drop(state);
        wake(wakers, &mut tokens);
        self.say(said);
    }
}

impl<M: Machine<Token = Waker>> Shared<M> {
    /// Writes waiting bytes, as many as the socket takes at once, on the reading thread: the answers of its
    /// pass need not wake the writer.
    pub fn write_inline(&self) {
        self.with_inline(|_| ((), true));
    }
}

/// The driver's next step.
#[derive(Debug)]
pub enum Step {
    /// Write this.
    Write(Batch),
    /// The machine was used meanwhile: check again.
    Again,
    /// Sleep: the waker is registered; check again at this time at the latest.
    Sleep(Option<Instant>),
}

/// Writes as much of the batch as the socket takes at once. `true`: all of it.
///
/// # Errors
/// The socket failed; not `WouldBlock`, which is `Ok(false)`.
pub fn write_batch<W: WriteNow + ?Sized>(socket: &W, batch: &mut Batch) -> io::Result<bool> {
    while !batch.is_done() {
        let wrote = {
            let mut slices = [&[][..]; MAX_SLICES];
            let filled = batch.slices(&mut slices);
            let io_slices = slices.map(IoSlice::new);
            match socket.write_now(&io_slices[..filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
        };
        batch.wrote(wrote);
    }
    Ok(true)
}

fn register(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(old) => old.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// Takes out, under the lock, the wakers to be called after it.
fn settle<M: Machine<Token = Waker>>(state: &mut State<M>, tokens: &mut Vec<Waker>) -> [Option<Waker>; 2] {
    state.machine.take_tokens(tokens);
    let Wake { write, attend } = state.machine.take_wake();
    let mut wakers = [None, None];
    let left = if write { state.left_to_callers() } else { None };
    if left == Some(true) {
        // A driver that is awake sets its timer before it sleeps.
        wakers[1] = state.attendant.take();
    } else if write && left.is_none() {
        wakers[0] = state.writer.take();
        state.missed.write |= wakers[0].is_none();
    }
    if attend && wakers[1].is_none() {
        wakers[1] = state.attendant.take();
        state.missed.attend |= wakers[1].is_none();
    }
    wakers
}

/// The report to make after the lock is released, and its receiver.
fn holding<M: Machine>(state: &mut State<M>) -> Option<(Arc<dyn CountMemory>, Holding)> {
    let memory = state.memory.as_ref()?;
    let holding = state.machine.take_holding()?;
    Some((Arc::clone(memory), holding))
}

fn wake(wakers: [Option<Waker>; 2], tokens: &mut Vec<Waker>) {
    let [first, second] = wakers;
    let same = matches!((&first, &second), (Some(first), Some(second)) if first.will_wake(second));
    if let Some(waker) = first {
        waker.wake();
    }
    if let Some(waker) = second
        && !same
    {
        waker.wake();
    }
    for token in tokens.drain(..) {
        token.wake();
    }
}
