//! Endpoints in ZeroMQ's notation: `tcp://`, `ipc://`, `inproc://`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// An endpoint that a socket binds or connects to.
///
/// `tcp://host:port`: the host is a name, an address (IPv6 in brackets), a network interface if the endpoint is
/// bound, or `*` for all interfaces; the port is a number or `*` for any free port.
/// `tcp://source:port;host:port` connects from the given source address, which may be an interface.
/// `ipc://path` is a Unix socket; `ipc://@name` is one of the abstract namespace, without a file (Linux only).
/// `inproc://name` is within one process.
///
/// ```
/// use bowline_zmtp::endpoint::{Endpoint, Host};
///
/// let Endpoint::Tcp { to, source } = "tcp://127.0.0.1:*".parse()? else { panic!() };
/// assert_eq!((to.host, to.port, source), (Host::Name("127.0.0.1".into()), None, None));
/// # Ok::<(), bowline_zmtp::endpoint::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// Over TCP.
    Tcp {
        /// The address to bind or connect to.
        to: HostPort,
        /// The address to connect from, if one is given.
        source: Option<HostPort>,
    },
    /// Over a Unix socket at that path.
    Ipc(String),
    /// Over a Unix socket of the abstract namespace (Linux), without a file.
    IpcAbstract(String),
    /// In memory, within this process.
    Inproc(String),
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port; `None` stands for any free port.
    pub port: Option<u16>,
}

/// A host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// Every interface (`*`).
    Any,
    /// A name, an address without brackets, or an interface.
    Name(String),
}

/// Why a text is not a valid endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The scheme is not `tcp://`, `ipc://` or `inproc://`.
    #[error("{0:?} does not begin with tcp://, ipc:// or inproc://")]
    Scheme(String),
    /// Nothing follows the scheme, or the host is missing.
    #[error("{0:?} has no host, path or name")]
    Empty(String),
    /// The port is missing or is not a number of at most 65535.
    #[error("{0:?} has no port from 0 to 65535 or *")]
    Port(String),
    /// A part is longer than the system permits.
    #[error("a {field} of {value} bytes is over the limit of {limit}")]
    TooLong {
        /// The part: a path or a name.
        field: &'static str,
        /// Its length, bytes.
        value: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// A path or name contains a zero byte.
    #[error("{0:?} contains a zero byte")]
    Zero(String),
}

/// Longest path of a Unix socket, bytes: Linux's limit without the terminating zero.
const PATH: usize = 107;
/// Longest name of an inproc endpoint, bytes.
const NAME: usize = 255;

impl Endpoint {
    /// Whether a socket can connect to it: it contains no wildcard.
    #[must_use]
    pub fn is_connectable(&self) -> bool {
        match self {
            Self::Tcp { to, .. } => to.host != Host::Any && to.port.is_some_and(|port| port != 0),
            _ => true,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(EndpointError::Scheme(text.into()));
        };
        if !matches!(scheme, "tcp" | "ipc" | "inproc") {
            return Err(EndpointError::Scheme(text.into()));
        }
        if rest.is_empty() || rest == "@" {
            return Err(EndpointError::Empty(text.into()));
        }
        if rest.contains('\0') {
            return Err(EndpointError::Zero(text.into()));
        }
        Ok(match (scheme, rest.strip_prefix('@')) {
            ("tcp", _) => match rest.split_once(';') {
                Some((source, to)) => {
                    Self::Tcp { source: Some(host_port(text, source)?), to: host_port(text, to)? }
                }
                None => Self::Tcp { source: None, to: host_port(text, rest)? },
            },
            ("ipc", Some(name)) => Self::IpcAbstract(checked("name", name, PATH)?),
            ("ipc", None) => Self::Ipc(checked("path", rest, PATH)?),
            _ => Self::Inproc(checked("name", rest, NAME)?),
        })
    }
}

fn checked(field: &'static str, text: &str, limit: usize) -> Result<String, EndpointError> {
    if text.len() > limit {
        return Err(EndpointError::TooLong { field, value: text.len(), limit });
    }
    Ok(text.into())
}

fn host_port(whole: &str, text: &str) -> Result<HostPort, EndpointError> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err(EndpointError::Port(whole.into())) };
    let port = match port {
        "*" => None,
        number => Some(number.parse().map_err(|_| EndpointError::Port(whole.into()))?),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address,
        // Without brackets it is ambiguous where the port of an IPv6 address begins.
        None if host.contains(':') => return Err(EndpointError::Port(whole.into())),
        None => host,
    };
    match host {
        "" => Err(EndpointError::Empty(whole.into())),
        "*" => Ok(HostPort { host: Host::Any, port }),
        name => Ok(HostPort { host: Host::Name(checked("host", name, NAME)?), port }),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => f.write_str("*:")?,
            Host::Name(name) if name.contains(':') => write!(f, "[{name}]:")?,
            Host::Name(name) => write!(f, "{name}:")?,
        }
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { to, source: Some(source) } => write!(f, "tcp://{source};{to}"),
            Self::Tcp { to, source: None } => write!(f, "tcp://{to}"),
            Self::Ipc(path) => write!(f, "ipc://{path}"),
            Self::IpcAbstract(name) => write!(f, "ipc://@{name}"),
            Self::Inproc(name) => write!(f, "inproc://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn endpoints_come_back_as_text() {
        for (text, connectable) in [
            ("tcp://127.0.0.1:5555", true),
            ("tcp://*:5555", false),
            ("tcp://host.example:*", false),
            ("tcp://host:0", false),
            ("tcp://[::1]:80", true),
            ("tcp://eth0:80", true),
            ("tcp://10.0.0.1:0;host:80", true),
            ("ipc:///run/x.sock", true),
            ("ipc://@name", true),
            ("inproc://any:name", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_connectable(), connectable, "{text}");
        }
    }

    #[test]
    fn what_is_none_says_why() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert!(matches!(error("127.0.0.1:80"), EndpointError::Scheme(_)));
        assert!(matches!(error("udp://127.0.0.1:80"), EndpointError::Scheme(_)));
        for text in ["tcp://", "ipc://", "ipc://@", "inproc://", "tcp://:80"] {
            assert!(matches!(error(text), EndpointError::Empty(_)), "{text}");
        }
        for text in ["tcp://host", "tcp://host:", "tcp://host:65536", "tcp://host:-1", "tcp://::1:80"] {
            assert!(matches!(error(text), EndpointError::Port(_)), "{text}");
        }
        let long = EndpointError::TooLong { field: "path", value: 108, limit: 107 };
        assert_eq!(error(&alloc::format!("ipc://{}", "x".repeat(108))), long);
        assert!(matches!(error("ipc://a\0b"), EndpointError::Zero(_)));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_read_again(text in "(tcp|ipc|inproc)://[a-z@*:;\\[\\]0-9]{0,12}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
            }
        }
    }
}
