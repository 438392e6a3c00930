//! The behavior of a log on JetStream while servers die and streams change.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use bowline_jetstream::{JetStreamLog, OpenError};
use bowline_log::{AppendError, Bounds, Following, Limit, Log, ReadError, Record};
use futures_util::StreamExt;
use support::{Servers, run};
use tokio::time::{sleep, timeout};

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|number| Record::new(format!("record {number}"))).collect()
}

async fn stored(log: &JetStreamLog) -> Vec<(u64, String)> {
    let Bounds { first, end, .. } = log.bounds().await.expect("the server is there");
    let (mut all, mut cursor) = (Vec::new(), first);
    while cursor < end {
        let page = log.read(cursor, Limit::records(1000), Duration::ZERO).await.expect("it can be read");
        cursor = page.next;
        let entries = page.entries.into_iter();
        all.extend(entries.map(|e| (e.position, String::from_utf8_lossy(&e.record.body).into_owned())));
    }
    all
}

/// Checks that every record reported as appended is stored, and none twice.
fn check(stored: &[(u64, String)], outcomes: &[Result<u64, AppendError>]) {
    for (number, outcome) in outcomes.iter().enumerate() {
        let text = format!("record {number}");
        let at: Vec<_> =
            stored.iter().filter(|(_, body)| *body == text).map(|(position, _)| *position).collect();
        match outcome {
            Ok(position) => assert_eq!(at, [*position], "{text}"),
            Err(error) if error.may_be_appended() => assert!(at.len() <= 1, "{text}: {at:?}"),
            Err(error) => assert!(at.is_empty(), "{text}, {error:?}: {at:?}"),
        }
    }
}

#[test]
fn a_server_that_dies_in_the_middle_of_an_append_and_comes_back() {
    run(async {
        let servers = Servers::one();
        let (_, log) = servers.log().await;
        let appending = tokio::spawn({
            let log = log.clone();
            async move { log.append(numbered(0..20_000)).await.into_outcomes() }
        });
        // In the middle: some records are stored, and not all.
        loop {
            let end = log.bounds().await.expect("the server is there").end;
            if end > 300 {
                assert!(end < 20_000, "the append was over before the server died");
                break;
            }
        }
        servers.kill(0);
        sleep(Duration::from_millis(200)).await;
        servers.start_again(0);
        let outcomes = appending.await.expect("it ends");
        assert_eq!(outcomes.len(), 20_000);
        let stored = stored(&log).await;
        check(&stored, &outcomes);
        // Records that had been sent when the server died were sent again, and the rest after them.
        let last = outcomes.last().expect("there are some");
        assert!(last.is_ok(), "{last:?}");
        assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).is_sorted_by(|a, b| a < b));
    });
}

#[test]
fn a_server_that_stays_away() {
    run(async {
        let mut servers = Servers::one();
        servers.config.deadline = Duration::from_millis(1500);
        servers.config.attempt = Duration::from_millis(400);
        let (_, log) = servers.log().await;
        log.append(numbered(0..1)).await.all().expect("the server is there");
        servers.kill(0);
        let outcomes = log.append(numbered(0..500)).await.into_outcomes();
        assert_eq!(outcomes.len(), 500);
        for outcome in &outcomes {
            let known = matches!(outcome, Err(AppendError::NotAppended(_) | AppendError::MaybeAppended(_)));
            assert!(known, "{outcome:?}");
        }
        // The last one was never sent.
        assert!(outcomes[499].as_ref().is_err_and(AppendError::is_retryable), "{:?}", outcomes[499]);
        let read = log.read(1, Limit::default(), Duration::ZERO).await;
        assert!(read.as_ref().is_err_and(ReadError::is_retryable), "{read:?}");
        let mut follow = log.follow(1);
        let next = follow.next_entry().await.expect("it does not end");
        assert!(next.as_ref().is_err_and(ReadError::is_retryable), "{next:?}");

        servers.start_again(0);
        let first = loop {
            match follow.next_entry().await.expect("it does not end") {
                Ok(entry) => break entry,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        };
        assert_eq!(first.position, 1);
    });
}

#[test]
fn a_stream_that_is_purged_while_nothing_comes() {
    run(async {
        let mut servers = Servers::one();
        servers.config.check = Duration::from_millis(50);
        let (context, log) = servers.log().await;
        log.append(numbered(0..10)).await.all().expect("the server is there");
        let mut follow = log.follow(1);
        for position in 1..=10 {
            assert_eq!(follow.next_entry().await.expect("a record").expect("no error").position, position);
        }
        log.append(numbered(10..20)).await.all().expect("the server is there");
        let mut late = log.follow(5);
        context.get_stream(log.stream()).await.expect("it is there").purge().await.expect("it is purged");
        match late.next_entry().await.expect("it does not end") {
            Err(ReadError::Trimmed { from: 5, to: 21 }) => assert_eq!(late.cursor(), 21),
            other => panic!("{other:?}"),
        }
        // The first stream may have received messages after the tenth; the rest was trimmed.
        let mut next = 11;
        while next < 21 {
            match follow.next_entry().await.expect("it does not end") {
                Ok(entry) => {
                    assert_eq!(entry.position, next);
                    next += 1;
                }
                Err(ReadError::Trimmed { from, to }) => {
                    assert_eq!((from, to), (next, 21));
                    next = to;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        log.append(numbered(20..21)).await.all().expect("the server is there");
        assert_eq!(follow.next_entry().await.expect("a record").expect("no error").position, 21);
        assert_eq!(late.next_entry().await.expect("a record").expect("no error").position, 21);
    });
}

#[test]
fn no_more_records_are_under_way_than_may_be() {
    run(async {
        let mut servers = Servers::one();
        servers.config.in_flight = 8;
        servers.config.retry = false;
        servers.config.deadline = Duration::from_secs(2);
        let (context, log) = servers.log().await;
        // The stream is gone, and a subscriber gets the messages in its place: nothing is acknowledged.
        context.delete_stream(log.stream()).await.expect("it is deleted");
        let client = servers.client().await;
        let mut subscriber = client.subscribe(log.stream().to_owned()).await.expect("it is connected");
        client.flush().await.expect("it is connected");
        let outcomes = log.append(numbered(0..50)).await.into_outcomes();
        for (number, outcome) in outcomes.iter().enumerate() {
            let maybe = outcome.as_ref().is_err_and(AppendError::may_be_appended);
            assert_eq!(maybe, number < 8, "{number}: {outcome:?}");
        }
        let mut sent = 0;
        while timeout(Duration::from_millis(500), subscriber.next()).await.is_ok_and(|next| next.is_some()) {
            sent += 1;
        }
        assert_eq!(sent, 8);
    });
}

#[test]
fn many_messages_that_were_deleted() {
    run(async {
        let servers = Servers::one();
        let (context, log) = servers.log().await;
        log.append(numbered(0..200)).await.all().expect("the server is there");
        let stream = context.get_stream(log.stream()).await.expect("it is there");
        for sequence in 21..=180 {
            stream.delete_message(sequence).await.expect("it is deleted");
        }
        let left: Vec<u64> = (1..=20).chain(181..=200).collect();
        let read: Vec<u64> = stored(&log).await.into_iter().map(|(position, _)| position).collect();
        assert_eq!(read, left);
        let mut follow = log.follow(1);
        for position in left {
            assert_eq!(follow.next_entry().await.expect("a record").expect("no error").position, position);
        }
    });
}

#[test]
fn a_stream_that_does_not_exist() {
    run(async {
        let servers = Servers::one();
        let (context, log) = servers.log().await;
        let opened = JetStreamLog::open(context.clone(), "nowhere", "nowhere").await;
        assert!(matches!(opened, Err(OpenError::Missing { .. })), "{opened:?}");

        context.delete_stream(log.stream()).await.expect("it is deleted");
        let outcomes = log.append(numbered(0..3)).await.into_outcomes();
        for outcome in &outcomes {
            // No server answers for a deleted stream, and the server reports that it does not exist.
            let gone = matches!(outcome, Err(AppendError::NotAppended(cause)) if !cause.is_transient());
            assert!(gone, "{outcome:?}");
        }
        let read = log.read(1, Limit::default(), Duration::from_secs(20)).await;
        assert!(matches!(&read, Err(error @ ReadError::Unavailable(_)) if !error.is_retryable()), "{read:?}");
    });
}

#[test]
fn a_stream_that_was_made_anew_is_shorter() {
    run(async {
        let servers = Servers::one();
        let (context, log) = servers.log().await;
        log.append(numbered(0..10)).await.all().expect("the server is there");
        let mut follow = log.follow(1);
        for _ in 0..10 {
            follow.next_entry().await.expect("a record").expect("no error");
        }
        let config =
            context.get_stream(log.stream()).await.expect("it is there").cached_info().config.clone();
        context.delete_stream(log.stream()).await.expect("it is deleted");
        context.create_stream(config).await.expect("it is made");
        log.append(numbered(0..3)).await.all().expect("the server is there");
        loop {
            match follow.next_entry().await.expect("it does not end") {
                Err(ReadError::Truncated { from: 11, end: 4 }) => break,
                // The stream did not exist for a moment.
                Err(ReadError::Unavailable(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        follow.seek(1);
        assert_eq!(follow.next_entry().await.expect("a record").expect("no error").position, 1);
    });
}

#[test]
fn the_leader_of_three_servers_is_killed_in_the_middle_of_appends() {
    run(async {
        let servers = Servers::three();
        let (context, log) = servers.log().await;
        let following = tokio::spawn({
            let mut follow = log.follow(1);
            async move {
                let mut seen = Vec::new();
                loop {
                    match follow.next_entry().await.expect("it does not end") {
                        Ok(entry) if entry.record.body == "end" => return seen,
                        Ok(entry) => {
                            seen.push((
                                entry.position,
                                String::from_utf8_lossy(&entry.record.body).into_owned(),
                            ));
                        }
                        Err(error) => assert!(error.is_retryable(), "{error:?}"),
                    }
                }
            }
        });
        let appending = tokio::spawn({
            let log = log.clone();
            async move {
                let mut outcomes = Vec::new();
                for batch in 0..60 {
                    outcomes.extend(log.append(numbered(batch * 50..batch * 50 + 50)).await.into_outcomes());
                }
                outcomes
            }
        });
        while log.bounds().await.expect("a leader is there").end < 300 {}
        let leader = servers.leader(&context, log.stream()).await;
        servers.kill(leader);
        assert!(!appending.is_finished(), "the appends were over before the leader was killed");
        let outcomes = appending.await.expect("it ends");
        assert_eq!(outcomes.len(), 3000);
        servers.start_again(leader);
        log.append(vec![Record::new("end")]).await.all().expect("a majority is there");

        let mut stored = stored(&log).await;
        stored.pop();
        check(&stored, &outcomes);
        let seen = following.await.expect("it ends");
        assert_eq!(seen, stored, "a follower was given something else than is stored");
        assert!(outcomes.last().is_some_and(Result::is_ok), "{:?}", outcomes.last());
    });
}
