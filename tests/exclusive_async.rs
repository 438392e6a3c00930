//! A connection with one owner on async runtimes: calls in flight, messages, the end.

use std::future::{Future, poll_fn};
use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::error::{CallError, CastRefusal, Status};
use bowline::frame::raw::Raw;
use bowline::links::{Exclusive, Handler, Server};
use bowline::{CallOptions, Config, core::link::CallId, core::link::State};

#[derive(Default)]
struct Keep(Vec<Result<Vec<u8>, CallError>>);

impl Handler for Keep {
    fn reply(&mut self, _: CallId, body: &[u8]) {
        self.0.push(Ok(body.to_vec()));
    }

    fn failed(&mut self, _: CallId, error: CallError) {
        self.0.push(Err(error));
    }
}

async fn calls_messages_and_the_end<R: Runtime<Style = Awaits>>(spin: Duration) {
    let casts = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&casts);
    let server = Server::<R>::builder()
        .on_message_inline(move |_, _| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .on_request(|request| async move {
            if request.method() == 9 {
                std::future::pending::<()>().await;
            }
            Ok(request.into_body())
        })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    server.start().unwrap();
    let mut link = Exclusive::<R>::connect(&server.local_addr().to_string()).await.unwrap();
    link.set_spin(spin);
    let mut keep = Keep::default();
    for n in 0..5_000_u32 {
        while let Err(error) = link.call(1, &n.to_be_bytes()) {
            assert!(matches!(error, CallError::Full(_)), "{error}");
            link.turn(&mut keep, None).await.unwrap();
        }
    }
    while keep.0.len() < 5_000 {
        assert!(link.turn(&mut keep, None).await.unwrap());
    }
    let mut numbers: Vec<Vec<u8>> = keep.0.drain(..).map(Result::unwrap).collect();
    numbers.sort();
    assert!(numbers.iter().zip(0_u32..).all(|(body, n)| body[..] == n.to_be_bytes()));
    let bodies = [[7; 100]; 500];
    let mut sent = 0;
    while sent < 20_000 {
        match link.cast_many(2, &bodies) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                link.turn(&mut keep, None).await.unwrap();
            }
        }
    }
    // A call without an answer: its deadline ends it, and the turn, here or at the server.
    let options = CallOptions::new(9).timeout(Duration::from_millis(20));
    while let Err(error) = link.call_with(&options, b"") {
        assert!(matches!(error, CallError::Full(_)), "the casts fill the queue: {error}");
        link.turn(&mut keep, None).await.unwrap();
    }
    while keep.0.is_empty() {
        link.turn(&mut keep, None).await.unwrap();
    }
    match &keep.0[0] {
        Err(CallError::DeadlineExceeded { .. }) => {}
        Err(CallError::Failed(failure)) if failure.status == Status::DEADLINE_EXCEEDED => {}
        other => panic!("{other:?}"),
    }
    // Grants may still arrive; then a turn that waits for nothing reports that there was nothing.
    while link.turn(&mut keep, Some(Duration::ZERO)).await.unwrap() {}
    assert!(link.close(&mut keep).await.is_empty());
    server.shutdown().await;
    assert_eq!(casts.load(Ordering::Relaxed), sent as u64);
}

/// Without a handshake a new connection is ready at once.
async fn connecting_without_a_handshake<R: Runtime<Style = Awaits>>() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config =
        Config::with_framing(Raw::new()).connect_timeout(Duration::from_millis(300)).build().unwrap();
    let address = listener.local_addr().unwrap();
    let mut link = Exclusive::<R, Raw>::connect_with(address, config).await.unwrap();
    assert_eq!(link.state(), State::Ready);
    let _queued = link.cast(0, b"first").unwrap();
    assert_eq!(link.turn(&mut (), Some(Duration::ZERO)).await, Ok(false));
    let mut first = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"first");
}

/// How often turns in which nothing comes are polled: within these bounds, before and after half of their time.
async fn polls<R: Runtime<Style = Awaits>>(
    link: &mut Exclusive<R>,
    what: &str,
    expected: [RangeInclusive<u32>; 2],
) {
    let (half, limit) = (Duration::from_millis(50), Duration::from_millis(100));
    let mut seen = Vec::new();
    // On a machine with other work a turn may be late.
    while seen.len() < 30 {
        let (mut polls, mut ignores, begun) = ([0; 2], (), Instant::now());
        let mut turn = std::pin::pin!(link.turn(&mut ignores, Some(limit)));
        let turned = poll_fn(|cx| {
            polls[usize::from(begun.elapsed() > half)] += 1;
            turn.as_mut().poll(cx)
        });
        assert_eq!(turned.await, Ok(false), "nothing comes");
        if expected.iter().zip(&polls).all(|(expected, polls)| expected.contains(polls)) {
            return;
        }
        seen.push(polls);
    }
    panic!("{what}: polled {seen:?} times");
}

/// A task that spins is polled again and again, for the set time, and other tasks run meanwhile.
async fn spinning<R: Runtime<Style = Awaits>>() {
    let server = Server::<R>::builder()
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    server.start().unwrap();
    let mut link = Exclusive::<R>::connect(&server.local_addr().to_string()).await.unwrap();
    // What still comes after the handshake.
    while link.turn(&mut (), Some(Duration::from_millis(50))).await.unwrap() {}
    let (few, many) = (0..=5, 20..=u32::MAX);
    polls(&mut link, "it waits", [few.clone(), few.clone()]).await;
    link.set_spin(Duration::from_millis(20));
    for _ in 0..2 {
        polls(&mut link, "it spins, then waits", [many.clone(), few.clone()]).await;
    }
    // The server's tasks run while this one spins, and so do its own turns with a time limit.
    link.set_spin(Duration::from_secs(1_000));
    let mut keep = Keep::default();
    for n in 0..100_usize {
        link.call(1, b"hello").unwrap();
        while keep.0.len() <= n {
            link.turn(&mut keep, None).await.unwrap();
        }
    }
    assert!(keep.0.iter().all(|reply| reply.as_deref() == Ok(b"hello")));
    polls(&mut link, "it spins to the end", [many.clone(), many]).await;
    link.close(&mut keep).await;
    server.shutdown().await;
}

async fn all<R: Runtime<Style = Awaits>>() {
    for spin in [Duration::ZERO, Duration::from_micros(20), Duration::from_secs(1)] {
        calls_messages_and_the_end::<R>(spin).await;
    }
    connecting_without_a_handshake::<R>().await;
    spinning::<R>().await;
}

#[test]
fn on_tokio() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(all::<bowline::tokio::Tokio>());
}

#[test]
fn on_tokio_with_two_threads() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(spinning::<bowline::tokio::Tokio>()).await }).unwrap();
}

#[test]
fn on_smol() {
    smol::block_on(all::<bowline::smol::Smol>());
}

#[test]
fn on_async_std() {
    async_std::task::block_on(all::<bowline::async_std::AsyncStd>());
}
