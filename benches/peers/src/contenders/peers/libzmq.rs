//! libzmq itself, by its Rust binding: PUSH to PULL and DEALER to ROUTER. Beside the thread that
//! has the socket it has one for input and output.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use zmq::{Context, DONTWAIT, Message, Socket, SocketType};

use super::common::{Pace, Until, high_water, messages_and_calls, one_way, seconds};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// Of the kernel, for large messages.
const KERNEL_BUFFER: i32 = 4 * 1024 * 1024;

pub struct LibZmq;

impl Contender for LibZmq {
    fn name(&self) -> &'static str {
        "libzmq"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let context = Context::new();
        match one_way(&job.work) {
            Some((size, senders)) => count(&bind(&context, zmq::PULL, size, ready)?, senders),
            None => echo(&bind(&context, zmq::ROUTER, 110, ready)?),
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        // Dropped last, when it waits until all that was sent has been written.
        let context = Context::new();
        let kind = if one_way(&job.work).is_some() { zmq::PUSH } else { zmq::DEALER };
        let socket = socket(&context, kind, one_way(&job.work).map_or(110, |(size, _)| size))?;
        socket.connect(&format!("tcp://{server}"))?;
        match job.work {
            Work::OneWay { size, senders: 1 } => send(job, &socket, size),
            Work::OneWay { size, senders } => send_shared(job, socket, size, senders),
            Work::Calls { size, in_flight } => calls(job, &socket, size, in_flight),
            Work::Paced { size, per_second } => paced(job, &socket, size, per_second),
            _ => unreachable!("does not fit"),
        }
    }
}

fn socket(context: &Context, kind: SocketType, size: usize) -> Result<Socket> {
    let socket = context.socket(kind)?;
    // With the default of 1000 sender and writer wait for each other.
    socket.set_sndhwm(high_water(size) as i32)?;
    socket.set_rcvhwm(high_water(size) as i32)?;
    // -1: as long as it takes.
    socket.set_linger(-1)?;
    if size > 1024 {
        // The two sides of large messages run more evenly; small ones gain nothing.
        socket.set_sndbuf(KERNEL_BUFFER)?;
        socket.set_rcvbuf(KERNEL_BUFFER)?;
    }
    Ok(socket)
}

fn bind(context: &Context, kind: SocketType, size: usize, ready: Ready) -> Result<Socket> {
    let socket = socket(context, kind, size)?;
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.map_err(|_| anyhow!("no endpoint"))?;
    ready(endpoint.strip_prefix("tcp://").context("no address")?.parse()?);
    Ok(socket)
}

fn count(socket: &Socket, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    let mut message = Message::new();
    loop {
        socket.recv(&mut message, 0)?;
        if counter.message(&message, senders) {
            return Ok(counter.tally());
        }
    }
}

/// A message comes with the name of its sender before it, and goes back just so.
fn echo(socket: &Socket) -> Result<Tally> {
    loop {
        let (mut sender, mut message) = (Message::new(), Message::new());
        socket.recv(&mut sender, 0)?;
        socket.recv(&mut message, 0)?;
        socket.send(sender, zmq::SNDMORE)?;
        socket.send(message, 0)?;
    }
}

fn send(job: &Job, socket: &Socket, size: usize) -> Result<Tally> {
    let body = body(size);
    let mut until = Until::new(job, size);
    while !until.over() {
        socket.send(&body[..], 0)?;
    }
    socket.send(last(size), 0)?;
    Ok(Tally::default())
}

/// A socket is for one thread at a time, so the threads take turns at a lock.
fn send_shared(job: &Job, socket: Socket, size: usize, senders: usize) -> Result<Tally> {
    let socket = Mutex::new(socket);
    thread::scope(|scope| {
        let sender = || {
            let body = body(size);
            let mut until = Until::new(job, size);
            while !until.over() {
                socket.lock().unwrap().send(&body[..], 0)?;
            }
            socket.lock().unwrap().send(last(size), 0)?;
            anyhow::Ok(())
        };
        let threads: Vec<_> = (0..senders).map(|_| scope.spawn(sender)).collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok(Tally::default())
    })
}

/// One thread keeps `in_flight` requests on the socket. That favours this peer: nobody waits for a
/// reply of his own.
fn calls(job: &Job, socket: &Socket, size: usize, in_flight: usize) -> Result<Tally> {
    let body = body(size);
    let mut reply = Message::new();
    socket.send(&body[..], 0)?;
    socket.recv(&mut reply, 0)?;
    let start = Instant::now();
    for _ in 0..in_flight {
        socket.send(&body[..], 0)?;
    }
    let (mut waiting, mut count) = (in_flight, 0);
    while waiting > 0 {
        socket.recv(&mut reply, 0)?;
        count += 1;
        if start.elapsed() < seconds(job) {
            socket.send(&body[..], 0)?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

/// Sends what is due and takes what has come, in turns.
fn paced(job: &Job, socket: &Socket, size: usize, per_second: f64) -> Result<Tally> {
    let body = body(size);
    let mut reply = Message::new();
    socket.send(&body[..], 0)?;
    socket.recv(&mut reply, 0)?;
    let mut pace = Pace::new(per_second, seconds(job));
    while !pace.over() || pace.waits() {
        while pace.due() {
            socket.send(&body[..], 0)?;
        }
        loop {
            match socket.recv(&mut reply, DONTWAIT) {
                Ok(()) => pace.answered(),
                Err(zmq::Error::EAGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        thread::yield_now();
    }
    Ok(pace.tally())
}
