//! Threads wait by parking; those that run connections must not.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bowline_driver::StartError;
use bowline_driver::place::Place;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{self, Returns, Style};
use bowline_driver::workers::Workers;

use crate::aside::aside;
use crate::io_group::IoGroup;
use crate::pool_task::PoolWorkers;
use crate::waiting::{block_on, block_on_helping, must_not_wait};

/// Threads that wait by parking.
#[derive(Clone, Copy, Debug)]
pub struct Parks;

impl style::Threads for Parks {
    fn place(threads: usize) -> Result<Place, StartError> {
        IoGroup::new(threads).map(|group| Place::of(&group))
    }
}

impl Style for Parks {
    type Wait<Fut: Future> = Fut::Output;
    const TELLS_ASIDE: bool = true;

    fn workers<R: Runtime>() -> Arc<dyn Workers> {
        Arc::new(PoolWorkers::default())
    }

    fn wait<Fut: Future>(future: Fut, would_park: impl FnOnce() -> Fut::Output) -> Fut::Output {
        if must_not_wait() { would_park() } else { block_on(future) }
    }

    fn wait_now<T: Send>(output: T) -> T {
        output
    }

    fn wait_or<Fut: Future + Unpin>(future: Fut, would_park: impl FnOnce(Fut) -> Fut::Output) -> Fut::Output {
        if must_not_wait() { would_park(future) } else { block_on(future) }
    }

    fn awaited<Fut: Future>(waited: Fut::Output) -> impl Future<Output = Fut::Output> {
        std::future::ready(waited)
    }

    fn may_wait() -> bool {
        !must_not_wait()
    }

    #[inline]
    fn wait_alone<Fut: Future>(future: Fut) -> Fut::Output {
        let mut future = pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            // It waits for something other than its socket.
            Poll::Pending => block_on(future),
        }
    }

    fn wait_helping<Fut: Future>(
        future: Fut,
        would_park: impl FnOnce() -> Fut::Output,
        help: impl Fn(&dyn Fn() -> bool),
    ) -> Fut::Output {
        if must_not_wait() { would_park() } else { block_on_helping(future, help) }
    }
}

impl<T: Send + 'static> Returns<T> for Parks {
    type Output = T;
    type Future = std::future::Ready<T>;

    fn finish(returned: T) -> std::future::Ready<T> {
        std::future::ready(returned)
    }

    fn output(returned: T) -> Result<T, std::future::Ready<T>> {
        Ok(returned)
    }

    fn call(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        aside(move || Ok(function()))
    }
}
