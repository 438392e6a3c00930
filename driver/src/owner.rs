//! Sockets with one owner, which waits for them itself: as a task, or by blocking its thread.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::time::Instant;

use crate::clock;
use crate::pump::Alarm;
use crate::runtime::{Runtime, Socket, Wire};
use crate::shared::WriteNow;
use crate::stream::Stream;

/// A [`Wire`] that its owner waits for. Its futures and polls need no task of the runtime other than the
/// owner's: on threads, they block inside the poll until they are ready.
pub trait OwnerSocket: Wire + Sized {
    /// Connects, within `limit`.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::TimedOut`] after `limit`.
    fn connect(
        address: Address,
        options: SocketOptions,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Self>> + Send;

    /// Resolves a name, within `limit`.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::TimedOut`] after `limit`.
    fn resolve(
        host: String,
        port: u16,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Makes a socket of a connected stream.
    ///
    /// # Errors
    /// The system's error.
    fn adopt(stream: Stream) -> io::Result<Self>;

    /// Reads what is available. On threads, one system call may wait and read, as far as `patience` allows.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`] if nothing was received.
    fn read(&self, buf: &mut [u8], patience: &Patience) -> io::Result<usize>;

    /// Ready when the condition may be true, or the time has come: the owner then tries again.
    ///
    /// # Errors
    /// The socket cannot be waited for any more.
    fn poll_ready(&mut self, cx: &mut Context<'_>, until: &Until) -> Poll<io::Result<()>>;
}

/// How long a read may wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long the thread may poll the socket.
    pub spin: Duration,
    /// The thread may sleep: nothing waits to be written.
    pub may_sleep: bool,
    /// When the owner has something else to do.
    pub until: Option<Instant>,
}

/// The event that an owner waits for.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Bytes to read.
    pub readable: bool,
    /// Room for writing.
    pub writable: bool,
    /// A point in time.
    pub time: Option<Instant>,
    /// The owner still [spins](Spin): a task is polled again after the other ready tasks of its runtime. Threads spin
    /// while they [read](OwnerSocket::read).
    pub spins: bool,
}

/// How long an owner polls its socket again and again before it waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin {
    /// At most this long without anything received; zero: not at all.
    pub limit: Duration,
    /// When it stops, if nothing is received.
    end: Option<Instant>,
}

impl Spin {
    /// Spins for at most `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, end: None }
    }

    /// Something was received, or the owner waits for something new: the time begins again.
    #[inline]
    pub fn begin(&mut self) {
        self.end = None;
    }

    /// Nothing was received: whether to look again, or to wait.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        let now = clock::now();
        now < *self.end.get_or_insert_with(|| now + self.limit)
    }
}

/// A runtime's socket and a timer, owned by one task.
pub struct TaskSocket<R: Runtime> {
    socket: R::Socket,
    alarm: Alarm<R::Timer>,
}

impl<R: Runtime> std::fmt::Debug for TaskSocket<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskSocket").finish_non_exhaustive()
    }
}

impl<R: Runtime> TaskSocket<R> {
    pub(crate) fn new(socket: R::Socket) -> Self {
        Self { socket, alarm: Alarm::new(R::timer()) }
    }

    pub(crate) fn into_socket(self) -> R::Socket {
        self.socket
    }
}

impl<R: Runtime> WriteNow for TaskSocket<R> {
    #[inline]
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write_now(slices)
    }
}

impl<R: Runtime> Wire for TaskSocket<R> {
    #[inline]
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read_now(buf)
    }

    fn apply(&self, options: &SocketOptions) -> io::Result<()> {
        self.socket.apply(options)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    fn peer_addr(&self) -> io::Result<Address> {
        self.socket.peer_addr()
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.socket.local_addr()
    }
}

impl<R: Runtime> OwnerSocket for TaskSocket<R> {
    async fn connect(address: Address, options: SocketOptions, limit: Duration) -> io::Result<Self> {
        within::<R, _>(limit, R::connect(address, options)).await.map(Self::new)
    }

    fn resolve(
        host: String,
        port: u16,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        within::<R, _>(limit, R::resolve(host, port))
    }

    fn adopt(stream: Stream) -> io::Result<Self> {
        R::adopt(stream).map(Self::new)
    }

    #[inline]
    fn read(&self, buf: &mut [u8], _: &Patience) -> io::Result<usize> {
        self.socket.read_now(buf)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>, until: &Until) -> Poll<io::Result<()>> {
        if until.readable
            && let ready @ Poll::Ready(_) = self.socket.poll_readable(cx)
        {
            return ready;
        }
        if until.writable
            && let ready @ Poll::Ready(_) = self.socket.poll_writable(cx)
        {
            return ready;
        }
        if let failed @ Poll::Ready(Err(_)) = self.socket.poll_flush(cx) {
            return failed;
        }
        if until.spins {
            // The owner looks at the time itself.
            R::wake_later(cx.waker().clone());
            return Poll::Pending;
        }
        match until.time {
            Some(time) if self.alarm.poll(cx, time) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// The result of `work`, if it is ready within `limit`.
async fn within<R: Runtime, T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>> + Send,
) -> io::Result<T> {
    let (mut work, mut alarm) = (pin!(work), Alarm::new(R::timer()));
    let until = clock::after(limit);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        while alarm.poll(cx, until) {
            if clock::now() >= until {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spin_ends_and_begins_again() {
        assert!(!Spin::default().goes_on());
        let mut long = Spin::new(Duration::from_secs(1_000));
        assert!(long.goes_on() && long.goes_on());
        let mut short = Spin::new(Duration::from_millis(1));
        while short.goes_on() {
            std::thread::yield_now();
        }
        assert!(!short.goes_on(), "until something is received");
        short.limit = Duration::from_secs(1_000);
        assert!(!short.goes_on());
        short.begin();
        assert!(short.goes_on());
    }
}
