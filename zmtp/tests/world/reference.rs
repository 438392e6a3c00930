//! The guarantees of sockets as plain lists: which message was put into which queue and came out where.
//!
//! The reference knows nothing about the implementation of routing, queues or subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use bowline_zmtp::socket::{Drop, PipeId};

/// The first parts of messages with several parts.
const TOPICS: [&str; 4] = ["a", "ab", "b", "c"];

/// The form of a type's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// A topic and up to three parts.
    Many,
    /// A group and one part.
    Group,
    Single,
}

/// The first part of message `number`.
pub(crate) fn topic(number: usize) -> &'static str {
    TOPICS[number % TOPICS.len()]
}

/// The parts of message `number`, which determines their number and lengths.
pub(crate) fn body(number: usize, shape: Shape) -> Vec<String> {
    let count = if shape == Shape::Many { 1 + number % 3 } else { 1 };
    // Some have a separate allocation.
    let long = if number % 97 == 13 { 17_000 } else { number * 7 % 50 };
    let texts = (0..count).map(|at| format!("#!{number}/{at}/{}", "x".repeat(long)));
    let first = (shape != Shape::Single).then(|| topic(number).to_owned());
    first.into_iter().chain(texts).collect()
}

/// The number of a message, and of the parts before its body. Checks that all of its parts are there, and
/// nothing else.
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

/// A message that a socket accepted.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: usize,
    /// The only permitted recipient.
    pub(crate) to: Option<usize>,
    /// The request that it answers.
    pub(crate) answers: Option<usize>,
    /// Whether it is for all matching recipients.
    is_spread: bool,
    /// The queue that it was put into, if known.
    place: Option<Place>,
    /// How often it may have been moved to another queue.
    moves: u32,
    pub(crate) came: u32,
    /// Whether it was returned to its sender.
    is_back: bool,
}

/// The actions of one socket.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Messages that it accepted, counted once for each queue that they are for.
    pub(crate) taken: u64,
    pub(crate) received: u64,
    pub(crate) back: u64,
    pub(crate) dropped: BTreeMap<Drop, u64>,
    /// Whether it refused a peer.
    pub(crate) has_refused: bool,
    /// The subscriptions of the application, and how often each was made.
    pub(crate) wants: BTreeMap<Vec<u8>, usize>,
    /// The subscriptions that the peers of a publisher sent.
    pub(crate) peers: BTreeMap<PipeId, BTreeSet<Vec<u8>>>,
    /// The routing ids of a ROUTER's peers.
    pub(crate) ids: BTreeMap<Vec<u8>, PipeId>,
    /// The subscriptions that the application of an XPUB received: beginnings less ends.
    pub(crate) told: BTreeMap<Vec<u8>, i64>,
    /// The subscriptions of peers that the program of a manual XPUB made.
    pub(crate) given: BTreeMap<PipeId, BTreeSet<Vec<u8>>>,
    /// The request of a REQ without a reply, and when its connections ended since.
    pub(crate) asked: Option<usize>,
    pub(crate) went: bool,
    /// Messages to each peer since all had room and their set changed.
    round: BTreeMap<PipeId, u64>,
    peers_of_round: Vec<PipeId>,
}

impl Account {
    pub(crate) fn dropped(&self, why: &[Drop]) -> u64 {
        why.iter().filter_map(|why| self.dropped.get(why)).sum()
    }

    /// Whether a message that begins with `first` matches one of `topics`.
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

    /// The set of peers changed, or one had no room.
    pub(crate) fn new_round(&mut self) {
        self.round.clear();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) sent: Vec<Sent>,
    pub(crate) accounts: Vec<Account>,
    /// The content of each queue.
    queued: BTreeMap<Place, Vec<usize>>,
    /// The last message that came over a pipe from each queue: its index there.
    last: BTreeMap<(Place, Place), usize>,
    /// The last of the messages that are for all.
    last_spread: BTreeMap<(Place, usize), usize>,
}

impl Reference {
    /// The number of the next message.
    pub(crate) fn next(&self) -> usize {
        self.sent.len()
    }

    /// A node accepted the next message, and put it into these queues, if known.
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

    /// A pipe has no connection: messages of its queue may be in others now.
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
        account.ids.retain(|_, pipe| *pipe != id);
        account.went = true;
        account.new_round();
    }

    /// A message came over a pipe of `to` whose other end is `origin`. `keeps` tells whether the queue there
    /// keeps its messages, and whether it does so until a newer one has the same first part.
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
            // A message that was moved there may be newer in that queue.
            let is_newer = |other: &(usize, &Sent)| {
                let is_behind = other.1.moves > 0 || all[at + 1..].contains(&other.0);
                is_behind && other.1.from == sent.from && topic(other.0) == topic(*between)
            };
            let newer = conflates && self.sent.iter().enumerate().any(|other| is_newer(&other));
            // A message that is for all came here or not at all.
            let is_lost = sent.is_spread || (sent.came == 0 && sent.moves == 0);
            assert!(
                newer || !is_lost,
                "{between} was lost on the way, in front of {number}: {sent:?} {to:?} {queue:?} {all:?} {last}"
            );
        }
    }

    /// Checks that the newest message of each topic left a queue that is empty and whose connection never ended:
    /// no other message replaces it.
    pub(crate) fn assert_newest(&self, queue: Place) {
        let all = self.queued.get(&queue).map(Vec::as_slice).unwrap_or_default();
        let newest: BTreeMap<&str, usize> = all.iter().map(|number| (topic(*number), *number)).collect();
        for number in newest.values() {
            let sent = &self.sent[*number];
            // An older message that was moved to this queue is behind it there.
            let is_moved = self.sent.iter().enumerate().any(|(other, moved)| {
                moved.moves > 0 && moved.from == queue.0 && topic(other) == topic(*number)
            });
            assert!(
                is_moved || sent.came > 0 || sent.is_back,
                "{number}, the newest of its topic, was lost: {sent:?} {all:?}"
            );
        }
    }

    /// A message was returned to its sender.
    pub(crate) fn came_back(&mut self, node: usize, number: usize) {
        let sent = &mut self.sent[number];
        assert_eq!((sent.from, sent.came), (node, 0), "{number} had come");
        assert!(!std::mem::replace(&mut sent.is_back, true), "{number} came back twice");
        self.accounts[node].back += 1;
    }
}

/// Checks the senders of messages that were received while nothing else happened, in order: no peer with
/// waiting messages is skipped.
pub(crate) fn assert_fair(from: &[PipeId]) {
    for (at, id) in from.iter().enumerate() {
        let Some(again) = from[at + 1..].iter().position(|next| next == id) else { continue };
        let (between, after) = from[at + 1..].split_at(again);
        let passed = after.iter().find(|other| *other != id && !between.contains(other));
        assert!(passed.is_none(), "{passed:?} was passed over: {from:?}");
    }
}
