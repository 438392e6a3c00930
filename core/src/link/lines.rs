//! Waiting in line: for a place to make a call, for room in the write queue, for what comes in.

use super::{Key, Link};
use crate::frame::Framing;
use crate::time::Instant;
use crate::waiters::{Ticket, Turn};

/// What a caller waits in line for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// To make a call: fewer calls in flight, or room in the write queue.
    Call,
    /// To cast: room in the write queue.
    Room,
    /// A received message.
    Receive,
    /// An event.
    Events,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Lets in as many waiting callers as there are free places.
    pub(super) fn grant_calls(&mut self) {
        while !self.write_full
            && self.places_held() + self.call_line.granted() < self.conn.max_in_flight
            && let Some(token) = self.call_line.grant_one()
        {
            self.tokens.push(token);
        }
    }

    /// Joins a line. Its turn, or the end of waiting at `deadline`, comes through the token; then
    /// ask [`poll_turn`](Self::poll_turn).
    pub fn wait(&mut self, now: Instant, line: Line, deadline: Instant, token: T) -> Ticket {
        let ticket = match line {
            Line::Call => self.call_line.join(token),
            Line::Room => self.room_line.join(token),
            Line::Receive => self.receive_line.join(token),
            Line::Events => self.event_line.join(token),
        };
        match line {
            Line::Call => self.watch(now, deadline.saturating_since(now), Key::CallTurn(ticket)),
            Line::Room if deadline != Instant::FAR_FUTURE => {
                self.watch(now, deadline.saturating_since(now), Key::RoomTurn(ticket));
            }
            _ => {}
        }
        // The place may have become free between being refused and joining.
        if line == Line::Call {
            self.grant_calls();
        } else if line == Line::Room
            && !self.write_full
            && let Some(token) = self.room_line.grant_one()
        {
            self.tokens.push(token);
        }
        ticket
    }

    /// Whether the turn came; keeps a new token if not.
    pub fn poll_turn(&mut self, line: Line, ticket: Ticket, token: impl FnOnce() -> T) -> Turn {
        match line {
            Line::Call => self.call_line.poll(ticket, token),
            Line::Room => self.room_line.poll(ticket, token),
            Line::Receive => self.receive_line.poll(ticket, token),
            Line::Events => self.event_line.poll(ticket, token),
        }
    }

    /// Gives up a place in line. A turn that was granted goes to the next.
    pub fn leave(&mut self, line: Line, ticket: Ticket) {
        match line {
            Line::Call => {
                if self.call_line.leave(ticket) {
                    self.grant_calls();
                }
            }
            Line::Room => {
                if self.room_line.leave(ticket)
                    && !self.write_full
                    && let Some(token) = self.room_line.grant_one()
                {
                    self.tokens.push(token);
                }
            }
            Line::Receive => {
                if self.receive_line.leave(ticket) && !self.received.is_empty() {
                    self.tokens.extend(self.receive_line.grant_one());
                }
            }
            Line::Events => {
                if self.event_line.leave(ticket) && !self.events.is_empty() {
                    self.tokens.extend(self.event_line.grant_one());
                }
            }
        }
    }

    /// A call that was granted its turn could not use it (the queue filled up meanwhile): the
    /// turn is free again.
    pub fn return_turn(&mut self) {
        self.grant_calls();
    }

    /// A place in line is over: its time has come.
    pub(super) fn expire_turn(&mut self, line: Line, ticket: Ticket) {
        let token = match line {
            Line::Call => self.call_line.expire(ticket),
            _ => self.room_line.expire(ticket),
        };
        if let Some(token) = token {
            self.counters.calls_expired += u64::from(line == Line::Call);
            self.tokens.push(token);
        }
    }
}
