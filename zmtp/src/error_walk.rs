//! Every error of this crate follows the rules for errors.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use bowline_core::body::Body;
use bowline_core::error::{Disconnect, TransportError, TransportKind};
use bowline_error_rules::walk;

use crate::endpoint::{Endpoint, EndpointError};
use crate::error::{OptionError, ZmtpError};
use crate::pipe::Refusal;
use crate::socket::{HandshakeFailure, RecvError, SendError, SubscribeError};
use crate::socket_type::SocketType;
use crate::wire::Version;
use crate::z85::Z85Error;

fn zmtp_errors() -> [ZmtpError; 16] {
    let (field, value, limit, ours) = ("frame", 3, 2, "PLAIN");
    [
        ZmtpError::TooLong { field, value, limit },
        ZmtpError::TooMany { field: "parts", value, limit },
        ZmtpError::BadField { field, value, limit },
        ZmtpError::Truncated { field, value: 1, limit },
        ZmtpError::Mechanism { ours, theirs: "CURVE".into() },
        ZmtpError::OldPeer { ours, theirs: Version::V2 },
        ZmtpError::SocketType { ours: SocketType::Pub, theirs: "PUSH".into() },
        ZmtpError::OtherProtocol { looks_like: "HTTP" },
        ZmtpError::Unexpected { found: "a message", expected: "READY" },
        ZmtpError::Sealed { field: "WELCOME" },
        ZmtpError::NoEntropy,
        ZmtpError::Refused { reason: "400 no".into() },
        ZmtpError::NotAuthenticated { status: 400 },
        ZmtpError::DuplicateRoutingId { length: 5 },
        ZmtpError::HandedOver,
        ZmtpError::SecondPeer(SocketType::Pair),
    ]
}

fn pipe_refusals() -> [Refusal; 5] {
    let (value, limit) = (3, 2);
    [
        Refusal::Full,
        Refusal::Closed,
        Refusal::Empty,
        Refusal::Parts { value, limit },
        Refusal::TooLong { value, limit },
    ]
}

fn sends() -> Vec<SendError> {
    let mut errors = Vec::from([
        SendError::WouldBlock,
        SendError::Full,
        SendError::Unroutable(Body::copy_from(b"peer")),
        SendError::State(SocketType::Req),
        SendError::NotSupported(SocketType::Pull),
        SendError::Envelope(SocketType::Router, 3),
        SendError::Group(256),
    ]);
    errors.extend(pipe_refusals().map(SendError::Refused));
    errors
}

/// One for each cause of the end of a connection.
fn handshakes() -> Vec<HandshakeFailure> {
    let place: bowline_core::address::Address = "127.0.0.1:7001".parse().unwrap();
    let reset = TransportError::new(TransportKind::Reset, "os error 104").at(place);
    let mut causes = Vec::from(zmtp_errors().map(Disconnect::from));
    causes.extend([
        Disconnect::ConnectTimeout { limit: Duration::from_secs(1) },
        Disconnect::PeerClosed,
        Disconnect::Transport(reset),
    ]);
    causes.iter().map(HandshakeFailure::of).collect()
}

fn endpoint_errors() -> Vec<EndpointError> {
    let wrong = ["http://there.example", "tcp://", "tcp://there.example", "ipc:///run/there.sock\0"];
    let mut errors: Vec<_> = wrong.into_iter().map(|text| text.parse::<Endpoint>().unwrap_err()).collect();
    errors.push(EndpointError::TooLong { field: "path", value: 3, limit: 2 });
    errors
}

#[test]
fn every_error_follows_the_rules() {
    walk!(
        ZmtpError {
            TooLong,
            TooMany,
            BadField,
            Truncated,
            Mechanism,
            OldPeer,
            SocketType,
            OtherProtocol,
            Unexpected,
            Sealed,
            NoEntropy,
            Refused,
            NotAuthenticated,
            DuplicateRoutingId,
            HandedOver,
            SecondPeer,
        },
        zmtp_errors()
    );
    walk!(OptionError, [OptionError { field: "send_limit", value: 3, limit: 2 }]);
    walk!(EndpointError { Scheme, Empty, Port, TooLong, Zero }, endpoint_errors());
    walk!(
        Z85Error { Length, Character, Overflow },
        [
            Z85Error::Length { length: 3, of: 5 },
            Z85Error::Character { byte: 0x7f, at: 1 },
            Z85Error::Overflow { at: 5 },
        ]
    );
    walk!(Refusal { Full, Closed, Empty, Parts, TooLong }, pipe_refusals());
    walk!(SendError { WouldBlock, Full, Unroutable, State, NotSupported, Envelope, Group, Refused }, sends());
    walk!(
        RecvError { WouldBlock, State, PeerLost, NotSupported },
        [
            RecvError::WouldBlock,
            RecvError::State(SocketType::Req),
            RecvError::PeerLost,
            RecvError::NotSupported(SocketType::Push),
        ]
    );
    let full = ZmtpError::TooMany { field: "subscriptions", value: 3, limit: 2 };
    walk!(
        SubscribeError { NotManual, PeerGone, Limit },
        [SubscribeError::NotManual, SubscribeError::PeerGone, SubscribeError::Limit(full)]
    );
    walk!(HandshakeFailure { Protocol, Authentication, Refused, Timeout, Connection }, handshakes());
}

/// The failure of a handshake says what the end of its connection says.
#[test]
fn the_same_violation_is_said_in_the_same_words() {
    for error in zmtp_errors() {
        let cause = Disconnect::from(error.clone());
        assert_eq!(cause.to_string(), error.to_string());
        assert_eq!(HandshakeFailure::of(&cause).to_string(), error.to_string());
    }
}
