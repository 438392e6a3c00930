//! What libzmq's sockets do, with the limits that they have by themselves.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use zmq::{Context, Message, Socket, SocketType};

use super::common::{Until, seconds};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Pattern, Tally, Work};

pub struct LibZmqPatterns;

impl Contender for LibZmqPatterns {
    fn name(&self) -> &'static str {
        "libzmq, defaults"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Pattern(Pattern::Curve { .. }) => Err("it is built without CURVE"),
            Work::Pattern(_) => Ok(()),
            _ => Err("the sockets with high limits stand for it"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let Work::Pattern(pattern) = job.work else { return Ok(Tally::default()) };
        let context = Context::new();
        match pattern {
            Pattern::Push { .. } => count(&bind(&context, zmq::PULL, ready)?, 1),
            Pattern::FanIn { pushers } => count(&bind(&context, zmq::PULL, ready)?, pushers),
            Pattern::Ask => answer(&bind(&context, zmq::REP, ready)?),
            // An XPUB, so that it knows when all have subscribed.
            Pattern::Publish { subscribers, .. } => publish(&bind(&context, zmq::XPUB, ready)?, subscribers),
            Pattern::Curve { .. } => unreachable!("does not fit"),
            Pattern::Inproc => {
                ready(SocketAddr::from(([127, 0, 0, 1], 0)));
                loop {
                    thread::park();
                }
            }
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let Work::Pattern(pattern) = job.work else { return Ok(Tally::default()) };
        let (context, endpoint) = (Context::new(), format!("tcp://{server}"));
        match pattern {
            Pattern::Push { size } => push(job, &connect(&context, zmq::PUSH, &endpoint)?, size)?,
            Pattern::FanIn { pushers } => fan_in(job, &context, &endpoint, pushers)?,
            Pattern::Ask => return ask(job, &connect(&context, zmq::REQ, &endpoint)?),
            Pattern::Publish { subscribers, one_in } => {
                return subscribe(job, &context, &endpoint, subscribers, one_in);
            }
            Pattern::Inproc => return inproc(job, &context),
            Pattern::Curve { .. } => unreachable!("does not fit"),
        }
        Ok(Tally::default())
    }
}

fn bind(context: &Context, kind: SocketType, ready: Ready) -> Result<Socket> {
    let socket = context.socket(kind)?;
    // With the usual 1 ms publishers and others wait in vain for what was subscribed meanwhile.
    socket.set_linger(-1)?;
    if kind == zmq::XPUB {
        socket.set_xpub_verbose(true)?;
    }
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.map_err(|_| anyhow!("no endpoint"))?;
    ready(endpoint.strip_prefix("tcp://").context("no address")?.parse()?);
    Ok(socket)
}

fn connect(context: &Context, kind: SocketType, endpoint: &str) -> Result<Socket> {
    let socket = context.socket(kind)?;
    socket.set_linger(-1)?;
    socket.connect(endpoint)?;
    Ok(socket)
}

fn count(socket: &Socket, senders: usize) -> Result<Tally> {
    let (counter, mut message) = (Counter::default(), Message::new());
    loop {
        socket.recv(&mut message, 0)?;
        if counter.message(&message, senders) {
            return Ok(counter.tally());
        }
    }
}

fn push(job: &Job, socket: &Socket, size: usize) -> Result<()> {
    let (message, mut until) = (body(size), Until::new(job, size));
    while !until.over() {
        socket.send(&message[..], 0)?;
    }
    socket.send(last(size), 0)?;
    Ok(())
}

/// One thread sends over each socket in turn.
fn fan_in(job: &Job, context: &Context, endpoint: &str, pushers: usize) -> Result<()> {
    let sockets: Vec<_> =
        (0..pushers).map(|_| connect(context, zmq::PUSH, endpoint)).collect::<Result<_>>()?;
    let (message, mut until) = (body(110), Until::new(job, 110));
    'all: loop {
        for socket in &sockets {
            for _ in 0..64 {
                if until.over() {
                    break 'all;
                }
                socket.send(&message[..], 0)?;
            }
        }
    }
    sockets.iter().try_for_each(|socket| socket.send(last(110), 0))?;
    Ok(())
}

fn answer(socket: &Socket) -> Result<Tally> {
    loop {
        let mut message = Message::new();
        socket.recv(&mut message, 0)?;
        socket.send(message, 0)?;
    }
}

fn ask(job: &Job, socket: &Socket) -> Result<Tally> {
    let (request, mut reply, mut count) = (body(110), Message::new(), 0);
    socket.send(&request[..], 0)?;
    socket.recv(&mut reply, 0)?;
    let start = Instant::now();
    while start.elapsed() < seconds(job) {
        socket.send(&request[..], 0)?;
        socket.recv(&mut reply, 0)?;
        count += 1;
    }
    Ok(Tally::new(count, start.elapsed().as_secs_f64()))
}

fn publish(socket: &Socket, subscribers: usize) -> Result<Tally> {
    let mut subscription = Message::new();
    for _ in 0..subscribers {
        socket.recv(&mut subscription, 0)?;
    }
    let (mut message, mut topic) = (body(110), 0);
    loop {
        message[0] = topic;
        topic = (topic + 1) % 100;
        socket.send(&message[..], 0)?;
    }
}

/// One thread polls all: with a thread each there would be a hundred.
fn subscribe(
    job: &Job,
    context: &Context,
    endpoint: &str,
    subscribers: usize,
    one_in: usize,
) -> Result<Tally> {
    let mut sockets = Vec::new();
    for number in 0..subscribers {
        let socket = context.socket(zmq::SUB)?;
        match one_in {
            1 => socket.set_subscribe(b"")?,
            _ => socket.set_subscribe(&[u8::try_from(number % one_in)?])?,
        }
        socket.connect(endpoint)?;
        sockets.push(socket);
    }
    let (mut message, mut count, mut start) = (Message::new(), 0, None);
    loop {
        let mut items: Vec<_> = sockets.iter().map(|socket| socket.as_poll_item(zmq::POLLIN)).collect();
        zmq::poll(&mut items, -1)?;
        let start = start.get_or_insert_with(Instant::now);
        for (socket, item) in sockets.iter().zip(&items) {
            while item.is_readable() && socket.recv(&mut message, zmq::DONTWAIT).is_ok() {
                count += 1;
            }
        }
        if start.elapsed() >= seconds(job) {
            return Ok(Tally::new(count, start.elapsed().as_secs_f64()));
        }
    }
}

fn inproc(job: &Job, context: &Context) -> Result<Tally> {
    let pull = context.socket(zmq::PULL)?;
    pull.bind("inproc://peers")?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| push(job, &connect(context, zmq::PUSH, "inproc://peers")?, 110));
        let tally = count(&pull, 1)?;
        sending.join().map_err(|_| anyhow!("the sender panicked"))??;
        Ok(tally)
    })
}
