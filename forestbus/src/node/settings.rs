//! What a node is set up with, checked when it is built.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bowline_core::error::ConfigError;

/// The longest name of a topic, bytes.
const MAX_NAME: usize = 1024;

/// How a node is set up.
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
    /// There are as many topics as there may be.
    #[error("topics at the limit of {limit}")]
    TooManyTopics {
        /// How many there may be.
        limit: usize,
    },
    /// A topic's name is empty or too long.
    #[error("the name of a topic is of {length} bytes, must be 1 to {limit}")]
    TopicName {
        /// Its length, bytes.
        length: usize,
        /// The longest name, bytes.
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
    /// For a node of that name: its address among nodes.
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

    /// The cluster's id, as clients are told. Servers do not check that of requests.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// The names of all nodes, as clients are told.
    pub fn peers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.peers = names.into_iter().map(Into::into).collect();
        self
    }

    /// One topic more.
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !self.topics.contains(&name) {
            self.topics.push(name);
        }
        self
    }

    /// Topics, at most.
    pub fn max_topics(mut self, topics: usize) -> Self {
        self.max_topics = topics;
        self
    }

    /// Bytes of a topic's messages, and 64 more for each: the oldest ones go when there are more. Messages that are
    /// not committed never go; sends that do not fit besides them are rejected.
    pub fn topic_bytes(mut self, bytes: usize) -> Self {
        self.topic_bytes = bytes;
        self
    }

    /// Bytes of the messages in one reply; one message is always given.
    pub fn reply_bytes(mut self, bytes: usize) -> Self {
        self.reply_bytes = bytes;
        self
    }

    /// Calls that wait, at most: long polls, and sends that wait for their commit. One more is rejected.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// Checks it.
    ///
    /// # Errors
    /// A limit of 0; more topics than there may be; a topic whose name is empty or longer than 1,024 bytes.
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

/// [`NodeSettings`] that were checked.
#[derive(Clone, Debug)]
pub struct CheckedNodeSettings(pub(super) NodeSettings);

impl CheckedNodeSettings {
    /// Calls that wait, at most: see [`NodeSettings::max_waiting`].
    #[must_use]
    pub fn max_waiting(&self) -> usize {
        self.0.max_waiting
    }
}
