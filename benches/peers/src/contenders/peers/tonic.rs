//! gRPC by tonic, with a codec that takes bytes as they are: protobuf is not measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::{Buf as _, BufMut as _, Bytes};
use futures::stream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tonic::client::Grpc as GrpcClient;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

use super::common::{Bodies, block_on, messages_and_calls, one_way, seconds};
use super::tonic_service::{CALL, PUSH, Service};
use crate::callers::{Caller, closed_loop, open_loop, spawn_tokio};
use crate::contender::{Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// Of one stream and of the connection. The default of 64 KiB has the sender wait for each
/// update of the window; much more only spreads the bytes over more memory.
const WINDOW: u32 = 1024 * 1024;

/// So that a message of 64 KiB, too, is one frame.
const FRAME: u32 = 128 * 1024;

/// More than there are ever calls in flight.
const IN_FLIGHT: u32 = 16 * 1024;

pub struct Tonic;

impl Contender for Tonic {
    fn name(&self) -> &'static str {
        "tonic"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        let senders = one_way(&job.work).map_or(1, |(_, senders)| senders);
        block_on(async {
            let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
            ready(incoming.local_addr()?);
            let counter = Arc::new(Counter::default());
            let done = Arc::new(Notify::new());
            let service = Service { counter: Arc::clone(&counter), done: Arc::clone(&done), senders };
            Server::builder()
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME)
                .max_concurrent_streams(IN_FLIGHT)
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, async move { done.notified().await })
                .await?;
            Ok(counter.tally())
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let channel = Endpoint::from_shared(format!("http://{server}"))?
                .tcp_nodelay(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME)
                .buffer_size(IN_FLIGHT as usize)
                .connect()
                .await?;
            match job.work {
                Work::OneWay { size, senders } => send(job, channel, size, senders).await,
                Work::Calls { size, in_flight } => {
                    closed_loop(Client::new(channel, size), in_flight, seconds(job), spawn_tokio).await
                }
                Work::Paced { size, per_second } => {
                    open_loop(Client::new(channel, size), per_second, seconds(job), spawn_tokio).await
                }
                _ => unreachable!("does not fit"),
            }
        })
    }
}

/// Each sender streams on a call of its own, all on the one connection.
async fn send(job: &Job, channel: Channel, size: usize, senders: usize) -> Result<Tally> {
    let tasks = (0..senders).map(|_| {
        let (bodies, channel) = (Bodies::new(job, size), channel.clone());
        spawn_local(async move {
            let mut client = GrpcClient::new(channel);
            client.ready().await?;
            let request = Request::new(stream::iter(bodies));
            client.client_streaming(request, PathAndQuery::from_static(PUSH), Raw).await?;
            anyhow::Ok(())
        })
    });
    for task in futures::future::join_all(tasks).await {
        task??;
    }
    Ok(Tally::default())
}

#[derive(Clone)]
struct Client {
    channel: Channel,
    body: Bytes,
}

impl Client {
    fn new(channel: Channel, size: usize) -> Self {
        Self { channel, body: body(size).into() }
    }
}

impl Caller for Client {
    async fn call(&self) -> Result<()> {
        let mut client = GrpcClient::new(self.channel.clone());
        client.ready().await?;
        let request = Request::new(self.body.clone());
        let reply = client.unary(request, PathAndQuery::from_static(CALL), Raw).await?.into_inner();
        ensure!(reply.len() == self.body.len(), "a reply of {} bytes", reply.len());
        Ok(())
    }
}

/// Messages are the bytes that they are.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        // The buffer for what one frame carries is there at once, where the default grows to it
        // by 8 KiB; the second, when a frame of small messages is full, is the default.
        BufferSettings::new(32 * 1024, 32 * 1024)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
