//! Bowline on tokio.
//!
//! Links run as tasks of the tokio runtime that is current where they are made; its IO and time drivers must
//! be enabled.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{self, Poll, Waker};
use std::time::Instant;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::owner::TaskSocket;
use bowline_driver::runtime;
use bowline_driver::stream::{Listening, Stream};
use bowline_driver::{RuntimeMissing, StartError};

mod own_stream;
mod sockets;

pub use own_stream::stream;
pub use sockets::{Listener, Socket};

/// The tokio runtime, as a type.
#[derive(Clone, Copy, Debug)]
pub struct Tokio;

impl runtime::Runtime for Tokio {
    type Socket = Socket;
    type OwnerSocket = TaskSocket<Self>;
    type Listener = Listener;
    type Timer = Timer;
    type Style = bowline_driver::style::Awaits;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        Self::check()?;
        tokio::spawn(task);
        Ok(())
    }

    fn threads() -> usize {
        tokio::runtime::Handle::try_current().map_or(1, |handle| handle.metrics().num_workers())
    }

    fn wake_later(waker: Waker) {
        // Woken by the runtime after all ready tasks, and after it has checked its sockets.
        let later = pin!(tokio::task::yield_now());
        let pending = later.poll(&mut task::Context::from_waker(&waker));
        debug_assert!(pending.is_pending(), "it yields once");
    }

    fn check() -> Result<(), StartError> {
        tokio::runtime::Handle::try_current().map(drop).map_err(|_| RuntimeMissing("tokio").into())
    }

    async fn connect(address: Address, options: SocketOptions) -> io::Result<Socket> {
        Socket::connect(address, options).await
    }

    fn adopt(stream: Stream) -> io::Result<Socket> {
        Socket::adopt(stream)
    }

    fn adopt_listener(listening: Listening) -> io::Result<Listener> {
        Listener::adopt(listening)
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    fn listen(address: &Address, options: SocketOptions) -> io::Result<Listener> {
        Listener::bind(address, options)
    }

    fn timer() -> Timer {
        Timer(None)
    }
}

/// A tokio timer, created when it is first set: tasks without timeouts have none.
#[derive(Debug)]
pub struct Timer(Option<Pin<Box<tokio::time::Sleep>>>);

impl runtime::Timer for Timer {
    fn reset(&mut self, at: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => self.0 = Some(Box::pin(tokio::time::sleep_until(at.into()))),
        }
    }

    fn poll_expired(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
