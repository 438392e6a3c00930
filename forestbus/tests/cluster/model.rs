//! Three nodes that replicate topics as real nodes do, with their defects, in steps small enough that a
//! leader can be killed at each of them.

use bowline_forestbus::protocol::{
    Bounds, ClusterDetails, Code, Index, Receive, Received, Reply, Request, Send, Sent, Status, TopicDetails,
};
use bytes::Bytes;

use crate::random::Random;

mod replication;

pub(crate) const NODES: usize = 3;
const MS: u64 = 1_000_000;
const TOPIC_NOT_FOUND: &str = "Topic not found on server.";
/// Sends that come so close to each other get the last one's payloads.
const AGGREGATION: u64 = 3 * MS;

/// Where a call came from, and what names it there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct From {
    pub(crate) lane: usize,
    pub(crate) epoch: u64,
    pub(crate) call: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    term: u64,
    payload: Bytes,
}

/// One topic at one node.
#[derive(Clone, Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    /// The first index that is kept.
    first: Index,
    commit: Index,
    term: u64,
    is_leader: bool,
    leader: Option<usize>,
    /// As a leader: how much each node is known to have.
    matches: [Index; NODES],
    heard: u64,
    patience: u64,
    /// The last send, until its client has the reply: one that waits for it comes in another batch.
    last_send: Option<(u64, From)>,
}

impl Log {
    fn last(&self) -> Index {
        self.entries.len() as Index
    }

    fn last_term(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.term)
    }

    /// Makes the entries those of the leader. Returns whether they were others.
    fn copy_entries(&mut self, leader: &Self) -> bool {
        // A term has one leader, which only appends. So where the terms of two entries are the same, the entries are the
        // same, and so is all before them.
        let mut both = self.entries.iter().zip(&leader.entries);
        let same = both.rposition(|(own, other)| own.term == other.term).map_or(0, |at| at + 1);
        let new = same < self.entries.len().max(leader.entries.len());
        self.entries.truncate(same);
        self.entries.extend_from_slice(&leader.entries[same..]);
        new
    }
}

/// A call that is not answered yet.
#[derive(Clone, Debug)]
enum Pending {
    Poll { from: From, receive: Receive },
    Commit { from: From, topic: usize, ids: Vec<Index>, term: u64 },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) frozen: bool,
    pub(crate) stopping: bool,
    /// Cut off from the other nodes, not from clients.
    pub(crate) cut: bool,
    /// Says that it belongs to another cluster.
    pub(crate) foreign: bool,
    /// Counts starts.
    pub(crate) life: u64,
    logs: Vec<Log>,
    pending: Vec<Pending>,
    /// Messages that arrived while it was frozen.
    inbox: Vec<(From, Request)>,
}

/// At which step of a send its leader is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Arrived,
    Appended,
    Replicated,
    Committed,
    Answered,
}

pub(crate) const STEPS: [Step; 5] =
    [Step::Arrived, Step::Appended, Step::Replicated, Step::Committed, Step::Answered];

/// A reply on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) node: usize,
    pub(crate) from: From,
    pub(crate) reply: Reply,
}

pub(crate) struct Model {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Vec<String>,
    topics: Vec<String>,
    cluster_id: String,
    /// All messages that were ever committed, by topic and index from 1. It never changes.
    pub(crate) committed: Vec<Vec<Bytes>>,
    pub(crate) answers: Vec<Answer>,
    /// Kills the leader when that many sends have come to that step.
    pub(crate) trap: Option<(Step, u32)>,
    /// How many leaders were killed at each of [`STEPS`].
    pub(crate) sprung: [u32; STEPS.len()],
    pub(crate) killed: Vec<usize>,
    pub(crate) overwritten: u32,
    pub(crate) elections: u32,
}

impl Model {
    pub(crate) fn new(names: Vec<String>, topics: &[&str], cluster_id: &str, random: &mut Random) -> Self {
        let log = |random: &mut Random| Log {
            first: 1,
            patience: (500 + random.below(200)) * MS,
            ..Log::default()
        };
        let nodes = (0..NODES)
            .map(|_| Node { up: true, logs: topics.iter().map(|_| log(random)).collect(), ..Node::default() })
            .collect();
        Self {
            nodes,
            names,
            topics: topics.iter().map(ToString::to_string).collect(),
            cluster_id: cluster_id.to_owned(),
            committed: vec![Vec::new(); topics.len()],
            answers: Vec::new(),
            trap: None,
            sprung: [0; STEPS.len()],
            killed: Vec::new(),
            overwritten: 0,
            elections: 0,
        }
    }

    /// The leader of the newest term that is up.
    pub(crate) fn leader(&self, topic: usize) -> Option<usize> {
        let leaders = (0..NODES).filter(|&n| self.nodes[n].up && self.nodes[n].logs[topic].is_leader);
        leaders.max_by_key(|&n| self.nodes[n].logs[topic].term)
    }

    fn works(&self, node: usize) -> bool {
        self.nodes[node].up && !self.nodes[node].frozen
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        self.works(a) && self.works(b) && !self.nodes[a].cut && !self.nodes[b].cut
    }

    pub(crate) fn kill(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.up = false;
        it.frozen = false;
        it.stopping = false;
        it.pending.clear();
        it.inbox.clear();
        for log in &mut it.logs {
            log.is_leader = false;
        }
    }

    pub(crate) fn start(&mut self, node: usize, now: u64) {
        let it = &mut self.nodes[node];
        if it.up {
            return;
        }
        it.up = true;
        it.life += 1;
        for log in &mut it.logs {
            log.commit = 0;
            log.leader = None;
            log.is_leader = false;
            log.heard = now + 500 * MS;
        }
    }

    /// It continues to answer with code 5; long polls end without messages.
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].stopping = true;
        let pending = std::mem::take(&mut self.nodes[node].pending);
        for pending in pending {
            match pending {
                Pending::Poll { from, receive } => {
                    let reply = Received { next_id: receive.id, ..Received::default() };
                    self.answer(node, from, Reply::Received(reply));
                }
                Pending::Commit { .. } => self.nodes[node].pending.push(pending),
            }
        }
    }

    pub(crate) fn thaw(&mut self, node: usize, now: u64, random: &mut Random) {
        self.nodes[node].frozen = false;
        for (from, request) in std::mem::take(&mut self.nodes[node].inbox) {
            self.request(node, from, request, now, random);
        }
    }

    /// Forgets messages that every node has committed, as the clean-up does.
    pub(crate) fn trim(&mut self, topic: usize, keep: Index) {
        for node in &mut self.nodes {
            let log = &mut node.logs[topic];
            log.first = log.first.max(log.commit - keep + 1);
        }
    }

    /// A client closed its connection: its long polls are gone.
    pub(crate) fn hang_up(&mut self, node: usize, lane: usize, epoch: u64) {
        let gone = |from: &From| (from.lane, from.epoch) == (lane, epoch);
        self.nodes[node]
            .pending
            .retain(|pending| !matches!(pending, Pending::Poll { from, .. } if gone(from)));
    }

    /// The client has the reply.
    pub(crate) fn delivered(&mut self, node: usize, from: From) {
        for log in &mut self.nodes[node].logs {
            if log.last_send.is_some_and(|(_, last)| last == from) {
                log.last_send = None;
            }
        }
    }

    fn answer(&mut self, node: usize, from: From, reply: Reply) {
        self.answers.push(Answer { node, from, reply });
    }

    fn step(&mut self, step: Step, node: usize) {
        if let Some((wanted, left)) = &mut self.trap
            && *wanted == step
        {
            if *left == 0 {
                self.trap = None;
                self.sprung[step as usize] += 1;
                self.killed.push(node);
                self.kill(node);
            } else {
                *left -= 1;
            }
        }
    }

    pub(crate) fn request(
        &mut self,
        node: usize,
        from: From,
        request: Request,
        now: u64,
        random: &mut Random,
    ) {
        if !self.nodes[node].up {
            return;
        }
        if self.nodes[node].frozen {
            self.nodes[node].inbox.push((from, request));
            return;
        }
        if self.nodes[node].stopping {
            let status = Status { code: Code::Shutdown, ..Status::default() };
            let reply = match request {
                Request::ClusterDetails => {
                    Reply::ClusterDetails(ClusterDetails { status, ..Default::default() })
                }
                Request::TopicDetails { .. } => {
                    Reply::TopicDetails(TopicDetails { status, ..Default::default() })
                }
                Request::Send(_) => Reply::Sent(Sent { status, ..Default::default() }),
                _ => Reply::Received(Received { status, ..Default::default() }),
            };
            return self.answer(node, from, reply);
        }
        match request {
            Request::ClusterDetails => {
                let id = if self.nodes[node].foreign { "another" } else { &self.cluster_id };
                let details = ClusterDetails {
                    status: Status::default(),
                    cluster_id: id.to_owned(),
                    peers: self.names.clone(),
                    topics: self.topics.clone(),
                };
                self.answer(node, from, Reply::ClusterDetails(details));
            }
            Request::TopicDetails { topic } => {
                let reply = match self.topic(&topic) {
                    Some(topic) => {
                        let log = &self.nodes[node].logs[topic];
                        let bounds = Bounds { first: log.first, last: log.last(), commit: log.commit };
                        TopicDetails { status: Status::default(), bounds }
                    }
                    None => TopicDetails {
                        status: Status { code: Code::TopicNotFound, ..Status::default() },
                        ..Default::default()
                    },
                };
                self.answer(node, from, Reply::TopicDetails(reply));
            }
            Request::Receive(receive) => match self.topic(&receive.topic) {
                Some(topic) => self.receive(node, topic, from, receive, random),
                None => self.answer(node, from, Reply::Error(TOPIC_NOT_FOUND.to_owned())),
            },
            Request::Send(send) => self.send(node, from, send, now),
            _ => unreachable!("no other request"),
        }
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic == name)
    }

    fn receive(&mut self, node: usize, topic: usize, from: From, receive: Receive, random: &mut Random) {
        let log = &self.nodes[node].logs[topic];
        let id = receive.id;
        let empty = |next_id| Reply::Received(Received { next_id, ..Received::default() });
        if id < log.first {
            let first = log.first;
            return self.answer(node, from, empty(first));
        }
        if id > log.commit {
            if receive.wait {
                return self.nodes[node].pending.push(Pending::Poll { from, receive });
            }
            let next = if log.commit == 0 { 0 } else { id };
            return self.answer(node, from, empty(next));
        }
        // From memory: to the end of a batch, which is some message later on. From the file: beyond the quantity and
        // the commit index.
        let from_file = random.chance(50);
        let wanted = receive.quantity.max(1) as u64;
        let most = if from_file { wanted + random.below(100) } else { 1 + random.below(wanted) };
        let end = (id + most as Index - 1).min(if from_file { log.last() } else { log.commit });
        let kept = &log.entries[(id - 1) as usize..end as usize];
        let messages: Vec<Bytes> = kept.iter().map(|entry| entry.payload.clone()).collect();
        let reply = Received { status: Status::default(), messages, next_id: end + 1 };
        self.answer(node, from, Reply::Received(reply));
    }

    fn send(&mut self, node: usize, from: From, send: Send, now: u64) {
        let Some(topic) = self.topic(&send.topic) else {
            let status = Status { code: Code::TopicNotFound, ..Status::default() };
            return self.answer(node, from, Reply::Sent(Sent { status, ids: Vec::new() }));
        };
        if self.nodes[node].logs[topic].last_send.is_some_and(|(at, _)| now - at < AGGREGATION) {
            self.overwritten += 1;
        }
        self.nodes[node].logs[topic].last_send = Some((now, from));
        if !self.nodes[node].logs[topic].is_leader {
            let reply = self.not_leader(node, topic, Vec::new());
            return self.answer(node, from, reply);
        }
        self.step(Step::Arrived, node);
        if !self.nodes[node].up {
            return;
        }
        let log = &mut self.nodes[node].logs[topic];
        let term = log.term;
        let first = log.last() + 1;
        log.entries.extend(send.messages.iter().map(|payload| Entry { term, payload: payload.clone() }));
        log.matches[node] = log.last();
        let ids: Vec<Index> = (first..=log.last()).collect();
        self.step(Step::Appended, node);
        if !self.nodes[node].up {
            return;
        }
        if send.wait_for_commit {
            self.nodes[node].pending.push(Pending::Commit { from, topic, ids, term });
        } else {
            self.answer(node, from, Reply::Sent(Sent { status: Status::default(), ids }));
        }
    }

    fn not_leader(&self, node: usize, topic: usize, ids: Vec<Index>) -> Reply {
        let leader = self.nodes[node].logs[topic].leader;
        let extra = leader.map_or_else(String::new, |leader| self.names[leader].clone());
        let status = Status { code: Code::NotLeader, description: String::new(), extra };
        Reply::Sent(Sent { status, ids })
    }
}
