//! The words between a supervisor and its driver.

use alloc::string::String;
use core::fmt;

use super::Endpoint;
use crate::address::Address;
use crate::error::Disconnect;
use crate::time::Instant;

/// Numbers a link's connections, from 1.
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

/// Numbers name look-ups and dials, so that late results are known as such.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(pub(super) u64);

/// What the driver has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Look a name up and tell [`Supervisor::handle_resolved`](super::Supervisor::handle_resolved).
    Resolve {
        /// Whose result it is.
        attempt: AttemptId,
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Connect and tell [`Supervisor::handle_dialed`](super::Supervisor::handle_dialed).
    Dial {
        /// Whose result it is.
        attempt: AttemptId,
        /// Where to: the proxy, if there is one.
        address: Address,
        /// The endpoint that it belongs to: with the host's name, if it has one. Through a proxy, what the proxy has to
        /// connect to.
        endpoint: Endpoint,
    },
    /// Forget that look-up or dial; its result does not matter any more.
    Abandon {
        /// Which.
        attempt: AttemptId,
    },
    /// Close that connection: its handshake took too long, its endpoint was taken away, or the
    /// link is stopped.
    Close {
        /// Which.
        epoch: Epoch,
        /// Why.
        cause: Disconnect,
    },
    /// A dial, a look-up or a handshake failed: for those who want to know. Nothing is to be done.
    /// At most 64 of them wait to be fetched, the newest.
    AttemptFailed {
        /// Which attempt it was, from 1, counted over all endpoints since the last healthy
        /// connection. Several addresses of one endpoint are one attempt.
        attempt: u32,
        /// What was tried, and what came of it.
        failure: DialFailure,
    },
    /// All endpoints were tried in vain. Another round follows unless `GaveUp` does.
    /// [`Supervisor::last_round`](super::Supervisor::last_round) has the details.
    RoundFailed {
        /// How the last of them failed.
        failure: DialFailure,
    },
    /// A wait began: all endpoints were tried in vain, or a connection did not last. For those who want
    /// to know.
    Waiting {
        /// Which attempt comes next.
        attempt: u32,
        /// When.
        until: Instant,
        /// Why the last attempt failed, or the last connection ended.
        cause: Disconnect,
    },
    /// There will be no further attempt.
    GaveUp {
        /// Why the last one failed.
        cause: Disconnect,
    },
}

/// What to do with a socket that was connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    /// It is the link's connection now, with that epoch.
    Use(Epoch),
    /// Another was faster, or the connection is not wanted any more: close it.
    Discard,
}

/// One thing that went wrong while all endpoints were tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("could not connect to {}", self.place())]
#[non_exhaustive]
pub struct DialFailure {
    /// What was tried.
    pub endpoint: Endpoint,
    /// At which of its addresses. `None`: there was none yet, the name was being looked up. Through a proxy it is the
    /// proxy's.
    pub address: Option<Address>,
    /// Through which proxy (the first of them), if through any.
    pub via: Option<Endpoint>,
    /// What came of it.
    #[source]
    pub cause: Disconnect,
}

impl DialFailure {
    /// What was tried, at which of its addresses, and what came of it.
    #[must_use]
    pub fn new(endpoint: Endpoint, address: Option<Address>, cause: Disconnect) -> Self {
        Self { endpoint, address, via: None, cause }
    }

    /// The same, through that proxy.
    #[must_use]
    pub fn through(mut self, proxy: Option<Endpoint>) -> Self {
        self.via = proxy;
        self
    }

    /// Where it was tried, to be printed: the endpoint, the proxy if there is one, and the address where that does not
    /// say it.
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
