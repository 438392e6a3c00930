//! Peers that are not let in: what they send, by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::auth::{Deciding, Identity, RefusalCode, SharedSecret, SharedSecrets};
use bowline::frame::native::{AUTHENTICATION, Hello, Native};
use bowline::frame::{Framing, Kind, Meta};
use bowline::{AcceptLimits, CastOptions, Config, ReconnectPolicy};

use super::{code, knowing, showing, tokens, who};
use crate::harness::{Client, Handlers, Harness, Server};
use crate::threads::on_thread;

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let meta = match kind {
        Kind::Cast => Meta { method: 1, ..Meta::new(kind, 0) },
        _ => Meta::new(kind, 0),
    };
    Native::new().encode(&mut out, &meta, &[], body).expect("a frame");
    out
}

fn hello() -> Vec<u8> {
    let mut body = Vec::new();
    let mut hello = Hello::new();
    hello.features = AUTHENTICATION;
    hello.encode(&mut body);
    frame(Kind::Hello, &body)
}

/// The challenge that the server sends after its hello.
fn challenge(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; hello().len() + 8 + 32];
    socket.read_exact(&mut bytes).expect("a hello and a challenge");
    let challenge = bytes.split_off(hello().len());
    assert_eq!(challenge[..8], [128, 0, 0, 0, 0, 0, 0, 32]);
    challenge
}

/// A peer that sends all of that, whatever it receives, until it is disconnected. Returns what it received.
fn says(address: &str, all: &[Vec<u8>]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    let _ = socket.write_all(&all.concat());
    let mut heard = Vec::new();
    match socket.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    heard
}

pub async fn hostile_peers_are_not_let_in<H: Harness>() {
    let secrets = SharedSecrets::new().with("carol", [7; 32], Identity::new("carol"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (handed, noted) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&seen));
    let counted = Arc::clone(&handed);
    let handlers = Handlers::none()
        .verifier_inline(move |attempt| {
            noted.lock().expect("not poisoned").push(attempt.credentials().to_vec());
            secrets.verify(attempt)
        })
        .message_inline(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let address = server.address();
    let shown = |bytes: &[u8]| frame(Kind::Credentials, bytes);
    let cast = || frame(Kind::Cast, b"all the same");
    let long = [&[129, 0, 0, 0, 0, 0, 0x10, 0x01][..], &[7; 4_097]].concat();
    // Messages before the acceptance; no credentials; too long ones; two of them; and sending after a
    // refusal.
    let peers = [
        vec![hello(), cast()],
        vec![cast()],
        vec![hello(), long],
        vec![hello(), shown(b"x"), shown(b"x")],
        [vec![hello(), shown(b"x")], (0..1_000).map(|_| cast()).collect()].concat(),
    ];
    for frames in peers {
        let address = address.clone();
        on_thread(move || says(&address, &frames)).await;
    }
    // The credentials of a conforming peer are useless to another.
    let secret = SharedSecret::new("carol", [7; 32]).expect("a name");
    let config = Config::builder().credentials(secret).build().expect("sound");
    let client = H::connect(&address, config, Handlers::none()).await.expect("let in");
    let replayed = seen.lock().expect("not poisoned").last().cloned().expect("shown");
    assert_eq!(replayed.len(), 2 + 5 + 16 + 32);
    let to = address.clone();
    let heard = on_thread(move || says(&to, &[hello(), frame(Kind::Credentials, &replayed)])).await;
    assert_eq!(&heard[heard.len() - 16..][..10], [131, 0, 0, 0, 0, 0, 0, 8, 0, 2], "refused: it is wrong");
    let to = address.clone();
    let differ = on_thread(move || {
        let [mut one, mut other] = [(); 2].map(|()| TcpStream::connect(&to).expect("it listens"));
        challenge(&mut one) != challenge(&mut other)
    });
    assert!(differ.await, "each connection has a challenge of its own");
    let _ = client.cast(CastOptions::new(1), vec![1]).await.expect("queued");
    H::until("it came", || handed.load(Ordering::Relaxed) == 1).await;
    H::until("the others are gone", || server.peers().len() == 1).await;
    assert_eq!(handed.load(Ordering::Relaxed), 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_thousand_stalled_verifications<H: Harness>() {
    let mut limits = AcceptLimits::default();
    limits.verifications = 1_001;
    limits.handshake = Some(Duration::from_secs(60));
    let config = Config::builder().accept_limits(limits).build().expect("sound");
    let stalled = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&stalled);
    let handlers = Handlers { verifier_inline: None, ..knowing() };
    let handlers = handlers.verifier_later(move |attempt, deciding| match tokens().verify(&attempt) {
        Ok(grant) => deciding.decide(Ok(grant)),
        Err(_) => kept.lock().expect("not poisoned").push(deciding),
    });
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let address = server.address();
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut open = || {
        let mut socket = TcpStream::connect(&address).expect("it listens");
        socket.write_all(&[hello(), frame(Kind::Credentials, b"?")].concat()).expect("room");
        sockets.push(socket);
    };
    (0..1_000).for_each(|_| open());
    H::until("all wait", || stalled.lock().expect("not poisoned").len() == 1_000).await;
    let config = showing("bob's").build().expect("sound");
    let client = H::connect(&address, config.clone(), Handlers::none()).await.expect("let in beside them");
    for _ in 0..100 {
        assert_eq!(who(&client).await, "bob");
    }
    // With one more there is no room for a conforming peer, which is refused with a delay and retries.
    open();
    H::until("all wait", || stalled.lock().expect("not poisoned").len() == 1_001).await;
    let once = config.to_builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let error = H::connect(&address, once, Handlers::none()).await.err().expect("no room");
    assert_eq!((code(&error), error.is_retryable()), (Some(RefusalCode::BUSY), true));
    // They disconnect, and their pending decisions are dropped.
    sockets.clear();
    H::until("they are gone", || server.peers().len() == 1).await;
    assert!(stalled.lock().expect("not poisoned").iter().all(Deciding::is_over));
    stalled.lock().expect("not poisoned").clear();
    let another = H::connect(&address, config, Handlers::none()).await.expect("room again");
    another.close().await;
    client.close().await;
    server.shutdown().await;
}
