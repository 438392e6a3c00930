//! Operations on single peers.

use bowline_driver::sync::Arc;
use bowline_zmtp::error::OptionError;
use bowline_zmtp::pipe::Role;
use bowline_zmtp::socket::{PeerId, PipeId, SubscribeError};

use super::{Inproc, SharedPipe, SocketCore, State};

impl SocketCore {
    /// A new dialing pipe, whose peer a ROUTER will know by that routing id.
    pub(crate) fn add_as(&self, routing_id: &[u8]) -> Result<(PipeId, Arc<SharedPipe>), OptionError> {
        self.with(|state| self.add_as_to(state, routing_id, None))
    }

    pub(crate) fn add_as_to(
        &self,
        state: &mut State,
        routing_id: &[u8],
        inproc: Option<Inproc>,
    ) -> Result<(PipeId, Arc<SharedPipe>), OptionError> {
        let id = state.socket.add_as(Role::Dialing, routing_id)?;
        Ok((id, self.make_pipe(state, id, Role::Dialing, inproc)))
    }

    /// The routing id by which a ROUTER, SERVER or PEER knows a peer.
    pub(crate) fn routing_id(&self, id: PipeId) -> Option<Vec<u8>> {
        self.with(|state| state.socket.routing_id(id).map(<[u8]>::to_vec))
    }

    /// With manual subscriptions: subscribes a peer.
    pub(crate) fn subscribe_peer(&self, peer: PeerId, topic: &[u8]) -> Result<(), SubscribeError> {
        self.with(|state| {
            let subscribed = state.socket.subscribe_peer(&mut state.table, peer, topic);
            // Callers that wait for subscribers check again.
            state.wake_watchers();
            subscribed
        })
    }

    /// Ends that subscription.
    pub(crate) fn unsubscribe_peer(&self, peer: PeerId, topic: &[u8]) -> Result<bool, SubscribeError> {
        self.with(|state| state.socket.unsubscribe_peer(peer, topic))
    }
}
