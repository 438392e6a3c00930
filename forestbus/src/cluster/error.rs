//! What goes wrong with a command, by blame: the caller's, the cluster's, a node's, time's.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use bowline_core::error::{Chain, Disconnect};

use crate::protocol::{Code, Index};
use crate::wire::{DecodeError, Unfit};

/// Why a command failed, or was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// An argument that cannot be used: the caller's mistake.
    #[error("{field} is {value}, must be {must}")]
    Argument {
        /// Which one.
        field: &'static str,
        /// What it is.
        value: i64,
        /// What it has to be.
        must: &'static str,
    },
    /// The messages of one call are more than a queue ever takes.
    #[error("{value} {what} in one call, limit {limit}")]
    TooLarge {
        /// Messages or bytes.
        what: &'static str,
        /// How many there are.
        value: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A bound of this client is reached: nothing was sent.
    #[error("{what} at the limit of {limit}")]
    Full {
        /// What is full.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The node does not know the topic.
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
        /// The id of the settings.
        expected: String,
        /// The node's.
        found: String,
    },
    /// The node could not run the method.
    #[error("node {node} rejected the call: {message}")]
    Rejected {
        /// The node's address.
        node: String,
        /// What it said.
        message: String,
    },
    /// Every node was asked, and none did it. Nothing was appended.
    #[error("no node did it: {}", List(.causes))]
    NoNodes {
        /// Each node's cause, in the order in which they were met.
        causes: Vec<NodeFailure>,
    },
    /// The deadline passed. Nothing was appended.
    #[error("the deadline passed{}", Then(.causes))]
    Deadline {
        /// What nodes answered meanwhile; empty where none did.
        causes: Vec<NodeFailure>,
    },
    /// The messages may be in the log, once (with `at_least_once`, once or more), or may not be.
    #[error("the messages may have been appended at node {node}")]
    MaybeAppended {
        /// The node's address.
        node: String,
        /// Why that is not known.
        #[source]
        cause: Box<Self>,
    },
    /// One node's failure, where it is final.
    #[error(transparent)]
    Node(NodeFailure),
    /// The logs of most nodes end before the position of a follower: messages that it was given are gone.
    /// It stands still until it is rewound.
    #[error("the log of topic {topic:?} ends at {last}, before position {position}")]
    Truncated {
        /// The topic.
        topic: String,
        /// The next index the follower would have been given.
        position: Index,
        /// The largest last index among those nodes.
        last: Index,
    },
    /// The caller gave it up.
    #[error("the command was cancelled")]
    Cancelled,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// Who has to do something about an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Blame {
    /// The program that uses the client.
    Caller,
    /// A limit of this client.
    Limit,
    /// The cluster, or how it or the client is set up.
    Cluster,
    /// The way to the nodes, or time.
    Transport,
}

impl ClusterError {
    /// Who has to do something about it.
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

    /// Whether the same command may succeed later without a change to the program or the cluster's setup.
    /// Repeating [`MaybeAppended`](Self::MaybeAppended) may append the messages twice, so that it is not.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::NoNodes { .. } | Self::Deadline { .. } => true,
            Self::Node(failure) => failure.cause.is_retryable(),
            _ => false,
        }
    }
}

/// What one node had to do with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFailure {
    /// The node's address.
    pub node: String,
    /// What happened there.
    pub cause: NodeCause,
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} {}", self.node, self.cause)
    }
}

impl Error for NodeFailure {
    /// What is behind the cause: the cause itself is in the message.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// What happened at a node.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeCause {
    /// It could not be connected to.
    #[error("could not be connected to")]
    Dial(#[source] Disconnect),
    /// Its connection ended.
    #[error("lost its connection")]
    Lost(#[source] Disconnect),
    /// There was no connection, or no answer, within that time.
    #[error("did not answer within {limit:?}")]
    Silent {
        /// How long it was waited for.
        limit: Duration,
    },
    /// It is not the topic's leader.
    #[error("is not the leader{}", Leader(.leader))]
    NotLeader {
        /// Who is, as it says; empty where it does not know.
        leader: String,
    },
    /// It lost the leadership after it had given the messages their indexes, which are void.
    #[error("lost the leadership after it had given out indexes")]
    LeadershipLost,
    /// It is stopping.
    #[error("is stopping")]
    Stopping,
    /// It was stopping a moment ago, and was not asked.
    #[error("is avoided since it was stopping")]
    Avoided,
    /// It does not know its commit index yet.
    #[error("does not know its commit index")]
    CommitUnknown,
    /// Its commit index stayed behind that of others.
    #[error("stays behind: commit index {commit}, others {others}")]
    Lagging {
        /// The node's commit index.
        commit: Index,
        /// The others' largest.
        others: Index,
    },
    /// It could not run the method.
    #[error("rejected the call: {0}")]
    Rejected(String),
    /// It failed in another way.
    #[error("answered {code:?}: {description}")]
    Status {
        /// The code.
        code: Code,
        /// What it said.
        description: String,
    },
    /// What it answered does not fit. Its connection was closed.
    #[error("sent a bad reply")]
    BadReply(#[from] ReplyError),
    /// The call could not be written.
    #[error("could not be sent the call")]
    Call(#[source] Disconnect),
    /// This side closed the connection.
    #[error("was disconnected by this side")]
    Disconnected,
    /// It belongs to another cluster.
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

/// A reply that does not fit its request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It answers another method.
    #[error("the reply is that of another method")]
    OtherMethod,
    /// Its body is none of its method.
    #[error("the reply cannot be read")]
    Unreadable(#[from] Box<DecodeError>),
    /// Its indexes, or the next index, do not go with the messages.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The bounds of a topic contradict each other.
    #[error("FirstIndex {first}, LastIndex {last}, CommitIndex {commit}: below 0, or not in order")]
    Bounds {
        /// The first.
        first: Index,
        /// The last.
        last: Index,
        /// The commit index.
        commit: Index,
    },
}

/// Failures after each other.
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

/// The same where there may be none.
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
