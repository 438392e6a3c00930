//! How the users of a runtime wait: tasks await, threads block. The return types of the handles' methods
//! depend on it, so that each method is written once.

use std::future::Future;
use std::io;

use crate::error::StartError;
use crate::place::Place;
use crate::runtime::Runtime;
use crate::sync::Arc;
use crate::workers::{TaskWorkers, Workers};

/// How the users of a runtime wait.
pub trait Style: Sized + Send + Sync + 'static {
    /// The return type of a method that waits: the future for tasks, its output for threads, which block
    /// until it is ready.
    type Wait<Fut: Future>;

    /// Whether everything but inline handlers is called by workers, and not where connections are read: on
    /// threads, where the reading thread must not wait and handlers cannot await.
    const TELLS_ASIDE: bool;

    /// The workers for the handlers of one client or server that are not called inline: tasks of the runtime,
    /// or a pool of threads for this client or server.
    fn workers<R: Runtime>() -> Arc<dyn Workers>;

    /// Waits for a future, or returns it to be awaited. On a thread that must not wait, the future is not
    /// polled, and the result of `would_park` is returned.
    fn wait<Fut: Future>(future: Fut, would_park: impl FnOnce() -> Fut::Output) -> Self::Wait<Fut>;

    /// Returns an output that is available already.
    fn wait_now<T: Send>(output: T) -> Self::Wait<std::future::Ready<T>>;

    /// As [`wait`](Self::wait), for a future that has its own result for threads that must not wait, such as
    /// one that gives a message back.
    fn wait_or<Fut: Future + Unpin>(
        future: Fut,
        would_park: impl FnOnce(Fut) -> Fut::Output,
    ) -> Self::Wait<Fut>;

    /// The return value of such a method, to be awaited: for code that is written once for tasks and for
    /// threads. On threads it is ready.
    fn awaited<Fut: Future>(waited: Self::Wait<Fut>) -> impl Future<Output = Fut::Output>;

    /// Whether this thread may wait: one that runs connections must not.
    fn may_wait() -> bool;

    /// Waits for a future whose socket is waited for by its owner: see
    /// [`OwnerSocket`](crate::owner::OwnerSocket).
    fn wait_alone<Fut: Future>(future: Fut) -> Self::Wait<Fut>;

    /// As [`wait`](Self::wait). Before a thread parks, `help` may do work that makes the future ready, until
    /// its argument returns true.
    fn wait_helping<Fut: Future>(
        future: Fut,
        would_park: impl FnOnce() -> Fut::Output,
        help: impl Fn(&dyn Fn() -> bool),
    ) -> Self::Wait<Fut>;
}

/// The return type of a method that waits for `Fut` on the runtime `R`: on tokio, smol and async-std a
/// future, on threads its output.
pub type Wait<R, Fut> = <<R as Runtime>::Style as Style>::Wait<Fut>;

/// A style of runtimes whose users are tasks.
pub trait Tasks: Style {}

/// A style of runtimes whose users are threads.
pub trait Threads: Style {
    /// A place that runs tasks on this many threads of its own, which end when they are no longer used.
    ///
    /// # Errors
    /// The system has no threads or descriptors left.
    fn place(threads: usize) -> Result<Place, StartError>;
}

impl Tasks for Awaits {}

/// Tasks await futures.
#[derive(Clone, Copy, Debug)]
pub struct Awaits;

impl Style for Awaits {
    type Wait<Fut: Future> = Fut;
    const TELLS_ASIDE: bool = false;

    fn workers<R: Runtime>() -> Arc<dyn Workers> {
        Arc::new(TaskWorkers::<R>::new())
    }

    #[inline(always)]
    fn wait<Fut: Future>(future: Fut, _: impl FnOnce() -> Fut::Output) -> Fut {
        future
    }

    fn wait_now<T: Send>(output: T) -> std::future::Ready<T> {
        std::future::ready(output)
    }

    #[inline(always)]
    fn wait_or<Fut: Future + Unpin>(future: Fut, _: impl FnOnce(Fut) -> Fut::Output) -> Fut {
        future
    }

    #[inline(always)]
    fn awaited<Fut: Future>(waited: Fut) -> impl Future<Output = Fut::Output> {
        waited
    }

    #[inline(always)]
    fn may_wait() -> bool {
        true
    }

    #[inline(always)]
    fn wait_alone<Fut: Future>(future: Fut) -> Fut {
        future
    }

    #[inline(always)]
    fn wait_helping<Fut: Future>(
        future: Fut,
        _: impl FnOnce() -> Fut::Output,
        _: impl Fn(&dyn Fn() -> bool),
    ) -> Fut {
        future
    }
}

/// The return types of a program's function: a future for tasks, or its output for threads.
pub trait Returns<T>: Style {
    /// The output.
    type Output;

    /// The return value, to be awaited.
    type Future: Future<Output = Self::Output> + Send + 'static;

    /// The return value of such a function, to be awaited.
    fn finish(returned: T) -> Self::Future;

    /// The output, if such a function returns it without a future.
    ///
    /// # Errors
    /// The future of the output.
    fn output(returned: T) -> Result<Self::Output, Self::Future> {
        Err(Self::finish(returned))
    }

    /// Calls such a function where it may wait: on threads, on a thread of its own.
    ///
    /// # Errors
    /// The system could not start a thread for it.
    fn call(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<Self::Output>> + Send + 'static;
}

impl<Fut> Returns<Fut> for Awaits
where
    Fut: Future + Send + 'static,
{
    type Output = Fut::Output;
    type Future = Fut;

    #[inline]
    fn finish(returned: Fut) -> Fut {
        returned
    }

    async fn call(function: impl FnOnce() -> Fut + Send + 'static) -> io::Result<Fut::Output> {
        Ok(function().await)
    }
}
