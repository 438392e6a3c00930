//! How a peer breaks ZMTP, and why a connection of a pipe ends.

use alloc::string::String;

use bowline_core::error::Disconnect;

use crate::socket_type::SocketType;
use crate::wire::Version;

/// Why a pipe's connection ended. Every violation names the field, the value that came and the limit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// A length is over its limit.
    #[error("{field} of {value} bytes is over the limit of {limit}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// What the peer said, bytes.
        value: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// More of something than there may be.
    #[error("{value} {field}, limit {limit}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// How many there would be.
        value: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A field has a value that the protocol does not allow.
    #[error("{field} is {value}, which the protocol does not allow (limit {limit})")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The largest (or only) value allowed.
        limit: u64,
    },
    /// A field runs past the end of what it stands in, or the stream ended within a frame.
    #[error("{field} is cut off: {value} bytes of at least {limit}")]
    Truncated {
        /// The field's name.
        field: &'static str,
        /// Bytes there were.
        value: u64,
        /// Bytes it takes.
        limit: u64,
    },
    /// The peer has another mechanism.
    #[error("the peer's mechanism is {theirs}, ours is {ours}")]
    Mechanism {
        /// Ours.
        ours: &'static str,
        /// The peer's, as far as it can be printed.
        theirs: String,
    },
    /// The peer's version cannot carry our mechanism.
    #[error("the peer speaks {theirs}, which has no mechanism {ours}")]
    OldPeer {
        /// Our mechanism.
        ours: &'static str,
        /// The peer's version.
        theirs: Version,
    },
    /// The peer's socket type does not go with ours.
    #[error("the peer's socket type is {theirs}, which does not go with {ours}")]
    SocketType {
        /// Ours.
        ours: SocketType,
        /// The peer's, as far as it can be printed.
        theirs: String,
    },
    /// The connection begins as those of another protocol do: the wrong port, mostly.
    #[error("this looks like {looks_like}, not ZMTP")]
    OtherProtocol {
        /// The protocol it looks like.
        looks_like: &'static str,
    },
    /// Something other than the next step of the handshake came.
    #[error("{found} came instead of {expected}")]
    Unexpected {
        /// What came.
        found: &'static str,
        /// What was to come.
        expected: &'static str,
    },
    /// A box that does not open, or has something else in it than it should.
    #[error("{field} does not open")]
    Sealed {
        /// Which one, or the key that cannot be used.
        field: &'static str,
    },
    /// The pipe was given nothing to draw random bytes from, which CURVE needs.
    #[error("there are no random bytes for CURVE")]
    NoEntropy,
    /// The peer refused us, with the command ERROR.
    #[error("the peer refused the connection: {reason}")]
    Refused {
        /// What it said: mostly a status code.
        reason: String,
    },
    /// Our authenticator refused the peer.
    #[error("the peer was refused (status {status})")]
    NotAuthenticated {
        /// The status code (RFC 27).
        status: u16,
    },
    /// A peer with that routing id is connected already.
    #[error("a peer with the same routing id of {length} bytes is connected")]
    DuplicateRoutingId {
        /// The length of the id, bytes.
        length: usize,
    },
    /// Another connection with that routing id took this one's place.
    #[error("another connection took the routing id over")]
    HandedOver,
    /// The socket has one peer at most, and has it.
    #[error("a socket of type {0} has one peer only")]
    SecondPeer(SocketType),
}

impl ZmtpError {
    /// Whether to dial the same peer again is in vain: both sides are set up for different things, or the
    /// peer refused for good (status 400 and 500). A mere close is not final, and neither are bytes that
    /// break the protocol.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Mechanism { .. } | Self::OldPeer { .. } | Self::SocketType { .. } | Self::Refused { .. }
        )
    }

    /// The error that ended a connection, if it is one of ZMTP.
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

/// What was wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {value} (limit {limit})")]
pub struct OptionError {
    /// Which option.
    pub field: &'static str,
    /// Its value, or its length where it is bytes.
    pub value: u64,
    /// What it may be.
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
