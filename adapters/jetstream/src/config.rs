//! The settings.

use std::time::Duration;

/// The settings of a [`JetStreamLog`](crate::JetStreamLog).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JetStreamConfig {
    /// Time limit of an append, and of a read without its waiting for records; 10 seconds by default. A read
    /// may take one `attempt` more.
    pub deadline: Duration,
    /// Time limit for the answer to one request, after which it is repeated; 2 seconds by default.
    pub attempt: Duration,
    /// Number of records of one append that are sent before the first is acknowledged; 256 by default.
    pub in_flight: usize,
    /// Whether records that may have been appended are sent again, with the same message id; true by default.
    /// It requires a stream with a `duplicate_window`, and is done within that time only.
    pub retry: bool,
    /// Number of concurrent requests for records of a read; 64 by default.
    pub read_ahead: usize,
    /// Number of records that [`follow`](bowline_log::Log::follow) requests at a time; 64 by default. It
    /// holds at most twice as many.
    pub follow_batch: usize,
    /// How long a stream with several replicas may appear to end before a position until it is reported as
    /// truncated; 5 seconds by default. A leader that was just elected or just replaced may lack messages.
    pub lag: Duration,
    /// How often a waiting follower checks whether its log was trimmed or truncated; 5 seconds by default.
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
