//! Bowline on smol.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::StartError;
use bowline_driver::owner::TaskSocket;
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Listening, Stream};

pub use crate::io::{Listener, Socket, Timer};
pub use crate::own_stream::stream;

/// The smol executor, as a type.
#[derive(Clone, Copy, Debug)]
pub struct Smol;

impl Runtime for Smol {
    type Socket = Socket;
    type OwnerSocket = TaskSocket<Self>;
    type Listener = Listener;
    type Timer = Timer;
    type Style = bowline_driver::style::Awaits;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        smol::spawn(task).detach();
        Ok(())
    }

    async fn connect(address: Address, options: SocketOptions) -> io::Result<Socket> {
        crate::io::connect(address, options).await
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve((host, port)).await
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
