//! The results of commands.

use bowline_forestbus::cluster::NodeId;
use bowline_forestbus::protocol::Index;
use bytes::Bytes;

/// Messages were appended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// Their indexes, ascending. Those of a send that did not wait for the commit may be reused for other
    /// messages after a fail-over.
    pub ids: Vec<Index>,
    /// The leader.
    pub node: NodeId,
}

/// Messages of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Messages {
    /// The messages; the first one has the requested index. They are slices of the node's reply, which stays
    /// in memory while one of them does.
    pub messages: Vec<Bytes>,
    /// The index to ask for next; 0 if the node does not know its commit index; the first index that is kept
    /// if the requested one no longer exists.
    pub next_id: Index,
    /// The node that answered.
    pub node: NodeId,
}
