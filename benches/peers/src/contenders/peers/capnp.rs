//! Cap'n Proto RPC between two parties; one-way messages are its streaming calls.
//!
//! `peer_capnp.rs` was made of `peer.capnp` by capnpc 0.27 and capnp 0.9.2, in this directory:
//! `capnpc::CompilerCommand::new().file("peer.capnp").output_path(".")`
//! `.default_parent_module(vec!["contenders".into(), "peers".into()]).run()`.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Result, ensure};
use capnp::capability::Rc as CapRc;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use capnp_rpc::{RpcSystem, new_client_from_rc};
use futures::AsyncReadExt as _;
use futures::io::{BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use super::common::{Bodies, accept, block_on, messages_and_calls, one_way, seconds};
use super::peer_capnp::peer;
use crate::callers::{Caller, closed_loop, open_loop, spawn_tokio};
use crate::contender::{Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// To read at once, and for header and body of one message to be written together. More is not
/// collected: the library flushes after each message.
const BUFFER: usize = 64 * 1024;

/// Bytes of streaming calls that need no answer yet. The default of 64 KiB has the sender wait
/// for the answers to each batch; more than this leaves the cache.
const WINDOW: usize = 256 * 1024;

pub struct Capnp;

impl Contender for Capnp {
    fn name(&self) -> &'static str {
        "capnp-rpc"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let senders = one_way(&job.work).map_or(1, |(_, senders)| senders);
        block_on(async {
            let stream = accept(ready).await?;
            let server = Rc::new(Server { counter: Counter::default(), senders });
            let client: peer::Client = new_client_from_rc(Rc::clone(&server));
            // Ends with the connection, which the driving side closes after the last answer.
            let _ = RpcSystem::new(Box::new(network(stream, Side::Server)), Some(client.client)).await;
            Ok(server.counter.tally())
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let mut system = RpcSystem::new(Box::new(network(stream, Side::Client)), None);
            let client: peer::Client = system.bootstrap(Side::Server);
            let disconnector = system.get_disconnector();
            spawn_local(system);
            let tally = match job.work {
                Work::OneWay { size, senders } => send(job, &client, size, senders).await,
                Work::Calls { size, in_flight } => {
                    closed_loop(Client::new(client, size), in_flight, seconds(job), spawn_tokio).await
                }
                Work::Paced { size, per_second } => {
                    open_loop(Client::new(client, size), per_second, seconds(job), spawn_tokio).await
                }
                _ => unreachable!("does not fit"),
            }?;
            disconnector.await?;
            Ok(tally)
        })
    }
}

type Network = VatNetwork<BufReader<futures::io::ReadHalf<tokio_util::compat::Compat<TcpStream>>>>;

fn network(stream: TcpStream, side: Side) -> Network {
    let (reader, writer) = stream.compat().split();
    let reader = BufReader::with_capacity(BUFFER, reader);
    let writer = BufWriter::with_capacity(BUFFER, writer);
    let mut network = VatNetwork::new(reader, writer, side, Default::default());
    network.set_window_size(WINDOW);
    network
}

struct Server {
    counter: Counter,
    senders: usize,
}

impl peer::Server for Server {
    async fn echo(
        self: CapRc<Self>,
        params: peer::EchoParams,
        mut results: peer::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_body(params.get()?.get_body()?);
        Ok(())
    }

    async fn push(self: CapRc<Self>, params: peer::PushParams) -> Result<(), capnp::Error> {
        self.counter.message(params.get()?.get_body()?, self.senders);
        Ok(())
    }
}

/// Each sender has a clone of the client.
async fn send(job: &Job, client: &peer::Client, size: usize, senders: usize) -> Result<Tally> {
    let tasks = (0..senders).map(|_| {
        let (bodies, client) = (Bodies::new(job, size), client.clone());
        spawn_local(async move {
            for body in bodies {
                let mut request = client.push_request();
                request.get().set_body(&body);
                request.send().await?;
            }
            Ok::<_, capnp::Error>(())
        })
    });
    for task in futures::future::join_all(tasks).await {
        task??;
    }
    // Calls are taken in order: once this one is answered, all the others have been.
    client.echo_request().send().promise.await?;
    Ok(Tally::default())
}

#[derive(Clone)]
struct Client {
    client: peer::Client,
    body: Rc<[u8]>,
}

impl Client {
    fn new(client: peer::Client, size: usize) -> Self {
        Self { client, body: body(size).into() }
    }
}

impl Caller for Client {
    async fn call(&self) -> Result<()> {
        let mut request = self.client.echo_request();
        request.get().set_body(&self.body);
        let response = request.send().promise.await?;
        let reply = response.get()?.get_body()?.len();
        ensure!(reply == self.body.len(), "a reply of {reply} bytes");
        Ok(())
    }
}
