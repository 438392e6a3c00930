//! The handles of every runtime behind one interface: a waiting method is awaited, or called on a separate
//! thread.

use std::time::Duration;

use bowline::auth::Refusal;
use bowline::error::{CallError, CastError, Outcome};
use bowline::frame::Framing;
use bowline::links;
use bowline::{
    AcceptCounters, CallOptions, CastOptions, Closed, Config, ConnectError, Drained, HubCore, LinkEvent,
    ManagerError, Message, PeerCore as Peer, Queued, ReceiveError, Reply, Undelivered,
};

use crate::harness::{Asked, BoxFuture, Client, Handlers, Manager, Pool, PoolSetup, Server};
use crate::threads::on_thread;

/// Awaits the result of a method.
macro_rules! await_it {
    ($waits:expr $(, $then:expr)?) => {
        Box::pin(async move {
            let output = $waits.await;
            $(let output = ($then)(output);)?
            output
        })
    };
}

/// Calls a waiting method on a separate thread.
macro_rules! on_a_thread {
    ($waits:expr $(, $then:expr)?) => {
        on_thread(move || {
            let output = $waits;
            $(let output = ($then)(output);)?
            output
        })
    };
}

macro_rules! handles {
    ($name:ident, $runtime:ty, $wait:ident, $handle:expr) => {
        pub(crate) mod $name {
            use super::*;

            impl<F: Framing> Client<F> for links::Client<$runtime, F> {
                type Pending = links::Pending<$runtime, F>;

                fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
                    let client = self.clone();
                    $wait!(client.call_with(options, body))
                }

                fn start_call(
                    &self,
                    options: CallOptions,
                    body: Vec<u8>,
                ) -> BoxFuture<Result<Self::Pending, CallError>> {
                    let client = self.clone();
                    $wait!(links::Peer::<$runtime, F>::start_call(&client, options, body))
                }

                fn wait(pending: Self::Pending) -> BoxFuture<Result<Reply, CallError>> {
                    $wait!(pending.wait())
                }

                fn cast(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Queued, CastError>> {
                    let client = self.clone();
                    $wait!(client.cast_with(options, body))
                }

                fn cast_and_wait(
                    &self,
                    options: CastOptions,
                    body: Vec<u8>,
                ) -> BoxFuture<Result<Outcome, CastError>> {
                    let client = self.clone();
                    $wait!(client.cast_and_wait_with(options, body))
                }

                fn next_errored(&self) -> BoxFuture<Result<Undelivered, ReceiveError>> {
                    let client = self.clone();
                    $wait!(links::Peer::<$runtime, F>::next_errored(&client))
                }

                fn receive(&self) -> BoxFuture<Result<Message, ReceiveError>> {
                    let client = self.clone();
                    $wait!(links::Peer::<$runtime, F>::receive(&client))
                }

                fn receive_timeout(
                    &self,
                    timeout: Duration,
                ) -> BoxFuture<Result<Option<Message>, ReceiveError>> {
                    let client = self.clone();
                    $wait!(links::Peer::<$runtime, F>::receive_timeout(&client, timeout))
                }

                fn next_event(&self) -> BoxFuture<Result<LinkEvent, ReceiveError>> {
                    let client = self.clone();
                    $wait!(links::Peer::<$runtime, F>::next_event(&client))
                }

                fn ready(&self) -> BoxFuture<Result<(), ConnectError>> {
                    let client = self.clone();
                    $wait!(Self::ready(&client))
                }

                fn close(self) -> BoxFuture<Vec<Undelivered>> {
                    $wait!(Self::close(self))
                }

                fn peer(&self) -> Peer<F> {
                    Peer::clone(self)
                }
            }

            impl<F: Framing> Server<F> for links::Server<$runtime, F> {
                fn address(&self) -> String {
                    self.local_addr().to_string()
                }

                fn start(&self) {
                    Self::start(self).expect("a runtime");
                }

                fn peers(&self) -> Vec<Peer<F>> {
                    Self::peers(self).iter().map(|peer| Peer::clone(peer)).collect()
                }

                fn shutdown(&self) -> BoxFuture<Drained> {
                    let server = self.clone();
                    $wait!(Self::shutdown(&server))
                }

                fn shutdown_within(&self, linger: Duration) -> BoxFuture<Drained> {
                    let server = self.clone();
                    $wait!(Self::shutdown_within(&server, linger))
                }

                fn stop_accepting(&self) {
                    Self::stop_accepting(self);
                }

                fn hub(&self) -> HubCore<F> {
                    HubCore::clone(Self::hub(self))
                }

                fn accept_counters(&self) -> AcceptCounters {
                    Self::accept_counters(self)
                }

                fn withdraw(&self, name: &str, refusal: Refusal) -> usize {
                    Self::withdraw(self, name, refusal)
                }
            }

            impl<F: Framing> Manager<F> for links::Manager<$runtime, F> {
                fn make(defaults: Option<Config<F>>) -> Self {
                    defaults.map_or_else(Self::new, Self::with_defaults)
                }

                fn dial(&self, address: &str, config: Config<F>) -> BoxFuture<Result<(), ManagerError>> {
                    let (manager, address) = (self.clone(), address.to_owned());
                    $wait!(Self::dial(&manager, &address, config), |dialed: Result<
                        links::Client<$runtime, F>,
                        ManagerError,
                    >| dialed.map(drop))
                }

                fn listen(
                    &self,
                    address: &str,
                    config: Config<F>,
                    handlers: Handlers<F>,
                ) -> BoxFuture<Result<String, ManagerError>> {
                    let (manager, address) = (self.clone(), address.to_owned());
                    $wait!(
                        Self::listen(&manager, &address, server_builder(config, handlers)),
                        |listening: Result<links::Server<$runtime, F>, ManagerError>| {
                            listening.map(|server| server.local_addr().to_string())
                        }
                    )
                }

                fn write(&self, address: &str, body: Vec<u8>) -> BoxFuture<Result<usize, ManagerError>> {
                    let (manager, address) = (self.clone(), address.to_owned());
                    $wait!(Self::write(&manager, &address, body))
                }

                fn close_link(&self, address: &str) -> BoxFuture<Result<Vec<Undelivered>, ManagerError>> {
                    let (manager, address) = (self.clone(), address.to_owned());
                    $wait!(Self::close_link(&manager, &address))
                }

                fn close_listener(&self, address: &str) -> BoxFuture<Result<Drained, ManagerError>> {
                    let (manager, address) = (self.clone(), address.to_owned());
                    $wait!(Self::close_listener(&manager, &address))
                }

                fn close_and_wait(&self, linger: Duration) -> BoxFuture<Closed> {
                    let manager = self.clone();
                    $wait!(Self::close_and_wait(&manager, linger))
                }

                fn addresses(&self) -> (Vec<String>, Vec<String>) {
                    Self::addresses(self)
                }

                fn peer(&self, address: &str) -> Option<Peer<F>> {
                    self.client(address).map(|client| Peer::clone(&client))
                }
            }

            impl<F: Framing> Pool<F> for links::Pool<$runtime, F> {
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
                    $wait!(Self::ready(&pool))
                }

                fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>> {
                    let pool = self.clone();
                    $wait!(pool.call_with(options, body))
                }

                fn call_for(
                    &self,
                    key: &'static str,
                    options: CallOptions,
                    body: Vec<u8>,
                ) -> BoxFuture<Result<Reply, CallError>> {
                    let pool = self.clone();
                    $wait!(Self::call_for(&pool, key, options, body))
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
                    $wait!(Self::close(self))
                }
            }

            fn asked<F: Framing>(request: links::Request<$runtime, F>) -> Asked<F> {
                let (method, body) = (request.method(), request.body().clone());
                let peer = Peer::clone(&request.peer());
                Asked { peer, method, body, responder: Box::new(move || request.responder()) }
            }

            pub(crate) fn builder<F: Framing>(
                address: &str,
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> links::ClientBuilder<$runtime, F> {
                let mut builder = links::Client::<$runtime, F>::with_config(address, config);
                if let Some((monitor, label)) = &handlers.monitor {
                    builder = builder.monitor(monitor, label);
                }
                if let Some(f) = handlers.on_connect {
                    builder = builder.on_connect(move |peer: &links::Peer<$runtime, F>| f(peer));
                }
                if let Some(f) = handlers.on_message {
                    builder = builder.on_message(move |peer: links::Peer<$runtime, F>, message| {
                        $handle(f(Peer::clone(&peer), message))
                    });
                }
                if let Some(f) = handlers.on_message_inline {
                    builder = builder.on_message_inline(move |context, message| f(context, message));
                }
                if let Some(f) = handlers.on_disconnect {
                    builder =
                        builder.on_disconnect(move |peer: &links::Peer<$runtime, F>, cause| f(peer, cause));
                }
                if let Some(f) = handlers.on_request {
                    builder = builder.on_request(move |request| $handle(f(asked(request))));
                }
                if let Some(f) = handlers.on_request_inline {
                    builder =
                        builder.on_request_inline(move |context, request, reply| f(context, request, reply));
                }
                builder
            }

            pub(crate) fn server_builder<F: Framing>(
                config: Config<F>,
                handlers: Handlers<F>,
            ) -> links::ServerBuilder<$runtime, F> {
                let mut builder = links::Server::<$runtime, F>::with_config(config);
                if let Some(hub) = &handlers.hub {
                    builder = builder.hub(&hub.clone().into());
                }
                if let Some((monitor, label)) = &handlers.monitor {
                    builder = builder.monitor(monitor, label);
                }
                if let Some(f) = handlers.on_connect {
                    builder = builder.on_connect(move |peer: &links::Peer<$runtime, F>| f(peer));
                }
                if let Some(f) = handlers.on_message {
                    builder = builder.on_message(move |peer: links::Peer<$runtime, F>, message| {
                        $handle(f(Peer::clone(&peer), message))
                    });
                }
                if let Some(f) = handlers.on_message_inline {
                    builder = builder.on_message_inline(move |context, message| f(context, message));
                }
                if let Some(f) = handlers.on_disconnect {
                    builder =
                        builder.on_disconnect(move |peer: &links::Peer<$runtime, F>, cause| f(peer, cause));
                }
                if let Some(f) = handlers.on_request {
                    builder = builder.on_request(move |request| $handle(f(asked(request))));
                }
                if let Some(f) = handlers.on_request_inline {
                    builder =
                        builder.on_request_inline(move |context, request, reply| f(context, request, reply));
                }
                if let Some(f) = handlers.verifier {
                    builder = builder.verifier(move |attempt| $handle(f(attempt)));
                }
                if let Some(f) = handlers.verifier_inline {
                    builder = builder.verifier_inline(move |attempt| f(attempt));
                }
                if let Some(f) = handlers.verifier_later {
                    builder = builder.verifier_later(move |attempt, deciding| f(attempt, deciding));
                }
                if let Some(f) = handlers.authorize {
                    builder = builder.authorize(move |who, method, class| f(who, method, class));
                }
                if let Some(f) = handlers.on_event {
                    builder = builder.on_event(move |event| f(event));
                }
                builder
            }
        }
    };
}

handles!(tokio, bowline::tokio::Tokio, await_it, std::convert::identity);
handles!(smol, bowline::smol::Smol, await_it, std::convert::identity);
handles!(async_std, bowline::async_std::AsyncStd, await_it, std::convert::identity);
handles!(threads, bowline::blocking::Threads, on_a_thread, bowline::blocking::block_on);
