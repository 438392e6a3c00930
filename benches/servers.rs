//! Servers with many connections: memory of idle ones, broadcast, accepting, calls spread over many.
//!
//! Each figure is beside the same thing done by hand on the same runtime, in the same run. Client and
//! server are two processes: this program starts itself.
//!
//! `cargo bench -p bowline-benches --bench servers --all-features [-- --quick] [-- --only memory|broadcast|accept|calls]`

#![allow(missing_docs, reason = "a program")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bowline::frame::buffstreams::Buffstreams;
use bowline::{AcceptLimits, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROLE: &str = "BOWLINE_BENCH_ROLE";
/// Asks for a number: how much memory there is, mostly.
const MEMORY: &str = "?";
/// The same, after a call on each connection.
const CALL: &str = "call";
const HEARTBEAT: Duration = Duration::from_secs(1);
const BODY: [u8; 110] = [7; 110];

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let args: Vec<String> = std::env::args().collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1)).cloned();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("memory") {
        memory(if quick { 1_000 } else { 9_900 });
    }
    if wanted("broadcast") {
        broadcast(if quick { 200 } else { 1_000 }, if quick { 3 } else { 7 });
    }
    if wanted("accept") {
        accept(if quick { 3 } else { 7 });
    }
    if wanted("calls") {
        calls(if quick { 3 } else { 7 });
    }
}

// Other processes of this program.

struct Other {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, stdin, stdout }
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it speaks");
        line.trim().to_owned()
    }

    /// Asks for a number.
    fn ask(&mut self, what: &str) -> u64 {
        writeln!(self.stdin, "{what}").expect("it listens");
        self.hear().parse().expect("a number")
    }

    fn end(mut self) {
        drop(self.stdin);
        let _ = self.process.wait();
    }
}

/// Says something to the process that started this one.
fn say(what: impl std::fmt::Display) {
    println!("{what}");
    std::io::stdout().flush().expect("it listens");
}

/// Answers every line that comes, until there are no more.
fn answer_until_told(answer: impl Fn(&str) -> u64) {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        say(answer(&line));
    }
}

/// Says how much memory the process has whenever it is asked, and makes the calls before it, if those are wanted.
fn tell_memory(call: impl Fn()) {
    answer_until_told(|line| {
        if line == CALL {
            call();
        }
        resident()
    });
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this system tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

fn play(role: &str) {
    let parts: Vec<&str> = role.split(' ').collect();
    match parts[..] {
        ["serve", runtime] => serve(runtime),
        ["connect", runtime, address, count] => connect(runtime, address, count.parse().expect("a number")),
        ["sink", address, count] => sink(address, count.parse().expect("a number")),
        ["knock", address] => knock(address),
        ["serve-calls", kind] => serve_calls(kind),
        _ => panic!("no such role: {role}"),
    }
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn config() -> Config {
    let mut limits = AcceptLimits::default();
    limits.handshake_memory = 1 << 30;
    Config::builder().heartbeat(HEARTBEAT).accept_limits(limits).build().expect("sound")
}

// Memory.

fn serve(runtime: &str) {
    match runtime {
        "tokio" => tokio_runtime().block_on(async {
            let server = bowline::tokio::Server::with_config(config());
            let server = server
                .on_request(|r| async move { Ok(r.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("free");
            server.start().expect("a runtime");
            say(server.local_addr());
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "tokio-bare" => tokio_runtime().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free");
            say(listener.local_addr().expect("bound"));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(wait_tokio(stream));
                }
            });
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "smol" => smol::block_on(async {
            let server = bowline::smol::Server::with_config(config());
            let server = server
                .on_request(|r| async move { Ok(r.into_body()) })
                .bind("127.0.0.1:0")
                .await
                .expect("free");
            server.start().expect("a runtime");
            say(server.local_addr());
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "smol-bare" => smol::block_on(async {
            let listener = smol::Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("free");
            say(listener.get_ref().local_addr().expect("bound"));
            smol::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    smol::spawn(wait_smol(stream)).detach();
                }
            })
            .detach();
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "blocking" => {
            let server = bowline::blocking::Server::with_config(config());
            let server = server.on_request_inline(|_, r, out| {
                out.extend_from_slice(r.body);
                Ok(())
            });
            let server = server.bind("127.0.0.1:0").expect("free");
            server.start().expect("a thread");
            say(server.local_addr());
            tell_memory(|| {});
        }
        "blocking-bare" => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("free");
            say(listener.local_addr().expect("bound"));
            std::thread::spawn(move || wait_registered(listener.incoming().flatten()));
            tell_memory(|| {});
        }
        _ => panic!("no such runtime: {runtime}"),
    }
}

/// A task that waits for something to read, with as little as there can be.
async fn wait_tokio(stream: tokio::net::TcpStream) {
    // The first answer is what the runtime guesses.
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// One thread that waits for all of them, with as little as there can be: a registered socket each.
fn wait_registered(streams: impl Iterator<Item = TcpStream>) {
    let mut poll = mio::Poll::new().expect("a selector");
    let mut sockets = Vec::new();
    for stream in streams {
        stream.set_nonblocking(true).expect("an option");
        let (mut socket, token) = (mio::net::TcpStream::from_std(stream), mio::Token(sockets.len()));
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        poll.registry().register(&mut socket, token, both).expect("a place");
        sockets.push(socket);
    }
    let mut events = mio::Events::with_capacity(256);
    while poll.poll(&mut events, None).is_ok() {
        for event in &events {
            let _ = sockets[event.token().0].read(&mut [0; 64]);
        }
    }
}

async fn wait_smol(stream: smol::Async<TcpStream>) {
    let _ = stream.read_with(|mut stream| stream.read(&mut [0; 64])).await;
}

fn connect(runtime: &str, address: &str, count: usize) {
    let address = address.to_owned();
    let plain = || -> std::net::SocketAddr { address.parse().expect("an address") };
    match runtime {
        "tokio" => tokio_runtime().block_on(async {
            say(resident());
            let (mut clients, config) = (Vec::new(), config());
            for _ in 0..count {
                let builder = bowline::tokio::Client::with_config(&address, config.clone());
                clients.push(builder.connect().await.expect("it listens"));
            }
            say("ready");
            let runtime = tokio::runtime::Handle::current();
            let call = move || {
                runtime.block_on(async {
                    for client in &clients {
                        client.call(1, &BODY).await.expect("an answer");
                    }
                });
            };
            tokio::task::spawn_blocking(|| tell_memory(call)).await.expect("no panic");
        }),
        "tokio-bare" => tokio_runtime().block_on(async {
            say(resident());
            for _ in 0..count {
                let stream = tokio::net::TcpStream::connect(plain()).await.expect("it listens");
                tokio::spawn(wait_tokio(stream));
            }
            say("ready");
            tokio::task::spawn_blocking(|| tell_memory(|| {})).await.expect("no panic");
        }),
        "smol" => smol::block_on(async {
            say(resident());
            let (mut clients, config) = (Vec::new(), config());
            for _ in 0..count {
                let builder = bowline::smol::Client::with_config(&address, config.clone());
                clients.push(builder.connect().await.expect("it listens"));
            }
            say("ready");
            let call = move || {
                smol::block_on(async {
                    for client in &clients {
                        client.call(1, &BODY).await.expect("an answer");
                    }
                });
            };
            smol::unblock(|| tell_memory(call)).await;
        }),
        "smol-bare" => smol::block_on(async {
            say(resident());
            for _ in 0..count {
                let stream = smol::Async::<TcpStream>::connect(plain()).await.expect("it listens");
                smol::spawn(wait_smol(stream)).detach();
            }
            say("ready");
            smol::unblock(|| tell_memory(|| {})).await;
        }),
        "blocking" => {
            say(resident());
            let config = config();
            let connect = |_| bowline::blocking::Client::with_config(&address, config.clone()).connect();
            let clients: Vec<_> = (0..count).map(|at| connect(at).expect("it listens")).collect();
            say("ready");
            tell_memory(|| {
                for client in &clients {
                    client.call(1, &BODY).expect("an answer");
                }
            });
        }
        "blocking-bare" => {
            say(resident());
            let streams: Vec<_> =
                (0..count).map(|_| TcpStream::connect(&address).expect("it listens")).collect();
            std::thread::spawn(move || wait_registered(streams.into_iter()));
            say("ready");
            tell_memory(|| {});
        }
        _ => panic!("no such runtime: {runtime}"),
    }
}

/// Bytes a connection takes on each side: idle, and some heartbeats after a call on each.
fn idle(runtime: &str, count: usize) -> [[f64; 2]; 2] {
    let mut server = Other::start(&format!("serve {runtime}"));
    let address = server.hear();
    let before = server.ask(MEMORY);
    let mut client = Other::start(&format!("connect {runtime} {address} {count}"));
    let client_before: u64 = client.hear().parse().expect("a number");
    assert_eq!(client.hear(), "ready");
    let measured = [MEMORY, CALL].map(|first| {
        client.ask(first);
        std::thread::sleep(HEARTBEAT * 7 / 2);
        let sides = [(server.ask(MEMORY), before), (client.ask(MEMORY), client_before)];
        sides.map(|(after, before)| after.saturating_sub(before) as f64 / count as f64)
    });
    client.end();
    server.end();
    measured
}

fn memory(count: usize) {
    println!("\nresident memory of a connection, bytes, after three heartbeats");
    println!(
        "{:>10} {:>7}  {:>12}  {:>22}  {:>22}",
        "runtime", "n", "", "server (bare, above)", "client (bare, above)"
    );
    for runtime in ["tokio", "smol", "blocking"] {
        let measured = idle(runtime, count);
        let [[bare_server, bare_client], _] = idle(&format!("{runtime}-bare"), count);
        for (when, [server, client]) in ["idle", "after a call"].into_iter().zip(measured) {
            println!(
                "{runtime:>10} {count:>7}  {when:>12}  {server:>7.0} ({bare_server:.0}, {:.0})  {client:>7.0} ({bare_client:.0}, {:.0})",
                server - bare_server,
                client - bare_client
            );
        }
    }
}

// Broadcast.

/// Reads and throws away.
fn sink(address: &str, count: usize) {
    tokio_runtime().block_on(async {
        for _ in 0..count {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                while matches!(stream.read(&mut buf).await, Ok(1..)) {}
            });
        }
        say("ready");
        tokio::task::spawn_blocking(|| answer_until_told(|_| 0)).await.expect("no panic");
    });
}

const PEERS: usize = 1_000;

fn broadcast(messages: usize, rounds: usize) {
    println!("\nbroadcast of 110 bytes to {PEERS} peers, deliveries a second (by hand: one write each)");
    let (mut ours, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one = broadcast_bowline(messages);
        let other = broadcast_by_hand(messages);
        ratios.push(one / other);
        ours.push(one);
        by_hand.push(other);
    }
    report("bowline, tokio", &mut ours);
    report("by hand", &mut by_hand);
    report("ratio", &mut ratios);
}

fn broadcast_bowline(messages: usize) -> f64 {
    let runtime = tokio_runtime();
    let server = runtime.block_on(async {
        let config = Config::with_framing(Buffstreams::new()).build().expect("sound");
        let server = bowline::tokio::Server::with_config(config).bind("127.0.0.1:0").await.expect("free");
        server.start().expect("a runtime");
        server
    });
    let mut other = Other::start(&format!("sink {} {PEERS}", server.local_addr()));
    assert_eq!(other.hear(), "ready");
    while server.hub().len() < PEERS {
        std::thread::sleep(Duration::from_millis(1));
    }
    let frame = 113;
    let begun = Instant::now();
    let mut sent = 0;
    for _ in 0..messages {
        sent += server.broadcast(0, &BODY).queued;
    }
    assert_eq!(sent, messages * PEERS, "room for all");
    let want = (messages * frame) as u64;
    let peers = server.hub().peers();
    while peers.iter().any(|peer| peer.counters().bytes_out < want) {
        std::thread::yield_now();
    }
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    other.end();
    runtime.shutdown_background();
    rate
}

fn broadcast_by_hand(messages: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let mut other = Other::start(&format!("sink {} {PEERS}", listener.local_addr().expect("bound")));
    let streams: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("an option");
            stream
        })
        .collect();
    assert_eq!(other.hear(), "ready");
    let mut frame = vec![110, 0, 0];
    frame.extend_from_slice(&BODY);
    let begun = Instant::now();
    for _ in 0..messages {
        for stream in &streams {
            (&*stream).write_all(&frame).expect("it reads");
        }
    }
    let rate = (messages * PEERS) as f64 / begun.elapsed().as_secs_f64();
    other.end();
    rate
}

fn report(name: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    if high < 1_000.0 {
        println!("{name:>22}  {median:>12.2}  ({low:.2} to {high:.2})");
    } else {
        println!("{name:>22}  {median:>12.0}  ({low:.0} to {high:.0})");
    }
}

// Accepting.

/// Connects, waits to be greeted and resets, as fast as it can.
fn knock(address: &str) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let knocking: Vec<_> = (0..16)
        .map(|_| {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    if !matches!(stream.read(&mut [0; 64]), Ok(1..)) {
                        continue;
                    }
                    // No port is left waiting.
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    say("ready");
    answer_until_told(|_| count.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    knocking.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn accept_rate(address: &str) -> f64 {
    let mut other = Other::start(&format!("knock {address}"));
    assert_eq!(other.hear(), "ready");
    std::thread::sleep(Duration::from_millis(200));
    let (begun, before) = (Instant::now(), other.ask(MEMORY));
    std::thread::sleep(Duration::from_secs(1));
    let rate = (other.ask(MEMORY) - before) as f64 / begun.elapsed().as_secs_f64();
    other.end();
    rate
}

fn accept(rounds: usize) {
    println!("\nconnections accepted, greeted and closed, a second");
    let (mut ours, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let runtime = tokio_runtime();
        let server = runtime.block_on(async {
            let mut limits = AcceptLimits::default();
            limits.per_second = 1_000_000;
            let config =
                Config::with_framing(Buffstreams::new()).accept_limits(limits).build().expect("sound");
            let server = bowline::tokio::Server::with_config(config).on_connect(|peer| {
                let _ = peer.try_cast(0, b"hello");
            });
            let server = server.bind("127.0.0.1:0").await.expect("free");
            server.start().expect("a runtime");
            server
        });
        let one = accept_rate(&server.local_addr().to_string());
        runtime.shutdown_background();
        let runtime = tokio_runtime();
        let address = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free");
            let address = listener.local_addr().expect("bound");
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let _ = stream.set_nodelay(true);
                        let _ = stream.write_all(b"\x05\0\0hello").await;
                        while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
                    });
                }
            });
            address
        });
        let other = accept_rate(&address.to_string());
        runtime.shutdown_background();
        ratios.push(one / other);
        ours.push(one);
        by_hand.push(other);
    }
    report("bowline, tokio", &mut ours);
    report("tokio by hand", &mut by_hand);
    report("ratio", &mut ratios);
}

// Calls over many connections.

fn serve_calls(kind: &str) {
    tokio_runtime().block_on(async {
        if kind == "bowline" {
            let server = bowline::tokio::Server::with_config(config());
            let server = server.on_request_inline(|_, request, out| {
                out.extend_from_slice(request.body);
                Ok(())
            });
            let server = server.bind("127.0.0.1:0").await.expect("free");
            server.start().expect("a runtime");
            say(server.local_addr());
        } else {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free");
            say(listener.local_addr().expect("bound"));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).expect("an option");
                    tokio::spawn(async move {
                        let mut buf = [0; 142];
                        while stream.read_exact(&mut buf).await.is_ok()
                            && stream.write_all(&buf).await.is_ok()
                        {}
                    });
                }
            });
        }
        tokio::task::spawn_blocking(|| answer_until_told(|_| 0)).await.expect("no panic");
    });
}

fn calls(rounds: usize) {
    println!("\ncalls of 110 bytes, one at a time on each of {PEERS} connections, a second");
    let (mut ours, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let [one, other] = ["bowline", "hand"].map(call_rate);
        ratios.push(one / other);
        ours.push(one);
        by_hand.push(other);
    }
    report("bowline, tokio", &mut ours);
    report("tokio by hand", &mut by_hand);
    report("ratio", &mut ratios);
}

fn call_rate(kind: &str) -> f64 {
    let mut other = Other::start(&format!("serve-calls {kind}"));
    let address = other.hear();
    let runtime = tokio_runtime();
    let rate = runtime.block_on(async {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for _ in 0..PEERS {
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            if kind == "bowline" {
                let client = bowline::tokio::Client::with_config(&address, config()).connect().await;
                let client = client.expect("it listens");
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        if client.call(1, &BODY).await.is_err() {
                            // The other process ends.
                            return;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            } else {
                let mut stream = tokio::net::TcpStream::connect(&address).await.expect("it listens");
                stream.set_nodelay(true).expect("an option");
                tokio::spawn(async move {
                    // As many bytes as a request and its header.
                    let mut buf = [7; 142];
                    while !stop.load(Ordering::Relaxed) {
                        if stream.write_all(&buf).await.is_err() || stream.read_exact(&mut buf).await.is_err()
                        {
                            // The other process ends.
                            return;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (begun, before) = (Instant::now(), count.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rate = (count.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        rate
    });
    runtime.shutdown_background();
    other.end();
    rate
}
