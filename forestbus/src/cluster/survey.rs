//! The nodes' bounds of a followed topic: which nodes lag behind, and whether a position is after the end of
//! the logs.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bowline_core::time::Instant;

use super::command::{Kind, State};
use super::error::NodeCause;
use super::follow::{Behind, Follow};
use super::nodes::{LaneId, LaneState};
use super::output::{CallId, CommandId, Lane, NodeId};
use super::timers::Key;
use super::topics::TopicId;
use super::{Cluster, Purpose, checks};
use crate::protocol::{Bounds, Code, Index, Reply, Request};

/// The nodes' bounds of a topic.
#[derive(Debug, Default)]
pub(super) struct Survey {
    seen: BTreeMap<NodeId, Seen>,
    pending: BTreeMap<NodeId, (CallId, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    bounds: Bounds,
    /// When the request was sent: the answer is at least as recent.
    asked: Instant,
}

/// The action for a follower.
#[derive(Debug)]
enum Verdict {
    Nothing,
    Behind(Option<Behind>),
    Leave { commit: Index, others: Index },
    Truncated { last: Index },
}

impl Survey {
    /// The meaning of the answers for a follower.
    fn judge(
        &self,
        follow: &Follow,
        polling: bool,
        now: Instant,
        limit: core::time::Duration,
        majority: usize,
    ) -> Verdict {
        if follow.is_reading() {
            // Committed messages are in the logs of a majority, so if a majority of logs lacks them, they are
            // lost. The leader's log alone is not sufficient: a leader that was cut off does not know of
            // later messages.
            let without = |seen: &&Seen| {
                seen.asked >= follow.position_since && seen.bounds.last < follow.position.saturating_sub(1)
            };
            if self.seen.values().filter(without).count() >= majority {
                let last = self.seen.values().filter(without).map(|seen| seen.bounds.last).max().unwrap_or(0);
                return Verdict::Truncated { last };
            }
        }
        let Some(node) = follow.node().filter(|_| polling) else { return Verdict::Nothing };
        let Some(own) = self.seen.get(&node) else { return Verdict::Nothing };
        let others = self.seen.iter().filter(|(other, _)| **other != node);
        let others = others.map(|(_, seen)| seen.bounds.commit).max().unwrap_or(0);
        match follow.behind {
            // By now it has what the others had then.
            Some(behind) if own.bounds.commit >= behind.others => Verdict::Behind(None),
            Some(behind) if own.asked.saturating_since(behind.since) >= limit => {
                Verdict::Leave { commit: own.bounds.commit, others: behind.others }
            }
            Some(_) => Verdict::Nothing,
            None if own.bounds.commit < others => Verdict::Behind(Some(Behind { since: now, others })),
            None => Verdict::Nothing,
        }
    }
}

impl Cluster {
    fn survey_interval(&self) -> core::time::Duration {
        self.settings.lag_limit / 2
    }

    pub(super) fn start_survey(&mut self, topic_id: TopicId, follower: CommandId) {
        let due = self.now + self.survey_interval();
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        topic.followers.push(follower);
        if !self.timers.is_set(Key::Survey(topic_id)) {
            self.timers.set(Key::Survey(topic_id), due);
        }
    }

    pub(super) fn end_survey(&mut self, topic_id: TopicId, follower: CommandId) {
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        topic.followers.retain(|&other| other != follower);
        if topic.followers.is_empty() {
            self.timers.clear(Key::Survey(topic_id));
            let survey = core::mem::take(&mut topic.survey);
            for (node, (call, _)) in survey.pending {
                self.calls.remove(&call);
                self.forget(LaneId { node, lane: Lane::Short }, call);
            }
        }
    }

    /// Asks every node that can be asked.
    pub(super) fn survey(&mut self, topic_id: TopicId) {
        if self.topics.get(topic_id).is_none_or(|topic| topic.followers.is_empty()) {
            return;
        }
        self.timers.set(Key::Survey(topic_id), self.now + self.survey_interval());
        for index in 0..self.nodes.len() {
            let at = LaneId { node: NodeId::new(index), lane: Lane::Short };
            let state = self.lane(at).state;
            match state {
                LaneState::Ready => self.survey_node(topic_id, at),
                LaneState::Down if !self.nodes[index].has_failed(self.now) => self.want_lane(at),
                _ => {}
            }
        }
    }

    fn survey_node(&mut self, topic_id: TopicId, at: LaneId) {
        let Some(topic) = self.topics.get(topic_id) else { return };
        if let Some(&(_, asked)) = topic.survey.pending.get(&at.node) {
            return self.suspect(at, asked);
        }
        let request = Request::TopicDetails { topic: topic.name.clone() };
        let call = self.call(at, Purpose::Survey(topic_id), request, None);
        let asked = self.now;
        if let Some(topic) = self.topics.get_mut(topic_id) {
            topic.survey.pending.insert(at.node, (call, asked));
        }
    }

    /// Continues surveys that may have waited for that node.
    pub(super) fn survey_lane_is_up(&mut self, at: LaneId) {
        if at.lane == Lane::Long {
            return;
        }
        let followed: Vec<TopicId> = self
            .topics
            .iter_mut()
            .filter(|(_, topic)| !topic.followers.is_empty())
            .filter(|(_, topic)| !topic.survey.pending.contains_key(&at.node))
            .map(|(id, _)| id)
            .collect();
        for topic in followed {
            self.survey_node(topic, at);
        }
    }

    pub(super) fn survey_lost(&mut self, topic: TopicId, node: NodeId) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.survey.pending.remove(&node);
            topic.survey.seen.remove(&node);
        }
    }

    pub(super) fn survey_reply(&mut self, topic_id: TopicId, at: LaneId, reply: Reply) {
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        let Some((_, asked)) = topic.survey.pending.remove(&at.node) else { return };
        let details = match reply {
            Reply::TopicDetails(details) => details,
            Reply::Error(_) => return,
            _ => {
                self.counters.bad_replies += 1;
                return self.close_lane(at, NodeCause::BadReply(super::ReplyError::OtherMethod));
            }
        };
        if details.status.code != Code::Success {
            topic.survey.seen.remove(&at.node);
            return;
        }
        if let Err(error) = checks::bounds(details.bounds) {
            self.counters.bad_replies += 1;
            return self.close_lane(at, NodeCause::BadReply(error));
        }
        topic.survey.seen.insert(at.node, Seen { bounds: details.bounds, asked });
        self.judge_followers(topic_id);
    }

    fn judge_followers(&mut self, topic_id: TopicId) {
        let majority = self.names.cluster_size() / 2 + 1;
        let (now, limit) = (self.now, self.settings.lag_limit);
        let Some(topic) = self.topics.get(topic_id) else { return };
        let mut verdicts: Vec<(CommandId, Verdict)> = Vec::new();
        for &id in &topic.followers {
            if let Some(command) = self.commands.get(&id)
                && let Kind::Follow(follow) = &command.kind
            {
                let polling = matches!(command.state, State::Out { .. }) && follow.is_polling();
                verdicts.push((id, topic.survey.judge(follow, polling, now, limit, majority)));
            }
        }
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Nothing => {}
                Verdict::Behind(behind) => {
                    if let Some(command) = self.commands.get_mut(&id)
                        && let Kind::Follow(follow) = &mut command.kind
                    {
                        follow.behind = behind;
                    }
                }
                Verdict::Leave { commit, others } => self.leave_laggard(id, commit, others),
                Verdict::Truncated { last } => self.truncate_follow(id, last),
            }
        }
    }

    fn leave_laggard(&mut self, id: CommandId, commit: Index, others: Index) {
        let Some(command) = self.commands.get(&id) else { return };
        let State::Out { call, node } = command.state else { return };
        self.counters.laggards_left += 1;
        let until = self.now + self.settings.lag_limit * 2;
        self.node(node).lags(until);
        self.give_up_call(id, call);
        self.failed(id, node, NodeCause::Lagging { commit, others });
    }
}
