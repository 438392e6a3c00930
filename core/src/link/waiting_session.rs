//! The size of a session without a connection, for a server that keeps many of them.

use super::{Link, Phase};
use crate::frame::Framing;

/// A session without a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WaitingSession {
    /// The bytes that it holds: queues, tables, messages that are incomplete or were not handed over, and the
    /// bodies of requests being handled.
    pub bytes: usize,
    /// The number of frames of messages that it carried: received, and acknowledged by the peer.
    pub carried: u64,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Counts what the session holds, if it has no connection. From then on until it is connected, the
    /// machine [reports](crate::machine::Machine::take_holding) changes. A link whose memory is
    /// [counted](Self::count_memory) also reports when its session loses its connection, and when it is
    /// connected again or over.
    pub fn count_waiting(&mut self) -> Option<WaitingSession> {
        if !self.is_detached() {
            return None;
        }
        let bytes = self.session_bytes();
        let acknowledged = self.arena.lent() - self.arena.unacked();
        let session = self.history.session.as_mut()?;
        session.counted = Some(bytes);
        Some(WaitingSession { bytes, carried: session.received() + acknowledged })
    }

    fn session_bytes(&self) -> usize {
        self.memory() + self.inbound.memory()
    }

    /// Whether the session is counted, with a value that is outdated.
    #[inline]
    pub(super) fn is_counted_wrong(&self) -> bool {
        let counted = self.history.session.as_ref().and_then(|session| session.counted);
        counted.is_some_and(|counted| self.phase == Phase::Down && counted != self.session_bytes())
    }

    /// A session begins or ends to wait for its next connection: this is reported to the counter.
    pub(super) fn say_waiting(&mut self) {
        if self.share.is_counted
            && self.history.session.as_ref().is_some_and(|session| session.counted.is_some())
        {
            self.say_holding();
        }
    }

    /// Something was queued without a connection: this is reported to the counter.
    #[cold]
    pub(super) fn note_size(&mut self) {
        if self.is_counted_wrong() {
            self.say_holding();
        }
    }
}
