//! Batchers over a topic of a Forest Bus node, beside batches made by hand; reading, beside a pair of plain sockets.
//!
//! `cargo bench -p bowline-benches --bench batches --all-features [-- --quick] [-- --rounds N] [-- --seconds S] [-- --only PART]`
//!
//! `--only` runs the contenders whose name contains the text, and those that they are compared with.
//!
//! Messages of 110 bytes, on tokio, client and node in threads of one process. Contenders take turns, and what counts is
//! the median of each round's ratio to the contender that it is compared with. The plain pair moves the same bytes of
//! a reply of 500 messages for each request, and finds the messages in it by their heads.

use std::future::Future;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bowline::forestbus::NodeSettings;
use bowline::forestbus::protocol::{Received, Reply};
use bowline::forestbus::wire::Codec;
use bowline::tokio::Batcher;
use bowline::tokio::forestbus::{Client, Node, Topic};
use bytes::Bytes;

const BODY: [u8; 110] = [7; 110];
const TOPIC: &str = "bench";
/// Messages of a batch made by hand.
const BATCH: usize = 200;
/// Messages of a page.
const PAGE: usize = 500;
const SENDERS: usize = 256;

/// Messages a second in so much time.
type Run = fn(Duration) -> f64;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<f64>().ok()
    };
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = value("--rounds").unwrap_or(if quick { 3.0 } else { 9.0 }) as usize;
    let time = Duration::from_secs_f64(value("--seconds").unwrap_or(if quick { 0.3 } else { 1.0 }));
    let only =
        args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1)).map_or("", |only| only);
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    // Each with the place of the one that it is compared with.
    let contenders: [(&str, usize, Run); 7] = [
        ("batches of 200 by hand", 0, by_hand),
        ("256 senders, a batcher with buffer(256)", 0, waiting_senders),
        ("send_and_forget through a batcher", 0, forgetting),
        ("one message a call, by hand", 3, one_by_hand),
        ("one sender alone through a batcher", 3, one_sender),
        ("pages of 500 over a plain pair", 5, plain_pages),
        ("get_messages, pages of 500", 5, pages),
    ];
    let is_wanted = |at: usize| {
        let is_named = |(name, beside, _): &(&str, usize, Run)| *beside == at && name.contains(only);
        contenders[at].0.contains(only) || contenders.iter().any(is_named)
    };
    let mut rates = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (at, (.., run)) in contenders.iter().enumerate().filter(|(at, _)| is_wanted(*at)) {
            rates[at].push(run(time));
        }
    }
    println!("{:<40} {:>12} {:>10} {:>10} {:>7}", "messages /s", "median", "min", "max", "ratio");
    for ((name, beside, _), own) in contenders.iter().zip(&rates).filter(|(_, own)| !own.is_empty()) {
        let ratios: Vec<f64> = own.iter().zip(&rates[*beside]).map(|(own, other)| own / other).collect();
        let (least, most) = own.iter().fold((f64::MAX, 0.0_f64), |(a, b), &rate| (a.min(rate), b.max(rate)));
        println!("{name:<40} {:>12.0} {least:>10.0} {most:>10.0} {:>7.2}", median(own), median(&ratios));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn on_tokio<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run)
}

async fn topic() -> (Node, Topic) {
    let settings = NodeSettings::new("node").topic(TOPIC);
    let node = Node::builder(settings).bind("127.0.0.1:0").await.expect("a free port");
    let client = Client::connect_to(&format!("@{}", node.local_addr())).expect("sound settings");
    client.cluster_details().await.expect("it answers");
    (node, client.topic(TOPIC))
}

/// Messages a second of what sends some of them until the time is over.
async fn rate(time: Duration, mut sends: impl AsyncFnMut() -> usize) -> f64 {
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < time {
        sent += sends().await;
    }
    sent as f64 / begun.elapsed().as_secs_f64()
}

fn by_hand(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let messages = vec![Bytes::from_static(&BODY); BATCH];
        let sends = async || {
            let sent = topic.client().send_messages(TOPIC, messages.clone()).await;
            sent.expect("appended").ids.len()
        };
        rate(time, sends).await
    })
}

fn waiting_senders(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let batcher = Batcher::builder(topic).buffer(SENDERS).open().expect("a runtime");
        let begun = Instant::now();
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let batcher = batcher.clone();
                tokio::spawn(async move {
                    let mut sent = 0;
                    while begun.elapsed() < time {
                        batcher.send(Bytes::from_static(&BODY)).await.expect("appended");
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        let mut sent = 0;
        for sender in senders {
            sent += sender.await.expect("no panic");
        }
        f64::from(sent) / begun.elapsed().as_secs_f64()
    })
}

fn forgetting(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let batcher = Batcher::builder(topic).open().expect("a runtime");
        let sender = batcher.clone();
        let (sent, begun) = tokio::spawn(async move {
            let (begun, mut sent) = (Instant::now(), 0_u64);
            while !sent.is_multiple_of(64) || begun.elapsed() < time {
                sender.send_and_forget(Bytes::from_static(&BODY)).await.expect("room");
                sent += 1;
            }
            (sent, begun)
        })
        .await
        .expect("no panic");
        batcher.close().await;
        assert_eq!(batcher.stats().appended, sent);
        sent as f64 / begun.elapsed().as_secs_f64()
    })
}

fn one_by_hand(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let sends = async || {
            let sent = topic.client().send_messages(TOPIC, [Bytes::from_static(&BODY)]).await;
            sent.expect("appended").ids.len()
        };
        rate(time, sends).await
    })
}

fn one_sender(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let batcher = Batcher::builder(topic).open().expect("a runtime");
        let sends = async || {
            batcher.send(Bytes::from_static(&BODY)).await.expect("appended");
            1
        };
        rate(time, sends).await
    })
}

fn pages(time: Duration) -> f64 {
    on_tokio(async {
        let (_node, topic) = topic().await;
        let client = topic.client();
        for _ in 0..PAGE.div_ceil(BATCH) {
            let messages = vec![Bytes::from_static(&BODY); BATCH];
            client.send_messages(TOPIC, messages).await.expect("appended");
        }
        let reads = async || {
            let page = client.get_messages(TOPIC, 1, PAGE as u32, false).await.expect("readable");
            black_box(&page.messages).len()
        };
        rate(time, reads).await
    })
}

/// One side answers each request with the reply's bytes, the other finds the messages in them.
fn plain_pages(time: Duration) -> f64 {
    const REQUEST: usize = 128;
    let messages = vec![Bytes::from_static(&BODY); PAGE];
    let received = Received { messages, next_id: PAGE as i64 + 1, ..Received::default() };
    let mut reply = Vec::new();
    Codec::new().write_reply(&Reply::Received(received), &mut reply).expect("it fits");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let answer = reply.clone();
    let node = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("it connects");
        socket.set_nodelay(true).expect("an option");
        let mut request = [0; REQUEST];
        while socket.read_exact(&mut request).is_ok() {
            socket.write_all(&answer).expect("it reads");
        }
    });
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("an option");
    // Behind the reply's head, up to its messages: each has a head of two bytes.
    let first = reply.windows(BODY.len()).position(|bytes| bytes == BODY).expect("messages") - 2;
    let (begun, mut read) = (Instant::now(), 0);
    while begun.elapsed() < time {
        socket.write_all(&[0; REQUEST]).expect("it reads");
        let mut page = vec![0; reply.len()];
        socket.read_exact(&mut page).expect("it answers");
        let (page, mut at) = (Bytes::from(page), first);
        let messages: Vec<Bytes> = (0..PAGE)
            .map(|_| {
                let len = usize::from(page[at + 1]);
                at += 2 + len;
                page.slice(at - len..at)
            })
            .collect();
        read += black_box(messages).len();
    }
    let rate = read as f64 / begun.elapsed().as_secs_f64();
    drop(socket);
    node.join().expect("no panic");
    rate
}
