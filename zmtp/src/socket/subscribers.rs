//! The subscriptions of a publisher's peers, and an XPUB's notices of them.

use alloc::vec::Vec;

use super::notices::Notice;
use super::publish::Change;
use super::{Pattern, PeerId, PipeId, Pipes, Socket, SubscribeError};
use crate::error::ZmtpError;
use crate::pipe::Refusal;
use crate::socket_type::SocketType;

impl Socket {
    /// Handles a peer's subscription.
    pub(super) fn subscribed(
        &mut self,
        pipes: &mut impl Pipes,
        id: PipeId,
        topic: &[u8],
    ) -> Result<(), ZmtpError> {
        if self.is_manual() {
            let Pattern::Publisher(publisher) = &mut self.pattern else { return Ok(()) };
            let is_first = publisher.ask(&self.options, id, topic)?;
            self.tell_application(pipes, id, true, is_first, topic);
            return Ok(());
        }
        let Some(change) = self.add_subscription(pipes, id, topic)? else { return Ok(()) };
        let Change { matters, is_new } = change;
        if matters || self.options.xpub_verbose || self.options.xpub_verboser {
            // The application tracks the topics of each peer, or of all peers together.
            let is_first = if self.options.xpub_verboser { is_new } else { matters };
            self.tell_application(pipes, id, true, is_first, topic);
        }
        Ok(())
    }

    fn is_manual(&self) -> bool {
        self.options.xpub_manual && self.options.kind == SocketType::XPub
    }

    fn add_subscription(
        &mut self,
        pipes: &mut impl Pipes,
        id: PipeId,
        topic: &[u8],
    ) -> Result<Option<Change>, ZmtpError> {
        let Pattern::Publisher(publisher) = &mut self.pattern else { return Ok(None) };
        let change = publisher.subscribe(&self.options, id, topic)?;
        if let Some(welcome) = &self.options.xpub_welcome
            && publisher.welcomes(id, topic, welcome)
        {
            let sent = pipes.with_out(id, |pipe| pipe.send(&[], &[welcome.into()]));
            self.stats.overflowed += u64::from(sent == Some(Err(Refusal::Full)));
        }
        Ok(change)
    }

    /// Handles the end of a peer's subscription.
    pub(super) fn cancelled(&mut self, pipes: &mut impl Pipes, id: PipeId, topic: &[u8]) {
        let (manual, verboser) = (self.is_manual(), self.options.xpub_verboser);
        let Pattern::Publisher(publisher) = &mut self.pattern else { return };
        if manual {
            publisher.unask(id, topic);
        }
        if manual || publisher.cancel(id, topic).is_some_and(|change| change.matters || verboser) {
            self.tell_application(pipes, id, false, false, topic);
        }
    }

    /// The peer at the other end of a pipe now. If a message was [received](Self::recv) from that pipe just
    /// before, it is from that peer.
    #[must_use]
    pub fn peer_id(&self, pipe: PipeId) -> PeerId {
        PeerId { pipe, connection: self.entries.get(&pipe).map_or(0, |entry| entry.connections) }
    }

    /// With [`xpub_manual`](crate::options::Options::xpub_manual): subscribes a peer to a topic, usually
    /// after the application [received](Self::recv) the peer's request for it.
    ///
    /// # Errors
    /// The option is off; the peer is no longer connected; it has reached its limit of topics.
    pub fn subscribe_peer(
        &mut self,
        pipes: &mut impl Pipes,
        peer: PeerId,
        topic: &[u8],
    ) -> Result<(), SubscribeError> {
        self.check_manual(peer)?;
        match self.add_subscription(pipes, peer.pipe, topic) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(SubscribeError::PeerGone),
            Err(error) => Err(SubscribeError::Limit(error)),
        }
    }

    /// Ends a subscription of [`subscribe_peer`](Self::subscribe_peer). Returns false if there is none.
    ///
    /// # Errors
    /// The option is off; the peer is no longer connected.
    pub fn unsubscribe_peer(&mut self, peer: PeerId, topic: &[u8]) -> Result<bool, SubscribeError> {
        self.check_manual(peer)?;
        let Pattern::Publisher(publisher) = &mut self.pattern else { return Err(SubscribeError::NotManual) };
        Ok(publisher.cancel(peer.pipe, topic).is_some())
    }

    fn check_manual(&self, peer: PeerId) -> Result<(), SubscribeError> {
        if !self.is_manual() {
            return Err(SubscribeError::NotManual);
        }
        let entry = self.entries.get(&peer.pipe).filter(|entry| entry.is_up());
        match entry {
            Some(entry) if entry.connections == peer.connection => Ok(()),
            _ => Err(SubscribeError::PeerGone),
        }
    }

    /// Queues a notice, which an XPUB's application receives as a message, in the order in which the notices
    /// of all peers were generated. Their placeholders in the peers' inboxes bound their number.
    fn tell_application(
        &mut self,
        pipes: &mut impl Pipes,
        id: PipeId,
        begins: bool,
        is_first: bool,
        topic: &[u8],
    ) {
        if self.options.kind != SocketType::XPub {
            return;
        }
        if pipes.with(id, |pipe| pipe.notify(topic.len() + 1)).is_some() {
            let notice = Notice { pipe: id, begins, is_first, topic: Some(topic.into()) };
            self.fair.notify(notice, self.options.conflate);
        }
    }

    /// Removes the subscriptions of a disconnected peer.
    pub(super) fn end_subscriptions(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        let (manual, each) = (self.is_manual(), self.options.xpub_verboser);
        let Pattern::Publisher(publisher) = &mut self.pattern else { return };
        let mut ended = Vec::new();
        publisher.remove_peer(id, manual, each, |topic| ended.push(topic.to_vec()));
        for topic in ended {
            self.tell_application(pipes, id, false, false, &topic);
        }
    }
}
