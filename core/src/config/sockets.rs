//! Socket options.

use core::net::SocketAddr;
use core::time::Duration;

/// Options set on every socket. Options that a transport does not have are skipped (Unix sockets have the
/// buffer sizes, all other options are for TCP).
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
    /// TCP keepalive: probe after this time without traffic. 15 s by default; protocols without a heartbeat
    /// find dead peers by it.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT (Linux): how long written bytes may stay unacknowledged. 20 s by default.
    pub user_timeout: Option<Duration>,
    /// TCP_NOTSENT_LOWAT (Linux): the system accepts more bytes only while fewer than this many are unsent in
    /// its buffer. The system's default if `None`.
    pub notsent_lowat: Option<u32>,
    /// IP_TOS or IPV6_TCLASS: the traffic class in the IP header (DSCP and ECN), 0 to 255. The
    /// system's default if `None`.
    pub tos: Option<u8>,
    /// The local address of outgoing connections; port 0 for any port. The system chooses if `None`.
    pub bind: Option<SocketAddr>,
    /// SO_REUSEADDR on the listening socket, so that a restarted server can listen again at once. On by
    /// default (not set on Windows, where it has another meaning).
    pub reuse_address: bool,
    /// SO_REUSEPORT on the listening socket: several sockets may listen at one address, and the system
    /// distributes connections over them. Off by default.
    pub reuse_port: bool,
    /// The length of the system's queue of connections to be accepted. 1,024 by default (the system has its
    /// own upper limit).
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
