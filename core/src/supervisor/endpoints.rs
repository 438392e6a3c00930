//! Endpoints as users write them, and the addresses that they resolve to.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use crate::address::Address;
use crate::error::ConfigError;

/// Maximum number of addresses tried for one name.
pub(super) const MAX_ADDRESSES: usize = 64;

/// An endpoint to connect to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Endpoint {
    /// An address.
    Address(Address),
    /// A name, resolved at every attempt.
    Name {
        /// The host's name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for Endpoint {
    type Err = ConfigError;

    /// Parses `1.2.3.4:5`, `[::1]:80`, `host:port`, or `:port` for this host (`localhost`), optionally with
    /// the prefix `tcp://`; `unix://path`; `inproc://name`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let plain = text.strip_prefix("tcp://").unwrap_or(text);
        let wrong = || ConfigError::Address(text.to_string());
        let (host, port) = plain.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = if host.is_empty() { "localhost" } else { host };
        let is_name = !host.contains(|c: char| c.is_whitespace() || "[]:/@".contains(c));
        if !is_name {
            return Err(wrong());
        }
        Ok(Self::Name { host: host.to_string(), port })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.into())
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The order in which addresses are tried: address families alternate, beginning with the family of the first
/// one (RFC 8305, section 4). Duplicates and addresses beyond [`MAX_ADDRESSES`] are left out.
pub(super) fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let mut same = addresses.iter().filter(|address| address.is_ipv6() == first.is_ipv6());
    let mut other = addresses.iter().filter(|address| address.is_ipv6() != first.is_ipv6());
    let mut ordered = Vec::with_capacity(addresses.len().min(MAX_ADDRESSES));
    // Each family gives its next new address, so that duplicates take no turn.
    while ordered.len() < MAX_ADDRESSES {
        let before = ordered.len();
        ordered.extend(same.by_ref().find(|address| !ordered.contains(*address)));
        ordered.extend(other.by_ref().find(|address| !ordered.contains(*address)));
        if ordered.len() == before {
            break;
        }
    }
    ordered.truncate(MAX_ADDRESSES);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert!(matches!("127.0.0.1:80".parse(), Ok(Endpoint::Address(_))));
        assert!(matches!("[::1]:80".parse(), Ok(Endpoint::Address(_))));
        assert!(matches!("tcp://[::1]:80".parse(), Ok(Endpoint::Address(_))));
        let name = Endpoint::Name { host: "example.org".into(), port: 5 };
        assert_eq!("example.org:5".parse(), Ok(name));
        for here in [":80", "tcp://:80", "localhost:80"] {
            assert_eq!(here.parse::<Endpoint>().unwrap().to_string(), "localhost:80", "{here}");
        }
        for wrong in ["", "host", ":", ":x", "host:", "host:99999", "::1:x", "a b:1", "http://host:80"] {
            assert_eq!(wrong.parse::<Endpoint>(), Err(ConfigError::Address(wrong.to_string())), "{wrong}");
        }
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let wanted = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleave(&given), wanted);
        let given = parse(&["1.1.1.1:1", "1.1.1.1:1", "2.2.2.2:1", "[::1]:1", "[::1]:1"]);
        let wanted = parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        assert_eq!(interleave(&given), wanted, "the resolver's first family leads, each address once");
    }

    #[test]
    fn a_name_with_very_many_addresses_is_cut_short() {
        let many: Vec<SocketAddr> = (1..=1_000).map(|port| ([10, 0, 0, 1], port).into()).collect();
        assert_eq!(interleave(&many), many[..MAX_ADDRESSES]);
        assert_eq!(interleave(&[]), []);
    }
}
