//! Request handlers that may wait.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bowline_core::error::{Failure, Status};
use bowline_core::frame::Framing;
use bowline_driver::PeerId;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::heavy::Turn;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Returns;
use bowline_driver::sync::Arc;
use bowline_driver::workers::{self, Work, Workers};

use crate::answer::Answer;
use crate::handler::Ordinary;
use crate::handler_args::Request;
use crate::request::{Handling, RequestCore};

/// The expected size in bytes of a connection's first answer. Answers of this size or more count as long.
const UNKNOWN: usize = 128 * 1024;

/// A function of the program that handles requests. On async runtimes it is called in place and its future
/// polled once; only a future that is not ready then becomes a task. On threads `workers` call it. Tasks of a
/// connection whose answers are long, or of unknown size, take turns with others: see
/// [`bowline_driver::heavy`].
pub(crate) struct RequestHandler<R, H, T> {
    handler: Arc<H>,
    /// The workers that call the function, which may block.
    workers: Option<Arc<dyn Workers>>,
    types: PhantomData<fn() -> (R, T)>,
}

impl<R, H, T> RequestHandler<R, H, T> {
    pub(crate) fn new(handler: H, workers: Option<Arc<dyn Workers>>) -> Self {
        Self { handler: Arc::new(handler), workers, types: PhantomData }
    }
}

impl<R, F, H, T, A> Ordinary<F> for RequestHandler<R, H, T>
where
    R: Runtime<Style: Returns<T, Output = Result<A, Failure>>>,
    F: Framing,
    H: Fn(Request<R, F>) -> T + Send + Sync + 'static,
    T: 'static,
    A: Into<Answer> + 'static,
{
    fn start(&self, request: RequestCore<F>) {
        let handling = request.handling();
        if let Some(workers) = &self.workers {
            let (handler, from) = (Arc::clone(&self.handler), request.peer_id().0);
            let begin = move || R::Style::finish(handler(request.into()));
            return workers
                .run(from, Box::new(Unstarted { begin, handling, runtime: PhantomData::<fn() -> R> }));
        }
        begin::<R, F, _, _>(|| R::Style::finish((self.handler)(request.into())), handling, false);
    }

    fn forget(&self, peer: PeerId) {
        if let Some(workers) = &self.workers {
            workers.forget(peer.0);
        }
    }
}

/// Calls a handler, and runs its future to the end.
fn begin<R, F, Fut, A>(call: impl FnOnce() -> Fut, handling: Handling<F>, writes: bool)
where
    R: Runtime,
    F: Framing,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
    A: Into<Answer>,
{
    let Ok(future) = catch_unwind(AssertUnwindSafe(|| Box::pin(call()))) else { return handling.panicked() };
    let mut running = Running { future, handling, began: false, writes, turn: None };
    // If it becomes a task, it is polled again with that task's waker.
    let mut cx = Context::from_waker(Waker::noop());
    if pin!(&mut running).poll(&mut cx).is_pending() {
        let handling = running.handling.clone();
        if R::spawn(running).is_err() {
            handling.finish(Err(Failure::from("no runtime to run the handler")));
        }
    }
}

/// A request whose handler was not called yet.
struct Unstarted<R, F: Framing, B> {
    begin: B,
    handling: Handling<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R, F, B, Fut, A> Work for Unstarted<R, F, B>
where
    R: Runtime,
    F: Framing,
    B: FnOnce() -> Fut + Send,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
    A: Into<Answer>,
{
    fn outlook(&self) -> Option<Outlook> {
        self.handling.outlook()
    }

    fn run(self: Box<Self>, turn: workers::Turn) {
        let Self { begin: call, handling, .. } = *self;
        match turn {
            workers::Turn::Work => begin::<R, F, _, _>(call, handling, true),
            // The handler did not begin: callers that may retry do.
            workers::Turn::NoThread => {
                handling.finish(Err(Failure::new(Status::BUSY, "no thread to run the handler")));
            }
            // The caller gave up while the request waited for a thread.
            workers::Turn::Unwanted => handling.dropped(),
        }
    }
}

/// A handler under way; dropped when its answer is no longer needed.
struct Running<Fut, F: Framing> {
    future: Pin<Box<Fut>>,
    handling: Handling<F>,
    /// It was polled before.
    began: bool,
    /// Its thread has nothing else to do: it writes the last answer of a connection itself.
    writes: bool,
    /// Limits the number of heavy handlers that run at once.
    turn: Option<Turn>,
}

impl<Fut, F: Framing> Running<Fut, F> {
    /// Whether to poll it now; if not, it is woken later. `None`: its answer is no longer needed.
    fn may_work(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        let expected = self.handling.expected()?;
        if self.turn.is_none() && expected >= UNKNOWN {
            self.turn = self.handling.turn();
        }
        Some(self.turn.as_mut().is_none_or(|turn| turn.poll(cx).is_ready()))
    }
}

impl<Fut, F, A> Future for Running<Fut, F>
where
    F: Framing,
    Fut: Future<Output = Result<A, Failure>>,
    A: Into<Answer>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // It may have been woken because the answer is no longer needed: check before polling.
        if std::mem::replace(&mut this.began, true) {
            match this.may_work(cx) {
                Some(true) => {}
                Some(false) => return Poll::Pending,
                None => {
                    this.handling.dropped();
                    return Poll::Ready(());
                }
            }
        }
        // The conversion of the return value is the program's code: inside the catch.
        let poll = || this.future.as_mut().poll(cx).map(|result| result.map(Into::into));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(result)) if this.writes => this.handling.finish_and_write(result),
            Ok(Poll::Ready(result)) => this.handling.finish(result),
            Err(_) => this.handling.panicked(),
            Ok(Poll::Pending) => {
                if !this.handling.is_cancelled(Some(cx.waker().clone())) {
                    // Dropped together with the turn: the next answers may be short.
                    this.turn = None;
                    return Poll::Pending;
                }
                this.handling.dropped();
            }
        }
        Poll::Ready(())
    }
}
