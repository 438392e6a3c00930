//! The texts of a node's answers, as recorded from real nodes.

use alloc::format;
use alloc::string::{String, ToString};

use crate::protocol::{Code, Status};

pub(super) const TOPIC_NOT_FOUND: &str = "Topic not found on server.";
pub(super) const NO_MESSAGES: &str = "No messages found to be Queued.";
/// The server's own spelling.
pub(super) const NOT_RETRIEVED: &str =
    "Error retrieveing messages even though index is higher than our first ID.";
// Real nodes have no limits; these two texts are specific to this crate.
pub(super) const TOO_MANY_WAIT: &str = "Too many calls are waiting on this node.";
pub(super) const LOG_FULL: &str = "The messages do not fit into the log of this node.";

pub(super) fn success() -> Status {
    Status { code: Code::Success, description: "Success".to_string(), extra: String::new() }
}

pub(super) fn no_topic(topic: &str, node: &str) -> Status {
    let description = format!("Provided Topic ID ({topic}) was not found on node ({node}).");
    Status { code: Code::TopicNotFound, description, extra: String::new() }
}

pub(super) fn not_leader(node: &str, leader: &str) -> Status {
    let description =
        format!("Node ({node}) is not the leader for this topic.  Last seen leader is ({leader}).");
    Status { code: Code::NotLeader, description, extra: leader.to_string() }
}

pub(super) fn stopping(node: &str) -> Status {
    Status {
        code: Code::Shutdown,
        description: format!("Node ({node}) is shutting down."),
        extra: String::new(),
    }
}
