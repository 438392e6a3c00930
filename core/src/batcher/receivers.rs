//! Receivers of results: each gets its results in the order of sending and has its own places, so that one
//! that stops taking results does not delay the others.

use alloc::vec::Vec;
use core::task::Poll;

use super::outcome::Sent;
use super::settings::Settings;
use super::slots::{Chain, List, Owner, Slots, State};
use super::{Batcher, SendError};
use crate::time::Instant;

/// The id of a receiver of a [`Batcher`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReceiverId {
    line: u32,
    generation: u32,
}

#[derive(Debug)]
struct Line<T> {
    generation: u32,
    open: bool,
    /// Accepted messages whose results were not taken, in the order of sending.
    order: List,
    /// Messages that wait for a place.
    no_place: List,
    /// The number of places in use.
    held: usize,
    held_bytes: usize,
    token: Option<T>,
}

#[derive(Debug)]
pub(super) struct Receivers<T> {
    lines: Vec<Line<T>>,
}

impl<T> Receivers<T> {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Its line, if the receiver exists.
    pub(super) fn find(&self, id: ReceiverId) -> Option<u32> {
        let line = self.lines.get(id.line as usize)?;
        (line.open && line.generation == id.generation).then_some(id.line)
    }

    pub(super) fn no_place(&self) -> usize {
        self.lines.iter().map(|line| line.no_place.len).sum()
    }

    fn line(&mut self, line: u32) -> &mut Line<T> {
        &mut self.lines[line as usize]
    }

    /// Whether there is a free place for one more message, and no sender waits for it.
    pub(super) fn has_place(&self, settings: &Settings, line: u32, bytes: usize) -> bool {
        let line = &self.lines[line as usize];
        line.no_place.len == 0 && line.fits(settings, bytes)
    }

    pub(super) fn take_place(&mut self, line: u32, bytes: usize) {
        let line = self.line(line);
        line.held += 1;
        line.held_bytes += bytes;
    }

    pub(super) fn return_place(&mut self, line: u32, bytes: usize) {
        let line = self.line(line);
        line.held -= 1;
        line.held_bytes -= bytes;
    }

    pub(super) fn wait_for_place<M, R, P, E>(
        &mut self,
        slots: &mut Slots<M, R, P, E, T>,
        line: u32,
        index: u32,
    ) {
        slots.push(&mut self.line(line).no_place, index);
    }

    pub(super) fn stop_waiting<M, R, P, E>(
        &mut self,
        slots: &mut Slots<M, R, P, E, T>,
        line: u32,
        index: u32,
    ) {
        slots.unlink(&mut self.line(line).no_place, index);
    }

    /// The next message that waits for a place and gets one.
    pub(super) fn next_with_place<M, R, P, E>(
        &mut self,
        slots: &mut Slots<M, R, P, E, T>,
        settings: &Settings,
        line: u32,
    ) -> Option<u32> {
        let line = self.line(line);
        let index = line.no_place.front()?;
        let bytes = slots[index].bytes;
        if !line.fits(settings, bytes) {
            return None;
        }
        slots.unlink(&mut line.no_place, index);
        line.held += 1;
        line.held_bytes += bytes;
        Some(index)
    }

    /// This receiver gets a result later.
    pub(super) fn expect<M, R, P, E>(&mut self, slots: &mut Slots<M, R, P, E, T>, line: u32, index: u32) {
        slots.push(&mut self.line(line).order, index);
    }

    /// This message has no result. Returns the receiver's token, if its next result is available now.
    pub(super) fn forget<M, R, P, E>(
        &mut self,
        slots: &mut Slots<M, R, P, E, T>,
        line: u32,
        index: u32,
    ) -> Option<T> {
        let line = self.line(line);
        slots.unlink(&mut line.order, index);
        let front = line.order.front()?;
        if slots[front].state == State::Done { line.token.take() } else { None }
    }

    /// The receiver's token, if `index` is its next result.
    pub(super) fn token_at(&mut self, line: u32, index: u32) -> Option<T> {
        let line = self.line(line);
        if line.order.front() == Some(index) { line.token.take() } else { None }
    }

    /// Wakes every waiting receiver: there are no more results.
    pub(super) fn wake_all(&mut self, wakes: &mut Vec<T>) {
        wakes.extend(self.lines.iter_mut().filter_map(|line| line.token.take()));
    }

    /// The lists of messages that wait for places of a receiver.
    pub(super) fn lines(&self) -> core::ops::Range<u32> {
        0..u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn pop_no_place<M, R, P, E>(
        &mut self,
        slots: &mut Slots<M, R, P, E, T>,
        line: u32,
    ) -> Option<u32> {
        slots.pop(&mut self.line(line).no_place)
    }
}

impl<T> Line<T> {
    /// A receiver without outstanding messages takes one of any length.
    const fn fits(&self, settings: &Settings, bytes: usize) -> bool {
        self.held == 0
            || self.held < settings.places && self.held_bytes.saturating_add(bytes) <= settings.place_bytes()
    }
}

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// Adds a receiver of results.
    pub fn add_receiver(&mut self) -> ReceiverId {
        let lines = &mut self.receivers.lines;
        // A line is reused when the last message of its last receiver is done.
        let free = lines.iter().position(|line| !line.open && line.held == 0 && line.no_place.len == 0);
        let index = free.unwrap_or_else(|| {
            let (order, no_place) = (List::new(Chain::Order), List::new(Chain::Queue));
            lines.push(Line {
                generation: 0,
                open: false,
                order,
                no_place,
                held: 0,
                held_bytes: 0,
                token: None,
            });
            lines.len() - 1
        });
        let line = &mut lines[index];
        line.open = true;
        line.generation = line.generation.wrapping_add(1);
        ReceiverId { line: u32::try_from(index).unwrap_or(u32::MAX), generation: line.generation }
    }

    /// Removes a receiver. Messages that wait for room or a place are given back to their senders; accepted
    /// messages continue, and their results are discarded.
    pub fn remove_receiver(&mut self, now: Instant, id: ReceiverId) {
        self.tick(now);
        let Some(line) = self.receivers.find(id) else { return };
        self.receivers.line(line).open = false;
        self.receivers.line(line).token = None;
        while let Some(index) = self.receivers.pop_no_place(&mut self.slots, line) {
            self.refuse(index);
        }
        let mut next = self.no_room.front();
        while let Some(index) = next {
            next = self.slots.next(&self.no_room, index);
            if matches!(self.slots[index].owner, Owner::Receiver { line: other, .. } if other == line) {
                self.slots.unlink(&mut self.no_room, index);
                self.receivers.return_place(line, self.slots[index].bytes);
                self.refuse(index);
            }
        }
        let mut order = self.receivers.line(line).order.take();
        while let Some(index) = self.slots.pop(&mut order) {
            self.receivers.return_place(line, self.slots[index].bytes);
            let slot = &mut self.slots[index];
            if slot.state == State::Done {
                self.stats.discarded += 1;
                self.slots.release(index);
            } else {
                slot.owner = Owner::Gone;
            }
        }
        self.admit();
    }

    /// The next result of a receiver, in the order of sending; its place is free then. While there is none, a
    /// token is kept, which replaces the last one. `None`: there are no more results, because the batcher is
    /// closed or the receiver was removed.
    pub fn poll_result(
        &mut self,
        id: ReceiverId,
        token: impl FnOnce() -> T,
    ) -> Poll<Option<Sent<M, R, P, E>>> {
        let Some(line) = self.receivers.find(id) else { return Poll::Ready(None) };
        let over = self.is_closed();
        let entry = self.receivers.line(line);
        let Some(index) = entry.order.front() else {
            if over {
                return Poll::Ready(None);
            }
            entry.token = Some(token());
            return Poll::Pending;
        };
        if self.slots[index].state != State::Done {
            entry.token = Some(token());
            return Poll::Pending;
        }
        self.slots.unlink(&mut entry.order, index);
        let slot = &mut self.slots[index];
        let (message, result, bytes) = (slot.message.take(), slot.result.take(), slot.bytes);
        let owner = self.slots.release(index);
        self.give_place(line, bytes);
        let (Owner::Receiver { reference, .. }, Some(message)) = (owner, message) else {
            unreachable!("it was sent with a reference, and its message kept")
        };
        Poll::Ready(Some(Sent { reference, message, result: result.unwrap_or(Err(SendError::Closed(None))) }))
    }

    /// The number of outstanding messages of a receiver: accepted, with results that were not taken.
    #[must_use]
    pub fn outstanding(&self, id: ReceiverId) -> usize {
        self.receivers.find(id).map_or(0, |line| self.receivers.lines[line as usize].order.len)
    }
}
