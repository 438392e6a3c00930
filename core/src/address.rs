//! Addresses: TCP, Unix sockets, and in-process streams.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use crate::error::ConfigError;

/// A resolved address: to dial, to listen at, or of the other side of a connection.
///
/// As text: `1.2.3.4:5` or `[::1]:80`, optionally with the prefix `tcp://`; `unix:///run/x.sock`, or
/// `unix://@name` for an abstract Unix socket, which has a name and no file (Linux only; for a file whose
/// name begins with `@` write `unix://./@name`); `inproc://any-name` for a stream through memory, which can
/// be reached only within its own process.
///
/// ```
/// use bowline_core::address::Address;
///
/// let address: Address = "unix:///run/bowline.sock".parse()?;
/// assert_eq!(address.path(), Some("/run/bowline.sock"));
/// assert_eq!(address.to_string(), "unix:///run/bowline.sock");
/// assert_eq!("tcp://127.0.0.1:7001".parse::<Address>()?.to_string(), "127.0.0.1:7001");
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket, by its path; empty for an unnamed socket. A zero byte followed by a name means
    /// an abstract socket.
    Unix(Arc<str>),
    /// A stream through the memory of one process, by a name that is unique in the process.
    Inproc(Arc<str>),
}

impl Address {
    /// The address and port, for TCP.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Inproc(_) => None,
        }
    }

    /// The IP address, for TCP.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|address| address.ip())
    }

    /// The port, for TCP; otherwise 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.socket_addr().map_or(0, |address| address.port())
    }

    /// The path, for a Unix socket that has one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Unix(path) if !path.starts_with('\0') => Some(path),
            _ => None,
        }
    }

    /// The name, for an abstract Unix socket.
    #[must_use]
    pub fn abstract_name(&self) -> Option<&str> {
        match self {
            Self::Unix(path) => path.strip_prefix('\0'),
            Self::Tcp(_) | Self::Inproc(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Address(String::from(text));
        if let Some(path) = text.strip_prefix("unix://") {
            if path.is_empty() || path == "@" || path.contains('\0') {
                return Err(wrong());
            }
            return Ok(Self::Unix(match path.strip_prefix('@') {
                Some(name) => alloc::format!("\0{name}").into(),
                None => path.into(),
            }));
        }
        if let Some(name) = text.strip_prefix("inproc://") {
            return if name.is_empty() { Err(wrong()) } else { Ok(Self::Inproc(name.into())) };
        }
        let plain = text.strip_prefix("tcp://").unwrap_or(text);
        plain.parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl From<SocketAddr> for Address {
    /// Converts an IPv4-mapped IPv6 address, as a dual-stack listener reports it, to IPv4, so that limits by
    /// address and comparisons of addresses know each host by one address.
    fn from(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self::Tcp((ip, address.port()).into()),
            IpAddr::V6(_) => Self::Tcp(address),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => match path.strip_prefix('\0') {
                Some(name) => write!(f, "unix://@{name}"),
                None => write!(f, "unix://{path}"),
            },
            Self::Inproc(name) => write!(f, "inproc://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn text_and_back() {
        for text in
            ["127.0.0.1:80", "[::1]:9", "unix:///a/b c", "unix://relative", "unix://@name", "inproc://x/y"]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for wrong in [
            "",
            "unix://",
            "unix://@",
            "inproc://",
            "unix://a\0b",
            "tcp://host:1",
            "udp://1.1.1.1:1",
            "1.1.1.1",
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(ConfigError::Address(wrong.to_string())), "{wrong}");
        }
        let name: Address = "unix://@name".parse().unwrap();
        assert_eq!((name.path(), name.abstract_name()), (None, Some("name")));
        let file: Address = "unix://./@name".parse().unwrap();
        assert_eq!((file.path(), file.abstract_name()), (Some("./@name"), None));
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(Address::from(mapped).to_string(), "10.0.0.1:80");
    }
}
