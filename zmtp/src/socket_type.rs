//! Socket types: their names and numbers on the wire, and which are compatible.

use core::fmt;

/// A socket type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "they are the names of the RFCs, which say what each does")]
pub enum SocketType {
    Pair,
    Pub,
    Sub,
    Req,
    Rep,
    Dealer,
    Router,
    Pull,
    Push,
    XPub,
    XSub,
    Server,
    Client,
    Radio,
    Dish,
    Gather,
    Scatter,
    Peer,
    Channel,
}

use SocketType::{
    Channel, Client, Dealer, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio, Rep, Req, Router, Scatter,
    Server, Sub, XPub, XSub,
};

impl SocketType {
    /// Every type. The index of each of the first eleven is its number in ZMTP 2.0.
    pub const ALL: [Self; 19] = [
        Pair, Pub, Sub, Req, Rep, Dealer, Router, Pull, Push, XPub, XSub, Server, Client, Radio, Dish,
        Gather, Scatter, Peer, Channel,
    ];

    /// The name, as in the property `Socket-Type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Pair => "PAIR",
            Pub => "PUB",
            Sub => "SUB",
            Req => "REQ",
            Rep => "REP",
            Dealer => "DEALER",
            Router => "ROUTER",
            Pull => "PULL",
            Push => "PUSH",
            XPub => "XPUB",
            XSub => "XSUB",
            Server => "SERVER",
            Client => "CLIENT",
            Radio => "RADIO",
            Dish => "DISH",
            Gather => "GATHER",
            Scatter => "SCATTER",
            Peer => "PEER",
            Channel => "CHANNEL",
        }
    }

    /// The type with that name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }

    /// The number in ZMTP 2.0. Newer types have none.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        Self::ALL[..11].iter().position(|kind| *kind == self).and_then(|at| u8::try_from(at).ok())
    }

    /// The type with that number in ZMTP 2.0.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL[..11].get(usize::from(number)).copied()
    }

    /// Whether sockets of both types may be connected to each other.
    #[must_use]
    pub const fn goes_with(self, peer: Self) -> bool {
        matches!(
            (self, peer),
            (Req, Rep | Router)
                | (Rep, Req | Dealer)
                | (Dealer, Rep | Dealer | Router)
                | (Router, Req | Dealer | Router)
                | (Pub | XPub, Sub | XSub)
                | (Sub | XSub, Pub | XPub)
                | (Push, Pull)
                | (Pull, Push)
                | (Pair, Pair)
                | (Server, Client)
                | (Client, Server)
                | (Radio, Dish)
                | (Dish, Radio)
                | (Gather, Scatter)
                | (Scatter, Gather)
                | (Peer, Peer)
                | (Channel, Channel)
        )
    }

    /// Whether its READY contains its routing id.
    #[must_use]
    pub const fn says_identity(self) -> bool {
        matches!(self, Req | Dealer | Router)
    }

    /// Whether its messages have exactly one part.
    #[must_use]
    pub const fn is_single_part(self) -> bool {
        matches!(self, Server | Client | Gather | Scatter | Peer | Channel | Radio | Dish)
    }

    /// Whether its peers subscribe to its messages.
    #[must_use]
    pub const fn publishes(self) -> bool {
        matches!(self, Pub | XPub)
    }

    /// Whether it subscribes to its peers' messages.
    #[must_use]
    pub const fn subscribes(self) -> bool {
        matches!(self, Sub | XSub)
    }

    /// Whether messages that one peer did not get may be sent to another.
    pub(crate) const fn is_balanced(self) -> bool {
        matches!(self, Req | Dealer | Push | Pair | Client | Scatter | Channel)
    }

    /// Whether an application receives messages from it.
    #[must_use]
    pub const fn receives(self) -> bool {
        !matches!(self, Push | Pub | Scatter | Radio)
    }

    /// Whether an application sends messages through it.
    #[must_use]
    pub const fn sends(self) -> bool {
        !matches!(self, Pull | Sub | Gather | Dish)
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_together_does_so_both_ways() {
        for one in SocketType::ALL {
            assert!(SocketType::ALL.iter().any(|other| one.goes_with(*other)), "{one} goes with none");
            for other in SocketType::ALL {
                assert_eq!(one.goes_with(other), other.goes_with(one), "{one}, {other}");
            }
        }
        assert!(!SocketType::Req.goes_with(SocketType::Req));
    }

    #[test]
    fn names_and_numbers_are_those_of_the_wire() {
        for kind in SocketType::ALL {
            assert_eq!(SocketType::from_name(kind.name().as_bytes()), Some(kind));
            assert_eq!(kind.number().and_then(SocketType::from_number).unwrap_or(kind), kind);
        }
        assert_eq!(SocketType::XSub.number(), Some(10));
        assert_eq!(SocketType::Server.number(), None);
        assert_eq!((SocketType::from_number(11), SocketType::from_name(b"FOO")), (None, None));
    }
}
