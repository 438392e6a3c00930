//! Many sockets on one thread by hand, with epoll: the limit for bursts on many connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::raw::{CAST, Frames, encode};
use super::raw_tokio::BURST;
use crate::contender::{Contender, Ready, body};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![Box::new(RawEpoll)]
}

struct RawEpoll;

/// Room for two bursts, and for what waits to be written.
const ROOM: usize = 8 * 1024;

impl Contender for RawEpoll {
    fn name(&self) -> &'static str {
        "raw epoll"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Scale { .. } => Ok(()),
            _ => Err("it is for many connections"),
        }
    }

    fn serve(&self, _: &Job, ready: Ready) -> Result<Tally> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ready(listener.local_addr()?);
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        let (mut sockets, mut out) = (Vec::new(), Vec::new());
        let mut events = Vec::with_capacity(1024);
        loop {
            for place in poll.wait(&mut events)? {
                if place == LISTENER {
                    while let Ok((stream, _)) = listener.accept() {
                        sockets.push(Some(Socket::new(stream, &poll, sockets.len())?));
                    }
                } else if let Some(socket) = &mut sockets[place] {
                    // Each whole burst is answered with one frame.
                    let ended = socket.read(|seen, frame| {
                        if seen % BURST == 0 {
                            encode(&mut out, CAST, 0, &frame[CAST - 4..]);
                        }
                    })?;
                    socket.write(&mut out)?;
                    if ended {
                        sockets[place] = None;
                    }
                }
            }
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let Work::Scale { connections } = job.work else { return Ok(Tally::default()) };
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        for place in 0..connections {
            sockets.push(Socket::new(TcpStream::connect(server)?, &poll, place)?);
        }
        let (message, mut out, mut sent) = (body(110), Vec::new(), 0);
        let (time, start) = (Duration::from_secs_f64(job.seconds), Instant::now());
        let mut burst = |socket: &mut Socket| {
            for _ in 0..BURST {
                encode(&mut out, CAST, 0, &message);
            }
            socket.write(&mut out)
        };
        for socket in &mut sockets {
            burst(socket)?;
        }
        let mut events = Vec::with_capacity(1024);
        while start.elapsed() < time {
            for place in poll.wait(&mut events)? {
                let (socket, mut answered) = (&mut sockets[place], false);
                let ended = socket.read(|_, _| answered = true)?;
                anyhow::ensure!(!ended, "the connection ended early");
                if answered {
                    sent += BURST;
                    burst(socket)?;
                }
            }
        }
        Ok(Tally::new(sent, start.elapsed().as_secs_f64()))
    }
}

const LISTENER: usize = usize::MAX;

/// Level-triggered readiness to read.
struct Poll(std::os::fd::OwnedFd);

impl Poll {
    fn new() -> Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    fn add(&self, source: &impl std::os::fd::AsFd, place: usize) -> Result<()> {
        Ok(epoll::add(&self.0, source, EventData::new_u64(place as u64), EventFlags::IN)?)
    }

    fn wait<'a>(&self, events: &'a mut Vec<Event>) -> Result<impl Iterator<Item = usize> + use<'a>> {
        events.clear();
        epoll::wait(&self.0, rustix::buffer::spare_capacity(events), None)?;
        Ok(events.iter().map(|event| event.data.u64() as usize))
    }
}

struct Socket {
    stream: TcpStream,
    frames: Frames,
    seen: u64,
}

impl Socket {
    fn new(stream: TcpStream, poll: &Poll, place: usize) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, place)?;
        Ok(Self { stream, frames: Frames::with_room(ROOM), seen: 0 })
    }

    /// Reads once and hands over each whole frame with how many there were. True at the end.
    fn read(&mut self, mut each: impl FnMut(u64, &[u8])) -> Result<bool> {
        match self.stream.read(self.frames.spare()) {
            Ok(0) => return Ok(true),
            Ok(n) => self.frames.filled(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        while let Some(frame) = self.frames.next() {
            self.seen += 1;
            each(self.seen, frame);
        }
        Ok(false)
    }

    /// Writes what there is: a burst always has room, because the one before it was answered.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if !out.is_empty() {
            match self.stream.write_all(out) {
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
                other => other?,
            }
            out.clear();
        }
        Ok(())
    }
}
