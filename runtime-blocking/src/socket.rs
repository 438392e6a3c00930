//! Sockets and listeners of plain threads.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_driver::ConnectError;
use bowline_driver::addresses::Addresses;
use bowline_driver::inproc;
use bowline_driver::socket::{apply_buffers, apply_tcp, tcp_socket};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use crate::park::ThreadWaker;

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
