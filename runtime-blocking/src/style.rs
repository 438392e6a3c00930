//! Threads wait by parking; those that run connections must not.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bowline_core::error::{Failure, Status};
use bowline_core::frame::Framing;
use bowline_driver::handler::Ordinary;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::request::{Handling, RequestCore};
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Connector, Stream, Target};
use bowline_driver::style::{self, Connects, Handles, HandlesMessages, Style};
use bowline_driver::workers::Workers;
use bowline_driver::{Answer, Handled, Request};

use crate::aside::aside;
use crate::handler_pool::{HandlerPool, Turn, Work};
use crate::io_group::is_io_thread;
use crate::park::{block_on, block_on_helping};
use crate::pool_task::PoolWorkers;
use crate::runtime::Threads;

/// Threads that wait by parking.
#[derive(Clone, Copy, Debug)]
pub struct Parks;

impl style::Threads for Parks {}

impl Style for Parks {
    type Wait<Fut: Future> = Fut::Output;
    type Workers = PoolWorkers;
    const TELLS_ASIDE: bool = true;

    fn run<R: Runtime>(workers: &PoolWorkers) -> Arc<dyn Workers> {
        Arc::new(workers.clone())
    }

    fn wait<Fut: Future>(future: Fut, would_park: impl FnOnce() -> Fut::Output) -> Fut::Output {
        if is_io_thread() { would_park() } else { block_on(future) }
    }

    fn wait_now<T: Send>(output: T) -> T {
        output
    }

    fn wait_or<Fut: Future + Unpin>(future: Fut, would_park: impl FnOnce(Fut) -> Fut::Output) -> Fut::Output {
        if is_io_thread() { would_park(future) } else { block_on(future) }
    }

    fn wait_helping<Fut: Future>(
        future: Fut,
        would_park: impl FnOnce() -> Fut::Output,
        help: impl Fn(&dyn Fn() -> bool),
    ) -> Fut::Output {
        if is_io_thread() { would_park() } else { block_on_helping(future, help) }
    }
}

impl Connects<io::Result<Stream>> for Parks {
    fn connector<C>(connect: C) -> Connector
    where
        C: Fn(Target) -> io::Result<Stream> + Send + Sync + 'static,
    {
        let connect = Arc::new(connect);
        Arc::new(move |target| {
            let connect = Arc::clone(&connect);
            Box::pin(aside(move || connect(target)))
        })
    }
}

impl<F, A> Handles<Threads, F, Result<A, Failure>> for Parks
where
    F: Framing,
    A: Into<Answer> + 'static,
{
    fn ordinary<H>(handler: H, workers: &PoolWorkers) -> Box<dyn Ordinary<F>>
    where
        H: Fn(Request<Threads, F>) -> Result<A, Failure> + Send + Sync + 'static,
    {
        Box::new(PoolHandler { handler: Arc::new(handler), pool: Arc::clone(&workers.0) })
    }
}

impl<T: Handled> HandlesMessages<T> for Parks {
    fn handled(returned: T) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(returned.into_result())
    }
}

/// Runs a handler on a pool of threads.
struct PoolHandler<H> {
    handler: Arc<H>,
    pool: Arc<HandlerPool>,
}

impl<H, F, A> Ordinary<F> for PoolHandler<H>
where
    F: Framing,
    H: Fn(Request<Threads, F>) -> Result<A, Failure> + Send + Sync + 'static,
    A: Into<Answer> + 'static,
{
    fn start(&self, request: RequestCore<F>) {
        let (handling, handler, from) = (request.handling(), Arc::clone(&self.handler), request.peer_id().0);
        let work = Box::new(HandlerWork { handler, handling, request });
        self.pool.run(from, work);
    }
}

/// A request, and its handler.
struct HandlerWork<H, F: Framing> {
    handler: Arc<H>,
    handling: Handling<F>,
    request: RequestCore<F>,
}

impl<H, F, A> Work for HandlerWork<H, F>
where
    F: Framing,
    H: Fn(Request<Threads, F>) -> Result<A, Failure> + Send + Sync + 'static,
    A: Into<Answer>,
{
    fn outlook(&self) -> Option<Outlook> {
        self.handling.outlook()
    }

    fn run(self: Box<Self>, turn: Turn) {
        let Self { handler, handling, request } = *self;
        match turn {
            Turn::Work => {
                // What the handler returns becomes an answer by code of its own.
                let call = || handler(request.into()).map(Into::into);
                match catch_unwind(AssertUnwindSafe(call)) {
                    Ok(result) => handling.finish_and_write(result),
                    Err(_) => handling.panicked(),
                }
            }
            // It did not begin: callers that may try again do.
            Turn::NoThread => {
                handling.finish(Err(Failure::new(Status::BUSY, "no thread to run the handler")));
            }
            // The caller gave up while the request waited for a thread.
            Turn::Unwanted => handling.dropped(),
        }
    }
}
