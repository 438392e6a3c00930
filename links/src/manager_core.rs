//! The links and servers of a manager, by address, for any runtime.

use std::collections::HashMap;

use bowline_core::config::Config;
use bowline_core::error::{CastError, Chain, ConfigError, Failure, Status};
use bowline_core::frame::Framing;
use bowline_core::link::{State, Undelivered};
use bowline_core::supervisor::Endpoint;
use bowline_driver::error::{BindError, ConnectError};
use bowline_driver::sync::Mutex;

use crate::link_service::Drained;
use crate::peer_core::PeerCore;
use crate::recipe::{ClientParts, Recipe};

/// Why an operation of a manager failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A link or a server with this address is open already.
    #[error("{0} is open already")]
    AlreadyOpened(String),
    /// No link with this address was opened, and the manager has no default settings.
    #[error("{0} must be opened first")]
    NotOpened(String),
    /// The address is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The link could not be connected.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server could not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The message was not delivered; the error contains it.
    #[error(transparent)]
    Cast(#[from] CastError),
}

impl From<ManagerError> for Failure {
    fn from(error: ManagerError) -> Self {
        Self::new(Status::FAILED, Chain(&error).to_string())
    }
}

impl ManagerError {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Cast(error) => error.is_retryable(),
            Self::AlreadyOpened(_) | Self::NotOpened(_) | Self::Config(_) | Self::Bind(_) => false,
        }
    }
}

/// The result of closing a manager.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Messages that could not be sent, with the address that they were for.
    pub undelivered: Vec<(String, Undelivered)>,
    /// The result of each server's shutdown, with its address.
    pub servers: Vec<(String, Drained)>,
}

/// Values with their addresses.
pub(crate) type Named<T> = Vec<(String, T)>;

/// The links and servers of a manager, by address, for any runtime.
#[derive(Debug)]
pub(crate) struct ManagerCore<F: Framing, C, S> {
    links: Mutex<HashMap<String, Entry<F, C>>>,
    servers: Mutex<HashMap<String, Listening<S>>>,
    defaults: Option<Recipe<F>>,
}

/// A server, stored under the address that it listens at.
#[derive(Debug)]
struct Listening<S> {
    server: S,
    /// The name by which it was requested, if that differs from the address.
    name: Option<String>,
}

/// The address under which the server with this name is stored.
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
    /// Nothing is open. With `defaults`, writing to a new address opens a link.
    #[must_use]
    pub(crate) fn new(defaults: Option<Config<F>>) -> Self {
        let defaults = defaults.map(|config| ClientParts::new("", config).into_recipe());
        Self { links: Mutex::default(), servers: Mutex::default(), defaults }
    }

    /// Opens a link from a recipe.
    ///
    /// # Errors
    /// [`ManagerError::AlreadyOpened`], or the error of `open`.
    pub(crate) fn dial(
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

    /// The link for a write: an open one; if it is over, it is opened again; if there was none, it is opened
    /// with the default settings. `true`: it was opened just now.
    ///
    /// # Errors
    /// Not opened and no default settings, or the error of `open`.
    pub(crate) fn link(
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

    /// The link to an address, if one is open.
    #[must_use]
    pub(crate) fn client(&self, address: &str) -> Option<C> {
        self.links.lock().get(&normal(address).ok()?).map(|entry| entry.client.clone())
    }

    /// Removes a link.
    ///
    /// # Errors
    /// There is no such link.
    pub(crate) fn take_link(&self, address: &str) -> Result<C, ManagerError> {
        let address = normal(address)?;
        let entry = self.links.lock().remove(&address);
        entry.map(|entry| entry.client).ok_or(ManagerError::NotOpened(address))
    }

    /// Removes a link that could not be connected, unless another one has taken its place.
    pub(crate) fn forget(&self, address: &str, is_over: impl Fn(&C) -> bool) {
        let Ok(address) = normal(address) else { return };
        let mut links = self.links.lock();
        let over = links.get(&address).is_some_and(|entry| is_over(&entry.client));
        let entry = if over { links.remove(&address) } else { None };
        drop(links);
        drop(entry);
    }

    /// Stores a server that was requested as `name` and listens at `address`. It is found by both.
    ///
    /// # Errors
    /// There is a server at that address already.
    pub(crate) fn listen(&self, name: &str, address: String, server: S) -> Result<(), ManagerError> {
        let name = listen_name(name)?;
        let mut servers = self.servers.lock();
        if let Some(filed) = filed(&servers, &address) {
            return Err(ManagerError::AlreadyOpened(filed));
        }
        // Port 0 means a different port every time.
        let is_name = name != address && !name.ends_with(":0");
        servers.insert(address, Listening { server, name: is_name.then_some(name) });
        Ok(())
    }

    /// Whether a server listens at an address.
    ///
    /// # Errors
    /// There is one already, or the address is invalid.
    pub(crate) fn check_listen(&self, address: &str) -> Result<(), ManagerError> {
        match filed(&self.servers.lock(), &listen_name(address)?) {
            Some(filed) => Err(ManagerError::AlreadyOpened(filed)),
            None => Ok(()),
        }
    }

    /// The server at an address.
    #[must_use]
    pub(crate) fn server(&self, address: &str) -> Option<S> {
        let servers = self.servers.lock();
        let filed = filed(&servers, &listen_name(address).ok()?)?;
        servers.get(&filed).map(|listening| listening.server.clone())
    }

    /// Removes a server.
    ///
    /// # Errors
    /// There is no such server.
    pub(crate) fn take_server(&self, address: &str) -> Result<S, ManagerError> {
        let name = listen_name(address)?;
        let mut servers = self.servers.lock();
        let taken = filed(&servers, &name).and_then(|filed| servers.remove(&filed));
        taken.map(|listening| listening.server).ok_or(ManagerError::NotOpened(name))
    }

    /// Removes everything.
    pub(crate) fn take_all(&self) -> (Named<C>, Named<S>) {
        let links = std::mem::take(&mut *self.links.lock());
        let servers = std::mem::take(&mut *self.servers.lock());
        (
            links.into_iter().map(|(address, entry)| (address, entry.client)).collect(),
            servers.into_iter().map(|(address, listening)| (address, listening.server)).collect(),
        )
    }

    /// The addresses of links and of servers.
    #[must_use]
    pub(crate) fn addresses(&self) -> (Vec<String>, Vec<String>) {
        let links = self.links.lock().keys().cloned().collect();
        (links, self.servers.lock().keys().cloned().collect())
    }
}

/// Normalises an address: with and without `tcp://` are the same.
fn normal(address: &str) -> Result<String, ConfigError> {
    Ok(address.parse::<Endpoint>()?.to_string())
}

/// Normalises an address to listen at: a port alone means all interfaces there, not this host.
fn listen_name(address: &str) -> Result<String, ConfigError> {
    let plain = address.strip_prefix("tcp://").unwrap_or(address);
    let name = normal(address)?;
    Ok(if plain.starts_with(':') { plain.to_owned() } else { name })
}

/// Whether a link is closed for good, or is closing.
#[must_use]
pub(crate) fn is_over<F: Framing>(peer: &PeerCore<F>) -> bool {
    matches!(peer.state(), State::Closed | State::Draining)
}

#[cfg(test)]
mod tests {
    use bowline_core::frame::native::Native;

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
        // A port that the system chooses is a different one every time.
        core.listen("localhost:0", "127.0.0.1:1".to_owned(), 4).unwrap();
        core.check_listen("localhost:0").unwrap();
        core.listen("localhost:0", "127.0.0.1:2".to_owned(), 5).unwrap();
    }
}
