//! Servers: broadcasts, groups, calls to clients, and shutdown.

use std::collections::HashMap;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use bowline::PeerCore as Peer;
use bowline::error::{CallError, Failure, Outcome};
use bowline::frame::buffstreams::Buffstreams;
use bowline::frame::native::Native;
use bowline::{
    CallOptions, CastOptions, Config, HubCore as Hub, LinkEvent, PeerId, PushError, QueueLimit,
    ReconnectPolicy, SocketOptions, State,
};

use crate::harness::{Client, Handlers, Harness, Server, closed_port};
use crate::scenarios::fairness::Gate;

const MS: Duration = Duration::from_millis(1);

/// Reads from many sockets and counts the messages.
struct Readers {
    counts: Arc<Vec<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Readers {
    fn start(sockets: Vec<TcpStream>) -> Self {
        let counts: Arc<Vec<AtomicUsize>> = Arc::new(sockets.iter().map(|_| AtomicUsize::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let (counting, stopping) = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buf = vec![0; 64 * 1024];
            while !stopping.load(Ordering::Acquire) {
                let mut fds: Vec<_> =
                    sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
                let now_and_then = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                // The end of the test is checked in between.
                let _ = poll(&mut fds, Some(&now_and_then));
                for (socket, count) in sockets.iter().zip(counting.iter()) {
                    while let Ok(n @ 1..) = (&*socket).read(&mut buf) {
                        count.fetch_add(n, Ordering::Release);
                    }
                }
            }
        });
        Self { counts, stop, thread }
    }

    fn least(&self) -> usize {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no panic");
    }
}

pub async fn a_broadcast_to_a_thousand_with_ten_stalled<H: Harness>() {
    const PEERS: usize = 1_000;
    const STALLED: usize = 10;
    const BODY: usize = 2_000;
    const FRAME: usize = BODY + 3;
    let mut sockets = SocketOptions::default();
    sockets.send_buffer = Some(8 * 1024);
    let limit = QueueLimit { messages: 64, bytes: 256 * 1024 };
    let config = Config::with_framing(Buffstreams::new())
        .write_queue(limit)
        .sockets(sockets)
        .linger(MS * 100)
        .build()
        .expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::none()).await.expect("a free port");
    server.start();
    let hub = server.hub();
    let (mut readers, mut stalled) = (Vec::new(), Vec::new());
    for i in 0..PEERS {
        let socket = TcpStream::connect(server.address()).expect("it listens");
        if i % (PEERS / STALLED) == 0 {
            stalled.push(socket);
        } else {
            socket.set_nonblocking(true).expect("an option");
            readers.push(socket);
        }
    }
    H::until("all are there", || hub.len() == PEERS).await;
    let readers = Readers::start(readers);
    let (mut rounds, mut missed): (usize, HashMap<PeerId, usize>) = (0, HashMap::new());
    let start = Instant::now();
    // Until each of those that do not read has missed some messages.
    while missed.len() < STALLED || rounds < 100 {
        assert!(start.elapsed() < Duration::from_secs(60), "{rounds} rounds, {} missed some", missed.len());
        for _ in 0..20 {
            let sent = hub.broadcast(0, vec![7; BODY]);
            assert_eq!((sent.queued + sent.dropped, sent.gone), (PEERS, 0));
            assert_eq!(sent.missed.len(), sent.dropped);
            sent.missed.iter().for_each(|id| *missed.entry(*id).or_default() += 1);
            rounds += 1;
        }
        let want = rounds * FRAME;
        H::until("the others have all of it", || readers.least() >= want).await;
    }
    assert_eq!(missed.len(), STALLED, "nobody else missed anything");
    for (id, missed) in missed {
        let peer = hub.peer(id).expect("still there");
        let stats = peer.stats();
        assert_eq!(stats.counters.casts_dropped, missed as u64);
        assert!(stats.write_queue.messages <= limit.messages, "{stats:?}");
        assert!(stats.memory < 1 << 20, "{stats:?}");
    }
    readers.stop();
    drop(stalled);
    server.shutdown().await;
    assert!(hub.is_empty());
}

/// Connected clients that record received messages.
async fn listeners<H: Harness>(server: &H::Server<Native>, count: usize) -> Vec<H::Client<Native>> {
    let mut clients = Vec::new();
    for i in 0..count {
        let client = H::connect(&server.address(), Config::default(), Handlers::none()).await;
        let client = client.expect("it listens");
        // So that the server knows which client is which.
        client.call(CallOptions::new(1), vec![i as u8]).await.expect("an answer");
        clients.push(client);
    }
    clients
}

pub async fn groups_and_filters<H: Harness>() {
    let ids: Arc<Mutex<HashMap<u8, PeerId>>> = Arc::default();
    let note = Arc::clone(&ids);
    let handlers = Handlers::none().inline(move |context, request, _| {
        note.lock().expect("not poisoned").insert(request.body[0], context.peer_id());
        Ok(())
    });
    // Two servers, one hub.
    let hub = Hub::new();
    let config = Config::default();
    let server = H::bind("127.0.0.1:0", config.clone(), handlers.hub(&hub)).await.expect("a free port");
    server.start();
    let other =
        H::bind("127.0.0.1:0", config.clone(), Handlers::none().hub(&hub)).await.expect("a free port");
    other.start();
    let clients = listeners::<H>(&server, 5).await;
    let sixth = H::connect(&other.address(), config, Handlers::none()).await.expect("it listens");
    H::until("six of them", || hub.len() == 6).await;
    let id = |i: u8| ids.lock().expect("not poisoned")[&i];

    for i in [0, 1, 2] {
        assert!(hub.join("red", id(i)));
    }
    assert!(!hub.join("red", id(0)), "it is in it already");
    assert!(hub.join("blue", id(2)));
    assert_eq!(hub.publish("red", 1, b"to red").queued, 3);
    assert!(hub.leave("red", id(1)) && !hub.leave("red", id(1)));
    assert_eq!(hub.publish("red", 2, b"to red again").queued, 2);
    assert_eq!(hub.publish("green", 3, b"nobody").queued, 0);
    let odd = |peer: &Peer<Native>| [id(1), id(3)].contains(&peer.id());
    assert_eq!(hub.broadcast_with(CastOptions::new(4), b"to the odd", odd).queued, 2);
    let _ = hub.cast_to(id(4), 5, b"to one").expect("it is there");
    assert_eq!(hub.broadcast(6, b"to all").queued, 6);
    let expected: [&[u32]; 5] = [&[1, 2, 6], &[1, 4, 6], &[1, 2, 6], &[4, 6], &[5, 6]];
    for (client, methods) in clients.iter().zip(expected) {
        for method in methods {
            assert_eq!(client.receive().await.expect("a message").method(), *method);
        }
    }
    assert_eq!(sixth.receive().await.expect("a message").method(), 6, "the other server's is in it, too");

    let gone = id(2);
    let mut clients = clients;
    clients.remove(2).close().await;
    H::until("it is gone", || hub.len() == 5).await;
    assert_eq!(hub.members("red"), [id(0)]);
    assert_eq!(hub.groups(), ["red"], "a group goes with its last peer");
    assert!(!hub.join("red", gone));
    assert!(matches!(hub.cast_to(gone, 1, b"x"), Err(PushError::Gone(id)) if id == gone));
    for client in clients.into_iter().chain([sixth]) {
        client.close().await;
    }
    server.shutdown().await;
    other.shutdown().await;
}

pub async fn the_server_calls_its_clients<H: Harness>() {
    let server = H::bind("127.0.0.1:0", Config::default(), Handlers::echo()).await.expect("a free port");
    server.start();
    let mut clients = Vec::new();
    for i in 0..8_u8 {
        let answers = Handlers::none().request(move |asked| async move {
            let mut body = asked.body.to_vec();
            body.push(i);
            Ok(body.into())
        });
        clients.push(H::connect(&server.address(), Config::default(), answers).await.expect("it listens"));
    }
    let hub = server.hub();
    H::until("all are there", || hub.len() == clients.len()).await;
    // Both sides call at once, many each, with the same ids.
    let mut tasks = Vec::new();
    for client in clients.clone() {
        tasks.push(H::spawn(async move {
            for n in 0..100_u8 {
                let reply = client.call(CallOptions::new(1), vec![n]).await.expect("a reply");
                assert_eq!(&reply[..], &[n]);
            }
        }));
    }
    for peer in hub.peers() {
        tasks.push(H::spawn(async move {
            let mut last = None;
            for n in 0..100_u8 {
                let reply = peer.call(1, vec![n]).await.expect("a reply");
                assert_eq!((reply.len(), reply[0]), (2, n));
                assert!(*last.get_or_insert(reply[1]) == reply[1], "one client answers all");
            }
        }));
    }
    for task in tasks {
        task.await;
    }
    for client in clients {
        assert_eq!(client.peer().counters().requests, 100);
        client.close().await;
    }
    server.shutdown().await;
}

pub async fn failing_message_handlers_are_counted<H: Harness>() {
    fn fails(method: u32) -> Result<(), Failure> {
        match method {
            1 => Err(Failure::from("no")),
            2 => panic!("on purpose"),
            _ => Ok(()),
        }
    }
    are_counted::<H>(Handlers::none().message_inline(|_, message| fails(message.method()))).await;
    are_counted::<H>(Handlers::none().message(|_, message| fails(message.method()))).await;
    let waits_first = Handlers::none().message_task(|_, message| async move {
        H::sleep(MS).await;
        fails(message.method())
    });
    are_counted::<H>(waits_first).await;
}

async fn are_counted<H: Harness>(failing: Handlers<Native>) {
    let (server, client) = H::pair(Config::default(), failing, Handlers::none()).await;
    for method in [1, 2, 3] {
        let _ = client.cast(CastOptions::new(method), Vec::new()).await.expect("queued");
    }
    let peer = || server.peers().pop().expect("connected");
    H::until("all came", || peer().counters().messages == 3).await;
    H::until("two failed", || peer().counters().handler_failures == 2).await;
    let peer = peer();
    let mut failed = Vec::new();
    while failed.len() < 2 {
        if let LinkEvent::HandlerFailed { status } = peer.next_event().await.expect("an event") {
            failed.push(status);
        }
    }
    assert_eq!(failed, [bowline::error::Status::FAILED, bowline::error::Status::PANICKED]);
    assert_eq!(client.peer().state(), State::Ready, "and the link goes on");
    client.close().await;
    server.shutdown().await;
}

/// Two servers one after the other, under load: every call is answered, and handled once.
pub async fn a_rolling_restart_loses_no_call<H: Harness>() {
    let handled = Arc::new(AtomicU64::new(0));
    let handlers = |handled: &Arc<AtomicU64>| {
        let handled = Arc::clone(handled);
        Handlers::none().request(move |asked| {
            let handled = Arc::clone(&handled);
            async move {
                H::sleep(MS).await;
                handled.fetch_add(1, Ordering::Relaxed);
                Ok(asked.body.into())
            }
        })
    };
    let config = Config::builder().reconnect(ReconnectPolicy::fixed(MS * 2)).build().expect("sound");
    let address = closed_port();
    let server = H::bind(&address, config.clone(), handlers(&handled)).await.expect("a free port");
    server.start();
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (mut clients, mut tasks) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let client = H::connect(&address, config.clone(), Handlers::none()).await.expect("it listens");
        for _ in 0..4 {
            let (client, stop, made) = (client.clone(), Arc::clone(&stop), Arc::clone(&made));
            tasks.push(H::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let n = made.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                    let reply = client.call(CallOptions::new(1), n.to_vec()).await.expect("no call fails");
                    assert_eq!(&reply[..], n);
                }
            }));
        }
        clients.push(client);
    }
    let mut serving = server;
    for restart in 1..=3 {
        let before = handled.load(Ordering::Relaxed);
        H::until("it is busy", || handled.load(Ordering::Relaxed) > before + 100).await;
        let drained = serving.shutdown().await;
        assert_eq!((drained.connections, drained.cut.len()), (4, 0), "{drained:?}");
        serving =
            H::bind(&address, config.clone(), handlers(&handled)).await.expect("the port is free again");
        serving.start();
        H::until("all are back", || {
            clients.iter().all(|client| client.peer().counters().connections > restart)
        })
        .await;
    }
    stop.store(true, Ordering::Release);
    for task in tasks {
        task.await;
    }
    assert_eq!(handled.load(Ordering::Relaxed), made.load(Ordering::Relaxed), "once each");
    for client in clients {
        client.close().await;
    }
    serving.shutdown().await;
}

pub async fn a_drain_cut_short_says_what_was_cut<H: Harness>() {
    let never = Handlers::none().request(|asked| async move {
        if asked.method == 1 {
            let responder = (asked.responder)();
            let later = responder.later();
            // Kept for longer than the server lives.
            std::mem::forget(responder);
            return Ok(later);
        }
        Ok(asked.body.into())
    });
    let config = Config::builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let (server, client) = H::pair(config, never, Handlers::none()).await;
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(client.start_call(CallOptions::new(1), vec![1]).await.expect("begun"));
    }
    let answered = client.call(CallOptions::new(2), vec![2]).await.expect("a reply");
    assert_eq!(&answered[..], [2]);
    H::until("they are there", || server.peers()[0].counters().requests == 4).await;
    let peer = server.peers()[0].id();
    let drained = server.shutdown_within(MS * 50).await;
    assert_eq!(drained.connections, 1);
    let [cut] = &drained.cut[..] else { panic!("{drained:?}") };
    assert_eq!((cut.peer, cut.requests.len()), (peer, 3));
    for call in pending {
        let error = H::Client::<Native>::wait(call).await.expect_err("it was cut");
        assert_eq!(error.outcome(), Outcome::MaybeDelivered, "{error}");
    }
    client.close().await;
}

pub async fn stopping_at_once<H: Harness>() {
    let gate = Gate::default();
    let waits = gate.clone();
    let slow = Handlers::none().request(move |asked| {
        let gate = waits.clone();
        async move {
            gate.passed::<H>().await;
            Ok(asked.body.into())
        }
    });
    let config = Config::builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let (server, client) = H::pair(config, slow, Handlers::none()).await;
    let call = client.start_call(CallOptions::new(1), vec![1]).await.expect("begun");
    H::until("it is there", || server.peers()[0].counters().requests == 1).await;
    // It does not wait for the handler.
    let drained = server.shutdown_within(Duration::ZERO).await;
    gate.open();
    assert_eq!(drained.cut.len(), 1, "{drained:?}");
    let error = H::Client::<Native>::wait(call).await.expect_err("it was cut");
    assert!(matches!(error, CallError::MaybeDelivered(_)), "{error}");
    client.close().await;
}

pub async fn a_listener_closed_keeps_its_connections<H: Harness>() {
    let address = closed_port();
    let (server, client) = H::pair_at(&address, Config::default(), Handlers::echo(), Handlers::none()).await;
    server.stop_accepting();
    let other = TcpListener::bind(&address).expect("the address is free at once");
    drop(other);
    assert!(TcpStream::connect(&address).is_err(), "nobody listens");
    assert!(client.call(CallOptions::new(1), vec![1]).await.is_ok());
    client.close().await;
    server.shutdown().await;
}
