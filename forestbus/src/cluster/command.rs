//! A command and its progress.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bowline_core::time::Instant;
use bytes::Bytes;

use super::error::{ClusterError, NodeCause};
use super::follow::Follow;
use super::output::{CallId, Commit, Lane, NodeId, TopicName};
use super::topics::TopicId;
use crate::protocol::{self, Index, Request};

#[derive(Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) deadline: Option<Instant>,
    pub(super) one_round: bool,
    pub(super) tries: Tries,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum Kind {
    Send(Box<Send>),
    Get { topic: TopicName, index: Index, quantity: i64, wait: bool },
    MaxAvailable { topic: TopicName },
    TopicDetails { topic: TopicName },
    ClusterDetails,
    Follow(Box<Follow>),
}

#[derive(Debug)]
pub(super) struct Send {
    pub(super) topic: TopicId,
    pub(super) name: TopicName,
    pub(super) messages: Vec<Bytes>,
    pub(super) bytes: usize,
    pub(super) commit: Commit,
    pub(super) at_least_once: bool,
    /// An earlier attempt that may have appended the messages.
    pub(super) doubt: Option<(NodeId, ClusterError)>,
}

/// The state of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// A send that is queued behind others of its topic.
    Queued,
    /// In the list of work.
    Runnable,
    /// A send that is tried again after its topic's pause.
    Held,
    /// Waits for a connection to that node.
    Waiting(NodeId),
    /// Sent to that node.
    Out { call: CallId, node: NodeId },
    /// Waits before its next round.
    Pausing,
    /// A follower whose page has not been taken yet, or that is halted.
    Idle,
}

/// The nodes that were tried, and the results.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Tried in this round; one bit per node.
    pub(super) tried: u64,
    /// Failed rounds.
    pub(super) rounds: u32,
    /// The last failure of each node, in the order of the nodes' first failures.
    pub(super) causes: Vec<(NodeId, NodeCause)>,
    /// The leader, according to a node.
    pub(super) hint: Option<NodeId>,
    /// The leader's name, if it belongs to no known node.
    pub(super) unknown_hint: Option<String>,
}

impl Tries {
    pub(super) fn has_tried(&self, node: NodeId) -> bool {
        self.tried & node.bit() != 0
    }

    pub(super) fn failed(&mut self, node: NodeId, cause: NodeCause) {
        match self.causes.iter_mut().find(|(other, _)| *other == node) {
            Some((_, old)) => *old = cause,
            None => self.causes.push((node, cause)),
        }
    }

    pub(super) fn next_round(&mut self) {
        self.tried = 0;
        self.rounds = self.rounds.saturating_add(1);
    }
}

impl Kind {
    pub(super) fn topic_name(&self) -> Option<&str> {
        match self {
            Self::Send(send) => Some(&send.name),
            Self::Get { topic, .. } | Self::MaxAvailable { topic } | Self::TopicDetails { topic } => {
                Some(topic)
            }
            Self::Follow(follow) => Some(&follow.name),
            Self::ClusterDetails => None,
        }
    }
}

impl Command {
    /// The connection that the command uses.
    pub(super) fn lane(&self) -> Lane {
        match self.kind {
            Kind::Get { wait: true, .. } | Kind::Follow(_) => Lane::Long,
            _ => Lane::Short,
        }
    }

    /// Messages that wait to be taken.
    pub(super) fn ready_messages(&self) -> usize {
        match &self.kind {
            Kind::Follow(follow) => follow.ready_messages(),
            _ => 0,
        }
    }

    /// Whether it is a follower that needs no other node now: it waits for messages at a node, or has some.
    pub(super) fn is_served(&self) -> bool {
        let Kind::Follow(follow) = &self.kind else { return false };
        !follow.is_reading() || (follow.is_polling() && matches!(self.state, State::Out { .. }))
    }

    /// Whether a node may take any time to answer.
    pub(super) fn is_patient(&self) -> bool {
        match &self.kind {
            Kind::Send(send) => !send.at_least_once,
            Kind::Get { wait, .. } => *wait,
            Kind::Follow(follow) => follow.is_polling(),
            _ => false,
        }
    }

    pub(super) fn request(&self, cluster_id: &str, page: u32) -> Request {
        let cluster_id = String::from(cluster_id);
        match &self.kind {
            Kind::Send(send) => Request::Send(protocol::Send {
                cluster_id,
                topic: send.name.clone(),
                messages: send.messages.clone(),
                wait_for_commit: send.commit == Commit::Majority,
            }),
            Kind::Get { topic, index, quantity, wait } => Request::Receive(protocol::Receive {
                cluster_id,
                topic: topic.clone(),
                id: *index,
                quantity: *quantity,
                wait: *wait,
            }),
            Kind::MaxAvailable { topic } | Kind::TopicDetails { topic } => {
                Request::TopicDetails { topic: topic.clone() }
            }
            Kind::ClusterDetails => Request::ClusterDetails,
            Kind::Follow(follow) => follow.request(cluster_id, page),
        }
    }
}
