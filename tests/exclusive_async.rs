//! A connection with one owner on async runtimes: calls in flight, messages, the end.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::error::{CallError, CastRefusal};
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

async fn calls_messages_and_the_end<R: Runtime<Style = Awaits>>() {
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
    // A call without an answer: its deadline ends it, and the turn.
    link.call_with(&CallOptions::new(9).timeout(Duration::from_millis(20)), b"").unwrap();
    while keep.0.is_empty() {
        link.turn(&mut keep, None).await.unwrap();
    }
    assert!(matches!(keep.0[0], Err(CallError::DeadlineExceeded { .. })));
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

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(calls_messages_and_the_end::<bowline::tokio::Tokio>());
    runtime.block_on(connecting_without_a_handshake::<bowline::tokio::Tokio>());
}

#[test]
fn on_smol() {
    smol::block_on(calls_messages_and_the_end::<bowline::smol::Smol>());
    smol::block_on(connecting_without_a_handshake::<bowline::smol::Smol>());
}

#[test]
fn on_async_std() {
    async_std::task::block_on(calls_messages_and_the_end::<bowline::async_std::AsyncStd>());
    async_std::task::block_on(connecting_without_a_handshake::<bowline::async_std::AsyncStd>());
}
