//! Slow message handlers: order, back-pressure, and the outcomes of waiting messages.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::error::{CastRefusal, Outcome};
use bowline::frame::Framing;
use bowline::frame::native::Native;
use bowline::frame::tcpstream::Tcpstream;
use bowline::{
    AcceptLimits, Answer, CallOptions, CastOptions, Config, ConfigBuilder, Overflow, QueueLimit,
    ReconnectPolicy,
};

use crate::harness::{Client, Handlers, Harness, Server};
use crate::proxy::Proxy;
use crate::scenarios::fairness::Gate;

const MS: Duration = Duration::from_millis(1);

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

/// Events of an application, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Connected,
    Message(u32),
    Gone,
}

/// All events of one application.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Told>>>);

impl Diary {
    fn note(&self, told: Told) {
        self.0.lock().expect("not poisoned").push(told);
    }

    fn all(&self) -> Vec<Told> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn messages(&self) -> usize {
        self.all().iter().filter(|told| matches!(told, Told::Message(_))).count()
    }

    /// Handlers that record it, each message after `wait`.
    fn handlers<H: Harness, F: Framing, Fut>(
        &self,
        wait: impl Fn() -> Fut + Send + Sync + 'static,
    ) -> Handlers<F>
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let [connected, message, gone] = [(); 3].map(|()| self.clone());
        Handlers::none()
            .connect(move |_| connected.note(Told::Connected))
            .message_task(move |_, body| {
                let (message, wait) = (message.clone(), wait());
                async move {
                    wait.await;
                    message.note(Told::Message(number(&body)));
                }
            })
            .disconnect(move |_, _| gone.note(Told::Gone))
    }
}

/// The events of one connection with that many messages.
fn one_connection(messages: u32) -> Vec<Told> {
    let messages = (0..messages).map(Told::Message);
    [Told::Connected].into_iter().chain(messages).chain([Told::Gone]).collect()
}

async fn send<H: Harness, F: Framing>(client: &H::Client<F>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let queued = client.cast(CastOptions::default(), number.to_be_bytes().to_vec()).await;
        let _ = queued.expect("queued");
    }
}

pub async fn a_slow_message_handler_delays_nobody<H: Harness>() {
    let dead_after = MS * 1_500;
    let config = Config::builder().heartbeat(MS * 50).dead_after(dead_after).build().expect("sound");
    let (begun, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (begins, ends, gate) = (Arc::clone(&begun), Arc::clone(&over), Gate::default());
    let waits = gate.clone();
    let handlers = Handlers::echo().message_task(move |_, _| {
        let (begins, ends, gate) = (Arc::clone(&begins), Arc::clone(&ends), waits.clone());
        async move {
            begins.fetch_add(1, Ordering::Relaxed);
            gate.passed::<H>().await;
            ends.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (server, client) = H::pair(config.clone(), handlers, Handlers::none()).await;
    let other = H::connect(&server.address(), config, Handlers::none()).await.expect("it listens");
    send::<H, _>(&client, 0..1).await;
    H::until("the handler is at it", || begun.load(Ordering::Relaxed) == 1).await;
    for client in [&client, &other] {
        for _ in 0..20 {
            client.call(CallOptions::new(1), b"quick".to_vec()).await.expect("a reply");
        }
    }
    // Only heartbeats now.
    H::sleep(dead_after + MS * 100).await;
    assert_eq!(over.load(Ordering::Relaxed), 0, "it is not done yet");
    gate.open();
    H::until("it is done", || over.load(Ordering::Relaxed) == 1).await;
    for client in [&client, &other] {
        assert_eq!(client.peer().counters().connections, 1, "nobody was given up as dead");
    }
    client.close().await;
    other.close().await;
    server.shutdown().await;
}

pub async fn messages_are_handled_in_order_and_one_at_a_time<H: Harness>() {
    let came: Arc<Mutex<Vec<u32>>> = Arc::default();
    let (at_once, keep) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&came));
    let handlers = Handlers::none().message_task(move |_, message| {
        let (at_once, keep) = (Arc::clone(&at_once), Arc::clone(&keep));
        async move {
            assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            let number = number(&message);
            if number % 100 == 7 {
                H::sleep(MS).await;
            }
            keep.lock().expect("not poisoned").push(number);
            at_once.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    send::<H, _>(&client, 0..3_000).await;
    H::until("all came", || came.lock().expect("not poisoned").len() == 3_000).await;
    assert!(came.lock().expect("not poisoned").iter().copied().eq(0..3_000));
    assert_eq!(server.peers()[0].counters().handler_failures, 0);
    client.close().await;
    server.shutdown().await;
}

async fn holds_up<H: Harness, F: Framing>(config: ConfigBuilder<F>, waiting: usize) {
    const LEN: usize = 4_000;
    let queue = QueueLimit { messages: 16, bytes: 1 << 20 };
    let config = config.write_queue(queue).write_overflow(Overflow::Reject).max_message(64 * 1024);
    let config = config.build().expect("sound");
    let (gate, came) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let (wait, keep) = (gate.clone(), Arc::clone(&came));
    let handlers = Handlers::none().message_task(move |_, message| {
        let (wait, keep) = (wait.clone(), Arc::clone(&keep));
        async move {
            wait.passed::<H>().await;
            keep.lock().expect("not poisoned").push(number(&message));
        }
    });
    let (server, client) = H::pair(config, handlers, Handlers::none()).await;
    H::until("the server knows its peer", || server.peers().len() == 1).await;
    let peer = server.peers().remove(0);
    let (mut sent, mut refused) = (0_u32, 0);
    while refused < 200 {
        let mut body = vec![7; LEN];
        body[..4].copy_from_slice(&sent.to_be_bytes());
        match client.peer().try_cast(0, body) {
            Ok(_) => (sent, refused) = (sent + 1, 0),
            Err(error) => {
                assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}");
                refused += 1;
                H::sleep(MS).await;
            }
        }
        // The content of the system's buffers is added.
        assert!(sent < 10_000, "the sender is held up");
    }
    let kept = peer.stats().read_queue;
    assert!(kept.bytes <= waiting + LEN, "{kept:?}");
    assert_eq!(peer.counters().messages_dropped, 0);
    gate.open();
    H::until("all came", || came.lock().expect("not poisoned").len() == sent as usize).await;
    assert!(came.lock().expect("not poisoned").iter().copied().eq(0..sent));
    client.close().await;
    server.shutdown().await;
}

pub async fn a_slow_message_handler_holds_up_its_sender<H: Harness>() {
    let native = Config::builder().normal_window(64 * 1024).bulk_window(64 * 1024);
    holds_up::<H, Native>(native, 64 * 1024).await;
    let queue = QueueLimit { messages: 10, bytes: 1 << 20 };
    holds_up::<H, _>(Config::with_framing(Tcpstream::new()).read_queue(queue), 10 * 4_000).await;
}

pub async fn messages_that_wait_come_before_the_end_is_told<H: Harness>() {
    let (diary, gate) = (Diary::default(), Gate::default());
    let wait = gate.clone();
    let handlers = diary.handlers::<H, _, _>(move || {
        let wait = wait.clone();
        async move { wait.passed::<H>().await }
    });
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    send::<H, _>(&client, 0..50).await;
    client
        .call(CallOptions::new(1), Vec::new())
        .await
        .expect_err("no handler: but all that was before it came");
    client.close().await;
    H::until("the connection is over", || server.peers().is_empty()).await;
    // On threads the pool of handlers reports the beginning, too.
    H::until("its beginning is told", || !diary.all().is_empty()).await;
    assert_eq!(diary.all(), [Told::Connected]);
    gate.open();
    H::until("all is told", || diary.all().len() == 52).await;
    assert_eq!(diary.all(), one_connection(50));
    server.shutdown().await;
}

pub async fn a_shutdown_waits_for_message_handlers<H: Harness>() {
    let diary = Diary::default();
    let handlers = diary.handlers::<H, _, _>(|| H::sleep(MS * 5));
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    // Messages that are still queued when the go-away comes stay with the client: the last one is written.
    send::<H, _>(&client, 0..39).await;
    let written = client.cast_and_wait(CastOptions::default(), 39_u32.to_be_bytes().to_vec()).await;
    assert_eq!(written.expect("written"), Outcome::Written);
    H::until("they come", || diary.messages() > 0).await;
    let drained = server.shutdown_within(Duration::from_secs(20)).await;
    assert_eq!(diary.all(), one_connection(40), "all of it was told before");
    assert_eq!((drained.connections, &drained.cut[..]), (1, &[][..]));
    client.close().await;
}

pub async fn a_shutdown_at_once_says_what_was_not_handled<H: Harness>() {
    let (diary, gate) = (Diary::default(), Gate::default());
    let wait = gate.clone();
    let handlers = diary.handlers::<H, _, _>(move || {
        let wait = wait.clone();
        async move { wait.passed::<H>().await }
    });
    let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
    send::<H, _>(&client, 0..40).await;
    client
        .call(CallOptions::new(1), Vec::new())
        .await
        .expect_err("no handler: but all that was before it came");
    let start = Instant::now();
    let drained = server.shutdown_within(Duration::ZERO).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(drained.cut.len(), 1, "{drained:?}");
    assert_eq!((drained.cut[0].unhandled, diary.messages()), (40, 0));
    gate.open();
    H::until("they are handed over all the same", || diary.all().len() == 42).await;
    assert_eq!(diary.all(), one_connection(40));
    client.close().await;
}

pub async fn a_client_closes_when_its_messages_are_handled<H: Harness>() {
    let diary = Diary::default();
    let handlers = diary.handlers::<H, _, _>(|| H::sleep(MS * 5));
    let push = Handlers::none().connect(|peer| {
        for number in 0..40_u32 {
            let _ = peer.try_cast(1, number.to_be_bytes().to_vec()).expect("room");
        }
    });
    let config = Config::builder().linger(Duration::from_secs(20)).build().expect("sound");
    let (server, client) = H::pair(config, push, handlers).await;
    H::until("all came", || client.peer().counters().messages == 40).await;
    client.close().await;
    assert_eq!(diary.all(), one_connection(40));
    server.shutdown().await;
}

pub async fn the_peer_is_known_before_its_first_request<H: Harness>() {
    fn checks(known: &Arc<AtomicBool>) -> impl Fn() -> Result<(), &'static str> + use<> {
        let known = Arc::clone(known);
        move || if known.load(Ordering::Acquire) { Ok(()) } else { Err("a stranger") }
    }
    for inline in [false, true] {
        let known = Arc::new(AtomicBool::new(false));
        let (knows, count) = (Arc::clone(&known), Arc::new(AtomicUsize::new(0)));
        let counts = Arc::clone(&count);
        let (request, message) = (checks(&known), checks(&known));
        let mut handlers = Handlers::none()
            .connect(move |_| {
                std::thread::sleep(MS * 100);
                knows.store(true, Ordering::Release);
            })
            .request(move |_| {
                let known = request();
                async move { known.map(|()| Answer::from("yes")).map_err(Into::into) }
            });
        let note = move || {
            counts.fetch_add(1, Ordering::Relaxed);
            message()
        };
        handlers = if inline {
            handlers.message_inline(move |_, _| note())
        } else {
            handlers.message(move |_, _| note())
        };
        let (server, client) = H::pair(Config::default(), handlers, Handlers::none()).await;
        send::<H, _>(&client, 0..10).await;
        let long = CastOptions::default();
        let _ = client.cast(long, vec![1; 100_000]).await.expect("queued");
        let reply = client.call(CallOptions::new(1), Vec::new()).await.expect("it is known");
        assert_eq!(&reply[..], b"yes");
        H::until("all came", || count.load(Ordering::Relaxed) == 11).await;
        assert_eq!(server.peers()[0].counters().handler_failures, 0);
        client.close().await;
        server.shutdown().await;
    }
}

pub async fn connections_that_come_and_go_wait_in_a_bounded_line<H: Harness>() {
    let (diary, gate) = (Diary::default(), Gate::default());
    let wait = gate.clone();
    let handlers = diary.handlers::<H, _, _>(move || {
        let wait = wait.clone();
        async move { wait.passed::<H>().await }
    });
    let push = Handlers::none().connect(|peer| {
        let _ = peer.try_cast(1, 0_u32.to_be_bytes().to_vec());
    });
    let server = H::bind("127.0.0.1:0", Config::default(), push).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let config = Config::builder().reconnect(ReconnectPolicy::fixed(MS)).build().expect("sound");
    let client = H::connect(&proxy.address, config, handlers).await.expect("it listens");
    let mut messages = 0;
    for connections in 1..=50 {
        H::until("connected again", || client.peer().counters().connections == connections).await;
        H::until("it is pushed to", || client.peer().counters().messages > messages).await;
        messages = client.peer().counters().messages;
        while !proxy.cut() {
            H::sleep(MS).await;
        }
    }
    H::until("connected again", || client.peer().counters().connections == 51).await;
    H::until("it is pushed to", || client.peer().counters().messages > messages).await;
    gate.open();
    H::until("all messages are handled", || diary.messages() == 51).await;
    client.close().await;
    let told = diary.all();
    let turns: Vec<_> = told.iter().filter(|told| !matches!(told, Told::Message(_))).collect();
    assert!(turns.len() <= 36, "{}", turns.len());
    assert!(turns.chunks(2).all(|pair| pair == [&Told::Connected, &Told::Gone]), "{told:?}");
    let within =
        told.split(|told| *told == Told::Gone).all(|part| part.is_empty() || part[0] == Told::Connected);
    assert!(within, "no message without a connection: {told:?}");
    server.shutdown().await;
}

/// Messages that wait behind a request that cannot start are delivered when their connection ends.
pub async fn what_waits_behind_a_request_is_handed_over_when_the_connection_ends<H: Harness>() {
    let config = Config::builder().max_inbound_bytes(1).build().expect("sound");
    let (gate, handled) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
    let (wait, notes) = (gate.clone(), Arc::clone(&handled));
    let handlers = Handlers::none()
        .request(move |_| {
            let gate = wait.clone();
            async move {
                gate.passed::<H>().await;
                Ok(Answer::from(Vec::new()))
            }
        })
        .message(move |_, message| notes.lock().expect("not poisoned").push(number(&message.body)));
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let proxy = Proxy::start(&server.address());
    let once = Config::builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    let client = H::connect(&proxy.address, once, Handlers::none()).await.expect("it listens");
    let mut calls = Vec::new();
    for body in [b"runs", b"wait"] {
        calls.push(client.start_call(CallOptions::new(1), body.to_vec()).await.expect("begun"));
    }
    send::<H, _>(&client, 0..9).await;
    let written = client.cast_and_wait(CastOptions::default(), 9_u32.to_be_bytes().to_vec()).await;
    assert_eq!(written, Ok(Outcome::Written));
    let came = || {
        let sent = client.peer().counters().bytes_out;
        server.peers().first().is_some_and(|peer| peer.counters().bytes_in == sent)
    };
    H::until("all came", came).await;
    assert_eq!(*handled.lock().expect("not poisoned"), [], "a request is before them");
    proxy.cut();
    H::until("all are handled", || handled.lock().expect("not poisoned").len() == 10).await;
    assert!(handled.lock().expect("not poisoned").iter().copied().eq(0..10));
    gate.open();
    drop(calls);
    client.close().await;
    server.shutdown().await;
}

/// Messages of ended connections that wait for their handler occupy a place in the limit of connections: a
/// peer that connects, sends and disconnects repeatedly does not fill the memory.
pub async fn what_waits_for_its_handler_takes_a_place<H: Harness>() {
    let mut limits = AcceptLimits::default();
    limits.connections = 2;
    let config = Config::builder().accept_limits(limits).build().expect("sound");
    let (gate, handled) = (Gate::default(), Arc::new(AtomicU32::new(0)));
    let (wait, counts) = (gate.clone(), Arc::clone(&handled));
    let handlers = Handlers::none().message_task(move |_, _| {
        let (wait, counts) = (wait.clone(), Arc::clone(&counts));
        async move {
            wait.passed::<H>().await;
            counts.fetch_add(1, Ordering::Relaxed);
        }
    });
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let once = || Config::builder().reconnect(ReconnectPolicy::never()).build().expect("sound");
    for _ in 0..2 {
        let client = H::connect(&server.address(), once(), Handlers::none()).await.expect("it listens");
        send::<H, _>(&client, 0..10).await;
        client
            .call(CallOptions::new(1), Vec::new())
            .await
            .expect_err("no handler: but all that was before it came");
        client.close().await;
        H::until("the connection is over", || server.peers().is_empty()).await;
    }
    assert!(H::connect(&server.address(), once(), Handlers::none()).await.is_err(), "no place");
    assert!(server.accept_counters().refused_full >= 1);
    gate.open();
    H::until("all are handled", || handled.load(Ordering::Relaxed) == 20).await;
    let start = Instant::now();
    let client = loop {
        match H::connect(&server.address(), once(), Handlers::none()).await {
            Ok(client) => break client,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "still no place: {error}"),
        }
    };
    client.close().await;
    server.shutdown().await;
}
