//! Greetings that were read before their link got the connection.

use super::*;
use crate::auth::{Credentials, Identity, RefusalCode};
use crate::error::FrameError;
use crate::frame::native::{Hello, Resume, SESSION};
use crate::frame::{Framing, Kind, Meta};
use crate::link::tests::resume::{ID, TOKEN};

const NOW: Instant = Instant::ZERO;
const HELD: SessionIdentity = SessionIdentity { id: ID, token: TOKEN };

fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Native::new().encode(&mut out, &Meta::new(kind, 0), &[], body).unwrap();
    out
}

/// A hello that offers these features.
fn hello(features: u64) -> Vec<u8> {
    let (mut said, mut body) = (Hello::new(), Vec::new());
    said.features = features;
    said.encode(&mut body);
    frame(Kind::Hello, &body)
}

fn resume(resume: &Resume) -> Vec<u8> {
    frame(Kind::Resume, &resume.to_bytes())
}

fn put(buf: &mut RecvBuf, bytes: &[u8]) {
    buf.spare()[..bytes.len()].copy_from_slice(bytes);
    buf.filled(bytes.len());
}

/// Reads the greeting of `bytes`, all at once.
fn read(bytes: &[u8]) -> (bool, Greeting<Native>, RecvBuf) {
    let (mut greeting, mut buf) = (Greeting::new(Native::new()), RecvBuf::new());
    put(&mut buf, bytes);
    (greeting.read(&mut buf), greeting, buf)
}

/// Gives `end` a new connection whose greeting, and what came with it, was read before.
fn takes_up(end: &mut End<Native>, greeting: Greeting<Native>, buf: RecvBuf) -> Result<(), PeerError> {
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(NOW, epoch);
    (end.buf, end.events, end.shown) = (buf, Vec::new(), Vec::new());
    end.link.greeted(NOW, greeting);
    end.pass(NOW, 0)
}

/// An accepting end with a session on offer.
fn accepting() -> End<Native> {
    let config = Config::builder().delivery(Delivery::Session).build().unwrap();
    let mut end = End::new(&config, Role::Accepting);
    end.link = Link::new(config, Role::Accepting);
    end.link.offer_session(HELD);
    end
}

#[test]
fn a_greeting_in_pieces_is_read_once_and_its_reader_continues_behind_it() {
    let greeting = [hello(SESSION), resume(&Resume::new(0, [0; 16], 0))].concat();
    let said = [greeting.clone(), frame(Kind::Cast, b"first")].concat();
    // The end that reads everything itself.
    let mut other = accepting();
    other.reader = other.link.handle_connected(NOW, Epoch::FIRST);
    other.input(NOW, &said).unwrap();
    for first in 0..=said.len() {
        let mut end = accepting();
        let (mut greeted, mut buf) = (Greeting::new(Native::new()), RecvBuf::new());
        put(&mut buf, &said[..first]);
        let whole = greeted.read(&mut buf);
        assert_eq!(whole, first >= greeting.len(), "{first}");
        put(&mut buf, &said[first..]);
        assert!(greeted.read(&mut buf) && greeted.session().is_none());
        assert_eq!(buf.unread(), &said[greeting.len()..], "the rest is the link's");
        takes_up(&mut end, greeted, buf).unwrap();
        assert_eq!(end.events, [(false, 0, b"first".to_vec())]);
        assert_eq!((&end.events, end.link.session()), (&other.events, other.link.session()));
        assert_eq!((end.link.state(), end.link.session()), (State::Ready, Some(HELD)));
    }
}

#[test]
fn nothing_is_read_ahead_for_what_is_no_greeting() {
    let said = hello(SESSION);
    assert!(!read(&said[..20]).0);
    assert!(!read(&said).0, "a resume has to follow");
    let (whole, greeting, buf) = read(&hello(0));
    assert!(whole && greeting.session().is_none() && buf.unread().is_empty(), "no session is offered");
    // A cast of eight megabytes instead of the resume.
    let long = [&said[..], &[5, 1, 0, 0, 0, 0x80, 0, 4, 0, 0, 0, 0]].concat();
    let expected = PeerError::ExpectedResume { found: "message" };
    for (said, expected) in [
        (&b"GET / HTTP/1.1"[..], None),
        (&frame(Kind::Cast, b"x"), None),
        (&long, None),
        (&[said, frame(Kind::Cast, b"x")].concat(), Some(expected)),
    ] {
        // The link refuses it, with the error of a reader that read everything itself.
        let mut other = accepting();
        other.reader = other.link.handle_connected(NOW, Epoch::FIRST);
        let (heard, (whole, greeting, buf)) = (other.input(NOW, said), read(said));
        assert!(whole && greeting.session().is_none());
        let taken = takes_up(&mut accepting(), greeting, buf);
        assert_eq!(taken, heard);
        assert!(expected.is_none_or(|expected| taken == Err(expected)));
    }
    let mut ends = accepting();
    let (_, greeting, buf) = read(b"GET / HTTP/1.1");
    let taken = takes_up(&mut ends, greeting, buf);
    assert!(matches!(taken, Err(PeerError::Frame(FrameError::OtherProtocol { .. }))), "{taken:?}");
}

/// The greeting of the peer whose session `end` has, on its next connection.
fn its_greeting(end: &mut End<Native>) -> (Greeting<Native>, RecvBuf) {
    end.link.handle_disconnected(NOW, None, Disconnect::PeerClosed);
    assert!(end.link.is_detached());
    let (whole, greeting, buf) = read(&[hello(SESSION), resume(&Resume::new(ID, TOKEN, 0))].concat());
    assert!(whole);
    assert_eq!(greeting.session(), Some(ID));
    (greeting, buf)
}

/// A server checks the token of a greeting before it gives the greeting to a link: the link does not check it again.
#[test]
fn a_token_that_was_not_checked_proves_nothing() {
    let mut end = in_session().b;
    let (greeting, buf) = its_greeting(&mut end);
    let stranger = Err(PeerError::Resume { field: "session", value: ID, limit: 0 });
    assert_eq!(takes_up(&mut end, greeting, buf), stranger);
    // Nor does a check that another session passed, or that failed.
    for other in [SessionIdentity { id: ID + 1, ..HELD }, SessionIdentity { token: [0; 16], ..HELD }] {
        let (mut greeting, buf) = its_greeting(&mut end);
        assert!(!greeting.is_for(&other));
        assert_eq!(takes_up(&mut end, greeting, buf), stranger);
    }
    let (mut greeting, buf) = its_greeting(&mut end);
    assert!(greeting.is_for(&HELD));
    takes_up(&mut end, greeting, buf).unwrap();
    assert_eq!((end.link.state(), end.link.session()), (State::Ready, Some(HELD)));
}

#[test]
fn a_greeting_that_no_reader_asked_for_is_not_taken_for_that_of_the_next_connection() {
    let mut end = in_session().b;
    let (mut greeting, _) = its_greeting(&mut end);
    assert!(greeting.is_for(&HELD));
    let epoch = end.link.epoch().next();
    let _reader = end.link.handle_connected(NOW, epoch);
    end.link.greeted(NOW, greeting);
    // The connection ends before its first pass.
    end.link.handle_disconnected(NOW, None, Disconnect::PeerClosed);
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(NOW, epoch);
    end.buf = RecvBuf::new();
    end.pass(NOW, 0).unwrap();
    assert_eq!(end.link.state(), State::Handshaking);
    // One that comes without a connection is dropped.
    let (mut greeting, _) = its_greeting(&mut end);
    assert!(greeting.is_for(&HELD));
    end.link.greeted(NOW, greeting);
    assert!(end.link.is_detached());
}

/// The peer authenticates: its resume was checked before, and is processed when it is let in.
#[test]
fn a_checked_resume_waits_for_the_decision_about_its_peer() {
    let client = Config::builder().delivery(Delivery::Session);
    let client = client.credentials(|_: &Challenge| Ok(Credentials::none())).build().unwrap();
    let mut pair = Pair { a: End::new(&client, Role::Dialing), b: accepting() };
    for (name, expected) in [("bob", State::Ready), ("eve", State::Handshaking), ("bob", State::Ready)] {
        let Pair { a, b } = &mut pair;
        b.link.challenge(b"challenge");
        if a.link.session().is_some() {
            let epoch = a.link.epoch().next();
            a.reader = a.link.handle_connected(NOW, epoch);
            a.buf = RecvBuf::new();
        }
        a.pass(NOW, 0).unwrap();
        let (whole, mut greeting, buf) = read(&a.output(NOW));
        assert!(whole);
        assert_eq!(greeting.is_for(&HELD), a.link.session().is_some());
        takes_up(b, greeting, buf).unwrap();
        pair.run(NOW);
        assert_eq!(pair.b.shown.len(), 1);
        assert_eq!(pair.b.shown[0].challenge().session(), pair.a.link.session().map_or(0, |held| held.id));
        let epoch = pair.b.link.epoch();
        pair.b.link.decide(NOW, epoch, Ok(Identity::new(name).into()));
        if pair.b.link.wants_pass() {
            pair.b.pass(NOW, 0).unwrap();
        }
        if name == "bob" {
            pair.run(NOW);
        }
        assert_eq!((pair.b.link.state(), pair.b.link.session()), (expected, Some(HELD)), "{name}");
        let cause = match name {
            "bob" => Disconnect::PeerClosed,
            _ => Disconnect::Denied(RefusalCode::OTHER_IDENTITY.into()),
        };
        pair.b.link.handle_disconnected(NOW, None, cause);
        pair.a.link.handle_disconnected(NOW, None, Disconnect::PeerClosed);
        assert!(pair.a.link.is_detached() && pair.b.link.is_detached(), "{name}");
    }
}
