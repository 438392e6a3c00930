//! The dialing end of a link.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::{ConfigError, Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{Link, Message, Role, Undelivered};
use bowline_core::machine::Machine;
use bowline_core::supervisor::{Endpoint, Epoch, Supervisor};

use crate::dial::{DialObserver, Dialer};
use crate::error::{ClosedError, ConnectError};
use crate::handler::{Answer, Context as InlineContext, Handlers, MessageRef, ReplyBuf, Request, RequestRef};
use crate::link_app::LinkApp;
use crate::next::Receive;
use crate::peer::Peer;
use crate::runtime::Runtime;
use crate::sync::{Arc, Mutex};
use crate::task_handler::TaskHandler;
use crate::{clock, pump};

/// A link's dialing end: connects, and connects again, until it is closed.
///
/// Cheap to clone; all clones are one link, over one connection at a time. Everything a
/// [`Peer`] can do, a client can (it derefs to one). When the last clone is dropped, the link
/// finishes what is under way in the background, for at most the configured linger.
pub struct Client<R: Runtime, F: Framing = Native> {
    peer: Peer<F>,
    handle: Arc<Handle<F>>,
    runtime: PhantomData<fn() -> R>,
}

/// Closes the link when the last client is dropped.
#[derive(Debug)]
struct Handle<F: Framing> {
    peer: Peer<F>,
    first: Arc<First>,
}

impl<F: Framing> Drop for Handle<F> {
    fn drop(&mut self) {
        self.peer.begin_close();
    }
}

impl<R: Runtime, F: Framing> Clone for Client<R, F> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), handle: Arc::clone(&self.handle), runtime: PhantomData }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Client<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer.id()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Deref for Client<R, F> {
    type Target = Peer<F>;

    fn deref(&self) -> &Peer<F> {
        &self.peer
    }
}

impl<R: Runtime> Client<R, Native> {
    /// Connects with the default settings and waits for the first handshake.
    ///
    /// # Errors
    /// [`ConnectError::Failed`] if no endpoint could be connected; nothing goes on then.
    ///
    /// # Cancel safety
    /// Dropping the future closes the link.
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        Self::builder(address).connect().await
    }

    /// As [`connect`](Self::connect), but returns at once: the link connects in the background,
    /// and goes on trying as its policy says. Calls wait for it under their own deadlines.
    ///
    /// # Errors
    /// The address cannot work, or there is no runtime here.
    pub fn connect_lazy(address: &str) -> Result<Self, ConnectError> {
        Self::builder(address).connect_lazy()
    }

    /// A builder for a link over Bowline's own protocol.
    pub fn builder(address: &str) -> ClientBuilder<R, Native> {
        ClientBuilder::new(address, Config::default())
    }
}

impl<R: Runtime, F: Framing> Client<R, F> {
    /// A builder for a link with other settings or another framing.
    pub fn with_config(address: &str, config: Config<F>) -> ClientBuilder<R, F> {
        ClientBuilder::new(address, config)
    }

    /// The next message, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// The link is closed and everything received was taken.
    ///
    /// # Cancel safety
    /// A message is taken only when the future is ready: dropping it loses nothing.
    pub async fn receive_timeout(&self, timeout: Duration) -> Result<Option<Message>, ClosedError> {
        let mut receive = self.peer.receive();
        let mut alarm = pump::Alarm::new(R::timer());
        let deadline = clock::now() + timeout;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = Pin::new(&mut receive).poll(cx) {
                return Poll::Ready(result.map(Some));
            }
            while clock::now() < deadline {
                if !alarm.poll(cx, deadline) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(Ok(None))
        })
        .await
    }

    /// Received messages as a stream, which ends when the link is closed.
    pub fn messages(&self) -> Messages<F> {
        Messages { peer: self.peer.clone(), receive: None }
    }

    /// Waits until the link is connected and past its handshake.
    ///
    /// # Errors
    /// There will be no further attempt.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ready(&self) -> Result<(), ConnectError> {
        let first = Arc::clone(&self.handle.first);
        std::future::poll_fn(move |cx| first.poll(cx, true)).await
    }

    /// Closes the link: takes nothing new, finishes what is under way for at most the configured
    /// linger, and hands back what could not be sent. All clones are closed with it.
    ///
    /// # Cancel safety
    /// Closing goes on in the background; only the list is lost.
    pub async fn close(self) -> Vec<Undelivered> {
        self.peer.begin_close();
        let first = Arc::clone(&self.handle.first);
        std::future::poll_fn(move |cx| first.poll_over(cx)).await;
        self.peer.shared().with(|link| link.take_undelivered())
    }
}

/// Received messages as a stream.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Messages<F: Framing> {
    peer: Peer<F>,
    receive: Option<Receive<F>>,
}

impl<F: Framing> futures_core::Stream for Messages<F> {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = self.get_mut();
        let receive = this.receive.get_or_insert_with(|| this.peer.receive());
        let polled = Pin::new(receive).poll(cx);
        if polled.is_ready() {
            this.receive = None;
        }
        polled.map(Result::ok)
    }
}

/// How connecting goes, for those who wait for it.
#[derive(Debug, Default)]
pub struct First {
    state: Mutex<FirstState>,
}

#[derive(Debug, Default)]
struct FirstState {
    ready: bool,
    over: bool,
    failed: Option<Disconnect>,
    gave_up: Option<Disconnect>,
    wakers: Vec<Waker>,
}

impl First {
    fn update(&self, f: impl FnOnce(&mut FirstState)) {
        let mut state = self.state.lock();
        f(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready when connected; with `patient`, failed rounds are not the end.
    pub fn poll(&self, cx: &mut Context<'_>, patient: bool) -> Poll<Result<(), ConnectError>> {
        let mut state = self.state.lock();
        if state.ready {
            return Poll::Ready(Ok(()));
        }
        let end = if patient { &state.gave_up } else { &state.failed };
        if let Some(cause) = end {
            return Poll::Ready(Err(ConnectError::Failed(cause.clone())));
        }
        if state.over {
            return Poll::Ready(Err(ConnectError::Failed(Disconnect::LocalClose)));
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the link's task has ended.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.over {
            return Poll::Ready(());
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    /// The link's task has ended.
    pub fn set_over(&self) {
        self.update(|state| state.over = true);
    }
}

/// Tells [`First`].
#[derive(Debug)]
pub struct FirstObserver(pub Arc<First>);

impl DialObserver for FirstObserver {
    fn ready(&self, _: Epoch) {
        self.0.update(|state| state.ready = true);
    }

    fn round_failed(&self, cause: &Disconnect) {
        self.0.update(|state| state.failed = Some(cause.clone()));
    }

    fn gave_up(&self, cause: &Disconnect) {
        self.0.update(|state| {
            state.failed = Some(cause.clone());
            state.gave_up = Some(cause.clone());
        });
    }
}

impl Drop for FirstObserver {
    fn drop(&mut self) {
        self.0.set_over();
    }
}

/// What any client is made of, whatever drives it: addresses, settings and handlers.
#[derive(Debug)]
pub struct ClientParts<F: Framing> {
    addresses: Vec<String>,
    /// Its settings.
    pub config: Config<F>,
    /// Its handlers.
    pub handlers: Handlers<F>,
}

impl<F: Framing> ClientParts<F> {
    /// Without handlers.
    #[must_use]
    pub fn new(address: &str, config: Config<F>) -> Self {
        Self { addresses: vec![address.to_owned()], config, handlers: Handlers::default() }
    }

    /// Another place to connect to.
    pub fn endpoint(&mut self, address: &str) {
        self.addresses.push(address.to_owned());
    }

    /// The peer, its application and the supervisor that keeps it connected.
    ///
    /// # Errors
    /// An address that is none.
    pub fn assemble(self) -> Result<Assembled<F>, ConfigError> {
        let Self { addresses, config, handlers } = self;
        let endpoints: Vec<Endpoint> =
            addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
        let seed = config.seed().unwrap_or_else(random_seed);
        // Waits before calls are made again are jittered, too.
        let config = config.to_builder().seed(seed).build()?;
        let mut supervisor = Supervisor::new(endpoints, *config.reconnect(), config.connect_timeout(), seed);
        supervisor.set_attempt_delay(config.attempt_delay());
        let linger = config.linger();
        let peer = Peer::new(Link::new(config, Role::Dialing), linger);
        let app = Arc::new(LinkApp::new(peer.clone(), Arc::new(handlers), true));
        Ok(Assembled { peer, app, supervisor })
    }
}

/// A client put together, for a runtime to drive.
#[derive(Debug)]
pub struct Assembled<F: Framing> {
    /// The handle.
    pub peer: Peer<F>,
    /// What happens with what comes in.
    pub app: Arc<LinkApp<F>>,
    /// What keeps it connected.
    pub supervisor: Supervisor,
}

/// A seed from the system.
fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // Jitter needs no secrets: the clock will do where the system has no randomness.
        Err(_) => clock::now().as_nanos(),
    }
}

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder<R: Runtime, F: Framing = Native> {
    parts: ClientParts<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for ClientBuilder<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl<R: Runtime, F: Framing> ClientBuilder<R, F> {
    fn new(address: &str, config: Config<F>) -> Self {
        Self { parts: ClientParts::new(address, config), runtime: PhantomData }
    }

    /// Another place to connect to, tried in turn.
    pub fn endpoint(mut self, address: &str) -> Self {
        self.parts.endpoint(address);
        self
    }

    /// Other settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Called whenever a connection is ready.
    pub fn on_connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_connect(f);
        self
    }

    /// Called inline for every message; without it, messages wait for [`Peer::receive`].
    pub fn on_message(
        mut self,
        f: impl Fn(&InlineContext<'_, F>, MessageRef<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.parts.handlers.on_message(f);
        self
    }

    /// Called whenever a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_disconnect(f);
        self
    }

    /// Answers the server's requests; may take its time, and may call back.
    pub fn on_request<H, Fut, A>(mut self, handler: H) -> Self
    where
        H: Fn(Request<F>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Into<Answer> + 'static,
    {
        self.parts.handlers.on_request(TaskHandler::<R, H>::new(handler));
        self
    }

    /// Answers the server's requests inline: the fastest, and must not wait.
    pub fn on_request_inline(
        mut self,
        f: impl Fn(&InlineContext<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.parts.handlers.on_request_inline(f);
        self
    }

    /// Connects and waits for the first handshake.
    ///
    /// # Errors
    /// See [`Client::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the link.
    pub async fn connect(self) -> Result<Client<R, F>, ConnectError> {
        let client = self.connect_lazy()?;
        let first = Arc::clone(&client.handle.first);
        let connected = std::future::poll_fn(move |cx| first.poll(cx, false)).await;
        if let Err(error) = connected {
            let (ConnectError::Failed(cause), peer) = (&error, &client.peer) else { return Err(error) };
            peer.shared().with(|link| link.give_up(clock::now(), cause.clone()));
            return Err(error);
        }
        Ok(client)
    }

    /// Returns at once and connects in the background.
    ///
    /// # Errors
    /// See [`Client::connect_lazy`].
    pub fn connect_lazy(self) -> Result<Client<R, F>, ConnectError> {
        let options = *self.parts.config.sockets();
        let Assembled { peer, app, supervisor } = self.parts.assemble()?;
        let first = Arc::new(First::default());
        let observer = FirstObserver(Arc::clone(&first));
        let shared = Arc::clone(peer.shared());
        R::spawn(async move {
            // Made within the task: timers want their runtime around them.
            Dialer::<R, _, _, _>::new(shared, app, observer, supervisor, options).await;
        })?;
        let handle = Arc::new(Handle { peer: peer.clone(), first });
        Ok(Client { peer, handle, runtime: PhantomData })
    }
}
