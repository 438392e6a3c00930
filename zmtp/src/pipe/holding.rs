//! A pipe's shares of the limits of its socket and of the memory of its endpoint.

use bowline_core::memory::{FREE, Holding, PATIENCE, STEP, Verdict};
use bowline_core::time::Instant;

use super::Pipe;
use crate::sum::{Share, Sums};

/// A pipe's shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Share of the limit on messages to send.
    pub(super) sent: Share,
    /// Share of the limit on received messages.
    pub(super) received: Share,
    /// Bytes that are being written.
    pub(super) lent: usize,
    /// Bytes of messages that the receiver took out and, as far as is known, has not all received yet.
    pub(super) taken: usize,
    /// Bytes of an incomplete message.
    reading: usize,
    /// Since when a message is incomplete, if the endpoint's memory is counted.
    reading_since: Option<Instant>,
    /// Bytes in the receive buffer that could not be handled yet, and since when there are some.
    buffered: usize,
    buffered_since: Option<Instant>,
    /// Bytes that layers under the pipe (TLS) hold.
    below: usize,
    /// Allowance of the endpoint's memory.
    memory: Allowance,
}

/// The memory that a pipe may use of the endpoint that accepted it.
#[derive(Debug, Default)]
struct Allowance {
    is_counted: bool,
    granted: usize,
    /// The use that was last reported.
    reported: usize,
    was_unfinished: bool,
    is_due: bool,
    /// Reading is paused until more memory is granted.
    waits: bool,
    ask_at: Option<Instant>,
}

impl Shares {
    pub(super) fn of(sums: Sums) -> Self {
        let Sums { sent, received } = sums;
        Self { sent: Share::of(sent), received: Share::of(received), ..Self::default() }
    }

    /// Whether a report on memory is due.
    pub(super) fn is_due(&self) -> bool {
        self.memory.is_due
    }

    /// What counts in the endpoint's memory, bytes.
    fn unfinished(&self) -> usize {
        self.reading + self.buffered + self.below
    }

    /// Since when a message, or a part of one, waits.
    fn since(&self) -> Option<Instant> {
        self.reading_since.into_iter().chain(self.buffered_since).min()
    }
}

impl<T> Pipe<T> {
    /// Counts its memory in the limits of its socket ([`Socket::sums`](crate::socket::Socket::sums)).
    #[must_use]
    pub fn with_sums(mut self, sums: Sums) -> Self {
        self.shares = Shares::of(sums);
        self
    }

    fn held_to_send(&self) -> usize {
        self.out.bytes() + self.shares.lent
    }

    /// Bytes of received whole messages.
    fn held_received(&self) -> usize {
        self.inbox.bytes() + self.shares.taken
    }

    /// Whether the socket's limit on messages to send is reached, so that this pipe takes no message of that
    /// many bytes.
    pub(super) fn is_short_of_sum(&self, bytes: usize) -> bool {
        self.shares.sent.is_short(self.held_to_send() + bytes)
    }

    /// Updates the share after the queue of messages to send has changed.
    #[inline]
    pub(super) fn settle_sent(&mut self) {
        let held = self.held_to_send();
        if self.shares.sent.settle(held) {
            // Senders check all pipes: another pipe may be the one with room.
            self.tokens.extend(self.room.take());
        }
    }

    /// Updates the share after the received messages have changed.
    #[inline]
    pub(super) fn settle_received(&mut self) {
        let held = self.held_received();
        // The socket itself checks whether the limit has eased.
        self.shares.received.settle(held);
    }

    /// Whether the socket's limit on received messages is reached, so that this pipe pauses reading: it holds
    /// more than 4 KiB or is reading a large message.
    pub(super) fn is_received_sum_spent(&self) -> bool {
        let held = if self.shares.reading > 0 { usize::MAX } else { self.held_received() };
        self.shares.received.is_short(held)
    }

    /// The receiver has received everything that it took out, or will never receive it.
    pub(crate) fn forget_taken(&mut self) {
        self.shares.taken = 0;
        self.note_inbox_room();
    }

    /// That many bytes of an incomplete message have been received.
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

    /// That many bytes are left in the receive buffer after a pass. `has_moved`: they are not those of the last
    /// pass, because a message or an event was received since then.
    pub(super) fn note_buffered(&mut self, now: Instant, bytes: usize, has_moved: bool) {
        let since = self.shares.buffered_since.filter(|_| !has_moved).unwrap_or(now);
        self.shares.buffered_since = (bytes > 0).then_some(since);
        if bytes != self.shares.buffered {
            self.shares.buffered = bytes;
            self.note_memory();
        }
    }

    /// Layers under the pipe hold that many bytes.
    pub(super) fn note_below(&mut self, bytes: usize) {
        if bytes != self.shares.below {
            self.shares.below = bytes;
            self.note_memory();
        }
    }

    /// The connection has ended, and the incomplete message is gone.
    pub(super) fn forget_reading(&mut self) {
        (self.shares.reading, self.shares.reading_since) = (0, None);
        (self.shares.buffered, self.shares.buffered_since, self.shares.below) = (0, None, 0);
        (self.shares.memory.waits, self.shares.memory.ask_at) = (false, None);
        self.note_memory();
    }

    #[inline(never)]
    fn note_memory(&mut self) {
        let (held, since) = (self.shares.unfinished(), self.shares.since());
        let memory = &mut self.shares.memory;
        if !memory.is_counted {
            return;
        }
        let exceeds = held > memory.granted.max(FREE);
        let more = exceeds && (!memory.waits || held >= memory.reported + STEP);
        let less = memory.granted > 0 && (held <= FREE || held + 3 * STEP <= memory.granted);
        let is_whole = memory.was_unfinished && since.is_none();
        memory.is_due |= more || less || is_whole;
    }

    /// Whether reading waits for the endpoint's memory.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.shares.memory.waits
    }

    pub(super) fn count_holding(&mut self, on: bool) {
        self.shares.memory = Allowance { is_counted: on, ..Allowance::default() };
    }

    /// When to ask the endpoint again.
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
        let (bytes, unfinished) = (self.shares.unfinished(), self.shares.since());
        self.shares.memory.reported = bytes;
        self.shares.memory.was_unfinished = unfinished.is_some() && bytes > FREE;
        Some(Holding { bytes, unfinished, ..Holding::default() })
    }

    /// What this pipe uses of the endpoint's memory: bytes of an incomplete message, bytes in the receive
    /// buffer that could not be handled yet, and what layers under the pipe hold. Whole messages count in the
    /// socket's limit instead.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.shares.unfinished()
    }

    /// Bytes of an incomplete message, without those in the receive buffer.
    pub(super) fn reading_bytes(&self) -> usize {
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
        // The endpoint no longer counts memory.
        memory.is_counted &= granted != usize::MAX;
        self.wake.attend |= waits;
        // No memory was freed, so no new report is due.
        self.read_on();
    }
}
