//! Proxies as text: URLs and environment variables.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Proxy;
use crate::error::ConfigError;

impl Proxy {
    /// Reads a proxy from environment variables, which `variable` looks up: `ALL_PROXY` (or else
    /// `all_proxy`), a URL in the [form](str::parse) of a proxy, by default of HTTP; and `NO_PROXY` (or else
    /// `no_proxy`). `None`: no proxy is set.
    ///
    /// # Errors
    /// A variable is set and invalid.
    ///
    /// ```
    /// use bowline_core::proxy::Proxy;
    ///
    /// let variables = |name: &str| match name {
    ///     "ALL_PROXY" => Some("socks5://10.0.0.1:1080".to_string()),
    ///     "no_proxy" => Some("localhost".to_string()),
    ///     _ => None,
    /// };
    /// let proxy = Proxy::from_variables(variables)?.expect("there is one");
    /// assert!(proxy.entrance(&"localhost:80".parse()?).is_none());
    /// # Ok::<(), bowline_core::error::ConfigError>(())
    /// ```
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let either = |upper: &str, lower: &str| {
            [upper, lower].iter().find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
        };
        let Some(text) = either("ALL_PROXY", "all_proxy") else { return Ok(None) };
        let text = text.trim();
        let proxy = if text.contains("://") { parse(text)? } else { parse(&format!("http://{text}"))? };
        match either("NO_PROXY", "no_proxy") {
            Some(except) => proxy.except(&except).map(Some),
            None => Ok(Some(proxy)),
        }
    }

    /// Reads a proxy from the environment of the process: see [`from_variables`](Self::from_variables).
    /// Nothing else reads the environment.
    ///
    /// # Errors
    /// A variable is set and invalid, or is not Unicode.
    #[cfg(feature = "std")]
    pub fn from_env() -> Result<Option<Self>, ConfigError> {
        extern crate std;
        for name in ["ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
            if let Err(std::env::VarError::NotUnicode(_)) = std::env::var(name) {
                return Err(ConfigError::Conflict { field: "proxy variables", why: "one is not Unicode" });
            }
        }
        Self::from_variables(|name| std::env::var(name).ok())
    }
}

/// Parses a URL. Errors do not contain its credentials.
pub(super) fn parse(text: &str) -> Result<Proxy, ConfigError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let wrong = || {
        ConfigError::Address(if scheme.is_empty() {
            place.to_string()
        } else {
            format!("{scheme}://{place}")
        })
    };
    let port = match scheme {
        "socks5" | "socks5h" => 1080,
        "http" => 80,
        _ => return Err(wrong()),
    };
    if place.is_empty() || place.contains("://") {
        return Err(wrong());
    }
    let has_port = place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let address = if has_port { place.to_string() } else { format!("{place}:{port}") };
    let proxy = if scheme == "http" { Proxy::http_connect(&address) } else { Proxy::socks5(&address) };
    let proxy = proxy.map_err(|_| wrong())?;
    let Some(user) = user else { return Ok(proxy) };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let bad = || ConfigError::Conflict { field: "proxy credentials", why: "what stands before @ is no text" };
    let user = decode(user).ok_or_else(bad)?;
    let password = decode(password).ok_or_else(bad)?;
    proxy.credentials(user, password)
}

/// Decodes percent-encoded text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).ok()
}
