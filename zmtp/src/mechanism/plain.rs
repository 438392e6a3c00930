//! PLAIN (RFC 24): HELLO, WELCOME, INITIATE, READY.

use alloc::vec::Vec;

use super::{Admission, Credentials, Step, read_metadata, unexpected};
use crate::error::ZmtpError;
use crate::options::Options;
use crate::wire::{Command, put_command};

/// The client, which has a user name and a password.
#[derive(Debug)]
pub(crate) struct Client {
    is_welcome: bool,
}

impl Client {
    pub(super) fn start(username: &str, password: &str, out: &mut Vec<u8>) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "options are checked when they are built")]
        let lengths = [username.len() as u8, password.len() as u8];
        let (name, word) = (username.as_bytes(), password.as_bytes());
        put_command(out, "HELLO", &[&lengths[..1], name, &lengths[1..], word]);
        Self { is_welcome: false }
    }

    pub(super) fn handle(
        &mut self,
        options: &Options,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ZmtpError> {
        match command {
            Command::Welcome(data) if !self.is_welcome => {
                no_more("WELCOME", data)?;
                self.is_welcome = true;
                put_command(out, "INITIATE", &[&options.own_metadata()]);
                Ok(Step::Continue)
            }
            Command::Ready(data) if self.is_welcome => Ok(Step::Ready(read_metadata(options, data)?)),
            other => Err(unexpected(other, if self.is_welcome { "READY" } else { "WELCOME" })),
        }
    }
}

/// The server, which accepts or refuses.
#[derive(Debug, Default)]
pub(crate) struct Server {
    said_hello: bool,
    is_accepted: bool,
}

impl Server {
    pub(super) fn handle(
        &mut self,
        options: &Options,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, ZmtpError> {
        match command {
            Command::Hello(data) if !self.said_hello => {
                let credentials = read_hello(data)?;
                self.said_hello = true;
                match options.admission {
                    Some(Admission::AllowAny) => Ok(self.accepted(out)),
                    _ => Ok(Step::Ask(credentials)),
                }
            }
            Command::Initiate(data) if self.is_accepted => {
                let metadata = read_metadata(options, data)?;
                put_command(out, "READY", &[&options.own_metadata()]);
                Ok(Step::Ready(metadata))
            }
            other => Err(unexpected(other, if self.said_hello { "INITIATE" } else { "HELLO" })),
        }
    }

    pub(super) fn accepted(&mut self, out: &mut Vec<u8>) -> Step {
        self.is_accepted = true;
        put_command(out, "WELCOME", &[]);
        Step::Continue
    }
}

fn read_hello(data: &[u8]) -> Result<Credentials, ZmtpError> {
    let (username, rest) = read_short("user name", data)?;
    let (password, rest) = read_short("password", rest)?;
    no_more("HELLO", rest)?;
    Ok(Credentials::Plain { username: username.into(), password: password.into() })
}

/// Bytes that are preceded by a length of one byte.
fn read_short<'b>(field: &'static str, bytes: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), ZmtpError> {
    let Some((&length, rest)) = bytes.split_first() else {
        return Err(ZmtpError::Truncated { field, value: 0, limit: 1 });
    };
    let cut = ZmtpError::Truncated { field, value: rest.len() as u64, limit: u64::from(length) };
    rest.split_at_checked(usize::from(length)).ok_or(cut)
}

fn no_more(field: &'static str, rest: &[u8]) -> Result<(), ZmtpError> {
    match rest.len() {
        0 => Ok(()),
        value => Err(ZmtpError::TooLong { field, value: value as u64, limit: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::{Mechanism, Negotiation};
    use crate::socket_type::SocketType::{Rep, Req};

    /// The commands of some bytes.
    fn commands(bytes: &[u8]) -> Command<'_> {
        assert_eq!((bytes[0], usize::from(bytes[1])), (4, bytes.len() - 2));
        Command::parse(&bytes[2..]).unwrap()
    }

    fn client() -> (alloc::sync::Arc<Options>, Negotiation, Vec<u8>) {
        let mechanism = Mechanism::PlainClient { username: "admin".into(), password: "secret".into() };
        let options = Options::new(Req).mechanism(mechanism).build().unwrap();
        let mut out = Vec::new();
        let negotiation = Negotiation::start(&options, None, &mut out).unwrap();
        (options, negotiation, out)
    }

    fn server(admission: Admission) -> (alloc::sync::Arc<Options>, Negotiation) {
        let options =
            Options::new(Rep).mechanism(Mechanism::PlainServer).admission(admission).build().unwrap();
        let negotiation = Negotiation::start(&options, None, &mut Vec::new()).unwrap();
        (options, negotiation)
    }

    #[test]
    fn both_sides_get_through() {
        for admission in [Admission::Ask, Admission::AllowAny] {
            let (ours, mut client, hello) = client();
            let (theirs, mut server) = server(admission);
            assert_eq!(hello, b"\x04\x13\x05HELLO\x05admin\x06secret");
            let mut welcome = Vec::new();
            let step = server.handle(&theirs, commands(&hello), &mut welcome).unwrap();
            if admission == Admission::Ask {
                let Step::Ask(Credentials::Plain { username, password }) = step else { panic!() };
                assert_eq!((&username[..], &password[..]), (&b"admin"[..], &b"secret"[..]));
                assert!(welcome.is_empty());
                assert_eq!(server.accepted(&theirs, &mut welcome), Step::Continue);
            }
            let (mut initiate, mut ready) = (Vec::new(), Vec::new());
            let step = client.handle(&ours, commands(&welcome), &mut initiate);
            assert_eq!(step, Ok(Step::Continue));
            let step = server.handle(&theirs, commands(&initiate), &mut ready);
            assert!(matches!(step, Ok(Step::Ready(_))));
            let step = client.handle(&ours, commands(&ready), &mut Vec::new());
            assert!(matches!(step, Ok(Step::Ready(_))));
        }
    }

    #[test]
    fn steps_come_in_their_order() {
        let (ours, mut client, hello) = client();
        let out = &mut Vec::new();
        let error = client.handle(&ours, commands(&hello), out).unwrap_err();
        assert_eq!(error, ZmtpError::Unexpected { found: "HELLO", expected: "WELCOME" });
        let error = client.handle(&ours, Command::Ready(b""), out).unwrap_err();
        assert_eq!(error, ZmtpError::Unexpected { found: "READY", expected: "WELCOME" });
        let (theirs, mut server) = server(Admission::Ask);
        let error = server.handle(&theirs, Command::Initiate(b""), out).unwrap_err();
        assert_eq!(error, ZmtpError::Unexpected { found: "INITIATE", expected: "HELLO" });
        assert!(matches!(server.handle(&theirs, commands(&hello), out), Ok(Step::Ask(_))));
        for early in [Command::Initiate(b""), commands(&hello)] {
            let error = server.handle(&theirs, early, out).unwrap_err();
            assert!(matches!(error, ZmtpError::Unexpected { expected: "INITIATE", .. }), "{error}");
        }
        assert!(out.is_empty(), "nothing is said before the decision");
    }

    #[test]
    fn a_hello_that_is_not_whole_is_refused() {
        for (bytes, field) in [
            (&b""[..], "user name"),
            (b"\x05admi", "user name"),
            (b"\x05admin", "password"),
            (b"\x05admin\x07secret", "password"),
        ] {
            let error = read_hello(bytes).unwrap_err();
            assert!(matches!(error, ZmtpError::Truncated { field: f, .. } if f == field), "{error}");
        }
        let error = read_hello(b"\x01u\x01p!").unwrap_err();
        assert_eq!(error, ZmtpError::TooLong { field: "HELLO", value: 1, limit: 0 });
    }
}
