//! The deadlines of a link.

use core::time::Duration;

use super::Link;
use super::classes::{CLASSES, lane};
use super::connection::Connection;
use super::inbound::InboundTable;
use super::outcomes::Outcomes;
use super::retry::Retries;
use super::waiting_lines::Lines;
use crate::arena::Arena;
use crate::calls::Calls;
use crate::config::Settings;
use crate::deadlines::Deadlines;
use crate::frame::{Class, Framing};
use crate::time::Instant;
use crate::waiters::Ticket;

/// The purpose of a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Call(u64),
    CallTurn(Class, Ticket),
    RoomTurn(Class, Ticket),
    Inbound(u64),
    Cast(Class, u64),
    /// A caller waits for the outcome of that cast.
    Wait(Class, u64),
    Retry(u64),
}

/// The state that says whether deadlines still matter.
struct Watched<'l, T> {
    calls: &'l Calls<T>,
    lines: &'l Lines<T>,
    inbound: &'l InboundTable<T>,
    arena: &'l Arena,
    retries: &'l Retries,
    settings: &'l Settings,
    outcomes: Option<&'l Outcomes<T>>,
    conn: &'l Connection,
}

impl<T> Watched<'_, T> {
    /// How many keys of this kind matter; may be an overestimate.
    #[inline(always)]
    fn count(&self) -> usize {
        let in_line = self.lines.waiting_to_send();
        let timed = self.settings.expire_after.is_some();
        let casts = CLASSES.map(|class| if timed { self.arena.ours(class).messages } else { 0 });
        let watched = self.outcomes.map_or(0, Outcomes::watched);
        self.calls.in_flight() + in_line + self.inbound.len() + casts[0] + casts[1] + watched
    }

    /// Whether a deadline still matters.
    #[inline(always)]
    fn lives(&self, key: &Key) -> bool {
        match *key {
            Key::Call(id) => self.calls.get(id).is_some(),
            Key::CallTurn(class, ticket) => self.lines.calls[lane(class)].is_waiting(ticket),
            Key::RoomTurn(class, ticket) => self.lines.rooms[lane(class)].is_waiting(ticket),
            Key::Inbound(key) => self.inbound.contains(key),
            Key::Cast(class, number) => {
                // A cast that is being written may be given back.
                self.arena.has_late()
                    || self.conn.writing.casts_from.is_some_and(|from| number >= from.get())
                    || self.arena.oldest_unsent_cast(class).is_some_and(|oldest| number >= oldest)
            }
            Key::Wait(_, number) => self.outcomes.is_some_and(|outcomes| outcomes.is_awaited(number)),
            Key::Retry(id) => self.retries.is_waiting(id),
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Adds a deadline. Wakes the driver if it would come too late.
    #[inline(always)]
    pub(super) fn watch(&mut self, now: Instant, timeout: Duration, key: Key) {
        let (deadlines, watched) = self.watched();
        let at = deadlines.push(now, timeout, key, || watched.count(), |key| watched.lives(key));
        self.wakes.attend_before(at);
    }

    /// Frees the memory of deadlines that no longer matter.
    pub(super) fn trim_deadlines(&mut self) {
        let (deadlines, watched) = self.watched();
        deadlines.trim(|key| watched.lives(key));
    }

    /// The deadlines, and the state that says whether they matter.
    #[inline(always)]
    fn watched(&mut self) -> (&mut Deadlines<Key>, Watched<'_, T>) {
        let Self { calls, lines, inbound, deadlines, arena, retries, settings, outcomes, conn, .. } = self;
        let outcomes = outcomes.as_deref();
        (deadlines, Watched { calls, lines, inbound, arena, retries, settings, outcomes, conn })
    }
}
