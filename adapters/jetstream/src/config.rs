//! What can be set.

use std::time::Duration;

/// How a [`JetStreamLog`](crate::JetStreamLog) does things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JetStreamConfig {
    /// How long an append, or a read besides its waiting, tries until it gives up; 10 seconds by default. A read may
    /// take one `attempt` more.
    pub deadline: Duration,
    /// How long one request waits for its answer before it is repeated; 2 seconds by default.
    pub attempt: Duration,
    /// How many records of one append are sent before the first is acknowledged; 256 by default.
    pub in_flight: usize,
    /// Whether records that may have been appended are sent again, with the same message id; true by default. It needs
    /// a stream with a `duplicate_window`, and is done within that time only.
    pub retry: bool,
    /// How many requests for records a read has under way; 64 by default.
    pub read_ahead: usize,
    /// How many records [`follow`](bowline_log::Log::follow) asks for at a time; 64 by default. It holds twice as many at
    /// the most.
    pub follow_batch: usize,
    /// How long a stream with several replicas may seem to end before a position until it is said to be truncated; 5 seconds
    /// by default. A leader that was just elected, or is none any more, may know less than it should.
    pub lag: Duration,
    /// How often a stream that waits looks whether its log was trimmed or cut; 5 seconds by default.
    pub check: Duration,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempt: Duration::from_secs(2),
            in_flight: 256,
            retry: true,
            read_ahead: 64,
            follow_batch: 64,
            lag: Duration::from_secs(5),
            check: Duration::from_secs(5),
        }
    }
}
