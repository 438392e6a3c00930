//! Adding and removing pipes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;

use super::requests::Req;
use super::subscribe::put;
use super::{Drop, Entry, HandshakeFailure, Pattern, PipeId, Pipes, Socket, SocketEvent};
use crate::error::{OptionError, ZmtpError};
use crate::message::Message;
use crate::options::MAX_ROUTING_ID;
use crate::pipe::{Late, Peer, Pipe, PipeEvent, Role};
use crate::socket_type::SocketType;
use crate::wire::Version;

impl Socket {
    /// Adds a pipe. Its driver stores it under the returned id.
    pub fn add(&mut self, role: Role) -> PipeId {
        self.add_pipe(role, None)
    }

    /// As [`add`](Self::add); a ROUTER uses that routing id for the peer, whatever id the peer sends.
    ///
    /// # Errors
    /// The id is not 1 to 255 bytes long.
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
        let entry = Entry { role, chosen_id, peer: None, connections: 0, refused: false, gave_up: None };
        self.entries.insert(id, entry);
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

    /// Handles an event of a pipe, except [`Authenticate`](PipeEvent::Authenticate), which the socket does
    /// not decide.
    ///
    /// A peer that is refused here is disconnected, and an [event](SocketEvent::PeerRefused) gives the
    /// reason.
    pub fn handle_event(&mut self, pipes: &mut impl Pipes, id: PipeId, event: PipeEvent<'_>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.refused && !matches!(event, PipeEvent::Ready(_)) {
            if matches!(event, PipeEvent::Messages { .. }) {
                pipes.with(id, |pipe| pipe.clear_inbox());
                self.resume_reading(pipes);
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

    /// Reports that a peer was refused before its pipe was [ready](PipeEvent::Ready).
    pub fn note_refused(&mut self, id: PipeId, error: ZmtpError) {
        self.tell(SocketEvent::PeerRefused(id, error));
    }

    /// Handles the end of a peer's handshake.
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
                pipes.with_out(id, |pipe| pipe.send_control(&self.scratch));
            }
            _ => {}
        }
        if let Some(old) = taken_over {
            self.retire(old);
            self.refuse(pipes, old, ZmtpError::HandedOver);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.peer = Some(peer.clone());
            entry.connections += 1;
        }
        self.set_target(id, true);
        let version = peer.version;
        self.tell(SocketEvent::PeerUp(id, peer));
        if self.options.probes() {
            pipes.with_out(id, Pipe::probe_joined);
        }
        if version == Version::V1 && kind.publishes() {
            // It sends no topics and filters received messages itself.
            self.subscribed(pipes, id, b"")?;
        }
        self.flush(pipes);
        Ok(())
    }

    /// Handles the arrival of messages.
    fn arrived(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        if let Pattern::Req(req) = &self.pattern
            && req.pending.is_none_or(|pending| pending.peer != Some(id))
        {
            let dropped = pipes.with(id, |pipe| pipe.clear_inbox()).unwrap_or(0);
            self.resume_reading(pipes);
            return self.note_dropped(id, dropped, Drop::Stray);
        }
        self.fair.arrived(id, self.options.conflate);
    }

    /// The connection of a pipe ended; if its handshake was not done, an event is generated. Call it before
    /// [`disconnected`](Self::disconnected), which is also called for a pipe without a connection.
    pub fn connection_ended(&mut self, id: PipeId, cause: &Disconnect) {
        let failed = self.entries.get(&id).is_some_and(|entry| entry.peer.is_none() && !entry.refused);
        if failed && *cause != Disconnect::LocalClose {
            self.tell(SocketEvent::HandshakeFailed { pipe: id, why: HandshakeFailure::of(cause) });
        }
    }

    /// The connection of a pipe ended, and the pipe knows: [its
    /// messages](bowline_core::machine::Machine::handle_disconnected) have come back. An accepted or closed
    /// pipe is no longer needed afterwards; a dialing pipe may get another connection.
    pub fn disconnected(&mut self, pipes: &mut impl Pipes, id: PipeId, cause: Disconnect) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (was_up, refused) = (entry.peer.is_some(), entry.refused);
        let retires = self.leave(pipes, id);
        if was_up && !refused {
            self.tell(SocketEvent::PeerDown(id, cause.clone()));
        }
        if retires {
            self.tell(SocketEvent::Retired { pipe: id, cause });
        }
    }

    /// A dialing pipe will not connect again, because its attempts failed with that cause.
    /// [`ended`](Self::ended) follows.
    pub fn gave_up(&mut self, id: PipeId, cause: Disconnect) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.gave_up = Some(Box::new(cause));
        }
    }

    /// A pipe is permanently no longer driven or joined. Has no effect if the socket knew.
    pub fn ended(&mut self, pipes: &mut impl Pipes, id: PipeId, cause: Disconnect) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (dialed, gave_up) = (entry.role == Role::Dialing, entry.gave_up.take());
        let was_up = entry.is_up();
        self.leave(pipes, id);
        self.entries.remove(&id);
        self.set_target(id, false);
        if was_up {
            self.tell(SocketEvent::PeerDown(id, cause.clone()));
        }
        if dialed {
            let cause = gave_up.map_or(cause, |cause| *cause);
            self.tell(SocketEvent::Retired { pipe: id, cause });
        }
    }

    /// Handles a pipe without a connection. Returns true if it is a dialing pipe that will not connect again.
    fn leave(&mut self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.peer = None;
        entry.refused = false;
        let dialed = entry.role == Role::Dialing;
        let closed = pipes.with(id, |pipe| pipe.is_closed());
        let over = !dialed || closed != Some(false);
        self.set_target(id, !over && !self.options.immediate);
        self.retire(id);
        self.end_subscriptions(pipes, id);
        let ghost = self.next_number();
        let by_peer = self.options.xpub_verboser || self.options.xpub_manual;
        let left = self.fair.leave(pipes, id, ghost, self.options.left_behind, by_peer);
        if let Pattern::Req(Req { pending: Some(pending), .. }) = &mut self.pattern
            && pending.peer == Some(id)
        {
            pending.left = Some(ghost);
        }
        if let Pattern::Rep(rep) = &mut self.pattern {
            rep.has_left |= rep.asking == Some(id);
        }
        self.collect_unsent(pipes, id);
        if over {
            self.entries.remove(&id);
        }
        self.resume_reading(pipes);
        self.note_dropped(id, left, Drop::LeftBehind);
        over && dialed
    }

    /// Removes a peer from the tables that find peers, except for subscriptions.
    fn retire(&mut self, id: PipeId) {
        if let Pattern::Router(router) = &mut self.pattern {
            router.remove(id);
        }
    }

    /// Handles the queued messages of a pipe without a connection: as the type demands, they go to other
    /// peers, wait for the pipe's next connection, or are dropped. Call it again when a batch comes back to
    /// such a pipe later, and when one came back [late](Pipe::late).
    pub fn collect_unsent(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        let late = pipes.with(id, Pipe::take_late).unwrap_or_default();
        self.note_dropped(id, late.dropped, Drop::PeerGone);
        if pipes.with(id, |pipe| pipe.peer().is_some()) == Some(true) {
            // Other returned messages are sent on the next connection.
            return self.settle_unsent(pipes, id, Vec::new(), late.left);
        }
        let balances = self.balances();
        let stays = balances && self.waits_for_reconnect(pipes, id);
        let mut messages = Vec::new();
        if !stays {
            pipes.with(id, |pipe| pipe.take_unsent(|message| messages.push(message)));
        }
        // If a writer still has a batch, the request may be in it, and its fate is not known yet.
        let is_known = late.left || (!stays && pipes.with(id, |pipe| pipe.is_drained()) != Some(false));
        self.settle_unsent(pipes, id, messages, is_known);
    }

    /// As [`collect_unsent`](Self::collect_unsent), for a removed pipe: a writer still had its last batch,
    /// and these messages came back.
    pub fn collect_late(&mut self, pipes: &mut impl Pipes, id: PipeId, messages: Vec<Message>, late: Late) {
        self.note_dropped(id, late.dropped, Drop::PeerGone);
        self.settle_unsent(pipes, id, messages, true);
    }

    fn settle_unsent(
        &mut self,
        pipes: &mut impl Pipes,
        id: PipeId,
        mut messages: Vec<Message>,
        is_known: bool,
    ) {
        if let Pattern::Req(Req { pending, .. }) = &mut self.pattern {
            let asked = pending.as_mut().filter(|pending| pending.peer == Some(id));
            // Messages before it, and those for other peers, were given up for it.
            let request = asked.as_ref().and_then(|_| messages.pop());
            match asked {
                Some(asked) if request.is_some() => {
                    (asked.peer, asked.came_back, asked.left) = (None, Some(id), None);
                }
                Some(asked) if is_known => asked.lost = true,
                _ => {}
            }
            let given_up = core::mem::replace(&mut messages, request.into_iter().collect());
            self.note_dropped(id, given_up.len(), Drop::GivenUp);
        }
        if self.balances() {
            messages.into_iter().for_each(|message| self.balancer.give_back(message));
            self.flush(pipes);
        } else {
            self.note_dropped(id, messages.len(), Drop::PeerGone);
        }
    }

    /// Whether messages that one peer did not get may be sent to another.
    fn balances(&self) -> bool {
        self.options.kind.is_balanced()
    }

    /// Whether a pipe's queued messages stay in it: it has some, it will be connected again, and there is no
    /// other peer for them.
    fn waits_for_reconnect(&self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        if self.targets.iter().any(|target| *target != id) {
            return false;
        }
        let waits =
            pipes.with(id, |pipe| pipe.role() == Role::Dialing && !pipe.is_closed() && !pipe.is_drained());
        waits == Some(true)
    }

    /// Sends messages that came back from disconnected peers, as far as there is room. Call it when there is
    /// room again or a new peer.
    pub fn flush(&mut self, pipes: &mut impl Pipes) {
        if self.balancer.returned() == 0 {
            return;
        }
        let last = self.balancer.flush(pipes, &self.targets);
        if let (Pattern::Req(req), Some(id)) = (&mut self.pattern, last)
            && let Some(pending) = &mut req.pending
        {
            (pending.peer, pending.came_back) = (Some(id), None);
        }
        self.note_unfit();
    }

    /// Reports returned messages that no peer accepts.
    pub(super) fn note_unfit(&mut self) {
        for id in self.balancer.take_unfit() {
            self.note_dropped(id, 1, Drop::Unfit);
            if let Pattern::Req(Req { pending: Some(pending), .. }) = &mut self.pattern
                && pending.peer.is_none()
            {
                pending.lost = true;
            }
        }
    }

    /// Sends a subscription, or the end of one, to all peers.
    pub(super) fn spread(&mut self, pipes: &mut impl Pipes, begins: bool, topic: &[u8]) {
        let kind = self.options.kind;
        for (id, entry) in &self.entries {
            let Some(peer) = entry.peer.as_ref().filter(|_| entry.is_up()) else { continue };
            self.scratch.clear();
            put(kind, peer.version, begins, topic, &mut self.scratch);
            pipes.with_out(*id, |pipe| pipe.send_control(&self.scratch));
        }
    }
}
