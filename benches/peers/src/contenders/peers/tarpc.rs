//! tarpc over its own transport of `LengthDelimitedCodec` and bincode.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport, server};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::common::{BOWLINE_ONLY, PATTERNS, accept, block_on, seconds};
use crate::callers::{Caller, closed_loop, open_loop, spawn_tokio};
use crate::contender::{Contender, Ready, body};
use crate::job::{Job, Tally, Work};

/// More than there are ever calls in flight; with the defaults of 100 and 1000 they would wait
/// for each other.
const IN_FLIGHT: usize = 16 * 1024;

/// To be collected before it is written, and read at once.
const BUFFER: usize = 64 * 1024;

/// `Bytes` and not `Vec<u8>`, which serde takes byte for byte.
#[tarpc::service]
trait Echo {
    async fn echo(body: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Echoes;

impl Echo for Echoes {
    async fn echo(self, _: context::Context, body: Bytes) -> Bytes {
        body
    }
}

pub struct Tarpc;

impl Contender for Tarpc {
    fn name(&self) -> &'static str {
        "tarpc (bincode)"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Calls { .. } | Work::Paced { .. } => Ok(()),
            Work::OneWay { .. } => Err("has no one-way messages"),
            Work::Idle { .. } | Work::Scale { .. } | Work::Mixed { .. } => Err(BOWLINE_ONLY),
            Work::Pattern(_) => Err(PATTERNS),
        }
    }

    fn serve(&self, _: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            let transport = serde_transport::new(framed(accept(ready).await?), Bincode::default());
            let config = server::Config { pending_response_buffer: IN_FLIGHT };
            // Each handler is run where its request was read, one after the other: they never
            // wait, and a task for each would cost more than it does.
            let requests = BaseChannel::new(config, transport).execute(Echoes.serve());
            requests.for_each(|handler| handler).await;
            Ok(Tally::default())
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let transport = serde_transport::new(framed(stream), Bincode::default());
            let mut config = client::Config::default();
            config.max_in_flight_requests = IN_FLIGHT;
            config.pending_request_buffer = IN_FLIGHT;
            let client = EchoClient::new(config, transport).spawn();
            match job.work {
                Work::Calls { size, in_flight } => {
                    closed_loop(Client::new(client, size), in_flight, seconds(job), spawn_tokio).await
                }
                Work::Paced { size, per_second } => {
                    open_loop(Client::new(client, size), per_second, seconds(job), spawn_tokio).await
                }
                _ => unreachable!("does not fit"),
            }
        })
    }
}

fn framed(stream: TcpStream) -> Framed<TcpStream, LengthDelimitedCodec> {
    let mut framed = Framed::with_capacity(stream, LengthDelimitedCodec::new(), BUFFER);
    framed.set_backpressure_boundary(BUFFER);
    framed
}

#[derive(Clone)]
struct Client {
    client: EchoClient,
    body: Bytes,
}

impl Client {
    fn new(client: EchoClient, size: usize) -> Self {
        Self { client, body: body(size).into() }
    }
}

impl Caller for Client {
    async fn call(&self) -> Result<()> {
        let mut context = context::current();
        // The default of ten seconds, said here because a run may be longer than a hiccup of it.
        context.deadline = Instant::now() + Duration::from_secs(30);
        let reply = self.client.echo(context, self.body.clone()).await?;
        ensure!(reply.len() == self.body.len(), "a reply of {} bytes", reply.len());
        Ok(())
    }
}
