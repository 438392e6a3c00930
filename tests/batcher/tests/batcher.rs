//! Batchers on all runtimes: over a log that the test controls step by step, and over calls.

mod log;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread::JoinHandle;

use bowline_core::batcher::{Failed, Refusal, Retries, SendError};
use bowline_core::error::{CallError, Failure, Status};
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, Reply};
use bowline_core::routing::Policy;
use bowline_driver::ReceiveError;
use bowline_links::batcher::{BatchCall, Batcher, EachCall, SendResult, failed_call};
use bowline_links::{Client, Pool, Redirect, Server};

use log::{ByTask, Log, Said};
use world::{MS, Threads, World, done, on_all_runtimes, until};

/// A sender of its own.
fn sends<R: World>(batcher: &Batcher<R, Log>, message: &str) -> JoinHandle<SendResult<Log>> {
    let (batcher, message) = (batcher.clone(), message.to_owned());
    std::thread::spawn(move || R::run(async { done::<R, _>(batcher.send(message)).await }))
}

fn open<R: World>(log: &Log) -> Batcher<R, Log> {
    Batcher::<R, Log>::builder(log.clone()).open().expect("a runtime")
}

/// A first message is under way, and stays so.
fn under_way<R: World>(log: &Log, batcher: &Batcher<R, Log>) -> JoinHandle<SendResult<Log>> {
    log.hold();
    let first = sends(batcher, "first");
    until("the first is under way", || batcher.pending() == (0, 1));
    first
}

async fn while_a_batch_is_under_way_the_next_one_gathers<R: World>() {
    let log = Log::default();
    let batcher = open::<R>(&log);
    let first = under_way(&log, &batcher);
    for message in ["a", "b", "c"] {
        done::<R, _>(batcher.send_and_forget(message)).await.expect("room");
    }
    let last = batcher.try_send("d").expect("room");
    assert_eq!(batcher.pending(), (4, 1));
    log.release();
    assert_eq!(first.join().expect("it ends"), Ok(0));
    assert_eq!(done::<R, _>(last.wait()).await, Ok(4));
    assert_eq!(log.records(), ["first", "a", "b", "c", "d"]);
    assert_eq!((batcher.stats().batches, batcher.stats().appended), (2, 5));
}

async fn many_senders_keep_their_own_results<R: World>() {
    let log = Log::default();
    let batcher = Batcher::<R, Log>::builder(log.clone()).buffer(8).open().expect("a runtime");
    let senders: Vec<_> = (0..24)
        .map(|sender| {
            let (batcher, log) = (batcher.clone(), log.clone());
            std::thread::spawn(move || {
                R::run(async move {
                    let mut last = None;
                    for number in 0..40 {
                        let message = format!("{sender} {number}");
                        let position = done::<R, _>(batcher.send(message.clone())).await.expect("a position");
                        assert_eq!(log.records()[position], message);
                        assert!(last.replace(position).is_none_or(|last| last < position), "order");
                    }
                });
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("it ends");
    }
    assert_eq!(log.records().len(), 24 * 40);
    assert!(log.longest() <= 8);
}

async fn a_full_buffer_blocks_or_gives_the_message_back<R: World>() {
    let log = Log::default();
    let batcher = Batcher::<R, Log>::builder(log.clone()).buffer(1).open().expect("a runtime");
    let first = under_way(&log, &batcher);
    let second = batcher.try_send("second").expect("room");
    let refused = batcher.try_send("third").expect_err("full");
    assert_eq!((refused.message.as_str(), refused.why), ("third", Refusal::BufferFull));
    let blocked = sends(&batcher, "blocked");
    log.release();
    assert_eq!(first.join().expect("it ends"), Ok(0));
    assert_eq!(done::<R, _>(second.wait()).await, Ok(1));
    assert_eq!(blocked.join().expect("it ends"), Ok(2));
}

async fn a_dropped_send_withdraws_its_message_unless_a_batch_took_it<R: World>() {
    let log = Log::default();
    let batcher = Batcher::<R, Log>::builder(log.clone()).buffer(1).open().expect("a runtime");
    log.hold();
    let taken = batcher.try_send("taken").expect("room");
    until("it is under way", || batcher.pending() == (0, 1));
    drop(taken);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut waits = Box::pin(batcher.try_send("waits").expect("room"));
    assert!(waits.as_mut().poll(cx).is_pending());
    assert!(batcher.try_send("x").is_err(), "no room");
    drop(waits);
    assert_eq!(batcher.pending(), (0, 1));
    let last = batcher.try_send("last").expect("its room is free");
    log.release();
    assert_eq!(done::<R, _>(last.wait()).await, Ok(1));
    assert_eq!(log.records(), ["taken", "last"]);
    let stats = batcher.stats();
    assert_eq!((stats.appended, stats.withdrawn, stats.discarded), (2, 1, 1));
}

async fn results_come_in_order_and_hold_places<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).references::<u32>().places(2);
    let batcher = builder.open().expect("a runtime");
    let (mut results, mut other) = (batcher.results(), batcher.results());
    for number in 0..2 {
        let sent = done::<R, _>(batcher.send_with_reference(format!("{number}"), number, &results)).await;
        sent.expect("a place");
    }
    let refused = batcher.try_send_with_reference("2", 2, &results).expect_err("no place");
    assert_eq!((refused.message, refused.why), (("2".to_owned(), 2), Refusal::BufferFull));
    until("both have their results", || batcher.stats().appended == 2);
    // A sink that accepts nothing delays no other.
    done::<R, _>(batcher.send_with_reference("x", 9, &other)).await.expect("a place of its own");
    assert_eq!(done::<R, _>(batcher.send("y")).await, Ok(3));
    assert_eq!(results.outstanding(), 2);
    for number in 0..2 {
        let sent = done::<R, _>(results.recv()).await.expect("a result");
        assert_eq!(
            (sent.reference, sent.message, sent.result),
            (number, format!("{number}"), Ok(number as usize))
        );
    }
    done::<R, _>(batcher.send_with_reference("2", 2, &results)).await.expect("a place is free");
    assert_eq!(done::<R, _>(other.recv()).await.expect("a result").reference, 9);
    assert!(other.try_recv().is_none());
    done::<R, _>(batcher.close()).await;
    assert_eq!(done::<R, _>(results.recv()).await.expect("the last").reference, 2);
    assert_eq!(done::<R, _>(results.recv()).await.err(), Some(ReceiveError::Closed));
    drop(results);
    let refused = batcher.try_send_with_reference("late", 3, &other).expect_err("closed");
    assert_eq!(refused.why, Refusal::Closed);
}

async fn what_was_not_appended_is_tried_again<R: World>() {
    let log = Log::default();
    let failures = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&failures);
    let batcher = Batcher::<R, Log>::builder(log.clone())
        .retries(Retries::Times(1))
        .on_failure(move |failures| _ = told.fetch_add(failures.count, Ordering::SeqCst))
        .open()
        .expect("a runtime");
    log.fail(Failed::not_appended(Said("busy")).retryable(true));
    assert_eq!(done::<R, _>(batcher.send("a")).await, Ok(0));
    assert_eq!(batcher.stats().retries, 1);
    log.fail(Failed::maybe_appended(Said("lost")).retryable(true));
    let error = done::<R, _>(batcher.send("b")).await.expect_err("only the other side knows");
    assert_eq!(error, SendError::MaybeAppended(Some(Said("lost"))));
    log.fail(Failed::not_appended(Said("full")));
    done::<R, _>(batcher.send_and_forget("c")).await.expect("room");
    until("it is told", || failures.load(Ordering::SeqCst) == 1);
    assert_eq!(batcher.last_cause(), Some(Said("full")));
}

async fn a_sink_that_panics_ends_its_batch_alone<R: World>() {
    let log = Log::default();
    let batcher = open::<R>(&log);
    log.panic();
    assert_eq!(done::<R, _>(batcher.send("a")).await, Err(SendError::MaybeAppended(None)));
    assert_eq!(done::<R, _>(batcher.send("b")).await, Ok(0));
}

async fn the_delivery_time_ends_a_wait_but_no_attempt<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).delivery_timeout(MS * 60);
    let batcher = builder.open().expect("a runtime");
    let first = under_way(&log, &batcher);
    assert_eq!(done::<R, _>(batcher.send("waits")).await, Err(SendError::Expired(None)));
    until("the first has been under way for longer", || batcher.stats().expired == 1);
    log.release();
    assert_eq!(first.join().expect("it ends"), Ok(0), "it was appended all the same");
}

/// A sender that is alone makes the attempt on its own thread.
async fn a_lone_sender_makes_its_attempts_itself<R: World>() {
    let log = Log::default();
    let batcher = open::<R>(&log);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let here = Some(std::thread::current().id());
            until("the task waits, and the sender does its work", || {
                R::run(async { done::<R, _>(batcher.send("x")).await }).expect("appended");
                log.last_by() == here
            });
        });
    });
    let by_task = Batcher::<R, ByTask>::builder(ByTask(log.clone())).open().expect("a runtime");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                R::run(async { done::<R, _>(by_task.send("x")).await }).expect("appended");
                assert_ne!(
                    log.last_by(),
                    Some(std::thread::current().id()),
                    "this sink allows it only to the task"
                );
            }
        });
    });
}

/// A sender begins an attempt and goes: the task continues it, and its timer works.
async fn what_a_sender_began_the_task_continues<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).delivery_timeout(MS * 40).close_within(MS * 40);
    let batcher = builder.open().expect("a runtime");
    done::<R, _>(batcher.send("first")).await.expect("appended");
    log.hold();
    let begun = sends(&batcher, "begun");
    until("it is under way", || batcher.pending() == (0, 1));
    assert_eq!(done::<R, _>(batcher.send("late")).await, Err(SendError::Expired(None)));
    log.release();
    assert_eq!(begun.join().expect("it ends"), Ok(1));
    log.hold();
    let held = sends(&batcher, "held");
    until("it is under way", || batcher.pending() == (0, 1));
    let closing = Batcher::clone(&batcher);
    drop(batcher);
    done::<R, _>(closing.close()).await;
    assert_eq!(held.join().expect("it ends"), Err(SendError::MaybeAppended(None)));
    assert_eq!(log.given_up(), 1);
}

async fn a_close_leaves_nothing_without_an_outcome<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).buffer(1).close_within(MS * 100);
    let batcher = builder.open().expect("a runtime");
    let first = under_way(&log, &batcher);
    let second = batcher.try_send("second").expect("room");
    let closers: Vec<_> = (0..3)
        .map(|_| {
            let batcher = batcher.clone();
            std::thread::spawn(move || R::run(async { done::<R, _>(batcher.close()).await }))
        })
        .collect();
    assert_eq!(done::<R, _>(second.wait()).await, Err(SendError::Closed(None)));
    assert_eq!(first.join().expect("it ends"), Err(SendError::MaybeAppended(None)));
    for closer in closers {
        closer.join().expect("it ends");
    }
    assert!(batcher.is_closed());
    assert_eq!(log.given_up(), 1, "the attempt was dropped");
    assert_eq!(done::<R, _>(batcher.send("late")).await, Err(SendError::Closed(None)));
    assert_eq!(batcher.try_send_and_forget("late").expect_err("closed").why, Refusal::Closed);
    done::<R, _>(batcher.close()).await;
}

async fn a_close_tries_what_waits<R: World>() {
    let log = Log::default();
    let batcher =
        Batcher::<R, Log>::builder(log.clone()).retries(Retries::Unlimited).open().expect("a runtime");
    log.fail(Failed::not_appended(Said("busy")).retryable(true));
    let first = batcher.try_send("first").expect("room");
    until("it waits for its second attempt", || batcher.last_cause().is_some());
    let second = batcher.try_send("second").expect("room");
    done::<R, _>(batcher.close()).await;
    assert_eq!(done::<R, _>(first.wait()).await, Ok(0), "at once");
    assert_eq!(done::<R, _>(second.wait()).await, Ok(1));
}

async fn the_last_handle_closes_it_in_the_background<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).references::<u32>();
    let batcher = builder.open().expect("a runtime");
    let mut results = batcher.results();
    log.hold();
    for number in 0..3 {
        let sent = done::<R, _>(batcher.send_with_reference("x", number, &results)).await;
        sent.expect("a place");
    }
    drop(batcher);
    log.release();
    for number in 0..3 {
        let sent = done::<R, _>(results.recv()).await.expect("a result");
        assert_eq!((sent.reference, sent.result), (number, Ok(number as usize)));
    }
    assert_eq!(done::<R, _>(results.recv()).await.err(), Some(ReceiveError::Closed));
}

/// Wherever a send is dropped, its message has one outcome, and the batcher continues.
async fn a_send_can_be_dropped_after_every_poll<R: World>() {
    let log = Log::default();
    let builder = Batcher::<R, Log>::builder(log.clone()).buffer(2).references::<()>().places(2);
    let batcher = builder.open().expect("a runtime");
    let mut results = batcher.results();
    for polls in 0..12 {
        // Held from the beginning, or appended while it is polled.
        if polls % 2 == 0 {
            log.hold();
        }
        let mut held: Vec<_> = (0..3).filter_map(|_| batcher.try_send("held").ok()).collect();
        let _ = batcher.try_send_with_reference("r", (), &results);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut over = vec![false; held.len()];
        for _ in 0..polls / 2 {
            for (sending, over) in held.iter_mut().zip(&mut over) {
                *over = *over || Pin::new(sending).poll(cx).is_ready();
            }
        }
        drop(held);
        log.release();
        assert!(done::<R, _>(batcher.send(format!("after {polls}"))).await.is_ok());
        while results.try_recv().is_some() {}
    }
    done::<R, _>(batcher.close()).await;
    while done::<R, _>(results.recv()).await.is_ok() {}
    let stats = batcher.stats();
    assert_eq!(stats.accepted, stats.appended + stats.withdrawn, "{stats:?}");
}

/// A server that answers with what it was asked, numbered.
async fn numbering<R: World>() -> (Server<R, Native>, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&count);
    let builder = Server::<R, Native>::builder().on_request_inline(move |_, request, reply| {
        if request.body == b"bad" {
            return Err(Failure::new(Status::FAILED, "no"));
        }
        reply.extend_from_slice(&counts.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        reply.extend_from_slice(request.body);
        Ok(())
    });
    let server = done::<R, _>(builder.bind("127.0.0.1:0")).await.expect("a free port");
    server.start().expect("a runtime");
    (server, count)
}

async fn each_message_can_be_a_call<R: World>() {
    let (server, _) = numbering::<R>().await;
    let client = done::<R, _>(Client::<R, Native>::connect(server.local_addr())).await.expect("it listens");
    let sink = EachCall::<_, Vec<u8>>::new(client.clone(), 1);
    let batcher = Batcher::<R, _>::builder(sink).references::<u64>().open().expect("a runtime");
    let mut results = batcher.results();
    for number in 0..300_u64 {
        let sent = done::<R, _>(batcher.send_with_reference(format!("{number}"), number, &results)).await;
        sent.expect("a place");
    }
    for number in 0..300_u64 {
        let sent = done::<R, _>(results.recv()).await.expect("a result");
        let reply = sent.result.expect("a reply");
        assert_eq!(reply[..8], number.to_be_bytes(), "in order over the link");
        assert_eq!((sent.reference, &reply[8..]), (number, &sent.message[..]));
    }
    let error = done::<R, _>(batcher.send("bad")).await.expect_err("the peer says so");
    assert!(
        matches!(error, SendError::Failed(CallError::Failed(failure)) if failure.status == Status::FAILED)
    );
    done::<R, _>(batcher.close()).await;
    done::<R, _>(client.clone().close()).await;
    let error = {
        let sink = EachCall::<_, Vec<u8>>::new(client.clone(), 1);
        let batcher = Batcher::<R, _>::builder(sink).open().expect("a runtime");
        done::<R, _>(batcher.send("late")).await.expect_err("closed")
    };
    assert_eq!(error, SendError::Failed(CallError::Closed));
    done::<R, _>(server.shutdown()).await;
}

/// A batch is one call for a key, to the server that leads it: after each batch another one does.
async fn a_batch_can_be_a_call_that_finds_its_leader<R: World>() {
    let leader = Arc::new(AtomicU64::new(0));
    let position = Arc::new(AtomicU64::new(0));
    let mut servers = Vec::new();
    let mut builder = Pool::<R, Native>::builder().policy(Policy::First);
    for own in 0..3 {
        let (leader, position) = (Arc::clone(&leader), Arc::clone(&position));
        let server = Server::<R, Native>::builder().on_request_inline(move |_, request, reply| {
            if leader.load(Ordering::SeqCst) != own {
                return Err(Failure::new(Status(1_000), "not here"));
            }
            // A count, and the lengths are one byte each.
            let mut rest = request.body;
            while let Some((length, tail)) = rest.split_first() {
                rest = &tail[usize::from(*length)..];
                reply.extend_from_slice(&position.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            }
            leader.store((own + 1) % 3, Ordering::SeqCst);
            Ok(())
        });
        let server = done::<R, _>(server.bind("127.0.0.1:0")).await.expect("a free port");
        server.start().expect("a runtime");
        builder = builder.endpoint(server.local_addr());
        servers.push(server);
    }
    let pool = builder
        .redirects(|answer| match answer {
            Err(failure) if failure.status == Status(1_000) => Redirect::NotHere(None),
            _ => Redirect::Here,
        })
        .open()
        .expect("addresses");
    done::<R, _>(pool.ready()).await.expect("they listen");
    until("all are connected", || pool.clients().iter().all(|client| client.is_open()));
    let encode = |messages: &[String], body: &mut Vec<u8>| {
        for message in messages {
            body.push(u8::try_from(message.len()).expect("short"));
            body.extend_from_slice(message.as_bytes());
        }
    };
    let decode = |reply: &Reply, answers: &mut bowline_core::batcher::Answers<u64, CallError>| {
        for (index, position) in reply.chunks_exact(8).enumerate() {
            answers.answer(index, Ok(u64::from_be_bytes(position.try_into().expect("eight bytes"))));
        }
    };
    let sink = BatchCall::new(pool.for_key("log"), CallOptions::new(1), encode, decode).failures(|error| {
        let nobody = matches!(&error, CallError::Failed(failure) if failure.status == Status(1_000));
        let failed = failed_call(error);
        if nobody { failed.retryable(true) } else { failed }
    });
    let batcher = Batcher::<R, _>::builder(sink).retries(Retries::Times(3)).open().expect("a runtime");
    // At first there is no leader.
    leader.store(u64::MAX, Ordering::SeqCst);
    let first = batcher.try_send("first").expect("room");
    until("every server was asked", || batcher.last_cause().is_some());
    leader.store(0, Ordering::SeqCst);
    assert_eq!(done::<R, _>(first.wait()).await, Ok(0));
    assert_eq!(batcher.stats().retries, 1);
    for round in 0..6 {
        let sending: Vec<_> =
            (0..5).map(|number| batcher.try_send(format!("{round} {number}")).expect("room")).collect();
        let mut last = None;
        for sending in sending {
            let position = done::<R, _>(sending.wait()).await.expect("appended");
            assert!(last.replace(position).is_none_or(|last| position == last + 1), "in order");
        }
    }
    assert_eq!(position.load(Ordering::SeqCst), 31, "each once");
    done::<R, _>(batcher.close()).await;
    done::<R, _>(pool.close()).await;
    for server in servers {
        done::<R, _>(server.shutdown()).await;
    }
}

/// A call for which a thread that runs connections would have to wait is refused; one that is possible at
/// once is done.
#[test]
fn an_io_thread_does_not_wait() {
    let log = Log::default();
    let batcher = Batcher::<Threads, Log>::builder(log.clone()).buffer(1).open().expect("a thread");
    log.hold();
    batcher.send_and_forget("first").expect("room");
    until("it is under way", || batcher.pending() == (0, 1));
    let inside = batcher.clone();
    let builder = Server::<Threads, Native>::builder().on_request_inline(move |_, _, reply| {
        let results = [
            format!("{:?}", inside.send("no")),
            format!("{:?}", inside.send_and_forget("yes")),
            format!("{:?}", inside.send_and_forget("no room").map_err(|refused| refused.why)),
        ];
        reply.extend_from_slice(results.join(", ").as_bytes());
        Ok(())
    });
    let server = builder.bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    let client = Client::<Threads, Native>::connect(server.local_addr()).expect("it listens");
    let reply = client.call(1, b"").expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), "Err(WouldPark), Ok(()), Err(WouldPark)");
    log.release();
    until("what was taken is appended", || log.records() == ["first", "yes"]);
    batcher.close();
    client.close();
    server.shutdown();
}

/// Messages that were accepted on another thread: the caller is told what is known of each.
#[test]
fn an_io_thread_learns_whether_a_batch_took_the_message() {
    let log = Log::default();
    let batcher = open::<Threads>(&log);
    let appended = batcher.try_send("appended").expect("room");
    until("it is appended", || batcher.stats().appended == 1);
    log.hold();
    let taken = batcher.try_send("taken").expect("room");
    until("it is under way", || batcher.pending() == (0, 1));
    let waits = batcher.try_send("waits").expect("room");
    let sendings = Mutex::new(vec![appended, taken, waits]);
    let builder = Server::<Threads, Native>::builder().on_request_inline(move |_, _, reply| {
        let sendings = std::mem::take(&mut *sendings.lock().expect("not poisoned"));
        let results: Vec<_> = sendings.into_iter().map(|sending| sending.wait()).collect();
        reply.extend_from_slice(format!("{results:?}").as_bytes());
        Ok(())
    });
    let server = builder.bind("127.0.0.1:0").expect("a free port");
    server.start().expect("a thread");
    let client = Client::<Threads, Native>::connect(server.local_addr()).expect("it listens");
    let reply = client.call(1, b"").expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), "[Ok(0), Err(MaybeAppended(None)), Err(WouldPark)]");
    assert_eq!((batcher.pending(), batcher.stats().withdrawn), ((0, 1), 1));
    log.release();
    batcher.close();
    assert_eq!(log.records(), ["appended", "taken"]);
    assert_eq!(batcher.stats().discarded, 1);
    client.close();
    server.shutdown();
}

on_all_runtimes! {
    while_a_batch_is_under_way_the_next_one_gathers
    many_senders_keep_their_own_results
    a_full_buffer_blocks_or_gives_the_message_back
    a_dropped_send_withdraws_its_message_unless_a_batch_took_it
    results_come_in_order_and_hold_places
    what_was_not_appended_is_tried_again
    a_sink_that_panics_ends_its_batch_alone
    a_lone_sender_makes_its_attempts_itself
    what_a_sender_began_the_task_continues
    the_delivery_time_ends_a_wait_but_no_attempt
    a_close_leaves_nothing_without_an_outcome
    a_close_tries_what_waits
    the_last_handle_closes_it_in_the_background
    a_send_can_be_dropped_after_every_poll
    each_message_can_be_a_call
    a_batch_can_be_a_call_that_finds_its_leader
}
