//! Queues of waiting callers: for a place among the calls in flight, for room in the write queue, for
//! received messages.

use super::Link;
use super::classes::lane;
use super::timers::Key;
use crate::frame::{Class, Framing};
use crate::time::Instant;
use crate::waiters::{Ticket, Turn, Waiters};

/// The event that a caller waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// To make a call of that class: for fewer calls in flight, or room in the write queue.
    Call(Class),
    /// To cast in that class: for room in the write queue.
    Room(Class),
    /// A received message.
    Receive,
    /// An event.
    Events,
    /// A message that could not be delivered.
    Errored,
}

/// Waiting callers, by what they wait for.
#[derive(Debug)]
pub(super) struct Lines<T> {
    /// To make a call, by class.
    pub(super) calls: [Waiters<T>; 2],
    /// To cast, by class.
    pub(super) rooms: [Waiters<T>; 2],
    pub(super) receive: Waiters<T>,
    pub(super) events: Waiters<T>,
    /// By class: the write queue reached its high-water mark and has not returned to the low mark yet.
    pub(super) write_full: [bool; 2],
}

impl<T> Lines<T> {
    pub(super) fn new() -> Self {
        Self {
            calls: [Waiters::new(), Waiters::new()],
            rooms: [Waiters::new(), Waiters::new()],
            receive: Waiters::new(),
            events: Waiters::new(),
            write_full: [false; 2],
        }
    }

    /// The number of callers that wait to send.
    pub(super) fn waiting_to_send(&self) -> usize {
        self.calls.iter().chain(&self.rooms).map(Waiters::waiting).sum()
    }

    /// Callers that were granted a turn to make a call and have not used it yet.
    pub(super) fn calls_granted(&self) -> usize {
        self.calls.iter().map(Waiters::granted).sum()
    }

    /// Nothing more is sent.
    pub(super) fn close_sending(&mut self, mut wake: impl FnMut(T)) {
        for line in self.calls.iter_mut().chain(&mut self.rooms) {
            line.close(&mut wake);
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Grants turns to as many waiting callers as there are free places.
    #[inline]
    pub(super) fn grant_calls(&mut self) {
        if self.lines.calls.iter().all(|line| line.waiting() == 0) {
            return;
        }
        for lane in 0..2 {
            while !self.lines.write_full[lane]
                && self.places_held() + self.lines.calls_granted() < self.conn.agreed.max_in_flight
                && let Some(token) = self.lines.calls[lane].grant_one()
            {
                self.wakes.caller(token);
            }
        }
    }

    fn line(&mut self, line: Line) -> &mut Waiters<T> {
        match line {
            Line::Call(class) => &mut self.lines.calls[lane(class)],
            Line::Room(class) => &mut self.lines.rooms[lane(class)],
            Line::Receive => &mut self.lines.receive,
            Line::Events => &mut self.lines.events,
            Line::Errored => &mut self.outcomes.get_or_insert_default().line,
        }
    }

    fn grant_room(&mut self, class: Class) {
        if !self.lines.write_full[lane(class)] {
            self.wakes.callers(self.lines.rooms[lane(class)].grant_one());
        }
    }

    /// Joins a queue of waiting callers. The token is woken when the caller's turn is granted, or at
    /// `deadline`; then call [`poll_turn`](Self::poll_turn).
    pub fn wait(&mut self, now: Instant, line: Line, deadline: Instant, token: T) -> Ticket {
        let ticket = self.line(line).join(token);
        // The place may have become free between the refusal and this call.
        match line {
            Line::Call(class) => {
                self.watch(now, deadline.saturating_since(now), Key::CallTurn(class, ticket));
                self.grant_calls();
            }
            Line::Room(class) => {
                if deadline != Instant::FAR_FUTURE {
                    self.watch(now, deadline.saturating_since(now), Key::RoomTurn(class, ticket));
                }
                self.grant_room(class);
            }
            Line::Receive | Line::Events | Line::Errored => {}
        }
        ticket
    }

    /// Whether the turn was granted; keeps a new token if not.
    pub fn poll_turn(&mut self, line: Line, ticket: Ticket, token: impl FnOnce() -> T) -> Turn {
        self.line(line).poll(ticket, token)
    }

    /// Gives up a place in the queue. A granted turn goes to the next caller.
    pub fn leave(&mut self, line: Line, ticket: Ticket) {
        if !self.line(line).leave(ticket) {
            return;
        }
        match line {
            Line::Call(_) => self.grant_calls(),
            Line::Room(class) => self.grant_room(class),
            Line::Receive if !self.received.is_empty() => self.wakes.callers(self.lines.receive.grant_one()),
            Line::Events if !self.events.is_empty() => self.wakes.callers(self.lines.events.grant_one()),
            Line::Errored if self.outcomes.as_ref().is_some_and(|outcomes| outcomes.has_errored()) => {
                self.wakes.callers(self.outcomes.get_or_insert_default().line.grant_one())
            }
            Line::Receive | Line::Events | Line::Errored => {}
        }
    }

    /// A call that was granted its turn could not use it (the queue was filled meanwhile): the turn is free
    /// again.
    pub fn return_turn(&mut self) {
        self.grant_calls();
    }

    /// The deadline of a waiting caller passed.
    pub(super) fn expire_turn(&mut self, line: Line, ticket: Ticket) {
        if let Some(token) = self.line(line).expire(ticket) {
            if matches!(line, Line::Call(_)) {
                self.counters.calls_expired += 1;
            }
            self.wakes.caller(token);
        }
    }
}

/// Keeps a place in `line` for a caller that found nothing.
pub(super) fn wait<T>(line: &mut Waiters<T>, ticket: &mut Option<Ticket>, token: impl FnOnce() -> T) {
    let mut token = Some(token);
    let mut make = || token.take().map(|make| make());
    if let Some(held) = *ticket {
        let mut kept = None;
        if line.is_waiting(held) {
            kept = make();
        }
        if let Some(token) = kept {
            line.poll(held, || token);
            return;
        }
        // Its turn was granted and another caller was faster: back to the end of the queue.
        line.leave(held);
    }
    *ticket = make().map(|token| line.join(token));
}
