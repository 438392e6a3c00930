//! Handlers on threads: which thread runs them, and that none of them blocks an I/O thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bowline::blocking::{Client, Server};
use bowline::{AcceptLimits, CallOptions, Config};

const MS: Duration = Duration::from_millis(1);

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn an_on_message_that_takes_five_seconds_delays_no_other_link() {
    let config =
        Config::builder().heartbeat(MS * 200).dead_after(Duration::from_secs(3)).build().expect("sound");
    let (told, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Server::with_config(config.clone())
        .on_message(move |_, _| {
            told.send(()).map_err(|_| "nobody waits")?;
            released.lock().map_err(|_| "a panic")?.recv().map_err(|_| "nobody waits")
        })
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let connect = || Client::with_config(server.local_addr(), config.clone()).connect().expect("it listens");
    let (slow, other) = (connect(), connect());
    assert!(slow.cast(1, "takes its time").is_ok());
    begun.recv().expect("it is handled");
    let start = Instant::now();
    // Calls first, then only heartbeats: longer than after what time a peer is dead.
    for _ in 0..50 {
        for client in [&slow, &other] {
            assert_eq!(&client.call(1, "quick").expect("a reply")[..], b"quick");
        }
    }
    std::thread::sleep(Duration::from_secs(5).saturating_sub(start.elapsed()));
    release.send(()).expect("the handler still waits");
    for client in [slow, other] {
        assert_eq!(client.counters().connections, 1, "nobody was given up as dead");
        client.close();
    }
    server.shutdown();
}

#[test]
fn all_but_inline_handlers_run_on_threads_of_the_pool() {
    let (told, names) = mpsc::channel();
    let tell = move |what: &'static str| {
        let told = told.clone();
        move || {
            let _ = told.send((what, thread_name()));
        }
    };
    let (connect, message, gone, event) = (tell("connect"), tell("message"), tell("gone"), tell("event"));
    let mut limits = AcceptLimits::default();
    limits.connections = 1;
    let config = Config::builder().accept_limits(limits).build().expect("sound");
    let server = Server::with_config(config)
        .on_connect(move |_| connect())
        .on_message(move |_, _| message())
        .on_disconnect(move |_, _| gone())
        .on_event(move |_| event())
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = Client::connect(server.local_addr()).expect("it listens");
    assert!(client.cast(1, "hello").is_ok());
    // One connection too many.
    assert!(Client::connect(server.local_addr()).is_err());
    client.close();
    server.shutdown();
    drop(server);
    let mut all: Vec<_> = names.iter().take(4).collect();
    assert!(all.iter().all(|(_, name)| name == "bowline-handler"), "{all:?}");
    all.retain(|(what, _)| *what != "event");
    assert_eq!(all.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["connect", "message", "gone"]);
}

#[test]
fn an_on_connect_calls_back_and_waits() {
    let (told, answers) = mpsc::channel();
    let server = Server::builder()
        .on_connect(move |peer| {
            let _ = told.send(peer.call(1, "who are you?").map(|reply| reply.to_vec()));
        })
        .on_request(|_| Ok("welcome"))
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let client = Client::builder(server.local_addr()).on_request(|_| Ok("a client")).connect();
    let client = client.expect("it listens");
    assert_eq!(&client.call(1, "hello").expect("a reply")[..], b"welcome");
    assert_eq!(answers.try_recv().expect("asked before the first request"), Ok(b"a client".to_vec()));
    client.close();
    server.shutdown();
}

#[test]
fn many_links_share_few_threads_and_each_keeps_its_order() {
    const LINKS: usize = 200;
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let came = Arc::new(Mutex::new(Vec::<(u32, Vec<u8>)>::new()));
    let (keep, highest) = (Arc::clone(&came), Arc::clone(&most));
    let server = Server::builder()
        .handler_threads(3)
        .on_message(move |_, message| {
            highest.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(MS);
            keep.lock().expect("not poisoned").push((message.method(), message.to_vec()));
            at_once.fetch_sub(1, Ordering::SeqCst);
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let clients: Vec<_> =
        (0..LINKS).map(|_| Client::connect(server.local_addr()).expect("it listens")).collect();
    for number in 0..5 {
        for (link, client) in (0..).zip(&clients) {
            assert!(client.cast(link, vec![number]).is_ok());
        }
    }
    let start = Instant::now();
    while came.lock().expect("not poisoned").len() < LINKS * 5 {
        assert!(start.elapsed() < Duration::from_secs(30), "never: all messages");
        std::thread::sleep(MS);
    }
    let came = came.lock().expect("not poisoned").clone();
    for link in 0..LINKS as u32 {
        let of_it = came.iter().filter(|(from, _)| *from == link).map(|(_, body)| body[0]);
        assert!(of_it.eq(0..5), "in order");
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    clients.into_iter().for_each(|client| drop(client.close()));
    server.shutdown();
}

/// While every thread is busy, requests whose connection has ended leave the queue: they would hold memory until a thread
/// is free.
#[test]
fn requests_of_peers_that_left_wait_for_no_thread() {
    const BODY: usize = 20_000;
    let (begun, is_begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let server = Server::builder()
        .handler_threads(1)
        .on_request(move |_| {
            let _ = begun.send(());
            let _ = ended.lock().expect("not poisoned").recv();
            Ok("done")
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
            std::thread::sleep(MS);
        }
    };
    let connect = || Client::connect(server.local_addr()).expect("it listens");
    let busy = connect();
    let call = busy.start_call(CallOptions::new(1), "keeps the thread").expect("room");
    is_begun.recv().expect("it begins");
    let before = server.memory_held();
    for _ in 0..20 {
        let client = connect();
        let call = client.start_call(CallOptions::new(1), vec![7; BODY]).expect("room");
        until("the request is there", &|| server.memory_held() >= before + BODY);
        drop(call);
        client.close();
        until("nothing of it stays", &|| server.memory_held() < before + BODY && server.peers().len() == 1);
    }
    end.send(()).expect("it waits");
    assert_eq!(&call.wait().expect("a reply")[..], b"done");
    assert!(is_begun.try_recv().is_err(), "no other handler began");
    busy.close();
    server.shutdown();
}
