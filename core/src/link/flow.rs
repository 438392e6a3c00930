//! Flow control of received messages: how much of each class the peer may send.

use alloc::boxed::Box;

use super::classes::{CLASSES, lane};
use super::{Link, Phase};
use crate::arena::Withdrawn;
use crate::error::PeerError;
use crate::frame::native::Credit;
use crate::frame::{Class, Framing, Kind, Meta};
use crate::time::Instant;

/// The bytes read of the bulk class are reported to the peer at least once per this many bytes.
const SAY_SEEN_EVERY: u64 = 64 * 1024;

/// The received messages of one class. All numbers except `queued` are counted from the beginning of the
/// connection.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    window: u32,
    /// The total that may be received.
    limit: u64,
    /// The total received.
    received: u64,
    /// The cost of messages that the application has not taken yet: in the receive queue, which outlives
    /// connections, and in the reader.
    queued: u64,
    /// The part of it in the reader. Allocated while there is one, and freed at a quiet heartbeat.
    held: Option<Box<Held>>,
    /// Bytes read, and how many of them the peer knows of.
    seen: u64,
    said: u64,
    /// The peer may not have received the last grant.
    repeat: bool,
    /// The cost released since the last check whether a grant is due.
    released: u64,
}

/// Bytes that the reader received since its last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub(super) cost: u64,
    pub(super) bytes: u64,
}

/// The cost of everything that the reader holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Held {
    /// The cost of complete messages.
    pub(super) parked: u64,
    /// The cost of the message being assembled: received, and missing.
    pub(super) assembling: u64,
    pub(super) missing: u64,
    /// The received bytes of an incomplete answer, which costs nothing.
    pub(super) answer: u64,
}

impl Held {
    const NOTHING: Self = Self { parked: 0, assembling: 0, missing: 0, answer: 0 };
}

impl Inflow {
    /// The grant of a connection that begins now, while messages of this cost wait for its reader.
    pub(super) fn fresh(&self, window: u32, waiting: u64) -> u32 {
        // It is at most the window.
        u32::try_from(u64::from(window).saturating_sub(self.queued + waiting)).unwrap_or(u32::MAX)
    }

    /// A connection (or session) begins, with this grant.
    pub(super) fn open(&mut self, window: u32, granted: u32) {
        *self = Self { window, limit: u64::from(granted), queued: self.queued, ..Self::default() };
    }

    fn window(&self) -> u64 {
        u64::from(self.window)
    }

    /// A session continues: the last grant is sent again.
    pub(super) fn repeat(&mut self) {
        self.repeat = true;
    }

    pub(super) fn note(&mut self, arrived: &Arrived, held: &Held) {
        self.received += arrived.cost;
        self.seen += arrived.bytes;
        match &mut self.held {
            Some(kept) => **kept = *held,
            None if *held == Held::NOTHING => {}
            None => self.held = Some(Box::new(*held)),
        }
    }

    fn held(&self) -> &Held {
        self.held.as_deref().unwrap_or(&Held::NOTHING)
    }

    /// Frees the memory for what the reader held.
    pub(super) fn trim(&mut self) {
        self.held.take_if(|held| **held == Held::NOTHING);
    }

    /// The cost that may still be received.
    pub(super) fn allowance(&self) -> u64 {
        self.limit - self.received.min(self.limit)
    }

    /// A message is kept.
    pub(super) fn keep(&mut self, cost: u64) {
        self.queued += cost;
    }

    /// A message was taken. Returns whether to check if a grant is due: once per small part of the window,
    /// and after the last message, is enough.
    #[inline]
    pub(super) fn release(&mut self, cost: u64) -> bool {
        self.queued = self.queued.saturating_sub(cost);
        self.released += cost;
        let asks = self.queued == 0 || self.released >= u64::from(self.window / 32);
        if asks {
            self.released = 0;
        }
        asks
    }

    /// Whether messages that the application has not taken use three quarters of the window.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.queued > self.window() / 4 * 3
    }

    /// Whether more than the window is kept, so that even a message under way has to wait.
    pub(super) fn is_overfull(&self) -> bool {
        self.queued + self.held().parked > self.window()
    }

    /// The cost of everything that the reader holds, including incomplete answers.
    pub(super) fn with_reader(&self) -> u64 {
        self.held().parked + self.assembling()
    }

    /// The received part of incomplete messages and answers.
    pub(super) fn assembling(&self) -> u64 {
        self.held().assembling + self.held().answer
    }

    /// The cost of kept messages.
    pub(super) fn kept(&self) -> u64 {
        self.queued + self.held().parked + self.held().assembling
    }

    /// The limit that can be granted now. A message that was begun may be completed whatever its length, so
    /// that a window smaller than a message cannot block it forever.
    fn offer(&self) -> u64 {
        let mut open = self.window().saturating_sub(self.kept());
        if !self.is_overfull() {
            open = open.max(self.held().missing.min(self.window()));
        }
        self.limit.max(self.received + open)
    }

    /// Whether to tell the peer: about half a window more, about what completes a message, or about bytes
    /// read. Those of the normal class are told with its grants only: the peer has no use for them, and a
    /// frame of its own costs both sides a system call.
    fn is_due(&self, class: Class) -> bool {
        let gain = self.offer() - self.limit;
        let lacking = self.held().missing.saturating_sub(self.allowance());
        let grant = gain >= self.window() / 2 || (lacking > 0 && gain >= lacking);
        let tells_seen = class == Class::Bulk && self.seen - self.said >= SAY_SEEN_EVERY;
        (gain > 0 && grant) || tells_seen || self.repeat
    }

    fn say(&mut self, class: Class) -> Credit {
        self.limit = self.offer();
        self.said = self.seen;
        self.repeat = false;
        Credit::new(class, self.limit, self.seen)
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Encodes the grants that are due.
    pub(super) fn encode_credit(&mut self) {
        for class in CLASSES {
            if !self.inflow[lane(class)].is_due(class) {
                continue;
            }
            let credit = self.inflow[lane(class)].say(class);
            self.send_control(Meta::control(Kind::Credit, 0), &credit.to_bytes());
            self.counters.grants += 1;
        }
    }

    pub(super) fn has_credit_due(&self) -> bool {
        self.framing.profile().flow_control
            && CLASSES.iter().any(|&class| self.inflow[lane(class)].is_due(class))
    }

    /// The reader reports what it received. Wakes the writing side if the peer must be told.
    pub(super) fn note_arrived(&mut self, arrived: &[Arrived; 2], held: &[Held; 2]) {
        for ((inflow, arrived), held) in self.inflow.iter_mut().zip(arrived).zip(held) {
            inflow.note(arrived, held);
        }
        if self.has_credit_due() {
            self.wake_driver();
        }
    }

    /// A kept message was taken.
    #[inline]
    pub(super) fn release(&mut self, class: Class, cost: u64) {
        if self.framing.profile().flow_control && self.inflow[lane(class)].release(cost) {
            self.grant_if_due();
        }
    }

    #[inline(never)]
    fn grant_if_due(&mut self) {
        if self.phase == Phase::Ready && self.has_credit_due() {
            self.wake_driver();
        }
    }

    /// The peer grants more, or has read more.
    pub(super) fn handle_credit(&mut self, credit: &Credit) -> Result<(), PeerError> {
        let Credit { class, limit, seen } = *credit;
        if !self.arena.update_flow(class, limit, seen) {
            return Err(PeerError::BadGrant { class, limit, seen });
        }
        if !self.arena.has_no_data() {
            self.wake_driver();
        }
        Ok(())
    }

    /// A message of this side was withdrawn: the peer gets an abort if it has received a part of it. Returns
    /// whether it was still here.
    pub(super) fn after_withdrawing(&mut self, withdrawn: Withdrawn) -> bool {
        match withdrawn {
            Withdrawn::Gone => return false,
            Withdrawn::Waiting => {}
            Withdrawn::UnderWay { class, message } => self.abort_message(class, message),
        }
        // Messages that waited behind it may use the credit that it lacked.
        if !self.arena.has_no_data() {
            self.wake_driver();
        }
        self.after_taking();
        true
    }

    /// No more fragments of that message follow.
    pub(super) fn abort_message(&mut self, class: Class, message: u64) {
        self.push_abort(class, message);
        self.counters.aborts += 1;
        self.wake_driver();
    }

    /// When the message being assembled must be complete.
    pub(super) fn next_slow_message(&self) -> Option<Instant> {
        let since = self.conn.reading.assembly_since.iter().chain([&self.conn.reading.frame_since]);
        since.flatten().min().map(|&since| since + self.limits().message)
    }

    /// Whether a message takes too long. The time restarts for a message that this side itself delays.
    pub(super) fn is_message_slow(&mut self, now: Instant) -> bool {
        let limit = self.limits().message;
        for (since, inflow) in self.conn.reading.assembly_since.iter_mut().zip(&self.inflow) {
            if let Some(began) = *since
                && now >= began + limit
            {
                if !inflow.is_overfull() {
                    return true;
                }
                *since = Some(now);
            }
        }
        self.conn.reading.frame_since.is_some_and(|since| now >= since + limit)
    }
}
