//! One client and the model's nodes on a virtual clock: nothing sleeps, and the same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::time::Instant;
use bowline_forestbus::cluster::{
    Attempts, CallId, CheckedSettings, Cluster, CommandId, Commit, Lane, NodeId, Options, Output,
};
use bowline_forestbus::protocol::{Index, Reply, Request};
use bytes::Bytes;

use crate::ledger::{Ledger, Wanted};
use crate::model::{From, Model, NODES};
use crate::random::Random;

pub(crate) const MS: u64 = 1_000_000;
const TICK: u64 = 20 * MS;
pub(crate) const TOPICS: [&str; 2] = ["orders", "notes"];
/// How long connecting to a node takes that does not answer.
const DIAL_TIMEOUT: u64 = 1_500 * MS;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tick,
    Dialed { at: (usize, usize), epoch: u64, dialed: u64 },
    Arrives { node: usize, life: u64, from: From, request: Request },
    Replies { node: usize, life: u64, from: From, reply: Reply },
    Lost { at: (usize, usize), epoch: u64 },
    App(App),
    Fault(Fault),
}

/// The actions of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum App {
    Send { topic: usize, count: u64 },
    Read { topic: usize },
    Follow { topic: usize, from: Index },
    Take(CommandId),
    Cancel(CommandId),
    Close,
}

/// The faults.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill(usize),
    KillLeader,
    Start(usize),
    Stop(usize),
    Freeze(usize),
    FreezeLeader,
    Thaw(usize),
    Cut(usize),
    CutLeader,
    /// Everything is well again.
    Heal,
    Foreign(usize, bool),
    Trim,
    /// A connection breaks.
    Break(usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    epoch: u64,
    life: u64,
    up: bool,
}

pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) model: Model,
    pub(crate) cluster: Cluster,
    pub(crate) ledger: Ledger,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    connections: BTreeMap<(usize, usize), Connection>,
    /// Calls by number, with what the client wants them back with.
    calls: BTreeMap<u64, CallId>,
    last_call: u64,
    ids: Vec<NodeId>,
    pub(crate) followers: BTreeSet<CommandId>,
    epochs: BTreeMap<(usize, usize, u64), bowline_core::machine::Epoch>,
    payloads: u64,
    pub(crate) trace: bool,
}

fn lane_of(index: usize) -> Lane {
    if index == 0 { Lane::Short } else { Lane::Long }
}

impl Sim {
    pub(crate) fn new(seed: u64, settings: CheckedSettings, names: Vec<String>) -> Self {
        let mut random = Random::new(seed);
        let model = Model::new(names, &TOPICS, "test", &mut random);
        let ids = settings.nodes().map(|(id, _)| id).collect();
        let mut sim = Self {
            now: 0,
            model,
            cluster: Cluster::new(settings, seed),
            ledger: Ledger::new(TOPICS.len()),
            events: BTreeMap::new(),
            order: 0,
            connections: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            ids,
            followers: BTreeSet::new(),
            epochs: BTreeMap::new(),
            payloads: 0,
            trace: std::env::var_os("FORESTBUS_TRACE").is_some(),
            random,
        };
        sim.after(0, Event::Tick);
        sim
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + wait, self.order), event);
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn latency(&mut self) -> u64 {
        if self.random.chance(3) {
            self.random.between(5, 40) * MS
        } else {
            self.random.between(20, 900) * 1000
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let timeout = self.cluster.next_timeout().map(Instant::as_nanos);
            let Some(next) = event.into_iter().chain(timeout).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if timeout.is_some_and(|timeout| timeout <= self.now) {
                self.cluster.handle_timeout(Instant::from_nanos(self.now));
                let next = self.cluster.next_timeout();
                assert!(next.is_none_or(|next| next.as_nanos() > self.now), "a timeout is due for ever");
            } else if let Some((_, event)) = self.events.pop_first() {
                self.handle(event);
            }
            self.settle();
        }
        self.now = self.now.max(end);
    }

    /// Does what the client and the model want done.
    fn settle(&mut self) {
        while let Some(output) = self.cluster.poll_output() {
            if self.trace {
                println!("{:>9.3} {output:?}", self.now as f64 / 1e6);
            }
            self.output(output);
        }
        for answer in std::mem::take(&mut self.model.answers) {
            let life = self.model.nodes[answer.node].life;
            let wait = self.latency();
            let event = Event::Replies { node: answer.node, life, from: answer.from, reply: answer.reply };
            self.after(wait, event);
        }
        for node in std::mem::take(&mut self.model.killed) {
            self.is_killed(node);
            // It returns.
            let wait = self.random.between(1_000, 6_000) * MS;
            self.after(wait, Event::Fault(Fault::Start(node)));
        }
        self.ledger.bounds(&self.cluster.snapshot());
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Open { node, lane, epoch } => {
                let at = (node.index(), lane as usize);
                self.epochs.insert((at.0, at.1, epoch.get()), epoch);
                let before = self.connections.get(&at).is_some_and(|connection| connection.up);
                assert!(!before, "it opens what is open");
                let wait = self.latency();
                let dialed = self.now;
                self.after(wait, Event::Dialed { at, epoch: epoch.get(), dialed });
            }
            Output::Close { node, lane, epoch, .. } => {
                let at = (node.index(), lane as usize);
                self.model.hang_up(at.0, at.1, epoch.get());
                self.connections.remove(&at);
                self.epochs.remove(&(at.0, at.1, epoch.get()));
                self.ledger.lane_is_down(at, self.now);
            }
            Output::Call { node, lane, epoch, call, request, .. } => {
                let at = (node.index(), lane as usize);
                let connection = self.connections.get(&at).expect("a call needs a connection");
                assert_eq!(
                    (connection.epoch, connection.up),
                    (epoch.get(), true),
                    "a call on another connection"
                );
                let life = connection.life;
                self.last_call += 1;
                self.calls.insert(self.last_call, call);
                self.ledger.called(call, at, &request, self.now);
                let from = From { lane: at.1, epoch: epoch.get(), call: self.last_call };
                let wait = self.latency();
                self.after(wait, Event::Arrives { node: at.0, life, from, request });
            }
            Output::Forget { call, .. } => self.ledger.forgotten(call, self.now),
            Output::Done { command, result } => {
                self.ledger.done(command, result, self.now);
                if self.followers.remove(&command)
                    && let Some((topic, position)) = self.ledger.follower_ended(command)
                {
                    // The program begins again where it was.
                    let wait = self.random.between(10, 500) * MS;
                    self.after(wait, Event::App(App::Follow { topic, from: position }));
                }
            }
            Output::Ready { follower } => {
                let wait = if self.random.chance(80) { 0 } else { self.random.between(1, 300) * MS };
                self.after(wait, Event::App(App::Take(follower)));
            }
            _ => unreachable!("no other output"),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.model.tick(self.now, &mut self.random);
                self.after(TICK, Event::Tick);
            }
            Event::Dialed { at, epoch, dialed } => self.dialed(at, epoch, dialed),
            Event::Arrives { node, life, from, request } => {
                // Bytes in transit when the connection broke may still be read.
                if self.model.nodes[node].life == life {
                    self.model.request(node, from, request, self.now, &mut self.random);
                }
            }
            Event::Replies { node, life, from, reply } => {
                let at = (node, from.lane);
                let same = Connection { epoch: from.epoch, life, up: true };
                if self.connections.get(&at) != Some(&same) || !self.model.nodes[node].up {
                    return;
                }
                self.model.delivered(node, from);
                if let Some(call) = self.calls.remove(&from.call) {
                    if self.trace {
                        println!("{:>9.3} reply {call:?} {reply:?}", self.now as f64 / 1e6);
                    }
                    self.ledger.replied(call);
                    self.cluster.reply(self.instant(), call, reply);
                }
            }
            Event::Lost { at, epoch } => {
                if self.connections.get(&at).is_some_and(|connection| connection.epoch == epoch) {
                    self.connections.remove(&at);
                    self.ledger.lane_is_down(at, self.now);
                    if let Some(epoch) = self.epochs.remove(&(at.0, at.1, epoch)) {
                        let (node, lane) = (self.ids[at.0], lane_of(at.1));
                        self.cluster.disconnected(self.instant(), node, lane, epoch, Disconnect::PeerClosed);
                    }
                }
            }
            Event::App(app) => self.app(app),
            Event::Fault(fault) => {
                if self.trace {
                    println!("{:>9.3} {fault:?}, leader {:?}", self.now as f64 / 1e6, self.model.leader(0));
                }
                self.fault(fault);
            }
        }
    }

    fn dialed(&mut self, at: (usize, usize), number: u64, dialed: u64) {
        let Some(&epoch) = self.epochs.get(&(at.0, at.1, number)) else { return };
        let node = &self.model.nodes[at.0];
        let (id, lane) = (self.ids[at.0], lane_of(at.1));
        if node.frozen && number.is_multiple_of(2) && self.now < dialed + DIAL_TIMEOUT {
            // Every other time its system does not take the connection either.
            self.after(DIAL_TIMEOUT, Event::Dialed { at, epoch: number, dialed });
        } else if !node.up || node.stopping || (node.frozen && number.is_multiple_of(2)) {
            self.epochs.remove(&(at.0, at.1, number));
            self.cluster.dial_failed(self.instant(), id, lane, epoch, Disconnect::NotConnected);
        } else {
            let connection = Connection { epoch: number, life: node.life, up: true };
            self.connections.insert(at, connection);
            self.cluster.connected(self.instant(), id, lane, epoch);
        }
    }

    fn is_killed(&mut self, node: usize) {
        for lane in 0..2 {
            self.break_connection(node, lane);
        }
    }

    fn break_connection(&mut self, node: usize, lane: usize) {
        if let Some(&Connection { epoch, .. }) = self.connections.get(&(node, lane)) {
            let wait = self.latency();
            self.after(wait, Event::Lost { at: (node, lane), epoch });
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(node) => {
                self.model.kill(node);
                self.is_killed(node);
            }
            Fault::KillLeader => {
                if let Some(node) = self.model.leader(0) {
                    self.fault(Fault::Kill(node));
                    let wait = self.random.between(500, 6_000) * MS;
                    self.after(wait, Event::Fault(Fault::Start(node)));
                }
            }
            Fault::Start(node) => self.model.start(node, self.now),
            Fault::Stop(node) => {
                self.model.stop(node);
                self.after(600 * MS, Event::Fault(Fault::Kill(node)));
                let wait = self.random.between(1_500, 6_000) * MS;
                self.after(wait, Event::Fault(Fault::Start(node)));
            }
            Fault::Freeze(node) => self.model.nodes[node].frozen = self.model.nodes[node].up,
            Fault::FreezeLeader => {
                if let Some(node) = self.model.leader(0) {
                    self.model.nodes[node].frozen = true;
                    let wait = self.random.between(500, 12_000) * MS;
                    self.after(wait, Event::Fault(Fault::Thaw(node)));
                }
            }
            Fault::Thaw(node) => self.model.thaw(node, self.now, &mut self.random),
            Fault::Cut(node) => self.model.nodes[node].cut = true,
            Fault::CutLeader => {
                if let Some(node) = self.model.leader(0) {
                    self.model.nodes[node].cut = true;
                }
            }
            Fault::Heal => {
                self.model.trap = None;
                for node in 0..NODES {
                    self.model.nodes[node].cut = false;
                    self.model.nodes[node].foreign = false;
                    self.model.start(node, self.now);
                    self.model.thaw(node, self.now, &mut self.random);
                }
            }
            Fault::Foreign(node, foreign) => self.model.nodes[node].foreign = foreign,
            Fault::Trim => {
                let keep = self.random.between(2, 20) as Index;
                self.model.trim(0, keep);
            }
            Fault::Break(node, lane) => self.break_connection(node, lane),
        }
    }

    fn options(&mut self) -> (Options, Wanted) {
        let at_least_once = self.random.chance(20);
        let commit = if self.random.chance(80) { Commit::Majority } else { Commit::Leader };
        let one_round = self.random.chance(10);
        let limit = match self.random.below(4) {
            0 => self.random.between(100, 1_000),
            1 => self.random.between(1_000, 4_000),
            _ => 10_000,
        };
        let attempts = if one_round { Attempts::OneRound } else { Attempts::UntilDeadline };
        let options = Options::new()
            .at_least_once(at_least_once)
            .commit(commit)
            .attempts(attempts)
            .deadline(Duration::from_millis(limit));
        let deadline = Some(self.now + limit * MS);
        (options, Wanted { deadline, at_least_once, commit, topic: 0, payloads: Vec::new() })
    }

    pub(crate) fn app(&mut self, app: App) {
        let now = self.instant();
        match app {
            App::Send { topic, count } => {
                let (options, mut wanted) = self.options();
                let payload = |n: u64| Bytes::from(format!("m{n}"));
                let payloads: Vec<Bytes> = (0..count).map(|n| payload(self.payloads + n)).collect();
                self.payloads += count;
                wanted.topic = topic;
                wanted.payloads.clone_from(&payloads);
                if let Ok(id) = self.cluster.send_messages(now, TOPICS[topic], payloads, options) {
                    self.ledger.sends(id, wanted);
                    if self.random.chance(3) {
                        let wait = self.random.between(0, 2_000) * MS;
                        self.after(wait, Event::App(App::Cancel(id)));
                    }
                }
            }
            App::Read { topic } => {
                let (options, wanted) = self.options();
                let name = TOPICS[topic];
                let index = 1 + self.random.below(30) as Index;
                let command = match self.random.below(6) {
                    0 => self.cluster.topic_details(now, name, options),
                    1 => self.cluster.topic_max_available_index(now, name, options),
                    2 => self.cluster.cluster_details(now, options),
                    3 => self.cluster.get_messages(now, name, index, 1, true, options),
                    4 => self.cluster.get_messages(now, "nowhere", index, 10, false, options),
                    _ => self.cluster.get_messages(now, name, index, 10, false, options),
                };
                if let Ok(id) = command {
                    self.ledger.reads(id, wanted.deadline);
                }
            }
            App::Follow { topic, from } => {
                let id = self.cluster.follow(now, TOPICS[topic], from).expect("room for a follower");
                self.followers.insert(id);
                self.ledger.follows(id, topic, from);
            }
            App::Take(id) => {
                if let Some(taken) = self.cluster.take(now, id) {
                    self.ledger.taken(id, taken, &self.model.committed);
                }
            }
            App::Cancel(id) => _ = self.cluster.cancel(now, id),
            App::Close => self.cluster.close(now),
        }
        self.settle();
    }
}
