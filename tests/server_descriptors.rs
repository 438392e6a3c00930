//! A session server on threads with 1,024 descriptors, while hundreds of sessions are opened and abandoned: a
//! conforming client is served all the time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bowline::frame::native::{Hello, Native, Resume, SESSION};
use bowline::frame::{Framing, Kind, Meta};
use bowline::{Config, Delivery, blocking};

const SESSIONS: usize = 700;
const TIME: Duration = Duration::from_millis(700);

fn config() -> Config {
    Config::builder().delivery(Delivery::Session).build().expect("sound settings")
}

/// Number of sessions that the other process keeps for clients that left.
const KEEP: &str = "BOWLINE_TEST_KEEP";

fn keeping() -> Config {
    let Some(most) = std::env::var(KEEP).ok().and_then(|most| most.parse().ok()) else { return config() };
    let limits = Config::builder().delivery(Delivery::Session);
    limits.max_detached(most).max_detached_per_address(most).build().expect("sound settings")
}

/// The other process: serves until its input ends, and reports the resources that it used.
#[test]
#[ignore = "the other process of this file's test"]
fn serve() {
    let server = blocking::Server::with_config(keeping())
        .on_request(|request| Ok(request.body().to_vec()))
        .bind("127.0.0.1:0")
        .expect("a free port");
    println!("at {}", server.local_addr());
    server.start().expect("threads");
    let over = std::thread::spawn(|| std::io::stdin().lines().count());
    let (mut descriptors, mut threads) = (0, 0);
    while !over.is_finished() {
        let count = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
        descriptors = descriptors.max(count("/proc/self/fd"));
        threads = threads.max(count("/proc/self/task"));
        std::thread::sleep(Duration::from_millis(5));
    }
    // The server notices that a client left only when its I/O thread handles that connection.
    let wanted = std::env::var(KEEP)
        .ok()
        .and_then(|most| most.parse::<usize>().ok())
        .map_or(0, |most| most * 9 / 10 + 1);
    let waiting =
        || server.peers().iter().filter(|peer| peer.state() == bowline::State::Disconnected).count();
    let begun = Instant::now();
    while waiting() < wanted && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let waiting = waiting();
    println!("most {descriptors} descriptors, {threads} threads; {} accept errors", server.accept_errors());
    println!("{waiting} sessions wait; {:?}", server.accept_counters());
}

fn frame(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    let mark = Native::new().begin(out, &Meta::new(kind, 0), &[]).expect("a frame");
    out.extend_from_slice(body);
    Native::new().finish(out, mark, 0).expect("a frame");
}

/// The first bytes of a client that requests a session.
fn greeting() -> Vec<u8> {
    let (mut out, mut hello) = (Vec::new(), Vec::new());
    let mut says = Hello::new();
    says.features = SESSION;
    says.encode(&mut hello);
    frame(&mut out, Kind::Hello, &hello);
    frame(&mut out, Kind::Resume, &Resume::new(0, [0; 16], 0).to_bytes());
    out
}

/// Opens sessions and abandons them at once, evenly distributed over the time.
fn open_and_leave(address: &str, sessions: usize, time: Duration) {
    let (greeting, begun) = (greeting(), Instant::now());
    for n in 0..sessions {
        let due = time * u32::try_from(n).expect("few") / sessions as u32;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(&greeting).expect("it reads");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("an option");
        assert!(stream.read(&mut [0; 256]).expect("its hello") > 0);
    }
}

fn other_process(keep: Option<usize>) -> Child {
    let this = std::env::current_exe().expect("this program");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 1024; exec \"$0\" --exact serve --ignored --nocapture"]).arg(this);
    if let Some(keep) = keep {
        command.env(KEEP, keep.to_string());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("another process")
}

/// The number before some text.
fn number_before(line: &str, what: &str) -> usize {
    let before = line.split(what).next().expect("some text").trim_end();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn sessions_without_a_connection_hold_no_thread_and_no_descriptor() {
    const MANY: usize = 10_000;
    let mut process = other_process(Some(MANY));
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| Some(line.strip_prefix("at ")?.to_owned())).expect("an address");
    open_and_leave(&address, MANY, Duration::ZERO);
    drop(process.stdin.take());
    let most = lines.find(|line| line.starts_with("most ")).expect("what it needed");
    let waiting = lines.find(|line| line.contains("sessions wait")).expect("how many wait");
    assert!(number_before(&waiting, " sessions") > MANY * 9 / 10, "{waiting}");
    assert!(number_before(&most, " descriptors") < 200, "{most}");
    // The test's two, the one that waits for input, one of the I/O group.
    assert!(number_before(&most, " threads") <= 5, "{most}");
    assert!(process.wait().expect("a child").success());
}

#[test]
fn sessions_opened_and_left_do_not_keep_an_honest_client_out() {
    let mut process = other_process(None);
    let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| Some(line.strip_prefix("at ")?.to_owned())).expect("an address");
    let (stop, slowest, served) = (AtomicBool::new(false), Duration::from_secs(2), config());
    let connected =
        blocking::Client::with_config(&address, served.clone()).connect().expect("an honest client");
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let (mut calls, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Acquire) {
                let begun = Instant::now();
                connected.call(1, b"here").expect("a client that is connected is served");
                longest = longest.max(begun.elapsed());
                calls += 1;
            }
            (calls, longest)
        });
        let arrivals = scope.spawn(|| {
            let (mut arrivals, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Acquire) {
                let begun = Instant::now();
                let client =
                    blocking::Client::with_config(&address, served.clone()).connect().expect("it is let in");
                client.call(1, b"new").expect("a client that comes is served");
                client.close();
                longest = longest.max(begun.elapsed());
                arrivals += 1;
            }
            (arrivals, longest)
        });
        open_and_leave(&address, SESSIONS, TIME);
        // Also while they are all abandoned.
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Release);
        for (what, told) in [("calls", calls.join()), ("arrivals", arrivals.join())] {
            let (count, longest) = told.expect("served");
            println!("{count} {what}, the slowest took {longest:?}");
            assert!(longest < slowest, "one of {count} {what} took {longest:?}");
        }
    });
    connected.close();
    drop(process.stdin.take());
    println!("{}", lines.find(|line| line.starts_with("most ")).expect("what it needed"));
    assert!(process.wait().expect("a child").success());
}
