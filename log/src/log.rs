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

/// An append-only log: a handle, which may be cloned.
///
/// An implementation supplies [`append`](Self::append), [`read`](Self::read), [`bounds`](Self::bounds) and
/// [`capabilities`](Self::capabilities). For [`follow`](Self::follow) it may use [`Follow`](crate::Follow),
/// which reads page after page. The scenarios in `conformance` check the guarantees.
///
/// If an operation cannot be done for the moment, a log over a network waits for its configured time before
/// it returns an error ([`is_retryable`](ReadError::is_retryable)), so that callers that retry at once do not
/// spin.
pub trait Log: Clone + Send + Sync + 'static {
    /// The position of a record.
    type Position: Position;
    /// The type that [`follow`](Self::follow) returns.
    type Follow: Following<Self::Position>;

    /// The capabilities of this log.
    fn capabilities(&self) -> Capabilities;

    /// Appends records, and returns the outcome of each. Stored records are in the given order; records of
    /// other writers may be between them. Without records there are no outcomes.
    ///
    /// # Errors
    /// Errors are part of the outcomes. After a record that was not stored, later ones may be.
    ///
    /// # Cancel safety
    /// A future that is dropped before it was polled appends nothing. Otherwise each record may have been
    /// appended, or may be appended later, once.
    fn append(&self, records: Vec<Record>) -> impl Future<Output = Appended<Self::Position>> + Send;

    /// Reads records from a position on, in order: at least one, if there are any. If there is none, waits
    /// for one for at most this time; then the page has no entries.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`]: the position is before the log's first. [`ReadError::Truncated`]: it is behind the log's
    /// end. [`ReadError::Unavailable`] and [`ReadError::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is taken out of the log: dropping the future loses nothing.
    fn read(
        &self,
        from: Self::Position,
        limit: Limit,
        wait: Duration,
    ) -> impl Future<Output = Result<Page<Self::Position>, ReadError<Self::Position>>> + Send;

    /// The first position and the end of the log.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] and [`ReadError::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn bounds(
        &self,
    ) -> impl Future<Output = Result<Bounds<Self::Position>, ReadError<Self::Position>>> + Send;

    /// A stream of every record from a position on, including later ones: see [`Following`].
    fn follow(&self, from: Self::Position) -> Self::Follow;
}

/// A stream of a log's records, in order. No record is repeated, and none is left out except those that are
/// reported as gone.
///
/// An error does not end it. After [`ReadError::Trimmed`] it continues where the log begins. After an error
/// that [is retryable](ReadError::is_retryable) it tries again when it is polled. [`ReadError::Truncated`] is
/// returned again until the user calls [`seek`](Self::seek): whether to read again what has other positions
/// now is the user's decision. After [`ReadError::Closed`] it ends.
pub trait Following<P: Position>: Stream<Item = Result<Entry<P>, ReadError<P>>> + Send + Unpin {
    /// The position at which it continues: after the last record that it returned. A program that stores this
    /// together with its results can later follow from there.
    fn cursor(&self) -> P;

    /// Continues at another position.
    fn seek(&mut self, to: P);

    /// The next record, or error; `None` after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
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

/// The maximum size of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limit {
    /// The number of records; 0 counts as 1.
    pub records: usize,
    /// The bytes of the records ([`Record::size`]); the first record is returned even if it is larger.
    pub bytes: usize,
}

impl Limit {
    /// This many records, of 1 MiB in total.
    pub const fn records(records: usize) -> Self {
        Self { records, bytes: 1 << 20 }
    }

    /// Sets the number of bytes.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Whether a page with this many records and bytes may have one more of this size.
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
    /// Where to read next. It may be after the next position of the last entry, if records were deleted, and
    /// is never after the log's end.
    pub next: P,
}

impl<P> Page<P> {
    /// A page; for implementations of [`Log`].
    pub fn new(entries: Vec<Entry<P>>, next: P) -> Self {
        Self { entries, next }
    }
}

/// The first position and the end of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Bounds<P> {
    /// The lowest position that can be read: of the first record, or the end if there is none.
    pub first: P,
    /// The lowest possible position of the next record: no record is there yet.
    pub end: P,
}

impl<P> Bounds<P> {
    /// Bounds; for implementations of [`Log`].
    pub fn new(first: P, end: P) -> Self {
        Self { first, end }
    }
}
