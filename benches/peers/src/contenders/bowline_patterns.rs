//! What ZeroMQ's sockets do, by Bowline's, with the limits that they have by themselves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::zmtp::kinds::{Pub, Pull, Push, Rep, Req, Sub};
use bowline::zmtp::mechanism::{Mechanism, SecretKey};
use bowline::zmtp::{Kind, Message, Socket};
use bytes::Bytes;

use super::bowline_async::{On, SMOL, TOKIO};
use super::bowline_zmtp::in_task;
use super::peers::common::{Until, curve};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Pattern, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Patterns { name: "Bowline ZeroMQ, tokio, defaults", on: TOKIO }),
        Box::new(Patterns { name: "Bowline ZeroMQ, smol, defaults", on: SMOL }),
    ]
}

struct Patterns<R> {
    name: &'static str,
    on: On<R>,
}

impl<R: Runtime<Style = Awaits>> Contender for Patterns<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Pattern(_) => Ok(()),
            _ => Err("the sockets with high limits stand for it"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let Work::Pattern(pattern) = job.work else { return Ok(Tally::default()) };
        (self.on.block_on)(Box::pin(async move {
            match pattern {
                Pattern::Push { .. } => in_task::<R, _>(count(bind::<R, Pull>(ready)?, 1)).await,
                Pattern::Curve { .. } => {
                    let pull = Socket::builder()
                        .options(|options| {
                            options.mechanism(curve_server()).allowed_keys([curve::public(curve::CLIENT)])
                        })
                        .open()?;
                    in_task::<R, _>(count(bound::<R, Pull>(pull, ready)?, 1)).await
                }
                Pattern::FanIn { pushers } => in_task::<R, _>(count(bind::<R, Pull>(ready)?, pushers)).await,
                Pattern::Ask => in_task::<R, _>(answer(bind::<R, Rep>(ready)?)).await,
                Pattern::Publish { subscribers, one_in } => {
                    in_task::<R, _>(publish(bind::<R, Pub>(ready)?, subscribers, one_in)).await
                }
                Pattern::Inproc => {
                    // The driving side does it all.
                    ready(SocketAddr::from(([127, 0, 0, 1], 0)));
                    std::future::pending().await
                }
            }
        }))
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let Work::Pattern(pattern) = job.work else { return Ok(Tally::default()) };
        let job = job.clone();
        let endpoint = format!("tcp://{server}");
        (self.on.block_on)(Box::pin(async move {
            match pattern {
                Pattern::Push { size } => {
                    in_task::<R, _>(push::<R>(Socket::new(), endpoint, Until::new(&job, size), size)).await?
                }
                Pattern::Curve { size } => {
                    let socket = Socket::<R, Push>::builder()
                        .options(|options| options.mechanism(curve_client()))
                        .open()?;
                    in_task::<R, _>(push::<R>(socket, endpoint, Until::new(&job, size), size)).await?
                }
                Pattern::FanIn { pushers } => {
                    let all = (0..pushers).map(|_| {
                        in_task::<R, _>(push(
                            Socket::<R, Push>::new(),
                            endpoint.clone(),
                            Until::new(&job, 110),
                            110,
                        ))
                    });
                    futures::future::try_join_all(all).await?;
                }
                Pattern::Ask => return in_task::<R, _>(ask::<R>(endpoint, job)).await,
                Pattern::Publish { subscribers, one_in } => {
                    return subscribe::<R>(endpoint, job, subscribers, one_in).await;
                }
                Pattern::Inproc => return inproc::<R>(job).await,
            }
            Ok(Tally::default())
        }))
    }
}

fn bind<R: Runtime, K: Kind>(ready: Ready) -> Result<Socket<R, K>> {
    bound(Socket::new(), ready)
}

fn bound<R: Runtime, K: Kind>(socket: Socket<R, K>, ready: Ready) -> Result<Socket<R, K>> {
    let endpoint = socket.bind("tcp://127.0.0.1:*")?;
    ready(endpoint.strip_prefix("tcp://").context("no address")?.parse()?);
    Ok(socket)
}

async fn count<R: Runtime<Style = Awaits>>(socket: Socket<R, Pull>, senders: usize) -> Result<Tally> {
    let (counter, mut message) = (Counter::default(), Message::new());
    loop {
        socket.recv_into(&mut message).await?;
        if counter.message(&message[0], senders) {
            return Ok(counter.tally());
        }
    }
}

fn curve_server() -> Mechanism {
    Mechanism::CurveServer { secret_key: SecretKey::new(curve::SERVER) }
}

fn curve_client() -> Mechanism {
    let server_key = SecretKey::new(curve::SERVER).public_key();
    Mechanism::CurveClient { secret_key: SecretKey::new(curve::CLIENT), server_key }
}

async fn push<R: Runtime<Style = Awaits>>(
    socket: Socket<R, Push>,
    endpoint: String,
    mut until: Until,
    size: usize,
) -> Result<()> {
    socket.connect_ready(&endpoint).await?;
    let (message, large) = (body(size), Bytes::from(body(size)));
    while !until.over() {
        if size < 16 * 1024 {
            socket.send(std::hint::black_box(&message[..])).await?;
        } else {
            socket.send(large.clone()).await?;
        }
    }
    socket.send(last(size)).await?;
    socket.close().await;
    Ok(())
}

async fn answer<R: Runtime<Style = Awaits>>(socket: Socket<R, Rep>) -> Result<Tally> {
    let mut message = Message::new();
    loop {
        socket.recv_into(&mut message).await?;
        socket.send(&message).await?;
    }
}

async fn ask<R: Runtime<Style = Awaits>>(endpoint: String, job: Job) -> Result<Tally> {
    let socket = Socket::<R, Req>::new();
    socket.connect_ready(&endpoint).await?;
    let (request, mut reply, mut count) = (body(110), Message::new(), 0);
    let (start, time) = (Instant::now(), Duration::from_secs_f64(job.seconds));
    while start.elapsed() < time {
        socket.send(&request[..]).await?;
        socket.recv_into(&mut reply).await?;
        count += 1;
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

/// The number of the topic is in front. A publisher never waits: so that others have their turn it yields after 400
/// messages for each subscriber, of the 1,000 that a pipe holds.
async fn publish<R: Runtime<Style = Awaits>>(
    socket: Socket<R, Pub>,
    subscribers: usize,
    one_in: usize,
) -> Result<Tally> {
    socket.wait_for_subscribers(subscribers).await?;
    let (mut message, mut topic, mut sent) = (body(110), 0, 0);
    loop {
        message[0] = topic;
        topic = (topic + 1) % 100;
        socket.send(&message[..]).await?;
        sent += 1;
        if sent % (400 * one_in) == 0 {
            futures_yield().await;
        }
    }
}

async fn subscribe<R: Runtime<Style = Awaits>>(
    endpoint: String,
    job: Job,
    subscribers: usize,
    one_in: usize,
) -> Result<Tally> {
    let time = Duration::from_secs_f64(job.seconds);
    let mut receiving = Vec::new();
    for number in 0..subscribers {
        let socket = Socket::<R, Sub>::new();
        if one_in == 1 {
            socket.subscribe("");
        } else {
            socket.subscribe([u8::try_from(number % one_in)?]);
        }
        socket.connect_ready(&endpoint).await?;
        receiving.push(in_task::<R, _>(async move {
            let (mut message, mut count) = (Message::new(), 0);
            socket.recv_into(&mut message).await?;
            let start = Instant::now();
            while count % 64 != 0 || start.elapsed() < time {
                socket.recv_into(&mut message).await?;
                count += 1;
            }
            Ok((count, start.elapsed().as_secs_f64()))
        }));
    }
    let counts = futures::future::try_join_all(receiving).await?;
    let longest = counts.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    Ok(Tally::new(counts.iter().map(|(count, _)| count).sum(), longest))
}

/// Lets the other tasks run once.
async fn futures_yield() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// The sender has a thread of its own, as libzmq's would.
async fn inproc<R: Runtime<Style = Awaits>>(job: Job) -> Result<Tally> {
    let pull = Socket::<R, Pull>::new();
    pull.bind("inproc://peers")?;
    let sending = std::thread::spawn(move || -> Result<()> {
        let push = bowline::blocking::zmtp::Push::new();
        push.connect_ready("inproc://peers")?;
        let (message, mut until) = (body(110), Until::new(&job, 110));
        while !until.over() {
            push.send(std::hint::black_box(&message[..]))?;
        }
        push.send(last(110))?;
        push.close();
        Ok(())
    });
    let tally = in_task::<R, _>(count(pull, 1)).await?;
    sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(tally)
}
