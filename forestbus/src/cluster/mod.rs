//! A client of a Forest Bus cluster, as a state machine.
//!
//! **Several processes that write to one topic cannot be protected from each other**: the server stores sends
//! that it receives within about 3 ms with the payloads of the last one. A [`Cluster`] has one send of a
//! topic under way at a time; use one `Cluster` for all writers of a topic.
//!
//! [`Cluster`] takes commands, events of connections, replies and the time, and produces [`Output`]s.
//!
//! # The driver's part
//!
//! After each method that takes `now`, call [`poll_output`](Cluster::poll_output) until it returns `None`,
//! and carry out the outputs in that order. Call [`handle_timeout`](Cluster::handle_timeout) at
//! [`next_timeout`](Cluster::next_timeout). A connection is identified by node, lane and epoch: reports about
//! an earlier epoch are ignored, so late ones are harmless. Report calls that were certainly not written with
//! [`call_failed`](Cluster::call_failed) before [`disconnected`](Cluster::disconnected): a send among them
//! was not appended.
//!
//! # Limits
//!
//! The number of commands is limited by [`max_commands`](Settings::max_commands), their messages by
//! [`topic_queue`](Settings::topic_queue) and [`queues`](Settings::queues), and the number of topics by
//! [`max_topics`](Settings::max_topics). A follower holds one page. There is at most one call for each
//! command, one for each topic that pauses after a send, two for each connection, and one for each node and
//! followed topic.

mod attempts;
mod checks;
mod command;
mod connection_string;
mod connections;
mod counters;
mod error;
mod follow;
mod names;
mod nodes;
mod output;
mod replies;
mod sends;
mod settings;
mod survey;
#[cfg(test)]
mod tests;
mod timers;
mod topics;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::vec::Vec;

use bowline_core::supervisor::SplitMix64;
use bowline_core::time::Instant;
use bytes::Bytes;

pub use connection_string::{ConnectionString, ConnectionStringError};
pub use counters::{Counters, Snapshot};
pub use error::{Blame, ClusterError, NodeCause, NodeFailure, ReplyError};
pub use output::{
    Answer, Attempts, CallId, CommandId, Commit, Followed, Lane, NodeId, Options, Output, Page,
};
pub use settings::{CheckedSettings, NodeOrder, Settings};

use command::{Command, Kind, State, Tries};
use follow::Follow;
use names::Names;
use nodes::{LaneId, LaneState, Node};
use timers::{Key, Timers};
use topics::{TopicId, Topics};

use crate::protocol::Index;

/// A client of one cluster. The [module](self) describes how it is driven.
///
/// ```
/// use bowline_core::time::Instant;
/// use bowline_forestbus::cluster::{Answer, Cluster, Options, Output, Settings};
/// use bowline_forestbus::protocol::{ClusterDetails, Reply, Request, Sent};
///
/// let now = Instant::ZERO;
/// let settings = Settings::new(["a:3000"]).cluster_id("shop").build()?;
/// let mut cluster = Cluster::new(settings, 42);
/// let command = cluster.send_messages(now, "orders", vec!["one".into()], Options::new())?;
///
/// // Connect as requested.
/// let Some(Output::Open { node, lane, epoch }) = cluster.poll_output() else { panic!() };
/// cluster.connected(now, node, lane, epoch);
/// // The first call checks the cluster's id, the second one is the send.
/// let Some(Output::Call { call, request: Request::ClusterDetails, .. }) = cluster.poll_output() else { panic!() };
/// let details = ClusterDetails { cluster_id: "shop".into(), ..Default::default() };
/// cluster.reply(now, call, Reply::ClusterDetails(details));
/// let Some(Output::Call { call, request: Request::Send(_), .. }) = cluster.poll_output() else { panic!() };
/// cluster.reply(now, call, Reply::Sent(Sent { ids: vec![7], ..Default::default() }));
/// let done = Output::Done { command, result: Ok(Answer::Sent { ids: vec![7], node }) };
/// assert_eq!(cluster.poll_output(), Some(done));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    nodes: Vec<Node>,
    /// The nodes in the order in which they are asked.
    order: Vec<NodeId>,
    preferred: Option<NodeId>,
    /// The node that answered last.
    last_good: Option<NodeId>,
    names: Names,
    topics: Topics,
    commands: BTreeMap<CommandId, Command>,
    calls: BTreeMap<CallId, Call>,
    timers: Timers,
    work: VecDeque<Work>,
    outputs: VecDeque<Output>,
    random: SplitMix64,
    counters: Counters,
    last_id: u64,
    queued_messages: usize,
    queued_bytes: usize,
    /// The latest time that was passed in.
    now: Instant,
}

/// A call at a node that has no reply yet.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: LaneId,
    purpose: Purpose,
    issued: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// The check of the cluster's id.
    Check,
    /// A probe.
    Probe,
    /// The bounds of a topic that has followers.
    Survey(TopicId),
    Command(CommandId),
    /// A send that was given up: its reply ends the topic's pause.
    GivenUp {
        topic: TopicId,
        command: CommandId,
    },
}

/// Work to do before a method returns. It is queued, so that many commands that fail together do not recurse.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// The next attempt of a command.
    Go(CommandId),
    /// The next send of a topic.
    Topic(TopicId),
}

impl Cluster {
    /// Creates a client without connections. `seed` determines the order of shuffled nodes and the jitter of
    /// waits.
    #[must_use]
    pub fn new(settings: CheckedSettings, seed: u64) -> Self {
        let CheckedSettings { settings, names, preferred } = settings;
        let mut random = SplitMix64::new(seed);
        let mut order: Vec<NodeId> = (0..settings.nodes.len()).map(NodeId::new).collect();
        if settings.order == NodeOrder::Shuffled {
            for last in (1..order.len()).rev() {
                let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(0);
                order.swap(last, other);
            }
        }
        Self {
            nodes: settings.nodes.iter().cloned().map(Node::new).collect(),
            order,
            preferred,
            last_good: None,
            names: Names::new(settings.nodes.clone(), names),
            topics: Topics::default(),
            commands: BTreeMap::new(),
            calls: BTreeMap::new(),
            timers: Timers::default(),
            work: VecDeque::new(),
            outputs: VecDeque::new(),
            random,
            counters: Counters::default(),
            last_id: 0,
            queued_messages: 0,
            queued_bytes: 0,
            now: Instant::ZERO,
            settings,
        }
    }

    /// Appends messages to a topic, at its leader. The answer is [`Answer::Sent`].
    ///
    /// Sends of a topic are carried out one after another, in the order of these calls.
    ///
    /// # Errors
    /// Returned at once if there are no messages, if they exceed the capacity of the topic's queue, or if a
    /// queue or the table of commands is full. All other errors are reported by [`Output::Done`].
    pub fn send_messages(
        &mut self,
        now: Instant,
        topic: &str,
        messages: Vec<Bytes>,
        options: Options,
    ) -> Result<CommandId, ClusterError> {
        self.at(now);
        if messages.is_empty() {
            return Err(ClusterError::Argument { field: "messages", value: 0, must: "at least one" });
        }
        let id = self.admit_send(topic, messages, options)?;
        self.run();
        Ok(id)
    }

    /// Asks any node for about `quantity` messages of a topic from `index` on. The answer is
    /// [`Answer::Messages`], as the node gives it: it may contain more or fewer messages than requested, and
    /// if [`next_id`](Answer::Messages::next_id) is 0 the node does not know its commit index. A node that
    /// reads from its files may return uncommitted messages; [`follow`](Self::follow) returns only committed
    /// ones.
    ///
    /// With `wait` the node answers once there is a message, or never if it does not know of one; there is no
    /// deadline then unless `options` sets one. At least 2 messages are requested, because the server damages
    /// single messages.
    ///
    /// # Errors
    /// Returned at once if the table of commands is full or the topic's name is too long. All other errors
    /// are reported by [`Output::Done`].
    pub fn get_messages(
        &mut self,
        now: Instant,
        topic: &str,
        index: Index,
        quantity: u32,
        wait: bool,
        options: Options,
    ) -> Result<CommandId, ClusterError> {
        let kind = Kind::Get { topic: topic.to_string(), index, quantity: i64::from(quantity.max(2)), wait };
        self.admit_read(now, kind, options)
    }

    /// Asks any node for the last index that it returns to readers. The answer is [`Answer::MaxAvailable`].
    ///
    /// # Errors
    /// As [`get_messages`](Self::get_messages).
    pub fn topic_max_available_index(
        &mut self,
        now: Instant,
        topic: &str,
        options: Options,
    ) -> Result<CommandId, ClusterError> {
        self.admit_read(now, Kind::MaxAvailable { topic: topic.to_string() }, options)
    }

    /// Asks any node for a topic's bounds. The answer is [`Answer::TopicDetails`].
    ///
    /// # Errors
    /// As [`get_messages`](Self::get_messages).
    pub fn topic_details(
        &mut self,
        now: Instant,
        topic: &str,
        options: Options,
    ) -> Result<CommandId, ClusterError> {
        self.admit_read(now, Kind::TopicDetails { topic: topic.to_string() }, options)
    }

    /// Asks any node for its cluster's nodes and topics. The answer is [`Answer::ClusterDetails`].
    ///
    /// # Errors
    /// As [`get_messages`](Self::get_messages).
    pub fn cluster_details(&mut self, now: Instant, options: Options) -> Result<CommandId, ClusterError> {
        self.admit_read(now, Kind::ClusterDetails, options)
    }

    /// Reads a topic's committed messages from index `from` on, each exactly once and without gaps, until it
    /// is cancelled. [`Output::Ready`] reports when there is something to [`take`](Self::take). Unreachable
    /// nodes are retried without limit, or until the [deadline of followers](Settings::follow_deadline). The
    /// follower ends if the topic is unknown, a node belongs to another cluster, every node rejects the
    /// method, or on [`cancel`](Self::cancel) and [`close`](Self::close).
    ///
    /// # Errors
    /// Returned at once if `from` is below 1, the table of commands or of topics is full, or the topic's name
    /// is too long.
    pub fn follow(&mut self, now: Instant, topic: &str, from: Index) -> Result<CommandId, ClusterError> {
        self.at(now);
        if from < 1 {
            return Err(ClusterError::Argument { field: "from", value: from, must: "at least 1" });
        }
        self.check_room(topic)?;
        let topic_id = self.want_topic(topic)?;
        let follow = Follow::new(topic_id, topic.to_string(), from, self.now);
        let id = self.add(Kind::Follow(Box::new(follow)), Options::new(), State::Runnable);
        self.start_survey(topic_id, id);
        self.work.push_back(Work::Go(id));
        self.run();
        Ok(id)
    }

    /// Cancels a command: it ends with [`Cancelled`](ClusterError::Cancelled) or, if a send may have been
    /// appended, with [`MaybeAppended`](ClusterError::MaybeAppended). Returns whether there was such a
    /// command.
    pub fn cancel(&mut self, now: Instant, command: CommandId) -> bool {
        self.at(now);
        let known = self.commands.contains_key(&command);
        self.end(command, Err(ClusterError::Cancelled));
        self.run();
        known
    }

    /// Ends every command with [`Closed`](ClusterError::Closed) or
    /// [`MaybeAppended`](ClusterError::MaybeAppended), and closes every connection. May be called again;
    /// later commands connect again.
    pub fn close(&mut self, now: Instant) {
        self.at(now);
        let ids: Vec<CommandId> = self.commands.keys().copied().collect();
        for id in ids {
            self.end(id, Err(ClusterError::Closed));
        }
        for node in 0..self.nodes.len() {
            for lane in [Lane::Short, Lane::Long] {
                self.close_lane(LaneId { node: NodeId::new(node), lane }, NodeCause::Disconnected);
            }
        }
        self.run();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless another event occurs before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles the timers that are due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.at(now);
        while let Some(key) = self.timers.pop_due(self.now) {
            match key {
                Key::Deadline(id) => self.expire(id),
                Key::Attempt(id) => self.attempt_timeout(id),
                Key::Hold(topic) => self.end_hold(topic),
                Key::Survey(topic) => self.survey(topic),
                Key::Lane(lane) => self.lane_timeout(lane),
            }
            self.run();
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The address of a node, as configured.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(node.index()).map(|node| node.address.as_str())
    }

    /// The leader of a topic, if known: the node that accepted the last send.
    #[must_use]
    pub fn leader(&self, topic: &str) -> Option<NodeId> {
        self.topics.by_name(topic)?.leader
    }

    /// The current contents and the counters.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let lanes = self.nodes.iter().flat_map(|node| [node.lane(Lane::Short), node.lane(Lane::Long)]);
        Snapshot {
            commands: self.commands.len(),
            followers: self.topics.iter().map(|topic| topic.followers.len()).sum(),
            queued_messages: self.queued_messages,
            queued_bytes: self.queued_bytes,
            calls: self.calls.len(),
            connections: lanes.filter(|lane| lane.state == LaneState::Ready).count(),
            topics: self.topics.len(),
            ready_messages: self.commands.values().map(|command| command.ready_messages()).sum(),
            timers: self.timers.len(),
            counters: self.counters,
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Time never goes backwards.
    fn at(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Does the queued work.
    fn run(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Go(id) => self.go(id),
                Work::Topic(topic) => self.next_send(topic),
            }
        }
    }

    fn admit_read(&mut self, now: Instant, kind: Kind, options: Options) -> Result<CommandId, ClusterError> {
        self.at(now);
        self.check_room(kind.topic_name().unwrap_or_default())?;
        let id = self.add(kind, options, State::Runnable);
        self.work.push_back(Work::Go(id));
        self.run();
        Ok(id)
    }

    /// Checks that there is room for one more command.
    fn check_room(&mut self, topic: &str) -> Result<(), ClusterError> {
        let limit = settings::MAX_NAME;
        if topic.len() > limit {
            return Err(ClusterError::TooLarge {
                what: "bytes of a topic's name",
                value: topic.len(),
                limit,
            });
        }
        if self.commands.len() >= self.settings.max_commands {
            return Err(self.full("commands", self.settings.max_commands));
        }
        Ok(())
    }

    fn full(&mut self, what: &'static str, limit: usize) -> ClusterError {
        self.counters.refused_full += 1;
        ClusterError::Full { what, limit }
    }

    fn want_topic(&mut self, name: &str) -> Result<TopicId, ClusterError> {
        let limit = self.settings.max_topics;
        self.topics.want(name, limit).ok_or_else(|| self.full("topics", limit))
    }

    /// Adds a command.
    fn add(&mut self, kind: Kind, options: Options, state: State) -> CommandId {
        let id = CommandId(self.next_id());
        // A long poll has no time limit, and a follower does not end by itself.
        let unlimited = matches!(kind, Kind::Get { wait: true, .. } | Kind::Follow(_));
        let limit = options.deadline.or_else(|| (!unlimited).then_some(self.settings.deadline));
        let deadline = limit.map(|limit| self.now + limit);
        if let Some(deadline) = deadline {
            self.timers.set(Key::Deadline(id), deadline);
        }
        let one_round = options.attempts == Attempts::OneRound;
        self.commands.insert(id, Command { kind, deadline, one_round, tries: Tries::default(), state });
        self.counters.commands += 1;
        id
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    fn lane(&mut self, id: LaneId) -> &mut nodes::Connection {
        self.nodes[id.node.index()].lane_mut(id.lane)
    }

    fn address_of(&self, node: NodeId) -> alloc::string::String {
        self.nodes[node.index()].address.clone()
    }
}
