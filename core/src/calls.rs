//! Calls in flight: a ring indexed by call id and checked against it.
//!
//! The table chooses the ids in sequence, and skips those whose slot is still held by a long call. A reply
//! finds its slot by `id & mask` and must carry exactly the slot's id: a late, repeated or invalid one cannot
//! reach another call.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::body::{Body, INLINE_BODY};
use crate::error::CallError;
use crate::frame::Class;
use crate::recv_buf::RecvBuf;
use crate::time::Instant;

/// The initial number of slots: few, because many links have one call at a time.
const FIRST_SLOTS: usize = 4;

/// The reply to a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The body.
    pub body: Body,
    /// The message type of the reply (tcpstream); otherwise 0.
    pub method: u32,
    /// The encoded extensions, if there are any.
    pub extensions: Option<Box<[u8]>>,
}

impl Reply {
    /// A reply with this body and nothing else.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self { body, ..Self::default() }
    }
}

impl core::ops::Deref for Reply {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

impl From<Reply> for Body {
    fn from(reply: Reply) -> Self {
        reply.body
    }
}

/// The id of a call of this side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub(crate) u64);

impl CallId {
    /// The call with this id on the wire. An id that belongs to no call is harmless: polling for its reply
    /// returns [`CallError::Closed`](crate::error::CallError::Closed).
    #[must_use]
    pub const fn from_wire(id: u64) -> Self {
        Self(id)
    }

    /// The id on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
enum State<T> {
    Free,
    /// Waiting for the reply; the token wakes the caller.
    InFlight(T),
    /// Over; the result is kept until the caller takes it.
    Done,
}

#[derive(Debug)]
struct Slot<T> {
    id: u64,
    state: State<T>,
    class: Class,
    deadline: Instant,
}

type CallResult = Result<Reply, CallError>;

/// The result of a call whose slot is [`State::Done`]. Its memory stays in place, and a reply is written into
/// it: moving a reply takes as long as copying it from the receive buffer.
#[derive(Debug, Default)]
struct Kept {
    reply: Reply,
    error: Option<Box<CallError>>,
}

impl Kept {
    fn set(&mut self, result: CallResult) {
        match result {
            Ok(reply) => self.reply = reply,
            Err(error) => self.error = Some(Box::new(error)),
        }
    }

    /// Always inlined, like its callers: each return of a reply would copy it.
    #[inline(always)]
    fn take(&mut self) -> CallResult {
        if let Some(error) = self.error.take() {
            return Err(*error);
        }
        let Reply { body, method, extensions } = &mut self.reply;
        Ok(Reply { body: body.take(), method: *method, extensions: extensions.take() })
    }
}

#[derive(Debug)]
pub(crate) struct Calls<T> {
    slots: Box<[Slot<T>]>,
    /// The results of ended calls, by slot. Stored apart because they are large, and most operations on slots
    /// do not need them.
    results: Box<[Kept]>,
    first_id: u64,
    next_id: u64,
    /// The number of slots that are not free.
    held: usize,
    in_flight: usize,
}

impl<T> Calls<T> {
    pub(crate) fn new(first_id: u64) -> Self {
        Self {
            slots: Box::default(),
            results: Box::default(),
            first_id,
            next_id: first_id,
            held: 0,
            in_flight: 0,
        }
    }

    /// Calls that wait for their reply.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Calls that wait, or whose result was not taken yet: the limit applies to these.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The id of the first call.
    pub(crate) fn first_id(&self) -> u64 {
        self.first_id
    }

    /// Bytes of memory allocated for the table itself.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.results)
    }

    /// Frees the table while no call needs it.
    pub(crate) fn trim(&mut self) {
        if self.held == 0 {
            (self.slots, self.results) = (Box::default(), Box::default());
        }
    }

    #[inline]
    fn slot(&self, id: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        // Truncation is the point: only the low bits choose the slot.
        #[allow(clippy::cast_possible_truncation)]
        let index = id as usize & (self.slots.len() - 1);
        (self.slots[index].id == id).then_some(index)
    }

    /// The id of the next call.
    #[inline]
    pub(crate) fn peek_id(&mut self) -> u64 {
        // At most half of the slots are held, so that a free one is never far.
        if (self.held + 1) * 2 > self.slots.len() {
            self.grow();
        }
        loop {
            let id = self.next_id;
            #[allow(clippy::cast_possible_truncation)]
            let index = id as usize & (self.slots.len() - 1);
            if matches!(self.slots[index].state, State::Free) {
                return id;
            }
            self.next_id = id.wrapping_add(1);
        }
    }

    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(FIRST_SLOTS);
        let mut slots: Vec<Slot<T>> = Vec::with_capacity(len);
        let free = || Slot { id: 0, state: State::Free, class: Class::Normal, deadline: Instant::ZERO };
        slots.resize_with(len, free);
        let mut results: Vec<Kept> = Vec::with_capacity(len);
        results.resize_with(len, Kept::default);
        let old = (core::mem::take(&mut self.slots), core::mem::take(&mut self.results));
        for (slot, result) in old.0.into_iter().zip(old.1) {
            if !matches!(slot.state, State::Free) {
                // Ids that had different slots among fewer have different ones among more.
                #[allow(clippy::cast_possible_truncation)]
                let index = slot.id as usize & (len - 1);
                slots[index] = slot;
                results[index] = result;
            }
        }
        (self.slots, self.results) = (slots.into_boxed_slice(), results.into_boxed_slice());
    }

    /// Opens the call whose id [`peek_id`](Self::peek_id) has just returned.
    #[inline]
    pub(crate) fn open(&mut self, id: u64, class: Class, deadline: Instant, token: T) {
        #[allow(clippy::cast_possible_truncation)]
        let index = id as usize & (self.slots.len() - 1);
        debug_assert!(matches!(self.slots[index].state, State::Free));
        self.slots[index] = Slot { id, state: State::InFlight(token), class, deadline };
        self.next_id = id.wrapping_add(1);
        self.held += 1;
        self.in_flight += 1;
    }

    /// If `id` waits for its reply: the class of its request, and its deadline.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<(Class, Instant)> {
        let slot = &self.slots[self.slot(id)?];
        matches!(slot.state, State::InFlight(_)).then_some((slot.class, slot.deadline))
    }

    /// Ends a call; returns the token to wake. `None` if no such call is in flight (then `result` is not
    /// called).
    #[inline]
    pub(crate) fn complete(&mut self, id: u64, result: impl FnOnce() -> CallResult) -> Option<T> {
        self.complete_with(id, |kept| kept.set(result()))
    }

    /// [`complete`](Self::complete) with a reply that consists only of a body.
    #[inline]
    pub(crate) fn complete_plain(&mut self, id: u64, body: &[u8], buf: &RecvBuf) -> Option<T> {
        self.complete_with(id, |kept| {
            if body.len() <= INLINE_BODY {
                kept.reply.body.assign(body);
            } else {
                kept.reply.body = buf.keep(body);
            }
            kept.reply.method = 0;
        })
    }

    #[inline]
    fn complete_with(&mut self, id: u64, end: impl FnOnce(&mut Kept)) -> Option<T> {
        let index = self.slot(id)?;
        if !matches!(self.slots[index].state, State::InFlight(_)) {
            return None;
        }
        let old = core::mem::replace(&mut self.slots[index].state, State::Done);
        end(&mut self.results[index]);
        self.in_flight -= 1;
        match old {
            State::InFlight(token) => Some(token),
            _ => None,
        }
    }

    /// Ends and removes a call whose reply is passed on at once. `false`: no such call is in flight.
    #[inline]
    pub(crate) fn take_over(&mut self, id: u64) -> bool {
        let Some(index) = self.slot(id) else { return false };
        if !matches!(self.slots[index].state, State::InFlight(_)) {
            return false;
        }
        self.slots[index].state = State::Free;
        self.held -= 1;
        self.in_flight -= 1;
        true
    }

    /// Takes the result of an ended call; otherwise keeps the token that `token` makes. The result is `None`
    /// for an id that belongs to no call.
    // Always inlined, like its callers: each return of a reply would copy it.
    #[inline(always)]
    pub(crate) fn poll(&mut self, id: u64, token: impl FnOnce() -> T) -> Option<Option<CallResult>> {
        let index = self.slot(id)?;
        let slot = &mut self.slots[index];
        match &mut slot.state {
            State::Free => None,
            State::InFlight(old) => {
                *old = token();
                Some(None)
            }
            State::Done => {
                slot.state = State::Free;
                self.held -= 1;
                Some(Some(self.results[index].take()))
            }
        }
    }

    /// Removes a call in any state. `Some(class)` if it was in flight.
    pub(crate) fn forget(&mut self, id: u64) -> Option<Class> {
        let index = self.slot(id)?;
        match core::mem::replace(&mut self.slots[index].state, State::Free) {
            State::Free => None,
            State::Done => {
                let _ = self.results[index].take();
                self.held -= 1;
                None
            }
            State::InFlight(_) => {
                self.held -= 1;
                self.in_flight -= 1;
                Some(self.slots[index].class)
            }
        }
    }

    /// Whether there is a call in flight for which `test` holds.
    pub(crate) fn any_in_flight(&self, mut test: impl FnMut(u64, Class) -> bool) -> bool {
        self.slots.iter().any(|slot| match slot.state {
            State::InFlight(_) => test(slot.id, slot.class),
            _ => false,
        })
    }

    /// Ends every call in flight for which `result` returns one; `wake` gets their tokens.
    pub(crate) fn complete_where(
        &mut self,
        mut result: impl FnMut(u64, Class) -> Option<CallError>,
        mut wake: impl FnMut(T),
    ) -> usize {
        let mut ended = 0;
        for (slot, kept) in self.slots.iter_mut().zip(&mut *self.results) {
            if !matches!(slot.state, State::InFlight(_)) {
                continue;
            }
            let Some(error) = result(slot.id, slot.class) else { continue };
            kept.set(Err(error));
            if let State::InFlight(token) = core::mem::replace(&mut slot.state, State::Done) {
                wake(token);
            }
            ended += 1;
        }
        self.in_flight -= ended;
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn open(calls: &mut Calls<u64>) -> u64 {
        let id = calls.peek_id();
        calls.open(id, Class::Normal, Instant::ZERO, id);
        id
    }

    fn ok(text: &'static [u8]) -> impl FnOnce() -> Result<Reply, CallError> {
        move || Ok(Reply::new(Body::copy_from(text)))
    }

    #[test]
    fn a_late_or_repeated_reply_reaches_nobody() {
        let mut calls = Calls::new(1);
        let first = open(&mut calls);
        assert_eq!(calls.complete(first, ok(b"a")), Some(first));
        assert_eq!(calls.complete(first, ok(b"again")), None);
        assert_eq!(&calls.poll(first, || 0).unwrap().unwrap().unwrap()[..], b"a");
        assert!(calls.poll(first, || 0).is_none());
        // The slot is reused by another id: the old id is refused.
        for _ in 0..FIRST_SLOTS {
            let id = open(&mut calls);
            calls.forget(id);
        }
        let reused = open(&mut calls);
        assert_eq!(calls.complete(first, ok(b"late")), None);
        assert_eq!(calls.complete(reused, ok(b"mine")), Some(reused));
    }

    #[test]
    fn slots_of_long_calls_are_skipped() {
        let mut calls = Calls::new(u64::MAX - 5);
        let long = open(&mut calls);
        for _ in 0..10_000 {
            let id = open(&mut calls);
            assert_ne!(id, long);
            assert!(calls.forget(id).is_some());
        }
        assert_eq!(calls.slots.len(), FIRST_SLOTS, "the table does not grow for a long call");
        assert_eq!(calls.complete(long, ok(b"x")), Some(long));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 1..400)) {
            let mut calls = Calls::new(1 << 63);
            let mut model: Vec<(u64, bool)> = vec![];
            let mut seen = alloc::collections::BTreeSet::new();
            for (op, pick) in ops {
                if op == 0 || model.is_empty() {
                    let id = open(&mut calls);
                    prop_assert!(seen.insert(id), "an id was used twice");
                    model.push((id, false));
                    continue;
                }
                let index = pick.index(model.len());
                let (id, done) = model[index];
                match op {
                    1 => {
                        prop_assert_eq!(calls.complete(id, ok(b"r")).is_some(), !done);
                        model[index].1 = true;
                    }
                    2 => {
                        let polled = calls.poll(id, || id).unwrap();
                        prop_assert_eq!(polled.is_some(), done);
                        if done { model.remove(index); }
                    }
                    _ => {
                        prop_assert_eq!(calls.forget(id).is_some(), !done);
                        model.remove(index);
                    }
                }
                prop_assert_eq!(calls.held(), model.len());
                prop_assert_eq!(calls.in_flight(), model.iter().filter(|(_, done)| !done).count());
            }
        }
    }
}
