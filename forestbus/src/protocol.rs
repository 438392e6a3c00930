//! What a client asks a node for, and what a node answers: values, without their encoding.
//!
//! The names of fields on the wire, the methods and the codes are those of the Go package `rapi`.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

/// A message's number in its topic. They are contiguous and begin at 1; 0 where there is none.
pub type Index = i64;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Request {
    /// `RPCHandler.GetClusterDetails`.
    ClusterDetails,
    /// `RPCHandler.GetTopicDetails`.
    TopicDetails {
        /// The topic's name.
        topic: String,
    },
    /// `RPCHandler.SendMessages`.
    Send(Send),
    /// `RPCHandler.ReceiveMessages`.
    Receive(Receive),
}

/// Messages to append to a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Send {
    /// The cluster's id; may be empty. Servers do not look at it.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The messages, in order; at least one.
    pub messages: Vec<Bytes>,
    /// Answer only when a majority of the nodes has them.
    pub wait_for_commit: bool,
}

/// Messages wanted from a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receive {
    /// The cluster's id; may be empty. Servers do not look at it.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The first message that is wanted.
    pub id: Index,
    /// About how many messages: servers take it for a hint.
    pub quantity: i64,
    /// Answer only when there is one, however long that takes.
    pub wait: bool,
}

/// `Result.Code` of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Code {
    /// 0.
    #[default]
    Success,
    /// 1: the node is of another cluster.
    ClusterIdMismatch,
    /// 2.
    TopicNotFound,
    /// 3.
    Internal,
    /// 4: `Extra1` may name the leader.
    NotLeader,
    /// 5: the node is stopping.
    Shutdown,
    /// Any other.
    Other(i64),
}

/// `Result` of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// What came of it.
    pub code: Code,
    /// The same for people.
    pub description: String,
    /// With [`Code::NotLeader`]: the leader's name, or empty.
    pub extra: String,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::ClusterDetails`].
    ClusterDetails(ClusterDetails),
    /// To [`Request::TopicDetails`].
    TopicDetails(TopicDetails),
    /// To [`Request::Send`].
    Sent(Sent),
    /// To [`Request::Receive`].
    Received(Received),
    /// The header's `Error`, with any request: the method could not be run. The connection stays usable.
    Error(String),
}

/// What a node says of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterDetails {
    /// What came of it.
    pub status: Status,
    /// The cluster's id.
    pub cluster_id: String,
    /// The names of all nodes: their `-name` addresses.
    pub peers: Vec<String>,
    /// The names of all topics, in no order.
    pub topics: Vec<String>,
}

/// What a node says of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// The first message that is kept; 1 in an empty topic.
    pub first: Index,
    /// The last message in the node's log; 0 in an empty topic.
    pub last: Index,
    /// The last message that the node knows to be committed. It may go back after a fail-over.
    pub commit: Index,
}

/// The answer to [`Request::TopicDetails`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicDetails {
    /// What came of it.
    pub status: Status,
    /// The topic's bounds at that node.
    pub bounds: Bounds,
}

/// The answer to [`Request::Send`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// What came of it.
    pub status: Status,
    /// The messages' numbers, ascending. With [`Code::NotLeader`]: numbers that were given and are void.
    pub ids: Vec<Index>,
}

/// The answer to [`Request::Receive`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// What came of it.
    pub status: Status,
    /// The messages: the first has the number that was asked for.
    pub messages: Vec<Bytes>,
    /// What to ask for next; 0 where the node's commit index is not known yet.
    pub next_id: Index,
}
