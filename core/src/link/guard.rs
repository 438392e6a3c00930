//! Guards against floods: bounds on the work that a peer can cause on this side, in bytes, relative to what
//! it has a reason to send.

use crate::error::PeerError;
use crate::time::Instant;

/// Bytes of control frames that the peer may send per second, and at once: 4,096 pings.
const CONTROL: u64 = 64 * 1024;
/// For each this many bytes sent by this side, the peer may send one more byte of control frames: its grants
/// grow with this side's traffic, at a thousandth of its bytes or less.
const EARNED_BY: u64 = 32;
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// How many bytes of control frames, and how many cancels, the peer may still send.
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

    /// Adds allowance for the time passed and the bytes sent.
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
        // Allowance earned by traffic may accumulate to a limit: grants can arrive in bursts.
        self.control = (self.control + by_time + earned).min(4 * CONTROL);
    }

    /// A control frame of this size was received: ping, pong, grant, go-away.
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

    /// The session continues on another connection: the counts of requests and cancels continue.
    pub(super) fn begin_connection(&mut self) {
        self.control = CONTROL;
    }

    pub(super) fn request(&mut self) {
        self.requests += 1;
    }

    /// A cancel was received: at most one is allowed for each request.
    pub(super) fn cancel(&mut self) -> Result<(), PeerError> {
        self.cancels += 1;
        if self.cancels > self.requests {
            return Err(PeerError::Flood { what: "cancels", value: self.cancels, limit: self.requests });
        }
        Ok(())
    }
}
