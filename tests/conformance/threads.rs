//! Plain threads: every call of a waiting method is made on a separate thread.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use bowline::blocking;
use bowline::frame::Framing;
use bowline::{BindError, Config, ConnectError};

use crate::handles::threads::{builder, server_builder};
use crate::harness::{BoxFuture, Handlers, Harness};

pub struct OnThreads;

/// Runs a blocking function on a thread; the result is a future.
pub(crate) fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<T> {
    struct Slot<T> {
        result: Option<std::thread::Result<T>>,
        waker: Option<Waker>,
    }
    let slot = Arc::new(Mutex::new(Slot { result: None, waker: None }));
    let filled = Arc::clone(&slot);
    let spawned = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let mut slot = filled.lock().expect("not poisoned");
        slot.result = Some(result);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    });
    drop(spawned.expect("a thread"));
    Box::pin(std::future::poll_fn(move |cx| {
        let mut slot = slot.lock().expect("not poisoned");
        match slot.result.take() {
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }))
}

impl Harness for OnThreads {
    type Client<F: Framing> = blocking::Client<F>;
    type Server<F: Framing> = blocking::Server<F>;
    type Manager<F: Framing> = blocking::Manager<F>;
    type Pool<F: Framing> = blocking::Pool<F>;
    const NAME: &'static str = "blocking";
    const MANY: usize = 2_000;

    fn run(scenario: impl Future<Output = ()> + Send + 'static) {
        blocking::block_on(scenario);
    }

    fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
        on_thread(move || blocking::block_on(task))
    }

    fn sleep(duration: Duration) -> BoxFuture<()> {
        on_thread(move || std::thread::sleep(duration))
    }

    fn connect<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<Self::Client<F>, ConnectError>> {
        let builder = builder(address, config, handlers);
        on_thread(move || builder.connect())
    }

    fn connect_lazy<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> Result<Self::Client<F>, ConnectError> {
        builder(address, config, handlers).connect_lazy()
    }

    fn bind<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<Self::Server<F>, BindError>> {
        let builder = server_builder(config, handlers);
        let address = address.to_owned();
        on_thread(move || builder.bind(&address))
    }
}
