//! Attempts: the choice of the next node for a command, and the end of a command.

use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Command, Kind, State};
use super::connections::Loss;
use super::error::{ClusterError, NodeCause, NodeFailure};
use super::nodes::{LaneId, LaneState};
use super::output::{Answer, CallId, CommandId, Lane, NodeId, Output};
use super::settings::NodeOrder;
use super::timers::Key;
use super::{Cluster, Purpose};

impl Cluster {
    /// Starts the next attempt of a command.
    pub(super) fn go(&mut self, id: CommandId) {
        let Some(command) = self.commands.get(&id) else { return };
        if command.state != State::Runnable {
            return;
        }
        if self.has_to_rest(command) {
            return self.rests(id, 0);
        }
        match self.choose(id) {
            Some(node) => self.attempt(id, node),
            None => self.round_is_over(id),
        }
    }

    /// The node to try next in this round.
    fn choose(&self, id: CommandId) -> Option<NodeId> {
        let command = self.commands.get(&id)?;
        let tries = &command.tries;
        let may = |node: NodeId| !tries.has_tried(node) && !self.nodes[node.index()].is_avoided(self.now);
        let first = match &command.kind {
            // It stays at its node.
            Kind::Follow(follow) => follow.node(),
            Kind::Send(send) => {
                let leader = self.topics.get(send.topic).and_then(|topic| topic.leader);
                // Other nodes name a dead leader until a new one is elected.
                let may = |node: &NodeId| may(*node) && !self.nodes[node.index()].has_failed(self.now);
                tries.hint.filter(may).or_else(|| leader.filter(may))
            }
            _ => None,
        };
        first.or_else(|| self.best(command))
    }

    /// The best of the nodes that were not tried in this round.
    fn best(&self, command: &Command) -> Option<NodeId> {
        let count = self.order.len();
        let start =
            self.last_good.and_then(|good| self.order.iter().position(|&node| node == good)).unwrap_or(0);
        let reads = !matches!(command.kind, Kind::Send(_));
        let nearest = reads && self.settings.order == NodeOrder::Nearest;
        let guessing = command.tries.unknown_hint.is_some();
        let untried = self.order.iter().enumerate().filter(|(_, node)| !command.tries.has_tried(**node));
        let candidates = untried.filter(|(_, node)| {
            // If there is time for another round, a stopping node is not asked.
            command.one_round || !self.nodes[node.index()].is_avoided(self.now)
        });
        let key = |&(position, &id): &(usize, &NodeId)| {
            let node = &self.nodes[id.index()];
            (
                node.is_avoided(self.now),
                node.has_failed(self.now),
                reads && node.is_lagging(self.now),
                reads && self.preferred.is_some_and(|preferred| preferred != id),
                // Not measured yet: this call measures it.
                if nearest { node.round_trip.unwrap_or(Duration::ZERO) } else { Duration::ZERO },
                // The leader's name is one that belongs to no known node.
                !reads && guessing && self.names.has_name(id),
                (position + count - start) % count,
            )
        };
        candidates.min_by_key(key).map(|(_, &node)| node)
    }

    /// Holds a send until its topic's pause is over. `untried`: nodes that it was not sent to after all.
    fn rests(&mut self, id: CommandId, untried: u64) {
        self.timers.clear(Key::Attempt(id));
        if let Some(command) = self.commands.get_mut(&id) {
            command.state = State::Held;
            command.tries.tried &= !untried;
        }
    }

    fn attempt(&mut self, id: CommandId, node: NodeId) {
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.tries.tried |= node.bit();
        command.state = State::Waiting(node);
        let at = LaneId { node, lane: command.lane() };
        if command.tries.hint == Some(node) {
            self.counters.hints_followed += 1;
        }
        self.counters.attempts += 1;
        let is_send = matches!(command.kind, Kind::Send(_));
        let lane = self.lane(at);
        // A node that may be dead is sent no further send.
        if lane.state == LaneState::Ready && !(is_send && lane.probe.is_some()) {
            return self.issue(id, node);
        }
        self.timers.set(Key::Attempt(id), self.now + self.settings.connect_timeout);
        self.lane(at).waiting.insert(id);
        self.want_lane(at);
    }

    /// Sends a command's request to a node whose connection is ready.
    pub(super) fn issue(&mut self, id: CommandId, node: NodeId) {
        if self.commands.get(&id).is_some_and(|command| self.has_to_rest(command)) {
            return self.rests(id, node.bit());
        }
        let Some(command) = self.commands.get_mut(&id) else { return };
        let at = LaneId { node, lane: command.lane() };
        if let Kind::Follow(follow) = &mut command.kind {
            follow.goes_to(node, self.nodes[node.index()].lane(at.lane).epoch);
        }
        let request = command.request(&self.settings.cluster_id, self.settings.page);
        let is_send = matches!(command.kind, Kind::Send(_));
        let patient = command.is_patient() && !is_send;
        // A send that is given up is waited for a little longer.
        let hold = if is_send { self.settings.send_hold } else { Duration::ZERO };
        let deadline = command.deadline.map(|deadline| deadline + hold);
        if patient {
            self.timers.clear(Key::Attempt(id));
        } else {
            self.timers.set(Key::Attempt(id), self.now + self.settings.attempt_timeout);
        }
        let call = self.call(at, Purpose::Command(id), request, deadline);
        if let Some(command) = self.commands.get_mut(&id) {
            command.state = State::Out { call, node };
        }
        self.lane(at).live += 1;
        self.watch(at);
    }

    /// Handles a failed attempt without effect: the next attempt follows.
    pub(super) fn failed(&mut self, id: CommandId, node: NodeId, cause: NodeCause) {
        self.timers.clear(Key::Attempt(id));
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.tries.failed(node, cause);
        command.state = State::Runnable;
        match &mut command.kind {
            Kind::Follow(follow) => {
                follow.leaves();
                let key = Key::Deadline(id);
                if let Some(limit) = self.settings.follow_deadline.filter(|_| !self.timers.is_set(key)) {
                    self.timers.set(key, self.now + limit);
                }
            }
            Kind::Send(send) => {
                let topic = send.topic;
                self.forget_leader(topic, node);
            }
            _ => {}
        }
        self.work.push_back(super::Work::Go(id));
    }

    fn round_is_over(&mut self, id: CommandId) {
        let (base, cap) = self.settings.backoff;
        let avoided: Vec<NodeId> = (0..self.nodes.len())
            .map(NodeId::new)
            .filter(|node| self.nodes[node.index()].is_avoided(self.now))
            .collect();
        let Some(command) = self.commands.get_mut(&id) else { return };
        for node in avoided {
            if !command.tries.has_tried(node) {
                command.tries.failed(node, NodeCause::Avoided);
            }
        }
        let tries = &mut command.tries;
        if let Some((node, NodeCause::Rejected(message))) = tries.causes.last()
            && tries.causes.iter().all(|(_, cause)| matches!(cause, NodeCause::Rejected(_)))
        {
            let (node, message) = (*node, message.clone());
            let error = ClusterError::Rejected { node: self.address_of(node), message };
            return self.end(id, Err(error));
        }
        let bound = base.saturating_mul(1 << tries.rounds.min(20)).min(cap);
        let half = u64::try_from(bound.as_nanos() / 2).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(half.saturating_add(self.random.below(half.saturating_add(1))));
        let resume = self.now + wait;
        self.counters.rounds_failed += 1;
        if command.one_round || command.deadline.is_some_and(|deadline| resume >= deadline) {
            let causes = self.causes(id);
            return self.end(id, Err(ClusterError::NoNodes { causes }));
        }
        tries.next_round();
        command.state = State::Pausing;
        self.timers.set(Key::Attempt(id), resume);
    }

    /// Handles the end of the wait before a round, or a node that took too long.
    pub(super) fn attempt_timeout(&mut self, id: CommandId) {
        let Some(command) = self.commands.get_mut(&id) else { return };
        match command.state {
            State::Pausing => {
                command.state = State::Runnable;
                self.work.push_back(super::Work::Go(id));
            }
            State::Waiting(node) => {
                let at = LaneId { node, lane: command.lane() };
                let limit = self.settings.connect_timeout;
                self.lane(at).waiting.remove(&id);
                let now = self.now;
                self.node(node).failed(now);
                self.failed(id, node, NodeCause::Silent { limit });
            }
            State::Out { call, .. } if command.is_patient() => {
                // A send that waits for its commit goes on; a probe checks whether its node is alive.
                if let Some(&super::Call { at, issued, .. }) = self.calls.get(&call) {
                    self.suspect(at, issued);
                }
            }
            State::Out { call, node } => {
                let limit = self.settings.attempt_timeout;
                self.give_up_call(id, call);
                self.command_lost(id, node, &Loss::Cause(NodeCause::Silent { limit }));
            }
            State::Queued | State::Runnable | State::Held | State::Idle => {}
        }
    }

    /// Handles the expiry of a command's deadline.
    pub(super) fn expire(&mut self, id: CommandId) {
        if self.commands.get(&id).is_some_and(Command::is_served) {
            // It has found a node in the meantime: if that node fails, a new deadline begins.
            return;
        }
        let causes = self.causes(id);
        self.end(id, Err(ClusterError::Deadline { causes }));
    }

    /// Stops waiting for the reply to a command's call.
    pub(super) fn give_up_call(&mut self, id: CommandId, call: CallId) {
        let Some(&super::Call { at, issued, .. }) = self.calls.get(&call) else { return };
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.state = State::Runnable;
        let topic = match &command.kind {
            Kind::Send(send) => Some(send.topic),
            _ => None,
        };
        self.call_is_over(at);
        if let Some(topic) = topic {
            self.give_up_send(topic, id, call);
        } else {
            self.calls.remove(&call);
            self.forget(at, call);
            if at.lane == Lane::Long {
                self.forget_poll(at);
            }
        }
        if self.settings.attempt_timeout <= self.now.saturating_since(issued) {
            self.suspect(at, issued);
        }
    }

    pub(super) fn forget(&mut self, at: LaneId, call: CallId) {
        let epoch = self.lane(at).epoch;
        self.outputs.push_back(Output::Forget { node: at.node, lane: at.lane, epoch, call });
    }

    pub(super) fn causes(&self, id: CommandId) -> Vec<NodeFailure> {
        let causes = self.commands.get(&id).map_or(&[][..], |command| &command.tries.causes);
        let failure = |(node, cause): &(NodeId, NodeCause)| NodeFailure {
            node: self.address_of(*node),
            cause: cause.clone(),
        };
        causes.iter().map(failure).collect()
    }

    pub(super) fn at_node(&self, node: NodeId, cause: NodeCause) -> ClusterError {
        ClusterError::Node(NodeFailure { node: self.address_of(node), cause })
    }

    /// Ends a command with its result and releases everything that it held. Has no effect if the command is
    /// over.
    pub(super) fn end(&mut self, id: CommandId, result: Result<Answer, ClusterError>) {
        let Some(command) = self.commands.get(&id) else { return };
        let state = command.state;
        let lane = command.lane();
        match state {
            State::Waiting(node) => _ = self.lane(LaneId { node, lane }).waiting.remove(&id),
            State::Out { call, .. } => self.give_up_call(id, call),
            _ => {}
        }
        self.timers.clear(Key::Deadline(id));
        self.timers.clear(Key::Attempt(id));
        let Some(command) = self.commands.remove(&id) else { return };
        let result = match command.kind {
            Kind::Send(send) => self.send_is_over(id, state, *send, result),
            Kind::Follow(follow) => {
                self.end_survey(follow.topic, id);
                result
            }
            _ => result,
        };
        match &result {
            Ok(_) => self.counters.succeeded += 1,
            Err(error) => {
                self.counters.failed += 1;
                let counter = match error {
                    ClusterError::MaybeAppended { .. } => Some(&mut self.counters.maybe_appended),
                    ClusterError::Deadline { .. } => Some(&mut self.counters.expired),
                    ClusterError::Cancelled => Some(&mut self.counters.cancelled),
                    _ => None,
                };
                if let Some(counter) = counter {
                    *counter += 1;
                }
            }
        }
        self.outputs.push_back(Output::Done { command: id, result });
    }
}
