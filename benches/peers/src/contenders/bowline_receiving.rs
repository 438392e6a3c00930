//! Bowline's `receive()`: messages that a task owns. The side that dials has it, so the server sends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bowline::driver::runtime::Runtime;
use bowline::driver::style::Awaits;
use bowline::links::{Client, Server};

use super::bowline_async::{On, SMOL, TOKIO, TOKIO_THREADS, config, send};
use crate::contender::{Contender, Counter, Ready};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Receiving { name: "Bowline, tokio, receive", on: TOKIO }),
        Box::new(Receiving { name: "Bowline, smol, receive", on: SMOL }),
        Box::new(Receiving { name: "Bowline, tokio, multi_thread, receive", on: TOKIO_THREADS }),
    ]
}

struct Receiving<R> {
    name: &'static str,
    on: On<R>,
}

impl<R: Runtime<Style = Awaits>> Contender for Receiving<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::OneWay { senders: 1, .. } => Ok(()),
            _ => Err("it receives from one sender"),
        }
    }

    fn receiver_dials(&self) -> bool {
        true
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let (work, time) = (job.work, Duration::from_secs_f64(job.seconds));
        let Work::OneWay { size, .. } = work else { return Ok(Tally::default()) };
        let builder = Server::<R>::builder().config(config(&work));
        let builder = builder.on_connect(move |peer| {
            let sending = send(peer.clone(), size, time);
            R::spawn(async move {
                // The other side counts, and says what it misses.
                let _ = sending.await;
            })
            .expect("a runtime");
        });
        (self.on.block_on)(Box::pin(async move {
            let server = builder.bind("127.0.0.1:0").await?;
            ready(server.local_addr().to_string().parse()?);
            server.serve().await;
            Ok(Tally::default())
        }))
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let work = job.work;
        (self.on.block_on)(Box::pin(async move {
            let client = Client::<R>::with_config(&server.to_string(), config(&work)).connect().await?;
            let (told, done) = futures::channel::oneshot::channel();
            R::spawn(async move {
                let received = async {
                    let counter = Counter::default();
                    while !counter.message(&client.receive().await?.body, 1) {}
                    anyhow::Ok(counter.tally())
                };
                let _ = told.send(received.await);
            })?;
            done.await?
        }))
    }
}
