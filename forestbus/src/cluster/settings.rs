//! The configuration of a client, validated when it is built.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::config::QueueLimit;
use bowline_core::error::ConfigError;

use super::connection_string::ConnectionString;
use super::output::NodeId;

/// Largest number of nodes of a client.
pub(super) const MAX_NODES: usize = 64;
/// Longest name of a node or topic, bytes.
pub(super) const MAX_NAME: usize = 1024;

/// The order in which nodes are asked for messages and details.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum NodeOrder {
    /// As configured, beginning with the node that answered last.
    #[default]
    AsGiven,
    /// In an order determined by the seed, beginning with the node that answered last.
    Shuffled,
    /// The node with the shortest round trip first. Each node is asked once to measure it.
    Nearest,
}

/// The configuration of a client.
///
/// | setting | default |
/// |---|---|
/// | [`cluster_id`](Self::cluster_id) | any cluster |
/// | [`order`](Self::order), [`preferred_node`](Self::preferred_node) | as given, none |
/// | [`deadline`](Self::deadline) of a command | 10 s |
/// | [`follow_deadline`](Self::follow_deadline): how long a follower looks for a node | none |
/// | [`connect_timeout`](Self::connect_timeout), the check of the cluster's id included | 3 s |
/// | [`attempt_timeout`](Self::attempt_timeout) of calls that can be repeated | 3 s |
/// | [`send_hold`](Self::send_hold): a topic's pause after a send that was given up | 100 ms |
/// | [`avoid`](Self::avoid): how long a stopping node is not asked | 1 s |
/// | [`backoff`](Self::backoff) between rounds | 50 ms to 1 s |
/// | [`topic_queue`](Self::topic_queue): sends of a topic | 10,000 messages and 8 MiB |
/// | [`queues`](Self::queues): sends of all topics | 64 MiB |
/// | [`max_commands`](Self::max_commands), [`max_topics`](Self::max_topics) | 10,000, 1,000 |
/// | [`page`](Self::page): messages that a follower asks for | 100 |
/// | [`probe_interval`](Self::probe_interval), [`probe_timeout`](Self::probe_timeout) | 15 s, 5 s |
/// | [`lag_limit`](Self::lag_limit) | 5 s |
///
/// ```
/// use bowline_forestbus::cluster::{NodeOrder, Settings};
///
/// let settings = Settings::new(["a:3000", "b:3000"]).cluster_id("shop").order(NodeOrder::Nearest).build()?;
/// assert_eq!(settings.nodes().count(), 2);
/// assert!(Settings::new(Vec::<String>::new()).build().is_err());
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Settings {
    pub(super) cluster_id: String,
    pub(super) nodes: Vec<String>,
    pub(super) names: Vec<(String, String)>,
    pub(super) order: NodeOrder,
    pub(super) preferred: Option<String>,
    pub(super) deadline: Duration,
    pub(super) follow_deadline: Option<Duration>,
    pub(super) connect_timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) send_hold: Duration,
    pub(super) avoid: Duration,
    pub(super) backoff: (Duration, Duration),
    pub(super) topic_queue: QueueLimit,
    pub(super) queues: usize,
    pub(super) max_commands: usize,
    pub(super) max_topics: usize,
    pub(super) page: u32,
    pub(super) probe_interval: Duration,
    pub(super) probe_timeout: Duration,
    pub(super) lag_limit: Duration,
    pub(super) abandoned_polls: usize,
}

impl Settings {
    /// Settings for a cluster with these nodes, given by their addresses for clients. Duplicates are ignored.
    pub fn new(nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut unique: Vec<String> = Vec::new();
        for node in nodes.into_iter().map(Into::into) {
            if !unique.contains(&node) {
                unique.push(node);
            }
        }
        Self {
            cluster_id: String::new(),
            nodes: unique,
            names: Vec::new(),
            order: NodeOrder::default(),
            preferred: None,
            deadline: Duration::from_secs(10),
            follow_deadline: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(3),
            send_hold: Duration::from_millis(100),
            avoid: Duration::from_secs(1),
            backoff: (Duration::from_millis(50), Duration::from_secs(1)),
            topic_queue: QueueLimit { messages: 10_000, bytes: 8 << 20 },
            queues: 64 << 20,
            max_commands: 10_000,
            max_topics: 1_000,
            page: 100,
            probe_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_secs(5),
            lag_limit: Duration::from_secs(5),
            abandoned_polls: 64,
        }
    }

    /// Takes the nodes and the cluster's id from a connection string; its topic is ignored.
    pub fn from_connection_string(text: &ConnectionString) -> Self {
        Self::new(text.nodes.iter().cloned()).cluster_id(text.cluster_id.clone())
    }

    /// The id that each node must have; empty: any.
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// A node's own name (its `-name` address, by which leaders are known) and its address in these settings.
    /// Necessary if several nodes share a host; otherwise the name is learned by trial.
    pub fn node_name(mut self, name: impl Into<String>, node: impl Into<String>) -> Self {
        self.names.push((name.into(), node.into()));
        self
    }

    /// The order in which nodes are asked for messages and details.
    pub fn order(mut self, order: NodeOrder) -> Self {
        self.order = order;
        self
    }

    /// The node to ask first for messages and details, as long as it answers.
    pub fn preferred_node(mut self, node: impl Into<String>) -> Self {
        self.preferred = Some(node.into());
        self
    }

    /// Time limit of a command, unless its options set one. Must not be zero.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// How long a follower looks for a node from which it can continue before it ends with
    /// [`Deadline`](super::ClusterError::Deadline), which contains the nodes' causes; `None`: no limit. The
    /// time begins with the first failure after the follower received something or waited for messages at a
    /// node. Must not be zero.
    pub fn follow_deadline(mut self, limit: Option<Duration>) -> Self {
        self.follow_deadline = limit;
        self
    }

    /// How long a command waits for a connection to one node, including the check of the cluster's id.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long one node may take to answer a call that can be repeated at another node.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = limit;
        self
    }

    /// How long no other send of a topic is sent after one was given up without a reply: the server corrupts
    /// sends that it receives within 3 ms of each other.
    pub fn send_hold(mut self, rest: Duration) -> Self {
        self.send_hold = rest;
        self
    }

    /// How long a stopping node is not asked.
    pub fn avoid(mut self, spell: Duration) -> Self {
        self.avoid = spell;
        self
    }

    /// The wait after a round in which no node succeeded: a random part (at least half) of a bound that
    /// doubles from `base` to `cap`.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = (base, cap);
        self
    }

    /// Limit of the messages and bytes of one topic's sends in progress.
    pub fn topic_queue(mut self, limit: QueueLimit) -> Self {
        self.topic_queue = limit;
        self
    }

    /// Limit in bytes of all sends in progress.
    pub fn queues(mut self, bytes: usize) -> Self {
        self.queues = bytes;
        self
    }

    /// Limit of the commands in progress, including followers.
    pub fn max_commands(mut self, commands: usize) -> Self {
        self.max_commands = commands;
        self
    }

    /// Limit of the topics whose leader is remembered. An unused topic is replaced by a new one.
    pub fn max_topics(mut self, topics: usize) -> Self {
        self.max_topics = topics;
        self
    }

    /// About how many messages a follower requests at once, 2 to 500.
    pub fn page(mut self, messages: u32) -> Self {
        self.page = messages;
        self
    }

    /// Interval of the probes of a node during a long poll.
    pub fn probe_interval(mut self, every: Duration) -> Self {
        self.probe_interval = every;
        self
    }

    /// How long a node may take to answer a probe before its connection is closed.
    pub fn probe_timeout(mut self, limit: Duration) -> Self {
        self.probe_timeout = limit;
        self
    }

    /// How long a node's commit index may lag behind that of others before its followers leave it.
    pub fn lag_limit(mut self, limit: Duration) -> Self {
        self.lag_limit = limit;
        self
    }

    /// Number of long polls that were given up and are still pending at a node at which their connection is
    /// closed: the protocol has no other way to end them.
    pub fn abandoned_polls(mut self, polls: usize) -> Self {
        self.abandoned_polls = polls;
        self
    }

    /// Validates the settings.
    ///
    /// # Errors
    /// No nodes or more than 64; an empty or overlong name; a node's name that belongs to no configured node,
    /// or to two; a time or number of zero; a back-off whose cap is below its base; a page outside of 2 to
    /// 500.
    pub fn build(self) -> Result<CheckedSettings, ConfigError> {
        in_range("nodes", self.nodes.len(), 1, MAX_NODES, "1 to 64")?;
        for name in self.nodes.iter().chain(self.names.iter().map(|(name, _)| name)) {
            in_range("the length of a node's name", name.len(), 1, MAX_NAME, "1 to 1,024 bytes")?;
        }
        in_range("the length of cluster_id", self.cluster_id.len(), 0, MAX_NAME, "at most 1,024 bytes")?;
        for (field, time) in [
            ("deadline", self.deadline),
            ("follow_deadline", self.follow_deadline.unwrap_or(Duration::MAX)),
            ("connect_timeout", self.connect_timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("backoff", self.backoff.0),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("lag_limit", self.lag_limit),
        ] {
            if time.is_zero() {
                return Err(ConfigError::OutOfRange { field, value: 0, must: "more than nothing" });
            }
        }
        if self.backoff.1 < self.backoff.0 {
            return Err(ConfigError::Conflict { field: "backoff", why: "the cap is below the base" });
        }
        for (field, value) in [
            ("topic_queue messages", self.topic_queue.messages),
            ("topic_queue bytes", self.topic_queue.bytes),
            ("queues", self.queues),
            ("max_commands", self.max_commands),
            ("max_topics", self.max_topics),
            ("abandoned_polls", self.abandoned_polls),
        ] {
            in_range(field, value, 1, usize::MAX, "at least 1")?;
        }
        in_range("page", self.page as usize, 2, 500, "2 to 500")?;
        let preferred =
            self.preferred.as_ref().map(|node| self.position("preferred_node", node)).transpose()?;
        let mut names = BTreeMap::new();
        for (name, node) in &self.names {
            let node = self.position("node_name", node)?;
            if names.insert(name.to_string(), node).is_some_and(|other| other != node) {
                return Err(ConfigError::Conflict { field: "node_name", why: "one name for two nodes" });
            }
        }
        Ok(CheckedSettings { settings: self, names, preferred })
    }

    fn position(&self, field: &'static str, node: &str) -> Result<NodeId, ConfigError> {
        let index = self.nodes.iter().position(|other| other == node);
        index.map(NodeId::new).ok_or(ConfigError::Conflict { field, why: "the node is not among the nodes" })
    }
}

fn in_range(
    field: &'static str,
    value: usize,
    least: usize,
    most: usize,
    must: &'static str,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { field, value: value as u64, must })
}

/// Validated [`Settings`].
#[derive(Clone, Debug)]
pub struct CheckedSettings {
    pub(super) settings: Settings,
    pub(super) names: BTreeMap<String, NodeId>,
    pub(super) preferred: Option<NodeId>,
}

impl CheckedSettings {
    /// The nodes and their addresses.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.settings.nodes.iter().enumerate().map(|(index, node)| (NodeId::new(index), node.as_str()))
    }

    /// See [`Settings::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout
    }

    /// See [`Settings::queues`].
    #[must_use]
    pub fn queues(&self) -> usize {
        self.settings.queues
    }

    /// Largest total size of the messages of one send, bytes: see [`Settings::topic_queue`].
    #[must_use]
    pub fn max_send(&self) -> usize {
        self.settings.topic_queue.bytes.min(self.settings.queues)
    }

    /// Time limit of commands whose options set none: see [`Settings::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    /// Largest number of calls on one connection: those of commands, sends and polls that were given up, the
    /// check or a probe, and one for each followed topic.
    #[must_use]
    pub fn max_calls(&self) -> usize {
        let Settings { max_commands, max_topics, abandoned_polls, .. } = &self.settings;
        max_commands
            .saturating_add(max_topics.saturating_mul(2))
            .saturating_add(*abandoned_polls)
            .saturating_add(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let good = || Settings::new(["a:1", "b:1"]);
        assert!(good().build().is_ok());
        let zero = Duration::ZERO;
        let bad = [
            Settings::new(Vec::<String>::new()),
            Settings::new((0..65).map(|n| alloc::format!("n{n}"))),
            Settings::new([""]),
            good().deadline(zero),
            good().follow_deadline(Some(zero)),
            good().connect_timeout(zero),
            good().attempt_timeout(zero),
            good().backoff(zero, zero),
            good().backoff(Duration::from_secs(2), Duration::from_secs(1)),
            good().probe_interval(zero),
            good().probe_timeout(zero),
            good().lag_limit(zero),
            good().page(1),
            good().page(501),
            good().max_commands(0),
            good().max_topics(0),
            good().queues(0),
            good().topic_queue(QueueLimit { messages: 0, bytes: 1 }),
            good().abandoned_polls(0),
            good().preferred_node("c:1"),
            good().node_name("x", "c:1"),
            good().node_name("x", "a:1").node_name("x", "b:1"),
        ];
        for settings in bad {
            assert!(settings.clone().build().is_err(), "{settings:?}");
        }
        assert!(good().send_hold(zero).avoid(zero).build().is_ok());
    }

    #[test]
    fn a_node_given_twice_counts_once() {
        assert_eq!(Settings::new(["a:1", "a:1"]).build().unwrap().nodes().count(), 1);
    }
}
