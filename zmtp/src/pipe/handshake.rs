//! From the first byte of a connection to the first message.

use alloc::vec::Vec;

use bowline_core::frame::looks_like;

use crate::error::ZmtpError;
use crate::mechanism::{
    Admission, Credentials, Draw, Mechanism, Negotiation, Session, Step, check_type, put_refusal,
};
use crate::options::{MAX_ROUTING_ID, Options};
use crate::socket_type::SocketType;
use crate::wire::{
    Command, Frame, Greeted, Greeting, MECHANISM, Metadata, SIGNATURE, Version, put_header, rest_of_greeting,
    signature,
};

/// The result of handling bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// That many unread bytes are needed to continue.
    Need(usize),
    /// That many bytes are consumed; more may be handled.
    Consumed(usize),
    /// That many bytes are consumed, and the application has to decide.
    Ask(usize, Credentials),
    /// It waits for the application's decision.
    Waiting,
    /// The peer is refused, and the ERROR (if any) has been appended.
    Refused(u16),
    /// That many bytes are consumed, and the handshake is done.
    Ready(usize, Introduced),
}

/// The peer's description of itself.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Introduced {
    pub(super) socket_type: Option<SocketType>,
    pub(super) routing_id: Vec<u8>,
    pub(super) metadata: Metadata,
}

#[derive(Debug)]
enum Stage {
    /// State of this side's greeting: the version that its rest was sent for.
    Greeting {
        major: bool,
        rest: bool,
    },
    /// It waits for the routing id, as a frame.
    OldIdentity(Option<SocketType>),
    Commands(Negotiation),
    Deciding(Negotiation),
    /// The peer was accepted, and nothing more is expected.
    Decided(Metadata),
    Done,
}

/// The handshake of one connection.
#[derive(Debug)]
pub(super) struct Handshake {
    stage: Stage,
    version: Option<Version>,
    draw: Option<Draw>,
    session: Option<Session>,
}

impl Handshake {
    /// Starts, and appends the first bytes.
    ///
    /// `draw`: the random values that CURVE needs.
    pub(super) fn start(options: &Options, draw: Option<Draw>, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&signature(options.routing_id.len()));
        Self { stage: Stage::Greeting { major: false, rest: false }, version: None, draw, session: None }
    }

    /// The encryption of the connection from now on, if there is any.
    pub(super) fn take_session(&mut self) -> Option<Session> {
        self.session.take()
    }

    /// The version, once it is known.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(super) fn is_deciding(&self) -> bool {
        matches!(self.stage, Stage::Deciding(_))
    }

    /// The application accepted the peer. Appends the answer; the next [`input`](Self::input) continues.
    pub(super) fn accepted(&mut self, options: &Options, out: &mut Vec<u8>) {
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Deciding(mut negotiation) => {
                self.stage = match negotiation.accepted(options, out) {
                    Step::Ready(metadata) => {
                        self.session = negotiation.session();
                        Stage::Decided(metadata)
                    }
                    _ => Stage::Commands(negotiation),
                };
            }
            other => self.stage = other,
        }
    }

    /// Takes the next step with the bytes at the front, and appends the bytes to send.
    ///
    /// # Errors
    /// The peer violated the protocol or is not compatible.
    pub(super) fn input(
        &mut self,
        options: &Options,
        unread: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        match &mut self.stage {
            Stage::Greeting { .. } => self.greeting(options, unread, out),
            Stage::OldIdentity(socket_type) => {
                let version = self.version.unwrap_or(Version::V1);
                let Some((consumed, id)) = old_identity(version, unread)? else {
                    return Ok(Progress::Need(unread.len() + 1));
                };
                let (socket_type, routing_id) = (*socket_type, id.to_vec());
                self.stage = Stage::Done;
                let metadata = Metadata::default();
                Ok(Progress::Ready(consumed, Introduced { socket_type, routing_id, metadata }))
            }
            Stage::Commands(_) => self.command(options, unread, out),
            Stage::Deciding(_) => Ok(Progress::Waiting),
            Stage::Decided(metadata) => {
                let metadata = core::mem::take(metadata);
                self.ready(0, metadata)
            }
            Stage::Done => Ok(Progress::Consumed(0)),
        }
    }

    fn greeting(
        &mut self,
        options: &Options,
        unread: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        let greeting = Greeting::read(unread)?;
        match greeting {
            Greeting::Nothing(need) => Ok(Progress::Need(need)),
            Greeting::Signature => {
                self.say_major(out);
                Ok(Progress::Need(SIGNATURE + 1))
            }
            Greeting::Major(version, need) => {
                self.say_rest(options, version, out);
                Ok(Progress::Need(need))
            }
            Greeting::Whole(Greeted::V1) if !begins_with_frame(unread)? => {
                Ok(Progress::Need(unread.len() + 1))
            }
            Greeting::Whole(greeted) => {
                self.greeted(options, greeted, out)?;
                Ok(Progress::Consumed(greeted.consumed()))
            }
        }
    }

    fn say_major(&mut self, out: &mut Vec<u8>) {
        if let Stage::Greeting { major, .. } = &mut self.stage
            && !core::mem::replace(major, true)
        {
            out.push(3);
        }
    }

    fn say_rest(&mut self, options: &Options, version: Version, out: &mut Vec<u8>) {
        self.say_major(out);
        let Stage::Greeting { rest, .. } = &mut self.stage else { return };
        if core::mem::replace(rest, true) {
            return;
        }
        if version.has_commands() {
            out.extend_from_slice(&rest_of_greeting(options.mechanism.name()));
        } else if let Some(number) = options.kind.number() {
            out.push(number);
            put_header(out, Version::V2, 0, options.routing_id.len());
            out.extend_from_slice(&options.routing_id);
        }
    }

    fn greeted(&mut self, options: &Options, greeted: Greeted, out: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let (version, stage) = match greeted {
            Greeted::V1 => {
                is_let_in(options, Version::V1)?;
                // The signature was the header of this frame.
                out.extend_from_slice(&options.routing_id);
                (Version::V1, Stage::OldIdentity(None))
            }
            Greeted::V2 { socket_type } => {
                self.say_rest(options, Version::V2, out);
                is_let_in(options, Version::V2)?;
                let theirs = SocketType::from_number(socket_type);
                let name = alloc::format!("number {socket_type}");
                let name = theirs.map_or(name.as_str(), |kind| kind.name());
                let theirs = check_type(options, theirs, name.as_bytes())?;
                (Version::V2, Stage::OldIdentity(Some(theirs)))
            }
            Greeted::V3 { version, mechanism } => {
                self.say_rest(options, version, out);
                check_mechanism(options, &mechanism)?;
                (version, Stage::Commands(Negotiation::start(options, self.draw.take(), out)?))
            }
        };
        (self.version, self.stage) = (Some(version), stage);
        Ok(())
    }

    fn command(
        &mut self,
        options: &Options,
        unread: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        let Some(frame) = Frame::parse(Version::V3_1, unread)? else {
            return Ok(Progress::Need(unread.len() + 1));
        };
        if frame.body > options.max_handshake() {
            let (value, limit) = (frame.body as u64, options.max_handshake() as u64);
            return Err(ZmtpError::TooLong { field: "handshake command", value, limit });
        }
        let Some(body) = unread.get(frame.header..frame.total()) else {
            return Ok(Progress::Need(frame.total()));
        };
        let command = Command::parse(body);
        // READY in a message frame is accepted, as libzmq does.
        if !frame.command && !matches!(command, Ok(Command::Ready(_))) {
            return Err(ZmtpError::Unexpected { found: "a message", expected: "a command of the handshake" });
        }
        let Stage::Commands(negotiation) = &mut self.stage else { return Ok(Progress::Waiting) };
        match negotiation.handle(options, command?, out)? {
            Step::Continue => Ok(Progress::Consumed(frame.total())),
            Step::Refuse(status) => {
                put_refusal(status, out);
                Ok(Progress::Refused(status))
            }
            Step::Ready(metadata) => {
                if let Stage::Commands(negotiation) = core::mem::replace(&mut self.stage, Stage::Done) {
                    self.session = negotiation.session();
                }
                self.ready(frame.total(), metadata)
            }
            Step::Ask(credentials) => {
                if let Stage::Commands(negotiation) = core::mem::replace(&mut self.stage, Stage::Done) {
                    self.stage = Stage::Deciding(negotiation);
                }
                Ok(Progress::Ask(frame.total(), credentials))
            }
        }
    }

    fn ready(&mut self, consumed: usize, metadata: Metadata) -> Result<Progress, ZmtpError> {
        let routing_id = metadata.get("Identity").unwrap_or_default();
        check_routing_id(routing_id.len())?;
        let routing_id = routing_id.to_vec();
        let socket_type = metadata.get("Socket-Type").and_then(SocketType::from_name);
        self.stage = Stage::Done;
        Ok(Progress::Ready(consumed, Introduced { socket_type, routing_id, metadata }))
    }
}

/// Peers of 1.0 and 2.0 have no mechanism, and cannot be sent a refusal.
fn is_let_in(options: &Options, theirs: Version) -> Result<(), ZmtpError> {
    let ours = options.mechanism.name();
    if !matches!(options.mechanism, Mechanism::Null) {
        return Err(ZmtpError::OldPeer { ours, theirs });
    }
    if options.admission == Some(Admission::Ask) {
        return Err(ZmtpError::OldPeer { ours: "NULL with an authenticator", theirs });
    }
    if options.kind.number().is_none() {
        return Err(ZmtpError::SocketType { ours: options.kind, theirs: alloc::format!("one of {theirs}") });
    }
    Ok(())
}

fn check_mechanism(options: &Options, theirs: &[u8; MECHANISM]) -> Result<(), ZmtpError> {
    let ours = options.mechanism.name();
    let (name, zeros) = theirs.split_at(ours.len());
    if name == ours.as_bytes() && zeros.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let end = theirs.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Err(ZmtpError::Mechanism { ours, theirs: alloc::format!("{}", theirs[..end].escape_ascii()) })
}

fn check_routing_id(length: usize) -> Result<(), ZmtpError> {
    if length <= MAX_ROUTING_ID {
        return Ok(());
    }
    let (value, limit) = (length as u64, MAX_ROUTING_ID as u64);
    Err(ZmtpError::TooLong { field: "routing id", value, limit })
}

/// Whether there is the header of a frame of 1.0 that can be a peer's first. Not before that is known does a
/// connection without a signature count as one of 1.0: more often it is another protocol's.
fn begins_with_frame(unread: &[u8]) -> Result<bool, ZmtpError> {
    /// Bowline's own begins as a routing id without bytes does, and goes on as no frame of 1.0 does.
    const NATIVE: &[u8] = &[1, 0, 0, 0];
    let Some(frame) = Frame::parse(Version::V1, unread)? else { return Ok(false) };
    let flags = unread[frame.header - 1];
    if flags == 0 && !unread.starts_with(NATIVE) {
        return Ok(true);
    }
    Err(match looks_like(unread) {
        // A signature that is none.
        Some("ZeroMQ") | None => bad_flags(flags),
        Some(looks_like) => ZmtpError::OtherProtocol { looks_like },
    })
}

#[cold]
fn bad_flags(flags: u8) -> ZmtpError {
    ZmtpError::BadField { field: "flags of the first frame", value: flags.into(), limit: 0 }
}

/// The frame with the routing id of a peer of 1.0 or 2.0, and its length; `None` if it is incomplete.
fn old_identity(version: Version, unread: &[u8]) -> Result<Option<(usize, &[u8])>, ZmtpError> {
    let Some(frame) = Frame::parse(version, unread)? else { return Ok(None) };
    check_routing_id(frame.body)?;
    let flags = if version == Version::V1 { unread[frame.header - 1] } else { unread[0] };
    if flags != 0 {
        return Err(bad_flags(flags));
    }
    Ok(unread.get(frame.header..frame.total()).map(|id| (frame.total(), id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: SocketType) -> alloc::sync::Arc<Options> {
        Options::new(kind).routing_id("me").build().unwrap()
    }

    /// Feeds bytes one at a time. Returns the sent bytes and the result.
    fn feed(options: &Options, bytes: &[u8]) -> (Vec<u8>, Result<Option<Introduced>, ZmtpError>) {
        let mut out = Vec::new();
        let mut handshake = Handshake::start(options, None, &mut out);
        let mut unread = Vec::new();
        for byte in bytes {
            unread.push(*byte);
            loop {
                match handshake.input(options, &unread, &mut out) {
                    Ok(Progress::Need(need)) => {
                        assert!(need > unread.len());
                        break;
                    }
                    Ok(Progress::Consumed(consumed)) => _ = unread.drain(..consumed),
                    Ok(Progress::Ready(consumed, introduced)) => {
                        assert_eq!(consumed, unread.len());
                        return (out, Ok(Some(introduced)));
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => return (out, Err(error)),
                }
            }
        }
        (out, Ok(None))
    }

    #[test]
    fn a_peer_of_each_version_is_served() {
        let dealer = options(SocketType::Dealer);
        let (out, ended) = feed(&dealer, b"\x01\0");
        assert_eq!(out, b"\xff\0\0\0\0\0\0\0\x03\x7fme", "the id is the body of the signature");
        assert_eq!(ended.unwrap(), Some(Introduced::default()));
        let (out, ended) = feed(&dealer, b"\xff\0\0\0\0\0\0\0\x04\x7f\x01\x06\0\x03you");
        assert_eq!(out, b"\xff\0\0\0\0\0\0\0\x03\x7f\x03\x05\0\x02me");
        let introduced = ended.unwrap().unwrap();
        assert_eq!(introduced.socket_type, Some(SocketType::Router));
        assert_eq!(introduced.routing_id, b"you");
    }

    #[test]
    fn other_protocols_and_ids_that_are_too_long_are_refused() {
        let dealer = options(SocketType::Dealer);
        let plain = Options::new(SocketType::Dealer)
            .mechanism(Mechanism::PlainServer)
            .admission(Admission::AllowAny)
            .build()
            .unwrap();
        // With a mechanism, too: that a peer is too old is final, and these are no peers.
        for options in [&dealer, &plain] {
            for (bytes, looks_like) in [
                (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
                (b"HTTP/1.1 502 Bad Gateway\r\n", "HTTP"),
                (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], "TLS"),
                (&[0x15, 3, 3, 0, 2, 2, 70], "TLS"),
                (b"SSH-2.0-OpenSSH", "SSH"),
            ] {
                let (_, ended) = feed(options, bytes);
                assert_eq!(ended, Err(ZmtpError::OtherProtocol { looks_like }), "{bytes:?}");
            }
            for bytes in [b"xyz", &[0xff, 0, 0, 0, 0, 0, 0, 0, 9, 0x7e][..]] {
                let (_, ended) = feed(options, bytes);
                assert!(matches!(ended, Err(ZmtpError::BadField { .. })), "{bytes:?}: {ended:?}");
            }
            // All at once; byte by byte it is a peer of 1.0 until the third.
            let mut handshake = Handshake::start(options, None, &mut Vec::new());
            let ended = handshake.input(options, &[1, 0, 0, 0, 0, 0, 0, 56], &mut Vec::new());
            let looks_like = "Bowline's own protocol";
            assert!(matches!(ended, Err(ZmtpError::OtherProtocol { looks_like: it }) if it == looks_like));
        }
        let (_, ended) = feed(&dealer, b"\xff\0\0\0\0\0\0\x01\x01\x00");
        assert_eq!(ended, Err(ZmtpError::TooLong { field: "routing id", value: 256, limit: 255 }));
        let (_, ended) = feed(&dealer, b"\xff\0\0\0\0\0\0\0\x04\x7f\x01\x03");
        assert!(matches!(ended, Err(ZmtpError::SocketType { .. })), "DEALER and REQ: {ended:?}");
        let (_, ended) = feed(&options(SocketType::Channel), b"\x01\0");
        assert!(matches!(ended, Err(ZmtpError::SocketType { .. })), "no such type then: {ended:?}");
    }

    #[test]
    fn old_peers_are_refused_where_a_mechanism_is_set() {
        let plain = Options::new(SocketType::Dealer)
            .mechanism(Mechanism::PlainServer)
            .admission(Admission::AllowAny)
            .build()
            .unwrap();
        let asks = Options::new(SocketType::Dealer).admission(Admission::Ask).build().unwrap();
        for options in [&plain, &asks] {
            for bytes in [&b"\x01\0"[..], b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x06"] {
                let (_, ended) = feed(options, bytes);
                assert!(matches!(ended, Err(ZmtpError::OldPeer { .. })), "{ended:?}");
            }
        }
    }

    #[test]
    fn a_command_of_the_handshake_is_bounded() {
        let dealer = options(SocketType::Dealer);
        let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03".to_vec();
        bytes.extend(rest_of_greeting("NULL"));
        bytes.extend(b"\x06\0\0\0\0\0\0\x04\x01");
        let (_, ended) = feed(&dealer, &bytes);
        assert_eq!(ended, Err(ZmtpError::TooLong { field: "handshake command", value: 1025, limit: 1024 }));
    }
}
