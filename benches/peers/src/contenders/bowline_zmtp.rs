//! Bowline's ZeroMQ sockets on tokio and smol: PUSH to PULL and DEALER to ROUTER.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::zmtp::kinds::{Dealer, Pull, Push, Router};
use bowline::zmtp::{Kind, Message, Socket};
use bytes::Bytes;

use super::bowline_async::{On, SMOL, TOKIO};
use super::peers::common::{Until, high_water, messages_and_calls, one_way};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Zmtp { name: "Bowline ZeroMQ, tokio", many: false, on: TOKIO }),
        Box::new(Zmtp { name: "Bowline ZeroMQ, tokio, many", many: true, on: TOKIO }),
        Box::new(Zmtp { name: "Bowline ZeroMQ, smol", many: false, on: SMOL }),
    ]
}

/// Messages at a time.
const MANY: usize = 64;

struct Zmtp<R> {
    name: &'static str,
    /// It sends and receives several messages at a time.
    many: bool,
    on: On<R>,
}

impl<R: Runtime<Style = Awaits>> Contender for Zmtp<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Idle { .. } if !self.many => return Ok(()),
            _ => messages_and_calls(work)?,
        }
        match work {
            Work::OneWay { size: ..=1024, .. } | Work::Calls { in_flight: 16.., .. } if self.many => Ok(()),
            _ if self.many => Err("it moves short messages, several at a time"),
            Work::Paced { .. } => Err("the links stand for it"),
            _ => Ok(()),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let (work, many) = (job.work, self.many);
        (self.on.block_on)(Box::pin(async move {
            if let Work::Idle { .. } = work {
                return in_task::<R, _>(hold(bind_idle::<R>(ready)?)).await;
            }
            match one_way(&work) {
                Some((size, senders)) if many => {
                    in_task::<R, _>(count_many(bind::<R, Pull>(size, ready)?, senders)).await
                }
                Some((size, senders)) => in_task::<R, _>(count(bind::<R, Pull>(size, ready)?, senders)).await,
                None if many => in_task::<R, _>(echo_many(bind::<R, Router>(110, ready)?)).await,
                None => in_task::<R, _>(echo(bind::<R, Router>(110, ready)?)).await,
            }
        }))
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let (job, many) = (job.clone(), self.many);
        (self.on.block_on)(Box::pin(async move {
            match job.work {
                Work::OneWay { size, senders } => {
                    let socket = connect::<R, Push>(size, server).await?;
                    send(&job, socket, size, senders, many).await
                }
                Work::Calls { size, in_flight } => {
                    let dealer = connect::<R, Dealer>(size, server).await?;
                    match many {
                        true => in_task::<R, _>(calls_many(dealer, job, size, in_flight)).await,
                        false => in_task::<R, _>(calls(dealer, job, size, in_flight)).await,
                    }
                }
                Work::Idle { connections } => in_task::<R, _>(idle::<R>(server, connections)).await,
                _ => unreachable!("does not fit"),
            }
        }))
    }
}

/// Runs it in a task of the runtime, where the sockets' own are at home: what `block_on` polls has its turn less often.
pub async fn in_task<R: Runtime, T: Send + 'static>(
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (told, done) = futures::channel::oneshot::channel();
    R::spawn(async move {
        let _ = told.send(task.await);
    })?;
    done.await?
}

fn socket<R: Runtime, K: Kind>(size: usize) -> Result<Socket<R, K>> {
    let limit = bowline::QueueLimit { messages: high_water(size), bytes: 64 * 1024 * 1024 };
    Ok(Socket::builder().options(|options| options.send_limit(limit).receive_limit(limit)).open()?)
}

fn bind<R: Runtime, K: Kind>(size: usize, ready: Ready) -> Result<Socket<R, K>> {
    let socket = socket(size)?;
    let endpoint = socket.bind("tcp://127.0.0.1:*")?;
    ready(endpoint.trim_start_matches("tcp://").parse()?);
    Ok(socket)
}

async fn connect<R: Runtime<Style = Awaits>, K: Kind>(
    size: usize,
    server: SocketAddr,
) -> Result<Socket<R, K>> {
    let socket = socket(size)?;
    socket.connect_ready(&format!("tcp://{server}")).await?;
    Ok(socket)
}

async fn count<R: Runtime<Style = Awaits>>(socket: Socket<R, Pull>, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    let mut message = Message::new();
    loop {
        socket.recv_into(&mut message).await?;
        if counter.message(&message[0], senders) {
            return Ok(counter.tally());
        }
    }
}

async fn count_many<R: Runtime<Style = Awaits>>(socket: Socket<R, Pull>, senders: usize) -> Result<Tally> {
    let (counter, mut messages) = (Counter::default(), Vec::with_capacity(MANY));
    loop {
        messages.clear();
        socket.recv_many(&mut messages, MANY).await?;
        for message in &messages {
            if counter.message(&message[0], senders) {
                return Ok(counter.tally());
            }
        }
    }
}

/// One PULL, with room for so many at once.
fn bind_idle<R: Runtime>(ready: Ready) -> Result<Socket<R, Pull>> {
    let mut limits = bowline::AcceptLimits::default();
    limits.handshake_memory = 1 << 30;
    let socket = Socket::builder().accept_limits(limits).open()?;
    let endpoint = socket.bind("tcp://127.0.0.1:*")?;
    ready(endpoint.trim_start_matches("tcp://").parse()?);
    Ok(socket)
}

async fn hold<R: Runtime<Style = Awaits>>(socket: Socket<R, Pull>) -> Result<Tally> {
    loop {
        socket.recv().await?;
    }
}

/// One PUSH with so many pipes.
async fn idle<R: Runtime<Style = Awaits>>(server: SocketAddr, connections: usize) -> Result<Tally> {
    let before = crate::child::resident();
    let (socket, endpoint) = (Socket::<R, Push>::new(), format!("tcp://{server}"));
    for _ in 0..connections {
        socket.connect_ready(&endpoint).await?;
    }
    // Three heartbeats, which give back what the handshake took.
    smol::Timer::after(Duration::from_secs(32)).await;
    let resident = crate::child::resident().saturating_sub(before) as f64 / connections as f64;
    crate::child::say_idle();
    Ok(Tally { resident: Some(resident), count: connections as u64, seconds: 1.0, ..Tally::default() })
}

/// A message comes with the name of its sender before it, and goes back just so.
async fn echo<R: Runtime<Style = Awaits>>(socket: Socket<R, Router>) -> Result<Tally> {
    let mut message = Message::new();
    loop {
        socket.recv_into(&mut message).await?;
        socket.send(&message).await?;
    }
}

async fn echo_many<R: Runtime<Style = Awaits>>(socket: Socket<R, Router>) -> Result<Tally> {
    let mut messages = Vec::with_capacity(MANY);
    loop {
        messages.clear();
        socket.recv_many(&mut messages, MANY).await?;
        socket.send_many(&messages).await?;
    }
}

async fn send<R: Runtime<Style = Awaits>>(
    job: &Job,
    socket: Socket<R, Push>,
    size: usize,
    senders: usize,
    many: bool,
) -> Result<Tally> {
    let mut running = Vec::new();
    for _ in 0..senders {
        running.push(in_task::<R, _>(send_from(socket.clone(), Until::new(job, size), size, many)));
    }
    futures::future::try_join_all(running).await?;
    socket.close().await;
    Ok(Tally::default())
}

async fn send_from<R: Runtime<Style = Awaits>>(
    socket: Socket<R, Push>,
    mut until: Until,
    size: usize,
    many: bool,
) -> Result<()> {
    let (message, large) = (body(size), Bytes::from(body(size)));
    let batch = vec![&message[..]; MANY];
    while many && !until.over() {
        socket.send_many(std::hint::black_box(&batch)).await?;
    }
    while !until.over() {
        if size < 16 * 1024 {
            socket.send(std::hint::black_box(&message[..])).await?;
        } else {
            socket.send(large.clone()).await?;
        }
    }
    socket.send(last(size)).await?;
    Ok(())
}

/// One task keeps `in_flight` requests on the socket.
async fn calls<R: Runtime<Style = Awaits>>(
    socket: Socket<R, Dealer>,
    job: Job,
    size: usize,
    in_flight: usize,
) -> Result<Tally> {
    let message = body(size);
    socket.send(&message[..]).await?;
    socket.recv().await?;
    let (start, time) = (std::time::Instant::now(), Duration::from_secs_f64(job.seconds));
    for _ in 0..in_flight {
        socket.send(&message[..]).await?;
    }
    let (mut waiting, mut count, mut reply) = (in_flight, 0, Message::new());
    while waiting > 0 {
        socket.recv_into(&mut reply).await?;
        count += 1;
        if start.elapsed() < time {
            socket.send(&message[..]).await?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

/// One task answers as many replies as it got with as many requests.
async fn calls_many<R: Runtime<Style = Awaits>>(
    socket: Socket<R, Dealer>,
    job: Job,
    size: usize,
    in_flight: usize,
) -> Result<Tally> {
    let message = body(size);
    let requests = vec![&message[..]; in_flight];
    let mut replies = Vec::with_capacity(in_flight);
    socket.send(&message[..]).await?;
    socket.recv().await?;
    let (start, time) = (std::time::Instant::now(), Duration::from_secs_f64(job.seconds));
    socket.send_many(&requests).await?;
    let (mut waiting, mut count) = (in_flight, 0);
    while waiting > 0 {
        replies.clear();
        let answered = socket.recv_many(&mut replies, in_flight).await?;
        count += answered as u64;
        if start.elapsed() < time {
            socket.send_many(&requests[..answered]).await?;
        } else {
            waiting -= answered;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}
