//! A link's share of its server's memory: see [`crate::memory`].

use super::classes::CLASSES;
use super::inflow::Inflow;
use super::{Link, Phase, State};
use crate::arena::Sent;
use crate::error::{Disconnect, Failure, Status};
use crate::frame::Framing;
use crate::memory::{FREE, Holding, PATIENCE, STEP, Verdict, rounded};
use crate::time::Instant;

/// A link's share of its server's memory.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The link's memory is counted.
    pub(super) is_counted: bool,
    /// The bytes that it may hold.
    granted: usize,
    /// The bytes that it last reported, and whether a message was incomplete then.
    reported: usize,
    was_unfinished: bool,
    /// A report is due.
    is_due: bool,
    /// It reads nothing until it may hold more.
    waits: bool,
    /// There was no memory for an answer: no request starts until there may be some.
    is_refused: bool,
    /// When it last reported.
    said_at: Instant,
    /// When it asks again.
    ask_at: Option<Instant>,
}

impl Share {
    /// Whether this is more than may be held without asking.
    fn exceeds(&self, bytes: usize) -> bool {
        self.is_counted && bytes > self.granted.max(FREE)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// From now on the memory of the link is counted: it reports with [`take_holding`] and gets its limit
    /// with [`handle_memory`]. Without this call its own bounds apply.
    ///
    /// [`take_holding`]: crate::machine::Machine::take_holding
    /// [`handle_memory`]: crate::machine::Machine::handle_memory
    pub fn count_memory(&mut self) {
        self.share.is_counted = true;
    }

    /// The memory that the link holds, as far as its peer can make it grow.
    #[must_use]
    pub fn holding(&self) -> Holding {
        let mut answers = self.arena.owed();
        answers.add(self.answers.held());
        let mut queued = self.arena.kept_bytes() + self.received.memory() + self.inbound.memory();
        queued += self.events.memory() + self.retries.memory();
        queued += self.outcomes.as_ref().map_or(0, |outcomes| outcomes.memory());
        queued += CLASSES.into_iter().map(|class| self.arena.ours(class).bytes).sum::<usize>();
        let with_reader: u64 = self.inflows.iter().map(Inflow::with_reader).sum();
        queued += usize::try_from(with_reader).unwrap_or(usize::MAX);
        let reading = &self.conn.reading;
        let buffered = reading.buffered().saturating_sub(self.counted_with_buffer());
        let buffered = buffered + reading.below() + self.history.left.memory();
        let began = reading.assembly_since.iter().chain([&reading.frame_since]).flatten().min();
        Holding {
            bytes: answers.bytes + queued + buffered,
            answers: answers.bytes,
            taken: self.counters.bytes_out + self.conn.writing.in_batch,
            unfinished: began.copied(),
            origin: self.route.remote.as_ref().and_then(crate::address::Address::ip),
            is_detached: self.is_detached(),
        }
    }

    /// Whether the link holds more than it may without asking.
    pub(super) fn lacks_memory(&self) -> bool {
        self.share.is_counted && self.share.exceeds(self.holding().bytes)
    }

    /// Bytes of requests and messages that handlers hold, and of the blocks that these share; `None` if no
    /// handler runs.
    pub(super) fn held_by_handlers(&self) -> Option<usize> {
        let runs = self.inbound.has_handlers() || self.received.is_in_hand();
        runs.then(|| self.inbound.memory() + self.received.memory() + self.history.left.memory())
    }

    /// A handler has ended: what only it held is free, and the link may be over.
    pub(super) fn note_handler_ended(&mut self) {
        self.history.left.forget_free();
        if self.phase == Phase::Closed {
            // The accepting side waits for the handlers of links that are over.
            self.share.is_due = true;
        }
    }

    /// Whether reading waits for memory.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.share.waits
    }

    /// Whether requests wait until there is memory for their answers.
    pub(super) fn is_refused_memory(&self) -> bool {
        self.share.is_refused
    }

    /// The peer read something: this is reported to the counter now and then, because a peer that does not read is closed
    /// first.
    #[inline]
    pub(super) fn note_taken_by_peer(&mut self, now: Instant) {
        if self.share.granted > 0 && now.saturating_since(self.share.said_at) >= PATIENCE / 2 {
            self.share.is_due = true;
        }
    }

    pub(super) fn next_memory_check(&self) -> Option<Instant> {
        self.share.ask_at
    }

    /// The memory of the link may have changed: checks whether a report is due.
    #[inline]
    pub(super) fn note_memory(&mut self) {
        if self.share.is_counted {
            self.look_at_memory();
        }
    }

    #[inline(never)]
    fn look_at_memory(&mut self) {
        let Holding { bytes, unfinished, .. } = self.holding();
        let share = &mut self.share;
        let more = share.exceeds(bytes) && (!share.waits || bytes >= share.reported + STEP);
        let less = share.granted > 0 && (bytes <= FREE || rounded(bytes) + 2 * STEP <= share.granted);
        let is_whole = share.was_unfinished && unfinished.is_none();
        if more || less || is_whole {
            share.is_due = true;
        }
    }

    /// Whether this many bytes of answers need permission before they go into the write queue.
    pub(super) fn must_ask_for(&mut self, bytes: usize) -> bool {
        if !self.share.is_counted || !self.share.exceeds(self.holding().bytes + bytes) {
            return false;
        }
        self.share.is_due = true;
        true
    }

    /// Time passed: a waiting link asks again.
    pub(super) fn check_memory(&mut self, now: Instant) {
        if self.share.ask_at.is_some_and(|at| now >= at) {
            self.share.ask_at = None;
            self.share.is_due = true;
        }
    }

    /// A report is due, although the link does not exceed its share.
    pub(super) fn say_holding(&mut self) {
        self.share.is_due = true;
    }

    pub(super) fn has_holding(&self) -> bool {
        self.share.is_due
    }

    pub(super) fn holding_to_say(&mut self) -> Option<Holding> {
        let is_detached_wrong = self.is_counted_wrong();
        if !core::mem::take(&mut self.share.is_due) && !is_detached_wrong {
            return None;
        }
        if is_detached_wrong {
            // Reported once, whatever the result.
            self.count_waiting();
        }
        let holding = self.holding();
        self.share.reported = holding.bytes;
        self.share.was_unfinished = holding.unfinished.is_some() && holding.bytes > FREE;
        Some(holding)
    }

    pub(super) fn take_verdict(&mut self, now: Instant, verdict: Verdict) {
        let waited = self.share.waits;
        let (granted, waits) = match verdict {
            Verdict::Granted(granted) | Verdict::Refuse(granted) => (granted, false),
            Verdict::Wait(granted) => (granted, true),
        };
        self.share.granted = granted;
        self.share.waits = waits;
        // Until the peer has read answers, or time has passed: then it asks again. Otherwise handlers would
        // make one answer after the other for nothing.
        self.share.is_refused = matches!(verdict, Verdict::Refuse(_));
        self.share.said_at = now;
        self.share.ask_at = (waits || self.share.is_refused).then(|| now + PATIENCE);
        if waited || waits {
            self.wakes.attend();
        }
        if waits || self.share.is_refused {
            self.hasten_blocks(now);
        }
        if let Verdict::Refuse(_) = verdict {
            self.refuse_answers();
            self.refuse_running();
        }
        self.place_held();
        self.after_closing_inbound();
    }

    /// Requests that were started while answers were smaller, and for whose answers there is no memory: those
    /// that would not be started now are refused, newest first, so that their handlers need not make answers
    /// that would be dropped.
    fn refuse_running(&mut self) {
        let (startable, Self { inbound, wakes, .. }) = (self.startable(), &mut *self);
        for (wire_id, repeated) in inbound.disown_all_but(startable, |token| wakes.caller(token)) {
            let failure = Failure::new(Status::OUT_OF_MEMORY, "");
            self.note_failure(failure.status);
            if let Some((meta, _)) = self.failure_frame(wire_id, &failure) {
                self.answers.refused(&meta, repeated);
            }
        }
    }

    /// The server has no memory for the held answers: their callers get an error instead, newest first, until
    /// the link is within its limit.
    fn refuse_answers(&mut self) {
        while self.share.exceeds(self.holding().bytes)
            && let Some((id, repeated)) = self.answers.pop_newest()
        {
            let failure = Failure::new(Status::OUT_OF_MEMORY, "");
            self.note_failure(failure.status);
            // On framings without error replies, this drops the answer by the failure policy.
            if let Some((meta, _)) = self.failure_frame(id, &failure) {
                self.drop_answer(id);
                self.answers.refused(&meta, repeated);
            }
        }
    }

    /// The server needs the memory that this link holds: it is freed at once, and the connection, and the
    /// session if there is one, end.
    pub(super) fn give_memory_back(&mut self, now: Instant, held: usize, limit: usize) {
        // An ended link may hold messages that wait for their handler.
        self.drop_received();
        if self.state() == State::Closed {
            return;
        }
        // At once, and not later by the connection's driver: other links wait for the memory.
        let mut dropped = alloc::vec::Vec::new();
        self.arena.retain(|frame| match frame.sent {
            Sent::Answer(id) => {
                dropped.push(id);
                false
            }
            _ => true,
        });
        for id in dropped {
            self.drop_answer(id);
        }
        self.drop_held();
        let Self { inbound, wakes, .. } = &mut *self;
        inbound.clear(|token| wakes.caller(token));
        self.share = Share { is_counted: false, ..Share::default() };
        let cause = Disconnect::ServerMemory { held: held as u64, limit: limit as u64 };
        self.abort(now, cause);
    }
}
