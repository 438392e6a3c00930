//! What one measurement is asked to do, and what it found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One contender doing one thing once: what the runner hands to the two processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// [`Contender::name`](crate::contender::Contender::name) of who does it.
    pub contender: String,
    /// What is to be done.
    pub work: Work,
    /// For how long, by the driving side's clock.
    pub seconds: f64,
    /// Bytes that are gathered before a write, for contenders that leave this to their user: see
    /// [`Contender::blocks`](crate::contender::Contender::blocks). 0: the contender's own.
    pub block: usize,
}

/// The workloads that need two sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Messages of `size` bytes on one connection that `senders` share; the receiver counts.
    OneWay { size: usize, senders: usize },
    /// Calls of `size` bytes each way on one connection, `in_flight` tasks each calling in a loop.
    Calls { size: usize, in_flight: usize },
    /// Calls of `size` bytes each way on one connection at a fixed rate, each timed from the
    /// moment when it was meant to be made.
    Paced { size: usize, per_second: f64 },
    /// Connections that do nothing but live; then one call a second on each.
    Idle { connections: usize },
    /// Bursts of 32 messages of 110 bytes on each of many connections, each burst answered.
    Scale { connections: usize },
    /// Calls of 110 bytes beside 1 MiB messages at `per_second` of them (0: as many as go,
    /// and no calls), on the same connection or on a second one.
    Mixed { per_second: f64, apart: bool },
    /// What ZeroMQ's sockets do, with the limits that they have by themselves.
    Pattern(Pattern),
}

/// A pattern of ZeroMQ's, messages of 110 bytes where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Pattern {
    /// PUSH to PULL.
    Push { size: usize },
    /// REQ and REP: one call at a time.
    Ask,
    /// A PUB to so many SUB sockets, of which each wants one in `one_in` messages.
    Publish { subscribers: usize, one_in: usize },
    /// So many PUSH sockets to one PULL.
    FanIn { pushers: usize },
    /// PUSH to PULL within one process.
    Inproc,
    /// PUSH to PULL with the mechanism CURVE.
    Curve { size: usize },
}

impl Work {
    /// What comes nearest for those that are no sockets of ZeroMQ's.
    pub fn plain(self) -> Self {
        match self {
            Self::Pattern(Pattern::Push { size }) => Self::OneWay { size, senders: 1 },
            Self::Pattern(Pattern::Ask) => Self::Calls { size: 110, in_flight: 1 },
            other => other,
        }
    }

    /// Whether the serving side counts.
    pub fn server_counts(&self) -> bool {
        matches!(
            self,
            Self::OneWay { .. }
                | Self::Pattern(Pattern::Push { .. } | Pattern::Curve { .. } | Pattern::FanIn { .. })
        )
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OneWay { size, senders } => write!(f, "one way {size} B from {senders}"),
            Self::Calls { size, in_flight } => write!(f, "calls {size} B {in_flight} in flight"),
            Self::Paced { size, .. } => write!(f, "latency of calls {size} B at half the peak rate"),
            Self::Idle { connections } => write!(f, "{connections} idle connections"),
            Self::Scale { connections } => write!(f, "bursts of 32 on {connections} connections"),
            Self::Mixed { apart: false, .. } => write!(f, "calls beside a stream on the same connection"),
            Self::Mixed { apart: true, .. } => write!(f, "calls beside a stream on a second connection"),
            Self::Pattern(Pattern::Push { size }) => write!(f, "PUSH to PULL {size} B, default limits"),
            Self::Pattern(Pattern::Curve { size }) => {
                write!(f, "CURVE PUSH to PULL {size} B, default limits")
            }
            Self::Pattern(Pattern::Ask) => write!(f, "REQ and REP, one at a time"),
            Self::Pattern(Pattern::Publish { subscribers, one_in: 1 }) => {
                write!(f, "PUB to {subscribers} SUB, all")
            }
            Self::Pattern(Pattern::Publish { subscribers, one_in }) => {
                write!(f, "PUB to {subscribers} SUB, 1 in {one_in} matching")
            }
            Self::Pattern(Pattern::FanIn { pushers }) => write!(f, "{pushers} PUSH to one PULL"),
            Self::Pattern(Pattern::Inproc) => write!(f, "inproc PUSH to PULL"),
        }
    }
}

/// What the counting side found.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Messages received, calls answered, or connections held.
    pub count: u64,
    /// Over how many seconds: between the first message and the last.
    pub seconds: f64,
    /// Of each call, where calls were timed.
    pub latency: Option<Quantiles>,
    /// Resident bytes for each connection, where that was asked.
    pub resident: Option<f64>,
    /// The same after one call on each connection and a pause.
    pub resident_used: Option<f64>,
}

impl Tally {
    /// So many in so long.
    pub fn new(count: u64, seconds: f64) -> Self {
        Self { count, seconds, ..Self::default() }
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.count as f64 / self.seconds } else { 0.0 }
    }
}

/// Times of calls, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}
