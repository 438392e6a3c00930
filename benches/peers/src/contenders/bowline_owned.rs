//! Bowline on tokio, smol and async-std, with one owner for a connection.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Result;
use bowline::core::error::{CallError, CastError, CastRefusal};
use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::links::Exclusive;
use bytes::Bytes;

use super::bowline_async::{ASYNC_STD, On, SMOL, TOKIO, config, serve};
use super::bowline_exclusive::{Replies, Served};
use crate::contender::{Contender, Ready, body, last};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    let spin = Duration::from_micros(50);
    vec![
        Box::new(Owned { name: "Bowline, tokio, spin", on: TOKIO, many: false, spin }),
        Box::new(Owned { name: "Bowline, tokio, exclusive", on: TOKIO, many: false, spin: Duration::ZERO }),
        Box::new(Owned { name: "Bowline, smol, exclusive", on: SMOL, many: false, spin: Duration::ZERO }),
        Box::new(Owned {
            name: "Bowline, async-std, exclusive",
            on: ASYNC_STD,
            many: false,
            spin: Duration::ZERO,
        }),
        Box::new(Owned {
            name: "Bowline, tokio, exclusive, cast_many",
            on: TOKIO,
            many: true,
            spin: Duration::ZERO,
        }),
        Box::new(Owned {
            name: "Bowline, smol, exclusive, cast_many",
            on: SMOL,
            many: true,
            spin: Duration::ZERO,
        }),
    ]
}

/// One task owns the connection.
struct Owned<R> {
    name: &'static str,
    on: On<R>,
    /// Messages are queued 64 at a time, with one call.
    many: bool,
    /// Both sides poll their sockets for so long before they wait.
    spin: Duration,
}

impl<R: Runtime<Style = Awaits>> Contender for Owned<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Calls { .. } if !self.many => Ok(()),
            _ if !self.spin.is_zero() => Err("casts have no reply to spin for"),
            Work::OneWay { senders: 1, size } if !self.many || *size <= 1024 => Ok(()),
            _ if self.many => Err("it sends small messages one way"),
            Work::OneWay { .. } => Err("it has one owner"),
            _ => Err("the shared handle stands for it"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        if self.spin.is_zero() {
            return serve::<R>(&self.on, job, false, ready);
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        ready(listener.local_addr()?);
        let (stream, spin, work) = (listener.accept()?.0, self.spin, job.work);
        (self.on.block_on)(Box::pin(async move {
            let mut link = Exclusive::<R>::accept(stream, config(&work))?;
            link.set_spin(spin);
            let mut served = Served::default();
            while link.turn(&mut served, None).await.is_ok() {}
            link.close(&mut served).await;
            Ok(Tally::default())
        }))
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let (many, spin) = (self.many, self.spin);
        let (work, time) = (job.work, Duration::from_secs_f64(job.seconds));
        (self.on.block_on)(Box::pin(async move {
            let mut link = Exclusive::<R>::connect_with(&server.to_string(), config(&work)).await?;
            link.set_spin(spin);
            match work {
                Work::OneWay { size, .. } => {
                    send_owned(&mut link, size, many, time).await?;
                    link.close(&mut ()).await;
                    Ok(Tally::default())
                }
                Work::Calls { size, in_flight } => call_owned(&mut link, size, in_flight, time).await,
                _ => Ok(Tally::default()),
            }
        }))
    }
}

async fn send_owned<R: Runtime<Style = Awaits>>(
    link: &mut Exclusive<R>,
    size: usize,
    at_once: bool,
    time: Duration,
) -> Result<()> {
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
                link.turn(&mut (), None).await?;
            }
            Err(error) => anyhow::bail!(error),
        }
    }
    while link.cast(1, &last(size)).is_err() {
        link.turn(&mut (), None).await?;
    }
    Ok(())
}

async fn call_owned<R: Runtime<Style = Awaits>>(
    link: &mut Exclusive<R>,
    size: usize,
    in_flight: usize,
    time: Duration,
) -> Result<Tally> {
    let (message, mut replies, mut made, start) = (body(size), Replies::default(), 0, Instant::now());
    while start.elapsed() < time {
        while made - replies.answered < in_flight as u64 {
            match link.call(1, &message) {
                Ok(_) => made += 1,
                Err(CallError::Full(_)) => break,
                Err(error) => anyhow::bail!(error),
            }
        }
        link.turn(&mut replies, None).await?;
        if let Some(error) = replies.failed {
            anyhow::bail!(error);
        }
    }
    Ok(Tally::new(replies.answered, start.elapsed().as_secs_f64()))
}

/// As many as between two looks at the clock.
fn one_by_one<R: Runtime<Style = Awaits>>(link: &mut Exclusive<R>, message: &[u8]) -> Result<(), CastError> {
    for _ in 0..64 {
        let _ = link.cast(1, message)?;
    }
    Ok(())
}
