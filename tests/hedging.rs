//! Two attempts at one call.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline::blocking::{Pool, Server};
use bowline::error::CallError;
use bowline::{CallOptions, Hedging};

/// The call's time limit, and when its second attempt begins.
const LIMIT: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_millis(300);

/// The second attempt gets the rest of the call's time, and no more.
#[test]
fn one_deadline_is_over_both_attempts() {
    // The time left of each attempt, as its server is told, and what would answer it.
    let asked: Arc<Mutex<Vec<_>>> = Arc::default();
    let silent = || {
        let asked = Arc::clone(&asked);
        let builder = Server::builder().on_request_later(move |request, responder| {
            let left = request.remaining().expect("native requests carry it");
            asked.lock().expect("no panic").push((left, responder));
        });
        let server = builder.bind("127.0.0.1:0").expect("a free port");
        server.start().expect("a thread");
        server
    };
    let servers = [silent(), silent()];
    let mut hedging = Hedging::default();
    (hedging.at_least, hedging.at_most) = (SECOND, SECOND);
    let mut builder = Pool::builder().hedging(hedging);
    for server in &servers {
        builder = builder.endpoint(server.local_addr());
    }
    let pool = builder.open().expect("addresses");
    pool.ready().expect("they listen");
    let (options, start) = (CallOptions::new(1).idempotent(true).timeout(LIMIT), Instant::now());
    let result = pool.call_with(options, "x");
    assert!(matches!(result, Err(CallError::DeadlineExceeded { .. })), "{result:?}");
    assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
    let left: Vec<Duration> = asked.lock().expect("no panic").iter().map(|(left, _)| *left).collect();
    let [first, second] = left[..] else { panic!("both were asked: {left:?}") };
    assert!(first > second && second <= LIMIT - SECOND, "{left:?}");
    pool.close();
    for server in servers {
        server.shutdown_within(Duration::ZERO);
    }
}
