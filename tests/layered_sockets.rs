//! A layer between the socket and the machine, as TLS is one: it works wherever a socket does, and the
//! reported outcomes of messages stay exact.
//!
//! The layer sends a greeting first, splits written bytes into records, and scrambles them. A record is sent
//! completely, or its bytes count as not written: then the same bytes must be passed again, unchanged, which
//! the layer checks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::error::Outcome;
use bowline::frame::length_prefixed::LengthPrefixed;
use bowline::links::{Client, Exclusive, Handler, Server};
use bowline::{CallOptions, CastOptions, Config, QueueLimit, ReconnectPolicy, SocketOptions};

#[path = "layers/scrambled.rs"]
mod scrambled;
#[path = "machines/watchdog.rs"]
mod watchdog;

use scrambled::{GREETING, HEADER, Layered, scramble};
use watchdog::within;

const LIMIT: Duration = Duration::from_secs(60);

/// Sockets that accept little at once, so that most records are split.
fn tight() -> SocketOptions {
    let mut options = SocketOptions::default();
    (options.send_buffer, options.receive_buffer) = (Some(4096), Some(4096));
    options
}

/// Small and large calls, many at once, and messages between them: each arrives unchanged.
async fn traffic<R: Runtime<Style = Awaits>>() {
    let config = Config::builder().sockets(tight()).build().expect("sound");
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    let server = Server::<Layered<R>>::with_config(config.clone())
        .on_message(move |_, message| {
            assert!(message.body.iter().all(|&byte| byte == message.body[0]), "a damaged message");
            count.fetch_add(message.body.len(), Ordering::Relaxed);
            async {}
        })
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await
        .expect("a free port");
    server.start().expect("a runtime");
    let client = Client::<Layered<R>>::with_config(server.local_addr(), config.clone());
    let client = client.connect().await.expect("it listens");
    let mut calls = Vec::new();
    let mut sent = 0;
    for round in 0..60_usize {
        let (size, byte) = ([1, 100, 5_000, 70_000, 300_000][round % 5], round as u8);
        let call = client.start_call(CallOptions::new(1), vec![byte; size]).await.expect("there is room");
        calls.push((vec![byte; size], call));
        let _ = client.cast(2, vec![byte; size / 2 + 1]).await.expect("there is room");
        sent += size / 2 + 1;
    }
    for (expected, call) in calls {
        let reply = call.await.expect("it is answered");
        assert!(reply[..] == expected[..], "a damaged reply of {} bytes", expected.len());
    }
    // One at a time: the caller itself writes.
    for number in 0..200_u32 {
        assert_eq!(
            &client.call(1, &number.to_be_bytes()).await.expect("an answer")[..],
            number.to_be_bytes()
        );
    }
    assert!(client.close().await.is_empty());

    // With a connection of one owner.
    #[derive(Default)]
    struct Replies(usize);
    impl Handler for Replies {
        fn reply(&mut self, _: bowline::core::link::CallId, body: &[u8]) {
            self.0 += body.len();
        }
    }
    let mut owner =
        Exclusive::<Layered<R>>::connect_with(server.local_addr(), config).await.expect("it listens");
    let mut replies = Replies::default();
    for _ in 0..50 {
        owner.call(1, vec![7; 10_000]).expect("there is room");
    }
    while replies.0 < 500_000 {
        owner.turn(&mut replies, None).await.expect("open");
    }
    assert!(owner.close(&mut replies).await.is_empty());
    server.shutdown().await;
    assert_eq!(came.load(Ordering::Relaxed), sent);
    assert!(scrambled::retried() > 0, "no record was ever cut, so that nothing was lent again");
}

/// Reads `most` bytes of a layered stream and ends it. Returns the messages whose records are complete.
fn read_some(mut stream: TcpStream, most: usize) -> Vec<u32> {
    stream.write_all(GREETING).expect("open");
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, GREETING);
    let mut bytes = vec![0; most];
    stream.read_exact(&mut bytes).expect("more is sent than is read");
    drop(stream);
    let (mut plain, mut rest) = (Vec::new(), &bytes[..]);
    while rest.len() >= HEADER {
        let size = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let Some(record) = rest.get(HEADER..HEADER + size) else { break };
        plain.extend(record.iter().copied().map(scramble));
        rest = &rest[HEADER + size..];
    }
    let (mut numbers, mut rest) = (Vec::new(), &plain[..]);
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some(body) = rest.get(4..4 + size) else { break };
        numbers.push(u32::from_be_bytes(*body.first_chunk().expect("a number")));
        rest = &rest[4 + size..];
    }
    numbers
}

/// The connection repeatedly ends in the middle of a record: no message that arrived is reported as unsent,
/// and no message that the layer still held is reported as written.
async fn exact_outcomes<R: Runtime<Style = Awaits>>() {
    for round in 0..20_usize {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let most = 5_000 + round * 1_777;
        let peer = std::thread::spawn(move || read_some(listener.accept().expect("one comes").0, most));
        let config = Config::with_framing(LengthPrefixed::new())
            .sockets(tight())
            .reconnect(ReconnectPolicy::never())
            .write_queue(QueueLimit { messages: 1_000, bytes: 16 << 20 })
            .build()
            .expect("sound");
        let client =
            Client::<Layered<R>, _>::with_config(address, config).connect().await.expect("it listens");
        let casts = (0..100_u32).map(|number| {
            let mut body = vec![number as u8; 2_000];
            body[..4].copy_from_slice(&number.to_be_bytes());
            let client = client.clone();
            async move { client.cast_and_wait_with(CastOptions::new(0), body).await }
        });
        let mut casts: Vec<_> = casts.map(Box::pin).collect();
        let mut outcomes = Vec::new();
        // All are queued before the first is awaited.
        for cast in &mut casts {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            outcomes.push(match cast.as_mut().poll(&mut cx) {
                std::task::Poll::Ready(outcome) => Some(outcome),
                std::task::Poll::Pending => None,
            });
        }
        for (cast, outcome) in casts.into_iter().zip(&mut outcomes) {
            if outcome.is_none() {
                *outcome = Some(cast.await);
            }
        }
        let came = peer.join().expect("it read");
        let accepted = scrambled::accepted(&address);
        let (mut written, mut maybe) = (0, 0);
        for (number, outcome) in (0_u32..).zip(outcomes) {
            match outcome.expect("awaited") {
                Ok(_) => {
                    written += 1;
                    assert!(
                        written * 2_004 <= accepted,
                        "{written} are written, of {accepted} bytes that left"
                    );
                }
                Err(error) => {
                    // A part of one may have been sent in an earlier record.
                    maybe += usize::from(error.outcome() == Outcome::MaybeDelivered);
                    assert!(!came.contains(&number), "round {round}: {number} came, and is told {error}");
                    let body = error.into_body().expect("it is handed back");
                    assert_eq!(
                        (&body[..4], body.len()),
                        (&number.to_be_bytes()[..], 2_000),
                        "as it was given"
                    );
                }
            }
        }
        assert!(maybe <= 1, "{maybe} may have left in part");
        assert!(came.len() + 3 >= most / 2_010 && came.iter().copied().eq(0..came.len() as u32), "{came:?}");
    }
}

#[test]
fn traffic_on_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(within(LIMIT, traffic::<bowline::tokio::Tokio>()));
}

#[test]
fn traffic_on_smol() {
    smol::block_on(within(LIMIT, traffic::<bowline::smol::Smol>()));
}

#[test]
fn outcomes_on_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(within(LIMIT, exact_outcomes::<bowline::tokio::Tokio>()));
}

#[test]
fn outcomes_on_smol() {
    smol::block_on(within(LIMIT, exact_outcomes::<bowline::smol::Smol>()));
}
