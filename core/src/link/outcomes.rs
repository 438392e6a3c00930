//! Outcomes of casts: how the caller learns the outcome, and the queue of messages that could not be
//! delivered (errored messages).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::timers::Key;
use super::undelivered::decode;
use super::{CastOptions, Line, Link, LinkEvent, Undelivered};
use crate::arena::{Batch, Sent, Withdrawn};
use crate::body::Body;
use crate::config::Overflow;
use crate::error::{Disconnect, Outcome, Undeliverable};
use crate::frame::{Class, Framing, Kind};
use crate::waiters::{Ticket, Waiters};

/// How the outcome of a watched cast is reported, and the state of that.
#[derive(Debug)]
enum Watch<T> {
    /// By an event ([`CastOptions::notify`](super::CastOptions::notify)).
    Event,
    /// A caller of `cast_and_wait` waits; the token wakes it.
    Waiting(Option<T>),
    /// The outcome is known; the waiting caller has not fetched it yet.
    Over(Result<Outcome, Box<Undelivered>>),
    /// The waiting caller's deadline passed while the message, of this class, could not be withdrawn;
    /// the caller was woken and has not fetched its outcome yet.
    Late(Class),
    /// The caller has its final outcome. Later events of the message are not reported.
    Told,
}

#[derive(Debug)]
pub(super) struct Outcomes<T> {
    watches: BTreeMap<u64, Watch<T>>,
    /// How often casts were sent whose write failed, by number.
    attempts: BTreeMap<u64, u32>,
    errored: VecDeque<Undelivered>,
    errored_bytes: usize,
    pub(super) line: Waiters<T>,
    /// Callers that wait until no writer holds a batch of the ended link.
    pub(super) late: Vec<T>,
}

impl<T> Default for Outcomes<T> {
    fn default() -> Self {
        Self {
            watches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            errored: VecDeque::new(),
            errored_bytes: 0,
            line: Waiters::new(),
            late: Vec::new(),
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

    /// One more attempt at a cast has failed. Returns the number of attempts.
    pub(super) fn note_attempt(&mut self, number: u64) -> u32 {
        let attempts = self.attempts.entry(number).or_insert(0);
        *attempts += 1;
        *attempts
    }

    /// A message that was sent before, and is given back while it waits to be sent again: the peer may have
    /// received it.
    pub(super) fn note_tried(&self, undelivered: &mut Undelivered) {
        let Some(&attempts) = self.attempts.get(&undelivered.number) else { return };
        if undelivered.kind == Kind::Cast {
            undelivered.attempts = undelivered.attempts.max(attempts);
            if matches!(undelivered.outcome, Outcome::NeverSent | Outcome::Expired) {
                undelivered.outcome = Outcome::MaybeDelivered;
            }
        }
    }

    /// Whether it holds nothing, and no caller waits for an errored message.
    pub(super) fn is_empty(&self) -> bool {
        let awaited = self.line.waiting() + self.line.granted() > 0;
        !awaited && !self.is_watched() && self.attempts.is_empty() && !self.has_errored()
    }

    /// Whether the outcome of any cast is watched.
    pub(super) fn is_watched(&self) -> bool {
        !self.watches.is_empty()
    }

    /// How many casts are watched, including those whose final outcome was reported already.
    pub(super) fn watched(&self) -> usize {
        self.watches.len()
    }

    /// Whether a caller waits for the outcome of that cast.
    pub(super) fn is_awaited(&self, number: u64) -> bool {
        matches!(self.watches.get(&number), Some(Watch::Waiting(_)))
    }

    /// Whether the caller of that cast has its final outcome already, or only has to fetch it.
    pub(super) fn was_told(&self, number: u64) -> bool {
        matches!(self.watches.get(&number), Some(Watch::Told | Watch::Late(_)))
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
        self.errored_bytes -= undelivered.held();
        Some(undelivered)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Keeps the outcome of the latest cast for its caller, who fetches it with
    /// [`poll_outcome`](Self::poll_outcome); `token` wakes the caller. Must be called directly after the
    /// cast, before any other call on the link.
    pub fn watch_outcome(&mut self, number: u64, token: T) {
        let mut watch = Watch::Waiting(Some(token));
        if number + 1 == self.next_cast && !self.arena.ends_with_cast(number) {
            // An empty message on a framing without headers has no bytes: there is nothing to wait for.
            if let Watch::Waiting(Some(token)) =
                core::mem::replace(&mut watch, Watch::Over(Ok(Outcome::Written)))
            {
                self.wakes.caller(token);
            }
        }
        self.outcomes.get_or_insert_default().watches.insert(number, watch);
    }

    /// [`watch_outcome`](Self::watch_outcome) for at most `timeout`. After that the cast is withdrawn, and
    /// its outcome is [`Expired`](Outcome::Expired). If bytes of it were written or are being written, it
    /// cannot be withdrawn, and its outcome is [`MaybeDelivered`](Outcome::MaybeDelivered). In that case the
    /// link does not have the message (the writer does), so that method, Seq, extensions and body are empty
    /// in the result of [`poll_outcome`](Self::poll_outcome): the caller must keep a copy and add it with
    /// [`Undelivered::with_given`]. Later events of the message are not reported.
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

    /// Reports the outcome by an event.
    pub(super) fn notify_outcome(&mut self, number: u64) {
        if !self.arena.ends_with_cast(number) {
            return self.event(LinkEvent::MessageEnded { number, outcome: Outcome::Written });
        }
        self.outcomes.get_or_insert_default().watches.insert(number, Watch::Event);
    }

    /// The outcome of a cast that is [watched](Self::watch_outcome), once; until then `None`, and the token
    /// is kept. The error contains the message, with the one exception that
    /// [`watch_outcome_for`](Self::watch_outcome_for) describes.
    pub fn poll_outcome(
        &mut self,
        number: u64,
        token: impl FnOnce() -> T,
    ) -> Option<Result<Outcome, Undelivered>> {
        let outcomes = self.outcomes.as_mut()?;
        match outcomes.watches.get_mut(&number)? {
            Watch::Over(_) | Watch::Late(_) => {}
            Watch::Waiting(kept) => {
                *kept = Some(token());
                return None;
            }
            Watch::Event | Watch::Told => return None,
        }
        match outcomes.watches.remove(&number) {
            Some(Watch::Over(result)) => {
                if result == Ok(Outcome::Written) && self.settings.resend_window > 0 {
                    // It may be sent again and fail; its caller has an outcome already.
                    outcomes.watches.insert(number, Watch::Told);
                }
                Some(result.map_err(|undelivered| *undelivered))
            }
            Some(Watch::Late(class)) => {
                outcomes.watches.insert(number, Watch::Told);
                let attempts = outcomes.attempts.get(&number).copied().unwrap_or(0);
                let reason = Undeliverable::Expired(self.doing());
                let undelivered = Undelivered::cast(
                    &CastOptions::default(),
                    class,
                    Body::empty(),
                    Outcome::MaybeDelivered,
                    reason,
                );
                Some(Err(Undelivered { number, attempts, ..undelivered }))
            }
            _ => None,
        }
    }

    /// The deadline of a caller that waits for the outcome of a cast has passed.
    pub(super) fn expire_wait(&mut self, class: Class, number: u64) {
        if !self.outcomes.as_ref().is_some_and(|outcomes| outcomes.is_awaited(number)) {
            return;
        }
        let reason = Undeliverable::Expired(self.doing());
        if self.withdraw_cast(class, number, Outcome::Expired, &reason) {
            self.counters.casts_expired += 1;
            return;
        }
        let told = self.told_class(class);
        let watch = self.outcomes.as_mut().and_then(|outcomes| outcomes.watches.get_mut(&number));
        if let Some(watch @ Watch::Waiting(_)) = watch
            && let Watch::Waiting(Some(token)) = core::mem::replace(watch, Watch::Late(told))
        {
            self.wakes.caller(token);
        }
    }

    /// The caller no longer waits for the outcome of that cast. The cast goes on like an unwatched one:
    /// a failure is an event and an errored message.
    pub fn forget_outcome(&mut self, number: u64) {
        let outcomes = self.outcomes.as_mut();
        if let Some(Watch::Over(Err(undelivered))) = outcomes.and_then(|all| all.watches.remove(&number)) {
            self.report(*undelivered);
        }
    }

    /// A batch was written.
    pub(super) fn note_written(&mut self, batch: &Batch) {
        let is_known = |outcomes: &Outcomes<T>| outcomes.is_watched() || !outcomes.attempts.is_empty();
        if self.history.session.is_some() || !self.outcomes.as_deref().is_some_and(is_known) {
            return;
        }
        for number in batch.casts() {
            self.note_outcome(number, Outcome::Written);
        }
    }

    /// That batch is back in the arena: attempt counts are dropped for messages that are no longer kept
    /// anywhere. Not earlier, because the messages of a batch being written are not in the arena.
    pub(super) fn forget_written(&mut self) {
        let Some(outcomes) = self.outcomes.as_deref_mut() else { return };
        let window = self.settings.resend_window > 0;
        if self.history.session.is_some()
            || (outcomes.attempts.is_empty() && !(window && outcomes.is_watched()))
        {
            return;
        }
        // The messages of such a batch are not known until it is given back.
        if self.arena.has_late() {
            return;
        }
        let oldest = self.arena.oldest_kept_cast().unwrap_or(u64::MAX);
        outcomes.attempts = outcomes.attempts.split_off(&oldest);
        if window {
            outcomes.watches.retain(|number, watch| *number >= oldest || !matches!(watch, Watch::Told));
        }
    }

    /// Whether the outcome of any cast is watched.
    pub(super) fn watches_casts(&self) -> bool {
        self.outcomes.as_ref().is_some_and(|outcomes| outcomes.is_watched())
    }

    /// The peer has received these casts, according to its acknowledgement or its resume.
    pub(super) fn note_acked(&mut self, casts: Vec<u64>) {
        for number in casts {
            self.note_outcome(number, Outcome::Acked);
        }
    }

    /// A cast was delivered (or written): reports the outcome to its caller, if the cast is watched.
    pub(super) fn note_outcome(&mut self, number: u64, outcome: Outcome) {
        let Some(outcomes) = &mut self.outcomes else { return };
        match outcomes.watches.get_mut(&number) {
            Some(Watch::Event) => {
                outcomes.watches.remove(&number);
                if outcome == Outcome::Written && self.settings.resend_window > 0 {
                    outcomes.watches.insert(number, Watch::Told);
                }
                self.event(LinkEvent::MessageEnded { number, outcome });
            }
            Some(watch @ Watch::Waiting(_)) => {
                if let Watch::Waiting(Some(token)) = core::mem::replace(watch, Watch::Over(Ok(outcome))) {
                    self.wakes.caller(token);
                }
            }
            Some(watch @ Watch::Late(_)) => *watch = Watch::Over(Ok(outcome)),
            Some(Watch::Told) if self.settings.resend_window > 0 => {}
            Some(Watch::Told) => {
                outcomes.watches.remove(&number);
            }
            Some(Watch::Over(_)) | None => {}
        }
    }

    /// A cast has failed: a caller that waits for its outcome gets the message back; otherwise the failure
    /// becomes an event and an errored message.
    pub(super) fn fail_cast(&mut self, mut undelivered: Undelivered) {
        self.counters.casts_failed += 1;
        let number = undelivered.number;
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.note_tried(&mut undelivered);
            outcomes.attempts.remove(&number);
            match outcomes.watches.get_mut(&number) {
                Some(watch @ Watch::Waiting(_)) => {
                    let over = Watch::Over(Err(Box::new(undelivered)));
                    if let Watch::Waiting(Some(token)) = core::mem::replace(watch, over) {
                        self.wakes.caller(token);
                    }
                    return;
                }
                Some(watch @ Watch::Late(_)) => {
                    *watch = Watch::Over(Err(Box::new(undelivered)));
                    return;
                }
                // Its caller has an outcome already.
                Some(Watch::Over(_)) => return,
                Some(Watch::Told) => {
                    outcomes.watches.remove(&number);
                    return;
                }
                Some(Watch::Event) => drop(outcomes.watches.remove(&number)),
                None => {}
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
        errored.errored_bytes += undelivered.held();
        errored.errored.push_back(undelivered);
        if let Some(token) = errored.line.grant_one() {
            self.wakes.caller(token);
        }
    }

    /// The oldest message that could not be delivered and whose outcome no caller waited for; otherwise keeps
    /// a token and a place in the queue of waiting callers, which the caller passes again in the next call
    /// (and gives up with [`leave`](Self::leave)`(Line::Errored, ticket)`).
    pub fn poll_errored(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<Undelivered> {
        let outcomes = self.outcomes.get_or_insert_default();
        let Some(undelivered) = outcomes.pop_errored() else {
            super::waiting_lines::wait(&mut outcomes.line, ticket, token);
            return None;
        };
        if let Some(ticket) = ticket.take() {
            self.leave(Line::Errored, ticket);
        }
        Some(undelivered)
    }

    /// A queued cast has waited longer than `expire_after`.
    pub(super) fn expire_cast(&mut self, class: Class, number: u64) {
        // A cast that is being written expires if it is given back.
        self.expired_casts = self.expired_casts.max(number);
        if self.arena.oldest_cast(class).is_none_or(|oldest| number < oldest) {
            return;
        }
        // It was sent before, its caller has the outcome, and it is sent again.
        if self.outcomes.as_ref().is_some_and(|outcomes| outcomes.was_told(number)) {
            return;
        }
        let reason = Undeliverable::Expired(self.doing());
        if self.withdraw_cast(class, number, Outcome::Expired, &reason) {
            self.counters.casts_expired += 1;
        }
    }

    /// Removes a cast that was not sent from the queue, and fails it. `false`: it is not in the queue.
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
        if let Some(undelivered) = taken {
            self.fail_cast(undelivered);
        }
        true
    }

    /// There is no further connection: callers that wait for the outcome of a cast get the message back.
    pub(super) fn end_watched_casts(&mut self, cause: &Disconnect) {
        let watches = self.outcomes.iter().flat_map(|outcomes| &outcomes.watches);
        let waiting = watches.filter(|(_, watch)| matches!(watch, Watch::Waiting(_)));
        let numbers: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        let reason = Undeliverable::Disconnected(cause.clone());
        for number in numbers {
            let found = super::classes::CLASSES
                .into_iter()
                .any(|class| self.withdraw_cast(class, number, Outcome::NeverSent, &reason));
            // The outcome of a cast that a writer holds is known when the batch is given back.
            if !found && !self.arena.awaits_writer() {
                self.note_outcome(number, Outcome::MaybeDelivered);
            }
        }
        let Self { outcomes, wakes, .. } = &mut *self;
        if let Some(outcomes) = outcomes {
            outcomes.line.close(|token| wakes.caller(token));
        }
    }

    pub(super) fn watch_expiry(&mut self, now: crate::time::Instant, class: Class, number: u64) {
        if let Some(wait) = self.settings.expire_after {
            self.watch(now, wait, Key::Cast(class, number));
        }
    }
}
