//! Async handlers.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bowline_core::error::Failure;
use bowline_core::frame::Framing;

use crate::answer::Answer;
use crate::handler::Ordinary;
use crate::handler_args::Request;
use crate::heavy::Turn;
use crate::request::{Handling, RequestCore};
use crate::runtime::Runtime;

/// A connection's first answer is expected to take so many bytes. What takes no less may be long.
const UNKNOWN: usize = 128 * 1024;

/// Runs an async handler: polled once in place, a task only if it is not ready then. Tasks
/// of a connection whose answers are long, or not known yet, take turns with others: see
/// [`crate::heavy`].
pub struct TaskHandler<R, H> {
    handler: H,
    runtime: PhantomData<fn() -> R>,
}

impl<R, H> std::fmt::Debug for TaskHandler<R, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskHandler")
    }
}

impl<R, H> TaskHandler<R, H> {
    /// Of that function.
    pub fn new(handler: H) -> Self {
        Self { handler, runtime: PhantomData }
    }
}

impl<R, H, F, Fut, A> Ordinary<F> for TaskHandler<R, H>
where
    R: Runtime,
    F: Framing,
    H: Fn(Request<R, F>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
    A: Into<Answer> + 'static,
{
    fn start(&self, request: RequestCore<F>) {
        let handling = request.handling();
        let future = Box::pin((self.handler)(request.into()));
        let mut running = Running { future, handling, began: false, turn: None };
        // Polled again, with a waker of its own, if it becomes a task.
        let mut cx = Context::from_waker(Waker::noop());
        if pin!(&mut running).poll(&mut cx).is_pending() {
            let handling = running.handling.clone();
            if R::spawn(running).is_err() {
                handling.finish(Err(Failure::from("no runtime to run the handler")));
            }
        }
    }
}

/// A handler under way; dropped when nobody wants its answer any more.
struct Running<Fut, F: Framing> {
    future: Pin<Box<Fut>>,
    handling: Handling<F>,
    /// It was polled before.
    began: bool,
    /// For work that others need not wait for.
    turn: Option<Turn>,
}

impl<Fut, F: Framing> Running<Fut, F> {
    /// Whether it is to be polled now; it is woken when it is. `None`: nobody wants its answer.
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
        // It may be awake because nobody wants the answer: then it is not made.
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
        // What the handler returns becomes an answer by code of its own.
        let poll = || this.future.as_mut().poll(cx).map(|result| result.map(Into::into));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(result)) => this.handling.finish(result),
            Err(_) => this.handling.panicked(),
            Ok(Poll::Pending) => {
                if !this.handling.is_cancelled(Some(cx.waker().clone())) {
                    // Dropped, and with it the turn: the answers may be short from now on.
                    this.turn = None;
                    return Poll::Pending;
                }
                this.handling.dropped();
            }
        }
        Poll::Ready(())
    }
}
