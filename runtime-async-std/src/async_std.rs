//! Bowline on async-std.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::frame::native::Native;
use bowline_driver::StartError;
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Listening, Stream};

use crate::io::{Listener, Socket, Timer};
pub use crate::own_stream::stream;

/// A link's dialing end on async-std. See [`bowline_driver::Client`].
pub type Client<F = Native> = bowline_driver::Client<AsyncStd, F>;
/// Builds a [`Client`].
pub type ClientBuilder<F = Native> = bowline_driver::ClientBuilder<AsyncStd, F>;
/// The accepting end on async-std. See [`bowline_driver::Server`].
pub type Server<F = Native> = bowline_driver::Server<AsyncStd, F>;
/// Builds a [`Server`].
pub type ServerBuilder<F = Native> = bowline_driver::ServerBuilder<AsyncStd, F>;
/// Many listeners and links by address, on async-std. See [`bowline_driver::Manager`].
pub type Manager<F = Native> = bowline_driver::Manager<AsyncStd, F>;
/// A connection with one owner.
pub type Exclusive<F = Native> = bowline_driver::exclusive::Exclusive<AsyncStd, F>;
pub use bowline_core::link::CallId;
pub use bowline_driver::exclusive::Handler;
/// Several links to one target, on async-std. See [`bowline_driver::Pool`].
pub type Pool<F = Native> = bowline_driver::Pool<AsyncStd, F>;
/// Builds a [`Pool`].
pub type PoolBuilder<F = Native> = bowline_driver::PoolBuilder<AsyncStd, F>;
/// The other side of a link, as handlers see it.
pub type Peer<F = Native> = bowline_driver::Peer<AsyncStd, F>;
/// The peers of servers, by id and in groups.
pub type Hub<F = Native> = bowline_driver::Hub<AsyncStd, F>;
/// Received messages, one after another.
pub type Messages<F = Native> = bowline_driver::Messages<AsyncStd, F>;
/// What an inline handler may do besides answering.
pub type Context<'a, F = Native> = bowline_driver::Context<'a, AsyncStd, F>;
/// A call under way.
pub type Pending<F = Native> = bowline_driver::Pending<AsyncStd, F>;
/// A request that may take its time.
pub type Request<F = Native> = bowline_driver::Request<AsyncStd, F>;
/// The right to answer a request later.
pub type Responder<F = Native> = bowline_driver::Responder<F>;

/// The async-std executor, as a type.
#[derive(Clone, Copy, Debug)]
pub struct AsyncStd;

impl Runtime for AsyncStd {
    type Socket = Socket;
    type Listener = Listener;
    type Timer = Timer;
    type Style = bowline_driver::style::Awaits;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        drop(async_std::task::spawn(task));
        Ok(())
    }

    async fn connect(address: Address, options: SocketOptions) -> io::Result<Socket> {
        crate::io::connect(address, options).await
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        use async_std::net::ToSocketAddrs;
        Ok((host.as_str(), port).to_socket_addrs().await?.collect())
    }

    fn listen(address: &Address, options: SocketOptions) -> io::Result<Listener> {
        crate::io::listen(address, &options)
    }

    fn adopt(stream: Stream) -> io::Result<Socket> {
        crate::io::adopt(stream)
    }

    fn adopt_listener(listening: Listening) -> io::Result<Listener> {
        crate::io::adopt_listener(listening)
    }

    fn timer() -> Timer {
        Timer::never()
    }
}
