//! What a pipe holds: of the sums of its socket, and of the memory of its endpoint.

use bowline_core::memory::{FREE, Holding, PATIENCE, STEP, Verdict};
use bowline_core::time::Instant;

use super::Pipe;
use crate::sum::{Share, Sums};

/// A pipe's shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Of what the socket's pipes have to send.
    pub(super) sent: Share,
    /// Of what they have received.
    pub(super) received: Share,
    /// Bytes that are being written.
    pub(super) lent: usize,
    /// Bytes of messages that the receiver took out, and has not all received yet, as far as is known.
    pub(super) taken: usize,
    /// Bytes of a message that is not whole.
    reading: usize,
    /// Since when a message is not whole, where the endpoint's memory is counted.
    reading_since: Option<Instant>,
    /// What the endpoint's memory allows.
    memory: Allowance,
}

/// What a pipe may hold of the memory of the endpoint that it came to.
#[derive(Debug, Default)]
struct Allowance {
    is_counted: bool,
    granted: usize,
    /// What it held when it said so last.
    reported: usize,
    was_unfinished: bool,
    is_due: bool,
    /// It reads nothing until it may hold more.
    waits: bool,
    ask_at: Option<Instant>,
}

impl Shares {
    pub(super) fn of(sums: Sums) -> Self {
        let Sums { sent, received } = sums;
        Self { sent: Share::of(sent), received: Share::of(received), ..Self::default() }
    }

    /// Whether there is something to say about memory.
    pub(super) fn is_due(&self) -> bool {
        self.memory.is_due
    }
}

impl<T> Pipe<T> {
    /// What it holds counts in the sums of its socket ([`Socket::sums`](crate::socket::Socket::sums)).
    #[must_use]
    pub fn with_sums(mut self, sums: Sums) -> Self {
        self.shares = Shares::of(sums);
        self
    }

    fn held_to_send(&self) -> usize {
        self.out.bytes() + self.shares.lent
    }

    /// Whole messages.
    fn held_received(&self) -> usize {
        self.inbox.bytes() + self.shares.taken
    }

    /// Whether the socket's pipes have as much to send as they may, so that this one takes no message of so many bytes.
    pub(super) fn is_short_of_sum(&self, bytes: usize) -> bool {
        self.shares.sent.is_short(self.held_to_send() + bytes)
    }

    /// What waits to be sent has changed.
    #[inline]
    pub(super) fn settle_sent(&mut self) {
        let held = self.held_to_send();
        if self.shares.sent.settle(held) {
            // Senders look at all pipes: it need not be this one that has room.
            self.tokens.extend(self.room.take());
        }
    }

    /// What was received has changed.
    #[inline]
    pub(super) fn settle_received(&mut self) {
        let held = self.held_received();
        // The socket asks whether the sum has eased.
        self.shares.received.settle(held);
    }

    /// Whether the socket's pipes have received as much as they may, so that this one takes no more: it holds more than
    /// what is free, or is at a large message.
    pub(super) fn is_received_sum_spent(&self) -> bool {
        let held = if self.shares.reading > 0 { usize::MAX } else { self.held_received() };
        self.shares.received.is_short(held)
    }

    /// The receiver has everything that it took out, or nobody will receive it.
    pub(crate) fn forget_taken(&mut self) {
        self.shares.taken = 0;
        self.note_inbox_room();
    }

    /// So much has come of a message that is not whole.
    #[inline]
    pub(super) fn note_reading(&mut self, now: Instant, bytes: usize) {
        if bytes != self.shares.reading {
            if (bytes == 0) != (self.shares.reading == 0) {
                self.shares.reading_since = (bytes > 0).then_some(now);
            }
            self.shares.reading = bytes;
            self.note_memory();
        }
    }

    /// The connection is gone, and with it what is not whole.
    pub(super) fn forget_reading(&mut self) {
        (self.shares.reading, self.shares.reading_since) = (0, None);
        (self.shares.memory.waits, self.shares.memory.ask_at) = (false, None);
        self.note_memory();
    }

    #[inline(never)]
    fn note_memory(&mut self) {
        let (held, memory) = (self.shares.reading, &mut self.shares.memory);
        if !memory.is_counted {
            return;
        }
        let exceeds = held > memory.granted.max(FREE);
        let more = exceeds && (!memory.waits || held >= memory.reported + STEP);
        let less = memory.granted > 0 && (held <= FREE || held + 3 * STEP <= memory.granted);
        let is_whole = memory.was_unfinished && self.shares.reading_since.is_none();
        memory.is_due |= more || less || is_whole;
    }

    /// Whether reading waits for the endpoint's memory.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.shares.memory.waits
    }

    pub(super) fn count_holding(&mut self, on: bool) {
        self.shares.memory = Allowance { is_counted: on, ..Allowance::default() };
    }

    /// When the endpoint is asked again.
    pub(super) fn next_memory_check(&self) -> Option<Instant> {
        self.shares.memory.ask_at
    }

    pub(super) fn check_memory(&mut self, now: Instant) {
        if self.shares.memory.ask_at.is_some_and(|at| at <= now) {
            self.shares.memory.ask_at = None;
            self.shares.memory.is_due = true;
        }
    }

    pub(super) fn holding_to_say(&mut self) -> Option<Holding> {
        if !core::mem::take(&mut self.shares.memory.is_due) {
            return None;
        }
        let (bytes, unfinished) = (self.shares.reading, self.shares.reading_since);
        self.shares.memory.reported = bytes;
        self.shares.memory.was_unfinished = unfinished.is_some() && bytes > FREE;
        Some(Holding { bytes, unfinished, ..Holding::default() })
    }

    /// What has come of a message that is not whole: what it holds of the endpoint's memory, bytes. Whole messages are
    /// under the sum of the socket.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.shares.reading
    }

    pub(super) fn take_verdict(&mut self, now: Instant, verdict: Verdict) {
        let (granted, waits) = match verdict {
            Verdict::Granted(granted) | Verdict::Refuse(granted) => (granted, false),
            Verdict::Wait(granted) => (granted, true),
        };
        let memory = &mut self.shares.memory;
        (memory.granted, memory.waits) = (granted, waits);
        memory.ask_at = waits.then(|| now + PATIENCE);
        // Nobody counts what is over.
        memory.is_counted &= granted != usize::MAX;
        self.wake.attend |= waits;
        // Nothing was given back: there is nothing to say now.
        self.read_on();
    }
}
