//! An in-memory log: for tests, and for data that need not outlive the process.

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

/// The limits of a [`MemoryLog`], and what happens when they are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// The number of positions that are kept, including deleted ones; 65,536 by default.
    pub max_records: usize,
    /// The bytes of records ([`Record::size`]); 64 MiB by default.
    pub max_bytes: usize,
    /// The maximum size of a record in bytes; 8 MiB by default.
    pub max_record: usize,
    /// Handling of new records when there is no room; by default the oldest records are dropped.
    pub retention: Retention,
    /// The number of ids that are remembered, so that a record with the same id is stored once; 1,024 by
    /// default. With 0, records with ids are refused.
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

/// Handling of new records by a full log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retention {
    /// The oldest ones are dropped: readers get [`ReadError::Trimmed`].
    DropOldest,
    /// New ones are not appended, until older ones are trimmed.
    Refuse,
}

/// An in-memory log, bounded, with retention. Clones are handles of the same log. Its positions count from 0.
///
/// [`trim`](Self::trim), [`delete`](Self::delete), [`truncate`](Self::truncate) and
/// [`set_reachable`](Self::set_reachable) let a test simulate what servers do. Waiting reads share one timer
/// thread, which runs only while there are any.
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

    /// Removes one record: its position becomes a gap. Returns whether there was one.
    pub fn delete(&self, position: u64) -> bool {
        self.change(|state| state.delete(position))
    }

    /// Removes the records from a position on, like a fail-over to a server that never had them. Their
    /// positions are reused.
    pub fn truncate(&self, end: u64) {
        self.change(|state| state.truncate(end));
    }

    /// Sets whether the log can be reached: if not, appends and reads fail, as while a server is away, at
    /// once and including waiting reads.
    pub fn set_reachable(&self, reachable: bool) {
        self.change(|state| state.unreachable = !reachable);
    }

    /// Closes the log, for all its handles: waiting and later operations end with `Closed`.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// The number of records that retention and [`trim`](Self::trim) have removed.
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Changes the log and wakes the tasks that wait for a change, after the lock is released.
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

    /// Ends a wait. Its wakers are dropped after the lock is released, because a whole task may be dropped
    /// with one.
    fn leave(&self, waits: Waits) {
        let waker = self.state().waiting.remove(waits.place);
        drop(waker);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No user code runs under the lock, and each change leaves the state consistent.
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
        // Deletes and truncation are for tests of code that uses logs; a program without them has these
        // capabilities.
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

/// How long it waits, and what wakes it: a change, or the timer.
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
        // Deleted records need not be skipped again.
        this.from = page.next;
        // A time out of range means never.
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
