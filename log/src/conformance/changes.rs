//! Reports to readers when a log changes other than by appends.

use std::cell::RefCell;
use std::time::Duration;

use super::tools::{
    append, both, chain, ensure, follow_until, number, numbered, numbers, pause, read_all, violation,
};
use super::{Fixture, Outcome, Ran, Violation};
use crate::error::ReadError;
use crate::log::{Bounds, Following, Limit, Log};
use crate::position::Position;

const LAST: u32 = 1_000_000;

async fn bounds_of<L: Log>(log: &L) -> Result<Bounds<L::Position>, Violation> {
    match log.bounds().await {
        Ok(bounds) => Ok(bounds),
        Err(error) => violation(format!("bounds: {}", chain(&error))),
    }
}

/// A read of trimmed records returns the trimmed range, and the log continues after it; also when nothing is
/// left.
///
/// # Errors
/// A violation by the log.
pub async fn trimmed<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let told = append(&log, numbered(0..20)).await?;
    if !fixture.trim(&log, told[8]).await {
        return Ok(Ran::Skipped("the fixture cannot trim"));
    }
    let first = bounds_of(&log).await?.first;
    ensure!(first == told[8], "trimmed to {}, begins at {first}", told[8]);
    for from in [told[0], told[7]] {
        for wait in [Duration::ZERO, Duration::from_secs(20)] {
            match log.read(from, Limit::default(), wait).await {
                Err(ReadError::Trimmed { from: told_from, to }) => {
                    ensure!(told_from == from && to == first, "read from {from}: told {told_from} to {to}");
                }
                other => return violation(format!("read from {from}, which was trimmed: {other:?}")),
            }
        }
    }
    let entries = read_all(&log, first, Limit::records(5)).await?;
    ensure!(numbers(&entries).into_iter().eq(8..20), "what is left: {:?}", numbers(&entries));

    let end = bounds_of(&log).await?.end;
    fixture.trim(&log, end).await;
    let bounds = bounds_of(&log).await?;
    ensure!(bounds.first == end && bounds.end == end, "all was trimmed, up to {end}: {bounds:?}");
    let read = log.read(told[19], Limit::default(), Duration::ZERO).await;
    let said = matches!(read, Err(ReadError::Trimmed { to, .. }) if to == end);
    ensure!(said, "read from {}, which was trimmed: {read:?}", told[19]);
    let next = append(&log, numbered(20..21)).await?[0];
    ensure!(next >= end, "after all was trimmed, a position is used again: {next}, the log ended at {end}");
    Ok(Ran::Done)
}

/// A stream whose log is trimmed meanwhile returns each record, or that it is gone, and never both.
///
/// # Errors
/// A violation by the log.
pub async fn trimmed_while_following<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let mut told = append(&log, numbered(0..2000)).await?;
    let mut follow = log.follow(told[0]);
    let mut seen = follow_until(&mut follow, 4).await?.entries;
    if !fixture.trim(&log, told[1990]).await {
        return Ok(Ran::Skipped("the fixture cannot trim"));
    }
    told.extend(append(&log, numbered(2000..2005)).await?);
    let mut followed = follow_until(&mut follow, 2004).await?;
    // A stream from the beginning, afterwards.
    let late = follow_until(&mut log.follow(told[0]), 2004).await?;
    ensure!(late.trimmed == [(told[0], told[1990])], "a late stream was told {:?}", late.trimmed);
    ensure!(numbers(&late.entries).into_iter().eq(1990..2005), "a late stream: {:?}", numbers(&late.entries));

    seen.append(&mut followed.entries);
    for position in told {
        let given = seen.iter().any(|entry| entry.position == position);
        let gone = followed.trimmed.iter().any(|(from, to)| (*from..*to).contains(&position));
        ensure!(given || gone, "{position} was neither given nor said to be trimmed");
        ensure!(!(given && gone), "{position} was given and said to be trimmed");
    }
    Ok(Ran::Done)
}

/// Deleted records are skipped by reads and streams, without an error.
///
/// # Errors
/// A violation by the log.
pub async fn gaps<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let told = append(&log, numbered(0..10)).await?;
    for deleted in [3, 4, 9] {
        if !fixture.delete(&log, told[deleted]).await {
            return Ok(Ran::Skipped("the fixture cannot delete"));
        }
    }
    let left = [0, 1, 2, 5, 6, 7, 8];
    for records in [1, 2, 100] {
        let entries = read_all(&log, told[0], Limit::records(records)).await?;
        ensure!(numbers(&entries) == left, "{left:?} are left, read {:?}", numbers(&entries));
    }
    let entries = read_all(&log, told[3], Limit::records(100)).await?;
    ensure!(numbers(&entries) == left[3..], "from a gap on: {:?}", numbers(&entries));
    let page = match log.read(told[9], Limit::default(), Duration::ZERO).await {
        Ok(page) => page,
        Err(error) => return violation(format!("read from the last gap on: {}", chain(&error))),
    };
    let end = bounds_of(&log).await?.end;
    ensure!(page.entries.is_empty() && page.next == end, "the last gap, before {end}: {page:?}");
    append(&log, numbered(LAST..LAST + 1)).await?;
    let followed = follow_until(&mut log.follow(told[0]), LAST).await?;
    ensure!(followed.trimmed.is_empty(), "gaps were said to be trimmed: {:?}", followed.trimmed);
    ensure!(
        numbers(&followed.entries) == [&left[..], &[LAST]].concat(),
        "followed {:?}",
        numbers(&followed.entries)
    );
    Ok(Ran::Done)
}

/// While a log's servers restart, a stream returns every confirmed record once, at its confirmed position,
/// and records with an unknown outcome at most once.
///
/// # Errors
/// A violation by the log.
pub async fn restarts<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let first = append(&log, numbered(0..1)).await?[0];
    let (mut told, maybe, stop) = (vec![(0, first)], RefCell::new(Vec::new()), RefCell::new(false));
    let mut follow = log.follow(first);
    let following = follow_until(&mut follow, LAST);
    let appending = async {
        let mut told = Vec::new();
        for count in 1.. {
            if *stop.borrow() && count > 20 {
                // More than one: a log that loses one does not keep the stream waiting forever.
                for _ in 0..3 {
                    append_once(&log, LAST, &maybe).await?;
                }
                return Ok(told);
            }
            told.extend(append_once(&log, count, &maybe).await?.map(|position| (count, position)));
            pause().await;
        }
        Ok(told)
    };
    let restarting = async {
        for _ in 0..2 {
            for _ in 0..5 {
                pause().await;
            }
            if !fixture.restart(&log).await {
                *stop.borrow_mut() = true;
                return false;
            }
        }
        *stop.borrow_mut() = true;
        true
    };
    let (followed, (appended, restarted)) = both(following, both(appending, restarting)).await;
    let appended: Result<Vec<_>, Violation> = appended;
    told.extend(appended?);
    let seen = followed?;
    if !restarted {
        return Ok(Ran::Skipped("the fixture cannot restart"));
    }
    ensure!(seen.trimmed.is_empty(), "records were said to be trimmed: {:?}", seen.trimmed);
    for (count, position) in &told {
        let given = seen.entries.iter().filter(|e| number(&e.record) == *count).count();
        ensure!(given == 1, "record {count}, told to be at {position}, was given {given} times");
        let there = seen.entries.iter().any(|e| number(&e.record) == *count && e.position == *position);
        ensure!(there, "record {count} was told to be at {position}");
    }
    for count in maybe.take() {
        let given = seen.entries.iter().filter(|e| number(&e.record) == count).count();
        ensure!(given <= 1, "record {count} was appended once, and given {given} times");
    }
    Ok(Ran::Done)
}

/// Appends a record until it is confirmed, or its outcome is unknown; the last one until it is stored.
async fn append_once<L: Log>(
    log: &L,
    count: u32,
    maybe: &RefCell<Vec<u32>>,
) -> Result<Option<L::Position>, Violation> {
    for _ in 0..100_000 {
        match log.append(numbered(count..count + 1)).await.all() {
            Ok(positions) => return Ok(Some(positions[0])),
            Err(error) if error.is_retryable() => pause().await,
            Err(error) if error.first.may_be_appended() => {
                maybe.borrow_mut().push(count);
                if count != LAST {
                    return Ok(None);
                }
            }
            Err(error) => return violation(format!("append: {}", chain(&error))),
        }
    }
    violation(format!("record {count} could not be appended"))
}

/// A stream beyond the end of a log that lost records reports that until it is told where to continue.
///
/// # Errors
/// A violation by the log.
pub async fn truncated<F: Fixture>(fixture: &F) -> Outcome {
    let log = fixture.fresh().await;
    let told = append(&log, numbered(0..10)).await?;
    let mut follow = log.follow(told[0]);
    let seen = follow_until(&mut follow, 9).await?.entries;
    ensure!(seen.len() == 10, "followed {:?}", numbers(&seen));
    if !fixture.truncate(&log, told[5]).await {
        return Ok(Ran::Skipped("the fixture cannot cut a log"));
    }
    let (cursor, end) = (told[9].next(), bounds_of(&log).await?.end);
    for grown in [false, true] {
        if grown {
            append(&log, numbered(20..30)).await?;
        }
        let next = follow.next_entry().await;
        let said =
            matches!(&next, Some(Err(ReadError::Truncated { from, end: e })) if *from == cursor && *e == end);
        ensure!(said, "the log ended at {end}, before {cursor}: {next:?}");
    }
    follow.seek(end);
    let seen = follow_until(&mut follow, 29).await?.entries;
    ensure!(numbers(&seen).into_iter().eq(20..30), "from {end} on: {:?}", numbers(&seen));
    let all = read_all(&log, told[0], Limit::default()).await?;
    ensure!(numbers(&all).into_iter().eq((0..5).chain(20..30)), "left: {:?}", numbers(&all));
    Ok(Ran::Done)
}
