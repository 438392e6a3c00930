//! Tasks of a pool of handlers: futures that are polled on its threads, and use none while they wait.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bowline_driver::StartError;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::runtime::Timer as _;
use bowline_driver::sync::Mutex;
use bowline_driver::workers::{BoxTask, Turn, Work, Workers};

use crate::handler_pool::HandlerPool;
use crate::io_group;
use crate::task_state::TaskState;
use crate::timer::Timer;

/// How long a task waits when the system has no thread for it.
const PAUSE: Duration = Duration::from_millis(50);

/// The threads of one client's or server's handlers.
#[derive(Default)]
pub(crate) struct PoolWorkers(Arc<HandlerPool>);

impl Workers for PoolWorkers {
    fn prepare(&self, threads: usize) {
        self.0.set_max(threads);
    }

    fn spawn(&self, from: u64, task: BoxTask) -> Result<(), StartError> {
        let (state, work, pool) = (TaskState::queued(), Mutex::new(Some(task)), Arc::clone(&self.0));
        queue(&Arc::new(PoolTask { state, work, pool, from }));
        Ok(())
    }

    fn run(&self, from: u64, work: Box<dyn Work>) {
        self.0.run(from, work);
    }

    fn forget(&self, from: u64) {
        self.0.forget(from);
    }
}

/// A future that the threads of a pool poll.
struct PoolTask {
    state: TaskState,
    work: Mutex<Option<BoxTask>>,
    pool: Arc<HandlerPool>,
    /// The connection that it belongs to: connections take turns.
    from: u64,
}

fn queue(task: &Arc<PoolTask>) {
    task.pool.run(task.from, Box::new(Step(Arc::clone(task))));
}

impl Wake for PoolTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.wake() {
            queue(self);
        }
    }
}

/// A task to be polled once.
struct Step(Arc<PoolTask>);

impl Work for Step {
    fn outlook(&self) -> Option<Outlook> {
        Some(Outlook { bytes: 0, spare: usize::MAX })
    }

    fn run(self: Box<Self>, turn: Turn) {
        let task = self.0;
        match turn {
            Turn::NoThread => queue_later(task),
            Turn::Work | Turn::Unwanted => poll_once(&task),
        }
    }
}

fn poll_once(task: &Arc<PoolTask>) {
    task.state.begin();
    let waker = Waker::from(Arc::clone(task));
    let mut work = task.work.lock();
    let Some(future) = work.as_mut() else { return task.state.end() };
    let poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
    if matches!(catch_unwind(AssertUnwindSafe(poll)), Ok(Poll::Pending)) {
        drop(work);
        if task.state.rest() {
            queue(task);
        }
        return;
    }
    drop(work);
    end(task);
}

/// Drops its future, and everything that it holds.
fn end(task: &PoolTask) {
    task.state.end();
    let over = task.work.lock().take();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(over)));
}

/// There is no thread now. The task's callbacks exist nowhere else, so it is not dropped.
fn queue_later(task: Arc<PoolTask>) {
    let mut timer = Timer::default();
    timer.reset(Instant::now() + PAUSE);
    let mut later = Later(Some(task));
    // If that cannot be run either, the task is dropped.
    let _ = io_group::spawn(async move {
        poll_fn(|cx| timer.poll_expired(cx)).await;
        if let Some(task) = later.0.take() {
            queue(&task);
        }
    });
}

/// A task that is queued later; dropped if no thread can do that.
struct Later(Option<Arc<PoolTask>>);

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            end(&task);
        }
    }
}
