//! An XPUB's notices of its peers' subscriptions: one queue for all peers, in the order in which they were
//! received, so that subscriptions that the application forwards upstream match those of the peers.
//!
//! Each notice has a placeholder in the inbox of its peer and counts for that peer's limits: a peer whose
//! inbox is full is not read. Notices of disconnected peers are never dropped, but [merged](Notices::merge)
//! if there are many.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use super::PipeId;
use crate::message::Message;

/// A subscription, or the end of one, that the application has not received yet.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) pipe: PipeId,
    pub(super) begins: bool,
    /// The application knows of no such subscription, or received its end.
    pub(super) is_first: bool,
    /// `None`: other notices make it unnecessary, and only its placeholder remains.
    pub(super) topic: Option<Box<[u8]>>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Notices {
    line: VecDeque<Notice>,
    /// Number of notices after the last merge.
    merged: usize,
}

/// Fewer notices than this are not merged.
const FEW: usize = 64;

impl Notice {
    /// Stores the notice in `message` as it is received.
    pub(super) fn put_into(&self, message: &mut Message) -> bool {
        let Some(topic) = &self.topic else { return false };
        let mut bytes = alloc::vec::Vec::with_capacity(topic.len() + 1);
        bytes.push(u8::from(self.begins));
        bytes.extend_from_slice(topic);
        message.clear();
        message.push(bytes.into());
        true
    }
}

impl Notices {
    pub(super) fn push(&mut self, notice: Notice) {
        self.line.push_back(notice);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// The pipe of the next notice.
    pub(super) fn next_of(&self) -> Option<PipeId> {
        self.line.front().map(|notice| notice.pipe)
    }

    pub(super) fn pop(&mut self) -> Option<Notice> {
        self.line.pop_front()
    }

    /// A peer has disconnected: its notices get another number.
    pub(super) fn rename(&mut self, from: PipeId, to: PipeId) {
        self.line.iter_mut().filter(|notice| notice.pipe == from).for_each(|notice| notice.pipe = to);
    }

    /// Whether there are many more than after the last merge.
    pub(super) fn has_grown(&self) -> bool {
        self.line.len() > FEW.max(2 * self.merged)
    }

    /// Marks as void the notices that a later end makes unnecessary: the ones before it, and the end itself
    /// if the application does not know of the subscription. `by_peer`: peers are treated separately.
    /// Afterwards each subscription that the application knows of has at most one end, followed by what came
    /// after it.
    pub(super) fn merge(&mut self, by_peer: bool) {
        #[derive(Default)]
        struct Seen {
            is_unknown: bool,
            last_end: Option<usize>,
        }
        let key = |notice: &Notice| by_peer.then_some(notice.pipe);
        let mut seen: BTreeMap<(Option<PipeId>, &[u8]), Seen> = BTreeMap::new();
        for (at, notice) in self.line.iter().enumerate() {
            let Some(topic) = notice.topic.as_deref() else { continue };
            let is_unknown = notice.begins && notice.is_first;
            let seen = seen.entry((key(notice), topic)).or_insert(Seen { is_unknown, last_end: None });
            if !notice.begins {
                seen.last_end = Some(at);
            }
        }
        let mut void = alloc::vec::Vec::new();
        for (at, notice) in self.line.iter().enumerate() {
            let Some(topic) = notice.topic.as_deref() else { continue };
            let Some(Seen { is_unknown, last_end: Some(end) }) = seen.get(&(key(notice), topic)) else {
                continue;
            };
            if at < *end || (at == *end && *is_unknown) {
                void.push(at);
            }
        }
        void.into_iter().for_each(|at| self.line[at].topic = None);
    }

    /// Removes the void notices of such peers; the caller removes their placeholders.
    pub(super) fn forget_void(&mut self, of: impl Fn(PipeId) -> bool) {
        self.line.retain(|notice| notice.topic.is_some() || !of(notice.pipe));
        self.merged = self.line.len();
    }

    /// Which notices of a peer are void, in order.
    pub(super) fn voids(&self, of: PipeId) -> impl Iterator<Item = bool> {
        self.line.iter().filter(move |notice| notice.pipe == of).map(|notice| notice.topic.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// The subscriptions that an application knows from notices, for each peer or for all together.
    fn told<'n>(
        known: &mut BTreeMap<(u64, u8), bool>,
        notices: impl Iterator<Item = &'n Notice>,
        by_peer: bool,
    ) {
        for notice in notices {
            let Some(topic) = &notice.topic else { continue };
            let peer = if by_peer { notice.pipe.0 } else { 0 };
            known.insert((peer, topic[0]), notice.begins);
        }
        known.retain(|_, begun| *begun);
    }

    /// Three peers subscribe to and leave four topics; the application takes some of the notices.
    fn play(steps: &[(u64, u8, bool, bool)], by_peer: bool) -> (BTreeMap<(u64, u8), bool>, Notices) {
        let (mut notices, mut known) = (Notices::default(), BTreeMap::new());
        let mut has: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (peer, topic, begins, takes) in steps.iter().copied() {
            let who = has.entry(topic).or_default();
            let matters = match (begins, who.contains(&peer)) {
                (true, false) => {
                    who.push(peer);
                    by_peer || who.len() == 1
                }
                (false, true) => {
                    who.retain(|other| *other != peer);
                    by_peer || who.is_empty()
                }
                _ => false,
            };
            if matters {
                let topic = Some([topic].as_slice().into());
                notices.push(Notice { pipe: PipeId(peer), begins, is_first: begins, topic });
            }
            if takes && let Some(notice) = notices.pop() {
                told(&mut known, [&notice].into_iter(), by_peer);
            }
        }
        (known, notices)
    }

    proptest! {
        #[test]
        fn merging_changes_nothing_of_what_is_known_in_the_end(
            steps in proptest::collection::vec((0_u64..3, 0_u8..4, any::<bool>(), any::<bool>()), 0..80),
            by_peer: bool,
        ) {
            let (known, mut notices) = play(&steps, by_peer);
            let (mut whole, mut merged) = (known.clone(), known.clone());
            told(&mut whole, notices.line.iter(), by_peer);
            let ends = |notices: &Notices| notices.line.iter().filter(|notice| !notice.begins).count();
            notices.merge(by_peer);
            notices.forget_void(|_| true);
            told(&mut merged, notices.line.iter(), by_peer);
            prop_assert_eq!(whole, merged);
            // An end is reported only for a known subscription, and once.
            prop_assert!(ends(&notices) <= known.len(), "{notices:?} {known:?}");
            let before = notices.line.len();
            notices.merge(by_peer);
            notices.forget_void(|_| true);
            prop_assert_eq!(notices.line.len(), before, "there is nothing more to merge");
        }
    }

    #[test]
    fn the_place_of_a_void_notice_stays_until_its_peer_is_gone() {
        let (mut notices, mut message) = (Notices::default(), Message::new());
        for (pipe, begins) in [(1, true), (2, false)] {
            let topic = Some(b"t".as_slice().into());
            notices.push(Notice { pipe: PipeId(pipe), begins, is_first: begins, topic });
        }
        notices.merge(false);
        notices.rename(PipeId(2), PipeId(9));
        assert_eq!(notices.voids(PipeId(9)).collect::<Vec<_>>(), [true]);
        notices.forget_void(|pipe| pipe == PipeId(9));
        assert_eq!((notices.next_of(), notices.line.len()), (Some(PipeId(1)), 1));
        assert!(notices.pop().is_some_and(|notice| !notice.put_into(&mut message)));
        assert!(notices.is_empty() && !notices.has_grown());
    }
}
