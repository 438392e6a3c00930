//! Mechanisms: how both sides authenticate each other before the first message.
//!
//! A negotiation takes commands of the peer and produces commands for it. Where the application decides which
//! peers are accepted, the negotiation asks for a decision and continues when it has been made, at any later
//! time.

use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "curve")]
mod curve;
mod null;
mod plain;
mod session;

#[cfg(feature = "curve")]
pub(crate) use curve::{AllowedKeys, Draw};
#[cfg(feature = "curve")]
pub use curve::{PublicKey, SecretKey};
pub(crate) use session::{Opened, SEALED, Session};

use crate::error::ZmtpError;
use crate::options::Options;
use crate::socket_type::SocketType;
use crate::wire::{Command, Metadata, put_command};

/// How both sides authenticate each other.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// No authentication.
    #[default]
    Null,
    /// PLAIN, client: it sends a user name and a password, unencrypted.
    PlainClient {
        /// Up to 255 bytes.
        username: String,
        /// Up to 255 bytes.
        password: String,
    },
    /// PLAIN, server: it receives them.
    PlainServer,
    /// CURVE, client: it knows the server's public key. The connection is encrypted.
    #[cfg(feature = "curve")]
    CurveClient {
        /// This side's secret key.
        secret_key: SecretKey,
        /// The server's public key.
        server_key: PublicKey,
    },
    /// CURVE, server: clients know its public key.
    #[cfg(feature = "curve")]
    CurveServer {
        /// This side's secret key.
        secret_key: SecretKey,
    },
}

/// Without CURVE no random bytes are needed.
#[cfg(not(feature = "curve"))]
#[derive(Debug)]
pub(crate) enum Draw {}

impl Mechanism {
    /// The mechanism's name in the greeting.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::PlainClient { .. } | Self::PlainServer => "PLAIN",
            #[cfg(feature = "curve")]
            Self::CurveClient { .. } | Self::CurveServer { .. } => "CURVE",
        }
    }
}

/// Which peers are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Every peer, regardless of its credentials.
    AllowAny,
    /// The peers that the application accepts: it is asked at each handshake.
    Ask,
}

/// The credentials that a peer presents.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// NULL: none.
    Null,
    /// PLAIN: user name and password.
    Plain {
        /// The user name.
        username: Vec<u8>,
        /// The password.
        password: Vec<u8>,
    },
    /// CURVE. The peer has proved that it has the secret key that belongs to this public key.
    #[cfg(feature = "curve")]
    Curve {
        /// The peer's public key.
        public_key: PublicKey,
    },
}

impl core::fmt::Debug for Credentials {
    /// The output does not contain passwords.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Plain { username, .. } => write!(f, "Plain({})", username.escape_ascii()),
            #[cfg(feature = "curve")]
            Self::Curve { public_key } => write!(f, "Curve({public_key:02x?})"),
        }
    }
}

/// Whether a peer is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The peer is accepted.
    Accept {
        /// The application's name for the peer's user.
        user_id: String,
    },
    /// The peer is refused.
    Refuse {
        /// The status code (RFC 27). 400 and 500 are sent to the peer, which then does not retry; other codes
        /// close the connection without an ERROR, and the peer may retry.
        status: u16,
    },
}

/// The state of a negotiation after a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It waits for the peer's next command.
    Continue,
    /// It waits for the application's decision.
    Ask(Credentials),
    /// The peer is refused, with that status.
    #[cfg_attr(not(feature = "curve"), allow(dead_code, reason = "only CURVE has a list of its own"))]
    Refuse(u16),
    /// Both sides may send messages.
    Ready(Metadata),
}

/// The negotiation of one connection.
#[derive(Debug)]
pub(crate) enum Negotiation {
    Null(null::Null),
    PlainClient(plain::Client),
    PlainServer(plain::Server),
    #[cfg(feature = "curve")]
    CurveClient(curve::Client),
    #[cfg(feature = "curve")]
    CurveServer(curve::Server),
}

impl Negotiation {
    /// Starts, and appends the first command, if this side begins.
    pub(crate) fn start(options: &Options, draw: Option<Draw>, out: &mut Vec<u8>) -> Result<Self, ZmtpError> {
        #[cfg(not(feature = "curve"))]
        let _ = draw;
        Ok(match &options.mechanism {
            Mechanism::Null => Self::Null(null::Null::start(options, out)),
            Mechanism::PlainClient { username, password } => {
                Self::PlainClient(plain::Client::start(username, password, out))
            }
            Mechanism::PlainServer => Self::PlainServer(plain::Server::default()),
            #[cfg(feature = "curve")]
            Mechanism::CurveClient { secret_key, server_key } => {
                let draw = draw.ok_or(ZmtpError::NoEntropy)?;
                Self::CurveClient(curve::Client::start(secret_key, server_key, draw, out)?)
            }
            #[cfg(feature = "curve")]
            Mechanism::CurveServer { secret_key } => {
                Self::CurveServer(curve::Server::start(secret_key, draw.ok_or(ZmtpError::NoEntropy)?))
            }
        })
    }

    /// The encryption of the connection from now on, once the negotiation is done.
    pub(crate) fn session(self) -> Option<Session> {
        match self {
            #[cfg(feature = "curve")]
            Self::CurveClient(client) => client.session(),
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => server.session(),
            _ => None,
        }
    }

    /// Handles the peer's next command.
    pub(crate) fn handle(
        &mut self,
        options: &Options,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ZmtpError> {
        if let Command::Error(reason) = command {
            return Err(refused(reason));
        }
        match self {
            Self::Null(null) => null.handle(options, command),
            Self::PlainClient(client) => client.handle(options, command, out),
            Self::PlainServer(server) => server.handle(options, command, out),
            #[cfg(feature = "curve")]
            Self::CurveClient(client) => client.handle(options, command, out),
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => server.handle(options, command, out),
        }
    }

    /// The application accepted the peer.
    pub(crate) fn accepted(&mut self, options: &Options, out: &mut Vec<u8>) -> Step {
        match self {
            Self::Null(null) => null.accepted(options, out),
            Self::PlainClient(_) => Step::Continue,
            Self::PlainServer(server) => server.accepted(out),
            #[cfg(feature = "curve")]
            Self::CurveClient(_) => Step::Continue,
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => server.accepted(options, out),
        }
    }
}

/// Appends the ERROR for a refused peer; nothing if the peer may retry.
pub(crate) fn put_refusal(status: u16, out: &mut Vec<u8>) {
    if status == 400 || status == 500 {
        let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + (digit % 10) as u8);
        put_command(out, "ERROR", &[&[3], &digits]);
    }
}

/// Reads the reason of an ERROR: a length and that many bytes, or as many as are present.
fn refused(reason: &[u8]) -> ZmtpError {
    let (length, text) = reason.split_first().map_or((0, reason), |(length, text)| (*length, text));
    let text = &text[..usize::from(length).min(text.len())];
    ZmtpError::Refused { reason: alloc::format!("{}", text.escape_ascii()) }
}

fn unexpected(command: Command<'_>, expected: &'static str) -> ZmtpError {
    ZmtpError::Unexpected { found: command.name(), expected }
}

/// Parses a peer's properties and checks that its socket type is compatible.
pub(crate) fn read_metadata(options: &Options, bytes: &[u8]) -> Result<Metadata, ZmtpError> {
    let metadata = Metadata::parse(bytes)?;
    for (name, value) in metadata.iter() {
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            check_type(options, SocketType::from_name(value), value)?;
        }
    }
    Ok(metadata)
}

/// Checks that the peer's socket type is compatible.
pub(crate) fn check_type(
    options: &Options,
    theirs: Option<SocketType>,
    name: &[u8],
) -> Result<SocketType, ZmtpError> {
    let ours = options.kind;
    theirs
        .filter(|theirs| ours.goes_with(*theirs))
        .ok_or_else(|| ZmtpError::SocketType { ours, theirs: alloc::format!("{}", name.escape_ascii()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_may_be_of_any_bytes() {
        let reason = |bytes: &[u8]| match refused(bytes) {
            ZmtpError::Refused { reason } => reason,
            other => panic!("{other}"),
        };
        assert_eq!(reason(b"\x03400"), "400");
        assert_eq!(reason(b"\xff400"), "400");
        assert_eq!(reason(b"\x02\x00\xff"), "\\x00\\xff");
        assert_eq!(reason(b""), "");
    }

    #[test]
    fn a_refusal_is_said_if_it_is_for_good() {
        let mut out = Vec::new();
        put_refusal(300, &mut out);
        assert!(out.is_empty());
        put_refusal(400, &mut out);
        assert_eq!(out, b"\x04\x0a\x05ERROR\x03400");
    }
}
