//! A log in this process's memory: for tests, and for what need not outlive the process.

mod state;
mod timer;

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::appended::Appended;
use crate::capabilities::{Capabilities, Commit, Deduplication};
use crate::error::{AppendError, Cause, ReadError};
use crate::follow::Follow;
use crate::log::{Bounds, Limit, Log, Page};
use crate::record::Record;

use state::State;
use timer::Alarm;

/// What a [`MemoryLog`] holds at the most, and what happens then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// How many positions are kept, deleted ones counted; 65,536 by default.
    pub max_records: usize,
    /// How many bytes of records ([`Record::size`]); 64 MiB by default.
    pub max_bytes: usize,
    /// The largest record in bytes; 8 MiB by default.
    pub max_record: usize,
    /// What happens when there is no room; the oldest records go by default.
    pub retention: Retention,
    /// How many ids are remembered, so that a record with the same id is stored once; 1,024 by default. With 0, records
    /// with ids are refused.
    pub remembered_ids: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            max_records: 1 << 16,
            max_bytes: 64 << 20,
            max_record: 8 << 20,
            retention: Retention::DropOldest,
            remembered_ids: 1024,
        }
    }
}

/// What a full log does with new records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retention {
    /// The oldest ones go: readers are told by [`ReadError::Trimmed`].
    DropOldest,
    /// New ones are not appended, until older ones are trimmed.
    Refuse,
}

/// A log in memory, bounded, with retention. Clones are handles of the same log. Its positions count from 0.
///
/// [`trim`](Self::trim), [`delete`](Self::delete), [`truncate`](Self::truncate) and
/// [`set_reachable`](Self::set_reachable) let a test do to its program what servers do. Reads that wait use one thread
/// for the time, which runs only while somebody waits.
#[derive(Clone)]
pub struct MemoryLog {
    config: MemoryConfig,
    state: Arc<Mutex<State>>,
}

impl MemoryLog {
    /// An empty log with the default limits.
    pub fn new() -> Self {
        Self::with(MemoryConfig::default())
    }

    /// An empty log.
    pub fn with(config: MemoryConfig) -> Self {
        Self { config, state: Arc::default() }
    }

    /// Removes every record before a position, as retention does.
    pub fn trim(&self, to: u64) {
        self.change(|state| state.trim(to));
    }

    /// Removes one record: its position becomes a gap. Whether there was one.
    pub fn delete(&self, position: u64) -> bool {
        self.change(|state| state.delete(position))
    }

    /// Removes the records from a position on, as a fail-over to a server that never had them does. Their positions are
    /// used again.
    pub fn truncate(&self, end: u64) {
        self.change(|state| state.truncate(end));
    }

    /// Whether the log can be reached: if not, nothing is appended or read, as while a server is away. That is said at
    /// once, also to reads that wait.
    pub fn set_reachable(&self, reachable: bool) {
        self.change(|state| state.unreachable = !reachable);
    }

    /// Closes the log, for all its handles: what waits, and what is asked later, ends with `Closed`.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// How many records retention and [`trim`](Self::trim) have removed so far.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Changes the log and wakes those who wait for a change, after the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, wakers) = {
            let mut state = self.state();
            (change(&mut state), state.waiting.take())
        };
        for waker in wakers {
            waker.wake();
        }
        result
    }

    /// Ends a wait. Its wakers are dropped after the lock: with one a whole task may go.
    fn leave(&self, waits: Waits) {
        let waker = self.state().waiting.remove(waits.place);
        drop(waker);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, and each change leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryLog")
            .field("first", &state.first)
            .field("end", &state.end())
            .finish_non_exhaustive()
    }
}

impl Log for MemoryLog {
    type Position = u64;
    type Follow = Follow<Self>;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(Commit::Memory);
        capabilities.commits = &[Commit::Memory];
        // Deletes and truncation are for tests of what stands upon a log; a program that does without them has these.
        capabilities.contiguous = true;
        capabilities.positions_reused = false;
        capabilities.atomic_batches = true;
        capabilities.headers = true;
        capabilities.max_record = Some(self.config.max_record.min(self.config.max_bytes));
        if self.config.remembered_ids > 0 {
            capabilities.deduplication = Deduplication::Latest(self.config.remembered_ids);
        }
        capabilities
    }

    async fn append(&self, records: Vec<Record>) -> Appended<u64> {
        let count = records.len();
        self.change(|state| {
            if state.closed {
                return Appended::failed(count, AppendError::Closed);
            }
            if state.unreachable {
                return Appended::failed(count, AppendError::NotAppended(Cause::transient("out of reach")));
            }
            state.append(records, &self.config)
        })
    }

    fn read(
        &self,
        from: u64,
        limit: Limit,
        wait: Duration,
    ) -> impl Future<Output = Result<Page<u64>, ReadError<u64>>> + Send {
        Read { log: self, from, limit, wait, waits: None }
    }

    fn bounds(&self) -> impl Future<Output = Result<Bounds<u64>, ReadError<u64>>> + Send {
        let state = self.state();
        ready(state.check().map(|()| Bounds::new(state.first, state.end())))
    }

    fn follow(&self, from: u64) -> Follow<Self> {
        Follow::new(self.clone(), from)
    }
}

/// A read that may wait.
struct Read<'a> {
    log: &'a MemoryLog,
    from: u64,
    limit: Limit,
    wait: Duration,
    waits: Option<Waits>,
}

/// Until when it waits, and what wakes it: a change, or the time.
struct Waits {
    until: Option<Instant>,
    place: u64,
    _alarm: Option<Alarm>,
}

impl Future for Read<'_> {
    type Output = Result<Page<u64>, ReadError<u64>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let waited = this.waits.take();
        if let Some(Waits { until: Some(until), .. }) = waited {
            this.wait = until.saturating_duration_since(Instant::now());
        }
        if let Some(waits) = waited {
            this.log.leave(waits);
        }
        let mut state = this.log.state();
        let page = match state.read(this.from, this.limit) {
            Ok(page) if page.entries.is_empty() && !this.wait.is_zero() => page,
            ready => return Poll::Ready(ready),
        };
        // What was deleted need not be walked over again.
        this.from = page.next;
        // A time that is too far away to be told is never.
        let until = Instant::now().checked_add(this.wait);
        let place = state.waiting.add(cx.waker().clone());
        drop(state);
        let alarm = until.map(|until| Alarm::set(until, cx.waker().clone()));
        this.waits = Some(Waits { until, place, _alarm: alarm });
        Poll::Pending
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.take() {
            self.log.leave(waits);
        }
    }
}

#[cfg(test)]
mod tests;
