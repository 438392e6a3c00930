//! Threads for handlers that take their time: as many as are needed, up to a bound.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_core::error::{Failure, Status};
use bowline_core::frame::Framing;
use bowline_driver::Answer;
use bowline_driver::handler::Ordinary;

use crate::peer::Request;

/// Told whether there is a thread to work on, or only that there is none.
type Job = Box<dyn FnOnce(Turn) + Send>;

/// What a job is told when it comes to its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// To do its work.
    Work,
    /// That no thread will ever come to it: on the caller's own, which must not wait.
    NoThread,
}

type Spawn = fn(Arc<HandlerPool>) -> io::Result<()>;

/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(5);

/// How many jobs wait is bounded by the links: each has a limit of requests being handled.
pub(crate) struct HandlerPool {
    state: Mutex<State>,
    work: Condvar,
    max: usize,
    spawn: Spawn,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl HandlerPool {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Self::with_spawn(max, |pool| {
            let thread = std::thread::Builder::new().name("bowline-handler".into());
            thread.spawn(move || pool.work()).map(drop)
        })
    }

    fn with_spawn(max: usize, spawn: Spawn) -> Arc<Self> {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Arc::new(Self { state: Mutex::new(state), work: Condvar::new(), max, spawn })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let short = state.jobs.len() > state.idle && state.threads < self.max;
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
            // Those that live, or are being started, come to what waits; otherwise nobody does.
            let stranded = if state.threads == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() };
            drop(state);
            stranded.into_iter().for_each(|job| run(job, Turn::NoThread));
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                run(job, Turn::Work);
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
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// A job that panics takes no thread with it.
fn run(job: Job, turn: Turn) {
    let _ = catch_unwind(AssertUnwindSafe(|| job(turn)));
}

/// Runs a handler on the pool.
pub(crate) struct PoolHandler<H> {
    handler: Arc<H>,
    pool: Arc<HandlerPool>,
}

impl<H> PoolHandler<H> {
    pub(crate) fn new(handler: H, pool: Arc<HandlerPool>) -> Self {
        Self { handler: Arc::new(handler), pool }
    }
}

impl<H, F, A> Ordinary<F> for PoolHandler<H>
where
    F: Framing,
    H: Fn(Request<F>) -> Result<A, Failure> + Send + Sync + 'static,
    A: Into<Answer>,
{
    fn start(&self, request: bowline_driver::Request<F>) {
        let handling = request.handling();
        let handler = Arc::clone(&self.handler);
        self.pool.run(Box::new(move |turn| {
            if turn == Turn::NoThread {
                // It did not begin: callers that may try again do.
                handling.finish(Err(Failure::new(Status::BUSY, "no thread to run the handler")));
                return;
            }
            // The caller may have given up while the request waited for a thread.
            if handling.is_cancelled(None) {
                handling.dropped();
                return;
            }
            // What the handler returns becomes an answer by code of its own.
            let call = || handler(Request::new(request)).map(Into::into);
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(result) => handling.finish(result),
                Err(_) => handling.panicked(),
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_job_that_nobody_can_run_is_told_so() {
        let pool = HandlerPool::with_spawn(4, |_| Err(io::ErrorKind::WouldBlock.into()));
        let (told, turns) = mpsc::channel();
        for _ in 0..3 {
            let told = told.clone();
            pool.run(Box::new(move |turn| told.send(turn).expect("it is waited for")));
        }
        let turns: Vec<Turn> = turns.try_iter().collect();
        assert_eq!(turns, [Turn::NoThread; 3]);
        let state = pool.lock();
        assert_eq!((state.jobs.len(), state.threads), (0, 0));
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let pool = HandlerPool::new(1);
        let (told, done) = mpsc::channel();
        for number in 0..3 {
            let told = told.clone();
            pool.run(Box::new(move |_| {
                // As a panic, but without its message on the terminal.
                told.send(number).expect("it is waited for");
                std::panic::resume_unwind(Box::new(()));
            }));
        }
        drop(told);
        assert_eq!(done.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(pool.lock().threads, 1);
    }
}
