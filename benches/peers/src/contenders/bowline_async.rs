//! Bowline on tokio, smol and async-std, with handles that all senders share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bowline::Config;
use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::links::{Client, Peer, Server};
use bytes::Bytes;
use futures::future::LocalBoxFuture;

use super::peers::common::PATTERNS;
use super::raw_tokio::BURST;
use crate::callers::{self, Caller, Spawn};
use crate::child;
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// What a message of the stream of [`Work::Mixed`] is: what it takes to be in the way.
pub const STREAMED: usize = 1024 * 1024;
/// Between heartbeats of idle connections; three of them pass before memory is looked at.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Shared { name: "Bowline, tokio", on: TOKIO, ordinary: false }),
        Box::new(Shared { name: "Bowline, smol", on: SMOL, ordinary: false }),
        Box::new(Shared { name: "Bowline, async-std", on: ASYNC_STD, ordinary: false }),
        Box::new(Shared { name: "Bowline, tokio, multi_thread", on: TOKIO_THREADS, ordinary: false }),
        Box::new(Shared { name: "Bowline, tokio, on_message", on: TOKIO, ordinary: true }),
        Box::new(Many { name: "Bowline, tokio, cast_many", on: TOKIO }),
        Box::new(Many { name: "Bowline, smol, cast_many", on: SMOL }),
    ]
}

/// What differs between the runtimes for a program that uses one.
pub struct On<R> {
    /// Runs this on the thread that asks, with an executor for local tasks.
    pub block_on: fn(LocalBoxFuture<'_, Result<Tally>>) -> Result<Tally>,
    /// Starts a task on that executor.
    pub spawn: Spawn,
    pub marker: std::marker::PhantomData<fn() -> R>,
}

pub const TOKIO: On<bowline::tokio::Tokio> = On {
    block_on: |work| super::raw_tokio::on_tokio(work),
    spawn: callers::spawn_tokio,
    marker: std::marker::PhantomData,
};

/// On the runtime `multi_thread`.
pub const TOKIO_THREADS: On<bowline::tokio::Tokio> =
    On { block_on: |work| super::raw_tokio::on_tokio_threads(work), ..TOKIO };

pub const SMOL: On<bowline::smol::Smol> = On {
    block_on: |work| smol::block_on(LOCAL.with(|local| local.run(work))),
    spawn: spawn_local,
    marker: std::marker::PhantomData,
};

pub const ASYNC_STD: On<bowline::async_std::AsyncStd> = On {
    block_on: |work| async_std::task::block_on(LOCAL.with(|local| local.run(work))),
    spawn: spawn_local,
    marker: std::marker::PhantomData,
};

thread_local! {
    // Lives as long as the thread, which is what its tasks may borrow.
    static LOCAL: &'static smol::LocalExecutor<'static> = Box::leak(Box::new(smol::LocalExecutor::new()));
}

fn spawn_local(task: LocalBoxFuture<'static, ()>) {
    LOCAL.with(|local| local.spawn(task).detach());
}

/// Handles that all senders share. An inline handler borrows each received message.
struct Shared<R> {
    name: &'static str,
    on: On<R>,
    /// An ordinary handler, an async function, owns each received message instead.
    ordinary: bool,
}

impl<R: Runtime<Style = Awaits>> Contender for Shared<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Pattern(_) => Err(PATTERNS),
            Work::OneWay { .. } => Ok(()),
            _ if self.ordinary => Err("it differs where messages are received"),
            Work::Calls { .. } | Work::Scale { .. } => Ok(()),
            _ if self.name.ends_with("multi_thread") => Err("one thread stands for it"),
            _ => Ok(()),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        serve::<R>(&self.on, job, self.ordinary, ready)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let (job, spawn) = (job.clone(), self.on.spawn);
        (self.on.block_on)(Box::pin(drive::<R>(job, server.to_string(), spawn)))
    }
}

/// Handles that all senders share. Each sender queues 64 messages with one call.
struct Many<R> {
    name: &'static str,
    on: On<R>,
}

impl<R: Runtime<Style = Awaits>> Contender for Many<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::OneWay { size: ..=1024, .. } => Ok(()),
            Work::OneWay { .. } => Err("large messages go one by one"),
            _ => Err("it sends one way"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        serve::<R>(&self.on, job, false, ready)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let (work, time) = (job.work, Duration::from_secs_f64(job.seconds));
        (self.on.block_on)(Box::pin(async move {
            let Work::OneWay { size, senders } = work else { return Ok(Tally::default()) };
            let client = Client::<R>::with_config(&server.to_string(), config(&work)).connect().await?;
            from_tasks::<R, _>(&client, senders, move |client| send_many(client, size, time)).await?;
            client.close().await;
            Ok(Tally::default())
        }))
    }
}

async fn send_many<R: Runtime<Style = Awaits>>(client: Client<R>, size: usize, time: Duration) -> Result<()> {
    let (message, start) = (body(size), Instant::now());
    let many = vec![&message[..]; 64];
    while start.elapsed() < time {
        client.cast_many(1, std::hint::black_box(&many)).await?;
    }
    let _ = client.cast(1, &last(size)).await?;
    Ok(())
}

/// Sends from so many tasks of the runtime, as a program on it would have.
async fn from_tasks<R: Runtime<Style = Awaits>, S: Future<Output = Result<()>> + Send + 'static>(
    client: &Client<R>,
    senders: usize,
    send: impl Fn(Client<R>) -> S,
) -> Result<()> {
    let mut running = Vec::new();
    for _ in 0..senders {
        let (told, done) = futures::channel::oneshot::channel();
        let sending = send(client.clone());
        R::spawn(async move {
            let _ = told.send(sending.await);
        })?;
        running.push(done);
    }
    for done in running {
        done.await??;
    }
    Ok(())
}

/// Settings as they come, but for thousands of connections at once and for frequent heartbeats.
pub fn config(work: &Work) -> Config {
    let mut builder = Config::builder();
    if let Work::Idle { .. } | Work::Scale { .. } = work {
        let mut limits = bowline::AcceptLimits::default();
        limits.handshake_memory = 1 << 30;
        builder = builder.accept_limits(limits);
    }
    if let Work::Idle { .. } = work {
        builder = builder.heartbeat(HEARTBEAT);
    }
    if let Work::Calls { in_flight: 513.., .. } | Work::Paced { .. } = work {
        // As the others' queues are: nobody waits for a place.
        builder = builder.max_in_flight(8192).max_inbound(8192);
    }
    builder.build().expect("sound")
}

/// Answers requests, counts messages; `ordinary`: by an async function that owns them.
pub fn serve<R: Runtime<Style = Awaits>>(
    on: &On<R>,
    job: &Job,
    ordinary: bool,
    ready: Ready,
) -> Result<Tally> {
    let (done, finished) = mpsc::sync_channel(1);
    let work = job.work;
    let senders = if let Work::OneWay { senders, .. } = work { senders } else { usize::MAX };
    let counter = Counter::default();
    let builder = Server::<R>::builder().config(config(&work));
    let builder = builder.on_request_inline(|_, request, reply| {
        reply.extend_from_slice(request.body);
        Ok(())
    });
    let builder = match work {
        Work::Scale { .. } => {
            builder.on_message_inline(move |peer, message| {
                // The method says which of its burst a message is.
                if message.method() == BURST as u32 {
                    let _ = peer.try_cast(1, message.body).expect("room");
                }
            })
        }
        _ if ordinary => {
            let counted = Arc::new((counter, done));
            builder.on_message(move |_, message| {
                let counted = Arc::clone(&counted);
                async move {
                    if counted.0.message(&message.body, senders) {
                        let _ = counted.1.try_send(counted.0.tally());
                    }
                }
            })
        }
        _ => builder.on_message_inline(move |_, message| {
            if counter.message(message.body, senders) {
                let _ = done.try_send(counter.tally());
            }
        }),
    };
    (on.block_on)(Box::pin(async move {
        let server = builder.bind("127.0.0.1:0").await?;
        ready(server.local_addr().to_string().parse()?);
        if let Work::OneWay { .. } = work {
            R::spawn({
                let server = server.clone();
                async move { server.serve().await }
            })?;
            let tally = smol::unblock(move || finished.recv()).await?;
            server.shutdown().await;
            return Ok(tally);
        }
        server.serve().await;
        Ok(Tally::default())
    }))
}

async fn drive<R: Runtime<Style = Awaits>>(job: Job, server: String, spawn: Spawn) -> Result<Tally> {
    let time = Duration::from_secs_f64(job.seconds);
    let connect = || Client::<R>::with_config(&server, config(&job.work)).connect();
    match job.work {
        Work::OneWay { size, senders } => {
            let client = connect().await?;
            from_tasks::<R, _>(&client, senders, move |client| send((*client).clone(), size, time)).await?;
            client.close().await;
            Ok(Tally::default())
        }
        Work::Calls { size, in_flight } => {
            let caller = Handle { client: connect().await?, message: body(size).into() };
            // Tasks of the runtime, where the link's own are at home, too.
            callers::closed_loop_by(caller, in_flight, time, |caller, loops, nth| {
                R::spawn(callers::call_in_a_loop(caller, loops, nth)).expect("a runtime");
            })
            .await
        }
        Work::Paced { size, per_second } => {
            let caller = Handle { client: connect().await?, message: body(size).into() };
            callers::open_loop(caller, per_second, time, spawn).await
        }
        Work::Idle { connections } => idle::<R>(&server, &job.work, connections, time, spawn).await,
        Work::Scale { connections } => scale::<R>(&server, &job.work, connections, time).await,
        Work::Pattern(_) => unreachable!("does not fit"),
        Work::Mixed { per_second, apart } => {
            let calls = connect().await?;
            let stream = if apart { connect().await? } else { calls.clone() };
            mixed(calls, stream, per_second, time, spawn).await
        }
    }
}

/// Casts for so long, then the one that says so.
pub async fn send<R: Runtime<Style = Awaits>>(peer: Peer<R>, size: usize, time: Duration) -> Result<()> {
    // A large body is shared, a small one copied: what a user does who cares.
    let (message, large, start) = (body(size), Bytes::from(body(size)), Instant::now());
    let mut sent = 0_u64;
    while sent % 64 != 0 || start.elapsed() < time {
        let _ = if size < 16 * 1024 {
            peer.cast(1, std::hint::black_box(&message)).await?
        } else {
            peer.cast(1, large.clone()).await?
        };
        sent += if size < 16 * 1024 { 1 } else { 64 };
    }
    let _ = peer.cast(1, &last(size)).await?;
    Ok(())
}

struct Handle<R: Runtime<Style = Awaits>> {
    client: Client<R>,
    message: Arc<[u8]>,
}

impl<R: Runtime<Style = Awaits>> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), message: Arc::clone(&self.message) }
    }
}

impl<R: Runtime<Style = Awaits>> Caller for Handle<R> {
    async fn call(&self) -> Result<()> {
        std::hint::black_box(self.client.call(1, &*self.message).await?);
        Ok(())
    }
}

/// Connects so many, waits for three heartbeats, says what memory they take; then calls once a
/// second on each.
async fn idle<R: Runtime<Style = Awaits>>(
    server: &str,
    work: &Work,
    connections: usize,
    time: Duration,
    spawn: Spawn,
) -> Result<Tally> {
    let before = child::resident();
    let mut clients = Vec::with_capacity(connections);
    let config = config(work);
    for _ in 0..connections {
        clients.push(Client::<R>::with_config(server, config.clone()).connect().await?);
    }
    smol::Timer::after(HEARTBEAT * 7 / 2).await;
    let resident = child::resident().saturating_sub(before) as f64 / connections as f64;
    child::say_idle();
    let caller =
        Rotating { clients: clients.into(), next: std::rc::Rc::default(), message: body(110).into() };
    for _ in 0..connections {
        caller.call().await?;
    }
    smol::Timer::after(HEARTBEAT * 7 / 2).await;
    let used = child::resident().saturating_sub(before) as f64 / connections as f64;
    child::say_idle();
    let mut tally = callers::open_loop(caller, connections as f64, time, spawn).await?;
    tally.resident = Some(resident);
    tally.resident_used = Some(used);
    Ok(tally)
}

/// Calls on one connection after another.
struct Rotating<R: Runtime<Style = Awaits>> {
    clients: std::rc::Rc<[Client<R>]>,
    next: std::rc::Rc<std::cell::Cell<usize>>,
    message: Arc<[u8]>,
}

impl<R: Runtime<Style = Awaits>> Clone for Rotating<R> {
    fn clone(&self) -> Self {
        Self { clients: self.clients.clone(), next: self.next.clone(), message: Arc::clone(&self.message) }
    }
}

impl<R: Runtime<Style = Awaits>> Caller for Rotating<R> {
    async fn call(&self) -> Result<()> {
        let next = self.next.get();
        self.next.set((next + 1) % self.clients.len());
        std::hint::black_box(self.clients[next].call(1, &*self.message).await?);
        Ok(())
    }
}

async fn scale<R: Runtime<Style = Awaits>>(
    server: &str,
    work: &Work,
    connections: usize,
    time: Duration,
) -> Result<Tally> {
    let (config, mut clients) = (config(work), Vec::with_capacity(connections));
    for _ in 0..connections {
        clients.push(Client::<R>::with_config(server, config.clone()).connect().await?);
    }
    let (start, mut running) = (Instant::now(), Vec::new());
    for client in clients {
        let (told, done) = futures::channel::oneshot::channel();
        R::spawn(async move {
            let bursts = async {
                let (message, mut sent) = (body(110), 0);
                while start.elapsed() < time {
                    for method in 1..=BURST as u32 {
                        let _ = client.cast(method, &message).await?;
                    }
                    client.receive().await?;
                    sent += BURST;
                }
                anyhow::Ok(sent)
            };
            let _ = told.send(bursts.await);
        })?;
        running.push(done);
    }
    let mut sent = 0;
    for done in running {
        sent += done.await??;
    }
    Ok(Tally::new(sent, start.elapsed().as_secs_f64()))
}

/// Calls one after another while large messages stream at a rate (0: the stream alone, as fast as
/// it goes, and counted).
async fn mixed<R: Runtime<Style = Awaits>>(
    calls: Client<R>,
    stream: Client<R>,
    per_second: f64,
    time: Duration,
    spawn: Spawn,
) -> Result<Tally> {
    let large = Bytes::from(body(STREAMED));
    let start = Instant::now();
    let (told, streamed) = futures::channel::oneshot::channel();
    spawn(Box::pin(async move {
        let work = async {
            let mut sent = 0_u64;
            while start.elapsed() < time {
                if per_second > 0.0 && sent as f64 > per_second * start.elapsed().as_secs_f64() {
                    smol::Timer::after(Duration::from_millis(1)).await;
                    continue;
                }
                let _ = stream.cast(1, large.clone()).await?;
                sent += 1;
            }
            anyhow::Ok(sent)
        };
        let _ = told.send(work.await);
    }));
    if per_second == 0.0 {
        return Ok(Tally::new(streamed.await??, start.elapsed().as_secs_f64()));
    }
    let (mut times, mut count, message) = (callers::times(), 0, body(110));
    while start.elapsed() < time {
        let begun = Instant::now();
        std::hint::black_box(calls.call(1, &message).await?);
        times.saturating_record(begun.elapsed().as_nanos() as u64);
        count += 1;
    }
    streamed.await??;
    let mut tally = Tally::new(count, start.elapsed().as_secs_f64());
    tally.latency = Some(callers::quantiles(&times));
    Ok(tally)
}
