//! Deadlines that a link watches.

use core::time::Duration;

use super::Link;
use super::classes::{CLASSES, lane};
use crate::frame::{Class, Framing};
use crate::time::Instant;
use crate::waiters::Ticket;

/// Deadlines the link watches.
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

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Watches a deadline. Wakes the driver if it would come too late by itself.
    #[inline(always)]
    pub(super) fn watch(&mut self, now: Instant, timeout: Duration, key: Key) {
        let Self { calls, lines, inbound, deadlines, arena, retries, settings, outcomes, conn, .. } = self;
        let live_count = || {
            let in_line = lines.waiting_to_send();
            let timed = settings.expire_after.is_some();
            let casts = CLASSES.map(|class| if timed { arena.ours(class).messages } else { 0 });
            let watched = outcomes.as_ref().map_or(0, |outcomes| outcomes.watched());
            calls.in_flight() + in_line + inbound.len() + casts[0] + casts[1] + watched
        };
        let at = deadlines.push(now, timeout, key, live_count, |key| match *key {
            Key::Call(id) => calls.get(id).is_some(),
            Key::CallTurn(class, ticket) => lines.calls[lane(class)].is_waiting(ticket),
            Key::RoomTurn(class, ticket) => lines.rooms[lane(class)].is_waiting(ticket),
            Key::Inbound(key) => inbound.contains(key),
            Key::Cast(class, number) => {
                // One that is being written may come back.
                arena.has_late()
                    || conn.writing.casts_from.is_some_and(|from| number >= from)
                    || arena.oldest_unsent_cast(class).is_some_and(|oldest| number >= oldest)
            }
            Key::Wait(_, number) => outcomes.as_ref().is_some_and(|outcomes| outcomes.is_awaited(number)),
            Key::Retry(id) => retries.is_waiting(id),
        });
        self.wakes.attend_before(at);
    }
}
