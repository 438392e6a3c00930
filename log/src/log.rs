//! The trait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use crate::appended::Appended;
use crate::capabilities::Capabilities;
use crate::error::ReadError;
use crate::position::Position;
use crate::record::{Entry, Record};

/// An append-only log: a handle of it, which may be cloned.
///
/// An implementation gives [`append`](Self::append), [`read`](Self::read), [`bounds`](Self::bounds) and
/// [`capabilities`](Self::capabilities). For [`follow`](Self::follow) it may use [`Follow`](crate::Follow), which
/// reads page after page. The scenarios in `conformance` check what is promised here.
///
/// Where nothing can be done for the moment, one over a network waits for as long as it is set up to before it says so
/// ([`is_retryable`](ReadError::is_retryable)): who tries again at once does not spin.
pub trait Log: Clone + Send + Sync + 'static {
    /// Where a record stands.
    type Position: Position;
    /// What [`follow`](Self::follow) returns.
    type Follow: Following<Self::Position>;

    /// What this log promises beyond what all do.
    fn capabilities(&self) -> Capabilities;

    /// Appends records, and tells what became of each. Records that were stored stand in the order in which they were
    /// given; others' may stand between them. No records give no outcomes.
    ///
    /// # Errors
    /// In the outcomes. After a record that was not stored, later ones may be.
    ///
    /// # Cancel safety
    /// A future that is dropped before it was polled appends nothing. Otherwise each record may have been appended, or
    /// be appended later on, once.
    fn append(&self, records: Vec<Record>) -> impl Future<Output = Appended<Self::Position>> + Send;

    /// Reads records from a position on, in order: one at least, if there are any. If there is none, waits for one until
    /// so much time has passed; then the page has no entries.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`]: the position is before the log's first. [`ReadError::Truncated`]: it is behind the log's
    /// end. [`ReadError::Unavailable`] and [`ReadError::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is taken out of the log: to drop the future loses nothing.
    fn read(
        &self,
        from: Self::Position,
        limit: Limit,
        wait: Duration,
    ) -> impl Future<Output = Result<Page<Self::Position>, ReadError<Self::Position>>> + Send;

    /// Where the log begins and ends.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] and [`ReadError::Closed`].
    ///
    /// # Cancel safety
    /// To drop the future changes nothing.
    fn bounds(
        &self,
    ) -> impl Future<Output = Result<Bounds<Self::Position>, ReadError<Self::Position>>> + Send;

    /// Every record from a position on, and then those that come: see [`Following`].
    fn follow(&self, from: Self::Position) -> Self::Follow;
}

/// A stream of a log's records, in order. None comes twice, and none is left out but those that it says are gone.
///
/// An error does not end it. After [`ReadError::Trimmed`] it goes on where the log begins. After one that
/// [is retryable](ReadError::is_retryable) it tries again when it is polled. [`ReadError::Truncated`] comes again until
/// the user has called [`seek`](Self::seek): whether to read again what has other positions now is not for the stream to
/// decide. After [`ReadError::Closed`] it ends.
pub trait Following<P: Position>: Stream<Item = Result<Entry<P>, ReadError<P>>> + Send + Unpin {
    /// Where it goes on: behind the last record that it gave. A program that keeps this with what it did can follow
    /// from there later on.
    fn cursor(&self) -> P;

    /// Goes on somewhere else.
    fn seek(&mut self, to: P);

    /// The next record, or error; `None` after the end.
    ///
    /// # Cancel safety
    /// To drop the future loses nothing.
    fn next_entry(&mut self) -> NextEntry<'_, Self> {
        NextEntry { stream: self }
    }
}

/// The future of [`Following::next_entry`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextEntry<'a, S: ?Sized> {
    stream: &'a mut S,
}

impl<S: Stream + Unpin + ?Sized> Future for NextEntry<'_, S> {
    type Output = Option<S::Item>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.stream).poll_next(cx)
    }
}

/// How much a page may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limit {
    /// How many records; 0 counts as 1.
    pub records: usize,
    /// How many bytes of them ([`Record::size`]); the first record comes even if it has more.
    pub bytes: usize,
}

impl Limit {
    /// So many records, of 1 MiB in all.
    pub const fn records(records: usize) -> Self {
        Self { records, bytes: 1 << 20 }
    }

    /// The same with so many bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Whether a page with so many records and bytes may have one more of so many bytes.
    pub fn has_room(&self, records: usize, bytes: usize, size: usize) -> bool {
        records == 0 || (records < self.records && bytes.saturating_add(size) <= self.bytes)
    }
}

impl Default for Limit {
    /// 256 records, 1 MiB.
    fn default() -> Self {
        Self::records(256)
    }
}

/// Records that were read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Page<P> {
    /// The records, in ascending order.
    pub entries: Vec<Entry<P>>,
    /// Where to read on. It may be behind the next of the last entry, where records were deleted, and lies never behind
    /// the log's end.
    pub next: P,
}

impl<P> Page<P> {
    /// A page; for implementations of [`Log`].
    pub fn new(entries: Vec<Entry<P>>, next: P) -> Self {
        Self { entries, next }
    }
}

/// Where a log begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Bounds<P> {
    /// The least position that can be read: of the first record, or the end if there is none.
    pub first: P,
    /// Where the next record will stand, at the earliest: no record is there yet.
    pub end: P,
}

impl<P> Bounds<P> {
    /// Bounds; for implementations of [`Log`].
    pub fn new(first: P, end: P) -> Self {
        Self { first, end }
    }
}
