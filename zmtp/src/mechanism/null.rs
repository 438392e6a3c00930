//! NULL: both sides send READY.

use alloc::vec::Vec;

use super::{Admission, Credentials, Step, read_metadata, unexpected};
use crate::error::ZmtpError;
use crate::options::Options;
use crate::wire::{Command, Metadata, put_command};

#[derive(Debug)]
pub(crate) struct Null {
    /// The peer's metadata while the application decides whether the peer is accepted.
    held: Option<Metadata>,
}

impl Null {
    pub(super) fn start(options: &Options, out: &mut Vec<u8>) -> Self {
        if !asks(options) {
            put_ready(options, out);
        }
        Self { held: None }
    }

    pub(super) fn handle(&mut self, options: &Options, command: Command<'_>) -> Result<Step, ZmtpError> {
        let Command::Ready(data) = command else { return Err(unexpected(command, "READY")) };
        let metadata = read_metadata(options, data)?;
        if !asks(options) {
            return Ok(Step::Ready(metadata));
        }
        self.held = Some(metadata);
        Ok(Step::Ask(Credentials::Null))
    }

    pub(super) fn accepted(&mut self, options: &Options, out: &mut Vec<u8>) -> Step {
        put_ready(options, out);
        Step::Ready(self.held.take().unwrap_or_default())
    }
}

fn asks(options: &Options) -> bool {
    options.admission == Some(Admission::Ask)
}

fn put_ready(options: &Options, out: &mut Vec<u8>) {
    put_command(out, "READY", &[&options.own_metadata()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket_type::SocketType;

    #[test]
    fn who_asks_says_ready_after_the_decision() {
        let options = Options::new(SocketType::Rep).admission(Admission::Ask).build().unwrap();
        let mut out = Vec::new();
        let mut null = Null::start(&options, &mut out);
        assert!(out.is_empty());
        let asked = null.handle(&options, Command::Ready(b"\x0bSocket-Type\0\0\0\x03REQ"));
        assert_eq!(asked, Ok(Step::Ask(Credentials::Null)));
        let Step::Ready(metadata) = null.accepted(&options, &mut out) else { panic!() };
        assert_eq!(metadata.get("socket-type"), Some(&b"REQ"[..]));
        assert_eq!(out, b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REP");
    }

    #[test]
    fn only_ready_is_awaited_and_its_type_has_to_fit() {
        let options = Options::new(SocketType::Rep).build().unwrap();
        let mut null = Null::start(&options, &mut Vec::new());
        let error = null.handle(&options, Command::Unknown(b"FOO")).unwrap_err();
        assert_eq!(error, ZmtpError::Unexpected { found: "an unknown command", expected: "READY" });
        for wrong in [&b"\x0bsocket-TYPE\0\0\0\x03PUB"[..], b"\x0bSocket-Type\0\0\0\x03FOO"] {
            let error = null.handle(&options, Command::Ready(wrong)).unwrap_err();
            assert!(matches!(error, ZmtpError::SocketType { ours: SocketType::Rep, .. }), "{error}");
        }
        assert!(matches!(null.handle(&options, Command::Ready(b"")), Ok(Step::Ready(_))), "no type at all");
    }
}
