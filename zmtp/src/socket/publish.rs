//! The side that publishes: PUB and XPUB (RFC 29), RADIO (RFC 48).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::PipeId;
use crate::error::ZmtpError;
use crate::options::{Options, QueueLimit};
use crate::trie::{Removed, Trie};

/// Who is subscribed to what.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    trie: Trie<PipeId>,
    peers: BTreeMap<PipeId, Subscriber>,
    found: Vec<PipeId>,
}

#[derive(Debug, Default)]
struct Subscriber {
    topics: Topics,
    /// What it asked for, where the application decides what comes of it.
    asked: Topics,
    /// It got what new subscribers get.
    welcomed: bool,
}

/// Topics of one peer, up to a limit.
#[derive(Debug, Default)]
struct Topics {
    topics: BTreeSet<Box<[u8]>>,
    bytes: usize,
}

impl Topics {
    /// False: it was there.
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

    /// False: it was not there.
    fn remove(&mut self, topic: &[u8]) -> bool {
        let was_there = self.topics.remove(topic);
        if was_there {
            self.bytes -= topic.len();
        }
        was_there
    }
}

/// What a publisher's application is told of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// It changes what is wanted: nobody had the topic, or nobody has it any more.
    pub(crate) matters: bool,
    /// The peer had not said it before.
    pub(crate) is_new: bool,
}

impl Publisher {
    pub(crate) fn add_peer(&mut self, pipe: PipeId) {
        self.peers.insert(pipe, Subscriber::default());
    }

    /// A peer is gone: the topics are told whose ends the application is to hear of. `manual`: those that the peer asked
    /// for; `each`: all that it had; else those that no other peer has.
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

    /// A peer subscribes.
    ///
    /// # Errors
    /// It has too many topics.
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

    /// A peer ends a subscription. One that it does not have is nothing.
    pub(crate) fn cancel(&mut self, pipe: PipeId, topic: &[u8]) -> Option<Change> {
        let subscriber = self.peers.get_mut(&pipe)?;
        if !subscriber.topics.remove(topic) {
            return None;
        }
        Some(Change { matters: self.trie.remove(topic, pipe) == Removed::Last, is_new: true })
    }

    /// A peer asks for a subscription, and the application decides what comes of it. False: it asked before.
    ///
    /// # Errors
    /// It asks for too many.
    pub(crate) fn ask(&mut self, options: &Options, pipe: PipeId, topic: &[u8]) -> Result<bool, ZmtpError> {
        self.peers.get_mut(&pipe).map_or(Ok(false), |peer| peer.asked.add(options.subscriptions, topic))
    }

    /// A peer does not ask for that any more.
    pub(crate) fn unask(&mut self, pipe: PipeId, topic: &[u8]) {
        if let Some(subscriber) = self.peers.get_mut(&pipe) {
            subscriber.asked.remove(topic);
        }
    }

    /// Whether a peer is to be welcomed now: with its first topic that the welcome begins with.
    pub(crate) fn welcomes(&mut self, pipe: PipeId, topic: &[u8], welcome: &[u8]) -> bool {
        let Some(subscriber) = self.peers.get_mut(&pipe) else { return false };
        welcome.starts_with(topic) && !core::mem::replace(&mut subscriber.welcomed, true)
    }

    /// Those who get a message that begins with `bytes`, each once.
    pub(crate) fn matching(&mut self, bytes: &[u8], invert: bool) -> &[PipeId] {
        let Self { trie, peers, found, .. } = self;
        found.clear();
        // Where all want everything nothing has to be looked for.
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

    /// Those who are in exactly that group.
    pub(crate) fn members(&mut self, group: &[u8]) -> &[PipeId] {
        let Self { trie, found, .. } = self;
        found.clear();
        trie.exact(group, |pipes| found.extend_from_slice(pipes));
        found
    }

    /// How many topics anybody is subscribed to, a topic of two peers counted twice.
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
