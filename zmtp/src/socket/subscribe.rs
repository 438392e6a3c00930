//! The side that subscribes: SUB and XSUB (RFC 29), DISH (RFC 48).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::options::Options;
use crate::socket_type::SocketType;
use crate::trie::Trie;
use crate::wire::{Version, put_command, put_header};

/// The subscriptions of this socket, which are sent to every new peer.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// How often each topic was subscribed to.
    topics: BTreeMap<Vec<u8>, usize>,
    trie: Trie<()>,
}

impl Subscriptions {
    pub(crate) fn add(&mut self, topic: &[u8]) {
        *self.topics.entry(topic.to_vec()).or_default() += 1;
        self.trie.insert(topic, ());
    }

    /// Returns true if the topic is no longer subscribed to.
    pub(crate) fn remove(&mut self, topic: &[u8]) -> bool {
        let Some(times) = self.topics.get_mut(topic) else { return false };
        *times -= 1;
        let is_last = *times == 0;
        if is_last {
            self.topics.remove(topic);
            self.trie.remove(topic, ());
        }
        is_last
    }

    /// Whether a message matches a subscription. Peers of 1.0 send every message, and other peers may have
    /// sent it before they learned of the end of a subscription.
    pub(crate) fn wants(&self, options: &Options, first: &[u8]) -> bool {
        match options.kind {
            SocketType::Sub => self.trie.has_match(first) != options.invert_matching,
            SocketType::Dish => self.topics.contains_key(first),
            _ => true,
        }
    }

    /// Appends all subscriptions, for a new peer.
    pub(crate) fn put_all(&self, kind: SocketType, version: Version, out: &mut Vec<u8>) {
        for topic in self.topics.keys() {
            put(kind, version, true, topic, out);
        }
    }
}

/// Appends a subscription, or the end of one, in the encoding of that version.
pub(crate) fn put(kind: SocketType, version: Version, begins: bool, topic: &[u8], out: &mut Vec<u8>) {
    let name = match (kind, begins) {
        (SocketType::Dish, true) => "JOIN",
        (SocketType::Dish, false) => "LEAVE",
        (_, true) => "SUBSCRIBE",
        (_, false) => "CANCEL",
    };
    // An XSUB sends what its application wrote, in the encoding of 3.0 and earlier.
    let as_command = kind == SocketType::Dish || (kind == SocketType::Sub && version == Version::V3_1);
    if as_command {
        return put_command(out, name, &[topic]);
    }
    put_header(out, version, 0, topic.len() + 1);
    out.push(u8::from(begins));
    out.extend_from_slice(topic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_stays_until_it_was_ended_as_often_as_it_was_begun() {
        let mut own = Subscriptions::default();
        let options = Options::new(SocketType::Sub).build().unwrap();
        own.add(b"a");
        own.add(b"a");
        assert!(!own.remove(b"x") && !own.remove(b"a"));
        assert!(own.wants(&options, b"abc") && !own.wants(&options, b"b"));
        assert!(own.remove(b"a"));
        assert!(!own.wants(&options, b"abc"));
    }

    #[test]
    fn a_subscription_is_a_command_or_a_message() {
        let said = |kind, version| {
            let mut out = Vec::new();
            put(kind, version, false, b"A", &mut out);
            out
        };
        assert_eq!(said(SocketType::Sub, Version::V3_1), b"\x04\x08\x06CANCELA");
        assert_eq!(said(SocketType::Sub, Version::V3_0), b"\x00\x02\x00A");
        assert_eq!(said(SocketType::XSub, Version::V3_1), b"\x00\x02\x00A");
        assert_eq!(said(SocketType::Sub, Version::V1), b"\x03\x00\x00A");
        assert_eq!(said(SocketType::Dish, Version::V3_1), b"\x04\x07\x05LEAVEA");
    }
}
