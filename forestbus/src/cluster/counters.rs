//! What a client has done so far, and what it holds.

/// What a client has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// Commands that were accepted, followers included.
    pub commands: u64,
    /// Commands that were refused for want of room.
    pub refused_full: u64,
    /// Commands that ended with an answer.
    pub succeeded: u64,
    /// Commands that ended with an error.
    pub failed: u64,
    /// Of these: messages that may have been appended.
    pub maybe_appended: u64,
    /// Of these: the deadline passed.
    pub expired: u64,
    /// Of these: given up by the caller.
    pub cancelled: u64,
    /// Attempts at a node, the first ones included.
    pub attempts: u64,
    /// Rounds that ended without success, each followed by a wait.
    pub rounds_failed: u64,
    /// Sends that were repeated although their messages may have been appended.
    pub repeated: u64,
    /// Messages that were sent and have their index.
    pub messages_sent: u64,
    /// Connections that were wanted.
    pub dials: u64,
    /// Connections that did not come about.
    pub dials_failed: u64,
    /// Connections that ended without our asking.
    pub connections_lost: u64,
    /// Connections that this side closed because of what the node did, or did not.
    pub connections_closed: u64,
    /// Nodes that turned out to be of another cluster.
    pub cluster_id_mismatches: u64,
    /// Replies that did not fit their request.
    pub bad_replies: u64,
    /// Replies that nobody waited for any more.
    pub late_replies: u64,
    /// Rests of a topic after a send that was given up.
    pub holds: u64,
    /// Hints at a leader that led to a node.
    pub hints_followed: u64,
    /// Hints whose node was not the leader.
    pub hints_wrong: u64,
    /// Hints that led to no known node.
    pub hints_unknown: u64,
    /// Pages that followers were given.
    pub pages: u64,
    /// Messages in them.
    pub messages_followed: u64,
    /// Messages that came and were not passed on, since the node had not said that they were committed.
    pub uncommitted_cut: u64,
    /// Times that a follower's position was no longer kept.
    pub trimmed: u64,
    /// Times that the log ended before a follower's position.
    pub truncated: u64,
    /// Times that a follower left a node that stayed behind.
    pub laggards_left: u64,
    /// Signs of life that were asked for.
    pub probes: u64,
}

/// What a client holds, and what it has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Commands that are not over, followers included.
    pub commands: usize,
    /// Of these: followers.
    pub followers: usize,
    /// Messages of sends that are not over.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Calls at nodes that have no reply yet.
    pub calls: usize,
    /// Connections whose cluster id was checked.
    pub connections: usize,
    /// Topics that are remembered.
    pub topics: usize,
    /// Messages of pages that wait to be taken.
    pub ready_messages: usize,
    /// Timers.
    pub timers: usize,
    /// What it has done so far.
    pub counters: Counters,
}
