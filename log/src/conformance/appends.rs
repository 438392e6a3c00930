//! Guarantees of appends.

use super::tools::{append, chain, ensure, every, number, numbered, numbers, polled, read_all, violation};
use super::{Fixture, Outcome, Ran};
use crate::capabilities::Deduplication;
use crate::error::{AppendError, Refusal};
use crate::log::{Limit, Log};
use crate::position::Position;
use crate::record::{Entry, Record};

/// Records are read in the order of their appends, at the returned positions; contiguous, if that is a
/// capability.
///
/// # Errors
/// A violation by the log.
pub async fn order<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let mut told = append(&log, numbered(0..7)).await?;
    for number in 7..10 {
        told.extend(append(&log, numbered(number..number + 1)).await?);
    }
    told.extend(append(&log, numbered(10..40)).await?);
    ensure!(told.is_sorted_by(|a, b| a < b), "positions of later appends do not ascend: {told:?}");
    for records in [1, 3, 100] {
        let entries = read_all(&log, told[0], Limit::records(records)).await?;
        let positions: Vec<_> = entries.iter().map(|entry| entry.position).collect();
        ensure!(positions == told, "told {told:?}, read {positions:?}");
        ensure!(numbers(&entries).into_iter().eq(0..40), "read in another order: {:?}", numbers(&entries));
    }
    if log.capabilities().contiguous {
        let gap = told.windows(2).find(|pair| pair[0].next() != pair[1]);
        ensure!(gap.is_none(), "contiguous positions were promised: {gap:?}");
    }
    Ok(Ran::Done)
}

/// A record that exceeds the size limit is refused with both numbers, and other records of its append are not
/// affected; with atomic batches, none of them is stored.
///
/// # Errors
/// A violation by the log.
pub async fn refused<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let Some(most) = log.capabilities().max_record else {
        return Ok(Ran::Skipped("no limit for records is known"));
    };
    let start = append(&log, numbered(0..1)).await?[0];
    let large = Record::new(vec![7; most + 1]);
    let batch = vec![Record::new("1"), large, Record::new("2")];
    let outcomes = log.append(batch).await.into_outcomes();
    ensure!(outcomes.len() == 3, "3 records, {} outcomes", outcomes.len());
    match &outcomes[1] {
        Err(AppendError::Refused(Refusal::TooLarge { size, limit })) => {
            ensure!(size > limit, "refused for {size} bytes, limit {limit}");
        }
        other => return violation(format!("a record of {} bytes, limit {most}: {other:?}", most + 1)),
    }
    let entries = read_all(&log, start, Limit::records(10)).await?;
    let stored = numbers(&entries);
    if log.capabilities().atomic_batches {
        ensure!(stored == [0], "atomic batches were promised, part of one was stored: {stored:?}");
        ensure!(outcomes.iter().all(Result::is_err), "told to be appended: {outcomes:?}");
    } else {
        let told = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok());
        ensure!(told.eq(entries[1..].iter().map(|e| &e.position)), "told {outcomes:?}, stored {stored:?}");
    }
    let fits = Record::new(vec![7; most - most / 8]);
    append(&log, vec![fits]).await?;
    Ok(Ran::Done)
}

/// Headers are returned as they were given, or are refused.
///
/// # Errors
/// A violation by the log.
pub async fn headers<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let record = Record::new("0").with_header("A", "one").with_header("B", "").with_header("A", "two words");
    if log.capabilities().headers {
        let start = append(&log, vec![record.clone()]).await?[0];
        let read = read_all(&log, start, Limit::records(1)).await?;
        let of = |name: &str, record: &Record| -> Vec<String> {
            record.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
        };
        let count = read[0].record.headers.len();
        ensure!(count == 3, "3 headers were given, {count} read");
        for name in ["A", "B"] {
            let (given, got) = (of(name, &record), of(name, &read[0].record));
            ensure!(given == got, "header {name}: given {given:?}, read {got:?}");
        }
    } else {
        let outcomes = log.append(vec![record]).await.into_outcomes();
        let refused = matches!(outcomes[..], [Err(AppendError::Refused(Refusal::Headers))]);
        ensure!(refused, "headers are not kept and not refused: {outcomes:?}");
    }
    Ok(Ran::Done)
}

/// A record with an id that the log has already is stored once, and its position returned; or ids are
/// refused.
///
/// # Errors
/// A violation by the log.
pub async fn deduplication<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let with_id = |number: u32| Record::new(number.to_string()).with_id(format!("id-{number}"));
    if log.capabilities().deduplication == Deduplication::None {
        let outcomes = log.append(vec![with_id(0)]).await.into_outcomes();
        let refused = matches!(outcomes[..], [Err(AppendError::Refused(Refusal::Id))]);
        ensure!(refused, "ids are not known and not refused: {outcomes:?}");
        return Ok(Ran::Done);
    }
    let first = append(&log, vec![with_id(0), with_id(1)]).await?;
    let second = log.append(vec![with_id(1), with_id(2), with_id(2)]).await;
    let Ok(second) = second.all() else {
        return violation("records with ids that are known were not told to be appended");
    };
    ensure!(second[0] == first[1], "a repeat of {} is at {}", first[1], second[0]);
    ensure!(second[1] == second[2], "the same record twice in a batch: {second:?}");
    let entries = read_all(&log, first[0], Limit::records(10)).await?;
    ensure!(numbers(&entries) == [0, 1, 2], "stored: {:?}", numbers(&entries));
    let ids = entries.iter().map(|entry| entry.record.id.as_deref());
    ensure!(ids.eq([Some("id-0"), Some("id-1"), Some("id-2")]), "ids were not kept: {entries:?}");
    Ok(Ran::Done)
}

/// Appends of several tasks: each record is stored once at its returned position, and the order of each task
/// is kept.
///
/// # Errors
/// A violation by the log.
pub async fn concurrent_appenders<F: Fixture>(fixture: &F) -> Outcome {
    const EACH: u32 = 40;
    let log = fixture.fresh().await;
    let bounds = log.bounds().await;
    let start = match bounds {
        Ok(bounds) => bounds.first,
        Err(error) => return violation(format!("bounds: {}", chain(&error))),
    };
    let appenders = (0..4).map(|appender| {
        let log = log.clone();
        async move {
            let mut told = Vec::new();
            for batch in 0..EACH / 5 {
                let from = appender * EACH + batch * 5;
                told.extend(append(&log, numbered(from..from + 5)).await?);
            }
            Ok(told)
        }
    });
    let mut told = Vec::new();
    for (appender, positions) in (0..).zip(every(appenders.collect()).await) {
        let positions: Vec<_> = positions?;
        ensure!(positions.is_sorted_by(|a, b| a < b), "one task's positions do not ascend: {positions:?}");
        told.extend((appender * EACH..).zip(positions));
    }
    told.sort_by_key(|(_, position)| *position);
    let read: Vec<_> = read_all(&log, start, Limit::records(64)).await?.into_iter().map(pair).collect();
    ensure!(read == told, "told {told:?}, read {read:?}");
    if log.capabilities().atomic_batches {
        let whole =
            read.chunks(5).all(|batch| batch[0].0 % 5 == 0 && batch.windows(2).all(|p| p[0].0 + 1 == p[1].0));
        ensure!(whole, "atomic batches were promised, others' records stand in one: {read:?}");
    }
    Ok(Ran::Done)
}

fn pair<P>(entry: Entry<P>) -> (u32, P) {
    (number(&entry.record), entry.position)
}

/// An append that is dropped at any of its polls stores each record at most once, in order; none if it was
/// not polled. Confirmed records are stored, and the log continues to work.
///
/// # Errors
/// A violation by the log.
pub async fn cancelled_appends<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let start = append(&log, numbered(0..1)).await?[0];
    let mut told = Vec::new();
    for times in 0..8_u32 {
        let from = 1 + times * 4;
        let outcome = polled(times as usize, log.append(numbered(from..from + 3))).await;
        ensure!(times > 0 || outcome.is_none(), "a future was done without a poll");
        if let Some(appended) = outcome {
            let Ok(positions) = appended.all() else {
                return violation(format!("an append that was polled {times} times failed"));
            };
            told.extend((from..).zip(positions));
        }
        told.extend([from + 3].into_iter().zip(append(&log, numbered(from + 3..from + 4)).await?));
    }
    let entries = read_all(&log, start, Limit::records(100)).await?;
    let mut seen = numbers(&entries);
    let dropped = seen.iter().find(|number| (1..4).contains(*number));
    ensure!(dropped.is_none(), "{dropped:?} was appended by a future that was never polled");
    for (number, position) in told {
        let there =
            entries.iter().any(|e| e.position == position && super::tools::number(&e.record) == number);
        ensure!(there, "record {number} was told to be at {position}, and is not there");
    }
    for times in 0..8_u32 {
        let from = 1 + times * 4;
        let stored: Vec<_> = seen.iter().filter(|number| (from..from + 3).contains(*number)).collect();
        ensure!(stored.is_sorted_by(|a, b| a < b), "an append that was dropped is not in order: {stored:?}");
        let whole = matches!(stored.len(), 0 | 3) || !log.capabilities().atomic_batches;
        ensure!(whole, "atomic batches were promised, part of one was stored: {stored:?}");
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    ensure!(seen.len() == count, "a record was stored twice");
    Ok(Ran::Done)
}
