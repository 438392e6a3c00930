//! Sharing of one connection: long messages beside short ones, stopped consumers, floods.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::PeerCore as Peer;
use bowline::error::{CallError, CastRefusal, Disconnect};
use bowline::frame::buffstreams::Buffstreams;
use bowline::frame::native::Native;
use bowline::frame::{Class, Framing};
use bowline::{
    CallOptions, CastOptions, Config, ConfigBuilder, LinkEvent, Overflow, QueueLimit, ReconnectPolicy,
};

use crate::harness::{Client, Handlers, Harness, Server};
use crate::proxy::Proxy;

const MS: Duration = Duration::from_millis(1);
/// A timeout long enough for the whole test.
const PATIENT: Duration = Duration::from_secs(60);
const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];

/// A gate that handlers wait at.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub async fn passed<H: Harness>(&self) {
        while !self.0.load(Ordering::Acquire) {
            H::sleep(MS).await;
        }
    }
}

/// Small windows and queues: what the kernel holds besides is much more.
fn tight() -> ConfigBuilder<Native> {
    Config::builder()
        .normal_window(64 * 1024)
        .bulk_window(64 * 1024)
        .write_queue(QueueLimit { messages: 64, bytes: 256 * 1024 })
        .write_overflow(Overflow::Reject)
}

fn body(number: u32, len: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..len.max(4)).map(|i| (i as u32 ^ number) as u8).collect();
    body[..4].copy_from_slice(&number.to_be_bytes());
    body
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

async fn only_peer<H: Harness, F: Framing>(server: &H::Server<F>) -> Peer<F> {
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    server.peers().remove(0)
}

/// Casts in a class until no more are accepted; returns their number.
async fn fill<H: Harness>(peer: &Peer<Native>, class: Class, from: u32, len: usize) -> u32 {
    let mut next = from;
    let mut refused = 0;
    // Bytes in transit leave room for a while.
    while refused < 100 {
        match peer.try_cast_with(CastOptions::new(1).class(class), body(next, len)) {
            Ok(_) => (next, refused) = (next + 1, 0),
            Err(error) => {
                assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                refused += 1;
                H::sleep(MS).await;
            }
        }
    }
    next
}

pub async fn a_consumer_that_stops_holds_up_nothing_else<H: Harness>() {
    let config = tight().heartbeat(MS * 20).dead_after(Duration::from_secs(5)).build().expect("sound");
    let (server, client) = H::pair(config, Handlers::echo(), Handlers::echo()).await;
    let peer = only_peer::<H, _>(&server).await;
    // The server pushes in the bulk class, and the client takes none of it.
    let bulk = fill::<H>(&peer, Class::Bulk, 0, 3_000).await;
    assert!(bulk >= 64, "the queue was full: {bulk}");
    for i in 0..50 {
        let there = client.call(CallOptions::new(1), body(i, 100)).await.expect("a reply");
        assert_eq!(number(&there), i);
        let back = peer.call(1, body(i, 100)).await.expect("a reply");
        assert_eq!(number(&back), i);
    }
    // The same in the normal class: the other direction continues, whatever the size.
    let normal = fill::<H>(&peer, Class::Normal, bulk, 3_000).await;
    for i in 0..50 {
        let len = if i % 5 == 0 { 100_000 } else { 100 };
        let there = client.call(CallOptions::new(1), body(i, len)).await.expect("a reply");
        assert_eq!((number(&there), there.len()), (i, len));
    }
    let quiet = client.peer().counters().bytes_in;
    H::until("heartbeats", || client.peer().counters().bytes_in >= quiet + 64).await;
    for class in CLASSES {
        let refused = peer.try_cast_with(CastOptions::new(1).class(class), body(0, 3_000));
        assert!(matches!(refused.expect_err("still full").reason(), CastRefusal::Full(_)));
    }
    // Everything arrives once the client takes it, in order within its class.
    let mut expected = [0, bulk];
    for _ in 0..normal {
        let message = client.receive().await.expect("a push");
        let n = number(&message);
        let place = usize::from(n >= bulk);
        assert_eq!((n, message.len()), (expected[place], 3_000));
        expected[place] += 1;
    }
    assert_eq!(expected, [bulk, normal]);
    let _ = peer.cast(1, b"room again".to_vec()).await.expect("queued");
    assert_eq!(&client.receive().await.expect("a push")[..], b"room again");
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn both_sides_flood_and_neither_takes<H: Harness>() {
    let gate = Gate::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (waiting, noting) = (gate.clone(), Arc::clone(&seen));
    let stuck = Handlers::none().request(move |asked| {
        let (gate, seen) = (waiting.clone(), Arc::clone(&noting));
        async move {
            gate.passed::<H>().await;
            seen.lock().expect("not poisoned").push(number(&asked.body));
            Ok(asked.body.into())
        }
    });
    // One handler at a time, so that the order is observable. A machine that is busy for a while must not
    // look like a dead peer.
    let config = tight().max_inbound_bytes(1).heartbeat(MS * 20).dead_after(PATIENT).build().expect("sound");
    let (server, client) = H::pair(config, stuck, Handlers::none()).await;
    let peer = only_peer::<H, _>(&server).await;
    let pushed = fill::<H>(&peer, Class::Bulk, 0, 5_000).await;
    let pushed = fill::<H>(&peer, Class::Normal, pushed, 5_000).await;
    let mut calls = Vec::new();
    // Both windows, and the content of the queues.
    for i in 0..100 {
        let class = CLASSES[i as usize % 2];
        let options = CallOptions::new(1).class(class).timeout(PATIENT);
        calls.push((i, class, client.start_call(options, body(i, 5_000)).await.expect("room")));
    }
    // Nothing is delivered; heartbeats continue in both directions.
    H::sleep(MS * 100).await;
    let links = [client.peer(), peer];
    let quiet = links.each_ref().map(|link| link.counters().bytes_in);
    for (link, quiet) in links.iter().zip(quiet) {
        H::until("heartbeats", || link.counters().bytes_in >= quiet + 256).await;
    }
    assert_eq!(client.peer().counters().connections, 1);
    assert!(seen.lock().expect("not poisoned").is_empty());
    gate.open();
    let asked = calls.len();
    let mut by_class = [Vec::new(), Vec::new()];
    for (i, class, call) in calls {
        let reply = H::Client::<Native>::wait(call).await.expect("a reply");
        assert_eq!((number(&reply), reply.len()), (i, 5_000));
        by_class[usize::from(class == Class::Bulk)].push(i);
    }
    let seen = seen.lock().expect("not poisoned").clone();
    assert_eq!(seen.len(), asked);
    for class in by_class {
        let came: Vec<u32> = seen.iter().copied().filter(|n| class.contains(n)).collect();
        assert_eq!(came, class, "in order within the class");
    }
    for _ in 0..pushed {
        client.receive().await.expect("a push");
    }
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn small_calls_overtake_a_large_one<H: Harness>() {
    let arrived = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&arrived);
    let handlers = Handlers::none().request(move |asked| {
        if asked.body.len() > 1 << 20 {
            note.store(true, Ordering::Release);
        }
        async move { Ok(asked.body.into()) }
    });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    // Eight megabytes take more than a second here.
    let slow = Proxy::slow(&server.address(), MS * 2);
    let client = H::connect(&slow.address, Config::default(), Handlers::none()).await.expect("it listens");
    let large =
        client.start_call(CallOptions::new(1).timeout(PATIENT), body(7, 8 << 20)).await.expect("begun");
    for i in 0..5 {
        let reply = client.call(CallOptions::new(1), body(i, 110)).await.expect("a reply");
        assert_eq!(number(&reply), i);
    }
    assert!(!arrived.load(Ordering::Acquire), "small calls do not wait for a large message");
    let reply = H::Client::<Native>::wait(large).await.expect("a reply");
    assert!(reply[..] == body(7, 8 << 20)[..]);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_window_smaller_than_a_message<H: Harness>() {
    let config = tight().write_overflow(Overflow::Block).build().expect("sound");
    let (server, client) = H::pair(config, Handlers::echo(), Handlers::echo()).await;
    let peer = only_peer::<H, _>(&server).await;
    let back = H::spawn(async move {
        for i in 0..4 {
            let _ = peer.cast(1, body(100 + i, 1 << 20)).await.expect("queued");
            let reply = peer.call(1, body(i, 2 << 20)).await.expect("a reply");
            assert!(reply[..] == body(i, 2 << 20)[..]);
        }
    });
    for i in 0..4 {
        let reply = client.call(CallOptions::new(1), body(i, 2 << 20)).await.expect("a reply");
        assert!(reply[..] == body(i, 2 << 20)[..]);
        let message = client.receive().await.expect("a push");
        assert!(message[..] == body(100 + i, 1 << 20)[..]);
    }
    back.await;
    client.close().await;
    server.shutdown().await;
}

pub async fn a_large_call_given_up_in_mid_way<H: Harness>() {
    let started = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&started);
    let handlers = Handlers::none().request(move |asked| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { Ok(asked.body.into()) }
    });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    server.start();
    let slow = Proxy::slow(&server.address(), MS * 2);
    let client = H::connect(&slow.address, Config::default(), Handlers::none()).await.expect("it listens");
    let options = CallOptions::new(1).timeout(MS * 100);
    let expired = client.call(options, body(1, 8 << 20)).await;
    assert!(matches!(expired, Err(CallError::DeadlineExceeded { .. })), "{expired:?}");
    assert_eq!(client.peer().counters().aborts, 1);
    // The class is free for the next message at once, and the handler of the first never ran.
    let reply = client.call(CallOptions::new(1), body(2, 100_000)).await.expect("a reply");
    assert!(reply[..] == body(2, 100_000)[..]);
    assert_eq!(started.load(Ordering::Relaxed), 1);
    assert_eq!(client.peer().counters().connections, 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn requests_start_while_there_is_room<H: Harness>() {
    let gate = Gate::default();
    let started = Arc::new(AtomicU32::new(0));
    let (waiting, count) = (gate.clone(), Arc::clone(&started));
    let handlers = Handlers::none().request(move |asked| {
        let gate = waiting.clone();
        let turn = count.fetch_add(1, Ordering::Relaxed);
        async move {
            gate.passed::<H>().await;
            assert!(number(&asked.body) <= turn + 1, "two may change places, no more");
            Ok(asked.body.into())
        }
    });
    // The place of the second is reserved until it has started.
    let config = Config::builder().max_inbound_bytes(60).build().expect("sound");
    let (server, client) = H::pair(config, handlers, Handlers::none()).await;
    let mut calls = Vec::new();
    for i in 0..20 {
        calls
            .push(client.start_call(CallOptions::new(1).timeout(PATIENT), body(i, 50)).await.expect("begun"));
    }
    let peer = only_peer::<H, _>(&server).await;
    // A hello of 64 bytes, and requests of 24 and their bodies.
    H::until("all came", || peer.counters().bytes_in == 64 + 20 * (24 + 50)).await;
    H::until("two are started", || started.load(Ordering::Relaxed) == 2).await;
    // A waiting one is cancelled: it never starts.
    drop(calls.pop());
    H::until("the server knows", || peer.counters().cancels == 1).await;
    assert_eq!(started.load(Ordering::Relaxed), 2);
    gate.open();
    for (i, call) in (0..).zip(calls) {
        assert_eq!(number(&H::Client::<Native>::wait(call).await.expect("a reply")), i);
    }
    assert_eq!(started.load(Ordering::Relaxed), 19);
    client.close().await;
    server.shutdown().await;
}

pub async fn large_messages_of_all_classes_both_ways<H: Harness>() {
    let (server, client) = H::pair(Config::default(), Handlers::echo(), Handlers::echo()).await;
    let peer = only_peer::<H, _>(&server).await;
    let back = H::spawn(async move {
        for i in 0..30_u32 {
            let len = [10, 1 << 20, 20_000, 8 << 20, 16 * 1024][i as usize % 5] - i as usize % 2;
            let options = CallOptions::new(1).class(CLASSES[i as usize % 2]);
            let reply = peer.call_with(options, body(i, len)).await.expect("a reply");
            assert!(reply[..] == body(i, len)[..]);
        }
    });
    let mut calls = Vec::new();
    for i in 0..30_u32 {
        let len = [10, 1 << 20, 20_000, 100, 300_000][i as usize % 5] + i as usize;
        let options = CallOptions::new(1).class(CLASSES[(i as usize / 2) % 2]);
        calls.push((i, len, H::spawn(client.call(options, body(i, len)))));
    }
    for (i, len, call) in calls {
        let reply = call.await.expect("a reply");
        assert!(reply[..] == body(i, len)[..]);
    }
    back.await;
    client.close().await;
    server.shutdown().await;
}

pub async fn other_framings_end_a_mutual_stall<H: Harness>() {
    // Without credit each side stops reading when its queue is full: here both do, and both detect it.
    let config = Config::with_framing(Buffstreams::new())
        .read_queue(QueueLimit { messages: 16, bytes: 64 * 1024 })
        .write_queue(QueueLimit { messages: 16, bytes: 64 * 1024 })
        .write_overflow(Overflow::Reject)
        .write_stall(MS * 300)
        .reconnect(ReconnectPolicy::never())
        .build()
        .expect("sound");
    let meeting = Proxy::meeting();
    let mut sides = Vec::new();
    for _ in 0..2 {
        let side = H::connect(&meeting.address, config.clone(), Handlers::none()).await;
        sides.push(side.expect("it listens"));
    }
    let mut over = [false; 2];
    while over != [true; 2] {
        for (side, over) in sides.iter().zip(&mut over) {
            // The side that notices first ends the stall of the other.
            *over = *over || side.peer().last_disconnect().is_some();
            match side.cast(CastOptions::default(), vec![1; 4_000]).await {
                Ok(_) => {}
                Err(error) if matches!(error.reason(), CastRefusal::Full(_)) => H::sleep(MS).await,
                Err(_) => assert!(*over || side.peer().last_disconnect().is_some()),
            }
        }
    }
    let stalled = |cause: &Disconnect| matches!(cause, Disconnect::WriteStalled { .. });
    let causes = [0, 1].map(|i: usize| sides[i].peer().last_disconnect().expect("it ended"));
    assert!(causes.iter().any(stalled), "{causes:?}");
    // Messages that arrived before can still be taken.
    for side in sides {
        assert_eq!(side.receive().await.expect("kept").len(), 4_000);
        let mut told = false;
        while let Ok(event) = side.next_event().await {
            told |= matches!(event, LinkEvent::Disconnected { .. });
            if matches!(event, LinkEvent::Closed) {
                break;
            }
        }
        assert!(told);
    }
}
