//! Blocking sockets driven by hand: the limit.
//!
//! The frames have Bowline's sizes: 12 bytes before the body of a message, 24 before a request's,
//! 16 before a reply's. Nothing else is done: no table, no deadline, no limits.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::callers;
use crate::contender::{self, Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// What goes before the body of a message.
pub const CAST: usize = 12;
/// What goes before the body of a request.
pub const REQUEST: usize = 24;
/// What goes before the body of a reply.
pub const REPLY: usize = 16;
/// Room to read into.
pub const BLOCK: usize = 64 * 1024;
/// From here on a body is written from where it is.
const LARGE: usize = 16 * 1024;

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Raw { name: "raw, encode and parse", wait: Wait::Block, encode: true }),
        Box::new(Raw { name: "raw, encoded before", wait: Wait::Block, encode: false }),
        Box::new(Raw { name: "raw, spin 50 µs", wait: Wait::Spin(Duration::from_micros(50)), encode: true }),
    ]
}

/// How a reader waits for bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wait {
    Block,
    /// Asks again and again for so long, then sleeps.
    Spin(Duration),
}

struct Raw {
    name: &'static str,
    wait: Wait,
    encode: bool,
}

impl Contender for Raw {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::OneWay { senders: 1, .. } if self.wait == Wait::Block => Ok(()),
            Work::OneWay { .. } if self.encode && self.wait == Wait::Block => Ok(()),
            Work::OneWay { .. } => Err("casts have no reply to spin for"),
            Work::Calls { .. } | Work::Paced { .. } if self.encode => Ok(()),
            Work::Calls { .. } | Work::Paced { .. } => Err("calls are encoded as they are made"),
            Work::Pattern(_) => Err("raw tokio stands for it"),
            Work::Idle { .. } | Work::Scale { .. } | Work::Mixed { .. } => {
                Err("a thread for each connection is not a contender")
            }
        }
    }

    fn blocks(&self, work: &Work) -> &'static [usize] {
        contender::blocks(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ready(listener.local_addr()?);
        let mut socket = Socket::new(listener.accept()?.0, self.wait)?;
        match job.work {
            Work::OneWay { size, senders } => count(&mut socket, size, senders),
            Work::Calls { size, .. } | Work::Paced { size, .. } => echo(&mut socket, size, block(job)),
            _ => Ok(Tally::default()),
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let mut socket = Socket::new(TcpStream::connect(server)?, self.wait)?;
        let time = Duration::from_secs_f64(job.seconds);
        let block = block(job);
        match job.work {
            Work::OneWay { size, senders: 1 } if !self.encode => {
                send_encoded(socket.stream, size, block, time)
            }
            Work::OneWay { size, senders: 1 } => send(&mut socket.stream, size, block, time),
            Work::OneWay { size, senders } => send_from(socket.stream, size, block, senders, time),
            Work::Paced { size, per_second } => pace(&mut socket, size, per_second, time),
            Work::Calls { size, in_flight } => call(&mut socket, size, in_flight, block, time),
            _ => Ok(Tally::default()),
        }
    }
}

/// What is gathered before it is written.
pub fn block(job: &Job) -> usize {
    if job.block == 0 { BLOCK } else { job.block }
}

/// A socket that waits as it is told.
struct Socket {
    stream: TcpStream,
    wait: Wait,
}

impl Socket {
    fn new(stream: TcpStream, wait: Wait) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(wait != Wait::Block)?;
        Ok(Self { stream, wait })
    }

    /// As many bytes as there are, at least one; 0 at the end.
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let Wait::Spin(busily) = self.wait else { return self.stream.read(buf) };
        let mut since = None;
        loop {
            match self.stream.read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let since = *since.get_or_insert_with(Instant::now);
                    if since.elapsed() < busily {
                        std::hint::spin_loop();
                    } else {
                        self.sleep(rustix::event::PollFlags::IN)?;
                    }
                }
                other => return other,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sleep(rustix::event::PollFlags::OUT)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sleep(&self, flags: rustix::event::PollFlags) -> std::io::Result<()> {
        rustix::event::poll(&mut [rustix::event::PollFd::new(&self.stream, flags)], None)?;
        Ok(())
    }
}

/// A buffer that frames are read into and parsed in.
pub struct Frames {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    /// Room for two of the largest, and for a block.
    pub fn new(frame: usize) -> Self {
        Self::with_room(BLOCK.max(2 * frame))
    }

    /// Room for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self { buf: vec![0; bytes], start: 0, end: 0 }
    }

    /// Where the next bytes are to go.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }

    /// Takes note of `n` bytes that were read.
    pub fn filled(&mut self, n: usize) {
        self.end += n;
    }

    /// The next whole frame after its length, if it is there.
    #[inline]
    pub fn next(&mut self) -> Option<&[u8]> {
        let frame = &self.buf[self.start..self.end];
        let (length, rest) = frame.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let frame = rest.get(..length)?;
        self.start += 4 + length;
        Some(frame)
    }
}

/// Appends one frame: its length, `header` bytes in all with the `id` among them, and the body.
#[inline]
pub fn encode(out: &mut Vec<u8>, header: usize, id: u64, body: &[u8]) {
    let mut bytes = [0; REQUEST];
    bytes[..4].copy_from_slice(&((header - 4 + body.len()) as u32).to_le_bytes());
    bytes[4..12].copy_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&bytes[..header]);
    out.extend_from_slice(body);
}

fn count(socket: &mut Socket, size: usize, senders: usize) -> Result<Tally> {
    let (mut frames, counter) = (Frames::new(CAST + size), Counter::default());
    loop {
        let n = socket.read(frames.spare())?;
        frames.filled(n);
        while let Some(frame) = frames.next() {
            if counter.message(std::hint::black_box(&frame[CAST - 4..]), senders) {
                return Ok(counter.tally());
            }
        }
        anyhow::ensure!(n > 0, "the connection ended early");
    }
}

fn send(socket: &mut TcpStream, size: usize, length: usize, time: Duration) -> Result<Tally> {
    let (message, mut block, start) = (body(size), Vec::with_capacity(2 * length), Instant::now());
    while start.elapsed() < time {
        write_block(socket, &mut block, length, std::hint::black_box(&message))?;
    }
    encode(&mut block, CAST, 0, &last(size));
    socket.write_all(&block)?;
    Ok(Tally::default())
}

/// As many messages as one block holds; a large one at a time from where it is.
fn write_block(mut socket: &TcpStream, block: &mut Vec<u8>, length: usize, message: &[u8]) -> Result<()> {
    if message.len() >= LARGE {
        encode(block, CAST, 0, &[]);
        block[..4].copy_from_slice(&((CAST - 4 + message.len()) as u32).to_le_bytes());
        let mut written = socket.write_vectored(&[IoSlice::new(block), IoSlice::new(message)])?;
        if written < CAST {
            socket.write_all(&block[written..])?;
            written = CAST;
        }
        socket.write_all(&message[written - CAST..])?;
    } else {
        while block.len() + CAST + message.len() <= length {
            encode(block, CAST, 0, message);
        }
        socket.write_all(block)?;
    }
    block.clear();
    Ok(())
}

fn send_encoded(mut socket: TcpStream, size: usize, length: usize, time: Duration) -> Result<Tally> {
    let (message, mut block, start) = (body(size), Vec::new(), Instant::now());
    while block.is_empty() || block.len() + CAST + size <= length {
        encode(&mut block, CAST, 0, &message);
    }
    while start.elapsed() < time {
        socket.write_all(&block)?;
    }
    block.clear();
    encode(&mut block, CAST, 0, &last(size));
    socket.write_all(&block)?;
    Ok(Tally::default())
}

/// Each thread encodes for itself; they take turns to write.
fn send_from(socket: TcpStream, size: usize, length: usize, senders: usize, time: Duration) -> Result<Tally> {
    let socket = Arc::new(Mutex::new(socket));
    let threads: Vec<_> = (0..senders)
        .map(|_| {
            let socket = Arc::clone(&socket);
            std::thread::spawn(move || -> Result<()> {
                let (message, mut block, start) =
                    (body(size), Vec::with_capacity(2 * length), Instant::now());
                while start.elapsed() < time {
                    if size < LARGE {
                        while block.len() + CAST + size <= length {
                            encode(&mut block, CAST, 0, &message);
                        }
                        socket.lock().expect("no panic").write_all(&block)?;
                        block.clear();
                    } else {
                        write_block(&socket.lock().expect("no panic"), &mut block, length, &message)?;
                    }
                }
                encode(&mut block, CAST, 0, &last(size));
                socket.lock().expect("no panic").write_all(&block)?;
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    Ok(Tally::default())
}

/// Answers the requests of one read, `block` bytes of answers at a time.
fn echo(socket: &mut Socket, size: usize, block: usize) -> Result<Tally> {
    let (mut frames, mut out) = (Frames::new(size + REQUEST), Vec::with_capacity(BLOCK));
    loop {
        let n = socket.read(frames.spare())?;
        if n == 0 {
            return Ok(Tally::default());
        }
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            encode(&mut out, REPLY, id, &frame[REQUEST - 4..]);
            if out.len() >= block {
                socket.write(&out)?;
                out.clear();
            }
        }
        socket.write(&out)?;
        out.clear();
    }
}

/// A window of calls, owned by this thread: each reply makes room for the next request.
fn call(socket: &mut Socket, size: usize, in_flight: usize, block: usize, time: Duration) -> Result<Tally> {
    let (mut frames, mut out, message) = (Frames::new(size + REQUEST), Vec::with_capacity(BLOCK), body(size));
    for id in 0..in_flight as u64 {
        encode(&mut out, REQUEST, id, &message);
    }
    let (mut answered, start) = (0, Instant::now());
    while start.elapsed() < time {
        socket.write(&out)?;
        out.clear();
        let n = socket.read(frames.spare())?;
        anyhow::ensure!(n > 0, "the connection ended early");
        frames.filled(n);
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            std::hint::black_box(&frame[REPLY - 4..]);
            answered += 1;
            encode(&mut out, REQUEST, id, &message);
            if out.len() >= block {
                socket.write(&out)?;
                out.clear();
            }
        }
    }
    Ok(Tally::new(answered, start.elapsed().as_secs_f64()))
}

/// Requests when they are due, timed from then. Looks for replies between, without sleeping.
fn pace(socket: &mut Socket, size: usize, per_second: f64, time: Duration) -> Result<Tally> {
    socket.stream.set_nonblocking(true)?;
    let (mut frames, mut out, message) = (Frames::new(size + REQUEST), Vec::with_capacity(BLOCK), body(size));
    let mut times = callers::times();
    let (mut made, mut answered, start) = (0_u64, 0_u64, Instant::now());
    let due = |id: u64| Duration::from_secs_f64(id as f64 / per_second);
    let ending = || start.elapsed() >= time;
    while !ending() || answered < made {
        // With more on their way, both sides could wait for room to write.
        while due(made) <= start.elapsed() && !ending() && made - answered < 2048 {
            encode(&mut out, REQUEST, made, &message);
            made += 1;
        }
        if !out.is_empty() {
            socket.write(&out)?;
            out.clear();
        }
        match socket.stream.read(frames.spare()) {
            Ok(n) => frames.filled(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some(frame) = frames.next() {
            let id = u64::from_le_bytes(frame[..8].try_into().expect("eight bytes"));
            let late = start.elapsed().saturating_sub(due(id));
            times.saturating_record(late.as_nanos() as u64);
            answered += 1;
        }
    }
    let mut tally = Tally::new(answered, start.elapsed().as_secs_f64());
    tally.latency = Some(callers::quantiles(&times));
    Ok(tally)
}
