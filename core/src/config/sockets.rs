//! Options of sockets.

use core::net::SocketAddr;
use core::time::Duration;

/// Options set on every socket; those that a transport does not know are left out (a Unix socket
/// has buffers, the rest is TCP's).
///
/// ```
/// use bowline_core::config::{Config, SocketOptions};
/// use core::time::Duration;
///
/// let mut options = SocketOptions::default();
/// options.receive_buffer = Some(1024 * 1024);
/// options.keepalive = Some(Duration::from_secs(30));
/// let config = Config::builder().sockets(options).build()?;
/// # drop(config);
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SocketOptions {
    /// TCP_NODELAY; on by default.
    pub nodelay: bool,
    /// SO_SNDBUF in bytes; the system's default if `None`. Set before connecting, and on the
    /// listening socket.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF in bytes; the system's default if `None`. Set before connecting, and on the
    /// listening socket, so that TCP's window can grow with it.
    pub receive_buffer: Option<usize>,
    /// TCP keepalive: probe after so long without traffic. 15 s by default, which is how a dead
    /// peer is found on protocols without a heartbeat.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT (Linux): how long written bytes may stay unacknowledged. 20 s by default.
    pub user_timeout: Option<Duration>,
    /// TCP_NOTSENT_LOWAT (Linux): the system takes more once less than so many bytes wait in its
    /// buffer unsent. The system's default if `None`.
    pub notsent_lowat: Option<u32>,
    /// IP_TOS or IPV6_TCLASS: the traffic class in the IP header (DSCP and ECN), 0 to 255. The
    /// system's default if `None`.
    pub tos: Option<u8>,
    /// The local address that outgoing connections come from; port 0 for any. The system chooses
    /// if `None`.
    pub bind: Option<SocketAddr>,
    /// SO_REUSEADDR on the listening socket, so that a server can listen again at once after it was
    /// restarted; on by default (on Windows it would mean something else, and is not set).
    pub reuse_address: bool,
    /// SO_REUSEPORT on the listening socket: several may listen at one address, and the system
    /// spreads connections over them. Off by default.
    pub reuse_port: bool,
    /// Connections that the system keeps ready to be accepted. 1,024 by default (the system has a
    /// limit of its own).
    pub backlog: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            send_buffer: None,
            receive_buffer: None,
            keepalive: Some(Duration::from_secs(15)),
            user_timeout: Some(Duration::from_secs(20)),
            notsent_lowat: None,
            tos: None,
            bind: None,
            reuse_address: true,
            reuse_port: false,
            backlog: 1024,
        }
    }
}
