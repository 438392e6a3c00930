//! Answers to the peer's requests: how many may wait to be written, and the answers that wait for room.
//!
//! In each class the write queue holds finished answers up to its limit plus one message. An answer that is
//! finished while there is no room is held here, in order; while one is held, no request starts. The answers
//! that running handlers may still produce are bounded before the handlers start: see [`Link::free_inbound`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use bytes::Bytes;

use super::classes::{CLASSES, lane};
use super::inbound::Repeated;
use super::{Link, Phase};
use crate::arena::{Chunk, Load, LocalFrames, Sent};
use crate::body::Payload;
use crate::error::EncodeError;
use crate::frame::{Class, Framing, Meta};
use crate::link::reader::FRAME_OVERHEAD;

/// The assumed size of an answer in bytes before the first one.
pub(super) const UNKNOWN_SIZE: usize = 128 * 1024;
/// The minimum size in bytes that an answer counts for.
const LEAST_SIZE: usize = 4 * 1024;
/// The largest of the last answers counts: of at least this many, and at most twice as many.
const REMEMBERED: u32 = 256;
/// The longest header of a frame, in bytes, without extensions (most answers carry none).
const HEADER: usize = 128;

/// The answers of a link that are not in the write queue.
#[derive(Debug, Default)]
pub(super) struct Answers {
    held: Option<Box<HeldAnswers>>,
    sizes: Sizes,
}

/// Finished answers without room in the write queue, by class, oldest first.
#[derive(Debug, Default)]
struct HeldAnswers {
    lines: [VecDeque<HeldAnswer>; 2],
    load: Load,
}

#[derive(Debug)]
enum HeldAnswer {
    /// An answer that is not encoded yet.
    Body { meta: Meta, repeated: Repeated, body: Bytes },
    /// Answers that the reader encoded during a pass, while other tasks filled the queue.
    Frames(Chunk),
}

impl HeldAnswer {
    fn load(&self) -> Load {
        match self {
            Self::Body { repeated, body, .. } => Load {
                messages: 1,
                bytes: body.len() + repeated.as_ref().map_or(0, |repeated| repeated.len()),
            },
            Self::Frames(chunk) => chunk.owed(),
        }
    }
}

/// The largest recent answer.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    current: usize,
    previous: usize,
    /// The number of answers in `current`.
    count: u32,
    is_known: bool,
}

impl Sizes {
    fn note(&mut self, len: usize) {
        self.is_known = true;
        self.current = self.current.max(len);
        self.count += 1;
        if self.count == REMEMBERED {
            (self.previous, self.current, self.count) = (self.current, 0, 0);
        }
    }

    fn largest(&self) -> usize {
        if self.is_known { self.current.max(self.previous).max(LEAST_SIZE) } else { UNKNOWN_SIZE }
    }
}

impl Answers {
    /// Answers that wait for room.
    pub(super) fn held(&self) -> Load {
        self.held.as_ref().map_or_else(Load::default, |held| held.load)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    fn is_line_empty(&self, class: Class) -> bool {
        self.held.as_ref().is_none_or(|held| held.lines[lane(class)].is_empty())
    }

    fn hold(&mut self, class: Class, answer: HeldAnswer) {
        let held = self.held.get_or_insert_default();
        held.load.add(answer.load());
        held.lines[lane(class)].push_back(answer);
    }

    fn pop(&mut self, class: Class) -> Option<HeldAnswer> {
        let held = self.held.as_mut()?;
        let answer = held.lines[lane(class)].pop_front()?;
        held.load.sub(answer.load());
        self.held.take_if(|held| held.lines.iter().all(VecDeque::is_empty));
        Some(answer)
    }

    /// Removes the answer with this id, if it waits and is not encoded.
    fn withdraw(&mut self, id: u64) -> bool {
        let Some(held) = &mut self.held else { return false };
        for line in &mut held.lines {
            let is_it =
                |answer: &HeldAnswer| matches!(answer, HeldAnswer::Body { meta, .. } if meta.id == id);
            if let Some(answer) = line.iter().position(is_it).and_then(|at| line.remove(at)) {
                held.load.sub(answer.load());
                self.held.take_if(|held| held.lines.iter().all(VecDeque::is_empty));
                return true;
            }
        }
        false
    }

    /// Removes the newest waiting answer; returns its id and, if it is not encoded yet, the extensions that
    /// it repeats. Of answers that were encoded together, the last one.
    pub(super) fn pop_newest(&mut self) -> Option<(u64, Repeated)> {
        let held = self.held.as_mut()?;
        // Bulk first: it contains the long ones.
        for line in held.lines.iter_mut().rev() {
            let is_refused =
                |answer: &HeldAnswer| matches!(answer, HeldAnswer::Body { body, .. } if body.is_empty());
            let Some(at) = line.iter().rposition(|answer| !is_refused(answer)) else { continue };
            let answer = &mut line[at];
            let before = answer.load();
            let (id, repeated, is_empty) = match answer {
                HeldAnswer::Body { meta, repeated, .. } => (Some(meta.id), repeated.take(), true),
                HeldAnswer::Frames(chunk) => (chunk.drop_last_answer(), None, chunk.is_empty()),
            };
            held.load.sub(before);
            if is_empty {
                line.remove(at);
            } else {
                held.load.add(answer.load());
            }
            self.held.take_if(|held| held.lines.iter().all(VecDeque::is_empty));
            return id.map(|id| (id, repeated));
        }
        None
    }

    /// An answer was refused: its caller gets an error, after the answers that wait.
    pub(super) fn refused(&mut self, failure: &Meta, repeated: Repeated) {
        self.hold(failure.class, HeldAnswer::Body { meta: *failure, repeated, body: Bytes::new() });
    }

    /// Removes all waiting answers; `each` is called with their ids.
    fn drain(&mut self, mut each: impl FnMut(u64)) {
        let Some(held) = self.held.take() else { return };
        for answer in held.lines.into_iter().flatten() {
            match answer {
                HeldAnswer::Body { meta, .. } => each(meta.id),
                HeldAnswer::Frames(chunk) => chunk.marks().iter().for_each(|mark| {
                    if let Sent::Answer(id) = mark.sent {
                        each(id);
                    }
                }),
            }
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Bytes of finished answers that a class accepts without holding any back.
    fn room_of(&self, class: Class) -> usize {
        let (limit, owed) = (self.settings.write_queue, self.arena.owed_in(class));
        if !self.answers.is_line_empty(class) || owed.messages >= limit.messages.saturating_mul(2) {
            return 0;
        }
        limit.bytes.saturating_sub(owed.bytes)
    }

    /// Bytes of answers that each class has room for; 0 while an answer is held, or while the connection is
    /// not ready.
    pub(super) fn answer_rooms(&self) -> [usize; 2] {
        if self.phase != Phase::Ready || !self.answers.is_empty() {
            return [0; 2];
        }
        CLASSES.map(|class| self.room_of(class))
    }

    /// Whether there is room for an answer, whatever its class.
    pub(super) fn has_answer_room(&self) -> bool {
        self.answer_rooms().iter().all(|&room| room > 0)
    }

    /// The longest answer that may be sent on this connection, in bytes.
    pub(super) fn longest_answer(&self) -> usize {
        self.conn.agreed.max_message.min(self.settings.max_answer.unwrap_or(usize::MAX))
    }

    /// The expected size of an answer in bytes: that of the largest recent one, at least 4 KiB; 128 KiB
    /// before the first one.
    #[must_use]
    pub fn expected_answer(&self) -> usize {
        self.answers.sizes.largest().min(self.longest_answer().max(LEAST_SIZE))
    }

    /// How many requests may run at once, given the expected size of their answers.
    pub(super) fn startable(&self) -> usize {
        (self.settings.answers_ahead / self.expected_answer()).clamp(1, self.max_inbound())
    }

    /// A handler produced an answer of this many bytes.
    pub(super) fn note_answer_size(&mut self, len: usize) {
        self.answers.sizes.note(len);
    }

    /// Queues an answer, or holds it until there is room.
    ///
    /// # Errors
    /// It cannot be encoded. This is not checked for an answer that is held: if the framing refuses it later,
    /// it is dropped, counted, and reported as an event.
    pub(super) fn place_answer(
        &mut self,
        meta: &Meta,
        repeated: Repeated,
        payload: Payload<'_>,
    ) -> Result<(), EncodeError> {
        // Asked in any case: held answers take memory, too.
        let must_ask = self.must_ask_for(payload.len());
        if must_ask || self.room_of(meta.class) == 0 {
            let body = match payload {
                Payload::Owned(bytes) => bytes,
                Payload::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            };
            self.answers.hold(meta.class, HeldAnswer::Body { meta: *meta, repeated, body });
            self.counters.answers_held += 1;
            return Ok(());
        }
        self.push_answer(meta, repeated.as_deref().unwrap_or_default(), payload)
    }

    fn push_answer(&mut self, meta: &Meta, repeated: &[u8], payload: Payload<'_>) -> Result<(), EncodeError> {
        let external = self.framing.profile().external_bodies;
        self.arena.push(&self.framing, Sent::Answer(meta.id), meta, repeated, payload, external)?;
        self.counters.answers += 1;
        self.assert_answers_bounded();
        self.after_queueing();
        Ok(())
    }

    /// Queues the answers that the reader encoded during its pass, or holds them if other tasks filled the
    /// queue meanwhile.
    pub(super) fn append_answers(&mut self, local: &mut LocalFrames) {
        while let Some(alone) = local.pop_large() {
            self.append_chunk(Class::Bulk, alone);
        }
        if !local.chunk.is_empty() {
            if !self.must_ask_for(local.chunk.len()) && self.takes(Class::Normal, local.chunk.len()) {
                self.arena.append(&mut local.chunk);
            } else {
                self.append_chunk(Class::Normal, core::mem::take(&mut local.chunk));
            }
        }
        self.assert_answers_bounded();
    }

    fn append_chunk(&mut self, class: Class, chunk: Chunk) {
        if !self.must_ask_for(chunk.len()) && self.takes(class, chunk.len()) {
            self.arena.append_alone(class, chunk);
        } else {
            self.counters.answers_held += chunk.owed().messages as u64;
            self.answers.hold(class, HeldAnswer::Frames(chunk));
        }
    }

    /// Maximum bytes of answers that wait in the write queue, in each class.
    fn most_answers(&self) -> usize {
        let message = self.framing.max_message().saturating_add(HEADER);
        // An answer that repeats extensions is longer by their length.
        let repeated = message.saturating_add(FRAME_OVERHEAD);
        let repeated = if self.framing.profile().repeats_extensions { repeated } else { 0 };
        self.settings.write_queue.bytes.saturating_add(message).saturating_add(repeated)
    }

    /// Whether this many more encoded bytes stay within the limit of a class.
    fn takes(&self, class: Class, bytes: usize) -> bool {
        let owed = self.arena.owed_in(class).bytes;
        self.answers.is_line_empty(class) && (owed == 0 || owed + bytes <= self.most_answers())
    }

    fn assert_answers_bounded(&self) {
        debug_assert!(
            CLASSES.iter().all(|&class| {
                let owed = self.arena.owed_in(class);
                // Cancels and aborts wait there, too.
                let most = |others: usize| self.most_answers().saturating_add(others.saturating_mul(HEADER));
                owed.bytes <= most(self.conn.cancels)
                    || owed.bytes <= most(self.conn.cancels + self.arena.aborts(class))
            }),
            "finished answers of a class are at most the write queue's limit and one message"
        );
    }

    /// There may be room: moves held answers into the write queue, oldest first, as far as they fit.
    pub(super) fn place_held(&mut self) {
        // Answers that need the memory counter's permission wait for its verdict.
        if self.answers.is_empty() || self.has_holding() {
            return;
        }
        for class in CLASSES {
            while self.has_room_for_held(class) {
                match self.answers.pop(class) {
                    Some(HeldAnswer::Body { meta, repeated, body }) => {
                        let repeated = repeated.as_deref().unwrap_or_default();
                        if self.push_answer(&meta, repeated, Payload::Owned(body)).is_err() {
                            self.drop_answer(meta.id);
                        }
                    }
                    Some(HeldAnswer::Frames(chunk)) => {
                        self.arena.append_alone(class, chunk);
                        self.after_queueing();
                    }
                    None => break,
                }
            }
        }
    }

    fn has_room_for_held(&self, class: Class) -> bool {
        let Some(first) = self.answers.held.as_ref().and_then(|held| held.lines[lane(class)].front()) else {
            return false;
        };
        let (limit, owed) = (self.settings.write_queue, self.arena.owed_in(class));
        let fits = match first {
            HeldAnswer::Body { .. } => owed.bytes < limit.bytes,
            HeldAnswer::Frames(chunk) => owed.bytes == 0 || owed.bytes + chunk.len() <= self.most_answers(),
        };
        fits && owed.messages < limit.messages.saturating_mul(2)
    }

    /// The caller gave up. Returns whether its answer was held, and removes it.
    pub(super) fn withdraw_held(&mut self, id: u64) -> bool {
        self.answers.withdraw(id)
    }

    /// The callers of the held answers are gone: drops, counts and reports the answers.
    pub(super) fn drop_held(&mut self) {
        let mut dropped = alloc::vec::Vec::new();
        self.answers.drain(|id| dropped.push(id));
        for id in dropped {
            self.drop_answer(id);
        }
    }
}
