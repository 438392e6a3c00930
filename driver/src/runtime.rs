//! What a runtime supplies: sockets, timers, tasks, name look-up.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use bowline_core::config::SocketOptions;

use crate::error::RuntimeMissing;
use crate::shared::WriteNow;

/// A connected socket in non-blocking mode.
pub trait Socket: WriteNow {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there now.
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize>;

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

    /// Applies options to it.
    ///
    /// # Errors
    /// What the system said.
    fn apply(&self, options: &SocketOptions) -> io::Result<()>;

    /// Ends the writing side.
    ///
    /// # Errors
    /// The socket is not connected any more.
    fn shutdown_write(&self) -> io::Result<()>;

    /// The other end's address.
    ///
    /// # Errors
    /// The socket is not connected any more.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

/// A listening socket.
pub trait Listener: Send + Sync + 'static {
    /// What it accepts.
    type Socket: Socket;

    /// Accepts one connection.
    ///
    /// # Errors
    /// What the system said; the listener can be asked again.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Socket, SocketAddr)>>;

    /// The address it listens at.
    ///
    /// # Errors
    /// What the system said.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// One timer that is set again and again.
pub trait Timer: Send + Unpin + 'static {
    /// Fires at `at` and no longer at the time set before.
    fn reset(&mut self, at: Instant);

    /// Ready once the time set has come.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A runtime, as a type.
pub trait Runtime: Sized + Send + Sync + 'static {
    /// Its sockets.
    type Socket: Socket;
    /// Its listeners.
    type Listener: Listener<Socket = Self::Socket>;
    /// Its timers.
    type Timer: Timer;

    /// Runs a task to its end, in the background.
    ///
    /// # Errors
    /// The runtime is not running here.
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), RuntimeMissing>;

    /// Whether the runtime is running here.
    ///
    /// # Errors
    /// It is not.
    fn check() -> Result<(), RuntimeMissing> {
        Ok(())
    }

    /// Connects a socket.
    fn connect(
        address: SocketAddr,
        options: SocketOptions,
    ) -> impl Future<Output = io::Result<Self::Socket>> + Send + 'static;

    /// Looks a name up.
    fn resolve(host: String, port: u16)
    -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static;

    /// Listens at `address`; accepted sockets get `options`.
    ///
    /// # Errors
    /// What the system said.
    fn listen(address: SocketAddr, options: SocketOptions) -> io::Result<Self::Listener>;

    /// A timer that is not set.
    fn timer() -> Self::Timer;
}

/// Applies `options` to a socket, whatever its runtime. What a platform does not know is left out.
///
/// # Errors
/// What the system said.
pub fn apply_options<'s>(socket: impl Into<socket2::SockRef<'s>>, options: &SocketOptions) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(after) = options.keepalive {
        // Three probes a third of the time apart: dead after twice `after` at most.
        let interval = (after / 3).max(std::time::Duration::from_secs(1));
        let keepalive = socket2::TcpKeepalive::new().with_time(after).with_interval(interval).with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(bytes) = options.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}
