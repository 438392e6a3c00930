//! What became of casts: who is told, and the queue of those that could not be delivered.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use super::{Key, Line, Link, LinkEvent};
use crate::arena::{Batch, Fate, FrameRef, Sent, Withdrawn};
use crate::body::Body;
use crate::config::Overflow;
use crate::error::{Disconnect, Outcome, Undeliverable};
use crate::frame::{Class, Framing, Kind};
use crate::waiters::{Ticket, Waiters};

/// A message that could not be delivered, handed back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Undelivered {
    /// Request or cast.
    pub kind: Kind,
    /// The number that casting it returned, or its call id.
    pub number: u64,
    /// Method id or message type.
    pub method: u32,
    /// Its bytes.
    pub body: Body,
    /// What became of it.
    pub outcome: Outcome,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it goes no further.
    pub reason: Undeliverable,
}

/// Who wants to know what became of a cast.
#[derive(Debug)]
enum Watch<T> {
    /// An event says it.
    Event,
    /// Somebody waits.
    Waiting(Option<T>),
    /// It is over.
    Over(Result<Outcome, Undelivered>),
    /// Whoever waits has waited for long enough, and was woken.
    Late,
    /// Whoever waited was told so. What becomes of the message after all is nobody's.
    Told,
}

#[derive(Debug)]
pub(super) struct Outcomes<T> {
    watches: BTreeMap<u64, Watch<T>>,
    /// How often casts were sent that a failed write held, by number.
    attempts: BTreeMap<u64, u32>,
    errored: VecDeque<Undelivered>,
    errored_bytes: usize,
    pub(super) line: Waiters<T>,
}

impl<T> Default for Outcomes<T> {
    fn default() -> Self {
        Self {
            watches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            errored: VecDeque::new(),
            errored_bytes: 0,
            line: Waiters::new(),
        }
    }
}

impl<T> Outcomes<T> {
    pub(super) fn memory(&self) -> usize {
        self.errored_bytes + self.errored.len() * size_of::<Undelivered>()
    }

    pub(super) fn errored_depth(&self) -> super::Depth {
        super::Depth { messages: self.errored.len(), bytes: self.errored_bytes }
    }

    /// One more attempt at a cast has failed. How many there were.
    pub(super) fn note_attempt(&mut self, number: u64) -> u32 {
        let attempts = self.attempts.entry(number).or_insert(0);
        *attempts += 1;
        *attempts
    }

    /// Whether there is nothing in it, and nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        let awaited = self.line.waiting() + self.line.granted() > 0;
        !awaited && !self.is_watched() && self.attempts.is_empty() && !self.has_errored()
    }

    /// Whether anybody wants to know of the end of a cast.
    pub(super) fn is_watched(&self) -> bool {
        !self.watches.is_empty()
    }

    /// How many ends somebody wants to know, or was told before they came.
    pub(super) fn watched(&self) -> usize {
        self.watches.len()
    }

    /// Whether somebody waits for the end of that cast.
    pub(super) fn is_awaited(&self, number: u64) -> bool {
        matches!(self.watches.get(&number), Some(Watch::Waiting(_)))
    }

    /// Whether whoever cast it was told an end already.
    pub(super) fn was_told(&self, number: u64) -> bool {
        matches!(self.watches.get(&number), Some(Watch::Told))
    }

    pub(super) fn drain_errored(&mut self) -> impl Iterator<Item = Undelivered> {
        self.errored_bytes = 0;
        self.errored.drain(..)
    }

    pub(super) fn has_errored(&self) -> bool {
        !self.errored.is_empty()
    }

    fn pop_errored(&mut self) -> Option<Undelivered> {
        let undelivered = self.errored.pop_front()?;
        self.errored_bytes -= undelivered.body.len();
        Some(undelivered)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The end of a cast will be told: by [`poll_outcome`](Self::poll_outcome). To be said
    /// before anything else happens to the link.
    pub fn watch_outcome(&mut self, number: u64, token: T) {
        self.outcomes.get_or_insert_default().watches.insert(number, Watch::Waiting(Some(token)));
    }

    /// [`watch_outcome`](Self::watch_outcome) for so long at most: then the cast is withdrawn and
    /// [`Expired`](Outcome::Expired), or, where bytes of it left or are being written, told as
    /// [`MaybeDelivered`](Outcome::MaybeDelivered) with an empty body (it is out: whoever cast it
    /// keeps a copy). What becomes of it then is not told any more.
    pub fn watch_outcome_for(
        &mut self,
        now: crate::time::Instant,
        timeout: Duration,
        class: Class,
        number: u64,
        token: T,
    ) {
        self.watch_outcome(number, token);
        self.watch(now, timeout, Key::Wait(class, number));
    }

    /// By an event.
    pub(super) fn notify_outcome(&mut self, number: u64) {
        self.outcomes.get_or_insert_default().watches.insert(number, Watch::Event);
    }

    /// What became of a cast that is [watched](Self::watch_outcome), once; until then `None`, and
    /// the token is kept.
    pub fn poll_outcome(
        &mut self,
        number: u64,
        token: impl FnOnce() -> T,
    ) -> Option<Result<Outcome, Undelivered>> {
        let outcomes = self.outcomes.as_mut()?;
        match outcomes.watches.get_mut(&number)? {
            Watch::Over(_) | Watch::Late => {}
            Watch::Waiting(kept) => {
                *kept = Some(token());
                return None;
            }
            Watch::Event | Watch::Told => return None,
        }
        match outcomes.watches.remove(&number) {
            Some(Watch::Over(result)) => Some(result),
            Some(Watch::Late) => {
                outcomes.watches.insert(number, Watch::Told);
                let attempts = outcomes.attempts.get(&number).copied().unwrap_or(0);
                Some(Err(Undelivered {
                    kind: Kind::Cast,
                    number,
                    method: 0,
                    body: Body::empty(),
                    outcome: Outcome::MaybeDelivered,
                    attempts,
                    reason: Undeliverable::Expired(self.doing()),
                }))
            }
            _ => None,
        }
    }

    /// Whoever waits for the end of a cast has waited for long enough.
    pub(super) fn expire_wait(&mut self, class: Class, number: u64) {
        let Some(outcomes) = self.outcomes.as_ref().filter(|outcomes| outcomes.is_awaited(number)) else {
            return;
        };
        // Sent before, and to be sent again: somebody may have it.
        let tried = outcomes.attempts.contains_key(&number);
        let outcome = if tried { Outcome::MaybeDelivered } else { Outcome::Expired };
        let reason = Undeliverable::Expired(self.doing());
        if self.withdraw_cast(class, number, outcome, &reason) {
            self.counters.casts_expired += 1;
            return;
        }
        let watch = self.outcomes.as_mut().and_then(|outcomes| outcomes.watches.get_mut(&number));
        if let Some(watch @ Watch::Waiting(_)) = watch
            && let Watch::Waiting(Some(token)) = core::mem::replace(watch, Watch::Late)
        {
            self.tokens.push(token);
        }
    }

    /// Nobody waits for the end of that cast any more. It goes on like one that nobody watched.
    pub fn forget_outcome(&mut self, number: u64) {
        let outcomes = self.outcomes.as_mut();
        if let Some(Watch::Over(Err(undelivered))) = outcomes.and_then(|all| all.watches.remove(&number)) {
            self.report(undelivered);
        }
    }

    /// A batch was written.
    pub(super) fn note_written(&mut self, batch: &Batch) {
        let is_known = |outcomes: &Outcomes<T>| outcomes.is_watched() || !outcomes.attempts.is_empty();
        if self.session.is_some() || !self.outcomes.as_deref().is_some_and(is_known) {
            return;
        }
        for number in batch.casts() {
            self.note_outcome(number, Outcome::Written);
        }
        if let Some(outcomes) = &mut self.outcomes
            && !outcomes.attempts.is_empty()
        {
            let oldest = self.arena.oldest_kept_cast().unwrap_or(u64::MAX);
            outcomes.attempts = outcomes.attempts.split_off(&oldest);
        }
    }

    /// A batch comes back from somebody who was still writing when its connection ended. Its calls
    /// were told; its casts were not.
    pub(super) fn handle_late_batch(&mut self, batch: Batch) {
        let (mut left, mut failed) = (alloc::vec![], alloc::vec![]);
        let Self { arena, framing, last_cause, .. } = &mut *self;
        let cause = last_cause.as_deref().cloned().unwrap_or(Disconnect::LocalClose);
        let reason = Undeliverable::Disconnected(cause);
        let goes_on = arena.return_late(batch, |frame, fate| match (frame.sent, fate) {
            (Sent::Cast(number), Fate::Left) => left.push(number),
            (Sent::Cast(_), fate) => {
                let outcome = if fate == Fate::InPart { Outcome::MaybeDelivered } else { Outcome::NeverSent };
                failed.extend(decode(framing, frame, outcome, &reason));
            }
            _ => {}
        });
        for number in left {
            self.note_outcome(number, Outcome::Written);
        }
        for undelivered in failed {
            self.fail_cast(undelivered);
        }
        if goes_on {
            self.wake_driver();
        }
    }

    /// A cast ended well.
    pub(super) fn note_outcome(&mut self, number: u64, outcome: Outcome) {
        let Some(outcomes) = &mut self.outcomes else { return };
        match outcomes.watches.get_mut(&number) {
            Some(Watch::Event) => {
                outcomes.watches.remove(&number);
                self.event(LinkEvent::MessageEnded { number, outcome });
            }
            Some(watch @ Watch::Waiting(_)) => {
                if let Watch::Waiting(Some(token)) = core::mem::replace(watch, Watch::Over(Ok(outcome))) {
                    self.tokens.push(token);
                }
            }
            Some(watch @ Watch::Late) => *watch = Watch::Over(Ok(outcome)),
            Some(Watch::Told) => {
                outcomes.watches.remove(&number);
            }
            Some(Watch::Over(_)) | None => {}
        }
    }

    /// A cast goes no further: whoever waits for its end gets it back; otherwise it is an event
    /// and an errored message.
    pub(super) fn fail_cast(&mut self, undelivered: Undelivered) {
        self.counters.casts_failed += 1;
        let number = undelivered.number;
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.attempts.remove(&number);
            if let Some(watch @ Watch::Waiting(_)) = outcomes.watches.get_mut(&number) {
                if let Watch::Waiting(Some(token)) = core::mem::replace(watch, Watch::Over(Err(undelivered)))
                {
                    self.tokens.push(token);
                }
                return;
            }
            match outcomes.watches.remove(&number) {
                Some(Watch::Late) => {
                    outcomes.watches.insert(number, Watch::Over(Err(undelivered)));
                    return;
                }
                Some(Watch::Told) => return,
                _ => {}
            }
        }
        self.report(undelivered);
    }

    fn report(&mut self, undelivered: Undelivered) {
        let Undelivered { number, outcome, ref reason, .. } = undelivered;
        self.event(LinkEvent::MessageFailed { number, outcome, reason: reason.clone() });
        if outcome == Outcome::Dropped {
            return;
        }
        let errored = self.outcomes.get_or_insert_default();
        while self.settings.errored_queue.is_reached(errored.errored.len(), errored.errored_bytes) {
            self.counters.errored_dropped += 1;
            if self.settings.errored_overflow == Overflow::DropNewest || errored.pop_errored().is_none() {
                return;
            }
        }
        errored.errored_bytes += undelivered.body.len();
        errored.errored.push_back(undelivered);
        if let Some(token) = errored.line.grant_one() {
            self.tokens.push(token);
        }
    }

    /// The oldest message that could not be delivered and was given back to nobody else; otherwise
    /// keeps a token and a place in line, which the caller passes again next time (or gives up
    /// with [`leave`](Self::leave)`(Line::Errored, ticket)`).
    pub fn poll_errored(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<Undelivered> {
        let outcomes = self.outcomes.get_or_insert_default();
        let Some(undelivered) = outcomes.pop_errored() else {
            super::wait(&mut outcomes.line, ticket, token);
            return None;
        };
        if let Some(ticket) = ticket.take() {
            self.leave(Line::Errored, ticket);
        }
        Some(undelivered)
    }

    /// A cast waited for longer than it may.
    pub(super) fn expire_cast(&mut self, class: Class, number: u64) {
        if self.arena.oldest_cast(class).is_none_or(|oldest| number < oldest) {
            return;
        }
        let reason = Undeliverable::Expired(self.doing());
        let expired = self.withdraw_cast(class, number, Outcome::Expired, &reason);
        self.counters.casts_expired += u64::from(expired);
    }

    /// Takes a cast that has not left out of the queue, and fails it. False: it is not there.
    pub(super) fn withdraw_cast(
        &mut self,
        class: Class,
        number: u64,
        outcome: Outcome,
        reason: &Undeliverable,
    ) -> bool {
        let mut taken = None;
        let Self { arena, framing, .. } = &mut *self;
        let withdrawn = arena
            .take_out(class, Sent::Cast(number), |frame| taken = decode(framing, frame, outcome, reason));
        if withdrawn == Withdrawn::Gone {
            return false;
        }
        self.after_withdrawing(withdrawn);
        if let Some(mut undelivered) = taken {
            let attempts = self.outcomes.as_ref().and_then(|outcomes| outcomes.attempts.get(&number));
            undelivered.attempts = attempts.copied().unwrap_or(0);
            self.fail_cast(undelivered);
        }
        true
    }

    /// There is no further connection: those who wait for the end of their casts get them back.
    pub(super) fn end_watched_casts(&mut self, cause: &Disconnect) {
        let watches = self.outcomes.iter().flat_map(|outcomes| &outcomes.watches);
        let waiting = watches.filter(|(_, watch)| matches!(watch, Watch::Waiting(_)));
        let numbers: alloc::vec::Vec<u64> = waiting.map(|(number, _)| *number).collect();
        let reason = Undeliverable::Disconnected(cause.clone());
        for number in numbers {
            let found = super::flow::CLASSES
                .into_iter()
                .any(|class| self.withdraw_cast(class, number, Outcome::NeverSent, &reason));
            if !found {
                // It was in the batch that the dying connection had.
                self.note_outcome(number, Outcome::MaybeDelivered);
            }
        }
        let Self { outcomes, tokens, .. } = &mut *self;
        if let Some(outcomes) = outcomes {
            outcomes.line.close(|token| tokens.push(token));
        }
    }

    pub(super) fn watch_expiry(&mut self, now: crate::time::Instant, class: Class, number: u64) {
        if let Some(wait) = self.settings.expire_after {
            self.watch(now, wait, Key::Cast(class, number));
        }
    }
}

/// Reads a queued frame of ours back.
pub(super) fn decode<F: Framing>(
    framing: &F,
    frame: &FrameRef<'_>,
    outcome: Outcome,
    reason: &Undeliverable,
) -> Option<Undelivered> {
    let (kind, number) = match frame.sent {
        Sent::Call(id) => (Kind::Request, id),
        Sent::Cast(number) => (Kind::Cast, number),
        _ => return None,
    };
    let mut whole = frame.bytes.to_vec();
    whole.extend_from_slice(frame.external.map_or(&[][..], |body| body));
    let (method, body) = match super::connection::step_past_hello(framing.clone(), &whole) {
        Some((meta, body)) => (meta.method, Body::copy_from(&whole[body])),
        None => (0, Body::from(whole)),
    };
    Some(Undelivered { kind, number, method, body, outcome, attempts: 0, reason: reason.clone() })
}
