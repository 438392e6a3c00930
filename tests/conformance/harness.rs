//! The interface of a runtime for the scenarios.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::auth::{Attempt, Deciding, Decision, Identity, Refusal};
use bowline::error::{CallError, CastError, Disconnect, Failure, Outcome, Status};
use bowline::frame::{Class, Framing};
use bowline::links::{ContextCore as Context, MessageRef, ReplyBuf, RequestRef, Responder};
use bowline::{
    AcceptCounters, Answer, BindError, Blacklist, Body, CallOptions, CastOptions, Closed, Config,
    ConnectError, Drained, Handled, Hedging, HubCore as Hub, LinkEvent, ManagerError, Message, Monitor,
    PeerCore as Peer, Policy, Queued, ReceiveError, Reply, ServerEvent, Undelivered,
};

pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type OnPeer<F> = Arc<dyn Fn(&Peer<F>) + Send + Sync>;
type OnMessage<F> = Arc<dyn Fn(Peer<F>, Message) -> BoxFuture<Result<(), Failure>> + Send + Sync>;
type OnMessageInline<F> = Arc<dyn Fn(&Context<'_, F>, MessageRef<'_>) -> Result<(), Failure> + Send + Sync>;
type OnDisconnect<F> = Arc<dyn Fn(&Peer<F>, &Disconnect) + Send + Sync>;
type OnRequest<F> = Arc<dyn Fn(Asked<F>) -> BoxFuture<Result<Answer, Failure>> + Send + Sync>;
type OnInline<F> =
    Arc<dyn Fn(&Context<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure> + Send + Sync>;

type Verify = Arc<dyn Fn(Attempt) -> BoxFuture<Decision> + Send + Sync>;
type VerifyInline = Arc<dyn Fn(&Attempt) -> Decision + Send + Sync>;
type VerifyLater = Arc<dyn Fn(Attempt, Deciding) + Send + Sync>;
type May = Arc<dyn Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync>;
type OnEvent = Arc<dyn Fn(&ServerEvent) + Send + Sync>;

/// A request as the scenarios' handlers see it on every runtime.
pub struct Asked<F: Framing> {
    pub peer: Peer<F>,
    pub method: u32,
    pub body: Body,
    pub responder: Box<dyn Fn() -> Responder<F> + Send>,
}

/// The handlers of a client or a server.
pub struct Handlers<F: Framing> {
    pub on_connect: Option<OnPeer<F>>,
    pub on_message: Option<OnMessage<F>>,
    pub on_message_inline: Option<OnMessageInline<F>>,
    pub on_disconnect: Option<OnDisconnect<F>>,
    pub on_request: Option<OnRequest<F>>,
    pub on_request_inline: Option<OnInline<F>>,
    pub hub: Option<Hub<F>>,
    pub monitor: Option<(Monitor, &'static str)>,
    pub verifier: Option<Verify>,
    pub verifier_inline: Option<VerifyInline>,
    pub verifier_later: Option<VerifyLater>,
    pub authorize: Option<May>,
    pub on_event: Option<OnEvent>,
}

impl<F: Framing> Handlers<F> {
    pub fn none() -> Self {
        Self {
            on_connect: None,
            on_message: None,
            on_message_inline: None,
            on_disconnect: None,
            on_request: None,
            on_request_inline: None,
            hub: None,
            monitor: None,
            verifier: None,
            verifier_inline: None,
            verifier_later: None,
            authorize: None,
            on_event: None,
        }
    }

    pub fn request<Fut>(mut self, f: impl Fn(Asked<F>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        self.on_request = Some(Arc::new(move |asked| Box::pin(f(asked))));
        self
    }

    pub fn inline(
        mut self,
        f: impl Fn(&Context<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.on_request_inline = Some(Arc::new(f));
        self
    }

    /// Handles messages without waiting.
    pub fn message<R: Handled>(self, f: impl Fn(&Peer<F>, Message) -> R + Send + Sync + 'static) -> Self {
        self.message_task(move |peer, message| std::future::ready(f(&peer, message).into_result()))
    }

    /// Handles messages with a function that may wait.
    pub fn message_task<Fut>(mut self, f: impl Fn(Peer<F>, Message) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output: Handled> + Send + 'static,
    {
        self.on_message = Some(Arc::new(move |peer, message| {
            let handling = f(peer, message);
            Box::pin(async move { handling.await.into_result() })
        }));
        self
    }

    pub fn message_inline<R: Handled>(
        mut self,
        f: impl Fn(&Context<'_, F>, MessageRef<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_message_inline = Some(Arc::new(move |context, message| f(context, message).into_result()));
        self
    }

    pub fn hub(mut self, hub: &Hub<F>) -> Self {
        self.hub = Some(hub.clone());
        self
    }

    pub fn monitor(mut self, monitor: &Monitor, label: &'static str) -> Self {
        self.monitor = Some((monitor.clone(), label));
        self
    }

    pub fn connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.on_connect = Some(Arc::new(f));
        self
    }

    pub fn disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.on_disconnect = Some(Arc::new(f));
        self
    }

    pub fn verifier<Fut>(mut self, f: impl Fn(Attempt) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Decision> + Send + 'static,
    {
        self.verifier = Some(Arc::new(move |attempt| Box::pin(f(attempt))));
        self
    }

    pub fn verifier_inline(mut self, f: impl Fn(&Attempt) -> Decision + Send + Sync + 'static) -> Self {
        self.verifier_inline = Some(Arc::new(f));
        self
    }

    pub fn verifier_later(mut self, f: impl Fn(Attempt, Deciding) + Send + Sync + 'static) -> Self {
        self.verifier_later = Some(Arc::new(f));
        self
    }

    pub fn authorize(
        mut self,
        f: impl Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.authorize = Some(Arc::new(f));
        self
    }

    /// What happens to the server as a whole.
    pub fn event(mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(f));
        self
    }

    /// Answers every request with its body.
    pub fn echo() -> Self {
        Self::none().request(|asked| async move { Ok(asked.body.into()) })
    }
}

/// A client's methods.
pub trait Client<F: Framing>: Clone + Send + Sync + 'static {
    type Pending: Send + 'static;

    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>>;
    fn start_call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Self::Pending, CallError>>;
    fn wait(pending: Self::Pending) -> BoxFuture<Result<Reply, CallError>>;
    fn cast(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Queued, CastError>>;
    fn cast_and_wait(&self, options: CastOptions, body: Vec<u8>) -> BoxFuture<Result<Outcome, CastError>>;
    fn next_errored(&self) -> BoxFuture<Result<Undelivered, ReceiveError>>;
    fn receive(&self) -> BoxFuture<Result<Message, ReceiveError>>;
    fn receive_timeout(&self, timeout: Duration) -> BoxFuture<Result<Option<Message>, ReceiveError>>;
    fn next_event(&self) -> BoxFuture<Result<LinkEvent, ReceiveError>>;
    fn ready(&self) -> BoxFuture<Result<(), ConnectError>>;
    fn close(self) -> BoxFuture<Vec<Undelivered>>;
    /// Methods that do not wait, the same on every runtime.
    fn peer(&self) -> Peer<F>;
}

/// A server's methods.
pub trait Server<F: Framing>: Clone + Send + Sync + 'static {
    fn address(&self) -> String;
    fn start(&self);
    fn peers(&self) -> Vec<Peer<F>>;
    fn shutdown(&self) -> BoxFuture<Drained>;
    fn shutdown_within(&self, linger: Duration) -> BoxFuture<Drained>;
    fn stop_accepting(&self);
    fn hub(&self) -> Hub<F>;
    fn accept_counters(&self) -> AcceptCounters;
    fn withdraw(&self, name: &str, refusal: Refusal) -> usize;
}

/// A manager's methods.
pub trait Manager<F: Framing>: Clone + Send + Sync + 'static {
    fn make(defaults: Option<Config<F>>) -> Self;
    fn dial(&self, address: &str, config: Config<F>) -> BoxFuture<Result<(), ManagerError>>;
    /// Listens at an address, which it returns.
    fn listen(
        &self,
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<String, ManagerError>>;
    fn write(&self, address: &str, body: Vec<u8>) -> BoxFuture<Result<usize, ManagerError>>;
    fn close_link(&self, address: &str) -> BoxFuture<Result<Vec<Undelivered>, ManagerError>>;
    fn close_listener(&self, address: &str) -> BoxFuture<Result<Drained, ManagerError>>;
    fn close_and_wait(&self, linger: Duration) -> BoxFuture<Closed>;
    fn addresses(&self) -> (Vec<String>, Vec<String>);
    fn peer(&self, address: &str) -> Option<Peer<F>>;
}

/// The parameters of a pool.
pub struct PoolSetup<F: Framing> {
    pub config: Config<F>,
    pub endpoints: Vec<String>,
    pub connections: usize,
    pub policy: Policy,
    pub blacklist: Blacklist,
    pub hedging: Option<Hedging>,
}

/// A pool's methods.
pub trait Pool<F: Framing>: Clone + Send + Sync + 'static {
    fn open(setup: PoolSetup<F>) -> Self;
    fn ready(&self) -> BoxFuture<Result<(), ConnectError>>;
    fn call(&self, options: CallOptions, body: Vec<u8>) -> BoxFuture<Result<Reply, CallError>>;
    fn call_for(
        &self,
        key: &'static str,
        options: CallOptions,
        body: Vec<u8>,
    ) -> BoxFuture<Result<Reply, CallError>>;
    fn add(&self, endpoint: &str) -> bool;
    fn remove(&self, endpoint: &str) -> bool;
    fn endpoints(&self) -> Vec<String>;
    fn peers(&self) -> Vec<Peer<F>>;
    fn leader(&self, key: &str) -> Option<String>;
    fn close(self) -> BoxFuture<Vec<Undelivered>>;
}

/// A runtime.
pub trait Harness: Sized + Send + Sync + 'static {
    type Client<F: Framing>: Client<F>;
    type Server<F: Framing>: Server<F>;
    type Manager<F: Framing>: Manager<F>;
    type Pool<F: Framing>: Pool<F>;
    /// The name by which a test in another process selects this runtime.
    const NAME: &'static str;

    /// Number of live tasks, if the runtime provides it.
    fn tasks() -> usize {
        0
    }

    /// Runs a scenario to completion.
    fn run(scenario: impl Future<Output = ()> + Send + 'static);
    fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> BoxFuture<T>;
    fn sleep(duration: Duration) -> BoxFuture<()>;
    /// The most calls that are made at once (on threads, each takes one).
    const MANY: usize;

    fn connect<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<Self::Client<F>, ConnectError>>;
    fn connect_lazy<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> Result<Self::Client<F>, ConnectError>;
    fn bind<F: Framing>(
        address: &str,
        config: Config<F>,
        handlers: Handlers<F>,
    ) -> BoxFuture<Result<Self::Server<F>, BindError>>;

    /// A server on a free port, and a client of it.
    fn pair<F: Framing>(
        config: Config<F>,
        server: Handlers<F>,
        client: Handlers<F>,
    ) -> impl Future<Output = (Self::Server<F>, Self::Client<F>)> + Send {
        Self::pair_at("127.0.0.1:0", config, server, client)
    }

    /// The same, where the server listens at `address`.
    fn pair_at<F: Framing>(
        address: &str,
        config: Config<F>,
        server: Handlers<F>,
        client: Handlers<F>,
    ) -> impl Future<Output = (Self::Server<F>, Self::Client<F>)> + Send {
        async move {
            let server = Self::bind(address, config.clone(), server).await.expect("a free port");
            server.start();
            let client = Self::connect(&server.address(), config, client).await.expect("it listens");
            (server, client)
        }
    }

    /// Waits until `condition` holds; fails after ten seconds.
    fn until(what: &str, condition: impl Fn() -> bool + Send) -> impl Future<Output = ()> + Send {
        async move {
            let start = Instant::now();
            while !condition() {
                assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
                Self::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// A port without a listener, which the system gives to no other program as long as this process runs; a
/// server that requests it by number may still get it, also again.
pub(crate) fn closed_port() -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket().expect("of TCP");
    // Bound, and never listening.
    std::mem::forget(socket);
    address.to_string()
}
