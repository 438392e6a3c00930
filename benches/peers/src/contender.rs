//! What a contender is, and which there are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::contenders;
use crate::job::{Job, Tally, Work};

/// One library, used in one way, as those who know it well would.
///
/// Both sides run in processes of their own (or threads, when asked): [`serve`](Self::serve) in
/// one, [`drive`](Self::drive) in the other. The side that counts returns what was counted, the other
/// one an empty tally: [`Work::server_counts`] and [`receiver_dials`](Self::receiver_dials) say which.
pub trait Contender: Send + Sync {
    /// Unique, short: it names a row of the tables.
    fn name(&self) -> &'static str;

    /// Whether it does this work; if not, the reason, which is printed.
    fn fits(&self, work: &Work) -> Result<(), &'static str>;

    /// Lengths in bytes among which its user chooses how much is gathered before it is written:
    /// the fastest one is found before the rounds and used for them ([`Job::block`]). Empty where
    /// the library chooses for itself.
    fn blocks(&self, _: &Work) -> &'static [usize] {
        &[]
    }

    /// Whether the driving side receives and counts what [`Work::OneWay`] sends.
    fn receiver_dials(&self) -> bool {
        false
    }

    /// Binds to port 0 of 127.0.0.1, says where through `ready`, and serves.
    ///
    /// For [`Work::OneWay`] it returns once it has seen as many [end marks](is_last) as there are
    /// senders, with messages (end marks left out) over the time from the first message to the
    /// last. For the rest it serves until its process is ended, or the connection ends.
    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally>;

    /// Connects and makes the traffic for [`Job::seconds`].
    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally>;
}

/// Blocks for messages one way. On loopback a segment has 32,741 bytes: more than two of them in
/// a write cost a third, almost empty one.
pub const ONE_WAY_BLOCKS: &[usize] = &[8 << 10, 16 << 10, 32 << 10, 60 << 10, 64 << 10, 128 << 10, 256 << 10];

/// Blocks for calls: a request or reply is written once so many bytes of them are there, while
/// others are still read.
pub const CALL_BLOCKS: &[usize] = &[2 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10];

/// Those of the two that are for this work.
pub fn blocks(work: &Work) -> &'static [usize] {
    match work.plain() {
        // Large messages are written one at a time.
        Work::OneWay { size: ..16_384, .. } => ONE_WAY_BLOCKS,
        // One call at a time has nothing to gather.
        Work::Calls { in_flight: 2.., .. } | Work::Paced { .. } => CALL_BLOCKS,
        _ => &[],
    }
}

/// How a server says where it listens.
pub type Ready = Box<dyn FnOnce(SocketAddr) + Send>;

/// A body of `size` bytes that is not the last.
pub fn body(size: usize) -> Vec<u8> {
    vec![7; size]
}

/// The body that says that a sender is done.
pub fn last(size: usize) -> Vec<u8> {
    vec![0xFF; size]
}

/// Whether a sender says with this body that it is done.
pub fn is_last(body: &[u8]) -> bool {
    body.first() == Some(&0xFF)
}

/// Counts messages between the first and the last.
///
/// Handlers of a connection run one after another, but in Bowline's they may be shared: so the
/// counts are atomics, added to as plain numbers are.
#[derive(Debug, Default)]
pub struct Counter {
    first: std::sync::OnceLock<std::time::Instant>,
    count: AtomicU64,
    ended: AtomicU64,
}

impl Counter {
    /// Takes note of one message; true once all of `senders` have said that they are done.
    #[inline]
    pub fn message(&self, body: &[u8], senders: usize) -> bool {
        if is_last(body) {
            return self.ended.fetch_add(1, Ordering::Relaxed) + 1 >= senders as u64;
        }
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            let _ = self.first.set(std::time::Instant::now());
        }
        self.count.store(count + 1, Ordering::Relaxed);
        false
    }

    /// What was counted, up to now.
    pub fn tally(&self) -> Tally {
        let seconds = self.first.get().map_or(0.0, |first| first.elapsed().as_secs_f64());
        Tally::new(self.count.load(Ordering::Relaxed), seconds)
    }
}

/// Every contender, in the order in which they take turns; the first that fits a workload is its
/// baseline.
pub fn all() -> Vec<Box<dyn Contender>> {
    let mut all = contenders::raw::all();
    all.extend(contenders::raw_epoll::all());
    all.extend(contenders::raw_tokio::all());
    all.extend(contenders::actor::all());
    all.extend(contenders::bowline_async::all());
    all.extend(contenders::bowline_receiving::all());
    all.extend(contenders::bowline_owned::all());
    all.extend(contenders::bowline_blocking::all());
    all.extend(contenders::bowline_exclusive::all());
    all.extend(contenders::bowline_zmtp::all());
    all.extend(contenders::bowline_patterns::all());
    all.extend(contenders::peers::all());
    all
}

/// The contender of this name.
pub fn named(name: &str) -> Option<Box<dyn Contender>> {
    all().into_iter().find(|contender| contender.name() == name)
}
