use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::body::Body;
use crate::config::QueueLimit;
use crate::error::{CallError, CastRefusal, LinkWas, Outcome, PeerError, Status};
use crate::frame::native::Native;
use crate::frame::raw::Raw;
use crate::frame::tcpstream::Tcpstream;
use crate::machine::{Ending, Machine, Next, Reason};
use crate::recv_buf::RecvBuf;

mod answers;
mod casts;
mod delivery;
mod drive;
mod flow;
mod guards;
mod handling;
mod limits;
mod outcomes;
mod repeated;
mod resume;
mod starts;
mod waiting;

const MS: Duration = Duration::from_millis(1);

/// One end with its reading half and what it was told.
struct End<F: Framing> {
    link: Link<F, u32>,
    reader: Reader<F>,
    buf: RecvBuf,
    events: Vec<(bool, u64, Vec<u8>)>,
    answer: bool,
    /// Messages go to the link's queue.
    queue: bool,
    /// Requests go to handlers that take their time.
    handle: bool,
    handled: Vec<Inbound>,
}

impl<F: Framing> End<F> {
    fn new(config: &Config<F>, role: Role) -> Self {
        let mut link = Link::new(config.clone(), role);
        let reader = link.handle_connected(Instant::ZERO, Epoch::FIRST);
        Self {
            link,
            reader,
            buf: RecvBuf::new(),
            events: Vec::new(),
            answer: true,
            queue: false,
            handle: false,
            handled: Vec::new(),
        }
    }

    fn input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PeerError> {
        let mut rest = bytes;
        loop {
            let room = self.buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            self.buf.filled(n);
            rest = &rest[n..];
            self.pass(now, n)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn pass(&mut self, now: Instant, n: usize) -> Result<(), PeerError> {
        let Self { link, reader, buf, events, answer, queue, handle, handled } = self;
        let mut access = &mut *link;
        Link::begin_input(reader, &mut access, now, n);
        while let Next::Event(event) = Link::next_event(reader, &mut access, now, buf)? {
            match event {
                Event::Message(m) if *queue => {
                    if !access.enqueue_received(&m) && !Link::<F, u32>::refuse(reader, buf) {
                        break;
                    }
                }
                Event::Burst(run) => {
                    for m in run {
                        if *queue {
                            assert!(access.enqueue_received(&m), "bounded by the window");
                        } else {
                            events.push((false, m.id(), m.body.to_vec()));
                        }
                    }
                }
                Event::Request(m) if *handle => match access.open_inbound(now, &m)? {
                    Some(inbound) => handled.push(inbound),
                    None if Link::<F, u32>::refuse(reader, buf) => {}
                    None => break,
                },
                Event::Message(m) => events.push((false, m.id(), m.body.to_vec())),
                Event::Request(m) => {
                    events.push((true, m.id(), m.body.to_vec()));
                    if *answer {
                        reader.answer(m.id(), m.body.into()).unwrap();
                    }
                }
                Event::Ready | Event::Resumed | Event::Reply(_) => {}
            }
        }
        Link::end_input(reader, &mut access, now, buf);
        Ok(())
    }

    fn output(&mut self, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(mut batch) = self.link.begin_write(now) {
            while !batch.is_done() {
                let mut slices = [&[][..]; 4];
                let n = batch.slices(&mut slices);
                let bytes = slices[..n].concat();
                batch.wrote(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let _more = self.link.end_write(now, batch);
        }
        out
    }

    fn tokens(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.link.take_tokens(&mut tokens);
        tokens
    }
}

struct Pair<F: Framing> {
    a: End<F>,
    b: End<F>,
}

impl<F: Framing> Pair<F> {
    fn new(config: &Config<F>) -> Self {
        let mut pair = Self { a: End::new(config, Role::Dialing), b: End::new(config, Role::Accepting) };
        pair.a.pass(Instant::ZERO, 0).unwrap();
        pair.b.pass(Instant::ZERO, 0).unwrap();
        pair.run(Instant::ZERO);
        assert_eq!((pair.a.link.state(), pair.b.link.state()), (State::Ready, State::Ready));
        pair
    }

    fn run(&mut self, now: Instant) {
        for _ in 0..8 {
            let out = self.a.output(now);
            self.b.input(now, &out).unwrap();
            let out = self.b.output(now);
            self.a.input(now, &out).unwrap();
        }
    }
}

fn native() -> Pair<Native> {
    Pair::new(&Config::default())
}

fn call<F: Framing>(end: &mut End<F>, body: &[u8], token: u32) -> Result<CallId, CallError> {
    end.link.call(Instant::ZERO, &CallOptions::new(1).timeout(MS * 100), body.into(), token)
}

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
    assert_eq!(pair.b.link.counters().cancels, 1, "the peer is told");
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
    assert!(matches!(call(&mut pair.a, b"5", 5), Err(CallError::Full(_))), "nobody jumps the queue");
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

    // Another server, another connection, later: the request says how much time is left.
    let later = Instant::ZERO + MS * 40;
    pair.a.reader = pair.a.link.handle_connected(later, Epoch::FIRST.next());
    pair.a.buf = RecvBuf::new();
    pair.b = End::new(&Config::default(), Role::Accepting);
    pair.run(later);
    assert_eq!(pair.b.events.len(), 1);
    assert_eq!(&pair.a.link.poll_reply(kept, || 0).unwrap().unwrap()[..], b"kept");
}

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

#[test]
fn go_away_comes_behind_what_was_queued() {
    let mut pair = native();
    let _ = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), b"first".into()).unwrap();
    pair.a.link.close(Instant::ZERO, MS * 50);
    let out = pair.a.output(Instant::ZERO);
    assert_eq!((out[0], out[12 + 5]), (5, 9), "the cast, then the go-away");
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
    // A peer that does not go is not waited for longer than this side lingers.
    assert!(matches!(pair.a.link.poll_ending(Instant::ZERO + MS * 50), Some(Ending::Graceful { .. })));
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
    // Late: in our range, not in flight. A push: Seq 0. A request: any other Seq.
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
fn calls_made_together_share_a_look_at_the_clock_but_not_with_the_past() {
    let mut pair = Pair::new(&Config::default());
    pair.run(Instant::ZERO);
    let link = &mut pair.a.link;
    let at = |ms: u32| Instant::ZERO + MS * ms;
    let call =
        |link: &mut Link<Native, u32>, now| link.call(now, &CallOptions::new(1), b"x".into(), 0).unwrap();
    // Nothing to do: the clock is asked, and the driver is woken.
    assert!(link.begin_write(at(10)).is_none());
    assert_eq!(link.call_time(|| at(20)), at(20));
    call(link, at(20));
    assert_eq!(link.call_time(|| panic!("it is on its way")), at(20));
    // It writes, and the write is held up.
    let batch = link.begin_write(at(30)).unwrap();
    assert_eq!(link.call_time(|| at(9_000)), at(9_000));
    let _more = link.end_write(at(9_001), batch);
    // Given back unfinished, it is held up still.
    call(link, at(9_000));
    let batch = link.begin_write(at(9_002)).unwrap();
    let _more = link.end_write(at(9_003), batch);
    assert_eq!(link.call_time(|| at(12_000)), at(12_000));
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
    // Somebody who waits to receive is no nobody: what comes for them is not dropped.
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
