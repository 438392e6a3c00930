//! The reactor of one I/O thread: ready tasks, sockets, timers.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bowline_driver::sync::Mutex;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use super::short_timer::ShortTimer;
use super::source::{Ready, Source};
use super::task::{Ran, Task};

/// The token of wakes from other threads; sockets count from 0.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Reports taken from the system at a time.
const EVENTS: usize = 256;
/// Tasks run before sockets and timers are checked again.
const TASKS: usize = 64;
/// Of those that need several turns, this many run before sockets and timers are checked again.
const LONG_TASKS: usize = 4;

/// The part that any thread may use; the driving thread also has a [`Turner`].
pub(crate) struct Reactor {
    registry: Registry,
    waker: mio::Waker,
    state: Mutex<State>,
    sources: Mutex<Slab<Arc<Source>>>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    /// Ready tasks that are expected to need more than one turn: a few of them run after the others, so that
    /// a task with little work does not wait for a turn of each.
    long: VecDeque<Arc<Task>>,
    tasks: Slab<Arc<Task>>,
    timers: BTreeMap<TimerKey, Waker>,
    last_timer: u64,
    /// The driving thread waits for the system, at most until then.
    asleep: Option<Option<Instant>>,
    /// Nothing can be spawned any more.
    ended: bool,
}

impl State {
    /// The queue in which a task waits for its turn.
    fn line(&mut self, task: &Task) -> &mut VecDeque<Arc<Task>> {
        if task.is_long() { &mut self.long } else { &mut self.ready }
    }
}

/// The time, and the id.
pub(crate) type TimerKey = (Instant, u64);

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

/// The state of the driving thread only.
#[derive(Debug)]
pub(super) struct Turner {
    poll: Poll,
    events: Events,
    /// Reports with their sources, between collection and delivery.
    noted: Vec<(Ready, Arc<Source>)>,
    short_timer: ShortTimer,
}

impl Reactor {
    pub(super) fn new() -> io::Result<(Arc<Self>, Turner)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKE)?;
        let short_timer = ShortTimer::new(&registry);
        let (state, sources) = (Mutex::default(), Mutex::default());
        let reactor = Arc::new(Self { registry, waker, state, sources });
        let (events, noted) = (Events::with_capacity(EVENTS), Vec::new());
        Ok((reactor, Turner { poll, events, noted, short_timer }))
    }

    /// Queues a task that was woken.
    pub(super) fn queue(&self, task: Arc<Task>) {
        let mut state = self.state.lock();
        state.line(&task).push_back(task);
        let asleep = state.asleep.take().is_some();
        drop(state);
        if asleep {
            self.interrupt();
        }
    }

    /// Makes the driving thread check again.
    pub(super) fn interrupt(&self) {
        // Fails only if the system has no room for a byte; then the next report wakes it.
        let _ = self.waker.wake();
    }

    /// Takes a task, and runs it. `false`: the reactor has ended.
    pub(super) fn adopt(&self, task: Arc<Task>) -> bool {
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        let key = state.tasks.insert(Arc::clone(&task));
        task.set_key(key);
        drop(state);
        self.queue(task);
        true
    }

    /// Registers a socket, for both directions.
    pub(crate) fn register(&self, socket: &mut impl mio::event::Source) -> io::Result<(usize, Arc<Source>)> {
        let source = Arc::new(Source::default());
        let token = self.sources.lock().insert(Arc::clone(&source));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(socket, Token(token), interest) {
            self.sources.lock().remove(token);
            return Err(error);
        }
        Ok((token, source))
    }

    /// Forgets a closed socket, which the system has forgotten by itself.
    #[cfg(not(unix))]
    pub(crate) fn forget(&self, token: usize) {
        let source = self.sources.lock().try_remove(token);
        drop(source);
    }

    /// Forgets a socket.
    #[cfg(unix)]
    pub(crate) fn deregister(&self, socket: &mut impl mio::event::Source, token: usize) {
        // The system forgets a closed one by itself.
        let _ = self.registry.deregister(socket);
        let source = self.sources.lock().try_remove(token);
        drop(source);
    }

    /// Sets whether reports of readable data are wanted for a registered socket.
    #[cfg(unix)]
    pub(crate) fn watch_reads(&self, fd: std::os::fd::RawFd, token: usize, watch: bool) -> io::Result<()> {
        let interest = if watch { Interest::READABLE | Interest::WRITABLE } else { Interest::WRITABLE };
        self.registry.reregister(&mut mio::unix::SourceFd(&fd), Token(token), interest)
    }

    /// Sets a timer: its waker is called at `at`, unless it is removed before.
    pub(crate) fn set_timer(&self, at: Instant, waker: Waker) -> TimerKey {
        let mut state = self.state.lock();
        state.last_timer += 1;
        let key = (at, state.last_timer);
        state.timers.insert(key, waker);
        let earlier = matches!(state.asleep, Some(until) if until.is_none_or(|until| until > at));
        if earlier {
            state.asleep = None;
        }
        drop(state);
        if earlier {
            self.interrupt();
        }
        key
    }

    /// Replaces the waker of a timer. `false`: it has fired.
    pub(crate) fn renew_timer(&self, key: TimerKey, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let timer = state.timers.get_mut(&key);
        timer.map(|kept| kept.clone_from(waker)).is_some()
    }

    /// Removes a timer.
    pub(crate) fn remove_timer(&self, key: TimerKey) {
        let waker = self.state.lock().timers.remove(&key);
        drop(waker);
    }

    /// Whether it accepts no more tasks.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Stops accepting tasks, unless there are some. `true`: it has ended.
    pub(super) fn end_if_idle(&self) -> bool {
        let mut state = self.state.lock();
        state.ended |= state.tasks.is_empty();
        state.ended
    }

    /// Ends every task, and accepts no more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let tasks = std::mem::take(&mut state.tasks);
        let ready = (std::mem::take(&mut state.ready), std::mem::take(&mut state.long));
        drop(state);
        drop(ready);
        tasks.into_iter().for_each(|(_, task)| task.cancel());
    }

    /// Runs woken tasks, then waits for sockets, timers and wakes: for at most `limit` (`None`: without
    /// limit).
    pub(super) fn turn(&self, turner: &mut Turner, limit: Option<Duration>) -> io::Result<()> {
        self.run_tasks();
        let timeout = self.fall_asleep(limit);
        if let Some(short) = timeout {
            turner.short_timer.set(short);
        }
        let polled = turner.poll.poll(&mut turner.events, timeout);
        self.state.lock().asleep = None;
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.note(turner);
        self.expire_timers();
        self.run_tasks();
        Ok(())
    }

    /// Runs the tasks that are ready now. Tasks that become ready meanwhile run after the sockets were
    /// polled: tasks that wake themselves, or each other, do not delay a socket.
    fn run_tasks(&self) {
        let (ready, long) = {
            let state = self.state.lock();
            (state.ready.len().min(TASKS), state.long.len().min(LONG_TASKS))
        };
        for _ in 0..ready {
            let Some(task) = self.state.lock().ready.pop_front() else { break };
            self.run(task);
        }
        for _ in 0..long {
            let Some(task) = self.state.lock().long.pop_front() else { return };
            self.run(task);
        }
    }

    fn run(&self, task: Arc<Task>) {
        match task.run() {
            Ran::Waits => {}
            Ran::Woken => {
                let mut state = self.state.lock();
                state.line(&task).push_back(task);
            }
            Ran::Over => {
                let mut state = self.state.lock();
                let key = task.key();
                if state.tasks.get(key).is_some_and(|other| Arc::ptr_eq(other, &task)) {
                    state.tasks.remove(key);
                }
            }
        }
    }

    /// Whether other tasks wait for the running one.
    pub(crate) fn has_ready(&self) -> bool {
        let state = self.state.lock();
        !state.ready.is_empty() || !state.long.is_empty()
    }

    /// How long to wait for the system.
    fn fall_asleep(&self, limit: Option<Duration>) -> Option<Duration> {
        let mut state = self.state.lock();
        if !state.ready.is_empty() || !state.long.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = state.timers.first_key_value().map(|((at, _), _)| *at);
        let now = Instant::now();
        let limit = limit.map(|limit| now + limit);
        let until = timer.into_iter().chain(limit).min();
        state.asleep = Some(until);
        until.map(|until| until.saturating_duration_since(now))
    }

    /// Passes the reports to their sources, without the lock, because they wake tasks.
    fn note(&self, turner: &mut Turner) {
        let sources = self.sources.lock();
        let reports = turner.events.iter().filter_map(|event| {
            let source = sources.get(event.token().0)?;
            Some((Ready::of(event), Arc::clone(source)))
        });
        turner.noted.extend(reports);
        drop(sources);
        turner.noted.drain(..).for_each(|(ready, source)| source.set(ready));
    }

    fn expire_timers(&self) {
        let mut state = self.state.lock();
        if state.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut fired = Vec::new();
        while let Some(first) = state.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            fired.push(first.remove());
        }
        drop(state);
        fired.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::super::source::Way;
    use super::*;

    #[test]
    fn who_has_little_to_do_waits_for_few_of_those_who_have_much() {
        let (reactor, mut turner) = Reactor::new().expect("descriptors");
        let (turns, runs) = (Arc::new(AtomicUsize::new(0)), 5);
        let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            assert!(reactor.adopt(Task::new(task, &reactor, None)));
        };
        for _ in 0..100 {
            let turns = Arc::clone(&turns);
            spawn(Box::pin(poll_fn(move |cx| {
                turns.fetch_add(1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
                Poll::Pending
            })));
        }
        // Woken by another thread each time, like a report of the system.
        let (waker, seen) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(AtomicUsize::new(0)));
        let (kept, count) = (Arc::clone(&waker), Arc::clone(&seen));
        spawn(Box::pin(poll_fn(move |cx| {
            *kept.lock() = Some(cx.waker().clone());
            count.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        })));
        while seen.load(Ordering::Relaxed) == 0 {
            reactor.turn(&mut turner, None).expect("it may wait");
        }
        for run in 1..=runs {
            let before = turns.load(Ordering::Relaxed);
            let waker = waker.lock().take().expect("it waits");
            waker.wake();
            while seen.load(Ordering::Relaxed) == run {
                reactor.turn(&mut turner, None).expect("it may wait");
            }
            let meanwhile = turns.load(Ordering::Relaxed) - before;
            assert!(meanwhile <= 2 * LONG_TASKS, "{meanwhile} turns of others");
        }
        // Tasks that never finish get their turns nevertheless.
        let before = turns.load(Ordering::Relaxed);
        for _ in 0..50 {
            reactor.turn(&mut turner, None).expect("it may wait");
        }
        assert_eq!(turns.load(Ordering::Relaxed) - before, 50 * 2 * LONG_TASKS);
    }

    #[test]
    fn a_socket_does_not_wait_for_tasks_that_are_always_ready() {
        let (reactor, mut turner) = Reactor::new().expect("descriptors");
        let rounds = Arc::new(AtomicUsize::new(0));
        let busy = Arc::clone(&rounds);
        let always_ready = poll_fn(move |cx| {
            busy.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        });
        assert!(reactor.adopt(Task::new(Box::pin(always_ready), &reactor, None)));

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut client =
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (server, _) = listener.accept().expect("a connection");
        server.set_nonblocking(true).expect("an option");
        let mut server = mio::net::TcpStream::from_std(server);
        let (_, source) = reactor.register(&mut server).expect("a descriptor");
        let seen = Arc::new(AtomicUsize::new(0));
        let (of_busy, at) = (Arc::clone(&rounds), Arc::clone(&seen));
        let reads = poll_fn(move |cx| {
            source
                .poll(Way::In, cx.waker())
                .map(|()| at.store(of_busy.load(Ordering::Relaxed), Ordering::Relaxed))
        });
        assert!(reactor.adopt(Task::new(Box::pin(reads), &reactor, None)));
        reactor.turn(&mut turner, None).expect("it may wait");

        client.write_all(b"x").expect("it is open");
        while server.peek(&mut [0]).is_err() {
            std::thread::yield_now();
        }
        let before = rounds.load(Ordering::Relaxed);
        while seen.load(Ordering::Relaxed) == 0 {
            reactor.turn(&mut turner, None).expect("it may wait");
        }
        let meanwhile = seen.load(Ordering::Relaxed) - before;
        assert!(meanwhile <= 4, "{meanwhile} rounds of another task before the socket was looked at");
    }
}
