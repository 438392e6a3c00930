//! rzmq: PUSH to PULL and DEALER to ROUTER, on tokio or with its io_uring sessions.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use futures::FutureExt as _;
use rzmq::socket::SocketEvent;
use rzmq::socket::options::{
    ADAPTIVE_THROTTLE, AUTO_DELIMITER, IO_URING_SESSION_ENABLED, LAST_ENDPOINT, RCVBUF, RCVHWM,
    SNDBATCH_BYTES, SNDBATCH_COUNT, SNDBUF, SNDHWM,
};
use rzmq::uring::{UringConfig, initialize_uring_backend};
use rzmq::{Context, Msg, Socket, SocketType};
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use super::common::{Bodies, Pace, block_on, high_water, messages_and_calls, one_way, seconds};
use crate::contender::{Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// How many messages one write collects, and how many bytes; the defaults are 128 and 256 KiB.
const BATCH: i32 = 512;
const BATCH_BYTES: i32 = 1024 * 1024;

/// Of the kernel, for large messages.
const KERNEL_BUFFER: i32 = 4 * 1024 * 1024;

/// How long the server may take for what is still queued.
const SERVER_ENDS: Duration = Duration::from_secs(5);

pub struct Rzmq {
    pub io_uring: bool,
}

impl Contender for Rzmq {
    fn name(&self) -> &'static str {
        if self.io_uring { "rzmq (io_uring)" } else { "rzmq" }
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            let context = self.context()?;
            let tally = match one_way(&job.work) {
                Some((size, senders)) => {
                    count(self.bind(&context, SocketType::Pull, size, ready).await?, senders).await
                }
                None => echo(self.bind(&context, SocketType::Router, 110, ready).await?).await,
            }?;
            context.term().await?;
            Ok(tally)
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let context = self.context()?;
            let kind = if one_way(&job.work).is_some() { SocketType::Push } else { SocketType::Dealer };
            let size = one_way(&job.work).map_or(110, |(size, _)| size);
            let socket = self.socket(&context, kind, size).await?;
            let events = socket.monitor_default().await?;
            socket.connect(&format!("tcp://{server}")).await?;
            let tally = match job.work {
                Work::OneWay { size, senders } => send(job, socket, size, senders).await,
                Work::Calls { size, in_flight } => calls(job, socket, size, in_flight).await,
                Work::Paced { size, per_second } => paced(job, socket, size, per_second).await,
                _ => unreachable!("does not fit"),
            }?;
            // With io_uring it may end before it has written what is queued (on tokio it does not),
            // so the server closes the connection when it has all.
            let gone = |event: &SocketEvent| matches!(event, SocketEvent::Disconnected { .. });
            while self.io_uring && one_way(&job.work).is_some() {
                if gone(&timeout(SERVER_ENDS, events.recv()).await??) {
                    break;
                }
            }
            context.term().await?;
            Ok(tally)
        })
    }
}

impl Rzmq {
    fn context(&self) -> Result<Context> {
        let context = Context::new()?;
        if !self.io_uring {
            return Ok(context);
        }
        // Once in a process. One connection lives on one worker, so there is one.
        static RING: OnceLock<Result<(), String>> = OnceLock::new();
        let config = UringConfig { num_workers: 1, ..UringConfig::default() };
        RING.get_or_init(|| initialize_uring_backend(config).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|error| anyhow!("no io_uring: {error}"))?;
        Ok(context.with_io_uring_sessions(true))
    }

    async fn socket(&self, context: &Context, kind: SocketType, size: usize) -> Result<Socket> {
        let socket = context.socket(kind)?;
        let high_water = high_water(size) as i32;
        socket.set_option(SNDHWM, high_water).await?;
        socket.set_option(RCVHWM, high_water).await?;
        socket.set_option(SNDBATCH_COUNT, BATCH).await?;
        socket.set_option(SNDBATCH_BYTES, BATCH_BYTES).await?;
        // Keeps the two directions of a loaded connection fair; here they are in balance.
        socket.set_option(ADAPTIVE_THROTTLE, 0i32).await?;
        if size > 1024 {
            // The two sides of large messages run more evenly; small ones gain nothing.
            socket.set_option(SNDBUF, KERNEL_BUFFER).await?;
            socket.set_option(RCVBUF, KERNEL_BUFFER).await?;
        }
        if matches!(kind, SocketType::Dealer | SocketType::Router) {
            // One frame less in each message.
            socket.set_option(AUTO_DELIMITER, 0i32).await?;
        }
        if self.io_uring {
            socket.set_option(IO_URING_SESSION_ENABLED, 1i32).await?;
        }
        Ok(socket)
    }

    async fn bind(&self, context: &Context, kind: SocketType, size: usize, ready: Ready) -> Result<Socket> {
        let socket = self.socket(context, kind, size).await?;
        socket.bind("tcp://127.0.0.1:0").await?;
        let endpoint = String::from_utf8(socket.get_option(LAST_ENDPOINT).await?)?;
        let address = endpoint.trim_end_matches('\0').strip_prefix("tcp://");
        ready(address.with_context(|| format!("bound to {endpoint}"))?.parse()?);
        Ok(socket)
    }
}

async fn count(socket: Socket, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    loop {
        let message = socket.recv().await?;
        if counter.message(message.data().unwrap_or_default(), senders) {
            return Ok(counter.tally());
        }
    }
}

/// A message comes with the name of its sender before it, and goes back just so.
async fn echo(socket: Socket) -> Result<Tally> {
    loop {
        let message = socket.recv_multipart().await?;
        socket.send_multipart(message).await?;
    }
}

/// Each sender has a clone of the socket.
async fn send(job: &Job, socket: Socket, size: usize, senders: usize) -> Result<Tally> {
    let tasks = (0..senders).map(|_| {
        let (bodies, socket) = (Bodies::new(job, size), socket.clone());
        spawn_local(async move {
            for (sent, message) in bodies.enumerate() {
                socket.send(Msg::from_bytes(message)).await?;
                // To send never waits before the queue is full; this lets the session write.
                if sent % BATCH as usize == 0 {
                    yield_now().await;
                }
            }
            anyhow::Ok(())
        })
    });
    for task in futures::future::join_all(tasks).await {
        task??;
    }
    Ok(Tally::default())
}

/// Whose reply it is the socket does not say, so one task keeps `in_flight` requests on it. That
/// favours this peer: nobody waits for a reply of his own.
async fn calls(job: &Job, socket: Socket, size: usize, in_flight: usize) -> Result<Tally> {
    let request = Bytes::from(body(size));
    socket.send(Msg::from_bytes(request.clone())).await?;
    socket.recv().await?;
    let start = Instant::now();
    for _ in 0..in_flight {
        socket.send(Msg::from_bytes(request.clone())).await?;
    }
    let (mut waiting, mut count) = (in_flight, 0);
    while waiting > 0 {
        socket.recv().await?;
        count += 1;
        if start.elapsed() < seconds(job) {
            socket.send(Msg::from_bytes(request.clone())).await?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

/// Sends what is due and takes what has come, in turns.
async fn paced(job: &Job, socket: Socket, size: usize, per_second: f64) -> Result<Tally> {
    let request = Bytes::from(body(size));
    socket.send(Msg::from_bytes(request.clone())).await?;
    socket.recv().await?;
    let mut pace = Pace::new(per_second, seconds(job));
    while !pace.over() || pace.waits() {
        while pace.due() {
            socket.send(Msg::from_bytes(request.clone())).await?;
        }
        while let Some(reply) = socket.recv().now_or_never() {
            reply?;
            pace.answered();
        }
        yield_now().await;
    }
    Ok(pace.tally())
}
