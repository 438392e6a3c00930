//! The settings of a client.

use std::marker::PhantomData;

use bowline_core::config::{ConfigBuilder, QueueLimit, SocketOptions};
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
use crate::link_settings::LinkSettings;

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder<R: Runtime> {
    settings: Settings,
    framing: CborRpc,
    codec: Codec,
    name: String,
    max_items: usize,
    links: LinkSettings,
    proxy: Option<Proxy>,
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
    /// Runs the client in this I/O group, instead of the group that is current where the client is made. The
    /// client ends with the group, unless something else keeps the group in use. A group without threads must
    /// be driven: callers that wait must enter it, or another thread must drive it.
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
            links: LinkSettings::default(),
            proxy: None,
            place: Place::default(),
            seed: None,
            runtime: PhantomData,
        }
    }

    /// Sets the name by which `tracing` and `metrics` know the client. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the order of the keys that are written; nodes accept any.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.framing = self.framing.with_order(order);
        self.codec = self.codec.with_order(order);
        self
    }

    /// Sets the maximum number of messages, indexes or names in one list that is read or written. Default
    /// [`MAX_ITEMS`](bowline_forestbus::wire::MAX_ITEMS).
    pub fn max_items(mut self, items: usize) -> Self {
        self.max_items = items;
        self
    }

    /// Sets the maximum length of a request or reply, in bytes. Default 8 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.links.max_message = Some(bytes);
        self
    }

    /// Secures connections to nodes by TLS, with a `TlsClient` (feature `tls`), including nodes that a
    /// cluster names. Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.links.layers = self.links.layers.and(tls.into());
        self
    }

    /// Sets the options of every socket.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.links.sockets = options;
        self
    }

    /// Connects to nodes through these proxies. Default: none.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Sets the seed of the order of shuffled nodes and of the jitter of waits, for reproducible runs.
    /// Default: the system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the client; it does not connect yet.
    ///
    /// # Errors
    /// A setting is invalid, or a node's name is not an address; no runtime is running on this thread, or no
    /// thread could be started.
    pub fn open(self) -> Result<Client<R>, OpenError> {
        let Self { settings, framing, codec, name, max_items, links, proxy, place, seed, .. } = self;
        let settings = settings.build()?;
        for (_, address) in settings.nodes() {
            let _: Endpoint = links.layers.dialed(address)?.parse()?;
        }
        let seed = seed.unwrap_or_else(random_seed);
        let link = links.config(framing, |config| of_client(config, &settings).proxy(proxy).seed(seed))?;
        let codec = codec.with_max_items(max_items);
        let limits = Limits::new(&settings, max_items, link.max_message());
        let core = Arc::new(Core::new(Cluster::new(settings, seed), name, codec, limits, link, place));
        let handle = Arc::new(Handle { core: Arc::clone(&core) });
        handle.core.place.within(|| R::spawn(Keeper::<R>::new(core)))?;
        Ok(Client::of(handle))
    }
}

/// The settings of a link to a node. The cluster decides when to reconnect; it limits calls and their bytes,
/// so that nothing waits in the link.
fn of_client(config: ConfigBuilder<CborRpc>, settings: &CheckedSettings) -> ConfigBuilder<CborRpc> {
    // Commands, pings, requests about followed topics, and cancelled polls.
    let calls = settings.max_calls().clamp(1, 1 << 20);
    config
        .reconnect(ReconnectPolicy::never())
        .connect_timeout(settings.connect_timeout())
        .max_in_flight(calls)
        .write_queue(QueueLimit { messages: calls, bytes: settings.queues().saturating_add(4 << 20) })
}
