//! How much the peer takes of a class.

/// How much of a class may go out on this connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendCredit {
    /// What the peer grants in all, and what was taken of it.
    pub(super) limit: u64,
    pub(super) used: u64,
    /// Bytes lent in all, and how many of them the peer says it has read.
    pub(super) sent: u64,
    pub(super) seen: u64,
    /// Most bytes that may be lent and not seen.
    pub(super) ahead: u64,
    /// Nothing that takes credit goes out any more on this connection.
    pub(super) stopped: bool,
}

impl SendCredit {
    /// For framings without flow control.
    pub(super) const UNLIMITED: Self =
        Self { limit: u64::MAX, used: 0, sent: 0, seen: 0, ahead: u64::MAX, stopped: false };

    pub(super) fn granted(limit: u64, ahead: u64) -> Self {
        Self { limit, ahead, ..Self::UNLIMITED }
    }

    #[inline]
    pub(super) fn credit(&self) -> u64 {
        if self.stopped { 0 } else { self.limit.saturating_sub(self.used) }
    }

    /// Whether the peer has seen enough of what was lent before.
    pub(super) fn is_open(&self) -> bool {
        self.sent - self.seen < self.ahead
    }

    pub(super) fn spend(&mut self, cost: u64, bytes: usize) {
        self.used += cost;
        self.sent += bytes as u64;
    }

    /// The peer grants more, or has seen more. False: it takes something back, or has seen what
    /// was never sent.
    pub(super) fn update(&mut self, limit: u64, seen: u64) -> bool {
        let sound = limit >= self.limit && seen >= self.seen && seen <= self.sent;
        if sound {
            (self.limit, self.seen) = (limit, seen);
        }
        sound
    }
}
