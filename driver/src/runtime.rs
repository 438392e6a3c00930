//! What a runtime supplies: sockets, timers, tasks, name look-up.

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

/// A connected stream of bytes: what a connection is read from and written to.
///
/// Its reads and writes never wait. How one waits for it is another matter: tasks as a [`Socket`] says, the
/// owner of an exclusive connection on threads with the whole thread.
pub trait Wire: WriteNow {
    /// Reads what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there now.
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Applies options to it; what it does not know is left out.
    ///
    /// # Errors
    /// What the system said.
    fn apply(&self, options: &SocketOptions) -> io::Result<()>;

    /// Ends the writing side.
    ///
    /// # Errors
    /// The stream is not connected any more.
    fn shutdown_write(&self) -> io::Result<()>;

    /// The other end's address.
    ///
    /// # Errors
    /// The stream is not connected any more.
    fn peer_addr(&self) -> io::Result<Address>;

    /// This end's address.
    ///
    /// # Errors
    /// The stream is not connected any more, or (by default) does not know.
    fn local_addr(&self) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What a layer over the socket knows of the peer; by default there is none.
    fn secured(&self) -> Option<Arc<Secured>> {
        None
    }
}

/// A [`Wire`] that tasks wait for.
pub trait Socket: Wire {
    /// Whether callers that wait for a reply read it on their own thread, which would otherwise only
    /// park. It takes [`wait_readable`](Self::wait_readable).
    fn callers_read(&self) -> bool {
        false
    }

    /// Waits, with the whole thread, until there is something to read. False: there was nothing
    /// within `limit`, or the socket cannot be waited for alone.
    fn wait_readable(&self, limit: Duration) -> bool {
        let _ = limit;
        false
    }

    /// Whether the runtime is to report what there is to read: not while callers read for themselves,
    /// or it would wake a thread for each reply. By default it always does.
    fn watch_reads(&self, watch: bool) {
        let _ = watch;
    }

    /// Whether other tasks wait for the thread that drives this socket: turns are shorter then. By default,
    /// where a runtime cannot say, they are not.
    fn others_wait(&self) -> bool {
        false
    }

    /// Ready when a read may find something; otherwise the task is woken when that changes.
    ///
    /// # Errors
    /// The runtime is going away.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when a write may succeed; otherwise the task is woken when that changes.
    ///
    /// # Errors
    /// The runtime is going away.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends on what the stream itself holds back; for kernel sockets there is nothing to do. To be called
    /// before the task that writes goes to sleep.
    ///
    /// # Errors
    /// The stream is broken.
    #[inline]
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

/// A listening socket.
pub trait Listener: Send + Sync + 'static {
    /// What it accepts.
    type Socket: Socket;

    /// Accepts one connection.
    ///
    /// # Errors
    /// What the system said; the listener can be asked again.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Socket, Address)>>;

    /// The address it listens at.
    ///
    /// # Errors
    /// What the system said.
    fn local_addr(&self) -> io::Result<Address>;
}

/// One timer that is set again and again.
pub trait Timer: Send + Sync + Unpin + 'static {
    /// Fires at `at` and no longer at the time set before.
    fn reset(&mut self, at: Instant);

    /// Ready once the time set has come.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A runtime, as a type.
pub trait Runtime: Sized + Send + Sync + 'static {
    /// Its sockets.
    type Socket: Socket;
    /// Its sockets that one owner waits for: [`TaskSocket`](crate::owner::TaskSocket) where owners are tasks.
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
    /// The runtime is not running here, or has no thread to start.
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError>;

    /// How many of its threads work on tasks here.
    #[must_use]
    fn threads() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    }

    /// Wakes a task, if possible only when those that are ready now had their turn, and sockets and
    /// timers were looked at.
    fn wake_later(waker: Waker) {
        waker.wake();
    }

    /// Whether the runtime is running here.
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

    /// Makes a socket of a stream that is connected already.
    ///
    /// # Errors
    /// What the system said.
    fn adopt(stream: Stream) -> io::Result<Self::Socket>;

    /// Makes a listener of a socket that listens already.
    ///
    /// # Errors
    /// What the system said.
    fn adopt_listener(listening: Listening) -> io::Result<Self::Listener>;

    /// Looks a name up.
    fn resolve(host: String, port: u16)
    -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static;

    /// Listens at `address`; accepted sockets get `options`.
    ///
    /// # Errors
    /// What the system said.
    fn listen(address: &Address, options: SocketOptions) -> io::Result<Self::Listener>;

    /// A timer that is not set.
    fn timer() -> Self::Timer;
}
