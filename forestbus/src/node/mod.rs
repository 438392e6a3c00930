//! A node in memory: topics, commits, long polls, retention.
//!
//! **It does not replicate.** There is one node, and its messages are lost with it; a commit means that the
//! message is in its memory. It is for tests, examples and development: it answers as recorded nodes do,
//! without their defects (no send overwrites another, a quantity of 1 does no damage, uncommitted messages
//! are not returned), and can simulate the states of a node in a cluster: [following](Node::follow) another,
//! [shutting down](Node::shut_down), [lagging](Node::set_lagging) and [delay](Node::set_delay).

mod answers;
mod log;
mod settings;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

pub use settings::{CheckedNodeSettings, NodeError, NodeSettings};

use crate::protocol::{
    Bounds, ClusterDetails, Index, Receive, Received, Reply, Request, Send, Sent, TopicDetails,
};
use log::Log;

/// A call that is answered later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaitId(u64);

/// The response to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// The reply.
    Now(Reply),
    /// The reply is returned by [`Node::poll_answer`] with that id.
    Later(WaitId),
}

/// The current contents and the counters of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NodeSnapshot {
    /// Topics.
    pub topics: usize,
    /// Bytes of all logs, as counted for retention.
    pub bytes: usize,
    /// Waiting calls.
    pub waiting: usize,
    /// Answers that were not taken.
    pub answers: usize,
    /// Calls so far.
    pub calls: u64,
    /// Messages that were appended.
    pub appended: u64,
    /// Messages that were returned to readers.
    pub read: u64,
    /// Messages that retention dropped.
    pub trimmed: u64,
    /// Messages that were dropped when the node began to follow another.
    pub dropped: u64,
    /// Calls that were rejected because a limit was reached.
    pub rejected: u64,
    /// Calls that were given up while they waited.
    pub given_up: u64,
}

/// The state of a topic.
#[derive(Debug)]
struct Topic {
    log: Log,
    /// Long polls by the index that they wait for.
    polls: BTreeMap<(Index, WaitId), Receive>,
    /// Sends that wait for their commit, by their last index.
    sends: BTreeMap<(Index, WaitId), Vec<Index>>,
}

/// Whether the node leads.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    Leader,
    Follower { leader: String },
}

/// A node in memory. The [module](self) describes its limitations.
///
/// ```
/// use bowline_forestbus::node::{Node, NodeSettings, Response};
/// use bowline_forestbus::protocol::{Receive, Received, Reply, Request, Send, Sent};
///
/// let mut node = Node::new(NodeSettings::new("127.0.0.1:3000").topic("orders").build()?);
/// let poll = Receive { topic: "orders".into(), id: 1, quantity: 10, wait: true, ..Default::default() };
/// let Response::Later(wait) = node.request(Request::Receive(poll)) else { panic!() };
///
/// let send = Send { topic: "orders".into(), messages: vec!["one".into()], ..Default::default() };
/// let Response::Now(Reply::Sent(Sent { ids, .. })) = node.request(Request::Send(send)) else { panic!() };
/// assert_eq!(ids, [1]);
/// let Some((answered, Reply::Received(Received { messages, next_id, .. }))) = node.poll_answer() else { panic!() };
/// assert_eq!((answered, messages.len(), next_id), (wait, 1, 2));
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Node {
    settings: NodeSettings,
    topics: BTreeMap<String, Topic>,
    role: Role,
    stopping: bool,
    lagging: bool,
    delay: Duration,
    /// Waiting calls: their topic and index.
    waits: BTreeMap<WaitId, (String, Index)>,
    last_id: u64,
    answers: VecDeque<(WaitId, Reply)>,
    counters: NodeSnapshot,
}

impl Node {
    /// Creates a node that leads all of its topics.
    #[must_use]
    pub fn new(settings: CheckedNodeSettings) -> Self {
        let settings = settings.0;
        let topics = settings.topics.iter().map(|name| (name.clone(), Topic::new())).collect();
        Self {
            topics,
            role: Role::Leader,
            stopping: false,
            lagging: false,
            delay: Duration::ZERO,
            waits: BTreeMap::new(),
            last_id: 0,
            answers: VecDeque::new(),
            counters: NodeSnapshot::default(),
            settings,
        }
    }

    /// Handles a call. A waiting call is answered by a later call, a change of state, or
    /// [`give_up`](Self::give_up): call [`poll_answer`](Self::poll_answer) after each of them.
    pub fn request(&mut self, request: Request) -> Response {
        self.counters.calls += 1;
        if self.stopping {
            return Response::Now(self.is_stopping(&request));
        }
        match request {
            Request::ClusterDetails => Response::Now(Reply::ClusterDetails(ClusterDetails {
                status: answers::success(),
                cluster_id: self.settings.cluster_id.clone(),
                peers: self.settings.peers.clone(),
                topics: self.topics.keys().cloned().collect(),
            })),
            Request::TopicDetails { topic } => {
                let details = match self.topics.get(&topic) {
                    Some(topic) => TopicDetails { status: answers::success(), bounds: topic.log.bounds() },
                    None => {
                        let status = answers::no_topic(&topic, &self.settings.name);
                        TopicDetails { status, bounds: Bounds::default() }
                    }
                };
                Response::Now(Reply::TopicDetails(details))
            }
            Request::Send(send) => self.send(send),
            Request::Receive(receive) => self.receive(receive),
        }
    }

    /// The next answer to a call that waited.
    pub fn poll_answer(&mut self) -> Option<(WaitId, Reply)> {
        self.answers.pop_front()
    }

    /// Discards a waiting call whose client has disconnected. Messages that it sent stay. Returns whether
    /// there was such a call.
    pub fn give_up(&mut self, wait: WaitId) -> bool {
        let Some((topic, index)) = self.waits.remove(&wait) else {
            let before = self.answers.len();
            self.answers.retain(|&(id, _)| id != wait);
            return self.answers.len() < before;
        };
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.polls.remove(&(index, wait));
            topic.sends.remove(&(index, wait));
        }
        self.counters.given_up += 1;
        true
    }

    /// Adds an empty topic. Has no effect if the topic exists.
    ///
    /// # Errors
    /// The limit of topics is reached, or the name is empty or too long.
    pub fn add_topic(&mut self, name: &str) -> Result<(), NodeError> {
        settings::check_topic(name)?;
        if self.topics.contains_key(name) {
            return Ok(());
        }
        if self.topics.len() >= self.settings.max_topics {
            return Err(NodeError::TooManyTopics { limit: self.settings.max_topics });
        }
        self.topics.insert(name.to_string(), Topic::new());
        Ok(())
    }

    /// Removes a topic and its messages. Its long polls and waiting sends are answered with "no such topic".
    /// Returns whether it existed.
    pub fn remove_topic(&mut self, name: &str) -> bool {
        let Some(topic) = self.topics.remove(name) else { return false };
        for (_, id) in topic.polls.into_keys() {
            self.answer(id, Reply::Error(answers::TOPIC_NOT_FOUND.to_string()));
        }
        let status = answers::no_topic(name, &self.settings.name);
        for ((_, id), ids) in topic.sends {
            self.answer(id, Reply::Sent(Sent { status: status.clone(), ids }));
        }
        true
    }

    /// Makes the node follow another: sends are refused with the leader's name, which may be empty if
    /// unknown. Sends that wait for their commit end with code 4 and the indexes that they had been assigned;
    /// uncommitted messages are dropped and their indexes are reused, as after a lost election.
    pub fn follow(&mut self, leader: impl Into<String>) {
        let leader = leader.into();
        let status = answers::not_leader(&self.settings.name, &leader);
        self.role = Role::Follower { leader };
        let mut lost = Vec::new();
        for topic in self.topics.values_mut() {
            self.counters.dropped += topic.log.drop_uncommitted();
            lost.extend(core::mem::take(&mut topic.sends));
        }
        for ((_, id), ids) in lost {
            self.answer(id, Reply::Sent(Sent { status: status.clone(), ids }));
        }
    }

    /// Makes the node lead its topics again.
    pub fn lead(&mut self) {
        self.role = Role::Leader;
    }

    /// Stops or restarts the node. While it is stopped, every call is answered with code 5. Long polls end
    /// without messages; sends that wait for their commit end with code 5 and their indexes.
    pub fn shut_down(&mut self, stopping: bool) {
        self.stopping = stopping;
        if !stopping {
            return;
        }
        let status = answers::stopping(&self.settings.name);
        let (mut polls, mut sends) = (Vec::new(), Vec::new());
        for topic in self.topics.values_mut() {
            polls.extend(core::mem::take(&mut topic.polls));
            sends.extend(core::mem::take(&mut topic.sends));
        }
        for ((_, id), receive) in polls {
            let reply = Received { status: answers::success(), messages: Vec::new(), next_id: receive.id };
            self.answer(id, Reply::Received(reply));
        }
        for ((_, id), ids) in sends {
            self.answer(id, Reply::Sent(Sent { status: status.clone(), ids }));
        }
    }

    /// Whether the commit index stands still, as at a node that hears nothing from the others. Messages that
    /// are appended in the meantime are committed when this is switched off.
    pub fn set_lagging(&mut self, lagging: bool) {
        self.lagging = lagging;
        if !lagging {
            let names: Vec<String> = self.topics.keys().cloned().collect();
            for name in names {
                self.commit(&name);
            }
        }
    }

    /// Sets the commit index of every topic to 0 until something is appended, as after a stop of the whole
    /// cluster.
    pub fn forget_commit(&mut self) {
        for topic in self.topics.values_mut() {
            topic.log.forget_commit();
        }
    }

    /// How long the driver has to delay each answer. The node itself has no clock.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// See [`set_delay`](Self::set_delay).
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Largest number of waiting calls; the driver must not hold more delayed answers either.
    #[must_use]
    pub fn max_waiting(&self) -> usize {
        self.settings.max_waiting
    }

    /// The bounds of a topic.
    #[must_use]
    pub fn bounds(&self, topic: &str) -> Option<Bounds> {
        self.topics.get(topic).map(|topic| topic.log.bounds())
    }

    /// The current contents and the counters.
    #[must_use]
    pub fn snapshot(&self) -> NodeSnapshot {
        NodeSnapshot {
            topics: self.topics.len(),
            bytes: self.topics.values().map(|topic| topic.log.bytes()).sum(),
            waiting: self.waits.len(),
            answers: self.answers.len(),
            ..self.counters
        }
    }

    fn is_stopping(&self, request: &Request) -> Reply {
        let status = answers::stopping(&self.settings.name);
        match request {
            Request::ClusterDetails => Reply::ClusterDetails(ClusterDetails { status, ..Default::default() }),
            Request::TopicDetails { .. } => {
                Reply::TopicDetails(TopicDetails { status, ..Default::default() })
            }
            Request::Send(_) => Reply::Sent(Sent { status, ids: Vec::new() }),
            Request::Receive(_) => Reply::Received(Received { status, ..Default::default() }),
        }
    }

    fn send(&mut self, send: Send) -> Response {
        let refused = |status| Response::Now(Reply::Sent(Sent { status, ids: Vec::new() }));
        let Some(topic) = self.topics.get_mut(&send.topic) else {
            return refused(answers::no_topic(&send.topic, &self.settings.name));
        };
        if send.messages.is_empty() {
            return Response::Now(Reply::Error(answers::NO_MESSAGES.to_string()));
        }
        if let Role::Follower { leader } = &self.role {
            return refused(answers::not_leader(&self.settings.name, leader));
        }
        let waits = self.lagging && send.wait_for_commit;
        let is_full = self.waits.len() + self.answers.len() >= self.settings.max_waiting;
        if waits && is_full {
            return self.reject(answers::TOO_MANY_WAIT);
        }
        let count = send.messages.len() as u64;
        let Some((ids, trimmed)) = topic.log.append(send.messages, self.settings.topic_bytes) else {
            return self.reject(answers::LOG_FULL);
        };
        self.counters.appended += count;
        self.counters.trimmed += trimmed;
        if waits {
            self.last_id += 1;
            let id = WaitId(self.last_id);
            let last = ids.last().copied().unwrap_or_default();
            self.waits.insert(id, (send.topic, last));
            topic.sends.insert((last, id), ids);
            return Response::Later(id);
        }
        if !self.lagging {
            self.commit(&send.topic);
        }
        Response::Now(Reply::Sent(Sent { status: answers::success(), ids }))
    }

    fn reject(&mut self, why: &str) -> Response {
        self.counters.rejected += 1;
        Response::Now(Reply::Error(why.to_string()))
    }

    fn receive(&mut self, receive: Receive) -> Response {
        let Some(topic) = self.topics.get_mut(&receive.topic) else {
            return Response::Now(Reply::Error(answers::TOPIC_NOT_FOUND.to_string()));
        };
        let bounds = topic.log.bounds();
        if receive.wait && receive.id >= bounds.first && receive.id > bounds.commit {
            if self.waits.len() + self.answers.len() >= self.settings.max_waiting {
                return self.reject(answers::TOO_MANY_WAIT);
            }
            self.last_id += 1;
            let id = WaitId(self.last_id);
            self.waits.insert(id, (receive.topic.clone(), receive.id));
            topic.polls.insert((receive.id, id), receive);
            return Response::Later(id);
        }
        Response::Now(self.read(&receive))
    }

    /// The reply to a call for messages that no longer waits.
    fn read(&mut self, receive: &Receive) -> Reply {
        let Some(topic) = self.topics.get(&receive.topic) else {
            return Reply::Error(answers::TOPIC_NOT_FOUND.to_string());
        };
        let Bounds { first, commit, .. } = topic.log.bounds();
        let (messages, next_id) = if receive.id < first {
            (Vec::new(), first)
        } else if commit == 0 {
            (Vec::new(), 0)
        } else if receive.id > commit {
            (Vec::new(), receive.id)
        } else if receive.quantity <= 0 && receive.id == first {
            (Vec::new(), first)
        } else if receive.quantity <= 0 {
            return Reply::Error(answers::NOT_RETRIEVED.to_string());
        } else {
            let messages = topic.log.read(receive.id, receive.quantity, self.settings.reply_bytes);
            let next = receive.id + messages.len() as Index;
            (messages, next)
        };
        self.counters.read += messages.len() as u64;
        Reply::Received(Received { status: answers::success(), messages, next_id })
    }

    /// Commits everything in the topic's log and answers the calls that waited for it.
    fn commit(&mut self, name: &str) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.log.commit();
        self.counters.trimmed += topic.log.trim(self.settings.topic_bytes);
        let commit = topic.log.bounds().commit;
        let later = (commit.saturating_add(1), WaitId(0));
        let polls_left = topic.polls.split_off(&later);
        let polls = core::mem::replace(&mut topic.polls, polls_left);
        let sends_left = topic.sends.split_off(&later);
        let sends = core::mem::replace(&mut topic.sends, sends_left);
        for ((_, id), ids) in sends {
            self.answer(id, Reply::Sent(Sent { status: answers::success(), ids }));
        }
        for ((_, id), receive) in polls {
            let reply = self.read(&receive);
            self.answer(id, reply);
        }
    }

    fn answer(&mut self, id: WaitId, reply: Reply) {
        self.waits.remove(&id);
        self.answers.push_back((id, reply));
    }
}

impl Topic {
    fn new() -> Self {
        Self { log: Log::new(), polls: BTreeMap::new(), sends: BTreeMap::new() }
    }
}
