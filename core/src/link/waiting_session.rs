//! What a session holds while it waits for its next connection, for a server that keeps many of them.

use super::{Link, Phase};
use crate::frame::Framing;

/// A session without a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WaitingSession {
    /// Bytes it holds: queues, tables, messages that came in part or were not handed over, and the
    /// bodies of requests that are being handled.
    pub bytes: usize,
    /// Frames of messages that it carried: those that came, and those that the peer acknowledged.
    pub carried: u64,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Counts what the session holds, if it has no connection. From then on until it has one, the
    /// machine [says so](crate::machine::Machine::take_holding) when that is not true any more. A link
    /// whose memory is [counted](Self::count_memory) says so when its session loses its connection, too,
    /// and when it has one again or is over.
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

    /// Whether the session is counted, and holds more or less than that.
    #[inline]
    pub(super) fn is_counted_wrong(&self) -> bool {
        let counted = self.history.session.as_ref().and_then(|session| session.counted);
        counted.is_some_and(|counted| self.phase == Phase::Down && counted != self.session_bytes())
    }

    /// A session begins to wait for its next connection, or waits no longer: the counter learns it.
    pub(super) fn say_waiting(&mut self) {
        if self.share.is_counted
            && self.history.session.as_ref().is_some_and(|session| session.counted.is_some())
        {
            self.say_holding();
        }
    }

    /// Something was queued while there is no connection: the counter learns it.
    #[cold]
    pub(super) fn note_size(&mut self) {
        if self.is_counted_wrong() {
            self.say_holding();
        }
    }
}
