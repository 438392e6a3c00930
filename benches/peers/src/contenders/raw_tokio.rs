//! tokio sockets driven by hand: the limit for what runs on tokio, and what a user would
//! write without a library.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::raw::{BLOCK, CAST, Frames, REPLY, REQUEST, encode};
use crate::callers::{self, Caller, spawn_tokio};
use crate::child;
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// Messages of a burst of [`Work::Scale`].
pub const BURST: u64 = 32;

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![Box::new(RawTokio), Box::new(RawSmol), Box::new(Actor)]
}

/// A runtime on the thread that asks, with a `LocalSet`.
pub fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// One owner: encodes, writes, reads and parses in one task.
struct RawTokio;

impl Contender for RawTokio {
    fn name(&self) -> &'static str {
        "raw tokio"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work.plain() {
            Work::OneWay { senders: 1, .. } | Work::Calls { .. } => Ok(()),
            Work::Pattern(_) => Err("nothing of it comes near"),
            Work::Scale { .. } | Work::Idle { .. } => Ok(()),
            Work::OneWay { .. } => Err("it has one owner"),
            Work::Paced { .. } => Err("raw sockets and the actor stand for it"),
            Work::Mixed { .. } => Err("it has no messages that others could get between"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        on_tokio(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            ready(listener.local_addr()?);
            match job.work.plain() {
                Work::OneWay { size, senders } => count(accept(&listener).await?, size, senders).await,
                Work::Idle { .. } => loop {
                    let stream = accept(&listener).await?;
                    tokio::task::spawn_local(wait(stream));
                },
                Work::Scale { .. } => loop {
                    let stream = accept(&listener).await?;
                    tokio::task::spawn_local(answer_bursts(stream));
                },
                _ => echo(accept(&listener).await?).await,
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let time = Duration::from_secs_f64(job.seconds);
        on_tokio(async {
            match job.work.plain() {
                Work::OneWay { size, .. } => send(connect(server).await?, size, time).await,
                Work::Idle { connections } => {
                    let before = child::resident();
                    for _ in 0..connections {
                        tokio::task::spawn_local(wait(connect(server).await?));
                    }
                    Ok(bare(before, connections))
                }
                Work::Scale { connections } => scale(server, connections, time).await,
                Work::Calls { size, in_flight } => call(connect(server).await?, size, in_flight, time).await,
                _ => Ok(Tally::default()),
            }
        })
    }
}

async fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn count(mut stream: TcpStream, size: usize, senders: usize) -> Result<Tally> {
    let (mut frames, counter) = (Frames::new(CAST + size), Counter::default());
    loop {
        let n = stream.read(frames.spare()).await?;
        frames.filled(n);
        while let Some(frame) = frames.next() {
            if counter.message(std::hint::black_box(&frame[CAST - 4..]), senders) {
                return Ok(counter.tally());
            }
        }
        anyhow::ensure!(n > 0, "the connection ended early");
    }
}

async fn send(mut stream: TcpStream, size: usize, time: Duration) -> Result<Tally> {
    let (message, mut block, start) = (body(size), Vec::with_capacity(2 * BLOCK), Instant::now());
    while start.elapsed() < time {
        while block.is_empty() || block.len() + CAST + size <= BLOCK {
            encode(&mut block, CAST, 0, std::hint::black_box(&message));
        }
        stream.write_all(&block).await?;
        block.clear();
    }
    encode(&mut block, CAST, 0, &last(size));
    stream.write_all(&block).await?;
    stream.shutdown().await?;
    Ok(Tally::default())
}

async fn echo(mut stream: TcpStream) -> Result<Tally> {
    let (mut frames, mut out) = (Frames::new(BLOCK), Vec::with_capacity(BLOCK));
    loop {
        let n = stream.read(frames.spare()).await?;
        if n == 0 {
            return Ok(Tally::default());
        }
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            encode(&mut out, REPLY, id, &frame[REQUEST - 4..]);
        }
        stream.write_all(&out).await?;
        out.clear();
    }
}

async fn call(mut stream: TcpStream, size: usize, in_flight: usize, time: Duration) -> Result<Tally> {
    let (mut frames, mut out, message) = (Frames::new(BLOCK), Vec::with_capacity(BLOCK), body(size));
    for id in 0..in_flight as u64 {
        encode(&mut out, REQUEST, id, &message);
    }
    let (mut answered, start) = (0, Instant::now());
    while start.elapsed() < time {
        stream.write_all(&out).await?;
        out.clear();
        let n = stream.read(frames.spare()).await?;
        anyhow::ensure!(n > 0, "the connection ended early");
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            std::hint::black_box(&frame[REPLY - 4..]);
            answered += 1;
            encode(&mut out, REQUEST, id, &message);
        }
    }
    Ok(Tally::new(answered, start.elapsed().as_secs_f64()))
}

/// Waits for something to read: as little as a task with a socket can do.
async fn wait(stream: TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// What so many connections take that do nothing.
fn bare(before: u64, connections: usize) -> Tally {
    let resident = child::resident().saturating_sub(before) as f64 / connections as f64;
    child::say_idle();
    Tally { resident: Some(resident), ..Tally::default() }
}

/// The same on smol: for what an idle connection takes there.
struct RawSmol;

impl Contender for RawSmol {
    fn name(&self) -> &'static str {
        "raw smol"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Idle { .. } => Ok(()),
            _ => Err("raw sockets and raw tokio stand for it"),
        }
    }

    fn serve(&self, _: &Job, ready: Ready) -> Result<Tally> {
        smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
            ready(listener.local_addr()?);
            loop {
                smol::spawn(wait_smol(listener.accept().await?.0)).detach();
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let Work::Idle { connections } = job.work else { return Ok(Tally::default()) };
        smol::block_on(async {
            let before = child::resident();
            for _ in 0..connections {
                smol::spawn(wait_smol(smol::net::TcpStream::connect(server).await?)).detach();
            }
            smol::Timer::after(Duration::from_millis(200)).await;
            Ok(bare(before, connections))
        })
    }
}

async fn wait_smol(mut stream: smol::net::TcpStream) {
    let _ = smol::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await;
}

/// Answers each whole burst with one frame of 110 bytes.
async fn answer_bursts(mut stream: TcpStream) {
    let (mut frames, mut out, mut seen) = (small_frames(), Vec::new(), 0);
    while let Ok(n @ 1..) = stream.read(frames.spare()).await {
        frames.filled(n);
        while let Some(frame) = frames.next() {
            seen += 1;
            if seen % BURST == 0 {
                encode(&mut out, CAST, 0, &frame[CAST - 4..]);
            }
        }
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Room for a burst and a little, as one would give ten thousand connections.
fn small_frames() -> Frames {
    Frames::with_room(8 * 1024)
}

async fn scale(server: SocketAddr, connections: usize, time: Duration) -> Result<Tally> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(connect(server).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::task::spawn_local(async move {
                let (message, mut out, mut frames, mut sent) = (body(110), Vec::new(), small_frames(), 0);
                while start.elapsed() < time {
                    for _ in 0..BURST {
                        encode(&mut out, CAST, 0, &message);
                    }
                    stream.write_all(&out).await?;
                    out.clear();
                    while frames.next().is_none() {
                        let n = stream.read(frames.spare()).await?;
                        anyhow::ensure!(n > 0, "the connection ended early");
                        frames.filled(n);
                    }
                    sent += BURST;
                }
                Ok(sent)
            })
        })
        .collect();
    let mut sent = 0;
    for task in tasks {
        sent += task.await??;
    }
    Ok(Tally::new(sent, start.elapsed().as_secs_f64()))
}

/// What most write by hand for calls: a task that writes what a channel brings, a task that
/// reads and completes a oneshot for each reply. Replies come in order, so a queue is the table.
struct Actor;

impl Contender for Actor {
    fn name(&self) -> &'static str {
        "tokio actor by hand"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Calls { .. } | Work::Paced { .. } => Ok(()),
            _ => Err("it makes calls"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        RawTokio.serve(job, ready)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let time = Duration::from_secs_f64(job.seconds);
        on_tokio(async {
            let (size, in_flight, per_second) = match job.work {
                Work::Calls { size, in_flight } => (size, in_flight, 0.0),
                Work::Paced { size, per_second } => (size, 0, per_second),
                _ => return Ok(Tally::default()),
            };
            let (read, write) = connect(server).await?.into_split();
            let (requests, waiting) = mpsc::channel(8192);
            let (pending, answered) = mpsc::unbounded_channel();
            tokio::task::spawn_local(write_requests(write, waiting, pending));
            tokio::task::spawn_local(read_replies(read, answered));
            let caller = Handle { requests, message: body(size).into() };
            if in_flight > 0 {
                callers::closed_loop(caller, in_flight, time, spawn_tokio).await
            } else {
                callers::open_loop(caller, per_second, time, spawn_tokio).await
            }
        })
    }
}

struct Request {
    message: std::rc::Rc<[u8]>,
    reply: oneshot::Sender<Vec<u8>>,
}

#[derive(Clone)]
struct Handle {
    requests: mpsc::Sender<Request>,
    message: std::rc::Rc<[u8]>,
}

impl Caller for Handle {
    async fn call(&self) -> Result<()> {
        let (reply, answered) = oneshot::channel();
        let message = std::rc::Rc::clone(&self.message);
        self.requests.send(Request { message, reply }).await.ok().context("the actor ended")?;
        std::hint::black_box(answered.await?);
        Ok(())
    }
}

async fn write_requests(
    mut stream: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Request>,
    pending: mpsc::UnboundedSender<oneshot::Sender<Vec<u8>>>,
) {
    let (mut batch, mut out) = (Vec::new(), Vec::with_capacity(BLOCK));
    while requests.recv_many(&mut batch, 512).await > 0 {
        for request in batch.drain(..) {
            encode(&mut out, REQUEST, 0, &request.message);
            let _ = pending.send(request.reply);
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn read_replies(
    mut stream: OwnedReadHalf,
    mut answered: mpsc::UnboundedReceiver<oneshot::Sender<Vec<u8>>>,
) {
    let (mut frames, mut waiting) = (Frames::new(BLOCK), VecDeque::new());
    while let Ok(n @ 1..) = stream.read(frames.spare()).await {
        frames.filled(n);
        while let Ok(reply) = answered.try_recv() {
            waiting.push_back(reply);
        }
        while let Some(frame) = frames.next() {
            let reply: Option<oneshot::Sender<Vec<u8>>> = waiting.pop_front();
            if let Some(reply) = reply {
                let _ = reply.send(frame[REPLY - 4..].to_vec());
            }
        }
    }
}
