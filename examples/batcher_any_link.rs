//! A batcher over calls, over a pool that finds the leader, and over a custom sink: `cargo run --example
//! batcher_any_link`.
//!
//! Messages are collected while a batch is under way: a single sender waits for nothing, many senders share
//! round trips.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bowline::batcher::{Answers, Batch, BatchCall, EachCall, Failed, Retries, Sink};
use bowline::error::{CallError, Failure, Status};
use bowline::{CallOptions, Policy, Redirect, Reply, blocking, tokio};

const NOT_HERE: Status = Status(1_000);

/// A custom sink: lines in a file, whose positions are their offsets.
struct Lines(Mutex<File>);

impl Sink for Lines {
    type Message = String;
    type Position = u64;
    type Error = Arc<std::io::Error>;

    fn size(&self, line: &String) -> usize {
        line.len()
    }

    // A small file is written directly; a slow one should be written by a separate thread.
    async fn append(&self, batch: &mut Batch<String, u64, Arc<std::io::Error>>) {
        let (lines, answers) = batch.parts();
        let mut file = self.0.lock().expect("no panic");
        for (index, line) in lines.iter().enumerate() {
            let at = file.stream_position();
            let written = at.and_then(|at| writeln!(file, "{line}").map(|()| at));
            answers.answer(index, written.map_err(|error| Failed::maybe_appended(Arc::new(error))));
        }
    }
}

/// Each message is a call; all calls of a batch are in flight at once.
fn on_threads() -> Result<(), Box<dyn std::error::Error>> {
    let server = blocking::Server::builder()
        .on_request_inline(|_, request, reply| {
            reply.extend_from_slice(&request.body.to_ascii_uppercase());
            Ok(())
        })
        .bind("127.0.0.1:0")?;
    server.start()?;
    let client = blocking::Client::connect(server.local_addr())?;
    let batcher = blocking::Batcher::builder(EachCall::<_, Vec<u8>>::new(client, 1)).open()?;
    std::thread::scope(|scope| {
        for sender in 0..50 {
            let batcher = &batcher;
            scope.spawn(move || {
                let reply = batcher.send(format!("message {sender}")).expect("the server answers");
                assert_eq!(&reply[..], format!("MESSAGE {sender}").as_bytes());
            });
        }
    });
    batcher.close();
    let stats = batcher.stats();
    println!("threads: {} messages in {} batches", stats.appended, stats.batches);

    let log = blocking::Batcher::builder(Lines(Mutex::new(tempfile()?))).references::<u32>().open()?;
    let mut results = log.results();
    for number in 0..3 {
        log.send_with_reference(format!("line {number}"), number, &results)?;
    }
    for sent in results.by_ref().take(3) {
        println!("line {} is at {}", sent.reference, sent.result?);
    }
    Ok(())
}

fn tempfile() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("batcher_any_link.{}", std::process::id()));
    let file = File::create(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// A batch is one call, to the one of two servers that is the leader.
async fn on_tokio() -> Result<(), Box<dyn std::error::Error>> {
    let next = AtomicU64::new(0);
    let leader = tokio::Server::builder()
        .on_request_inline(move |_, request, reply| {
            let lines = request.body.split(|byte| *byte == b'\n').count() as u64;
            let first = next.fetch_add(lines, Ordering::Relaxed);
            (first..first + lines).for_each(|index| reply.extend_from_slice(&index.to_be_bytes()));
            Ok(())
        })
        .bind("127.0.0.1:0")
        .await?;
    leader.start()?;
    let hint = leader.local_addr().to_string();
    let follower = tokio::Server::builder()
        .on_request_inline(move |_, _, _| Err(Failure::new(NOT_HERE, &hint)))
        .bind("127.0.0.1:0")
        .await?;
    follower.start()?;
    let pool = tokio::Pool::builder()
        .policy(Policy::First)
        .endpoint(follower.local_addr())
        .endpoint(leader.local_addr())
        .redirects(|answer| match answer {
            Err(failure) if failure.status == NOT_HERE => {
                Redirect::NotHere(Some(String::from_utf8_lossy(&failure.body).into_owned()))
            }
            _ => Redirect::Here,
        });
    let pool = pool.open()?;
    let encode = |lines: &[String], body: &mut Vec<u8>| body.extend_from_slice(lines.join("\n").as_bytes());
    let decode = |reply: &Reply, answers: &mut Answers<u64, CallError>| {
        for (index, position) in reply.chunks_exact(8).enumerate() {
            let position = position.try_into().map_or(0, u64::from_be_bytes);
            answers.answer(index, Ok(position));
        }
    };
    let sink = BatchCall::new(pool.for_key("log"), CallOptions::new(1), encode, decode);
    let batcher = tokio::Batcher::builder(sink).retries(Retries::Times(3)).open()?;
    let sending: Vec<_> = (0..10).map(|n| batcher.try_send(format!("line {n}"))).collect::<Result<_, _>>()?;
    for sending in sending {
        println!("tokio: position {}", sending.await?);
    }
    batcher.close().await;
    println!("the leader is {}", pool.leader("log").unwrap_or_default());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    on_threads()?;
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(on_tokio())
}
