//! Commands: a name and its data.

use alloc::vec::Vec;

use super::{COMMAND, Version, put_header};
use crate::error::ZmtpError;

/// The first bytes of PLAIN's ERROR in libzmq 4.3: a hex escape in its source absorbs the E.
pub const ERROR_MISSPELT: &[u8] = b"^RROR";

/// Longest context of a PING that is answered completely, bytes.
const CONTEXT: usize = 16;

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'b> {
    /// READY: the metadata of a side, which is ready after it.
    Ready(&'b [u8]),
    /// ERROR: the peer refuses, usually with a status code.
    Error(&'b [u8]),
    /// PLAIN: user name and password.
    Hello(&'b [u8]),
    /// PLAIN: the credentials are accepted.
    Welcome(&'b [u8]),
    /// PLAIN: the client's metadata.
    Initiate(&'b [u8]),
    /// A subscription to a topic.
    Subscribe(&'b [u8]),
    /// The end of a subscription.
    Cancel(&'b [u8]),
    /// A DISH joins a group.
    Join(&'b [u8]),
    /// A DISH leaves a group.
    Leave(&'b [u8]),
    /// Asks whether this side is alive.
    Ping(Ping<'b>),
    /// The answer to a PING.
    Pong(&'b [u8]),
    /// An unknown name.
    Unknown(&'b [u8]),
}

/// The data of a PING.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ping<'b> {
    /// The peer may be taken for dead after silence of that many tenths of a second; 0: never.
    pub ttl: u16,
    /// The bytes that the PONG repeats.
    pub context: &'b [u8],
}

impl<'b> Command<'b> {
    /// Parses the body of a command frame. An empty body has an empty name.
    ///
    /// # Errors
    /// The name extends past the end.
    pub fn parse(body: &'b [u8]) -> Result<Self, ZmtpError> {
        if let Some(reason) = body.strip_prefix(ERROR_MISSPELT) {
            return Ok(Self::Error(reason));
        }
        let Some((&length, rest)) = body.split_first() else { return Ok(Self::Unknown(b"")) };
        let Some((name, data)) = rest.split_at_checked(usize::from(length)) else {
            let (value, limit) = (rest.len() as u64, u64::from(length));
            return Err(ZmtpError::Truncated { field: "command name", value, limit });
        };
        Ok(match name {
            b"READY" => Self::Ready(data),
            b"ERROR" => Self::Error(data),
            b"HELLO" => Self::Hello(data),
            b"WELCOME" => Self::Welcome(data),
            b"INITIATE" => Self::Initiate(data),
            b"SUBSCRIBE" => Self::Subscribe(data),
            b"CANCEL" => Self::Cancel(data),
            b"JOIN" => Self::Join(data),
            b"LEAVE" => Self::Leave(data),
            b"PING" => Self::Ping(Ping::parse(data)),
            b"PONG" => Self::Pong(data),
            name => Self::Unknown(name),
        })
    }

    /// The command's name, for errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "READY",
            Self::Error(_) => "ERROR",
            Self::Hello(_) => "HELLO",
            Self::Welcome(_) => "WELCOME",
            Self::Initiate(_) => "INITIATE",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Cancel(_) => "CANCEL",
            Self::Join(_) => "JOIN",
            Self::Leave(_) => "LEAVE",
            Self::Ping(_) => "PING",
            Self::Pong(_) => "PONG",
            Self::Unknown(_) => "an unknown command",
        }
    }
}

impl<'b> Ping<'b> {
    /// A PING that is too short for a TTL has neither TTL nor context.
    fn parse(data: &'b [u8]) -> Self {
        match data.split_first_chunk() {
            Some((ttl, context)) => {
                Self { ttl: u16::from_be_bytes(*ttl), context: &context[..context.len().min(CONTEXT)] }
            }
            None => Self::default(),
        }
    }
}

/// Appends a command frame; `data` is given in pieces.
pub fn put_command(out: &mut Vec<u8>, name: &str, data: &[&[u8]]) {
    let length = 1 + name.len() + data.iter().map(|piece| piece.len()).sum::<usize>();
    put_header(out, Version::V3_1, COMMAND, length);
    // Names are this crate's own, and short.
    #[allow(clippy::cast_possible_truncation)]
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    data.iter().for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(name: &str, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_command(&mut out, name, &[data]);
        out.split_off(2)
    }

    #[test]
    fn commands_come_back() {
        let mut out = Vec::new();
        put_command(&mut out, "SUBSCRIBE", &[b"A"]);
        assert_eq!(out, b"\x04\x0b\x09SUBSCRIBEA");
        for name in
            ["READY", "ERROR", "HELLO", "WELCOME", "INITIATE", "SUBSCRIBE", "CANCEL", "JOIN", "LEAVE", "PONG"]
        {
            let body = body(name, b"data");
            let command = Command::parse(&body).unwrap();
            assert_eq!(command.name(), name);
            assert!(!matches!(command, Command::Unknown(_)));
        }
        assert_eq!(Command::parse(&body("FOO", b"")), Ok(Command::Unknown(b"FOO")));
        assert_eq!(Command::parse(b""), Ok(Command::Unknown(b"")));
    }

    #[test]
    fn a_name_past_the_end_is_refused_and_the_misspelt_error_is_not() {
        let error = Command::parse(b"\x06READY").unwrap_err();
        assert_eq!(error, ZmtpError::Truncated { field: "command name", value: 5, limit: 6 });
        assert_eq!(Command::parse(b"^RROR\x03400"), Ok(Command::Error(b"\x03400")));
        assert_eq!(Command::parse(b"\x05ERROR\x03400"), Ok(Command::Error(b"\x03400")));
    }

    #[test]
    fn a_ping_has_a_ttl_and_sixteen_bytes_of_context_at_most() {
        let ping = |data: &[u8]| match Command::parse(&body("PING", data)) {
            Ok(Command::Ping(ping)) => (ping.ttl, ping.context.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(ping(b""), (0, 0));
        assert_eq!(ping(b"\x01"), (0, 0), "too short for a TTL");
        assert_eq!(ping(b"\x01\x02abc"), (258, 3));
        assert_eq!(ping(&[1; 40]), (257, 16));
    }
}
