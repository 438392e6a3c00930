//! Replies: their commands, their validation and their effect.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use bowline_core::error::Disconnect;
use bowline_core::time::Instant;

use super::command::{Kind, State};
use super::connections::Loss;
use super::error::{ClusterError, NodeCause, ReplyError};
use super::output::{Answer, CallId, CommandId, NodeId};
use super::{Call, Cluster, Purpose, checks};
use crate::protocol::{Code, Received, Reply, Status, TopicDetails};
use crate::wire::DecodeError;

/// The error in the header of a method that takes a topic, if the node does not have it.
const TOPIC_NOT_FOUND: &str = "Topic not found on server.";
/// Longest stored text of a node, bytes.
const MAX_TEXT: usize = 256;

/// The beginning of a node's text.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, MAX_TEXT)
}

pub(super) fn clip_to(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_string()
}

impl Cluster {
    /// Passes in the reply to a call. A reply that is no longer waited for is ignored.
    pub fn reply(&mut self, now: Instant, call: CallId, reply: Reply) {
        self.at(now);
        let Some(Call { at, purpose, issued }) = self.calls.remove(&call) else {
            self.counters.late_replies += 1;
            return;
        };
        self.lane(at).heard = self.now;
        match purpose {
            Purpose::Check => self.details_reply(at, issued, true, reply),
            Purpose::Probe => self.details_reply(at, issued, false, reply),
            Purpose::Survey(topic) => self.survey_reply(topic, at, reply),
            Purpose::Command(id) => {
                self.call_is_over(at);
                self.command_reply(id, at.node, at, reply);
            }
            Purpose::GivenUp { topic, command } => {
                self.end_hold(topic);
                if let Some(topic) = self.topics.get_mut(topic) {
                    topic.unsettled &= !at.node.bit();
                }
                // A send that is about to be repeated need not be, if this reply says that it succeeded.
                if self.commands.get(&command).is_some_and(|command| command.state == State::Held) {
                    self.command_reply(command, at.node, at, reply);
                }
            }
        }
        self.run();
    }

    /// Reports that the reply to a call could not be decoded. The connection is closed, because the node is
    /// not to be trusted further. The call may have been carried out.
    pub fn unreadable_reply(&mut self, now: Instant, call: CallId, error: DecodeError) {
        self.at(now);
        let Some(Call { at, purpose, .. }) = self.calls.remove(&call) else {
            self.counters.late_replies += 1;
            return;
        };
        self.counters.bad_replies += 1;
        let cause = NodeCause::BadReply(Box::new(error).into());
        match purpose {
            Purpose::Check | Purpose::Probe => {}
            Purpose::Survey(topic) => self.survey_lost(topic, at.node),
            // The pause continues until its time is over.
            Purpose::GivenUp { topic, .. } => self.hold_without_reply(topic, call),
            Purpose::Command(id) => {
                self.call_is_over(at);
                self.command_lost(id, at.node, &Loss::Cause(cause.clone()));
            }
        }
        self.close_lane(at, cause);
        self.run();
    }

    /// Reports that a call has no reply and will get none, although its connection continues: it could not be
    /// encoded, or was given up by the transport. `sent`: whether it was or may have been written.
    pub fn call_failed(&mut self, now: Instant, call: CallId, sent: bool, cause: Disconnect) {
        self.at(now);
        let Some(Call { at, purpose, .. }) = self.calls.remove(&call) else { return };
        let cause = NodeCause::Call(cause);
        match purpose {
            Purpose::Check | Purpose::Probe => self.close_lane(at, cause),
            Purpose::Survey(topic) => self.survey_lost(topic, at.node),
            Purpose::GivenUp { topic, .. } if sent => self.hold_without_reply(topic, call),
            Purpose::GivenUp { topic, .. } => self.end_hold(topic),
            Purpose::Command(id) => {
                self.call_is_over(at);
                if sent {
                    self.command_lost(id, at.node, &Loss::Cause(cause));
                } else {
                    self.failed(id, at.node, cause);
                }
            }
        }
        self.run();
    }

    fn command_reply(&mut self, id: CommandId, node: NodeId, at: super::LaneId, reply: Reply) {
        let Some(command) = self.commands.get_mut(&id) else { return };
        command.state = State::Runnable;
        self.nodes[node.index()].works();
        let outcome = match (&command.kind, reply) {
            (_, Reply::Error(message)) => {
                self.header_error(id, node, &message);
                Ok(())
            }
            (Kind::Send(_), Reply::Sent(sent)) => self.sent(id, node, sent),
            (Kind::Follow(follow), Reply::Received(received)) if follow.is_polling() => {
                self.follow_received(id, node, received)
            }
            (Kind::Follow(follow), Reply::TopicDetails(details)) if !follow.is_polling() => {
                self.follow_details(id, node, details)
            }
            (Kind::Get { .. }, Reply::Received(received)) => self.received(id, node, received),
            (Kind::MaxAvailable { .. } | Kind::TopicDetails { .. }, Reply::TopicDetails(details)) => {
                self.topic_details_reply(id, node, details)
            }
            (Kind::ClusterDetails, Reply::ClusterDetails(details)) => {
                if self.is_fine(id, node, &details.status) {
                    self.answered(id, node, Answer::ClusterDetails { details, node });
                }
                Ok(())
            }
            _ => {
                self.command_lost(id, node, &Loss::Cause(NodeCause::BadReply(ReplyError::OtherMethod)));
                Err(ReplyError::OtherMethod)
            }
        };
        if let Err(error) = outcome {
            self.counters.bad_replies += 1;
            self.close_lane(at, NodeCause::BadReply(error));
        }
    }

    /// The method could not be run. The connection continues.
    fn header_error(&mut self, id: CommandId, node: NodeId, message: &str) {
        let Some(command) = self.commands.get(&id) else { return };
        if message == TOPIC_NOT_FOUND && command.kind.topic_name().is_some() {
            let error = self.final_status(id, node, Code::TopicNotFound);
            return self.end(id, Err(error));
        }
        if matches!(command.kind, Kind::Send(_)) {
            let error = ClusterError::Rejected { node: self.address_of(node), message: clip(message) };
            return self.end(id, Err(error));
        }
        // The log of this node may be damaged, while another's is not.
        self.failed(id, node, NodeCause::Rejected(clip(message)));
    }

    /// The error for a code that would be the same at every node.
    pub(super) fn final_status(&self, id: CommandId, node: NodeId, code: Code) -> ClusterError {
        if code == Code::ClusterIdMismatch {
            return self.mismatch(node, "");
        }
        let topic = self.commands.get(&id).and_then(|command| command.kind.topic_name());
        ClusterError::TopicNotFound {
            topic: topic.unwrap_or_default().to_string(),
            node: self.address_of(node),
        }
    }

    /// Whether a read succeeded; otherwise tries another node or ends the command.
    pub(super) fn is_fine(&mut self, id: CommandId, node: NodeId, status: &Status) -> bool {
        match status.code {
            Code::Success => return true,
            Code::TopicNotFound | Code::ClusterIdMismatch => {
                let error = self.final_status(id, node, status.code);
                self.end(id, Err(error));
            }
            Code::Shutdown => {
                self.avoid(node);
                self.failed(id, node, NodeCause::Stopping);
            }
            Code::NotLeader => {
                let leader = clip(&status.extra);
                self.failed(id, node, NodeCause::NotLeader { leader });
            }
            code => {
                let description = clip(&status.description);
                self.failed(id, node, NodeCause::Status { code, description });
            }
        }
        false
    }

    /// A read has its answer.
    fn answered(&mut self, id: CommandId, node: NodeId, answer: Answer) {
        self.last_good = Some(node);
        self.end(id, Ok(answer));
    }

    pub(super) fn good(&mut self, node: NodeId) {
        self.last_good = Some(node);
    }

    fn received(&mut self, id: CommandId, node: NodeId, received: Received) -> Result<(), ReplyError> {
        if !self.is_fine(id, node, &received.status) {
            return Ok(());
        }
        let Some(&Kind::Get { index, wait, .. }) = self.commands.get(&id).map(|command| &command.kind) else {
            return Ok(());
        };
        if let Err(error) = received.check_from(index) {
            self.failed(id, node, NodeCause::BadReply(error.into()));
            return Err(error.into());
        }
        let (messages, next_id) = (received.messages, received.next_id);
        if wait && messages.is_empty() && next_id == 0 {
            self.failed(id, node, NodeCause::CommitUnknown);
        } else if wait && messages.is_empty() && next_id == index {
            // A stopping node ends a long poll without messages.
            self.avoid(node);
            self.failed(id, node, NodeCause::Stopping);
        } else {
            self.answered(id, node, Answer::Messages { messages, next_id, node });
        }
        Ok(())
    }

    fn topic_details_reply(
        &mut self,
        id: CommandId,
        node: NodeId,
        details: TopicDetails,
    ) -> Result<(), ReplyError> {
        if !self.is_fine(id, node, &details.status) {
            return Ok(());
        }
        let bounds = details.bounds;
        if let Err(error) = checks::bounds(bounds) {
            self.failed(id, node, NodeCause::BadReply(error.clone()));
            return Err(error);
        }
        let max =
            self.commands.get(&id).is_some_and(|command| matches!(command.kind, Kind::MaxAvailable { .. }));
        let answer = if max {
            Answer::MaxAvailable { index: bounds.commit, node }
        } else {
            Answer::TopicDetails { bounds, node }
        };
        self.answered(id, node, answer);
        Ok(())
    }
}
