//! State of a topic: its leader, its sends in order, its pause.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::output::{CallId, CommandId, NodeId};
use super::survey::Survey;

/// A remembered topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TopicId(u64);

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// The node that accepted the last send.
    pub(super) leader: Option<NodeId>,
    /// The send that is being tried: one at a time, since the server corrupts concurrent ones.
    pub(super) active: Option<CommandId>,
    /// The sends after it.
    pub(super) queue: VecDeque<CommandId>,
    /// Messages of all sends in progress.
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// No send is sent until this is over.
    pub(super) hold: Option<Hold>,
    /// Nodes that have not answered since a send to them was given up: they may be about to store it when
    /// they do. One bit per node.
    pub(super) unsettled: u64,
    pub(super) followers: Vec<CommandId>,
    pub(super) survey: Survey,
    /// When it was last used, in counts of uses.
    used: u64,
}

/// A pause after a send that was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hold {
    /// The call whose reply ends the pause. `None`: its connection is gone.
    pub(super) call: Option<CallId>,
}

impl Topic {
    fn is_at_rest(&self) -> bool {
        self.active.is_none() && self.queue.is_empty() && self.hold.is_none() && self.followers.is_empty()
    }
}

/// Topics by name and number.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<String, TopicId>,
    topics: BTreeMap<TopicId, Topic>,
    last_id: u64,
    uses: u64,
}

impl Topics {
    /// The topic with that name, which is remembered from now on. If there are `limit` topics, an unused one
    /// is forgotten; `None` if none is unused.
    pub(super) fn want(&mut self, name: &str, limit: usize) -> Option<TopicId> {
        self.uses += 1;
        if let Some(&id) = self.by_name.get(name) {
            self.topics.get_mut(&id)?.used = self.uses;
            return Some(id);
        }
        if self.topics.len() >= limit {
            let at_rest = self.topics.iter().filter(|(_, topic)| topic.is_at_rest());
            let (&oldest, _) = at_rest.min_by_key(|(_, topic)| topic.used)?;
            let gone = self.topics.remove(&oldest)?;
            self.by_name.remove(&gone.name);
        }
        self.last_id += 1;
        let id = TopicId(self.last_id);
        self.by_name.insert(name.to_string(), id);
        let topic = Topic {
            name: name.to_string(),
            leader: None,
            active: None,
            queue: VecDeque::new(),
            messages: 0,
            bytes: 0,
            hold: None,
            unsettled: 0,
            followers: Vec::new(),
            survey: Survey::default(),
            used: self.uses,
        };
        self.topics.insert(id, topic);
        Some(id)
    }

    pub(super) fn get(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(&id)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Topic> {
        self.topics.get(self.by_name.get(name)?)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TopicId, &mut Topic)> {
        self.topics.iter_mut().map(|(&id, topic)| (id, topic))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_at_rest_that_was_wanted_longest_ago_is_forgotten() {
        let mut topics = Topics::default();
        let a = topics.want("a", 2).unwrap();
        let b = topics.want("b", 2).unwrap();
        topics.want("a", 2).unwrap();
        topics.get_mut(a).unwrap().leader = Some(NodeId::new(0));
        topics.want("c", 2).unwrap();
        assert!(topics.get(b).is_none() && topics.get(a).is_some());
        topics.get_mut(a).unwrap().queue.push_back(CommandId(1));
        let c = topics.want("c", 2).unwrap();
        topics.get_mut(c).unwrap().hold = Some(Hold { call: None });
        assert_eq!(topics.want("d", 2), None, "neither is at rest");
        assert_eq!(topics.len(), 2);
    }
}
