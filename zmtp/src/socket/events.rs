//! What a socket, and what drives it, tells of itself.

use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use bowline_core::address::Address;
use bowline_core::error::{Disconnect, TransportError};
use bowline_core::supervisor::DialFailure;

use super::PipeId;
use crate::error::ZmtpError;
use crate::pipe::Peer;

/// What a socket tells of itself: what happens to its peers, never a single message.
///
/// Those about listening, accepting and dialing are told by what drives the socket's pipes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SocketEvent {
    /// Peers are accepted at an endpoint.
    Listening {
        /// Where, with its port.
        endpoint: Arc<str>,
    },
    /// No more peers are accepted there.
    Unbound {
        /// Where.
        endpoint: Arc<str>,
    },
    /// A connection came in, and its handshake begins.
    Accepted {
        /// The pipe that it is from now on.
        pipe: PipeId,
        /// The endpoint that it came to.
        endpoint: Arc<str>,
        /// Where it came from, where that is known.
        from: Option<Address>,
    },
    /// A connection came in and was closed at once, because of a limit.
    AcceptRefused {
        /// The endpoint that it came to.
        endpoint: Arc<str>,
        /// Where it came from.
        from: Address,
        /// Which limit was reached.
        limit: AcceptLimit,
    },
    /// A connection could not be accepted, or served; accepting goes on.
    AcceptFailed {
        /// The endpoint that it came to.
        endpoint: Arc<str>,
        /// What the system said.
        error: TransportError,
    },
    /// A connection came in and was closed because it could not be secured: the handshake of its TLS failed, or took too
    /// long.
    Insecure {
        /// The endpoint that it came to.
        endpoint: Arc<str>,
        /// Where it came from.
        from: Address,
        /// What was wrong.
        cause: Disconnect,
    },
    /// A connection is being made.
    Dialing {
        /// Whose.
        pipe: PipeId,
        /// To where.
        address: Address,
        /// Which attempt it is since the last connection that lasted, from 1.
        attempt: u32,
    },
    /// A look-up, a dial, or the handshake after it failed.
    DialFailed {
        /// Whose.
        pipe: PipeId,
        /// Which attempt it was.
        attempt: u32,
        /// Where, and why.
        failure: DialFailure,
    },
    /// The next attempt to connect is made after a wait.
    Retrying {
        /// Whose.
        pipe: PipeId,
        /// Which attempt it will be.
        attempt: u32,
        /// How long the wait is.
        after: Duration,
        /// Why the last attempt failed, or the last connection ended.
        cause: Disconnect,
    },
    /// A pipe that was made to connect has had its last connection: its endpoint was disconnected, the socket closes,
    /// the peer refused it for good, or the attempts were used up.
    Retired {
        /// Which.
        pipe: PipeId,
        /// Why.
        cause: Disconnect,
    },
    /// A connection ended before its handshake was done.
    HandshakeFailed {
        /// Whose.
        pipe: PipeId,
        /// Why.
        why: HandshakeFailure,
    },
    /// A peer is there, past its handshake and accepted.
    PeerUp(PipeId, Arc<Peer>),
    /// A connection ended after that.
    PeerDown(PipeId, Disconnect),
    /// A peer was refused: it has a routing id that is in use, say, or too many subscriptions.
    PeerRefused(PipeId, ZmtpError),
    /// Messages were dropped.
    Dropped {
        /// Of which pipe.
        pipe: PipeId,
        /// How many.
        count: usize,
        /// Why.
        why: Drop,
    },
}

/// Which limit of a bound endpoint a connection was refused for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum AcceptLimit {
    /// Connections in all.
    Connections,
    /// Connections of one address.
    PerAddress,
}

/// Why a handshake failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The peer broke the protocol, or is no peer for this socket.
    #[error(transparent)]
    Protocol(ZmtpError),
    /// The authenticator of this side refused the peer.
    #[error("the peer was refused (status {status})")]
    Authentication {
        /// The status code (RFC 27).
        status: u16,
    },
    /// The peer refused this side.
    #[error("the peer refused the connection: {reason}")]
    Refused {
        /// What it said: mostly a status code.
        reason: String,
    },
    /// It was not done in time.
    #[error("no handshake within {limit:?}")]
    Timeout {
        /// The time.
        limit: Duration,
    },
    /// The connection ended.
    #[error(transparent)]
    Connection(Disconnect),
}

impl HandshakeFailure {
    /// What the end of a connection in its handshake comes to.
    #[must_use]
    pub fn of(cause: &Disconnect) -> Self {
        match (ZmtpError::of(cause), cause) {
            (Some(ZmtpError::NotAuthenticated { status }), _) => Self::Authentication { status: *status },
            (Some(ZmtpError::Refused { reason }), _) => Self::Refused { reason: reason.clone() },
            (Some(error), _) => Self::Protocol(error.clone()),
            (None, Disconnect::ConnectTimeout { limit }) => Self::Timeout { limit: *limit },
            (None, cause) => Self::Connection(cause.clone()),
        }
    }

    /// The status code (RFC 27) with which one side refused the other.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Authentication { status } => Some(*status),
            Self::Refused { reason } => reason.get(..3)?.parse().ok(),
            _ => None,
        }
    }
}

/// Why messages were dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Drop {
    /// They waited for a peer that went, and are for nobody else.
    PeerGone,
    /// Replies for which no request waits, requests without a delimiter.
    Stray,
    /// The reply of a REP, to a peer that is gone or has no room.
    Unanswerable,
    /// Requests that a REQ had not sent when it asked again ([`Options::req_relaxed`](crate::options::Options::req_relaxed)).
    GivenUp,
    /// They came back from a peer that went, and are over the limits of all others, which are sockets of this process.
    Unfit,
    /// What a peer sent before it went is beyond [`Options::left_behind`](crate::options::Options::left_behind).
    LeftBehind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_an_end_says_what_was_wrong_with_the_handshake() {
        let refused = ZmtpError::NotAuthenticated { status: 400 };
        let failure = HandshakeFailure::of(&refused.into());
        assert_eq!(
            (failure.status(), failure),
            (Some(400), HandshakeFailure::Authentication { status: 400 })
        );
        let by_peer = HandshakeFailure::of(&ZmtpError::Refused { reason: "300 later".into() }.into());
        assert_eq!(by_peer.status(), Some(300));
        let limit = Duration::from_secs(1);
        assert_eq!(
            HandshakeFailure::of(&Disconnect::ConnectTimeout { limit }),
            HandshakeFailure::Timeout { limit }
        );
        let long = ZmtpError::TooLong { field: "frame", value: 9, limit: 8 };
        assert_eq!(HandshakeFailure::of(&long.clone().into()), HandshakeFailure::Protocol(long));
        let closed = HandshakeFailure::of(&Disconnect::PeerClosed);
        assert_eq!((closed.status(), closed), (None, HandshakeFailure::Connection(Disconnect::PeerClosed)));
    }
}
