//! Why a socket does not send or receive.

use bowline_core::body::Body;

use crate::pipe::Refusal;
use crate::socket_type::SocketType;

/// Why a message was not sent. It is untouched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no peer with room for it now: wait, and try again. Each of the
    /// [targets](crate::socket::Socket::targets) tells when it [has room](crate::pipe::Pipe::watch_room), and new
    /// ones change the [generation](crate::socket::Socket::generation).
    #[error("no peer has room for the message now")]
    WouldBlock,
    /// The peer that it is for has no room.
    #[error("the peer has no room for the message")]
    Full,
    /// There is no peer with that routing id.
    #[error("there is no peer with the routing id {:?}", .0)]
    Unroutable(Body),
    /// It is not the socket's turn to send: a REQ waits for a reply, a REP has no request.
    #[error("it is not the turn of this {0} to send")]
    State(SocketType),
    /// Sockets of that type do not send.
    #[error("a {0} does not send")]
    NotSupported(SocketType),
    /// Of a routing id or group in front and one more part there is less, or more.
    #[error("a message of {0} has an id or group and a body: {1} parts were given")]
    Envelope(SocketType, usize),
    /// The name of a group is longer than 255 bytes.
    #[error("a group of {0} bytes is over the limit of 255")]
    Group(usize),
    /// It is over a limit.
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
    /// There is none now: wait, and try again.
    #[error("there is no message now")]
    WouldBlock,
    /// It is not the socket's turn to receive: a REQ has sent nothing, a REP has not replied.
    #[error("it is not the turn of this {0} to receive")]
    State(SocketType),
    /// The peer that a REQ waits for went after the request had left. The REQ may send again.
    #[error("the peer went before it replied")]
    PeerLost,
    /// Sockets of that type do not receive.
    #[error("a {0} does not receive")]
    NotSupported(SocketType),
}

/// Why a peer's subscriptions were not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Peers subscribe by themselves: [`xpub_manual`](crate::options::Options::xpub_manual) is off.
    #[error("the peers of this socket subscribe by themselves: it is not set up as manual")]
    NotManual,
    /// That peer is not there any more. Another one may be at its pipe.
    #[error("the peer is gone")]
    PeerGone,
    /// It has as many topics as it may.
    #[error(transparent)]
    Limit(crate::error::ZmtpError),
}
