//! Bowline on tokio.
//!
//! Links run as tasks of whatever tokio runtime is current where they are made; its IO and time
//! drivers must be enabled.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bowline_core::config::SocketOptions;
use bowline_core::frame::native::Native;
use bowline_driver::RuntimeMissing;
use bowline_driver::runtime::{self, apply_options};
use bowline_driver::shared::WriteNow;
use tokio::net::{TcpListener, TcpStream};

/// A link's dialing end on tokio. See [`bowline_driver::Client`].
pub type Client<F = Native> = bowline_driver::Client<Tokio, F>;
/// Builds a [`Client`].
pub type ClientBuilder<F = Native> = bowline_driver::ClientBuilder<Tokio, F>;
/// The accepting end on tokio. See [`bowline_driver::Server`].
pub type Server<F = Native> = bowline_driver::Server<Tokio, F>;
/// Builds a [`Server`].
pub type ServerBuilder<F = Native> = bowline_driver::ServerBuilder<Tokio, F>;
/// The other side of a link, as handlers see it.
pub type Peer<F = Native> = bowline_driver::Peer<F>;
/// A call under way.
pub type Pending<F = Native> = bowline_driver::call::Pending<F>;
/// A request that may take its time.
pub type Request<F = Native> = bowline_driver::Request<F>;
/// The right to answer a request later.
pub type Responder<F = Native> = bowline_driver::Responder<F>;

/// The tokio runtime, as a type.
#[derive(Clone, Copy, Debug)]
pub struct Tokio;

impl runtime::Runtime for Tokio {
    type Socket = Socket;
    type Listener = Listener;
    type Timer = Timer;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), RuntimeMissing> {
        Self::check()?;
        tokio::spawn(task);
        Ok(())
    }

    fn check() -> Result<(), RuntimeMissing> {
        tokio::runtime::Handle::try_current().map(drop).map_err(|_| RuntimeMissing("tokio"))
    }

    async fn connect(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        apply_options(&stream, &options)?;
        Ok(Socket(stream))
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    fn listen(address: SocketAddr, _: SocketOptions) -> io::Result<Listener> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Listener(TcpListener::from_std(listener)?))
    }

    fn timer() -> Timer {
        Timer(None)
    }
}

/// A tokio socket.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.0.try_write(one),
            many => self.0.try_write_vectored(many),
        }
    }
}

impl runtime::Socket for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        apply_options(&self.0, options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.0).shutdown(std::net::Shutdown::Write)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

/// A tokio listener.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, SocketAddr)>> {
        self.0.poll_accept(cx).map_ok(|(stream, address)| (Socket(stream), address))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A tokio timer, made when it is first set: tasks without timeouts have none.
#[derive(Debug)]
pub struct Timer(Option<Pin<Box<tokio::time::Sleep>>>);

impl runtime::Timer for Timer {
    fn reset(&mut self, at: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => self.0 = Some(Box::pin(tokio::time::sleep_until(at.into()))),
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
