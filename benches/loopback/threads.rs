//! Links on threads.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::BODY;

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

pub(crate) fn casts_blocking(time: Duration) -> f64 {
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

pub(crate) fn ping_blocking(time: Duration) -> f64 {
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
pub(crate) fn calls_blocking(time: Duration, threads: usize, each: usize) -> f64 {
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
