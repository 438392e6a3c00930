//! Single peers of a socket: the sender of a message, its routing id, its subscriptions.

use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_zmtp::socket::{PeerId, PipeId, SubscribeError};

use crate::error::ConnectError;
use crate::kind::{Receives, Routes, kinds};
use crate::receive::ReceiveFrom;
use crate::socket::Socket;

impl<R: Runtime, K: Receives> Socket<R, K> {
    /// [`recv`](Self::recv), with the peer that sent the message. Its [pipe](PeerId::pipe) is the id in
    /// [`SocketEvent::PeerUp`](crate::SocketEvent). (Messages of a peer that has left have an id that no pipe
    /// has.)
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn recv_from(&self) -> Wait<R, ReceiveFrom<'_, R>> {
        R::Style::wait_or(ReceiveFrom::new(self.core()), ReceiveFrom::at_once)
    }
}

impl<R: Runtime, K: Routes> Socket<R, K> {
    /// The routing id with which messages to a peer begin; four bytes for a SERVER and a PEER. `None`: the
    /// peer is not connected.
    #[must_use]
    pub fn routing_id(&self, peer: PipeId) -> Option<Vec<u8>> {
        self.core().routing_id(peer)
    }
}

impl<R: Runtime> Socket<R, kinds::Router> {
    /// [`connect`](Self::connect), and gives the peer this routing id (1 to 255 bytes), whatever it
    /// announces. If another peer has the id when the handshake is done, the connection is closed with an
    /// event, or takes the id over with [`router_handover`](crate::Options::router_handover).
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`ConnectError::Option`]: the routing id is invalid.
    pub fn connect_as(&self, endpoint: &str, routing_id: impl AsRef<[u8]>) -> Result<(), ConnectError> {
        self.connected(endpoint, Some(routing_id.as_ref())).map(drop)
    }
}

impl<R: Runtime> Socket<R, kinds::XPub> {
    /// With [`xpub_manual`](crate::Options::xpub_manual): subscribes a peer to a topic, usually because a
    /// message [from it](Self::recv_from) asks for it. A peer that reconnects is a new peer, with its own
    /// subscriptions.
    ///
    /// # Errors
    /// The option is off; the peer has left; or it has its maximum number of topics.
    pub fn subscribe_peer(&self, peer: PeerId, topic: impl AsRef<[u8]>) -> Result<(), SubscribeError> {
        self.core().subscribe_peer(peer, topic.as_ref())
    }

    /// Ends such a subscription. `false`: there was none.
    ///
    /// # Errors
    /// The option is off, or the peer has left.
    pub fn unsubscribe_peer(&self, peer: PeerId, topic: impl AsRef<[u8]>) -> Result<bool, SubscribeError> {
        self.core().unsubscribe_peer(peer, topic.as_ref())
    }
}
