//! Bowline with one owner for a connection, on either side: a thread that waits, or spins first.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bowline::Config;
use bowline::blocking::{CallId, Exclusive, Handler};
use bowline::core::error::{CallError, CastError, CastRefusal, Failure};
use bowline::links::{MessageRef, ReplyBuf, RequestRef};
use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::callers;
use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    let spin = Duration::from_micros(50);
    vec![
        Box::new(Owner { name: "Bowline, blocking, exclusive", spin: Duration::ZERO, many: false }),
        Box::new(Owner { name: "Bowline, blocking, exclusive, cast_many", spin: Duration::ZERO, many: true }),
        Box::new(Owner { name: "Bowline, blocking, spin", spin, many: false }),
    ]
}

struct Owner {
    name: &'static str,
    spin: Duration,
    /// Messages are queued 64 at a time, with one call.
    many: bool,
}

impl Owner {
    fn config(&self, work: &Work) -> Config {
        super::bowline_async::config(work)
    }
}

impl Contender for Owner {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::OneWay { senders: 1, size } if self.many && *size <= 1024 => Ok(()),
            _ if self.many => Err("it sends small messages one way"),
            Work::OneWay { senders: 1, .. } if self.spin.is_zero() => Ok(()),
            Work::OneWay { senders: 1, .. } => Err("casts have no reply to spin for"),
            Work::OneWay { .. } => Err("it has one owner"),
            Work::Calls { .. } | Work::Paced { .. } => Ok(()),
            _ => Err("a thread for each connection is not a contender"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ready(listener.local_addr()?);
        let senders = if let Work::OneWay { senders, .. } = job.work { senders } else { usize::MAX };
        let mut link = Exclusive::accept(listener.accept()?.0, self.config(&job.work))?;
        link.set_spin(self.spin);
        let mut served = Served { counter: Counter::default(), senders, done: false };
        while !served.done && link.turn(&mut served, None).is_ok() {}
        let tally = served.counter.tally();
        link.close(&mut served);
        Ok(tally)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let mut link = Exclusive::connect_with(&server.to_string(), self.config(&job.work))?;
        link.set_spin(self.spin);
        let time = Duration::from_secs_f64(job.seconds);
        match job.work {
            Work::OneWay { size, .. } => {
                send(&mut link, size, self.many, time)?;
                link.close(&mut ());
                Ok(Tally::default())
            }
            Work::Calls { size, in_flight } => call(&mut link, size, in_flight, time),
            Work::Paced { size, per_second } => pace(&mut link, size, per_second, time),
            _ => Ok(Tally::default()),
        }
    }
}

/// What the accepting side does.
#[derive(Default)]
pub struct Served {
    counter: Counter,
    senders: usize,
    done: bool,
}

impl Handler for Served {
    fn message(&mut self, message: MessageRef<'_>) {
        self.done |= self.counter.message(std::hint::black_box(message.body), self.senders);
    }

    fn request(&mut self, request: RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
        reply.extend_from_slice(request.body);
        Ok(())
    }
}

fn send(link: &mut Exclusive, size: usize, at_once: bool, time: Duration) -> Result<()> {
    // Large messages are shared.
    let (message, large, start) = (body(size), Bytes::from(body(size)), Instant::now());
    let many = vec![&message[..]; 64];
    while start.elapsed() < time {
        let queued = match size {
            16_384.. => link.cast(1, large.clone()).map(drop),
            _ if at_once => link.cast_many(1, std::hint::black_box(&many)).map(drop),
            _ => one_by_one(link, std::hint::black_box(&message)),
        };
        match queued {
            Ok(()) => {}
            Err(error) if matches!(error.reason(), CastRefusal::Full(_)) => {
                link.turn(&mut (), None)?;
            }
            Err(error) => bail!(error),
        }
    }
    while link.cast(1, &last(size)).is_err() {
        link.turn(&mut (), None)?;
    }
    Ok(())
}

/// As many as between two looks at the clock.
fn one_by_one(link: &mut Exclusive, message: &[u8]) -> Result<(), CastError> {
    for _ in 0..64 {
        let _ = link.cast(1, message)?;
    }
    Ok(())
}

/// Counts replies; times them where they are paced.
#[derive(Default)]
pub struct Replies {
    pub answered: u64,
    pub failed: Option<CallError>,
    paced: Option<Pace>,
}

pub struct Pace {
    start: Instant,
    /// The call id of the first.
    first: u64,
    per_second: f64,
    times: Histogram<u64>,
}

impl Handler for Replies {
    fn failed(&mut self, _: CallId, error: CallError) {
        self.failed = Some(error);
    }

    fn reply(&mut self, call: CallId, body: &[u8]) {
        std::hint::black_box(body);
        self.answered += 1;
        if let Some(Pace { start, first, per_second, times }) = &mut self.paced {
            let due = Duration::from_secs_f64((call.get() - *first) as f64 / *per_second);
            times.saturating_record(start.elapsed().saturating_sub(due).as_nanos() as u64);
        }
    }
}

fn call(link: &mut Exclusive, size: usize, in_flight: usize, time: Duration) -> Result<Tally> {
    let (message, mut replies, mut made, start) = (body(size), Replies::default(), 0, Instant::now());
    while start.elapsed() < time && replies.failed.is_none() {
        while made - replies.answered < in_flight as u64 {
            match link.call(1, &message) {
                Ok(_) => made += 1,
                Err(CallError::Full(_)) => break,
                Err(error) => bail!(error),
            }
        }
        link.turn(&mut replies, None)?;
    }
    match replies.failed {
        Some(error) => bail!(error),
        None => Ok(Tally::new(replies.answered, start.elapsed().as_secs_f64())),
    }
}

fn pace(link: &mut Exclusive, size: usize, per_second: f64, time: Duration) -> Result<Tally> {
    let (message, start, mut made) = (body(size), Instant::now(), 0_u64);
    let mut replies = Replies::default();
    let ending = || start.elapsed() >= time;
    let due = |call: u64| Duration::from_secs_f64(call as f64 / per_second);
    while !ending() || replies.answered < made {
        while due(made) <= start.elapsed() && !ending() {
            match link.call(1, &message) {
                Ok(call) => {
                    let first = call.get();
                    replies.paced.get_or_insert_with(|| Pace {
                        start,
                        first,
                        per_second,
                        times: callers::times(),
                    });
                    made += 1;
                }
                Err(CallError::Full(_)) => break,
                Err(error) => bail!(error),
            }
        }
        // Looks, and does not wait: the next is due soon.
        link.turn(&mut replies, Some(Duration::ZERO))?;
    }
    let mut tally = Tally::new(replies.answered, start.elapsed().as_secs_f64());
    tally.latency = replies.paced.map(|pace| callers::quantiles(&pace.times));
    Ok(tally)
}
