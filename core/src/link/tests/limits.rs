//! The accepting side's limits, counters, broadcasts, and aborted work.

use super::*;
use alloc::vec;

use crate::config::{AcceptLimits, Overflow};
use crate::link::SharedCast;

const S: Duration = Duration::from_secs(1);

fn accepting(set: impl FnOnce(&mut AcceptLimits)) -> Config {
    let mut limits = AcceptLimits::default();
    set(&mut limits);
    Config::builder().accept_limits(limits).heartbeat(S).dead_after(S * 100).build().unwrap()
}

/// Lets both sides run until then, with heartbeats. Returns why `b` wants to end.
fn live(pair: &mut Pair<Native>, from: Instant, until: Instant) -> Option<Ending> {
    let mut now = from;
    while now < until {
        now += MS * 100;
        for end in [&mut pair.a, &mut pair.b] {
            end.link.handle_timeout(now);
        }
        pair.run(now);
        if let Some(ending) = pair.b.link.poll_ending(now) {
            return Some(ending);
        }
    }
    None
}

#[test]
fn heartbeats_do_not_keep_an_idle_connection() {
    let mut pair = Pair::new(&accepting(|limits| limits.idle = Some(S * 5)));
    let start = Instant::ZERO;
    assert_eq!(live(&mut pair, start, start + S * 4), None);
    let id = call(&mut pair.a, b"a sign of life", 1).unwrap();
    pair.run(start + S * 4);
    assert!(pair.a.link.poll_reply(id, || 0).is_some());
    assert_eq!(live(&mut pair, start + S * 4, start + S * 8), None, "it was busy four seconds ago");
    let ending = live(&mut pair, start + S * 8, start + S * 20);
    assert_eq!(ending, Some(Ending::Abort(Disconnect::Idle { limit: S * 5 })));
    assert_eq!(pair.a.link.poll_ending(start + S * 20), None, "the dialing side has no such limit");
}

#[test]
fn a_call_under_way_is_no_idleness() {
    let mut pair = Pair::new(&accepting(|limits| limits.idle = Some(S * 5)));
    pair.b.handle = true;
    let timeout = CallOptions::new(1).timeout(S * 60);
    pair.a.link.call(Instant::ZERO, &timeout, b"slow".into(), 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(live(&mut pair, Instant::ZERO, Instant::ZERO + S * 30), None);
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_cut_off() {
    for (step, cut) in [(100, true), (4_000, false)] {
        let mut pair = Pair::new(&accepting(|limits| limits.drain_rate = 1_000));
        let _ = pair.b.link.cast(Instant::ZERO, &CastOptions::new(1), vec![1; 200_000].into()).unwrap();
        let mut now = Instant::ZERO;
        let mut batch = pair.b.link.begin_write(now).unwrap();
        let mut ending = None;
        while ending.is_none() && now < Instant::ZERO + S * 60 {
            now += S;
            let n = step.min(batch.len() - batch.written());
            batch.wrote(n);
            pair.b.link.handle_progress(now, batch.written());
            if batch.is_done() {
                let _ = pair.b.link.end_write(now, batch);
                let Some(next) = pair.b.link.begin_write(now) else { return };
                batch = next;
            }
            // The silence of the peer is irrelevant here.
            pair.b.link.conn.life.last_received = now;
            pair.b.link.handle_timeout(now);
            ending = pair.b.link.poll_ending(now);
        }
        let slow =
            matches!(ending, Some(Ending::Abort(Disconnect::SlowReader { rate: 90..=110, limit: 1_000 })));
        assert_eq!(slow, cut, "{ending:?}");
    }
}

#[test]
fn limits_hold_for_the_accepting_side_alone() {
    let config = accepting(|limits| (limits.handshake, limits.message) = (Some(S), Some(S * 2)));
    for (role, limit) in [(Role::Accepting, S), (Role::Dialing, S * 10)] {
        let mut end = End::new(&config, role);
        let (at, reason) = end.link.poll_timeout().unwrap();
        assert_eq!((at, reason), (Instant::ZERO + limit, Reason::Handshake));
    }
    let wrong = |set: fn(&mut AcceptLimits)| {
        let mut limits = AcceptLimits::default();
        set(&mut limits);
        Config::builder().accept_limits(limits).build().is_err()
    };
    assert!(wrong(|limits| limits.connections = 0));
    assert!(wrong(|limits| limits.per_second = 0));
    assert!(wrong(|limits| limits.drain_rate = 0));
    assert!(wrong(|limits| limits.idle = Some(Duration::ZERO)));
}

#[test]
fn the_round_trip_is_estimated_from_heartbeats() {
    let mut pair = native();
    assert_eq!(pair.a.link.round_trip(), Some(Duration::ZERO), "the handshake took no time here");
    assert_eq!(pair.b.link.round_trip(), None);
    // Idle for ten seconds: it sends a ping, and gets the answer 80 ms later.
    let asked = Instant::ZERO + S * 10;
    pair.b.link.handle_timeout(asked);
    let ping = pair.b.output(asked);
    pair.a.input(asked + MS * 40, &ping).unwrap();
    let pong = pair.a.output(asked + MS * 40);
    pair.b.input(asked + MS * 80, &pong).unwrap();
    assert_eq!(pair.b.link.round_trip(), Some(MS * 80));
    let stats = pair.b.link.stats(asked + MS * 100);
    assert_eq!((stats.round_trip, stats.quiet_for), (Some(MS * 80), Some(MS * 20)));
    assert_eq!((stats.state, stats.in_flight), (State::Ready, 0));
}

#[test]
fn a_message_for_many_is_the_same_bytes() {
    for len in [0, 100, 5_000, 20_000, 70_000] {
        let body = bytes::Bytes::from(vec![5; len]);
        let options = CastOptions::new(9);
        let shared = SharedCast::new(&Native::new(), options.clone(), body.clone());
        let (mut one, mut many) = (native(), native());
        let queued = one.a.link.cast(Instant::ZERO, &options, body.clone().into()).unwrap();
        let also = many.a.link.cast_shared(Instant::ZERO, &shared).unwrap();
        assert_eq!(queued, also);
        assert_eq!(one.a.output(Instant::ZERO), many.a.output(Instant::ZERO), "{len}");
        assert_eq!(one.a.link.counters(), many.a.link.counters());
    }
}

#[test]
fn a_message_for_many_waits_for_nobody() {
    let limit = QueueLimit { messages: 2, bytes: 1 << 20 };
    for (policy, queued) in [(Overflow::Block, 2), (Overflow::Reject, 2), (Overflow::DropOldest, 4)] {
        let config = Config::builder().write_queue(limit).write_overflow(policy).build().unwrap();
        let mut pair = Pair::new(&config);
        let shared = SharedCast::new(&Native::new(), CastOptions::new(1), bytes::Bytes::from_static(b"x"));
        let results: Vec<bool> =
            (0..4).map(|_| pair.a.link.cast_shared(Instant::ZERO, &shared).is_ok()).collect();
        assert_eq!(results.iter().filter(|ok| **ok).count(), queued, "{policy:?}");
        let counters = pair.a.link.counters();
        let lost = if policy == Overflow::Reject { counters.casts_refused } else { counters.casts_dropped };
        assert_eq!(lost, 2, "{policy:?}");
        let mut events = Vec::new();
        while let Some(event) = pair.a.link.poll_event(&mut None, || 0) {
            events.push(event);
        }
        let dropped = events.iter().filter(|event| **event == LinkEvent::BroadcastDropped).count();
        assert_eq!(dropped, if policy == Overflow::Block { 2 } else { 0 });
    }
}

#[test]
fn what_a_close_cuts_is_named() {
    let mut pair = native();
    pair.b.handle = true;
    let ids: Vec<u64> = (0..3).map(|i| call(&mut pair.a, b"slow", i).unwrap().get()).collect();
    pair.run(Instant::ZERO);
    pair.b.link.close(Instant::ZERO, S * 5);
    // A shorter time limit the second time.
    pair.b.link.close(Instant::ZERO, MS * 10);
    assert_eq!(pair.b.link.poll_ending(Instant::ZERO), None);
    let Some(Ending::Abort(cause)) = pair.b.link.poll_ending(Instant::ZERO + MS * 10) else { panic!() };
    pair.b.link.handle_disconnected(Instant::ZERO + MS * 10, None, cause);
    assert_eq!(pair.b.link.take_cut(), ids);
    assert!(pair.b.link.take_cut().is_empty());
    assert_eq!(pair.b.link.state(), State::Closed);
}

#[test]
fn an_abort_ends_a_link_wherever_it_stands() {
    let mut pair = native();
    let id = call(&mut pair.a, b"in flight", 1).unwrap();
    let _left = pair.a.output(Instant::ZERO);
    pair.a.link.abort(Instant::ZERO, Disconnect::HandshakeCrowd);
    let Some(Ending::Abort(cause)) = pair.a.link.poll_ending(Instant::ZERO) else { panic!() };
    assert_eq!(cause, Disconnect::HandshakeCrowd);
    pair.a.link.handle_disconnected(Instant::ZERO, None, cause);
    let Some(Err(CallError::MaybeDelivered(_))) = pair.a.link.poll_reply(id, || 0) else { panic!() };
    assert_eq!(pair.a.link.state(), State::Closed);
    let mut unconnected: Link<_, u32> = Link::new(Config::default(), Role::Dialing);
    let id = unconnected.call(Instant::ZERO, &CallOptions::new(1), b"x".into(), 1).unwrap();
    unconnected.abort(Instant::ZERO, Disconnect::LocalClose);
    let Some(Err(CallError::NeverSent(_))) = unconnected.poll_reply(id, || 0) else { panic!() };
    assert_eq!(unconnected.state(), State::Closed);
}

#[test]
fn a_call_that_fails_fast_waits_for_no_connection() {
    let fast = CallOptions::new(1).fail_fast(true);
    let mut lone: Link<_, u32> = Link::new(Config::default(), Role::Dialing);
    let refused = lone.call(Instant::ZERO, &fast, b"x".into(), 1);
    assert!(matches!(refused, Err(CallError::NeverSent(Disconnect::NotConnected))));

    // Messages that are queued when the peer sends go-away come back at once; others wait.
    let mut pair = native();
    pair.b.link.close(Instant::ZERO, S);
    let go_away = pair.b.output(Instant::ZERO);
    let patient = call(&mut pair.a, b"patient", 1).unwrap();
    let quick = pair.a.link.call(Instant::ZERO, &fast, b"quick".into(), 2).unwrap();
    pair.a.input(Instant::ZERO, &go_away).unwrap();
    assert_eq!(pair.a.link.poll_reply(patient, || 1), None);
    assert_eq!(pair.a.link.poll_reply(quick, || 2), Some(Err(CallError::NeverSent(Disconnect::GoneAway))));
    assert!(!pair.a.link.is_open());
    let refused = pair.a.link.call(Instant::ZERO, &fast, b"x".into(), 1);
    assert!(matches!(refused, Err(CallError::NeverSent(Disconnect::GoneAway))));

    // The same for a connection that ends; a message that was sent is another matter.
    let mut pair = native();
    let left = pair.a.link.call(Instant::ZERO, &fast, b"left".into(), 1).unwrap();
    let _sent = pair.a.output(Instant::ZERO);
    let queued = pair.a.link.call(Instant::ZERO, &fast, b"queued".into(), 2).unwrap();
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert!(matches!(pair.a.link.poll_reply(left, || 1), Some(Err(CallError::MaybeDelivered(_)))));
    assert!(matches!(pair.a.link.poll_reply(queued, || 2), Some(Err(CallError::NeverSent(_)))));
}

/// A busy driver does not check all its timers again and again: an earlier one must be noticed.
#[test]
fn an_earlier_deadline_is_due_although_the_driver_was_armed_for_a_later_one() {
    let mut pair = native();
    pair.b.answer = false;
    pair.run(Instant::ZERO);
    let (armed, _) = pair.a.link.poll_timeout().expect("a heartbeat");
    assert!(armed > Instant::ZERO + MS * 200, "{armed:?}");
    assert!(!pair.a.link.is_due(Instant::ZERO + MS * 150));
    call(&mut pair.a, b"x", 1).unwrap();
    assert!(pair.a.link.take_wake().attend, "it has to come earlier");
    assert!(!pair.a.link.is_due(Instant::ZERO));
    assert!(pair.a.link.is_due(Instant::ZERO + MS * 150), "the call's deadline is over");
    // Nothing was done about it, so it remains due.
    assert!(pair.a.link.is_due(Instant::ZERO + MS * 150));
    pair.a.link.handle_timeout(Instant::ZERO + MS * 150);
    assert!(!pair.a.link.is_due(Instant::ZERO + MS * 150));
}

/// A message that lacks credit blocks those after it. Once it is withdrawn, they may be sent, and the writer
/// must be woken.
#[test]
fn what_waited_behind_a_withdrawn_message_goes_at_once() {
    let config = Config::builder().normal_window(64 * 1024).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.queue = true;
    let now = Instant::ZERO;
    pair.run(now);
    for _ in 0..6 {
        let _ = pair.a.link.cast(now, &CastOptions::new(1), vec![0; 10_000].into()).unwrap();
    }
    pair.run(now);
    let long = pair.a.link.call(now, &CallOptions::new(1), vec![0; 8_000].into(), 1).unwrap();
    let _ = pair.a.link.cast(now, &CastOptions::new(1), b"short".into()).unwrap();
    pair.run(now);
    let taken = |end: &End<Native>| end.link.stats(now).read_queue.messages;
    assert_eq!(taken(&pair.b), 6, "the rest waits for credit");
    let _ = pair.a.link.take_wake();
    pair.a.link.cancel_call(long);
    assert!(pair.a.link.take_wake().write, "there is something to write now");
    pair.run(now);
    assert_eq!(taken(&pair.b), 7);
}

#[test]
fn a_greeting_that_was_read_before_counts_in_the_handshakes_time() {
    let config = Config::default();
    let limit = config.accept_limits().handshake.unwrap_or_else(|| config.connect_timeout());
    let (accepted, taken_up) = (Instant::ZERO, Instant::ZERO + (limit - MS));
    let mut link: Link<Native, u32> = Link::new(config, Role::Accepting);
    let _reader = link.handle_connected(taken_up, Epoch::FIRST);
    link.greeted(accepted, Greeting::new(Native::new()));
    assert_eq!(link.poll_timeout(), Some((accepted + limit, Reason::Handshake)));
    link.handle_timeout(accepted + limit);
    let ending = link.poll_ending(accepted + limit);
    assert_eq!(ending, Some(Ending::Abort(Disconnect::ConnectTimeout { limit })));
}
