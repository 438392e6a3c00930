//! The outputs of a cluster's client: requests to its driver, and results.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bowline_core::machine::Epoch;
use bowline_core::time::Instant;
use bytes::Bytes;

use super::error::{ClusterError, NodeCause};
use crate::protocol::{Bounds, ClusterDetails, Index, Request};

/// A node, identified by its index in the settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u8);

impl NodeId {
    pub(super) fn new(index: usize) -> Self {
        // Settings have at most 64 nodes.
        Self(u8::try_from(index).unwrap_or(u8::MAX))
    }

    /// Its index in the settings, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a set of nodes.
    pub(super) const fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }
}

/// One of a node's two connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// For calls that are answered soon: sends, details, reads that do not wait.
    Short,
    /// For long polls, and details calls beside them.
    Long,
}

/// Identifies a command and its result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub(super) u64);

/// Identifies a call at a node and its reply. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub(super) u64);

/// An action for the driver or a result, in this order.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Connect to the node, then call [`connected`](super::Cluster::connected) or
    /// [`dial_failed`](super::Cluster::dial_failed).
    Open {
        /// The node.
        node: NodeId,
        /// Which of the node's connections.
        lane: Lane,
        /// The epoch of the connection; each lane of each node has its own count.
        epoch: Epoch,
    },
    /// Close that connection, or stop connecting. No further reports about it are necessary.
    Close {
        /// The node.
        node: NodeId,
        /// Which of the node's connections.
        lane: Lane,
        /// The epoch of the connection.
        epoch: Epoch,
        /// The cause.
        cause: NodeCause,
    },
    /// Send the request on that connection, then pass its reply to [`reply`](super::Cluster::reply).
    Call {
        /// The node.
        node: NodeId,
        /// Which of the node's connections.
        lane: Lane,
        /// The epoch of the connection.
        epoch: Epoch,
        /// The id to pass back with the reply.
        call: CallId,
        /// The request.
        request: Request,
        /// When the reply is no longer waited for, if known. [`Forget`](Self::Forget) reports it as well.
        deadline: Option<Instant>,
    },
    /// The reply to that call is no longer waited for: its resources can be released. A reply that arrives
    /// nevertheless is ignored.
    Forget {
        /// The node.
        node: NodeId,
        /// Which of the node's connections.
        lane: Lane,
        /// The epoch of the connection.
        epoch: Epoch,
        /// The call.
        call: CallId,
    },
    /// A command is over.
    Done {
        /// The command.
        command: CommandId,
        /// Its result.
        result: Result<Answer, ClusterError>,
    },
    /// A follower has something to [`take`](super::Cluster::take).
    Ready {
        /// The follower.
        follower: CommandId,
    },
}

/// The result of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// Of [`send_messages`](super::Cluster::send_messages).
    Sent {
        /// The messages' indexes, ascending. If the send did not wait for the commit, they may be reused for
        /// other messages after a fail-over.
        ids: Vec<Index>,
        /// The leader.
        node: NodeId,
    },
    /// Of [`get_messages`](super::Cluster::get_messages).
    Messages {
        /// The messages; the first has the requested index.
        messages: Vec<Bytes>,
        /// The index to request next: 0 if the node does not know its commit index; the first stored index if
        /// the requested one has been deleted.
        next_id: Index,
        /// The node that answered.
        node: NodeId,
    },
    /// Of [`topic_max_available_index`](super::Cluster::topic_max_available_index): 0 if there are no
    /// messages or the node does not know its commit index.
    MaxAvailable {
        /// The commit index of the node.
        index: Index,
        /// The node that answered.
        node: NodeId,
    },
    /// Of [`topic_details`](super::Cluster::topic_details).
    TopicDetails {
        /// The topic's bounds at the node.
        bounds: Bounds,
        /// The node that answered.
        node: NodeId,
    },
    /// Of [`cluster_details`](super::Cluster::cluster_details).
    ClusterDetails {
        /// The node's answer.
        details: ClusterDetails,
        /// The node that answered.
        node: NodeId,
    },
}

/// A result of a follower.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Followed {
    /// Committed messages; at least one.
    Page(Page),
    /// The messages from `from` up to, but not including, `to` are gone, because the cluster stores messages
    /// for a limited time only. The next page begins at `to`.
    Trimmed {
        /// The index of the first missing message.
        from: Index,
        /// The index of the first message after them.
        to: Index,
    },
}

/// Messages of a follower.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The first message's index; the others follow without a gap.
    pub first: Index,
    /// The messages.
    pub messages: Vec<Bytes>,
    /// The node they came from.
    pub node: NodeId,
}

impl Page {
    /// The index after the last message.
    #[must_use]
    pub fn next(&self) -> Index {
        self.first.saturating_add_unsigned(self.messages.len() as u64)
    }
}

/// When a send is done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Commit {
    /// When a majority of the nodes has the messages.
    #[default]
    Majority,
    /// When the leader has them: if it fails before others have them, they are lost and their indexes are
    /// reused.
    Leader,
}

/// How long nodes are tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Attempts {
    /// In rounds, until the deadline.
    #[default]
    UntilDeadline,
    /// Each node once, as the Go client does.
    OneRound,
}

/// The options of a command. Each has a default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[must_use]
pub struct Options {
    pub(super) commit: Commit,
    pub(super) at_least_once: bool,
    pub(super) attempts: Attempts,
    pub(super) deadline: Option<Duration>,
}

impl Options {
    /// The defaults: commit by the majority, no repetition of a send that may have been appended, and rounds
    /// until the deadline of the settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when a send is done.
    pub fn commit(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// Whether a send is repeated even if its messages may have been appended: they may then be in the log
    /// more than once.
    pub fn at_least_once(mut self, repeat: bool) -> Self {
        self.at_least_once = repeat;
        self
    }

    /// Sets how long nodes are tried.
    pub fn attempts(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the time limit of the command.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// The time limit of the command, if one is set.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.deadline
    }

    /// When a send is done: see [`commit`](Self::commit).
    #[must_use]
    pub const fn commits(&self) -> Commit {
        self.commit
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "short",
            Self::Long => "long",
        })
    }
}

/// A topic's name.
pub(super) type TopicName = String;
