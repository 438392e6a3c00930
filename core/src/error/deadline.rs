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
                if let Some(last) = last {
                    write!(f, ": {}", WhyNot(last))?;
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

/// Why the last attempt failed, and where.
struct WhyNot<'a>(&'a DialFailure);

impl fmt::Display for WhyNot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DialFailure { endpoint, via, cause, .. } = self.0;
        let socket = match cause {
            Disconnect::Transport(error) => Some(error),
            _ => None,
        };
        // The error of a socket names its address, which is all that there is to say for an address without a proxy.
        if via.is_some() || socket.is_none_or(|error| error.place() != Some(endpoint)) {
            write!(f, "{}: ", self.0.place())?;
        }
        match socket.filter(|error| error.kind() == TransportKind::Refused) {
            // A refused connection needs no further detail.
            Some(error) => error.fmt(f),
            None => Chain(cause).fmt(f),
        }
    }
}
