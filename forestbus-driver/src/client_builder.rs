//! How a client is set up.

use std::marker::PhantomData;

use bowline_core::config::{Config, QueueLimit, SocketOptions};
use bowline_core::layer::Layers;
use bowline_core::proxy::Proxy;
use bowline_core::supervisor::{Endpoint, ReconnectPolicy};
use bowline_driver::place::{Group, Place};
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Threads;
use bowline_driver::sync::Arc;
use bowline_forestbus::cluster::{CheckedSettings, Cluster, Settings};
use bowline_forestbus::wire::{CborRpc, Codec, KeyOrder, MAX_ITEMS};
use bowline_links::random_seed;

use crate::client::{Client, Handle};
use crate::core::Core;
use crate::error::OpenError;
use crate::keeper::Keeper;
use crate::limits::Limits;

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder<R: Runtime> {
    settings: Settings,
    framing: CborRpc,
    codec: Codec,
    name: String,
    max_items: usize,
    sockets: SocketOptions,
    proxy: Option<Proxy>,
    layers: Layers,
    max_message: Option<usize>,
    place: Place,
    seed: Option<u64>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for ClientBuilder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<R: Runtime<Style: Threads>> ClientBuilder<R> {
    /// The client runs in that I/O group, and not in the one that is current where it is made. The group ends with it,
    /// unless something else uses it as well. Who waits for something of a group without threads has to enter it, or
    /// something else has to turn it.
    pub fn io_group(mut self, group: &impl Group) -> Self {
        self.place = Place::of(group);
        self
    }
}

impl<R: Runtime> ClientBuilder<R> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            framing: CborRpc::new(),
            codec: Codec::new(),
            name: String::new(),
            max_items: MAX_ITEMS,
            sockets: SocketOptions::default(),
            proxy: None,
            layers: Layers::default(),
            max_message: None,
            place: Place::default(),
            seed: None,
            runtime: PhantomData,
        }
    }

    /// What `tracing` and `metrics` know the client by. Default: nothing.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The order of the keys that are written; nodes read any.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.framing = self.framing.with_order(order);
        self.codec = self.codec.with_order(order);
        self
    }

    /// The most messages, indexes or names in one list that is read or written. Default
    /// [`MAX_ITEMS`](bowline_forestbus::wire::MAX_ITEMS).
    pub fn max_items(mut self, items: usize) -> Self {
        self.max_items = items;
        self
    }

    /// The longest request or reply, in bytes. Default 8 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Connections to nodes are secured by TLS, with a `TlsClient` (feature `tls`): also those to nodes that a cluster names.
    /// Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.layers = self.layers.and(tls.into());
        self
    }

    /// Options set on every socket.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.sockets = options;
        self
    }

    /// Nodes are connected to through those proxies. Default: none.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Seed of the order of shuffled nodes and of the jitter of waits, for runs that can be repeated. Default: the
    /// system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the client, and connects to nothing yet.
    ///
    /// # Errors
    /// A setting cannot work, or a node's name is no address; there is no runtime here, or no thread left.
    pub fn open(self) -> Result<Client<R>, OpenError> {
        let Self {
            settings,
            framing,
            codec,
            name,
            max_items,
            sockets,
            proxy,
            layers,
            max_message,
            place,
            seed,
            ..
        } = self;
        let settings = settings.build()?;
        for (_, address) in settings.nodes() {
            let _: Endpoint = layers.dialed(address)?.parse()?;
        }
        let seed = seed.unwrap_or_else(random_seed);
        let link = link_config(&settings, framing, (sockets, proxy), max_message, seed)?.tls(layers);
        let codec = codec.with_max_items(max_items);
        let limits = Limits::new(&settings, max_items, link.max_message());
        let core = Arc::new(Core::new(Cluster::new(settings, seed), name, codec, limits, link, place));
        let handle = Arc::new(Handle { core: Arc::clone(&core) });
        handle.core.place.within(|| R::spawn(Keeper::<R>::new(core)))?;
        Ok(Client::of(handle))
    }
}

/// The settings of a link to a node. The cluster decides when there is another connection; it bounds calls and their
/// bytes, so that nothing waits here.
fn link_config(
    settings: &CheckedSettings,
    framing: CborRpc,
    (sockets, proxy): (SocketOptions, Option<Proxy>),
    max_message: Option<usize>,
    seed: u64,
) -> Result<Config<CborRpc>, bowline_core::error::ConfigError> {
    // Commands, signs of life, questions about followed topics, and polls that were given up.
    let calls = settings.max_calls().clamp(1, 1 << 20);
    let mut config = Config::with_framing(framing)
        .reconnect(ReconnectPolicy::never())
        .connect_timeout(settings.connect_timeout())
        .max_in_flight(calls)
        .write_queue(QueueLimit { messages: calls, bytes: settings.queues().saturating_add(4 << 20) })
        .linger(std::time::Duration::ZERO)
        .event_queue(64)
        .sockets(sockets)
        .proxy(proxy)
        .seed(seed);
    if let Some(bytes) = max_message {
        config = config.max_message(bytes);
    }
    config.build()
}
