//! The accepting end: listens, and serves every connection on threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::{Config, Delivery};
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_driver::app::Application;
use bowline_driver::clock;
use bowline_driver::error::{RuntimeMissing, disconnect};
use bowline_driver::handler::Handlers;
use bowline_driver::server::{ServerCore, is_out_of_resources};
use bowline_driver::sessions::{Arrival, Host, Sessions};
use bowline_driver::shared::Step;
use bowline_driver::socket::listen_address;
use bowline_driver::sync::Mutex;
use bowline_driver::{Answer, BindError, Context, MessageRef, ReplyBuf, RequestRef};

use crate::connection::Connection;
use crate::park::{Bell, block_on};
use crate::peer::{Peer, Request};
use crate::pool::{Pool, PoolHandler};
use crate::socket::{Listener, Socket};

/// How long accepting pauses when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens for connections and serves each on two threads: bound first, served later.
///
/// Cheap to clone; all clones are one server. It serves until it is shut down, whether or not a
/// clone is kept.
#[derive(Debug)]
pub struct Server<F: Framing = Native> {
    inner: Arc<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F: Framing> {
    listener: Mutex<Option<Listener>>,
    local: Address,
    core: Arc<ServerCore<F>>,
    sessions: Arc<Sessions<Socket>>,
}

impl<F: Framing> Clone for Server<F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl Server<Native> {
    /// A builder for a server of Bowline's own protocol.
    pub fn builder() -> ServerBuilder<Native> {
        ServerBuilder::new(Config::default())
    }
}

impl<F: Framing> Server<F> {
    /// A builder for a server with other settings or another framing.
    pub fn with_config(config: Config<F>) -> ServerBuilder<F> {
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
        self.inner.core.peers().into_iter().map(Into::into).collect()
    }

    /// Connections that could not be accepted; accepting went on.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.inner.core.accept_errors()
    }

    /// Serves in the caller until the server is shut down. A second call returns at once.
    pub fn serve(&self) {
        // Dropped last, after the listening socket.
        let _accepting = self.inner.core.accepting();
        let Some(listener) = self.inner.listener.lock().take() else { return };
        let Ok(bell) = Bell::new() else {
            self.inner.core.accept_failed();
            return;
        };
        let core = &self.inner.core;
        while !core.poll_stopping(&bell.waker()) {
            match listener.accept_now(&bell) {
                Ok((socket, _)) => {
                    if self.serve_one(socket).is_err() {
                        core.accept_failed();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if bell.wait(listener.fd(), None).is_err() {
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    core.accept_failed();
                    if is_out_of_resources(&error) && bell.wait(None, Some(ACCEPT_PAUSE)).is_err() {
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        }
    }

    /// Gives a connection its threads.
    fn serve_one(&self, socket: Socket) -> io::Result<()> {
        let core = Arc::clone(&self.inner.core);
        socket.apply(core.config().sockets())?;
        if core.config().delivery() == Delivery::Session {
            let sessions = Arc::clone(&self.inner.sessions);
            let serve = move || {
                // What the system refuses closes the socket, and the client learns it.
                let _ = serve_session(core, &sessions, socket);
            };
            std::thread::Builder::new().name("bowline-serve".into()).spawn(serve)?;
            return Ok(());
        }
        let bell = Bell::new()?;
        let Some((peer, app)) = core.accept() else { return Ok(()) };
        let id = peer.id();
        let gone = Gone { core, id };
        let served = Connection::new(peer.shared(), &app, socket, Epoch::FIRST, RecvBuf::new(), &bell);
        let mut connection = served?;
        std::thread::Builder::new().name("bowline-serve".into()).spawn(move || {
            let _gone = gone;
            while connection.turn(&bell, None).is_none() {}
        })?;
        Ok(())
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(&self) -> Result<(), RuntimeMissing> {
        let server = self.clone();
        std::thread::Builder::new()
            .name("bowline-accept".into())
            .spawn(move || server.serve())
            .map(drop)
            .map_err(|_| RuntimeMissing("blocking"))
    }

    /// Shuts down: accepts nothing new, tells every peer, finishes what is under way for at most
    /// the configured linger, and returns when every connection is over.
    pub fn shutdown(&self) {
        *self.inner.listener.lock() = None;
        self.inner.core.begin_shutdown();
        let core = &self.inner.core;
        block_on(std::future::poll_fn(|cx| {
            if core.poll_stopped(cx.waker()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
    }
}

/// Serves a connection that may belong to a session: hands it to whoever serves that, or serves it,
/// and those that follow it.
fn serve_session<F: Framing>(
    core: Arc<ServerCore<F>>,
    sessions: &Sessions<Socket>,
    socket: Socket,
) -> io::Result<()> {
    let Some((mut arrival, found)) = read_greeting(core.config(), sessions, socket)? else { return Ok(()) };
    if let Some(host) = found {
        host.give(arrival);
        return Ok(());
    }
    let bell = Bell::new()?;
    let Some((peer, app)) = core.accept() else { return Ok(()) };
    let id = peer.id();
    let _gone = Gone { core: Arc::clone(&core), id };
    let host = sessions.host(core.config(), &peer);
    let mut epoch = Epoch::FIRST;
    loop {
        let (socket, buf) = arrival;
        let served = Connection::new(peer.shared(), &app, socket, epoch, buf, &bell);
        let cause = match served {
            Ok(mut connection) => loop {
                if let Some(cause) = connection.turn(&bell, None) {
                    break cause;
                }
            },
            Err(error) => disconnect(&error),
        };
        let next = host.as_ref().and_then(|host| wait_detached(&core, &peer, host, &bell));
        core.attached(id);
        match next {
            Some(next) => (arrival, epoch) = (next, epoch.next()),
            None => {
                if let Some(host) = &host {
                    sessions.remove(host);
                }
                app.ended(&cause);
                return Ok(());
            }
        }
    }
}

/// What a connection read from the greeting on, and who serves its session. `None`: it ended.
type Greeted = Option<(Arrival<Socket>, Option<Arc<Host<Socket>>>)>;

fn read_greeting<F: Framing>(
    config: &Config<F>,
    sessions: &Sessions<Socket>,
    socket: Socket,
) -> io::Result<Greeted> {
    let deadline = clock::now() + config.connect_timeout();
    let mut buf = RecvBuf::new();
    loop {
        if let Ok(host) = sessions.find(config, buf.unread()) {
            return Ok(Some(((socket, buf), host)));
        }
        let left = deadline.saturating_since(clock::now());
        if left.is_zero() {
            return Ok(None);
        }
        match socket.read_within(buf.spare(), left) {
            Ok(0) => return Ok(None),
            Ok(n) => buf.filled(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Without a connection: the next one, or `None` when the link is closed.
fn wait_detached<F: Framing>(
    core: &ServerCore<F>,
    peer: &bowline_driver::Peer<F>,
    host: &Host<Socket>,
    bell: &Bell,
) -> Option<Arrival<Socket>> {
    core.detached(peer);
    loop {
        if let Some(arrival) = host.poll_next(&bell.waker()) {
            return Some(arrival);
        }
        if peer.shared().tend(clock::now()) {
            return None;
        }
        if let Step::Sleep(at) = peer.shared().sleep_attendant(&bell.waker()) {
            let timeout = at.map(|at| at.saturating_since(clock::now()));
            // A bell that cannot be waited for would make this a busy loop.
            if bell.wait(None, timeout).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Takes a connection out of the list however its thread ends.
struct Gone<F: Framing> {
    core: Arc<ServerCore<F>>,
    id: bowline_driver::PeerId,
}

impl<F: Framing> Drop for Gone<F> {
    fn drop(&mut self) {
        self.core.gone(self.id);
    }
}

/// Builds a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder<F: Framing = Native> {
    config: Config<F>,
    handlers: Handlers<F>,
}

impl<F: Framing> ServerBuilder<F> {
    fn new(config: Config<F>) -> Self {
        Self { config, handlers: Handlers::default() }
    }

    /// Other settings. Set them before [`on_request`](Self::on_request), which takes the number
    /// of handler threads from them.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.config = config;
        self
    }

    /// Called when a connection is ready. Keep the peer to push to it later.
    pub fn on_connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.handlers.on_connect(move |peer| f(&peer.clone().into()));
        self
    }

    /// Called inline for every message; without it, messages are dropped and counted.
    pub fn on_message(mut self, f: impl Fn(&Context<'_, F>, MessageRef<'_>) + Send + Sync + 'static) -> Self {
        self.handlers.on_message(f);
        self
    }

    /// Called when a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.handlers.on_disconnect(move |peer, cause| f(&peer.clone().into(), cause));
        self
    }

    /// Answers requests on a pool of threads; may take its time, and may call back.
    pub fn on_request<H, A>(mut self, handler: H) -> Self
    where
        H: Fn(Request<F>) -> Result<A, Failure> + Send + Sync + 'static,
        A: Into<Answer> + 'static,
    {
        let pool = Pool::new(self.config.handler_threads());
        self.handlers.on_request(PoolHandler::new(handler, pool));
        self
    }

    /// Answers requests inline: the fastest, and must not wait.
    pub fn on_request_inline(
        mut self,
        f: impl Fn(&Context<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
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
    pub fn bind(self, address: &str) -> Result<Server<F>, BindError> {
        let to_listen = listen_address(address)?;
        let io_error = |source| BindError::Io { address: address.to_owned(), source };
        let listener = Listener::bind(&to_listen, self.config.sockets()).map_err(io_error)?;
        let local = listener.local_addr().map_err(io_error)?;
        let core = Arc::new(ServerCore::new(self.config, self.handlers));
        Ok(Server {
            inner: Arc::new(Inner {
                listener: Mutex::new(Some(listener)),
                local,
                core,
                sessions: Arc::default(),
            }),
        })
    }
}
