//! Retries of idempotent calls, and the budget that prevents retry storms.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::timers::Key;
use super::{Link, LinkEvent};
use crate::arena::{Batch, Sent};
use crate::budget::RetryBudget;
use crate::error::{CallError, Disconnect, EncodeError, Failure, Status};
use crate::frame::{Class, Framing, Meta};
use crate::supervisor::SplitMix64;
use crate::time::{Instant, millis};

/// The wait before a request that the peer refused to start is sent again, if the peer names none; doubles
/// with every attempt.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// The state of a request that may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Queued,
    Sent,
    /// The peer refused to start it: it waits before it is queued again.
    Waiting,
}

#[derive(Debug)]
struct Retained {
    frame: Vec<u8>,
    /// The length of the body in it.
    body: usize,
    class: Class,
    /// The number of attempts, including one that is queued.
    attempts: u32,
    stage: Stage,
    /// A connection ended while the peer had the request.
    may_have_run: bool,
}

/// The requests of idempotent calls under way.
///
/// Allocated with the first of them: most links make none.
#[derive(Debug)]
pub(super) struct Retries {
    table: Option<Box<Table>>,
    /// Every retry takes from it.
    budget: RetryBudget,
    /// Jitter of the waits.
    random: SplitMix64,
}

#[derive(Debug, Default)]
struct Table {
    calls: BTreeMap<u64, Retained>,
    bytes: usize,
    /// The number of requests in the write queue.
    queued: usize,
}

impl Retries {
    pub(super) fn new(seed: u64) -> Self {
        Self { table: None, budget: RetryBudget::default(), random: SplitMix64::new(seed) }
    }

    /// Sets the seed of the jitter.
    pub(super) fn seed(&mut self, seed: u64) {
        self.random = SplitMix64::new(seed);
    }

    /// Drops every request.
    pub(super) fn clear(&mut self) {
        self.table = None;
    }

    pub(super) fn memory(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.bytes + table.calls.len() * size_of::<Retained>())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.as_ref().is_none_or(|table| table.calls.is_empty())
    }

    /// Whether there is room to keep one more request of that length.
    fn has_room(&self, len: usize, limit: usize) -> bool {
        self.table.as_ref().is_none_or(|table| table.calls.is_empty() || table.bytes + len <= limit)
    }

    fn keep(&mut self, id: u64, class: Class, frame: Vec<u8>, body: usize) {
        let table = self.table.get_or_insert_default();
        table.bytes += frame.len();
        table.queued += 1;
        let retained =
            Retained { frame, body, class, attempts: 1, stage: Stage::Queued, may_have_run: false };
        table.calls.insert(id, retained);
    }

    /// A call ended, or was cancelled.
    fn forget(&mut self, id: u64) {
        if let Some(table) = &mut self.table
            && let Some(retained) = table.calls.remove(&id)
        {
            table.bytes -= retained.frame.len();
            table.queued -= usize::from(retained.stage == Stage::Queued);
        }
    }

    /// The requests in a batch are being sent.
    pub(super) fn note_taken(&mut self, batch: &Batch) {
        let Some(Table { calls, queued, .. }) = self.table.as_deref_mut().filter(|table| table.queued > 0)
        else {
            return;
        };
        for id in batch.calls() {
            if let Some(retained) = calls.get_mut(&id)
                && retained.stage == Stage::Queued
            {
                retained.stage = Stage::Sent;
                *queued -= 1;
            }
        }
    }

    fn get(&self, id: u64) -> Option<&Retained> {
        self.table.as_ref()?.calls.get(&id)
    }

    /// Whether the peer may have started a call on an earlier connection.
    pub(super) fn may_have_run(&self, id: u64) -> bool {
        self.get(id).is_some_and(|retained| retained.may_have_run)
    }

    /// Whether that request waits before it is queued again.
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        self.get(id).is_some_and(|retained| retained.stage == Stage::Waiting)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Keeps the request of an idempotent call, if there is room.
    pub(super) fn retain_request(&mut self, id: u64, meta: &Meta, extensions: &[u8], body: &[u8]) {
        let mut frame = Vec::new();
        if self.settings.retry_limit > 0
            && self.retries.has_room(body.len(), self.settings.retry_buffer)
            && self.framing.encode(&mut frame, meta, extensions, body).is_ok()
        {
            self.retries.keep(id, meta.class, frame, body.len());
        }
    }

    /// A call is over.
    pub(super) fn forget_retries(&mut self, id: u64, success: bool) {
        if success {
            self.retries.budget.give();
        }
        if !self.retries.is_empty() {
            self.retries.forget(id);
        }
    }

    /// A call fails for this reason; if it may have run on an earlier connection, the error says so.
    pub(super) fn fail_call(&mut self, id: u64, reason: CallError) {
        let cause = || self.last_disconnect().cloned().unwrap_or(Disconnect::NotConnected);
        let may_have_run = self.retries.may_have_run(id).then(|| CallError::MaybeDelivered(cause()));
        let ended = self.calls.complete(id, || Err(may_have_run.unwrap_or(reason)));
        self.wakes.callers(ended);
        self.forget_retries(id, false);
    }

    /// The peer refused to start a request. `true`: it will be sent again.
    pub(super) fn retry_refused(&mut self, now: Instant, id: u64, failure: &Failure) -> bool {
        let Some((_, deadline)) = self.calls.get(id) else { return false };
        let limit = self.settings.retry_limit;
        let Retries { table, budget, random } = &mut self.retries;
        let Some(retained) = table.as_mut().and_then(|table| table.calls.get_mut(&id)) else {
            return false;
        };
        if !failure.status.is_retryable() || retained.stage != Stage::Sent || retained.attempts > limit {
            return false;
        }
        let delay = failure.retry_after.unwrap_or_else(|| jittered(retained.attempts, random));
        if now + delay >= deadline || !budget.take() {
            return false;
        }
        retained.attempts += 1;
        retained.stage = Stage::Waiting;
        let attempt = retained.attempts;
        self.counters.retries += 1;
        self.event(LinkEvent::CallRetried { id, attempt, after: delay, status: failure.status });
        if failure.status == Status::SHUTTING_DOWN || delay.is_zero() {
            // On the next connection, as soon as there is one.
            self.requeue(now, id);
        } else {
            self.watch(now, delay, Key::Retry(id));
        }
        true
    }

    /// A request that waited is queued again.
    pub(super) fn requeue(&mut self, now: Instant, id: u64) {
        let Some((_, deadline)) = self.calls.get(id) else { return };
        let Some(table) = &mut self.retries.table else { return };
        let Some(retained) = table.calls.get_mut(&id) else { return };
        if retained.stage != Stage::Waiting {
            return;
        }
        // Its new peer may not accept it.
        let (len, max) = (retained.body as u64, self.conn.agreed.max_message as u64);
        if len > max {
            return self.fail_call(id, EncodeError::TooLarge { len, max }.into());
        }
        retained.stage = Stage::Queued;
        table.queued += 1;
        let attempt = u8::try_from(retained.attempts).unwrap_or(u8::MAX);
        self.framing.set_remaining(&mut retained.frame, millis(deadline.saturating_since(now)));
        self.framing.set_attempt(&mut retained.frame, attempt);
        self.arena.push_encoded(retained.class, Sent::Call(id), &retained.frame, retained.body);
        self.wake_driver();
    }

    /// A connection ended. Chooses the calls that were sent and will be sent again, and returns their ids.
    pub(super) fn choose_retries(&mut self) -> Vec<u64> {
        let Self { retries, calls, settings, arena, .. } = self;
        let Retries { table, budget, .. } = retries;
        let mut chosen = Vec::new();
        let Some(Table { calls: retained, queued, .. }) = table.as_deref_mut() else { return chosen };
        for (&id, retained) in retained.iter_mut() {
            if calls.get(id).is_none() || retained.stage == Stage::Waiting {
                continue;
            }
            let waits = arena.holds(retained.class, Sent::Call(id));
            if waits {
                // It was in the batch that was being written, and is given back with it.
                if retained.stage == Stage::Sent {
                    retained.stage = Stage::Queued;
                    *queued += 1;
                }
            } else if retained.attempts <= settings.retry_limit && budget.take() {
                retained.attempts += 1;
                retained.stage = Stage::Waiting;
                retained.may_have_run = true;
                chosen.push(id);
            }
        }
        chosen
    }

    /// Queues these requests in front of everything, in their order.
    pub(super) fn requeue_all(&mut self, now: Instant, chosen: &[u64]) {
        for &id in chosen.iter().rev() {
            self.counters.retries += 1;
            self.requeue(now, id);
        }
    }
}

/// A random time between half and all of the delay for that attempt.
fn jittered(attempt: u32, random: &mut SplitMix64) -> Duration {
    let delay = FIRST_DELAY.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(LONGEST_DELAY);
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos / 2 + random.below(nanos / 2 + 1))
}
