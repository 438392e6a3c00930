//! The accepting end: listens, and serves every connection on threads.

use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::server_core::ServerParts;
use bowline_driver::{
    AcceptCounters, Answer, BindError, Broadcast, Context, Drained, Handled, Hub, MessageRef, Monitor,
    PeerId, ReplyBuf, RequestRef, ServerEvent, StartError, ToAddress,
};

use crate::handler_pool::{HandlerPool, PoolHandler};
use crate::park::block_on;
use crate::peer::{Peer, Request};
use crate::runtime::Threads;

/// Listens for connections and serves each: bound first, served later. All of them share the threads
/// of an [`IoGroup`](crate::IoGroup), one unless the program says otherwise.
///
/// Cheap to clone; all clones are one server. It serves until it is shut down, whether or not a
/// clone is kept.
#[derive(Debug)]
pub struct Server<F: Framing = Native> {
    server: bowline_driver::Server<Threads, F>,
}

impl<F: Framing> Clone for Server<F> {
    fn clone(&self) -> Self {
        Self { server: self.server.clone() }
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
        self.server.local_addr()
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<F>> {
        self.server.peers().into_iter().map(Into::into).collect()
    }

    /// The peer with that id, if it is past its handshake.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer<F>> {
        self.server.peer(id).map(Into::into)
    }

    /// Those who are past their handshake, for pushing to them, in groups or all.
    #[must_use]
    pub fn hub(&self) -> &Hub<F> {
        self.server.hub()
    }

    /// Queues a message to every peer: see [`Hub::broadcast`].
    pub fn broadcast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Broadcast {
        self.server.broadcast(method, payload)
    }

    /// Connections that could not be accepted; accepting went on.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.server.accept_errors()
    }

    /// Numbers of the accepting side since the server was made.
    #[must_use]
    pub fn accept_counters(&self) -> AcceptCounters {
        self.server.accept_counters()
    }

    /// Waits until the server is shut down, and accepts connections meanwhile. A second call returns
    /// at once.
    pub fn serve(&self) {
        block_on(self.server.serve());
    }

    /// Serves in the background until the server is shut down.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(&self) -> Result<(), StartError> {
        self.server.start()
    }

    /// Closes the listening socket; those who are connected stay.
    pub fn stop_accepting(&self) {
        self.server.stop_accepting();
    }

    /// Begins to shut down, for at most the configured linger, and does not wait.
    pub fn begin_shutdown(&self) {
        self.server.begin_shutdown();
    }

    /// The same with another time than the configured one.
    pub fn begin_shutdown_within(&self, linger: Duration) {
        self.server.begin_shutdown_within(linger);
    }

    /// Shuts down: accepts nothing new, tells every peer, finishes what is under way for at most
    /// the configured linger, and returns when every connection is over, with what was cut.
    ///
    /// Peers that speak Bowline's own protocol are told with a go-away: what they have under way
    /// is finished, and what never left them goes to another endpoint, or here when somebody
    /// listens again.
    pub fn shutdown(&self) -> Drained {
        block_on(self.server.shutdown())
    }

    /// The same with another time than the configured one; zero ends every connection at once.
    pub fn shutdown_within(&self, linger: Duration) -> Drained {
        block_on(self.server.shutdown_within(linger))
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
        Ok(Server { server: bowline_driver::Server::bind_parts(self.parts, &address.to_address())? })
    }
}
