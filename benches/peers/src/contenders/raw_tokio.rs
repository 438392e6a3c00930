//! tokio sockets driven by hand: the limit for what runs on tokio.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::raw::{BLOCK, CAST, Frames, REPLY, REQUEST, block, encode};
use crate::child;
use crate::contender::{self, Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// Messages of a burst of [`Work::Scale`].
pub const BURST: u64 = 32;

pub fn all() -> Vec<Box<dyn Contender>> {
    let spin = Duration::from_micros(50);
    vec![
        Box::new(RawTokio::WAITS),
        Box::new(RawTokio { spin, ..RawTokio::WAITS }),
        Box::new(RawTokio { owned: true, ..RawTokio::WAITS }),
        Box::new(RawSmol),
    ]
}

/// A runtime on the thread that asks, with a `LocalSet`.
pub fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// The same with two worker threads.
pub fn on_tokio_threads<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// One owner: encodes, writes, reads and parses in one task.
pub struct RawTokio {
    /// What is received goes to another task, which owns it: slices of the block that was read, a
    /// vector of them for each read.
    owned: bool,
    /// It polls the socket for so long, with other tasks in between, before it waits.
    spin: Duration,
}

impl RawTokio {
    /// As programs usually are.
    pub const WAITS: Self = Self { owned: false, spin: Duration::ZERO };
}

impl Contender for RawTokio {
    fn name(&self) -> &'static str {
        match self {
            Self { owned: true, .. } => "raw tokio, owned, in a task",
            Self { spin: Duration::ZERO, .. } => "raw tokio",
            Self { .. } => "raw tokio, spin 50 µs",
        }
    }

    fn blocks(&self, work: &Work) -> &'static [usize] {
        contender::blocks(work)
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work.plain() {
            Work::OneWay { senders: 1, .. } if self.owned => Ok(()),
            Work::Calls { .. } if !self.spin.is_zero() => Ok(()),
            _ if self.owned || !self.spin.is_zero() => Err("raw tokio stands for it"),
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
                Work::OneWay { senders, .. } if self.owned => {
                    count_owned(accept(&listener).await?, senders).await
                }
                Work::OneWay { size, senders } => count(accept(&listener).await?, size, senders).await,
                Work::Idle { .. } => loop {
                    let stream = accept(&listener).await?;
                    tokio::spawn(wait(stream));
                },
                Work::Scale { .. } => loop {
                    let stream = accept(&listener).await?;
                    tokio::spawn(answer_bursts(stream));
                },
                Work::Calls { size, .. } | Work::Paced { size, .. } => {
                    let stream = (accept(&listener).await?, self.spin);
                    echo(stream, size, block(job)).await
                }
                _ => Ok(Tally::default()),
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let time = Duration::from_secs_f64(job.seconds);
        on_tokio(async {
            match job.work.plain() {
                Work::OneWay { size, .. } => send(connect(server).await?, size, block(job), time).await,
                Work::Idle { connections } => {
                    let before = child::resident();
                    for _ in 0..connections {
                        tokio::spawn(wait(connect(server).await?));
                    }
                    Ok(bare(before, connections))
                }
                Work::Scale { connections } => scale(server, connections, time).await,
                Work::Calls { size, in_flight } => {
                    let stream = (connect(server).await?, self.spin);
                    call(stream, size, in_flight, block(job), time).await
                }
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

pub async fn connect(server: SocketAddr) -> Result<TcpStream> {
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

/// The same with messages that another task owns.
async fn count_owned(mut stream: TcpStream, senders: usize) -> Result<Tally> {
    let (give, mut given) = mpsc::channel::<Vec<bytes::Bytes>>(16);
    let counting = tokio::spawn(async move {
        let counter = Counter::default();
        while let Some(messages) = given.recv().await {
            for message in messages {
                if counter.message(std::hint::black_box(&message), senders) {
                    return Ok(counter.tally());
                }
            }
        }
        anyhow::bail!("the connection ended early")
    });
    let mut read = BytesMut::with_capacity(4 * BLOCK);
    while stream.read_buf(&mut read).await? > 0 {
        let mut messages = Vec::new();
        while let Some(length) = read.first_chunk::<4>() {
            let length = 4 + u32::from_le_bytes(*length) as usize;
            if read.len() < length {
                read.reserve(length - read.len());
                break;
            }
            messages.push(read.split_to(length).freeze().slice(CAST..));
        }
        if !messages.is_empty() && give.send(messages).await.is_err() {
            break;
        }
        if read.capacity() - read.len() < BLOCK {
            read.reserve(4 * BLOCK);
        }
    }
    drop(give);
    counting.await?
}

async fn send(mut stream: TcpStream, size: usize, length: usize, time: Duration) -> Result<Tally> {
    let (message, mut block, start) = (body(size), Vec::with_capacity(2 * length), Instant::now());
    while start.elapsed() < time {
        while block.is_empty() || block.len() + CAST + size <= length {
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

/// What there is to read; polls the socket for `spin` before it waits.
async fn read(stream: &mut TcpStream, buf: &mut [u8], spin: Duration) -> std::io::Result<usize> {
    let mut since = None;
    while !spin.is_zero() {
        match stream.try_read(buf) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if since.get_or_insert_with(Instant::now).elapsed() >= spin {
                    break;
                }
                tokio::task::yield_now().await;
            }
            other => return other,
        }
    }
    stream.read(buf).await
}

async fn echo((mut stream, spin): (TcpStream, Duration), size: usize, block: usize) -> Result<Tally> {
    let (mut frames, mut out) = (Frames::new(size + REQUEST), Vec::with_capacity(BLOCK));
    loop {
        let n = read(&mut stream, frames.spare(), spin).await?;
        if n == 0 {
            return Ok(Tally::default());
        }
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            encode(&mut out, REPLY, id, &frame[REQUEST - 4..]);
            if out.len() >= block {
                stream.write_all(&out).await?;
                out.clear();
            }
        }
        stream.write_all(&out).await?;
        out.clear();
    }
}

async fn call(
    (mut stream, spin): (TcpStream, Duration),
    size: usize,
    in_flight: usize,
    block: usize,
    time: Duration,
) -> Result<Tally> {
    let (mut frames, mut out, message) = (Frames::new(size + REQUEST), Vec::with_capacity(BLOCK), body(size));
    for id in 0..in_flight as u64 {
        encode(&mut out, REQUEST, id, &message);
    }
    let (mut answered, start) = (0, Instant::now());
    while start.elapsed() < time {
        stream.write_all(&out).await?;
        out.clear();
        let n = read(&mut stream, frames.spare(), spin).await?;
        anyhow::ensure!(n > 0, "the connection ended early");
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            std::hint::black_box(&frame[REPLY - 4..]);
            answered += 1;
            encode(&mut out, REQUEST, id, &message);
            if out.len() >= block {
                stream.write_all(&out).await?;
                out.clear();
            }
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
            tokio::spawn(async move {
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
