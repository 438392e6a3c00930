//! The end of a run: everything comes to rest, is closed, and is accounted for.

use bowline_core::error::Disconnect;
use bowline_zmtp::options::Overflow;
use bowline_zmtp::pipe::Pipe;
use bowline_zmtp::socket::Drop;
use bowline_zmtp::socket_type::SocketType::*;

use super::announced::Seen;
use super::operations::{Hears, Model, shape};
use super::reference::read;
use super::security::Security;

/// The result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: usize,
    pub(crate) came: usize,
    pub(crate) ended: usize,
    pub(crate) seen: Seen,
}

impl Model<'_> {
    /// Every program receives the available messages and answers requests. Returns whether there was
    /// something to do.
    fn serve(&mut self) -> bool {
        let mut is_busy = false;
        for at in 0..self.programs.len() {
            for _ in 0..10_000 {
                let answers = self.programs[at].asking.is_some()
                    || (self.kinds[1 - at % 2] == Req && !self.programs[at].asked_by.is_empty());
                if answers {
                    self.send(at);
                }
                let (node, probes) = (self.programs[at].node, self.seen.probes);
                let came = self.receive_from(node, Some(at), 100);
                if came == 0 && !answers {
                    break;
                }
                // A refused peer dials again and again, and probes each time.
                is_busy |= answers || came > self.seen.probes - probes;
            }
        }
        is_busy
    }

    /// Nothing more is sent: everything comes to rest, is closed, and is accounted for.
    pub(crate) fn finish(mut self) -> Outcome {
        self.is_ending = true;
        for at in 0..self.programs.len() {
            self.network.bound[at] = Some(self.programs[at].node);
        }
        for end in self.network.nodes.iter().flat_map(|node| node.every.clone()) {
            self.network.world.set_slow_writer(end, false);
        }
        // Silent connections are closed in the meantime, and replaced by new ones.
        let mut is_busy = true;
        for second in 0..110 {
            match second {
                0..10 => self.run(20),
                _ => {
                    self.network.run_seconds(1);
                    self.note();
                }
            }
            is_busy = self.serve();
        }
        // The last answers are in transit.
        while is_busy {
            self.network.run_seconds(1);
            self.note();
            is_busy = self.serve();
        }
        self.assert_at_rest();
        for at in 0..self.programs.len() {
            let linger = self.linger();
            self.network.close(self.programs[at].node, linger);
        }
        for step in 0..30 {
            match step {
                0..20 => self.run(10),
                _ => {
                    self.network.run_seconds(1);
                    self.note();
                }
            }
            (0..self.network.nodes.len()).for_each(|node| _ = self.receive_from(node, None, 10_000));
        }
        for node in 0..self.network.nodes.len() {
            assert!(self.network.nodes[node].pipes.is_empty(), "it is closed");
            let back: Vec<_> = self.network.nodes[node].socket.take_returned().collect();
            for message in back {
                let parts: Vec<&[u8]> = message.iter().map(|part| part.as_slice()).collect();
                let (_, number) = read(&parts, shape(self.traits[node].kind));
                self.reference.came_back(node, number);
            }
            self.assert_account(node, true);
        }
        self.network.assert_no_fault();
        self.assert_connections();
        if let Some(index) = self.security.index() {
            self.seen.refused[index] += self.network.refused();
        }
        let pipes = (0..self.network.nodes.len()).flat_map(|node| self.network.every(node));
        self.seen.conflated = pipes.map(|pipe| pipe.stats().conflated as usize).sum();
        Outcome {
            seen: self.seen,
            sent: self.reference.sent.len(),
            came: self.reference.accounts.iter().map(|account| account.received as usize).sum(),
            ended: self.network.connections.iter().filter(|connection| connection.is_disturbed).count(),
        }
    }

    /// Checks that nothing is in transit on open connections, and that each waiting REQ has its reply or an
    /// error.
    fn assert_at_rest(&self) {
        for program in &self.programs {
            let node = program.node;
            self.assert_account(node, false);
            let account = &self.reference.accounts[node];
            let socket = &self.network.nodes[node].socket;
            let (targets, mut comes_and_goes) = (socket.targets(), false);
            // Messages may wait for a peer that is never let in.
            let mut is_kept_out = false;
            for id in targets {
                let Some(pipe) = self.network.pipe(node, *id).filter(|pipe| pipe.peer().is_some()) else {
                    is_kept_out |= self.security != Security::Null;
                    continue;
                };
                let peer = self.network.peer_of(node, *id).map(|peer| &self.reference.accounts[peer]);
                // A refused peer connects and disconnects.
                let is_refused = peer.is_some_and(|peer| peer.has_refused);
                // A REQ without a request leaves messages that are no replies in the queue.
                let is_req =
                    self.network.peer_of(node, *id).is_some_and(|peer| self.traits[peer].kind == Req);
                comes_and_goes |= is_refused;
                assert!(
                    pipe.is_drained() || is_refused || is_req,
                    "{} messages wait for nothing",
                    pipe.waiting()
                );
                let keeps = self.traits[node].overflow != Overflow::DropOldest && self.kinds[1] != Rep;
                if matches!(socket.kind(), Push | Dealer) && keeps && pipe.is_drained() && !is_refused {
                    self.reference.assert_newest((node, *id));
                }
                if let (Pub | XPub | Radio, Some(peer)) = (socket.kind(), peer) {
                    let known = &account.peers[id];
                    let wants = &peer.wants;
                    assert!(known.iter().eq(wants.keys()), "{known:?} is not {wants:?}");
                }
            }
            assert!(
                targets.is_empty() || comes_and_goes || is_kept_out || socket.returned() == 0,
                "what came back goes to another"
            );
            let is_waiting = targets.is_empty() || is_kept_out || self.left_unanswered;
            if socket.kind() == Req && !is_waiting {
                assert_eq!(account.asked, None, "a request without an end");
            }
            let hears = self.traits[node].hears;
            if socket.kind() == XPub && hears != Hears::Beginnings {
                for (topic, told) in &account.told {
                    let wants = account.peers.values().filter(|topics| topics.contains(topic)).count();
                    let wanted = if hears == Hears::Changes { wants.min(1) } else { wants };
                    assert_eq!(*told, wanted as i64, "what the application was told of {topic:?}");
                }
                let given = account.given.iter().filter(|(_, topics)| !topics.is_empty());
                let has_all = given.eq(account.peers.iter().filter(|(_, topics)| !topics.is_empty()));
                assert!(has_all || hears != Hears::Manual, "{:?} {:?}", account.given, account.peers);
            }
        }
    }

    /// Checks that each message that a socket accepted or received is accounted for.
    fn assert_account(&self, node: usize, is_over: bool) {
        let (account, stats, kind) =
            (&self.reference.accounts[node], self.stats(node), self.traits[node].kind);
        let sum = |f: fn(&Pipe<u32>) -> u64| self.network.every(node).map(f).sum::<u64>();
        let told: u64 = account.dropped.values().sum();
        assert_eq!((stats.dropped, stats.events_lost), (told, 0), "each drop is told");
        let (sends, receives) = (kind.sends(), kind.receives());
        let conflated = sum(|pipe| pipe.stats().conflated);
        let (sent, waiting) = (sum(|pipe| pipe.stats().sent), sum(|pipe| pipe.waiting() as u64));
        let out = account.dropped(&[Drop::PeerGone, Drop::Unanswerable, Drop::GivenUp]);
        let returned = self.network.nodes[node].socket.returned() as u64 + account.back;
        let gone = stats.overflowed
            + out
            + returned
            + if kind.publishes() || kind == Radio { 0 } else { stats.discarded };
        // Both directions of a pipe count the replaced messages together.
        let (is_both, mut replaced) = (sends && receives, [0; 2]);
        let assert_missing = |missing: u64, is_exact: bool| {
            let is_right = missing == conflated || (is_both && missing < conflated);
            assert!(is_right || (!is_exact && missing > 0), "{kind}: {missing}, {account:?} {stats:?}");
            missing
        };
        let is_known = is_over || !self.is_slow;
        if sends && is_known {
            let left = sent + waiting + gone;
            assert!(account.taken >= left, "{kind}: {left} left, {account:?} {stats:?}");
            replaced[0] = assert_missing(account.taken - left, true);
        }
        // Messages of refused peers are ignored; a REQ may have replies that it does not use until it sends
        // again; notices have places in an XPUB's inboxes.
        let is_exact = !account.has_refused && kind != Req;
        if receives && kind != XPub {
            let came = sum(|pipe| pipe.stats().received);
            let known = account.received + account.dropped(&[Drop::LeftBehind, Drop::Stray]) + stats.filtered;
            assert!(came >= known, "{kind}: {came} came, {account:?} {stats:?}");
            replaced[1] = assert_missing(came - known, is_exact);
            let both = replaced[0] + replaced[1];
            assert!(
                !is_both || !is_known || !is_exact || both == conflated,
                "{kind}: {replaced:?} {conflated}"
            );
        }
    }

    /// Checks that everything that was sent over undisturbed connections arrived.
    fn assert_connections(&self) {
        for (number, connection) in self.network.connections.iter().enumerate() {
            let [Some(one), Some(other)] = &connection.ended else { continue };
            if connection.is_disturbed || self.is_slow {
                continue;
            }
            for (from, to, causes) in [(0, 1, (&one.1, &other.1)), (1, 0, (&other.1, &one.1))] {
                if causes != (&Disconnect::LocalClose, &Disconnect::PeerClosed) {
                    continue;
                }
                let sent = self.network.world.machine(connection.ends[from].end).stats().sent;
                let sent = sent - connection.begun[from].0;
                let came = [one.0, other.0][to] - connection.begun[to].1;
                let sent = sent + u64::from(self.probed.contains(&(number, from)));
                assert_eq!(sent, came, "nothing is lost at a close: {:?}", connection.ends);
            }
        }
    }
}
