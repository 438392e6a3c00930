//! Sessions of peers that authenticate: a session belongs to the identity that it began with.

use super::*;
use crate::config::Delivery;

const ID: u64 = 5;
const TOKEN: [u8; 16] = [7; 16];

fn session() -> Config<Native> {
    Config::builder()
        .delivery(Delivery::Session)
        .credentials(|challenge: &Challenge| {
            Credentials::new([challenge.bytes(), &challenge.session().to_be_bytes()].concat())
        })
        .build()
        .unwrap()
}

/// A session of bob's whose connection ended.
fn detached() -> Pair<Native> {
    let mut pair = Pair { a: End::new(&session(), Role::Dialing), b: asking(&session(), b"1") };
    let mut link = Link::new(session(), Role::Accepting);
    link.offer_session(SessionIdentity { id: ID, token: TOKEN });
    pair.b.link = link;
    again(&mut pair.b, b"first");
    pair.run(T0);
    assert_eq!(pair.b.shown[0].challenge().session(), 0);
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
    let _ = pair.a.link.cast(T0, &CastOptions::new(1), b"lost on the way".into()).unwrap();
    pair.a.output(T0);
    for end in [&mut pair.a, &mut pair.b] {
        end.link.handle_disconnected(T0, None, Disconnect::PeerClosed);
        assert!(end.link.is_detached());
    }
    let epoch = pair.a.link.epoch().next();
    pair.a.reader = pair.a.link.handle_connected(T0, epoch);
    pair.a.buf = RecvBuf::new();
    again(&mut pair.b, b"second");
    pair.run(T0);
    let shown = &pair.b.shown[0];
    assert_eq!((shown.challenge().bytes(), shown.challenge().session()), (&b"second"[..], ID));
    assert_eq!(shown.credentials().as_bytes(), [&b"second"[..], &ID.to_be_bytes()].concat());
    pair
}

#[test]
fn a_session_goes_on_with_its_identity() {
    let mut pair = detached();
    decide(&mut pair.b, Ok(Identity::new("bob").with("role", "reader").into()));
    pair.run(T0);
    assert_eq!(pair.b.events, [(false, 0, b"lost on the way".to_vec())]);
    assert_eq!(pair.b.link.identity().and_then(|bob| bob.attribute("role")), Some("reader"));
    assert_eq!(pair.a.link.session(), pair.b.link.session());
}

#[test]
fn another_identity_cannot_have_a_session_and_it_waits_for_its_own() {
    let mut pair = detached();
    decide(&mut pair.b, Ok(Identity::new("eve").into()));
    let out = pair.b.output(T0);
    assert_eq!(kinds_behind_hello(&out), [Kind::Refused]);
    let cause = ends(&mut pair.b, T0).unwrap();
    assert_eq!(cause, Disconnect::Denied(RefusalCode::OTHER_IDENTITY.into()));
    pair.b.link.handle_disconnected(T0, None, cause);
    assert!(pair.b.link.is_detached(), "it is still bob's");
    assert_eq!(pair.b.link.identity().map(Identity::name), Some("bob"));
    // A peer with another identity starts from the beginning.
    pair.a.input(T0, &out).unwrap();
    let cause = ends(&mut pair.a, T0).unwrap();
    assert!(cause.is_retryable());
    pair.a.link.handle_disconnected(T0, None, cause);
    assert_eq!(pair.a.link.session(), None);
}

/// The kinds of the frames after the hello.
fn kinds_behind_hello(bytes: &[u8]) -> Vec<Kind> {
    kinds(&[hello(), bytes.to_vec()].concat()).split_off(1)
}

#[test]
fn a_refused_peer_does_not_end_a_session_and_a_withdrawn_one_does() {
    let mut pair = detached();
    decide(&mut pair.b, Err(RefusalCode::WRONG.into()));
    pair.b.output(T0);
    pair.b.link.handle_disconnected(T0, None, Disconnect::Denied(RefusalCode::WRONG.into()));
    assert!(pair.b.link.is_detached());
    pair.b.link.withdraw(T0, RefusalCode::WITHDRAWN.into());
    assert_eq!((pair.b.link.state(), pair.b.link.session()), (State::Closed, None));

    let mut pair = detached();
    decide(&mut pair.b, Ok(bob()));
    pair.run(T0);
    pair.b.link.withdraw(T0, RefusalCode::WITHDRAWN.into());
    pair.b.output(T0);
    pair.b.link.handle_disconnected(T0, None, Disconnect::Denied(RefusalCode::WITHDRAWN.into()));
    assert_eq!((pair.b.link.state(), pair.b.link.session()), (State::Closed, None));
}
