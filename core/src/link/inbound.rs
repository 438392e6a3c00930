//! The peer's requests that are being handled by something that takes its time.
//!
//! A request answered on the spot (inline handlers, handlers that finish at once) never comes
//! here.

use alloc::collections::BTreeMap;

use super::{Key, Link, LinkEvent, Phase};
use crate::arena::Sent;
use crate::body::Payload;
use crate::error::{EncodeError, Failure, PeerError, Status};
use crate::frame::{Calls, Framing, Kind, Meta};
use crate::link::send::millis;
use crate::supervisor::Epoch;
use crate::time::Instant;

/// Names a request of the peer for as long as it is being handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inbound {
    /// Where it stands in the table: the id on the wire where those are unique.
    key: u64,
    wire_id: u64,
    epoch: Epoch,
}

impl Inbound {
    /// The request's id on the wire (call id, Seq).
    #[must_use]
    pub fn wire_id(&self) -> u64 {
        self.wire_id
    }
}

/// What became of a request while it is handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InboundState {
    /// Somebody waits for the answer.
    Wanted,
    /// The caller cancelled it, its deadline passed, or its connection ended.
    Unwanted,
}

#[derive(Debug)]
struct Entry<T> {
    /// Wakes the handler when the request is no longer wanted.
    token: Option<T>,
}

#[derive(Debug)]
pub(super) struct InboundTable<T> {
    entries: BTreeMap<u64, Entry<T>>,
    next_key: u64,
}

impl<T> InboundTable<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), next_key: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.entries.contains_key(&key)
    }

    /// Nobody wants any of them any more.
    pub(super) fn clear(&mut self, mut wake: impl FnMut(T)) {
        for entry in core::mem::take(&mut self.entries).into_values() {
            if let Some(token) = entry.token {
                wake(token);
            }
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Notes that a request is being handled. `None`: as many are as allowed, on a protocol that
    /// has no way to tell the peer beforehand; refuse the event, reading pauses until one ends.
    ///
    /// # Errors
    /// The peer uses an id twice, or sends more requests than our hello allows.
    pub fn open_inbound(
        &mut self,
        now: Instant,
        wire_id: u64,
        remaining: Option<core::time::Duration>,
    ) -> Result<Option<Inbound>, PeerError> {
        let by_kind = self.profile.calls == Calls::ByKind;
        if self.inbound.len() >= self.settings.max_inbound {
            if by_kind && self.profile.handshake {
                return Err(PeerError::TooManyRequests {
                    value: self.inbound.len() as u64 + 1,
                    limit: self.settings.max_inbound as u64,
                });
            }
            self.conn.paused_for_inbound = true;
            return Ok(None);
        }
        let key = if by_kind {
            if self.inbound.contains(wire_id) {
                return Err(PeerError::RequestIdInUse { id: wire_id });
            }
            wire_id
        } else {
            self.inbound.next_key += 1;
            self.inbound.next_key
        };
        self.inbound.entries.insert(key, Entry { token: None });
        if let Some(remaining) = remaining {
            self.watch(now, remaining, Key::Inbound(key));
        }
        Ok(Some(Inbound { key, wire_id, epoch: self.epoch }))
    }

    /// Whether somebody still waits for the answer; keeps a token for when that changes.
    pub fn poll_inbound(&mut self, inbound: Inbound, token: Option<T>) -> InboundState {
        if inbound.epoch != self.epoch {
            return InboundState::Unwanted;
        }
        match self.inbound.entries.get_mut(&inbound.key) {
            Some(entry) => {
                if token.is_some() {
                    entry.token = token;
                }
                InboundState::Wanted
            }
            None => InboundState::Unwanted,
        }
    }

    /// Answers a request that was noted with [`open_inbound`](Self::open_inbound). One that is no
    /// longer wanted is dropped, counted and reported. Replies may pass the high-water mark: what
    /// keeps them bounded is that reading pauses there.
    pub fn answer(&mut self, inbound: Inbound, answer: Result<Payload<'_>, Failure>) {
        if inbound.epoch != self.epoch || self.inbound.entries.remove(&inbound.key).is_none() {
            self.drop_answer(inbound.wire_id);
            return;
        }
        if self.conn.paused_for_inbound {
            self.conn.paused_for_inbound = false;
            self.wake = true;
        }
        if let Err(failure) = &answer {
            self.note_failure(failure.status);
        }
        let (meta, payload, fallback) = match answer {
            Ok(payload) => (Meta::new(Kind::Reply, inbound.wire_id), payload, true),
            Err(failure) => {
                if !self.profile.error_reply {
                    self.drop_answer(inbound.wire_id);
                    return;
                }
                // Text that is too long for the peer is cut: the status is what matters.
                let text = failure.body.slice(..failure.body.len().min(self.conn.max_message));
                (failure_meta(inbound.wire_id, &failure), text.into(), false)
            }
        };
        let result = match self.check_answer_size(payload.len()) {
            Ok(()) => self.arena.push(
                &self.framing,
                Sent::Answer(inbound.wire_id),
                &meta,
                &[],
                payload,
                self.profile.external_bodies,
            ),
            Err(error) => Err(error),
        };
        match result {
            Ok(_) => {
                self.counters.answers += 1;
                self.after_queueing();
            }
            Err(error) if fallback && self.profile.error_reply => {
                let failure = too_large(&error);
                self.note_failure(failure.status);
                let meta = failure_meta(inbound.wire_id, &failure);
                let text = failure.body.len().min(self.conn.max_message);
                let body = Payload::Borrowed(&failure.body[..text]);
                let sent = Sent::Answer(inbound.wire_id);
                let pushed = self.arena.push(&self.framing, sent, &meta, &[], body, false);
                if pushed.is_err() {
                    self.drop_answer(inbound.wire_id);
                }
                self.after_queueing();
            }
            Err(_) => self.drop_answer(inbound.wire_id),
        }
    }

    fn check_answer_size(&self, len: usize) -> Result<(), EncodeError> {
        if len > self.conn.max_message {
            return Err(EncodeError::TooLarge { len: len as u64, max: self.conn.max_message as u64 });
        }
        Ok(())
    }

    /// An answer cannot be sent.
    pub(super) fn drop_answer(&mut self, id: u64) {
        self.counters.answers_dropped += 1;
        self.event(LinkEvent::AnswerDropped { id });
    }

    /// A handler failed: counted and reported.
    pub fn note_failure(&mut self, status: Status) {
        self.counters.handler_failures += 1;
        self.event(LinkEvent::HandlerFailed { status });
    }

    /// The caller no longer wants the answer.
    pub(super) fn cancel_inbound(&mut self, wire_id: u64) {
        self.counters.cancels += 1;
        self.end_inbound(wire_id);
    }

    /// A request's deadline passed while it was handled.
    pub(super) fn expire_inbound(&mut self, key: u64) {
        if !self.inbound.contains(key) {
            return;
        }
        self.end_inbound(key);
        if self.phase == Phase::Ready && self.profile.error_reply {
            let failure = Failure::new(Status::DEADLINE_EXCEEDED, "");
            let meta = failure_meta(key, &failure);
            let pushed = self.arena.push(&self.framing, Sent::Answer(key), &meta, &[], b"".into(), false);
            debug_assert!(pushed.is_ok(), "an empty error reply can always be written");
            self.counters.answers += 1;
            self.after_queueing();
        }
    }

    fn end_inbound(&mut self, key: u64) {
        if let Some(entry) = self.inbound.entries.remove(&key)
            && let Some(token) = entry.token
        {
            self.tokens.push(token);
        }
        if self.conn.paused_for_inbound {
            self.conn.paused_for_inbound = false;
            self.wake = true;
        }
    }
}

pub(super) fn failure_meta(id: u64, failure: &Failure) -> Meta {
    Meta {
        status: failure.status.0,
        retry_after_ms: failure.retry_after.map(millis),
        ..Meta::new(Kind::ErrorReply, id)
    }
}

pub(super) fn too_large(error: &EncodeError) -> Failure {
    Failure::new(Status::REPLY_TOO_LARGE, alloc::format!("{error}"))
}
