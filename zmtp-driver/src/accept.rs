//! Bound endpoints: each accepted connection is a pipe of the socket.

use std::sync::OnceLock;
use std::task::Waker;

use bowline_core::error::Disconnect;
use bowline_driver::accept::{Accepted, Service};
use bowline_driver::error::transport;
use bowline_driver::sync::Arc;
use bowline_driver::{PeerId, Refused, ServerEvent};
use bowline_zmtp::pipe::{Pipe, Role};
use bowline_zmtp::socket::{AcceptLimit, PipeId, SocketEvent};

use crate::core::SharedPipe;
use crate::dial::PipeApp;
use crate::lifetime::Running;

/// Serves the connections of a bound endpoint.
pub(crate) struct Bound {
    pub(crate) core: Running,
    /// Set once it is bound, before any connection is accepted.
    pub(crate) endpoint: OnceLock<Arc<str>>,
}

impl Bound {
    fn endpoint(&self) -> Arc<str> {
        self.endpoint.get().cloned().unwrap_or_default()
    }
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
        let (core, endpoint) = (Running::new(&self.core), self.endpoint());
        core.monitor.set_origin(id, &endpoint, None);
        let app = Arc::new(PipeApp { core, id, role: Role::Accepting, endpoint });
        Accepted { id: PeerId::unique(), peer: AcceptedPipe { id, pipe }, app, has_handshake: true }
    }

    fn gone(&self, _: PeerId, peer: &AcceptedPipe, _: bool) {
        self.core.ended(peer.id, &Disconnect::LocalClose);
    }

    fn event(&self, event: ServerEvent) -> bool {
        let endpoint = self.endpoint();
        match event {
            ServerEvent::Refused { from, why } => {
                let limit = match why {
                    Refused::PerAddress => AcceptLimit::PerAddress,
                    _ => AcceptLimit::Connections,
                };
                self.core.monitor.tell(SocketEvent::AcceptRefused { endpoint, from, limit });
            }
            ServerEvent::AcceptFailed(error) => {
                let error = transport(error);
                self.core.monitor.tell(SocketEvent::AcceptFailed { endpoint, error });
            }
            ServerEvent::Insecure { from, cause } => {
                self.core.monitor.tell(SocketEvent::Insecure { endpoint, from, cause });
            }
            _ => return false,
        }
        true
    }
}
