//! A client of a Forest Bus cluster, as a state machine.
//!
//! **Several processes that write to one topic cannot be protected from each other**: the server stores sends that
//! reach it within about 3 ms with the payloads of the last one. One [`Cluster`] has one send of a topic under way
//! at a time; use one of them for all writers of a topic.
//!
//! [`Cluster`] takes commands, what became of connections, replies, and the time; it gives [`Output`]s.
//!
//! # The driver's part
//!
//! After each method that takes `now`, take [`poll_output`](Cluster::poll_output) until it is empty, and do what it
//! says in that order. Call [`handle_timeout`](Cluster::handle_timeout) at
//! [`next_timeout`](Cluster::next_timeout). A connection is known by node, lane and epoch: what is reported of an
//! earlier epoch is ignored, so that late news does no harm. Report calls that were certainly not written with
//! [`call_failed`](Cluster::call_failed) before [`disconnected`](Cluster::disconnected): a send among them was not
//! appended.
//!
//! # Bounds
//!
//! Commands by [`max_commands`](Settings::max_commands); their messages by [`topic_queue`](Settings::topic_queue)
//! and [`queues`](Settings::queues); a follower holds one page; topics by [`max_topics`](Settings::max_topics).
//! Calls are at most one for each command, one for each topic at rest after a send, two for each connection, and one
//! for each node and followed topic.

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

/// The state of a client of one cluster. See the [module](self) for how it is driven.
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
/// // Connect where it says so.
/// let Some(Output::Open { node, lane, epoch }) = cluster.poll_output() else { panic!() };
/// cluster.connected(now, node, lane, epoch);
/// // The first call checks the cluster's id, the second one is ours.
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
    /// The latest time that was given.
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
    /// A sign of life.
    Probe,
    /// The bounds of a topic that has followers.
    Survey(TopicId),
    Command(CommandId),
    /// A send that was given up: its reply ends the topic's rest.
    GivenUp {
        topic: TopicId,
        command: CommandId,
    },
}

/// What is to be done before a method returns. Not done at once, so that a thousand commands that fail together do
/// not call each other.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// The command's next attempt.
    Go(CommandId),
    /// The topic's next send.
    Topic(TopicId),
}

impl Cluster {
    /// A client that has no connection yet. `seed` makes the order of shuffled nodes and the jitter of waits.
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
    /// Sends of a topic are done one after the other, in the order of these calls.
    ///
    /// # Errors
    /// At once: no messages; more of them than the topic's queue ever takes; a queue or the table of commands is
    /// full. Everything else comes with [`Output::Done`].
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

    /// Asks any node for about `quantity` messages of a topic from `index` on. The answer is [`Answer::Messages`],
    /// as the node gives it: it may have more or fewer messages than were asked for, and with
    /// [`NextID`](Answer::Messages::next_id) 0 the node does not know its commit index. A node that reads from its
    /// files may give messages that are not committed; [`follow`](Self::follow) gives committed ones only.
    ///
    /// `wait`: answered once there is a message, and by nodes that know nothing of it never; the deadline is none
    /// unless `options` says one. Fewer than 2 are never asked for: the server damages single messages.
    ///
    /// # Errors
    /// At once: the table of commands is full, the topic's name is too long. Everything else comes with
    /// [`Output::Done`].
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

    /// Asks any node for the last index that it gives to readers. The answer is [`Answer::MaxAvailable`].
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

    /// Reads a topic's committed messages from index `from` on, each once and none left out, for as long as it is
    /// not cancelled: [`Output::Ready`] says when there is something to [`take`](Self::take). Nodes that cannot be
    /// reached are tried for ever, or until the [deadline of followers](Settings::follow_deadline); it ends with an unknown topic, a node of another cluster, a method that every
    /// node rejects, [`cancel`](Self::cancel) and [`close`](Self::close).
    ///
    /// # Errors
    /// At once: `from` below 1, the table of commands or of topics is full, the topic's name is too long.
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

    /// Gives a command up: it ends with [`Cancelled`](ClusterError::Cancelled), or, where a send may have been
    /// appended, with [`MaybeAppended`](ClusterError::MaybeAppended). Whether there was such a command.
    pub fn cancel(&mut self, now: Instant, command: CommandId) -> bool {
        self.at(now);
        let known = self.commands.contains_key(&command);
        self.end(command, Err(ClusterError::Cancelled));
        self.run();
        known
    }

    /// Ends every command with [`Closed`](ClusterError::Closed), or [`MaybeAppended`](ClusterError::MaybeAppended),
    /// and closes every connection. May be called again; later commands connect anew.
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

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, unless something else happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due at `now`.
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

    /// What is to be done or told next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The address of a node, as it was given.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(node.index()).map(|node| node.address.as_str())
    }

    /// The leader of a topic, as far as it is known: the node that took the last send.
    #[must_use]
    pub fn leader(&self, topic: &str) -> Option<NodeId> {
        self.topics.by_name(topic)?.leader
    }

    /// What it holds, and what it has done.
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

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Time never goes back.
    fn at(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Does what was put off.
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

    /// Whether there is room for one command more.
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

    /// Takes a command in.
    fn add(&mut self, kind: Kind, options: Options, state: State) -> CommandId {
        let id = CommandId(self.next_id());
        // A long poll takes as long as it takes, and a follower has no end.
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
