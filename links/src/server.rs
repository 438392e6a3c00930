//! The accepting side: listens, and serves every connection.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::auth::{Decision, Identity, Refusal};
use bowline_core::body::Payload;
use bowline_core::config::{Config, Delivery, SocketOptions};
use bowline_core::error::{ConfigError, Disconnect, Failure, Status};
use bowline_core::frame::native::Native;
use bowline_core::frame::{Class, Framing};
use bowline_core::layer::Layers;
use bowline_core::link::Message;
use bowline_driver::PeerId;
use bowline_driver::accept::{Acceptor, Door, ServerEvent};
use bowline_driver::error::{BindError, StartError};
use bowline_driver::gate::AcceptCounters;
use bowline_driver::layered::Layered;
use bowline_driver::place::{Group, Place};
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Listening, Stream};
use bowline_driver::style::{Returns, Style, Threads, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;

use crate::answer::Answer;
use crate::auth::{Asking, Attempt, Authorize, Deciding, at_once};
use crate::handler::{Handled, MessageRef, ReplyBuf, RequestRef};
use crate::handler_args::{Context as InlineContext, Request};
use crate::handler_methods::handler_methods;
use crate::hub::Hub;
use crate::hub_core::{Broadcast, HubCore};
use crate::link_service::{Drained, LinkService, ServerParts};
use crate::monitor::Monitor;
use crate::peer::Peer;
use crate::peer_core::PeerCore;
use crate::request::Responder;
use crate::session_task::serve_session;
use crate::sessions::{Sessions, greeting_limit};

/// Listens for connections and serves them. A server is bound first, and serves when it is started.
///
/// Cheap to clone; all clones are one server. It serves until it is shut down, whether or not a clone is
/// kept.
pub struct Server<R: Runtime, F: Framing = Native> {
    inner: Arc<Inner<R, F>>,
}

struct Inner<R: Runtime, F: Framing> {
    acceptor: Acceptor<R, LinkService<F>>,
    hub: Hub<R, F>,
    place: Place,
}

impl<R: Runtime, F: Framing> Clone for Server<R, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Server<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("local", self.inner.acceptor.local_addr()).finish_non_exhaustive()
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

    /// A server whose acceptor `bind` makes, from a door with the options of its sockets.
    fn assemble(
        parts: ServerParts<F>,
        bind: impl FnOnce(
            Arc<Door<LinkService<F>>>,
            SocketOptions,
        ) -> Result<Acceptor<R, LinkService<F>>, BindError>,
    ) -> Result<Self, BindError> {
        if parts.verifier.is_some() && !parts.config.framing().profile().handshake {
            let why = "this framing has no handshake in which peers could say who they are";
            return Err(ConfigError::Conflict { field: "verifier", why }.into());
        }
        let options = *parts.config.sockets();
        let keeps_sessions = parts.config.delivery() == Delivery::Session;
        let (place, layer) = (parts.place.clone(), parts.config.layers().accept.clone());
        // A server with the settings of a TLS client must not serve in plain text.
        parts.config.listened("")?;
        let door = LinkService::door(parts);
        let limit = greeting_limit(door.service().config());
        let mut acceptor = place.within(|| bind(Arc::clone(&door), options))?.secured(layer, limit);
        let hub = door.service().hub().clone().into();
        if keeps_sessions {
            let sessions: Arc<Sessions<Layered<R::Socket>, F>> = Arc::default();
            acceptor = acceptor.serving(move |socket, admission| {
                R::spawn(serve_session::<R, F>(Arc::clone(&door), Arc::clone(&sessions), socket, admission))
            });
        }
        Ok(Self { inner: Arc::new(Inner { acceptor, hub, place }) })
    }

    /// Serves a stream that is already connected, within the same limits as a connection that was accepted
    /// here: a socket that was accepted elsewhere, or the result of the module's `stream` function. Limits
    /// per address count it under `from`. A refused stream is closed, counted, and reported as an event.
    ///
    /// # Errors
    /// The stream cannot be made a socket of this runtime, or the runtime is not running on this thread.
    pub fn serve_stream(&self, stream: impl Into<Stream>, from: &Address) -> std::io::Result<()> {
        R::check().map_err(std::io::Error::other)?;
        let Inner { acceptor, place, .. } = &*self.inner;
        place.within(|| {
            acceptor.serve_socket(R::adopt(stream.into())?, from);
            Ok(())
        })
    }

    fn door(&self) -> &Arc<Door<LinkService<F>>> {
        self.inner.acceptor.door()
    }

    /// Withdraws an identity: every peer with this identity, connected or as a session without a connection,
    /// is told the reason, its connection is closed and its session ended
    /// ([`PeerCore::withdraw`](crate::PeerCore::withdraw)). Returns the number of peers. Change the
    /// verifier's data first: the peers may reconnect at once.
    pub fn withdraw(&self, name: &str, refusal: impl Into<Refusal>) -> usize {
        let refusal = refusal.into();
        let is_meant = |peer: &PeerCore<F>| peer.identity().is_some_and(|identity| identity.name() == name);
        let peers: Vec<_> = self.door().inside().into_iter().filter(is_meant).collect();
        peers.iter().for_each(|peer| peer.withdraw(refusal.clone()));
        peers.len()
    }

    /// The address that the server listens at.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.inner.acceptor.local_addr().clone()
    }

    /// All peers, including those in their handshake and sessions without a connection.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<R, F>> {
        self.door().inside().into_iter().map(Into::into).collect()
    }

    /// The peer with that id, if it is past its handshake.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer<R, F>> {
        self.inner.hub.peer(id)
    }

    /// The peers that are past their handshake, for broadcasts to all or to groups.
    #[must_use]
    pub fn hub(&self) -> &Hub<R, F> {
        &self.inner.hub
    }

    /// Queues a message to every peer: see [`HubCore::broadcast`].
    pub fn broadcast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Broadcast {
        self.hub().broadcast(method, payload)
    }

    /// The number of errors while accepting connections; accepting continued after each.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.accept_counters().errors
    }

    /// Counters of the accepting side since the server was made.
    #[must_use]
    pub fn accept_counters(&self) -> AcceptCounters {
        self.door().gate().counters()
    }

    /// Bytes that connections, sessions and handshakes hold now, as they count for
    /// [`AcceptLimits::memory`](bowline_core::config::AcceptLimits::memory).
    #[must_use]
    pub fn memory_held(&self) -> usize {
        self.door().gate().memory().held()
    }

    /// Serves on the caller's task or thread until the server is shut down, or stops accepting.
    ///
    /// # Cancel safety
    /// Dropping the future interrupts accepting: existing connections continue, and new ones wait in the listening socket,
    /// which stays open until it is served again or [`stop_accepting`](Self::stop_accepting) closes it.
    pub fn serve(&self) -> Wait<R, impl Future<Output = ()> + Send> {
        // On a thread that must not wait, the server continues in the background.
        let Inner { acceptor, place, .. } = &*self.inner;
        R::Style::wait(place.poll_within(acceptor.serve()), || drop(self.start()))
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// No runtime is running on this thread.
    pub fn start(&self) -> Result<(), StartError> {
        self.inner.place.within(|| self.inner.acceptor.start())
    }

    /// Closes the listening socket; existing connections stay.
    pub fn stop_accepting(&self) {
        self.inner.acceptor.stop_accepting();
    }

    /// Begins to shut down, for at most the configured linger time. Does not wait.
    pub fn begin_shutdown(&self) {
        self.begin_shutdown_within(self.door().service().config().linger());
    }

    /// As [`begin_shutdown`](Self::begin_shutdown), with `linger` instead of the configured time.
    pub fn begin_shutdown_within(&self, linger: Duration) {
        self.inner.acceptor.begin_shutdown(linger);
    }

    /// Shuts down: accepts no new connections, tells every peer, finishes the work under way for at most the
    /// configured linger time, and returns when every connection is over, with a list of what was cut off.
    /// Within the same time it also waits until [`on_message`](ServerBuilder::on_message) has handled the
    /// messages that were received before.
    ///
    /// Peers that speak Bowline's own protocol get a go-away: their calls under way are finished, and what
    /// they have not sent yet goes to another endpoint, or to this address when a server listens there again.
    ///
    /// # Cancel safety
    /// If the future is dropped, shutting down continues in the background; only the result is lost.
    pub fn shutdown(&self) -> Wait<R, impl Future<Output = Drained> + Send> {
        self.shutdown_within(self.door().service().config().linger())
    }

    /// As [`shutdown`](Self::shutdown), with `linger` instead of the configured time. Zero ends every
    /// connection at once.
    ///
    /// # Cancel safety
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_within(&self, linger: Duration) -> Wait<R, impl Future<Output = Drained> + Send> {
        // On a thread that must not wait, it continues in the background, as if the future was dropped.
        let begun = || {
            self.begin_shutdown_within(linger);
            Drained::default()
        };
        R::Style::wait(self.stopped(linger), begun)
    }

    /// [`shutdown_within`](Self::shutdown_within) as a future.
    async fn stopped(&self, linger: Duration) -> Drained {
        self.begin_shutdown_within(linger);
        self.drained().await
    }

    /// Waits, on any runtime, until a shutdown that has begun is over. Returns its result.
    ///
    /// # Cancel safety
    /// As [`shutdown`](Self::shutdown).
    pub async fn drained(&self) -> Drained {
        let connections = self.inner.acceptor.stopped().await;
        Drained { connections, cut: self.door().service().take_cut::<R>().await }
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

impl<R: Runtime<Style: Threads>, F: Framing> ServerBuilder<R, F> {
    /// Runs the server in this I/O group instead of the group that is current where the server is made. The
    /// server ends with the group, unless something else keeps the group in use.
    ///
    /// A group without threads must be driven by the program.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        self.parts.place = Place::of(group);
        self
    }

    /// Sets the maximum number of threads in the pool that calls this server's handlers other than inline
    /// ones; at least 1. Default 16. The pool has threads only while there is something to handle.
    pub fn handler_threads(mut self, threads: usize) -> Self {
        self.parts.handlers.set_threads(threads);
        self
    }
}

impl<R: Runtime, F: Framing> ServerBuilder<R, F> {
    fn new(config: Config<F>) -> Self {
        let mut parts = ServerParts::new(config);
        parts.handlers.run_by::<R>();
        Self { parts, runtime: PhantomData }
    }

    /// Replaces the settings.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Secures connections by TLS, with a `TlsServer` (feature `tls`): all that are accepted here, and every
    /// stream that is given to the server. Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.parts.config = self.parts.config.tls(tls);
        self
    }

    /// Adds connected peers to `hub`, together with the peers of other servers that share it.
    pub fn hub(mut self, hub: &Hub<R, F>) -> Self {
        self.parts.hub = HubCore::clone(hub);
        self
    }

    /// Registers the server's links with `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.monitor(monitor, label);
        self
    }

    /// Sets a function that is called for events of the server as a whole: accepting failed, a connection was
    /// refused or could not be secured, a peer was not let in by the verifier.
    ///
    /// On threads the pool that runs handlers calls it, in order; at most 1,024 events wait, and further ones are
    /// counted ([`AcceptCounters::events_dropped`]). Elsewhere it is called in the task in which the event occurs,
    /// and must not block: that is the accepting task, or for [`ServerEvent::Denied`] the task or thread that
    /// decided about the peer.
    pub fn on_event(mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) -> Self {
        self.parts.on_event(f);
        self
    }

    /// Sets a function that decides about each peer before any of its messages is handed over. It gets the
    /// [credentials](Attempt::credentials) of the peer, its address, and its TLS certificate if it showed
    /// one. A peer that is let in gets the identity of the [`Grant`](bowline_core::auth::Grant): see
    /// [`PeerCore::identity`](crate::PeerCore::identity). Only for framings with a handshake.
    ///
    /// An async function on tokio, smol and async-std, which becomes a task; on threads a function that may
    /// block and runs on the pool of [`handler_threads`](Self::handler_threads). A decision after the time
    /// limit of the handshake or of
    /// [`AcceptLimits::verification`](bowline_core::config::AcceptLimits::verification) is ignored; the
    /// future is dropped when the connection is over. A panic refuses the peer. At most
    /// [`AcceptLimits::verifications`](bowline_core::config::AcceptLimits::verifications) run at once.
    pub fn verifier<T: 'static>(mut self, verify: impl Fn(Attempt) -> T + Send + Sync + 'static) -> Self
    where
        R::Style: Returns<T, Output = Decision>,
    {
        let workers = self.parts.handlers.workers().cloned();
        let verify = Arc::new(verify);
        self.parts.verifier = Some(Box::new(move |attempt, deciding| {
            let (verify, peer) = (Arc::clone(&verify), deciding.peer_id());
            let future = async move {
                let verified = R::Style::finish(verify(attempt));
                verified.await
            };
            let task = Box::pin(Asking::new(future, deciding));
            // A verification that cannot be run is dropped, which refuses the peer.
            if let Some(workers) = &workers {
                let _ = workers.spawn(peer.0, task);
            }
        }));
        self
    }

    /// As [`verifier`](Self::verifier), with a function that decides at once. It is called where the
    /// connection is read and must not wait. Use it for data in memory, such as
    /// [`Tokens`](crate::auth::Tokens) and [`SharedSecrets`](crate::auth::SharedSecrets).
    pub fn verifier_inline(mut self, verify: impl Fn(&Attempt) -> Decision + Send + Sync + 'static) -> Self {
        self.parts.verifier = Some(at_once(verify));
        self
    }

    /// As [`verifier`](Self::verifier), with a function that decides at once or later, from any task or
    /// thread. It is called where the connection is read and must not wait.
    pub fn verifier_later(mut self, verify: impl Fn(Attempt, Deciding) + Send + Sync + 'static) -> Self {
        self.parts.verifier = Some(Box::new(verify));
        self
    }

    /// Sets a function that is called before each message and request is handed to its handler, with the
    /// identity of the sender (`None` without a verifier), the method and the class. A refused request is
    /// answered with the returned status, for example [`Status::FORBIDDEN`]; a refused message is dropped,
    /// counted, and reported as an event. The function is called where the connection is read and must not
    /// wait. A panic counts as a refusal. Default: everything is allowed.
    pub fn authorize(
        mut self,
        may: impl Fn(Option<&Identity>, u32, Class) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.parts.handlers.authorize = Some(Authorize::new(may));
        self
    }

    /// Listens at `address` (`host:port`, `tcp://…`, `unix://path`, `inproc://name`). Connections are
    /// accepted when the server serves.
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

    /// As [`bind`](Self::bind), for code that is generic over the runtime; it never waits.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bound(self, address: &str) -> Result<Server<R, F>, BindError> {
        let address = self.parts.config.listened(address)?.to_owned();
        Server::assemble(self.parts, |door, options| Acceptor::bind(door, &address, options))
    }

    /// Accepts from a socket that listens already, for example one from the service manager. Connections are
    /// accepted when the server serves.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn listen_on(self, listener: impl Into<Listening>) -> Result<Server<R, F>, BindError> {
        let listening = listener.into();
        Server::assemble(self.parts, |door, options| {
            R::check()?;
            let io_error = |source| BindError::Io { address: "a listener of the program's".into(), source };
            let listener = R::adopt_listener(listening).map_err(io_error)?;
            Acceptor::over(door, listener, options).map_err(io_error)
        })
    }
}

handler_methods!(ServerBuilder, without = "are dropped and counted", requests = "requests");
