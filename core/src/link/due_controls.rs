//! Control frames that are to be sent.

/// Control frames to send, of which one of each kind is enough.
#[derive(Debug, Default)]
pub(super) struct DueControls {
    /// The number of the latest ping, if it is to be answered; earlier ones need no answer of their own.
    pinged: u64,
    pong: bool,
    /// The ping; its number is the number of pings sent.
    pub(super) ping: bool,
    pub(super) go_away: bool,
}

impl DueControls {
    /// The peer sent a ping.
    pub(super) fn answer_ping(&mut self, number: u64) {
        (self.pinged, self.pong) = (number, true);
    }

    /// Whether a ping is to be answered.
    pub(super) fn has_pong(&self) -> bool {
        self.pong
    }

    /// The number of the ping to answer now.
    pub(super) fn take_pong(&mut self) -> Option<u64> {
        core::mem::take(&mut self.pong).then_some(self.pinged)
    }
}
