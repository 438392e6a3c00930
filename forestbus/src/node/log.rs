//! One topic's messages.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::protocol::{Bounds, Index};

/// Memory of a message in addition to its bytes.
const OVERHEAD: usize = 64;
/// Servers return at most this many at once.
const MOST: i64 = 500;

#[derive(Debug)]
pub(super) struct Log {
    messages: VecDeque<Bytes>,
    /// The index of the first message.
    first: Index,
    /// The commit index as reported.
    commit: Index,
    /// The actual commit index, reported or not.
    settled: Index,
    bytes: usize,
}

fn cost(message: &Bytes) -> usize {
    message.len() + OVERHEAD
}

impl Log {
    pub(super) fn new() -> Self {
        Self { messages: VecDeque::new(), first: 1, commit: 0, settled: 0, bytes: 0 }
    }

    fn last(&self) -> Index {
        self.first + self.messages.len() as Index - 1
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { first: self.first, last: self.last(), commit: self.commit }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends messages. Returns their indexes and the number of old messages that were dropped for them;
    /// `None` if they do not fit besides the uncommitted messages.
    pub(super) fn append(&mut self, messages: Vec<Bytes>, limit: usize) -> Option<(Vec<Index>, u64)> {
        let more: usize = messages.iter().map(cost).sum();
        let uncommitted = self.last() - self.settled;
        let kept: usize =
            self.messages.iter().rev().take(usize::try_from(uncommitted).unwrap_or(0)).map(cost).sum();
        if kept.saturating_add(more) > limit {
            return None;
        }
        let first = self.last() + 1;
        self.bytes += more;
        self.messages.extend(messages);
        let ids = (first..=self.last()).collect();
        Some((ids, self.trim(limit)))
    }

    /// Drops the oldest committed messages until the rest is within the limit.
    pub(super) fn trim(&mut self, limit: usize) -> u64 {
        let mut dropped = 0;
        while self.bytes > limit
            && self.first <= self.settled
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= cost(&message);
            self.first += 1;
            dropped += 1;
        }
        dropped
    }

    pub(super) fn commit(&mut self) {
        self.settled = self.last();
        self.commit = self.settled;
    }

    /// Reports a commit index of 0 until the next commit.
    pub(super) fn forget_commit(&mut self) {
        self.commit = 0;
    }

    /// Drops the uncommitted messages. Returns their number.
    pub(super) fn drop_uncommitted(&mut self) -> u64 {
        let mut dropped = 0;
        while self.last() > self.settled
            && let Some(message) = self.messages.pop_back()
        {
            self.bytes -= cost(&message);
            dropped += 1;
        }
        dropped
    }

    /// Committed messages from `from` on, which must be committed: at most `quantity` and about `bytes`
    /// bytes, at least one.
    pub(super) fn read(&self, from: Index, quantity: i64, bytes: usize) -> Vec<Bytes> {
        let start = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let most = quantity.min(MOST).min(self.commit - from + 1);
        let mut sum = 0;
        let mut messages = Vec::new();
        for message in self.messages.iter().skip(start).take(usize::try_from(most).unwrap_or(0)) {
            sum += cost(message);
            if sum > bytes && !messages.is_empty() {
                break;
            }
            messages.push(message.clone());
        }
        messages
    }
}
