//! monocoque: PUSH to PULL and DEALER to ROUTER of one thread, which write and read themselves.
//!
//! On tokio and not on its default, compio: on one connection its own tables have tokio ahead.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::FutureExt as _;
use monocoque::rt::TcpListener;
use monocoque::zmq::{DealerSocket, PullSocket, PushSocket, RouterSocket, SocketOptions};
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};

use super::common::{Bodies, Pace, block_on, messages_and_calls, one_way, seconds};
use crate::contender::{self, Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// To read at once, and to be collected before it is written.
const BUFFER: usize = 64 * 1024;

/// More than there are ever calls in flight.
const HIGH_WATER: usize = 100_000;

/// Between several senders and the task that has the socket.
const QUEUE: usize = 1024;

pub struct Monocoque;

impl Contender for Monocoque {
    fn name(&self) -> &'static str {
        "monocoque"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn blocks(&self, work: &Work) -> &'static [usize] {
        match work {
            Work::OneWay { .. } => contender::blocks(work),
            _ => &[],
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ready(listener.local_addr()?);
            let (stream, _) = listener.accept().await?;
            match one_way(&job.work) {
                Some((size, senders)) => {
                    count(PullSocket::from_tcp_with_options(stream, options(size, job.block)).await?, senders)
                        .await
                }
                None => echo(RouterSocket::from_tcp_with_options(stream, options(0, job.block)).await?).await,
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            match job.work {
                Work::OneWay { size, senders } => send(job, server, size, senders).await,
                Work::Calls { size, in_flight } => calls(job, server, size, in_flight).await,
                Work::Paced { size, per_second } => paced(job, server, size, per_second).await,
                _ => unreachable!("does not fit"),
            }
        })
    }
}

/// Collects messages until there are so many bytes or it is told to flush. Large ones go out as
/// they are, which saves a copy.
fn options(size: usize, block: usize) -> SocketOptions {
    SocketOptions::default()
        .with_buffer_sizes(BUFFER, BUFFER)
        .with_write_coalescing(size < BUFFER / 2)
        .with_write_coalesce_threshold(if block == 0 { BUFFER } else { block })
        // Messages that may be collected; with the default of 1000 more in flight are an error.
        .with_send_hwm(HIGH_WATER)
}

async fn count(mut socket: PullSocket, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    // Used again for each message, which saves an allocation.
    let mut frames = Vec::with_capacity(1);
    while socket.recv_into(&mut frames).await? {
        if counter.message(&frames[0], senders) {
            break;
        }
    }
    Ok(counter.tally())
}

/// Answers all that has been read before it writes.
async fn echo(mut socket: RouterSocket) -> Result<Tally> {
    let mut frames = Vec::with_capacity(2);
    while socket.recv_into(&mut frames).await? {
        socket.send_buffered(frames.clone())?;
        while socket.try_recv_into(&mut frames)? {
            socket.send_buffered(frames.clone())?;
        }
        socket.flush().await?;
    }
    Ok(Tally::default())
}

/// One sender has the socket; several hand their messages to the task that has it.
async fn send(job: &Job, server: SocketAddr, size: usize, senders: usize) -> Result<Tally> {
    let mut socket = PushSocket::connect_with_options(server, options(size, job.block)).await?;
    if senders == 1 {
        for message in Bodies::new(job, size) {
            socket.send_one(message).await?;
        }
    } else {
        let (queue, mut queued) = mpsc::channel(QUEUE);
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
        let mut batch = Vec::with_capacity(QUEUE);
        while queued.recv_many(&mut batch, QUEUE).await > 0 {
            for message in batch.drain(..) {
                socket.send_one(message).await?;
            }
            if queued.is_empty() {
                socket.flush().await?;
            }
        }
    }
    socket.flush().await?;
    Ok(Tally::default())
}

async fn dealer(server: SocketAddr, size: usize) -> Result<DealerSocket> {
    Ok(DealerSocket::connect_with_options(&format!("tcp://{server}"), options(size, 0)).await?)
}

/// The socket cannot be shared, so one task keeps `in_flight` requests on it. That favours this
/// peer: nobody waits for a reply of his own.
async fn calls(job: &Job, server: SocketAddr, size: usize, in_flight: usize) -> Result<Tally> {
    let mut socket = dealer(server, size).await?;
    let request = Bytes::from(body(size));
    let mut reply = Vec::with_capacity(1);
    let start = std::time::Instant::now();
    let (mut due, mut waiting, mut count) = (in_flight, 0, 0);
    loop {
        for _ in 0..due {
            socket.send_buffered(vec![request.clone()])?;
        }
        socket.flush().await?;
        waiting += due;
        if waiting == 0 {
            return Ok(Tally::new(count, start.elapsed().as_secs_f64()));
        }
        // As many again as have been answered.
        ensure!(socket.recv_into(&mut reply).await?, "the server went");
        let mut answered = 1;
        while socket.try_recv_into(&mut reply)? {
            answered += 1;
        }
        count += answered as u64;
        waiting -= answered;
        due = if start.elapsed() < seconds(job) { answered } else { 0 };
    }
}

/// Sends what is due and takes what has come, in turns.
async fn paced(job: &Job, server: SocketAddr, size: usize, per_second: f64) -> Result<Tally> {
    let mut socket = dealer(server, size).await?;
    let request = Bytes::from(body(size));
    let mut reply = Vec::with_capacity(1);
    let mut pace = Pace::new(per_second, seconds(job));
    while !pace.over() || pace.waits() {
        let mut any = false;
        while pace.due() {
            socket.send_buffered(vec![request.clone()])?;
            any = true;
        }
        if any {
            socket.flush().await?;
        }
        // A read that is given up has taken nothing from the socket.
        while let Some(received) = socket.recv_into(&mut reply).now_or_never() {
            ensure!(received?, "the server went");
            pace.answered();
        }
        yield_now().await;
    }
    Ok(pace.tally())
}
