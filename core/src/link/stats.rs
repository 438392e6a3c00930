//! The observable state of a link, as plain data.

use core::num::NonZeroU64;
use core::time::Duration;

use super::{Counters, Link, State};
use crate::frame::Framing;
use crate::time::Instant;

/// Messages and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Depth {
    /// The number of messages.
    pub messages: usize,
    /// The number of bytes.
    pub bytes: usize,
}

/// The state of a link at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkStats {
    /// The state.
    pub state: State,
    /// Counters since the link was made. The number of reconnects is `connections` minus one; drops are
    /// counted by queue, each of which has one policy.
    pub counters: Counters,
    /// Calls that wait for their reply.
    pub in_flight: usize,
    /// Requests of the peer whose answers are wanted.
    pub handling: usize,
    /// Messages that wait to be written, without the batch being written.
    pub write_queue: Depth,
    /// Messages that were received and not taken by the application.
    pub read_queue: Depth,
    /// Errored messages that were not taken by the application.
    pub errored_queue: Depth,
    /// The smoothed round-trip time (RFC 6298), from heartbeats and, on the dialing side, the handshake.
    /// `None` if there were none.
    pub round_trip: Option<Duration>,
    /// The time since the last byte was received or the last batch was written; `None` before the first one,
    /// or without a connection.
    pub quiet_for: Option<Duration>,
    /// Bytes of memory that it holds for queues and tables.
    pub memory: usize,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The present state of the link.
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
            round_trip: self.round_trip(),
            quiet_for: (last > Instant::ZERO).then(|| now.saturating_since(last)),
            memory: self.memory(),
        }
    }

    /// The smoothed round-trip time, if it is known.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.route.round_trip.map(|one_more| Duration::from_nanos(one_more.get() - 1))
    }

    /// A round trip took this long (RFC 6298, section 2: a new sample has a weight of an eighth).
    pub(super) fn note_round_trip(&mut self, sample: Duration) {
        let smoothed = self.round_trip().map_or(sample, |smoothed| (smoothed * 7 + sample) / 8);
        let nanos = u64::try_from(smoothed.as_nanos()).unwrap_or(u64::MAX);
        self.route.round_trip = NonZeroU64::new(nanos.saturating_add(1));
    }

    /// The pong to the last ping.
    pub(super) fn handle_pong(&mut self, now: Instant, token: u64) {
        if token == self.conn.life.pings
            && let Some(sent) = self.conn.life.last_ping
        {
            self.note_round_trip(now.saturating_since(sent));
        }
    }
}
