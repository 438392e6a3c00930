//! The building blocks of the scenarios.

use std::time::Duration;

use bowline_core::config::{Config, ConfigBuilder};
use bowline_core::error::Failure;
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::runtime::Runtime;
use bowline_links::{Client, ReplyBuf, RequestRef, Server, ServerBuilder};
use bowline_tls::{TlsClient, TlsServer};

use crate::certificates::Authority;
pub(crate) use crate::frame::{done, until};

/// A test that hangs ends after so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The name that certificates are for: what a host that is dialed is called here.
pub(crate) const NAME: &str = "localhost";

/// An issuer, a server that it vouches for, and a client that trusts it.
pub(crate) struct World {
    pub(crate) ca: Authority,
    pub(crate) server: TlsServer,
    pub(crate) client: TlsClient,
}

pub(crate) fn world() -> World {
    let ca = Authority::new("the root");
    let server = TlsServer::builder().identity(ca.issue(&[NAME])).build().expect("sound");
    let client = TlsClient::builder().roots(ca.roots()).build().expect("sound");
    World { ca, server, client }
}

pub(crate) fn echo(_: u32, request: &RequestRef<'_>, reply: &mut ReplyBuf<'_>) -> Result<(), Failure> {
    reply.extend_from_slice(request.body);
    Ok(())
}

/// A server that answers with what it is asked.
pub(crate) fn echoing<R: Runtime, F: Framing>(config: ConfigBuilder<F>) -> ServerBuilder<R, F> {
    Server::<R, F>::with_config(config.build().expect("sound"))
        .on_request_inline(|_, request, reply| echo(0, &request, reply))
}

/// Such a server, listening.
pub(crate) async fn serving<R: Runtime>(tls: &TlsServer) -> Server<R, Native> {
    start(echoing::<R, _>(Config::builder().tls(tls))).await
}

pub(crate) async fn start<R: Runtime, F: Framing>(builder: ServerBuilder<R, F>) -> Server<R, F> {
    let server = done::<R, _>(builder.bind("127.0.0.1:0")).await.expect("a free port");
    server.start().expect("a runtime");
    server
}

/// Where it listens, by a name.
pub(crate) fn named<R: Runtime, F: Framing>(server: &Server<R, F>) -> String {
    format!("tls://{NAME}:{}", server.local_addr().port())
}

pub(crate) async fn connect<R: Runtime>(
    address: &str,
    tls: &TlsClient,
) -> Result<Client<R>, bowline_driver::ConnectError> {
    done::<R, _>(Client::<R>::builder(address).tls(tls).connect()).await
}
