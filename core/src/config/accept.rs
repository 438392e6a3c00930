//! What the accepting side allows its peers.

use core::time::Duration;

use crate::error::ConfigError;

/// Memory that a connection may take before its handshake is done, in bytes: what it counts for in
/// [`AcceptLimits::handshake_memory`]. The receive buffer (a hello has at most 1 KiB, credentials at
/// most 4 KiB), the link itself, and its task.
pub const HANDSHAKE_COST: usize = 16 * 1024;

/// What a server allows those who connect to it. Every field is a number; the defaults are sound
/// for a server in the open.
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
    /// Connections at once. One more is closed as soon as it is accepted, and counted. Default
    /// 16,384.
    pub connections: usize,
    /// Connections at once from one address (Unix and in-process ones count as one address each).
    /// Default 16,384: many users may stand behind one address.
    pub per_address: usize,
    /// Connections accepted in a second, on average; those beyond wait in the system's queue.
    /// Default 50,000.
    pub per_second: u32,
    /// Connections accepted at once before that rate counts. Default 1,024.
    pub burst: u32,
    /// Connections at once of one [`Identity`](crate::auth::Identity), unless its
    /// [`Grant`](crate::auth::Grant) says otherwise. One more is refused as
    /// [`BUSY`](crate::auth::RefusalCode::BUSY). Default 16,384.
    pub per_identity: usize,
    /// Peers at once about which a verifier is deciding; one more is refused as
    /// [`BUSY`](crate::auth::RefusalCode::BUSY). Default 4,096.
    pub verifications: usize,
    /// How long the verifier may take; then the peer is refused as
    /// [`UNAVAILABLE`](crate::auth::RefusalCode::UNAVAILABLE). Default: what is left of the handshake's time.
    pub verification: Option<Duration>,
    /// How long a handshake may take. Default: as
    /// [`connect_timeout`](crate::config::ConfigBuilder::connect_timeout), 10 s.
    pub handshake: Option<Duration>,
    /// Bytes of memory for connections whose handshake is not done, [`HANDSHAKE_COST`] each. When
    /// there is one more, the one that has been at it for longest is closed. Default 64 MiB: 4,096
    /// handshakes at once.
    pub handshake_memory: usize,
    /// Bytes of memory for all connections, sessions without a connection, and handshakes of the
    /// server together: what was received and not taken, or is not whole; requests being handled;
    /// answers and messages that wait to be written. When it is spent, messages that come in are
    /// completed one at a time and the others wait; the largest connection whose peer has read no
    /// answer for a second is closed ([`ServerMemory`](crate::error::Disconnect::ServerMemory));
    /// and an answer for which there is no room is replaced by the status
    /// [`OUT_OF_MEMORY`](crate::error::Status::OUT_OF_MEMORY). A body that several connections share
    /// counts for each. Each connection has 8 KiB besides. Default 1 GiB.
    pub memory: usize,
    /// A connection without any message either way (heartbeats are none) for so long is closed.
    /// Default: none is.
    pub idle: Option<Duration>,
    /// A message must be whole so long after its first byte came. Default: as
    /// [`message_timeout`](crate::config::ConfigBuilder::message_timeout), 60 s.
    pub message: Option<Duration>,
    /// Bytes a second that a peer has to take while something is being written to it all the time,
    /// on average over the time of [`write_stall`](crate::config::ConfigBuilder::write_stall). One
    /// that takes nothing at all is a stall. Default 1,024.
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
    /// Handshakes at once.
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
