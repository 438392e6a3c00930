//! What `tonic-build` would write, for a service of two methods whose messages are bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as Tower, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status, Streaming};

use super::tonic::Raw;
use crate::contender::Counter;

/// Answers with the same bytes.
pub const CALL: &str = "/peers.Peer/Call";
/// A stream of messages, counted.
pub const PUSH: &str = "/peers.Peer/Push";

#[derive(Clone)]
pub struct Service {
    pub counter: Arc<Counter>,
    /// Told when every sender is done.
    pub done: Arc<Notify>,
    pub senders: usize,
}

impl NamedService for Service {
    const NAME: &'static str = "peers.Peer";
}

impl Tower<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            CALL => Box::pin(async { Ok(Grpc::new(Raw).unary(Echo, request).await) }),
            PUSH => {
                let push = Push(self.clone());
                Box::pin(async { Ok(Grpc::new(Raw).client_streaming(push, request).await) })
            }
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

struct Push(Service);

impl ClientStreamingService<Bytes> for Push {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let Service { counter, done, senders } = self.0.clone();
        Box::pin(async move {
            let mut messages = request.into_inner();
            while let Some(message) = messages.message().await? {
                if counter.message(&message, senders) {
                    done.notify_one();
                }
            }
            Ok(Response::new(Bytes::new()))
        })
    }
}
