//! Threads for handlers that take their time: as many as are needed, up to a bound.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_core::error::Failure;
use bowline_core::frame::Framing;
use bowline_driver::Answer;
use bowline_driver::handler::Ordinary;

use crate::peer::Request;

type Job = Box<dyn FnOnce() + Send>;

/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(5);

/// How many jobs wait is bounded by the links: each has a limit of requests being handled.
pub(crate) struct HandlerPool {
    state: Mutex<State>,
    work: Condvar,
    max: usize,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl HandlerPool {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Arc::new(Self { state: Mutex::new(state), work: Condvar::new(), max })
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
        let pool = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("bowline-handler".into()).spawn(move || pool.work());
        if spawned.is_err() {
            self.lock().threads -= 1;
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
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
        self.pool.run(Box::new(move || {
            // The caller may have given up while the request waited for a thread.
            if handling.is_cancelled(None) {
                handling.dropped();
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| handler(Request::new(request)))) {
                Ok(result) => handling.finish(result.map(Into::into)),
                Err(_) => handling.panicked(),
            }
        }));
    }
}
