//! The guarantees of sockets as plain lists: which message was put into which queue and came out where.
//!
//! The reference knows nothing about the implementation of routing, queues or subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use bowline_zmtp::socket::{Drop, PipeId};

/// What messages begin with, where they have several parts.
const TOPICS: [&str; 4] = ["a", "ab", "b", "c"];

/// How the messages of a type look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// A topic and up to three parts.
    Many,
    /// A group and one part.
    Group,
    Single,
}

/// What message `number` begins with.
pub(crate) fn topic(number: usize) -> &'static str {
    TOPICS[number % TOPICS.len()]
}

/// The parts of message `number`, as many and as long as that says.
pub(crate) fn body(number: usize, shape: Shape) -> Vec<String> {
    let count = if shape == Shape::Many { 1 + number % 3 } else { 1 };
    // Some have memory of their own.
    let long = if number % 97 == 13 { 17_000 } else { number * 7 % 50 };
    let texts = (0..count).map(|at| format!("#!{number}/{at}/{}", "x".repeat(long)));
    let first = (shape != Shape::Single).then(|| topic(number).to_owned());
    first.into_iter().chain(texts).collect()
}

/// Which message that is, and how many parts stand before it. All of its parts are there, and nothing else.
pub(crate) fn read(parts: &[&[u8]], shape: Shape) -> (usize, usize) {
    let text = parts.iter().position(|part| part.starts_with(b"#!")).expect("a message of ours");
    let front = text - usize::from(shape != Shape::Single);
    let number = std::str::from_utf8(parts[text]).expect("text")[2..].split('/').next().expect("a number");
    let number = number.parse().expect("a number");
    assert!(
        parts[front..].iter().copied().eq(body(number, shape).iter().map(String::as_bytes)),
        "it is whole"
    );
    (front, number)
}

/// A pipe of a node.
pub(crate) type Place = (usize, PipeId);

/// A message that a socket took.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: usize,
    /// Who alone may get it.
    pub(crate) to: Option<usize>,
    /// The request that it answers.
    pub(crate) answers: Option<usize>,
    /// For everybody who wants it.
    is_spread: bool,
    /// The queue that it was put into, where that is known.
    place: Option<Place>,
    /// How often it may have been put into another.
    moves: u32,
    pub(crate) came: u32,
    /// Its sender has it again.
    is_back: bool,
}

/// What one socket did.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Messages that it took, once for each queue that they are for.
    pub(crate) taken: u64,
    pub(crate) received: u64,
    pub(crate) back: u64,
    pub(crate) dropped: BTreeMap<Drop, u64>,
    /// A peer of it was refused.
    pub(crate) has_refused: bool,
    /// Of the application: what it is subscribed to, how often.
    pub(crate) wants: BTreeMap<Vec<u8>, usize>,
    /// What the peers of a publisher said that they want.
    pub(crate) peers: BTreeMap<PipeId, BTreeSet<Vec<u8>>>,
    /// What the application of an XPUB was told: beginnings less ends.
    pub(crate) told: BTreeMap<Vec<u8>, i64>,
    /// What the program of a manual XPUB subscribed its peers to.
    pub(crate) given: BTreeMap<PipeId, BTreeSet<Vec<u8>>>,
    /// The request that a REQ has no reply to, and when its connections went down since.
    pub(crate) asked: Option<usize>,
    pub(crate) went: bool,
    /// Messages of each peer's since all had room and were the same.
    round: BTreeMap<PipeId, u64>,
    peers_of_round: Vec<PipeId>,
}

impl Account {
    pub(crate) fn dropped(&self, why: &[Drop]) -> u64 {
        why.iter().filter_map(|why| self.dropped.get(why)).sum()
    }

    /// Whether one that wants `topics` wants what begins with `first`.
    pub(crate) fn wants<'t>(
        mut topics: impl Iterator<Item = &'t Vec<u8>>,
        first: &[u8],
        exact: bool,
        invert: bool,
    ) -> bool {
        topics.any(|topic| if exact { topic == first } else { first.starts_with(topic) }) != invert
    }

    /// The next message went to that peer. All of `peers` have room, as they had before.
    pub(crate) fn took_turn(&mut self, peer: PipeId, peers: &[PipeId]) {
        if self.peers_of_round != peers {
            self.round.clear();
            self.peers_of_round = peers.to_vec();
        }
        *self.round.entry(peer).or_default() += 1;
        let counts = || peers.iter().map(|peer| self.round.get(peer).copied().unwrap_or(0));
        assert!(counts().max() <= counts().min().map(|least| least + 1), "unfair: {:?}", self.round);
    }

    /// Peers changed, or one had no room.
    pub(crate) fn new_round(&mut self) {
        self.round.clear();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) sent: Vec<Sent>,
    pub(crate) accounts: Vec<Account>,
    /// What was put into each queue.
    queued: BTreeMap<Place, Vec<usize>>,
    /// What came last over a pipe, from each queue: its place there.
    last: BTreeMap<(Place, Place), usize>,
    /// The last of those that are for everybody.
    last_spread: BTreeMap<(Place, usize), usize>,
}

impl Reference {
    /// The number of the next message.
    pub(crate) fn next(&self) -> usize {
        self.sent.len()
    }

    /// A node took the next message, and put it into these queues, if that is known.
    pub(crate) fn took(
        &mut self,
        from: usize,
        (to, answers): (Option<usize>, Option<usize>),
        queues: &[PipeId],
        is_spread: bool,
    ) {
        let number = self.next();
        let place = queues.first().filter(|_| !is_spread).map(|id| (from, *id));
        self.sent.push(Sent { from, to, answers, is_spread, place, moves: 0, came: 0, is_back: false });
        queues.iter().for_each(|id| self.queued.entry((from, *id)).or_default().push(number));
    }

    /// A pipe has no connection: what was in its queue may be in others now.
    pub(crate) fn went(&mut self, node: usize, id: PipeId) {
        for sent in self.sent.iter_mut().filter(|sent| sent.from == node && sent.came == 0 && !sent.is_spread)
        {
            if sent.moves > 0 || sent.place.is_none_or(|place| place == (node, id)) {
                sent.moves += 1;
            }
        }
        let account = &mut self.accounts[node];
        account.peers.remove(&id);
        account.given.remove(&id);
        account.went = true;
        account.new_round();
    }

    /// A message came over a pipe of `to`, at whose other end is `origin`. `keeps` says whether the queue there keeps
    /// what it is given, and whether it does so until a newer one begins alike.
    pub(crate) fn came(
        &mut self,
        to: Place,
        origin: Option<Place>,
        number: usize,
        keeps: Option<bool>,
        has_order: bool,
    ) {
        let sent = &mut self.sent[number];
        sent.came += 1;
        assert!(!sent.is_back, "{number} was handed back");
        assert!(sent.to.is_none_or(|only| only == to.0), "{number} is for another: {sent:?}, not {to:?}");
        self.accounts[to.0].received += 1;
        if sent.is_spread {
            let last = self.last_spread.insert((to, sent.from), number);
            assert!(last < Some(number), "{number} came behind {last:?}");
        } else {
            assert_eq!(sent.came, 1, "{number} came twice");
        }
        let (moves, queue) =
            (sent.moves, sent.place.or_else(|| origin.filter(|origin| origin.0 == sent.from)));
        let Some(queue) = queue.filter(|_| moves == 0 || (moves == 1 && has_order)) else { return };
        let all = self.queued.get(&queue).map(Vec::as_slice).unwrap_or_default();
        let Ok(at) = all.binary_search(&number) else { return };
        let last = self.last.insert((to, queue), at);
        assert!(last < Some(at), "{number} came behind {:?}", last.map(|last| all[last]));
        let (Some(last), Some(conflates), true) = (last, keeps, moves == 0 && Some(queue) == origin) else {
            return;
        };
        for (at, between) in all.iter().enumerate().take(at).skip(last + 1) {
            let sent = &self.sent[*between];
            // One that was moved there may be newer in that queue.
            let is_newer = |other: &(usize, &Sent)| {
                let is_behind = other.1.moves > 0 || all[at + 1..].contains(&other.0);
                is_behind && other.1.from == sent.from && topic(other.0) == topic(*between)
            };
            let newer = conflates && self.sent.iter().enumerate().any(|other| is_newer(&other));
            // One that is for everybody came here or not at all.
            let is_lost = sent.is_spread || (sent.came == 0 && sent.moves == 0);
            assert!(
                newer || !is_lost,
                "{between} was lost on the way, in front of {number}: {sent:?} {to:?} {queue:?} {all:?} {last}"
            );
        }
    }

    /// A message was handed back to its sender.
    pub(crate) fn came_back(&mut self, node: usize, number: usize) {
        let sent = &mut self.sent[number];
        assert_eq!((sent.from, sent.came), (node, 0), "{number} had come");
        assert!(!std::mem::replace(&mut sent.is_back, true), "{number} came back twice");
        self.accounts[node].back += 1;
    }
}

/// What was received in one go, while nothing else happened: from whom, in order. Nobody whose messages wait is passed
/// over.
pub(crate) fn assert_fair(from: &[PipeId]) {
    for (at, id) in from.iter().enumerate() {
        let Some(again) = from[at + 1..].iter().position(|next| next == id) else { continue };
        let (between, after) = from[at + 1..].split_at(again);
        let passed = after.iter().find(|other| *other != id && !between.contains(other));
        assert!(passed.is_none(), "{passed:?} was passed over: {from:?}");
    }
}
