//! The limits of the accepting side.

use core::time::Duration;

use crate::error::ConfigError;

/// The memory in bytes that a connection before the end of its handshake counts for at least in
/// [`AcceptLimits::handshake_memory`]: the receive buffer (a hello has at most 1 KiB, credentials at most 4
/// KiB), the link itself, its task, and what every connection of a layer (TLS) takes. What the layer holds of
/// its peer's bytes is added.
pub const HANDSHAKE_COST: usize = 16 * 1024;

/// The limits of a server for its connections. The defaults suit a server on the public Internet.
///
/// ```
/// use bowline_core::config::{AcceptLimits, Config};
/// use core::time::Duration;
///
/// let mut limits = AcceptLimits::default();
/// limits.connections = 1_000;
/// limits.idle = Some(Duration::from_secs(300));
/// let config = Config::builder().accept_limits(limits).build()?;
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AcceptLimits {
    /// Maximum number of connections at once. Further ones are closed as soon as they are accepted, and
    /// counted. Default 16,384.
    pub connections: usize,
    /// Maximum number of connections at once from one address (all Unix connections count as one address, and
    /// so do all in-process ones). Default 16,384, because many users may share one address.
    pub per_address: usize,
    /// Maximum number of connections accepted per second, on average; further ones wait in the system's
    /// queue. Default 50,000.
    pub per_second: u32,
    /// Number of connections accepted at once before that rate applies. Default 1,024.
    pub burst: u32,
    /// Maximum number of connections at once of one [`Identity`](crate::auth::Identity), unless its
    /// [`Grant`](crate::auth::Grant) sets another limit. Further ones are refused as
    /// [`BUSY`](crate::auth::RefusalCode::BUSY). Default 16,384.
    pub per_identity: usize,
    /// Maximum number of pending decisions of the verifier; further peers are refused as
    /// [`BUSY`](crate::auth::RefusalCode::BUSY). Default 4,096.
    pub verifications: usize,
    /// Time limit for a decision of the verifier; after it the peer is refused as
    /// [`UNAVAILABLE`](crate::auth::RefusalCode::UNAVAILABLE). Default: the rest of the time for the
    /// handshake.
    pub verification: Option<Duration>,
    /// Time limit for a handshake. Default:
    /// [`connect_timeout`](crate::config::ConfigBuilder::connect_timeout), 10 s.
    pub handshake: Option<Duration>,
    /// Memory in bytes for connections whose handshake is not done: [`HANDSHAKE_COST`] each, and what a layer
    /// (TLS) holds of them. If more is needed, the connections whose handshakes have taken longest are closed.
    /// While the [`memory`](Self::memory) of the server is spent, handshakes may have a sixteenth of that at
    /// most. One handshake may always go on. Default 64 MiB: 4,096 handshakes at once, if they hold little.
    pub handshake_memory: usize,
    /// Memory in bytes for all connections, sessions without a connection, and handshakes of the server
    /// together: messages that were received and not taken, or are incomplete; requests being handled, also
    /// those whose connection has ended; answers and messages that wait to be written; and what layers (TLS)
    /// hold of these. When the limit is reached, incoming messages are
    /// completed one at a time while the others wait; the largest connection whose peer has read no answer
    /// for a second is closed ([`ServerMemory`](crate::error::Disconnect::ServerMemory)); and an answer that
    /// does not fit is replaced by the status [`OUT_OF_MEMORY`](crate::error::Status::OUT_OF_MEMORY). A body
    /// that several connections share counts for each of them. Each connection may use 8 KiB in addition.
    /// Default 1 GiB.
    pub memory: usize,
    /// A connection without any message in either direction for this time is closed; heartbeats do not count.
    /// Default: never.
    pub idle: Option<Duration>,
    /// Time limit for a message, from its first byte to its last. Default:
    /// [`message_timeout`](crate::config::ConfigBuilder::message_timeout), 60 s.
    pub message: Option<Duration>,
    /// Minimum rate, in bytes per second, at which a peer must read while something is written to it
    /// continuously, averaged over the time of [`write_stall`](crate::config::ConfigBuilder::write_stall). A
    /// peer that reads nothing at all is a stall. Default 1,024.
    pub drain_rate: u32,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            per_address: 16_384,
            per_second: 50_000,
            burst: 1_024,
            per_identity: 16_384,
            verifications: 4_096,
            verification: None,
            handshake: None,
            handshake_memory: 64 << 20,
            memory: 1 << 30,
            idle: None,
            message: None,
            drain_rate: 1_024,
        }
    }
}

impl AcceptLimits {
    /// The number of handshakes at once, if they hold no more than [`HANDSHAKE_COST`] each.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        (self.handshake_memory / HANDSHAKE_COST).max(1)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("accept_limits.connections", self.connections as u64),
            ("accept_limits.per_address", self.per_address as u64),
            ("accept_limits.per_second", u64::from(self.per_second)),
            ("accept_limits.burst", u64::from(self.burst)),
            ("accept_limits.per_identity", self.per_identity as u64),
            ("accept_limits.verifications", self.verifications as u64),
            ("accept_limits.handshake_memory", self.handshake_memory as u64),
            ("accept_limits.memory", self.memory as u64),
            ("accept_limits.drain_rate", u64::from(self.drain_rate)),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(ConfigError::OutOfRange { field, value, must: "at least 1" });
            }
        }
        let times = [
            ("accept_limits.handshake", self.handshake),
            ("accept_limits.verification", self.verification),
            ("accept_limits.idle", self.idle),
            ("accept_limits.message", self.message),
        ];
        for (field, time) in times {
            if let Some(time) = time {
                super::builder::check_time(field, time)?;
            }
        }
        Ok(())
    }
}
