//! Failures, and the outcomes of calls.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bowline::error::{CallError, Disconnect, EncodeError, Failure, Outcome, Status, TransportKind};
use bowline::frame::native::Native;
use bowline::{
    CallOptions, CastOptions, Config, ConfigBuilder, ConnectError, LinkEvent, ReconnectPolicy, State,
};

use crate::harness::{Client, Handlers, Harness, Server, closed_port};
use crate::proxy::Proxy;

const MS: Duration = Duration::from_millis(1);

fn quick() -> ConfigBuilder<Native> {
    Config::builder().reconnect(ReconnectPolicy::fixed(MS * 2)).linger(Duration::from_secs(2))
}

pub async fn handlers_that_fail_and_panic<H: Harness>() {
    let failing = Handlers::none().request(|asked| async move {
        match asked.method {
            1 => Err(Failure::new(Status(1234), "no").retry_after(Duration::from_secs(3))),
            2 => panic!("on purpose"),
            _ => Ok("fine".into()),
        }
    });
    let (server, client) = H::pair(Config::default(), failing, Handlers::none()).await;
    let error = client.call(CallOptions::new(1), Vec::new()).await.expect_err("a failure");
    let CallError::Failed(failure) = &error else { panic!("{error}") };
    assert_eq!((failure.status, &failure.body[..]), (Status(1234), &b"no"[..]));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(error.outcome(), Outcome::Replied);
    let error = client.call(CallOptions::new(2), Vec::new()).await.expect_err("a failure");
    assert!(matches!(error, CallError::Failed(failure) if failure.status == Status::PANICKED));
    assert_eq!(&client.call(CallOptions::new(3), Vec::new()).await.expect("it goes on")[..], b"fine");
    client.close().await;
    server.shutdown().await;
}

pub async fn requests_without_a_handler<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::none(), Handlers::none()).await;
    let error = client.call(CallOptions::new(1), Vec::new()).await.expect_err("nobody there");
    assert!(matches!(error, CallError::Failed(failure) if failure.status == Status::NO_HANDLER));
    client.close().await;
    server.shutdown().await;
}

pub async fn oversized_messages_either_way<H: Harness>() {
    let small = Config::builder().max_message(1000).build().expect("sound");
    let large = Handlers::none().request(|_| async { Ok(vec![0; 2000].into()) });
    let server = H::bind("127.0.0.1:0", small.clone(), large).await.expect("a free port");
    server.start();
    // This side's limit is larger; the peer's limit is in its hello.
    let client = H::connect(&server.address(), Config::default(), Handlers::none()).await.expect("connected");
    let error = client.call(CallOptions::new(1), vec![0; 1001]).await.expect_err("too large");
    assert_eq!(error, CallError::Encode(EncodeError::TooLarge { len: 1001, max: 1000 }));
    assert_eq!(error.outcome(), Outcome::NeverSent);
    let error = client.call(CallOptions::new(1), vec![0; 1000]).await.expect_err("the reply is too large");
    assert!(matches!(error, CallError::Failed(failure) if failure.status == Status::REPLY_TOO_LARGE));
    let error = client.cast(CastOptions::new(1), vec![0; 1001]).await.expect_err("too large");
    assert_eq!(error.into_body().expect("it comes back").len(), 1001);
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_refused_connect<H: Harness>() {
    let result = H::connect(&closed_port(), quick().build().expect("sound"), Handlers::none()).await;
    let Err(ConnectError::Failed(failure)) = result.map(drop) else { panic!() };
    let Disconnect::Transport(error) = &failure.cause else { panic!("{failure}") };
    assert_eq!(error.kind(), TransportKind::Refused);
    assert_eq!(failure.to_string(), format!("could not connect to {}", failure.endpoint));
    // The system's own error is at the end of the chain.
    let system = std::error::Error::source(error).and_then(|error| error.downcast_ref::<std::io::Error>());
    assert_eq!(system.map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionRefused));
    assert!(matches!(
        H::connect("not an address", Config::default(), Handlers::none()).await.map(drop),
        Err(ConnectError::Config(_))
    ));
}

/// Every failed attempt is reported, with its place and cause, and so is the wait after it.
pub async fn failed_dials_are_told<H: Harness>() {
    let address = closed_port();
    let client = H::connect_lazy(&address, quick().build().expect("sound"), Handlers::none()).expect("begun");
    let refused = |cause: &Disconnect| {
        matches!(cause, Disconnect::Transport(error)
            if error.kind() == TransportKind::Refused && error.to_string().starts_with(&address))
    };
    let mut failed = 0;
    while failed < 3 {
        match client.next_event().await.expect("an event") {
            LinkEvent::Connecting { attempt, .. } => assert_eq!(attempt, failed + 1),
            LinkEvent::ConnectFailed { endpoint, address: dialed, attempt, cause } => {
                failed += 1;
                assert_eq!((endpoint.to_string(), attempt), (address.clone(), failed));
                assert_eq!(dialed.map(|dialed| dialed.to_string()), Some(address.clone()));
                assert!(refused(&cause), "{cause}");
                assert!(client.peer().last_disconnect().is_some_and(|cause| refused(&cause)));
            }
            LinkEvent::Retrying { attempt, cause, .. } => {
                assert_eq!(attempt, failed + 1);
                assert!(refused(&cause), "{cause}");
            }
            other => panic!("{other:?}"),
        }
    }
    client.close().await;

    // A peer that closes in the middle of the handshake.
    let rude = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = rude.local_addr().expect("bound").to_string();
    let thread = std::thread::spawn(move || drop(rude.accept().expect("a connection")));
    let client = H::connect_lazy(&address, quick().build().expect("sound"), Handlers::none()).expect("begun");
    let cause = loop {
        match client.next_event().await.expect("an event") {
            LinkEvent::ConnectFailed { address: Some(dialed), cause, .. } => {
                assert_eq!(dialed.to_string(), address);
                break cause;
            }
            LinkEvent::Connecting { .. } | LinkEvent::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let reset = matches!(&cause, Disconnect::Transport(error) if error.kind() == TransportKind::Reset);
    assert!(reset || cause == Disconnect::PeerClosed, "{cause}");
    thread.join().expect("accepted");
    client.close().await;
}

pub async fn a_server_that_comes_later<H: Harness>() {
    let address = closed_port();
    let config = quick().build().expect("sound");
    let client = H::connect_lazy(&address, config.clone(), Handlers::none()).expect("begun");
    let waiting = H::spawn(client.call(CallOptions::new(1), b"early".to_vec()));
    // The deadline applies to a link that has tried, however busy the machine is.
    while !matches!(client.next_event().await.expect("it goes on"), LinkEvent::ConnectFailed { .. }) {}
    let error = client.call(CallOptions::new(1).timeout(MS * 20), Vec::new()).await.expect_err("nobody yet");
    assert_eq!(error.outcome(), Outcome::Expired);
    let expected = format!(
        "no reply before the deadline (expired before it was sent): \
         not connected: {address} refused the connection, "
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    let server = H::bind(&address, config, Handlers::echo()).await.expect("the port is free");
    server.start();
    client.ready().await.expect("connected");
    assert_eq!(&waiting.await.expect("a reply")[..], b"early");
    client.close().await;
    server.shutdown().await;
}

pub async fn a_cut_connection<H: Harness>() {
    let slow = Handlers::none().request(|asked| async move {
        H::sleep(MS).await;
        Ok(asked.body.into())
    });
    let server = H::bind("127.0.0.1:0", Config::default(), slow).await.expect("a free port");
    server.start();
    let proxy = Arc::new(Proxy::start(&server.address()));
    let config = quick().build().expect("sound");
    let client = H::connect(&proxy.address, config, Handlers::none()).await.expect("connected");
    let done = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (client, proxy, done) = (client.clone(), Arc::clone(&proxy), Arc::clone(&done));
        tasks.push(H::spawn(async move {
            let mut outcomes = [0_u32; 2];
            for i in 0..50_u32 {
                match client.call(CallOptions::new(1), i.to_be_bytes().to_vec()).await {
                    Ok(reply) => {
                        assert_eq!(&reply[..], i.to_be_bytes());
                        outcomes[0] += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.outcome(), Outcome::MaybeDelivered, "{error}");
                        outcomes[1] += 1;
                    }
                }
                if done.fetch_add(1, Ordering::Relaxed) % 120 == 100 {
                    proxy.cut();
                }
            }
            outcomes
        }));
    }
    let mut outcomes = [0; 2];
    for task in tasks {
        let [replied, maybe] = task.await;
        outcomes[0] += replied;
        outcomes[1] += maybe;
    }
    assert_eq!(outcomes[0] + outcomes[1], 400, "every call has an outcome");
    let counters = client.peer().counters();
    assert_eq!(u64::from(outcomes[1]), counters.calls_maybe_delivered);
    assert!(counters.connections > 1, "{counters:?}");
    client.close().await;
    server.shutdown().await;
}

pub async fn a_server_restarts<H: Harness>() {
    let config = quick().build().expect("sound");
    let address = closed_port();
    let (server, client) = H::pair_at(&address, config.clone(), Handlers::echo(), Handlers::none()).await;
    assert!(client.call(CallOptions::new(1), b"one".to_vec()).await.is_ok());
    server.shutdown().await;
    H::until("the client knows", || client.peer().state() != State::Ready).await;
    let waiting = H::spawn(client.call(CallOptions::new(1), b"two".to_vec()));
    let server = H::bind(&address, config, Handlers::echo()).await.expect("the port is free again");
    server.start();
    assert_eq!(&waiting.await.expect("sent on the next connection")[..], b"two");
    assert_eq!(client.peer().counters().connections, 2);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_handshake_that_never_ends<H: Harness>() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = mute.local_addr().expect("bound").to_string();
    let config = quick().connect_timeout(MS * 60).build().expect("sound");
    let result = H::connect(&address, config, Handlers::none()).await.map(drop);
    let Err(ConnectError::Failed(failure)) = result else { panic!("{result:?}") };
    assert_eq!(failure.cause, Disconnect::ConnectTimeout { limit: MS * 60 });
    assert_eq!(failure.to_string(), format!("could not connect to {address}"));
}

pub async fn a_peer_that_falls_silent<H: Harness>() {
    let server = H::bind("127.0.0.1:0", Config::default(), Handlers::echo()).await.expect("a free port");
    server.start();
    // A proxy that carries the handshake and then nothing more, in either direction.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let upstream = server.address();
    let silent = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = listener.accept().expect("a connection");
        let mut server = std::net::TcpStream::connect(upstream).expect("the server");
        let mut hello = [0; 64];
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut client, &mut server];
            let [a, b] = ends;
            let (from, to) = if from < to { (a, b) } else { (b, a) };
            from.read_exact(&mut hello).expect("a hello");
            to.write_all(&hello).expect("room");
        }
        // Keeps both sockets open until the client has closed its side.
        while matches!(client.read(&mut hello), Ok(1..)) {}
    });
    let config = quick().heartbeat(MS * 20).dead_after(MS * 60).reconnect(ReconnectPolicy::never());
    let client =
        H::connect(&address, config.build().expect("sound"), Handlers::none()).await.expect("connected");
    let error = client.call(CallOptions::new(1), Vec::new()).await.expect_err("the peer is silent");
    assert!(matches!(error, CallError::MaybeDelivered(Disconnect::DeadPeer { .. })), "{error}");
    silent.join().expect("it saw the end");
    client.close().await;
    server.shutdown().await;
}

pub async fn closing_drains<H: Harness>() {
    let slow = Handlers::none().request(|asked| async move {
        H::sleep(MS * 20).await;
        Ok(asked.body.into())
    });
    let (server, client) = H::pair(quick().build().expect("sound"), slow, Handlers::none()).await;
    let mut pending = Vec::new();
    for i in 0..10_u8 {
        pending.push(client.start_call(CallOptions::new(1), vec![i]).await.expect("begun"));
    }
    let closing = H::spawn(client.clone().close());
    H::until("it closes", || client.peer().state() != State::Ready).await;
    let refused = client.call(CallOptions::new(1), Vec::new()).await;
    assert_eq!(refused, Err(CallError::Closed));
    for (i, call) in pending.into_iter().enumerate() {
        let reply = H::Client::<Native>::wait(call).await.expect("what was begun is finished");
        assert_eq!(&reply[..], &[i as u8]);
    }
    assert!(closing.await.is_empty());
    assert_eq!(client.peer().state(), State::Closed);
    server.shutdown().await;
}

pub async fn closing_hands_back<H: Harness>() {
    let config = quick().linger(MS * 30).build().expect("sound");
    let client = H::connect_lazy(&closed_port(), config, Handlers::none()).expect("begun");
    for i in 0..3_u8 {
        let _ = client.cast(CastOptions::new(7), vec![i; 5]).await.expect("queued");
    }
    let undelivered = client.close().await;
    let bodies: Vec<(u32, &[u8])> = undelivered.iter().map(|u| (u.method, &u.body[..])).collect();
    assert_eq!(bodies, [(7, &[0; 5][..]), (7, &[1; 5][..]), (7, &[2; 5][..])]);
}

pub async fn a_server_shuts_down_and_drains<H: Harness>() {
    let slow = Handlers::none().request(|asked| async move {
        H::sleep(MS * 30).await;
        Ok(asked.body.into())
    });
    let config = quick().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let (server, client) = H::pair(config, slow, Handlers::none()).await;
    let mut pending = Vec::new();
    for i in 0..10_u8 {
        pending.push(client.start_call(CallOptions::new(1), vec![i]).await.expect("begun"));
    }
    H::until("they are there", || server.peers().first().is_some_and(|peer| peer.counters().requests == 10))
        .await;
    server.shutdown().await;
    for (i, call) in pending.into_iter().enumerate() {
        let reply = H::Client::<Native>::wait(call).await.expect("what was begun is finished");
        assert_eq!(&reply[..], &[i as u8]);
    }
    client.close().await;
}

pub async fn dropping_the_last_handle_closes<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::none()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let other = client.clone();
    drop(client);
    assert!(other.call(CallOptions::new(1), Vec::new()).await.is_ok(), "a clone keeps it open");
    drop(other);
    H::until("the connection is over", || server.peers().is_empty()).await;
    server.shutdown().await;
}
