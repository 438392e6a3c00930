//! Closing a batcher.

use core::task::Poll;
use core::time::Duration;

use super::outcome::SendError;
use super::slots::{Owner, State};
use super::{Batcher, Phase};
use crate::time::Instant;
use crate::waiters::{Ticket, Turn};

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// Closes the batcher. New messages are refused, and messages that wait for room or a place are given
    /// back to their senders. Accepted messages are tried once more, without delay, within `limit`; the rest
    /// then gets [`Closed`](SendError::Closed), or [`MaybeAppended`](SendError::MaybeAppended) if an attempt
    /// is under way. A second close can only shorten the time.
    pub fn close(&mut self, now: Instant, limit: Duration) {
        self.tick(now);
        let until = self.now + limit;
        let first = self.closing.is_none();
        self.closing = Some(self.closing.map_or(until, |before| before.min(until)));
        if first {
            while let Some(index) = self.slots.pop(&mut self.no_room) {
                if let Owner::Receiver { line, .. } = self.slots[index].owner {
                    self.receivers.return_place(line, self.slots[index].bytes);
                }
                self.refuse(index);
            }
            for line in self.receivers.lines() {
                while let Some(index) = self.receivers.pop_no_place(&mut self.slots, line) {
                    self.refuse(index);
                }
            }
            if let Phase::Retry { at } = &mut self.phase {
                *at = self.now;
            }
        }
        self.wakes.extend(self.driver.take());
        self.wake_if_over();
    }

    /// Closes without a further attempt. The driver gives back the batch that is under way.
    pub fn give_up(&mut self, now: Instant) {
        self.close(now, Duration::ZERO);
        self.handle_timeout(now);
    }

    /// Whether it is closed and every message has its outcome. Results may still have to be taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.is_some() && self.phase == Phase::Idle && self.waiting.len == 0
    }

    /// Whether it refuses new messages.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether the attempt under way exceeds the time of a close: the driver must end it, and give the batch
    /// back as it is.
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.phase == Phase::Lent && self.closing.is_some_and(|at| at <= now)
    }

    /// Ready when the batcher is closed and every message has its outcome. Until then a token is kept, which
    /// replaces the last one of this `ticket`.
    pub fn poll_closed(&mut self, ticket: &mut Option<Ticket>, token: impl FnOnce() -> T) -> Poll<()> {
        if self.is_closed() {
            self.leave_close(ticket);
            return Poll::Ready(());
        }
        match *ticket {
            None => *ticket = Some(self.closers.join(token())),
            Some(held) => {
                let turn = self.closers.poll(held, token);
                debug_assert_eq!(turn, Turn::Waiting, "it is not closed");
            }
        }
        Poll::Pending
    }

    /// A caller of [`poll_closed`](Self::poll_closed) no longer waits.
    pub fn leave_close(&mut self, ticket: &mut Option<Ticket>) {
        if let Some(ticket) = ticket.take() {
            self.closers.leave(ticket);
        }
    }

    /// Gives a message that was never accepted back to its sender.
    pub(super) fn refuse(&mut self, index: u32) {
        self.stats.refused += 1;
        let slot = &mut self.slots[index];
        slot.state = State::Refused;
        self.wakes.extend(slot.token.take());
    }

    /// The time of a close is over: gives up every message that is not part of an attempt.
    pub(super) fn give_up_waiting(&mut self) {
        if matches!(self.phase, Phase::Retry { .. }) {
            while let Some(index) = self.slots.pop(&mut self.under_way) {
                let slot = &mut self.slots[index];
                let (maybe, cause) = (slot.maybe, slot.cause.take());
                let error = if maybe { SendError::MaybeAppended(cause) } else { SendError::Closed(cause) };
                self.finish(index, Err(error));
            }
            self.phase = Phase::Idle;
        }
        while let Some(index) = self.slots.pop(&mut self.waiting) {
            self.finish(index, Err(SendError::Closed(self.cause_of_waiting().cloned())));
        }
    }

    pub(super) fn wake_if_over(&mut self) {
        if self.is_closed() {
            let Self { closers, wakes, receivers, driver, .. } = self;
            closers.close(|token| wakes.push(token));
            receivers.wake_all(wakes);
            wakes.extend(driver.take());
        }
    }
}
