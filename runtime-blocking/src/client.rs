//! The dialing end of a link.

use std::future::Future;
use std::ops::Deref;

use bowline_core::config::Config;
use bowline_core::error::{Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::Undelivered;
use bowline_driver::client_parts::{ClientParts, Recipe};
use bowline_driver::{Answer, ConnectError, Context, Handled, MessageRef, Monitor, ReplyBuf, RequestRef};

use bowline_driver::ToAddress;

use crate::handler_pool::{HandlerPool, PoolHandler};
use crate::park::block_on;
use crate::peer::{Peer, Request};
use crate::runtime::Threads;

/// A link's dialing end: connects, and connects again, until it is closed.
///
/// Cheap to clone; all clones are one link, over one connection at a time. Everything a [`Peer`]
/// can do, a client can (it derefs to one). When the last clone is dropped, the link finishes
/// what is under way in the background, for at most the configured linger.
///
/// ```
/// use bowline_blocking::{Client, Server};
///
/// let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
/// server.start()?;
/// let client = Client::connect(&server.local_addr().to_string())?;
/// assert_eq!(&client.call(1, b"hello")?[..], b"hello");
/// client.close();
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client<F: Framing = Native> {
    peer: Peer<F>,
    client: bowline_driver::Client<Threads, F>,
}

impl<F: Framing> Clone for Client<F> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), client: self.client.clone() }
    }
}

impl<F: Framing> Deref for Client<F> {
    type Target = Peer<F>;

    fn deref(&self) -> &Peer<F> {
        &self.peer
    }
}

impl Client<Native> {
    /// Connects with the default settings and waits for the first handshake.
    ///
    /// # Errors
    /// [`ConnectError::Failed`] if no endpoint could be connected; nothing goes on then.
    pub fn connect(address: impl ToAddress) -> Result<Self, ConnectError> {
        Self::builder(address).connect()
    }

    /// As [`connect`](Self::connect), but returns at once: the link connects in the background,
    /// and goes on trying as its policy says. Calls wait for it under their own deadlines.
    ///
    /// # Errors
    /// The address cannot work, or the system has no threads or descriptors left.
    pub fn connect_lazy(address: impl ToAddress) -> Result<Self, ConnectError> {
        Self::builder(address).connect_lazy()
    }

    /// A builder for a link over Bowline's own protocol.
    pub fn builder(address: impl ToAddress) -> ClientBuilder<Native> {
        ClientBuilder::new(&address.to_address(), bowline_driver::defaults::default_config())
    }
}

impl<F: Framing> Client<F> {
    /// A builder for a link with other settings or another framing.
    pub fn with_config(address: impl ToAddress, config: Config<F>) -> ClientBuilder<F> {
        let address = &address.to_address();
        ClientBuilder::new(address, config)
    }

    /// Makes a link after a recipe, and connects it in the background.
    pub(crate) fn open(recipe: &Recipe<F>) -> Result<Self, ConnectError> {
        let client = bowline_driver::Client::open(recipe)?;
        let peer = bowline_driver::Peer::clone(&client).into();
        Ok(Self { peer, client })
    }

    /// Waits for the first handshake; the link is given up if it does not come about.
    pub(crate) fn first_connected(&self) -> Result<(), ConnectError> {
        block_on(self.client.first_connected())
    }

    /// Waits until the link is connected and past its handshake.
    ///
    /// # Errors
    /// There will be no further attempt.
    pub fn ready(&self) -> Result<(), ConnectError> {
        block_on(self.client.ready())
    }

    /// The same as a future.
    pub(crate) fn poll_ready(&self) -> impl Future<Output = Result<(), ConnectError>> + use<F> {
        let client = self.client.clone();
        async move { client.ready().await }
    }

    /// Closes the link: takes nothing new, finishes what is under way for at most the configured
    /// linger, and hands back what could not be sent. All clones are closed with it.
    pub fn close(self) -> Vec<Undelivered> {
        block_on(self.client.close())
    }
}

/// Builds a [`Client`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder<F: Framing = Native> {
    parts: ClientParts<F>,
}

impl<F: Framing> ClientBuilder<F> {
    pub(crate) fn new(address: &str, config: Config<F>) -> Self {
        Self { parts: ClientParts::new(address, config) }
    }

    /// Another place to connect to, tried in turn.
    pub fn endpoint(mut self, address: impl ToAddress) -> Self {
        let address = &address.to_address();
        self.parts.endpoint(address);
        self
    }

    /// The link is seen by `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.monitor(monitor, label);
        self
    }

    /// Other settings. Set them before [`on_request`](Self::on_request), which takes the number
    /// of handler threads from them.
    pub fn config(mut self, config: Config<F>) -> Self {
        self.parts.config = config;
        self
    }

    /// Called whenever a connection is ready.
    pub fn on_connect(mut self, f: impl Fn(&Peer<F>) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_connect(move |peer| f(&peer.clone().into()));
        self
    }

    /// Called inline for every message; without it, messages wait for [`Peer::receive`].
    pub fn on_message<H: Handled>(
        mut self,
        f: impl Fn(&Context<'_, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
    ) -> Self {
        self.parts.handlers.on_message(f);
        self
    }

    /// Called whenever a connection that was ready has ended.
    pub fn on_disconnect(mut self, f: impl Fn(&Peer<F>, &Disconnect) + Send + Sync + 'static) -> Self {
        self.parts.handlers.on_disconnect(move |peer, cause| f(&peer.clone().into(), cause));
        self
    }

    /// Answers the server's requests on a pool of threads; may take its time, and may call back.
    pub fn on_request<H, A>(mut self, handler: H) -> Self
    where
        H: Fn(Request<F>) -> Result<A, Failure> + Send + Sync + 'static,
        A: Into<Answer> + 'static,
    {
        let pool = HandlerPool::new(self.parts.config.handler_threads());
        self.parts.handlers.on_request(PoolHandler::new(handler, pool));
        self
    }

    /// Answers the server's requests inline: the fastest, and must not wait.
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

    /// Connects and waits for the first handshake.
    ///
    /// # Errors
    /// See [`Client::connect`].
    pub fn connect(self) -> Result<Client<F>, ConnectError> {
        let client = self.connect_lazy()?;
        client.first_connected()?;
        Ok(client)
    }

    /// Returns at once and connects in the background.
    ///
    /// # Errors
    /// See [`Client::connect_lazy`].
    pub fn connect_lazy(self) -> Result<Client<F>, ConnectError> {
        Client::open(&self.parts.into_recipe())
    }

    /// What it is made of.
    pub(crate) fn into_parts(self) -> ClientParts<F> {
        self.parts
    }
}
