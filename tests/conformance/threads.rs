//! Plain threads: every call of a method that waits is made on a thread of its own.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use bowline::blocking;
use bowline::driver::Peer;
use bowline::error::{CallError, CastError, Outcome};
use bowline::frame::Framing;
use bowline::{
    AcceptCounters, BindError, CallOptions, CastOptions, Closed, ClosedError, Config, ConnectError, Drained,
    Hub, LinkEvent, ManagerError, Message, Queued, Reply, Undelivered,
};

use crate::harness::{Asked, BoxFuture, Client, Handlers, Harness, Manager, Pool, PoolSetup, Server};

pub struct OnThreads;

/// Runs something that blocks on a thread, and waits for it as a future.
fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<T> {
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

impl<F: Framing> Client<F> for blocking::Client<F> {
    type Pending = blocking::Pending<F>;

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
        let client = self.clone();
        on_thread(move || client.call_with(options, body))
    }

    fn start_call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Self::Pending, CallError>> {
        let client = self.clone();
        on_thread(move || blocking::Peer::start_call(&client, options, body))
    }

    fn wait(pending: Self::Pending) -> BoxFuture<Result<Reply, CallError>> {
        on_thread(move || pending.wait())
    }

    fn cast(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Queued, CastError>> {
        let client = self.clone();
        on_thread(move || client.cast_with(options, body))
    }

    fn cast_and_wait(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Outcome, CastError>> {
        let client = self.clone();
        on_thread(move || client.cast_and_wait_with(options, body))
    }

    fn next_errored(&self) -> BoxFuture<Result<Undelivered, ClosedError>> {
        let client = self.clone();
        on_thread(move || blocking::Peer::next_errored(&client))
    }

    fn receive(&self) -> BoxFuture<Result<Message, ClosedError>> {
        let client = self.clone();
        on_thread(move || blocking::Peer::receive(&client))
    }

    fn receive_timeout(&self, timeout: Duration) -> BoxFuture<Result<Option<Message>, ClosedError>> {
        let client = self.clone();
        on_thread(move || blocking::Peer::receive_timeout(&client, timeout))
    }

    fn next_event(&self) -> BoxFuture<Result<LinkEvent, ClosedError>> {
        let client = self.clone();
        on_thread(move || blocking::Peer::next_event(&client))
    }

    fn ready(&self) -> BoxFuture<Result<(), ConnectError>> {
        let client = self.clone();
        on_thread(move || Self::ready(&client))
    }

    fn close(self) -> BoxFuture<Vec<Undelivered>> {
        on_thread(move || Self::close(self))
    }

    fn peer(&self) -> Peer<F> {
        Peer::clone(self)
    }
}

impl<F: Framing> Server<F> for blocking::Server<F> {
    fn address(&self) -> String {
        self.local_addr().to_string()
    }

    fn start(&self) {
        Self::start(self).expect("a thread");
    }

    fn peers(&self) -> Vec<Peer<F>> {
        Self::peers(self).iter().map(|peer| Peer::clone(peer)).collect()
    }

    fn shutdown(&self) -> BoxFuture<Drained> {
        let server = self.clone();
        on_thread(move || Self::shutdown(&server))
    }

    fn shutdown_within(&self, linger: Duration) -> BoxFuture<Drained> {
        let server = self.clone();
        on_thread(move || Self::shutdown_within(&server, linger))
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

impl<F: Framing> Manager<F> for blocking::Manager<F> {
    fn make(defaults: Option<Config<F>>) -> Self {
        defaults.map_or_else(Self::new, Self::with_defaults)
    }

    fn dial(&self, address: &str, config: Config<F>) -> BoxFuture<Result<(), ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        on_thread(move || Self::dial(&manager, &address, config).map(drop))
    }

    fn listen(
        &self,
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<String, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        on_thread(move || {
            let server = Self::listen(&manager, &address, server_builder(config, handlers))?;
            Ok(server.local_addr().to_string())
        })
    }

    fn write(&self, address: &str, body: Vec<u8>) -> BoxFuture<Result<usize, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        on_thread(move || Self::write(&manager, &address, body))
    }

    fn close_link(&self, address: &str) -> BoxFuture<Result<Vec<Undelivered>, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        on_thread(move || Self::close_link(&manager, &address))
    }

    fn close_listener(&self, address: &str) -> BoxFuture<Result<Drained, ManagerError>> {
        let (manager, address) = (self.clone(), address.to_owned());
        on_thread(move || Self::close_listener(&manager, &address))
    }

    fn close_and_wait(&self, linger: Duration) -> BoxFuture<Closed> {
        let manager = self.clone();
        on_thread(move || Self::close_and_wait(&manager, linger))
    }

    fn addresses(&self) -> (Vec<String>, Vec<String>) {
        Self::addresses(self)
    }

    fn peer(&self, address: &str) -> Option<Peer<F>> {
        self.client(address).map(|client| Peer::clone(&client))
    }
}

impl<F: Framing> Pool<F> for blocking::Pool<F> {
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
        on_thread(move || Self::ready(&pool))
    }

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
        let pool = self.clone();
        on_thread(move || pool.call_with(options, body))
    }

    fn call_for(
        &self,
        key: &'static str,
        options: CallOptions,
        body: Vec<u8>,
    ) -> BoxFuture<Result<Reply, CallError>> {
        let pool = self.clone();
        on_thread(move || Self::call_for(&pool, key, options, body))
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
        on_thread(move || Self::close(self))
    }
}

fn asked<F: Framing>(request: blocking::Request<F>) -> Asked<F> {
    let (method, body) = (request.method(), request.body().clone());
    let peer = Peer::clone(&request.peer());
    Asked { peer, method, body, responder: Box::new(move || request.responder()) }
}

fn builder<F: Framing>(
    address: &str,
    config: Config<F>,
    handlers: Handlers<F>,
) -> blocking::ClientBuilder<F> {
    let mut builder = blocking::Client::with_config(address, config);
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
        builder = builder.on_request(move |request| blocking::block_on(f(asked(request))));
    }
    if let Some(f) = handlers.on_request_inline {
        builder = builder.on_request_inline(move |context, request, reply| f(context, request, reply));
    }
    builder
}

fn server_builder<F: Framing>(config: Config<F>, handlers: Handlers<F>) -> blocking::ServerBuilder<F> {
    let mut builder = blocking::Server::with_config(config);
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
        builder = builder.on_request(move |request| blocking::block_on(f(asked(request))));
    }
    if let Some(f) = handlers.on_request_inline {
        builder = builder.on_request_inline(move |context, request, reply| f(context, request, reply));
    }
    builder
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
