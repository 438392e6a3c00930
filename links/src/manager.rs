//! Many listeners and outgoing links, by address.

use std::future::Future;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CastError, CastRefusal};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CastOptions, Link, Undelivered};
use bowline_core::machine::Machine;
use bowline_driver::clock;
use bowline_driver::error::{BindError, ConnectError};
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;

use crate::client::{Client, ClientBuilder};
use crate::link_service::Drained;
use crate::manager_core::{Closed, ManagerCore, ManagerError, is_over};
use crate::server::{Server, ServerBuilder};

type Core<R, F> = ManagerCore<F, Client<R, F>, Server<R, F>>;

/// Holds many listeners and outgoing links, by address. Cheap to clone; safe to share between threads and
/// tasks.
///
/// There is one link per address, which all callers share. The type corresponds to buffstreams' `Manager`,
/// with the same meaning of `AlreadyOpened` and `NotOpened`.
pub struct Manager<R: Runtime, F: Framing = Native> {
    core: Arc<Core<R, F>>,
}

impl<R: Runtime, F: Framing> Clone for Manager<R, F> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Manager<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Manager").field(&self.core.addresses()).finish()
    }
}

impl<R: Runtime, F: Framing> Default for Manager<R, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime, F: Framing> Manager<R, F> {
    /// A manager that writes only to addresses that were dialed before.
    #[must_use]
    pub fn new() -> Self {
        Self { core: Arc::new(ManagerCore::new(None)) }
    }

    /// A manager that opens a link with these settings on the first write to a new address.
    #[must_use]
    pub fn with_defaults(config: Config<F>) -> Self {
        Self { core: Arc::new(ManagerCore::new(Some(config))) }
    }

    /// Opens a link to an address and waits for its first handshake.
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or the connection failed; no further attempts are made then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the link open, connecting in the background.
    pub fn dial(
        &self,
        address: impl ToAddress,
        config: Config<F>,
    ) -> Wait<R, impl Future<Output = Result<Client<R, F>, ManagerError>> + Send> {
        self.dial_with(ClientBuilder::new(&address.to_address(), config))
    }

    /// As [`dial`](Self::dial), with handlers. The link is known by the builder's first address.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    ///
    /// # Cancel safety
    /// As [`dial`](Self::dial).
    pub fn dial_with(
        &self,
        builder: ClientBuilder<R, F>,
    ) -> Wait<R, impl Future<Output = Result<Client<R, F>, ManagerError>> + Send> {
        R::Style::wait(self.dialed(builder), || Err(ConnectError::WouldPark.into()))
    }

    async fn dialed(&self, builder: ClientBuilder<R, F>) -> Result<Client<R, F>, ManagerError> {
        let recipe = builder.into_recipe();
        let address = recipe.address().to_owned();
        let client = self.core.dial(recipe, |client| is_over(client), Client::open)?;
        self.first_connected(&address, &client).await?;
        Ok(client)
    }

    async fn first_connected(&self, address: &str, client: &Client<R, F>) -> Result<(), ManagerError> {
        let connected = client.first_connected().await;
        if connected.is_err() {
            self.core.forget(address, |client| is_over(client));
        }
        Ok(connected?)
    }

    /// Listens at an address and serves in the background. The server is found by that address, and also by
    /// its actual address if that differs (the name was resolved, the port was chosen by the system).
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or the server could not listen.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn listen(
        &self,
        address: impl ToAddress,
        builder: ServerBuilder<R, F>,
    ) -> Wait<R, impl Future<Output = Result<Server<R, F>, ManagerError>> + Send> {
        R::Style::wait_now(self.listening(&address.to_address(), builder))
    }

    fn listening(&self, address: &str, builder: ServerBuilder<R, F>) -> Result<Server<R, F>, ManagerError> {
        self.core.check_listen(address)?;
        let server = builder.bound(address)?;
        self.core.listen(address, server.local_addr().to_string(), server.clone())?;
        server.start().map_err(BindError::from)?;
        Ok(server)
    }

    /// Writes a message to an address, waits until it is written, and returns the number of bytes on the
    /// wire. A link that is over is opened again first. An address that was never opened is opened if the
    /// manager has default settings.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`], [`ManagerError::Connect`], or the message was not written:
    /// [`ManagerError::Cast`] contains it.
    ///
    /// # Cancel safety
    /// As [`Peer::cast_and_wait`](crate::Peer::cast_and_wait).
    pub fn write<'a>(
        &'a self,
        address: impl ToAddress,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<usize, ManagerError>> + Send> {
        self.write_with(address, CastOptions::default(), payload)
    }

    /// [`write`](Self::write) with options.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// As [`write`](Self::write).
    pub fn write_with<'a>(
        &'a self,
        address: impl ToAddress,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<usize, ManagerError>> + Send> {
        let (address, payload) = (address.to_address(), payload.into());
        let back = payload.clone();
        let would_park = || {
            let error = CastError::new(CastRefusal::WouldPark, Some(back.into_bytes()));
            Err(error.into())
        };
        R::Style::wait(self.written(address, options, payload), would_park)
    }

    async fn written(
        &self,
        address: String,
        options: CastOptions,
        payload: Payload<'_>,
    ) -> Result<usize, ManagerError> {
        let address = &address;
        let (client, opened) = self.core.link(address, |client| is_over(client), Client::open)?;
        if opened {
            self.first_connected(address, &client).await?;
        }
        let mut cast = client.as_ref().cast_and_wait_with(options, payload);
        (&mut cast).await?;
        Ok(cast.bytes())
    }

    /// The link to an address, if one is open, for example to call or to receive over it.
    #[must_use]
    pub fn client(&self, address: impl ToAddress) -> Option<Client<R, F>> {
        let address = &address.to_address();
        self.core.client(address)
    }

    /// The server that listens at an address.
    #[must_use]
    pub fn server(&self, address: impl ToAddress) -> Option<Server<R, F>> {
        let address = &address.to_address();
        self.core.server(address)
    }

    /// The addresses of links and of servers, in no particular order.
    #[must_use]
    pub fn addresses(&self) -> (Vec<String>, Vec<String>) {
        self.core.addresses()
    }

    /// Closes the link to an address: finishes the work under way, and returns the messages that could not be
    /// sent.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the link is still closed in the background.
    pub fn close_link(
        &self,
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Vec<Undelivered>, ManagerError>> + Send> {
        let client = self.core.take_link(&address.to_address());
        let begun = client.as_ref().map(|client| client.begin_close()).is_ok();
        let closed = async move { Ok(client?.closed().await) };
        R::Style::wait(
            closed,
            move || if begun { Ok(Vec::new()) } else { Err(ConnectError::WouldPark.into()) },
        )
    }

    /// Closes the server at an address: it accepts no new connections, and finishes the requests in flight.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the server is still closed in the background.
    pub fn close_listener(
        &self,
        address: impl ToAddress,
    ) -> Wait<R, impl Future<Output = Result<Drained, ManagerError>> + Send> {
        let server = self.core.take_server(&address.to_address());
        let begun = server.as_ref().map(Server::begin_shutdown).is_ok();
        let stopped = async move { Ok(server?.drained().await) };
        R::Style::wait(stopped, move || {
            if begun { Ok(Drained::default()) } else { Err(ConnectError::WouldPark.into()) }
        })
    }

    /// Begins to close all links and servers; does not wait.
    pub fn close_all(&self) {
        let (links, servers) = self.core.take_all();
        for (_, client) in links {
            client.begin_close();
        }
        for (_, server) in servers {
            server.begin_shutdown();
        }
    }

    /// Closes all links and servers, finishes the work under way for at most `linger`, and waits for the end.
    ///
    /// # Cancel safety
    /// If the future is dropped, closing continues in the background; only the result is lost.
    pub fn close_and_wait(&self, linger: Duration) -> Wait<R, impl Future<Output = Closed> + Send> {
        let (links, servers) = self.core.take_all();
        let until = clock::after(linger);
        for (_, client) in &links {
            client.shared().with(|link: &mut Link<F, _>| link.close(clock::now(), linger));
        }
        for (_, server) in &servers {
            server.begin_shutdown_within(linger);
        }
        let closed = async move {
            let mut closed = Closed::default();
            for (address, client) in links {
                let undelivered = client.ended(until).await;
                closed.undelivered.extend(undelivered.into_iter().map(|message| (address.clone(), message)));
            }
            for (address, server) in servers {
                closed.servers.push((address, server.drained().await));
            }
            closed
        };
        R::Style::wait(closed, Closed::default)
    }
}
