//! One memory limit over all connections of a server: hostile clients against a server in a process of
//! its own, whose resident memory is looked at, while an honest client goes on being answered.

use std::io::{BufRead, BufReader, Write};
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
const RUNTIME: &str = "BOWLINE_TEST_RUNTIME";

fn config() -> Config {
    let mut limits = AcceptLimits::default();
    limits.memory = LIMIT;
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

/// The other process: serves until its input ends.
#[test]
#[ignore = "the other process of this file's tests"]
fn serve() {
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
}

impl Served {
    fn start(runtime: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "serve", "--ignored", "--nocapture"])
            .env(RUNTIME, runtime)
            // What is freed goes back to the system: this is about what the server holds, not about what
            // an allocator keeps for each of its threads.
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let input = process.stdin.take();
        let mut served = Self { process, input, lines, address: String::new() };
        served.address = served.expect("at ");
        served
    }

    fn expect(&mut self, prefix: &str) -> String {
        let found = self.lines.find_map(|line| line.ok()?.strip_prefix(prefix).map(str::to_owned));
        found.unwrap_or_else(|| panic!("the other process never said {prefix}"))
    }

    /// Connections that it closed, and by how many bytes it grew.
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

/// A client that asks and never reads.
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

/// A cast of so many bytes, but for its last fragment, behind a hello.
fn unfinished(len: usize) -> Vec<u8> {
    let (mut whole, mut out) = (Vec::new(), hello());
    Native::new()
        .encode(&mut whole, &Meta { class: Class::Bulk, ..Meta::new(Kind::Cast, 0) }, &[], &vec![1; len])
        .expect("a frame");
    let pieces: Vec<&[u8]> = whole.chunks(16 * 1024).collect();
    for piece in &pieces[..pieces.len() - 1] {
        let meta = Meta { class: Class::Bulk, ..Meta::new(Kind::Fragment, 1) };
        Native::new().encode(&mut out, &meta, &[], piece).expect("a frame");
    }
    out
}

/// Clients that write `bytes` at the same time, as far as they are taken, for so long.
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

/// Calls for at least so long; each call is answered.
fn honest(address: &str, time: Duration) -> Duration {
    let client = blocking::Client::connect(address).expect("an honest client is let in");
    let (end, mut slowest) = (Instant::now() + time, Duration::ZERO);
    while Instant::now() < end {
        let began = Instant::now();
        let reply = client.call(2, &64u32.to_be_bytes()[..]).expect("an honest call is answered");
        assert_eq!(reply.len(), 64);
        slowest = slowest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    slowest
}

fn check(name: &str, runtime: &str, attack: impl FnOnce(&str)) {
    let served = Served::start(runtime);
    attack(&served.address);
    let (closed, grew) = served.end();
    println!("{name} on {runtime}: grew by {} MiB of {}, {closed} closed", grew / MIB, LIMIT / MIB);
    // A fifth over the limit, what a runtime takes, and for each of 16 handler threads the answer
    // in its hands and the one that it has just handed over.
    assert!(
        grew <= LIMIT + LIMIT / 5 + 16 * MIB + 32 * MIB,
        "{name} on {runtime}: grew by {} MiB",
        grew / MIB
    );
}

fn answers_that_nobody_reads(runtime: &str) {
    for (name, method) in [("handlers that sleep", 1), ("handlers that are ready", 2)] {
        check(name, runtime, |address| {
            let _hostile: Vec<_> = (0..20).map(|_| ask(address, 300, method, MIB)).collect();
            honest(address, Duration::from_millis(2500));
        });
    }
}

fn messages_that_never_end(runtime: &str) {
    check("unfinished messages", runtime, |address| {
        let bytes = unfinished(3 * MIB);
        let _hostile = write_at_once(address, 100, &bytes, Duration::from_secs(2));
        honest(address, Duration::from_millis(2500));
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
