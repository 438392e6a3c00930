//! Pipes come and go.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;

use super::publish::Change;
use super::requests::Req;
use super::subscribe::put;
use super::{Drop, Entry, Pattern, PipeId, Pipes, Socket, SocketEvent};
use crate::error::{OptionError, ZmtpError};
use crate::options::MAX_ROUTING_ID;
use crate::pipe::{Peer, PipeEvent, Role};
use crate::socket_type::SocketType;
use crate::wire::Version;

impl Socket {
    /// There is a new pipe. Its driver keeps it under the number that comes back.
    pub fn add(&mut self, role: Role) -> PipeId {
        self.add_pipe(role, None)
    }

    /// Likewise, and a ROUTER will know its peer by that routing id, whatever the peer says.
    ///
    /// # Errors
    /// The id is not of 1 to 255 bytes.
    pub fn add_as(&mut self, role: Role, routing_id: &[u8]) -> Result<PipeId, OptionError> {
        let wrong =
            |limit| OptionError { field: "chosen routing id length", value: routing_id.len() as u64, limit };
        match routing_id.len() {
            0 => Err(wrong(1)),
            1..=MAX_ROUTING_ID => Ok(self.add_pipe(role, Some(routing_id.to_vec()))),
            _ => Err(wrong(MAX_ROUTING_ID as u64)),
        }
    }

    fn add_pipe(&mut self, role: Role, chosen_id: Option<Vec<u8>>) -> PipeId {
        let id = self.next_number();
        self.entries.insert(id, Entry { role, chosen_id, peer: None, refused: false });
        if role == Role::Dialing && !self.options.immediate {
            self.set_target(id, true);
        }
        id
    }

    fn next_number(&mut self) -> PipeId {
        let id = PipeId(self.next_pipe);
        self.next_pipe += 1;
        id
    }

    fn set_target(&mut self, id: PipeId, is_target: bool) {
        if self.targets.contains(&id) == is_target {
            return;
        }
        match is_target {
            true => self.targets.push(id),
            false => self.targets.retain(|target| *target != id),
        }
        self.generation += 1;
    }

    /// A pipe tells something. [`Authenticate`](PipeEvent::Authenticate) is not for the socket to decide.
    ///
    /// A peer that is refused here is disconnected, and an [event](SocketEvent::PeerRefused) says why.
    pub fn handle_event(&mut self, pipes: &mut impl Pipes, id: PipeId, event: PipeEvent<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.refused && !matches!(event, PipeEvent::Ready(_)) {
            if matches!(event, PipeEvent::Messages { .. }) {
                pipes.with(id, |pipe| pipe.clear_inbox());
            }
            return;
        }
        let handled = match event {
            PipeEvent::Ready(peer) => {
                entry.refused = false;
                self.attach(pipes, id, peer)
            }
            PipeEvent::Messages { .. } => {
                self.arrived(pipes, id);
                Ok(())
            }
            PipeEvent::Subscribe(topic) | PipeEvent::Join(topic) => self.subscribed(pipes, id, topic),
            PipeEvent::Cancel(topic) | PipeEvent::Leave(topic) => {
                self.cancelled(pipes, id, topic);
                Ok(())
            }
            PipeEvent::Authenticate(_) => Ok(()),
        };
        if let Err(error) = handled {
            self.refuse(pipes, id, error);
        }
    }

    fn refuse(&mut self, pipes: &mut impl Pipes, id: PipeId, error: ZmtpError) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.refused = true;
        }
        pipes.with(id, |pipe| pipe.disconnect(error.clone()));
        self.tell(SocketEvent::PeerRefused(id, error));
    }

    /// A peer is past its handshake.
    fn attach(&mut self, pipes: &mut impl Pipes, id: PipeId, peer: Arc<Peer>) -> Result<(), ZmtpError> {
        let kind = self.options.kind;
        if matches!(kind, SocketType::Pair | SocketType::Channel)
            && self.entries.iter().any(|(other, entry)| *other != id && entry.peer.is_some())
        {
            return Err(ZmtpError::SecondPeer(kind));
        }
        let mut taken_over = None;
        match &mut self.pattern {
            Pattern::Router(router) => {
                let chosen = self.entries.get(&id).and_then(|entry| entry.chosen_id.as_deref());
                taken_over = router.add(&self.options, id, chosen, &peer.routing_id)?;
                if let Some(routing_id) = router.id_of(id) {
                    self.fair.name(id, routing_id.clone());
                }
            }
            Pattern::Publisher(publisher) => publisher.add_peer(id),
            Pattern::Subscriber(own) => {
                self.scratch.clear();
                own.put_all(kind, peer.version, &mut self.scratch);
                pipes.with(id, |pipe| pipe.send_control(&self.scratch));
            }
            _ => {}
        }
        if let Some(old) = taken_over {
            self.retire(old);
            self.refuse(pipes, old, ZmtpError::HandedOver);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.peer = Some(peer.clone());
        }
        self.set_target(id, true);
        let (version, probes) = (peer.version, self.options.probe_router);
        self.tell(SocketEvent::PeerUp(id, peer));
        if probes && matches!(kind, SocketType::Router | SocketType::Dealer | SocketType::Req) {
            // If its queue is full it hears of us by that.
            let _full = pipes.with(id, |pipe| pipe.send(&[], &[b"".into()]));
        }
        if version == Version::V1 && kind.publishes() {
            // It says no topics, and sorts out by itself.
            self.subscribed(pipes, id, b"")?;
        }
        self.flush(pipes);
        Ok(())
    }

    /// Messages came.
    fn arrived(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        if let Pattern::Req(req) = &self.pattern
            && req.pending.is_none_or(|pending| pending.peer != Some(id))
        {
            let dropped = pipes.with(id, |pipe| pipe.clear_inbox()).unwrap_or(0);
            return self.note_dropped(id, dropped, Drop::Stray);
        }
        self.fair.arrived(id, self.options.conflate);
    }

    /// A peer says that it subscribes.
    fn subscribed(&mut self, pipes: &mut impl Pipes, id: PipeId, topic: &[u8]) -> Result<(), ZmtpError> {
        if self.is_manual() {
            self.tell_application(pipes, id, 1, topic);
            return Ok(());
        }
        let Some(change) = self.add_subscription(pipes, id, topic)? else { return Ok(()) };
        if change.matters || self.options.xpub_verbose || self.options.xpub_verboser {
            self.tell_application(pipes, id, 1, topic);
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
            let _full = pipes.with(id, |pipe| pipe.send(&[], &[welcome.into()]));
        }
        Ok(change)
    }

    /// A peer says that it ends a subscription.
    fn cancelled(&mut self, pipes: &mut impl Pipes, id: PipeId, topic: &[u8]) {
        let (manual, verboser) = (self.is_manual(), self.options.xpub_verboser);
        let Pattern::Publisher(publisher) = &mut self.pattern else { return };
        if manual || publisher.cancel(id, topic).is_some_and(|change| change.matters || verboser) {
            self.tell_application(pipes, id, 0, topic);
        }
    }

    /// With [`xpub_manual`](crate::options::Options::xpub_manual): the application subscribes a peer to a
    /// topic, mostly when it [received](Self::recv) from there that the peer wants to be. False: the peer is not
    /// there (any more), or has as many topics as it may.
    pub fn subscribe_peer(&mut self, pipes: &mut impl Pipes, id: PipeId, topic: &[u8]) -> bool {
        self.is_manual() && matches!(self.add_subscription(pipes, id, topic), Ok(Some(_)))
    }

    /// Ends that. False: there was no such subscription.
    pub fn unsubscribe_peer(&mut self, id: PipeId, topic: &[u8]) -> bool {
        let manual = self.is_manual();
        match &mut self.pattern {
            Pattern::Publisher(publisher) if manual => publisher.cancel(id, topic).is_some(),
            _ => false,
        }
    }

    /// An XPUB receives subscriptions as messages. They stand in the inbox of the peer, which is bounded.
    fn tell_application(&mut self, pipes: &mut impl Pipes, id: PipeId, kind: u8, topic: &[u8]) {
        if self.options.kind != SocketType::XPub {
            return;
        }
        self.scratch.clear();
        self.scratch.push(kind);
        self.scratch.extend_from_slice(topic);
        if pipes.with(id, |pipe| pipe.notify([&self.scratch[..]])).is_some() {
            self.fair.arrived(id, self.options.conflate);
        }
    }

    /// The connection of a pipe ended, and the pipe knows: [its
    /// messages](bowline_core::machine::Machine::handle_disconnected) are back. An accepted pipe, and one that
    /// is closed, is not needed any more afterwards; a dialing one may have another connection.
    pub fn disconnected(&mut self, pipes: &mut impl Pipes, id: PipeId, cause: Disconnect) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let was_up = entry.peer.take().is_some();
        let refused = core::mem::take(&mut entry.refused);
        let closed = pipes.with(id, |pipe| pipe.is_closed());
        let over = entry.role == Role::Accepting || closed != Some(false);
        self.set_target(id, !over && !self.options.immediate);
        self.retire(id);
        self.end_subscriptions(pipes, id);
        let ghost = self.next_number();
        let left = self.fair.leave(pipes, id, ghost, self.options.left_behind);
        if let Pattern::Req(Req { pending: Some(pending), .. }) = &mut self.pattern
            && pending.peer == Some(id)
        {
            pending.left = Some(ghost);
        }
        self.collect_unsent(pipes, id);
        if over {
            self.entries.remove(&id);
        }
        self.note_dropped(id, left, Drop::LeftBehind);
        if was_up && !refused {
            self.tell(SocketEvent::PeerDown(id, cause));
        }
    }

    /// Takes a peer out of what finds peers, except for subscriptions.
    fn retire(&mut self, id: PipeId) {
        if let Pattern::Router(router) = &mut self.pattern {
            router.remove(id);
        }
    }

    fn end_subscriptions(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        let Pattern::Publisher(publisher) = &mut self.pattern else { return };
        let mut last = Vec::new();
        publisher.remove_peer(id, |topic| last.push(topic.to_vec()));
        for topic in last {
            self.tell_application(pipes, id, 0, &topic);
        }
    }

    /// What is in the queue of a pipe without a connection goes to others, waits for its next connection, or
    /// is dropped, as the type says. To be called again when a batch comes back to such a pipe later.
    pub fn collect_unsent(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        let balances = self.balances();
        let stays = balances && self.waits_for_reconnect(pipes, id);
        let mut messages = Vec::new();
        if !stays {
            pipes.with(id, |pipe| pipe.take_unsent(|message| messages.push(message)));
        }
        if let Pattern::Req(Req { pending: Some(pending), .. }) = &mut self.pattern
            && pending.peer == Some(id)
        {
            // Earlier ones were given up for this one.
            messages = messages.pop().into_iter().collect();
            if !messages.is_empty() {
                (pending.peer, pending.left) = (None, None);
            } else if !stays {
                // A batch that its writer still has may have the request: then it is not known yet.
                pending.lost = pipes.with(id, |pipe| pipe.is_drained()) != Some(false);
            }
        }
        if balances {
            messages.into_iter().for_each(|message| self.balancer.give_back(message));
            self.flush(pipes);
        } else {
            self.note_dropped(id, messages.len(), Drop::PeerGone);
        }
    }

    /// Whether messages that one peer did not get are as good for another.
    fn balances(&self) -> bool {
        matches!(self.pattern, Pattern::Plain | Pattern::Req(_)) && self.options.kind.sends()
    }

    /// Whether what waits in a pipe stays there: it has messages, will be connected again, and there is no
    /// other peer for them.
    fn waits_for_reconnect(&self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        if self.targets.iter().any(|target| *target != id) {
            return false;
        }
        let waits =
            pipes.with(id, |pipe| pipe.role() == Role::Dialing && !pipe.is_closed() && !pipe.is_drained());
        waits == Some(true)
    }

    /// Sends what came back from peers that are gone, as far as there is room: when there is some, or a new
    /// peer.
    pub fn flush(&mut self, pipes: &mut impl Pipes) {
        if self.balancer.returned() == 0 {
            return;
        }
        let last = self.balancer.flush(pipes, &self.targets);
        if let (Pattern::Req(req), Some(id)) = (&mut self.pattern, last)
            && let Some(pending) = &mut req.pending
        {
            pending.peer = Some(id);
        }
    }

    /// Tells all peers of a subscription, or of its end.
    pub(super) fn spread(&mut self, pipes: &mut impl Pipes, begins: bool, topic: &[u8]) {
        let kind = self.options.kind;
        for (id, entry) in &self.entries {
            let Some(peer) = entry.peer.as_ref().filter(|_| entry.is_up()) else { continue };
            self.scratch.clear();
            put(kind, peer.version, begins, topic, &mut self.scratch);
            pipes.with(*id, |pipe| pipe.send_control(&self.scratch));
        }
    }
}
