//! Calls: their outcomes, their limits, and framings with few ids.

use super::*;

#[test]
fn calls_go_both_ways_at_once_and_out_of_order() {
    let mut pair = native();
    pair.b.answer = false;
    let first = call(&mut pair.a, b"first", 1).unwrap();
    let second = call(&mut pair.a, b"second", 2).unwrap();
    let back = call(&mut pair.b, b"back", 3).unwrap();
    pair.run(Instant::ZERO);
    let ids: Vec<u64> = pair.b.events.iter().map(|e| e.1).collect();
    for &id in ids.iter().rev() {
        pair.b.reader.answer(id, (&id.to_be_bytes()).into()).unwrap();
    }
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.tokens(), [2, 1]);
    let reply = pair.a.link.poll_reply(first, || 0).unwrap().unwrap();
    assert_eq!(&reply[..], &first.get().to_be_bytes());
    assert!(pair.a.link.poll_reply(second, || 0).unwrap().is_ok());
    assert_eq!(&pair.b.link.poll_reply(back, || 0).unwrap().unwrap()[..], b"back");
}

#[test]
fn a_deadline_ends_a_call_and_a_late_reply_is_counted() {
    let mut pair = native();
    pair.b.answer = false;
    let id = call(&mut pair.a, b"x", 1).unwrap();
    pair.run(Instant::ZERO);
    let later = Instant::ZERO + MS * 100;
    assert!(pair.a.link.poll_timeout().unwrap().0 <= later);
    pair.a.link.handle_timeout(later);
    assert_eq!(
        pair.a.link.poll_reply(id, || 0),
        Some(Err(CallError::DeadlineExceeded { outcome: Outcome::MaybeDelivered, link: LinkWas::Connected }))
    );
    pair.run(later);
    assert_eq!(pair.b.link.counters().cancels, 1, "the peer hears of the cancellation");
    pair.b.reader.answer(id.get(), b"late".into()).unwrap();
    pair.b.pass(later, 0).unwrap();
    pair.run(later);
    assert_eq!(pair.a.link.counters().late_replies, 1);
    assert_eq!(pair.a.link.state(), State::Ready);
}

#[test]
fn a_call_that_waits_its_turn_waits_under_its_own_deadline() {
    let config = Config::builder().max_in_flight(2).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.answer = false;
    let first = call(&mut pair.a, b"1", 1).unwrap();
    let _second = call(&mut pair.a, b"2", 2).unwrap();
    assert!(matches!(call(&mut pair.a, b"3", 3), Err(CallError::Full(_))));
    let soon = Instant::ZERO + MS * 10;
    let expiring = pair.a.link.wait(Instant::ZERO, Line::Call(frame::Class::Normal), soon, 3);
    let patient = pair.a.link.wait(Instant::ZERO, Line::Call(frame::Class::Normal), soon + MS * 80, 4);
    pair.a.link.handle_timeout(soon);
    assert_eq!(pair.a.tokens(), [3]);
    assert_eq!(pair.a.link.poll_turn(Line::Call(frame::Class::Normal), expiring, || 0), Turn::Expired);
    pair.a.link.cancel_call(first);
    pair.a.output(soon);
    assert_eq!(pair.a.tokens(), [4]);
    assert!(
        matches!(call(&mut pair.a, b"5", 5), Err(CallError::Full(_))),
        "no call goes before those that wait"
    );
    assert_eq!(pair.a.link.poll_turn(Line::Call(frame::Class::Normal), patient, || 0), Turn::Granted);
    let options = CallOptions::new(1);
    assert!(pair.a.link.call_until(soon, soon + MS, &options, b"4".into(), |_| 4, true).is_ok());
}

#[test]
fn what_left_is_maybe_delivered_and_what_did_not_goes_on_the_next_connection() {
    let mut pair = native();
    let left = call(&mut pair.a, b"left", 1).unwrap();
    let mut lent = pair.a.link.begin_write(Instant::ZERO).unwrap();
    lent.wrote(lent.len());
    assert!(!pair.a.link.end_write(Instant::ZERO, lent));
    let kept = call(&mut pair.a, b"kept", 2).unwrap();
    let mut lent = pair.a.link.begin_write(Instant::ZERO).unwrap();
    lent.wrote(lent.len() - 1);
    pair.a.link.handle_disconnected(Instant::ZERO, Some(lent), Disconnect::PeerClosed);
    assert_eq!(
        pair.a.link.poll_reply(left, || 0),
        Some(Err(CallError::MaybeDelivered(Disconnect::PeerClosed)))
    );
    assert_eq!(pair.a.link.poll_reply(kept, || 0), None);

    // A request that is sent later, to another server, contains the remaining time.
    let later = Instant::ZERO + MS * 40;
    pair.a.reader = pair.a.link.handle_connected(later, Epoch::FIRST.next());
    pair.a.buf = RecvBuf::new();
    pair.b = End::new(&Config::default(), Role::Accepting);
    pair.run(later);
    assert_eq!(pair.b.events.len(), 1);
    assert_eq!(&pair.a.link.poll_reply(kept, || 0).unwrap().unwrap()[..], b"kept");
}

#[test]
fn a_place_is_free_only_when_its_cancel_has_gone_out() {
    let config = Config::builder().max_in_flight(1).build().unwrap();
    let mut pair = Pair::new(&config);
    let bulk = CallOptions::new(1).class(frame::Class::Bulk);
    let id = pair.a.link.call(Instant::ZERO, &bulk, b"x".into(), 1).unwrap();
    let out = pair.a.output(Instant::ZERO);
    assert!(!out.is_empty());
    pair.a.link.cancel_call(id);
    assert!(matches!(call(&mut pair.a, b"overtakes", 2), Err(CallError::Full(_))));
    assert_eq!(pair.a.output(Instant::ZERO)[0], 6);
    assert!(call(&mut pair.a, b"behind", 2).is_ok());
}

#[test]
fn the_text_of_a_failure_is_cut_to_what_the_peer_takes() {
    let config = Config::builder().max_message(10).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.answer = false;
    let id = call(&mut pair.a, b"x", 1).unwrap();
    pair.run(Instant::ZERO);
    let failure = crate::error::Failure::new(Status(1000), "longer than ten bytes");
    pair.b.reader.fail(id.get(), &failure).unwrap();
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    let Some(Err(CallError::Failed(failure))) = pair.a.link.poll_reply(id, || 0) else { panic!() };
    assert_eq!((failure.status, &failure.body[..]), (Status(1000), &b"longer tha"[..]));
}

#[test]
fn tcpstream_tells_replies_from_requests_by_range() {
    let config = Config::with_framing(Tcpstream::new()).build().unwrap();
    let mut pair = Pair::new(&config);
    let there = call(&mut pair.a, b"there", 1).unwrap();
    let back = call(&mut pair.b, b"back", 2).unwrap();
    assert_eq!((there.get(), back.get()), (1 << 63, (1 << 63) + (1 << 62)));
    pair.run(Instant::ZERO);
    assert_eq!(&pair.a.link.poll_reply(there, || 0).unwrap().unwrap()[..], b"there");
    assert_eq!(&pair.b.link.poll_reply(back, || 0).unwrap().unwrap()[..], b"back");
    // Late: in this side's range, not in flight. A push: Seq 0. A request: any other Seq.
    for seq in [there.get(), 0, 7] {
        let _ = pair.b.link.cast(Instant::ZERO, &CastOptions::new(0).seq(seq), b"m".into()).unwrap();
    }
    pair.b.answer = false;
    pair.a.answer = false;
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.link.counters().late_replies, 1);
    let seen: Vec<(bool, u64)> = pair.a.events.iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(seen[1..], [(false, 0), (true, 7)]);
}

#[test]
fn raw_bytes_carry_no_calls() {
    let config = Config::with_framing(Raw::new()).build().unwrap();
    let mut pair = Pair::new(&config);
    assert!(matches!(call(&mut pair.a, b"x", 1), Err(CallError::Encode(_))));
    let _ = pair.a.link.cast(Instant::ZERO, &CastOptions::new(0), b"bytes".into()).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.events, [(false, 0, b"bytes".to_vec())]);
}

#[test]
fn calls_made_together_share_a_look_at_the_clock_but_not_with_the_past() {
    let mut pair = Pair::new(&Config::default());
    pair.run(Instant::ZERO);
    let link = &mut pair.a.link;
    let at = |ms: u32| Instant::ZERO + MS * ms;
    let call =
        |link: &mut Link<Native, u32>, now| link.call(now, &CallOptions::new(1), b"x".into(), 0).unwrap();
    // Nothing to write: the clock is read, and the driver is woken.
    assert!(link.begin_write(at(10)).is_none());
    assert_eq!(link.call_time(|| at(20)), at(20));
    call(link, at(20));
    assert_eq!(link.call_time(|| panic!("it is on its way")), at(20));
    // The peer stops reading, so that the write stalls.
    let batch = link.begin_write(at(30)).unwrap();
    assert_eq!(link.call_time(|| at(9_000)), at(9_000));
    let _more = link.end_write(at(9_001), batch);
    // A batch that is given back unfinished still counts as stalled.
    call(link, at(9_000));
    let batch = link.begin_write(at(9_002)).unwrap();
    let _more = link.end_write(at(9_003), batch);
    assert_eq!(link.call_time(|| at(12_000)), at(12_000));
}

#[test]
fn failures_that_cannot_be_told_follow_the_policy() {
    use crate::config::OnFailure;
    let config = |policy| Config::with_framing(Tcpstream::new()).on_failure(policy).build().unwrap();
    for inline in [true, false] {
        let fail = |pair: &mut Pair<Tcpstream>| {
            (pair.b.answer, pair.b.handle) = (false, !inline);
            let id = call(&mut pair.a, b"x", 1).unwrap();
            pair.run(Instant::ZERO);
            let failure = crate::error::Failure::new(Status(1000), "why");
            if inline {
                let _ = pair.b.reader.fail(id.get(), &failure);
                pair.b.pass(Instant::ZERO, 0).unwrap();
            } else {
                let inbound = pair.b.handled.remove(0);
                pair.b.link.answer(inbound, Err(failure));
            }
            id
        };
        let mut pair = Pair::new(&config(OnFailure::Answer { method: 9 }));
        let id = fail(&mut pair);
        pair.run(Instant::ZERO);
        let reply = pair.a.link.poll_reply(id, || 0).unwrap().unwrap();
        assert_eq!((&reply[..], reply.method), (&b"why"[..], 9));

        let mut pair = Pair::new(&config(OnFailure::Disconnect));
        fail(&mut pair);
        assert!(pair.b.link.take_wake().attend, "whoever reads has to end the connection");
        let cause = Disconnect::HandlerFailed { status: Status(1000) };
        assert_eq!(pair.b.link.poll_ending(Instant::ZERO), Some(Ending::Abort(cause)));

        let mut pair = Pair::new(&config(OnFailure::Silence));
        fail(&mut pair);
        assert_eq!(pair.b.link.poll_ending(Instant::ZERO), None);
    }
    assert!(Config::builder().on_failure(OnFailure::Disconnect).build().is_err());
    assert!(Config::with_framing(Raw::new()).on_failure(OnFailure::Disconnect).build().is_err());
}
