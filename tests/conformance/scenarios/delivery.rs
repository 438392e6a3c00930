//! Outcomes of messages across connections.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::error::{CallError, CastRefusal, Failure, Outcome, Status, Undeliverable};
use bowline::frame::buffstreams::Buffstreams;
use bowline::{CallOptions, CastOptions, Config, Delivery, LinkEvent, ReconnectPolicy};

use crate::harness::{Client, Handlers, Harness, Server};
use crate::proxy::Proxy;

const MS: Duration = Duration::from_millis(1);

pub async fn casts_say_what_became_of_them<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::none()).await;
    let outcome = client.cast_and_wait(CastOptions::new(1), b"hello".to_vec()).await;
    assert_eq!(outcome, Ok(Outcome::Written));
    client.close().await;
    server.shutdown().await;

    // No server listens.
    let config = Config::builder().expire_after(MS * 30).linger(MS).build().expect("sound");
    let client = H::connect_lazy("127.0.0.1:1", config, Handlers::none()).expect("begun");
    let error = client.cast_and_wait(CastOptions::new(1), b"late".to_vec()).await.expect_err("expired");
    assert_eq!(error.outcome(), Outcome::Expired);
    let CastRefusal::Undelivered { reason: Undeliverable::Expired(link), .. } = error.reason() else {
        panic!("{error}")
    };
    assert!(link.to_string().starts_with("not connected: 127.0.0.1:1 refused the connection, "), "{link}");
    assert_eq!(error.into_body().as_deref(), Some(&b"late"[..]));
    let queued = client.cast(CastOptions::new(1), b"nobody waits".to_vec()).await.expect("queued");
    let errored = client.next_errored().await.expect("an errored message");
    assert_eq!((errored.number, &errored.body[..]), (queued.number, &b"nobody waits"[..]));
    client.close().await;
}

pub async fn idempotent_calls_are_made_again<H: Harness>() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let handlers = Handlers::none().request(move |asked| {
        let first = {
            let mut seen = note.lock().expect("not poisoned");
            seen.push(asked.body.to_vec());
            seen.iter().filter(|body| body[..] == asked.body[..]).count() == 1
        };
        async move {
            if first {
                // The connection is cut in the meantime.
                H::sleep(Duration::from_millis(400)).await;
            }
            Ok(asked.body.into())
        }
    });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let config = Config::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).build().expect("sound");
    let client = H::connect(&proxy.address, config, Handlers::none()).await.expect("it listens");
    let again = client.start_call(CallOptions::new(1).idempotent(true), b"again".to_vec()).await;
    let once = client.start_call(CallOptions::new(1), b"once".to_vec()).await;
    H::until("both have come", || seen.lock().expect("not poisoned").len() == 2).await;
    proxy.cut();
    let error = H::Client::<_>::wait(once.expect("begun")).await.expect_err("its connection is gone");
    assert!(matches!(error, CallError::MaybeDelivered(_)), "{error:?}");
    let reply = H::Client::<_>::wait(again.expect("begun")).await.expect("a reply");
    assert_eq!(&reply[..], b"again");
    assert_eq!(client.peer().counters().retries, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_busy_peer_is_asked_again<H: Harness>() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let handlers = Handlers::none().request(move |request| {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match nth {
                0 | 1 => Err(Failure::new(Status::BUSY, "not now").retry_after(MS * 5)),
                _ => Ok(request.body.into()),
            }
        }
    });
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    let reply = client.call(CallOptions::new(1).idempotent(true), b"please".to_vec()).await.expect("a reply");
    assert_eq!((&reply[..], asked.load(Ordering::Relaxed)), (&b"please"[..], 3));
    let events = [client.next_event().await, client.next_event().await, client.next_event().await];
    let retried = events.iter().filter(|event| matches!(event, Ok(LinkEvent::CallRetried { .. }))).count();
    assert!(retried >= 1, "{events:?}");
    client.close().await;
    server.shutdown().await;
}

pub async fn a_new_connection_on_demand<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::none()).await;
    client.peer().reconnect_now();
    H::until("connected anew", || client.peer().counters().connections == 2).await;
    let reply = client.call(CallOptions::new(1), b"still".to_vec()).await.expect("a reply");
    assert_eq!(&reply[..], b"still");
    let mut story = Vec::new();
    while story.len() < 5 {
        story.push(match client.next_event().await.expect("an event") {
            LinkEvent::Connecting { .. } => "connecting",
            LinkEvent::Connected { address, .. } => {
                assert_eq!(address.map(|address| address.to_string()), Some(server.address()));
                "connected"
            }
            LinkEvent::Disconnected { .. } => "disconnected",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(story, ["connecting", "connected", "disconnected", "connecting", "connected"]);
    client.close().await;
    server.shutdown().await;

    // A long wait ends at once.
    let config = Config::builder().reconnect(ReconnectPolicy::fixed(Duration::from_secs(3600))).linger(MS);
    let client =
        H::connect_lazy("127.0.0.1:1", config.build().expect("sound"), Handlers::none()).expect("begun");
    for _ in 0..3 {
        loop {
            match client.next_event().await.expect("an event") {
                LinkEvent::Retrying { after, .. } => {
                    assert!(after > Duration::from_secs(3000));
                    break;
                }
                LinkEvent::Connecting { .. } | LinkEvent::ConnectFailed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        client.peer().reconnect_now();
    }
    client.close().await;
}

pub async fn casts_are_sent_again_until_they_are_written<H: Harness>() {
    let config = || {
        Config::with_framing(Buffstreams::new())
            .delivery(Delivery::AtLeastOnce { retry_limit: 1000 })
            .resend_window(1 << 20)
            .reconnect(ReconnectPolicy::fixed(MS))
            .build()
            .expect("sound")
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let handlers = Handlers::none().message(move |_, message| {
        let number = u32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
        note.lock().expect("not poisoned").push(number);
    });
    let server = H::bind("127.0.0.1:0", config(), handlers).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let client = H::connect(&proxy.address, config(), Handlers::none()).await.expect("it listens");
    let total = 3_000_u32;
    for i in 0..total {
        let mut body = i.to_be_bytes().to_vec();
        body.resize(100, 7);
        let _ = client.cast(CastOptions::default(), body).await.expect("queued");
        if i % 500 == 250 {
            // What has come on this connection is in the window, and comes again on the next one.
            H::until("it is used", || seen.lock().expect("not poisoned").contains(&(i - 50))).await;
            proxy.cut();
        }
    }
    H::until("the last has come", || seen.lock().expect("not poisoned").contains(&(total - 1))).await;
    let mut came = seen.lock().expect("not poisoned").clone();
    assert!(came.len() > total as usize, "some came twice: the window was sent again");
    came.sort_unstable();
    came.dedup();
    assert_eq!(came, (0..total).collect::<Vec<_>>(), "none is lost");
    client.close().await;
    server.shutdown().await;
}
