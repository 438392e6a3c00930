//! Shared by the scenarios.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::Violation;
use crate::error::ReadError;
use crate::log::{Following, Limit, Log};
use crate::record::{Entry, Record};

/// Returns a violation unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Violation { what: format!($($what)+) });
        }
    };
}
pub(super) use ensure;

/// A violation with this description.
pub(super) fn violation<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { what: what.into() })
}

/// Records whose bodies are numbers.
pub(super) fn numbered(numbers: Range<u32>) -> Vec<Record> {
    numbers.map(|number| Record::new(number.to_string())).collect()
}

/// The numbers in the bodies.
pub(super) fn numbers<P>(entries: &[Entry<P>]) -> Vec<u32> {
    entries.iter().map(|entry| number(&entry.record)).collect()
}

/// The number in the body.
pub(super) fn number(record: &Record) -> u32 {
    std::str::from_utf8(&record.body).ok().and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
}

/// Appends records, all of which have to be appended.
pub(super) async fn append<L: Log>(log: &L, records: Vec<Record>) -> Result<Vec<L::Position>, Violation> {
    let count = records.len();
    match log.append(records).await.all() {
        Ok(positions) => {
            ensure!(positions.len() == count, "{count} records, {} positions", positions.len());
            ensure!(positions.is_sorted_by(|a, b| a < b), "positions do not ascend: {positions:?}");
            Ok(positions)
        }
        Err(error) => violation(format!("append: {error}: {}", chain(&error.first))),
    }
}

/// Reads pages until one is empty, and checks each.
pub(super) async fn read_all<L: Log>(
    log: &L,
    from: L::Position,
    limit: Limit,
) -> Result<Vec<Entry<L::Position>>, Violation> {
    let (mut all, mut cursor) = (Vec::new(), from);
    loop {
        let page = match log.read(cursor, limit, Duration::ZERO).await {
            Ok(page) => page,
            Err(error) => return violation(format!("read from {cursor}: {}", chain(&error))),
        };
        let count = page.entries.len();
        ensure!(count <= limit.records.max(1), "a page of {count} records, limit {}", limit.records);
        let bytes: usize = page.entries.iter().map(|entry| entry.record.size()).sum();
        ensure!(count <= 1 || bytes <= limit.bytes, "a page of {bytes} bytes, limit {}", limit.bytes);
        for entry in &page.entries {
            ensure!(entry.position >= cursor, "read from {cursor}, got {}", entry.position);
            cursor = crate::Position::next(entry.position);
        }
        ensure!(page.next >= cursor, "a page that ends at {cursor} goes on at {}", page.next);
        if count == 0 {
            return Ok(all);
        }
        cursor = page.next;
        all.extend(page.entries);
    }
}

/// The items of a stream: records, and ranges that were reported as trimmed.
pub(super) struct Followed<P> {
    pub(super) entries: Vec<Entry<P>>,
    pub(super) trimmed: Vec<(P, P)>,
}

/// Follows until a record with the number `last`. Transient errors are skipped; positions have to ascend,
/// over records and trimmed ranges.
pub(super) async fn follow_until<P: crate::Position>(
    follow: &mut impl Following<P>,
    last: u32,
) -> Result<Followed<P>, Violation> {
    let (mut followed, mut reached) = (Followed { entries: Vec::new(), trimmed: Vec::new() }, None::<P>);
    let mut errors = 0_u32;
    loop {
        match follow.next_entry().await {
            Some(Ok(entry)) => {
                let position = entry.position;
                let again = reached.is_some_and(|reached| position < reached);
                ensure!(!again, "{position} was given after what is behind it");
                reached = Some(position.next());
                ensure!(follow.cursor() >= position.next(), "the cursor stands before what was given");
                let done = number(&entry.record) == last;
                followed.entries.push(entry);
                if done {
                    return Ok(followed);
                }
            }
            Some(Err(ReadError::Trimmed { from, to })) => {
                let again = reached.is_some_and(|reached| from < reached);
                ensure!(!again, "{from} is said to be trimmed after it was given");
                ensure!(from < to, "nothing lies between {from} and {to}, which is said to be trimmed");
                reached = Some(to);
                followed.trimmed.push((from, to));
            }
            Some(Err(error)) if error.is_retryable() => {
                errors += 1;
                ensure!(errors < 100_000, "follow never gets over: {}", chain(&error));
                pause().await;
            }
            Some(Err(error)) => return violation(format!("follow: {}", chain(&error))),
            None => return violation("the stream of a log that was not closed ended"),
        }
    }
}

/// An error with its sources.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Lets other tasks run.
pub(super) async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs both futures to their ends.
pub(super) async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|cx| {
        if of_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            of_a = Some(output);
        }
        if of_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            of_b = Some(output);
        }
        match (of_a.take(), of_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (of_a, of_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs all futures to their ends.
pub(super) async fn every<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Polls a future at most this many times, and drops it then. With 0, it is dropped without a poll.
pub(super) async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
