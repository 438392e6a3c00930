//! Many listeners and outgoing links, by address.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CastError, CastRefusal, ConfigError};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CastOptions, Link, State, Undelivered};
use bowline_core::machine::Machine;
use bowline_core::supervisor::Endpoint;

use crate::client::{Client, ClientBuilder};
use crate::client_parts::{ClientParts, Recipe};
use crate::clock;
use crate::error::{BindError, ConnectError};
use crate::link_service::Drained;
use crate::peer_core::PeerCore;
use crate::runtime::Runtime;
use crate::server::{Server, ServerBuilder};
use crate::style::{Style, Wait};
use crate::sync::{Arc, Mutex};
use crate::to_address::ToAddress;

/// Something that a manager was asked for could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A link, or a listener, is open there already.
    #[error("{0} is open already")]
    AlreadyOpened(String),
    /// Nothing was opened there, and the manager has no default settings to open it with.
    #[error("{0} must be opened first")]
    NotOpened(String),
    /// The address cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The link could not be connected.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server could not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The message was not delivered; it is in the error.
    #[error(transparent)]
    Cast(#[from] CastError),
}

impl ManagerError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Cast(error) => error.is_retryable(),
            Self::AlreadyOpened(_) | Self::NotOpened(_) | Self::Config(_) | Self::Bind(_) => false,
        }
    }
}

/// What closing everything left.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Messages that could not be sent, by the address they were for.
    pub undelivered: Vec<(String, Undelivered)>,
    /// How each server's shutdown went, by its address.
    pub servers: Vec<(String, Drained)>,
}

/// Things by their addresses.
pub type Named<T> = Vec<(String, T)>;

/// The links and servers of a manager, whatever drives them: who is open where.
#[derive(Debug)]
pub struct ManagerCore<F: Framing, C, S> {
    links: Mutex<HashMap<String, Entry<F, C>>>,
    servers: Mutex<HashMap<String, Listening<S>>>,
    defaults: Option<Recipe<F>>,
}

/// A server, filed under the address it listens at.
#[derive(Debug)]
struct Listening<S> {
    server: S,
    /// What it was called when it was asked for, where that is another name for the same place.
    name: Option<String>,
}

/// Under which address the server is filed that goes by that name.
fn filed<S>(servers: &HashMap<String, Listening<S>>, name: &str) -> Option<String> {
    let mut all = servers.iter();
    let found = all.find(|(at, server)| *at == name || server.name.as_deref() == Some(name));
    found.map(|(at, _)| at.clone())
}

#[derive(Debug)]
struct Entry<F: Framing, C> {
    recipe: Recipe<F>,
    client: C,
}

impl<F: Framing, C: Clone, S: Clone> ManagerCore<F, C, S> {
    /// Nothing is open. With `defaults`, writing to a new address opens it.
    #[must_use]
    pub fn new(defaults: Option<Config<F>>) -> Self {
        let defaults = defaults.map(|config| ClientParts::new("", config).into_recipe());
        Self { links: Mutex::default(), servers: Mutex::default(), defaults }
    }

    /// Opens a link after a recipe.
    ///
    /// # Errors
    /// There is one, or `open`'s.
    pub fn dial(
        &self,
        recipe: Recipe<F>,
        is_over: impl Fn(&C) -> bool,
        open: impl Fn(&Recipe<F>) -> Result<C, ConnectError>,
    ) -> Result<C, ManagerError> {
        let address = normal(recipe.address())?;
        let mut links = self.links.lock();
        if links.get(&address).is_some_and(|entry| !is_over(&entry.client)) {
            return Err(ManagerError::AlreadyOpened(address));
        }
        let client = open(&recipe)?;
        let before = links.insert(address, Entry { recipe, client: client.clone() });
        drop(links);
        drop(before);
        Ok(client)
    }

    /// The link to write over: the one that is open; one that is over is opened again; one that
    /// never was is opened with the defaults. True: it was opened just now.
    ///
    /// # Errors
    /// Not opened and no defaults, or `open`'s.
    pub fn link(
        &self,
        address: &str,
        is_over: impl Fn(&C) -> bool,
        open: impl Fn(&Recipe<F>) -> Result<C, ConnectError>,
    ) -> Result<(C, bool), ManagerError> {
        let address = normal(address)?;
        let mut links = self.links.lock();
        if let Some(entry) = links.get_mut(&address) {
            if !is_over(&entry.client) {
                return Ok((entry.client.clone(), false));
            }
            let before = std::mem::replace(&mut entry.client, open(&entry.recipe)?);
            let client = entry.client.clone();
            drop(links);
            drop(before);
            return Ok((client, true));
        }
        let Some(defaults) = &self.defaults else { return Err(ManagerError::NotOpened(address)) };
        let recipe = defaults.to_address(&address);
        let client = open(&recipe)?;
        links.insert(address, Entry { recipe, client: client.clone() });
        Ok((client, true))
    }

    /// The link to an address, if it was opened.
    #[must_use]
    pub fn client(&self, address: &str) -> Option<C> {
        self.links.lock().get(&normal(address).ok()?).map(|entry| entry.client.clone())
    }

    /// Takes a link out.
    ///
    /// # Errors
    /// It is not there.
    pub fn take_link(&self, address: &str) -> Result<C, ManagerError> {
        let address = normal(address)?;
        let entry = self.links.lock().remove(&address);
        entry.map(|entry| entry.client).ok_or(ManagerError::NotOpened(address))
    }

    /// Takes a link out that did not come about, unless another is there by now.
    pub fn forget(&self, address: &str, is_over: impl Fn(&C) -> bool) {
        let Ok(address) = normal(address) else { return };
        let mut links = self.links.lock();
        let over = links.get(&address).is_some_and(|entry| is_over(&entry.client));
        let entry = if over { links.remove(&address) } else { None };
        drop(links);
        drop(entry);
    }

    /// A server that was asked to listen at `name` listens, at `address`. It is found by both.
    ///
    /// # Errors
    /// There is one at that address.
    pub fn listen(&self, name: &str, address: String, server: S) -> Result<(), ManagerError> {
        let name = listen_name(name)?;
        let mut servers = self.servers.lock();
        if let Some(filed) = filed(&servers, &address) {
            return Err(ManagerError::AlreadyOpened(filed));
        }
        // Port 0 is another one every time.
        let is_name = name != address && !name.ends_with(":0");
        servers.insert(address, Listening { server, name: is_name.then_some(name) });
        Ok(())
    }

    /// Whether a server listens at an address.
    ///
    /// # Errors
    /// One does, or the address cannot work.
    pub fn check_listen(&self, address: &str) -> Result<(), ManagerError> {
        match filed(&self.servers.lock(), &listen_name(address)?) {
            Some(filed) => Err(ManagerError::AlreadyOpened(filed)),
            None => Ok(()),
        }
    }

    /// The server at an address.
    #[must_use]
    pub fn server(&self, address: &str) -> Option<S> {
        let servers = self.servers.lock();
        let filed = filed(&servers, &listen_name(address).ok()?)?;
        servers.get(&filed).map(|listening| listening.server.clone())
    }

    /// Takes a server out.
    ///
    /// # Errors
    /// It is not there.
    pub fn take_server(&self, address: &str) -> Result<S, ManagerError> {
        let name = listen_name(address)?;
        let mut servers = self.servers.lock();
        let taken = filed(&servers, &name).and_then(|filed| servers.remove(&filed));
        taken.map(|listening| listening.server).ok_or(ManagerError::NotOpened(name))
    }

    /// Takes everything out.
    pub fn take_all(&self) -> (Named<C>, Named<S>) {
        let links = std::mem::take(&mut *self.links.lock());
        let servers = std::mem::take(&mut *self.servers.lock());
        (
            links.into_iter().map(|(address, entry)| (address, entry.client)).collect(),
            servers.into_iter().map(|(address, listening)| (address, listening.server)).collect(),
        )
    }

    /// The addresses of links and of servers.
    #[must_use]
    pub fn addresses(&self) -> (Vec<String>, Vec<String>) {
        let links = self.links.lock().keys().cloned().collect();
        (links, self.servers.lock().keys().cloned().collect())
    }
}

/// One text for one address: with and without `tcp://` are the same.
fn normal(address: &str) -> Result<String, ConfigError> {
    Ok(address.parse::<Endpoint>()?.to_string())
}

/// The same for listening: a port alone is all interfaces there, and not this host.
fn listen_name(address: &str) -> Result<String, ConfigError> {
    let plain = address.strip_prefix("tcp://").unwrap_or(address);
    let name = normal(address)?;
    Ok(if plain.starts_with(':') { plain.to_owned() } else { name })
}

/// Whether a link is closed for good, or about to be.
#[must_use]
pub fn is_over<F: Framing>(peer: &PeerCore<F>) -> bool {
    matches!(peer.state(), State::Closed | State::Draining)
}

type Core<R, F> = ManagerCore<F, Client<R, F>, Server<R, F>>;

/// Holds many listeners and outgoing links by address; safe to share, cheap to clone.
///
/// Links are shared, not pooled: there is one to an address, and everybody writes over it. This is
/// buffstreams' `Manager`, with `AlreadyOpened` and `NotOpened` as it has them.
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

    /// The same with handlers. The builder's first address is what the link goes by.
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

    /// Listens at an address and serves in the background. The server is found by that address, and
    /// by the one it listens at, where that is another (a name was looked up, a port was chosen).
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or the server could not listen.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
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

    /// Writes a message to an address, and returns the bytes that it took on the wire once they are
    /// written. A link that is over is opened again first; one that was never opened is if the
    /// manager has defaults.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`], [`ManagerError::Connect`], or the message was not written:
    /// [`ManagerError::Cast`] has it.
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

    /// The link to an address, if it was opened: to call, receive, and look at.
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
    ///
    /// # Cancel safety
    /// Closing goes on in the background.
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

    /// Closes the server at an address: it accepts nothing more, and finishes the requests in
    /// flight.
    ///
    /// # Errors
    /// [`ManagerError::NotOpened`].
    ///
    /// # Cancel safety
    /// Closing goes on in the background.
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

    /// Begins to close everything, and does not wait.
    pub fn close_all(&self) {
        let (links, servers) = self.core.take_all();
        for (_, client) in links {
            client.begin_close();
        }
        for (_, server) in servers {
            server.begin_shutdown();
        }
    }

    /// Closes everything, finishing what is under way for at most `linger`, and waits for that.
    ///
    /// # Cancel safety
    /// Closing goes on in the background; only what was left is lost.
    pub fn close_and_wait(&self, linger: Duration) -> Wait<R, impl Future<Output = Closed> + Send> {
        let (links, servers) = self.core.take_all();
        for (_, client) in &links {
            client.shared().with(|link: &mut Link<F, _>| link.close(clock::now(), linger));
        }
        for (_, server) in &servers {
            server.begin_shutdown_within(linger);
        }
        let closed = async move {
            let mut closed = Closed::default();
            for (address, client) in links {
                let undelivered = client.closed().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_found_by_both_names() {
        let core: ManagerCore<Native, (), u8> = ManagerCore::new(None);
        core.listen("localhost:5032", "127.0.0.1:5032".to_owned(), 1).unwrap();
        core.listen(":5031", "[::]:5031".to_owned(), 2).unwrap();
        for (name, server) in [
            ("localhost:5032", Some(1)),
            ("tcp://localhost:5032", Some(1)),
            ("127.0.0.1:5032", Some(1)),
            (":5031", Some(2)),
            ("tcp://:5031", Some(2)),
            ("[::]:5031", Some(2)),
            ("localhost:5031", None),
        ] {
            assert_eq!(core.server(name), server, "{name}");
            assert_eq!(core.check_listen(name).is_err(), server.is_some(), "{name}");
        }
        assert_eq!(core.addresses().1.len(), 2, "each once");
        assert_eq!(core.take_server("localhost:5032").unwrap(), 1);
        assert!(core.take_server("127.0.0.1:5032").is_err());
        core.listen("localhost:5032", "127.0.0.1:5032".to_owned(), 3).unwrap();
        assert_eq!(core.take_server("127.0.0.1:5032").unwrap(), 3);
        assert!(core.take_server("localhost:5032").is_err());
        // A port that the system chooses is another one every time.
        core.listen("localhost:0", "127.0.0.1:1".to_owned(), 4).unwrap();
        core.check_listen("localhost:0").unwrap();
        core.listen("localhost:0", "127.0.0.1:2".to_owned(), 5).unwrap();
    }
}
