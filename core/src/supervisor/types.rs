//! The types in the interface between a supervisor and its driver.

use alloc::string::String;
use core::fmt;

use super::Endpoint;
use crate::address::Address;
use crate::error::Disconnect;
use crate::time::Instant;

/// The number of a connection of a link, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Before the first connection.
    pub const NONE: Self = Self(0);
    /// The first connection.
    pub const FIRST: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The id of a name resolution or dial, by which late results are recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(pub(super) u64);

/// An action for the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Resolve a name and call [`Supervisor::handle_resolved`](super::Supervisor::handle_resolved).
    Resolve {
        /// The id of the attempt.
        attempt: AttemptId,
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Connect and call [`Supervisor::handle_dialed`](super::Supervisor::handle_dialed).
    Dial {
        /// The id of the attempt.
        attempt: AttemptId,
        /// The address: the proxy's, if there is one.
        address: Address,
        /// The endpoint that the address belongs to: with the host's name, if it has one. Through a proxy,
        /// the endpoint that the proxy has to connect to.
        endpoint: Endpoint,
    },
    /// Abandon a name resolution or dial; its result is ignored.
    Abandon {
        /// The id of the attempt.
        attempt: AttemptId,
    },
    /// Close a connection: its handshake took too long, its endpoint was removed, or the link is stopped.
    Close {
        /// The number of the connection.
        epoch: Epoch,
        /// The reason.
        cause: Disconnect,
    },
    /// A dial, a name resolution or a handshake failed. For information only. At most the newest 64 of them
    /// wait to be fetched.
    AttemptFailed {
        /// The number of the attempt, counted from 1 over all endpoints since the last healthy connection.
        /// Several addresses of one endpoint are one attempt.
        attempt: u32,
        /// The failure.
        failure: DialFailure,
    },
    /// All endpoints failed. Another round follows unless `GaveUp` does.
    /// [`Supervisor::last_round`](super::Supervisor::last_round) has the details.
    RoundFailed {
        /// The failure of the last one.
        failure: DialFailure,
    },
    /// A wait began: all endpoints failed, or a connection was too short. For information only.
    Waiting {
        /// The number of the next attempt.
        attempt: u32,
        /// The end of the wait.
        until: Instant,
        /// Why the last attempt failed, or the last connection ended.
        cause: Disconnect,
    },
    /// There will be no further attempt.
    GaveUp {
        /// Why the last attempt failed.
        cause: Disconnect,
    },
}

/// The next step for a connected socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    /// It is the link's connection now, with this epoch.
    Use(Epoch),
    /// Another one was faster, or the connection is no longer wanted: close it.
    Discard,
}

/// One failure while the endpoints were tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("could not connect to {}", self.place())]
#[non_exhaustive]
pub struct DialFailure {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The address that was tried. `None` if the name was not resolved yet. Through a proxy it is the proxy's
    /// address.
    pub address: Option<Address>,
    /// The (first) proxy, if there is one.
    pub via: Option<Endpoint>,
    /// The reason.
    #[source]
    pub cause: Disconnect,
}

impl DialFailure {
    /// A failure of an endpoint, at one of its addresses.
    #[must_use]
    pub fn new(endpoint: Endpoint, address: Option<Address>, cause: Disconnect) -> Self {
        Self { endpoint, address, via: None, cause }
    }

    /// Adds the proxy.
    #[must_use]
    pub fn through(mut self, proxy: Option<Endpoint>) -> Self {
        self.via = proxy;
        self
    }

    /// The place of the failure, for display: the endpoint, the proxy if there is one, and the address if the
    /// endpoint is a name.
    pub fn place(&self) -> impl fmt::Display + '_ {
        Place(self)
    }
}

struct Place<'a>(&'a DialFailure);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DialFailure { endpoint, address, via, .. } = self.0;
        if via.is_some() {
            write!(f, "{endpoint} through the proxy ")?;
        }
        let dialed = via.as_ref().unwrap_or(endpoint);
        match (dialed, address) {
            (Endpoint::Name { .. }, Some(address)) => write!(f, "{dialed} ({address})"),
            _ => dialed.fmt(f),
        }
    }
}
