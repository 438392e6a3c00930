//! What the peers' contenders share.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::callers::{quantiles, times};
use crate::contender::{Ready, body, last};
use crate::job::{Job, Tally, Work};

/// Why a peer does not do the rest of the work.
pub const BOWLINE_ONLY: &str = "measured for Bowline and the raw sockets only";

/// Why those that are no sockets of ZeroMQ's do not do what these do.
pub const PATTERNS: &str = "it has no such sockets";

/// What the peers that have both messages and calls do.
pub fn messages_and_calls(work: &Work) -> Result<(), &'static str> {
    match work {
        Work::OneWay { .. } | Work::Calls { .. } | Work::Paced { .. } => Ok(()),
        Work::Idle { .. } | Work::Scale { .. } | Work::Mixed { .. } => Err(BOWLINE_ONLY),
        Work::Pattern(_) => Err(PATTERNS),
    }
}

/// Runs `future` on a tokio runtime of one thread, in a `LocalSet`: with one connection a second
/// thread would only add hand-overs.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, future)
}

/// Listens, says where, and takes the one connection.
pub async fn accept(ready: Ready) -> Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(listener.local_addr()?);
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The time that a job takes.
pub fn seconds(job: &Job) -> Duration {
    Duration::from_secs_f64(job.seconds)
}

/// The size and number of senders of a one-way job.
pub fn one_way(work: &Work) -> Option<(usize, usize)> {
    match *work {
        Work::OneWay { size, senders } => Some((size, senders)),
        _ => None,
    }
}

/// Says when a sender's time is over. Small messages look at the clock once in 64 of them.
pub struct Until {
    end: Instant,
    every: u32,
    left: u32,
}

impl Until {
    pub fn new(job: &Job, size: usize) -> Self {
        let every = u32::try_from(64 * 1024 / size.max(1)).unwrap_or(64).clamp(1, 64);
        Self { end: Instant::now() + seconds(job), every, left: every }
    }

    #[inline]
    pub fn over(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        self.left = self.every;
        Instant::now() >= self.end
    }
}

/// All that one sender sends: bodies until its time is over, then the one that says so.
///
/// Each is a reference to the same bytes; what it costs to make messages is not measured.
pub struct Bodies {
    until: Until,
    body: Bytes,
    last: Option<Bytes>,
}

impl Bodies {
    pub fn new(job: &Job, size: usize) -> Self {
        Self { until: Until::new(job, size), body: body(size).into(), last: Some(last(size).into()) }
    }
}

impl Iterator for Bodies {
    type Item = Bytes;

    #[inline]
    fn next(&mut self) -> Option<Bytes> {
        if self.last.is_none() || self.until.over() { self.last.take() } else { Some(self.body.clone()) }
    }
}

/// How many messages may wait in a queue, so that large ones do not take the memory.
pub fn high_water(size: usize) -> usize {
    if size <= 1024 { 100_000 } else { 1_000 }
}

/// Calls at a fixed rate on a socket that one task owns; replies come in the order of the calls.
pub struct Pace {
    start: Instant,
    time: Duration,
    interval: f64,
    made: u64,
    answered: u64,
    waiting: VecDeque<Instant>,
    times: Histogram<u64>,
}

impl Pace {
    pub fn new(per_second: f64, time: Duration) -> Self {
        let start = Instant::now();
        let waiting = VecDeque::with_capacity(1024);
        Self { start, time, interval: per_second.recip(), made: 0, answered: 0, waiting, times: times() }
    }

    /// Whether a call has to be made by now; true counts as made.
    #[inline]
    pub fn due(&mut self) -> bool {
        let due = Duration::from_secs_f64(self.made as f64 * self.interval);
        if due > self.start.elapsed() || self.over() {
            return false;
        }
        self.waiting.push_back(self.start + due);
        self.made += 1;
        true
    }

    /// The oldest call has its reply. It is timed from when it was meant to be made.
    #[inline]
    pub fn answered(&mut self) {
        if let Some(meant) = self.waiting.pop_front() {
            self.times.saturating_record(meant.elapsed().as_nanos() as u64);
            self.answered += 1;
        }
    }

    /// Whether no more calls are made.
    #[inline]
    pub fn over(&self) -> bool {
        self.start.elapsed() >= self.time
    }

    /// Whether calls were made which have no reply yet.
    #[inline]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally::new(self.answered, self.start.elapsed().as_secs_f64());
        tally.latency = Some(quantiles(&self.times));
        tally
    }
}

/// Secret keys for CURVE: any 32 bytes are one.
pub mod curve {
    pub const SERVER: [u8; 32] = [1; 32];
    pub const CLIENT: [u8; 32] = [2; 32];

    /// The public key of a secret one.
    pub fn public(secret: [u8; 32]) -> [u8; 32] {
        bowline::zmtp::mechanism::SecretKey::new(secret).public_key()
    }
}
