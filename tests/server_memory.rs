//! One memory limit over all connections of a server: hostile clients against a server in a separate process,
//! whose resident memory is measured, while a conforming client continues to be answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bowline::AcceptLimits;
use bowline::frame::native::{Hello, Native};
use bowline::frame::{Class, Framing, Kind, Meta};
use bowline::{Config, blocking};

const MIB: usize = 1 << 20;
/// The server's limit.
const LIMIT: usize = 64 * MIB;
/// The process's memory besides that of the server: threads, two for each of 100 connections, with their
/// stacks and the allocator's reserves for them.
const PROCESS: usize = 8 * MIB;
/// Bytes of a call without Bowline.
const RAW: usize = 64;
const RUNTIME: &str = "BOWLINE_TEST_RUNTIME";
const MEMORY: &str = "BOWLINE_TEST_MEMORY";
/// Only the figures whose runtime and name contain this.
const ONLY: &str = "BOWLINE_TEST_ONLY";

fn config() -> Config {
    let mut limits = AcceptLimits::default();
    limits.memory = std::env::var(MEMORY).expect("a limit").parse().expect("a number");
    Config::builder().accept_limits(limits).build().expect("sound settings")
}

/// Most memory this process had, or has, in bytes.
fn resident(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line of it");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().expect("a number") * 1024
}

fn answer(request: &[u8]) -> Vec<u8> {
    let len = u32::from_be_bytes(request[..4].try_into().expect("four bytes"));
    vec![7; len as usize]
}

/// Sockets and threads without Bowline, in the server's process: the effect of the machine's scheduler alone
/// on a call during the attack. Returns the address.
fn raw_echo() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            std::thread::spawn(move || {
                let mut message = [0; RAW];
                while stream.read_exact(&mut message).is_ok() {
                    if message[0] == 1 {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    stream.write_all(&message).expect("it reads");
                }
            });
        }
    });
    address
}

/// The other process: serves until its input ends.
#[test]
#[ignore = "the other process of this file's tests"]
fn serve() {
    println!("raw {}", raw_echo());
    let before = resident("VmRSS:");
    match std::env::var(RUNTIME).as_deref() {
        Ok("tokio") => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = bowline::tokio::Server::with_config(config())
                    .on_request(|request| async move {
                        if request.method() == 1 {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        Ok(answer(request.body()))
                    })
                    .bind("127.0.0.1:0")
                    .await
                    .expect("a free port");
                println!("at {}", server.local_addr());
                server.start().expect("a runtime");
                let over = std::thread::spawn(|| std::io::stdin().lines().count());
                while !over.is_finished() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                println!("closed {}", server.accept_counters().closed_for_memory);
            });
        }
        Ok("threads") => {
            let server = blocking::Server::with_config(config())
                .on_request(|request| {
                    if request.method() == 1 {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    Ok(answer(request.body()))
                })
                .bind("127.0.0.1:0")
                .expect("a free port");
            println!("at {}", server.local_addr());
            server.start().expect("threads");
            std::io::stdin().lines().for_each(drop);
            println!("closed {}", server.accept_counters().closed_for_memory);
        }
        other => panic!("no such runtime: {other:?}"),
    }
    println!("grew {}", resident("VmHWM:") - before);
}

struct Served {
    process: Child,
    input: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    address: String,
    /// Of its [`raw_echo`].
    raw: String,
}

impl Served {
    fn start(runtime: &str, limit: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "serve", "--ignored", "--nocapture"])
            .env(RUNTIME, runtime)
            .env(MEMORY, limit.to_string())
            // Freed memory is returned to the system: this test is about the server's memory, not about the
            // allocator's reserves for each of its threads.
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let input = process.stdin.take();
        let mut served = Self { process, input, lines, address: String::new(), raw: String::new() };
        served.raw = served.expect("raw ");
        served.address = served.expect("at ");
        served
    }

    fn expect(&mut self, prefix: &str) -> String {
        let found = self.lines.find_map(|line| line.ok()?.strip_prefix(prefix).map(str::to_owned));
        found.unwrap_or_else(|| panic!("the other process never said {prefix}"))
    }

    /// The number of connections that it closed, and the growth of its memory in bytes.
    fn end(mut self) -> (u64, usize) {
        drop(self.input.take());
        let closed = self.expect("closed ").parse().expect("a number");
        let grew = self.expect("grew ").parse().expect("a number");
        assert!(self.process.wait().expect("a child").success());
        (closed, grew)
    }
}

fn hello() -> Vec<u8> {
    let (mut out, mut body) = (Vec::new(), Vec::new());
    Hello::new().encode(&mut body);
    let mark = Native::new().begin(&mut out, &Meta::new(Kind::Hello, 0), &[]).expect("a frame");
    out.extend_from_slice(&body);
    Native::new().finish(&mut out, mark, 0).expect("a frame");
    out
}

/// A client that sends requests and never reads.
fn ask(address: &str, requests: u64, method: u32, answer: usize) -> TcpStream {
    let mut bytes = hello();
    for id in 1..=requests {
        let len = u32::try_from(answer).expect("small").to_be_bytes();
        Native::new()
            .encode(&mut bytes, &Meta { method, ..Meta::new(Kind::Request, id) }, &[], &len)
            .expect("a frame");
    }
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(&bytes).expect("it reads");
    stream
}

/// Reads from all of them and discards the bytes, until `end`.
fn read_all(streams: &mut [TcpStream], end: Instant) {
    let mut room = vec![0; 64 * 1024];
    for stream in &*streams {
        stream.set_nonblocking(true).expect("an option");
    }
    while Instant::now() < end {
        // Each once per round: none waits for the others.
        let reads = streams.iter_mut().filter_map(|stream| stream.read(&mut room).ok());
        if reads.sum::<usize>() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A cast of that many bytes in fragments, after a hello; without the last one unless it is `whole`.
fn cast(len: usize, is_whole: bool) -> Vec<u8> {
    let (mut whole, mut out) = (Vec::new(), hello());
    Native::new()
        .encode(&mut whole, &Meta { class: Class::Bulk, ..Meta::new(Kind::Cast, 0) }, &[], &vec![1; len])
        .expect("a frame");
    let pieces: Vec<&[u8]> = whole.chunks(16 * 1024).collect();
    let count = if is_whole { pieces.len() } else { pieces.len() - 1 };
    for piece in &pieces[..count] {
        let meta = Meta { class: Class::Bulk, ..Meta::new(Kind::Fragment, 1) };
        Native::new().encode(&mut out, &meta, &[], piece).expect("a frame");
    }
    out
}

/// Clients that write `bytes` concurrently, as far as they are accepted, for that time.
fn write_at_once(address: &str, clients: usize, bytes: &[u8], time: Duration) -> Vec<TcpStream> {
    let mut streams: Vec<(TcpStream, usize)> = (0..clients)
        .map(|_| {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_nonblocking(true).expect("an option");
            (stream, 0)
        })
        .collect();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let mut moved = false;
        for (stream, at) in &mut streams {
            let rest = &bytes[*at..bytes.len().min(*at + 64 * 1024)];
            if let Ok(n) = stream.write(rest) {
                *at += n;
                moved |= n > 0;
            }
        }
        if !moved {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    streams.into_iter().map(|(stream, _)| stream).collect()
}

/// Calls for at least that time; each call is answered. Returns their durations, the longest last.
fn honest(address: &str, method: u32, time: Duration) -> Vec<Duration> {
    let client = blocking::Client::connect(address).expect("an honest client is let in");
    let (end, mut took) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let began = Instant::now();
        let reply = client.call(method, &64u32.to_be_bytes()[..]).expect("an honest call is answered");
        assert_eq!(reply.len(), 64);
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort();
    took
}

/// Calls without Bowline for that time. Returns their durations, the longest last.
fn raw_calls(address: &str, method: u32, time: Duration) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    let (end, mut took) = (Instant::now() + time, Vec::new());
    let mut message = [0; RAW];
    message[0] = u8::try_from(method).expect("small");
    while Instant::now() < end {
        let began = Instant::now();
        stream.write_all(&message).expect("it reads");
        stream.read_exact(&mut message).expect("it answers");
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    took.sort();
    took
}

fn check(name: &str, runtime: &str, attack: impl FnOnce(&str)) {
    let served = Served::start(runtime, LIMIT);
    attack(&served.address);
    let (closed, grew) = served.end();
    println!("{name} on {runtime}: grew by {} MiB of {}, {closed} closed", grew / MIB, LIMIT / MIB);
    assert!(grew <= LIMIT + LIMIT / 5 + PROCESS, "{name} on {runtime}: grew by {} MiB", grew / MIB);
}

fn answers_that_nobody_reads(runtime: &str) {
    for (name, method) in [("handlers that sleep", 1), ("handlers that are ready", 2)] {
        check(name, runtime, |address| {
            let _hostile: Vec<_> = (0..20).map(|_| ask(address, 300, method, MIB)).collect();
            honest(address, 2, Duration::from_millis(2500));
        });
    }
}

fn messages_that_never_end(runtime: &str) {
    check("unfinished messages", runtime, |address| {
        let bytes = cast(3 * MIB, false);
        let _hostile = write_at_once(address, 100, &bytes, Duration::from_secs(2));
        honest(address, 2, Duration::from_millis(2500));
    });
}

#[test]
fn answers_that_nobody_reads_stay_within_the_limit_on_tokio() {
    answers_that_nobody_reads("tokio");
}

#[test]
fn answers_that_nobody_reads_stay_within_the_limit_on_threads() {
    answers_that_nobody_reads("threads");
}

#[test]
fn messages_that_never_end_stay_within_the_limit_on_tokio() {
    messages_that_never_end("tokio");
}

#[test]
fn messages_that_never_end_stay_within_the_limit_on_threads() {
    messages_that_never_end("threads");
}

/// An attack with the default limit, or the same from peers that read: the server's memory, and the effect on
/// a conforming client.
fn figures_of(name: &str, runtime: &str, method: u32, attack: impl FnOnce(&str) -> Vec<TcpStream> + Send) {
    const DEFAULT: usize = 1024 * MIB;
    if std::env::var(ONLY).is_ok_and(|only| !format!("{runtime} {name}").contains(&only)) {
        return;
    }
    let served = Served::start(runtime, DEFAULT);
    let (address, raw) = (&*served.address, &*served.raw);
    let both = |time| {
        std::thread::scope(|scope| {
            let raw = scope.spawn(move || raw_calls(raw, method, time));
            let honest = scope.spawn(move || honest(address, method, time)).join();
            (honest, raw.join().expect("a socket answers"))
        })
    };
    let calm = both(Duration::from_secs(1));
    let attacked = std::thread::scope(|scope| {
        let end = Instant::now() + Duration::from_secs(4);
        let hostile = scope.spawn(move || {
            let mut streams = attack(address);
            if name.starts_with("reading") {
                read_all(&mut streams, end);
            }
            streams
        });
        let attacked = both(Duration::from_secs(4));
        // They stay until here.
        drop(hostile.join());
        attacked
    });
    let (closed, grew) = served.end();
    let ((Ok(calm), calm_raw), (Ok(attacked), attacked_raw)) = (&calm, &attacked) else {
        return println!("{runtime:8} {name:34} grew {:5} MiB, an honest call was not answered", grew / MIB);
    };
    println!("{runtime:8} {name:34} grew {:5} MiB of {}, {closed:3} closed", grew / MIB, DEFAULT / MIB);
    compare("honest calls", calm, attacked);
    compare("without Bowline", calm_raw, attacked_raw);
}

/// The effect of an attack on the same calls.
fn compare(name: &str, calm: &[Duration], attacked: &[Duration]) {
    let at = |took: &[Duration], permille: usize| took[took.len() * permille / 1000].as_secs_f64() * 1e3;
    let [calm, p50, p90, p99] = [at(calm, 990), at(attacked, 500), at(attacked, 900), at(attacked, 990)];
    println!(
        "    {name:16} p99 {calm:6.2} ms, attacked {p99:6.2} ms ({:.1}x; p50 {p50:.2}, p90 {p90:.2}, slowest {:.1})",
        p99 / calm,
        attacked[attacked.len() - 1].as_secs_f64() * 1e3,
    );
}

/// Prints figures; run it alone, on a machine with 2 GiB of free memory: `cargo test --all-features --release
/// --test server_memory figures -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute and a half, and up to 1.3 GiB"]
fn figures() {
    for runtime in ["threads", "tokio"] {
        figures_of("one that sleeps, 1 MiB", runtime, 1, |address| vec![ask(address, 450, 1, MIB)]);
        figures_of("one that is ready, 1 MiB", runtime, 2, |address| vec![ask(address, 525, 2, MIB)]);
        figures_of("40 that sleep, 4 MiB", runtime, 1, |address| {
            (0..40).map(|_| ask(address, 450, 1, 4 * MIB)).collect()
        });
        figures_of("40 that are ready, 4 MiB", runtime, 2, |address| {
            (0..40).map(|_| ask(address, 450, 2, 4 * MIB)).collect()
        });
        figures_of("reading: 40 that sleep, 4 MiB", runtime, 1, |address| {
            (0..40).map(|_| ask(address, 450, 1, 4 * MIB)).collect()
        });
        figures_of("reading: 40 that are ready, 4 MiB", runtime, 2, |address| {
            (0..40).map(|_| ask(address, 450, 2, 4 * MIB)).collect()
        });
        figures_of("500 with unfinished messages", runtime, 2, |address| {
            write_at_once(address, 500, &cast(3 * MIB, false), Duration::from_secs(4))
        });
        figures_of("500 with whole messages", runtime, 2, |address| {
            write_at_once(address, 500, &cast(3 * MIB, true), Duration::from_secs(4))
        });
    }
}
