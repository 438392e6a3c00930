//! Socket types as Rust types: their capabilities are checked at compile time.

use bowline_zmtp::socket_type::SocketType;

/// A socket type.
pub trait Kind: Send + Sync + 'static {
    /// The type as a value.
    const TYPE: SocketType;
}

/// A type that sends.
pub trait Sends: Kind {}

/// A type that receives.
pub trait Receives: Kind {}

/// A type that subscribes to topics, or joins groups.
pub trait Subscribes: Kind {}

/// A type that others subscribe to.
pub trait Publishes: Kind {}

/// A type that sends to a given peer.
pub trait Routes: Kind {}

/// The socket types.
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
        /// Sends a request, then receives its reply (RFC 28).
        Req: Sends, Receives;
        /// Receives a request, then sends its reply (RFC 28).
        Rep: Sends, Receives;
        /// Sends to its peers in turn, and receives from all (RFC 28).
        Dealer: Sends, Receives;
        /// Sends to the peer whose routing id is the first part (RFC 28).
        Router: Sends, Receives, Routes;
        /// Sends to all subscribers (RFC 29).
        Pub: Sends, Publishes;
        /// Receives messages of its subscriptions (RFC 29).
        Sub: Receives, Subscribes;
        /// A PUB that receives subscriptions as messages (RFC 29).
        XPub: Sends, Receives, Publishes;
        /// A SUB that sends subscriptions as messages (RFC 29).
        XSub: Sends, Receives, Subscribes;
        /// Sends to its peers in turn (RFC 30).
        Push: Sends;
        /// Receives from all peers (RFC 30).
        Pull: Receives;
        /// Has one peer (RFC 31).
        Pair: Sends, Receives;
        /// A DEALER with single-part messages (RFC 41).
        Client: Sends, Receives;
        /// Sends to the peer whose id of four bytes is the first part (RFC 41).
        Server: Sends, Receives, Routes;
        /// Sends to all members of a group (RFC 48).
        Radio: Sends, Publishes;
        /// Receives the messages of its groups (RFC 48).
        Dish: Receives, Subscribes;
        /// A PUSH with single-part messages (RFC 49).
        Scatter: Sends;
        /// A PULL with single-part messages (RFC 49).
        Gather: Receives;
        /// A PAIR with single-part messages (RFC 52).
        Channel: Sends, Receives;
        /// Sends to the peer whose id is the first part; all sides are of the same type (RFC 51).
        Peer: Sends, Receives, Routes;
    }
}
