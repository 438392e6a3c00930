//! Connections: silence, stalls, closing, and messages that are queued without a connection.

use super::*;
use crate::address::Address;

#[test]
fn an_accepting_link_ends_with_its_connection() {
    let mut pair = native();
    let waiting = call(&mut pair.b, b"x", 1).unwrap();
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!(
        pair.b.link.poll_reply(waiting, || 0),
        Some(Err(CallError::NeverSent(Disconnect::PeerClosed)))
    );
    assert_eq!(pair.b.link.state(), State::Closed);
    let undelivered = pair.b.link.take_undelivered();
    assert_eq!(undelivered.len(), 1);
    assert_eq!((undelivered[0].method, &undelivered[0].body[..]), (1, &b"x"[..]));
}

#[test]
fn a_full_write_queue_refuses_and_lets_in_again_at_the_low_mark() {
    let limit = QueueLimit { messages: 4, bytes: 1 << 20 };
    let config = Config::builder().write_queue(limit).build().unwrap();
    let mut pair = Pair::new(&config);
    let cast =
        |end: &mut End<Native>| end.link.cast(Instant::ZERO, &CastOptions::new(1), b"x".to_vec().into());
    for _ in 0..4 {
        assert!(cast(&mut pair.a).is_ok());
    }
    let error = cast(&mut pair.a).unwrap_err();
    assert!(matches!(error.reason(), CastRefusal::Full(_)) && error.is_retryable());
    assert_eq!(error.into_body(), Some(Body::copy_from(b"x")));
    let ticket = pair.a.link.wait(Instant::ZERO, Line::Room(frame::Class::Normal), Instant::FAR_FUTURE, 9);
    assert!(pair.a.tokens().is_empty());
    let batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    assert_eq!(pair.a.tokens(), [9], "released when the batch was taken, not when it is written");
    assert_eq!(pair.a.link.poll_turn(Line::Room(frame::Class::Normal), ticket, || 0), Turn::Granted);
    assert!(cast(&mut pair.a).is_ok());
    drop(batch);
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut pair = native();
    let (at, reason) = pair.a.link.poll_timeout().unwrap();
    assert_eq!(reason, Reason::Heartbeat);
    assert_eq!(at, Instant::ZERO + Duration::from_secs(10));
    pair.a.link.handle_timeout(at);
    assert!(pair.a.link.take_wake().write);
    let ping = pair.a.output(at);
    assert_eq!(ping[0], 7);
    pair.b.input(at, &ping).unwrap();
    let pong = pair.b.output(at);
    assert_eq!(pong[0], 8);
    pair.a.input(at, &pong).unwrap();
    assert_eq!(pair.a.link.poll_timeout().unwrap().0, at + Duration::from_secs(10));
    let dead = at + Duration::from_secs(30);
    pair.a.link.handle_timeout(dead);
    assert!(matches!(pair.a.link.poll_ending(dead), Some(Ending::Abort(Disconnect::DeadPeer { .. }))));
}

#[test]
fn a_write_that_makes_no_progress_ends_the_connection() {
    let mut pair = native();
    call(&mut pair.a, b"x", 1).unwrap();
    let lent = pair.a.link.begin_write(Instant::ZERO).unwrap();
    pair.a.link.handle_progress(Instant::ZERO + MS, 1);
    let stalled = Instant::ZERO + MS + Duration::from_secs(20);
    pair.a.link.handle_timeout(stalled);
    let ending = pair.a.link.poll_ending(stalled);
    assert!(matches!(ending, Some(Ending::Abort(Disconnect::WriteStalled { .. }))), "{ending:?}");
    drop(lent);
}

#[test]
fn a_handshake_that_never_ends_does_end() {
    let mut end = End::new(&Config::default(), Role::Accepting);
    let limit = Duration::from_secs(10);
    assert_eq!(end.link.poll_timeout(), Some((Instant::ZERO + limit, Reason::Handshake)));
    end.link.handle_timeout(Instant::ZERO + limit);
    let ending = end.link.poll_ending(Instant::ZERO + limit);
    assert_eq!(ending, Some(Ending::Abort(Disconnect::ConnectTimeout { limit })));
}

#[test]
fn a_message_that_drips_in_is_given_up() {
    let mut pair = native();
    call(&mut pair.a, b"slow", 1).unwrap();
    let out = pair.a.output(Instant::ZERO);
    let mut now = Instant::ZERO;
    for byte in &out[..out.len() - 1] {
        now += Duration::from_secs(3);
        pair.b.input(now, &[*byte]).unwrap();
        pair.b.link.handle_timeout(now);
        if let Some(ending) = pair.b.link.poll_ending(now) {
            assert!(matches!(ending, Ending::Abort(Disconnect::SlowMessage { .. })), "{ending:?}");
            return;
        }
    }
    panic!("never given up");
}

#[test]
fn a_second_hello_and_a_missing_one_are_told_apart() {
    let mut pair = native();
    let hello = End::new(&Config::default(), Role::Dialing).output(Instant::ZERO);
    assert_eq!(pair.b.input(Instant::ZERO, &hello), Err(PeerError::SecondHello));
    let mut fresh = End::new(&Config::default(), Role::Accepting);
    assert!(matches!(fresh.input(Instant::ZERO, b"GET / HTTP/1.1"), Err(PeerError::Frame(_))));
}

#[test]
fn closing_drains_and_says_so() {
    let mut pair = native();
    let id = call(&mut pair.a, b"x", 1).unwrap();
    pair.a.link.close(Instant::ZERO, MS * 50);
    assert_eq!(pair.a.link.poll_ending(Instant::ZERO), None, "a call is in flight");
    assert!(matches!(call(&mut pair.a, b"y", 2), Err(CallError::Closed)));
    pair.run(Instant::ZERO);
    assert!(pair.a.link.poll_reply(id, || 0).unwrap().is_ok());
    assert_eq!(pair.a.link.poll_ending(Instant::ZERO), None, "the other side ends first");
    let ending = pair.b.link.poll_ending(Instant::ZERO);
    assert!(matches!(ending, Some(Ending::Graceful { cause: Disconnect::GoneAway, .. })), "{ending:?}");
}

/// The dialing end of a session ends the connection of a server that shuts down. The last answer is acknowledged
/// first, or the server would list its request as not answered.
#[test]
fn the_last_answer_of_a_session_is_acknowledged_before_the_connection_ends() {
    let mut pair = in_session();
    pair.b.answer = false;
    let id = call(&mut pair.a, b"slow", 1).unwrap();
    pair.run(Instant::ZERO);
    // The request is acknowledged.
    let now = Instant::ZERO + MS * 50;
    pair.b.link.handle_timeout(now);
    pair.run(now);
    assert_eq!(pair.a.link.unacknowledged(), 0);
    pair.b.link.close(now, Duration::from_secs(5));
    pair.run(now);
    pair.b.reader.answer(id.get(), b"done".into()).unwrap();
    pair.b.pass(now, 0).unwrap();
    let out = pair.b.output(now);
    pair.a.input(now, &out).unwrap();
    assert_eq!(
        pair.a.link.poll_reply(id, || 0).map(|reply| reply.unwrap().body.to_vec()),
        Some(b"done".to_vec())
    );

    assert_eq!(pair.a.link.poll_ending(now), None, "the acknowledgement is not written yet");
    let out = pair.a.output(now);
    let ending = pair.a.link.poll_ending(now);
    assert!(matches!(ending, Some(Ending::Graceful { cause: Disconnect::GoneAway, .. })), "{ending:?}");
    pair.b.input(now, &out).unwrap();
    assert_eq!(pair.b.link.unacknowledged(), 0);
    pair.b.link.handle_disconnected(now, None, Disconnect::PeerClosed);
    assert!(pair.b.link.take_cut().is_empty());
}

/// A supervisor may report its next step after the link was closed.
#[test]
fn no_attempt_is_reported_after_the_close() {
    let mut link = Link::<Native, u32>::new(Config::default(), Role::Dialing);
    link.close(Instant::ZERO, Duration::ZERO);
    link.handle_waiting(2, MS, Disconnect::PeerClosed);
    link.handle_dialing(Address::Inproc("late".into()), 2);
    assert_eq!(link.poll_event(&mut None, || 0), Some(LinkEvent::Closed));
    assert_eq!(link.poll_event(&mut None, || 0), None);
}

#[test]
fn go_away_comes_behind_what_was_queued() {
    let mut pair = native();
    let _ = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), b"first".into()).unwrap();
    pair.a.link.close(Instant::ZERO, MS * 50);
    let out = pair.a.output(Instant::ZERO);
    assert_eq!((out[0], out[12 + 5]), (5, 9), "the cast, then the go-away");
}

#[test]
fn whoever_ends_the_connection_is_woken_by_the_last_write() {
    let mut pair = native();
    pair.a.link.close(Instant::ZERO, MS * 50);
    let _ = pair.a.link.take_wake();
    let _go_away = pair.a.output(Instant::ZERO);
    assert!(pair.a.link.take_wake().attend);
}

#[test]
fn a_closing_side_serves_what_was_sent_before_the_peer_could_know() {
    let mut pair = native();
    pair.a.link.close(Instant::ZERO, MS * 50);
    let crossing = call(&mut pair.b, b"crosses the go-away", 1).unwrap();
    let out = pair.b.output(Instant::ZERO);
    let go_away = pair.a.output(Instant::ZERO);
    assert_eq!(pair.a.link.poll_ending(Instant::ZERO), None, "drained, but something may be coming");
    pair.a.input(Instant::ZERO, &out).unwrap();
    pair.b.input(Instant::ZERO, &go_away).unwrap();
    let held = call(&mut pair.b, b"after it", 2).unwrap();
    assert_eq!(pair.b.link.poll_ending(Instant::ZERO), None, "it waits for its answer");
    pair.run(Instant::ZERO);
    assert_eq!(&pair.b.link.poll_reply(crossing, || 0).unwrap().unwrap()[..], b"crosses the go-away");
    assert_eq!(pair.b.link.poll_reply(held, || 0), None, "it waits for another connection");
    assert!(matches!(
        pair.b.link.poll_ending(Instant::ZERO),
        Some(Ending::Graceful { cause: Disconnect::GoneAway, .. })
    ));
    // A peer that does not close is not waited for longer than this side lingers.
    assert!(matches!(pair.a.link.poll_ending(Instant::ZERO + MS * 50), Some(Ending::Graceful { .. })));
}

#[test]
fn bytes_of_a_batch_given_back_in_between_are_counted_once() {
    let mut pair = native();
    let before = pair.a.link.counters().bytes_out;
    let queued = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), b"in two goes".into()).unwrap();
    let mut batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    batch.wrote(5);
    assert!(pair.a.link.end_write(Instant::ZERO, batch), "the rest is to be written");
    assert_eq!(pair.a.link.counters().bytes_out, before + 5);
    let _rest = pair.a.output(Instant::ZERO);
    assert_eq!(pair.a.link.counters().bytes_out, before + queued.bytes as u64);
}

#[test]
fn pushes_that_nobody_receives_let_replies_by() {
    let limit = QueueLimit { messages: 2, bytes: 1 << 20 };
    let config = Config::with_framing(Tcpstream::new()).read_queue(limit).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.a.queue = true;
    let push = |pair: &mut Pair<Tcpstream>, count: u8| {
        for n in 0..count {
            let queued = pair.b.link.cast(Instant::ZERO, &CastOptions::new(1), (&[n][..]).into());
            assert!(queued.is_ok());
        }
    };
    push(&mut pair, 5);
    let id = call(&mut pair.a, b"behind", 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(&pair.a.link.poll_reply(id, || 0).unwrap().unwrap()[..], b"behind");
    assert_eq!(pair.a.link.counters().messages_dropped, 3);
    // While a caller waits to receive, messages for it are not dropped.
    let mut messages = Vec::new();
    assert_eq!(pair.a.link.take_received(9, &mut messages), 2);
    assert_eq!([&messages[0][..], &messages[1][..]], [&[0], &[1]]);
    push(&mut pair, 5);
    pair.run(Instant::ZERO);
    assert!(pair.a.link.is_paused());
    assert_eq!(pair.a.link.counters().messages_dropped, 3);

    let mut pair = Pair::new(&config);
    pair.a.queue = true;
    let mut ticket = None;
    assert!(pair.a.link.poll_receive(&mut ticket, || 1).is_none());
    push(&mut pair, 5);
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.link.counters().messages_dropped, 0);
}

/// A link that is dropped while it is connected ends with its connection, which reports every outcome.
#[test]
fn a_link_that_is_given_up_while_connected_tells_the_truth() {
    let mut pair = native();
    (pair.a.handle, pair.b.answer) = (true, false);
    let options = CallOptions::new(1);
    let answered = pair.b.link.call(Instant::ZERO, &options, b"for a handler"[..].into(), 1).unwrap();
    let left = call(&mut pair.a, b"left", 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.link.poll_inbound(pair.a.handled[0], Some(9)), InboundState::Wanted);
    let cut = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), b"cut".as_slice().into()).unwrap();
    pair.a.link.watch_outcome(cut.number, 2);
    // A message whose first bytes were written by a caller, and which the driver has to continue.
    let mut batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
    batch.wrote(3);
    let _more = pair.a.link.end_write(Instant::ZERO, batch);
    let queued = call(&mut pair.a, b"queued", 3).unwrap();
    pair.a.link.give_up(Instant::ZERO, Disconnect::PeerClosed);
    let ending = pair.a.link.poll_ending(Instant::ZERO);
    assert_eq!(ending, Some(Ending::Abort(Disconnect::PeerClosed)));
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert!(pair.a.link.is_closed());
    let mut result = |id| pair.a.link.poll_reply(id, || 0).unwrap().unwrap_err();
    assert_eq!(result(left), CallError::MaybeDelivered(Disconnect::PeerClosed));
    assert!(matches!(result(queued), CallError::NeverSent(_)));
    let back = pair.a.link.poll_outcome(cut.number, || 0).unwrap().unwrap_err();
    assert_eq!((&back.body[..], back.outcome), (&b"cut"[..], Outcome::NeverSent));
    assert_eq!(pair.a.link.poll_inbound(pair.a.handled[0], None), InboundState::Unwanted);
    assert!(pair.a.tokens().contains(&9), "the handler learns it");
    assert_eq!(pair.a.link.take_cut(), [answered.get()]);
    assert_eq!(pair.a.link.take_undelivered().len(), 1, "the call that waited");
}
