//! One connection over loopback, beside raw sockets in the same run.
//!
//! `cargo bench -p bowline-benches --bench loopback [-- --quick] [-- --rounds N] [-- --seconds S]`
//!
//! Contenders take turns (A B C A B C …), so that a noisy moment of a shared machine hits them
//! alike; what counts is the median of each round's ratio to the raw sockets of that round.
//! Client and server are threads of one process.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::links;
use bowline::{CallOptions, Config, Delivery, ReconnectPolicy};

const BODY: [u8; 110] = [7; 110];
/// A cast of 110 bytes on the wire.
const CAST_BYTES: u64 = 122;
/// A request of 110 bytes on the wire; a reply takes 126.
const REQUEST_BYTES: usize = 134;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = value("--rounds").unwrap_or(if quick { 3.0 } else { 7.0 }) as usize;
    let seconds = value("--seconds").unwrap_or(if quick { 0.3 } else { 1.0 });
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let time = Duration::from_secs_f64(seconds);

    let casts: Vec<Contender> = vec![
        ("raw std::net, 64 KiB blocks", Box::new(move || raw_one_way(time))),
        ("tokio (current_thread)", Box::new(move || casts_async::<bowline::tokio::Tokio>(time, on_tokio))),
        ("smol", Box::new(move || casts_async::<bowline::smol::Smol>(time, on_smol))),
        ("async-std", Box::new(move || casts_async::<bowline::async_std::AsyncStd>(time, on_async_std))),
        ("blocking", Box::new(move || casts_blocking(time))),
    ];
    table("casts of 110 bytes, one way", &casts, rounds, &[0; 5]);

    let sessions: Vec<Contender> = vec![
        ("tokio", Box::new(move || casts_async::<bowline::tokio::Tokio>(time, on_tokio))),
        (
            "tokio, in a session",
            Box::new(move || casts_with::<bowline::tokio::Tokio>(time, on_tokio, &in_session())),
        ),
        ("tokio, 256 calls", Box::new(move || calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio))),
        (
            "tokio, 256 calls in a session",
            Box::new(move || calls_with::<bowline::tokio::Tokio>(time, 256, on_tokio, &in_session())),
        ),
    ];
    table("what a session costs, 110 bytes", &sessions, rounds, &[0, 0, 2, 2]);

    let cuts: Vec<Contender> = vec![
        ("raw tokio: connect and one round trip", Box::new(move || on_tokio_value(raw_connects(time)))),
        ("tokio: cut, and the next call's reply", Box::new(move || recoveries(time, &Config::default()))),
        ("tokio, in a session", Box::new(move || recoveries(time, &in_session()))),
    ];
    table("connections cut and made again, one after another", &cuts, rounds, &[0; 3]);

    let pings: Vec<Contender> = vec![
        ("raw std::net ping-pong", Box::new(move || raw_ping(time))),
        ("blocking, one call at a time", Box::new(move || ping_blocking(time))),
        ("raw tokio ping-pong", Box::new(move || on_tokio_value(raw_ping_tokio(time)))),
        (
            "tokio, one call at a time",
            Box::new(move || calls_async::<bowline::tokio::Tokio>(time, 1, on_tokio)),
        ),
        ("raw async-io ping-pong", Box::new(move || smol::block_on(raw_ping_smol(time)))),
        ("smol, one call at a time", Box::new(move || calls_async::<bowline::smol::Smol>(time, 1, on_smol))),
        (
            "async-std, one call at a time",
            Box::new(move || calls_async::<bowline::async_std::AsyncStd>(time, 1, on_async_std)),
        ),
    ];
    table("one call at a time, 110 bytes each way", &pings, rounds, &[0, 0, 2, 2, 4, 4, 4]);

    let many: Vec<Contender> = vec![
        (
            "tokio (current_thread)",
            Box::new(move || calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio)),
        ),
        ("smol", Box::new(move || calls_async::<bowline::smol::Smol>(time, 256, on_smol))),
        ("async-std", Box::new(move || calls_async::<bowline::async_std::AsyncStd>(time, 256, on_async_std))),
    ];
    table("256 calls in flight, a task each, 110 bytes each way", &many, rounds, &[0; 3]);

    let threads: Vec<Contender> = vec![
        ("tokio, 256 tasks", Box::new(move || calls_async::<bowline::tokio::Tokio>(time, 256, on_tokio))),
        ("blocking, 16 threads, 16 calls each", Box::new(move || calls_blocking(time, 16, 16))),
        ("blocking, 256 threads, a call each", Box::new(move || calls_blocking(time, 256, 1))),
    ];
    table("256 calls in flight, threads beside tasks, 110 bytes each way", &threads, rounds, &[0; 3]);
    let handles: Vec<Contender> = vec![
        ("tokio (current_thread)", Box::new(move || casts_async::<bowline::tokio::Tokio>(time, on_tokio))),
        ("blocking", Box::new(move || casts_blocking(time))),
    ];
    table("casts of 110 bytes, threads beside tasks", &handles, rounds, &[0; 2]);
}

type Contender = (&'static str, Box<dyn Fn() -> f64>);

/// Runs the contenders in turn and prints medians, and ratios to the contender `beside` of the
/// same round.
fn table(title: &str, contenders: &[Contender], rounds: usize, beside: &[usize]) {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (index, (_, run)) in contenders.iter().enumerate() {
            rates[index].push(run());
        }
    }
    println!("\n{title} ({rounds} rounds)");
    println!("{:<36} {:>12} {:>12} {:>12} {:>8}", "", "median /s", "min", "max", "ratio");
    for (index, (name, _)) in contenders.iter().enumerate() {
        let own = &rates[index];
        let ratios: Vec<f64> = own.iter().zip(&rates[beside[index]]).map(|(own, raw)| own / raw).collect();
        let (min, max) = own.iter().fold((f64::MAX, 0_f64), |(min, max), &r| (min.min(r), max.max(r)));
        let (median, ratio) = (median(own), median(&ratios));
        println!("{name:<36} {median:>12.0} {min:>12.0} {max:>12.0} {ratio:>8.2}");
        println!(
            "{{\"table\":{title:?},\"name\":{name:?},\"median\":{median:.0},\"min\":{min:.0},\"max\":{max:.0},\"ratio\":{ratio:.3}}}"
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// What two raw sockets move in blocks of 64 KiB, in casts' worth of bytes.
fn raw_one_way(time: Duration) -> f64 {
    let (listener, address) = listener();
    let reader = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
        while let Ok(n @ 1..) = socket.read(&mut block) {
            black_box(&block[..n]);
            bytes += n as u64;
        }
        bytes
    });
    let mut socket = TcpStream::connect(address).expect("it listens");
    let block = vec![7; 64 * 1024];
    let start = Instant::now();
    while start.elapsed() < time {
        socket.write_all(&block).expect("room");
    }
    drop(socket);
    let bytes = reader.join().expect("a count");
    (bytes / CAST_BYTES) as f64 / start.elapsed().as_secs_f64()
}

fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("an option");
        let mut message = [0; REQUEST_BYTES];
        while socket.read_exact(&mut message).is_ok() && socket.write_all(&message).is_ok() {}
    });
}

fn raw_ping(time: Duration) -> f64 {
    let (listener, address) = listener();
    echo(listener);
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).expect("room");
        socket.read_exact(&mut message).expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

async fn raw_ping_tokio(time: Duration) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            address_of.send(listener.local_addr().expect("bound")).expect("heard");
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("an option");
            let mut message = [0; REQUEST_BYTES];
            while socket.read_exact(&mut message).await.is_ok() {
                if socket.write_all(&message).await.is_err() {
                    break;
                }
            }
        });
    });
    let address = address.recv().expect("told");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

async fn raw_ping_smol(time: Duration) -> f64 {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        smol::block_on(async move {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            address_of.send(listener.local_addr().expect("bound")).expect("heard");
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("an option");
            let mut message = [0; REQUEST_BYTES];
            while socket.read_exact(&mut message).await.is_ok() {
                if socket.write_all(&message).await.is_err() {
                    break;
                }
            }
        });
    });
    let address = address.recv().expect("told");
    let mut socket = smol::net::TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("an option");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn on_tokio(work: impl Future<Output = ()>) {
    on_tokio_value(work);
}

fn on_tokio_value<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn on_smol(work: Work) {
    smol::block_on(work);
}

fn on_async_std(work: Work) {
    async_std::task::block_on(work);
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server on a thread of its own that counts casts and echoes calls. Stops when told.
fn server<R: Runtime<Style = Awaits>>(
    block_on: fn(Work),
    config: Config,
) -> (String, Arc<AtomicU64>, impl FnOnce()) {
    let (told, address) = mpsc::channel();
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let thread = std::thread::spawn(move || {
        block_on(Box::pin(async move {
            let server = links::Server::<R>::builder()
                .config(config)
                .on_message_inline(move |_, message| {
                    black_box(message.body);
                    counter.fetch_add(1, Ordering::Relaxed);
                })
                .on_request_inline(|_, request, reply| {
                    reply.extend_from_slice(request.body);
                    Ok(())
                })
                .bind("127.0.0.1:0")
                .await
                .expect("a free port");
            told.send((server.local_addr().to_string(), server.clone())).expect("heard");
            server.serve().await;
            server.shutdown().await;
        }));
    });
    let (address, server) = address.recv().expect("told");
    let stop = move || {
        let shut = server.clone();
        // Only begins: the server's own thread sees it through.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut shutdown = std::pin::pin!(shut.shutdown());
        let _ = shutdown.as_mut().poll(&mut cx);
        thread.join().expect("a clean end");
    };
    (address, received, stop)
}

fn in_session() -> Config {
    Config::builder().delivery(Delivery::Session).build().expect("sound")
}

fn casts_async<R: Runtime<Style = Awaits>>(time: Duration, block_on: fn(Work)) -> f64 {
    casts_with::<R>(time, block_on, &Config::default())
}

fn casts_with<R: Runtime<Style = Awaits>>(time: Duration, block_on: fn(Work), config: &Config) -> f64 {
    let (address, received, stop) = server::<R>(block_on, config.clone());
    let config = config.clone();
    let (told, rate) = mpsc::channel();
    block_on(Box::pin(async move {
        let client = links::Client::<R>::with_config(&address, config).connect().await.expect("it listens");
        let (mut count, start) = (0_u64, Instant::now());
        while count % 1024 != 0 || start.elapsed() < time {
            let _ = client.cast(1, &BODY).await.expect("queued");
            count += 1;
        }
        client.close().await;
        told.send(received.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()).expect("heard");
    }));
    stop();
    rate.recv().expect("told")
}

fn calls_async<R: Runtime<Style = Awaits>>(time: Duration, tasks: usize, block_on: fn(Work)) -> f64 {
    calls_with::<R>(time, tasks, block_on, &Config::default())
}

fn calls_with<R: Runtime<Style = Awaits>>(
    time: Duration,
    tasks: usize,
    block_on: fn(Work),
    config: &Config,
) -> f64 {
    let (address, _, stop) = server::<R>(block_on, config.clone());
    let config = config.clone();
    let (told, rate) = mpsc::channel();
    block_on(Box::pin(async move {
        let client = links::Client::<R>::with_config(&address, config).connect().await.expect("it listens");
        let (count, running) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(tasks as u64)));
        let start = Instant::now();
        let call_in_a_loop = |client: links::Client<R>, count: Arc<AtomicU64>| async move {
            while start.elapsed() < time {
                for _ in 0..4 {
                    black_box(client.call(1, &BODY).await.expect("a reply"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        for _ in 1..tasks {
            let (work, running) = (call_in_a_loop(client.clone(), Arc::clone(&count)), Arc::clone(&running));
            R::spawn(async move {
                work.await;
                running.fetch_sub(1, Ordering::Relaxed);
            })
            .expect("a runtime");
        }
        call_in_a_loop(client.clone(), Arc::clone(&count)).await;
        let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        while running.load(Ordering::Relaxed) > 1 {
            black_box(client.call(1, &BODY).await.expect("a reply"));
        }
        client.close().await;
        told.send(rate).expect("heard");
    }));
    stop();
    rate.recv().expect("told")
}

/// Connections that are closed and made again, each with one call: how many a second.
fn recoveries(time: Duration, config: &Config) -> f64 {
    let (address, _, stop) = server::<bowline::tokio::Tokio>(on_tokio, config.clone());
    let config =
        config.to_builder().reconnect(ReconnectPolicy::fixed(Duration::ZERO)).build().expect("sound");
    let rate = on_tokio_value(async move {
        let client =
            bowline::tokio::Client::with_config(&address, config).connect().await.expect("it listens");
        let (mut count, start) = (0_u64, Instant::now());
        while start.elapsed() < time {
            let before = client.counters().connections;
            client.reconnect_now();
            let options = CallOptions::new(1).idempotent(true);
            // The first may still have gone out on the old connection.
            while client.counters().connections == before {
                black_box(client.call_with(options.clone(), &BODY).await.ok());
            }
            black_box(client.call_with(options, &BODY).await.expect("a reply"));
            count += 1;
        }
        let rate = count as f64 / start.elapsed().as_secs_f64();
        client.close().await;
        rate
    });
    stop();
    rate
}

async fn raw_connects(time: Duration) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address_of, address) = mpsc::channel();
    std::thread::spawn(move || {
        on_tokio(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            if address_of.send(listener.local_addr().expect("bound")).is_err() {
                return;
            }
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut message = [0; REQUEST_BYTES];
                    while socket.read_exact(&mut message).await.is_ok() {
                        if socket.write_all(&message).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    let address = address.recv().expect("told");
    let (mut message, mut count, start) = ([7; REQUEST_BYTES], 0_u64, Instant::now());
    while start.elapsed() < time {
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("an option");
        socket.write_all(&message).await.expect("room");
        socket.read_exact(&mut message).await.expect("an echo");
        count += 1;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn server_blocking() -> (bowline::blocking::Server, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let server = bowline::blocking::Server::builder()
        .on_message_inline(move |_, message| {
            black_box(message.body);
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(request.body);
            Ok(())
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    server.start().expect("a thread");
    (server, received)
}

fn casts_blocking(time: Duration) -> f64 {
    let (server, received) = server_blocking();
    let client = bowline::blocking::Client::connect(server.local_addr().to_string()).expect("it listens");
    let (mut count, start) = (0_u64, Instant::now());
    while count % 1024 != 0 || start.elapsed() < time {
        let _ = client.cast(1, &BODY).expect("queued");
        count += 1;
    }
    client.close();
    let rate = received.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    server.shutdown();
    rate
}

fn ping_blocking(time: Duration) -> f64 {
    let (server, _) = server_blocking();
    let client = bowline::blocking::Client::connect(server.local_addr().to_string()).expect("it listens");
    let (mut count, start) = (0_u64, Instant::now());
    while start.elapsed() < time {
        black_box(client.call(1, &BODY).expect("a reply"));
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    client.close();
    server.shutdown();
    rate
}

/// So many threads with so many calls in flight each.
fn calls_blocking(time: Duration, threads: usize, each: usize) -> f64 {
    let (server, _) = server_blocking();
    let client = bowline::blocking::Client::connect(server.local_addr()).expect("it listens");
    let start = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let call = || {
            let options = || bowline::CallOptions::new(1);
            let mut pending: std::collections::VecDeque<_> =
                (0..each).map(|_| client.start_call(options(), &BODY).expect("there is room")).collect();
            let mut count = 0;
            while start.elapsed() < time {
                black_box(pending.pop_front().expect("one is in flight").wait().expect("a reply"));
                pending.push_back(client.start_call(options(), &BODY).expect("there is room"));
                count += 1;
            }
            count
        };
        let calling: Vec<_> = (0..threads).map(|_| scope.spawn(call)).collect();
        calling.into_iter().map(|calling| calling.join().expect("no panic")).sum()
    });
    let rate = count as f64 / start.elapsed().as_secs_f64();
    client.close();
    server.shutdown();
    rate
}
