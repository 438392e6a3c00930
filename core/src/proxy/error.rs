//! Errors of proxies.

use alloc::boxed::Box;

use crate::step::Interrupted;
use crate::supervisor::Endpoint;

/// A proxy did not connect: which proxy, to which target, and, as the source, why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the proxy {proxy} gave no connection to {target}")]
#[non_exhaustive]
pub struct ProxyError {
    /// The proxy.
    pub proxy: Endpoint,
    /// The endpoint that it was asked to connect to: the target, or the next proxy.
    pub target: Endpoint,
    /// The reason.
    #[source]
    pub fault: ProxyFault,
}

/// Why a proxy did not connect.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// It closed the connection, took too long, or sent too much.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// It answered with an error (SOCKS5).
    #[error("the proxy answered: {0}")]
    Socks(SocksReply),
    /// It answered with a status other than success (HTTP).
    #[error("the proxy answered with status {status} ({reason})")]
    Status {
        /// The status code.
        status: u16,
        /// The first 120 characters of the reason phrase.
        reason: Box<str>,
    },
    /// It accepts none of the authentication methods that were offered (SOCKS5): usually it requires
    /// credentials and there were none.
    #[error("the proxy takes none of the authentication methods offered (credentials: {credentials})")]
    NoMethod {
        /// Whether credentials were offered.
        credentials: bool,
    },
    /// It refused the credentials (SOCKS5; HTTP uses status 407).
    #[error("the proxy refused the credentials (status {status})")]
    Credentials {
        /// The status in its answer: any value but 0.
        status: u8,
    },
    /// It speaks another protocol than SOCKS5.
    #[error("byte {at} is {found:#04x}: this is no SOCKS5 proxy{}", resembles(*.looks_like))]
    NotSocks {
        /// The position of the wrong byte, from 0, in the answer being read.
        at: usize,
        /// The byte.
        found: u8,
        /// The protocol that the bytes belong to, if it is known.
        looks_like: Option<&'static str>,
    },
    /// It speaks another protocol than HTTP/1.
    #[error("byte {at} is {found:#04x}: this is no HTTP/1 proxy{}", resembles(*.looks_like))]
    NotHttp {
        /// The position of the wrong byte, from 0, in the answer being read.
        at: usize,
        /// The byte.
        found: u8,
        /// The protocol that the bytes belong to, if it is known.
        looks_like: Option<&'static str>,
    },
    /// A field of its answer has an invalid value.
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
    /// The target's name cannot be sent to such a proxy: it is longer than 255 bytes (SOCKS5) or contains
    /// characters that are not allowed in names (HTTP).
    #[error("the target's name cannot be sent to such a proxy")]
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
    /// Whether the proxy denied access, in general or to this target: because of missing or wrong
    /// credentials, or because of a rule.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match self {
            Self::NoMethod { .. } | Self::Credentials { .. } => true,
            Self::Socks(reply) => *reply == SocksReply::NotAllowed,
            Self::Status { status, .. } => matches!(status, 401 | 403 | 407),
            _ => false,
        }
    }

    /// Whether the same attempt may succeed later. Not after a denial, nor if the proxy does not support the
    /// request.
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

/// The errors with which a SOCKS5 proxy answers (RFC 1928, section 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1: general failure.
    GeneralFailure,
    /// 2: not allowed by its rules.
    NotAllowed,
    /// 3: the network cannot be reached.
    NetworkUnreachable,
    /// 4: the host cannot be reached; usually also for names that do not exist.
    HostUnreachable,
    /// 5: the target refused the connection.
    Refused,
    /// 6: the target did not answer in time.
    TtlExpired,
    /// 7: it does not support CONNECT.
    CommandNotSupported,
    /// 8: it does not support names, or this type of address.
    AddressTypeNotSupported,
    /// Any other code.
    Other(u8),
}

impl SocksReply {
    /// The reply with this code; `None` for 0, success.
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
