//! The peer's requests whose handlers take time.
//!
//! Requests that are answered at once (by inline handlers, or handlers that finish at once) are not recorded
//! here.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::timers::Key;
use super::{Link, LinkEvent, Phase};
use crate::arena::Withdrawn;
use crate::body::Payload;
use crate::config::OnFailure;
use crate::error::{Disconnect, EncodeError, Failure, PeerError, Status};
use crate::frame::{Calls, Framing, Kind, Meta};
use crate::link::reader::Incoming;
use crate::time::{Instant, millis};

/// The id of a request of the peer while it is being handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inbound {
    /// The key in the table: the id on the wire if these are unique.
    key: u64,
    wire_id: u64,
    scope: u64,
}

impl Inbound {
    /// The request's id on the wire (call id, Seq).
    #[must_use]
    pub fn wire_id(&self) -> u64 {
        self.wire_id
    }
}

/// The state of a request while it is being handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InboundState {
    /// The caller waits for the answer.
    Wanted,
    /// The caller cancelled it, its deadline passed, or its connection ended.
    Unwanted,
}

/// The extensions of a request that its answer repeats: usually none.
pub(super) type Repeated = Option<Box<[u8]>>;

#[derive(Debug)]
struct Entry<T> {
    /// Wakes the handler when the request is no longer wanted.
    token: Option<T>,
    wire_id: u64,
    /// The length of its body and extensions, bytes.
    len: usize,
    /// Extensions that its answer repeats.
    repeated: Repeated,
    wanted: bool,
    /// The receive buffer counts the memory of its body.
    is_watched: bool,
}

/// Bytes that a running request takes in the tables, besides its body and extensions: its entry and its id, each in
/// a node of a tree that may be half empty.
const RUNNING: usize = 128;

/// Requests whose handlers run. A request that is no longer wanted stays until its handler ends: the limit
/// applies to all running handlers.
#[derive(Debug)]
pub(super) struct InboundTable<T> {
    entries: BTreeMap<u64, Entry<T>>,
    /// Wanted requests by their id on the wire, if these are unique.
    by_id: BTreeMap<u64, u64>,
    next_key: u64,
    wanted: usize,
    bytes: usize,
}

impl<T> InboundTable<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), by_id: BTreeMap::new(), next_key: 0, wanted: 0, bytes: 0 }
    }

    /// The number of requests whose answers are wanted.
    pub(super) fn len(&self) -> usize {
        self.wanted
    }

    /// Whether a handler runs, whether or not its answer is wanted.
    pub(super) fn has_handlers(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Bytes of the requests that run: bodies, extensions and entries.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.entries.len() * RUNNING
    }

    /// The ids of these requests on the wire.
    pub(super) fn wanted(&self) -> impl Iterator<Item = u64> {
        self.entries.values().filter(|entry| entry.wanted).map(|entry| entry.wire_id)
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.wanted)
    }

    fn open(&mut self, entry: Entry<T>, by_id: bool) -> u64 {
        self.next_key += 1;
        let (key, wire_id, len) = (self.next_key, entry.wire_id, entry.len);
        self.entries.insert(key, entry);
        if by_id {
            self.by_id.insert(wire_id, key);
        }
        self.wanted += 1;
        self.bytes += len;
        key
    }

    /// The answer is no longer wanted. Returns the token to wake.
    fn disown(&mut self, key: u64) -> Option<T> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.wanted)?;
        entry.wanted = false;
        self.wanted -= 1;
        self.by_id.remove(&entry.wire_id);
        entry.token.take()
    }

    /// The answers to the newest requests are no longer wanted, except for `most` requests. Returns their ids
    /// on the wire, and the extensions that their answers repeat. `wake` gets their tokens.
    pub(super) fn disown_all_but(&mut self, most: usize, mut wake: impl FnMut(T)) -> Vec<(u64, Repeated)> {
        let surplus = self.wanted.saturating_sub(most);
        let newest = self.entries.iter().rev().filter(|(_, entry)| entry.wanted).take(surplus);
        let newest: Vec<u64> = newest.map(|(key, _)| *key).collect();
        newest.iter().filter_map(|key| self.disown(*key)).for_each(&mut wake);
        let entries = newest.iter().filter_map(|key| {
            let entry = self.entries.get_mut(key)?;
            Some((entry.wire_id, entry.repeated.take()))
        });
        entries.collect()
    }

    /// Its handler ended. Returns the entry, which says whether an answer is wanted.
    fn close(&mut self, key: u64) -> Option<Entry<T>> {
        let entry = self.entries.remove(&key)?;
        if entry.wanted {
            self.wanted -= 1;
            self.by_id.remove(&entry.wire_id);
        }
        self.bytes -= entry.len;
        Some(entry)
    }

    /// The receive buffer does not count requests any more.
    pub(super) fn count_here(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.is_watched = false);
    }

    /// Frees the memory of empty tables.
    pub(super) fn trim(&mut self) {
        if self.entries.is_empty() {
            (self.entries, self.by_id) = (BTreeMap::new(), BTreeMap::new());
        }
    }

    /// None of the answers is wanted any more.
    pub(super) fn clear(&mut self, mut wake: impl FnMut(T)) {
        self.by_id.clear();
        self.wanted = 0;
        for entry in self.entries.values_mut() {
            entry.wanted = false;
            if let Some(token) = entry.token.take() {
                wake(token);
            }
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Records that a request is being handled, until [`answer`](Self::answer) or
    /// [`finish_inbound`](Self::finish_inbound). `None`: the maximum number of handlers is running; refuse
    /// the event, and it is returned again when one ends.
    ///
    /// # Errors
    /// The peer uses an id twice, or sends more requests than this side's hello allows.
    pub fn open_inbound(
        &mut self,
        now: Instant,
        request: &Incoming<'_>,
    ) -> Result<Option<Inbound>, PeerError> {
        let wire_id = request.id();
        let by_id = self.framing.profile().calls == Calls::ByKind;
        if by_id && self.framing.profile().handshake {
            self.check_inbound(wire_id, 0)?;
        }
        let pauses = !self.framing.profile().flow_control;
        if !self.has_answer_room() {
            self.conn.paused.for_answers = pauses;
            return Ok(None);
        }
        if self.free_inbound() == 0 {
            self.conn.paused.for_inbound = pauses;
            return Ok(None);
        }
        let repeated = self.framing.profile().repeats_extensions && !request.extensions.is_empty();
        let repeated: Repeated = repeated.then(|| request.extensions.into());
        // The handler holds the extensions, too; they are kept for the answer in addition.
        let repeats = repeated.as_ref().map_or(0, |repeated| repeated.len());
        let len = request.body.len() + request.extensions.len() + repeats;
        let counted = request.counted_with_buffer();
        self.note_counted_with_buffer(counted);
        let is_watched = counted.is_some();
        let entry = Entry { token: None, wire_id, len, repeated, wanted: true, is_watched };
        let key = self.inbound.open(entry, by_id);
        if let Some(remaining) = request.remaining() {
            self.watch(now, remaining, Key::Inbound(key));
        }
        Ok(Some(Inbound { key, wire_id, scope: self.history.scope }))
    }

    /// Whether the peer may send a request with that id, while `parked` other requests wait to be started.
    pub(super) fn check_inbound(&self, wire_id: u64, parked: usize) -> Result<(), PeerError> {
        let (value, limit) = (self.inbound.len() + parked, self.settings.max_inbound);
        if value >= limit {
            return Err(PeerError::TooManyRequests { value: value as u64 + 1, limit: limit as u64 });
        }
        if self.inbound.by_id.contains_key(&wire_id) {
            return Err(PeerError::RequestIdInUse { id: wire_id });
        }
        Ok(())
    }

    /// How many more requests may be started: their number, their bodies, and the expected size of their
    /// answers are limited.
    pub(super) fn free_inbound(&self) -> usize {
        if self.inbound.bytes >= self.settings.max_inbound_bytes
            || self.is_refused_memory()
            || self.held.is_held()
        {
            return 0;
        }
        self.startable().saturating_sub(self.inbound.entries.len())
    }

    /// A handler ended without an answer, because none is wanted.
    pub fn finish_inbound(&mut self, inbound: Inbound) {
        let _unwanted = self.close_inbound(inbound);
        self.after_closing_inbound();
    }

    /// A handler ended. Returns the extensions that its answer repeats; `None`: no answer is wanted.
    fn close_inbound(&mut self, inbound: Inbound) -> Option<Repeated> {
        let entry = self.inbound.close(inbound.key)?;
        self.note_handler_ended();
        if entry.is_watched {
            self.forget_counted_with_buffer(entry.len);
        }
        entry.wanted.then_some(entry.repeated)
    }

    pub(super) fn after_closing_inbound(&mut self) {
        if self.conn.paused.for_inbound {
            self.conn.paused.for_inbound = false;
            self.wakes.attend();
        }
        self.after_making_room();
    }

    /// Whether the caller still waits for the answer; keeps a token that is woken when that changes.
    pub fn poll_inbound(&mut self, inbound: Inbound, token: Option<T>) -> InboundState {
        match self.inbound.entries.get_mut(&inbound.key) {
            Some(entry) if entry.wanted => {
                if token.is_some() {
                    entry.token = token;
                }
                InboundState::Wanted
            }
            _ => InboundState::Unwanted,
        }
    }

    /// Answers a request that was recorded with [`open_inbound`](Self::open_inbound). An answer that is no
    /// longer wanted is dropped, counted and reported. An answer without room in the write queue is held
    /// until there is room; while one is held, no request starts.
    pub fn answer(&mut self, inbound: Inbound, answer: Result<Payload<'_>, Failure>) {
        self.answer_as(inbound, 0, answer);
    }

    /// [`answer`](Self::answer) with a method (message type) in the answer, if the framing can carry one;
    /// otherwise any value but 0 is a failure.
    pub fn answer_as(&mut self, inbound: Inbound, method: u32, answer: Result<Payload<'_>, Failure>) {
        let closed = self.close_inbound(inbound);
        self.note_answer_size(answer.as_ref().map_or_else(|failure| failure.body.len(), |body| body.len()));
        self.after_closing_inbound();
        let Some(repeated) = closed.filter(|_| inbound.scope == self.history.scope) else {
            self.drop_answer(inbound.wire_id);
            return;
        };
        if let Err(failure) = &answer {
            self.note_failure(failure.status);
        }
        let (meta, payload, fallback) = match answer {
            Ok(payload) => {
                let class = self.class_of(None, payload.len());
                (Meta { class, method, ..Meta::new(Kind::Reply, inbound.wire_id) }, payload, true)
            }
            Err(failure) => match self.failure_frame(inbound.wire_id, &failure) {
                Some((meta, text)) => (meta, text.into(), false),
                None => return,
            },
        };
        let result = match self.check_answer(method, payload.len()) {
            Ok(()) => self.place_answer(&meta, repeated.clone(), payload),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => {}
            Err(error) if fallback => {
                let failure = unsendable(&error);
                self.note_failure(failure.status);
                let Some((meta, text)) = self.failure_frame(inbound.wire_id, &failure) else { return };
                if self.place_answer(&meta, repeated, text.into()).is_err() {
                    self.drop_answer(inbound.wire_id);
                }
            }
            Err(_) => self.drop_answer(inbound.wire_id),
        }
    }

    /// Whether no request is being handled and no write is under way: no other answer is expected soon that
    /// could be written together with the last one, so the thread that gave it may write it.
    #[must_use]
    pub fn has_last_answer(&self) -> bool {
        self.inbound.entries.is_empty() && self.can_write()
    }

    /// The frame that tells the caller of the failure. `None`: there is none; the policy was applied.
    pub(super) fn failure_frame(&mut self, wire_id: u64, failure: &Failure) -> Option<(Meta, Bytes)> {
        let (error_reply, policy) = (self.framing.profile().error_reply, self.settings.on_failure);
        let Some(meta) = told_failure(error_reply, policy, wire_id, failure) else {
            self.drop_answer(wire_id);
            if policy == OnFailure::Disconnect {
                self.end_unanswered(failure.status);
            }
            return None;
        };
        // Text that is too long for the peer is truncated: the status matters.
        Some((meta, failure.body.slice(..failure.body.len().min(self.longest_answer()))))
    }

    /// A request failed, its caller cannot be told, and the connection must end because of that.
    pub(super) fn end_unanswered(&mut self, status: Status) {
        self.conn.abort.get_or_insert_with(|| Box::new(Disconnect::HandlerFailed { status }));
        self.wakes.attend();
    }

    fn check_answer(&self, method: u32, len: usize) -> Result<(), EncodeError> {
        if method != 0 {
            self.framing.set_method(&mut [], method)?;
        }
        let max = self.longest_answer();
        if len > max {
            return Err(EncodeError::TooLarge { len: len as u64, max: max as u64 });
        }
        Ok(())
    }

    /// An answer cannot be sent.
    pub(super) fn drop_answer(&mut self, id: u64) {
        self.counters.answers_dropped += 1;
        if let Some(closing) = &mut self.closing {
            closing.cut.push(id);
        }
        self.event(LinkEvent::AnswerDropped { id });
    }

    /// A handler failed: counted and reported.
    pub fn note_failure(&mut self, status: Status) {
        self.counters.handler_failures += 1;
        self.event(LinkEvent::HandlerFailed { status });
    }

    /// The caller cancelled the request. A long answer that is being sent is aborted.
    pub(super) fn cancel_inbound(&mut self, wire_id: u64) {
        self.counters.cancels += 1;
        if let Some(&key) = self.inbound.by_id.get(&wire_id) {
            self.wakes.callers(self.inbound.disown(key));
            return;
        }
        let withdrawn = if self.withdraw_held(wire_id) {
            Withdrawn::Waiting
        } else {
            self.arena.withdraw_long_answer(wire_id)
        };
        if self.after_withdrawing(withdrawn) {
            self.drop_answer(wire_id);
            self.place_held();
            self.after_making_room();
        }
    }

    /// A request's deadline passed while it was handled.
    pub(super) fn expire_inbound(&mut self, key: u64) {
        let Some(entry) = self.inbound.entries.get_mut(&key).filter(|entry| entry.wanted) else { return };
        let (wire_id, repeated) = (entry.wire_id, entry.repeated.take());
        self.wakes.callers(self.inbound.disown(key));
        if (self.phase == Phase::Ready || self.history.session.is_some())
            && self.framing.profile().error_reply
        {
            let failure = Failure::new(Status::DEADLINE_EXCEEDED, "");
            let meta = failure_meta(wire_id, &failure);
            let placed = self.place_answer(&meta, repeated, b"".into());
            debug_assert!(placed.is_ok(), "an empty error reply can always be written");
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

/// The header of the frame that tells the caller of a failure, if there is one.
pub(super) fn told_failure(error_reply: bool, policy: OnFailure, id: u64, failure: &Failure) -> Option<Meta> {
    match policy {
        _ if error_reply => Some(failure_meta(id, failure)),
        OnFailure::Answer { method } => Some(Meta { method, ..Meta::new(Kind::Reply, id) }),
        OnFailure::Silence | OnFailure::Disconnect => None,
    }
}

/// The failure for an answer that cannot be encoded.
pub(super) fn unsendable(error: &EncodeError) -> Failure {
    let status = match error {
        EncodeError::TooLarge { .. } => Status::REPLY_TOO_LARGE,
        _ => Status::FAILED,
    };
    Failure::new(status, alloc::format!("{error}"))
}
