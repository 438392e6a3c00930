//! The requests of clients and the answers of nodes, as values without their encoding.
//!
//! The names of fields on the wire, of methods and of codes are those of the Go package `rapi`.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

/// A message's index in its topic. Indexes are contiguous and begin at 1; 0 stands for none.
pub type Index = i64;

/// A request of a client.
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
    /// The cluster's id, possibly empty. Servers ignore it.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The messages, in order; at least one.
    pub messages: Vec<Bytes>,
    /// Whether to answer only when a majority of the nodes has the messages.
    pub wait_for_commit: bool,
}

/// A request for messages of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receive {
    /// The cluster's id, possibly empty. Servers ignore it.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The index of the first message.
    pub id: Index,
    /// About how many messages: servers treat it as a hint.
    pub quantity: i64,
    /// Whether to answer only when there is a message, however long that takes.
    pub wait: bool,
}

/// `Result.Code` of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Code {
    /// 0.
    #[default]
    Success,
    /// 1: the node belongs to another cluster.
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
    /// The result code.
    pub code: Code,
    /// The result as human-readable text.
    pub description: String,
    /// With [`Code::NotLeader`]: the leader's name, or empty.
    pub extra: String,
}

/// An answer of a node.
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
    /// The header's `Error`, for any request: the method could not be run. The connection stays usable.
    Error(String),
}

/// A node's description of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterDetails {
    /// The result.
    pub status: Status,
    /// The cluster's id.
    pub cluster_id: String,
    /// The names of all nodes: their `-name` addresses.
    pub peers: Vec<String>,
    /// The names of all topics, in unspecified order.
    pub topics: Vec<String>,
}

/// The bounds of a topic's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// The index of the first stored message; 1 in an empty topic.
    pub first: Index,
    /// The index of the last message in the node's log; 0 in an empty topic.
    pub last: Index,
    /// The index of the last message that the node knows to be committed. It may decrease after a fail-over.
    pub commit: Index,
}

/// The answer to [`Request::TopicDetails`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicDetails {
    /// The result.
    pub status: Status,
    /// The topic's bounds at that node.
    pub bounds: Bounds,
}

/// The answer to [`Request::Send`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// The result.
    pub status: Status,
    /// The messages' indexes, ascending. With [`Code::NotLeader`]: indexes that were assigned and are void.
    pub ids: Vec<Index>,
}

/// The answer to [`Request::Receive`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// The result.
    pub status: Status,
    /// The messages: the first has the requested index.
    pub messages: Vec<Bytes>,
    /// The index to request next; 0 if the node's commit index is not known yet.
    pub next_id: Index,
}
