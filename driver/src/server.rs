//! The accepting end: listens, and serves every connection.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::{Config, Delivery};
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{Link, Role};
use bowline_core::supervisor::Epoch;

use crate::clock;
use crate::error::{BindError, RuntimeMissing};
use crate::handler::{Answer, Context as InlineContext, Handlers, MessageRef, ReplyBuf, Request, RequestRef};
use crate::link_app::LinkApp;
use crate::peer::{Peer, PeerId};
use crate::pump::{Alarm, Pump};
use crate::runtime::{Listener, Runtime};
use crate::serve::{Gone, serve_session};
use crate::sessions::Sessions;
use crate::socket::listen_address;
use crate::sync::{Arc, Mutex};
use crate::task_handler::TaskHandler;

/// How long accepting pauses when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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

/// What a server is made of, whatever drives it: settings, handlers and who is connected.
#[derive(Debug)]
pub struct ServerCore<F: Framing> {
    config: Config<F>,
    handlers: Arc<Handlers<F>>,
    state: Mutex<ServerState<F>>,
}

#[derive(Debug)]
struct ServerState<F: Framing> {
    peers: std::collections::HashMap<PeerId, Peer<F>>,
    /// Sessions without a connection, longest first.
    detached: VecDeque<(PeerId, usize)>,
    stopping: bool,
    /// Accept loops that still hold the listening socket.
    accepting: usize,
    accept_errors: u64,
    wakers: Vec<Waker>,
}

impl<F: Framing> ServerCore<F> {
    /// Nobody is connected.
    #[must_use]
    pub fn new(config: Config<F>, handlers: Handlers<F>) -> Self {
        let state = ServerState {
            peers: std::collections::HashMap::new(),
            detached: VecDeque::new(),
            stopping: false,
            accepting: 0,
            accept_errors: 0,
            wakers: Vec::new(),
        };
        Self { config, handlers: Arc::new(handlers), state: Mutex::new(state) }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config<F> {
        &self.config
    }

    /// A connection was accepted: its peer and application. `None` while stopping.
    #[must_use]
    pub fn accept(&self) -> Option<(Peer<F>, Arc<LinkApp<F>>)> {
        let link = Link::new(self.config.clone(), Role::Accepting);
        let peer = Peer::new(link, self.config.linger());
        let app = Arc::new(LinkApp::new(peer.clone(), Arc::clone(&self.handlers), false));
        let mut state = self.state.lock();
        if state.stopping {
            return None;
        }
        state.peers.insert(peer.id(), peer.clone());
        Some((peer, app))
    }

    /// A connection is over.
    pub fn gone(&self, id: PeerId) {
        let mut state = self.state.lock();
        state.peers.remove(&id);
        let wakers = if state.peers.is_empty() { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Who is connected, or has a session that waits for its next connection.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<F>> {
        self.state.lock().peers.values().cloned().collect()
    }

    /// A session has no connection now. If too many have none, the one that has been so for longest
    /// ends.
    pub fn detached(&self, peer: &Peer<F>) {
        let mut state = self.state.lock();
        if !peer.shared().with(|link| link.is_detached())
            || state.detached.iter().any(|(id, _)| *id == peer.id())
        {
            return;
        }
        state.detached.push_back((peer.id(), peer.shared().with(|link| link.memory())));
        let mut too_many = Vec::new();
        while state.detached.len() > self.config.max_detached()
            || state.detached.iter().map(|(_, bytes)| bytes).sum::<usize>() > self.config.max_detached_bytes()
        {
            let Some((id, _)) = state.detached.pop_front() else { break };
            too_many.extend(state.peers.get(&id).cloned());
        }
        drop(state);
        for oldest in too_many {
            oldest.shared().with(|link| link.expire_session(clock::now()));
        }
    }

    /// It has one again, or is over.
    pub fn attached(&self, id: PeerId) {
        self.state.lock().detached.retain(|(other, _)| *other != id);
    }

    /// Accepting one connection failed; the next may not.
    pub fn accept_failed(&self) {
        self.state.lock().accept_errors += 1;
    }

    /// Connections that could not be accepted.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.state.lock().accept_errors
    }

    /// Takes nothing new, and lets every connection finish.
    pub fn begin_shutdown(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        let wakers = std::mem::take(&mut state.wakers);
        let peers: Vec<Peer<F>> = state.peers.values().cloned().collect();
        drop(state);
        peers.iter().for_each(Peer::begin_close);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it is shutting down; keeps a waker for when that changes, or when the last
    /// connection is gone.
    pub fn poll_stopping(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if !state.stopping {
            keep(&mut state.wakers, waker);
        }
        state.stopping
    }

    /// An accept loop runs until what is returned is dropped.
    #[must_use]
    pub fn accepting(self: &Arc<Self>) -> Accepting<F> {
        self.state.lock().accepting += 1;
        Accepting { core: Arc::clone(self) }
    }

    /// Ready when it was shut down, every connection is over and the listening socket closed.
    pub fn poll_stopped(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if state.stopping && state.peers.is_empty() && state.accepting == 0 {
            return true;
        }
        keep(&mut state.wakers, waker);
        false
    }
}

/// An accept loop; drop it after the listening socket.
#[derive(Debug)]
pub struct Accepting<F: Framing> {
    core: Arc<ServerCore<F>>,
}

impl<F: Framing> Drop for Accepting<F> {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        state.accepting -= 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn keep(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|kept| kept.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

impl<R: Runtime> Server<R, Native> {
    /// A builder for a server of Bowline's own protocol.
    pub fn builder() -> ServerBuilder<R, Native> {
        ServerBuilder::new(Config::default())
    }
}

impl<R: Runtime, F: Framing> Server<R, F> {
    /// A builder for a server with other settings or another framing.
    pub fn with_config(config: Config<F>) -> ServerBuilder<R, F> {
        ServerBuilder::new(config)
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.inner.local.clone()
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<F>> {
        self.inner.core.peers()
    }

    /// Connections that could not be accepted; accepting went on.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.inner.core.accept_errors()
    }

    /// Serves in the caller until the server is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; connections go on.
    pub async fn serve(&self) {
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
        pause: &mut Option<bowline_core::time::Instant>,
    ) -> Poll<()> {
        let core = &self.inner.core;
        if core.poll_stopping(cx.waker()) {
            return Poll::Ready(());
        }
        // Bounded work per turn: a storm of connections must not starve the tasks that serve them.
        for _ in 0..64 {
            if let Some(until) = *pause {
                while clock::now() < until {
                    if !alarm.poll(cx, until) {
                        return Poll::Pending;
                    }
                }
                *pause = None;
            }
            match listener.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok((socket, _))) => self.serve_one(socket),
                Poll::Ready(Err(error)) => {
                    core.accept_failed();
                    if is_out_of_resources(&error) {
                        *pause = Some(clock::now() + ACCEPT_PAUSE);
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn serve_one(&self, socket: R::Socket) {
        let core = Arc::clone(&self.inner.core);
        if crate::runtime::Socket::apply(&socket, &self.inner.options).is_err() {
            core.accept_failed();
            return;
        }
        if core.config().delivery() == Delivery::Session {
            let sessions = Arc::clone(&self.inner.sessions);
            // Without a runtime the socket is closed, and the client learns it.
            let _ = R::spawn(serve_session::<R, F>(core, sessions, socket));
            return;
        }
        let Some((peer, app)) = core.accept() else { return };
        let id = peer.id();
        let spawned = R::spawn({
            let core = Arc::clone(&core);
            async move {
                let _gone = Gone { core, peer: peer.clone() };
                let mut alarm = Alarm::new(R::timer());
                let mut pump = Pump::new(peer.shared(), &app, socket, Epoch::FIRST);
                std::future::poll_fn(|cx| pump.poll(cx, &mut alarm)).await;
            }
        });
        if spawned.is_err() {
            core.gone(id);
        }
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// There is no runtime here.
    pub fn start(&self) -> Result<(), RuntimeMissing> {
        let server = self.clone();
        R::spawn(async move { server.serve().await })
    }

    /// Shuts down: accepts nothing new, tells every peer, finishes what is under way for at most
    /// the configured linger, and returns when every connection is over.
    ///
    /// # Cancel safety
    /// Shutting down goes on in the background.
    pub async fn shutdown(&self) {
        *self.inner.listener.lock() = None;
        self.inner.core.begin_shutdown();
        let core = &self.inner.core;
        std::future::poll_fn(
            |cx| if core.poll_stopped(cx.waker()) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
    }
}

/// Whether the system, not one connection, is the trouble (EMFILE, ENFILE, ENOBUFS, ENOMEM).
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 105 | 12)) || error.kind() == io::ErrorKind::OutOfMemory
}

/// Builds a [`Server`].
#[must_use]
pub struct ServerBuilder<R: Runtime, F: Framing = Native> {
    config: Config<F>,
    handlers: Handlers<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for ServerBuilder<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> ServerBuilder<R, F> {
    fn new(config: Config<F>) -> Self {
        Self { config, handlers: Handlers::default(), runtime: PhantomData }
    }

    /// Other settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.config = config;
        self
    }

    /// Called when a connection is ready. Keep the peer to push to it later.
    pub fn on_connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.handlers.on_connect(f);
        self
    }

    /// Called inline for every message; without it, messages are dropped and counted.
    pub fn on_message(
        mut self,
        f: impl Fn(&InlineContext<'_, F>, MessageRef<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.handlers.on_message(f);
        self
    }

    /// Called when a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.handlers.on_disconnect(f);
        self
    }

    /// Answers requests; may take its time, and may call back.
    pub fn on_request<H, Fut, A>(mut self, handler: H) -> Self
    where
        H: Fn(Request<F>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Failure>> + Send + 'static,
        A: Into<Answer> + 'static,
    {
        self.handlers.on_request(TaskHandler::<R, H>::new(handler));
        self
    }

    /// Answers requests inline: the fastest, and must not wait.
    pub fn on_request_inline(
        mut self,
        f: impl Fn(&InlineContext<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.handlers.on_request_inline(f);
        self
    }

    /// Listens at `address`; nothing is accepted until the server serves.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(self, address: &str) -> Result<Server<R, F>, BindError> {
        R::check()?;
        let to_listen = listen_address(address)?;
        let options = *self.config.sockets();
        let io_error = |source| BindError::Io { address: address.to_owned(), source };
        let listener = R::listen(&to_listen, options).map_err(io_error)?;
        let local = listener.local_addr().map_err(io_error)?;
        let core = Arc::new(ServerCore::new(self.config, self.handlers));
        let listener = Mutex::new(Some(Arc::new(listener)));
        Ok(Server { inner: Arc::new(Inner { listener, local, core, sessions: Arc::default(), options }) })
    }
}
