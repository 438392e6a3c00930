//! Casts whose outcome a caller waits for, with a time limit.

use super::*;
use crate::config::Delivery;
use crate::error::{LinkWas, Undeliverable};
use crate::frame::Class;

const LIMIT: Duration = Duration::from_millis(50);

fn cast_watched<F: Framing>(end: &mut End<F>, token: u32) -> u64 {
    let queued = end.link.cast(Instant::ZERO, &CastOptions::new(7), b"body".as_slice().into()).unwrap();
    end.link.watch_outcome_for(Instant::ZERO, LIMIT, Class::Normal, queued.number, token);
    queued.number
}

fn end_of<F: Framing>(end: &mut End<F>, number: u64) -> Option<Result<Outcome, Undelivered>> {
    end.link.poll_outcome(number, || 0)
}

#[test]
fn a_cast_with_nobody_there_comes_back() {
    let mut link: Link<Native, u32> = Link::new(Config::default(), Role::Dialing);
    let number = link.cast(Instant::ZERO, &CastOptions::new(7), b"body".as_slice().into()).unwrap().number;
    link.watch_outcome_for(Instant::ZERO, LIMIT, Class::Normal, number, 5);
    assert_eq!(link.poll_timeout().unwrap().0, Instant::ZERO + LIMIT);
    link.handle_timeout(Instant::ZERO + LIMIT);
    let mut tokens = Vec::new();
    link.take_tokens(&mut tokens);
    assert_eq!(tokens, [5]);
    let undelivered = link.poll_outcome(number, || 0).unwrap().unwrap_err();
    assert_eq!((undelivered.method, &undelivered.body[..]), (7, &b"body"[..]));
    let reason = Undeliverable::Expired(LinkWas::NotConnected { attempts: 0, last: None });
    assert_eq!((undelivered.outcome, undelivered.reason), (Outcome::Expired, reason));
    assert_eq!((link.write_queue().0, link.counters().casts_expired), (0, 1));
}

#[test]
fn a_cast_that_is_being_written_is_told_once() {
    let mut pair = native();
    let number = cast_watched(&mut pair.a, 5);
    let batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    pair.a.link.handle_timeout(Instant::ZERO + LIMIT);
    assert_eq!(pair.a.tokens(), [5]);
    let told = end_of(&mut pair.a, number).unwrap().unwrap_err();
    // The writer has the message: the body is returned to its caller.
    assert_eq!((told.outcome, told.number, told.class), (Outcome::MaybeDelivered, number, Class::Normal));
    let given = CastOptions::new(7).class(Class::Normal);
    let whole = told.with_given(&given, Body::copy_from(b"body"));
    assert_eq!((whole.number, whole.method, &whole.body[..]), (number, 7, &b"body"[..]));
    // It was not written, goes back into the queue, and is handed back to no caller from there.
    pair.a.link.handle_disconnected(Instant::ZERO + LIMIT, Some(batch), Disconnect::PeerClosed);
    pair.a.link.abort(Instant::ZERO + LIMIT, Disconnect::LocalClose);
    assert!(pair.a.link.poll_errored(&mut None, || 0).is_none());
    assert!(pair.a.link.take_undelivered().is_empty());
    assert_eq!(end_of(&mut pair.a, number), None);
}

#[test]
fn an_end_before_anybody_was_told_is_the_end() {
    let mut pair = native();
    let number = cast_watched(&mut pair.a, 5);
    let mut batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    pair.a.link.handle_timeout(Instant::ZERO + LIMIT);
    let mut slices = [&[][..]; 4];
    let filled = batch.slices(&mut slices);
    let bytes = slices[..filled].concat().len();
    batch.wrote(bytes);
    let _more = pair.a.link.end_write(Instant::ZERO + LIMIT, batch);
    assert_eq!(end_of(&mut pair.a, number), Some(Ok(Outcome::Written)));
}

#[test]
fn a_session_that_goes_on_says_no_second_outcome() {
    let config = Config::builder().delivery(Delivery::Session).build().unwrap();
    let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
    b.link = Link::new(config, Role::Accepting);
    b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    let mut pair = Pair { a, b };
    pair.run(Instant::ZERO);
    let number = cast_watched(&mut pair.a, 5);
    let _lost = pair.a.output(Instant::ZERO);
    pair.a.link.handle_timeout(Instant::ZERO + LIMIT);
    assert_eq!(end_of(&mut pair.a, number).unwrap().unwrap_err().outcome, Outcome::MaybeDelivered);
    // The session is lost, and with it the message: that was reported.
    pair.a.link.handle_disconnected(Instant::ZERO + LIMIT, None, Disconnect::PeerClosed);
    pair.a.link.abort(Instant::ZERO + LIMIT, Disconnect::LocalClose);
    assert!(pair.a.link.take_undelivered().is_empty());
    assert_eq!(end_of(&mut pair.a, number), None);
}
