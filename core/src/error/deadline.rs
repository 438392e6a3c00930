//! The state of a link when a deadline passed.

use alloc::boxed::Box;
use core::fmt;

use super::{Chain, Disconnect, TransportKind};
use crate::address::Address;
use crate::supervisor::DialFailure;

/// The state of a link when the deadline of a message passed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkWas {
    /// Connected: the message was sent, or waited for room, for a free place among the calls in flight, or
    /// for the peer's credit.
    Connected,
    /// Connected, but the peer sent a go-away: the message waited for the next connection.
    LeavingPeer,
    /// Connected, but the handshake was not done.
    Handshaking {
        /// The address of the other side, if it is known.
        address: Option<Address>,
    },
    /// Not connected.
    NotConnected {
        /// The number of the last attempt to connect, counted over all endpoints since the last healthy
        /// connection; 0 before the first one.
        attempts: u32,
        /// The last failed attempt, if one failed since the last connection.
        last: Option<Box<DialFailure>>,
    },
}

impl fmt::Display for LinkWas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::LeavingPeer => f.write_str("waiting for another connection: the peer said go-away"),
            Self::Handshaking { address: None } => f.write_str("waiting for the handshake"),
            Self::Handshaking { address: Some(address) } => {
                write!(f, "waiting for the handshake with {address}")
            }
            Self::NotConnected { attempts, last } => {
                f.write_str("not connected")?;
                match last.as_deref().map(|last| (last, &last.cause)) {
                    // A refused connection needs no further detail.
                    Some((_, Disconnect::Transport(error))) if error.kind() == TransportKind::Refused => {
                        write!(f, ": {error}")?;
                    }
                    Some((_, cause @ Disconnect::Transport(_))) => write!(f, ": {}", Chain(cause))?,
                    Some((last, cause)) => write!(f, ": {}: {}", last.place(), Chain(cause))?,
                    None => {}
                }
                match attempts {
                    0 => Ok(()),
                    1 => f.write_str(", 1 attempt"),
                    n => write!(f, ", {n} attempts"),
                }
            }
        }
    }
}
