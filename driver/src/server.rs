//! The accepting end: listens, and serves every connection.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::body::Payload;
use bowline_core::config::{Config, Delivery};
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::Link;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::clock;
use crate::error::{BindError, StartError};
use crate::gate::{AcceptCounters, Admission};
use crate::handler::{Handled, MessageRef, ReplyBuf, RequestRef};
use crate::handler_args::{Context as InlineContext, Request};
use crate::hub::Hub;
use crate::hub_core::{Broadcast, HubCore};
use crate::link_app::LinkApp;
use crate::monitor::Monitor;
use crate::peer::Peer;
use crate::peer_core::PeerId;
use crate::pump::{Alarm, Pump};
use crate::runtime::{Listener, Runtime, Socket};
use crate::serve::{Gone, serve_session};
use crate::server_core::{Drained, ServerCore, ServerEvent, ServerParts, is_out_of_resources};
use crate::sessions::Sessions;
use crate::socket::listen_address;
use crate::style::{Handles, Style, Wait};
use crate::sync::{Arc, Mutex};
use crate::to_address::ToAddress;

/// How long accepting pauses when the system has no room for another connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens for connections and serves each: bound first, served later.
///
/// Cheap to clone; all clones are one server. It serves until it is shut down, whether or not a
/// clone is kept.
pub struct Server<R: Runtime, F: Framing = Native> {
    inner: Arc<Inner<R, F>>,
}

struct Inner<R: Runtime, F: Framing> {
    listener: Mutex<Option<Arc<R::Listener>>>,
    local: Address,
    core: Arc<ServerCore<F>>,
    hub: Hub<R, F>,
    sessions: Arc<Sessions<R::Socket>>,
    options: bowline_core::config::SocketOptions,
}

impl<R: Runtime, F: Framing> Clone for Server<R, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Server<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("local", &self.inner.local).finish_non_exhaustive()
    }
}

impl<R: Runtime> Server<R, Native> {
    /// A builder for a server of Bowline's own protocol.
    pub fn builder() -> ServerBuilder<R, Native> {
        ServerBuilder::new(crate::defaults::default_config())
    }
}

impl<R: Runtime, F: Framing> Server<R, F> {
    /// A builder for a server with other settings or another framing.
    pub fn with_config(config: Config<F>) -> ServerBuilder<R, F> {
        ServerBuilder::new(config)
    }

    /// Listens at `address`.
    ///
    /// # Errors
    /// See [`BindError`].
    pub(crate) fn bind_parts(parts: ServerParts<F>, address: &str) -> Result<Self, BindError> {
        R::check()?;
        let to_listen = listen_address(address)?;
        let options = *parts.config.sockets();
        let io_error = |source| BindError::Io { address: address.to_owned(), source };
        let listener = R::listen(&to_listen, options).map_err(io_error)?;
        let local = listener.local_addr().map_err(io_error)?;
        let core = ServerCore::new(parts);
        core.gate().memory().heavy_work().run_by(R::threads(), R::wake_later);
        let (listener, hub) = (Mutex::new(Some(Arc::new(listener))), core.hub().clone().into());
        let sessions = Arc::default();
        Ok(Self { inner: Arc::new(Inner { listener, local, core, hub, sessions, options }) })
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.inner.local.clone()
    }

    /// Everybody who is connected, those in their handshake and sessions without a connection
    /// included.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<R, F>> {
        self.inner.core.peers().into_iter().map(Into::into).collect()
    }

    /// The peer with that id, if it is past its handshake.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer<R, F>> {
        self.inner.hub.peer(id)
    }

    /// Those who are past their handshake, for pushing to them, in groups or all.
    #[must_use]
    pub fn hub(&self) -> &Hub<R, F> {
        &self.inner.hub
    }

    /// Queues a message to every peer: see [`HubCore::broadcast`].
    pub fn broadcast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Broadcast {
        self.hub().broadcast(method, payload)
    }

    /// Connections that could not be accepted; accepting went on.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.accept_counters().errors
    }

    /// Numbers of the accepting side since the server was made.
    #[must_use]
    pub fn accept_counters(&self) -> AcceptCounters {
        self.inner.core.gate().counters()
    }

    /// Serves in the caller until the server is shut down, or stops accepting.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; connections go on.
    pub fn serve(&self) -> Wait<R, impl Future<Output = ()> + Send> {
        // On a thread that must not wait, it goes on in the background.
        R::Style::wait(self.served(), || drop(self.start()))
    }

    /// [`serve`](Self::serve), to be awaited.
    async fn served(&self) {
        let accepting = self.inner.core.accepting();
        let Some(listener) = self.inner.listener.lock().clone() else { return };
        let mut alarm = Alarm::new(R::timer());
        let mut pause = None;
        std::future::poll_fn(|cx| self.poll_serve(cx, &listener, &mut alarm, &mut pause)).await;
        drop(listener);
        // Closes the listening socket.
        *self.inner.listener.lock() = None;
        drop(accepting);
    }

    fn poll_serve(
        &self,
        cx: &mut Context<'_>,
        listener: &R::Listener,
        alarm: &mut Alarm<R::Timer>,
        pause: &mut Option<Instant>,
    ) -> Poll<()> {
        let core = &self.inner.core;
        if core.poll_deaf(cx.waker()) {
            return Poll::Ready(());
        }
        // Bounded work per turn: a storm of connections must not starve the tasks that serve them.
        for _ in 0..64 {
            let now = clock::now();
            let until = pause.take_if(|until| *until > now).or_else(|| core.gate().poll_rate(now));
            if let Some(until) = until {
                while clock::now() < until {
                    if !alarm.poll(cx, until) {
                        *pause = Some(until);
                        return Poll::Pending;
                    }
                }
            }
            *pause = None;
            match listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((socket, from))) => self.serve_one(socket, &from),
                Poll::Ready(Err(error)) => {
                    if is_out_of_resources(&error) {
                        *pause = Some(clock::now() + ACCEPT_PAUSE);
                    }
                    core.accept_failed(error);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn serve_one(&self, socket: R::Socket, from: &Address) {
        let core = Arc::clone(&self.inner.core);
        let Some(admission) = core.admit(from) else { return };
        if let Err(error) = socket.apply(&self.inner.options) {
            core.accept_failed(error);
            return;
        }
        if core.config().delivery() == Delivery::Session {
            let sessions = Arc::clone(&self.inner.sessions);
            let served = R::spawn(serve_session::<R, F>(core, sessions, socket, admission));
            return self.note_spawned(served);
        }
        let Some((peer, app)) = core.accept() else { return };
        let gone = Gone { core: Arc::clone(&core), peer };
        let pump = Pump::new(gone.peer.shared(), &app, socket, Epoch::FIRST);
        self.note_spawned(R::spawn(Served::<R, F> { pump, alarm: None, _gone: gone, _admission: admission }));
    }

    /// A connection that nothing can serve was closed with its task: the client learns it so.
    fn note_spawned(&self, spawned: Result<(), StartError>) {
        if let Err(error) = spawned {
            self.inner.core.accept_failed(std::io::Error::other(error));
        }
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// There is no runtime here.
    pub fn start(&self) -> Result<(), StartError> {
        let server = self.clone();
        R::spawn(async move { server.served().await })
    }

    /// Closes the listening socket; those who are connected stay.
    pub fn stop_accepting(&self) {
        *self.inner.listener.lock() = None;
        self.inner.core.stop_accepting();
    }

    /// Begins to shut down, for at most the configured linger, and does not wait.
    pub fn begin_shutdown(&self) {
        self.begin_shutdown_within(self.inner.core.config().linger());
    }

    /// The same with another time than the configured one.
    pub fn begin_shutdown_within(&self, linger: Duration) {
        *self.inner.listener.lock() = None;
        self.inner.core.begin_shutdown(linger);
    }

    /// Shuts down: accepts nothing new, tells every peer, finishes what is under way for at most
    /// the configured linger, and returns when every connection is over, with what was cut.
    ///
    /// Peers that speak Bowline's own protocol are told with a go-away: what they have under way
    /// is finished, and what never left them goes to another endpoint, or here when somebody
    /// listens again.
    ///
    /// # Cancel safety
    /// Shutting down goes on in the background; only what was cut is lost.
    pub fn shutdown(&self) -> Wait<R, impl Future<Output = Drained> + Send> {
        self.shutdown_within(self.inner.core.config().linger())
    }

    /// The same with another time than the configured one; zero ends every connection at once.
    ///
    /// # Cancel safety
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_within(&self, linger: Duration) -> Wait<R, impl Future<Output = Drained> + Send> {
        // On a thread that must not wait, it goes on in the background, as if the future was dropped.
        let begun = || {
            self.begin_shutdown_within(linger);
            Drained::default()
        };
        R::Style::wait(self.stopped(linger), begun)
    }

    /// [`shutdown_within`](Self::shutdown_within), to be awaited.
    async fn stopped(&self, linger: Duration) -> Drained {
        self.begin_shutdown_within(linger);
        self.drained().await
    }

    /// How the shutdown that has begun went, once it is over.
    pub(crate) async fn drained(&self) -> Drained {
        let core = &self.inner.core;
        std::future::poll_fn(|cx| core.poll_stopped(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// The task of a connection, by hand: an `async` block keeps what it moves twice, and there are many.
struct Served<R: Runtime, F: Framing> {
    pump: Pump<Link<F, Waker>, LinkApp<F>, R::Socket>,
    /// Made within the task: timers want their runtime around them.
    alarm: Option<Alarm<R::Timer>>,
    // Dropped in this order, whether the task ends or is dropped by its runtime.
    _gone: Gone<F>,
    _admission: Admission,
}

// Nothing in it is pinned in place.
impl<R: Runtime, F: Framing> Unpin for Served<R, F> {}

impl<R: Runtime, F: Framing> Future for Served<R, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { pump, alarm, .. } = self.get_mut();
        let alarm = alarm.get_or_insert_with(|| Alarm::new(R::timer()));
        pump.poll(cx, alarm).map(drop)
    }
}

/// Builds a [`Server`].
#[must_use]
pub struct ServerBuilder<R: Runtime, F: Framing = Native> {
    parts: ServerParts<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for ServerBuilder<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl<R: Runtime, F: Framing> ServerBuilder<R, F> {
    fn new(config: Config<F>) -> Self {
        Self { parts: ServerParts::new(config), runtime: PhantomData }
    }

    /// Other settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Who is connected goes there, beside the peers of other servers with the same hub.
    pub fn hub(mut self, hub: &Hub<R, F>) -> Self {
        self.parts.hub = HubCore::clone(hub);
        self
    }

    /// Its links are seen by `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.monitor(monitor, label);
        self
    }

    /// Called when something happens to the server as a whole: accepting failed, a connection was
    /// refused. Must not wait.
    pub fn on_event(mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) -> Self {
        self.parts.on_event(f);
        self
    }

    /// Called when a connection is ready. Keep the peer to push to it later.
    pub fn on_connect(mut self, f: impl Fn(&Peer<R, F>) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_connect(f);
        self
    }

    /// Called inline for every message; without it, messages are dropped and counted. An error that
    /// it returns is counted and an event, and the link goes on.
    pub fn on_message<H: Handled>(
        mut self,
        f: impl Fn(&InlineContext<'_, R, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
    ) -> Self {
        self.parts.handlers.on_message(f);
        self
    }

    /// Called when a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<R, F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_disconnect(f);
        self
    }

    /// Answers requests; may take its time, and may call back.
    ///
    /// An async function on tokio, smol and async-std; on threads a function, which runs on a pool of
    /// [`handler_threads`](bowline_core::config::ConfigBuilder::handler_threads).
    pub fn on_request<H, T>(mut self, handler: H) -> Self
    where
        H: Fn(Request<R, F>) -> T + Send + Sync + 'static,
        R::Style: Handles<R, F, T>,
    {
        self.parts.handlers.on_request(R::Style::ordinary(handler));
        self
    }

    /// Answers requests inline: the fastest, and must not wait.
    pub fn on_request_inline(
        mut self,
        f: impl Fn(&InlineContext<'_, R, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.parts.handlers.on_request_inline(f);
        self
    }

    /// Listens at `address` (`host:port`, `tcp://…`, `unix://path`, `inproc://name`); nothing is
    /// accepted until the server serves.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        self,
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Server<R, F>, BindError>> + Send> {
        // It never waits: the same on any thread.
        R::Style::wait_now(self.bound(&address.to_address()))
    }

    pub(crate) fn bound(self, address: &str) -> Result<Server<R, F>, BindError> {
        Server::bind_parts(self.parts, address)
    }
}
