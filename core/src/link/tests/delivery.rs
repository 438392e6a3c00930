//! Outcomes of casts, repeated casts, repeated calls.

use super::*;
use crate::arena::Batch;
use crate::config::{Delivery, OnDisconnect};
use crate::error::{Disconnect, Failure, LinkWas, Undeliverable};
use crate::frame::buffstreams::Buffstreams;

const FRAME: usize = 11;

/// A link over buffstreams with four casts of 8 bytes (11 on the wire) queued, and connected.
fn casting(config: ConfigOf) -> End<Buffstreams> {
    let mut end = End::new(&config(Config::with_framing(Buffstreams::new())), Role::Dialing);
    end.pass(Instant::ZERO, 0).unwrap();
    for i in 0..4_u8 {
        cast(&mut end, i);
    }
    end
}

type ConfigOf = fn(crate::config::ConfigBuilder<Buffstreams>) -> Config<Buffstreams>;

fn cast<F: Framing>(end: &mut End<F>, i: u8) -> u64 {
    end.link.cast(Instant::ZERO, &CastOptions::new(0), (&[i; 8]).into()).unwrap().number
}

/// Takes a batch; the socket accepts that many bytes of it and then fails.
fn break_after(end: &mut End<Buffstreams>, bytes: usize) {
    let mut batch: Batch = end.link.begin_write(Instant::ZERO).unwrap();
    batch.wrote(bytes);
    end.link.handle_disconnected(Instant::ZERO, Some(batch), Disconnect::PeerClosed);
}

fn reconnect<F: Framing>(end: &mut End<F>) {
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(Instant::ZERO, epoch);
    end.buf = RecvBuf::new();
    end.pass(Instant::ZERO, 0).unwrap();
}

fn bodies(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.len() % FRAME, 0, "whole frames");
    bytes.chunks(FRAME).map(|frame| frame[FRAME - 1]).collect()
}

fn events<F: Framing>(end: &mut End<F>) -> Vec<LinkEvent> {
    core::iter::from_fn(|| end.link.poll_event(&mut None, || 0)).collect()
}

fn errored<F: Framing>(end: &mut End<F>) -> Vec<Undelivered> {
    core::iter::from_fn(|| end.link.poll_errored(&mut None, || 0)).collect()
}

#[test]
fn what_left_is_never_repeated_and_its_outcome_is_known() {
    let mut end = casting(|config| config.build().unwrap());
    for number in 1..=4 {
        end.link.watch_outcome(number, number as u32);
    }
    break_after(&mut end, 2 * FRAME + 3);
    assert_eq!(end.tokens(), [1, 2]);
    assert_eq!(end.link.poll_outcome(1, || 0), Some(Ok(Outcome::Written)));
    assert_eq!(end.link.poll_outcome(3, || 3), None);
    reconnect(&mut end);
    assert_eq!(bodies(&end.output(Instant::ZERO)), [2, 3]);
    assert_eq!(end.link.poll_outcome(3, || 0), Some(Ok(Outcome::Written)));
    assert_eq!(end.link.poll_outcome(4, || 0), Some(Ok(Outcome::Written)));
    assert_eq!(end.link.poll_outcome(4, || 0), None, "an outcome is told once");
}

#[test]
fn what_never_left_is_returned_or_dropped_if_so_configured() {
    let mut end = casting(|config| config.on_disconnect(OnDisconnect::Return).build().unwrap());
    end.link.watch_outcome(4, 9);
    break_after(&mut end, 2 * FRAME);
    let back = errored(&mut end);
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].number, &back[0].body[..], back[0].outcome), (3, &[2; 8][..], Outcome::NeverSent));
    assert_eq!(back[0].reason, Undeliverable::Disconnected(Disconnect::PeerClosed));
    let waited = end.link.poll_outcome(4, || 0).unwrap().unwrap_err();
    assert_eq!(&waited.body[..], [3; 8], "whoever waits gets it, and nobody else");
    let failed = events(&mut end).into_iter().filter(|e| matches!(e, LinkEvent::MessageFailed { .. }));
    assert_eq!(failed.count(), 1);
    reconnect(&mut end);
    assert!(end.output(Instant::ZERO).is_empty());

    let mut end = casting(|config| config.on_disconnect(OnDisconnect::Drop).build().unwrap());
    break_after(&mut end, FRAME);
    assert!(errored(&mut end).is_empty());
    assert_eq!((end.link.counters().casts_dropped, end.link.counters().casts_failed), (3, 3));
    let failed = events(&mut end)
        .into_iter()
        .filter(|event| matches!(event, LinkEvent::MessageFailed { outcome: Outcome::Dropped, .. }));
    assert_eq!(failed.count(), 3);
}

#[test]
fn casts_that_wait_too_long_expire() {
    let config = Config::builder().expire_after(MS * 50).build().unwrap();
    let mut link: Link<Native, u32> = Link::new(config, Role::Dialing);
    let old = link.cast(Instant::ZERO, &CastOptions::new(7), b"old".as_slice().into()).unwrap().number;
    let later = Instant::ZERO + MS * 30;
    let _young = link.cast(later, &CastOptions::new(7), b"young".as_slice().into()).unwrap();
    assert_eq!(link.poll_timeout().unwrap().0, Instant::ZERO + MS * 50);
    link.handle_timeout(Instant::ZERO + MS * 50);
    let expired = link.poll_errored(&mut None, || 0).unwrap();
    assert_eq!((expired.number, expired.method, &expired.body[..]), (old, 7, &b"old"[..]));
    let reason = Undeliverable::Expired(LinkWas::NotConnected { attempts: 0, last: None });
    assert_eq!((expired.outcome, expired.reason), (Outcome::Expired, reason));
    assert!(link.poll_errored(&mut None, || 0).is_none());
    assert_eq!((link.write_queue().0, link.counters().casts_expired), (1, 1));
}

#[test]
fn a_cast_that_left_does_not_expire() {
    let config = |b: crate::config::ConfigBuilder<Buffstreams>| b.expire_after(MS * 50).build().unwrap();
    let mut end = casting(config);
    assert_eq!(end.output(Instant::ZERO).len(), 4 * FRAME);
    end.link.handle_timeout(Instant::ZERO + MS * 60);
    assert!(errored(&mut end).is_empty());
    assert_eq!(end.link.counters().casts_expired, 0);
}

#[test]
fn the_batch_whose_write_failed_is_sent_again_up_to_the_limit() {
    let config = |b: crate::config::ConfigBuilder<Buffstreams>| {
        b.delivery(Delivery::AtLeastOnce { retry_limit: 2 }).build().unwrap()
    };
    let mut end = casting(config);
    for _ in 0..2 {
        break_after(&mut end, 2 * FRAME + 3);
        assert!(errored(&mut end).is_empty());
        reconnect(&mut end);
    }
    assert_eq!(end.link.counters().casts_resent, 8);
    // Another one is added later: it has been tried less often.
    cast(&mut end, 4);
    break_after(&mut end, 5);
    let over = errored(&mut end);
    assert_eq!(
        over.iter().map(|u| (u.number, u.attempts)).collect::<Vec<_>>(),
        [(1, 3), (2, 3), (3, 3), (4, 3)]
    );
    assert!(over.iter().all(|u| u.outcome == Outcome::MaybeDelivered));
    assert!(matches!(over[0].reason, Undeliverable::RetriesExhausted { attempts: 3, .. }));
    reconnect(&mut end);
    assert_eq!(bodies(&end.output(Instant::ZERO)), [4], "it was in that batch, and has attempts left");
}

#[test]
fn a_cast_that_was_written_begins_anew() {
    let config = |b: crate::config::ConfigBuilder<Buffstreams>| {
        b.delivery(Delivery::AtLeastOnce { retry_limit: 1 }).build().unwrap()
    };
    let mut end = casting(config);
    for round in 0..20 {
        break_after(&mut end, FRAME);
        reconnect(&mut end);
        assert_eq!(bodies(&end.output(Instant::ZERO)).len(), 4, "round {round}");
        for i in 0..4 {
            cast(&mut end, i);
        }
    }
    assert!(errored(&mut end).is_empty());
}

#[test]
fn the_errored_queue_is_bounded_and_holds_nothing_up() {
    let limit = QueueLimit { messages: 3, bytes: 1 << 20 };
    let config = Config::builder().errored_queue(limit).expire_after(MS).build().unwrap();
    let mut link: Link<Native, u32> = Link::new(config, Role::Dialing);
    for i in 0..10_u8 {
        let _ = link.cast(Instant::ZERO, &CastOptions::new(1), (&[i]).into()).unwrap();
    }
    link.handle_timeout(Instant::ZERO + MS);
    assert_eq!(link.counters().errored_dropped, 7);
    let kept: Vec<u8> = core::iter::from_fn(|| link.poll_errored(&mut None, || 0))
        .map(|undelivered| undelivered.body[0])
        .collect();
    assert_eq!(kept, [7, 8, 9]);
}

#[test]
fn an_event_tells_of_success_if_asked_to() {
    let mut end = casting(|config| config.build().unwrap());
    let options = CastOptions::new(0).notify(true);
    let number = end.link.cast(Instant::ZERO, &options, b"told".as_slice().into()).unwrap().number;
    events(&mut end);
    end.output(Instant::ZERO);
    assert_eq!(events(&mut end), [LinkEvent::MessageEnded { number, outcome: Outcome::Written }]);
}

#[test]
fn a_closed_link_gives_watched_casts_back() {
    let mut link: Link<Native, u32> = Link::new(Config::default(), Role::Dialing);
    let watched = link.cast(Instant::ZERO, &CastOptions::new(1), b"a".as_slice().into()).unwrap().number;
    let _other = link.cast(Instant::ZERO, &CastOptions::new(1), b"b".as_slice().into()).unwrap();
    link.watch_outcome(watched, 1);
    link.give_up(Instant::ZERO, Disconnect::PeerClosed);
    let back = link.poll_outcome(watched, || 0).unwrap().unwrap_err();
    assert_eq!((&back.body[..], back.outcome), (&b"a"[..], Outcome::NeverSent));
    assert_eq!(link.take_undelivered().len(), 1, "the other one");
}

fn idempotent() -> CallOptions {
    CallOptions::new(1).timeout(MS * 10_000).idempotent(true)
}

/// A client whose requests come out as they are written.
fn calling() -> Pair<Native> {
    let mut pair = native();
    pair.b.answer = false;
    pair
}

/// Both sides start again; the server's state is lost.
fn again(pair: &mut Pair<Native>) {
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    reconnect(&mut pair.a);
    pair.b = End::new(&Config::default(), Role::Accepting);
    pair.b.answer = false;
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
}

#[test]
fn an_idempotent_call_is_made_again_and_another_is_not() {
    let mut pair = calling();
    let first = pair.a.link.call(Instant::ZERO, &idempotent(), b"again".as_slice().into(), 1).unwrap();
    let plain = CallOptions::new(1).timeout(MS * 10_000);
    let second = pair.a.link.call(Instant::ZERO, &plain, b"once".as_slice().into(), 2).unwrap();
    let third = pair.a.link.call(Instant::ZERO, &idempotent(), b"too".as_slice().into(), 3).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.events.len(), 3);
    again(&mut pair);
    assert_eq!(pair.b.events.iter().map(|e| &e.2[..]).collect::<Vec<_>>(), [&b"again"[..], b"too"]);
    assert!(matches!(pair.a.link.poll_reply(second, || 0), Some(Err(CallError::MaybeDelivered(_)))));
    for id in [first, third] {
        pair.b.reader.answer(id.get(), b"done".into()).unwrap();
    }
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(&pair.a.link.poll_reply(first, || 0).unwrap().unwrap()[..], b"done");
    assert_eq!(&pair.a.link.poll_reply(third, || 0).unwrap().unwrap()[..], b"done");
    assert_eq!(pair.a.link.counters().retries, 2);
}

#[test]
fn retries_end_at_the_limit_and_at_the_deadline() {
    let mut pair = Pair::new(&Config::builder().retry_limit(2).build().unwrap());
    let limited = pair.a.link.call(Instant::ZERO, &idempotent(), b"x".as_slice().into(), 1).unwrap();
    pair.b.answer = false;
    pair.run(Instant::ZERO);
    for _ in 0..2 {
        again(&mut pair);
        assert_eq!(pair.a.link.poll_reply(limited, || 1), None);
    }
    again(&mut pair);
    let error = pair.a.link.poll_reply(limited, || 1).unwrap().unwrap_err();
    assert!(matches!(error, CallError::MaybeDelivered(_)), "{error:?}");
    let short = idempotent().timeout(MS * 5);
    let expiring = pair.a.link.call(Instant::ZERO, &short, b"y".as_slice().into(), 2).unwrap();
    pair.run(Instant::ZERO);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    pair.a.link.handle_timeout(Instant::ZERO + MS * 5);
    let error = pair.a.link.poll_reply(expiring, || 0).unwrap().unwrap_err();
    let link = LinkWas::NotConnected { attempts: 0, last: None };
    let outcome = Outcome::MaybeDelivered;
    assert_eq!(error, CallError::DeadlineExceeded { outcome, link }, "it had left once");
}

#[test]
fn the_budget_stops_a_storm() {
    let mut pair = calling();
    let calls: Vec<CallId> =
        (0..50).map(|i| pair.a.link.call(Instant::ZERO, &idempotent(), (&[i]).into(), 1).unwrap()).collect();
    pair.run(Instant::ZERO);
    again(&mut pair);
    assert_eq!(pair.b.events.len(), 5, "ten tokens, and none at half or less");
    let over = calls.iter().filter(|id| pair.a.link.poll_reply(**id, || 0).is_some()).count();
    assert_eq!(over, 45);
}

#[test]
fn a_peer_may_push_back() {
    let mut pair = calling();
    let id = pair.a.link.call(Instant::ZERO, &idempotent(), b"x".as_slice().into(), 1).unwrap();
    pair.run(Instant::ZERO);
    let busy = Failure::new(Status::BUSY, "").retry_after(MS * 300);
    pair.b.reader.fail(id.get(), &busy).unwrap();
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.link.poll_reply(id, || 1), None);
    assert_eq!(pair.a.link.write_queue().0, 0);
    let at = Instant::ZERO + MS * 300;
    assert!(pair.a.link.poll_timeout().unwrap().0 <= at);
    pair.a.link.handle_timeout(at);
    pair.run(at);
    assert_eq!(pair.b.events.len(), 2);
    // A refusal that is not to be waited out ends the call.
    pair.b.reader.fail(id.get(), &Failure::new(Status::FAILED, "no")).unwrap();
    pair.b.pass(at, 0).unwrap();
    pair.run(at);
    let error = pair.a.link.poll_reply(id, || 0).unwrap().unwrap_err();
    assert!(matches!(error, CallError::Failed(Failure { status: Status::FAILED, .. })), "{error:?}");
}

#[test]
fn a_call_given_up_while_it_waits_is_forgotten() {
    let mut pair = calling();
    let id = pair.a.link.call(Instant::ZERO, &idempotent(), b"x".as_slice().into(), 1).unwrap();
    pair.run(Instant::ZERO);
    pair.b.reader.fail(id.get(), &Failure::new(Status::BUSY, "")).unwrap();
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    pair.a.link.cancel_call(id);
    let later = Instant::ZERO + MS * 5_000;
    pair.a.link.handle_timeout(later);
    pair.run(later);
    assert_eq!((pair.b.events.len(), pair.b.link.counters().cancels), (1, 0));
    assert_eq!(pair.a.link.in_flight(), 0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |result: Result<_, crate::error::ConfigError>| {
        matches!(result, Err(crate::error::ConfigError::Conflict { .. }))
    };
    assert!(refused(Config::builder().delivery(Delivery::at_least_once()).build().map(|_| ())));
    let foreign = || Config::with_framing(Buffstreams::new());
    assert!(refused(foreign().resend_window(100).build().map(|_| ())));
    assert!(refused(foreign().errored_overflow(Overflow::Block).build().map(|_| ())));
    let both = foreign().delivery(Delivery::at_least_once()).on_disconnect(OnDisconnect::Drop);
    assert!(refused(both.build().map(|_| ())));
    assert!(foreign().delivery(Delivery::at_least_once()).resend_window(100).build().is_ok());
}

use crate::config::Overflow;

#[test]
fn a_full_queue_may_end_the_connection() {
    let limit = QueueLimit { messages: 2, bytes: 1 << 20 };
    let config = |b: crate::config::ConfigBuilder<Buffstreams>| {
        b.write_queue(QueueLimit { messages: 4, bytes: 1 << 20 })
            .write_overflow(Overflow::Disconnect)
            .build()
            .unwrap()
    };
    let mut end = casting(config);
    let refused = end.link.cast(Instant::ZERO, &CastOptions::new(0), b"x".as_slice().into());
    assert!(matches!(refused.unwrap_err().reason(), CastRefusal::Full(_)));
    assert_eq!(
        end.link.poll_ending(Instant::ZERO),
        Some(Ending::Abort(Disconnect::Overflow { queue: "write" }))
    );

    let config = Config::builder().read_queue(limit).read_overflow(Overflow::Disconnect).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.queue = true;
    for i in 0..3 {
        cast(&mut pair.a, i);
    }
    let out = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &out).unwrap();
    let ending = pair.b.link.poll_ending(Instant::ZERO);
    assert_eq!(ending, Some(Ending::Abort(Disconnect::Overflow { queue: "read" })));
}

#[test]
fn a_connection_of_yesterday_does_not_end_the_session() {
    let config = Config::builder().delivery(Delivery::Session).build().unwrap();
    let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
    b.link = Link::new(config, Role::Accepting);
    b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    let mut pair = Pair { a, b };
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.link.session(), pair.a.link.session());
    cast(&mut pair.b, 1);
    pair.run(Instant::ZERO);
    let later = Instant::ZERO + MS * 30;
    pair.a.link.handle_timeout(later);
    pair.run(later);
    assert_eq!(pair.b.link.unacknowledged(), 0);
    let yesterday = |pair: &mut Pair<Native>, received: u64| {
        pair.b.link.handle_disconnected(later, None, Disconnect::Superseded);
        let epoch = pair.b.link.epoch().next();
        pair.b.reader = pair.b.link.handle_connected(later, epoch);
        pair.b.buf = RecvBuf::new();
        let native = Native::new();
        let (mut out, mut hello) = (Vec::new(), Vec::new());
        let mut said = crate::frame::native::Hello::new();
        (said.features, said.required) = (1, 1);
        said.encode(&mut hello);
        let control = |kind| crate::frame::Meta {
            class: crate::frame::Class::Control,
            ..crate::frame::Meta::new(kind, 0)
        };
        native.encode(&mut out, &control(crate::frame::Kind::Hello), &[], &hello).unwrap();
        let resume = crate::frame::native::Resume::new(5, [7; 16], received);
        native.encode(&mut out, &control(crate::frame::Kind::Resume), &[], &resume.to_bytes()).unwrap();
        pair.b.input(later, &out)
    };
    // The peer lacks messages that it has acknowledged.
    let error = yesterday(&mut pair, 0).unwrap_err();
    assert_eq!(error, PeerError::Resume { field: "received", value: 0, limit: 1 });
    pair.b.link.handle_disconnected(later, None, error.into());
    assert!(pair.b.link.is_detached());
    yesterday(&mut pair, 1).unwrap();
    assert_eq!(pair.b.link.state(), State::Ready);
}

#[test]
fn a_session_that_is_closed_well_is_not_lost() {
    let lost = |end: &mut End<Native>| -> Vec<u64> {
        core::iter::from_fn(|| end.link.poll_event(&mut None, || 0))
            .filter_map(|event| match event {
                LinkEvent::SessionLost { unacknowledged } => Some(unacknowledged),
                _ => None,
            })
            .collect()
    };
    let session = || {
        let config = Config::builder().delivery(Delivery::Session).build().unwrap();
        let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
        b.link = Link::new(config, Role::Accepting);
        b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
        b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
        let mut pair = Pair { a, b };
        pair.run(Instant::ZERO);
        assert_eq!(pair.b.link.session(), pair.a.link.session());
        pair
    };
    let mut pair = session();
    pair.a.link.close(Instant::ZERO, MS * 10);
    pair.run(Instant::ZERO);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::LocalClose);
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!((pair.a.link.session(), pair.b.link.session()), (None, None));
    assert_eq!((lost(&mut pair.a), lost(&mut pair.b)), (vec![], vec![]));

    // Closed although the peer has not acknowledged a message.
    let mut pair = session();
    cast(&mut pair.a, 1);
    let _ = pair.a.output(Instant::ZERO);
    pair.a.link.abort(Instant::ZERO, Disconnect::LocalClose);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::LocalClose);
    assert_eq!(lost(&mut pair.a), [1]);

    // Neither side closed it.
    let mut pair = session();
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    pair.b.link.expire_session(Instant::ZERO);
    assert_eq!(lost(&mut pair.b), [0]);
}

#[test]
fn what_is_kept_for_another_attempt_counts_as_memory() {
    let memory = |idempotent: bool| {
        let mut pair = native();
        pair.b.answer = false;
        let options = CallOptions::new(1).idempotent(idempotent);
        pair.a.link.call(Instant::ZERO, &options, (&[7; 10_000]).into(), 1).unwrap();
        pair.run(Instant::ZERO);
        pair.a.link.memory()
    };
    let kept = memory(true) - memory(false);
    assert!((10_000..11_000).contains(&kept), "{kept}");
}
