//! Connections: dialed on demand, checked before use, and probed for signs of life.

use alloc::string::String;
use alloc::vec::Vec;

use bowline_core::error::Disconnect;
use bowline_core::machine::Epoch;
use bowline_core::time::Instant;

use super::command::State;
use super::error::{ClusterError, NodeCause, ReplyError};
use super::nodes::{LaneId, LaneState};
use super::output::{CallId, CommandId, Lane, NodeId, Output};
use super::timers::Key;
use super::{Call, Cluster, Purpose};
use crate::protocol::{ClusterDetails, Code, Reply, Request};

/// The consequence of a lost connection for its calls.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// Another node may carry out the command.
    Cause(NodeCause),
    /// Final for the command.
    OtherCluster { found: String },
}

impl Cluster {
    /// Reports that a [requested](Output::Open) connection is established.
    pub fn connected(&mut self, now: Instant, node: NodeId, lane: Lane, epoch: Epoch) {
        self.at(now);
        let Some(at) = self.current(node, lane, epoch, |state| state == LaneState::Dialing) else { return };
        let call = self.call(at, Purpose::Check, Request::ClusterDetails, None);
        self.lane(at).state = LaneState::Checking(call);
        self.timers.set(Key::Lane(at), self.now + self.settings.connect_timeout);
        self.run();
    }

    /// Reports that a [requested](Output::Open) connection failed: the driver has made all attempts that it
    /// is configured for.
    pub fn dial_failed(&mut self, now: Instant, node: NodeId, lane: Lane, epoch: Epoch, cause: Disconnect) {
        self.at(now);
        let Some(at) = self.current(node, lane, epoch, |state| state == LaneState::Dialing) else { return };
        self.counters.dials_failed += 1;
        self.lane_is_down(at, Loss::Cause(NodeCause::Dial(cause)));
        self.run();
    }

    /// Reports that a connection ended.
    pub fn disconnected(&mut self, now: Instant, node: NodeId, lane: Lane, epoch: Epoch, cause: Disconnect) {
        self.at(now);
        let up = |state| matches!(state, LaneState::Checking(_) | LaneState::Ready);
        let Some(at) = self.current(node, lane, epoch, up) else { return };
        self.counters.connections_lost += 1;
        self.lane_is_down(at, Loss::Cause(NodeCause::Lost(cause)));
        self.run();
    }

    /// The lane, if that is its current connection and its state matches.
    fn current(
        &self,
        node: NodeId,
        lane: Lane,
        epoch: Epoch,
        fits: impl Fn(LaneState) -> bool,
    ) -> Option<LaneId> {
        let connection = self.nodes.get(node.index())?.lane(lane);
        (connection.epoch == epoch && fits(connection.state)).then_some(LaneId { node, lane })
    }

    /// Connects, unless it is connected or connecting.
    pub(super) fn want_lane(&mut self, at: LaneId) {
        let connection = self.lane(at);
        if connection.state != LaneState::Down {
            return;
        }
        connection.state = LaneState::Dialing;
        connection.epoch = connection.epoch.next();
        let epoch = connection.epoch;
        self.counters.dials += 1;
        self.outputs.push_back(Output::Open { node: at.node, lane: at.lane, epoch });
    }

    /// Sends a request. The connection must be ready.
    pub(super) fn call(
        &mut self,
        at: LaneId,
        purpose: Purpose,
        request: Request,
        deadline: Option<Instant>,
    ) -> CallId {
        let call = CallId(self.next_id());
        self.calls.insert(call, Call { at, purpose, issued: self.now });
        let epoch = self.lane(at).epoch;
        self.outputs.push_back(Output::Call { node: at.node, lane: at.lane, epoch, call, request, deadline });
        call
    }

    /// Closes the connection, if there is one, and everything on it.
    pub(super) fn close_lane(&mut self, at: LaneId, cause: NodeCause) {
        self.close_lane_for(at, cause.clone(), Loss::Cause(cause));
    }

    fn close_lane_for(&mut self, at: LaneId, cause: NodeCause, loss: Loss) {
        let connection = self.lane(at);
        if connection.state == LaneState::Down {
            return;
        }
        let epoch = connection.epoch;
        if cause != NodeCause::Disconnected {
            self.counters.connections_closed += 1;
        }
        self.outputs.push_back(Output::Close { node: at.node, lane: at.lane, epoch, cause });
        self.lane_is_down(at, loss);
    }

    /// Moves everything that was on a connection elsewhere, or ends it.
    fn lane_is_down(&mut self, at: LaneId, loss: Loss) {
        let connection = self.lane(at);
        connection.state = LaneState::Down;
        connection.probe = None;
        connection.live = 0;
        connection.forgotten = 0;
        let waiting = core::mem::take(&mut connection.waiting);
        self.timers.clear(Key::Lane(at));
        if !matches!(loss, Loss::Cause(NodeCause::Disconnected | NodeCause::Stopping)) {
            let now = self.now;
            self.node(at.node).failed(now);
        }
        for id in waiting {
            self.lost_before_sending(id, at.node, &loss);
        }
        let lost: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.at == at).map(|(&id, _)| id).collect();
        for id in lost {
            self.lost_call(id, at.node, &loss);
        }
    }

    fn lost_before_sending(&mut self, id: CommandId, node: NodeId, loss: &Loss) {
        self.timers.clear(Key::Attempt(id));
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.state = State::Runnable;
        match loss {
            Loss::Cause(cause) => self.failed(id, node, cause.clone()),
            Loss::OtherCluster { found } => {
                let error = self.mismatch(node, found);
                self.end(id, Err(error));
            }
        }
    }

    fn lost_call(&mut self, call: CallId, node: NodeId, loss: &Loss) {
        let Some(Call { purpose, .. }) = self.calls.remove(&call) else { return };
        match purpose {
            Purpose::Check | Purpose::Probe => {}
            Purpose::Survey(topic) => self.survey_lost(topic, node),
            // The topic's pause continues: the node may still be working on that send.
            Purpose::GivenUp { topic, .. } => self.hold_without_reply(topic, call),
            Purpose::Command(id) => self.command_lost(id, node, loss),
        }
    }

    pub(super) fn mismatch(&self, node: NodeId, found: &str) -> ClusterError {
        let expected = self.settings.cluster_id.clone();
        ClusterError::ClusterIdMismatch {
            node: self.address_of(node),
            expected,
            found: super::replies::clip(found),
        }
    }

    /// Handles the reply to the check or to a probe.
    pub(super) fn details_reply(&mut self, at: LaneId, issued: Instant, is_check: bool, reply: Reply) {
        let details = match reply {
            Reply::ClusterDetails(details) => details,
            Reply::Error(message) => {
                return self.close_lane(at, NodeCause::Rejected(super::replies::clip(&message)));
            }
            _ => {
                self.counters.bad_replies += 1;
                return self.close_lane(at, NodeCause::BadReply(ReplyError::OtherMethod));
            }
        };
        if !self.accepts(at, &details) {
            return;
        }
        let took = self.now.saturating_since(issued);
        self.node(at.node).measured(took);
        self.node(at.node).works();
        self.names.set_peers(&details.peers);
        self.timers.clear(Key::Lane(at));
        if at.lane == Lane::Short {
            self.settle(at.node);
        }
        if is_check {
            self.lane(at).state = LaneState::Ready;
        } else {
            self.lane(at).probe = None;
            self.watch(at);
        }
        for id in core::mem::take(&mut self.lane(at).waiting) {
            self.issue(id, at.node);
        }
        if is_check {
            self.survey_lane_is_up(at);
        }
    }

    /// Whether the node belongs to the right cluster and is not stopping; closes the connection otherwise.
    fn accepts(&mut self, at: LaneId, details: &ClusterDetails) -> bool {
        let wanted = &self.settings.cluster_id;
        let status = &details.status;
        let other = !wanted.is_empty() && *wanted != details.cluster_id;
        match status.code {
            Code::Success if !other => return true,
            Code::Success | Code::ClusterIdMismatch => {
                self.counters.cluster_id_mismatches += 1;
                let found = super::replies::clip(&details.cluster_id);
                let cause = NodeCause::OtherCluster { found: found.clone() };
                self.close_lane_for(at, cause, Loss::OtherCluster { found });
            }
            // A stopping node sends no id.
            Code::Shutdown => {
                self.avoid(at.node);
                self.close_lane(at, NodeCause::Stopping);
            }
            code => {
                let description = super::replies::clip(&status.description);
                self.close_lane(at, NodeCause::Status { code, description });
            }
        }
        false
    }

    pub(super) fn avoid(&mut self, node: NodeId) {
        let until = self.now + self.settings.avoid;
        self.node(node).avoid(until);
    }

    /// A long poll was sent: its node is probed from now on.
    pub(super) fn watch(&mut self, at: LaneId) {
        if at.lane == Lane::Long && self.lane(at).live > 0 && !self.timers.is_set(Key::Lane(at)) {
            self.timers.set(Key::Lane(at), self.now + self.settings.probe_interval);
        }
    }

    /// Sends a probe, unless one is under way.
    pub(super) fn probe(&mut self, at: LaneId) {
        if self.lane(at).state != LaneState::Ready || self.lane(at).probe.is_some() {
            return;
        }
        self.counters.probes += 1;
        let call = self.call(at, Purpose::Probe, Request::ClusterDetails, None);
        self.lane(at).probe = Some(call);
        self.timers.set(Key::Lane(at), self.now + self.settings.probe_timeout);
    }

    /// A call took too long. If nothing was received since it was sent, the node may be dead.
    pub(super) fn suspect(&mut self, at: LaneId, issued: Instant) {
        if self.lane(at).heard <= issued {
            self.probe(at);
        }
    }

    pub(super) fn lane_timeout(&mut self, at: LaneId) {
        let connection = self.lane(at);
        let heard = connection.heard;
        match connection.state {
            LaneState::Checking(_) => {
                let limit = self.settings.connect_timeout;
                self.close_lane(at, NodeCause::Silent { limit });
            }
            LaneState::Ready if connection.probe.is_some() => {
                let limit = self.settings.probe_timeout;
                self.close_lane(at, NodeCause::Silent { limit });
            }
            LaneState::Ready if at.lane == Lane::Long && connection.live > 0 => {
                let due = heard + self.settings.probe_interval;
                if due > self.now {
                    self.timers.set(Key::Lane(at), due);
                } else {
                    self.probe(at);
                }
            }
            _ => {}
        }
    }

    /// A command's call was answered or given up.
    pub(super) fn call_is_over(&mut self, at: LaneId) {
        let connection = self.lane(at);
        connection.live = connection.live.saturating_sub(1);
        if connection.live == 0 && connection.state == LaneState::Ready && connection.probe.is_none() {
            self.timers.clear(Key::Lane(at));
        }
    }

    /// A long poll was given up. Only closing the connection ends it at the node; that is done if no other
    /// poll is on the connection, or if there are too many such polls.
    pub(super) fn forget_poll(&mut self, at: LaneId) {
        let limit = self.settings.abandoned_polls;
        let connection = self.lane(at);
        connection.forgotten += 1;
        if connection.live == 0 || connection.forgotten > limit {
            self.close_lane(at, NodeCause::Disconnected);
        }
    }
}
