//! Messages of errors and their sources.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use super::*;
use crate::address::Address;
use crate::auth::{CredentialsError, Refusal, RefusalCode};
use crate::config::Overflow;
use crate::frame::Class;
use crate::frame::native::Features;
use crate::proxy::{ProxyError, ProxyFault};
use crate::step::Interrupted;
use crate::supervisor::{DialFailure, Endpoint};

const OUTCOMES: [Outcome; 7] = [
    Outcome::Replied,
    Outcome::Acked,
    Outcome::Written,
    Outcome::NeverSent,
    Outcome::MaybeDelivered,
    Outcome::Expired,
    Outcome::Dropped,
];

fn address() -> Address {
    "127.0.0.1:7001".parse().unwrap()
}

fn refused() -> TransportError {
    TransportError::new(TransportKind::Refused, "connection refused (os error 111)").at(address())
}

fn dial_failures() -> Vec<DialFailure> {
    let name: Endpoint = "example.org:80".parse().unwrap();
    let timeout = Disconnect::ConnectTimeout { limit: Duration::from_secs(10) };
    vec![
        DialFailure::new(address().into(), Some(address()), refused().into()),
        DialFailure::new(name.clone(), Some(address()), timeout.clone()),
        DialFailure::new(name, None, timeout),
    ]
}

fn frame_errors() -> Vec<FrameError> {
    let field = "length";
    vec![
        FrameError::BadMagic { found: 1, expected: 2 },
        FrameError::OtherProtocol { looks_like: "HTTP", found: 1, expected: 2 },
        FrameError::other("no line break"),
        FrameError::BadField { field, value: 3, limit: 2 },
        FrameError::TooLong { field, value: 3, limit: 2 },
        FrameError::TooShort { field, value: 1, limit: 2 },
        FrameError::LengthOverflow { field, value: 1, adjustment: -2 },
        FrameError::NegativeLength { field, value: -1 },
        FrameError::UnterminatedVarint { field, limit: 8 },
        FrameError::Truncated { have: 1, need: 2 },
    ]
}

fn peer_errors() -> Vec<PeerError> {
    let (field, value, limit, class) = ("window", 3, 2, Class::Normal);
    let mut errors: Vec<PeerError> = frame_errors().into_iter().map(PeerError::Frame).collect();
    errors.extend([
        PeerError::ExpectedHello { found: "a ping" },
        PeerError::SecondHello,
        PeerError::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 2 },
        PeerError::HelloField { field, value, limit },
        PeerError::FeatureRequired { features: Features(2) },
        PeerError::FeatureLacking { features: Features(2) },
        PeerError::Unauthenticated { expected: "credentials", found: "a cast" },
        PeerError::AfterHandshake { found: "credentials" },
        PeerError::TooManyRequests { value, limit },
        PeerError::RequestIdInUse { id: 1 },
        PeerError::Resume { field, value, limit },
        PeerError::ExpectedResume { found: "a ping" },
        PeerError::Ack { value, limit },
        PeerError::Credit { class, cost: 3, credit: 2 },
        PeerError::BadGrant { class, limit, seen: 1 },
        PeerError::Fragment { field, value, limit },
        PeerError::Flood { what: "pings", value, limit },
    ]);
    errors
}

fn disconnects() -> Vec<Disconnect> {
    let limit = Duration::from_secs(3);
    let mut errors: Vec<Disconnect> = peer_errors().into_iter().map(Disconnect::Protocol).collect();
    errors.extend([
        Disconnect::PeerClosed,
        Disconnect::GoneAway,
        Disconnect::Transport(refused()),
        Disconnect::foreign(FrameError::other("the checksum is wrong")),
        Disconnect::foreign(PeerError::Frame(FrameError::other("the checksum is wrong"))),
        Disconnect::DeadPeer { silent: limit, limit },
        Disconnect::WriteStalled { stalled: limit, limit },
        Disconnect::ConnectTimeout { limit },
        Disconnect::SlowMessage { limit },
        Disconnect::Idle { limit },
        Disconnect::SlowReader { rate: 1, limit: 2 },
        Disconnect::HandshakeCrowd,
        Disconnect::ServerMemory { held: 1, limit: 2 },
        Disconnect::HandlerFailed { status: Status::FAILED },
        Disconnect::Overflow { queue: "read" },
        Disconnect::Superseded,
        Disconnect::SessionLost,
        Disconnect::SessionExpired,
        Disconnect::Refused(Refusal::new(RefusalCode::WRONG)),
        Disconnect::Denied(Refusal::new(RefusalCode::APPLICATION).text("no such key")),
        Disconnect::NoCredentials(CredentialsError::unavailable("no file")),
        Disconnect::NotConnected,
        Disconnect::Reopened,
        Disconnect::LocalClose,
    ]);
    let faults = [
        ProxyFault::Interrupted(Interrupted::Closed { pending: 1 }),
        ProxyFault::NoMethod { credentials: false },
        ProxyFault::Status { status: 407, reason: "no".into() },
    ];
    errors.extend(faults.map(|fault| {
        let [proxy, target] = ["proxy.example:1080", "example.org:80"].map(|place| place.parse().unwrap());
        Disconnect::Proxy(Box::new(ProxyError { proxy, target, fault }))
    }));
    let chain = PeerError::Frame(FrameError::other("the checksum is wrong"));
    errors.extend([
        PreambleError::Interrupted(Interrupted::Closed { pending: 1 }).into(),
        PreambleError::Unexpected { at: 1, found: 2, expected: 3 }.into(),
        PreambleError::failed(chain.clone()).into(),
        PreambleError::refused(chain).into(),
    ]);
    errors
}

const DISCONNECTS: usize = 26;

/// Which variant it is, below [`DISCONNECTS`]. One that is new belongs here and into [`disconnects`].
fn number(error: &Disconnect) -> usize {
    match error {
        Disconnect::PeerClosed => 0,
        Disconnect::GoneAway => 1,
        Disconnect::Protocol(_) => 2,
        Disconnect::Transport(_) => 3,
        Disconnect::Foreign(_) => 4,
        Disconnect::Proxy(_) => 5,
        Disconnect::Preamble(_) => 6,
        Disconnect::DeadPeer { .. } => 7,
        Disconnect::WriteStalled { .. } => 8,
        Disconnect::ConnectTimeout { .. } => 9,
        Disconnect::SlowMessage { .. } => 10,
        Disconnect::Idle { .. } => 11,
        Disconnect::SlowReader { .. } => 12,
        Disconnect::HandshakeCrowd => 13,
        Disconnect::ServerMemory { .. } => 14,
        Disconnect::Overflow { .. } => 15,
        Disconnect::HandlerFailed { .. } => 16,
        Disconnect::Superseded => 17,
        Disconnect::SessionLost => 18,
        Disconnect::SessionExpired => 19,
        Disconnect::Refused(_) => 20,
        Disconnect::Denied(_) => 21,
        Disconnect::NoCredentials(_) => 22,
        Disconnect::NotConnected => 23,
        Disconnect::Reopened => 24,
        Disconnect::LocalClose => 25,
    }
}

#[test]
fn every_cause_is_looked_at() {
    let mut numbers: Vec<usize> = disconnects().iter().map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..DISCONNECTS).collect::<Vec<_>>());
}

fn links() -> Vec<LinkWas> {
    let mut all = vec![
        LinkWas::Connected,
        LinkWas::LeavingPeer,
        LinkWas::Handshaking { address: None },
        LinkWas::Handshaking { address: Some(address()) },
        LinkWas::NotConnected { attempts: 1, last: None },
    ];
    let failures = dial_failures().into_iter();
    all.extend(failures.map(|last| LinkWas::NotConnected { attempts: 7, last: Some(Box::new(last)) }));
    all
}

fn encode_errors() -> [EncodeError; 2] {
    [EncodeError::TooLarge { len: 3, max: 2 }, EncodeError::Unsupported { what: "a call" }]
}

fn fulls() -> [Full; 2] {
    [Full::WriteQueue { bytes: 1, messages: 2 }, Full::InFlight { in_flight: 3 }]
}

fn calls() -> Vec<CallError> {
    let mut errors =
        vec![CallError::Failed(Failure::new(Status::BUSY, "later")), CallError::Closed, CallError::WouldPark];
    for link in links() {
        for outcome in [Outcome::Expired, Outcome::MaybeDelivered] {
            errors.push(CallError::DeadlineExceeded { outcome, link: link.clone() });
        }
    }
    errors.extend(disconnects().into_iter().map(CallError::MaybeDelivered));
    errors.extend(disconnects().into_iter().map(CallError::NeverSent));
    errors.extend(encode_errors().map(CallError::Encode));
    errors.extend(fulls().map(CallError::Full));
    errors
}

fn undeliverables() -> Vec<Undeliverable> {
    let mut reasons = vec![Undeliverable::Closed, Undeliverable::Dropped(Overflow::DropOldest)];
    reasons.extend(links().into_iter().map(Undeliverable::Expired));
    reasons.extend(disconnects().into_iter().map(Undeliverable::Disconnected));
    reasons.extend(encode_errors().map(Undeliverable::Encode));
    reasons.push(Undeliverable::RetriesExhausted { attempts: 3, cause: refused().into() });
    reasons
}

fn refusals() -> Vec<CastRefusal> {
    let mut reasons = vec![CastRefusal::Closed, CastRefusal::WouldPark];
    reasons.extend(encode_errors().map(CastRefusal::Encode));
    reasons.extend(fulls().map(CastRefusal::Full));
    for reason in undeliverables() {
        let of = |outcome| CastRefusal::Undelivered { outcome, reason: reason.clone() };
        reasons.extend(OUTCOMES.map(of));
    }
    reasons
}

/// Checks that the message names that outcome and no other.
fn says(message: &str, outcome: Outcome) {
    for other in OUTCOMES {
        let named = message.contains(&other.to_string());
        assert_eq!(named, other == outcome, "{message:?} says {other:?}, and it is {outcome:?}");
    }
}

#[test]
fn messages_say_the_outcome() {
    for error in calls() {
        says(&error.to_string(), error.outcome());
    }
    for reason in refusals() {
        let error = CastError::new(reason.clone(), None);
        assert_eq!(error.outcome(), reason.outcome());
        says(&error.to_string(), error.outcome());
        says(&reason.to_string(), reason.outcome());
    }
}

/// Checks that no error repeats the text of its source, so that printing the whole chain prints nothing
/// twice.
fn is_said_once(error: &(dyn Error + 'static)) {
    let message = error.to_string();
    assert!(!message.is_empty());
    let mut cause = error.source();
    while let Some(source) = cause {
        assert!(!message.contains(&source.to_string()), "{message:?} repeats its source {source}");
        assert_ne!(source.to_string(), "");
        cause = source.source();
    }
}

#[test]
fn each_level_is_said_once() {
    let mut errors: Vec<Box<dyn Error>> = Vec::new();
    errors.extend(disconnects().into_iter().map(|error| Box::new(error) as _));
    errors.extend(calls().into_iter().map(|error| Box::new(error) as _));
    errors.extend(undeliverables().into_iter().map(|error| Box::new(error) as _));
    errors.extend(refusals().into_iter().map(|error| Box::new(CastError::new(error, None)) as _));
    errors.extend(dial_failures().into_iter().map(|error| Box::new(error) as _));
    errors.extend(peer_errors().into_iter().map(|error| Box::new(error) as _));
    assert!(errors.len() > 300, "{}", errors.len());
    for error in &errors {
        is_said_once(&**error);
        let mut level: &(dyn Error + 'static) = &**error;
        while let Some(source) = level.source() {
            is_said_once(source);
            level = source;
        }
    }
}

fn depth(error: &(dyn Error + 'static)) -> usize {
    1 + error.source().map_or(0, depth)
}

#[test]
fn what_has_a_cause_has_a_source() {
    let cause = Disconnect::Protocol(PeerError::Frame(FrameError::BadMagic { found: 1, expected: 2 }));
    assert_eq!(depth(&cause), 3);
    assert_eq!(depth(&CallError::NeverSent(cause.clone())), 4);
    assert_eq!(depth(&Undeliverable::RetriesExhausted { attempts: 1, cause: cause.clone() }), 4);
    assert_eq!(depth(&CallError::Full(Full::InFlight { in_flight: 1 })), 2);
    assert_eq!(depth(&CallError::Failed(Failure::from("no"))), 2);
    let reason = Undeliverable::Disconnected(cause);
    let refusal = CastRefusal::Undelivered { outcome: Outcome::NeverSent, reason };
    assert_eq!(depth(&CastError::new(refusal, None)), 5);
    let failure = &dial_failures()[0];
    assert_eq!(depth(failure), 3);
    assert_eq!(depth(&Disconnect::from(refused())), 2);
}

#[test]
fn a_failed_dial_names_its_address() {
    for failure in dial_failures() {
        let message = failure.to_string();
        assert!(message.contains(&failure.endpoint.to_string()), "{message}");
        assert!(failure.address.is_none_or(|address| message.contains(&address.to_string())), "{message}");
    }
    let text = "127.0.0.1:7001 refused the connection: connection refused (os error 111)";
    assert_eq!(Chain(&Disconnect::from(refused())).to_string(), text);
    let unnamed = TransportError::new(TransportKind::Reset, "os error 104");
    let named = unnamed.clone().at(address());
    assert_eq!((unnamed.place(), named.place()), (None, Some(&address().into())));
    let again = named.clone().at("example.org:1".parse::<Endpoint>().unwrap());
    assert_eq!(again, named, "who knows first knows best");
    assert_ne!(unnamed, named);
    assert_eq!(format!("{named}"), "127.0.0.1:7001 reset the connection");
}

#[test]
fn a_deadline_says_what_the_link_was_doing() {
    let said: Vec<_> = links().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "connected",
            "waiting for another connection: the peer said go-away",
            "waiting for the handshake",
            "waiting for the handshake with 127.0.0.1:7001",
            "not connected, 1 attempt",
            "not connected: 127.0.0.1:7001 refused the connection, 7 attempts",
            "not connected: example.org:80 (127.0.0.1:7001): no connection and handshake within 10s, 7 attempts",
            "not connected: example.org:80: no connection and handshake within 10s, 7 attempts",
        ]
    );
}
