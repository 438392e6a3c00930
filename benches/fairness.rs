//! Small calls beside a bulk stream: on the same connection, and with the stream on another.
//!
//! `cargo bench -p bowline-benches --bench fairness [-- --quick] [-- --rounds N] [-- --seconds S]`
//!
//! The stream casts messages of 1 MiB at half the rate that it reaches alone (measured at the
//! start of each round); calls of 110 bytes are made one after another meanwhile, and timed.
//! Contenders take turns, and what counts is the median of each round's ratio to the contender
//! with the stream on a second connection. Client and server are threads of one process.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::SocketOptions;
use bowline::tokio::{Client, Server};
use bowline::{Body, Config};

const BODY: [u8; 110] = [7; 110];
const LARGE: usize = 1 << 20;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = value("--rounds").unwrap_or(if quick { 3.0 } else { 9.0 }) as usize;
    let seconds = value("--seconds").unwrap_or(if quick { 0.3 } else { 1.0 });
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let time = Duration::from_secs_f64(seconds);
    let contenders = [
        ("calls alone", None, Stream::None),
        ("stream on a second connection", None, Stream::Second),
        ("the same connection", None, Stream::Same),
        ("the same, 16 KiB unsent at most", Some(16 * 1024), Stream::Same),
        ("the same, 128 KiB unsent at most", Some(128 * 1024), Stream::Same),
    ];
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
    let mut solo = Vec::new();
    for _ in 0..rounds {
        let rate = run(time, None, Stream::Same, None).bulk;
        solo.push(rate);
        for (figures, (_, unsent, stream)) in all.iter_mut().zip(contenders) {
            figures.push(run(time, unsent, stream, Some(rate / 2.0)));
        }
    }
    println!("the stream alone: {:.0} MiB/s (median of {rounds})", median(&solo) / LARGE as f64);
    println!(
        "{:<36} {:>9} {:>9} {:>9} {:>10} {:>9} {:>7} {:>7}",
        "", "p50 µs", "p99 µs", "p99.9", "calls /s", "MiB/s", "p50 ×", "p99 ×"
    );
    let beside = all[1].clone();
    for ((name, ..), figures) in contenders.iter().zip(&all) {
        let of = |get: fn(&Figures) -> f64| median(&figures.iter().map(get).collect::<Vec<_>>());
        let ratio = |get: fn(&Figures) -> f64| {
            median(&figures.iter().zip(&beside).map(|(own, other)| get(own) / get(other)).collect::<Vec<_>>())
        };
        println!(
            "{name:<36} {:>9.0} {:>9.0} {:>9.0} {:>10.0} {:>9.0} {:>7.2} {:>7.2}",
            of(|f| f.p50),
            of(|f| f.p99),
            of(|f| f.p999),
            of(|f| f.calls),
            of(|f| f.bulk) / LARGE as f64,
            ratio(|f| f.p50),
            ratio(|f| f.p99),
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    None,
    Same,
    Second,
}

/// Microseconds, calls a second, bytes a second.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p99: f64,
    p999: f64,
    calls: f64,
    bulk: f64,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// With a `rate` (bytes a second): the stream at that rate, and calls. Without: the stream alone.
fn run(time: Duration, unsent: Option<u32>, stream: Stream, rate: Option<f64>) -> Figures {
    let received = Arc::new(AtomicU64::new(0));
    let (address, stop) = server(unsent, Arc::clone(&received));
    let work = async {
        let config = config(unsent);
        let connect = || Client::builder(&address).config(config.clone()).connect();
        let calling = connect().await.expect("it listens");
        let streaming = match stream {
            Stream::Second => connect().await.expect("it listens"),
            _ => calling.clone(),
        };
        let start = Instant::now();
        let large = Body::from(vec![7; LARGE]);
        let flow = tokio::spawn(async move {
            let mut sent = 0;
            while start.elapsed() < time && stream != Stream::None {
                if rate.is_some_and(|rate| sent as f64 > rate * start.elapsed().as_secs_f64()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let _ = streaming.cast(1, large.clone()).await.expect("queued");
                sent += LARGE;
            }
        });
        let mut took = Vec::new();
        while rate.is_some() && start.elapsed() < time {
            let begun = Instant::now();
            black_box(calling.call(1, &BODY).await.expect("a reply"));
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        flow.await.expect("no panic");
        let elapsed = start.elapsed().as_secs_f64();
        let bulk = received.load(Ordering::Relaxed) as f64 / elapsed;
        calling.close().await;
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or(0.0);
        Figures { p50: at(0.5), p99: at(0.99), p999: at(0.999), calls: took.len() as f64 / elapsed, bulk }
    };
    let figures = runtime().block_on(work);
    stop();
    figures
}

fn config(unsent: Option<u32>) -> Config {
    let mut sockets = SocketOptions::default();
    sockets.notsent_lowat = unsent;
    Config::builder().sockets(sockets).build().expect("sound")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A server on a thread of its own that takes casts and echoes calls.
fn server(unsent: Option<u32>, received: Arc<AtomicU64>) -> (String, impl FnOnce()) {
    let (told, address) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async move {
            let server = Server::builder()
                .config(config(unsent))
                .on_message_inline(move |_, message| {
                    received.fetch_add(black_box(message.body).len() as u64, Ordering::Relaxed);
                })
                .on_request_inline(|_, request, reply| {
                    reply.extend_from_slice(request.body);
                    Ok(())
                })
                .bind("127.0.0.1:0")
                .await
                .expect("a free port");
            told.send(server.local_addr().to_string()).expect("heard");
            server.start().expect("a runtime");
            let _ = stopped.await;
            server.shutdown().await;
        });
    });
    let address = address.recv().expect("told");
    let stop = move || {
        let _ = stop.send(());
        thread.join().expect("a clean end");
    };
    (address, stop)
}
