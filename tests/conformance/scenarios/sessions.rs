//! Sessions over real sockets: cut a thousand times, stopped, restarted.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline::PeerCore as Peer;
use bowline::error::{CallError, Disconnect, Outcome};
use bowline::frame::native::{Hello, Native, Resume, SESSION};
use bowline::frame::{Framing, Kind, Meta};
use bowline::{
    AcceptLimits, CallOptions, CastOptions, Config, ConfigBuilder, Delivery, LinkEvent, ReconnectPolicy,
    State,
};

use super::child::Child;
use super::fairness::Gate;
use crate::harness::{Client, Handlers, Harness, Server};
use crate::proxy::Proxy;

const MS: Duration = Duration::from_millis(1);
/// A timeout long enough for the whole test.
const PATIENT: Duration = Duration::from_secs(60);

fn session() -> ConfigBuilder<Native> {
    Config::builder().delivery(Delivery::Session).reconnect(ReconnectPolicy::fixed(MS))
}

fn body(number: u32) -> Vec<u8> {
    // Some are sent in fragments, in the bulk class.
    let len = if number.is_multiple_of(50) { 40_000 } else { 100 };
    let mut body = vec![number as u8; len];
    body[..4].copy_from_slice(&number.to_be_bytes());
    body
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

/// Messages that one side received.
#[derive(Clone, Default)]
struct Came {
    casts: Arc<Mutex<Vec<u32>>>,
    requests: Arc<Mutex<Vec<u32>>>,
    connects: Arc<AtomicU32>,
    disconnects: Arc<AtomicU32>,
}

impl Came {
    fn handlers(&self) -> Handlers<Native> {
        let (casts, requests) = (Arc::clone(&self.casts), Arc::clone(&self.requests));
        let (connects, disconnects) = (Arc::clone(&self.connects), Arc::clone(&self.disconnects));
        Handlers::none()
            .message(move |_, message| casts.lock().expect("not poisoned").push(number(&message)))
            .request(move |asked| {
                requests.lock().expect("not poisoned").push(number(&asked.body));
                async move { Ok(asked.body.into()) }
            })
            .connect(move |_| {
                connects.fetch_add(1, Ordering::Relaxed);
            })
            .disconnect(move |_, _| {
                disconnects.fetch_add(1, Ordering::Relaxed);
            })
    }

    fn casts(&self) -> usize {
        self.casts.lock().expect("not poisoned").len()
    }

    /// Each cast once and in order within its class, each request once.
    fn check(&self, casts: u32, calls: u32) {
        let came = self.casts.lock().expect("not poisoned").clone();
        for bulk in [true, false] {
            let class: Vec<u32> = came.iter().copied().filter(|n| (n % 50 == 0) == bulk).collect();
            let sent: Vec<u32> = (0..casts).filter(|n| (n % 50 == 0) == bulk).collect();
            assert!(class == sent, "lost, repeated or out of order: {} of {}", class.len(), sent.len());
        }
        let mut requests = self.requests.lock().expect("not poisoned").clone();
        requests.sort_unstable();
        assert!(requests == (0..calls).collect::<Vec<_>>(), "a handler ran twice, or never");
    }
}

/// Casts and calls until stopped; returns the number of each. Every call has its reply.
macro_rules! load {
    ($handle:expr, $stop:expr, $H:ty) => {{
        let (handle, stop) = ($handle, Arc::clone(&$stop));
        <$H>::spawn(async move {
            let (mut casts, mut calls) = (0, 0);
            while !stop.load(Ordering::Acquire) {
                for _ in 0..10 {
                    let _ = handle.cast(1, body(casts)).await.expect("queued");
                    casts += 1;
                }
                let options = CallOptions::new(1).timeout(PATIENT);
                let reply = handle.call_with(options, body(calls)).await.expect("a reply");
                assert_eq!(number(&reply), calls);
                calls += 1;
            }
            (casts, calls)
        })
    }};
}

async fn under_fire<H: Harness>(cuts: u32) {
    let (at_server, at_client) = (Came::default(), Came::default());
    let config = session().build().expect("sound");
    let server = H::bind("127.0.0.1:0", config.clone(), at_server.handlers()).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let client = H::connect(&proxy.address, config, at_client.handlers()).await.expect("it listens");
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let there = load!(client.peer(), stop, H);
    let back = load!(server.peers().remove(0), stop, H);
    let (mut done, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    while done < cuts {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        H::sleep(Duration::from_micros(random % 2_000)).await;
        done += u32::from(proxy.cut());
    }
    stop.store(true, Ordering::Release);
    let (there_casts, there_calls) = there.await;
    let (back_casts, back_calls) = back.await;
    H::until("all casts there", || at_server.casts() == there_casts as usize).await;
    H::until("all casts back", || at_client.casts() == back_casts as usize).await;
    at_server.check(there_casts, there_calls);
    at_client.check(back_casts, back_calls);
    let counters = client.peer().counters();
    // Many cuts hit a connection during its handshake.
    assert!(counters.connections > u64::from(cuts) / 20, "{counters:?}");
    assert_eq!(server.peers().len(), 1, "one session");
    // The applications saw one peer.
    for came in [&at_server, &at_client] {
        assert_eq!((came.connects.load(Ordering::Relaxed), came.disconnects.load(Ordering::Relaxed)), (1, 0));
    }
    client.close().await;
    H::until("the server forgets it", || server.peers().is_empty()).await;
    assert_eq!(at_client.disconnects.load(Ordering::Relaxed), 1, "told before the close is over");
    H::until("the server is told", || at_server.disconnects.load(Ordering::Relaxed) == 1).await;
    server.shutdown().await;
}

pub async fn a_thousand_cuts_under_load<H: Harness>() {
    under_fire::<H>(1_000).await;
}

pub async fn an_acknowledgement_is_an_outcome<H: Harness>() {
    let came = Came::default();
    let config = session().build().expect("sound");
    let (server, client) = H::pair(config, came.handlers(), Handlers::none()).await;
    let outcome = client.cast_and_wait(CastOptions::new(1), body(1)).await;
    assert_eq!(outcome, Ok(Outcome::Acked));
    assert_eq!(came.casts(), 1);
    client.close().await;
    server.shutdown().await;
}

pub async fn a_restarted_server_is_a_lost_session<H: Harness>() {
    let config = session().build().expect("sound");
    let never = Handlers::none().request(|asked| async move {
        H::sleep(PATIENT).await;
        Ok(asked.body.into())
    });
    let server = H::bind("127.0.0.1:0", config.clone(), never).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let client = H::connect(&proxy.address, config.clone(), Handlers::none()).await.expect("it listens");
    let call = client.start_call(CallOptions::new(1).timeout(PATIENT), body(1)).await.expect("begun");
    H::until("it came", || server.peers().first().is_some_and(|peer| peer.counters().requests == 1)).await;
    // Another process at the same address, which does not know the session.
    let other = H::bind("127.0.0.1:0", config, Handlers::echo()).await.expect("a free port");
    other.start();
    proxy.lead_to(&other.address());
    proxy.cut();
    let error = H::Client::<Native>::wait(call).await.expect_err("nobody knows what became of it");
    assert_eq!(error, CallError::MaybeDelivered(Disconnect::SessionLost));
    let reply = client.call(CallOptions::new(1), body(2)).await.expect("a reply of the new one");
    assert_eq!(number(&reply), 2);
    let mut lost = 0;
    while let Ok(event) = client.next_event().await {
        match event {
            LinkEvent::SessionLost { .. } => lost += 1,
            LinkEvent::Connected { .. } if lost > 0 => break,
            _ => {}
        }
    }
    assert_eq!(lost, 1);
    client.close().await;
    other.shutdown().await;
}

pub async fn both_sides_have_to_want_a_session<H: Harness>() {
    let server = H::bind("127.0.0.1:0", Config::default(), Handlers::echo()).await.expect("a free port");
    server.start();
    let config = session().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let refused = H::connect(&server.address(), config, Handlers::none()).await;
    assert!(refused.is_err(), "the server has no sessions");
    server.shutdown().await;
    // A server with sessions serves clients without.
    let server = H::bind("127.0.0.1:0", session().build().expect("sound"), Handlers::echo())
        .await
        .expect("a free port");
    server.start();
    let client =
        H::connect(&server.address(), Config::default(), Handlers::none()).await.expect("it listens");
    let reply = client.call(CallOptions::new(1), body(3)).await.expect("a reply");
    assert_eq!(number(&reply), 3);
    client.close().await;
    H::until("it is gone", || server.peers().is_empty()).await;
    server.shutdown().await;
}

pub async fn sessions_without_a_connection_are_bounded<H: Harness>() {
    let came = Came::default();
    let config = session().max_detached(1).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, came.handlers()).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let config = session().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(H::connect(&proxy.address, config.clone(), Handlers::none()).await.expect("it listens"));
    }
    H::until("three sessions", || came.connects.load(Ordering::Relaxed) == 3).await;
    proxy.cut();
    H::until("two of them end", || came.disconnects.load(Ordering::Relaxed) == 2).await;
    H::until("one waits", || server.peers().len() == 1).await;
    server.shutdown().await;
    H::until("it ends with the server", || came.disconnects.load(Ordering::Relaxed) == 3).await;
}

/// No server listens there.
const NOWHERE: &str = "127.0.0.1:1";

/// Sessions without a connection.
fn detached<S: Server<Native>>(server: &S) -> Vec<Peer<Native>> {
    server.peers().into_iter().filter(|peer| peer.state() == State::Disconnected).collect()
}

/// That many clients connect and disconnect; afterwards nothing of them is under way at the server.
async fn come_and_go<H: Harness>(address: &str, clients: usize) {
    let proxy = Proxy::start(address);
    let config = session().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let mut come = Vec::new();
    for _ in 0..clients {
        come.push(H::connect(&proxy.address, config.clone(), Handlers::none()).await.expect("it listens"));
    }
    proxy.cut();
}

pub async fn detached_sessions_hold_no_more_than_they_may<H: Harness>() {
    const LIMIT: usize = 1 << 20;
    let came = Came::default();
    let config = session().max_detached_bytes(LIMIT).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, came.handlers()).await.expect("a free port");
    server.start();
    come_and_go::<H>(&server.address(), 12).await;
    H::until("all wait", || detached(&server).len() == 12).await;
    for _ in 0..6 {
        let _ = server.hub().broadcast(1, &[7; 100_000][..]);
        // At any time: no task or thread has to visit it first.
        let held: usize = detached(&server).iter().map(|peer| peer.stats().memory).sum();
        assert!(held <= LIMIT, "{held}");
    }
    assert_eq!(detached(&server).len(), 1, "there is room for one");
    H::until("the others end", || came.disconnects.load(Ordering::Relaxed) == 11).await;
    assert_eq!(server.accept_counters().sessions_evicted, 11);
    server.shutdown().await;
}

/// The first bytes of a client that requests a session.
fn greeting() -> Vec<u8> {
    let (mut out, mut hello) = (Vec::new(), Vec::new());
    let mut says = Hello::new();
    says.features = SESSION;
    says.encode(&mut hello);
    for (kind, body) in [(Kind::Hello, &hello[..]), (Kind::Resume, &Resume::new(0, [0; 16], 0).to_bytes())] {
        let mark = Native::new().begin(&mut out, &Meta::new(kind, 0), &[]).expect("a frame");
        out.extend_from_slice(body);
        Native::new().finish(&mut out, mark, 0).expect("a frame");
    }
    out
}

pub async fn a_session_whose_first_connection_ends_at_once_is_in_no_handshake<H: Harness>() {
    let mut limits = AcceptLimits::default();
    // There is room for one handshake.
    limits.handshake_memory = 1;
    let config = session().accept_limits(limits).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::none()).await.expect("a free port");
    server.start();
    let mut streams = Vec::new();
    for n in 1..=6 {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        stream.write_all(&greeting()).expect("it reads");
        // The end of the stream is read together with the greeting, or soon after it. A stream that is dropped
        // with unread bytes is reset, and a reset may overtake the greeting.
        stream.shutdown(Shutdown::Write).expect("connected");
        streams.push(stream);
        H::until("one more waits", || detached(&server).len() == n).await;
    }
    assert_eq!(server.accept_counters().evicted, 0);
    server.shutdown().await;
}

pub async fn answers_to_a_detached_session_are_counted<H: Harness>() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let handlers = Handlers::none().request(move |_| {
        let gate = waiting.clone();
        async move {
            gate.passed::<H>().await;
            Ok(vec![7; 200_000].into())
        }
    });
    let config = session().max_detached_bytes(1 << 20).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let config = session().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let client = H::connect(&proxy.address, config, Handlers::none()).await.expect("it listens");
    let mut calls = Vec::new();
    for i in 0..10 {
        let options = CallOptions::new(1).timeout(PATIENT);
        calls.push(client.start_call(options, body(i)).await.expect("begun"));
    }
    H::until("they came", || server.peers().first().is_some_and(|peer| peer.stats().handling == 10)).await;
    proxy.cut();
    H::until("it waits", || detached(&server).len() == 1).await;
    gate.open();
    H::until("it ends when its answers are too much", || server.peers().is_empty()).await;
    drop(calls);
    server.shutdown().await;
}

pub async fn strangers_end_no_session<H: Harness>() {
    let config = session().max_detached(8).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::echo()).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let config = session().build().expect("sound");
    let honest = H::connect(&proxy.address, config, Handlers::none()).await.expect("it listens");
    honest.call(CallOptions::new(1), body(1)).await.expect("a reply");
    let id = server.peers().remove(0).id();
    proxy.lead_to(NOWHERE);
    proxy.cut();
    H::until("it is away", || detached(&server).len() == 1).await;
    for _ in 0..3 {
        come_and_go::<H>(&server.address(), 8).await;
        H::until("all wait, or are over", || detached(&server).len() == server.peers().len()).await;
    }
    H::until("as many as may wait", || server.peers().len() == 8).await;
    proxy.lead_to(&server.address());
    let reply = honest.call(CallOptions::new(1).timeout(PATIENT), body(2)).await.expect("a reply");
    assert_eq!(number(&reply), 2);
    let back = server.peers().into_iter().find(|peer| peer.id() == id);
    assert_eq!(back.expect("the same session").counters().connections, 2);
    honest.close().await;
    server.shutdown_within(Duration::ZERO).await;
}

/// Abandoned sessions take no descriptors, and few threads: a new client, and one that was away, are served.
pub async fn abandoned_sessions_leave_room<H: Harness>() {
    let child = Child::start("child_for_sessions", H::NAME);
    let address = child.expect("ADDRESS ");
    let proxy = Proxy::start(&address);
    let config = session().build().expect("sound");
    let honest = H::connect(&proxy.address, config.clone(), Handlers::none()).await.expect("it listens");
    honest.call(CallOptions::new(1), body(1)).await.expect("a reply");
    let watching = H::connect(&address, config.clone(), Handlers::none()).await.expect("it listens");
    proxy.lead_to(NOWHERE);
    proxy.cut();
    for _ in 0..25 {
        come_and_go::<H>(&address, 8).await;
        // Until their sockets are closed there, too.
        let begun = std::time::Instant::now();
        loop {
            let told = watching.call(CallOptions::new(9).timeout(PATIENT), body(0)).await.expect("a reply");
            let (connected, threads) = (number(&told[..4]), number(&told[4..]));
            assert!(threads <= 128 + 50, "{threads} threads");
            if connected == 1 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{connected} are connected");
            H::sleep(MS).await;
        }
    }
    proxy.lead_to(&address);
    let reply = honest.call(CallOptions::new(1).timeout(PATIENT), body(2)).await.expect("a reply");
    assert_eq!(number(&reply), 2);
    assert_eq!(honest.peer().counters().connections, 2);
    let other = H::connect(&address, config, Handlers::none()).await.expect("it accepts");
    assert_eq!(number(&other.call(CallOptions::new(1), body(3)).await.expect("a reply")), 3);
    for client in [honest, watching, other] {
        client.close().await;
    }
    child.end();
}

/// The other process of [`abandoned_sessions_leave_room`]: method 9 returns the number of connected peers and
/// of threads.
pub async fn serve_with_few_descriptors<H: Harness>() {
    let told = Arc::new(Mutex::new(None::<H::Server<Native>>));
    let server_of = Arc::clone(&told);
    let handlers = Handlers::none().request(move |asked| {
        let server = server_of.lock().expect("not poisoned").clone();
        async move {
            let Some(server) = server.filter(|_| asked.method == 9) else { return Ok(asked.body.into()) };
            let peers = server.peers();
            let connected = peers.len() - detached(&server).len().min(peers.len());
            let (_, threads) = super::child::held();
            Ok([connected as u32, threads as u32].map(u32::to_be_bytes).concat().into())
        }
    });
    let config = session().build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    *told.lock().expect("not poisoned") = Some(server.clone());
    server.start();
    println!("ADDRESS {}", server.address());
    super::child::lower_descriptors(60);
    super::child::until_stdin_ends::<H>().await;
}

/// The other process of [`a_stopped_process`]: serves until its standard input ends. Method 9 returns the
/// received messages.
pub async fn serve_as_a_child<H: Harness>() {
    let came = Came::default();
    let told = came.clone();
    let handlers = came.handlers().request(move |asked| {
        let answer = if asked.method == 9 {
            let casts = told.casts.lock().expect("not poisoned").clone();
            let mut classes = [0, 1].map(|bulk| casts.iter().filter(move |n| (**n % 50 == 0) == (bulk == 1)));
            let in_order = classes.iter_mut().all(|class| class.is_sorted());
            format!("{} casts, in order: {in_order}", casts.len()).into_bytes().into()
        } else {
            asked.body.into()
        };
        async move { Ok(answer) }
    });
    let config = session().dead_after(MS * 400).heartbeat(MS * 100).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    println!("ADDRESS {}", server.address());
    super::child::until_stdin_ends::<H>().await;
}

pub async fn a_stopped_process<H: Harness>() {
    let child = Child::start("child_server", "tokio");
    let pid = child.id();
    // A builtin of the shell, in case there is no such program.
    let signal = |name: &str| {
        std::process::Command::new("sh").args(["-c", &format!("kill {name} {pid}")]).status().expect("sh")
    };
    let address = child.expect("ADDRESS ");
    let config = session()
        .reconnect(ReconnectPolicy::fixed(MS * 20))
        .connect_timeout(MS * 200)
        .heartbeat(MS * 100)
        .dead_after(MS * 400)
        .build()
        .expect("sound");
    let client = H::connect(&address, config, Handlers::none()).await.expect("it listens");
    let stop = Arc::new(AtomicBool::new(false));
    let load = load!(client.peer(), stop, H);
    H::sleep(MS * 50).await;
    assert!(signal("-STOP").success());
    // The link has to detect the silence itself.
    H::until("it is found dead", || client.peer().last_disconnect().is_some()).await;
    let cause = client.peer().last_disconnect();
    assert!(matches!(cause, Some(Disconnect::DeadPeer { .. })), "{cause:?}");
    H::sleep(MS * 300).await;
    assert!(signal("-CONT").success());
    H::until("it goes on", || client.peer().counters().connections >= 2).await;
    H::sleep(MS * 50).await;
    stop.store(true, Ordering::Release);
    let (casts, _) = load.await;
    let told = client
        .call(CallOptions::new(9).class(bowline::frame::Class::Bulk).timeout(PATIENT), vec![0; 4])
        .await;
    // The last casts of the other class may still be in transit.
    let mut told = told.expect("a reply").to_vec();
    for _ in 0..1_000 {
        if told.starts_with(format!("{casts} casts").as_bytes()) {
            break;
        }
        H::sleep(MS * 2).await;
        told = client.call(CallOptions::new(9), vec![0; 4]).await.expect("a reply").to_vec();
    }
    assert_eq!(String::from_utf8_lossy(&told), format!("{casts} casts, in order: true"));
    client.close().await;
    child.end();
}
