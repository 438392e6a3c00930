//! The configuration of a node, validated when it is built.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bowline_core::error::ConfigError;

/// Longest name of a topic, bytes.
const MAX_NAME: usize = 1024;

/// The configuration of a node.
///
/// | setting | default |
/// |---|---|
/// | [`cluster_id`](Self::cluster_id) | empty |
/// | [`peers`](Self::peers) | the node's own name |
/// | [`topic`](Self::topic) | none |
/// | [`max_topics`](Self::max_topics) | 100 |
/// | [`topic_bytes`](Self::topic_bytes): a topic's messages, 64 bytes more for each | 64 MiB |
/// | [`reply_bytes`](Self::reply_bytes) | 4 MiB |
/// | [`max_waiting`](Self::max_waiting) | 10,000 |
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeSettings {
    pub(super) name: String,
    pub(super) cluster_id: String,
    pub(super) peers: Vec<String>,
    pub(super) topics: Vec<String>,
    pub(super) max_topics: usize,
    pub(super) topic_bytes: usize,
    pub(super) reply_bytes: usize,
    pub(super) max_waiting: usize,
}

/// Why a topic was not added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The limit of topics is reached.
    #[error("the limit of {limit} topics is reached")]
    TooManyTopics {
        /// The limit.
        limit: usize,
    },
    /// The topic's name is empty or too long.
    #[error("the name of a topic is of {length} bytes, must be 1 to {limit}")]
    TopicName {
        /// Its length, bytes.
        length: usize,
        /// Longest permitted name, bytes.
        limit: usize,
    },
}

pub(super) fn check_topic(name: &str) -> Result<(), NodeError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(NodeError::TopicName { length: name.len(), limit: MAX_NAME });
    }
    Ok(())
}

impl NodeSettings {
    /// Settings for a node with that name: its address among the nodes.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            peers: [name.clone()].into(),
            name,
            cluster_id: String::new(),
            topics: Vec::new(),
            max_topics: 100,
            topic_bytes: 64 << 20,
            reply_bytes: 4 << 20,
            max_waiting: 10_000,
        }
    }

    /// The cluster's id that clients receive. Servers do not check the id in requests.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// The names of all nodes that clients receive.
    pub fn peers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.peers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a topic.
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !self.topics.contains(&name) {
            self.topics.push(name);
        }
        self
    }

    /// Limit of topics.
    pub fn max_topics(mut self, topics: usize) -> Self {
        self.max_topics = topics;
        self
    }

    /// Limit of the bytes of a topic's messages, plus 64 for each message. The oldest messages are dropped
    /// beyond it. Uncommitted messages are never dropped; sends that do not fit besides them are rejected.
    pub fn topic_bytes(mut self, bytes: usize) -> Self {
        self.topic_bytes = bytes;
        self
    }

    /// Limit of the bytes of the messages in one reply; one message is always returned.
    pub fn reply_bytes(mut self, bytes: usize) -> Self {
        self.reply_bytes = bytes;
        self
    }

    /// Limit of waiting calls: long polls, and sends that wait for their commit. Further calls are rejected.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// A limit of 0; more topics than the limit; a topic whose name is empty or longer than 1,024 bytes.
    pub fn build(self) -> Result<CheckedNodeSettings, ConfigError> {
        for (field, value) in [
            ("max_topics", self.max_topics),
            ("topic_bytes", self.topic_bytes),
            ("reply_bytes", self.reply_bytes),
            ("max_waiting", self.max_waiting),
        ] {
            if value == 0 {
                return Err(ConfigError::OutOfRange { field, value: 0, must: "at least 1" });
            }
        }
        if self.topics.len() > self.max_topics {
            let value = self.topics.len() as u64;
            return Err(ConfigError::OutOfRange {
                field: "topic",
                value,
                must: "at most max_topics of them",
            });
        }
        if let Some(name) = self.topics.iter().find(|name| check_topic(name).is_err()) {
            let value = name.to_string().len() as u64;
            let (field, must) = ("the length of a topic's name", "1 to 1,024 bytes");
            return Err(ConfigError::OutOfRange { field, value, must });
        }
        Ok(CheckedNodeSettings(self))
    }
}

/// Validated [`NodeSettings`].
#[derive(Clone, Debug)]
pub struct CheckedNodeSettings(pub(super) NodeSettings);

impl CheckedNodeSettings {
    /// See [`NodeSettings::max_waiting`].
    #[must_use]
    pub fn max_waiting(&self) -> usize {
        self.0.max_waiting
    }
}
