//! Bowline on plain threads.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bowline::blocking::{Client, Server};
use bytes::Bytes;

use crate::contender::{Contender, Counter, Ready, body, last};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![Box::new(Shared)]
}

struct Shared;

impl Contender for Shared {
    fn name(&self) -> &'static str {
        "Bowline, blocking"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::OneWay { .. } => Ok(()),
            Work::Calls { in_flight: ..=256, .. } => Ok(()),
            Work::Calls { .. } => Err("a thread for each of thousands of calls is not a contender"),
            _ => Err("a thread for each connection is not a contender"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let senders = if let Work::OneWay { senders, .. } = job.work { senders } else { usize::MAX };
        let (done, finished) = mpsc::sync_channel(1);
        let counter = Counter::default();
        let server = Server::builder()
            .on_message_inline(move |_, message| {
                if counter.message(message.body, senders) {
                    let _ = done.try_send(counter.tally());
                }
            })
            .on_request_inline(|_, request, reply| {
                reply.extend_from_slice(request.body);
                Ok(())
            })
            .bind("127.0.0.1:0")?;
        server.start()?;
        ready(server.local_addr().to_string().parse()?);
        let tally = finished.recv()?;
        server.shutdown();
        Ok(tally)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let time = Duration::from_secs_f64(job.seconds);
        let client = Client::connect(&server.to_string())?;
        match job.work {
            Work::OneWay { size, senders } => {
                on_threads(senders, || send(&client, size, time))?;
                client.close();
                Ok(Tally::default())
            }
            Work::Calls { size, in_flight } => {
                let start = Instant::now();
                let count = on_threads(in_flight, || {
                    let (message, mut count) = (body(size), 0);
                    while start.elapsed() < time {
                        std::hint::black_box(client.call(1, &message)?);
                        count += 1;
                    }
                    Ok(count)
                })?;
                Ok(Tally::new(count, start.elapsed().as_secs_f64()))
            }
            _ => Ok(Tally::default()),
        }
    }
}

/// The same on so many threads; the sum of what they count.
fn on_threads(threads: usize, work: impl Fn() -> Result<u64> + Sync) -> Result<u64> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let mut sum = work()?;
        for other in others {
            sum += other.join().expect("no panic")?;
        }
        Ok(sum)
    })
}

fn send(client: &Client, size: usize, time: Duration) -> Result<u64> {
    let (message, large, start, mut sent) = (body(size), Bytes::from(body(size)), Instant::now(), 0_u64);
    while sent % 64 != 0 || start.elapsed() < time {
        if size < 16 * 1024 {
            let _ = client.cast(1, std::hint::black_box(&message))?;
            sent += 1;
        } else {
            let _ = client.cast(1, large.clone())?;
            sent += 64;
        }
    }
    let _ = client.cast(1, &last(size))?;
    Ok(sent)
}
