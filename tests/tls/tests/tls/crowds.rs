//! Handshakes that stall.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::config::{AcceptLimits, Config, Delivery, HANDSHAKE_COST};
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::frame::raw::Raw;
use bowline_core::layer::{DialLayer, Layer};
use bowline_core::link::CallOptions;
use bowline_core::memory::STEP;
use bowline_driver::ServerEvent;
use bowline_driver::runtime::Runtime;
use bowline_links::{Client, Server};
use bowline_tls::TlsClient;

use crate::world::{World, connect, done, echoing, named, serving, start, until, world};

/// The first bytes of a hello, so that its server waits for the rest.
fn half_a_hello(tls: &TlsClient) -> Vec<u8> {
    let mut layer = tls.dial(&"localhost:1".parse().expect("an address")).expect("a name");
    let mut hello = Vec::new();
    layer.transmit(&mut hello);
    hello.truncate(hello.len() / 2);
    hello
}

pub(crate) async fn a_thousand_stalled_handshakes<R: Runtime>() {
    const MOST: usize = 100;
    let World { server: tls, client, .. } = world();
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = MOST * HANDSHAKE_COST;
    let server = start(echoing::<R, _>(Config::builder().accept_limits(limits).tls(&tls))).await;
    let hello = half_a_hello(&client);
    let port = server.local_addr().port();
    let stalled: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a descriptor");
            stream.write_all(&hello).expect("room");
            stream
        })
        .collect();
    until(|| server.accept_counters().evicted >= 1_000 - MOST as u64);
    // An honest one beside them, and more of them while it is there.
    let link = connect::<R>(&named(&server), &client).await.expect("the oldest have to go");
    for size in 0..100 {
        let reply = done::<R, _>(link.call(1, vec![7; size])).await.expect("an answer");
        assert_eq!(reply.len(), size);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a descriptor");
        stream.write_all(&hello).expect("room");
    }
    assert!(server.peers().len() <= 1, "nobody else is served");
    done::<R, _>(link.close()).await;
    drop(stalled);
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn a_silent_peer_is_closed_in_time<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let mut limits = AcceptLimits::default();
    limits.handshake = Some(Duration::from_millis(50));
    let causes: Arc<Mutex<Vec<Disconnect>>> = Arc::default();
    let told = Arc::clone(&causes);
    let builder = echoing::<R, _>(Config::builder().accept_limits(limits).tls(&tls)).on_event(move |event| {
        if let ServerEvent::Insecure { cause, .. } = event {
            told.lock().expect("not poisoned").push(cause.clone());
        }
    });
    let server = start(builder).await;
    let mut silent = TcpStream::connect(("127.0.0.1", server.local_addr().port())).expect("a descriptor");
    silent.write_all(&half_a_hello(&client)).expect("room");
    let mut rest = Vec::new();
    // Closed, or reset because it was in the middle of something.
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.is_empty(), "nothing was said: {rest:?}");
    until(|| !causes.lock().expect("not poisoned").is_empty());
    let cause = causes.lock().expect("not poisoned").remove(0);
    assert_eq!(cause, Disconnect::ConnectTimeout { limit: Duration::from_millis(50) });
    assert_eq!(server.accept_counters().insecure, 1);
    done::<R, _>(server.shutdown()).await;
}

pub(crate) async fn a_shutdown_ends_handshakes<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let server = serving::<R>(&tls).await;
    let mut stalled: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream =
                TcpStream::connect(("127.0.0.1", server.local_addr().port())).expect("a descriptor");
            stream.write_all(&half_a_hello(&client)).expect("room");
            stream
        })
        .collect();
    let link = connect::<R>(&named(&server), &client).await.expect("it listens");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    let drained = done::<R, _>(server.shutdown()).await;
    assert_eq!((drained.connections, drained.cut.len()), (1, 0));
    for stream in &mut stalled {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    done::<R, _>(link.close()).await;
}

/// The beginning of a hello that does not end, in records.
fn endless_hello(length: usize) -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0xf0, 3, 3];
    message.resize(length, 7);
    let mut out = Vec::new();
    for piece in message.chunks(16 * 1024) {
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&u16::try_from(piece.len()).expect("a record").to_be_bytes());
        out.extend_from_slice(piece);
    }
    out
}

/// A connection that is past its handshake, by hand.
fn secured(port: u16, tls: &TlsClient) -> (TcpStream, Box<dyn Layer>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a descriptor");
    let mut layer = tls.dial(&"localhost:1".parse().expect("an address")).expect("a name");
    let (mut out, mut came) = (Vec::new(), vec![0; 16 * 1024]);
    while layer.is_handshaking() {
        layer.transmit(&mut out);
        stream.write_all(&out).expect("it reads");
        out.clear();
        if layer.is_handshaking() {
            let count = stream.read(&mut came).expect("it answers");
            let mut rest = &came[..count];
            while !rest.is_empty() {
                rest = &rest[layer.receive(rest).expect("a server")..];
            }
        }
    }
    layer.transmit(&mut out);
    stream.write_all(&out).expect("it reads");
    (stream, layer)
}

/// A long record without its last byte.
fn most_of_a_record(layer: &mut dyn Layer) -> Vec<u8> {
    let mut record = Vec::new();
    layer.write(&[7; 16 * 1024], &mut record).expect("open");
    record.pop();
    record
}

/// Waits, not for ever: a test that fails is to say so.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const PEERS: usize = 64;

/// Room for the handshakes of all of them, if each holds what a handshake holds at least.
fn room_for_all() -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = PEERS * HANDSHAKE_COST;
    limits
}

/// Peers in handshakes, which hold more than what each reserves at first: the oldest go, and an honest one comes in.
async fn hold_too_much<R: Runtime, F: Framing>(server: &Server<R, F>, stalled: Vec<TcpStream>) {
    let limit = room_for_all().handshake_memory;
    // 16 KiB of each, and what each sent.
    soon("the oldest have to go", || server.accept_counters().evicted as usize >= PEERS / 3);
    soon("all together hold too much", || server.memory_held() <= limit);
    assert!(server.memory_held() > limit / 2, "no more than necessary went: {}", server.memory_held());
    drop(stalled);
    soon("they are gone", || server.memory_held() == 0);
}

pub(crate) async fn handshakes_count_with_what_they_hold<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let config = Config::builder().accept_limits(room_for_all());
    let server = start(echoing::<R, _>(config.tls(&tls))).await;
    let hello = endless_hello(60_000);
    let stalled: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let mut stream =
                TcpStream::connect(("127.0.0.1", server.local_addr().port())).expect("a descriptor");
            // It may be closed meanwhile.
            let _ = stream.write_all(&hello);
            stream
        })
        .collect();
    let link = connect::<R>(&named(&server), &client).await.expect("there is room for it");
    done::<R, _>(link.call(1, b"x")).await.expect("an answer");
    done::<R, _>(link.close()).await;
    hold_too_much(&server, stalled).await;
    done::<R, _>(server.shutdown()).await;
}

/// Those whose handshake of TLS is done, and that do not say which session they want.
pub(crate) async fn greetings_count_with_what_their_layer_holds<R: Runtime>() {
    let World { server: tls, client, .. } = world();
    let config = Config::builder().accept_limits(room_for_all()).delivery(Delivery::Session);
    let server = start(echoing::<R, _>(config.tls(&tls))).await;
    let stalled = (0..PEERS).map(|_| {
        let (mut stream, mut layer) = secured(server.local_addr().port(), &client);
        let _ = stream.write_all(&most_of_a_record(&mut *layer));
        stream
    });
    let stalled = stalled.collect();
    hold_too_much(&server, stalled).await;
    done::<R, _>(server.shutdown()).await;
}

/// Established connections, each in the middle of a record: what their layers hold is within the server's limit.
pub(crate) async fn records_that_do_not_end_count_in_the_servers_memory<R: Runtime>() {
    const LIMIT: usize = 1 << 20;
    let World { server: tls, client, .. } = world();
    let mut limits = AcceptLimits::default();
    limits.memory = LIMIT;
    let config = Config::with_framing(Raw::new()).accept_limits(limits).tls(&tls).build().expect("sound");
    let came: Arc<Mutex<usize>> = Arc::default();
    let counts = Arc::clone(&came);
    let builder = Server::<R, Raw>::with_config(config).on_message_inline(move |_, message| {
        *counts.lock().expect("not poisoned") += message.body.len();
    });
    let server = start(builder).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let (mut stream, mut layer) = secured(server.local_addr().port(), &client);
        stream.write_all(&most_of_a_record(&mut *layer)).expect("room");
        stalled.push(stream);
    }
    soon("they hold too much", || server.accept_counters().closed_for_memory > 20);
    // A tenth was read before links stopped, and one of them after the other has the turn.
    soon("the others fit", || server.memory_held() <= LIMIT + LIMIT / 10 + 4 * STEP);
    assert!(server.memory_held() > LIMIT / 2, "{}", server.memory_held());
    // Those who hold little are served.
    let config = Config::with_framing(Raw::new()).tls(&client).build().expect("sound");
    let honest = Client::<R, Raw>::with_config(&*named(&server), config);
    let honest = done::<R, _>(honest.connect()).await.expect("it listens");
    let _queued = done::<R, _>(honest.cast(0, vec![7; 1_000])).await.expect("room");
    soon("it is served", || *came.lock().expect("not poisoned") == 1_000);
    done::<R, _>(honest.close()).await;
    drop(stalled);
    soon("all is returned", || server.memory_held() == 0);
    done::<R, _>(server.shutdown()).await;
}

/// What handlers hold of connections that have ended counts until they answer, and so do the connections.
pub(crate) async fn requests_of_a_peer_that_is_gone_count_until_they_are_handled<R: Runtime>() {
    const BODY: usize = 20_000;
    let World { server: tls, client, .. } = world();
    let mut limits = AcceptLimits::default();
    limits.connections = 3;
    let config = Config::builder().accept_limits(limits).tls(&tls).build().expect("sound");
    let held: Arc<Mutex<Vec<_>>> = Arc::default();
    let keep = Arc::clone(&held);
    let builder = Server::<R>::with_config(config).on_request_later(move |request, responder| {
        keep.lock().expect("not poisoned").push((request, responder));
    });
    let server = start(builder).await;
    for number in 1..=3 {
        let link = connect::<R>(&named(&server), &client).await.expect("it listens");
        let call = link.start_call(CallOptions::new(1), vec![7; BODY]);
        let call = done::<R, _>(call).await.expect("room");
        soon("it is asked", || held.lock().expect("not poisoned").len() == number);
        drop(call);
        done::<R, _>(link.close()).await;
    }
    soon("they are gone", || server.peers().is_empty());
    assert!(server.memory_held() >= 3 * BODY, "{}", server.memory_held());
    let refused = TcpStream::connect(("127.0.0.1", server.local_addr().port())).expect("it listens");
    soon("they are three", || server.accept_counters().refused_full == 1);
    drop(refused);
    held.lock().expect("not poisoned").pop();
    assert!((2 * BODY..3 * BODY).contains(&server.memory_held()), "{}", server.memory_held());
    let link = connect::<R>(&named(&server), &client).await.expect("there is room");
    done::<R, _>(link.close()).await;
    held.lock().expect("not poisoned").drain(..).for_each(|(_, responder)| responder.reply(&b"late"[..]));
    soon("all is returned", || server.memory_held() == 0);
    done::<R, _>(server.shutdown()).await;
}
