//! What commands give.

use bowline_forestbus::cluster::NodeId;
use bowline_forestbus::protocol::Index;
use bytes::Bytes;

/// Messages were appended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// Their indexes, ascending. Those of a send that did not wait for the commit may be used again for other messages
    /// after a fail-over.
    pub ids: Vec<Index>,
    /// The leader.
    pub node: NodeId,
}

/// Messages of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Messages {
    /// The messages; the first has the index that was asked for. They are slices of the node's reply, which stays in
    /// memory as long as one of them.
    pub messages: Vec<Bytes>,
    /// The index to ask for next; 0 where the node does not know its commit index, the first index that is kept where the
    /// one that was asked for is no longer there.
    pub next_id: Index,
    /// The node that answered.
    pub node: NodeId,
}
