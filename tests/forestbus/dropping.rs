//! Futures that are dropped after any number of polls.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::forestbus::cluster::Options;
use bowline::forestbus::{ClientError, ClusterError, Followed};

use crate::cluster::{TOPIC, client, leader, messages, node, nodes, open, read, reading_at_leader};
use crate::{LIMIT, until, watchdog};

/// Polls a future that often, whether it was woken or not, and then drops it. Returns its result, if it had
/// one.
async fn polled<Fut: Future>(future: Fut, times: usize) -> Option<Fut::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        // Time for other tasks to make progress.
        std::thread::sleep(Duration::from_micros(300 * polls as u64));
        polls += 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn dropped_at_any_poll<R: Runtime<Style = Awaits>>() {
    let nodes = nodes::<R>(3).await;
    let mut sent = 0_i64;
    for times in 0..100 {
        // The first send of a client is dropped while it connects, is checked, is led from a follower to the leader, or
        // waits for its reply: one poll later for each client. The others go out at once.
        let client = open::<R>(reading_at_leader(&nodes).send_hold(Duration::from_millis(2)));
        let mut ready = 0;
        for _ in 0..3 {
            let send = polled(client.send_messages(TOPIC, messages(1, 2)), times).await;
            let got = polled(client.get_messages(TOPIC, 1, 10, false), times).await;
            let poll = polled(client.get_messages(TOPIC, 1_000_000, 10, true), times).await;
            assert!(poll.is_none(), "there is no such message");
            let details = polled(client.cluster_details(), times).await;
            ready +=
                [send.is_some(), got.is_some(), details.is_some()].into_iter().filter(|ready| *ready).count();
            assert!(got.is_none_or(|got| got.is_ok()) && details.is_none_or(|details| details.is_ok()));
            sent += i64::from(send.is_some_and(|sent| sent.is_ok()));
            assert_eq!(client.snapshot().commands, 0, "nothing is left");
        }
        if ready == 9 {
            break;
        }
        assert!(times < 99, "they are never ready");
    }
    assert!(sent >= 3);
    let client = open::<R>(reading_at_leader(&nodes));
    // All of a send, or nothing; and a caller that waited for the result received it.
    let last = client.send_messages(TOPIC, messages(7, 1)).await.expect("sent").ids[0];
    assert!(last % 2 == 1 && last > 2 * sent, "{last}, {sent}");
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let all = read(&mut follower, last as usize).await.1;
    assert_eq!(all[last as usize - 1], messages(7, 1)[0]);
    assert!(all[..last as usize - 1].chunks(2).all(|pair| pair == messages(1, 2)));
}

async fn a_follower_that_is_polled_loses_nothing<R: Runtime<Style = Awaits>>() {
    let nodes = nodes::<R>(3).await;
    let client = open::<R>(reading_at_leader(&nodes));
    let mut follower = client.follow(TOPIC, 1).expect("room");
    let mut next = 1;
    for from in (1..50).step_by(3) {
        client.send_messages(TOPIC, messages(from, 3)).await.expect("sent");
        for times in 0..3 {
            match polled(follower.next(), times).await {
                Some(Some(Ok(Followed::Page(page)))) => {
                    assert_eq!(page.first, next);
                    next = page.next();
                }
                None => {}
                other => panic!("{other:?}"),
            }
        }
    }
    while next <= 51 {
        let page = crate::cluster::page(&mut follower).await;
        assert_eq!(page.first, next);
        next = page.next();
    }
    drop(follower);
    assert_eq!(client.snapshot().followers, 0);
    until(|| leader(&nodes).snapshot().waiting == 0);
}

async fn a_dropped_send_gives_its_topic_back<R: Runtime<Style = Awaits>>() {
    let nodes = nodes::<R>(3).await;
    let leader = leader(&nodes);
    leader.set_lagging(true);
    let client = client(&nodes);
    {
        let mut send = pin!(client.send_messages(TOPIC, messages(1, 1)));
        std::future::poll_fn(|cx| {
            assert!(send.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        until(|| leader.snapshot().waiting == 1);
    }
    assert_eq!(client.counters().maybe_appended, 1, "it had left");
    leader.set_lagging(false);
    assert_eq!(client.send_messages(TOPIC, messages(2, 1)).await.expect("sent").ids, [2]);
    let expired = Options::new().deadline(Duration::from_nanos(1));
    let error = client.get_messages_with(TOPIC, 9, 2, true, expired).await;
    assert!(matches!(error, Err(ClientError::Cluster(ClusterError::Deadline { .. }))), "{error:?}");
}

#[test]
fn on_async_runtimes() {
    async fn all<R: Runtime<Style = Awaits>>() {
        dropped_at_any_poll::<R>().await;
        a_follower_that_is_polled_loses_nothing::<R>().await;
        a_dropped_send_gives_its_topic_back::<R>().await;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(watchdog::within(LIMIT, all::<bowline::tokio::Tokio>()));
    smol::block_on(watchdog::within(LIMIT, all::<bowline::smol::Smol>()));
    async_std::task::block_on(watchdog::within(LIMIT, all::<bowline::async_std::AsyncStd>()));
}

/// A runtime that ends while a client uses it: waiting callers get an error.
#[test]
fn a_runtime_that_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (client, node) = runtime.block_on(async {
        let nodes = [node::<bowline::tokio::Tokio>().await];
        let client = client(&nodes);
        client.send_messages(TOPIC, messages(1, 1)).await.expect("sent");
        (client, nodes)
    });
    let polling = client.clone();
    let poll = crate::aside(move || async move { polling.get_messages(TOPIC, 2, 10, true).await });
    until(|| node[0].snapshot().waiting == 1);
    runtime.shutdown_background();
    let closed = ClientError::Cluster(ClusterError::Closed);
    assert_eq!(poll.join().expect("no panic"), Err(closed.clone()));
    let later = crate::aside(move || async move { client.cluster_details().await });
    assert_eq!(later.join().expect("no panic"), Err(closed));
}
