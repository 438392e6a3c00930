//! Sockets of every compatible pairing, with random operations of their programs and of the network, compared
//! with [the reference](super::reference).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_netsim::Direction;
use bowline_zmtp::options::{Options, Overflow, QueueLimit};
use bowline_zmtp::socket::{PipeId, SocketEvent};
use bowline_zmtp::socket_type::SocketType::{self, *};

use super::announced::{Heard, Seen, WELCOME};
use super::network::{End, Happened, MS, Network, Said};
use super::reference::{Account, Place, Reference, Shape};
use super::security::Security;

/// A simulated network does not close a silent connection by itself, as TCP does.
const STALL: Duration = Duration::from_secs(40);

/// The compatible types.
pub(crate) const PAIRINGS: [[SocketType; 2]; 15] = [
    [Req, Rep],
    [Req, Router],
    [Dealer, Rep],
    [Dealer, Router],
    [Dealer, Dealer],
    [Router, Router],
    [Pub, Sub],
    [XPub, XSub],
    [Push, Pull],
    [Pair, Pair],
    [Client, Server],
    [Radio, Dish],
    [Scatter, Gather],
    [Channel, Channel],
    [SocketType::Peer, SocketType::Peer],
];

/// The topics of subscriptions.
const WANTED: [&str; 5] = ["", "a", "ab", "b", "c"];

/// The source of decisions: returns a number below its argument.
pub(crate) struct Choices<'c>(pub(crate) Box<dyn FnMut(u64) -> u64 + 'c>);

impl Choices<'_> {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.0)(bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// A program with a socket, which it may close to open another.
pub(crate) struct Program {
    pub(crate) node: usize,
    /// The envelopes of unanswered requests, and the requests' numbers.
    pub(crate) asked_by: Vec<(Vec<Vec<u8>>, usize)>,
    /// The next request to answer, as a REP.
    pub(crate) asking: Option<usize>,
}

/// The options of a node that matter to the reference.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) kind: SocketType,
    pub(crate) limit: QueueLimit,
    pub(crate) receive_limit: QueueLimit,
    pub(crate) overflow: Overflow,
    pub(crate) conflates: bool,
    pub(crate) inverts: bool,
    /// A REQ that may send again, and one that recognizes the replies to its requests.
    pub(crate) relaxed: bool,
    pub(crate) correlates: bool,
    /// Which of its peers' subscriptions an XPUB receives.
    pub(crate) hears: Hears,
    /// Whether it sends a probe to each peer, or a welcome to each subscriber.
    pub(crate) probes: bool,
    pub(crate) welcomes: bool,
    /// Whether a new peer replaces one with the same routing id.
    pub(crate) hands_over: bool,
    /// The number in its routing id, if it has one.
    pub(crate) named: Option<usize>,
}

/// Which subscriptions an XPUB receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hears {
    /// Topics that no peer had before, or that no peer has any more.
    Changes,
    /// Every beginning, too.
    Beginnings,
    /// Every beginning and every end.
    Each,
    /// Every beginning and every end, and its program decides about them.
    Manual,
}

pub(crate) struct Model<'c> {
    pub(crate) network: Network,
    pub(crate) reference: Reference,
    pub(crate) choices: Choices<'c>,
    pub(crate) kinds: [SocketType; 2],
    pub(crate) programs: Vec<Program>,
    pub(crate) traits: Vec<Traits>,
    /// Set on both sides.
    pub(crate) inverts: bool,
    /// Whether writers may notice the end of a connection late.
    pub(crate) is_slow: bool,
    /// Whether a request could not be answered.
    pub(crate) left_unanswered: bool,
    /// Whether only necessary actions are done.
    pub(crate) is_ending: bool,
    pub(crate) security: Security,
    /// The side whose nodes are servers.
    server: usize,
    /// The routing ids that ROUTERs chose.
    pub(crate) chosen: BTreeMap<Place, &'static str>,
    /// The connections, and ends of them, that were probed.
    pub(crate) probed: BTreeSet<(usize, usize)>,
    /// The connections on which a welcome was due, and whether there was room for it.
    pub(crate) welcomed: BTreeMap<usize, bool>,
    /// What came over each connection, by its end.
    pub(crate) heard: BTreeMap<(usize, usize), Heard>,
    pub(crate) seen: Seen,
}

pub(crate) fn shape(kind: SocketType) -> Shape {
    match kind {
        Radio | Dish => Shape::Group,
        kind if kind.is_single_part() => Shape::Single,
        _ => Shape::Many,
    }
}

impl<'c> Model<'c> {
    pub(crate) fn new(kinds: [SocketType; 2], seed: u64, mut choices: Choices<'c>) -> Self {
        let count = 2 + choices.below(3);
        let inverts = kinds == [Pub, Sub] && choices.one_in(4);
        let is_slow = choices.one_in(3);
        let (security, server) = (Security::of(choices.below(5)), choices.below(2));
        let mut model = Self {
            network: Network::new(seed, count),
            reference: Reference::default(),
            choices,
            kinds,
            programs: Vec::new(),
            traits: Vec::new(),
            inverts,
            is_slow,
            left_unanswered: false,
            is_ending: false,
            security,
            server,
            chosen: BTreeMap::new(),
            probed: BTreeSet::new(),
            welcomed: BTreeMap::new(),
            heard: BTreeMap::new(),
            seen: Seen::default(),
        };
        for at in 0..count {
            let node = model.open(kinds[at % 2], at);
            model.programs.push(Program { node, asked_by: Vec::new(), asking: None });
            model.network.bound[at] = Some(node);
        }
        for from in 0..count {
            let to = model.choices.below(count);
            model.connect(from, to);
        }
        model
    }

    fn open(&mut self, kind: SocketType, at: usize) -> usize {
        let (choices, mut options) = (&mut self.choices, Options::new(kind));
        let limit = |choices: &mut Choices<'_>| QueueLimit { messages: 2 + choices.below(10), bytes: 4000 };
        let (send, receive) = (limit(choices), limit(choices));
        let overflows = [
            Overflow::AsType,
            Overflow::AsType,
            Overflow::Reject,
            Overflow::DropNewest,
            Overflow::DropOldest,
        ];
        let overflow = overflows[choices.below(overflows.len())];
        // The first part of what a DEALER and a REP exchange is an empty one.
        let has_topics =
            matches!(kind, Push | Pull | Pub | Sub | XPub | XSub) || (kind == Dealer && self.kinds[1] != Rep);
        let conflates = has_topics && choices.one_in(5);
        let probes = matches!(kind, Router | Dealer | Req) && choices.one_in(4);
        let welcomes = kind == XPub && choices.one_in(2);
        let hands_over = choices.one_in(2);
        let (relaxed, correlates) = (kind == Req && choices.one_in(2), choices.one_in(2));
        let hears = match (kind, choices.below(6)) {
            (XPub, 0) => Hears::Beginnings,
            (XPub, 1) => Hears::Each,
            (XPub, 2) => Hears::Manual,
            _ => Hears::Changes,
        };
        // Two may have the same id.
        let named = (kind.says_identity() && !choices.one_in(3)).then(|| at + choices.below(2));
        if let Some(name) = named {
            options = options.routing_id(format!("name{name}"));
        }
        if welcomes {
            options = options.xpub_welcome(WELCOME);
        }
        let standing = self.security.standing(at % 2 == self.server, choices.below(8));
        if choices.one_in(4) {
            options = options.left_behind(choices.below(300));
        }
        let options = options
            .send_limit(send)
            .receive_limit(receive)
            .overflow(overflow)
            .conflate(conflates)
            .immediate(!choices.one_in(4))
            .router_mandatory(!choices.one_in(3))
            .router_handover(hands_over)
            .probe_router(probes)
            .req_relaxed(relaxed)
            .req_correlate(correlates)
            .pub_nodrop(choices.one_in(4))
            .xpub_verbose(hears == Hears::Beginnings)
            .xpub_verboser(hears == Hears::Each)
            .xpub_manual(hears == Hears::Manual)
            .invert_matching(self.inverts)
            .write_stall(Some(STALL));
        let options = self.security.apply(options, standing).build().expect("sound options");
        let node = self.network.add(options, standing);
        self.reference.accounts.push(Account::default());
        let inverts = self.inverts;
        let receive_limit = receive;
        let limit = send;
        self.traits.push(Traits {
            kind,
            limit,
            receive_limit,
            overflow,
            conflates,
            inverts,
            relaxed,
            correlates,
            hears,
            probes,
            welcomes,
            hands_over,
            named,
        });
        if matches!(kind, Sub | XSub | Dish) {
            for _ in 0..2 {
                self.subscribe(node);
            }
        }
        node
    }

    fn connect(&mut self, from: usize, to: usize) {
        let node = self.programs[from].node;
        // Two that answer every message would never come to rest.
        let answers = self.kinds[0] == Req && from % 2 == to % 2;
        let fits = self.kinds[from % 2].goes_with(self.kinds[to % 2]) && !answers;
        // Two servers, or two clients, cannot agree.
        let agrees = self.security == Security::Null || from % 2 != to % 2;
        if from != to && fits && agrees && self.network.nodes[node].pipes.len() < 6 {
            let ids = ["one", "two"];
            let chosen = self.kinds[from % 2] == Router && self.choices.one_in(3);
            let chosen = chosen.then(|| ids[self.choices.below(2)]);
            let at = self.network.connect(node, to, chosen);
            self.chosen.extend(chosen.map(|id| ((node, at.id), id)));
        }
    }

    /// One action of a program or of the network.
    pub(crate) fn step(&mut self) {
        let at = self.choices.below(self.programs.len());
        let node = self.programs[at].node;
        match self.choices.below(24) {
            0..9 => {
                for _ in 0..=self.choices.below(5) {
                    self.send(at);
                }
            }
            9..13 => {
                let most = 1 + self.choices.below(5);
                self.receive(at, most);
            }
            13..16 => {
                let millis = 1 + self.choices.below(20);
                self.run(millis as u64);
            }
            16 => {
                let to = self.choices.below(self.programs.len());
                self.connect(at, to);
            }
            17 => {
                self.network.bound[at] = match self.choices.below(3) {
                    0 => None,
                    _ => Some(node),
                }
            }
            18 => {
                let pipes: Vec<_> = self.network.nodes[node].pipes.values().copied().collect();
                if let Some(end) = pipes.get(self.choices.below(8)) {
                    let linger = self.linger();
                    self.network.close_pipe(*end, linger);
                }
            }
            19 if self.choices.one_in(3) => self.replace(at),
            20 | 21 => match self.choices.one_in(3) {
                true => self.unsubscribe(node),
                false => self.subscribe(node),
            },
            _ => self.disturb(),
        }
        self.assert_bounds();
    }

    pub(crate) fn linger(&mut self) -> Duration {
        MS * [0, 5, 2000][self.choices.below(3)]
    }

    pub(crate) fn run(&mut self, millis: u64) {
        self.network.run(millis);
        self.note();
    }

    /// Informs the reference of the events.
    pub(crate) fn note(&mut self) {
        for happened in std::mem::take(&mut self.network.happened) {
            match happened {
                Happened::Down(End { node, id, .. }) => self.reference.went(node, id),
                Happened::Said(at @ End { node, id, .. }, said, effects) => {
                    let peers = &mut self.reference.accounts[node].peers;
                    match said {
                        Said::Ready(peer) => {
                            peers.insert(id, Default::default());
                            self.became_ready(at, &peer, effects);
                        }
                        Said::Authenticate(_) | Said::Messages { .. } => {}
                        Said::Subscribe(topic) | Said::Join(topic) => {
                            let is_given = self.traits[node].hears != Hears::Manual;
                            peers.entry(id).or_default().insert(topic.clone());
                            if is_given {
                                self.welcomed(node, &topic, effects);
                            }
                        }
                        Said::Cancel(topic) | Said::Leave(topic) => {
                            peers.entry(id).or_default().remove(&topic);
                        }
                    }
                }
            }
        }
        for (node, account) in self.reference.accounts.iter_mut().enumerate() {
            while let Some(event) = self.network.nodes[node].socket.take_event() {
                match event {
                    SocketEvent::Dropped { count, why, .. } => {
                        *account.dropped.entry(why).or_default() += count as u64;
                    }
                    SocketEvent::PeerRefused(..) => account.has_refused = true,
                    _ => {}
                }
            }
        }
    }

    fn disturb(&mut self) {
        let ends: Vec<_> = self.network.open().flat_map(|connection| connection.ends).collect();
        let Some(at) = ends.get(self.choices.below(ends.len().max(1))) else { return };
        let what = self.choices.below(if self.is_slow { 9 } else { 5 });
        let direction = [Direction::ToServer, Direction::ToClient][self.choices.below(2)];
        let bytes = self.choices.below(1500) as u64;
        self.network.disturb(at.end, |world| match what {
            0 => world.cut(at.end),
            1 | 2 => world.cut_at(at.end, direction, bytes),
            3 => world.fall_silent(at.end),
            4 => world.disconnect(at.end, Disconnect::Reopened),
            _ => world.set_slow_writer(at.end, !bytes.is_multiple_of(4)),
        });
    }

    fn subscribe(&mut self, node: usize) {
        let topic = self.wanted(node);
        if !matches!(self.traits[node].kind, Sub | XSub | Dish) {
            return;
        }
        let wants = &mut self.reference.accounts[node].wants;
        // An XPUB that receives each beginning receives a repeated subscription again, and its end once: that
        // cannot be counted.
        if self.kinds[0] == XPub && wants.contains_key(topic.as_bytes()) {
            return;
        }
        *wants.entry(topic.into()).or_default() += 1;
        self.network.at(node, |socket, pipes| socket.subscribe(pipes, topic.as_bytes()));
    }

    fn unsubscribe(&mut self, node: usize) {
        let topic = self.wanted(node);
        let wants = &mut self.reference.accounts[node].wants;
        let is_last = wants.get(topic.as_bytes()) == Some(&1);
        if is_last {
            wants.remove(topic.as_bytes());
        } else if let Some(times) = wants.get_mut(topic.as_bytes()) {
            *times -= 1;
        }
        let ended = self.network.at(node, |socket, pipes| socket.unsubscribe(pipes, topic.as_bytes()));
        assert_eq!(ended, is_last);
    }

    fn wanted(&mut self, node: usize) -> &'static str {
        // Groups are compared completely.
        let first = usize::from(self.traits[node].kind == Dish);
        WANTED[first + self.choices.below(WANTED.len() - first)]
    }

    /// A program closes its socket, and opens another.
    fn replace(&mut self, at: usize) {
        let linger = self.linger();
        let program = &mut self.programs[at];
        let old = program.node;
        (program.asked_by, program.asking) = (Vec::new(), None);
        self.network.close(old, linger);
        self.programs[at].node = self.open(self.kinds[at % 2], at);
        self.network.bound[at] = Some(self.programs[at].node);
        let to = self.choices.below(self.programs.len());
        self.connect(at, to);
    }

    /// Checks that memory is within the limits.
    fn assert_bounds(&self) {
        for program in &self.programs {
            let (node, traits) = (program.node, self.traits[program.node]);
            for (id, pipe) in self.network.pipes(node) {
                let (waiting, limit) = (pipe.waiting(), traits.limit.messages);
                // A batch that was being written may come back behind a full queue.
                assert!(waiting <= 2 * limit, "{waiting} messages wait, limit {limit}");
                assert!(waiting <= limit || !self.network.world.ended(self.end(node, id)).is_empty());
                let (held, limit) = (pipe.inbox().messages(), traits.receive_limit.messages);
                assert!(held <= limit.div_ceil(2) || traits.kind == XPub, "{held} were read, limit {limit}");
                // The formula of the guarantees, with the sizes of a message and the limits of this test.
                assert!(pipe.memory() < 6 * 64 * 1024 + 4 * 4000 + 3 * 18_000, "{}", pipe.memory());
            }
        }
    }

    fn end(&self, node: usize, id: PipeId) -> usize {
        self.network.nodes[node].pipes[&id]
    }
}
