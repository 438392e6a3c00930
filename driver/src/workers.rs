//! Where handlers run that may wait.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::StartError;
use crate::handler_queue::Outlook;
use crate::runtime::Runtime;
use crate::sync::{Arc, Mutex};

/// A task of handlers.
pub type BoxTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// After this many handlers in a row, a task lets others run.
pub const FAIR_SHARE: u32 = 32;

/// A piece of work that may wait.
pub trait Work: Send {
    /// The expected answer; `None` if the answer is not needed any more.
    fn outlook(&self) -> Option<Outlook>;

    /// Does the work, or receives the reason why it cannot be done.
    fn run(self: Box<Self>, turn: Turn);
}

/// The work of one item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Do the work.
    Work,
    /// No thread will ever run it. The calling thread must not wait.
    NoThread,
    /// The answer is not needed any more.
    Unwanted,
}

/// Where the handlers of a client or a server run: tasks of a runtime, or a pool of threads.
pub trait Workers: Send + Sync + 'static {
    /// Sets how many threads they may use, if they need threads. Called before the first handler runs.
    fn prepare(&self, threads: usize) {
        let _ = threads;
    }

    /// Runs a task of that connection to its end.
    ///
    /// # Errors
    /// It could not be run; the task was dropped.
    fn spawn(&self, from: u64, task: BoxTask) -> Result<(), StartError>;

    /// Does a piece of work of that connection: at once on this thread, unless there are threads for such
    /// work.
    fn run(&self, from: u64, work: Box<dyn Work>) {
        let _ = from;
        work.run(Turn::Work);
    }

    /// That connection is over: its work that waits and is not needed any more gets [`Turn::Unwanted`] at
    /// once, so that it does not hold memory until a thread is free.
    fn forget(&self, from: u64) {
        let _ = from;
    }
}

/// The tasks of a runtime.
pub(crate) struct TaskWorkers<R>(PhantomData<fn() -> R>);

impl<R> TaskWorkers<R> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Runtime> Workers for TaskWorkers<R> {
    fn spawn(&self, _: u64, task: BoxTask) -> Result<(), StartError> {
        R::spawn(task)
    }
}

/// Lets other tasks run once.
#[derive(Debug, Default)]
pub struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Calls a function with queued values, in order and one at a time, on workers. The queue is bounded; further
/// values are dropped.
pub struct Aside<T> {
    shared: Arc<AsideShared<T>>,
    workers: Arc<dyn Workers>,
}

impl<T> std::fmt::Debug for Aside<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("most", &self.shared.most).finish_non_exhaustive()
    }
}

struct AsideShared<T> {
    call: Box<dyn Fn(&T) + Send + Sync>,
    line: Mutex<AsideLine<T>>,
    most: usize,
}

struct AsideLine<T> {
    waiting: VecDeque<T>,
    is_running: bool,
}

impl<T: Send + 'static> Aside<T> {
    /// A panic of `call` is ignored: it is called with the next value.
    pub fn new(workers: &Arc<dyn Workers>, most: usize, call: impl Fn(&T) + Send + Sync + 'static) -> Self {
        let call = move |thing: &T| drop(catch_unwind(AssertUnwindSafe(|| call(thing))));
        let line = Mutex::new(AsideLine { waiting: VecDeque::new(), is_running: false });
        let shared = Arc::new(AsideShared { call: Box::new(call), line, most });
        Self { shared, workers: Arc::clone(workers) }
    }

    /// Returns whether there was room for it.
    pub fn push(&self, thing: T) -> bool {
        let mut line = self.shared.line.lock();
        if line.waiting.len() >= self.shared.most {
            return false;
        }
        line.waiting.push_back(thing);
        if std::mem::replace(&mut line.is_running, true) {
            return true;
        }
        drop(line);
        let task = Box::pin(run(Running { shared: Arc::clone(&self.shared), is_over: false }));
        // If nothing can run the task, dropping it calls the function with all queued values.
        let _ = self.workers.spawn(0, task);
        true
    }
}

async fn run<T>(mut line: Running<T>) {
    let mut called: u32 = 0;
    while let Some(thing) = line.next() {
        (line.shared.call)(&thing);
        called += 1;
        if called.is_multiple_of(FAIR_SHARE) {
            Yield::default().await;
        }
    }
}

/// However the task ends, no queued value is forgotten.
struct Running<T> {
    shared: Arc<AsideShared<T>>,
    /// The queue was empty: later values belong to another task.
    is_over: bool,
}

impl<T> Running<T> {
    /// The next value; without one the task ends.
    fn next(&mut self) -> Option<T> {
        if self.is_over {
            return None;
        }
        let mut line = self.shared.line.lock();
        let next = line.waiting.pop_front();
        line.is_running = next.is_some();
        self.is_over = next.is_none();
        next
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        while let Some(thing) = self.next() {
            (self.shared.call)(&thing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps its tasks, and runs none.
    #[derive(Default)]
    struct Kept(Mutex<Vec<BoxTask>>);

    impl Workers for Kept {
        fn spawn(&self, _: u64, task: BoxTask) -> Result<(), StartError> {
            self.0.lock().push(task);
            Ok(())
        }
    }

    fn told_aside() -> (Aside<u8>, Arc<Kept>, Arc<Mutex<Vec<u8>>>) {
        let (kept, told) = (Arc::new(Kept::default()), Arc::new(Mutex::default()));
        let workers: Arc<dyn Workers> = Arc::clone(&kept) as _;
        let list: Arc<Mutex<Vec<u8>>> = Arc::clone(&told);
        (Aside::new(&workers, 10, move |thing| list.lock().push(*thing)), kept, told)
    }

    #[test]
    fn a_task_that_ends_leaves_what_comes_to_the_next_one() {
        let (aside, kept, told) = told_aside();
        let mut first = Running { shared: Arc::clone(&aside.shared), is_over: false };
        assert_eq!(first.next(), None);
        assert!(aside.push(1) && aside.push(2));
        assert_eq!(kept.0.lock().len(), 1, "one task for both");
        drop(first);
        assert!(told.lock().is_empty(), "one at a time: the other task has them");
        assert!(aside.push(3));
        assert_eq!(kept.0.lock().len(), 1, "it still runs");
        // Dropped by its runtime, it reports all queued values.
        let second = kept.0.lock().pop();
        drop(second);
        assert_eq!(*told.lock(), [1, 2, 3]);
    }
}
