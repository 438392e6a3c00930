//! Authentication: it ends before any message is delivered, and may be revoked.

use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::auth::{Credentials, CredentialsError, Grant, Identity, MAX_CREDENTIALS, Refusal, RefusalCode};
use crate::config::AcceptLimits;
use crate::error::FrameError;
use crate::frame::native::{AUTHENTICATION, Features, Hello, SERVICES};
use crate::frame::{Kind, Meta, Step};

mod sessions;

const T0: Instant = Instant::ZERO;

fn showing(token: &'static [u8]) -> Config<Native> {
    Config::builder().credentials(move |_: &Challenge| Credentials::new(token)).build().unwrap()
}

/// An accepting end that authenticates with that challenge.
fn asking(config: &Config<Native>, challenge: &[u8]) -> End<Native> {
    let mut end = End::new(config, Role::Accepting);
    end.link = Link::new(config.clone(), Role::Accepting);
    again(&mut end, challenge);
    end
}

/// The next connection of an accepting end.
fn again(end: &mut End<Native>, challenge: &[u8]) {
    end.link.challenge(challenge);
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(T0, epoch);
    (end.buf, end.shown) = (RecvBuf::new(), Vec::new());
    end.pass(T0, 0).unwrap();
}

fn pair(client: &Config<Native>) -> Pair<Native> {
    let mut pair = Pair { a: End::new(client, Role::Dialing), b: asking(&Config::default(), b"1234") };
    pair.a.pass(T0, 0).unwrap();
    pair.run(T0);
    pair
}

fn bob() -> Grant {
    Grant::new(Identity::new("bob"))
}

/// The application of the accepting end decides; the end continues if requested.
fn decide(end: &mut End<Native>, decision: Result<Grant, Refusal>) {
    let epoch = end.link.epoch();
    end.link.decide(T0, epoch, decision);
    if end.link.wants_pass() {
        end.pass(T0, 0).unwrap();
    }
}

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Native::new().encode(&mut out, &Meta::control(kind, 0), &[], body).unwrap();
    out
}

fn cast(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Native::new().encode(&mut out, &Meta { method: 1, ..Meta::new(Kind::Cast, 0) }, &[], body).unwrap();
    out
}

fn hello() -> Vec<u8> {
    let mut body = Vec::new();
    Hello { features: AUTHENTICATION, ..Hello::new() }.encode(&mut body);
    frame(Kind::Hello, &body)
}

fn kinds(mut bytes: &[u8]) -> Vec<Kind> {
    let (mut native, mut kinds) = (Native::new(), Vec::new());
    while !bytes.is_empty() {
        let Step::Frame { meta, consumed, .. } = native.next_frame(bytes).unwrap() else { panic!("cut") };
        kinds.push(meta.kind);
        bytes = &bytes[consumed..];
    }
    kinds
}

fn ends(end: &mut End<Native>, now: Instant) -> Option<Disconnect> {
    match end.link.poll_ending(now)? {
        Ending::Abort(cause) | Ending::Graceful { cause, .. } => Some(cause),
    }
}

#[test]
fn nothing_is_handed_over_before_the_peer_is_let_in() {
    let mut pair = pair(&showing(b"token"));
    let _ = pair.a.link.cast(T0, &CastOptions::new(1), b"early".into()).unwrap();
    pair.run(T0);
    assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Handshaking, State::Handshaking));
    assert_eq!((pair.b.events.len(), pair.b.shown.len(), pair.b.link.identity()), (0, 1, None));
    let shown = &pair.b.shown[0];
    assert_eq!(shown.credentials().as_bytes(), b"token");
    assert_eq!((shown.challenge().bytes(), shown.challenge().session()), (&b"1234"[..], 0));
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
    assert_eq!(pair.b.link.identity().map(Identity::name), Some("bob"));
    assert_eq!(pair.b.events, [(false, 0, b"early".to_vec())]);
}

#[test]
fn a_peer_without_a_source_shows_nothing_and_may_be_let_in() {
    let mut pair = pair(&Config::default());
    assert_eq!(pair.b.shown[0].credentials(), &Credentials::none());
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
}

#[test]
fn a_side_that_asks_nobody_is_connected_to_as_ever() {
    let mut pair = native();
    assert_eq!((pair.b.link.identity(), pair.b.shown.len()), (None, 0));
    // Such a peer cannot be sent a refusal.
    pair.b.link.withdraw(T0, RefusalCode::WITHDRAWN.into());
    assert_eq!(pair.b.output(T0), b"");
    assert_eq!(ends(&mut pair.b, T0), Some(Disconnect::Denied(RefusalCode::WITHDRAWN.into())));
}

#[test]
fn a_refusal_says_why_and_ends_both_sides() {
    let mut pair = pair(&showing(b"token"));
    let refusal = Refusal::new(RefusalCode::EXPIRED).text("since noon").retry_after(MS * 7_000);
    decide(&mut pair.b, Err(refusal.clone()));
    // Bytes that the peer sends now are ignored.
    pair.b.input(T0, &cast(b"all the same")).unwrap();
    assert_eq!(ends(&mut pair.b, T0), None, "it is told first");
    let out = pair.b.output(T0);
    assert_eq!(ends(&mut pair.b, T0), Some(Disconnect::Denied(refusal.clone())));
    pair.a.input(T0, &out).unwrap();
    let cause = ends(&mut pair.a, T0).unwrap();
    assert_eq!(cause, Disconnect::Refused(refusal));
    assert_eq!((cause.retry_after(), cause.is_retryable()), (Some(MS * 7_000), true));
    assert!(!Disconnect::Refused(RefusalCode::WRONG.into()).is_retryable());
    assert!(pair.b.events.is_empty());
    // A second decision is too late: nothing changes.
    decide(&mut pair.b, Ok(bob()));
    assert_eq!((pair.b.output(T0).len(), pair.b.link.identity()), (0, None));
}

#[test]
fn a_peer_that_does_not_read_its_refusal_goes_in_time() {
    let mut pair = pair(&showing(b"token"));
    decide(&mut pair.b, Err(RefusalCode::WRONG.into()));
    assert_eq!(ends(&mut pair.b, T0), None);
    let (at, _) = pair.b.link.poll_timeout().unwrap();
    assert_eq!(at, T0 + MS * 1_000);
    assert_eq!(
        pair.b.link.poll_ending(at),
        Some(Ending::Abort(Disconnect::Denied(RefusalCode::WRONG.into())))
    );
}

#[test]
fn a_withdrawn_identity_is_told_and_goes() {
    let mut pair = pair(&showing(b"token"));
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    let _ = pair.b.link.cast(T0, &CastOptions::new(1), b"never".into()).unwrap();
    let _ = pair.a.link.cast(T0, &CastOptions::new(1), b"too late".into()).unwrap();
    pair.b.link.withdraw(T0, RefusalCode::WITHDRAWN.into());
    let (to_b, to_a) = (pair.a.output(T0), pair.b.output(T0));
    assert_eq!(to_a.first(), Some(&131), "the refusal goes first, and nothing behind it: {to_a:?}");
    assert_eq!(to_a.len(), 16);
    pair.b.input(T0, &to_b).unwrap();
    assert!(pair.b.events.is_empty(), "nothing is handed over any more");
    pair.a.input(T0, &to_a).unwrap();
    assert_eq!(ends(&mut pair.a, T0), Some(Disconnect::Refused(RefusalCode::WITHDRAWN.into())));
    assert_eq!(ends(&mut pair.b, T0), Some(Disconnect::Denied(RefusalCode::WITHDRAWN.into())));
    pair.b.link.handle_disconnected(T0, None, Disconnect::Denied(RefusalCode::WITHDRAWN.into()));
    assert_eq!(pair.b.link.state(), State::Closed);
}

#[test]
fn a_grant_lowers_what_runs_at_once_and_the_peer_is_told() {
    let mut pair = pair(&showing(b"token"));
    decide(&mut pair.b, Ok(bob().max_inbound(2)));
    pair.run(T0);
    pair.b.handle = true;
    for token in 0..3 {
        let called = call(&mut pair.a, b"x", token);
        assert_eq!(called.is_ok(), token < 2, "{called:?}");
    }
    pair.run(T0);
    assert_eq!(pair.b.handled.len(), 2);
}

#[test]
fn a_decision_that_does_not_come_is_a_refusal() {
    let limits = AcceptLimits { verification: Some(MS * 500), ..AcceptLimits::default() };
    let config = Config::builder().accept_limits(limits).build().unwrap();
    let mut pair = Pair { a: End::new(&showing(b"x"), Role::Dialing), b: asking(&config, b"1") };
    pair.run(T0);
    assert_eq!(pair.b.link.poll_timeout(), Some((T0 + MS * 500, Reason::Handshake)));
    pair.b.link.handle_timeout(T0 + MS * 499);
    assert_eq!(pair.b.output(T0), b"");
    pair.b.link.handle_timeout(T0 + MS * 500);
    let out = pair.b.output(T0 + MS * 500);
    pair.a.input(T0, &out).unwrap();
    let cause = ends(&mut pair.a, T0).unwrap();
    assert!(matches!(&cause, Disconnect::Refused(r) if r.code == RefusalCode::UNAVAILABLE), "{cause:?}");
    assert!(cause.is_retryable());
    // Without that limit, the handshake's own ends it.
    let mut pair = super::auth::pair(&showing(b"x"));
    let limit = MS * 10_000;
    pair.b.link.handle_timeout(T0 + limit);
    assert_eq!(ends(&mut pair.b, T0 + limit), Some(Disconnect::ConnectTimeout { limit }));
}

#[test]
fn credentials_that_cannot_be_had_end_the_connection() {
    let failing = Config::builder()
        .credentials(|_: &Challenge| Err(CredentialsError::unavailable("no file")))
        .build()
        .unwrap();
    let mut pair = pair(&failing);
    let cause = ends(&mut pair.a, T0).unwrap();
    assert_eq!(cause, Disconnect::NoCredentials(CredentialsError::Unavailable("no file".into())));
    assert!(cause.is_retryable() && pair.b.shown.is_empty());
    let long = Credentials::new(vec![0; MAX_CREDENTIALS + 1]).unwrap_err();
    assert!(!Disconnect::NoCredentials(long).is_retryable());
}

#[test]
fn an_answer_of_an_earlier_connection_is_none() {
    let mut a = End::new(&showing(b"x"), Role::Dialing);
    a.challenges = Some(Vec::new());
    let mut pair = Pair { a, b: asking(&Config::default(), b"1") };
    pair.run(T0);
    let old = pair.a.challenges.take().unwrap().remove(0);
    pair.a.link.handle_disconnected(T0, None, Disconnect::PeerClosed);
    pair.a.reader = pair.a.link.handle_connected(T0, Epoch::FIRST.next());
    pair.a.buf = RecvBuf::new();
    assert_eq!(kinds(&pair.a.output(T0)), [Kind::Hello]);
    pair.a.link.show(T0, &old, Ok(Credentials::none()));
    assert_eq!(pair.a.output(T0), b"");
    // A decision is limited in the same way.
    assert!(pair.b.shown.is_empty());
    pair.b.link.decide(T0, Epoch::FIRST, Ok(bob()));
    assert_eq!(pair.b.link.identity(), None);
}

#[test]
fn each_connection_needs_a_challenge_of_its_own() {
    let mut pair = pair(&showing(b"x"));
    decide(&mut pair.b, Ok(bob()));
    // The same link, connected again without a new challenge.
    pair.b.link = {
        let mut link = Link::new(Config::default(), Role::Accepting);
        link.challenge(*b"1");
        let _ = link.handle_connected(T0, Epoch::FIRST);
        let _ = link.handle_connected(T0, Epoch::FIRST.next());
        link
    };
    let Some(Disconnect::Denied(refusal)) = ends(&mut pair.b, T0) else { panic!("let in") };
    assert_eq!(refusal.code, RefusalCode::UNAVAILABLE);
}

#[test]
fn features_that_are_not_known_are_ignored_and_required_ones_are_named() {
    let mut body = Vec::new();
    Hello { features: SERVICES | 1 << 40, ..Hello::new() }.encode(&mut body);
    let stranger = frame(Kind::Hello, &body);
    let mut plain = End::new(&Config::default(), Role::Accepting);
    plain.input(T0, &stranger).unwrap();
    assert_eq!(plain.link.state(), State::Ready);
    // A peer that does not support authentication.
    let refused = asking(&Config::default(), b"1").input(T0, &stranger).unwrap_err();
    assert_eq!(refused, PeerError::FeatureLacking { features: Features(AUTHENTICATION) });
    let words = "the peer does not offer features that this side requires: authentication (bit 1)";
    assert_eq!(alloc::string::ToString::to_string(&refused), words);
    // The other way round.
    let mut body = Vec::new();
    Hello { features: SERVICES, required: SERVICES, ..Hello::new() }.encode(&mut body);
    let refused = End::new(&Config::default(), Role::Dialing).input(T0, &frame(Kind::Hello, &body));
    assert_eq!(refused, Err(PeerError::FeatureRequired { features: Features(SERVICES) }));
}

/// The reaction of an authenticating end to a peer that sends these frames after its hello.
fn hostile(frames: &[Vec<u8>]) -> PeerError {
    let mut end = asking(&Config::default(), b"1");
    end.input(T0, &hello()).unwrap();
    let error = end.input(T0, &frames.concat()).expect_err("it breaks the protocol");
    assert!(end.events.is_empty(), "nothing was handed over");
    error
}

#[test]
fn hostile_peers_are_named() {
    let shown = || frame(Kind::Credentials, b"x");
    let unauthenticated = |expected, found| PeerError::Unauthenticated { expected, found };
    let before = "nothing before the peer is let in";
    assert_eq!(hostile(&[cast(b"x")]), unauthenticated("credentials", "message"));
    assert_eq!(hostile(&[shown(), shown()]), unauthenticated(before, "credentials"));
    assert_eq!(hostile(&[shown(), cast(b"x")]), unauthenticated(before, "message"));
    assert_eq!(hostile(&[shown(), vec![5, 1]]), unauthenticated(before, "more bytes"));
    assert_eq!(hostile(&[frame(Kind::Accepted, &[0; 4])]), unauthenticated("credentials", "acceptance"));
    assert_eq!(hostile(&[frame(Kind::Challenge, b"")]), unauthenticated("credentials", "challenge"));
    // The length alone is enough to refuse it.
    let too_long = FrameError::TooLong { field: "length", value: 4_097, limit: 4_096 };
    assert_eq!(hostile(&[vec![129, 0, 0, 0, 0, 0, 0x10, 0x01]]), too_long.into());
}

#[test]
fn the_exchange_is_over_once_the_peer_is_let_in() {
    let mut pair = pair(&showing(b"x"));
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    for kind in [Kind::Credentials, Kind::Challenge] {
        let found = if kind == Kind::Credentials { "credentials" } else { "challenge" };
        let error = pair.b.input(T0, &frame(kind, b"")).unwrap_err();
        assert_eq!(error, PeerError::AfterHandshake { found });
        pair.b.buf = RecvBuf::new();
    }
    // A dialing side cannot refuse, and neither can an accepting one that did not authenticate.
    let refusal = frame(Kind::Refused, &Refusal::new(RefusalCode::WRONG).to_bytes());
    assert_eq!(pair.b.input(T0, &refusal), Err(PeerError::AfterHandshake { found: "refusal" }));
    let mut unasked = native();
    assert_eq!(unasked.a.input(T0, &refusal), Err(PeerError::AfterHandshake { found: "refusal" }));
}

#[test]
fn a_server_that_breaks_the_exchange_is_named() {
    let mut body = Vec::new();
    let all = AUTHENTICATION;
    Hello { features: all, required: all, ..Hello::new() }.encode(&mut body);
    let heard = |frames: &[Vec<u8>]| {
        let mut a = End::new(&Config::default(), Role::Dialing);
        a.challenges = Some(Vec::new());
        a.input(T0, &[frame(Kind::Hello, &body), frames.concat()].concat()).unwrap_err()
    };
    let unauthenticated = |expected, found| PeerError::Unauthenticated { expected, found };
    let challenge = || frame(Kind::Challenge, b"1");
    let accepted = || frame(Kind::Accepted, &u32::MAX.to_be_bytes());
    assert_eq!(heard(&[cast(b"x")]), unauthenticated("challenge", "message"));
    assert_eq!(heard(&[challenge(), challenge()]), unauthenticated("acceptance", "challenge"));
    let too_early = unauthenticated("the credentials to be waited for", "acceptance");
    assert_eq!(heard(&[challenge(), accepted()]), too_early);
    let short = FrameError::TooShort { field: "length", value: 7, limit: 8 };
    assert_eq!(heard(&[challenge(), frame(Kind::Refused, &[0; 7])]), short.into());
}

/// The output and the deliveries of an accepting end if the peer's bytes arrive in these pieces.
fn in_pieces(bytes: &[u8], mut cuts: Vec<usize>, lets_in: bool) -> (Vec<String>, Vec<u8>) {
    let mut end = asking(&Config::default(), b"1");
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let (mut at, mut said, mut out) = (0, Vec::new(), end.output(T0));
    for cut in cuts {
        match end.input(T0, &bytes[at..cut]) {
            Ok(()) => {}
            Err(error) => {
                said.push(alloc::format!("{error:?}"));
                break;
            }
        }
        at = cut;
        for shown in core::mem::take(&mut end.shown) {
            said.push(alloc::format!("{:?}", shown.credentials().as_bytes()));
            if lets_in {
                decide(&mut end, Ok(bob()));
            }
        }
        out.extend(end.output(T0));
    }
    said.push(alloc::format!("{:?}", end.events));
    (said, out)
}

proptest! {
    /// However the bytes are split: the same events, answers and errors.
    #[test]
    fn any_split_of_an_exchange_is_the_same(
        token in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(0_usize..140, 0..6),
    ) {
        let bytes = [hello(), frame(Kind::Credentials, &token)].concat();
        let cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        prop_assert_eq!(in_pieces(&bytes, cuts, true), in_pieces(&bytes, vec![], true));
    }

    /// Whatever an unauthenticated peer sends, it is refused or waited for, and nothing is delivered.
    #[test]
    fn nothing_of_a_stranger_is_handed_over(
        rest in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..30),
                Just(frame(Kind::Credentials, b"x")),
                Just(cast(b"x")),
                Just(frame(Kind::Ping, b"")),
                Just(frame(Kind::Accepted, &[0; 4])),
            ],
            0..4,
        ),
        cuts in prop::collection::vec(0_usize..200, 0..6),
    ) {
        let bytes = [vec![hello()], rest].concat().concat();
        let cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        let (said, _) = in_pieces(&bytes, cuts, false);
        prop_assert_eq!(said.last().map(String::as_str), Some("[]"));
    }
}
