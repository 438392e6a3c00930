//! Calls over many connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::other::{Other, answer_until_told, say};
use crate::{BODY, PEERS, config, report, tokio_runtime};

pub(crate) fn serve_calls(kind: &str) {
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

pub(crate) fn calls(rounds: usize) {
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
