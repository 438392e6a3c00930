//! Violations of ZMTP by a peer, and other reasons why a connection ends.

use alloc::string::String;

use bowline_core::error::Disconnect;

use crate::socket_type::SocketType;
use crate::wire::Version;

/// Why a pipe's connection ended. A violation names the field, the received value and the limit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// A length exceeds its limit.
    #[error("{field} of {value} bytes is over the limit of {limit}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// The received length, bytes.
        value: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// A count exceeds its limit.
    #[error("{value} {field}, limit {limit}")]
    TooMany {
        /// The name of the counted items.
        field: &'static str,
        /// The count.
        value: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A field has a value that the protocol does not permit.
    #[error("{field} is {value}, which the protocol does not allow (limit {limit})")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The largest (or only) permitted value.
        limit: u64,
    },
    /// A field extends past the end of the structure that contains it, or the stream ended within a frame.
    #[error("{field} is cut off: {value} bytes of at least {limit}")]
    Truncated {
        /// The field's name.
        field: &'static str,
        /// Available bytes.
        value: u64,
        /// Required bytes.
        limit: u64,
    },
    /// The peer uses another mechanism.
    #[error("the peer's mechanism is {theirs}, ours is {ours}")]
    Mechanism {
        /// This side's mechanism.
        ours: &'static str,
        /// The peer's mechanism, unprintable bytes escaped.
        theirs: String,
    },
    /// The peer's version of ZMTP does not support this side's mechanism.
    #[error("the peer speaks {theirs}, which has no mechanism {ours}")]
    OldPeer {
        /// This side's mechanism.
        ours: &'static str,
        /// The peer's version.
        theirs: Version,
    },
    /// The peer's socket type is not compatible with this socket's.
    #[error("the peer's socket type {theirs} is not compatible with {ours}")]
    SocketType {
        /// This socket's type.
        ours: SocketType,
        /// The peer's type, unprintable bytes escaped.
        theirs: String,
    },
    /// The connection begins as those of another protocol do: the wrong port, mostly.
    #[error("this looks like {looks_like}, not ZMTP")]
    OtherProtocol {
        /// The protocol it looks like.
        looks_like: &'static str,
    },
    /// Something other than the expected step of the handshake was received.
    #[error("received {found} instead of {expected}")]
    Unexpected {
        /// The received step.
        found: &'static str,
        /// The expected step.
        expected: &'static str,
    },
    /// An encrypted box of CURVE could not be opened, or its content is not as expected.
    #[error("{field} could not be decrypted")]
    Sealed {
        /// The name of the box, or of the key that is unusable.
        field: &'static str,
    },
    /// The pipe has no source of random bytes ([`with_entropy`](crate::pipe::Pipe::with_entropy)), which
    /// CURVE needs.
    #[error("no source of random bytes for CURVE is set")]
    NoEntropy,
    /// The peer refused this side with the command ERROR.
    #[error("the peer refused the connection: {reason}")]
    Refused {
        /// The reason that the peer sent, usually a status code.
        reason: String,
    },
    /// This side's authenticator refused the peer.
    #[error("the peer was refused (status {status})")]
    NotAuthenticated {
        /// The status code (RFC 27).
        status: u16,
    },
    /// Another connected peer has the same routing id.
    #[error("a peer with the same routing id of {length} bytes is connected")]
    DuplicateRoutingId {
        /// The length of the id, bytes.
        length: usize,
    },
    /// A newer connection with the same routing id replaced this one.
    #[error("another connection took the routing id over")]
    HandedOver,
    /// The socket supports one peer only and already has it.
    #[error("a socket of type {0} has one peer only")]
    SecondPeer(SocketType),
}

impl ZmtpError {
    /// Whether dialing the same peer again is pointless: both sides are configured incompatibly, or the peer
    /// refused permanently (status 400 and 500). A plain close is not final, and neither are bytes that
    /// violate the protocol.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Mechanism { .. } | Self::OldPeer { .. } | Self::SocketType { .. } | Self::Refused { .. }
        )
    }

    /// The ZMTP error that ended a connection, if `cause` contains one.
    #[must_use]
    pub fn of(cause: &Disconnect) -> Option<&Self> {
        match cause {
            Disconnect::Foreign(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl From<ZmtpError> for Disconnect {
    fn from(error: ZmtpError) -> Self {
        Self::foreign(error)
    }
}

/// Why a configuration is invalid.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {value} (limit {limit})")]
pub struct OptionError {
    /// The name of the option.
    pub field: &'static str,
    /// Its value, or its length in bytes if it is a byte string.
    pub value: u64,
    /// The permitted limit.
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_error_comes_back_out_of_the_cause_that_it_became() {
        let error = ZmtpError::TooLong { field: "frame", value: 9, limit: 8 };
        assert_eq!(error.to_string(), "frame of 9 bytes is over the limit of 8");
        let cause = Disconnect::from(error.clone());
        assert_eq!(ZmtpError::of(&cause), Some(&error));
        assert_eq!(ZmtpError::of(&Disconnect::PeerClosed), None);
    }

    #[test]
    fn only_what_cannot_change_is_final() {
        assert!(ZmtpError::Refused { reason: "400".into() }.is_final());
        assert!(!ZmtpError::NotAuthenticated { status: 400 }.is_final());
        assert!(!ZmtpError::OtherProtocol { looks_like: "HTTP" }.is_final(), "a proxy may have answered");
        assert!(!ZmtpError::TooLong { field: "frame", value: 9, limit: 8 }.is_final());
    }
}
