//! tokio, smol and async-std: one implementation, since their handles are one type.

use std::future::Future;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::{self, Peer, call};
use bowline::error::{CallError, CastError, Outcome};
use bowline::frame::Framing;
use bowline::{
    AcceptCounters, BindError, CallOptions, CastOptions, ClosedError, Config, ConnectError, Drained, Hub,
    LinkEvent, Message, Queued, Reply, Undelivered,
};

use crate::harness::{Asked, BoxFuture, Client, Handlers, Harness, Server};

pub struct OnTokio;
pub struct OnSmol;
pub struct OnAsyncStd;

impl<R: Runtime, F: Framing> Client<F> for driver::Client<R, F> {
    type Pending = call::Pending<F>;

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
        Box::pin(self.call_with(options, body))
    }

    fn start_call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Self::Pending, CallError>> {
        Box::pin(Peer::start_call(self, options, body))
    }

    fn wait(pending: Self::Pending) -> BoxFuture<Result<Reply, CallError>> {
        Box::pin(pending)
    }

    fn cast(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Queued, CastError>> {
        Box::pin(self.cast_with(options, body))
    }

    fn cast_and_wait(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Outcome, CastError>> {
        Box::pin(self.cast_and_wait_with(options, body))
    }

    fn next_errored(&self) -> BoxFuture<Result<Undelivered, ClosedError>> {
        Box::pin(Peer::next_errored(self))
    }

    fn receive(&self) -> BoxFuture<Result<Message, ClosedError>> {
        Box::pin(Peer::receive(self))
    }

    fn receive_timeout(&self, timeout: Duration) -> BoxFuture<Result<Option<Message>, ClosedError>> {
        let client = self.clone();
        Box::pin(async move { Self::receive_timeout(&client, timeout).await })
    }

    fn next_event(&self) -> BoxFuture<Result<LinkEvent, ClosedError>> {
        Box::pin(Peer::next_event(self))
    }

    fn ready(&self) -> BoxFuture<Result<(), ConnectError>> {
        let client = self.clone();
        Box::pin(async move { Self::ready(&client).await })
    }

    fn close(self) -> BoxFuture<Vec<Undelivered>> {
        Box::pin(Self::close(self))
    }

    fn peer(&self) -> Peer<F> {
        Peer::clone(self)
    }
}

impl<R: Runtime, F: Framing> Server<F> for driver::Server<R, F> {
    fn address(&self) -> String {
        self.local_addr().to_string()
    }

    fn start(&self) {
        Self::start(self).expect("a runtime");
    }

    fn peers(&self) -> Vec<Peer<F>> {
        Self::peers(self)
    }

    fn shutdown(&self) -> BoxFuture<Drained> {
        let server = self.clone();
        Box::pin(async move { Self::shutdown(&server).await })
    }

    fn shutdown_within(&self, linger: Duration) -> BoxFuture<Drained> {
        let server = self.clone();
        Box::pin(async move { Self::shutdown_within(&server, linger).await })
    }

    fn stop_accepting(&self) {
        Self::stop_accepting(self);
    }

    fn hub(&self) -> Hub<F> {
        Self::hub(self).clone()
    }

    fn accept_counters(&self) -> AcceptCounters {
        Self::accept_counters(self)
    }
}

fn asked<F: Framing>(request: driver::Request<F>) -> Asked<F> {
    let (peer, method, body) = (request.peer().clone(), request.method(), request.body().clone());
    Asked { peer, method, body, responder: Box::new(move || request.responder()) }
}

fn builder<R: Runtime, F: Framing>(
    address: &str,
    config: Config<F>,
    handlers: Handlers<F>,
) -> driver::ClientBuilder<R, F> {
    let mut builder = driver::Client::<R, F>::with_config(address, config);
    if let Some(f) = handlers.on_connect {
        builder = builder.on_connect(move |peer| f(peer));
    }
    if let Some(f) = handlers.on_message {
        builder = builder.on_message(move |context, message| f(context, message));
    }
    if let Some(f) = handlers.on_disconnect {
        builder = builder.on_disconnect(move |peer, cause| f(peer, cause));
    }
    if let Some(f) = handlers.on_request {
        builder = builder.on_request(move |request| f(asked(request)));
    }
    if let Some(f) = handlers.on_request_inline {
        builder = builder.on_request_inline(move |context, request, reply| f(context, request, reply));
    }
    builder
}

async fn bind<R: Runtime, F: Framing>(
    address: String,
    config: Config<F>,
    handlers: Handlers<F>,
) -> Result<driver::Server<R, F>, BindError> {
    let mut builder = driver::Server::<R, F>::with_config(config);
    if let Some(f) = handlers.on_connect {
        builder = builder.on_connect(move |peer| f(peer));
    }
    if let Some(f) = handlers.on_message {
        builder = builder.on_message(move |context, message| f(context, message));
    }
    if let Some(f) = handlers.on_disconnect {
        builder = builder.on_disconnect(move |peer, cause| f(peer, cause));
    }
    if let Some(f) = handlers.on_request {
        builder = builder.on_request(move |request| f(asked(request)));
    }
    if let Some(f) = handlers.on_request_inline {
        builder = builder.on_request_inline(move |context, request, reply| f(context, request, reply));
    }
    builder.bind(&address).await
}

/// What differs between them: who runs tasks and keeps time.
macro_rules! harness {
    ($harness:ident, $runtime:ty, $run:expr, $spawn:expr, $sleep:expr) => {
        impl Harness for $harness {
            type Client<F: Framing> = driver::Client<$runtime, F>;
            type Server<F: Framing> = driver::Server<$runtime, F>;
            const MANY: usize = 10_000;

            fn run(scenario: impl Future<Output = ()> + Send + 'static) {
                ($run)(scenario)
            }

            fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
                ($spawn)(task)
            }

            fn sleep(duration: Duration) -> BoxFuture<()> {
                Box::pin(($sleep)(duration))
            }

            fn connect<F: Framing>(
                address: &str,
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> BoxFuture<Result<Self::Client<F>, ConnectError>> {
                Box::pin(builder(address, config, handlers).connect())
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
                Box::pin(bind(address.to_owned(), config, handlers))
            }
        }
    };
}

fn tokio_run(scenario: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    runtime.block_on(scenario);
}

fn tokio_spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
    let handle = tokio::spawn(task);
    Box::pin(async move { handle.await.expect("the task panicked") })
}

async fn smol_sleep(duration: Duration) {
    smol::Timer::after(duration).await;
}

harness!(OnTokio, bowline::tokio::Tokio, tokio_run, tokio_spawn, tokio::time::sleep);
harness!(OnSmol, bowline::smol::Smol, smol::block_on, |task| Box::pin(smol::spawn(task)), smol_sleep);
harness!(
    OnAsyncStd,
    bowline::async_std::AsyncStd,
    async_std::task::block_on,
    |task| Box::pin(async_std::task::spawn(task)),
    smol_sleep
);
