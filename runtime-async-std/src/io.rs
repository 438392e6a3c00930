//! Sockets and timers of async-io.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Async;
use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::inproc;
use bowline_driver::runtime::{self, Wire};
use bowline_driver::shared::WriteNow;
#[cfg(unix)]
use bowline_driver::socket::{UnixPath, apply_buffers, listen_unix, unix_address};
use bowline_driver::socket::{apply_tcp, listen_tcp, tcp_socket};
use bowline_driver::soft_socket::SoftSocket;
use bowline_driver::stream;
#[cfg(unix)]
use socket2::SockRef;

/// Connects a socket.
#[allow(dead_code, reason = "without any runtime nobody connects")]
pub(crate) async fn connect(address: Address, options: SocketOptions) -> io::Result<Socket> {
    let stream = match address {
        Address::Tcp(address) => {
            let socket = tcp_socket(address, &options)?;
            match socket.connect(&address.into()) {
                Err(error) if !is_under_way(&error) => return Err(error),
                _ => {}
            }
            let stream = Async::<TcpStream>::new_nonblocking(socket.into())?;
            stream.writable().await?;
            if let Some(error) = stream.get_ref().take_error()? {
                return Err(error);
            }
            Stream::Tcp(stream)
        }
        #[cfg(unix)]
        Address::Unix(path) => Stream::Unix(Async::<UnixStream>::connect(&*path).await?),
        Address::Inproc(name) => Stream::Soft(Box::new(SoftSocket::Memory(inproc::connect(&name)?))),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = Socket(stream);
    socket.apply(&options)?;
    Ok(socket)
}

/// Makes a socket of a connected stream.
#[allow(dead_code, reason = "without any runtime nobody connects")]
pub(crate) fn adopt(stream: stream::Stream) -> io::Result<Socket> {
    Ok(Socket(match stream {
        stream::Stream::Tcp(stream) => Stream::Tcp(Async::new(stream)?),
        #[cfg(unix)]
        stream::Stream::Unix(stream) => Stream::Unix(Async::new(stream)?),
        stream::Stream::Memory(stream) => Stream::Soft(Box::new(SoftSocket::Memory(stream))),
        stream::Stream::Own(stream) => Stream::Soft(Box::new(SoftSocket::Own(stream))),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }))
}

/// Makes a listener of a listening socket.
#[allow(dead_code, reason = "without any runtime nobody listens")]
pub(crate) fn adopt_listener(listening: stream::Listening) -> io::Result<Listener> {
    Ok(Listener(match listening {
        stream::Listening::Tcp(listener) => Acceptor::Tcp(Async::new(listener)?),
        #[cfg(unix)]
        stream::Listening::Unix(listener) => Acceptor::Unix(Async::new(listener)?, None),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }))
}

/// A connect in progress: EINPROGRESS, or WSAEWOULDBLOCK.
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(115 | 36))
}

/// Listens.
#[allow(dead_code, reason = "without any runtime nobody listens")]
pub(crate) fn listen(address: &Address, options: &SocketOptions) -> io::Result<Listener> {
    Ok(Listener(match address {
        Address::Tcp(address) => Acceptor::Tcp(Async::new_nonblocking(listen_tcp(*address, options)?)?),
        #[cfg(unix)]
        Address::Unix(path) => {
            let (listener, path) = listen_unix(path, options)?;
            Acceptor::Unix(Async::new_nonblocking(listener)?, Some(path))
        }
        Address::Inproc(name) => Acceptor::Inproc(inproc::listen(name, options.backlog)?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }))
}

/// A socket of async-io. One task at a time waits on it.
#[derive(Debug)]
pub struct Socket(Stream);

#[derive(Debug)]
enum Stream {
    Tcp(Async<TcpStream>),
    #[cfg(unix)]
    Unix(Async<UnixStream>),
    /// Boxed: it is larger than a descriptor.
    Soft(Box<SoftSocket>),
}

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&self.0, slices) {
            (Stream::Tcp(stream), [one]) => stream.get_ref().write(one),
            (Stream::Tcp(stream), many) => stream.get_ref().write_vectored(many),
            #[cfg(unix)]
            (Stream::Unix(stream), many) => stream.get_ref().write_vectored(many),
            (Stream::Soft(stream), slices) => stream.write_now(slices),
        }
    }
}

impl Wire for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Stream::Tcp(stream) => stream.get_ref().read(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.get_ref().read(buf),
            Stream::Soft(stream) => stream.read_now(buf),
        }
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        match &self.0 {
            Stream::Tcp(stream) => apply_tcp(stream.get_ref(), options),
            #[cfg(unix)]
            Stream::Unix(stream) => apply_buffers(&SockRef::from(stream.get_ref()), options),
            Stream::Soft(stream) => stream.apply(options),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match &self.0 {
            Stream::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Stream::Soft(stream) => stream.shutdown_write(),
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match &self.0 {
            Stream::Tcp(stream) => stream.get_ref().peer_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.get_ref().peer_addr().map(|address| unix_address(&address)),
            Stream::Soft(stream) => stream.peer_addr(),
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        match &self.0 {
            Stream::Tcp(stream) => stream.get_ref().local_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.get_ref().local_addr().map(|address| unix_address(&address)),
            Stream::Soft(stream) => stream.local_addr(),
        }
    }
}

impl runtime::Socket for Socket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Tcp(stream) => stream.poll_readable(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.poll_readable(cx),
            Stream::Soft(stream) => stream.poll_readable(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Tcp(stream) => stream.poll_writable(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.poll_writable(cx),
            Stream::Soft(stream) => stream.poll_writable(cx),
        }
    }

    #[inline]
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Soft(stream) => stream.poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// A listener of async-io.
#[derive(Debug)]
pub struct Listener(Acceptor);

#[derive(Debug)]
enum Acceptor {
    Tcp(Async<TcpListener>),
    #[cfg(unix)]
    Unix(
        Async<UnixListener>,
        #[allow(dead_code, reason = "removes the file when it is dropped")] Option<UnixPath>,
    ),
    Inproc(inproc::Acceptor),
}

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
        match &self.0 {
            Acceptor::Tcp(listener) => poll_accept(listener, cx, |listener| {
                let (stream, from) = listener.accept()?;
                Ok((Socket(Stream::Tcp(Async::new(stream)?)), from.into()))
            }),
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => poll_accept(listener, cx, |listener| {
                let (stream, from) = listener.accept()?;
                Ok((Socket(Stream::Unix(Async::new(stream)?)), unix_address(&from)))
            }),
            Acceptor::Inproc(acceptor) => match acceptor.poll_accept(cx.waker()) {
                Some(stream) => {
                    let from = stream.address();
                    Poll::Ready(Ok((Socket(Stream::Soft(Box::new(SoftSocket::Memory(stream)))), from)))
                }
                None => Poll::Pending,
            },
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        match &self.0 {
            Acceptor::Tcp(listener) => listener.get_ref().local_addr().map(Address::from),
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => {
                listener.get_ref().local_addr().map(|address| unix_address(&address))
            }
            Acceptor::Inproc(acceptor) => Ok(acceptor.address()),
        }
    }
}

fn poll_accept<L>(
    listener: &Async<L>,
    cx: &mut Context<'_>,
    accept: impl Fn(&L) -> io::Result<(Socket, Address)>,
) -> Poll<io::Result<(Socket, Address)>> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match listener.poll_readable(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            },
            result => return Poll::Ready(result),
        }
    }
}

/// A timer of async-io.
#[derive(Debug)]
pub struct Timer(async_io::Timer);

impl Timer {
    /// A timer that is not set.
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
