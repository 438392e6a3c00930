//! Many listeners and outgoing links, by address.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CastOptions, Undelivered};
use bowline_core::machine::Machine;
use bowline_driver::ToAddress;
use bowline_driver::manager::{ManagerCore, is_over};
use bowline_driver::{BindError, Closed, Drained, ManagerError, clock};

use crate::client::{Client, ClientBuilder};
use crate::park::block_on;
use crate::server::{Server, ServerBuilder};

/// Holds many listeners and outgoing links by address; safe to share, cheap to clone.
///
/// Links are shared, not pooled: there is one to an address, and everybody writes over it. This is
/// buffstreams' `Manager`, with `AlreadyOpened` and `NotOpened` as it has them.
///
/// ```
/// use bowline_blocking::{Manager, Server};
/// use bowline_core::config::Config;
///
/// let manager = Manager::new();
/// let server = manager.listen("127.0.0.1:0", Server::builder())?;
/// let address = server.local_addr().to_string();
/// manager.dial(&address, Config::default())?;
/// let bytes = manager.write(&address, b"hello")?;
/// assert!(bytes > 5);
/// manager.close_and_wait(std::time::Duration::from_secs(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Manager<F: Framing = Native> {
    core: Arc<ManagerCore<F, Client<F>, Server<F>>>,
}

impl<F: Framing> Clone for Manager<F> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<F: Framing> Default for Manager<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Framing> Manager<F> {
    /// One that writes only to what was dialed.
    #[must_use]
    pub fn new() -> Self {
        Self { core: Arc::new(ManagerCore::new(None)) }
    }

    /// One that opens a link with these settings when somebody writes to a new address.
    #[must_use]
    pub fn with_defaults(config: Config<F>) -> Self {
        Self { core: Arc::new(ManagerCore::new(Some(config))) }
    }

    /// Opens a link to an address and waits for its first handshake.
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or it could not be connected; nothing goes on then.
    pub fn dial(&self, address: impl ToAddress, config: Config<F>) -> Result<Client<F>, ManagerError> {
        let address = &address.to_address();
        self.dial_with(ClientBuilder::new(address, config))
    }

    /// The same with handlers. The builder's first address is what the link goes by.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub fn dial_with(&self, builder: ClientBuilder<F>) -> Result<Client<F>, ManagerError> {
        let recipe = builder.into_parts().into_recipe();
        let address = recipe.address().to_owned();
        let client = self.core.dial(recipe, |client| is_over(client), Client::open)?;
        self.first_connected(&address, &client)?;
        Ok(client)
    }

    fn first_connected(&self, address: &str, client: &Client<F>) -> Result<(), ManagerError> {
        let connected = client.first_connected();
        if connected.is_err() {
            self.core.forget(address, |client| is_over(client));
        }
        Ok(connected?)
    }

    /// Listens at an address and serves in the background.
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or the server could not listen.
    pub fn listen(
        &self,
        address: impl ToAddress,
        builder: ServerBuilder<F>,
    ) -> Result<Server<F>, ManagerError> {
        let address = &address.to_address();
        self.core.check_listen(address)?;
        let server = builder.bind(address)?;
        self.core.listen(address, server.local_addr().to_string(), server.clone())?;
        server.start().map_err(BindError::from)?;
        Ok(server)
    }

    /// Writes a message to an address, and returns the bytes that it took on the wire once they are
    /// written. A link that is over is opened again first; one that was never opened is if the
    /// manager has defaults.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`], [`ManagerError::Connect`], or the message was not written:
    /// [`ManagerError::Cast`] has it.
    pub fn write<'a>(
        &self,
        address: impl ToAddress,
        payload: impl Into<Payload<'a>>,
    ) -> Result<usize, ManagerError> {
        self.write_with(address, CastOptions::default(), payload)
    }

    /// [`write`](Self::write) with options.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with<'a>(
        &self,
        address: impl ToAddress,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<usize, ManagerError> {
        let address = &address.to_address();
        let (client, opened) = self.core.link(address, |client| is_over(client), Client::open)?;
        if opened {
            self.first_connected(address, &client)?;
        }
        // Not for as long as the caller's bytes live, but as this borrow.
        let payload: Payload<'_> = payload.into();
        let mut cast = bowline_driver::Peer::cast_and_wait_with(&client, options, payload);
        block_on(&mut cast)?;
        Ok(cast.bytes())
    }

    /// The link to an address, if it was opened: to call, receive, and look at.
    #[must_use]
    pub fn client(&self, address: impl ToAddress) -> Option<Client<F>> {
        let address = &address.to_address();
        self.core.client(address)
    }

    /// The server that listens at an address.
    #[must_use]
    pub fn server(&self, address: impl ToAddress) -> Option<Server<F>> {
        let address = &address.to_address();
        self.core.server(address)
    }

    /// The addresses of links and of servers, in no order.
    #[must_use]
    pub fn addresses(&self) -> (Vec<String>, Vec<String>) {
        self.core.addresses()
    }

    /// Closes the link to an address: finishes what is under way, and hands back what could not be
    /// sent.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`].
    pub fn close_link(&self, address: impl ToAddress) -> Result<Vec<Undelivered>, ManagerError> {
        let address = &address.to_address();
        Ok(self.core.take_link(address)?.close())
    }

    /// Closes the server at an address: it accepts nothing more, and finishes the requests in
    /// flight.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`].
    pub fn close_listener(&self, address: impl ToAddress) -> Result<Drained, ManagerError> {
        let address = &address.to_address();
        Ok(self.core.take_server(address)?.shutdown())
    }

    /// Begins to close everything, and does not wait.
    pub fn close_all(&self) {
        let (links, servers) = self.core.take_all();
        links.iter().for_each(|(_, client)| client.begin_close());
        servers.iter().for_each(|(_, server)| server.begin_shutdown());
    }

    /// Closes everything, finishing what is under way for at most `linger`, and waits for that.
    pub fn close_and_wait(&self, linger: Duration) -> Closed {
        let (links, servers) = self.core.take_all();
        for (_, client) in &links {
            client.shared().with(|link| link.close(clock::now(), linger));
        }
        for (_, server) in &servers {
            server.begin_shutdown_within(linger);
        }
        let mut closed = Closed::default();
        for (address, client) in links {
            let undelivered = client.close();
            closed.undelivered.extend(undelivered.into_iter().map(|message| (address.clone(), message)));
        }
        for (address, server) in servers {
            closed.servers.push((address, server.shutdown_within(linger)));
        }
        closed
    }
}
