//! The words between a supervisor and its driver.

use alloc::string::String;

use super::Endpoint;
use crate::address::Address;
use crate::error::Disconnect;

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
        /// Where to.
        address: Address,
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
    /// All endpoints were tried in vain. Another round follows unless `GaveUp` does.
    /// [`Supervisor::last_round`](super::Supervisor::last_round) has the details.
    RoundFailed {
        /// Why the last of them failed.
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
    /// Another was faster, or nobody waits for it any more: close it.
    Discard,
}

/// One thing that went wrong while all endpoints were tried.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{endpoint}{}: {cause}", Tried(.endpoint, .address))]
#[non_exhaustive]
pub struct DialFailure {
    /// What was tried.
    pub endpoint: Endpoint,
    /// At which of its addresses. `None`: there was none yet, the name was being looked up.
    pub address: Option<Address>,
    /// What came of it.
    pub cause: Disconnect,
}

/// The address, where the endpoint does not say it already.
struct Tried<'a>(&'a Endpoint, &'a Option<Address>);

impl core::fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.0, self.1) {
            (Endpoint::Name { .. }, Some(address)) => write!(f, " ({address})"),
            _ => Ok(()),
        }
    }
}
