//! Values of every error of this crate, in every variant. [`walk!`](bowline_error_rules::walk) checks that none is
//! missing.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::address::Address;
use crate::auth::{CredentialsError, Refusal, RefusalCode};
use crate::batcher::{self, SendError};
use crate::config::Overflow;
use crate::config::settings::SettingsError;
use crate::error::*;
use crate::frame::Class;
use crate::frame::native::Features;
use crate::layer::LayerError;
use crate::proxy::{ProxyError, ProxyFault, SocksReply};
use crate::routing::GiveUp;
use crate::step::Interrupted;
use crate::supervisor::{DialFailure, Endpoint};

pub(super) const OUTCOMES: [Outcome; 7] = [
    Outcome::Replied,
    Outcome::Acked,
    Outcome::Written,
    Outcome::NeverSent,
    Outcome::MaybeDelivered,
    Outcome::Expired,
    Outcome::Dropped,
];

pub(super) fn address() -> Address {
    "127.0.0.1:7001".parse().unwrap()
}

pub(super) const TRANSPORT_KINDS: [TransportKind; 10] = [
    TransportKind::Refused,
    TransportKind::Reset,
    TransportKind::Resolve,
    TransportKind::Unreachable,
    TransportKind::TimedOut,
    TransportKind::Resources,
    TransportKind::NotFound,
    TransportKind::Denied,
    TransportKind::Insecure,
    TransportKind::Other,
];

pub(super) fn transports() -> Vec<TransportError> {
    let of = |kind| {
        let error = TransportError::new(kind, "os error 1");
        let path: Address = "unix:///run/there.sock".parse().unwrap();
        [error.clone(), error.clone().at(path), error.at(address())]
    };
    let mut errors = Vec::from(TRANSPORT_KINDS.map(of).as_flattened());
    errors.extend(layer_errors().map(|error| TransportError::of_layer(error).at(address())));
    errors
}

pub(super) fn layer_errors() -> [LayerError; 2] {
    let below = || PeerError::Frame(FrameError::other("the checksum is wrong"));
    [LayerError::new(below(), false), LayerError::new(below(), true)]
}

pub(super) fn refused() -> TransportError {
    TransportError::new(TransportKind::Refused, "connection refused (os error 111)").at(address())
}

pub(super) fn dial_failures() -> Vec<DialFailure> {
    let [name, proxy]: [Endpoint; 2] =
        ["there.example:80", "proxy.example:1080"].map(|name| name.parse().unwrap());
    let timeout = Disconnect::ConnectTimeout { limit: Duration::from_secs(10) };
    vec![
        DialFailure::new(address().into(), Some(address()), refused().into()),
        DialFailure::new(name.clone(), Some(address()), timeout.clone()),
        DialFailure::new(name.clone(), None, timeout.clone()),
        DialFailure::new(name.clone(), None, timeout).through(Some(proxy.clone())),
        DialFailure::new(name, Some(address()), refused().into()).through(Some(proxy)),
    ]
}

pub(super) fn frame_errors() -> Vec<FrameError> {
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

pub(super) fn peer_errors() -> Vec<PeerError> {
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

pub(super) fn disconnects() -> Vec<Disconnect> {
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
    errors.extend(transports().into_iter().map(Disconnect::Transport));
    errors.extend(proxy_errors().into_iter().map(|error| Disconnect::Proxy(Box::new(error))));
    errors.extend(preamble_errors().into_iter().map(Disconnect::from));
    errors.extend(credentials_errors().map(Disconnect::NoCredentials));
    errors
}

pub(super) fn credentials_errors() -> [CredentialsError; 2] {
    [CredentialsError::TooLong { len: 3, max: 2 }, CredentialsError::unavailable("no file")]
}

/// With each of the codes.
pub(super) fn auth_refusals() -> Vec<Refusal> {
    let refusals = (1..=9).map(|code| Refusal::new(RefusalCode(code)));
    refusals.chain([Refusal::new(RefusalCode::APPLICATION).text("no such key")]).collect()
}

pub(super) fn interruptions() -> [Interrupted; 5] {
    let limit = 2;
    [
        Interrupted::Closed { pending: 1 },
        Interrupted::TooLong { limit },
        Interrupted::TimedOut { limit: Duration::from_secs(3) },
        Interrupted::TooMuch { value: 3, limit },
        Interrupted::Overrun { consumed: 2, received: 1 },
    ]
}

pub(super) fn preamble_errors() -> Vec<PreambleError> {
    let chain = PeerError::Frame(FrameError::other("the checksum is wrong"));
    let mut errors = vec![
        PreambleError::Unexpected { at: 1, found: 2, expected: 3 },
        PreambleError::failed(chain.clone()),
        PreambleError::refused(chain),
    ];
    errors.extend(interruptions().map(PreambleError::Interrupted));
    errors
}

pub(super) fn socks_replies() -> Vec<SocksReply> {
    (1..=9).filter_map(SocksReply::from_code).collect()
}

pub(super) fn proxy_faults() -> Vec<ProxyFault> {
    let (at, found, limit) = (0, 0x47, 2);
    let mut faults = vec![
        ProxyFault::Status { status: 407, reason: "no".into() },
        ProxyFault::NoMethod { credentials: false },
        ProxyFault::Credentials { status: 1 },
        ProxyFault::BadField { field: "version", value: 4 },
        ProxyFault::HeadTooLong { limit },
        ProxyFault::TooManyAnswers { limit },
        ProxyFault::Target,
    ];
    for looks_like in [None, Some("TLS")] {
        faults.push(ProxyFault::NotSocks { at, found, looks_like });
        faults.push(ProxyFault::NotHttp { at, found, looks_like });
    }
    faults.extend(interruptions().map(ProxyFault::Interrupted));
    faults.extend(socks_replies().into_iter().map(ProxyFault::Socks));
    faults
}

pub(super) fn proxy_errors() -> Vec<ProxyError> {
    let of = |fault| {
        let [proxy, target] = ["proxy.example:1080", "there.example:80"].map(|place| place.parse().unwrap());
        ProxyError { proxy, target, fault }
    };
    proxy_faults().into_iter().map(of).collect()
}

pub(super) fn links() -> Vec<LinkWas> {
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

pub(super) fn encode_errors() -> [EncodeError; 2] {
    [EncodeError::TooLarge { len: 3, max: 2 }, EncodeError::Unsupported { what: "a call" }]
}

pub(super) fn fulls() -> [Full; 2] {
    [Full::WriteQueue { bytes: 1, messages: 2 }, Full::InFlight { in_flight: 3 }]
}

pub(super) fn calls() -> Vec<CallError> {
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

pub(super) fn undeliverables() -> Vec<Undeliverable> {
    let mut reasons = vec![Undeliverable::Closed, Undeliverable::Dropped(Overflow::DropOldest)];
    reasons.extend(links().into_iter().map(Undeliverable::Expired));
    reasons.extend(disconnects().into_iter().map(Undeliverable::Disconnected));
    reasons.extend(encode_errors().map(Undeliverable::Encode));
    for attempts in [1, 3] {
        reasons.push(Undeliverable::RetriesExhausted { attempts, cause: refused().into() });
    }
    reasons
}

pub(super) fn refusals() -> Vec<CastRefusal> {
    let mut reasons = vec![CastRefusal::Closed, CastRefusal::WouldPark];
    reasons.extend(encode_errors().map(CastRefusal::Encode));
    reasons.extend(fulls().map(CastRefusal::Full));
    for reason in undeliverables() {
        let of = |outcome| CastRefusal::Undelivered { outcome, reason: reason.clone() };
        reasons.extend(OUTCOMES.map(of));
    }
    reasons
}

pub(super) fn config_errors() -> [ConfigError; 3] {
    [
        ConfigError::OutOfRange { field: "max_message", value: 0, must: "at least 1" },
        ConfigError::Conflict { field: "resend_window", why: "needs at-least-once" },
        ConfigError::Address("there.example".into()),
    ]
}

pub(super) fn settings_errors() -> Vec<SettingsError> {
    let (key, value) = (|| "max_message".into(), || "0".into());
    let mut errors = vec![
        SettingsError::Unknown { key: key(), meant: None },
        SettingsError::Unknown { key: key(), meant: Some("max_answer") },
        SettingsError::Value { key: key(), value: value(), must: "at least 1".into() },
        SettingsError::Conflict { key: key(), value: value(), why: "sessions are off" },
        SettingsError::Twice { key: key() },
        SettingsError::NotUnicode { key: key() },
    ];
    errors.extend(config_errors().map(SettingsError::Config));
    errors
}

/// Of a batcher, with causes of every kind.
pub(super) fn send_errors() -> Vec<SendError<CallError>> {
    let mut errors = vec![SendError::WouldPark];
    for cause in [None, Some(CallError::NeverSent(refused().into()))] {
        errors.extend([
            SendError::MaybeAppended(cause.clone()),
            SendError::Expired(cause.clone()),
            SendError::Closed(cause.clone()),
        ]);
        errors.extend(cause.map(SendError::Failed));
    }
    errors
}

pub(super) const BATCHER_REFUSALS: [batcher::Refusal; 4] = [
    batcher::Refusal::BufferFull,
    batcher::Refusal::Closed,
    batcher::Refusal::NoReceiver,
    batcher::Refusal::WouldPark,
];

pub(super) const GIVE_UPS: [GiveUp; 4] =
    [GiveUp::NoRoutes, GiveUp::AllTried, GiveUp::Deadline, GiveUp::Budget];
