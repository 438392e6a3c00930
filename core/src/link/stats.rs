//! What a link looks like from outside, as plain data.

use core::time::Duration;

use super::{Counters, Link, State};
use crate::frame::Framing;
use crate::time::Instant;

/// Messages and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Depth {
    /// How many messages.
    pub messages: usize,
    /// How many bytes.
    pub bytes: usize,
}

/// A link at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkStats {
    /// Where it stands.
    pub state: State,
    /// Numbers since it was made. Reconnects are its `connections` less one; drops are counted by
    /// queue, each of which has one policy.
    pub counters: Counters,
    /// Calls that wait for their reply.
    pub in_flight: usize,
    /// Requests of the peer whose answers are wanted.
    pub handling: usize,
    /// What waits to be written, without the batch being written.
    pub write_queue: Depth,
    /// What was received and the application has not taken.
    pub read_queue: Depth,
    /// Errored messages that the application has not taken.
    pub errored_queue: Depth,
    /// A smoothed estimate of the round trip (RFC 6298), from heartbeats and, on the dialing side,
    /// the handshake. `None` where there was neither.
    pub round_trip: Option<Duration>,
    /// How long ago the last byte came in or the last batch went out; `None` before the first, or
    /// without a connection.
    pub quiet_for: Option<Duration>,
    /// Bytes of memory it holds for queues and tables.
    pub memory: usize,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The link as it is now.
    #[must_use]
    pub fn stats(&self, now: Instant) -> LinkStats {
        let write = self.waiting_load();
        let last = self.conn.life.last_received.max(self.conn.life.last_written);
        LinkStats {
            state: self.state(),
            counters: self.counters(),
            in_flight: self.calls.in_flight(),
            handling: self.inbound.len(),
            write_queue: Depth { messages: write.messages, bytes: write.bytes },
            read_queue: self.received.depth(),
            errored_queue: self
                .outcomes
                .as_ref()
                .map_or_else(Depth::default, |outcomes| outcomes.errored_depth()),
            round_trip: self.route.round_trip,
            quiet_for: (last > Instant::ZERO).then(|| now.saturating_since(last)),
            memory: self.memory(),
        }
    }

    /// A smoothed estimate of the round trip, if there is one.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.route.round_trip
    }

    /// A round trip took so long (RFC 6298, section 2: an eighth of each new one).
    pub(super) fn note_round_trip(&mut self, sample: Duration) {
        self.route.round_trip = Some(match self.route.round_trip {
            Some(smoothed) => (smoothed * 7 + sample) / 8,
            None => sample,
        });
    }

    /// The pong to the ping that was sent last.
    pub(super) fn handle_pong(&mut self, now: Instant, token: u64) {
        if token == self.conn.life.pings
            && let Some(sent) = self.conn.life.last_ping
        {
            self.note_round_trip(now.saturating_since(sent));
        }
    }
}
