//! The interface of a runtime: sockets, timers, tasks, name resolution.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::layer::Secured;

use crate::error::StartError;
use crate::owner::OwnerSocket;
use crate::shared::WriteNow;
use crate::stream::{Listening, Stream};
use crate::style::Style;
use crate::sync::Arc;

/// A connected stream of bytes: a connection reads from it and writes to it.
///
/// Its reads and writes never wait. Tasks wait for it as for a [`Socket`]; the owner of an exclusive
/// connection on threads blocks its thread.
pub trait Wire: WriteNow {
    /// Reads what is available; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is available now.
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Applies options to it; unsupported ones are skipped.
    ///
    /// # Errors
    /// The system's error.
    fn apply(&self, options: &SocketOptions) -> io::Result<()>;

    /// Ends the writing side.
    ///
    /// # Errors
    /// The stream is not connected any more.
    fn shutdown_write(&self) -> io::Result<()>;

    /// The address of the other side.
    ///
    /// # Errors
    /// The stream is not connected any more.
    fn peer_addr(&self) -> io::Result<Address>;

    /// The address of this side.
    ///
    /// # Errors
    /// The stream is not connected any more, or (by default) the address is unknown.
    fn local_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The properties of the peer from a layer over the socket; by default there is none.
    fn secured(&self) -> Option<Arc<Secured>> {
        None
    }

    /// Whether there is a layer over the socket, so that each write ends a record: see
    /// [`Pile`](crate::layered::Pile).
    fn is_layered(&self) -> bool {
        false
    }

    /// Bytes of memory that it holds of its connection between two calls, besides the system's buffers:
    /// those of a layer over the socket. They count in the server's memory. Must be cheap: it is called
    /// after every round of reading and writing. By default none.
    #[inline]
    fn held(&self) -> usize {
        0
    }
}

/// A [`Wire`] that tasks wait for.
pub trait Socket: Wire {
    /// Whether callers that wait for a reply read it on their own thread, which would otherwise only park.
    /// Requires [`wait_readable`](Self::wait_readable).
    fn callers_read(&self) -> bool {
        false
    }

    /// Blocks the thread until there is something to read. `false`: there was nothing within `limit`, or the
    /// socket cannot be waited for this way.
    fn wait_readable(&self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// Whether the runtime reports readable data: not while callers read for themselves, because it would
    /// wake a thread for each reply. By default it always does.
    fn watch_reads(&self, watch: bool) {
        let _ = watch;
    }

    /// Whether other tasks wait for the thread that drives this socket: turns are shorter then. By default,
    /// and if a runtime cannot tell, false.
    fn others_wait(&self) -> bool {
        false
    }

    /// Whether the runtime runs a task that was just woken before tasks that were ready earlier. A
    /// connection's task then lets those run first: otherwise it would write the first message of many
    /// alone. By default, and on runtimes with one queue, false.
    fn runs_woken_first(&self) -> bool {
        false
    }

    /// Whether callers run on other threads than the task that drives this socket, and timers are precise to a tenth
    /// of a millisecond. While callers then write large batches of messages one after the other, the task leaves the
    /// next messages to them for a moment. By default false.
    fn writes_apart(&self) -> bool {
        false
    }

    /// Ready when a read may return something; otherwise the task is woken when that changes.
    ///
    /// # Errors
    /// The runtime is shutting down.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when a write may succeed; otherwise the task is woken when that changes.
    ///
    /// # Errors
    /// The runtime is shutting down.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes bytes that the stream itself buffers; kernel sockets do nothing. Must be called before the
    /// writing task sleeps.
    ///
    /// # Errors
    /// The stream has failed.
    #[inline]
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

/// A listening socket.
pub trait Listener: Send + Sync + 'static {
    /// The type of accepted sockets.
    type Socket: Socket;

    /// Accepts one connection.
    ///
    /// # Errors
    /// The system's error; the listener can be polled again.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Socket, Address)>>;

    /// The address it listens at.
    ///
    /// # Errors
    /// The system's error.
    fn local_addr(&self) -> io::Result<Address>;
}

/// A timer that can be reset.
pub trait Timer: Send + Sync + Unpin + 'static {
    /// Fires at `at`, and no longer at the earlier time.
    fn reset(&mut self, at: Instant);

    /// Ready when the time has come.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A runtime, as a type.
pub trait Runtime: Sized + Send + Sync + 'static {
    /// Its sockets.
    type Socket: Socket;
    /// Its sockets for one owner: [`TaskSocket`](crate::owner::TaskSocket) if owners are tasks.
    type OwnerSocket: OwnerSocket;
    /// Its listeners.
    type Listener: Listener<Socket = Self::Socket>;
    /// Its timers.
    type Timer: Timer;
    /// How its users wait.
    type Style: Style;

    /// Runs a task to its end, in the background.
    ///
    /// # Errors
    /// The runtime is not running on this thread, or could not start a thread.
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError>;

    /// The number of its threads that run tasks here.
    #[must_use]
    fn threads() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    }

    /// Wakes a task, if possible only after all ready tasks had their turn, and sockets and timers were
    /// checked.
    fn wake_later(waker: Waker) {
        waker.wake();
    }

    /// Checks that the runtime is running on this thread.
    ///
    /// # Errors
    /// It is not.
    fn check() -> Result<(), StartError> {
        Ok(())
    }

    /// Connects a socket.
    fn connect(
        address: Address,
        options: SocketOptions,
    ) -> impl Future<Output = io::Result<Self::Socket>> + Send + 'static;

    /// Makes a socket of a connected stream.
    ///
    /// # Errors
    /// The system's error.
    fn adopt(stream: Stream) -> io::Result<Self::Socket>;

    /// Makes a listener of a listening socket.
    ///
    /// # Errors
    /// The system's error.
    fn adopt_listener(listening: Listening) -> io::Result<Self::Listener>;

    /// Resolves a name.
    fn resolve(host: String, port: u16)
    -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static;

    /// Listens at `address`; accepted sockets get `options`.
    ///
    /// # Errors
    /// The system's error.
    fn listen(address: &Address, options: SocketOptions) -> io::Result<Self::Listener>;

    /// A timer that is not set.
    fn timer() -> Self::Timer;
}
