//! The socket of an exclusive connection: its owner blocks its thread to wait for it.
//!
//! On Unix it is in blocking mode, so that one system call waits and reads; calls that must not wait have a
//! flag for that. Windows has no such flag: there the socket never waits, and its owner waits for readiness
//! first.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::time;
use bowline_driver::owner::{OwnerSocket, Patience, Until};
use bowline_driver::runtime::Wire;
use bowline_driver::shared::WriteNow;
#[cfg(unix)]
use bowline_driver::socket::{apply_buffers, connect_unix, unix_address};
use bowline_driver::socket::{apply_tcp, tcp_socket};
use bowline_driver::stream::Stream;
use bowline_driver::{clock, inproc};
use rustix::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use socket2::SockRef;

use crate::aside::{Aside, aside};
use crate::waiting::ThreadWaker;

/// The socket's own timeout for a read that waits: timers are late by at most this time.
const READ_SLICE: Duration = Duration::from_millis(100);

/// A connected socket, for its owner.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Inproc(inproc::Stream),
}

impl Socket {
    /// Makes reads and writes wait, for at most this time slice.
    #[cfg(unix)]
    fn blocking(self) -> io::Result<Self> {
        let socket = match &self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            Self::Inproc(_) => return Ok(self),
        };
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(READ_SLICE))?;
        socket.set_read_timeout(Some(READ_SLICE))?;
        Ok(self)
    }

    /// Nothing waits here.
    #[cfg(not(unix))]
    fn blocking(self) -> io::Result<Self> {
        if let Self::Tcp(stream) = &self {
            stream.set_nonblocking(true)?;
        }
        Ok(self)
    }

    /// Whether [`read_waiting`](Self::read_waiting) waits.
    fn can_wait(&self) -> bool {
        cfg!(unix) && self.fd().is_some()
    }

    /// Reads, waiting for at most one time slice.
    fn read_waiting(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buf),
            #[cfg(unix)]
            Self::Unix(stream) => (&*stream).read(buf),
            Self::Inproc(stream) => stream.read_now(buf),
        }
    }

    /// Waits for bytes, for room, or for the timeout (`None`: without limit).
    fn wait_for(&self, read: bool, write: bool, timeout: Option<Duration>) -> io::Result<()> {
        let Some(fd) = self.fd() else {
            if let Self::Inproc(stream) = self {
                let ready = |waker: &Waker| {
                    (read && stream.poll_readable(waker)) || (write && stream.poll_writable(waker))
                };
                park_until(timeout.unwrap_or(Duration::from_secs(3600)), ready);
            }
            return Ok(());
        };
        crate::waiting::wait_for(fd, read, write, timeout)
    }

    /// The descriptor to poll; an in-process stream has wakers instead.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            #[cfg(unix)]
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Inproc(_) => None,
        }
    }
}

impl OwnerSocket for Socket {
    async fn connect(address: Address, options: SocketOptions, limit: Duration) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => {
                let socket = tcp_socket(address, &options)?;
                // Back to blocking mode, with a limit of one time slice.
                socket.set_nonblocking(false)?;
                socket.connect_timeout(&address.into(), limit)?;
                Self::Tcp(socket.into())
            }
            #[cfg(unix)]
            Address::Unix(path) => Self::Unix(connect_unix(&path, limit)?),
            Address::Inproc(name) => Self::Inproc(inproc::connect(&name)?),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.apply(&options)?;
        socket.blocking()
    }

    /// On a separate thread: the system's name resolution has no time limit.
    async fn resolve(host: String, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        within(limit, aside(move || Ok((host, port).to_socket_addrs()?.collect())))
    }

    fn adopt(stream: Stream) -> io::Result<Self> {
        let socket = match stream {
            Stream::Tcp(stream) => Self::Tcp(stream),
            #[cfg(unix)]
            Stream::Unix(stream) => Self::Unix(stream),
            Stream::Memory(stream) => Self::Inproc(stream),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.blocking()
    }

    fn read(&self, buf: &mut [u8], patience: &Patience) -> io::Result<usize> {
        if !patience.spin.is_zero() {
            let began = Instant::now();
            loop {
                match self.read_now(buf) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if began.elapsed() >= patience.spin {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        let is_due = |until: time::Instant| until.saturating_since(clock::now()) < READ_SLICE;
        if patience.may_sleep && self.can_wait() && !patience.until.is_some_and(is_due) {
            // One system call, which waits and reads.
            return self.read_waiting(buf);
        }
        self.read_now(buf)
    }

    /// Waits in place, blocking the thread.
    fn poll_ready(&mut self, _: &mut Context<'_>, until: &Until) -> Poll<io::Result<()>> {
        let timeout = until.time.map(|time| time.saturating_since(clock::now()));
        Poll::Ready(self.wait_for(until.readable, until.writable, timeout))
    }
}

impl WriteNow for Socket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Inproc(stream) => stream.write_now(slices),
            Self::Tcp(stream) => now::write(stream, slices),
            #[cfg(unix)]
            Self::Unix(stream) => now::write(stream, slices),
        }
    }
}

impl Wire for Socket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Inproc(stream) => stream.read_now(buf),
            Self::Tcp(stream) => now::read(stream, buf),
            #[cfg(unix)]
            Self::Unix(stream) => now::read(stream, buf),
        }
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => apply_tcp(stream, options),
            #[cfg(unix)]
            Self::Unix(stream) => apply_buffers(&SockRef::from(stream), options),
            Self::Inproc(_) => Ok(()),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Inproc(stream) => {
                stream.shutdown_write();
                Ok(())
            }
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Address::from),
            #[cfg(unix)]
            Self::Unix(stream) => stream.peer_addr().map(|address| unix_address(&address)),
            Self::Inproc(stream) => Ok(stream.address()),
        }
    }
}

/// Reads and writes that do not wait.
#[cfg(unix)]
mod now {
    use std::io::{self, IoSlice};
    use std::os::fd::AsFd;

    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

    /// A closed peer is an error, not a signal. Apple's systems have no flag for that: there the standard
    /// library sets it for each socket.
    #[cfg(not(target_vendor = "apple"))]
    const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    const NO_SIGNAL: SendFlags = SendFlags::empty();

    pub(super) fn read(stream: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(stream, buf, RecvFlags::DONTWAIT)?.1)
    }

    pub(super) fn write(stream: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | NO_SIGNAL;
        match slices {
            [] => Ok(0),
            [one] => Ok(rustix::net::send(stream, one, flags)?),
            many => Ok(rustix::net::sendmsg(stream, many, &mut SendAncillaryBuffer::default(), flags)?),
        }
    }
}

/// Reads and writes; the socket does not wait.
#[cfg(not(unix))]
mod now {
    use std::io::{self, IoSlice, Read, Write};
    use std::net::TcpStream;

    pub(super) fn read(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        stream.read(buf)
    }

    pub(super) fn write(mut stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        stream.write_vectored(slices)
    }
}

/// Blocks the thread until work on another one is done, for at most `limit`.
fn within<T>(limit: Duration, mut work: Aside<T>) -> io::Result<T> {
    let done = RefCell::new(None);
    let work = RefCell::new(&mut work);
    park_until(limit, |waker| {
        let polled = Pin::new(&mut **work.borrow_mut()).poll(&mut Context::from_waker(waker));
        let Poll::Ready(result) = polled else { return false };
        *done.borrow_mut() = Some(result);
        true
    });
    done.into_inner().unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
}

/// Parks this thread until `ready` returns true. `false`: it did not within the limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_takes_too_long_is_given_up() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let stuck = aside(move || wait.recv().map_err(io::Error::other));
        let error = within(Duration::from_millis(1), stuck).expect_err("nothing came");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(go);
        assert_eq!(within(Duration::from_secs(60), aside(|| Ok(7))).expect("it is done"), 7);
    }
}
