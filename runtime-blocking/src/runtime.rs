//! Plain threads as a runtime.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::StartError;
use bowline_driver::runtime::Runtime;
use bowline_driver::stream::{Listening, Stream};

use crate::aside::aside;
use crate::io_group;
use crate::style::Parks;
use crate::timer::Timer;
use crate::wire::{Listener, Socket};

/// Plain threads, as a runtime: tasks, sockets and timers are an [`IoGroup`](crate::IoGroup)'s.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Runtime for Threads {
    type Socket = Socket;
    type OwnerSocket = crate::socket::Socket;
    type Listener = Listener;
    type Timer = Timer;
    type Style = Parks;

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        io_group::spawn(task)
    }

    fn threads() -> usize {
        io_group::threads()
    }

    async fn connect(address: Address, options: SocketOptions) -> io::Result<Socket> {
        Socket::connect(address, options).await
    }

    async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        aside(move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await
    }

    fn listen(address: &Address, options: SocketOptions) -> io::Result<Listener> {
        Listener::bind(address, &options)
    }

    fn adopt(stream: Stream) -> io::Result<Socket> {
        Socket::adopt(stream)
    }

    fn adopt_listener(listening: Listening) -> io::Result<Listener> {
        Listener::adopt(listening)
    }

    fn timer() -> Timer {
        Timer::default()
    }
}
