//! Sockets and listeners of an I/O group: they never wait.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
#[cfg(unix)]
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::inproc;
use bowline_driver::runtime::{self, Socket as _, Wire};
use bowline_driver::shared::WriteNow;
#[cfg(unix)]
use bowline_driver::socket::{UnixPath, apply_buffers, listen_unix, unix_address, unix_socket_address};
use bowline_driver::socket::{apply_tcp, listen_tcp, tcp_socket};
use bowline_driver::soft_socket::SoftSocket;
use bowline_driver::stream;
use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
#[cfg(unix)]
use socket2::SockRef;

use crate::io_group::{Held, Source, Way};
#[cfg(unix)]
use crate::waiting::wait_readable;

/// The registration of a descriptor with the reactor of the task that first waited for it.
#[derive(Debug, Default)]
struct Watch(OnceLock<Watched>);

#[derive(Debug)]
struct Watched {
    held: Held,
    token: usize,
    source: Arc<Source>,
}

impl Watch {
    /// Registers at once.
    #[cfg(not(unix))]
    fn register(socket: &mut impl mio::event::Source) -> io::Result<Self> {
        let held = Held::current()?;
        let (token, source) = held.reactor.register(socket)?;
        Ok(Self(OnceLock::from(Watched { held, token, source })))
    }

    /// Registers a descriptor when a task waits for it.
    #[cfg(unix)]
    fn wait_for(&self, fd: BorrowedFd<'_>) -> io::Result<&Source> {
        if let Some(watched) = self.0.get() {
            return Ok(&watched.source);
        }
        let held = Held::current()?;
        let mut fd = mio::unix::SourceFd(&fd.as_raw_fd());
        let (token, source) = held.reactor.register(&mut fd)?;
        // One task waits for a socket: no other one has come first.
        Ok(&self.0.get_or_init(|| Watched { held, token, source }).source)
    }

    #[cfg(not(unix))]
    fn wait_for(&self, (): ()) -> io::Result<&Source> {
        self.0.get().map(|watched| &*watched.source).ok_or(io::ErrorKind::NotConnected.into())
    }

    /// Reads or accepts, and records whether there may be more.
    fn take<T>(&self, more: impl FnOnce(&T) -> bool, take: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(Watched { source, .. }) = self.0.get() else { return take() };
        // Reports after this are new.
        source.clear(Way::In);
        let taken = take();
        let ready = match &taken {
            Ok(taken) => more(taken),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        if ready {
            source.set_ready(Way::In);
        }
        taken
    }

    /// Writes, and records whether there is no more room.
    fn put(&self, put: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
        match (put(), self.0.get()) {
            (Err(error), Some(Watched { source, .. })) if error.kind() == io::ErrorKind::WouldBlock => {
                // Room from before this is found by the next attempt, room from after this is reported.
                source.clear(Way::Out);
                let again = put();
                if !matches!(&again, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                    source.set_ready(Way::Out);
                }
                again
            }
            (result, _) => result,
        }
    }

    #[cfg(unix)]
    fn forget(&mut self, fd: BorrowedFd<'_>) {
        if let Some(Watched { held, token, .. }) = self.0.take() {
            held.reactor.deregister(&mut mio::unix::SourceFd(&fd.as_raw_fd()), token);
        }
    }
}

/// A socket of an I/O group.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    watch: Watch,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// Boxed: it is larger than a descriptor.
    Soft(Box<SoftSocket>),
}

impl Socket {
    #[cfg(unix)]
    fn new(stream: Stream) -> io::Result<Self> {
        Ok(Self { stream, watch: Watch::default() })
    }

    #[cfg(not(unix))]
    fn new(mut stream: Stream) -> io::Result<Self> {
        let watch = match &mut stream {
            Stream::Tcp(stream) => Watch::register(stream)?,
            Stream::Soft(_) => Watch::default(),
        };
        Ok(Self { stream, watch })
    }

    pub(crate) async fn connect(address: Address, options: SocketOptions) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => {
                let socket = tcp_socket(address, &options)?;
                match socket.connect(&address.into()) {
                    Err(error) if !is_under_way(&error) => return Err(error),
                    _ => {}
                }
                let socket = Self::new(Stream::Tcp(TcpStream::from_std(socket.into())))?;
                socket.connected().await?;
                socket
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                Self::new(Stream::Unix(UnixStream::connect_addr(&unix_socket_address(&path)?)?))?
            }
            Address::Inproc(name) => {
                Self::new(Stream::Soft(Box::new(SoftSocket::Memory(inproc::connect(&name)?))))?
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.apply(&options)?;
        Ok(socket)
    }

    pub(crate) fn adopt(stream: stream::Stream) -> io::Result<Self> {
        Self::new(match stream {
            stream::Stream::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Tcp(TcpStream::from_std(stream))
            }
            #[cfg(unix)]
            stream::Stream::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Stream::Unix(UnixStream::from_std(stream))
            }
            stream::Stream::Memory(stream) => Stream::Soft(Box::new(SoftSocket::Memory(stream))),
            stream::Stream::Own(stream) => Stream::Soft(Box::new(SoftSocket::Own(stream))),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Waits for a connect in progress.
    async fn connected(&self) -> io::Result<()> {
        let Stream::Tcp(stream) = &self.stream else { return Ok(()) };
        loop {
            poll_fn(|cx| self.poll_writable(cx)).await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.peer_addr() {
                // Reported too early.
                Err(error) if error.kind() == io::ErrorKind::NotConnected || is_under_way(&error) => {
                    if let Some(watched) = self.watch.0.get() {
                        watched.source.clear(Way::Out);
                    }
                }
                result => return result.map(drop),
            }
        }
    }

    #[cfg(unix)]
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream.as_fd()),
            Stream::Unix(stream) => Some(stream.as_fd()),
            Stream::Soft(_) => None,
        }
    }

    fn poll(&self, way: Way, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let source = match &self.stream {
            Stream::Soft(stream) => {
                return match way {
                    Way::In => stream.poll_readable(cx),
                    Way::Out => stream.poll_writable(cx),
                };
            }
            #[cfg(unix)]
            Stream::Tcp(stream) => self.watch.wait_for(stream.as_fd()),
            #[cfg(unix)]
            Stream::Unix(stream) => self.watch.wait_for(stream.as_fd()),
            #[cfg(not(unix))]
            Stream::Tcp(_) => self.watch.wait_for(()),
        };
        match source {
            Ok(source) => source.poll(way, cx.waker()).map(Ok),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// A connect in progress: EINPROGRESS (Linux; the BSDs and macOS), or WSAEWOULDBLOCK.
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(115 | 36))
}

#[cfg(unix)]
impl Drop for Socket {
    fn drop(&mut self) {
        let Self { stream, watch } = self;
        match stream {
            Stream::Tcp(stream) => watch.forget(stream.as_fd()),
            Stream::Unix(stream) => watch.forget(stream.as_fd()),
            Stream::Soft(_) => {}
        }
    }
}

#[cfg(not(unix))]
impl Drop for Watched {
    fn drop(&mut self) {
        self.held.reactor.forget(self.token);
    }
}

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.stream {
            Stream::Soft(stream) => stream.write_now(slices),
            Stream::Tcp(stream) => self.watch.put(|| match slices {
                [one] => (&*stream).write(one),
                many => (&*stream).write_vectored(many),
            }),
            #[cfg(unix)]
            Stream::Unix(stream) => self.watch.put(|| (&*stream).write_vectored(slices)),
        }
    }
}

impl Wire for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len();
        // On Unix, a read that leaves room has emptied the socket; later bytes are reported. Each attempt
        // finds the end of the stream again.
        let more = |&read: &usize| read == 0 || read == room || !cfg!(unix);
        match &self.stream {
            Stream::Soft(stream) => stream.read_now(buf),
            Stream::Tcp(stream) => self.watch.take(more, || (&*stream).read(buf)),
            #[cfg(unix)]
            Stream::Unix(stream) => self.watch.take(more, || (&*stream).read(buf)),
        }
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => apply_tcp(stream, options),
            #[cfg(unix)]
            Stream::Unix(stream) => apply_buffers(&SockRef::from(stream), options),
            Stream::Soft(stream) => stream.apply(options),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Soft(stream) => stream.shutdown_write(),
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.peer_addr().map(|address| unix_address(&address)),
            Stream::Soft(stream) => stream.peer_addr(),
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.local_addr().map(|address| unix_address(&address)),
            Stream::Soft(stream) => stream.local_addr(),
        }
    }
}

impl runtime::Socket for Socket {
    #[cfg(unix)]
    fn callers_read(&self) -> bool {
        !matches!(self.stream, Stream::Soft(_))
    }

    #[cfg(unix)]
    fn wait_readable(&self, limit: Duration) -> bool {
        self.fd().is_some_and(|fd| wait_readable(fd, limit))
    }

    #[cfg(unix)]
    fn watch_reads(&self, watch: bool) {
        if let (Some(fd), Some(Watched { held, token, .. })) = (self.fd(), self.watch.0.get()) {
            // If this fails, reports continue, which only costs time.
            let _ = held.reactor.watch_reads(fd.as_raw_fd(), *token, watch);
        }
    }

    #[cfg(unix)]
    fn writes_apart(&self) -> bool {
        true
    }

    fn others_wait(&self) -> bool {
        self.watch.0.get().is_some_and(|watched| watched.held.reactor.has_ready())
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Way::In, cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Way::Out, cx)
    }

    #[inline]
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Soft(stream) => stream.poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// A listener of an I/O group.
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor,
    watch: Watch,
}

#[derive(Debug)]
enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[allow(dead_code, reason = "removes the file when it is dropped")] Option<UnixPath>),
    Inproc(inproc::Acceptor),
}

impl Listener {
    pub(crate) fn bind(address: &Address, options: &SocketOptions) -> io::Result<Self> {
        Self::new(match address {
            Address::Tcp(address) => Acceptor::Tcp(TcpListener::from_std(listen_tcp(*address, options)?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                let (listener, path) = listen_unix(path, options)?;
                Acceptor::Unix(UnixListener::from_std(listener), Some(path))
            }
            Address::Inproc(name) => Acceptor::Inproc(inproc::listen(name, options.backlog)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    pub(crate) fn adopt(listening: stream::Listening) -> io::Result<Self> {
        Self::new(match listening {
            stream::Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Acceptor::Tcp(TcpListener::from_std(listener))
            }
            #[cfg(unix)]
            stream::Listening::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Acceptor::Unix(UnixListener::from_std(listener), None)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    #[cfg(unix)]
    fn new(acceptor: Acceptor) -> io::Result<Self> {
        Ok(Self { acceptor, watch: Watch::default() })
    }

    #[cfg(not(unix))]
    fn new(mut acceptor: Acceptor) -> io::Result<Self> {
        let watch = match &mut acceptor {
            Acceptor::Tcp(listener) => Watch::register(listener)?,
            Acceptor::Inproc(_) => Watch::default(),
        };
        Ok(Self { acceptor, watch })
    }

    fn accept_now(&self, cx: &mut Context<'_>) -> io::Result<(Socket, Address)> {
        match &self.acceptor {
            Acceptor::Tcp(listener) => {
                let (stream, from) = self.watch.take(|_| true, || listener.accept())?;
                Ok((Socket::new(Stream::Tcp(stream))?, from.into()))
            }
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => {
                let (stream, from) = self.watch.take(|_| true, || listener.accept())?;
                Ok((Socket::new(Stream::Unix(stream))?, unix_address(&from)))
            }
            Acceptor::Inproc(acceptor) => {
                let stream = acceptor.poll_accept(cx.waker()).ok_or(io::ErrorKind::WouldBlock)?;
                let from = stream.address();
                Ok((Socket::new(Stream::Soft(Box::new(SoftSocket::Memory(stream))))?, from))
            }
        }
    }
}

impl runtime::Listener for Listener {
    type Socket = Socket;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Address)>> {
        loop {
            match self.accept_now(cx) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            let source = match &self.acceptor {
                Acceptor::Inproc(_) => return Poll::Pending,
                #[cfg(unix)]
                Acceptor::Tcp(listener) => self.watch.wait_for(listener.as_fd()),
                #[cfg(unix)]
                Acceptor::Unix(listener, _) => self.watch.wait_for(listener.as_fd()),
                #[cfg(not(unix))]
                Acceptor::Tcp(_) => self.watch.wait_for(()),
            };
            match source.map(|source| source.poll(Way::In, cx.waker())) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        match &self.acceptor {
            Acceptor::Tcp(listener) => listener.local_addr().map(Address::from),
            #[cfg(unix)]
            Acceptor::Unix(listener, _) => listener.local_addr().map(|address| unix_address(&address)),
            Acceptor::Inproc(acceptor) => Ok(acceptor.address()),
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        let Self { acceptor, watch } = self;
        match acceptor {
            Acceptor::Tcp(listener) => watch.forget(listener.as_fd()),
            Acceptor::Unix(listener, _) => watch.forget(listener.as_fd()),
            Acceptor::Inproc(_) => {}
        }
    }
}
