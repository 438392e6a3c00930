//! Batches, retries and delivery times: the methods for the driver of a batcher.

use super::batch::Batch;
use super::outcome::{Failed, Failures, SendError};
use super::settings::retry_wait;
use super::slots::{Owner, State};
use super::{Batcher, Phase};
use crate::time::Instant;

/// The next step of a batcher's driver.
#[derive(Debug)]
#[must_use]
pub enum Step<M, P, E> {
    /// Make one attempt to append these messages, and give the batch back.
    Batch(Batch<M, P, E>),
    /// Wait until the token is woken, or until this time.
    Wait(Option<Instant>),
    /// End: the batcher is closed, and every message has its outcome.
    Closed,
}

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// The next batch, if one is due. Otherwise a token is kept, which replaces the last one.
    pub fn poll_batch(&mut self, now: Instant, token: impl FnOnce() -> T) -> Step<M, P, E> {
        self.handle_timeout(now);
        if self.is_closed() {
            return Step::Closed;
        }
        let due = match self.phase {
            Phase::Lent => false,
            Phase::Retry { at } => at <= self.now,
            Phase::Idle => self.batch_due().is_some_and(|at| at <= self.now),
        };
        if due && let Some(batch) = self.spare.take() {
            return Step::Batch(self.lend(batch));
        }
        self.driver = Some(token());
        Step::Wait(self.next_timeout())
    }

    /// Keeps the token of a driver during an attempt: it is woken when the batcher is closed, because
    /// [`next_timeout`](Self::next_timeout) is earlier then.
    pub fn watch(&mut self, token: impl FnOnce() -> T) {
        self.driver = Some(token());
    }

    /// When the first message in the buffer has to leave.
    fn batch_due(&self) -> Option<Instant> {
        let first = self.waiting.front()?;
        let now = self.is_full() || self.closing.is_some();
        Some(if now { self.now } else { self.slots[first].accepted + self.settings.linger })
    }

    fn lend(&mut self, mut batch: Batch<M, P, E>) -> Batch<M, P, E> {
        if self.phase == Phase::Idle {
            self.stats.batches += 1;
            self.attempts = 0;
            self.under_way = self.waiting.take();
            self.last_batch = self.under_way.len;
        } else {
            self.stats.retries += 1;
        }
        self.phase = Phase::Lent;
        self.attempts = self.attempts.saturating_add(1);
        batch.attempt = self.attempts;
        batch.bytes = self.under_way.bytes;
        let mut next = self.under_way.front();
        while let Some(index) = next {
            next = self.slots.next(&self.under_way, index);
            let slot = &mut self.slots[index];
            slot.state = State::UnderWay;
            // In the order of acceptance: the last message expires last.
            batch.deadline = slot.accepted + self.settings.delivery_timeout;
            if let Some(message) = slot.message.take() {
                batch.messages.push(message);
                batch.slots.push(index);
                batch.answers.given.push(None);
            }
        }
        self.admit();
        batch
    }

    /// The attempt is over. Answered messages get their outcome or are tried again; messages without an
    /// answer count as possibly appended.
    pub fn end_batch(&mut self, now: Instant, mut batch: Batch<M, P, E>) {
        self.tick(now);
        let answered = batch.slots.drain(..).zip(batch.messages.drain(..)).zip(batch.answers.given.drain(..));
        for ((index, message), answer) in answered {
            self.slots[index].message = Some(message);
            match answer {
                Some(Ok(position)) => {
                    self.last_cause = None;
                    self.slots.unlink(&mut self.under_way, index);
                    self.finish(index, Ok(position));
                }
                Some(Err(failed)) => self.attempt_failed(index, failed),
                None => {
                    // A cause that says "not appended" would be that of another attempt.
                    let slot = &mut self.slots[index];
                    let cause = slot.cause.take().filter(|_| slot.maybe);
                    self.slots.unlink(&mut self.under_way, index);
                    self.finish(index, Err(SendError::MaybeAppended(cause)));
                }
            }
        }
        self.spare = Some(batch);
        self.phase = match self.under_way.len {
            0 => Phase::Idle,
            _ => Phase::Retry { at: self.now + retry_wait(self.attempts, &mut self.random) },
        };
        self.wake_if_over();
    }

    /// Keeps a message for the next attempt, or gives it its outcome.
    fn attempt_failed(&mut self, index: u32, failed: Failed<E>) {
        let Failed { cause, maybe_appended, retryable } = failed;
        self.last_cause = Some(cause.clone());
        self.last_is_maybe = maybe_appended;
        let slot = &mut self.slots[index];
        let cause = match slot.cause.take() {
            // Why it may have been appended: that this attempt did not append it changes nothing.
            Some(doubt) if slot.maybe && !maybe_appended => doubt,
            _ => cause,
        };
        slot.maybe |= maybe_appended;
        let maybe = slot.maybe;
        let again = retryable
            && (!maybe || self.settings.at_least_once)
            && self.settings.retries.allow(self.attempts);
        let in_time = self.now < slot.accepted + self.settings.delivery_timeout;
        if again && in_time && self.closing.is_none() {
            slot.cause = Some(cause);
            slot.state = State::UnderWay;
            return;
        }
        let error = match (maybe, again) {
            (true, _) => SendError::MaybeAppended(Some(cause)),
            (false, true) if !in_time => SendError::Expired(Some(cause)),
            (false, true) => SendError::Closed(Some(cause)),
            (false, false) => SendError::Failed(cause),
        };
        self.slots.unlink(&mut self.under_way, index);
        self.finish(index, Err(error));
    }

    /// Gives a message its outcome. It is in no queue any more.
    pub(super) fn finish(&mut self, index: u32, result: Result<P, SendError<E>>) {
        let counter = match &result {
            Ok(_) => &mut self.stats.appended,
            Err(SendError::Failed(_)) => &mut self.stats.failed,
            Err(SendError::MaybeAppended(_)) => &mut self.stats.maybe_appended,
            Err(SendError::Expired(_)) => &mut self.stats.expired,
            Err(SendError::Closed(_) | SendError::WouldPark) => &mut self.stats.closed,
        };
        *counter += 1;
        let slot = &mut self.slots[index];
        slot.state = State::Done;
        slot.cause = None;
        match slot.owner {
            Owner::Sender => {
                slot.message = None;
                slot.result = Some(result);
                self.wakes.extend(slot.token.take());
            }
            Owner::Receiver { line, .. } => {
                slot.result = Some(result);
                self.wakes.extend(slot.token.take());
                self.wakes.extend(self.receivers.token_at(line, index));
            }
            Owner::Forgotten => {
                self.wakes.extend(slot.token.take());
                if let Err(error) = result {
                    self.stats.forgotten_failures += 1;
                    let count = self.failures.as_ref().map_or(0, |failures| failures.count) + 1;
                    self.failures = Some(Failures { count, last: error });
                }
                self.slots.release(index);
            }
            Owner::Gone => {
                self.stats.discarded += 1;
                self.slots.release(index);
            }
        }
    }

    /// The failures of messages that were sent and forgotten, since the last call.
    pub fn take_failures(&mut self) -> Option<Failures<E>> {
        self.failures.take()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_batch`](Self::poll_batch) must be called at
    /// the latest. During an attempt, this takes account of messages that are accepted later.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let delivery = self.settings.delivery_timeout;
        let expires = |index: u32| self.slots[index].accepted + delivery;
        let mut next = self.waiting.front().map(expires);
        let mut earlier = |at: Option<Instant>| next = next.into_iter().chain(at).min();
        earlier(self.closing.filter(|_| !self.is_closed()));
        match self.phase {
            Phase::Lent => earlier(Some(self.now + delivery)),
            Phase::Retry { at } => {
                earlier(Some(at));
                earlier(self.under_way.front().map(expires));
            }
            Phase::Idle => earlier(self.batch_due()),
        }
        next
    }

    /// When the next attempt with the batch is made, if it waits for one.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Retry { at } => Some(at),
            Phase::Idle | Phase::Lent => None,
        }
    }

    /// Handles the time `now`: messages whose delivery time is over expire, unless they are part of an
    /// attempt, and messages left at the end of a close are given up.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
        if matches!(self.phase, Phase::Retry { .. }) {
            while let Some(index) = self.under_way.front()
                && self.is_over(index)
            {
                let slot = &mut self.slots[index];
                let (maybe, cause) = (slot.maybe, slot.cause.take());
                self.slots.unlink(&mut self.under_way, index);
                let error = if maybe { SendError::MaybeAppended(cause) } else { SendError::Expired(cause) };
                self.finish(index, Err(error));
            }
            if self.under_way.len == 0 {
                self.phase = Phase::Idle;
            }
        }
        let mut expired = false;
        while let Some(index) = self.waiting.front()
            && self.is_over(index)
        {
            expired = true;
            self.slots.unlink(&mut self.waiting, index);
            self.finish(index, Err(SendError::Expired(self.cause_of_waiting().cloned())));
        }
        if expired {
            self.admit();
        }
        if self.closing.is_some_and(|at| at <= self.now) {
            self.give_up_waiting();
        }
        self.wake_if_over();
    }

    fn is_over(&self, index: u32) -> bool {
        self.slots[index].accepted + self.settings.delivery_timeout <= self.now
    }
}
