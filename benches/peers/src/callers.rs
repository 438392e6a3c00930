//! Calls in a loop, and calls at a fixed rate, for whatever can make one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::LocalBoxFuture;
use hdrhistogram::Histogram;

use crate::job::{Quantiles, Tally};

/// Makes one call of the agreed size and waits for its reply. A clone is what another task uses.
pub trait Caller: Clone + 'static {
    /// Answered, or the error.
    fn call(&self) -> impl Future<Output = Result<()>>;
}

/// Starts a task on the thread that asks.
pub type Spawn = fn(LocalBoxFuture<'static, ()>);

/// On tokio; inside a `LocalSet`.
pub fn spawn_tokio(task: LocalBoxFuture<'static, ()>) {
    tokio::task::spawn_local(task);
}

/// `in_flight` tasks, each calling in a loop, for `time`.
pub async fn closed_loop<C: Caller>(
    caller: C,
    in_flight: usize,
    time: Duration,
    spawn: Spawn,
) -> Result<Tally> {
    let start = move |caller, loops, nth| spawn(Box::pin(call_in_a_loop(caller, loops, nth)));
    closed_loop_by(caller, in_flight, time, start).await
}

/// The same; `start` starts a task that runs [`call_in_a_loop`], wherever its tasks are at home.
pub async fn closed_loop_by<C: Caller>(
    caller: C,
    in_flight: usize,
    time: Duration,
    start: impl Fn(C, Arc<Loops>, usize),
) -> Result<Tally> {
    // One warm call: the connection is there and known to work before the clock starts.
    caller.call().await?;
    let loops = Arc::new(Loops::new(time));
    loops.running.store(in_flight, Ordering::Relaxed);
    let begun = Instant::now();
    for nth in 0..in_flight {
        start(caller.clone(), Arc::clone(&loops), nth);
    }
    loops.wait().await?;
    Ok(Tally::new(loops.count.load(Ordering::Relaxed), begun.elapsed().as_secs_f64()))
}

/// Calls until it is over; the first of the tasks looks at the clock, for all.
pub async fn call_in_a_loop<C: Caller>(caller: C, loops: Arc<Loops>, nth: usize) {
    let mut count = 0;
    while !loops.over.load(Ordering::Relaxed) {
        if nth == 0 && loops.begun.elapsed() >= loops.time {
            loops.over.store(true, Ordering::Relaxed);
        }
        if let Err(error) = caller.call().await {
            loops.failed(error);
            break;
        }
        count += 1;
    }
    loops.count.fetch_add(count, Ordering::Relaxed);
    loops.ended();
}

/// Tasks that make paced calls: more than are ever under way unless the rate is not kept.
const WORKERS: usize = 1024;

/// Calls at `per_second`, whatever became of those before, for `time`; each is timed from the
/// moment when it was meant to be made, so that waiting to be made counts.
pub async fn open_loop<C: Caller>(caller: C, per_second: f64, time: Duration, spawn: Spawn) -> Result<Tally> {
    caller.call().await?;
    let (state, due) = (Arc::new(Loops::new(time)), Rc::new(Due::default()));
    state.running.store(WORKERS, Ordering::Relaxed);
    for _ in 0..WORKERS {
        let (caller, state, due) = (caller.clone(), Arc::clone(&state), Rc::clone(&due));
        spawn(Box::pin(async move {
            while let Some(meant) = due.next().await {
                match caller.call().await {
                    Ok(()) => {
                        let ns = u64::try_from(meant.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        state.times.lock().expect("no panic").saturating_record(ns);
                        state.count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => state.failed(error),
                }
            }
            state.ended();
        }));
    }
    let (start, mut made) = (Instant::now(), 0_u64);
    let at = |call: u64| Duration::from_secs_f64(call as f64 / per_second);
    while start.elapsed() < time && state.error.lock().expect("no panic").is_none() {
        let now = start.elapsed();
        while at(made) <= now {
            due.push(start + at(made));
            made += 1;
        }
        // Lets the others run and comes back at once: a timer would round each moment up.
        yield_now().await;
    }
    due.close();
    state.wait().await?;
    let mut tally = Tally::new(state.count.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    tally.latency = Some(quantiles(&state.times.lock().expect("no panic")));
    Ok(tally)
}

/// Calls that are due, and tasks that wait for one.
#[derive(Default)]
struct Due {
    calls: RefCell<VecDeque<Instant>>,
    idle: RefCell<Vec<Waker>>,
    over: Cell<bool>,
}

impl Due {
    fn push(&self, meant: Instant) {
        self.calls.borrow_mut().push_back(meant);
        let waker = self.idle.borrow_mut().pop();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn close(&self) {
        self.over.set(true);
        self.idle.take().into_iter().for_each(Waker::wake);
    }

    /// The next call; `None` when there will be none.
    async fn next(&self) -> Option<Instant> {
        std::future::poll_fn(|cx| match self.calls.borrow_mut().pop_front() {
            Some(meant) => Poll::Ready(Some(meant)),
            None if self.over.get() => Poll::Ready(None),
            None => {
                self.idle.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// A histogram of nanoseconds, to three digits.
pub fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("good bounds")
}

/// What is reported of a histogram of nanoseconds.
pub fn quantiles(times: &Histogram<u64>) -> Quantiles {
    let at = |q| times.value_at_quantile(q) as f64 / 1e3;
    Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/// What the tasks that call share.
pub struct Loops {
    begun: Instant,
    time: Duration,
    count: AtomicU64,
    running: AtomicUsize,
    over: AtomicBool,
    times: Mutex<Histogram<u64>>,
    error: Mutex<Option<anyhow::Error>>,
    done: tokio::sync::Notify,
}

impl Loops {
    fn new(time: Duration) -> Self {
        Self {
            begun: Instant::now(),
            time,
            count: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            times: Mutex::new(times()),
            error: Mutex::new(None),
            done: tokio::sync::Notify::new(),
        }
    }

    fn ended(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    fn failed(&self, error: anyhow::Error) {
        self.over.store(true, Ordering::Relaxed);
        self.error.lock().expect("no panic").get_or_insert(error);
    }

    async fn wait(&self) -> Result<()> {
        while self.running.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        match self.error.lock().expect("no panic").take() {
            Some(error) => bail!(error),
            None => Ok(()),
        }
    }
}

/// Back at once, after whoever else is ready has run.
pub async fn yield_now() {
    // tokio's own yield lets its reactor look at the sockets, too; elsewhere waking oneself is
    // the whole of it.
    if tokio::runtime::Handle::try_current().is_ok() {
        tokio::task::yield_now().await;
    } else {
        smol::future::yield_now().await;
    }
}
