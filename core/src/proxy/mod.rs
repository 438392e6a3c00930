//! Connections through proxies: SOCKS5 and HTTP CONNECT, as steps without IO.
//!
//! A [`Proxy`] says which proxies a connection uses, and for which targets. The
//! [`Supervisor`](crate::supervisor::Supervisor) then dials the first proxy instead of the target, and the
//! driver runs the [`ProxyStep`]s that make the proxies connect further. Proxies resolve the names of
//! targets.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::address::Address;
use crate::error::ConfigError;
use crate::step::{Progress, Step};
use crate::supervisor::Endpoint;

mod base64;
mod env;
mod error;
mod http_connect;
mod no_proxy;
mod socks5;
#[cfg(test)]
mod tests;

pub use error::{ProxyError, ProxyFault, SocksReply};
pub use http_connect::HttpConnect;
pub use no_proxy::NoProxy;
pub use socks5::Socks5;

/// Maximum number of proxies of one connection.
const MAX_HOPS: usize = 8;
/// The default maximum length of the response head of an HTTP proxy.
const MAX_HEAD: usize = 16 * 1024;

/// The proxies that connections use, in order, and the targets that are connected to without them.
///
/// Cheap to clone. The (last) proxy resolves the names of targets; only the first proxy's own name is
/// resolved here. Proxies are used for TCP only, not for `unix://` and `inproc://`.
///
/// ```
/// use bowline_core::proxy::Proxy;
///
/// let socks = Proxy::socks5("proxy.example.org:1080")?.credentials("me", "secret")?;
/// let http = Proxy::http_connect("10.0.0.1:3128")?.header("X-Team", "links")?.except("localhost, 10.0.0.0/8")?;
/// // Through the one, and then through the other.
/// let both = socks.then(http);
/// assert_eq!(both.to_string(), "socks5h://proxy.example.org:1080, http://10.0.0.1:3128");
/// let same: Proxy = "socks5h://me:secret@proxy.example.org:1080".parse()?;
/// # let _ = same;
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy(Arc<Settings>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Settings {
    /// At least one proxy.
    hops: Vec<Hop>,
    except: NoProxy,
    timeout: Option<Duration>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hop {
    kind: Kind,
    endpoint: Endpoint,
    credentials: Option<Credentials>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Socks5,
    Http { headers: Vec<(String, String)>, max_head: usize },
}

/// A name and a password; the password is not printed.
#[derive(Clone, PartialEq, Eq)]
struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A SOCKS5 proxy (RFC 1928) at `host:port`.
    ///
    /// # Errors
    /// The address is invalid, or not a TCP address.
    pub fn socks5(address: &str) -> Result<Self, ConfigError> {
        Self::at(address, Kind::Socks5)
    }

    /// An HTTP proxy at `host:port` that supports CONNECT (RFC 9110, section 9.3.6).
    ///
    /// # Errors
    /// The address is invalid, or not a TCP address.
    pub fn http_connect(address: &str) -> Result<Self, ConfigError> {
        Self::at(address, Kind::Http { headers: Vec::new(), max_head: MAX_HEAD })
    }

    fn at(address: &str, kind: Kind) -> Result<Self, ConfigError> {
        let endpoint: Endpoint = address.parse()?;
        if !is_tcp(&endpoint) {
            return Err(ConfigError::Address(address.to_string()));
        }
        let hop = Hop { kind, endpoint, credentials: None };
        Ok(Self(Arc::new(Settings { hops: vec![hop], except: NoProxy::default(), timeout: None })))
    }

    /// Sets the credentials for the (last) proxy: a user name and a password (RFC 1929), or Basic credentials
    /// (RFC 7617). They are sent unencrypted: anyone between this host and the proxy can read them.
    ///
    /// # Errors
    /// SOCKS5: the name is empty, or one of the two is longer than 255 bytes. HTTP: the name contains a
    /// colon, or one of the two contains control characters.
    pub fn credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let credentials = Credentials { user: user.into(), password: password.into() };
        let hop = self.last_hop();
        match hop.kind {
            Kind::Socks5 => {
                let sizes = [
                    ("proxy user name", credentials.user.len(), 1),
                    ("proxy password", credentials.password.len(), 0),
                ];
                for (field, value, least) in sizes {
                    if !(least..=255).contains(&value) {
                        let must = "between 1 and 255 bytes (a password: up to 255)";
                        return Err(ConfigError::OutOfRange { field, value: value as u64, must });
                    }
                }
            }
            Kind::Http { .. } => {
                if credentials.user.contains(':') {
                    return Err(ConfigError::Conflict { field: "proxy user name", why: "has a colon in it" });
                }
                if [&credentials.user, &credentials.password]
                    .iter()
                    .any(|text| text.contains(char::is_control))
                {
                    let why = "control characters cannot be sent";
                    return Err(ConfigError::Conflict { field: "proxy credentials", why });
                }
            }
        }
        hop.credentials = Some(credentials);
        Ok(self)
    }

    /// Adds a header field that is sent to the (last) proxy with each CONNECT.
    ///
    /// # Errors
    /// The proxy is not an HTTP proxy; the name or the value is not valid in a header; the name is one that
    /// the request contains already (`Host`), or one that announces a body.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let conflict = |why| Err(ConfigError::Conflict { field: "proxy header", why });
        let Kind::Http { headers, .. } = &mut self.last_hop().kind else {
            return conflict("SOCKS5 has no headers");
        };
        if !http_connect::is_token(name) {
            return conflict("the name is not a token");
        }
        if !value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            return conflict("the value has control characters");
        }
        if ["host", "content-length", "transfer-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return conflict("the request itself says that");
        }
        if headers.len() == 64 {
            return conflict("64 are the most");
        }
        headers.push((name.to_string(), value.to_string()));
        Ok(self)
    }

    /// Sets the maximum length of the response head of the (last) proxy, in bytes, at least 64. Default 16
    /// KiB. No effect on SOCKS5.
    pub fn max_head(mut self, bytes: usize) -> Self {
        if let Kind::Http { max_head, .. } = &mut self.last_hop().kind {
            *max_head = bytes.max(64);
        }
        self
    }

    /// Appends the proxies of `next`: the last proxy here connects to their first one. At most 8 in total.
    /// Exceptions of both apply.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        let settings = Arc::make_mut(&mut self.0);
        settings.hops.extend(next.0.hops.iter().cloned());
        settings.except.add(&next.0.except);
        settings.timeout = settings.timeout.or(next.0.timeout);
        self
    }

    /// Adds targets that are connected to without proxies, in the form of `NO_PROXY`: see [`NoProxy`].
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn except(mut self, targets: &str) -> Result<Self, ConfigError> {
        Arc::make_mut(&mut self.0).except.add(&targets.parse()?);
        Ok(self)
    }

    /// Sets a time limit for all proxies together, from the moment when the first one is connected. Default:
    /// none of its own; name resolution, dialing, proxies and handshake together have `connect_timeout`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.0).timeout = Some(limit);
        self
    }

    /// The limit that [`timeout`](Self::timeout) set.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.0.timeout
    }

    /// The endpoint to dial instead of `target`; `None`: the target itself.
    #[must_use]
    pub fn entrance(&self, target: &Endpoint) -> Option<&Endpoint> {
        if !is_tcp(target) || self.0.except.covers(target) {
            return None;
        }
        self.0.hops.first().map(|hop| &hop.endpoint)
    }

    /// The steps that make the proxies connect to `target`, once the [`entrance`](Self::entrance) is
    /// connected.
    #[must_use]
    pub fn steps(&self, target: &Endpoint) -> Vec<ProxyStep> {
        let targets = self.0.hops.iter().skip(1).map(|hop| &hop.endpoint).chain([target]);
        self.0.hops.iter().zip(targets).map(|(hop, target)| ProxyStep::new(hop, target.clone())).collect()
    }

    /// Checks the settings. A configuration does so when it is built.
    ///
    /// # Errors
    /// There are more than 8 proxies, or more than 1,024 exceptions; a time limit is zero, or more than 30
    /// days.
    pub fn check(&self) -> Result<(), ConfigError> {
        let hops = self.0.hops.len();
        if hops > MAX_HOPS {
            return Err(ConfigError::OutOfRange { field: "proxies", value: hops as u64, must: "at most 8" });
        }
        self.0.except.check()?;
        match self.0.timeout {
            Some(limit) => crate::config::check_time("proxy timeout", limit),
            None => Ok(()),
        }
    }

    fn last_hop(&mut self) -> &mut Hop {
        let hops = &mut Arc::make_mut(&mut self.0).hops;
        let last = hops.len() - 1;
        &mut hops[last]
    }
}

impl fmt::Display for Proxy {
    /// Does not print credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hop) in self.0.hops.iter().enumerate() {
            let before = if index == 0 { "" } else { ", " };
            let scheme = match hop.kind {
                Kind::Socks5 => "socks5h",
                Kind::Http { .. } => "http",
            };
            write!(f, "{before}{scheme}://{}", hop.endpoint)?;
        }
        Ok(())
    }
}

impl FromStr for Proxy {
    type Err = ConfigError;

    /// Parses `socks5://`, `socks5h://` (the same: the proxy resolves names) or `http://`, then optionally
    /// `user:password@` (percent-encoded), then `host:port`. The default ports are 1080 and 80.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        env::parse(text)
    }
}

/// Whether the endpoint is reached over TCP.
fn is_tcp(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Name { .. } | Endpoint::Address(Address::Tcp(_)))
}

/// The step that asks one proxy to connect further.
#[derive(Debug)]
pub struct ProxyStep {
    proxy: Endpoint,
    target: Endpoint,
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    Socks5(Socks5),
    Http(Box<HttpConnect>),
}

impl ProxyStep {
    fn new(hop: &Hop, target: Endpoint) -> Self {
        let credentials = hop.credentials.as_ref().map(|c| (c.user.as_str(), c.password.as_str()));
        let protocol = match &hop.kind {
            Kind::Socks5 => Protocol::Socks5(Socks5::new(target.clone(), credentials)),
            Kind::Http { headers, max_head } => {
                let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                Protocol::Http(Box::new(HttpConnect::new(&target, credentials, headers, *max_head)))
            }
        };
        Self { proxy: hop.endpoint.clone(), target, protocol }
    }

    /// The error for this proxy and its target.
    #[must_use]
    pub fn failed(&self, fault: ProxyFault) -> ProxyError {
        ProxyError { proxy: self.proxy.clone(), target: self.target.clone(), fault }
    }
}

impl Step for ProxyStep {
    type Error = ProxyFault;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, ProxyFault> {
        match &mut self.protocol {
            Protocol::Socks5(step) => step.advance(received, out),
            Protocol::Http(step) => step.advance(received, out),
        }
    }

    fn max_pending(&self) -> usize {
        match &self.protocol {
            Protocol::Socks5(step) => step.max_pending(),
            Protocol::Http(step) => step.max_pending(),
        }
    }
}
