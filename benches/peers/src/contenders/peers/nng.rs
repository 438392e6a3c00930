//! nng: PUSH to PULL, and REQ to REP with a context for each call in flight. It has threads of its
//! own, on which the callbacks of the contexts run.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nng::options::transport::tcp::{BoundPort, NoDelay};
use nng::options::{Options as _, RecvBufferSize, SendBufferSize};
use nng::{Aio, AioResult, Context, Listener, PipeEvent, Protocol, Socket};

use super::common::{Pace, Until, messages_and_calls, one_way, seconds};
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

/// The most that a queue of it can hold; the defaults are none to send and one to receive.
const QUEUE: i32 = 8192;

/// Calls that the server answers at a time: its example's number.
const SERVING: usize = 128;

pub struct Nng;

impl Contender for Nng {
    fn name(&self) -> &'static str {
        "nng"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        match one_way(&job.work) {
            Some((size, senders)) => count(size, senders, ready),
            None => echo(ready),
        }
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let url = format!("tcp://{server}");
        match job.work {
            Work::OneWay { size, senders } => send(job, &url, size, senders),
            Work::Calls { size, in_flight } => calls(job, &url, size, in_flight),
            Work::Paced { size, per_second } => paced(job, &url, size, per_second),
            _ => unreachable!("does not fit"),
        }
    }
}

fn socket(protocol: Protocol) -> Result<Socket> {
    let socket = Socket::new(protocol)?;
    socket.set_opt::<NoDelay>(true)?;
    Ok(socket)
}

/// How many messages wait in a queue, so that large ones do not take the memory.
fn queue(size: usize) -> i32 {
    if size <= 1024 { QUEUE } else { 512 }
}

fn listen(socket: &Socket, ready: Ready) -> Result<()> {
    let listener = Listener::new(socket, "tcp://127.0.0.1:0")?;
    // A port, and not `LocalAddr`, in which the binding has the bytes of the port swapped.
    ready((Ipv4Addr::LOCALHOST, listener.get_opt::<BoundPort>()?).into());
    Ok(())
}

fn count(size: usize, senders: usize, ready: Ready) -> Result<Tally> {
    let socket = socket(Protocol::Pull0)?;
    socket.set_opt::<RecvBufferSize>(queue(size))?;
    listen(&socket, ready)?;
    let counter = Counter::default();
    loop {
        if counter.message(&socket.recv()?, senders) {
            return Ok(counter.tally());
        }
    }
}

fn echo(ready: Ready) -> Result<Tally> {
    let socket = socket(Protocol::Rep0)?;
    let serving = (0..SERVING).map(|_| {
        let context = Context::new(&socket)?;
        let answering = context.clone();
        let aio = Aio::new(move |aio, result| {
            // What fails here fails because the socket is closed.
            let _ = match result {
                AioResult::Recv(Ok(request)) => answering.send(&aio, request).map_err(|(_, error)| error),
                AioResult::Send(Ok(())) => answering.recv(&aio),
                _ => Ok(()),
            };
        })?;
        context.recv(&aio)?;
        anyhow::Ok((context, aio))
    });
    let _serving = serving.collect::<Result<Vec<_>>>()?;
    listen(&socket, ready)?;
    loop {
        thread::park();
    }
}

/// A socket can be used by several threads: each sender is one.
fn send(job: &Job, url: &str, size: usize, senders: usize) -> Result<Tally> {
    let socket = socket(Protocol::Push0)?;
    socket.set_opt::<SendBufferSize>(queue(size))?;
    let (gone, went) = channel();
    socket.pipe_notify(move |_, event| {
        if matches!(event, PipeEvent::RemovePost) {
            let _ = gone.send(());
        }
    })?;
    socket.dial(url)?;
    thread::scope(|scope| {
        let sender = || {
            let (body, mut until) = (body(size), Until::new(job, size));
            while !until.over() {
                socket.send(&body[..]).map_err(|(_, error)| error)?;
            }
            socket.send(&last(size)[..]).map_err(|(_, error)| error)?;
            anyhow::Ok(())
        };
        let threads: Vec<_> = (0..senders).map(|_| scope.spawn(sender)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("panicked"))?)
    })?;
    // To close it throws away what it has not written, so the server does that when it has all.
    match went.recv_timeout(Duration::from_secs(10)) {
        Err(RecvTimeoutError::Timeout) => bail!("the server has not received all"),
        _ => Ok(Tally::default()),
    }
}

/// A context for each call in flight, and what its callback says: answered, or the error.
struct Callers {
    contexts: Vec<(Context, Aio)>,
    socket: Socket,
    /// Each callback has one, with the number of its context.
    answered: Sender<(usize, Result<(), nng::Error>)>,
    answers: Receiver<(usize, Result<(), nng::Error>)>,
}

impl Callers {
    fn new(url: &str) -> Result<Self> {
        let socket = socket(Protocol::Req0)?;
        socket.dial(url)?;
        let (answered, answers) = channel();
        Ok(Self { contexts: Vec::new(), socket, answered, answers })
    }

    /// One more. When it has its reply it makes the next call, as long as `again` says so.
    fn add(&mut self, body: Arc<[u8]>, again: impl Fn() -> bool + Send + Sync + 'static) -> Result<usize> {
        let context = Context::new(&self.socket)?;
        let (calling, answered, number) = (context.clone(), self.answered.clone(), self.contexts.len());
        let aio = Aio::new(move |aio, result| {
            let next = match result {
                AioResult::Send(Ok(())) => calling.recv(&aio),
                AioResult::Recv(Ok(_)) if again() => {
                    calling.send(&aio, &body[..]).map_err(|(_, error)| error)
                }
                AioResult::Recv(Ok(_)) => {
                    let _ = answered.send((number, Ok(())));
                    Ok(())
                }
                AioResult::Send(Err((_, error))) | AioResult::Recv(Err(error)) => Err(error),
                AioResult::Sleep(_) => Ok(()),
            };
            if let Err(error) = next {
                let _ = answered.send((number, Err(error)));
            }
        })?;
        self.contexts.push((context, aio));
        Ok(number)
    }

    fn call(&self, number: usize, body: &[u8]) -> Result<()> {
        let (context, aio) = self.contexts.get(number).context("no such context")?;
        Ok(context.send(aio, body).map_err(|(_, error)| error)?)
    }
}

impl Drop for Callers {
    /// The binding waits for a callback when it drops its `Aio`: for ever, if the callback itself
    /// turns out to hold the last reference. So they have to have ended.
    fn drop(&mut self) {
        for (_, aio) in &self.contexts {
            aio.wait();
        }
    }
}

fn calls(job: &Job, url: &str, size: usize, in_flight: usize) -> Result<Tally> {
    let mut callers = Callers::new(url)?;
    let body: Arc<[u8]> = body(size).into();
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + seconds(job);
    for _ in 0..in_flight {
        let count = Arc::clone(&count);
        let number = callers.add(Arc::clone(&body), move || {
            count.fetch_add(1, Ordering::Relaxed);
            Instant::now() < end
        })?;
        callers.call(number, &body)?;
    }
    for _ in 0..in_flight {
        callers.answers.recv()?.1?;
    }
    Ok(Tally::new(count.load(Ordering::Relaxed), start.elapsed().as_secs_f64()))
}

/// Makes a call in a context that is free; replies count for the oldest call.
fn paced(job: &Job, url: &str, size: usize, per_second: f64) -> Result<Tally> {
    let mut callers = Callers::new(url)?;
    let body: Arc<[u8]> = body(size).into();
    let mut free = Vec::new();
    let mut pace = Pace::new(per_second, seconds(job));
    while !pace.over() || pace.waits() {
        while pace.due() {
            let number = match free.pop() {
                Some(number) => number,
                None => callers.add(Arc::clone(&body), || false)?,
            };
            callers.call(number, &body)?;
        }
        while let Ok((number, answered)) = callers.answers.try_recv() {
            answered?;
            free.push(number);
            pace.answered();
        }
        thread::yield_now();
    }
    Ok(pace.tally())
}
