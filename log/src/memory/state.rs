//! The contents of an in-memory log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::task::Waker;

use super::{MemoryConfig, Retention};
use crate::appended::Appended;
use crate::error::{AppendError, Cause, ReadError, Refusal};
use crate::log::{Limit, Page};
use crate::record::{Entry, Record};

/// The records and the waiting tasks. The position of a record is `first` plus its index; a deleted one is
/// `None`.
#[derive(Default)]
pub(super) struct State {
    pub(super) first: u64,
    records: VecDeque<Option<Record>>,
    bytes: usize,
    ids: Ids,
    pub(super) dropped: u64,
    pub(super) closed: bool,
    pub(super) unreachable: bool,
    pub(super) waiting: Waiting,
}

impl State {
    pub(super) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Appends all records or none.
    pub(super) fn append(&mut self, records: Vec<Record>, config: &MemoryConfig) -> Appended<u64> {
        let refusals: Vec<_> = records.iter().map(|record| refusal(record, config)).collect();
        if refusals.iter().any(Option::is_some) {
            let other =
                || AppendError::NotAppended(Cause::lasting("another record of the batch was refused"));
            let outcomes =
                refusals.into_iter().map(|refusal| Err(refusal.map_or_else(other, AppendError::Refused)));
            return Appended::new(outcomes.collect());
        }
        let size: usize = records.iter().map(Record::size).sum();
        if let Some(refusal) = whole_refusal(records.len(), size, config) {
            return Appended::failed(records.len(), AppendError::Refused(refusal));
        }
        let fits =
            self.records.len() + records.len() <= config.max_records && self.bytes + size <= config.max_bytes;
        if !fits && config.retention == Retention::Refuse {
            let cause = Cause::transient("the log is full");
            return Appended::failed(records.len(), AppendError::NotAppended(cause));
        }
        let outcomes = records.into_iter().map(|record| Ok(self.push(record, config)));
        let appended = Appended::new(outcomes.collect());
        while self.records.len() > config.max_records || self.bytes > config.max_bytes {
            self.drop_first();
        }
        appended
    }

    fn push(&mut self, record: Record, config: &MemoryConfig) -> u64 {
        let end = self.end();
        if let Some(id) = &record.id {
            if let Some(known) = self.ids.position(id) {
                return known;
            }
            self.ids.remember(id.clone(), end, config.remembered_ids);
        }
        self.bytes += record.size();
        self.records.push_back(Some(record));
        end
    }

    fn drop_first(&mut self) {
        if let Some(slot) = self.records.pop_front() {
            self.first += 1;
            if let Some(record) = slot {
                self.bytes -= record.size();
                self.dropped += 1;
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), ReadError<u64>> {
        if self.closed {
            return Err(ReadError::Closed);
        }
        if self.unreachable {
            return Err(ReadError::Unavailable(Cause::transient("out of reach")));
        }
        Ok(())
    }

    pub(super) fn read(&self, from: u64, limit: Limit) -> Result<Page<u64>, ReadError<u64>> {
        self.check()?;
        if from < self.first {
            return Err(ReadError::Trimmed { from, to: self.first });
        }
        if from > self.end() {
            return Err(ReadError::Truncated { from, end: self.end() });
        }
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, from);
        for slot in self.records.range((from - self.first) as usize..) {
            if let Some(record) = slot {
                let size = record.size();
                if !limit.has_room(entries.len(), bytes, size) {
                    break;
                }
                bytes += size;
                entries.push(Entry::new(next, record.clone()));
            }
            next += 1;
        }
        Ok(Page::new(entries, next))
    }

    pub(super) fn trim(&mut self, to: u64) {
        while self.first < to && !self.records.is_empty() {
            self.drop_first();
        }
    }

    pub(super) fn delete(&mut self, position: u64) -> bool {
        let index = position.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let slot = index.and_then(|index| self.records.get_mut(index));
        match slot.and_then(Option::take) {
            Some(record) => {
                self.bytes -= record.size();
                true
            }
            None => false,
        }
    }

    pub(super) fn truncate(&mut self, end: u64) {
        while self.end() > end {
            match self.records.pop_back() {
                Some(slot) => self.bytes -= slot.map_or(0, |record| record.size()),
                // A log without remaining records begins where it is cut.
                None => self.first = end,
            }
        }
        self.ids.forget_from(end);
    }
}

fn refusal(record: &Record, config: &MemoryConfig) -> Option<Refusal> {
    let (size, limit) = (record.size(), config.max_record.min(config.max_bytes));
    if size > limit {
        return Some(Refusal::TooLarge { size, limit });
    }
    (record.id.is_some() && config.remembered_ids == 0).then_some(Refusal::Id)
}

/// Why a batch cannot be stored as a whole.
fn whole_refusal(records: usize, size: usize, config: &MemoryConfig) -> Option<Refusal> {
    if records > config.max_records {
        return Some(Refusal::TooMany { records, limit: config.max_records });
    }
    (size > config.max_bytes).then_some(Refusal::TooLarge { size, limit: config.max_bytes })
}

/// The latest ids and the positions of their records.
#[derive(Default)]
struct Ids {
    positions: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Ids {
    fn position(&self, id: &str) -> Option<u64> {
        self.positions.get(id).copied()
    }

    fn remember(&mut self, id: String, position: u64, most: usize) {
        while self.order.len() >= most {
            if let Some(oldest) = self.order.pop_front() {
                self.positions.remove(&oldest);
            }
        }
        self.order.push_back(id.clone());
        self.positions.insert(id, position);
    }

    fn forget_from(&mut self, end: u64) {
        self.positions.retain(|_, position| *position < end);
        self.order.retain(|id| self.positions.contains_key(id));
    }
}

/// The tasks that wait for a change, in order of arrival.
#[derive(Default)]
pub(super) struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

impl Waiting {
    pub(super) fn add(&mut self, waker: Waker) -> u64 {
        let place = self.next;
        self.next += 1;
        self.wakers.insert(place, waker);
        place
    }

    /// Its waker, to be dropped after the lock is released, unless it was woken.
    pub(super) fn remove(&mut self, place: u64) -> Option<Waker> {
        self.wakers.remove(&place)
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        mem::take(&mut self.wakers).into_values()
    }
}
