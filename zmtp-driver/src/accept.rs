//! Bound endpoints: each connection that is accepted is a pipe of the socket.

use std::task::Waker;

use bowline_core::error::Disconnect;
use bowline_driver::PeerId;
use bowline_driver::accept::{Accepted, Service};
use bowline_driver::sync::Arc;
use bowline_zmtp::pipe::{Pipe, Role};
use bowline_zmtp::socket::PipeId;

use crate::core::{SharedPipe, SocketCore};
use crate::dial::PipeApp;

/// What serves the connections of a bound endpoint.
pub(crate) struct Bound {
    pub(crate) core: Arc<SocketCore>,
}

/// An accepted pipe.
#[derive(Clone)]
pub(crate) struct AcceptedPipe {
    id: PipeId,
    pipe: Arc<SharedPipe>,
}

impl Service for Bound {
    type Machine = Pipe<Waker>;
    type App = PipeApp;
    type Peer = AcceptedPipe;

    fn shared(peer: &AcceptedPipe) -> &Arc<SharedPipe> {
        &peer.pipe
    }

    fn accept(&self) -> Accepted<Self> {
        let (id, pipe) = self.core.add(Role::Accepting);
        let app = Arc::new(PipeApp { core: Arc::clone(&self.core), id });
        Accepted { id: PeerId::unique(), peer: AcceptedPipe { id, pipe }, app, has_handshake: true }
    }

    fn gone(&self, _: PeerId, peer: &AcceptedPipe, _: bool) {
        self.core.ended(peer.id, &Disconnect::LocalClose);
    }
}
