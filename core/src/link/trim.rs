//! Freeing the memory of a quiet link.
//!
//! Tables and queues grow with use, and a pass or a call never frees them, because allocating them again
//! costs more than the call itself. They are freed when a heartbeat is due on either side (nothing was
//! received for its interval) and nothing was written for half of it. So each is allocated again at most once
//! between two heartbeats, and never on a link in constant use.

use super::Link;
use crate::frame::Framing;
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// One side sends a ping because nothing was received: frees unused memory, unless this side has just
    /// written.
    pub(super) fn give_back_if_quiet(&mut self, now: Instant) {
        if now.saturating_since(self.conn.life.last_written) < self.settings.heartbeat / 2 {
            return;
        }
        self.arena.trim();
        self.calls.trim();
        self.inbound.trim();
        self.received.trim();
        self.inflows.trim();
        self.wakes.trim();
        self.trim_deadlines();
        self.outcomes.take_if(|outcomes| outcomes.is_empty());
    }
}
