//! Targets that are connected to without a proxy.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::str::FromStr;

use crate::address::Address;
use crate::error::ConfigError;
use crate::supervisor::Endpoint;

/// Maximum number of exceptions.
const MAX_RULES: usize = 1024;

/// Targets that are connected to without a proxy, in the form of `NO_PROXY`.
///
/// A comma-separated list: `*` matches everything; a name (`example.org`, or `.example.org`) matches that
/// host and all hosts below it; an IP address matches itself; `10.0.0.0/8` and `fd00::/8` match the addresses
/// of a network. All except `*` and networks may be followed by `:port`, with an IPv6 address in brackets.
/// Names are not resolved to match addresses.
///
/// ```
/// use bowline_core::proxy::NoProxy;
///
/// let except: NoProxy = "localhost, .example.org, 10.0.0.0/8, [::1]:7001".parse()?;
/// assert!(except.covers(&"a.example.org:80".parse()?));
/// assert!(except.covers(&"10.1.2.3:80".parse()?));
/// assert!(except.covers(&"[::1]:7001".parse()?) && !except.covers(&"[::1]:7002".parse()?));
/// assert!(!except.covers(&"notexample.org:80".parse()?));
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NoProxy {
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rule {
    Everything,
    /// In lower case, without a dot at the start or end.
    Host(String, Option<u16>),
    Ip(IpAddr, Option<u16>),
    Network(IpAddr, u8),
}

impl NoProxy {
    /// Whether the target is connected to without a proxy.
    #[must_use]
    pub fn covers(&self, target: &Endpoint) -> bool {
        self.rules.iter().any(|rule| match (rule, target) {
            (Rule::Everything, _) => true,
            (Rule::Host(host, port), Endpoint::Name { host: name, port: of }) => {
                port.is_none_or(|port| port == *of) && is_within(name, host)
            }
            (Rule::Ip(ip, port), Endpoint::Address(Address::Tcp(address))) => {
                port.is_none_or(|port| port == address.port())
                    && ip.to_canonical() == address.ip().to_canonical()
            }
            (Rule::Network(ip, bits), Endpoint::Address(Address::Tcp(address))) => {
                same_network(*ip, address.ip().to_canonical(), *bits)
            }
            _ => false,
        })
    }

    /// Checks that there are not too many.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let value = self.rules.len();
        if value <= MAX_RULES {
            return Ok(());
        }
        let field = "targets without a proxy";
        Err(ConfigError::OutOfRange { field, value: value as u64, must: "at most 1024" })
    }

    /// Adds those of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for rule in &other.rules {
            if !self.rules.contains(rule) {
                self.rules.push(rule.clone());
            }
        }
    }
}

impl FromStr for NoProxy {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let texts = text.split([',', ' ']).map(str::trim).filter(|text| !text.is_empty());
        let rules: Vec<Rule> = texts.take(MAX_RULES + 1).map(rule).collect::<Result<_, _>>()?;
        let list = Self { rules };
        list.check().map(|()| list)
    }
}

fn rule(text: &str) -> Result<Rule, ConfigError> {
    let wrong = || ConfigError::Address(text.to_string());
    if text == "*" {
        return Ok(Rule::Everything);
    }
    if let Some((ip, bits)) = text.split_once('/') {
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        return if bits <= most { Ok(Rule::Network(ip, bits)) } else { Err(wrong()) };
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Rule::Ip(ip, None));
    }
    if let Ok(address) = text.parse::<core::net::SocketAddr>() {
        return Ok(Rule::Ip(address.ip(), Some(address.port())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    // `*.example.org`, a common variant.
    let host = host.strip_prefix('*').unwrap_or(host).trim_matches('.').to_ascii_lowercase();
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "*[]:/@".contains(c)) {
        return Err(wrong());
    }
    Ok(Rule::Host(host, port))
}

/// Whether `name` is `host`, or below it.
fn is_within(name: &str, host: &str) -> bool {
    let name = name.trim_end_matches('.').as_bytes();
    let Some(before) = name.len().checked_sub(host.len()) else { return false };
    name[before..].eq_ignore_ascii_case(host.as_bytes()) && (before == 0 || name[before - 1] == b'.')
}

fn same_network(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let differs = one.to_bits() ^ other.to_bits();
            differs.checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let differs = one.to_bits() ^ other.to_bits();
            differs.checked_shr(128 - u32::from(bits.min(128))).unwrap_or(0) == 0
        }
        _ => false,
    }
}
