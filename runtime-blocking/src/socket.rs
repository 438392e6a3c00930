//! Sockets and listeners of plain threads.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::ConnectError;
use bowline_driver::addresses::Addresses;
use bowline_driver::inproc;
use bowline_driver::socket::{
    UnixPath, apply_buffers, apply_tcp, listen_tcp, listen_unix, tcp_socket, unix_address,
};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use crate::park::{Bell, ThreadWaker, wait_readable};

/// A connected socket whose writes wait, and whose reads do not.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Inproc(inproc::Stream),
}

impl Socket {
    pub(crate) fn connect(address: &Address, options: &SocketOptions, timeout: Duration) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => {
                let socket = tcp_socket(*address, options)?;
                // Back to waiting, which it does for at most so long.
                socket.set_nonblocking(false)?;
                socket.connect_timeout(&(*address).into(), timeout)?;
                Self::Tcp(socket.into())
            }
            Address::Unix(path) => Self::Unix(UnixStream::connect(&**path)?),
            Address::Inproc(name) => Self::Inproc(inproc::connect(name)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.apply(options)?;
        Ok(socket)
    }

    pub(crate) fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => apply_tcp(stream, options),
            Self::Unix(stream) => apply_buffers(&SockRef::from(stream), options),
            Self::Inproc(_) => Ok(()),
        }
    }

    /// Writes wait for so long at the most.
    pub(crate) fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(limit))
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(limit))
            }
            Self::Inproc(_) => Ok(()),
        }
    }

    /// Reads and writes that may wait do so for so long at the most.
    pub(crate) fn set_blocking(&self, limit: Duration) -> io::Result<()> {
        self.set_write_timeout(limit)?;
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Self::Unix(stream) => stream.set_read_timeout(Some(limit)),
            Self::Inproc(_) => Ok(()),
        }
    }

    /// Whether [`read_waiting`](Self::read_waiting) waits.
    pub(crate) fn can_wait(&self) -> bool {
        self.fd().is_some()
    }

    /// Reads, waiting for as long as [`set_blocking`](Self::set_blocking) said.
    pub(crate) fn read_waiting(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buf),
            Self::Unix(stream) => (&*stream).read(buf),
            Self::Inproc(stream) => stream.read_now(buf),
        }
    }

    /// Waits for bytes, for room, or for the timeout (`None`: for ever).
    pub(crate) fn wait_for(&self, read: bool, write: bool, timeout: Option<Duration>) -> io::Result<()> {
        let Some(fd) = self.fd() else {
            if let Self::Inproc(stream) = self {
                let ready = |waker: &Waker| {
                    (read && stream.poll_readable(waker)) || (write && stream.poll_writable(waker))
                };
                park_until(timeout.unwrap_or(Duration::from_secs(3600)), ready);
            }
            return Ok(());
        };
        crate::park::wait_for(fd, read, write, timeout)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Address::Tcp),
            Self::Unix(stream) => stream.peer_addr().map(|address| unix_address(&address)),
            Self::Inproc(stream) => Ok(stream.address()),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(Address::Tcp),
            Self::Unix(stream) => stream.local_addr().map(|address| unix_address(&address)),
            Self::Inproc(stream) => Ok(stream.address()),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
            Self::Inproc(stream) => {
                if how == Shutdown::Both {
                    stream.shutdown();
                } else {
                    stream.shutdown_write();
                }
                Ok(())
            }
        }
    }

    /// What can be polled; an in-process stream has wakers instead.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Inproc(_) => None,
        }
    }

    /// Reads what is there; `WouldBlock` if nothing is.
    pub(crate) fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Inproc(stream) => stream.read_now(buf),
            Self::Tcp(stream) => Ok(rustix::net::recv(stream, buf, RecvFlags::DONTWAIT)?.1),
            Self::Unix(stream) => Ok(rustix::net::recv(stream, buf, RecvFlags::DONTWAIT)?.1),
        }
    }

    /// Writes what there is room for; `WouldBlock` if there is none.
    pub(crate) fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Inproc(stream) => stream.write_now(slices),
            Self::Tcp(stream) => send_now(stream.as_fd(), slices),
            Self::Unix(stream) => send_now(stream.as_fd(), slices),
        }
    }

    /// Writes, waiting for room for at most the time that was set (`limit`).
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write_vectored(slices),
            Self::Unix(stream) => (&*stream).write_vectored(slices),
            Self::Inproc(stream) => {
                park_until(limit, |waker| stream.poll_writable(waker));
                stream.write_now(slices)
            }
        }
    }

    /// Waits for something to read. False: there was nothing within the timeout.
    pub(crate) fn wait_readable(&self, timeout: Duration) -> bool {
        match (self, self.fd()) {
            (Self::Inproc(stream), _) => park_until(timeout, |waker| stream.poll_readable(waker)),
            (_, Some(fd)) => wait_readable(fd, timeout),
            _ => false,
        }
    }

    /// Waits for the bell, for something to read (if `read`), or for the timeout.
    pub(crate) fn wait_with(&self, bell: &Bell, read: bool, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Inproc(stream) if read && stream.poll_readable(&bell.waker()) => return Ok(()),
            _ => {}
        }
        bell.wait(self.fd().filter(|_| read), timeout).map(drop)
    }

    /// Reads, waiting for at most `limit`; `TimedOut` or `WouldBlock` if nothing came.
    pub(crate) fn read_within(&self, buf: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(limit))?;
                (&*stream).read(buf)
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(limit))?;
                (&*stream).read(buf)
            }
            Self::Inproc(stream) => {
                park_until(limit, |waker| stream.poll_readable(waker));
                stream.read_now(buf)
            }
        }
    }
}

fn send_now(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match slices {
        [] => Ok(0),
        [one] => Ok(rustix::net::send(fd, one, flags)?),
        many => Ok(rustix::net::sendmsg(fd, many, &mut SendAncillaryBuffer::default(), flags)?),
    }
}

/// The addresses that a user's text stands for.
pub(crate) fn resolve(text: &str) -> Result<Addresses, ConnectError> {
    let mut addresses = Addresses::of(text)?;
    if let Some(name) = addresses.name() {
        addresses.resolved(name.to_socket_addrs().map(Iterator::collect));
    }
    Ok(addresses)
}

/// Parks this thread until `ready` says so. False: it did not within the limit.
fn park_until(limit: Duration, ready: impl Fn(&Waker) -> bool) -> bool {
    PARKED.with(|thread| {
        let waker = Waker::from(Arc::clone(thread));
        let deadline = Instant::now() + limit;
        thread.take();
        while !ready(&waker) {
            while !thread.take() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                std::thread::park_timeout(left);
            }
        }
        true
    })
}

std::thread_local! {
    /// One for each thread, so that a stream keeps it once.
    static PARKED: Arc<ThreadWaker> = ThreadWaker::current();
}

/// A listening socket in non-blocking mode.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code, reason = "removes the file when it is dropped")] UnixPath),
    Inproc(inproc::Acceptor),
}

impl Listener {
    pub(crate) fn bind(address: &Address, options: &SocketOptions) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => Self::Tcp(listen_tcp(*address, options)?),
            Address::Unix(path) => {
                let (listener, path) = listen_unix(path, options)?;
                Self::Unix(listener, path)
            }
            Address::Inproc(name) => Self::Inproc(inproc::listen(name, options.backlog)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener, _) => listener.local_addr().map(|address| unix_address(&address)),
            Self::Inproc(acceptor) => Ok(acceptor.address()),
        }
    }

    /// Accepts one connection; `WouldBlock` if there is none, and an in-process one rings the bell.
    pub(crate) fn accept_now(&self, bell: &Bell) -> io::Result<(Socket, Address)> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, from)| (Socket::Tcp(stream), from.into())),
            Self::Unix(listener, _) => {
                listener.accept().map(|(stream, from)| (Socket::Unix(stream), unix_address(&from)))
            }
            Self::Inproc(acceptor) => {
                let stream = acceptor.poll_accept(&bell.waker()).ok_or(io::ErrorKind::WouldBlock)?;
                let from = stream.address();
                Ok((Socket::Inproc(stream), from))
            }
        }
    }

    /// What can be polled for connections.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(listener) => Some(listener.as_fd()),
            Self::Unix(listener, _) => Some(listener.as_fd()),
            Self::Inproc(_) => None,
        }
    }
}
