//! Subscriptions: a radix trie of topics.
//!
//! A message matches every topic that is a prefix of its first part. They are found by one walk from the
//! root, whose length is that of the longest topic on the path. Nothing is recursive, so that a long topic of
//! a peer needs no stack.

use alloc::vec::Vec;

/// A set of pairs of a topic and a value.
#[derive(Debug)]
pub(crate) struct Trie<V> {
    /// The first node is the root, whose label is empty.
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Node<V> {
    /// The label of the edge from the parent.
    label: Vec<u8>,
    /// By the first byte of their labels.
    children: Vec<(u8, u32)>,
    /// Sorted.
    values: Vec<V>,
}

/// The result of removing a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removed {
    /// The pair was not present.
    NotFound,
    /// Other pairs have the topic.
    Remain,
    /// It was the last pair with that topic.
    Last,
}

impl<V> Node<V> {
    fn new(label: &[u8]) -> Self {
        Self { label: label.to_vec(), children: Vec::new(), values: Vec::new() }
    }

    fn child(&self, byte: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&byte, |child| child.0)
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { nodes: alloc::vec![Node::new(b"")], free: Vec::new() }
    }
}

impl<V: Copy + Ord> Trie<V> {
    /// The values with the empty topic, which matches everything.
    pub(crate) fn at_root(&self) -> &[V] {
        &self.nodes[0].values
    }

    /// Adds a pair. Returns true if the topic is new.
    pub(crate) fn insert(&mut self, topic: &[u8], value: V) -> bool {
        let at = self.node_for(topic);
        let values = &mut self.nodes[at].values;
        let is_first = values.is_empty();
        if let Err(place) = values.binary_search(&value) {
            values.insert(place, value);
        }
        is_first
    }

    /// The node of a topic, which is created if necessary.
    fn node_for(&mut self, topic: &[u8]) -> usize {
        let (mut at, mut rest) = (0, topic);
        loop {
            let [first, ..] = rest else { return at };
            let place = match self.nodes[at].child(*first) {
                Ok(place) => place,
                Err(place) => {
                    let child = self.add(Node::new(rest));
                    self.nodes[at].children.insert(place, (*first, child));
                    return child as usize;
                }
            };
            let child = self.nodes[at].children[place].1 as usize;
            let label = &self.nodes[child].label;
            let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if common < label.len() {
                self.split(child, common);
            }
            (at, rest) = (child, &rest[common..]);
        }
    }

    /// Splits a node's label: the first part stays at the node, the rest goes below it.
    fn split(&mut self, at: usize, common: usize) {
        let node = &mut self.nodes[at];
        let lower = Node {
            label: node.label.split_off(common),
            children: core::mem::take(&mut node.children),
            values: core::mem::take(&mut node.values),
        };
        let first = lower.label[0];
        let child = self.add(lower);
        self.nodes[at].children.push((first, child));
    }

    fn add(&mut self, node: Node<V>) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                // Far fewer than 2^32, since each takes more than one byte of memory.
                u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
            }
        }
    }

    /// Removes a pair.
    pub(crate) fn remove(&mut self, topic: &[u8], value: V) -> Removed {
        let (mut at, mut rest) = (0, topic);
        let mut above = None;
        while let [first, ..] = rest {
            let Ok(place) = self.nodes[at].child(*first) else { return Removed::NotFound };
            let child = self.nodes[at].children[place].1 as usize;
            let Some(behind) = rest.strip_prefix(&self.nodes[child].label[..]) else {
                return Removed::NotFound;
            };
            above = Some((at, place));
            (at, rest) = (child, behind);
        }
        let values = &mut self.nodes[at].values;
        let Ok(place) = values.binary_search(&value) else { return Removed::NotFound };
        values.remove(place);
        if !values.is_empty() {
            return Removed::Remain;
        }
        *values = Vec::new();
        if let Some((parent, place)) = above {
            self.tidy(at, parent, place);
        }
        Removed::Last
    }

    /// Removes a node without values, or joins it with its only child; then the same for its parent.
    fn tidy(&mut self, at: usize, parent: usize, place: usize) {
        if !self.nodes[at].children.is_empty() {
            return self.join(at);
        }
        self.nodes[parent].children.remove(place);
        self.release(at);
        if parent != 0 {
            self.join(parent);
        }
    }

    /// Joins a node without values with its only child.
    fn join(&mut self, at: usize) {
        let node = &self.nodes[at];
        let ([(_, child)], true) = (&node.children[..], node.values.is_empty()) else { return };
        let child = *child as usize;
        let lower = core::mem::replace(&mut self.nodes[child], Node::new(b""));
        self.release(child);
        let node = &mut self.nodes[at];
        node.label.extend_from_slice(&lower.label);
        (node.children, node.values) = (lower.children, lower.values);
    }

    fn release(&mut self, at: usize) {
        self.nodes[at] = Node::new(b"");
        self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
    }

    /// Calls `f` with the values of every topic that is a prefix of `bytes`; a value appears once for each of
    /// its topics. Stops when `f` returns false.
    pub(crate) fn matches(&self, bytes: &[u8], mut f: impl FnMut(&[V]) -> bool) {
        let (mut node, mut rest) = (&self.nodes[0], bytes);
        loop {
            if !node.values.is_empty() && !f(&node.values) {
                return;
            }
            let [first, ..] = rest else { return };
            let Ok(place) = node.child(*first) else { return };
            let child = &self.nodes[node.children[place].1 as usize];
            let Some(behind) = rest.strip_prefix(&child.label[..]) else { return };
            (node, rest) = (child, behind);
        }
    }

    /// Calls `f` with the values of exactly that topic, if it has any.
    pub(crate) fn exact(&self, topic: &[u8], mut f: impl FnMut(&[V])) {
        let (mut node, mut rest) = (&self.nodes[0], topic);
        while let [first, ..] = rest {
            let Ok(place) = node.child(*first) else { return };
            node = &self.nodes[node.children[place].1 as usize];
            let Some(behind) = rest.strip_prefix(&node.label[..]) else { return };
            rest = behind;
        }
        f(&node.values);
    }

    /// Whether any topic matches.
    pub(crate) fn has_match(&self, bytes: &[u8]) -> bool {
        let mut any = false;
        self.matches(bytes, |_| {
            any = true;
            false
        });
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    fn found(trie: &Trie<u8>, bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        trie.matches(bytes, |values| {
            all.extend_from_slice(values);
            true
        });
        all
    }

    #[test]
    fn a_message_finds_every_topic_that_it_begins_with() {
        let mut trie = Trie::default();
        for (topic, value) in [("news", 1), ("new", 2), ("", 3), ("newsletter", 4), ("nest", 5), ("new", 1)] {
            trie.insert(topic.as_bytes(), value);
        }
        assert_eq!(found(&trie, b"newsprint"), [3, 1, 2, 1]);
        assert_eq!(found(&trie, b"ne"), [3]);
        assert_eq!(found(&trie, b""), [3]);
        assert_eq!(trie.at_root(), [3]);
        assert_eq!(trie.remove(b"ne", 1), Removed::NotFound);
        assert_eq!(trie.remove(b"new", 1), Removed::Remain);
        assert_eq!(trie.remove(b"new", 2), Removed::Last);
        assert_eq!(found(&trie, b"newsletters"), [3, 1, 4]);
        assert!(trie.has_match(b"x"));
        assert_eq!(trie.remove(b"", 3), Removed::Last);
        assert!(!trie.has_match(b"x"));
    }

    #[test]
    fn a_topic_of_a_million_bytes_is_one_node() {
        let mut trie = Trie::default();
        let long = alloc::vec![7; 1 << 20];
        assert!(trie.insert(&long, 1));
        assert_eq!(trie.nodes.len(), 2);
        assert!(!trie.has_match(&long[1..]) && trie.has_match(&long));
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(
            ops in proptest::collection::vec((any::<bool>(), "[ab]{0,5}", 0..3_u8), 0..120),
            asked in "[ab]{0,7}",
        ) {
            let (mut trie, mut model) = (Trie::default(), BTreeSet::new());
            for (add, topic, value) in ops {
                let of_topic = |model: &BTreeSet<(Vec<u8>, u8)>| {
                    model.iter().filter(|pair| pair.0 == topic.as_bytes()).count()
                };
                let pair = (topic.clone().into_bytes(), value);
                if add {
                    prop_assert_eq!(trie.insert(topic.as_bytes(), value), of_topic(&model) == 0);
                    model.insert(pair);
                } else {
                    let expected = match (model.remove(&pair), of_topic(&model)) {
                        (false, _) => Removed::NotFound,
                        (true, 0) => Removed::Last,
                        (true, _) => Removed::Remain,
                    };
                    prop_assert_eq!(trie.remove(topic.as_bytes(), value), expected);
                }
                // No node without use: each has values or parts its children.
                let used = trie.nodes.len() - trie.free.len();
                prop_assert!(used <= 1 + 2 * model.len(), "{} nodes for {}", used, model.len());
            }
            let expected: Vec<_> =
                model.iter().filter(|(topic, _)| asked.as_bytes().starts_with(topic)).map(|pair| pair.1).collect();
            prop_assert_eq!(found(&trie, asked.as_bytes()), expected);
        }
    }
}
