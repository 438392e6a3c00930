//! Errors of commands, classified by what has to change: the caller, a limit, the cluster, or the transport.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use bowline_core::error::{Chain, Disconnect};

use crate::protocol::{Code, Index};
use crate::wire::{DecodeError, Unfit};

/// Why a command failed or was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The caller gave an invalid argument.
    #[error("{field} is {value}, must be {must}")]
    Argument {
        /// The name of the argument.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The permitted values.
        must: &'static str,
    },
    /// The messages of one call exceed the capacity of a queue.
    #[error("{value} {what} in one call, limit {limit}")]
    TooLarge {
        /// `messages` or `bytes`.
        what: &'static str,
        /// Their number.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// A limit of this client is reached; nothing was sent.
    #[error("the limit of {limit} {what} is reached")]
    Full {
        /// The name of the counted items.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The node does not have the topic.
    #[error("node {node} has no topic {topic:?}")]
    TopicNotFound {
        /// The topic.
        topic: String,
        /// The node's address.
        node: String,
    },
    /// The node belongs to another cluster.
    #[error("node {node} belongs to cluster {found:?}, not {expected:?}")]
    ClusterIdMismatch {
        /// The node's address.
        node: String,
        /// The id in the settings.
        expected: String,
        /// The node's id.
        found: String,
    },
    /// The node could not run the method.
    #[error("node {node} rejected the call: {message}")]
    Rejected {
        /// The node's address.
        node: String,
        /// The node's error message.
        message: String,
    },
    /// Every node was tried, and none succeeded. Nothing was appended.
    #[error("no node did it: {}", List(.causes))]
    NoNodes {
        /// The failure of each node, in the order of their first failures.
        causes: Vec<NodeFailure>,
    },
    /// The deadline passed. Nothing was appended.
    #[error("the deadline passed{}", Then(.causes))]
    Deadline {
        /// The failures of nodes in the meantime, possibly none.
        causes: Vec<NodeFailure>,
    },
    /// The messages may or may not be in the log: at most once, or with `at_least_once` possibly more than
    /// once.
    #[error("the messages may have been appended at node {node}")]
    MaybeAppended {
        /// The node's address.
        node: String,
        /// Why the outcome is unknown.
        #[source]
        cause: Box<Self>,
    },
    /// The final failure of one node.
    #[error(transparent)]
    Node(NodeFailure),
    /// The logs of most nodes end before the position of a follower: messages that it was given are lost. The
    /// follower is halted until it is rewound.
    #[error("the log of topic {topic:?} ends at {last}, before position {position}")]
    Truncated {
        /// The topic.
        topic: String,
        /// The index of the follower's next message.
        position: Index,
        /// The largest last index of those nodes.
        last: Index,
    },
    /// The caller cancelled the command.
    #[error("the command was cancelled")]
    Cancelled,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// Where an error has to be fixed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Blame {
    /// In the program that uses the client.
    Caller,
    /// A limit of this client is reached.
    Limit,
    /// In the cluster, or in the configuration of the cluster or the client.
    Cluster,
    /// In the connections to the nodes, or by more time.
    Transport,
}

impl ClusterError {
    /// Where the error has to be fixed.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Argument { .. } | Self::TooLarge { .. } | Self::Cancelled | Self::Closed => Blame::Caller,
            Self::Full { .. } => Blame::Limit,
            Self::TopicNotFound { .. }
            | Self::ClusterIdMismatch { .. }
            | Self::Rejected { .. }
            | Self::Truncated { .. } => Blame::Cluster,
            Self::NoNodes { .. } | Self::Deadline { .. } => Blame::Transport,
            Self::MaybeAppended { cause, .. } => cause.blame(),
            Self::Node(failure) => failure.cause.blame(),
        }
    }

    /// Whether the same command may succeed later without a change to the program or the cluster's
    /// configuration. False for [`MaybeAppended`](Self::MaybeAppended), because repeating it may append the
    /// messages twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::NoNodes { .. } | Self::Deadline { .. } => true,
            Self::Node(failure) => failure.cause.is_retryable(),
            _ => false,
        }
    }
}

/// A failure at one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFailure {
    /// The node's address.
    pub node: String,
    /// The failure.
    pub cause: NodeCause,
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} {}", self.node, self.cause)
    }
}

impl Error for NodeFailure {
    /// The source of the cause: the cause itself is part of the message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// A failure at a node.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeCause {
    /// The connection could not be established.
    #[error("could not be connected to")]
    Dial(#[source] Disconnect),
    /// The connection ended.
    #[error("lost its connection")]
    Lost(#[source] Disconnect),
    /// There was no connection, or no answer, within a time limit.
    #[error("did not answer within {limit:?}")]
    Silent {
        /// The time limit.
        limit: Duration,
    },
    /// The node is not the topic's leader.
    #[error("is not the leader{}", Leader(.leader))]
    NotLeader {
        /// The leader according to this node, or empty if it does not know.
        leader: String,
    },
    /// The node lost the leadership after it had assigned indexes to the messages; the indexes are void.
    #[error("lost the leadership after it had given out indexes")]
    LeadershipLost,
    /// The node is stopping.
    #[error("is stopping")]
    Stopping,
    /// The node was stopping shortly before, and was not asked.
    #[error("is avoided since it was stopping")]
    Avoided,
    /// The node does not know its commit index yet.
    #[error("does not know its commit index")]
    CommitUnknown,
    /// The node's commit index lags behind that of others.
    #[error("stays behind: commit index {commit}, others {others}")]
    Lagging {
        /// The node's commit index.
        commit: Index,
        /// The largest commit index of the others.
        others: Index,
    },
    /// The node could not run the method.
    #[error("rejected the call: {0}")]
    Rejected(String),
    /// The node answered with another code.
    #[error("answered {code:?}: {description}")]
    Status {
        /// The code.
        code: Code,
        /// The node's description.
        description: String,
    },
    /// The answer does not match the request. The connection was closed.
    #[error("sent a bad reply")]
    BadReply(#[from] ReplyError),
    /// The call could not be written.
    #[error("could not be sent the call")]
    Call(#[source] Disconnect),
    /// This side closed the connection.
    #[error("was disconnected by this side")]
    Disconnected,
    /// The node belongs to another cluster.
    #[error("belongs to cluster {found:?}")]
    OtherCluster {
        /// The cluster's id.
        found: String,
    },
}

impl NodeCause {
    fn blame(&self) -> Blame {
        match self {
            Self::Rejected(_) | Self::Status { .. } | Self::BadReply(_) | Self::OtherCluster { .. } => {
                Blame::Cluster
            }
            _ => Blame::Transport,
        }
    }

    fn is_retryable(&self) -> bool {
        !matches!(self, Self::Rejected(_) | Self::OtherCluster { .. })
    }
}

/// Why a reply does not match its request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is the reply of another method.
    #[error("the reply is that of another method")]
    OtherMethod,
    /// Its body cannot be decoded as a reply of the method.
    #[error("the reply cannot be read")]
    Unreadable(#[from] Box<DecodeError>),
    /// Its indexes, or the next index, do not match the messages.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The bounds of a topic are contradictory.
    #[error("FirstIndex {first}, LastIndex {last}, CommitIndex {commit}: below 0, or not in order")]
    Bounds {
        /// The first index.
        first: Index,
        /// The last index.
        last: Index,
        /// The commit index.
        commit: Index,
    },
}

/// A list of failures.
struct List<'a>(&'a [NodeFailure]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            // The list is no source: nothing else says what is behind a failure.
            write!(f, "{comma}{}", Chain(failure))?;
        }
        Ok(())
    }
}

/// A list of failures that may be empty.
struct Then<'a>(&'a [NodeFailure]);

impl fmt::Display for Then<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", List(self.0))
    }
}

struct Leader<'a>(&'a str);

impl fmt::Display for Leader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(" and names none") } else { write!(f, ", which is {}", self.0) }
    }
}
