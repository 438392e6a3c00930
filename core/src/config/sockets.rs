//! Options of sockets.

use core::time::Duration;

/// Options set on every socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SocketOptions {
    /// TCP_NODELAY; on by default.
    pub nodelay: bool,
    /// SO_SNDBUF in bytes; the system's default if `None`.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF in bytes; the system's default if `None`.
    pub receive_buffer: Option<usize>,
    /// TCP keepalive: probe after so long without traffic. 15 s by default, which is how a dead
    /// peer is found on protocols without a heartbeat.
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT (Linux): how long written bytes may stay unacknowledged. 20 s by default.
    pub user_timeout: Option<Duration>,
    /// TCP_NOTSENT_LOWAT (Linux): the system takes more once less than so many bytes wait in its
    /// buffer unsent. The system's default if `None`.
    pub notsent_lowat: Option<u32>,
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
        }
    }
}
