//! What a cluster's client wants done, and what it tells.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bowline_core::machine::Epoch;
use bowline_core::time::Instant;
use bytes::Bytes;

use super::error::{ClusterError, NodeCause};
use crate::protocol::{Bounds, ClusterDetails, Index, Request};

/// A node, by its place in the settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u8);

impl NodeId {
    pub(super) fn new(index: usize) -> Self {
        // Settings have 64 nodes at most.
        Self(u8::try_from(index).unwrap_or(u8::MAX))
    }

    /// Its place in the settings, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a set of nodes.
    pub(super) const fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }
}

/// Which of a node's two connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// For what is answered soon: sends, details, reads that do not wait.
    Short,
    /// For long polls, and the details calls beside them.
    Long,
}

/// A command: its result names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub(super) u64);

/// A call at a node: its reply names it. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub(super) u64);

/// What there is to do or to tell, in this order.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Connect to the node, then say [`connected`](super::Cluster::connected) or
    /// [`dial_failed`](super::Cluster::dial_failed).
    Open {
        /// The node.
        node: NodeId,
        /// Which connection to it.
        lane: Lane,
        /// The number of the connection; counted for each lane of each node.
        epoch: Epoch,
    },
    /// Close that connection, or stop connecting. Nothing needs to be reported of it any more.
    Close {
        /// The node.
        node: NodeId,
        /// Which connection to it.
        lane: Lane,
        /// The connection's number.
        epoch: Epoch,
        /// Why.
        cause: NodeCause,
    },
    /// Send the request on that connection, then hand over its [`reply`](super::Cluster::reply).
    Call {
        /// The node.
        node: NodeId,
        /// Which connection to it.
        lane: Lane,
        /// The connection's number.
        epoch: Epoch,
        /// What the reply is to be given back with.
        call: CallId,
        /// The request.
        request: Request,
        /// When no reply is waited for any more, where that is known. [`Forget`](Self::Forget) says so, too.
        deadline: Option<Instant>,
    },
    /// No reply to that call is waited for any more: its place can be given back. A reply that comes all the same
    /// is ignored.
    Forget {
        /// The node.
        node: NodeId,
        /// Which connection to it.
        lane: Lane,
        /// The connection's number.
        epoch: Epoch,
        /// The call.
        call: CallId,
    },
    /// A command is over.
    Done {
        /// Which one.
        command: CommandId,
        /// Its result.
        result: Result<Answer, ClusterError>,
    },
    /// A follower has something to [`take`](super::Cluster::take).
    Ready {
        /// Which one.
        follower: CommandId,
    },
}

/// What a command gives.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// Of [`send_messages`](super::Cluster::send_messages).
    Sent {
        /// The messages' indexes, ascending. Those of a send that did not wait for the commit may be used again
        /// for other messages after a fail-over.
        ids: Vec<Index>,
        /// The leader.
        node: NodeId,
    },
    /// Of [`get_messages`](super::Cluster::get_messages).
    Messages {
        /// The messages; the first has the index that was asked for.
        messages: Vec<Bytes>,
        /// The index to ask for next; 0 where the node does not know its commit index, the first index that is
        /// kept where the one that was asked for is no longer there.
        next_id: Index,
        /// The node that answered.
        node: NodeId,
    },
    /// Of [`topic_max_available_index`](super::Cluster::topic_max_available_index): 0 where there is nothing, or
    /// the node does not know its commit index.
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
        /// What the node said.
        details: ClusterDetails,
        /// The node that answered.
        node: NodeId,
    },
}

/// What a follower gives.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Followed {
    /// Committed messages; at least one.
    Page(Page),
    /// The messages from `from` up to before `to` are gone: the cluster keeps messages for a limited time only.
    /// The next page begins at `to`.
    Trimmed {
        /// The first message that is missed.
        from: Index,
        /// The first one after them.
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
    /// The index after the last message: where to go on.
    #[must_use]
    pub fn next(&self) -> Index {
        self.first.saturating_add_unsigned(self.messages.len() as u64)
    }
}

/// When a send counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Commit {
    /// A majority of the nodes has the messages.
    #[default]
    Majority,
    /// The leader has them: they are lost, and their indexes used again, if it fails before others have them.
    Leader,
}

/// How long nodes are tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Attempts {
    /// Round after round until the deadline.
    #[default]
    UntilDeadline,
    /// Each node once, as the Go client does.
    OneRound,
}

/// How a command is run. Everything has a default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[must_use]
pub struct Options {
    pub(super) commit: Commit,
    pub(super) at_least_once: bool,
    pub(super) attempts: Attempts,
    pub(super) deadline: Option<Duration>,
}

impl Options {
    /// The defaults: commit by the majority, nothing repeated that may have been appended, round after round
    /// until the deadline of the settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// When a send counts as done.
    pub fn commit(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// Repeats a send also where its messages may have been appended: they may then be in the log more than once.
    pub fn at_least_once(mut self, repeat: bool) -> Self {
        self.at_least_once = repeat;
        self
    }

    /// How long nodes are tried.
    pub fn attempts(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long the command may take.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// How long the command may take, where that was said.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.deadline
    }

    /// When a send counts as done: see [`commit`](Self::commit).
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
