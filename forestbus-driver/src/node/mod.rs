//! The handle of an in-memory node.

mod delayed;
mod desk;

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::{Config, ConfigBuilder, SocketOptions};
use bowline_core::layer::Layers;
use bowline_driver::error::BindError;
use bowline_driver::place::{Group, Place};
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Threads, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;
use bowline_forestbus::node::{CheckedNodeSettings, Node as Machine, NodeError, NodeSettings, NodeSnapshot};
use bowline_forestbus::protocol::Bounds;
use bowline_forestbus::wire::{CborRpc, Codec};
use bowline_links::Server;

use crate::link_settings::LinkSettings;
use delayed::Delayed;
use desk::NodeDesk;

/// An in-memory node that listens, and serves any client: topics, commit, long polls, retention.
///
/// **It does not replicate.** Its messages are lost with it, and a commit means that a message is in its
/// memory. It is for tests, examples and development: it answers as recorded nodes do, without their defects,
/// and has controls to simulate the situations of nodes in a cluster. See [`bowline_forestbus::node`].
///
/// Long polls and sends that wait for their commit use neither a task nor a thread; there are at most
/// [`max_waiting`](NodeSettings::max_waiting), and those of an ended connection are dropped. (A real server
/// keeps them until messages arrive.)
///
/// Cheap to clone; all clones are one node. When the last one is dropped, its listener and its connections
/// are closed.
pub struct Node<R: Runtime> {
    running: Arc<Running<R>>,
}

struct Running<R: Runtime> {
    desk: Arc<NodeDesk>,
    server: Server<R, CborRpc>,
    setup: Setup,
}

impl<R: Runtime> Drop for Running<R> {
    fn drop(&mut self) {
        self.desk.end();
        self.server.begin_shutdown_within(Duration::ZERO);
    }
}

impl<R: Runtime> Clone for Node<R> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running) }
    }
}

impl<R: Runtime> std::fmt::Debug for Node<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("server", &self.running.server).finish_non_exhaustive()
    }
}

/// The settings with which a node serves.
#[derive(Clone, Debug)]
struct Setup {
    codec: Codec,
    link: Config<CborRpc>,
    place: Place,
}

impl<R: Runtime> Node<R> {
    /// A builder for a node.
    pub fn builder(settings: NodeSettings) -> NodeBuilder<R> {
        NodeBuilder {
            settings,
            codec: Codec::new(),
            links: LinkSettings::default(),
            place: Place::default(),
            runtime: PhantomData,
        }
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.running.server.local_addr()
    }

    /// Adds an empty topic. An existing one is left unchanged.
    ///
    /// # Errors
    /// The maximum number of topics is reached, or the name is empty or too long.
    pub fn add_topic(&self, name: &str) -> Result<(), NodeError> {
        self.with(|node| node.add_topic(name))
    }

    /// Removes a topic with its messages: see [`Machine::remove_topic`]. Returns whether it existed.
    pub fn remove_topic(&self, name: &str) -> bool {
        self.with(|node| node.remove_topic(name))
    }

    /// Follows another node from now on: see [`Machine::follow`].
    pub fn follow(&self, leader: impl Into<String>) {
        self.with(|node| node.follow(leader));
    }

    /// Leads its topics again.
    pub fn lead(&self) {
        self.with(Machine::lead);
    }

    /// Announces that it is stopping, or continues: see [`Machine::shut_down`]. It still listens:
    /// [`stop`](Self::stop) ends that.
    pub fn shut_down(&self, stopping: bool) {
        self.with(|node| node.shut_down(stopping));
    }

    /// Sets whether the commit index stands still: see [`Machine::set_lagging`].
    pub fn set_lagging(&self, lagging: bool) {
        self.with(|node| node.set_lagging(lagging));
    }

    /// Resets the commit index of every topic to 0 until something is appended.
    pub fn forget_commit(&self) {
        self.with(Machine::forget_commit);
    }

    /// Delays each answer by this time. At most [`max_waiting`](NodeSettings::max_waiting) answers wait this
    /// way; further calls are answered with an error.
    pub fn set_delay(&self, delay: Duration) {
        self.with(|node| node.set_delay(delay));
    }

    /// The bounds of a topic.
    #[must_use]
    pub fn bounds(&self, topic: &str) -> Option<Bounds> {
        self.with(|node| node.bounds(topic))
    }

    /// The state and the counters of the node.
    #[must_use]
    pub fn snapshot(&self) -> NodeSnapshot {
        self.with(|node| node.snapshot())
    }

    /// The number of connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.running.server.peers().len()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Machine) -> T) -> T {
        self.running.desk.with(f)
    }

    /// Ends like a killed process: its listener and every connection are closed at once, and no answer is
    /// sent. It can [continue](Stopped::bind) with the messages in its memory, as after a restart. All clones
    /// are stopped with it.
    ///
    /// # Cancel safety
    /// If the future is dropped, stopping continues in the background.
    pub fn stop(&self) -> Wait<R, impl Future<Output = Stopped<R>> + Send + use<R>> {
        let running = Arc::clone(&self.running);
        running.desk.end();
        running.server.begin_shutdown_within(Duration::ZERO);
        let stopped = move |running: &Running<R>| Stopped {
            node: running.desk.take(),
            setup: running.setup.clone(),
            runtime: PhantomData,
        };
        let at_once = Arc::clone(&running);
        R::Style::wait(
            async move {
                running.server.drained().await;
                stopped(&running)
            },
            move || stopped(&at_once),
        )
    }
}

/// A stopped node, with its messages.
pub struct Stopped<R: Runtime> {
    node: Machine,
    setup: Setup,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for Stopped<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopped").field("node", &self.node).finish_non_exhaustive()
    }
}

impl<R: Runtime> Stopped<R> {
    /// Continues at that address.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        self,
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Node<R>, BindError>> + Send> {
        // It never waits: the same on any thread.
        R::Style::wait_now(serve(self.node, self.setup, &address.to_address()))
    }
}

/// Builds a [`Node`].
#[must_use]
pub struct NodeBuilder<R: Runtime> {
    settings: NodeSettings,
    codec: Codec,
    links: LinkSettings,
    place: Place,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for NodeBuilder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<R: Runtime<Style: Threads>> NodeBuilder<R> {
    /// Runs the node in this I/O group, instead of the group that is current where the node is made. The node
    /// ends with the group, unless something else keeps the group in use.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        self.place = Place::of(group);
        self
    }
}

impl<R: Runtime> NodeBuilder<R> {
    /// Sets how answers are encoded.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the maximum length of a request or answer, in bytes. Default 8 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.links.max_message = Some(bytes);
        self
    }

    /// Secures connections by TLS, with a `TlsServer` (feature `tls`). Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.links.layers = self.links.layers.and(tls.into());
        self
    }

    /// Sets the options of every socket.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.links.sockets = options;
        self
    }

    /// Listens at `address`, and serves in the background.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        self,
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Node<R>, BindError>> + Send> {
        // It never waits: the same on any thread.
        R::Style::wait_now(self.bound(&address.to_address()))
    }

    fn bound(self, address: &str) -> Result<Node<R>, BindError> {
        let Self { settings, codec, links, place, .. } = self;
        let settings = settings.build()?;
        let link = links.config(CborRpc::new(), |config| of_node(config, &settings))?;
        serve(Machine::new(settings), Setup { codec, link, place }, address)
    }
}

/// Listens and serves.
fn serve<R: Runtime>(node: Machine, setup: Setup, address: &str) -> Result<Node<R>, BindError> {
    let Setup { codec, link, place } = &setup;
    let desk = Arc::new(NodeDesk::new(node, *codec));
    let server = place.within(|| {
        let asked = Arc::clone(&desk);
        let builder = Server::<R, _>::with_config(link.clone())
            .on_request_later(move |request, responder| asked.request(request, responder));
        let server = builder.bound(address)?;
        server.start()?;
        R::spawn(Delayed::<R>::new(Arc::clone(&desk)))?;
        Ok::<_, BindError>(server)
    })?;
    Ok(Node { running: Arc::new(Running { desk, server, setup }) })
}

/// The settings of the links. Waiting calls count as requests being handled; the node limits them.
fn of_node(config: ConfigBuilder<CborRpc>, settings: &CheckedNodeSettings) -> ConfigBuilder<CborRpc> {
    config
        .max_inbound(settings.max_waiting().saturating_add(1024).min(1 << 20))
        .max_inbound_bytes(64 << 20)
        .answers_ahead(usize::MAX)
}
