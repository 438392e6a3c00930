//! One message to a thousand peers.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bowline::Config;
use bowline::frame::buffstreams::Buffstreams;
use tokio::io::AsyncReadExt;

use crate::other::{Other, answer_until_told, say};
use crate::{BODY, PEERS, report, tokio_runtime};

/// Reads and throws away.
pub(crate) fn sink(address: &str, count: usize) {
    tokio_runtime().block_on(async {
        for _ in 0..count {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                while matches!(stream.read(&mut buf).await, Ok(1..)) {}
            });
        }
        say("ready");
        tokio::task::spawn_blocking(|| answer_until_told(|_| 0)).await.expect("no panic");
    });
}

pub(crate) fn broadcast(messages: usize, rounds: usize) {
    println!("\nbroadcast of 110 bytes to {PEERS} peers, deliveries a second (by hand: one write each)");
    let (mut ours, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one = broadcast_bowline(messages);
        let other = broadcast_by_hand(messages);
        ratios.push(one / other);
        ours.push(one);
        by_hand.push(other);
    }
    report("bowline, tokio", &mut ours);
    report("by hand", &mut by_hand);
    report("ratio", &mut ratios);
}

fn broadcast_bowline(messages: usize) -> f64 {
    let runtime = tokio_runtime();
    let server = runtime.block_on(async {
        let config = Config::with_framing(Buffstreams::new()).build().expect("sound");
        let server = bowline::tokio::Server::with_config(config).bind("127.0.0.1:0").await.expect("free");
        server.start().expect("a runtime");
        server
    });
    let mut other = Other::start(&format!("sink {} {PEERS}", server.local_addr()));
    assert_eq!(other.hear(), "ready");
    while server.hub().len() < PEERS {
        std::thread::sleep(Duration::from_millis(1));
    }
    let frame = 113;
    let begun = Instant::now();
    let mut sent = 0;
    for _ in 0..messages {
        sent += server.broadcast(0, &BODY).queued;
    }
    assert_eq!(sent, messages * PEERS, "room for all");
    let want = (messages * frame) as u64;
    let peers = server.hub().peers();
    while peers.iter().any(|peer| peer.counters().bytes_out < want) {
        std::thread::yield_now();
    }
    let rate = sent as f64 / begun.elapsed().as_secs_f64();
    other.end();
    runtime.shutdown_background();
    rate
}

fn broadcast_by_hand(messages: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let mut other = Other::start(&format!("sink {} {PEERS}", listener.local_addr().expect("bound")));
    let streams: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("an option");
            stream
        })
        .collect();
    assert_eq!(other.hear(), "ready");
    let mut frame = vec![110, 0, 0];
    frame.extend_from_slice(&BODY);
    let begun = Instant::now();
    for _ in 0..messages {
        for stream in &streams {
            (&*stream).write_all(&frame).expect("it reads");
        }
    }
    let rate = (messages * PEERS) as f64 / begun.elapsed().as_secs_f64();
    other.end();
    rate
}
