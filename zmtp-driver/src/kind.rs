//! The types of sockets, as types: what each can do is known when a program is compiled.

use bowline_zmtp::socket_type::SocketType;

/// A type of socket.
pub trait Kind: Send + Sync + 'static {
    /// The same as a value.
    const TYPE: SocketType;
}

/// One that sends.
pub trait Sends: Kind {}

/// One that receives.
pub trait Receives: Kind {}

/// One that subscribes to topics, or joins groups.
pub trait Subscribes: Kind {}

/// One that is subscribed to.
pub trait Publishes: Kind {}

/// One that sends to the peer that it names.
pub trait Routes: Kind {}

/// The types, by their names.
pub mod kinds {
    use super::{Kind, Publishes, Receives, Routes, Sends, SocketType, Subscribes};

    macro_rules! kind {
        ($(#[doc = $doc:literal] $name:ident: $($what:ident),*;)*) => {
            $(
                #[doc = $doc]
                #[derive(Clone, Copy, Debug)]
                pub struct $name;

                impl Kind for $name {
                    const TYPE: SocketType = SocketType::$name;
                }

                $(impl $what for $name {})*
            )*
        };
    }

    kind! {
        /// Asks, one question at a time (RFC 28).
        Req: Sends, Receives;
        /// Answers, one question at a time (RFC 28).
        Rep: Sends, Receives;
        /// Sends to its peers in turn and receives from all (RFC 28).
        Dealer: Sends, Receives;
        /// Sends to the peer that it names (RFC 28).
        Router: Sends, Receives, Routes;
        /// Sends to all that subscribed (RFC 29).
        Pub: Sends, Publishes;
        /// Receives what it subscribed to (RFC 29).
        Sub: Receives, Subscribes;
        /// A PUB that receives subscriptions as messages (RFC 29).
        XPub: Sends, Receives, Publishes;
        /// A SUB that sends subscriptions as messages (RFC 29).
        XSub: Sends, Receives, Subscribes;
        /// Sends to its peers in turn (RFC 30).
        Push: Sends;
        /// Receives from all its peers (RFC 30).
        Pull: Receives;
        /// One peer (RFC 31).
        Pair: Sends, Receives;
        /// A DEALER of single parts (RFC 41).
        Client: Sends, Receives;
        /// Sends to the peer whose number is in front, of four bytes (RFC 41).
        Server: Sends, Receives, Routes;
        /// Sends to all members of a group (RFC 48).
        Radio: Sends, Publishes;
        /// Receives what is sent to its groups (RFC 48).
        Dish: Receives, Subscribes;
        /// A PUSH of single parts (RFC 49).
        Scatter: Sends;
        /// A PULL of single parts (RFC 49).
        Gather: Receives;
        /// A PAIR of single parts (RFC 52).
        Channel: Sends, Receives;
        /// Sends to the peer whose number is in front; everyone is alike (RFC 51).
        Peer: Sends, Receives, Routes;
    }
}
