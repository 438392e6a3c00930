//! The side that publishes: PUB and XPUB (RFC 29), RADIO (RFC 48).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::PipeId;
use crate::error::ZmtpError;
use crate::options::{Options, QueueLimit};
use crate::trie::{Removed, Trie};

/// The subscriptions of peers.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    trie: Trie<PipeId>,
    peers: BTreeMap<PipeId, Subscriber>,
    found: Vec<PipeId>,
}

#[derive(Debug, Default)]
struct Subscriber {
    topics: Topics,
    /// The topics that it asked for, if the application decides about subscriptions.
    asked: Topics,
    /// Whether it was sent the welcome message.
    welcomed: bool,
}

/// Topics of one peer, up to a limit.
#[derive(Debug, Default)]
struct Topics {
    topics: BTreeSet<Box<[u8]>>,
    bytes: usize,
}

impl Topics {
    /// Returns false if the topic was present.
    fn add(&mut self, limit: QueueLimit, topic: &[u8]) -> Result<bool, ZmtpError> {
        if self.topics.contains(topic) {
            return Ok(false);
        }
        let (number, bytes) = (self.topics.len() + 1, self.bytes + topic.len());
        if number > limit.messages {
            let (value, limit) = (number as u64, limit.messages as u64);
            return Err(ZmtpError::TooMany { field: "subscriptions", value, limit });
        }
        if bytes > limit.bytes {
            let (value, limit) = (bytes as u64, limit.bytes as u64);
            return Err(ZmtpError::TooLong { field: "subscriptions", value, limit });
        }
        self.bytes = bytes;
        Ok(self.topics.insert(topic.into()))
    }

    /// Returns false if the topic was not present.
    fn remove(&mut self, topic: &[u8]) -> bool {
        let was_there = self.topics.remove(topic);
        if was_there {
            self.bytes -= topic.len();
        }
        was_there
    }
}

/// The effect of a subscription, for the publisher's application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// Whether it changes the set of topics of all peers: no other peer has the topic.
    pub(crate) matters: bool,
    /// Whether the peer did not have it before.
    pub(crate) is_new: bool,
}

impl Publisher {
    pub(crate) fn add_peer(&mut self, pipe: PipeId) {
        self.peers.insert(pipe, Subscriber::default());
    }

    /// Removes a peer and calls `tell` with the topics whose ends the application is to receive: with
    /// `manual`, those that the peer asked for; with `each`, all that it had; otherwise those that no other
    /// peer has.
    pub(crate) fn remove_peer(
        &mut self,
        pipe: PipeId,
        manual: bool,
        each: bool,
        mut tell: impl FnMut(&[u8]),
    ) {
        let Some(Subscriber { topics, asked, .. }) = self.peers.remove(&pipe) else { return };
        for topic in topics.topics {
            let is_last = self.trie.remove(&topic, pipe) == Removed::Last;
            if !manual && (each || is_last) {
                tell(&topic);
            }
        }
        asked.topics.iter().for_each(|topic| tell(topic));
    }

    /// Adds a subscription of a peer.
    ///
    /// # Errors
    /// The peer has too many topics.
    pub(crate) fn subscribe(
        &mut self,
        options: &Options,
        pipe: PipeId,
        topic: &[u8],
    ) -> Result<Option<Change>, ZmtpError> {
        let Some(subscriber) = self.peers.get_mut(&pipe) else { return Ok(None) };
        if !subscriber.topics.add(options.subscriptions, topic)? {
            return Ok(Some(Change { matters: false, is_new: false }));
        }
        Ok(Some(Change { matters: self.trie.insert(topic, pipe), is_new: true }))
    }

    /// Ends a subscription of a peer. `None` if it does not have it.
    pub(crate) fn cancel(&mut self, pipe: PipeId, topic: &[u8]) -> Option<Change> {
        let subscriber = self.peers.get_mut(&pipe)?;
        if !subscriber.topics.remove(topic) {
            return None;
        }
        Some(Change { matters: self.trie.remove(topic, pipe) == Removed::Last, is_new: true })
    }

    /// Records that a peer asks for a subscription about which the application decides. Returns false if it
    /// asked before.
    ///
    /// # Errors
    /// The peer asks for too many topics.
    pub(crate) fn ask(&mut self, options: &Options, pipe: PipeId, topic: &[u8]) -> Result<bool, ZmtpError> {
        self.peers.get_mut(&pipe).map_or(Ok(false), |peer| peer.asked.add(options.subscriptions, topic))
    }

    /// Records that a peer no longer asks for that topic.
    pub(crate) fn unask(&mut self, pipe: PipeId, topic: &[u8]) {
        if let Some(subscriber) = self.peers.get_mut(&pipe) {
            subscriber.asked.remove(topic);
        }
    }

    /// Whether a peer is to be sent the welcome message now: at its first topic that the message begins with.
    pub(crate) fn welcomes(&mut self, pipe: PipeId, topic: &[u8], welcome: &[u8]) -> bool {
        let Some(subscriber) = self.peers.get_mut(&pipe) else { return false };
        welcome.starts_with(topic) && !core::mem::replace(&mut subscriber.welcomed, true)
    }

    /// The peers that get a message that begins with `bytes`, each once.
    pub(crate) fn matching(&mut self, bytes: &[u8], invert: bool) -> &[PipeId] {
        let Self { trie, peers, found, .. } = self;
        found.clear();
        // If all peers subscribe to everything, no search is necessary.
        if trie.at_root().len() == peers.len() {
            found.extend_from_slice(trie.at_root());
        } else {
            let mut topics = 0;
            trie.matches(bytes, |pipes| {
                found.extend_from_slice(pipes);
                topics += 1;
                true
            });
            if topics > 1 {
                found.sort_unstable();
                found.dedup();
            }
        }
        if invert {
            let others: Vec<_> =
                peers.keys().filter(|pipe| found.binary_search(pipe).is_err()).copied().collect();
            *found = others;
        }
        found
    }

    /// The members of exactly that group.
    pub(crate) fn members(&mut self, group: &[u8]) -> &[PipeId] {
        let Self { trie, found, .. } = self;
        found.clear();
        trie.exact(group, |pipes| found.extend_from_slice(pipes));
        found
    }

    /// Number of subscriptions; a topic of two peers counts twice.
    pub(crate) fn subscriptions(&self) -> usize {
        self.peers.values().map(|subscriber| subscriber.topics.topics.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket_type::SocketType;

    fn options() -> alloc::sync::Arc<Options> {
        let limit = QueueLimit { messages: 3, bytes: 10 };
        Options::new(SocketType::Pub).subscriptions(limit).build().unwrap()
    }

    #[test]
    fn a_peer_has_so_many_topics_and_no_more() {
        let (options, mut publisher) = (options(), Publisher::default());
        publisher.add_peer(PipeId(1));
        let mut subscribe = |topic: &str| publisher.subscribe(&options, PipeId(1), topic.as_bytes());
        for topic in ["a", "b", "b", "a"] {
            assert!(subscribe(topic).is_ok());
        }
        let long = ZmtpError::TooLong { field: "subscriptions", value: 11, limit: 10 };
        assert_eq!(subscribe("ninebytes"), Err(long));
        assert!(subscribe("c").is_ok());
        let many = ZmtpError::TooMany { field: "subscriptions", value: 4, limit: 3 };
        assert_eq!(subscribe("d"), Err(many));
        assert!(publisher.cancel(PipeId(1), b"a").is_some());
        assert!(publisher.cancel(PipeId(1), b"a").is_none());
        assert!(publisher.subscribe(&options, PipeId(1), b"d").is_ok());
        assert_eq!(publisher.subscribe(&options, PipeId(2), b"d"), Ok(None), "it is not there");
        assert_eq!(publisher.subscriptions(), 3);
    }

    #[test]
    fn each_who_matches_gets_it_once() {
        let (options, mut publisher) = (options(), Publisher::default());
        for (pipe, topics) in [(1, &["", "a"][..]), (2, &["ab"]), (3, &["b"])] {
            publisher.add_peer(PipeId(pipe));
            for topic in topics {
                publisher.subscribe(&options, PipeId(pipe), topic.as_bytes()).unwrap();
            }
        }
        assert_eq!(publisher.matching(b"abc", false), [PipeId(1), PipeId(2)]);
        assert_eq!(publisher.matching(b"abc", true), [PipeId(3)]);
        assert_eq!(publisher.members(b"a"), [PipeId(1)]);
        assert_eq!(publisher.members(b"abc"), []);
        let mut last = Vec::new();
        publisher.remove_peer(PipeId(1), false, false, |topic| last.push(topic.to_vec()));
        assert_eq!(last, [&b""[..], b"a"]);
        assert_eq!(publisher.matching(b"abc", false), [PipeId(2)]);
    }

    #[test]
    fn peers_that_want_everything_are_found_without_looking() {
        let (options, mut publisher) = (options(), Publisher::default());
        for pipe in [PipeId(1), PipeId(2)] {
            publisher.add_peer(pipe);
            publisher.subscribe(&options, pipe, b"").unwrap();
            publisher.subscribe(&options, pipe, b"a").unwrap();
        }
        assert_eq!(publisher.matching(b"abc", false), [PipeId(1), PipeId(2)]);
        publisher.add_peer(PipeId(3));
        assert_eq!(publisher.matching(b"abc", false), [PipeId(1), PipeId(2)]);
        assert_eq!(publisher.matching(b"abc", true), [PipeId(3)]);
    }
}
