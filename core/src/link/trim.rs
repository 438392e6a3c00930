//! What a link gives back when it was quiet.
//!
//! Tables and queues grow as they are used, and a pass or a call never gives them back: making them again
//! costs more than what it does. They go when a heartbeat is due, on either side, because nothing came for
//! the time of one, and nothing was written for half of that. So each is made again at most once between two
//! heartbeats, and a link that is in use all the time never makes one again.

use super::Link;
use super::flow::Inflow;
use crate::frame::Framing;
use crate::time::Instant;

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// One side asks for a sign of life because nothing came: gives back what a busy spell left behind,
    /// unless this side has just written.
    pub(super) fn give_back_if_quiet(&mut self, now: Instant) {
        if now.saturating_since(self.conn.life.last_written) < self.settings.heartbeat / 2 {
            return;
        }
        self.arena.trim();
        self.calls.trim();
        self.inbound.trim();
        self.received.trim();
        self.inflow.iter_mut().for_each(Inflow::trim);
        self.wakes.trim();
        self.trim_deadlines();
        self.outcomes.take_if(|outcomes| outcomes.is_empty());
    }
}
