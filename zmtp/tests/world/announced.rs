//! Messages that sockets send by themselves, probes and welcomes, and the routing ids of peers.

use bowline_zmtp::options::Overflow;
use bowline_zmtp::pipe::Peer;
use bowline_zmtp::socket::PipeId;
use bowline_zmtp::socket_type::SocketType::{self, *};

use super::network::{Effects, End};
use super::operations::Model;

/// The welcome message of an XPUB.
pub(crate) const WELCOME: &str = "ab!welcome";

/// Part of one connection's history at one of its ends.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Messages that the program received.
    messages: u64,
    welcomes: u64,
}

/// How often rare things happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) probes: usize,
    pub(crate) welcomes: usize,
    pub(crate) chosen: usize,
    pub(crate) conflated: usize,
    /// Peers that a mechanism let in, and refused.
    pub(crate) let_in: [usize; 2],
    pub(crate) refused: [usize; 2],
}

impl Model<'_> {
    /// The handshake of a pipe's connection is done.
    pub(crate) fn became_ready(&mut self, End { node, id, .. }: End, peer: &Peer, effects: Effects) {
        let (number, at) = effects.connection.expect("a connection");
        let ends = self.network.connections[number].ends;
        let other = ends[1 - at].node;
        assert!(self.network.is_let_in([node, other]), "{node} and {other} refuse each other");
        if let Some(index) = self.security.index() {
            self.seen.let_in[index] += 1;
        }
        assert_eq!(effects.queued, 0, "a probe belongs to a connection, and to no queue");
        let traits = self.traits[node];
        if traits.probes {
            self.probed.insert((number, at));
        }
        let theirs = self.traits[other].named.map(|name| format!("name{name}").into_bytes());
        assert_eq!(peer.routing_id, theirs.clone().unwrap_or_default());
        if !matches!(traits.kind, Router | Server | SocketType::Peer) {
            return;
        }
        let chosen = self.chosen.get(&(node, id)).map(|id| id.as_bytes().to_vec());
        self.seen.chosen += usize::from(chosen.is_some());
        let ids = &mut self.reference.accounts[node].ids;
        let expected = chosen.or(theirs).filter(|_| traits.kind == Router);
        let Some(given) = effects.routing_id else {
            let expected = expected.expect("a generated id is free");
            assert!(!traits.hands_over && ids.contains_key(&expected), "{expected:?} is free");
            return;
        };
        match expected {
            Some(expected) => assert_eq!(given, expected),
            None => assert_eq!(given.len(), if traits.kind == Router { 5 } else { 4 }),
        }
        let before = ids.insert(given, id);
        assert!(before.is_none() || traits.hands_over, "{before:?} has that id");
    }

    /// A publisher handled a peer's subscription.
    pub(crate) fn welcomed(&mut self, node: usize, topic: &[u8], effects: Effects) {
        let Effects { queued, overflowed, had_room, .. } = effects;
        let (number, _) = effects.connection.expect("a connection");
        let is_due = self.traits[node].welcomes
            && WELCOME.as_bytes().starts_with(topic)
            && !self.welcomed.contains_key(&number);
        match (is_due, had_room) {
            (true, true) => assert_eq!((queued, overflowed), (1, 0), "a welcome is due"),
            (true, false) => assert!(queued == 0 && overflowed <= 1, "there is no room"),
            _ => assert_eq!((queued, overflowed), (0, 0), "no welcome is due"),
        }
        if is_due {
            self.welcomed.insert(number, had_room);
            self.reference.accounts[node].taken += queued as u64 + overflowed;
        }
    }

    /// A node received a message. Returns true if the peer's socket sent it by itself.
    pub(crate) fn announced(&mut self, node: usize, id: PipeId, parts: &[&[u8]]) -> bool {
        let kind = self.traits[node].kind;
        let body = if kind == Router { &parts[1..] } else { parts };
        let is_probe = matches!(body, [[]]) && matches!(kind, Router | Dealer);
        let is_welcome = kind == XSub && body == [WELCOME.as_bytes()];
        if is_probe || is_welcome {
            self.reference.accounts[node].received += 1;
            self.seen.probes += usize::from(is_probe);
            self.seen.welcomes += usize::from(is_welcome);
        }
        // A message of an earlier connection has the number of no pipe.
        let Some((number, at)) = self.network.last_of(node, id) else {
            assert!(!is_probe || self.traits.iter().any(|traits| traits.probes), "nobody probes");
            return is_probe || is_welcome;
        };
        let sender = self.traits[self.network.connections[number].ends[1 - at].node];
        let is_filtered = self.stats(node).filtered > 0;
        let heard = self.heard.entry((number, at)).or_default();
        let is_first = heard.messages == 0;
        heard.messages += 1;
        heard.welcomes += u64::from(is_welcome);
        let probes = matches!(kind, Router | Dealer) && sender.probes;
        assert_eq!(is_probe, probes && is_first, "the first message, and no other, is a probe");
        if is_welcome {
            assert_eq!((heard.welcomes, self.welcomed.get(&number)), (1, Some(&true)), "once");
        } else if kind == XSub && sender.welcomes {
            // Every subscription that such a message matches matches the welcome, too.
            let is_kept = sender.overflow != Overflow::DropOldest && !is_filtered;
            let matches = WELCOME.as_bytes().starts_with(body[0]);
            let is_lost = self.welcomed.get(&number) == Some(&false);
            assert!(heard.welcomes == 1 || !matches || !is_kept || is_lost, "the welcome comes first");
        }
        is_probe || is_welcome
    }
}
