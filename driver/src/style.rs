//! How the users of a runtime wait: tasks await, threads park. What the handles' methods return
//! depends on it, so that each of them is written once.

use std::future::Future;
use std::io;

use bowline_core::error::Failure;
use bowline_core::frame::Framing;

use crate::answer::Answer;
use crate::handler::{Handled, Ordinary};
use crate::handler_args::Request;
use crate::runtime::Runtime;
use crate::stream::{Connector, Stream, Target};
use crate::sync::Arc;
use crate::task_handler::TaskHandler;
use crate::workers::{TaskWorkers, Workers};

/// How the users of a runtime wait.
pub trait Style: Sized + Send + Sync + 'static {
    /// What a method that waits returns: the future where tasks await it, what it comes to where
    /// threads wait for it.
    type Wait<Fut: Future>;

    /// What the handlers of one client or server share that are not called inline: nothing where they
    /// are tasks, a pool where they run on threads.
    type Workers: Clone + Default + Send + Sync + 'static;

    /// Whether everything but inline handlers is called by workers, and not where connections are read:
    /// where those are threads that must not wait, and handlers cannot await.
    const TELLS_ASIDE: bool;

    /// Those who run what handlers do.
    fn run<R: Runtime>(workers: &Self::Workers) -> Arc<dyn Workers>;

    /// Waits for a future, or hands it out to be awaited. On a thread that must not wait, the future is
    /// not polled, and `would_park` says what is returned instead.
    fn wait<Fut: Future>(future: Fut, would_park: impl FnOnce() -> Fut::Output) -> Self::Wait<Fut>;

    /// What is there already.
    fn wait_now<T: Send>(output: T) -> Self::Wait<std::future::Ready<T>>;

    /// The same as [`wait`](Self::wait) for a future that knows itself what is returned instead, such as one that gives a
    /// message back.
    fn wait_or<Fut: Future + Unpin>(
        future: Fut,
        would_park: impl FnOnce(Fut) -> Fut::Output,
    ) -> Self::Wait<Fut>;

    /// The same as [`wait`](Self::wait). Before a thread parks, `help` may do something that makes the
    /// future ready, until what it is given says that something was done.
    fn wait_helping<Fut: Future>(
        future: Fut,
        would_park: impl FnOnce() -> Fut::Output,
        help: impl Fn(&dyn Fn() -> bool),
    ) -> Self::Wait<Fut>;
}

/// What a method that waits for `Fut` returns on the runtime `R`: on tokio, smol and async-std a
/// future, on threads what it comes to.
pub type Wait<R, Fut> = <<R as Runtime>::Style as Style>::Wait<Fut>;

/// A style of runtimes whose users are tasks.
pub trait Tasks: Style {}

/// A style of runtimes whose users are threads.
pub trait Threads: Style {}

impl Tasks for Awaits {}

/// Tasks await futures.
#[derive(Clone, Copy, Debug)]
pub struct Awaits;

impl Style for Awaits {
    type Wait<Fut: Future> = Fut;
    type Workers = ();
    const TELLS_ASIDE: bool = false;

    fn run<R: Runtime>((): &()) -> Arc<dyn Workers> {
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
    fn wait_helping<Fut: Future>(
        future: Fut,
        _: impl FnOnce() -> Fut::Output,
        _: impl Fn(&dyn Fn() -> bool),
    ) -> Fut {
        future
    }
}

/// What a function may return that handles requests: where tasks await, a future of a result; where
/// threads wait, the result itself. What it comes to is anything that becomes an [`Answer`], or a
/// [`Failure`].
pub trait Handles<R: Runtime, F: Framing, T>: Style {
    /// What runs such a function, by `workers`.
    fn ordinary<H>(handler: H, workers: &Self::Workers) -> Box<dyn Ordinary<F>>
    where
        H: Fn(Request<R, F>) -> T + Send + Sync + 'static;
}

/// What a function may return that handles messages: where tasks await, a future of something
/// [`Handled`]; where threads wait, that itself.
pub trait HandlesMessages<T>: Style {
    /// How the handling goes that such a function began.
    fn handled(returned: T) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<Fut> HandlesMessages<Fut> for Awaits
where
    Fut: Future<Output: Handled> + Send,
{
    async fn handled(returned: Fut) -> Result<(), Failure> {
        returned.await.into_result()
    }
}

impl<R, F, Fut, A> Handles<R, F, Fut> for Awaits
where
    R: Runtime<Style = Self>,
    F: Framing,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
    A: Into<Answer> + 'static,
{
    fn ordinary<H>(handler: H, (): &()) -> Box<dyn Ordinary<F>>
    where
        H: Fn(Request<R, F>) -> Fut + Send + Sync + 'static,
    {
        Box::new(TaskHandler::<R, H>::new(handler))
    }
}

/// What a function may return that connects in the program's own way: where tasks await, a future of a
/// result; where threads wait, the result itself (the function runs on a thread of its own then).
pub trait Connects<T>: Style {
    /// What calls such a function.
    fn connector<C>(connect: C) -> Connector
    where
        C: Fn(Target) -> T + Send + Sync + 'static;
}

impl<Fut> Connects<Fut> for Awaits
where
    Fut: Future<Output = io::Result<Stream>> + Send + 'static,
{
    fn connector<C>(connect: C) -> Connector
    where
        C: Fn(Target) -> Fut + Send + Sync + 'static,
    {
        Arc::new(move |target| Box::pin(connect(target)))
    }
}
