//! Timers: one instant for each key.

use alloc::collections::{BTreeMap, BTreeSet};

use bowline_core::time::Instant;

use super::nodes::LaneId;
use super::output::CommandId;
use super::topics::TopicId;

/// The purpose of a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// The command's deadline.
    Deadline(CommandId),
    /// The current attempt has taken too long, or the wait before the next round is over.
    Attempt(CommandId),
    /// The topic's sends may continue.
    Hold(TopicId),
    /// The nodes are asked for the topic's bounds.
    Survey(TopicId),
    /// The check or probe of a connection.
    Lane(LaneId),
}

/// Exact timers: one that was cleared never fires.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, Key)>,
    at: BTreeMap<Key, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, key: Key, at: Instant) {
        if let Some(before) = self.at.insert(key, at) {
            self.due.remove(&(before, key));
        }
        self.due.insert((at, key));
    }

    pub(super) fn clear(&mut self, key: Key) {
        if let Some(at) = self.at.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    pub(super) fn is_set(&self, key: Key) -> bool {
        self.at.contains_key(&key)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Key> {
        let &(at, key) = self.due.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_due_once_at_its_last_instant() {
        let mut timers = Timers::default();
        let (a, b) = (Key::Deadline(CommandId(1)), Key::Attempt(CommandId(1)));
        timers.set(a, Instant::from_nanos(5));
        timers.set(b, Instant::from_nanos(7));
        timers.set(a, Instant::from_nanos(9));
        assert_eq!(timers.next(), Some(Instant::from_nanos(7)));
        assert_eq!(timers.pop_due(Instant::from_nanos(8)), Some(b));
        assert_eq!(timers.pop_due(Instant::from_nanos(8)), None);
        timers.clear(a);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }
}
