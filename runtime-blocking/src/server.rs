//! The accepting end: listens, and serves every connection on threads.

use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::body::Payload;
use bowline_core::config::{Config, Delivery};
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::machine::Machine;
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_driver::app::Application;
use bowline_driver::clock;
use bowline_driver::error::{StartError, disconnect, no_thread};
use bowline_driver::gate::Admission;
use bowline_driver::link_app::LinkApp;
use bowline_driver::server::ACCEPT_PAUSE;
use bowline_driver::server_core::{ServerCore, ServerParts, is_out_of_resources};
use bowline_driver::sessions::{
    Arrival, Detached, Eviction, Host, Sessions, attend_detached, greeting_limit,
};
use bowline_driver::socket::listen_address;
use bowline_driver::sync::Mutex;
use bowline_driver::{
    AcceptCounters, Answer, BindError, Broadcast, Context, Drained, Handled, Hub, MessageRef, Monitor,
    PeerId, ReplyBuf, RequestRef, ServerEvent,
};

use crate::connection::{Connection, is_for_now};
use crate::handler_pool::{HandlerPool, PoolHandler};
use crate::park::{Bell, ThreadWaker, block_on};
use crate::peer::{Peer, Request};
use crate::socket::{Listener, Socket};
use bowline_driver::ToAddress;

/// A connection in its greeting looks so often whether it has to make room for others.
const GREETING_SLICE: Duration = Duration::from_millis(100);
/// Sessions without a connection: each keeps a thread.
const MOST_DETACHED: usize = 128;
/// The system has no thread for a connection: so often it is asked again, for so long each time,
/// while there are sessions to end for it.
const SPAWN_ATTEMPTS: u32 = 8;
const SPAWN_PAUSE: Duration = Duration::from_millis(5);

/// Listens for connections and serves each on two threads: bound first, served later. A session
/// without a connection keeps one thread and no descriptor: there are at most 128 of them, whatever
/// [`max_detached`](bowline_core::config::ConfigBuilder::max_detached) says.
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
        ServerBuilder::new(bowline_driver::defaults::default_config())
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

    /// The peer with that id, if it is past its handshake.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer<F>> {
        self.inner.core.hub().peer(id).map(Into::into)
    }

    /// Those who are past their handshake, for pushing to them, in groups or all.
    #[must_use]
    pub fn hub(&self) -> &Hub<F> {
        self.inner.core.hub()
    }

    /// Queues a message to every peer: see [`Hub::broadcast`].
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

    /// Serves in the caller until the server is shut down. A second call returns at once.
    pub fn serve(&self) {
        // Dropped last, after the listening socket.
        let _accepting = self.inner.core.accepting();
        let Some(listener) = self.inner.listener.lock().take() else { return };
        let bell = match Bell::new() {
            Ok(bell) => bell,
            Err(error) => return self.inner.core.accept_failed(error),
        };
        let core = &self.inner.core;
        while !core.poll_deaf(&bell.waker()) {
            let now = clock::now();
            if let Some(until) = core.gate().poll_rate(now) {
                pause(&bell, until.saturating_since(now));
                continue;
            }
            match listener.accept_now(&bell) {
                Ok((socket, from)) => self.serve_one(socket, &from, &bell),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if bell.wait(listener.fd(), None).is_err() {
                        std::thread::sleep(ACCEPT_PAUSE);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed(error, &bell),
            }
        }
    }

    fn serve_one(&self, socket: Socket, from: &Address, bell: &Bell) {
        let Some(admission) = self.inner.core.admit(from) else { return };
        if let Err(error) = self.give_threads(socket, admission) {
            self.failed(error, bell);
        }
    }

    /// Reports, and waits if it is the system that has no room.
    fn failed(&self, error: io::Error, bell: &Bell) {
        let wait = is_out_of_resources(&error);
        self.inner.core.accept_failed(error);
        if wait {
            pause(bell, ACCEPT_PAUSE);
        }
    }

    /// Gives a connection its threads.
    fn give_threads(&self, socket: Socket, admission: Admission) -> io::Result<()> {
        let core = Arc::clone(&self.inner.core);
        socket.apply(core.config().sockets())?;
        if core.config().delivery() == Delivery::Session {
            let sessions = Arc::clone(&self.inner.sessions);
            let serve = move || {
                // What the system refuses closes the socket, and the client learns it.
                let _ = serve_session(core, &sessions, socket, admission);
            };
            return spawn_for(&self.inner.core, serve);
        }
        let bell = Bell::new()?;
        let Some((peer, app)) = core.accept() else { return Ok(()) };
        let gone = Gone { core, peer };
        let served = Connection::new(gone.peer.shared(), &app, socket, Epoch::FIRST, RecvBuf::new(), &bell);
        let mut connection = served?;
        let spawned = std::thread::Builder::new().name("bowline-serve".into()).spawn(move || {
            let _admission = admission;
            let gone = gone;
            while connection.turn(&bell, None).is_none() {}
            // Its descriptors are closed before it counts as gone.
            drop(connection);
            drop(bell);
            drop(gone);
        });
        spawned.map(drop).map_err(no_thread)
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(&self) -> Result<(), StartError> {
        let server = self.clone();
        std::thread::Builder::new()
            .name("bowline-accept".into())
            .spawn(move || server.serve())
            .map(drop)
            .map_err(|error| StartError::Thread(Arc::new(error)))
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
    pub fn shutdown(&self) -> Drained {
        self.shutdown_within(self.inner.core.config().linger())
    }

    /// The same with another time than the configured one; zero ends every connection at once.
    pub fn shutdown_within(&self, linger: Duration) -> Drained {
        self.begin_shutdown_within(linger);
        let core = &self.inner.core;
        block_on(std::future::poll_fn(|cx| core.poll_stopped(cx.waker()).map_or(Poll::Pending, Poll::Ready)))
    }
}

/// Waits, unless the bell rings.
fn pause(bell: &Bell, wait: Duration) {
    if bell.wait(None, Some(wait)).is_err() {
        std::thread::sleep(wait);
    }
}

/// Starts a thread for a connection. Where the system has none, sessions without a connection end
/// for it: they keep one each.
fn spawn_for<F: Framing>(core: &ServerCore<F>, serve: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread that cannot be started takes what it was to do with it.
    let work = Arc::new(Mutex::new(Some(serve)));
    let mut attempts = 1;
    loop {
        let work = Arc::clone(&work);
        let spawned = std::thread::Builder::new().name("bowline-serve".into()).spawn(move || {
            let work = work.lock().take();
            if let Some(serve) = work {
                serve();
            }
        });
        match spawned {
            Ok(_) => return Ok(()),
            Err(_) if attempts < SPAWN_ATTEMPTS && core.detached().make_room() => {
                attempts += 1;
                std::thread::sleep(SPAWN_PAUSE);
            }
            Err(error) => return Err(no_thread(error)),
        }
    }
}

/// Serves a connection that may belong to a session: hands it to whoever serves that, or serves it,
/// and those that follow it.
fn serve_session<F: Framing>(
    core: Arc<ServerCore<F>>,
    sessions: &Sessions<Socket>,
    socket: Socket,
    admission: Admission,
) -> io::Result<()> {
    let greeted = read_greeting(&core, sessions, socket, admission)?;
    let Some((mut arrival, found)) = greeted else { return Ok(()) };
    if let Some(host) = found {
        host.give(arrival);
        return Ok(());
    }
    let Some((peer, app)) = core.accept() else { return Ok(()) };
    let _gone = Gone { core: Arc::clone(&core), peer: peer.clone() };
    let host = sessions.host(core.config(), &peer);
    let mut epoch = Epoch::FIRST;
    loop {
        let Arrival { socket, buf, admission } = arrival;
        let cause = serve_connection(&peer, &app, host.as_deref(), (socket, buf), epoch);
        drop(admission);
        // Nor does anybody keep the bell of that connection, which has two descriptors.
        peer.shared().awake();
        let next = host.as_ref().and_then(|host| wait_detached(&core, &peer, host));
        core.detached().remove(peer.id());
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

/// Serves one connection to its end: why it ended.
fn serve_connection<F: Framing>(
    peer: &bowline_driver::Peer<F>,
    app: &Arc<LinkApp<F>>,
    host: Option<&Host<Socket>>,
    (socket, buf): (Socket, RecvBuf),
    epoch: Epoch,
) -> Disconnect {
    let begun = Bell::new().and_then(|bell| {
        let connection = Connection::new(peer.shared(), app, socket, epoch, buf, &bell)?;
        Ok((connection, bell))
    });
    let (mut connection, bell) = match begun {
        Ok(begun) => begun,
        Err(error) => return disconnect(error),
    };
    if let Some(host) = host {
        host.connected();
    }
    loop {
        if let Some(cause) = connection.turn(&bell, None) {
            return cause;
        }
    }
}

/// What a connection read from the greeting on, and who serves its session. `None`: it ended.
type Greeted = Option<(Arrival<Socket>, Option<Arc<Host<Socket>>>)>;

fn read_greeting<F: Framing>(
    core: &ServerCore<F>,
    sessions: &Sessions<Socket>,
    socket: Socket,
    admission: Admission,
) -> io::Result<Greeted> {
    let config = core.config();
    let deadline = clock::now() + greeting_limit(config);
    let (eviction, _handshake) = Eviction::begin(core);
    let mut buf = RecvBuf::new();
    loop {
        if let Ok(host) = sessions.find(config, buf.unread()) {
            return Ok(Some((Arrival { socket, buf, admission }, host)));
        }
        let left = deadline.saturating_since(clock::now());
        if left.is_zero() || eviction.poll(Waker::noop()) {
            return Ok(None);
        }
        match socket.read_within(buf.spare(), left.min(GREETING_SLICE)) {
            Ok(0) => return Ok(None),
            Ok(n) => buf.filled(n),
            Err(error) if is_for_now(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Without a connection: the next one, or `None` when the link is closed. The thread parks, and
/// holds no descriptor.
fn wait_detached<F: Framing>(
    core: &ServerCore<F>,
    peer: &bowline_driver::Peer<F>,
    host: &Host<Socket>,
) -> Option<Arrival<Socket>> {
    core.detached().add(peer);
    let thread = ThreadWaker::current();
    let waker = Waker::from(Arc::clone(&thread));
    loop {
        match attend_detached(peer, host, &waker) {
            Detached::Next(arrival) => return Some(arrival),
            Detached::Over => return None,
            Detached::Sleep(at) => thread.park_until(at),
        }
    }
}

/// Takes a connection out of the list however its thread ends.
struct Gone<F: Framing> {
    core: Arc<ServerCore<F>>,
    peer: bowline_driver::Peer<F>,
}

impl<F: Framing> Drop for Gone<F> {
    fn drop(&mut self) {
        self.peer.shared().with(|link| link.give_up(clock::now(), Disconnect::LocalClose));
        self.core.gone(&self.peer);
    }
}

/// Builds a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder<F: Framing = Native> {
    parts: ServerParts<F>,
}

impl<F: Framing> ServerBuilder<F> {
    fn new(config: Config<F>) -> Self {
        Self { parts: ServerParts::new(config) }
    }

    /// Who is connected goes there, beside the peers of other servers with the same hub.
    pub fn hub(mut self, hub: &Hub<F>) -> Self {
        self.parts.hub = hub.clone();
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

    /// Other settings. Set them before [`on_request`](Self::on_request), which takes the number
    /// of handler threads from them.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Called when a connection is ready. Keep the peer to push to it later.
    pub fn on_connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_connect(move |peer| f(&peer.clone().into()));
        self
    }

    /// Called inline for every message; without it, messages are dropped and counted. An error that
    /// it returns is counted and an event, and the link goes on.
    pub fn on_message<H: Handled>(
        mut self,
        f: impl Fn(&Context<'_, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
    ) -> Self {
        self.parts.handlers.on_message(f);
        self
    }

    /// Called when a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_disconnect(move |peer, cause| f(&peer.clone().into(), cause));
        self
    }

    /// Answers requests on a pool of threads; may take its time, and may call back.
    pub fn on_request<H, A>(mut self, handler: H) -> Self
    where
        H: Fn(Request<F>) -> Result<A, Failure> + Send + Sync + 'static,
        A: Into<Answer> + 'static,
    {
        let pool = HandlerPool::new(self.parts.config.handler_threads());
        self.parts.handlers.on_request(PoolHandler::new(handler, pool));
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
        self.parts.handlers.on_request_inline(f);
        self
    }

    /// Listens at `address` (`host:port`, `tcp://…`, `unix://path`, `inproc://name`); nothing is accepted until the server serves.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(self, address: impl ToAddress) -> Result<Server<F>, BindError> {
        let address = &address.to_address();
        let to_listen = listen_address(address)?;
        let io_error = |source| BindError::Io { address: address.to_owned(), source };
        let listener = Listener::bind(&to_listen, self.parts.config.sockets()).map_err(io_error)?;
        let local = listener.local_addr().map_err(io_error)?;
        let mut parts = self.parts;
        parts.most_detached(MOST_DETACHED);
        let core = ServerCore::new(parts);
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
