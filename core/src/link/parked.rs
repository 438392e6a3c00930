//! Messages of one class that were read and cannot be handed over yet: a request that may not be
//! started for want of room, and whatever came behind it. The peer's credit bounds them.

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use crate::frame::{Kind, Meta};
use crate::time::Instant;

/// A message as it came.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) meta: Meta,
    pub(super) extensions: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) frame: Bytes,
    pub(super) since: Instant,
}

impl Kept {
    /// What it costs.
    pub(super) fn cost(&self) -> u64 {
        super::flow::cost(self.frame.len())
    }

    pub(super) fn is_request(&self) -> bool {
        self.meta.kind == Kind::Request
    }

    /// What it says now: a request has less time left than when it came.
    pub(super) fn meta_at(&self, now: Instant) -> Meta {
        let waited = now.saturating_since(self.since);
        let remaining = self.meta.remaining_ms.map(|ms| {
            let left = Duration::from_millis(u64::from(ms)).saturating_sub(waited);
            u32::try_from(left.as_millis()).unwrap_or(ms)
        });
        Meta { remaining_ms: remaining, ..self.meta }
    }
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// `None`: cancelled while it waited.
    messages: VecDeque<Option<Kept>>,
    /// Number of the front message.
    base: u64,
    /// Requests, by call id.
    requests: BTreeMap<u64, u64>,
    cost: u64,
    casts: u64,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What they cost together.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn casts(&self) -> u64 {
        self.casts
    }

    pub(super) fn has_request(&self, id: u64) -> bool {
        self.requests.contains_key(&id)
    }

    pub(super) fn push(&mut self, kept: Kept) {
        self.note(&kept, self.base.wrapping_add(self.messages.len() as u64));
        self.messages.push_back(Some(kept));
    }

    /// The message taken last could not be handed over.
    pub(super) fn push_front(&mut self, kept: Kept) {
        self.base = self.base.wrapping_sub(1);
        self.note(&kept, self.base);
        self.messages.push_front(Some(kept));
    }

    fn note(&mut self, kept: &Kept, number: u64) {
        self.cost += kept.cost();
        if kept.is_request() {
            self.requests.insert(kept.meta.id, number);
        } else {
            self.casts += 1;
        }
    }

    fn forget(&mut self, kept: &Kept) {
        self.cost -= kept.cost();
        if kept.is_request() {
            self.requests.remove(&kept.meta.id);
        } else {
            self.casts -= 1;
        }
    }

    /// The oldest message.
    pub(super) fn front(&mut self) -> Option<&Kept> {
        while let Some(None) = self.messages.front() {
            self.messages.pop_front();
            self.base = self.base.wrapping_add(1);
        }
        self.messages.front().and_then(Option::as_ref)
    }

    pub(super) fn pop(&mut self) -> Option<Kept> {
        self.front()?;
        let kept = self.messages.pop_front().flatten()?;
        self.base = self.base.wrapping_add(1);
        self.forget(&kept);
        Some(kept)
    }

    /// Nobody wants answers any more.
    pub(super) fn drop_requests(&mut self) {
        for number in core::mem::take(&mut self.requests).into_values() {
            let index = usize::try_from(number.wrapping_sub(self.base)).unwrap_or(usize::MAX);
            if let Some(kept) = self.messages.get_mut(index).and_then(Option::take) {
                self.cost -= kept.cost();
            }
        }
        self.front();
    }

    /// A request is not wanted any more: its bytes are free at once.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let Some(&number) = self.requests.get(&id) else { return false };
        let index = usize::try_from(number.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        let Some(kept) = self.messages.get_mut(index).and_then(Option::take) else { return false };
        self.forget(&kept);
        true
    }
}
