//! Connections that are accepted, greeted and closed.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bowline::frame::buffstreams::Buffstreams;
use bowline::{AcceptLimits, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::other::{MEMORY, Other, answer_until_told, say};
use crate::{report, tokio_runtime};

/// Connects, waits to be greeted and resets, as fast as it can.
pub(crate) fn knock(address: &str) {
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

pub(crate) fn accept(rounds: usize) {
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
