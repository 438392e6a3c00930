//! Commands of the application: calls, waiting for room, cancelling. Casts are in `cast.rs`.

use alloc::vec::Vec;
use core::time::Duration;

use super::classes::{CLASSES, NORMAL, lane};
use super::options::{CallOptions, CastOptions};
use super::timers::Key;
use super::{Link, Phase};
use crate::arena::{Batch, Sent};
use crate::body::Payload;
use crate::calls::{CallId, Reply};
use crate::error::{CallError, Disconnect, EncodeError, Full, Outcome, Undeliverable};
use crate::frame::{Calls, Class, Framing, Kind, Meta};
use crate::link::undelivered::{Undelivered, decode};
use crate::time::{Instant, millis};

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The time from which a call's timeout counts. While the driver has been woken, the time that it was
    /// last told is accurate enough: the call is sent with that work, and calls that are made together need
    /// not read `clock` one by one. Not while a write is under way, which may take long.
    #[inline]
    pub fn call_time(&mut self, clock: impl FnOnce() -> Instant) -> Instant {
        if self.wakes.writer_sleeps() || self.last_time == Instant::ZERO || !self.can_write() {
            self.last_time = clock();
        }
        self.last_time
    }

    /// Begins a call. The token is kept until the call ends and is then returned by `take_tokens`; take the
    /// result with [`poll_reply`](Self::poll_reply).
    ///
    /// # Errors
    /// [`CallError::Full`] if there is no room (wait with [`wait`](Self::wait)), [`CallError::Encode`] if the
    /// request cannot be encoded, [`CallError::Closed`].
    #[inline]
    pub fn call(
        &mut self,
        now: Instant,
        options: &CallOptions,
        payload: Payload<'_>,
        token: T,
    ) -> Result<CallId, CallError> {
        self.call_named(now, options, payload, |_| token)
    }

    /// As [`call`](Self::call), with a token made from the call's id.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_named(
        &mut self,
        now: Instant,
        options: &CallOptions,
        payload: Payload<'_>,
        token: impl FnOnce(CallId) -> T,
    ) -> Result<CallId, CallError> {
        let timeout = options.timeout.unwrap_or(self.settings.call_timeout);
        let Some(id) = self.queue_plain_call(timeout, options, payload.as_slice()) else {
            return self.call_within(now, timeout, options, payload, token, false);
        };
        self.note_call(now, timeout, Class::Normal, id, token(CallId(id)));
        Ok(CallId(id))
    }

    /// As [`call`](Self::call), with a fixed deadline; `turn` says that a turn in
    /// [`Line::Call`](super::Line::Call) was granted.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_until(
        &mut self,
        now: Instant,
        deadline: Instant,
        options: &CallOptions,
        payload: Payload<'_>,
        token: impl FnOnce(CallId) -> T,
        turn: bool,
    ) -> Result<CallId, CallError> {
        self.call_within(now, deadline.saturating_since(now), options, payload, token, turn)
    }

    /// The fast path of calls: see [`cast_plain`](Self::cast_plain). `None`: the fast path does not apply,
    /// and nothing was done; use [`call`](Self::call).
    #[inline]
    pub fn call_plain(
        &mut self,
        now: Instant,
        timeout: Duration,
        options: &CallOptions,
        body: &[u8],
        token: impl FnOnce(CallId) -> T,
    ) -> Option<CallId> {
        let id = self.queue_plain_call(timeout, options, body)?;
        self.note_call(now, timeout, Class::Normal, id, token(CallId(id)));
        Some(CallId(id))
    }

    /// Queues the request of a plain call; returns its id, which the caller must record.
    #[inline]
    fn queue_plain_call(&mut self, timeout: Duration, options: &CallOptions, body: &[u8]) -> Option<u64> {
        if !self.takes_plain_call(options, body.len()) {
            return None;
        }
        let id = self.calls.peek_id();
        // The metadata is built here from values in registers: copying it from elsewhere takes longer than
        // everything else.
        let meta = Meta {
            kind: Kind::Request,
            class: Class::Normal,
            attempt: options.attempt.max(1),
            id,
            method: options.method,
            remaining_ms: Some(millis(timeout)),
            ..Meta::default()
        };
        self.arena.push_behind(&self.framing, Sent::Call(id), &meta, body)?;
        Some(id)
    }

    #[inline]
    fn takes_plain_call(&self, options: &CallOptions, len: usize) -> bool {
        let is_plain = !options.fail_fast
            && !options.idempotent
            && options.extensions.is_none()
            && matches!(options.class, None | Some(Class::Normal));
        let may_go = self.closing.is_none()
            && self.phase != Phase::Closed
            && !self.lines.write_full[NORMAL]
            && self.framing.profile().calls != Calls::None;
        let reserved = self.lines.calls_granted() + self.lines.calls[NORMAL].waiting();
        let has_place = self.places_held() + reserved < self.conn.agreed.max_in_flight;
        is_plain && may_go && has_place && len <= self.conn.agreed.max_message
    }

    /// Records a call whose request is queued.
    #[inline(always)]
    fn note_call(&mut self, now: Instant, timeout: Duration, class: Class, id: u64, token: T) {
        self.calls.open(id, class, now + timeout, token);
        self.counters.calls += 1;
        self.watch(now, timeout, Key::Call(id));
        self.after_queueing_in(class);
    }

    fn call_within(
        &mut self,
        now: Instant,
        timeout: Duration,
        options: &CallOptions,
        payload: Payload<'_>,
        token: impl FnOnce(CallId) -> T,
        turn: bool,
    ) -> Result<CallId, CallError> {
        if self.framing.profile().calls == Calls::None {
            return Err(EncodeError::Unsupported { what: "a call" }.into());
        }
        if self.closing.is_some() || self.phase == Phase::Closed {
            return Err(CallError::Closed);
        }
        if options.fail_fast && !self.is_open() {
            let cause = if self.conn.gone_away {
                Some(Disconnect::GoneAway)
            } else {
                self.last_disconnect().cloned()
            };
            return Err(CallError::NeverSent(cause.unwrap_or(Disconnect::NotConnected)));
        }
        self.check_size(payload.len())?;
        let class = self.call_class(options, payload.len());
        let reserved = self.lines.calls_granted() + self.lines.calls[lane(class)].waiting();
        let taken = self.places_held() + if turn { 0 } else { reserved };
        if taken >= self.conn.agreed.max_in_flight {
            return Err(CallError::Full(Full::InFlight { in_flight: self.calls.held() as u64 }));
        }
        if self.lines.write_full[lane(class)] {
            return Err(CallError::Full(self.write_queue_full(class)));
        }
        let id = self.calls.peek_id();
        self.push_request(id, class, millis(timeout), options, payload)?;
        if options.fail_fast {
            self.note_fail_fast(id);
        }
        self.note_call(now, timeout, class, id, token(CallId(id)));
        Ok(CallId(id))
    }

    fn push_request(
        &mut self,
        id: u64,
        class: Class,
        remaining_ms: u32,
        options: &CallOptions,
        payload: Payload<'_>,
    ) -> Result<(), EncodeError> {
        let meta = Meta {
            kind: Kind::Request,
            class,
            attempt: options.attempt.max(1),
            id,
            method: options.method,
            remaining_ms: Some(remaining_ms),
            ..Meta::default()
        };
        let extensions = options.extensions.as_deref().unwrap_or_default();
        let kept = options.idempotent.then(|| payload.clone());
        let external_bodies = self.framing.profile().external_bodies;
        self.arena.push(&self.framing, Sent::Call(id), &meta, extensions, payload, external_bodies)?;
        if let Some(payload) = kept {
            self.retain_request(id, &meta, extensions, payload.as_slice());
        }
        Ok(())
    }

    /// Whether messages of the normal class or of bulk are refused now for want of room.
    #[must_use]
    pub fn is_write_queue_full(&self) -> bool {
        self.lines.write_full.contains(&true)
    }

    /// Whether no write is under way, and no incomplete batch waits to be written.
    pub(super) fn can_write(&self) -> bool {
        self.phase == Phase::Ready && self.arena.can_take()
    }

    /// Whether this many bytes of the normal class wait, with no write under way, so that the caller that
    /// queues the last of them should write them, too: they are in its processor's cache, and the other side
    /// can begin with them.
    #[inline]
    #[must_use]
    pub fn is_piling_up(&self, bytes: usize) -> bool {
        self.arena.has_pile(bytes) && self.can_write()
    }

    /// Whether queued messages are sent now: connected, and the peer has not sent a go-away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Ready && self.closing.is_none() && !self.conn.gone_away
    }

    #[cold]
    fn note_fail_fast(&mut self, id: u64) {
        let Self { fail_fast, calls, .. } = self;
        let fail_fast = fail_fast.get_or_insert_default();
        if fail_fast.len() > 2 * calls.in_flight() + 16 {
            fail_fast.retain(|id| calls.get(*id).is_some());
        }
        fail_fast.insert(id);
    }

    /// The connection accepts nothing new: calls that do not wait for another one fail, if they were not
    /// sent.
    pub(super) fn fail_waiting_calls(&mut self, cause: &Disconnect) {
        for id in self.fail_fast.take().into_iter().flat_map(|ids| *ids) {
            let Some((class, _)) = self.calls.get(id) else { continue };
            if self.withdraw_call(id, class) {
                self.fail_call(id, CallError::NeverSent(cause.clone()));
            }
        }
        self.grant_calls();
    }

    /// The class that a call uses.
    #[must_use]
    pub fn call_class(&self, options: &CallOptions, len: usize) -> Class {
        self.class_of(options.class, len)
    }

    /// The class that a cast uses.
    #[must_use]
    pub fn cast_class(&self, options: &CastOptions, len: usize) -> Class {
        self.class_of(options.class, len)
    }

    /// The class of a message of that length, unless it was chosen. On framings where the bytes themselves
    /// are the message there is only one class: they keep their order.
    #[inline]
    pub(super) fn class_of(&self, chosen: Option<Class>, len: usize) -> Class {
        let by_length = if len > self.arena.fragment() { Class::Bulk } else { Class::Normal };
        chosen.filter(|_| self.framing.profile().atomic).unwrap_or(by_length)
    }

    pub(super) fn check_size(&self, len: usize) -> Result<(), EncodeError> {
        if len > self.conn.agreed.max_message {
            return Err(EncodeError::TooLarge { len: len as u64, max: self.conn.agreed.max_message as u64 });
        }
        Ok(())
    }

    pub(super) fn write_queue_full(&self, class: Class) -> Full {
        let load = self.arena.ours(class);
        Full::WriteQueue { bytes: load.bytes as u64, messages: load.messages as u64 }
    }

    /// A call or cast was queued: checks the high-water mark, and wakes the driver.
    #[inline]
    pub(super) fn after_queueing_in(&mut self, class: Class) {
        let load = self.arena.ours(class);
        if self.settings.write_queue.is_reached(load.messages, load.bytes) {
            self.lines.write_full[lane(class)] = true;
        }
        self.wake_driver();
    }

    /// An answer was queued.
    #[inline]
    pub(super) fn after_queueing(&mut self) {
        self.wake_driver();
    }

    /// A batch was taken: callers that wait for room are woken, once, at the low mark.
    pub(super) fn after_taking(&mut self) {
        for class in CLASSES {
            let (low, load) = (self.settings.write_queue.low_mark(), self.arena.ours(class));
            if !self.lines.write_full[lane(class)] || low.is_reached(load.messages, load.bytes) {
                continue;
            }
            self.lines.write_full[lane(class)] = false;
            while let Some(token) = self.lines.rooms[lane(class)].grant_one() {
                self.wakes.caller(token);
            }
            self.grant_calls();
        }
    }

    /// The calls that the peer may count as in flight. A cancelled call keeps its place until its cancel is
    /// sent, because a request of another class could overtake it.
    pub(super) fn places_held(&self) -> usize {
        self.calls.held() + self.conn.cancels
    }

    /// A batch is sent, with the cancels in it.
    pub(super) fn note_cancels(&mut self, batch: &Batch) {
        if self.conn.cancels > 0 {
            self.conn.cancels = self.conn.cancels.saturating_sub(batch.cancels());
            self.grant_calls();
        }
    }

    /// The result of a call, if it has ended; otherwise keeps a new token.
    #[inline(always)]
    pub fn poll_reply(
        &mut self,
        call: CallId,
        token: impl FnOnce() -> T,
    ) -> Option<Result<Reply, CallError>> {
        match self.calls.poll(call.0, token) {
            None => Some(Err(CallError::Closed)),
            Some(None) => None,
            Some(Some(result)) => {
                self.grant_calls();
                Some(result)
            }
        }
    }

    /// Cancels a call. Its slot is free at once. A request that was not sent is removed; one of which
    /// fragments were sent is aborted; otherwise the peer is notified, after the request, if the protocol has
    /// cancels.
    pub fn cancel_call(&mut self, call: CallId) {
        if let Some(class) = self.calls.forget(call.0) {
            self.counters.calls_cancelled += 1;
            let waits = self.retries.is_waiting(call.0);
            if !self.withdraw_call(call.0, class) && !waits {
                self.send_cancel(call.0, class);
            }
            self.forget_retries(call.0, false);
        }
        self.grant_calls();
    }

    /// Removes a request that was not sent, or not completely, from the queue. `false`: it was sent.
    fn withdraw_call(&mut self, id: u64, class: Class) -> bool {
        let withdrawn = self.arena.withdraw(class, Sent::Call(id));
        self.after_withdrawing(withdrawn)
    }

    pub(super) fn send_cancel(&mut self, id: u64, class: Class) {
        if !self.framing.profile().cancel || (self.phase != Phase::Ready && self.history.session.is_none()) {
            // Not sent yet, or the connection it was sent on has ended: the request is removed before the
            // next connection is used.
            return;
        }
        // In the request's class, so that it cannot overtake it.
        let meta = Meta { class, ..Meta::new(Kind::Cancel, id) };
        let pushed = self.arena.push(&self.framing, Sent::Cancel(id), &meta, &[], b"".into(), false);
        debug_assert!(pushed.is_ok(), "a cancel can always be written");
        self.conn.cancels += 1;
        self.wake_driver();
    }

    /// A call's deadline passed.
    pub(super) fn expire_call(&mut self, id: u64) {
        let Some((class, _)) = self.calls.get(id) else { return };
        // A peer does not handle an incomplete request.
        let may_have_run = self.retries.may_have_run(id);
        let withdrawn = self.retries.is_waiting(id) | self.withdraw_call(id, class);
        let outcome = if withdrawn && !may_have_run { Outcome::Expired } else { Outcome::MaybeDelivered };
        let link = self.doing();
        if let Some(token) = self.calls.complete(id, || Err(CallError::DeadlineExceeded { outcome, link })) {
            self.counters.calls_expired += 1;
            self.forget_retries(id, false);
            self.wakes.caller(token);
            if !withdrawn {
                self.send_cancel(id, class);
            }
        }
    }

    /// Whether any byte of that call's request may have been sent.
    pub(super) fn has_left(&self, id: u64, class: Class) -> bool {
        if !self.retries.is_empty() {
            // Requests that are sent again need not be in order of their ids.
            return !self.arena.holds(class, Sent::Call(id)) && !self.retries.is_waiting(id);
        }
        self.arena.first_queued_call(class).is_none_or(|first| id < first)
    }

    /// The messages that a closed link could not send.
    pub fn take_undelivered(&mut self) -> Vec<Undelivered> {
        let mut undelivered = Vec::new();
        if self.phase != Phase::Closed {
            return undelivered;
        }
        let Self { framing, outcomes, arena, .. } = &mut *self;
        arena.retain(|frame| {
            // One outcome for each: some have theirs already.
            if let Sent::Cast(number) = frame.sent
                && outcomes.as_ref().is_some_and(|outcomes| outcomes.was_told(number))
            {
                return false;
            }
            let mut back = decode(framing, frame, Outcome::NeverSent, &Undeliverable::Closed);
            if let (Some(back), Some(outcomes)) = (&mut back, &*outcomes) {
                outcomes.note_tried(back);
            }
            undelivered.extend(back);
            false
        });
        // Messages that were given back before, and not taken.
        if let Some(outcomes) = &mut self.outcomes {
            undelivered.extend(outcomes.drain_errored());
        }
        undelivered
    }
}
