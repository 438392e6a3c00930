//! From the callers into the buffer: checks for room, and the order of waiting callers.

use super::outcome::{Refusal, Refused};
use super::send::Admission;
use super::slots::{List, Owner, State};
use super::{Batcher, Phase};
use crate::time::Instant;

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    pub(super) fn admission(&mut self, index: u32) -> Admission {
        let slot = &mut self.slots[index];
        if slot.state == State::Waiting {
            slot.told = true;
            return Admission::Accepted;
        }
        Admission::Waits(self.slots.id(index))
    }

    pub(super) fn offer(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
        owner: Owner<R>,
        wait: bool,
    ) -> Result<u32, Refused<(M, Owner<R>)>> {
        self.tick(now);
        if self.closing.is_some() {
            self.stats.refused += 1;
            return Err(Refused::new((message, owner), Refusal::Closed));
        }
        let line = match owner {
            Owner::Receiver { line, .. } => Some(line),
            _ => None,
        };
        let place = line.is_none_or(|line| self.receivers.has_place(&self.settings, line, bytes));
        let room = self.no_room.len == 0 && self.has_room(bytes);
        if !(wait || place && room) {
            self.stats.refused += 1;
            return Err(Refused::new((message, owner), Refusal::BufferFull));
        }
        let index = self.slots.insert(message, bytes, owner);
        match line {
            Some(line) if !place => {
                self.slots[index].state = State::NoPlace;
                self.receivers.wait_for_place(&mut self.slots, line, index);
                return Ok(index);
            }
            Some(line) => self.receivers.take_place(line, bytes),
            None => {}
        }
        if room {
            self.accept(index);
        } else {
            self.slots[index].state = State::NoRoom;
            self.slots.push(&mut self.no_room, index);
            self.hurry();
        }
        Ok(index)
    }

    /// Whether a message of that length fits into the buffer. A message longer than the buffer fits if the
    /// buffer is empty.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        let List { len, bytes: waiting, .. } = self.waiting;
        len == 0 || len < self.settings.buffer && waiting.saturating_add(bytes) <= self.settings.buffer_bytes
    }

    /// Moves a message into the buffer.
    pub(super) fn accept(&mut self, index: u32) {
        self.stats.accepted += 1;
        let slot = &mut self.slots[index];
        slot.state = State::Waiting;
        slot.accepted = self.now;
        let line = match slot.owner {
            Owner::Receiver { line, .. } => Some(line),
            _ => None,
        };
        // A refused message whose sender waits for its result is not counted as a failure in addition.
        if !matches!(slot.owner, Owner::Sender) {
            self.wakes.extend(slot.token.take());
        }
        self.slots.push(&mut self.waiting, index);
        if let Some(line) = line {
            self.receivers.expect(&mut self.slots, line, index);
        }
        self.hurry();
    }

    /// Wakes the driver if it has to know of a new message: the first message, or the one that fills the
    /// buffer. While a batch is under way or waits for a retry, the driver comes back by itself.
    fn hurry(&mut self) {
        if self.phase == Phase::Idle && (self.waiting.len == 1 || self.is_full()) {
            self.hurried = self.driver.take().or_else(|| self.hurried.take());
        }
    }

    /// Moves waiting messages into the buffer, while there is room and there are places.
    pub(super) fn admit(&mut self) {
        while let Some(index) = self.no_room.front()
            && self.has_room(self.slots[index].bytes)
        {
            self.slots.unlink(&mut self.no_room, index);
            self.accept(index);
        }
        self.hurry();
    }

    /// Whether the buffer is at its limit.
    pub(super) const fn is_full(&self) -> bool {
        self.waiting.len >= self.settings.buffer
            || self.waiting.bytes >= self.settings.buffer_bytes
            || self.no_room.len > 0
    }

    /// A message no longer waits for room or a place.
    pub(super) fn leave_line(&mut self, index: u32) {
        match (self.slots[index].state, &self.slots[index].owner) {
            (State::NoPlace, &Owner::Receiver { line, .. }) => {
                self.receivers.stop_waiting(&mut self.slots, line, index);
            }
            (State::NoRoom, owner) => {
                let line = if let &Owner::Receiver { line, .. } = owner { Some(line) } else { None };
                self.slots.unlink(&mut self.no_room, index);
                if let Some(line) = line {
                    self.give_place(line, self.slots[index].bytes);
                }
            }
            _ => {}
        }
    }

    /// An accepted message ends without a result: its receiver does not wait for it any more.
    pub(super) fn leave_receiver(&mut self, index: u32) {
        if let Owner::Receiver { line, .. } = self.slots[index].owner {
            let bytes = self.slots[index].bytes;
            if let Some(token) = self.receivers.forget(&mut self.slots, line, index) {
                self.wakes.push(token);
            }
            self.give_place(line, bytes);
        }
    }

    /// A place of a receiver is free: the next message that waits for one gets it.
    pub(super) fn give_place(&mut self, line: u32, bytes: usize) {
        self.receivers.return_place(line, bytes);
        while let Some(index) = self.receivers.next_with_place(&mut self.slots, &self.settings, line) {
            self.slots[index].state = State::NoRoom;
            self.slots.push(&mut self.no_room, index);
        }
        self.admit();
    }
}
