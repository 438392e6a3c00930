//! The send credit of a class.

/// How much of a class may be sent on this connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendCredit {
    /// The total that the peer grants, and how much of it was used.
    pub(super) limit: u64,
    pub(super) used: u64,
    /// Bytes taken in total, and how many of them the peer has read.
    pub(super) sent: u64,
    pub(super) seen: u64,
    /// Maximum bytes that may be taken and not yet seen by the peer.
    pub(super) ahead: u64,
    /// Nothing that takes credit is sent any more on this connection.
    pub(super) stopped: bool,
}

impl SendCredit {
    /// For framings without flow control.
    pub(super) const UNLIMITED: Self =
        Self { limit: u64::MAX, used: 0, sent: 0, seen: 0, ahead: u64::MAX, stopped: false };

    pub(super) fn granted(limit: u64, ahead: u64) -> Self {
        Self { limit, ahead, ..Self::UNLIMITED }
    }

    /// Whether nothing was sent, and nothing is held back.
    pub(super) fn is_unused(&self) -> bool {
        self.used == 0 && self.sent == 0 && !self.stopped
    }

    #[inline]
    pub(super) fn credit(&self) -> u64 {
        if self.stopped { 0 } else { self.limit.saturating_sub(self.used) }
    }

    /// Whether the peer has seen enough of the bytes that were taken before.
    pub(super) fn is_open(&self) -> bool {
        self.sent - self.seen < self.ahead
    }

    pub(super) fn spend(&mut self, cost: u64, bytes: usize) {
        self.used += cost;
        self.sent += bytes as u64;
    }

    /// The peer grants more, or has seen more. `false`: it revokes credit, or claims to have seen bytes that
    /// were never sent.
    pub(super) fn update(&mut self, limit: u64, seen: u64) -> bool {
        let sound = limit >= self.limit && seen >= self.seen && seen <= self.sent;
        if sound {
            (self.limit, self.seen) = (limit, seen);
        }
        sound
    }
}
