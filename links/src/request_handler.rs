//! Request handlers that may wait.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::error::{Failure, Status};
use bowline_core::frame::Framing;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::heavy::Turn;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Returns;
use bowline_driver::sync::Arc;
use bowline_driver::workers::{self, Work, Workers};

use crate::answer::Answer;
use crate::future_blocks::{Block, FutureBlocks};
use crate::handler::Ordinary;
use crate::handler_args::Request;
use crate::peer_core::PeerCore;
use crate::request::{Handling, RequestCore};

/// The expected size in bytes of a connection's first answer. Answers of this size or more count as long.
const UNKNOWN: usize = 128 * 1024;

/// A function of the program that handles requests. On async runtimes it is called in place and its future
/// polled once, in a [block](FutureBlocks) that is used again; only a future that is not ready then becomes a
/// task, together with its block. On threads `workers` call it. Tasks of a connection whose answers are long,
/// or of unknown size, take turns with others: see [`bowline_driver::heavy`].
pub(crate) struct RequestHandler<R, H, T, Fut> {
    handler: Arc<H>,
    blocks: FutureBlocks<Fut>,
    /// The workers that call the function, which may block.
    workers: Option<Arc<dyn Workers>>,
    types: PhantomData<fn() -> (R, T)>,
}

impl<R, H, T, Fut> RequestHandler<R, H, T, Fut> {
    pub(crate) fn new(handler: H, workers: Option<Arc<dyn Workers>>) -> Self {
        let blocks = FutureBlocks::new();
        Self { handler: Arc::new(handler), blocks, workers, types: PhantomData }
    }
}

impl<R, F, H, T, A, Fut> Ordinary<F> for RequestHandler<R, H, T, Fut>
where
    R: Runtime<Style: Returns<T, Output = Result<A, Failure>, Future = Fut>>,
    F: Framing,
    H: Fn(Request<R, F>) -> T + Send + Sync + 'static,
    T: 'static,
    A: Into<Answer> + 'static,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
{
    fn start(&self, request: RequestCore<F>) {
        let (handling, from) = (request.handling(), request.peer_id().0);
        if let Some(workers) = &self.workers {
            let handler = Arc::clone(&self.handler);
            let begin = move || R::Style::output(handler(request.into()));
            return workers
                .run(from, Box::new(Unstarted { begin, handling, runtime: PhantomData::<fn() -> R> }));
        }
        let mut block = self.blocks.take(from);
        let call = || block.as_mut().set(Some(R::Style::finish((self.handler)(request.into()))));
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            return handling.panicked();
        }
        if let Some((mut block, handling)) = Running::new(block, handling, false).begin::<R>() {
            block.as_mut().set(None);
            self.blocks.put(from, block, R::threads, || handling.resize_blocks(0, FutureBlocks::<Fut>::SIZE));
        }
    }

    fn forget(&self, peer: &PeerCore<F>) {
        if let Some(workers) = &self.workers {
            workers.forget(peer.id().0);
        }
        let freed = self.blocks.free();
        if freed > 0 {
            peer.shared().resize_beside(freed * FutureBlocks::<Fut>::SIZE, 0);
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
    B: FnOnce() -> Result<Result<A, Failure>, Fut> + Send,
    Fut: Future<Output = Result<A, Failure>> + Send + 'static,
    A: Into<Answer>,
{
    fn outlook(&self) -> Option<Outlook> {
        self.handling.outlook()
    }

    fn run(self: Box<Self>, turn: workers::Turn) {
        let Self { begin, handling, .. } = *self;
        match turn {
            workers::Turn::Work => {
                // The conversion of the return value is the program's code, too.
                let call = || begin().map(|result| result.map(Into::into));
                match catch_unwind(AssertUnwindSafe(call)) {
                    Ok(Ok(result)) => handling.finish_and_write(result),
                    Ok(Err(future)) => {
                        Running::new(Box::pin(Some(future)), handling, true).begin::<R>();
                    }
                    Err(_) => handling.panicked(),
                }
            }
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
    future: Block<Fut>,
    handling: Handling<F>,
    /// It was polled before.
    began: bool,
    /// Its thread has nothing else to do: it writes the last answer of a connection itself.
    writes: bool,
    /// Limits the number of heavy handlers that run at once.
    turn: Option<Turn>,
}

impl<Fut, F: Framing> Running<Fut, F> {
    fn new(future: Block<Fut>, handling: Handling<F>, writes: bool) -> Self {
        Self { future, handling, began: false, writes, turn: None }
    }

    /// Polls it once, and makes a task of it if it is not ready; otherwise its parts come back.
    fn begin<R: Runtime>(mut self) -> Option<(Block<Fut>, Handling<F>)>
    where
        Self: Future<Output = ()> + Unpin + Send + 'static,
    {
        // If it becomes a task, it is polled again with that task's waker.
        let mut cx = Context::from_waker(Waker::noop());
        if Pin::new(&mut self).poll(&mut cx).is_ready() {
            return Some((self.future, self.handling));
        }
        let handling = self.handling.clone();
        if R::spawn(self).is_err() {
            handling.finish(Err(Failure::from("no runtime to run the handler")));
        }
        None
    }

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
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        // The conversion of the return value is the program's code: inside the catch.
        let poll = || future.poll(cx).map(|result| result.map(Into::into));
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
