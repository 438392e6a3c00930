//! tokio-rustls by hand: the same frames, put together in blocks, read into one buffer and parsed in place.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bowline::tls::rustls::pki_types::ServerName;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc as channel, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::counting::{Counter, LAST};
use crate::settings::{NAME, Security};

/// Bytes of the headers of Bowline's own frames: casts, requests, replies.
const CAST: usize = 12;
const REQUEST: usize = 24;
const REPLY: usize = 16;
/// Room for what is read, if no frame is longer.
const ROOM: usize = 64 * 1024;

/// What an author may try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct How {
    /// Bytes of frames that are put together before they are written; 0: header and body are written as they are, as
    /// one vectored write.
    pub(crate) block: usize,
    /// Bytes of a buffer between the socket and TLS; 0: none, and rustls reads 4 KiB at a time.
    pub(crate) reads: usize,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.block {
            0 => f.write_str("vectored writes")?,
            block => write!(f, "blocks of {} KiB", block / 1024)?,
        }
        match self.reads {
            0 => Ok(()),
            reads => write!(f, ", reads of {} KiB", reads / 1024),
        }
    }
}

pub(crate) fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// A buffer that frames are read into and parsed in.
struct Frames {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    /// Room for two of the largest.
    fn new(frame: usize) -> Self {
        Self { buf: vec![0; ROOM.max(2 * frame)], start: 0, end: 0 }
    }

    fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }

    /// The next whole frame after its length, if it is there.
    #[inline]
    fn next(&mut self) -> Option<&[u8]> {
        let frame = &self.buf[self.start..self.end];
        let (length, rest) = frame.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let frame = rest.get(..length)?;
        self.start += 4 + length;
        Some(frame)
    }
}

/// The head of a frame: its length, and an id.
#[inline]
fn head(header: usize, id: u64, body: usize) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..4].copy_from_slice(&((header - 4 + body) as u32).to_le_bytes());
    bytes[4..12].copy_from_slice(&id.to_le_bytes());
    bytes
}

#[inline]
fn encode(out: &mut Vec<u8>, header: usize, id: u64, body: &[u8]) {
    out.extend_from_slice(&head(header, id, body.len())[..header]);
    out.extend_from_slice(body);
}

/// What TLS stands on.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

fn under_tls(stream: TcpStream, how: How) -> Box<dyn Stream> {
    stream.set_nodelay(true).expect("an option");
    match how.reads {
        0 => Box::new(stream),
        reads => Box::new(BufReader::with_capacity(reads, stream)),
    }
}

/// A server on a thread of its own that serves one connection.
fn serve<T: Send + 'static, Fut: Future<Output = T>>(
    security: &Security,
    how: How,
    work: impl FnOnce(tokio_rustls::server::TlsStream<Box<dyn Stream>>) -> Fut + Send + 'static,
) -> (SocketAddr, std::thread::JoinHandle<T>) {
    let acceptor = TlsAcceptor::from(security.server.config());
    let (told, address) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        on_tokio(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            told.send(listener.local_addr().expect("bound")).expect("heard");
            let (stream, _) = listener.accept().await.expect("a connection");
            work(acceptor.accept(under_tls(stream, how)).await.expect("a handshake")).await
        })
    });
    (address.recv().expect("told"), thread)
}

async fn connect(
    security: &Security,
    how: How,
    server: SocketAddr,
) -> tokio_rustls::client::TlsStream<Box<dyn Stream>> {
    let stream = TcpStream::connect(server).await.expect("it listens");
    let name = ServerName::try_from(NAME).expect("a name");
    let connector = TlsConnector::from(security.client.config());
    connector.connect(name, under_tls(stream, how)).await.expect("a handshake")
}

/// Casts one way, for that time: how many a second.
pub(crate) fn casts(security: &Security, how: How, body: &Bytes, time: Duration) -> f64 {
    let (told, rate) = mpsc::sync_channel(1);
    let size = body.len();
    let (server, thread) = serve(security, how, move |mut stream| async move {
        let (mut frames, counter) = (Frames::new(CAST + size), Counter::new(told));
        loop {
            let n = stream.read(frames.spare()).await.expect("open");
            if n == 0 {
                return;
            }
            frames.end += n;
            while let Some(frame) = frames.next() {
                counter.message(&frame[CAST - 4..]);
            }
        }
    });
    on_tokio(async {
        let mut stream = connect(security, how, server).await;
        let (mut block, start) = (Vec::with_capacity(how.block + CAST + size), Instant::now());
        while start.elapsed() < time {
            if how.block == 0 {
                let head = head(CAST, 0, size);
                let mut frame = Buf::chain(&head[..CAST], black_box(&body[..]));
                stream.write_all_buf(&mut frame).await.expect("open");
                continue;
            }
            while block.is_empty() || block.len() + CAST + size <= how.block {
                encode(&mut block, CAST, 0, black_box(body));
            }
            stream.write_all(&block).await.expect("open");
            block.clear();
        }
        encode(&mut block, CAST, 0, &vec![LAST; size]);
        stream.write_all(&block).await.expect("open");
        stream.shutdown().await.expect("open");
        // Session tickets that were not read would make the system reset the connection, and throw bytes away.
        while let Ok(1..) = stream.read(&mut [0; 64]).await {}
    });
    let rate = rate.recv().expect("the last message came");
    thread.join().expect("no panic");
    rate
}

/// Answers every request with its own body, all that came at once.
async fn echo(mut stream: tokio_rustls::server::TlsStream<Box<dyn Stream>>) {
    let (mut frames, mut out) = (Frames::new(0), Vec::with_capacity(ROOM));
    while let Ok(n @ 1..) = stream.read(frames.spare()).await {
        frames.end += n;
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            encode(&mut out, REPLY, id, &frame[REQUEST - 4..]);
        }
        // What the socket did not take would stay in TLS while this side reads.
        if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Calls by one owner, who writes a request for each reply, all that came at once.
pub(crate) fn calls(security: &Security, how: How, body: &Bytes, in_flight: usize, time: Duration) -> f64 {
    let (server, thread) = serve(security, how, echo);
    let rate = on_tokio(async {
        let mut stream = connect(security, how, server).await;
        let (mut frames, mut out) = (Frames::new(0), Vec::with_capacity(ROOM));
        for id in 0..in_flight as u64 {
            encode(&mut out, REQUEST, id, body);
        }
        let (mut answered, start) = (0_u64, Instant::now());
        while start.elapsed() < time {
            stream.write_all(&out).await.expect("open");
            stream.flush().await.expect("open");
            out.clear();
            let n = stream.read(frames.spare()).await.expect("open");
            assert!(n > 0, "the connection ended early");
            frames.end += n;
            while let Some(frame) = frames.next() {
                let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
                black_box(&frame[REPLY - 4..]);
                answered += 1;
                encode(&mut out, REQUEST, id, body);
            }
        }
        answered as f64 / start.elapsed().as_secs_f64()
    });
    thread.join().expect("no panic");
    rate
}

struct Request {
    body: Bytes,
    reply: oneshot::Sender<Vec<u8>>,
}

/// A task for each call: one task writes what a channel brings, one reads and completes a oneshot for each reply. The
/// replies come in order, so that a queue is the table.
pub(crate) fn actor(security: &Security, how: How, body: &Bytes, tasks: usize, time: Duration) -> f64 {
    let (server, thread) = serve(security, how, echo);
    let rate = on_tokio(async {
        let (read, write) = tokio::io::split(connect(security, how, server).await);
        let (requests, waiting) = channel::channel(8192);
        let (pending, answered) = channel::unbounded_channel();
        let actors = [
            tokio::spawn(write_requests(write, waiting, pending)),
            tokio::spawn(read_replies(read, answered)),
        ];
        let (count, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let calling: Vec<_> = (0..tasks)
            .map(|_| {
                let (requests, body, count) = (requests.clone(), body.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    while start.elapsed() < time {
                        for _ in 0..4 {
                            let (reply, answered) = oneshot::channel();
                            let request = Request { body: body.clone(), reply };
                            assert!(requests.send(request).await.is_ok(), "the actor ended");
                            black_box(answered.await.expect("a reply"));
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    start.elapsed()
                })
            })
            .collect();
        let mut last = Duration::ZERO;
        for calling in calling {
            last = last.max(calling.await.expect("no panic"));
        }
        actors.iter().for_each(tokio::task::JoinHandle::abort);
        count.load(Ordering::Relaxed) as f64 / last.as_secs_f64()
    });
    thread.join().expect("no panic");
    rate
}

type TlsStream = tokio_rustls::client::TlsStream<Box<dyn Stream>>;

async fn write_requests(
    mut stream: WriteHalf<TlsStream>,
    mut requests: channel::Receiver<Request>,
    pending: channel::UnboundedSender<oneshot::Sender<Vec<u8>>>,
) {
    let (mut batch, mut out) = (Vec::new(), Vec::with_capacity(ROOM));
    while requests.recv_many(&mut batch, 512).await > 0 {
        for request in batch.drain(..) {
            encode(&mut out, REQUEST, 0, &request.body);
            let _ = pending.send(request.reply);
        }
        if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn read_replies(
    mut stream: ReadHalf<TlsStream>,
    mut answered: channel::UnboundedReceiver<oneshot::Sender<Vec<u8>>>,
) {
    let (mut frames, mut waiting) = (Frames::new(0), VecDeque::new());
    while let Ok(n @ 1..) = stream.read(frames.spare()).await {
        frames.end += n;
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
