//! Why a socket cannot send or receive.

use bowline_core::body::Body;

use crate::pipe::Refusal;
use crate::socket_type::SocketType;

/// Why a message was not sent. The message is unchanged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No peer has room now: wait and try again. Each of the [targets](crate::socket::Socket::targets)
    /// notifies when it [has room](crate::pipe::Pipe::watch_room), and new targets change the
    /// [generation](crate::socket::Socket::generation).
    #[error("no peer has room for the message now")]
    WouldBlock,
    /// The queue of the addressed peer is full.
    #[error("the peer has no room for the message")]
    Full,
    /// No peer has that routing id.
    #[error("there is no peer with the routing id {:?}", .0)]
    Unroutable(Body),
    /// The socket must receive first: a REQ waits for a reply, a REP has no request.
    #[error("a {0} cannot send before it has received")]
    State(SocketType),
    /// This socket type cannot send.
    #[error("a {0} cannot send")]
    NotSupported(SocketType),
    /// The message does not consist of a routing id or group and exactly one more part; contains the number
    /// of parts.
    #[error("a message of a {0} has an id or group and one more part: {1} parts were given")]
    Envelope(SocketType, usize),
    /// The group's name is longer than 255 bytes; contains its length.
    #[error("a group of {0} bytes is over the limit of 255")]
    Group(usize),
    /// The message exceeds a limit.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for SendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full | Refusal::Closed => Self::Full,
            refusal => Self::Refused(refusal),
        }
    }
}

/// Why no message was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// No message is available now: wait and try again.
    #[error("there is no message now")]
    WouldBlock,
    /// The socket must send first: a REQ has sent no request, a REP has not replied.
    #[error("a {0} cannot receive before it has sent")]
    State(SocketType),
    /// The peer disconnected after it had been sent the REQ's request. The REQ may send again.
    #[error("the peer disconnected before it replied")]
    PeerLost,
    /// This socket type cannot receive.
    #[error("a {0} cannot receive")]
    NotSupported(SocketType),
}

/// Why a peer's subscriptions were not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// [`xpub_manual`](crate::options::Options::xpub_manual) is off, so peers change their subscriptions
    /// themselves.
    #[error("xpub_manual is off: the peers of this socket subscribe by themselves")]
    NotManual,
    /// That peer is no longer connected. Its pipe may have another peer.
    #[error("the peer is no longer connected")]
    PeerGone,
    /// The peer has reached its limit of subscriptions.
    #[error(transparent)]
    Limit(crate::error::ZmtpError),
}
