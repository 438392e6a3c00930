//! Two attempts at one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bowline::blocking::{Pool, Server};
use bowline::error::CallError;
use bowline::{CallOptions, Hedging};

const MS: Duration = Duration::from_millis(1);

/// The second attempt gets the rest of the call's time, and no more.
#[test]
fn one_deadline_is_over_both_attempts() {
    let asked = Arc::new(AtomicUsize::new(0));
    let silent = || {
        let asked = Arc::clone(&asked);
        let builder = Server::builder().on_request(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(MS * 2_000);
            Ok("too late")
        });
        let server = builder.bind("127.0.0.1:0").expect("a free port");
        server.start().expect("a thread");
        server
    };
    let servers = [silent(), silent()];
    let mut hedging = Hedging::default();
    (hedging.at_least, hedging.at_most) = (MS * 5, MS * 500);
    let mut builder = Pool::builder().hedging(hedging);
    for server in &servers {
        builder = builder.endpoint(server.local_addr());
    }
    let pool = builder.open().expect("addresses");
    pool.ready().expect("they listen");
    let (options, start) = (CallOptions::new(1).idempotent(true).timeout(MS * 600), Instant::now());
    let result = pool.call_with(options, "x");
    assert!(matches!(result, Err(CallError::DeadlineExceeded { .. })), "{result:?}");
    let took = start.elapsed();
    assert!(took >= MS * 600 && took < MS * 1_000, "{took:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "both were asked");
    pool.close();
    for server in servers {
        server.shutdown_within(Duration::ZERO);
    }
}
