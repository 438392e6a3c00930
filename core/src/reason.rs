//! Reasons of timeouts.

/// Why a machine wants to be called at a certain time; for diagnosis only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// A call's deadline, or that of a request being handled.
    Deadline,
    /// The time limit of the handshake.
    Handshake,
    /// A ping is due because the peer was quiet.
    Heartbeat,
    /// The peer was silent for so long that it counts as dead.
    DeadPeer,
    /// Nothing could be written for too long.
    WriteStall,
    /// A message is incomplete.
    SlowMessage,
    /// The linger time of a closing link ends.
    Linger,
    /// An acknowledgement is due, or a session without a connection expires.
    Session,
    /// The next attempt to connect.
    Reconnect,
    /// A limit of the accepting side.
    AcceptLimit,
    /// The server had no memory: it is asked again. Or memory that was kept for long messages is freed.
    Memory,
    /// A reason of a machine outside of the core.
    Other,
}
