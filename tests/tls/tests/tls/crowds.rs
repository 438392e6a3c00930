//! Handshakes that stall.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_core::config::{AcceptLimits, Config, HANDSHAKE_COST};
use bowline_core::error::Disconnect;
use bowline_core::layer::DialLayer;
use bowline_driver::ServerEvent;
use bowline_driver::runtime::Runtime;
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
