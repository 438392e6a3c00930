//! Messages of one class that were read and cannot be handed over yet: a request that may not start for want
//! of room, and everything after it. The peer's credit bounds them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Range;
use core::time::Duration;

use crate::frame::{Kind, Meta};
use crate::link::classes::cost;
use crate::recv_buf::Frame;
use crate::time::Instant;

/// A received message.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) meta: Meta,
    pub(super) extensions: Range<usize>,
    pub(super) body: Range<usize>,
    pub(super) frame: Frame,
    pub(super) since: Instant,
}

impl Kept {
    /// Its cost.
    pub(super) fn cost(&self) -> u64 {
        cost(self.frame.len())
    }

    pub(super) fn is_request(&self) -> bool {
        self.meta.kind == Kind::Request
    }

    /// Its metadata now: the remaining time of a request has decreased.
    pub(super) fn meta_at(&self, now: Instant) -> Meta {
        let waited = now.saturating_since(self.since);
        let remaining = self.meta.remaining_ms.map(|ms| {
            let left = Duration::from_millis(u64::from(ms)).saturating_sub(waited);
            u32::try_from(left.as_millis()).unwrap_or(ms)
        });
        Meta { remaining_ms: remaining, ..self.meta }
    }
}

/// The queue of a class. Allocated while it is not empty.
#[derive(Debug, Default)]
pub(super) struct Parked(Option<Box<Parking>>);

#[derive(Debug, Default)]
struct Parking {
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
        self.0.is_none()
    }

    /// The total cost.
    pub(super) fn cost(&self) -> u64 {
        self.0.as_ref().map_or(0, |parking| parking.cost)
    }

    pub(super) fn requests(&self) -> usize {
        self.0.as_ref().map_or(0, |parking| parking.requests.len())
    }

    pub(super) fn casts(&self) -> u64 {
        self.0.as_ref().map_or(0, |parking| parking.casts)
    }

    pub(super) fn has_request(&self, id: u64) -> bool {
        self.0.as_ref().is_some_and(|parking| parking.requests.contains_key(&id))
    }

    pub(super) fn push(&mut self, kept: Kept) {
        let parking = self.0.get_or_insert_default();
        parking.note(&kept, parking.base.wrapping_add(parking.messages.len() as u64));
        parking.messages.push_back(Some(kept));
    }

    /// The message that was taken last could not be handed over.
    pub(super) fn push_front(&mut self, kept: Kept) {
        let parking = self.0.get_or_insert_default();
        parking.base = parking.base.wrapping_sub(1);
        parking.note(&kept, parking.base);
        parking.messages.push_front(Some(kept));
    }

    /// The oldest message.
    pub(super) fn front(&mut self) -> Option<&Kept> {
        self.skip_cancelled();
        self.0.as_ref().and_then(|parking| parking.messages.front()?.as_ref())
    }

    pub(super) fn pop(&mut self) -> Option<Kept> {
        self.skip_cancelled();
        let parking = self.0.as_mut()?;
        let kept = parking.messages.pop_front().flatten()?;
        parking.base = parking.base.wrapping_add(1);
        parking.forget(&kept);
        self.skip_cancelled();
        Some(kept)
    }

    /// The callers no longer want answers.
    pub(super) fn drop_requests(&mut self) {
        let Some(parking) = &mut self.0 else { return };
        for number in core::mem::take(&mut parking.requests).into_values() {
            if let Some(kept) = parking.take(number) {
                parking.cost -= kept.cost();
            }
        }
        self.skip_cancelled();
    }

    /// A request was cancelled: its bytes are freed at once.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let Some(parking) = &mut self.0 else { return false };
        let Some(&number) = parking.requests.get(&id) else { return false };
        let Some(kept) = parking.take(number) else { return false };
        parking.forget(&kept);
        self.skip_cancelled();
        true
    }

    /// Removes cancelled messages from the front.
    fn skip_cancelled(&mut self) {
        let Some(parking) = &mut self.0 else { return };
        while let Some(None) = parking.messages.front() {
            parking.messages.pop_front();
            parking.base = parking.base.wrapping_add(1);
        }
        if parking.messages.is_empty() {
            self.0 = None;
        }
    }
}

impl Parking {
    fn take(&mut self, number: u64) -> Option<Kept> {
        let index = usize::try_from(number.wrapping_sub(self.base)).ok()?;
        self.messages.get_mut(index).and_then(Option::take)
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
}
