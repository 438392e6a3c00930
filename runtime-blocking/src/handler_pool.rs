//! Threads for handlers that may block: as many as are needed, up to a limit.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_driver::handler_queue::{HandlerQueue, Taken};
use bowline_driver::workers::{Turn, Work};

pub(crate) type Job = Box<dyn Work>;

type Spawn = fn(Arc<HandlerPool>) -> io::Result<()>;

/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(5);

/// The number of waiting jobs is limited by the links: each has a limit of requests being handled.
pub(crate) struct HandlerPool {
    state: Mutex<State>,
    work: Condvar,
    name: &'static str,
    max: AtomicUsize,
    spawn: Spawn,
}

impl Default for HandlerPool {
    /// Of one thread, until its maximum is [set](Self::set_max).
    fn default() -> Self {
        Self::make("bowline-handler", 1, spawn_thread)
    }
}

fn spawn_thread(pool: Arc<HandlerPool>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(pool.name.into());
    thread.spawn(move || pool.work()).map(drop)
}

struct State {
    jobs: HandlerQueue<Job>,
    threads: usize,
    idle: usize,
}

impl HandlerPool {
    /// A pool of at most this many threads, which have that name.
    pub(crate) fn named(name: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self::make(name, max, spawn_thread))
    }

    fn make(name: &'static str, max: usize, spawn: Spawn) -> Self {
        let state = State { jobs: HandlerQueue::default(), threads: 0, idle: 0 };
        Self { state: Mutex::new(state), work: Condvar::new(), name, max: AtomicUsize::new(max), spawn }
    }

    /// Sets the maximum number of threads.
    pub(crate) fn set_max(&self, threads: usize) {
        self.max.store(threads, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn run(self: &Arc<Self>, from: u64, job: Job) {
        let mut state = self.lock();
        state.jobs.push(from, job);
        let short = state.jobs.len() > state.idle && state.threads < self.max.load(Ordering::Relaxed);
        if short {
            state.threads += 1;
        }
        drop(state);
        if !short {
            self.work.notify_one();
            return;
        }
        if (self.spawn)(Arc::clone(self)).is_err() {
            let mut state = self.lock();
            state.threads -= 1;
            // Threads that run, or are being started, take the waiting jobs; without any, no thread does.
            let stranded = if state.threads == 0 { state.jobs.drain() } else { Vec::new() };
            drop(state);
            stranded.into_iter().for_each(|job| run(job, Turn::NoThread));
        }
    }

    /// Jobs of that connection that are not wanted any more leave the queue.
    pub(crate) fn forget(self: &Arc<Self>, from: u64) {
        let jobs = self.lock().jobs.remove(from);
        for job in jobs {
            match job.outlook() {
                None => run(job, Turn::Unwanted),
                Some(_) => self.run(from, job),
            }
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(taken) = state.jobs.take() {
                drop(state);
                self.run_if_it_may(taken);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = match self.work.wait_timeout(state, IDLE) {
                Ok(woken) => woken,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && !state.jobs.has_next() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn run_if_it_may(&self, taken: Taken<Job>) {
        let outlook = match taken.job().outlook() {
            Some(outlook) if !outlook.is_small() => outlook,
            Some(_) => return run(taken.into_job(), Turn::Work),
            None => return run(taken.into_job(), Turn::Unwanted),
        };
        let begun = {
            let mut state = self.lock();
            let begun = state.jobs.begin(taken, outlook);
            self.call_another(&state);
            begun
        };
        if let Some(job) = begun {
            run(job, Turn::Work);
            let mut state = self.lock();
            state.jobs.end(outlook);
            self.call_another(&state);
        }
    }

    /// Jobs that waited for memory may continue: one thread is woken, and it wakes the next one.
    fn call_another(&self, state: &State) {
        if state.idle > 0 && state.jobs.has_next() {
            self.work.notify_one();
        }
    }
}

/// A job that panics does not end its thread.
fn run(job: Job, turn: Turn) {
    let _ = catch_unwind(AssertUnwindSafe(|| job.run(turn)));
}

#[cfg(test)]
mod tests {
    use bowline_driver::handler_queue::Outlook;

    use super::*;
    use std::sync::mpsc;

    /// A job with no known size of answer.
    struct Plain<W>(W);

    impl<W: FnOnce(Turn) + Send> Work for Plain<W> {
        fn outlook(&self) -> Option<Outlook> {
            Some(Outlook { bytes: 0, spare: 0 })
        }

        fn run(self: Box<Self>, turn: Turn) {
            (self.0)(turn);
        }
    }

    #[test]
    fn a_job_that_nobody_can_run_is_told_so() {
        let pool = Arc::new(HandlerPool::make("test", 4, |_| Err(io::ErrorKind::WouldBlock.into())));
        let (told, turns) = mpsc::channel();
        for _ in 0..3 {
            let told = told.clone();
            pool.run(1, Box::new(Plain(move |turn| told.send(turn).expect("it is waited for"))));
        }
        let turns: Vec<Turn> = turns.try_iter().collect();
        assert_eq!(turns, [Turn::NoThread; 3]);
        let state = pool.lock();
        assert_eq!((state.jobs.len(), state.threads), (0, 0));
    }

    /// A job whose result is not needed.
    struct Unwanted(mpsc::Sender<Turn>);

    impl Work for Unwanted {
        fn outlook(&self) -> Option<Outlook> {
            None
        }

        fn run(self: Box<Self>, turn: Turn) {
            self.0.send(turn).expect("it is waited for");
        }
    }

    #[test]
    fn unwanted_jobs_of_a_connection_leave_the_queue_while_every_thread_is_busy() {
        let pool = HandlerPool::named("test", 1);
        let (begun, is_begun) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        pool.run(
            1,
            Box::new(Plain(move |_| {
                begun.send(()).expect("it is waited for");
                ended.recv().expect("it is told");
            })),
        );
        is_begun.recv().expect("a thread");
        let (told, turns) = mpsc::channel();
        for from in [1, 1, 2] {
            pool.run(from, Box::new(Unwanted(told.clone())));
        }
        let wanted = told.clone();
        pool.run(1, Box::new(Plain(move |turn| wanted.send(turn).expect("it is waited for"))));
        pool.forget(1);
        assert_eq!(turns.try_iter().collect::<Vec<_>>(), [Turn::Unwanted; 2]);
        assert_eq!(pool.lock().jobs.len(), 2, "one that is wanted, and one of another connection");
        end.send(()).expect("it waits");
        drop(told);
        let mut rest: Vec<Turn> = turns.iter().collect();
        rest.sort_by_key(|turn| *turn == Turn::Unwanted);
        assert_eq!(rest, [Turn::Work, Turn::Unwanted]);
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let pool = HandlerPool::named("test", 1);
        let (told, done) = mpsc::channel();
        for number in 0..3 {
            let told = told.clone();
            let work = move |_| {
                // As a panic, but without its message on the terminal.
                told.send(number).expect("it is waited for");
                std::panic::resume_unwind(Box::new(()));
            };
            pool.run(1, Box::new(Plain(work)));
        }
        drop(told);
        assert_eq!(done.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(pool.lock().threads, 1);
    }
}
