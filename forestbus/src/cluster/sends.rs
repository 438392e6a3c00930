//! Sends: one of a topic at a time, in order; an unknown outcome is reported as such.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Command, Kind, Send, State};
use super::connections::Loss;
use super::error::{ClusterError, NodeCause};
use super::output::{Answer, CallId, CommandId, NodeId, Options};
use super::timers::Key;
use super::topics::{Hold, Topic, TopicId};
use super::{Cluster, Purpose, Work, replies};
use crate::protocol::{Code, Sent};

impl Cluster {
    pub(super) fn admit_send(
        &mut self,
        name: &str,
        messages: Vec<Bytes>,
        options: Options,
    ) -> Result<CommandId, ClusterError> {
        let (count, bytes) = (messages.len(), messages.iter().map(Bytes::len).sum::<usize>());
        let limit = self.settings.topic_queue;
        let most = limit.bytes.min(self.settings.queues);
        if count > limit.messages {
            return Err(ClusterError::TooLarge { what: "messages", value: count, limit: limit.messages });
        }
        if bytes > most {
            return Err(ClusterError::TooLarge { what: "bytes", value: bytes, limit: most });
        }
        self.check_room(name)?;
        if self.queued_bytes + bytes > self.settings.queues {
            return Err(self.full("the bytes of all sends", self.settings.queues));
        }
        let topic_id = self.want_topic(name)?;
        let held = self.topics.get(topic_id).map_or((0, 0), |topic| (topic.messages, topic.bytes));
        if held.0 + count > limit.messages {
            return Err(self.full("the messages of a topic's sends", limit.messages));
        }
        if held.1 + bytes > limit.bytes {
            return Err(self.full("the bytes of a topic's sends", limit.bytes));
        }
        let send = Send {
            topic: topic_id,
            name: name.to_string(),
            messages,
            bytes,
            commit: options.commit,
            at_least_once: options.at_least_once,
            doubt: None,
        };
        let id = self.add(Kind::Send(Box::new(send)), options, State::Queued);
        self.queued_messages += count;
        self.queued_bytes += bytes;
        if let Some(topic) = self.topics.get_mut(topic_id) {
            topic.messages += count;
            topic.bytes += bytes;
            topic.queue.push_back(id);
        }
        self.work.push_back(Work::Topic(topic_id));
        Ok(id)
    }

    /// Continues the topic's next send, or the one that waits for the end of a pause.
    pub(super) fn next_send(&mut self, topic_id: TopicId) {
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        if topic.hold.is_some() {
            return;
        }
        let waits = if topic.active.is_some() { State::Held } else { State::Queued };
        if topic.active.is_none() {
            topic.active = topic.queue.pop_front();
        }
        let Some(id) = topic.active else { return };
        if let Some(command) = self.commands.get_mut(&id)
            && command.state == waits
        {
            command.state = State::Runnable;
            self.work.push_back(Work::Go(id));
        }
    }

    /// Pauses the topic's sends: the node may still be about to store the send that was given up.
    fn hold(&mut self, topic_id: TopicId, node: NodeId, call: Option<CallId>) {
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        topic.hold = Some(Hold { call });
        topic.unsettled |= node.bit();
        self.counters.holds += 1;
        self.timers.set(Key::Hold(topic_id), self.now + self.settings.send_hold);
    }

    /// Gives up a send whose call was sent: its reply, or a timer, ends the topic's pause.
    pub(super) fn give_up_send(&mut self, topic: TopicId, command: CommandId, call: CallId) {
        let Some(record) = self.calls.get_mut(&call) else { return };
        record.purpose = Purpose::GivenUp { topic, command };
        let at = record.at;
        self.hold(topic, at.node, Some(call));
        // The answer shows that the node has read the send before it. No send is sent there until then.
        self.probe(at);
    }

    /// A node answered a call that was sent after all others: the sends that were given up there are being
    /// stored now.
    pub(super) fn settle(&mut self, node: NodeId) {
        let due = self.now + self.settings.send_hold;
        for (id, topic) in self.topics.iter_mut().filter(|(_, topic)| topic.unsettled & node.bit() != 0) {
            topic.unsettled &= !node.bit();
            topic.hold.get_or_insert(Hold { call: None });
            self.timers.set(Key::Hold(id), due);
        }
    }

    /// Whether a send has to wait for the end of its topic's pause.
    pub(super) fn has_to_rest(&self, command: &Command) -> bool {
        let Kind::Send(send) = &command.kind else { return false };
        self.topics.get(send.topic).is_some_and(|topic| topic.hold.is_some())
    }

    /// The connection of the given-up send is gone, but its node may still be working on it.
    pub(super) fn hold_without_reply(&mut self, topic: TopicId, call: CallId) {
        if let Some(Topic { hold: Some(hold), .. }) = self.topics.get_mut(topic)
            && hold.call == Some(call)
        {
            hold.call = None;
        }
    }

    /// Ends a topic's pause.
    pub(super) fn end_hold(&mut self, topic_id: TopicId) {
        self.timers.clear(Key::Hold(topic_id));
        let Some(topic) = self.topics.get_mut(topic_id) else { return };
        if let Some(Hold { call: Some(call) }) = topic.hold.take()
            && let Some(record) = self.calls.remove(&call)
        {
            self.forget(record.at, call);
        }
        self.work.push_back(Work::Topic(topic_id));
    }

    /// A call was lost with its connection, or given up because it took too long.
    pub(super) fn command_lost(&mut self, id: CommandId, node: NodeId, loss: &Loss) {
        let Some(command) = self.commands.get(&id) else { return };
        if let Kind::Send(send) = &command.kind {
            let topic = send.topic;
            if self.topics.get(topic).is_some_and(|topic| topic.hold.is_none()) {
                self.hold(topic, node, None);
            }
            return self.in_doubt(id, node, loss);
        }
        if let Some(command) = self.commands.get_mut(&id) {
            command.state = State::Runnable;
        }
        match loss {
            Loss::Cause(cause) => self.failed(id, node, cause.clone()),
            Loss::OtherCluster { found } => {
                let error = self.mismatch(node, found);
                self.end(id, Err(error));
            }
        }
    }

    /// A send's messages may have been appended: it is repeated if that is permitted, and otherwise over.
    fn in_doubt(&mut self, id: CommandId, node: NodeId, loss: &Loss) {
        let error = match loss {
            Loss::Cause(cause) => self.at_node(node, cause.clone()),
            Loss::OtherCluster { found } => self.mismatch(node, found),
        };
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.state = State::Runnable;
        if let (Kind::Send(send), Loss::Cause(cause)) = (&mut command.kind, loss)
            && send.at_least_once
        {
            send.doubt = Some((node, error));
            self.counters.repeated += 1;
            return self.failed(id, node, cause.clone());
        }
        let topic = match &command.kind {
            Kind::Send(send) => Some(send.topic),
            _ => None,
        };
        if let Some(topic) = topic {
            self.forget_leader(topic, node);
        }
        let error = self.maybe_appended(node, error);
        self.end(id, Err(error));
    }

    fn maybe_appended(&self, node: NodeId, cause: ClusterError) -> ClusterError {
        ClusterError::MaybeAppended { node: self.address_of(node), cause: Box::new(cause) }
    }

    /// Handles the reply to a send. An error of its check is a reason to close the connection.
    pub(super) fn sent(&mut self, id: CommandId, node: NodeId, sent: Sent) -> Result<(), super::ReplyError> {
        let Some(command) = self.commands.get_mut(&id) else { return Ok(()) };
        let Kind::Send(send) = &mut command.kind else { return Ok(()) };
        let topic_id = send.topic;
        let count = send.messages.len();
        if let Err(error) = sent.check_count(count) {
            // The node has, or had, the messages.
            self.in_doubt(id, node, &Loss::Cause(NodeCause::BadReply(error.into())));
            return Err(error.into());
        }
        match sent.status.code {
            Code::Success => {
                let name = command.tries.unknown_hint.take();
                if let Some(topic) = self.topics.get_mut(topic_id) {
                    topic.leader = Some(node);
                }
                if let Some(name) = name {
                    self.names.learn(&name, node);
                }
                self.counters.messages_sent += count as u64;
                self.end(id, Ok(Answer::Sent { ids: sent.ids, node }));
            }
            Code::NotLeader => {
                self.is_not_leader(id, node, &sent.status.extra);
                if sent.ids.is_empty() {
                    let leader = replies::clip(&sent.status.extra);
                    self.failed(id, node, NodeCause::NotLeader { leader });
                } else {
                    self.in_doubt(id, node, &Loss::Cause(NodeCause::LeadershipLost));
                }
            }
            Code::Shutdown => {
                self.avoid(node);
                if sent.ids.is_empty() {
                    self.failed(id, node, NodeCause::Stopping);
                } else {
                    self.in_doubt(id, node, &Loss::Cause(NodeCause::Stopping));
                }
            }
            Code::TopicNotFound | Code::ClusterIdMismatch => {
                let error = self.final_status(id, node, sent.status.code);
                self.end(id, Err(error));
            }
            code => {
                // The node does not say whether it had stored the messages.
                let description = replies::clip(&sent.status.description);
                self.in_doubt(id, node, &Loss::Cause(NodeCause::Status { code, description }));
            }
        }
        Ok(())
    }

    /// The topic's next send no longer begins with that node.
    pub(super) fn forget_leader(&mut self, topic: TopicId, node: NodeId) {
        if let Some(topic) = self.topics.get_mut(topic)
            && topic.leader == Some(node)
        {
            topic.leader = None;
        }
    }

    /// A node is not the leader, and may name the leader.
    fn is_not_leader(&mut self, id: CommandId, node: NodeId, hint: &str) {
        let meant = self.names.resolve(hint);
        if meant == Some(node) {
            // It refers to another node by a name that was taken for its own, or did not notice that it lost
            // the leadership: a learned name is no longer trusted.
            self.names.unlearn(hint);
        }
        let Some(command) = self.commands.get_mut(&id) else { return };
        let tries = &mut command.tries;
        if tries.hint == Some(node) {
            self.counters.hints_wrong += 1;
        }
        tries.hint = meant.filter(|&meant| meant != node);
        if meant.is_none() && !hint.is_empty() {
            self.counters.hints_unknown += 1;
            tries.unknown_hint = Some(replies::clip_to(hint, super::settings::MAX_NAME));
        }
    }

    /// Releases what a send held; its result reports an unknown outcome.
    pub(super) fn send_is_over(
        &mut self,
        id: CommandId,
        state: State,
        send: Send,
        result: Result<Answer, ClusterError>,
    ) -> Result<Answer, ClusterError> {
        self.queued_messages -= send.messages.len();
        self.queued_bytes -= send.bytes;
        if let Some(topic) = self.topics.get_mut(send.topic) {
            topic.messages -= send.messages.len();
            topic.bytes -= send.bytes;
            if topic.active == Some(id) {
                topic.active = None;
            } else if let Some(place) = topic.queue.iter().position(|&other| other == id) {
                topic.queue.remove(place);
            }
        }
        self.work.push_back(Work::Topic(send.topic));
        let error = match result {
            Err(error) if !matches!(error, ClusterError::MaybeAppended { .. }) => error,
            other => return other,
        };
        match (state, send.doubt) {
            (State::Out { node, .. }, _) => Err(self.maybe_appended(node, error)),
            (_, Some((node, cause))) => Err(self.maybe_appended(node, cause)),
            (_, None) => Err(error),
        }
    }
}
