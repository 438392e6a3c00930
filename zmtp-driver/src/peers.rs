//! Single peers of a socket: who sent a message, what a peer is known by, what it is subscribed to.

use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_zmtp::socket::{PeerId, PipeId, SubscribeError};

use crate::error::ConnectError;
use crate::kind::{Receives, Routes, kinds};
use crate::receive::ReceiveFrom;
use crate::socket::Socket;

impl<R: Runtime, K: Receives> Socket<R, K> {
    /// [`recv`](Self::recv), and which peer the message came from. Its [pipe](PeerId::pipe) is the number that
    /// [`SocketEvent::PeerUp`](crate::SocketEvent) told. (What a peer left that is gone has a number that no pipe has.)
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub fn recv_from(&self) -> Wait<R, ReceiveFrom<'_, R>> {
        R::Style::wait_or(ReceiveFrom::new(self.core()), ReceiveFrom::at_once)
    }
}

impl<R: Runtime, K: Routes> Socket<R, K> {
    /// What messages to a peer begin with: its routing id, of four bytes for a SERVER and a PEER. `None`: the peer is not
    /// there.
    #[must_use]
    pub fn routing_id(&self, peer: PipeId) -> Option<Vec<u8>> {
        self.core().routing_id(peer)
    }
}

impl<R: Runtime> Socket<R, kinds::Router> {
    /// [`connect`](Self::connect), and the peer will be known by that routing id (1 to 255 bytes), whatever it says of
    /// itself. If another peer has the id when the handshake is done, the connection is closed with an event, or takes
    /// the id over with [`router_handover`](crate::Options::router_handover).
    ///
    /// # Errors
    /// As there; [`ConnectError::Option`]: it cannot be a routing id.
    pub fn connect_as(&self, endpoint: &str, routing_id: impl AsRef<[u8]>) -> Result<(), ConnectError> {
        self.connected(endpoint, Some(routing_id.as_ref())).map(drop)
    }
}

impl<R: Runtime> Socket<R, kinds::XPub> {
    /// With [`xpub_manual`](crate::Options::xpub_manual): subscribes a peer to a topic, mostly because a message
    /// [from it](Self::recv_from) asks for it. Who connects again is another peer, whose subscriptions are its own.
    ///
    /// # Errors
    /// The option is off; that peer is not there any more; it has as many topics as it may.
    pub fn subscribe_peer(&self, peer: PeerId, topic: impl AsRef<[u8]>) -> Result<(), SubscribeError> {
        self.core().subscribe_peer(peer, topic.as_ref())
    }

    /// Ends that. False: there was no such subscription.
    ///
    /// # Errors
    /// The option is off; that peer is not there any more.
    pub fn unsubscribe_peer(&self, peer: PeerId, topic: impl AsRef<[u8]>) -> Result<bool, SubscribeError> {
        self.core().unsubscribe_peer(peer, topic.as_ref())
    }
}
