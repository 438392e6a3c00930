//! zmq.rs, the ZeroMQ in Rust of the ZeroMQ project: PUSH to PULL and DEALER to ROUTER.
//!
//! Its queue for each peer holds 100 000 messages whatever their size; that cannot be set. So with
//! large messages the sender is far ahead when its time is over, and to write the rest takes as long
//! as it takes: that is part of what is measured.

use std::net::SocketAddr;

use anyhow::Result;
use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use zeromq::{
    DealerSocket, Endpoint, PullSocket, PushSocket, RouterSocket, Socket, SocketOptions, SocketRecv,
    SocketSend, ZmqMessage,
};

use super::common::{Bodies, Pace, block_on, messages_and_calls, one_way, seconds};
use crate::contender::{Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// After how many messages the task that sends makes way for the one that writes, which is four of
/// that one's batches. To send never waits before the queue is full.
const BATCH: usize = 512;

/// To read at once. Buffers start at 128 bytes and grow with what is there; to start at more
/// saves the growing.
const READ: usize = 64 * 1024;

pub struct ZmqRs;

impl Contender for ZmqRs {
    fn name(&self) -> &'static str {
        "zeromq (zmq.rs)"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            match one_way(&job.work) {
                Some((_, senders)) => count(senders, ready).await,
                None => echo(ready).await,
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let endpoint = format!("tcp://{server}");
            match job.work {
                Work::OneWay { size, senders } => send(job, &endpoint, size, senders).await,
                Work::Calls { size, in_flight } => calls(job, &endpoint, size, in_flight).await,
                Work::Paced { size, per_second } => paced(job, &endpoint, size, per_second).await,
                _ => unreachable!("does not fit"),
            }
        })
    }
}

fn socket<S: Socket>() -> S {
    let mut options = SocketOptions::default();
    options.read_buffer(READ, READ, 2);
    S::with_options(options)
}

async fn bind<S: Socket>(ready: Ready) -> Result<S> {
    let mut socket: S = socket();
    match socket.bind("tcp://127.0.0.1:0").await? {
        Endpoint::Tcp(host, port) => ready(format!("{host}:{port}").parse()?),
        other => anyhow::bail!("bound to {other}"),
    }
    Ok(socket)
}

async fn connect<S: Socket>(endpoint: &str) -> Result<S> {
    let mut socket: S = socket();
    socket.connect(endpoint).await?;
    Ok(socket)
}

async fn count(senders: usize, ready: Ready) -> Result<Tally> {
    let mut socket: PullSocket = bind(ready).await?;
    let counter = Counter::default();
    loop {
        let message = socket.recv().await?;
        if counter.message(message.get(0).map_or(&[], |frame| frame), senders) {
            return Ok(counter.tally());
        }
    }
}

/// A message comes with the name of its sender before it, and goes back just so.
async fn echo(ready: Ready) -> Result<Tally> {
    let mut socket: RouterSocket = bind(ready).await?;
    loop {
        let message = socket.recv().await?;
        socket.send(message).await?;
    }
}

/// One sender has the socket; several hand their messages to the task that has it.
async fn send(job: &Job, endpoint: &str, size: usize, senders: usize) -> Result<Tally> {
    let mut socket: PushSocket = connect(endpoint).await?;
    if senders == 1 {
        for (sent, message) in Bodies::new(job, size).enumerate() {
            socket.send(message.into()).await?;
            if sent % BATCH == 0 {
                yield_now().await;
            }
        }
    } else {
        let (queue, mut queued) = mpsc::channel(BATCH);
        for _ in 0..senders {
            let (bodies, queue) = (Bodies::new(job, size), queue.clone());
            spawn_local(async move {
                for message in bodies {
                    if queue.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
        drop(queue);
        while let Some(message) = queued.recv().await {
            socket.send(message.into()).await?;
        }
    }
    // Closes the queue, whose task ends once it has written all; nothing else says so.
    drop(socket);
    while Handle::current().metrics().num_alive_tasks() > 0 {
        yield_now().await;
    }
    Ok(Tally::default())
}

/// The socket cannot be shared, so one task keeps `in_flight` requests on it. That favours this
/// peer: nobody waits for a reply of his own.
async fn calls(job: &Job, endpoint: &str, size: usize, in_flight: usize) -> Result<Tally> {
    let mut socket: DealerSocket = connect(endpoint).await?;
    let request = ZmqMessage::from(body(size));
    socket.send(request.clone()).await?;
    socket.recv().await?;
    let start = std::time::Instant::now();
    for _ in 0..in_flight {
        socket.send(request.clone()).await?;
    }
    let (mut waiting, mut count) = (in_flight, 0);
    while waiting > 0 {
        socket.recv().await?;
        count += 1;
        if start.elapsed() < seconds(job) {
            socket.send(request.clone()).await?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

/// Sends what is due and takes what has come, in turns.
async fn paced(job: &Job, endpoint: &str, size: usize, per_second: f64) -> Result<Tally> {
    let mut socket: DealerSocket = connect(endpoint).await?;
    let request = ZmqMessage::from(body(size));
    socket.send(request.clone()).await?;
    socket.recv().await?;
    let mut pace = Pace::new(per_second, seconds(job));
    while !pace.over() || pace.waits() {
        while pace.due() {
            socket.send(request.clone()).await?;
        }
        while let Some(reply) = socket.recv().now_or_never() {
            reply?;
            pace.answered();
        }
        yield_now().await;
    }
    Ok(pace.tally())
}
