//! Sockets and timers of async-io.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Async;
use bowline_core::config::SocketOptions;
use bowline_driver::runtime::{self, apply_options};
use bowline_driver::shared::WriteNow;

/// Connects a socket.
#[allow(dead_code, reason = "without any runtime nobody connects")]
pub(crate) async fn connect(address: SocketAddr, options: SocketOptions) -> io::Result<Socket> {
    let stream = Async::<TcpStream>::connect(address).await?;
    apply_options(stream.get_ref(), &options)?;
    Ok(Socket(stream))
}

/// Listens.
#[allow(dead_code, reason = "without any runtime nobody listens")]
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listener> {
    Ok(Listener(Async::<TcpListener>::bind(address)?))
}

/// A socket of async-io. One task at a time waits on it.
#[derive(Debug)]
pub struct Socket(Async<TcpStream>);

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.0.get_ref().write(one),
            many => self.0.get_ref().write_vectored(many),
        }
    }
}

impl runtime::Socket for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.get_ref().read(buf)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        apply_options(self.0.get_ref(), options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.get_ref().shutdown(std::net::Shutdown::Write)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().peer_addr()
    }
}

/// A listener of async-io.
#[derive(Debug)]
pub struct Listener(Async<TcpListener>);

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, SocketAddr)>> {
        loop {
            match self.0.get_ref().accept() {
                Ok((stream, address)) => {
                    let accepted = Async::new(stream).map(|stream| (Socket(stream), address));
                    return Poll::Ready(accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.0.poll_readable(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A timer of async-io.
#[derive(Debug)]
pub struct Timer(async_io::Timer);

impl Timer {
    /// Not set.
    #[allow(dead_code, reason = "without any runtime nobody sets a timer")]
    pub(crate) fn never() -> Self {
        Self(async_io::Timer::never())
    }
}

impl runtime::Timer for Timer {
    fn reset(&mut self, at: Instant) {
        self.0.set_at(at);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}
