//! The addresses of an endpoint, which the owner of the connection dials one after another.

use std::io;
use std::net::SocketAddr;

use bowline_core::address::Address;
use bowline_core::error::{ConfigError, Disconnect, TransportError, TransportKind};
use bowline_core::proxy::Proxy;
use bowline_core::supervisor::{DialFailure, Endpoint};

use crate::error::{ConnectError, transport, unresolved};

/// The addresses of an endpoint, and the results of those that were dialed.
#[derive(Debug)]
pub struct Addresses {
    endpoint: Endpoint,
    /// The proxy that is dialed instead.
    via: Option<Endpoint>,
    left: std::vec::IntoIter<Address>,
    last: Option<ConnectError>,
}

impl Addresses {
    /// The addresses of an endpoint as text. If it has a [`name`](Self::name), that has to be resolved first.
    ///
    /// # Errors
    /// The address is invalid.
    pub fn of(text: &str) -> Result<Self, ConfigError> {
        Self::through(text, None)
    }

    /// The addresses of the proxy to dial instead of the endpoint, or those of the endpoint.
    ///
    /// # Errors
    /// The address is invalid.
    pub fn through(text: &str, proxy: Option<&Proxy>) -> Result<Self, ConfigError> {
        let endpoint: Endpoint = text.parse()?;
        let via = proxy.and_then(|proxy| proxy.entrance(&endpoint)).cloned();
        let known = match via.as_ref().unwrap_or(&endpoint) {
            Endpoint::Address(address) => vec![address.clone()],
            _ => Vec::new(),
        };
        Ok(Self { endpoint, via, left: known.into_iter(), last: None })
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The name and port to resolve, if the address is a name.
    #[must_use]
    pub fn name(&self) -> Option<(String, u16)> {
        match self.via.as_ref().unwrap_or(&self.endpoint) {
            Endpoint::Name { host, port } => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// Sets the result of the name resolution.
    pub fn resolved(&mut self, found: io::Result<Vec<SocketAddr>>) {
        match found {
            Ok(found) => self.left = found.into_iter().map(Address::Tcp).collect::<Vec<_>>().into_iter(),
            Err(error) => self.last = Some(self.failed(None, unresolved(error).into())),
        }
    }

    /// The next address to dial.
    pub fn next_address(&mut self) -> Option<Address> {
        self.left.next()
    }

    /// An address could not be dialed.
    pub fn refused(&mut self, address: Address, error: io::Error) {
        self.last = Some(self.failed(Some(address), transport(error).into()));
    }

    /// The error for a failure at that address.
    #[must_use]
    pub fn failed(&self, address: Option<Address>, cause: Disconnect) -> ConnectError {
        let dialed = self.via.as_ref().unwrap_or(&self.endpoint);
        let place = address.clone().map_or_else(|| dialed.clone(), Endpoint::from);
        let failure = DialFailure::new(self.endpoint.clone(), address, cause.at(place));
        ConnectError::Failed(Box::new(failure.through(self.via.clone())))
    }

    /// The error when no address is left.
    #[must_use]
    pub fn into_error(self) -> ConnectError {
        let nothing = || TransportError::new(TransportKind::Resolve, "the name has no addresses");
        let Self { ref last, .. } = self;
        last.clone().unwrap_or_else(|| self.failed(None, nothing().into()))
    }
}
