//! The limits of the accepting side, and the handling of peers that exceed them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::core::config::HANDSHAKE_COST;
use bowline::error::Disconnect;
use bowline::frame::buffstreams::Buffstreams;
use bowline::frame::native::Native;
use bowline::{AcceptLimits, CallOptions, Config, ReconnectPolicy, SocketOptions};

use super::child::Child;
use crate::harness::{Client, Handlers, Harness, Server};

const MS: Duration = Duration::from_millis(1);

fn limits(set: impl FnOnce(&mut AcceptLimits)) -> AcceptLimits {
    let mut limits = AcceptLimits::default();
    set(&mut limits);
    limits
}

pub async fn connections_over_the_limit<H: Harness>() {
    let config = Config::builder().accept_limits(limits(|limits| limits.connections = 20));
    let config = config.build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::echo()).await.expect("a free port");
    server.start();
    let mut sockets: Vec<TcpStream> =
        (0..220).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    H::until("all were looked at", || {
        let counters = server.accept_counters();
        counters.accepted + counters.refused_full == 220
    })
    .await;
    let counters = server.accept_counters();
    assert_eq!((counters.accepted, counters.refused_full, counters.errors), (20, 200, 0));
    // Admitted connections are greeted, the others are closed.
    let mut greeted = 0;
    for socket in &mut sockets {
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
        if matches!(socket.read(&mut [0; 64]), Ok(1..)) {
            greeted += 1;
        }
    }
    assert_eq!(greeted, 20);
    drop(sockets);
    H::until("they are gone", || server.peers().is_empty()).await;
    let client = H::connect(&server.address(), Config::default(), Handlers::none()).await;
    let client = client.expect("there is room again");
    assert!(client.call(CallOptions::new(1), vec![1]).await.is_ok());
    client.close().await;
    server.shutdown().await;
}

pub async fn handshakes_make_room_for_younger_ones<H: Harness>() {
    for session in [false, true] {
        let limits = limits(|limits| limits.handshake_memory = 4 * HANDSHAKE_COST);
        let mut config = Config::builder().accept_limits(limits);
        if session {
            config = config.delivery(bowline::Delivery::Session);
        }
        let config = config.build().expect("sound");
        let server = H::bind("127.0.0.1:0", config.clone(), Handlers::echo()).await.expect("a free port");
        server.start();
        let mut silent: Vec<TcpStream> =
            (0..20).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
        H::until("sixteen had to go", || server.accept_counters().evicted == 16).await;
        let client = H::connect(&server.address(), config, Handlers::none()).await;
        let client = client.expect("silence does not keep others out");
        assert!(client.call(CallOptions::new(1), vec![1]).await.is_ok());
        silent[0].set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
        let mut rest = Vec::new();
        if let Err(error) = silent[0].read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        client.close().await;
        drop(silent);
        server.shutdown().await;
    }
}

type Causes = Arc<Mutex<Vec<Disconnect>>>;

/// Handlers that record why connections ended.
fn noting<F: bowline::frame::Framing>() -> (Handlers<F>, Causes) {
    let causes = Causes::default();
    let note = Arc::clone(&causes);
    let handlers =
        Handlers::none().disconnect(move |_, cause| note.lock().expect("not poisoned").push(cause.clone()));
    (handlers, causes)
}

async fn cause<H: Harness>(causes: &Causes) -> Disconnect {
    H::until("it is cut off", || !causes.lock().expect("not poisoned").is_empty()).await;
    causes.lock().expect("not poisoned").remove(0)
}

/// Sends a byte at a time, for as long as the other side accepts it.
fn drip(mut socket: TcpStream, bytes: Vec<u8>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        for (i, byte) in bytes.iter().enumerate() {
            if socket.write_all(&[*byte]).is_err() {
                return i;
            }
            std::thread::sleep(MS * 10);
        }
        bytes.len()
    })
}

pub async fn a_dripping_client_is_cut_off<H: Harness>() {
    // In its handshake.
    let limit = limits(|limits| limits.handshake = Some(MS * 200));
    let config = Config::builder().accept_limits(limit).build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::echo()).await.expect("a free port");
    server.start();
    let hello = {
        use bowline::frame::{Framing, Kind, Meta};
        let (mut out, mut body) = (Vec::new(), Vec::new());
        bowline::frame::native::Hello::new().encode(&mut body);
        Native::new().encode(&mut out, &Meta::new(Kind::Hello, 0), &[], &body).expect("a frame");
        out
    };
    let dripping = drip(TcpStream::connect(server.address()).expect("it listens"), hello.repeat(20));
    H::until("it came", || !server.peers().is_empty()).await;
    H::until("it is gone", || server.peers().is_empty()).await;
    let sent = H::spawn(async move { dripping.join().expect("no panic") }).await;
    assert!(sent < hello.len(), "{sent} bytes, however they were spaced");
    server.shutdown().await;

    // In a message.
    let limit = limits(|limits| limits.message = Some(MS * 200));
    let config = Config::with_framing(Buffstreams::new()).accept_limits(limit).build().expect("sound");
    let (handlers, causes) = noting();
    let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
    server.start();
    let mut message = vec![0xe8, 7, 0]; // 2,024 bytes follow
    message.extend([1; 1_000]);
    let dripping = drip(TcpStream::connect(server.address()).expect("it listens"), message);
    assert_eq!(cause::<H>(&causes).await, Disconnect::SlowMessage { limit: MS * 200 });
    let sent = H::spawn(async move { dripping.join().expect("no panic") }).await;
    assert!(sent < 1_000, "{sent}");
    server.shutdown().await;
}

pub async fn those_that_do_not_read_are_cut_off<H: Harness>() {
    for (reads, stall) in [(false, MS * 200), (true, MS * 400)] {
        let mut sockets = SocketOptions::default();
        sockets.send_buffer = Some(16 * 1024);
        let config = Config::with_framing(Buffstreams::new())
            .accept_limits(limits(|limits| limits.drain_rate = 1 << 20))
            .write_stall(stall)
            .write_overflow(bowline::Overflow::DropOldest)
            .sockets(sockets)
            .build()
            .expect("sound");
        let (handlers, causes) = noting();
        let server = H::bind("127.0.0.1:0", config, handlers).await.expect("a free port");
        server.start();
        let mut socket = TcpStream::connect(server.address()).expect("it listens");
        let hub = server.hub();
        H::until("it is there", || hub.len() == 1).await;
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let reading = H::spawn(async move {
            let mut read = 0;
            while reads && !stop.load(Ordering::Acquire) {
                H::sleep(MS * 10).await;
                read += socket.read(&mut [0; 2_000]).unwrap_or(0);
            }
            while !stop.load(Ordering::Acquire) {
                H::sleep(MS).await;
            }
            read
        });
        H::until("it is cut off", || {
            let _ = hub.broadcast(0, vec![1; 4_000]);
            !causes.lock().expect("not poisoned").is_empty()
        })
        .await;
        let why = cause::<H>(&causes).await;
        if reads {
            assert!(
                matches!(why, Disconnect::SlowReader { rate, limit: 1_048_576 } if rate < 1 << 20),
                "{why}"
            );
        } else {
            let found = matches!(why, Disconnect::WriteStalled { .. } | Disconnect::SlowReader { .. });
            assert!(found, "{why}");
        }
        over.store(true, Ordering::Release);
        reading.await;
        server.shutdown().await;
    }
}

pub async fn idle_connections_are_closed<H: Harness>() {
    let limit = MS * 1_000;
    let config = Config::builder()
        .accept_limits(limits(|limits| limits.idle = Some(limit)))
        .heartbeat(MS * 30)
        .dead_after(Duration::from_secs(5))
        .reconnect(ReconnectPolicy::never())
        .build()
        .expect("sound");
    let (handlers, causes) = noting();
    let handlers = handlers.request(|asked| async move { Ok(asked.body.into()) });
    let (server, client) = H::pair(config, handlers, Handlers::none()).await;
    let begun = Instant::now();
    while begun.elapsed() < limit * 3 / 2 {
        assert!(client.call(CallOptions::new(1), vec![1]).await.is_ok(), "busy links stay");
        H::sleep(MS * 20).await;
    }
    // Heartbeats continue, which is not enough.
    assert_eq!(cause::<H>(&causes).await, Disconnect::Idle { limit });
    client.close().await;
    server.shutdown().await;
}

pub async fn accepting_at_a_rate<H: Harness>() {
    let config = Config::builder().accept_limits(limits(|limits| {
        (limits.per_second, limits.burst) = (100, 10);
    }));
    let config = config.build().expect("sound");
    let server = H::bind("127.0.0.1:0", config, Handlers::echo()).await.expect("a free port");
    server.start();
    let begun = Instant::now();
    let sockets: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(server.address()).expect("it waits in the queue")).collect();
    H::until("all are in", || server.accept_counters().accepted == 40).await;
    // Thirty beyond the burst, a hundredth of a second each.
    assert!(begun.elapsed() > MS * 250, "{:?}", begun.elapsed());
    drop(sockets);
    server.shutdown().await;
}

pub async fn out_of_descriptors<H: Harness>() {
    let child = Child::start("child_without_descriptors", H::NAME);
    let address = child.expect("ADDRESS ");
    let client = H::connect(&address, Config::default(), Handlers::none()).await.expect("it listens");
    let errors = || {
        let client = client.clone();
        async move {
            let reply = client.call(CallOptions::new(9), Vec::new()).await.expect("it still answers");
            u64::from_be_bytes(reply[..].try_into().expect("a number"))
        }
    };
    assert_eq!(errors().await, 0);
    let sockets: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(&address).expect("the system's queue")).collect();
    let begun = Instant::now();
    while errors().await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never ran out");
        H::sleep(MS * 5).await;
    }
    let before = errors().await;
    H::sleep(MS * 500).await;
    let more = errors().await - before;
    assert!(more <= 15, "it waits between its attempts: {more} in half a second");
    // There is room again: it continues.
    drop(sockets);
    let other = H::connect(&address, Config::default(), Handlers::none()).await.expect("it accepts again");
    assert!(other.call(CallOptions::new(1), vec![1]).await.is_ok());
    other.close().await;
    client.close().await;
    child.end();
}

/// The other process of [`out_of_descriptors`].
pub async fn serve_without_descriptors<H: Harness>() {
    let told = Arc::new(Mutex::new(None::<H::Server<Native>>));
    let server_of = Arc::clone(&told);
    let handlers = Handlers::none().request(move |asked| {
        let errors =
            server_of.lock().expect("not poisoned").as_ref().map(|server| server.accept_counters().errors);
        async move {
            match (asked.method, errors) {
                (9, Some(errors)) => Ok(errors.to_be_bytes().to_vec().into()),
                _ => Ok(asked.body.into()),
            }
        }
    });
    let server = H::bind("127.0.0.1:0", Config::default(), handlers).await.expect("a free port");
    *told.lock().expect("not poisoned") = Some(server.clone());
    server.start();
    println!("ADDRESS {}", server.address());
    super::child::lower_descriptors(60);
    super::child::until_stdin_ends::<H>().await;
}
