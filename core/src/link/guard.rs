//! Guards against floods: bounds on what a peer can make this side do, in bytes, tied to what it
//! has a reason to send.

use crate::error::PeerError;
use crate::time::Instant;

/// Bytes of control frames that may come in a second, and at once: 4,096 pings.
const CONTROL: u64 = 64 * 1024;
/// For so many bytes that we send, the peer may send one byte more of control frames: its grants
/// grow with our traffic, at a thousandth of its bytes or less.
const EARNED_BY: u64 = 32;
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What the peer may still send of control frames, and of cancels.
#[derive(Debug)]
pub(super) struct Guard {
    control: u64,
    refilled: Instant,
    bytes_out: u64,
    requests: u64,
    cancels: u64,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self { control: CONTROL, refilled: Instant::ZERO, bytes_out: 0, requests: 0, cancels: 0 }
    }

    /// Time has passed, and bytes were sent.
    pub(super) fn refill(&mut self, now: Instant, bytes_out: u64) {
        let passed = now.as_nanos().saturating_sub(self.refilled.as_nanos()).min(SECOND);
        let earned = bytes_out.saturating_sub(self.bytes_out) / EARNED_BY;
        let by_time = CONTROL * passed / SECOND;
        if by_time > 0 {
            self.refilled = now;
        }
        if earned > 0 {
            self.bytes_out = bytes_out;
        }
        // What was earned by traffic may be saved up somewhat: grants can come in a bunch.
        self.control = (self.control + by_time + earned).min(4 * CONTROL);
    }

    /// A control frame of so many bytes came: ping, pong, grant, go-away.
    pub(super) fn control(&mut self, bytes: usize) -> Result<(), PeerError> {
        match self.control.checked_sub(bytes as u64) {
            Some(left) => {
                self.control = left;
                Ok(())
            }
            None => Err(PeerError::Flood {
                what: "control bytes",
                value: self.control + bytes as u64,
                limit: self.control,
            }),
        }
    }

    /// The session goes on with another connection: requests and cancels are counted on.
    pub(super) fn begin_connection(&mut self) {
        self.control = CONTROL;
    }

    pub(super) fn request(&mut self) {
        self.requests += 1;
    }

    /// A cancel came: there is at most one for each request.
    pub(super) fn cancel(&mut self) -> Result<(), PeerError> {
        self.cancels += 1;
        if self.cancels > self.requests {
            return Err(PeerError::Flood { what: "cancels", value: self.cancels, limit: self.requests });
        }
        Ok(())
    }
}
