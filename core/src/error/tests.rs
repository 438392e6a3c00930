//! Messages of errors and their sources.

mod samples;

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::error::Error;

use bowline_error_rules::{check_delivery, cover, walk};

use self::samples::*;
use super::*;
use crate::auth::{CredentialsError, Refusal};
use crate::batcher::{self, Refused, SendError};
use crate::config::settings::SettingsError;
use crate::layer::LayerError;
use crate::proxy::{ProxyError, ProxyFault, SocksReply};
use crate::routing::GiveUp;
use crate::step::Interrupted;
use crate::supervisor::{DialFailure, Endpoint};

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

/// Whether a message with this outcome may have reached the peer, so that the same message again may be another one.
fn may_be_delivered(outcome: Outcome) -> bool {
    match outcome {
        Outcome::MaybeDelivered | Outcome::Written | Outcome::Acked => true,
        // The peer itself says whether it started what it answered to.
        Outcome::Replied | Outcome::NeverSent | Outcome::Expired | Outcome::Dropped => false,
    }
}

#[test]
fn nothing_that_may_have_been_delivered_is_made_again() {
    for error in calls() {
        assert!(!(error.is_retryable() && may_be_delivered(error.outcome())), "{error:?}");
        let CallError::Failed(failure) = &error else { continue };
        assert_eq!(error.is_retryable(), failure.status.is_retryable());
    }
    for reason in refusals() {
        let error = CastError::new(reason, None);
        assert!(!(error.is_retryable() && may_be_delivered(error.outcome())), "{error:?}");
    }
    for error in send_errors() {
        check_delivery(&error, error.may_be_appended(), error.is_retryable());
    }
}

/// The thread that would have to wait is the one that makes progress possible: repeating it there is in vain.
#[test]
fn what_would_park_an_io_thread_is_not_retryable() {
    assert!(!CallError::WouldPark.is_retryable());
    assert!(!CastError::new(CastRefusal::WouldPark, None).is_retryable());
    assert!(!SendError::<CallError>::WouldPark.is_retryable());
    assert!(!batcher::Refusal::WouldPark.is_retryable());
}

#[test]
fn every_error_follows_the_rules() {
    walk!(
        FrameError {
            BadMagic,
            OtherProtocol,
            Other,
            BadField,
            TooLong,
            TooShort,
            LengthOverflow,
            NegativeLength,
            UnterminatedVarint,
            Truncated,
        },
        frame_errors()
    );
    walk!(
        PeerError {
            Frame,
            ExpectedHello,
            SecondHello,
            Version,
            HelloField,
            FeatureRequired,
            FeatureLacking,
            Unauthenticated,
            AfterHandshake,
            TooManyRequests,
            RequestIdInUse,
            Resume,
            ExpectedResume,
            Ack,
            Credit,
            BadGrant,
            Fragment,
            Flood,
        },
        peer_errors()
    );
    walk!(
        Disconnect {
            PeerClosed,
            GoneAway,
            Protocol,
            Transport,
            Foreign,
            Proxy,
            Preamble,
            DeadPeer,
            WriteStalled,
            ConnectTimeout,
            SlowMessage,
            Idle,
            SlowReader,
            HandshakeCrowd,
            ServerMemory,
            Overflow,
            HandlerFailed,
            Superseded,
            SessionLost,
            SessionExpired,
            Refused,
            Denied,
            NoCredentials,
            NotConnected,
            Reopened,
            LocalClose,
        },
        disconnects()
    );
    walk!(TransportError, transports());
    walk!(LayerError, layer_errors());
    walk!(ForeignError, [ForeignError::new(PeerError::Frame(FrameError::other("the checksum is wrong")))]);
    walk!(DialFailure, dial_failures());
    walk!(PreambleError { Interrupted, Unexpected, Failed, Refused }, preamble_errors());
    walk!(Interrupted { Closed, TooLong, TimedOut, TooMuch, Overrun }, interruptions());
    walk!(ProxyError, proxy_errors());
    walk!(
        ProxyFault {
            Interrupted,
            Socks,
            Status,
            NoMethod,
            Credentials,
            NotSocks,
            NotHttp,
            BadField,
            HeadTooLong,
            TooManyAnswers,
            Target,
        },
        proxy_faults()
    );
    walk!(CredentialsError { TooLong, Unavailable }, credentials_errors());
    walk!(Refusal, auth_refusals());
}

#[test]
fn every_error_of_a_message_follows_the_rules() {
    walk!(EncodeError { TooLarge, Unsupported }, encode_errors());
    walk!(Full { WriteQueue, InFlight }, fulls());
    walk!(Failure, [Failure::new(Status::BUSY, "later"), Failure::new(Status::FAILED, "")]);
    walk!(
        CallError { Failed, DeadlineExceeded, MaybeDelivered, NeverSent, Encode, Full, Closed, WouldPark },
        calls()
    );
    walk!(
        Undeliverable { Closed, Disconnected, Expired, Dropped, Encode, RetriesExhausted },
        undeliverables()
    );
    walk!(CastRefusal { Encode, Full, Undelivered, Closed, WouldPark }, refusals());
    walk!(CastError, refusals().into_iter().map(|reason| CastError::new(reason, None)).collect::<Vec<_>>());
    walk!(SendError { Failed, MaybeAppended, Expired, Closed, WouldPark }, send_errors());
    walk!(Refused<u8>, BATCHER_REFUSALS.map(|why| Refused { message: 1, why }));
    walk!(GiveUp { NoRoutes, AllTried, Deadline, Budget }, GIVE_UPS);
    walk!(ConfigError { OutOfRange, Conflict, Address }, config_errors());
    walk!(SettingsError { Unknown, Value, Conflict, Twice, NotUnicode, Config }, settings_errors());
}

#[test]
fn what_messages_consist_of_is_covered() {
    cover!(Outcome { Replied, Acked, Written, NeverSent, MaybeDelivered, Expired, Dropped }, OUTCOMES);
    cover!(LinkWas { Connected, LeavingPeer, Handshaking, NotConnected }, links());
    cover!(
        TransportKind {
            Refused,
            Reset,
            Resolve,
            Unreachable,
            TimedOut,
            Resources,
            NotFound,
            Denied,
            Insecure,
            Other,
        },
        TRANSPORT_KINDS
    );
    cover!(
        SocksReply {
            GeneralFailure,
            NotAllowed,
            NetworkUnreachable,
            HostUnreachable,
            Refused,
            TtlExpired,
            CommandNotSupported,
            AddressTypeNotSupported,
            Other,
        },
        socks_replies()
    );
    {
        use batcher::Refusal;
        cover!(Refusal { BufferFull, Closed, NoReceiver, WouldPark }, BATCHER_REFUSALS);
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
            "not connected: there.example:80 (127.0.0.1:7001): no connection and handshake within 10s, 7 attempts",
            "not connected: there.example:80: no connection and handshake within 10s, 7 attempts",
            "not connected: there.example:80 through the proxy proxy.example:1080: \
             no connection and handshake within 10s, 7 attempts",
            "not connected: there.example:80 through the proxy proxy.example:1080 (127.0.0.1:7001): \
             127.0.0.1:7001 refused the connection, 7 attempts",
        ]
    );
}
