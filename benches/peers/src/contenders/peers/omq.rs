//! omq: PUSH to PULL, DEALER to ROUTER, REQ to REP, on a tokio runtime of one thread, as its own benchmark.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use omq::error::Error;
use omq::{
    Context, CurveKeypair, CurvePublicKey, CurveSecretKey, Endpoint, Message, Options, Socket, SocketType,
    TrySendError,
};
use tokio::task::spawn_local;

use super::common::{Bodies, Until, block_on, curve, high_water, messages_and_calls, one_way, seconds};
use crate::contender::{Contender, Counter, Ready, body};
use crate::job::{Job, Pattern, Tally, Work};

pub struct Omq {
    pub name: &'static str,
    /// It has its default limits, for the patterns.
    pub defaults: bool,
}

impl Contender for Omq {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Pattern(Pattern::Push { .. } | Pattern::Ask | Pattern::Curve { .. }) if self.defaults => {
                Ok(())
            }
            Work::Pattern(_) if self.defaults => Err("PUSH and PULL and REQ and REP stand for it"),
            _ if self.defaults => Err("the sockets with high limits stand for it"),
            Work::Paced { .. } => Err("its throughput stands for it"),
            _ => messages_and_calls(work),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            match job.work {
                Work::OneWay { size, senders } => {
                    count(bind(SocketType::Pull, high(size), ready).await?, senders).await
                }
                Work::Pattern(Pattern::Push { .. }) => {
                    count(bind(SocketType::Pull, low(), ready).await?, 1).await
                }
                Work::Pattern(Pattern::Curve { .. }) => {
                    let options = low().curve_server(keys(curve::SERVER));
                    count(bind(SocketType::Pull, options, ready).await?, 1).await
                }
                Work::Pattern(Pattern::Ask) => echo(bind(SocketType::Rep, low(), ready).await?).await,
                _ => echo(bind(SocketType::Router, high(110), ready).await?).await,
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            match job.work {
                Work::OneWay { size, senders } => {
                    debug_assert!(one_way(&job.work).is_some());
                    send(job, connect(SocketType::Push, high(size), server).await?, size, senders).await
                }
                Work::Pattern(Pattern::Push { size }) => {
                    send(job, connect(SocketType::Push, low(), server).await?, size, 1).await
                }
                Work::Pattern(Pattern::Curve { size }) => {
                    let key = CurvePublicKey::from_bytes(curve::public(curve::SERVER));
                    let options = low().curve_client(keys(curve::CLIENT), key);
                    send(job, connect(SocketType::Push, options, server).await?, size, 1).await
                }
                Work::Pattern(Pattern::Ask) => {
                    calls(job, connect(SocketType::Req, low(), server).await?, 110, 1).await
                }
                Work::Calls { size, in_flight } => {
                    calls(job, connect(SocketType::Dealer, high(size), server).await?, size, in_flight).await
                }
                _ => unreachable!("does not fit"),
            }
        })
    }
}

fn low() -> Options {
    Options::default().linger_forever()
}

fn high(size: usize) -> Options {
    let limit = high_water(size) as u32;
    low().send_hwm(limit).recv_hwm(limit)
}

fn keys(secret: [u8; 32]) -> CurveKeypair {
    let public = CurvePublicKey::from_bytes(curve::public(secret));
    CurveKeypair { public, secret: CurveSecretKey::from_bytes(secret) }
}

async fn bind(kind: SocketType, options: Options, ready: Ready) -> Result<Socket> {
    let socket = Context::current().socket(kind, options);
    let Endpoint::Tcp { port, .. } = socket.bind("tcp://127.0.0.1:0").await? else {
        bail!("no TCP endpoint")
    };
    ready(SocketAddr::from(([127, 0, 0, 1], port)));
    Ok(socket)
}

async fn connect(kind: SocketType, options: Options, server: SocketAddr) -> Result<Socket> {
    let socket = Context::current().socket(kind, options);
    socket.connect(format!("tcp://{server}").as_str()).await?;
    socket.wait_connected(1, std::time::Duration::from_secs(5)).await?;
    Ok(socket)
}

async fn receive(socket: &Socket) -> Result<Message> {
    match socket.try_recv() {
        Err(Error::WouldBlock) => Ok(socket.recv().await?),
        received => Ok(received?),
    }
}

async fn give(socket: &Socket, message: Message) -> Result<()> {
    match socket.try_send(message) {
        Err(TrySendError::Full(message)) => socket.send(message).await?,
        sent => sent.map_err(|error| anyhow::anyhow!("{error}"))?,
    }
    Ok(())
}

/// A short message lives inside the value.
fn message(body: &Bytes) -> Message {
    if body.len() <= omq::message::MAX_INLINE_MESSAGE {
        return Message::from_slice(body);
    }
    Message::single(body.clone())
}

async fn count(socket: Socket, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    loop {
        let message = receive(&socket).await?;
        if counter.message(message.get(0).context("no part")?, senders) {
            return Ok(counter.tally());
        }
    }
}

async fn echo(socket: Socket) -> Result<Tally> {
    loop {
        let message = receive(&socket).await?;
        give(&socket, message).await?;
    }
}

async fn send(job: &Job, socket: Socket, size: usize, senders: usize) -> Result<Tally> {
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (socket, bodies) = (socket.clone(), Bodies::new(job, size));
            spawn_local(async move {
                for body in bodies {
                    give(&socket, message(&body)).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    socket.close().await?;
    Ok(Tally::default())
}

/// One task keeps `in_flight` requests on the socket.
async fn calls(job: &Job, socket: Socket, size: usize, in_flight: usize) -> Result<Tally> {
    let (request, mut until) = (Bytes::from(body(size)), Until::new(job, 64 * 1024));
    give(&socket, message(&request)).await?;
    receive(&socket).await?;
    let start = Instant::now();
    for _ in 0..in_flight {
        give(&socket, message(&request)).await?;
    }
    let (mut waiting, mut count, time) = (in_flight, 0, seconds(job));
    while waiting > 0 {
        receive(&socket).await?;
        count += 1;
        if !until.over() && start.elapsed() < time {
            give(&socket, message(&request)).await?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}
