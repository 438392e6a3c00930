//! Sockets and listeners of tokio.

#[cfg(unix)]
use std::io::Read;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

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
use socket2::SockRef;
#[cfg(unix)]
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A tokio socket.
#[derive(Debug)]
pub struct Socket(Stream);

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// Boxed: it is larger than a descriptor.
    Soft(Box<SoftSocket>),
}

impl Socket {
    pub(crate) async fn connect(address: Address, options: SocketOptions) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => {
                let socket = TcpSocket::from_std_stream(tcp_socket(address, &options)?.into());
                Stream::Tcp(socket.connect(address).await?)
            }
            #[cfg(unix)]
            Address::Unix(path) => Stream::Unix(UnixStream::connect(&*path).await?),
            Address::Inproc(name) => Stream::Soft(Box::new(SoftSocket::Memory(inproc::connect(&name)?))),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = Self(stream);
        socket.apply(&options)?;
        Ok(socket)
    }

    pub(crate) fn adopt(stream: stream::Stream) -> io::Result<Self> {
        Ok(Self(match stream {
            stream::Stream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Tcp(TcpStream::from_std(stream)?)
            }
            #[cfg(unix)]
            stream::Stream::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Unix(UnixStream::from_std(stream)?)
            }
            stream::Stream::Memory(stream) => Stream::Soft(Box::new(SoftSocket::Memory(stream))),
            stream::Stream::Own(stream) => Stream::Soft(Box::new(SoftSocket::Own(stream))),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }
}

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&self.0, slices) {
            (Stream::Tcp(stream), [one]) => stream.try_write(one),
            (Stream::Tcp(stream), many) => stream.try_write_vectored(many),
            #[cfg(unix)]
            (Stream::Unix(stream), [one]) => stream.try_write(one),
            #[cfg(unix)]
            (Stream::Unix(stream), many) => stream.try_write_vectored(many),
            (Stream::Soft(stream), slices) => stream.write_now(slices),
        }
    }
}

impl Wire for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            #[cfg(unix)]
            Stream::Tcp(stream) => {
                read_now(&SockRef::from(stream), buf, |read| stream.try_io(Interest::READABLE, read))
            }
            #[cfg(not(unix))]
            Stream::Tcp(stream) => stream.try_read(buf),
            #[cfg(unix)]
            Stream::Unix(stream) => {
                read_now(&SockRef::from(stream), buf, |read| stream.try_io(Interest::READABLE, read))
            }
            Stream::Soft(stream) => stream.read_now(buf),
        }
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        match &self.0 {
            Stream::Tcp(stream) => apply_tcp(stream, options),
            #[cfg(unix)]
            Stream::Unix(stream) => apply_buffers(&SockRef::from(stream), options),
            Stream::Soft(stream) => stream.apply(options),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match &self.0 {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Stream::Soft(stream) => stream.shutdown_write(),
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match &self.0 {
            Stream::Tcp(stream) => stream.peer_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.peer_addr().map(|address| unix_address(&address.into())),
            Stream::Soft(stream) => stream.peer_addr(),
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        match &self.0 {
            Stream::Tcp(stream) => stream.local_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.local_addr().map(|address| unix_address(&address.into())),
            Stream::Soft(stream) => stream.local_addr(),
        }
    }
}

impl runtime::Socket for Socket {
    /// A worker of `multi_thread` runs the task that was woken last next (its LIFO slot).
    fn runs_woken_first(&self) -> bool {
        let flavor = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
        flavor.is_ok_and(|flavor| flavor != tokio::runtime::RuntimeFlavor::CurrentThread)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            Stream::Soft(stream) => stream.poll_readable(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.poll_write_ready(cx),
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

/// Reads. If room is left in `buf`, the socket is empty: tokio is informed, which saves a read that returns
/// nothing.
#[cfg(unix)]
fn read_now(
    mut socket: &socket2::Socket,
    buf: &mut [u8],
    try_io: impl FnOnce(&mut dyn FnMut() -> io::Result<usize>) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut read = 0;
    let result = try_io(&mut || {
        read = socket.read(buf)?;
        if (1..buf.len()).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(read) }
    });
    if read > 0 { Ok(read) } else { result }
}

/// A tokio listener.
#[derive(Debug)]
pub struct Listener(Acceptor);

#[derive(Debug)]
enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[allow(dead_code, reason = "removes the file when it is dropped")] Option<UnixPath>),
    Inproc(inproc::Acceptor),
}

impl Listener {
    pub(crate) fn bind(address: &Address, options: SocketOptions) -> io::Result<Self> {
        Ok(Self(match address {
            Address::Tcp(address) => Acceptor::Tcp(TcpListener::from_std(listen_tcp(*address, &options)?)?),
            #[cfg(unix)]
            Address::Unix(path) => {
                let (listener, path) = listen_unix(path, &options)?;
                Acceptor::Unix(UnixListener::from_std(listener)?, Some(path))
            }
            Address::Inproc(name) => Acceptor::Inproc(inproc::listen(name, options.backlog)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    pub(crate) fn adopt(listening: stream::Listening) -> io::Result<Self> {
        Ok(Self(match listening {
            stream::Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Acceptor::Tcp(TcpListener::from_std(listener)?)
            }
            #[cfg(unix)]
            stream::Listening::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Acceptor::Unix(UnixListener::from_std(listener)?, None)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }
}

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
        match &self.0 {
            Acceptor::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, from)| (Socket(Stream::Tcp(stream)), from.into()))
            }
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => listener
                .poll_accept(cx)
                .map_ok(|(stream, from)| (Socket(Stream::Unix(stream)), unix_address(&from.into()))),
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
            Acceptor::Tcp(listener) => listener.local_addr().map(Address::from),
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => listener.local_addr().map(|address| unix_address(&address.into())),
            Acceptor::Inproc(acceptor) => Ok(acceptor.address()),
        }
    }
}
