//! Counters of a client, and its current contents.

/// Counters of a client, from its creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// Accepted commands, including followers.
    pub commands: u64,
    /// Commands that were refused because a limit was reached.
    pub refused_full: u64,
    /// Commands that ended with an answer.
    pub succeeded: u64,
    /// Commands that ended with an error.
    pub failed: u64,
    /// Failed commands whose messages may have been appended.
    pub maybe_appended: u64,
    /// Failed commands whose deadline passed.
    pub expired: u64,
    /// Failed commands that the caller cancelled.
    pub cancelled: u64,
    /// Attempts at nodes, including the first of each command.
    pub attempts: u64,
    /// Unsuccessful rounds, each followed by a wait.
    pub rounds_failed: u64,
    /// Sends that were repeated although their messages may have been appended.
    pub repeated: u64,
    /// Messages that were sent and have been assigned their index.
    pub messages_sent: u64,
    /// Requested connections.
    pub dials: u64,
    /// Connections that could not be established.
    pub dials_failed: u64,
    /// Connections that ended without a request of this side.
    pub connections_lost: u64,
    /// Connections that this side closed because of the node's behavior.
    pub connections_closed: u64,
    /// Connections to nodes that belong to another cluster.
    pub cluster_id_mismatches: u64,
    /// Replies that did not match their request.
    pub bad_replies: u64,
    /// Replies that arrived after their command had stopped waiting.
    pub late_replies: u64,
    /// Pauses of a topic after a send that was given up.
    pub holds: u64,
    /// Names of leaders that belonged to a known node.
    pub hints_followed: u64,
    /// Names of leaders whose node was not the leader.
    pub hints_wrong: u64,
    /// Names of leaders that belonged to no known node.
    pub hints_unknown: u64,
    /// Pages that were passed to followers.
    pub pages: u64,
    /// Messages in these pages.
    pub messages_followed: u64,
    /// Received messages that were not passed on because the node had not reported them as committed.
    pub uncommitted_cut: u64,
    /// How often the messages at a follower's position had been deleted.
    pub trimmed: u64,
    /// How often the log ended before a follower's position.
    pub truncated: u64,
    /// How often a follower left a node that lagged behind.
    pub laggards_left: u64,
    /// Probes that were sent.
    pub probes: u64,
}

/// The current contents of a client, and its counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Commands in progress, including followers.
    pub commands: usize,
    /// Followers among them.
    pub followers: usize,
    /// Messages of sends in progress.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Calls without a reply.
    pub calls: usize,
    /// Connections whose cluster id has been checked.
    pub connections: usize,
    /// Remembered topics.
    pub topics: usize,
    /// Messages of pages that wait to be taken.
    pub ready_messages: usize,
    /// Timers.
    pub timers: usize,
    /// The counters.
    pub counters: Counters,
}
