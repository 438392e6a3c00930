//! A runtime without tasks, sockets and timers: a test polls its futures by hand.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::StartError;
use bowline_driver::owner::{OwnerSocket, Patience, Until};
use bowline_driver::runtime::{Listener, Runtime, Socket, Timer, Wire};
use bowline_driver::shared::WriteNow;
use bowline_driver::stream::{Listening, Stream};
use bowline_driver::style::Awaits;

pub(super) struct ByHand;

/// There is none.
pub(super) struct No(Infallible);

fn none<T>() -> io::Result<T> {
    Err(ErrorKind::Unsupported.into())
}

impl WriteNow for No {
    fn write_now(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Wire for No {
    fn read_now(&self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn apply(&self, _: &SocketOptions) -> io::Result<()> {
        match self.0 {}
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self.0 {}
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match self.0 {}
    }
}

impl Socket for No {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl OwnerSocket for No {
    async fn connect(_: Address, _: SocketOptions, _: Duration) -> io::Result<Self> {
        none()
    }

    async fn resolve(_: String, _: u16, _: Duration) -> io::Result<Vec<SocketAddr>> {
        none()
    }

    fn adopt(_: Stream) -> io::Result<Self> {
        none()
    }

    fn read(&self, _: &mut [u8], _: &Patience) -> io::Result<usize> {
        match self.0 {}
    }

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &Until) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl Listener for No {
    type Socket = Self;

    fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<(Self, Address)>> {
        match self.0 {}
    }

    fn local_addr(&self) -> io::Result<Address> {
        match self.0 {}
    }
}

/// A caller that waits for it must be polled again by hand.
pub(super) struct Never;

impl Timer for Never {
    fn reset(&mut self, _: Instant) {}

    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Runtime for ByHand {
    type Socket = No;
    type OwnerSocket = No;
    type Listener = No;
    type Timer = Never;
    type Style = Awaits;

    fn spawn(_: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        Ok(())
    }

    async fn connect(_: Address, _: SocketOptions) -> io::Result<No> {
        none()
    }

    fn adopt(_: Stream) -> io::Result<No> {
        none()
    }

    fn adopt_listener(_: Listening) -> io::Result<No> {
        none()
    }

    async fn resolve(_: String, _: u16) -> io::Result<Vec<SocketAddr>> {
        none()
    }

    fn listen(_: &Address, _: SocketOptions) -> io::Result<No> {
        none()
    }

    fn timer() -> Never {
        Never
    }
}
