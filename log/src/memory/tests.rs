use std::sync::mpsc;
use std::thread;

use super::*;
use crate::error::Refusal;
use crate::log::Following;
use crate::{Blocking, Park, Waiter};

const LONG: Duration = Duration::from_secs(20);

fn log(change: impl FnOnce(&mut MemoryConfig)) -> Blocking<MemoryLog> {
    let mut config = MemoryConfig::default();
    change(&mut config);
    Blocking::new(MemoryLog::with(config))
}

fn bodies(count: usize, size: usize) -> Vec<Record> {
    (0..count).map(|_| Record::new(vec![0; size])).collect()
}

#[test]
fn the_oldest_records_go_when_there_are_too_many() {
    let log = log(|config| config.max_records = 10);
    log.append(bodies(25, 1)).outcomes().iter().for_each(|outcome| assert!(outcome.is_err()));
    for _ in 0..5 {
        log.append(bodies(5, 1)).all().unwrap();
    }
    assert_eq!(log.bounds().unwrap(), Bounds::new(15, 25));
    assert_eq!(log.log().dropped(), 15);
    let read = log.read(3, Limit::default(), LONG);
    assert!(matches!(read, Err(ReadError::Trimmed { from: 3, to: 15 })), "{read:?}");
}

#[test]
fn the_oldest_records_go_when_they_are_too_large() {
    let log = log(|config| config.max_bytes = 100);
    log.append(bodies(3, 30)).all().unwrap();
    log.append(bodies(1, 95)).all().unwrap();
    assert_eq!(log.bounds().unwrap(), Bounds::new(3, 4));
    // A deleted record has no bytes any more.
    assert!(log.log().delete(3));
    assert!(!log.log().delete(3));
    log.append(bodies(2, 50)).all().unwrap();
    assert_eq!(log.bounds().unwrap(), Bounds::new(3, 6));
}

#[test]
fn a_full_log_that_keeps_everything_takes_nothing() {
    let log = log(|config| (config.max_records, config.retention) = (4, Retention::Refuse));
    log.append(bodies(3, 1)).all().unwrap();
    let refused = log.append(bodies(2, 1)).all().unwrap_err();
    assert!(refused.is_retryable());
    assert_eq!(refused.maybe_appended().count(), 0);
    log.log().trim(1);
    log.append(bodies(2, 1)).all().unwrap();
    assert_eq!(log.bounds().unwrap(), Bounds::new(1, 5));
}

#[test]
fn batches_that_never_fit_are_refused() {
    let log = log(|config| (config.max_records, config.max_bytes) = (4, 100));
    let many = log.append(bodies(5, 1)).into_outcomes();
    let said = |o: &Result<u64, _>| {
        matches!(o, Err(AppendError::Refused(Refusal::TooMany { records: 5, limit: 4 })))
    };
    assert!(many.iter().all(said), "{many:?}");
    let large = log.append(bodies(3, 40)).into_outcomes();
    let said = |o: &Result<u64, _>| {
        matches!(o, Err(AppendError::Refused(Refusal::TooLarge { size: 120, limit: 100 })))
    };
    assert!(large.iter().all(said), "{large:?}");
}

#[test]
fn ids_are_forgotten_in_order() {
    let log = log(|config| config.remembered_ids = 2);
    let append = |id: &str| log.append(vec![Record::new("").with_id(id)]).all().unwrap()[0];
    assert_eq!(
        [append("a"), append("b"), append("a"), append("c"), append("b"), append("a")],
        [0, 1, 0, 2, 1, 3]
    );
    // A truncated record does not exist, so that its id is unknown.
    log.log().truncate(3);
    assert_eq!(append("a"), 3);
}

#[test]
fn close_wakes_those_who_wait_and_ends_streams() {
    let log = log(|_| ());
    let (started, starts) = mpsc::channel();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (log, started) = (log.clone(), started.clone());
            thread::spawn(move || {
                started.send(()).unwrap();
                log.read(0, Limit::default(), LONG)
            })
        })
        .collect();
    (0..3).for_each(|_| starts.recv().unwrap());
    log.log().close();
    for reader in readers {
        assert!(matches!(reader.join().unwrap(), Err(ReadError::Closed)));
    }
    assert!(matches!(log.append(bodies(1, 1)).outcomes(), [Err(AppendError::Closed)]));
    let mut follow = log.follow(0);
    assert!(matches!(follow.next(), Some(Err(ReadError::Closed))));
    assert!(follow.next().is_none());
}

#[test]
fn threads_follow_what_others_append() {
    let log = log(|_| ());
    let follower = thread::spawn({
        let log = log.clone();
        move || log.follow(0).take(1000).map(|entry| entry.unwrap().position).collect::<Vec<_>>()
    });
    let appenders: Vec<_> = (0..4)
        .map(|_| {
            let log = log.clone();
            thread::spawn(move || (0..250).for_each(|_| drop(log.append(bodies(1, 8)).all().unwrap())))
        })
        .collect();
    appenders.into_iter().for_each(|appender| appender.join().unwrap());
    assert!(follower.join().unwrap().into_iter().eq(0..1000));
}

#[test]
fn a_wait_ends_with_its_time() {
    let log = log(|_| ());
    for _ in 0..20 {
        let page = log.read(0, Limit::default(), Duration::from_millis(1)).unwrap();
        assert_eq!(page, Page::new(Vec::new(), 0));
    }
    // Too long for an instant: it waits for a record only.
    let waiting = thread::spawn({
        let log = log.clone();
        move || log.read(0, Limit::default(), Duration::MAX)
    });
    log.append(bodies(1, 1)).all().unwrap();
    assert_eq!(waiting.join().unwrap().unwrap().entries.len(), 1);
}

#[test]
fn reads_that_were_given_up_leave_nothing_behind() {
    let log = MemoryLog::new();
    for _ in 0..100 {
        let mut read = Box::pin(log.read(0, Limit::default(), LONG));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(read.as_mut().poll(&mut context).is_pending());
        assert!(read.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(log.state().waiting.take().count(), 0);
}

#[test]
fn the_cursor_of_a_stream_is_where_another_goes_on() {
    let log = MemoryLog::new();
    let blocking = Blocking::new(log.clone());
    blocking.append(bodies(10, 1)).all().unwrap();
    log.delete(9);
    let mut follow = log.follow(0);
    for position in 0..9 {
        assert_eq!(follow.cursor(), position);
        assert_eq!(Park.wait(follow.next_entry()).unwrap().unwrap().position, position);
    }
    // After the deleted record, which the page skipped.
    assert_eq!(follow.cursor(), 10);
    follow.seek(4);
    assert_eq!(Park.wait(follow.next_entry()).unwrap().unwrap().position, 4);
    assert_eq!(follow.cursor(), 5);
}

#[test]
fn a_stream_without_a_wait_lets_others_run() {
    let log = MemoryLog::new();
    let mut follow = Follow::new(log.clone(), 0).wait(Duration::ZERO);
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut next = follow.next_entry();
    assert!(Pin::new(&mut next).poll(&mut context).is_pending());
    Park.wait(log.append(bodies(1, 1))).all().unwrap();
    assert!(matches!(Pin::new(&mut next).poll(&mut context), Poll::Ready(Some(Ok(_)))));
}
