//! SOCKS5 (RFC 1928), without authentication or with a user name and a password (RFC 1929).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::error::{ProxyFault, SocksReply};
use crate::address::Address;
use crate::frame::looks_like;
use crate::step::{Progress, Step};
use crate::supervisor::Endpoint;

const VERSION: u8 = 5;
/// The version of the sub-negotiation of user name and password.
const AUTH_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// The longest answer: a name of 255 bytes.
const LONGEST: usize = 4 + 1 + 255 + 2;

/// Asks a SOCKS5 proxy for a connection.
pub struct Socks5 {
    target: Endpoint,
    credentials: Option<(String, String)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Begin,
    Method,
    Auth,
    Reply,
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socks5")
            .field("target", &self.target)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Socks5 {
    /// Asks for a connection to `target`. Without credentials only "no authentication" is offered, with them
    /// both methods. A name or a password is truncated to 255 bytes: [`Proxy`](super::Proxy) refuses longer
    /// ones.
    #[must_use]
    pub fn new(target: Endpoint, credentials: Option<(&str, &str)>) -> Self {
        let credentials = credentials.map(|(user, password)| (user.to_string(), password.to_string()));
        Self { target, credentials, state: State::Begin }
    }

    fn greet(&self, out: &mut Vec<u8>) {
        match self.credentials {
            Some(_) => out.extend([VERSION, 2, NO_AUTH, PASSWORD]),
            None => out.extend([VERSION, 1, NO_AUTH]),
        }
    }

    fn authenticate(&self, out: &mut Vec<u8>) {
        let (user, password) =
            self.credentials.as_ref().map_or(("", ""), |(user, password)| (user, password));
        out.push(AUTH_VERSION);
        for text in [user, password] {
            let text = &text.as_bytes()[..text.len().min(255)];
            out.push(text.len() as u8);
            out.extend_from_slice(text);
        }
    }

    fn request(&self, out: &mut Vec<u8>) -> Result<(), ProxyFault> {
        let port = match &self.target {
            Endpoint::Name { host, port } => {
                let len = u8::try_from(host.len()).ok().filter(|len| *len > 0).ok_or(ProxyFault::Target)?;
                out.extend([VERSION, CONNECT, 0, NAME, len]);
                out.extend_from_slice(host.as_bytes());
                *port
            }
            Endpoint::Address(Address::Tcp(address)) => {
                out.extend([VERSION, CONNECT, 0]);
                match address.ip() {
                    IpAddr::V4(ip) => {
                        out.push(IPV4);
                        out.extend(ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        out.push(IPV6);
                        out.extend(ip.octets());
                    }
                }
                address.port()
            }
            Endpoint::Address(_) => return Err(ProxyFault::Target),
        };
        out.extend(port.to_be_bytes());
        Ok(())
    }

    /// The proxy chose the authentication method.
    fn method(&mut self, chosen: u8, out: &mut Vec<u8>) -> Result<Progress, ProxyFault> {
        let credentials = self.credentials.is_some();
        match chosen {
            NO_AUTH => {
                self.request(out)?;
                self.state = State::Reply;
            }
            PASSWORD if credentials => {
                self.authenticate(out);
                self.state = State::Auth;
            }
            0xff => return Err(ProxyFault::NoMethod { credentials }),
            value => return Err(ProxyFault::BadField { field: "the method", value }),
        }
        Ok(Progress::more(2))
    }

    /// The length of the answer that begins with these bytes, once it is known.
    fn reply_len(received: &[u8]) -> Result<Option<usize>, ProxyFault> {
        if let Some(reply) = received.get(1).copied().and_then(SocksReply::from_code) {
            // The following bytes have no meaning, and some proxies omit them.
            return Err(ProxyFault::Socks(reply));
        }
        let Some(kind) = received.get(3).copied() else { return Ok(None) };
        let address = match kind {
            IPV4 => 4,
            IPV6 => 16,
            NAME => match received.get(4) {
                Some(len) => 1 + usize::from(*len),
                None => return Ok(None),
            },
            value => return Err(ProxyFault::BadField { field: "the address type", value }),
        };
        Ok(Some(4 + address + 2))
    }
}

impl Step for Socks5 {
    type Error = ProxyFault;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, ProxyFault> {
        if self.state == State::Begin {
            self.greet(out);
            self.state = State::Method;
        }
        let version = if self.state == State::Auth { AUTH_VERSION } else { VERSION };
        if let Some(&found) = received.first()
            && found != version
        {
            return Err(ProxyFault::NotSocks { at: 0, found, looks_like: looks_like(&[found]) });
        }
        match (self.state, received) {
            (State::Begin | State::Method, &[_, chosen, ..]) => self.method(chosen, out),
            (State::Auth, &[_, 0, ..]) => {
                self.request(out)?;
                self.state = State::Reply;
                Ok(Progress::more(2))
            }
            (State::Auth, &[_, status, ..]) => Err(ProxyFault::Credentials { status }),
            (State::Reply, received) => Ok(match Self::reply_len(received)? {
                Some(len) if len <= received.len() => Progress::done(len),
                _ => Progress::more(0),
            }),
            _ => Ok(Progress::more(0)),
        }
    }

    fn max_pending(&self) -> usize {
        LONGEST
    }
}
