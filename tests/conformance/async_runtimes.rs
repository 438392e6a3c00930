//! tokio, smol and async-std: one implementation, since their handles are one type.

use std::future::Future;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::{self, Peer, call};
use bowline::error::{CallError, CastError, Outcome};
use bowline::frame::Framing;
use bowline::{
    AcceptCounters, BindError, CallOptions, CastOptions, Closed, ClosedError, Config, ConnectError, Drained,
    Hub, LinkEvent, ManagerError, Message, Queued, Reply, Undelivered,
};

use crate::harness::{Asked, BoxFuture, Client, Handlers, Harness, Manager, Pool, PoolSetup, Server};

pub struct OnTokio;
pub struct OnSmol;
pub struct OnAsyncStd;

impl<R: Runtime, F: Framing> Client<F> for driver::Client<R, F> {
    type Pending = call::Pending<F>;

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
        let peer = Peer::clone(self);
        Box::pin(async move { peer.call_with(options, body).await })
    }

    fn start_call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Self::Pending, CallError>> {
        Box::pin(Peer::start_call(self, options, body))
    }

    fn wait(pending: Self::Pending) -> BoxFuture<Result<Reply, CallError>> {
        Box::pin(pending)
    }

    fn cast(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Queued, CastError>> {
        let client = self.clone();
        Box::pin(async move { Peer::cast_with(&client, options, body).await })
    }

    fn cast_and_wait(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Outcome, CastError>> {
        let client = self.clone();
        Box::pin(async move { Peer::cast_and_wait_with(&client, options, body).await })
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

impl<R: Runtime, F: Framing> Manager<F> for driver::Manager<R, F> {
    fn make(defaults: Option<Config<F>>) -> Self {
        defaults.map_or_else(Self::new, Self::with_defaults)
    }

    fn dial(&self, address: &str, config: Config<F>) -> BoxFuture<Result<(), ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        Box::pin(async move { Self::dial(&manager, &address, config).await.map(drop) })
    }

    fn listen(
        &self,
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<String, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        Box::pin(async move {
            let server = Self::listen(&manager, &address, server_builder(config, handlers)).await?;
            Ok(server.local_addr().to_string())
        })
    }

    fn write(&self, address: &str, body: Vec<u8>) -> BoxFuture<Result<usize, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        Box::pin(async move { Self::write(&manager, &address, body).await })
    }

    fn close_link(&self, address: &str) -> BoxFuture<Result<Vec<Undelivered>, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        Box::pin(async move { Self::close_link(&manager, &address).await })
    }

    fn close_listener(&self, address: &str) -> BoxFuture<Result<Drained, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        Box::pin(async move { Self::close_listener(&manager, &address).await })
    }

    fn close_and_wait(&self, linger: Duration) -> BoxFuture<Closed> {
        let manager = self.clone();
        Box::pin(async move { Self::close_and_wait(&manager, linger).await })
    }

    fn addresses(&self) -> (Vec<String>, Vec<String>) {
        Self::addresses(self)
    }

    fn peer(&self, address: &str) -> Option<Peer<F>> {
        self.client(address).map(|client| Peer::clone(&client))
    }
}

impl<R: Runtime, F: Framing> Pool<F> for driver::Pool<R, F> {
    fn open(setup: PoolSetup<F>) -> Self {
        let mut builder = Self::with_config(setup.config)
            .connections(setup.connections)
            .policy(setup.policy)
            .blacklist(setup.blacklist);
        for endpoint in &setup.endpoints {
            builder = builder.endpoint(endpoint);
        }
        if let Some(hedging) = setup.hedging {
            builder = builder.hedging(hedging);
        }
        builder.open().expect("sound addresses")
    }

    fn ready(&self) -> BoxFuture<Result<(), ConnectError>> {
        let pool = self.clone();
        Box::pin(async move { Self::ready(&pool).await })
    }

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
        let pool = self.clone();
        Box::pin(async move { pool.call_with(options, body).await })
    }

    fn call_for(
        &self,
        key: &'static str,
        options: CallOptions,
        body: Vec<u8>,
    ) -> BoxFuture<Result<Reply, CallError>> {
        let pool = self.clone();
        Box::pin(async move { Self::call_for(&pool, key, options, body).await })
    }

    fn add(&self, endpoint: &str) -> bool {
        Self::add(self, endpoint).expect("a sound address")
    }

    fn remove(&self, endpoint: &str) -> bool {
        Self::remove(self, endpoint)
    }

    fn endpoints(&self) -> Vec<String> {
        Self::endpoints(self)
    }

    fn peers(&self) -> Vec<Peer<F>> {
        self.clients().iter().map(|client| Peer::clone(client)).collect()
    }

    fn leader(&self, key: &str) -> Option<String> {
        Self::leader(self, key)
    }

    fn close(self) -> BoxFuture<Vec<Undelivered>> {
        Box::pin(Self::close(self))
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
    if let Some((monitor, label)) = &handlers.monitor {
        builder = builder.monitor(monitor, label);
    }
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

fn server_builder<R: Runtime, F: Framing>(
    config: Config<F>,
    handlers: Handlers<F>,
) -> driver::ServerBuilder<R, F> {
    let mut builder = driver::Server::<R, F>::with_config(config);
    if let Some(hub) = &handlers.hub {
        builder = builder.hub(hub);
    }
    if let Some((monitor, label)) = &handlers.monitor {
        builder = builder.monitor(monitor, label);
    }
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

/// What differs between them: who runs tasks and keeps time.
macro_rules! harness {
    ($harness:ident, $name:literal, $runtime:ty, $run:expr, $spawn:expr, $sleep:expr, $tasks:expr) => {
        impl Harness for $harness {
            type Client<F: Framing> = driver::Client<$runtime, F>;
            type Server<F: Framing> = driver::Server<$runtime, F>;
            type Manager<F: Framing> = driver::Manager<$runtime, F>;
            type Pool<F: Framing> = driver::Pool<$runtime, F>;
            const NAME: &'static str = $name;
            const MANY: usize = 10_000;

            fn run(scenario: impl Future<Output = ()> + Send + 'static) {
                ($run)(scenario)
            }

            fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
                ($spawn)(task)
            }

            fn tasks() -> usize {
                $tasks
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
                let (address, builder) = (address.to_owned(), server_builder(config, handlers));
                Box::pin(async move { builder.bind(&address).await })
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

harness!(
    OnTokio,
    "tokio",
    bowline::tokio::Tokio,
    tokio_run,
    tokio_spawn,
    tokio::time::sleep,
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
);
harness!(
    OnSmol,
    "smol",
    bowline::smol::Smol,
    smol::block_on,
    |task| Box::pin(smol::spawn(task)),
    smol_sleep,
    0
);
harness!(
    OnAsyncStd,
    "async-std",
    bowline::async_std::AsyncStd,
    async_std::task::block_on,
    |task| Box::pin(async_std::task::spawn(task)),
    smol_sleep,
    0
);
