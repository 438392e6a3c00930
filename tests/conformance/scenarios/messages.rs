//! One-way messages, queues, and framings without calls.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::error::{CastError, CastRefusal, EncodeError};
use bowline::frame::Framing;
use bowline::frame::buffstreams::Buffstreams;
use bowline::frame::length_prefixed::LengthPrefixed;
use bowline::frame::native::{Extensions, Native};
use bowline::frame::raw::Raw;
use bowline::frame::tcpstream::Tcpstream;
use bowline::links::PushError;
use bowline::{CallOptions, CastOptions, Config, LinkEvent, Overflow, QueueLimit, ReconnectPolicy};

use crate::harness::{Client, Handlers, Harness, Server};

const MS: Duration = Duration::from_millis(1);

type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// Keeps every message.
fn keeping<F: Framing>() -> (Seen, Handlers<F>) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let handlers = Handlers::none()
        .message(move |_, message| keep.lock().expect("not poisoned").push(message.body.to_vec()));
    (seen, handlers)
}

pub async fn casts_arrive_in_order<H: Harness>() {
    let (seen, keeping) = keeping();
    let (server, client) = H::pair(Config::default(), keeping, Handlers::none()).await;
    for i in 0..5_000_u32 {
        // Some are large enough for fragments and for the bulk class.
        let size = if i % 500 == 0 { 40_000 } else { 4 };
        let mut body = i.to_be_bytes().to_vec();
        body.resize(size, 7);
        let queued = client.peer().cast(1, body).await.expect("queued");
        assert_eq!(queued.number, u64::from(i) + 1);
    }
    H::until("all are there", || seen.lock().expect("not poisoned").len() == 5_000).await;
    // In order within each class.
    let seen = seen.lock().expect("not poisoned").clone();
    let number = |body: &Vec<u8>| u32::from_be_bytes(body[..4].try_into().expect("four bytes"));
    let (bulk, normal): (Vec<_>, Vec<_>) = seen.iter().partition(|body| body.len() > 4);
    for (class, step) in [(bulk, true), (normal, false)] {
        let numbers: Vec<u32> = class.into_iter().map(number).collect();
        let expected: Vec<u32> = (0..5_000).filter(|i| (i % 500 == 0) == step).collect();
        assert_eq!(numbers, expected);
    }
    client.close().await;
    server.shutdown().await;
}

pub async fn a_server_pushes<H: Harness>() {
    let greet = Handlers::none().connect(|peer| {
        for i in 0..10_u8 {
            let _ = peer.try_cast(3, vec![i]).expect("room");
        }
    });
    let (server, client) = H::pair(Config::default(), greet, Handlers::none()).await;
    for i in 0..10_u8 {
        let message = client.receive().await.expect("a push");
        assert_eq!((message.method(), &message[..]), (3, &[i][..]));
    }
    client.close().await;
    server.shutdown().await;
}

pub async fn receiving_with_a_timeout<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::none(), Handlers::none()).await;
    assert_eq!(client.receive_timeout(MS * 10).await, Ok(None));
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let _ = server.peers()[0].cast(1, b"now").await.expect("queued");
    let message = client.receive_timeout(Duration::from_secs(5)).await.expect("open").expect("a push");
    assert_eq!(&message[..], b"now");
    let waiting = H::spawn(client.receive());
    client.close().await;
    assert!(waiting.await.is_err(), "a closed link says so");
    server.shutdown().await;
}

pub async fn connect_and_disconnect_are_told<H: Harness>() {
    let (ups, downs) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (up, down) = (Arc::clone(&ups), Arc::clone(&downs));
    let counting = Handlers::none()
        .connect(move |_| {
            up.fetch_add(1, Ordering::Relaxed);
        })
        .disconnect(move |_, _| {
            down.fetch_add(1, Ordering::Relaxed);
        });
    let config = Config::builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let (server, client) = H::pair(config, Handlers::none(), counting).await;
    assert!(matches!(client.next_event().await, Ok(LinkEvent::Connecting { attempt: 1, .. })));
    assert!(matches!(client.next_event().await, Ok(LinkEvent::Connected { address: Some(_), .. })));
    H::until("the beginning is told", || ups.load(Ordering::Relaxed) == 1).await;
    assert_eq!(downs.load(Ordering::Relaxed), 0);
    server.shutdown().await;
    H::until("the end is told", || downs.load(Ordering::Relaxed) == 1).await;
    loop {
        match client.next_event().await.expect("an event") {
            LinkEvent::Disconnected { .. } => break,
            LinkEvent::GoAway { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    client.close().await;
}

pub async fn an_idle_link_keeps_its_heartbeat<H: Harness>() {
    let config = Config::builder().heartbeat(MS * 20).dead_after(Duration::from_secs(5)).build();
    let (server, client) = H::pair(config.expect("sound"), Handlers::echo(), Handlers::none()).await;
    assert!(client.call(CallOptions::new(1), b"once".to_vec()).await.is_ok());
    // No more calls: the only received frames are pings and pongs of 16 bytes.
    let quiet = client.peer().counters().bytes_in;
    H::until("signs of life", || client.peer().counters().bytes_in >= quiet + 64).await;
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_full_write_queue_refuses<H: Harness>() {
    // No server listens: casts stay queued.
    let nowhere = "127.0.0.1:1";
    let limit = QueueLimit { messages: 4, bytes: 1 << 20 };
    for policy in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
        let config = Config::builder().write_queue(limit).write_overflow(policy).linger(MS);
        let client =
            H::connect_lazy(nowhere, config.build().expect("sound"), Handlers::none()).expect("begun");
        for i in 0..6_u8 {
            let result = client.cast(CastOptions::new(1), vec![i]).await;
            if i < 4 || policy == Overflow::DropOldest {
                assert!(result.is_ok(), "{policy:?}");
            } else {
                let error = result.expect_err("no room");
                assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                assert_eq!(error.into_body().as_deref(), Some(&[i][..]));
            }
        }
        let dropped = client.peer().counters().casts_dropped;
        assert_eq!(dropped, if policy == Overflow::Reject { 0 } else { 2 });
        let kept: Vec<u8> = client.close().await.iter().map(|u| u.body[0]).collect();
        assert_eq!(kept, if policy == Overflow::DropOldest { [2, 3, 4, 5] } else { [0, 1, 2, 3] });
    }
}

pub async fn a_full_read_queue_drops_the_oldest<H: Harness>() {
    let limit = QueueLimit { messages: 10, bytes: 1 << 20 };
    let config =
        Config::builder().read_queue(limit).read_overflow(Overflow::DropOldest).build().expect("sound");
    let push = Handlers::none().connect(|peer| {
        for i in 0..25_u8 {
            let _ = peer.try_cast(1, vec![i]).expect("room");
        }
    });
    let (server, client) = H::pair(config, push, Handlers::none()).await;
    H::until("all came", || client.peer().counters().messages == 25).await;
    assert_eq!(client.peer().counters().messages_dropped, 15);
    for i in 15..25_u8 {
        assert_eq!(&client.receive().await.expect("kept")[..], &[i]);
    }
    client.close().await;
    server.shutdown().await;
}

fn tcpstream() -> Config<Tcpstream> {
    Config::with_framing(Tcpstream::new()).build().expect("sound")
}

pub async fn tcpstream_calls_both_ways<H: Harness>() {
    let (server, client) = H::pair(tcpstream(), Handlers::echo(), Handlers::echo()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let peer = server.peers().remove(0);
    let back = H::spawn(async move {
        for i in 0..50_u8 {
            assert_eq!(&peer.call(2, vec![i]).await.expect("a reply")[..], &[i]);
        }
    });
    for i in 0..50_u8 {
        let reply = client.call(CallOptions::new(1), vec![i]).await.expect("a reply");
        assert_eq!(&reply[..], &[i]);
    }
    back.await;
    client.close().await;
    server.shutdown().await;
}

pub async fn tcpstream_answers_by_seq_later<H: Harness>() {
    // A handler that answers as the Go library's do: with a message with the same Seq.
    let by_seq = Handlers::none().message_inline(|context, message| {
        let options = CastOptions::new(message.method() + 1).seq(message.id());
        let _ = context.try_cast_with(options, message.body).expect("room");
    });
    let (server, client) = H::pair(tcpstream(), by_seq, Handlers::none()).await;
    let reply = client.call(CallOptions::new(41), b"ask".to_vec()).await.expect("a reply");
    assert_eq!((&reply[..], reply.method), (&b"ask"[..], 42));
    // A plain message has the Seq 0, or one that the sender chose.
    for seq in [0, 77] {
        let _ = client.cast(CastOptions::new(5).seq(seq), b"push".to_vec()).await.expect("queued");
        let back = client.receive().await.expect("an answer");
        assert_eq!((back.seq(), back.method(), &back[..]), (seq, 6, &b"push"[..]));
    }
    client.close().await;
    server.shutdown().await;
}

async fn carries_messages<H: Harness, F: Framing>(framing: F, joined: bool) {
    let config = Config::with_framing(framing).build().expect("sound");
    let (seen, keeping) = keeping();
    let (server, client) = H::pair(config, keeping, Handlers::none()).await;
    let mut expected = Vec::new();
    for size in [1, 100, 110, 4096] {
        let body = vec![size as u8; size];
        let _ = client.cast(CastOptions::default(), body.clone()).await.expect("queued");
        expected.push(body);
    }
    let total: usize = expected.iter().map(Vec::len).sum();
    let came = || seen.lock().expect("not poisoned").iter().map(Vec::len).sum::<usize>();
    H::until("all came", || came() == total).await;
    let seen = seen.lock().expect("not poisoned").clone();
    if joined {
        assert_eq!(seen.concat(), expected.concat());
    } else {
        assert_eq!(seen, expected);
    }
    assert!(client.call(CallOptions::new(0), Vec::new()).await.is_err(), "no calls here");
    client.close().await;
    server.shutdown().await;
}

pub async fn other_framings_carry_messages<H: Harness>() {
    carries_messages::<H, _>(Raw::new(), true).await;
    carries_messages::<H, _>(Buffstreams::new(), false).await;
    let varint = LengthPrefixed::builder().varint().build().expect("sound");
    carries_messages::<H, _>(varint, false).await;
}

fn refusal<T>(result: Result<T, CastError>) -> EncodeError {
    match result.map(drop).expect_err("this framing has no way to say it").into_reason() {
        CastRefusal::Encode(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Every way of casting returns that error, and nothing is sent.
async fn refuses<H: Harness, F: Framing>(framing: F, options: CastOptions, what: &'static str) {
    let error = EncodeError::Unsupported { what };
    let config = Config::with_framing(framing).build().expect("sound");
    let (seen, keeping) = keeping();
    let (server, client) = H::pair(config, keeping, Handlers::none()).await;
    let body = || b"body".to_vec();
    assert_eq!(refusal(client.cast(options.clone(), body()).await), error);
    assert_eq!(refusal(client.cast_and_wait(options.clone(), body()).await), error);
    assert_eq!(refusal(client.peer().try_cast_with(options.clone(), body())), error);
    // One server's peers may have several framings: the result names those that cannot carry it.
    H::until("it is there", || server.hub().len() == 1).await;
    let id = server.peers()[0].id();
    for len in [4, 4_000, 100_000] {
        let told = server.hub().broadcast_with(options.clone(), vec![1; len], |_| true);
        assert_eq!((told.queued, told.dropped, told.gone, &told.missed[..]), (0, 1, 0, &[][..]));
        assert_eq!(told.refused.len(), 1);
        assert_eq!(told.refused[0].0, id);
        let too_long = matches!(told.refused[0].1, EncodeError::TooLarge { len: 100_000, .. });
        assert!(told.refused[0].1 == error || too_long, "{told:?}");
    }
    if options == CastOptions::new(7) {
        assert_eq!(refusal(client.peer().cast_many(7, &[b"a", b"b"]).await), error);
        assert_eq!(refusal(client.peer().try_cast_many(7, &[b"a", b"b"])), error);
        let told = server.hub().broadcast(7, body());
        assert_eq!(told.refused, [(id, error)]);
        assert!(matches!(server.hub().cast_to(id, 7, body()), Err(PushError::Cast(_))));
    }
    let _ = client.cast(CastOptions::default(), b"this".to_vec()).await.expect("queued");
    H::until("only this came", || *seen.lock().expect("not poisoned") == [b"this"]).await;
    assert_eq!(client.peer().counters().casts, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn what_a_framing_cannot_carry_is_refused<H: Harness>() {
    let extensions = || {
        let mut extensions = Extensions::new();
        extensions.push(200, b"more").expect("room");
        CastOptions::new(0).extensions(extensions.into_bytes())
    };
    for (options, what) in [
        (CastOptions::new(7), "a method (message type)"),
        (CastOptions::new(0).seq(7), "a Seq"),
        (extensions(), "extensions"),
    ] {
        refuses::<H, _>(Raw::new(), options.clone(), what).await;
        refuses::<H, _>(Buffstreams::new(), options.clone(), what).await;
        refuses::<H, _>(LengthPrefixed::new(), options, what).await;
    }
    refuses::<H, _>(Tcpstream::new(), extensions(), "extensions").await;
    refuses::<H, _>(Native::new(), CastOptions::new(0).seq(7), "a Seq").await;
}

pub async fn many_at_once<H: Harness>() {
    let (seen, mut handlers) = keeping();
    handlers = handlers.connect(|peer| {
        let bodies: Vec<[u8; 1]> = (0..100).map(|n| [n]).collect();
        assert_eq!(peer.try_cast_many(3, &bodies).expect("room"), 100);
    });
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    let bodies: Vec<Vec<u8>> = (0..10_000_u32)
        .map(|n| {
            // Occasionally one with fragments, in another class.
            let len = if n % 2_500 == 2_000 { 70_000 } else { n as usize % 300 };
            [&n.to_be_bytes()[..], &vec![7; len]].concat()
        })
        .collect();
    for some in bodies.chunks(700) {
        assert_eq!(client.peer().cast_many(1, some).await.expect("queued"), some.len());
    }
    let mut pushed = Vec::new();
    while pushed.len() < 100 {
        let before = pushed.len();
        let count = client.peer().receive_many(&mut pushed, 32).await.expect("open");
        assert!((1..=32).contains(&count) && count == pushed.len() - before, "{count}");
    }
    assert!(pushed.iter().zip(0_u8..).all(|(message, n)| message.method() == 3 && message[..] == [n]));
    H::until("all are there", || seen.lock().expect("not poisoned").len() == bodies.len()).await;
    let (large, small): (Vec<_>, Vec<_>) = bodies.into_iter().partition(|body| body.len() > 400);
    let seen = seen.lock().expect("not poisoned").clone();
    let (seen_large, seen_small): (Vec<_>, Vec<_>) = seen.into_iter().partition(|body| body.len() > 400);
    assert_eq!((seen_large, seen_small), (large, small));
    assert_eq!(client.peer().counters().casts, 10_000);
    let refused = client.peer().cast_many(1, &[vec![0; 9 << 20]]).await.expect_err("too long");
    assert!(matches!(refused.reason(), CastRefusal::Encode(_)));
    assert_eq!(client.peer().cast_many(1, &[vec![1], vec![0; 9 << 20]]).await.expect("one"), 1);
    client.close().await;
    server.shutdown().await;
}
