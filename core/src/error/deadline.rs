//! What a link was doing when a deadline passed.

use alloc::boxed::Box;
use core::fmt;

use super::{Chain, Disconnect, TransportKind};
use crate::address::Address;
use crate::supervisor::DialFailure;

/// What a link was doing when the deadline of a message passed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkWas {
    /// Connected: the message had been sent, or waited for room, for a place or for the peer's credit.
    Connected,
    /// Connected, but told by the peer to take nothing new to it: the next connection was waited for.
    LeavingPeer,
    /// Connected, and the handshake was not done.
    Handshaking {
        /// The other end, if it is known.
        address: Option<Address>,
    },
    /// Not connected.
    NotConnected {
        /// Which attempt to connect was the last, counted over all endpoints since the last healthy
        /// connection; 0 before the first.
        attempts: u32,
        /// How the last attempt that failed did so, if one has since the last connection.
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
                    // Those words say it all.
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
