//! Why something is due.

/// Why a machine wants to be called at a certain time; for diagnosis only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// A call's deadline, or that of a request being handled.
    Deadline,
    /// The handshake has to be done.
    Handshake,
    /// The peer was quiet for so long that it is asked whether it is there.
    Heartbeat,
    /// The peer was silent for so long that it counts as dead.
    DeadPeer,
    /// Nothing could be written.
    WriteStall,
    /// A message began and is not whole.
    SlowMessage,
    /// The link is closing and will not wait longer.
    Linger,
    /// An acknowledgement is due, or a session without a connection is over.
    Session,
    /// The next attempt to connect.
    Reconnect,
    /// A limit of the accepting side.
    AcceptLimit,
    /// The server had no memory for more; it is asked again.
    Memory,
    /// Something of a machine's own.
    Other,
}
