//! How a proxy fails.

use alloc::boxed::Box;

use crate::step::Interrupted;
use crate::supervisor::Endpoint;

/// A proxy gave no connection: which proxy, where to, and as source why not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the proxy {proxy} gave no connection to {target}")]
#[non_exhaustive]
pub struct ProxyError {
    /// The proxy.
    pub proxy: Endpoint,
    /// What it was asked to connect to: the target, or the next proxy.
    pub target: Endpoint,
    /// Why it did not.
    #[source]
    pub fault: ProxyFault,
}

/// Why a proxy gave no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// It closed the connection, took too long, or sent too much.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// It said in its own words that it did not (SOCKS5).
    #[error("the proxy answered: {0}")]
    Socks(SocksReply),
    /// It answered with another status than success (HTTP).
    #[error("the proxy answered with status {status} ({reason})")]
    Status {
        /// The status code.
        status: u16,
        /// The first 120 characters of what stood behind it.
        reason: Box<str>,
    },
    /// It takes none of the ways to say who we are that were offered (SOCKS5): mostly, it wants credentials and was
    /// given none.
    #[error("the proxy takes none of the authentication methods offered (credentials: {credentials})")]
    NoMethod {
        /// Whether credentials were among what was offered.
        credentials: bool,
    },
    /// It does not take the credentials (SOCKS5; HTTP says so with status 407).
    #[error("the proxy refused the credentials (status {status})")]
    Credentials {
        /// What it said: anything but 0.
        status: u8,
    },
    /// It speaks another protocol than SOCKS5.
    #[error("byte {at} is {found:#04x}: this is no SOCKS5 proxy{}", resembles(*.looks_like))]
    NotSocks {
        /// Where it is not, from 0, in the answer that was being read.
        at: usize,
        /// The byte there.
        found: u8,
        /// The protocol that it looks like.
        looks_like: Option<&'static str>,
    },
    /// It speaks another protocol than HTTP/1.
    #[error("byte {at} is {found:#04x}: this is no HTTP/1 proxy{}", resembles(*.looks_like))]
    NotHttp {
        /// Where it is not, from 0, in the answer that was being read.
        at: usize,
        /// The byte there.
        found: u8,
        /// The protocol that it looks like.
        looks_like: Option<&'static str>,
    },
    /// A field of its answer has a value that cannot be.
    #[error("{field} is {value}, which SOCKS5 does not have")]
    BadField {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// The head of its answer is too long (HTTP).
    #[error("the head of the answer is not whole within {limit} bytes")]
    HeadTooLong {
        /// The limit: see [`Proxy::max_head`](super::Proxy::max_head).
        limit: usize,
    },
    /// It sent that many provisional answers (HTTP).
    #[error("more than {limit} provisional answers")]
    TooManyAnswers {
        /// The limit.
        limit: usize,
    },
    /// The target's name cannot be said to such a proxy: it has more than 255 bytes (SOCKS5) or characters that no
    /// name has (HTTP).
    #[error("the target's name cannot be said to such a proxy")]
    Target,
}

fn resembles(protocol: Option<&'static str>) -> impl core::fmt::Display {
    struct LooksLike(Option<&'static str>);
    impl core::fmt::Display for LooksLike {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            match self.0 {
                Some(protocol) => write!(f, ", it looks like {protocol}"),
                None => Ok(()),
            }
        }
    }
    LooksLike(protocol)
}

impl ProxyFault {
    /// Whether the proxy does not let this side in, or not to that target: credentials that are missing or wrong, or a
    /// rule.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match self {
            Self::NoMethod { .. } | Self::Credentials { .. } => true,
            Self::Socks(reply) => *reply == SocksReply::NotAllowed,
            Self::Status { status, .. } => matches!(status, 401 | 403 | 407),
            _ => false,
        }
    }

    /// Whether the same may succeed later. A denial is not, nor what the proxy cannot do at all.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Socks(SocksReply::CommandNotSupported | SocksReply::AddressTypeNotSupported)
            | Self::Target => false,
            Self::Status { status: 405 | 501, .. } => false,
            _ => !self.is_denial(),
        }
    }
}

/// What a SOCKS5 proxy answers, when it does not connect (RFC 1928, section 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1: it failed in general.
    GeneralFailure,
    /// 2: its rules do not allow that.
    NotAllowed,
    /// 3: the network cannot be reached.
    NetworkUnreachable,
    /// 4: the host cannot be reached; mostly also for names that do not exist.
    HostUnreachable,
    /// 5: the target refused the connection.
    Refused,
    /// 6: the target did not answer in time.
    TtlExpired,
    /// 7: it does not know CONNECT.
    CommandNotSupported,
    /// 8: it does not know names, or that kind of address.
    AddressTypeNotSupported,
    /// Any other code.
    Other(u8),
}

impl SocksReply {
    /// Of its code; `None` for 0, success.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::GeneralFailure,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::Refused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressTypeNotSupported,
            other => Self::Other(other),
        })
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::GeneralFailure => 1,
            Self::NotAllowed => 2,
            Self::NetworkUnreachable => 3,
            Self::HostUnreachable => 4,
            Self::Refused => 5,
            Self::TtlExpired => 6,
            Self::CommandNotSupported => 7,
            Self::AddressTypeNotSupported => 8,
            Self::Other(code) => code,
        }
    }
}

impl core::fmt::Display for SocksReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let words = match self {
            Self::GeneralFailure => "general failure",
            Self::NotAllowed => "not allowed by its rules",
            Self::NetworkUnreachable => "network unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::Refused => "the target refused the connection",
            Self::TtlExpired => "the target did not answer in time",
            Self::CommandNotSupported => "it does not know CONNECT",
            Self::AddressTypeNotSupported => "it does not know that kind of address",
            Self::Other(_) => "unknown",
        };
        write!(f, "{words} (code {})", self.code())
    }
}
