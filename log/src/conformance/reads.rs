//! Guarantees of reads.

use std::time::Duration;

use super::tools::{
    append, both, chain, ensure, follow_until, numbered, numbers, pause, polled, read_all, violation,
};
use super::{Fixture, Outcome, Ran};
use crate::error::ReadError;
use crate::log::{Following, Limit, Log};
use crate::position::Position;
use crate::record::Record;

/// Longer than any log takes: a read that waits this long was not woken.
const LONG: Duration = Duration::from_secs(20);

/// An empty log ends where it begins; then the first record is at the beginning, and the end is after the
/// last one.
///
/// # Errors
/// A violation by the log.
pub async fn bounds<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let empty = log.bounds().await.map_err(|e| failed("bounds", &e))?;
    ensure!(empty.first == empty.end, "an empty log begins at {} and ends at {}", empty.first, empty.end);
    let told = append(&log, numbered(0..5)).await?;
    let bounds = log.bounds().await.map_err(|e| failed("bounds", &e))?;
    ensure!(told[0] >= empty.end, "the first record is at {}, before the end {}", told[0], empty.end);
    ensure!(bounds.first <= told[0], "the log begins at {}, behind its first record", bounds.first);
    ensure!(bounds.end > told[4], "the log ends at {}, before its last record", bounds.end);
    let entries = read_all(&log, bounds.first, Limit::records(2)).await?;
    ensure!(numbers(&entries) == [0, 1, 2, 3, 4], "read from the first on: {:?}", numbers(&entries));
    let next = append(&log, numbered(5..6)).await?[0];
    ensure!(next >= bounds.end, "the next record is at {next}, before the end {}", bounds.end);
    Ok(Ran::Done)
}

fn failed(what: &str, error: &dyn std::error::Error) -> super::Violation {
    super::Violation { what: format!("{what}: {}", chain(error)) }
}

/// At the end there is nothing yet; beyond it the log reports that it ends before.
///
/// # Errors
/// A violation by the log.
pub async fn behind_the_end<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    append(&log, numbered(0..3)).await?;
    let end = log.bounds().await.map_err(|e| failed("bounds", &e))?.end;
    let page =
        log.read(end, Limit::default(), Duration::ZERO).await.map_err(|e| failed("read at the end", &e))?;
    ensure!(page.entries.is_empty(), "records at the end: {:?}", page.entries);
    ensure!(page.next == end, "read on at {} after the end {end}", page.next);
    let far = end.next().next();
    for wait in [Duration::ZERO, LONG] {
        match log.read(far, Limit::default(), wait).await {
            Err(ReadError::Truncated { from, end: told }) => {
                ensure!(from == far && told == end, "read from {far}, end {end}: told {from} and {told}");
            }
            other => return violation(format!("read from {far}, behind the end {end}: {other:?}")),
        }
    }
    Ok(Ran::Done)
}

/// A waiting read is woken by an append, also if others wait or have stopped waiting; otherwise it ends after
/// its time.
///
/// # Errors
/// A violation by the log.
pub async fn long_poll<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let end = log.bounds().await.map_err(|e| failed("bounds", &e))?.end;
    let short = log.read(end, Limit::default(), Duration::from_millis(20)).await;
    let short = short.map_err(|e| failed("a read that waits", &e))?;
    ensure!(short.entries.is_empty() && short.next == end, "nothing was appended, read {short:?}");

    let given_up = polled(1, log.read(end, Limit::default(), LONG)).await;
    ensure!(given_up.is_none(), "a read at the end did not wait: {given_up:?}");
    let readers = both(log.read(end, Limit::default(), LONG), log.read(end, Limit::default(), LONG));
    let appender = async {
        for _ in 0..3 {
            pause().await;
        }
        append(&log, numbered(0..1)).await
    };
    let ((one, other), appended) = both(readers, appender).await;
    let position = appended?[0];
    for page in [one, other] {
        let page = page.map_err(|e| failed("a read that waits", &e))?;
        let woken = matches!(&page.entries[..], [entry] if entry.position == position);
        ensure!(woken, "a read that waited did not get what was appended at {position}: {page:?}");
    }
    Ok(Ran::Done)
}

/// Pages do not exceed their limit, but contain at least one record.
///
/// # Errors
/// A violation by the log.
pub async fn limits<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let records = (0..20).map(|number| Record::new(vec![number; 100])).collect();
    let start = append(&log, records).await?[0];
    for limit in [
        Limit::records(1),
        Limit::records(0),
        Limit::records(7),
        Limit::records(100).bytes(0),
        Limit::records(100).bytes(250),
        Limit::records(100).bytes(100),
        Limit::records(3).bytes(1000),
    ] {
        let entries = read_all(&log, start, limit).await?;
        let bodies = entries.iter().map(|entry| entry.record.body.first().copied());
        ensure!(bodies.eq((0..20).map(Some)), "with {limit:?} {} of 20 records were read", entries.len());
    }
    Ok(Ran::Done)
}

/// An append of more records than a page has, or than a log keeps in flight.
///
/// # Errors
/// A violation by the log.
pub async fn large_batch<F: Fixture>(fixture: &F) -> Outcome {
    const RECORDS: u32 = 3000;
    let log = fixture.fresh().await;
    let told = append(&log, numbered(0..RECORDS)).await?;
    let entries = read_all(&log, told[0], Limit::default()).await?;
    ensure!(numbers(&entries).into_iter().eq(0..RECORDS), "{} of {RECORDS} were read", entries.len());
    ensure!(entries.iter().map(|entry| entry.position).eq(told), "read at other positions than told");
    Ok(Ran::Done)
}

/// Empty records are records; an append of none has no outcomes.
///
/// # Errors
/// A violation by the log.
pub async fn empty_records<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let none = append(&log, Vec::new()).await?;
    ensure!(none.is_empty(), "no records, {} positions", none.len());
    let told = append(&log, vec![Record::new(""), Record::new("x"), Record::new("")]).await?;
    let entries = read_all(&log, told[0], Limit::records(2)).await?;
    let sizes: Vec<_> = entries.iter().map(|entry| entry.record.body.len()).collect();
    ensure!(sizes == [0, 1, 0], "bodies of 0, 1 and 0 bytes were given, read {sizes:?}");
    Ok(Ran::Done)
}

/// Reads, and waits for a stream's next record, that are dropped at any of their polls lose nothing.
///
/// # Errors
/// A violation by the log.
pub async fn cancelled_reads<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let start = append(&log, numbered(0..10)).await?[0];
    for times in 0..6 {
        let page = polled(times, log.read(start, Limit::records(4), LONG)).await;
        if let Some(page) = page {
            let page = page.map_err(|e| failed("read", &e))?;
            ensure!(numbers(&page.entries) == [0, 1, 2, 3], "read {:?}", numbers(&page.entries));
        }
    }
    let mut follow = log.follow(start);
    let (mut seen, mut appended) = (Vec::new(), 10);
    for times in (0..4).cycle().take(200) {
        if seen.len() as u32 == appended {
            // There is always another record, so that the stream does not wait.
            append(&log, numbered(appended..appended + 2)).await?;
            appended += 2;
        }
        match polled(times, follow.next_entry()).await {
            Some(Some(Ok(entry))) => seen.push(entry),
            Some(Some(Err(error))) if error.is_retryable() => {}
            Some(other) => return violation(format!("follow: {other:?}")),
            None => pause().await,
        }
    }
    append(&log, numbered(100_000..100_001)).await?;
    seen.extend(follow_until(&mut follow, 100_000).await?.entries);
    let all = read_all(&log, start, Limit::default()).await?;
    ensure!(seen == all, "followed {:?}, the log has {:?}", numbers(&seen), numbers(&all));
    Ok(Ran::Done)
}
