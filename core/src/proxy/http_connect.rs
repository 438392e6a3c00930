//! HTTP CONNECT (RFC 9110, section 9.3.6; RFC 9112).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::base64;
use super::error::ProxyFault;
use crate::address::Address;
use crate::frame::looks_like;
use crate::step::{Progress, Step};
use crate::supervisor::Endpoint;

/// The start of every status line.
const BEGINNING: &[u8] = b"HTTP/1.";
/// Maximum number of provisional answers (100 to 199).
const MAX_PROVISIONAL: usize = 8;
/// Maximum number of characters kept of a reason phrase.
const MAX_REASON: usize = 120;

/// Asks an HTTP proxy for a connection.
pub struct HttpConnect {
    /// The request; taken when it is sent. `None` also for a target that cannot be expressed.
    request: Option<String>,
    state: State,
    provisional: usize,
    /// Bytes of the answer's head that were consumed.
    head: usize,
    max_head: usize,
    /// Bytes of the incomplete line that contain no end of line.
    scanned: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Begin,
    Status,
    /// The header fields of an answer with that status.
    Fields(u16),
}

impl fmt::Debug for HttpConnect {
    /// Does not print the request, which may contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnect")
            .field("state", &self.state)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl HttpConnect {
    /// Asks for a connection to `target`, with Basic credentials and additional header fields, which are sent
    /// unchanged: [`Proxy`](super::Proxy) checks them. The heads of all answers together may have `max_head`
    /// bytes.
    #[must_use]
    pub fn new<'a>(
        target: &Endpoint,
        credentials: Option<(&str, &str)>,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        max_head: usize,
    ) -> Self {
        let request = authority(target).map(|authority| {
            let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
            if let Some((user, password)) = credentials {
                let basic = base64::encode(format!("{user}:{password}").as_bytes());
                // Writing to a string does not fail.
                let _ = write!(request, "Proxy-Authorization: Basic {basic}\r\n");
            }
            for (name, value) in headers {
                let _ = write!(request, "{name}: {value}\r\n");
            }
            request.push_str("\r\n");
            request
        });
        let max_head = max_head.max(1);
        Self { request, state: State::Begin, provisional: 0, head: 0, max_head, scanned: 0 }
    }

    /// One line of the head, without its end.
    fn line(&mut self, line: &[u8]) -> Result<bool, ProxyFault> {
        match self.state {
            State::Begin | State::Status => {
                let status = status(line)?;
                match status {
                    200..=299 => {}
                    100 | 102..=199 if self.provisional < MAX_PROVISIONAL => self.provisional += 1,
                    100 | 102..=199 => return Err(ProxyFault::TooManyAnswers { limit: MAX_PROVISIONAL }),
                    status => return Err(ProxyFault::Status { status, reason: reason(line) }),
                }
                self.state = State::Fields(status);
                Ok(false)
            }
            // The end of the head. A successful answer has no body, whatever its fields say: the next bytes
            // are the target's.
            State::Fields(200..=299) if line.is_empty() => Ok(true),
            State::Fields(_) if line.is_empty() => {
                self.state = State::Status;
                Ok(false)
            }
            State::Fields(_) => Ok(false),
        }
    }
}

impl Step for HttpConnect {
    type Error = ProxyFault;

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, ProxyFault> {
        if self.state == State::Begin {
            let request = self.request.take().ok_or(ProxyFault::Target)?;
            out.extend_from_slice(request.as_bytes());
            self.state = State::Status;
        }
        let mut consumed = 0;
        loop {
            let rest = &received[consumed..];
            if self.state == State::Status {
                check_beginning(rest)?;
            }
            let Some(end) = rest.iter().skip(self.scanned).position(|byte| *byte == b'\n') else {
                self.scanned = rest.len();
                if self.head + rest.len() >= self.max_head {
                    return Err(ProxyFault::HeadTooLong { limit: self.max_head });
                }
                return Ok(Progress::more(consumed));
            };
            let end = self.scanned + end;
            if self.head + end + 1 > self.max_head {
                return Err(ProxyFault::HeadTooLong { limit: self.max_head });
            }
            self.scanned = 0;
            consumed += end + 1;
            self.head += end + 1;
            let line = &rest[..end];
            if self.line(line.strip_suffix(b"\r").unwrap_or(line))? {
                return Ok(Progress::done(consumed));
            }
        }
    }

    fn max_pending(&self) -> usize {
        self.max_head
    }
}

/// Whether an answer that begins with these bytes may be HTTP/1.
fn check_beginning(beginning: &[u8]) -> Result<(), ProxyFault> {
    match beginning.iter().zip(BEGINNING).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(at) => {
            let looks_like = looks_like(&beginning[..=at]).filter(|protocol| *protocol != "HTTP");
            Err(ProxyFault::NotHttp { at, found: beginning[at], looks_like })
        }
    }
}

/// The status of a status line: `HTTP/1.x nnn reason`.
fn status(line: &[u8]) -> Result<u16, ProxyFault> {
    // After the fixed start: a digit, a space, three digits, and nothing or a space.
    let wrong = |at: usize| {
        let found = line.get(at).copied().unwrap_or(b'\n');
        ProxyFault::NotHttp { at, found, looks_like: None }
    };
    let digit = |at: usize| match line.get(at) {
        Some(digit) if digit.is_ascii_digit() => Ok(u16::from(digit - b'0')),
        _ => Err(wrong(at)),
    };
    let space = |at: usize| if line.get(at) == Some(&b' ') { Ok(()) } else { Err(wrong(at)) };
    let at = BEGINNING.len();
    if line.len() < at {
        return Err(wrong(line.len()));
    }
    digit(at)?;
    space(at + 1)?;
    let status = digit(at + 2)? * 100 + digit(at + 3)? * 10 + digit(at + 4)?;
    if line.len() > at + 5 {
        space(at + 5)?;
    }
    Ok(status)
}

/// The reason phrase, limited to printable characters.
fn reason(line: &[u8]) -> Box<str> {
    let text = line.get(BEGINNING.len() + 6..).unwrap_or_default();
    let shown = |byte: &u8| if (b' '..0x7f).contains(byte) { char::from(*byte) } else { '?' };
    text.iter().take(MAX_REASON).map(shown).collect::<String>().into()
}

/// `host:port` of a target; `None` if it cannot be expressed.
fn authority(target: &Endpoint) -> Option<String> {
    match target {
        Endpoint::Name { host, port } => {
            let is_name =
                !host.is_empty() && !host.contains(|c: char| c.is_control() || " []:/@?#".contains(c));
            is_name.then(|| format!("{host}:{port}"))
        }
        Endpoint::Address(Address::Tcp(address)) => Some(match address.ip() {
            core::net::IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
            core::net::IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
        }),
        Endpoint::Address(_) => None,
    }
}

/// Whether the text is a valid name of a header field (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
