//! Creates and configures sockets, for any runtime.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::error::ConfigError;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Determines the address to listen at: the first one of a name; all interfaces if only a port is given
/// (`:5031`).
///
/// # Errors
/// The address is invalid.
pub fn listen_address(address: &str) -> Result<Address, ConfigError> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let plain = address.strip_prefix("tcp://").unwrap_or(address);
    if let Some(port) = plain.strip_prefix(':') {
        let port: u16 = port.parse().map_err(|_| ConfigError::Address(address.to_owned()))?;
        return Ok(Address::Tcp((Ipv6Addr::UNSPECIFIED, port).into()));
    }
    let found = plain.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.map(Address::Tcp).ok_or_else(|| ConfigError::Address(address.to_owned()))
}

/// A TCP socket that is not connected yet, in non-blocking mode, with the options that must be set before.
///
/// # Errors
/// The system's error.
pub fn tcp_socket(to: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    apply_buffers(&SockRef::from(&socket), options)?;
    if let Some(bind) = options.bind {
        // Our own port can be bound again before the system has released the last connection from it.
        #[cfg(unix)]
        socket.set_reuse_address(bind.port() != 0 && options.reuse_address)?;
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}

/// Listens at a TCP address, in non-blocking mode. `[::]` is all interfaces, including IPv4; on systems
/// without IPv6, IPv4 only.
///
/// # Errors
/// The system's error.
pub fn listen_tcp(at: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let everywhere = at.ip() == Ipv6Addr::UNSPECIFIED;
    match listen_at(at, everywhere, options) {
        Err(error) if everywhere && has_no_ipv6(&error) => {
            listen_at((Ipv4Addr::UNSPECIFIED, at.port()).into(), false, options)
        }
        result => result,
    }
}

/// EAFNOSUPPORT (Linux, the BSDs, Windows), or there is no such address here.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(97 | 47 | 10047)) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn listen_at(at: SocketAddr, everywhere: bool, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if everywhere {
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    {
        socket.set_reuse_address(options.reuse_address)?;
        socket.set_reuse_port(options.reuse_port)?;
    }
    // Accepted sockets inherit them.
    apply_buffers(&SockRef::from(&socket), options)?;
    socket.bind(&at.into())?;
    socket.listen(backlog(options))?;
    Ok(socket.into())
}

fn backlog(options: &SocketOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// Applies options to a connected TCP socket. Options that the platform does not have are skipped.
///
/// # Errors
/// The system's error.
pub fn apply_tcp<'s>(socket: impl Into<SockRef<'s>>, options: &SocketOptions) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(options.nodelay)?;
    apply_buffers(&socket, options)?;
    if let Some(after) = options.keepalive {
        // Three probes at intervals of a third of the time: dead after twice `after` at most.
        let interval = (after / 3).max(std::time::Duration::from_secs(1));
        let keepalive = socket2::TcpKeepalive::new().with_time(after).with_interval(interval).with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if let Some(tos) = options.tos {
        let v6 = socket.local_addr()?.is_ipv6();
        #[cfg(target_os = "linux")]
        if v6 {
            socket.set_tclass_v6(u32::from(tos))?;
        }
        if !v6 {
            socket.set_tos_v4(u32::from(tos))?;
        }
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

/// Applies the options of all stream sockets.
///
/// # Errors
/// The system's error.
pub fn apply_buffers(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

#[cfg(unix)]
pub use self::unix::{UnixPath, connect_unix, listen_unix, unix_address, unix_socket_address};

#[cfg(unix)]
mod unix {
    use std::io;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::time::Duration;

    use bowline_core::address::Address;
    use bowline_core::config::SocketOptions;
    use socket2::{Domain, SockAddr, Socket, Type};

    /// The file of a listening Unix socket: removed when its listener is dropped. An abstract name is
    /// released by itself.
    #[derive(Debug)]
    pub struct UnixPath(PathBuf);

    impl Drop for UnixPath {
        fn drop(&mut self) {
            // It is gone already, or we may not remove it: no listener needs it.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Listens at a path, or at an abstract name (after a zero byte), in non-blocking mode. The file of a
    /// server that no longer runs is taken over.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::AddrInUse`] if another process listens there.
    pub fn listen_unix(path: &str, options: &SocketOptions) -> io::Result<(UnixListener, UnixPath)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        super::apply_buffers(&(&socket).into(), options)?;
        let address = SockAddr::unix(path)?;
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                socket.bind(&address)?;
            }
            result => result?,
        }
        let path = UnixPath(path.into());
        socket.listen(super::backlog(options))?;
        Ok((socket.into(), path))
    }

    /// Whether the path is a socket without a listener.
    fn is_stale(path: &str) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        // A listener that is too busy to accept counts as a listener.
        is_socket && connect_unix(path, Duration::ZERO).as_ref().is_err_and(refused)
    }

    /// Connects to a path, and waits for at most `limit` for a listener that does not accept. The stream is
    /// in blocking mode.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::TimedOut`] after `limit`.
    pub fn connect_unix(path: &str, limit: Duration) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Connecting waits no longer than writing does; a timeout of zero would mean forever.
        socket.set_nonblocking(limit.is_zero())?;
        socket.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
        socket.connect(&SockAddr::unix(path)?).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(None)?;
        Ok(socket.into())
    }

    /// A Unix socket address as a Bowline address.
    #[must_use]
    pub fn unix_address(address: &SocketAddr) -> Address {
        #[cfg(target_os = "linux")]
        if let Some(name) = address.as_abstract_name() {
            return Address::Unix(format!("\0{}", String::from_utf8_lossy(name)).into());
        }
        let path = address.as_pathname().map(|path| path.to_string_lossy().into_owned());
        Address::Unix(path.unwrap_or_default().into())
    }

    /// A path, or an abstract name (after a zero byte), as a system address.
    ///
    /// # Errors
    /// It is too long, or abstract on a system other than Linux.
    pub fn unix_socket_address(path: &str) -> io::Result<SocketAddr> {
        match path.strip_prefix('\0') {
            #[cfg(target_os = "linux")]
            Some(name) => SocketAddr::from_abstract_name(name),
            #[cfg(not(target_os = "linux"))]
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => SocketAddr::from_pathname(path),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use socket2::SockAddr;

    use super::*;

    /// A listener that accepts nothing, with a full queue.
    #[test]
    fn nobody_waits_for_ever_for_a_listener_that_accepts_nothing() {
        let path = std::env::temp_dir().join(format!("bowline-full-{}", std::process::id()));
        let path = path.to_str().expect("text").to_owned();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a descriptor");
        listener.bind(&SockAddr::unix(&path).expect("a path")).expect("free");
        listener.listen(1).expect("bound");
        let waiting: Vec<_> =
            std::iter::from_fn(|| connect_unix(&path, Duration::ZERO).ok()).take(100).collect();
        assert!(waiting.len() < 100, "its queue has an end");
        let (told, outcome) = mpsc::channel();
        let to = path.clone();
        std::thread::spawn(move || {
            let connected = connect_unix(&to, Duration::from_millis(20)).map(drop);
            let bound = listen_unix(&to, &SocketOptions::default()).map(drop);
            let _ = told.send((connected, bound));
        });
        let (connected, bound) = outcome.recv_timeout(Duration::from_secs(10)).expect("neither waits");
        assert_eq!(connected.expect_err("nobody accepts").kind(), io::ErrorKind::TimedOut);
        assert_eq!(bound.expect_err("somebody listens").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        std::fs::remove_file(path).expect("it was there");
    }
}
