//! Fragments, credit and classes between two links.

use alloc::vec;

use super::*;
use crate::frame::Class;

/// The kinds and classes of the frames in `out`.
fn frames(out: &[u8]) -> Vec<(Kind, Class)> {
    let mut framing = super::undelivered::past_hello(Native::new());
    let (mut at, mut frames) = (0, Vec::new());
    while at < out.len() {
        let step = framing.next_frame(&out[at..]).expect("good frames");
        let frame::Step::Frame { meta, consumed, .. } = step else { panic!("half a frame") };
        frames.push((meta.kind, meta.class));
        at += consumed;
    }
    frames
}

use crate::frame::Kind;

fn small_windows() -> Config<Native> {
    Config::builder().normal_window(64 * 1024).bulk_window(64 * 1024).build().unwrap()
}

fn cast(end: &mut End<Native>, number: u32, len: usize) -> Result<Queued, crate::error::CastError> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(len.max(4), number as u8);
    end.link.cast(Instant::ZERO, &CastOptions::new(1), body.into())
}

/// One batch of `end`'s output.
fn one_batch(end: &mut End<Native>) -> Vec<u8> {
    let Some(mut batch) = end.link.begin_write(Instant::ZERO) else { return Vec::new() };
    let mut out = Vec::new();
    while !batch.is_done() {
        let mut slices = [&[][..]; 8];
        let n = batch.slices(&mut slices);
        let bytes = slices[..n].concat();
        batch.wrote(bytes.len());
        out.extend_from_slice(&bytes);
    }
    let _more = end.link.end_write(Instant::ZERO, batch);
    out
}

fn run_on(pair: &mut Pair<Native>) {
    loop {
        let (there, back) = (pair.a.output(Instant::ZERO), pair.b.output(Instant::ZERO));
        if there.is_empty() && back.is_empty() {
            return;
        }
        pair.b.input(Instant::ZERO, &there).unwrap();
        pair.a.input(Instant::ZERO, &back).unwrap();
    }
}

fn receive(end: &mut End<Native>) -> Option<Message> {
    end.link.poll_receive(&mut None, || 0)
}

#[test]
fn a_long_message_is_cut_up_and_arrives_whole() {
    for owned in [true, false] {
        let mut pair = native();
        let body: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        let options = CastOptions::new(1);
        let payload = if owned { body.clone().into() } else { (&body).into() };
        let _ = pair.a.link.cast(Instant::ZERO, &options, payload).unwrap();
        let out = pair.a.output(Instant::ZERO);
        let kinds = frames(&out);
        assert_eq!(kinds.len(), 100_012_usize.div_ceil(16 * 1024));
        assert!(kinds.iter().all(|&frame| frame == (Kind::Fragment, Class::Bulk)));
        pair.b.input(Instant::ZERO, &out).unwrap();
        assert_eq!(pair.b.events.len(), 1);
        assert!(pair.b.events[0].2 == body);
        assert_eq!(pair.b.reader.memory(), 0);
    }
}

#[test]
fn small_ones_go_between_the_pieces_and_bulk_is_not_starved() {
    let mut pair = native();
    let _ = cast(&mut pair.a, 0, 200_000).unwrap();
    for number in 0..500 {
        let _ = cast(&mut pair.a, number, 1_000).unwrap();
    }
    // 64 KiB of the normal class, a fragment of bulk, and so on.
    let mut order = Vec::new();
    for _ in 0..8 {
        let batch = one_batch(&mut pair.a);
        let kinds = frames(&batch);
        assert!(kinds.iter().all(|frame| frame.1 == kinds[0].1), "a batch has one class");
        order.push((kinds[0].1, batch.len().div_ceil(1024)));
        if kinds[0].1 == Class::Bulk {
            assert_eq!(kinds.len(), 1, "one fragment while normal has work");
        }
    }
    let bulk = order.iter().filter(|(class, _)| *class == Class::Bulk).count();
    assert!((3..=4).contains(&bulk), "{order:?}");
    // A call that is made while only bulk is left waits for at most one fragment.
    while pair.a.link.write_queue().0 > 1 {
        one_batch(&mut pair.a);
    }
    call(&mut pair.a, b"now", 1).unwrap();
    let mut kinds = frames(&one_batch(&mut pair.a));
    if kinds == [(Kind::Fragment, Class::Bulk)] {
        kinds = frames(&one_batch(&mut pair.a));
    }
    assert_eq!(kinds, [(Kind::Request, Class::Normal)]);
}

#[test]
fn the_sender_may_choose_the_class() {
    let mut pair = native();
    let bulk = CastOptions::new(1).class(Class::Bulk);
    let _ = pair.a.link.cast(Instant::ZERO, &bulk, b"small".into()).unwrap();
    let normal = CallOptions::new(1).class(Class::Normal);
    pair.a.link.call(Instant::ZERO, &normal, vec![1; 40_000].into(), 1).unwrap();
    let kinds = frames(&pair.a.output(Instant::ZERO));
    assert_eq!(kinds[..3], [(Kind::Fragment, Class::Normal); 3]);
    assert_eq!(kinds[3..], [(Kind::Cast, Class::Bulk)]);
}

#[test]
fn a_window_smaller_than_a_message_lets_it_through() {
    let mut pair = Pair::new(&small_windows());
    for queue in [false, true] {
        pair.b.queue = queue;
        for number in 0..4 {
            let _ = cast(&mut pair.a, number, 1 << 20).unwrap();
        }
        run_on(&mut pair);
        while let Some(message) = receive(&mut pair.b) {
            pair.b.events.push((false, 0, message.body.to_vec()));
            run_on(&mut pair);
        }
        let events = core::mem::take(&mut pair.b.events);
        let numbers: Vec<u8> = events.iter().map(|event| event.2[3]).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(events.iter().all(|event| event.2.len() == 1 << 20));
    }
}

#[test]
fn a_consumer_that_takes_nothing_holds_up_only_its_own_class() {
    let limit = QueueLimit { messages: 200, bytes: 1 << 20 };
    let config = Config::builder().write_queue(limit).normal_window(128 * 1024).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.queue = true;
    let mut sent = 0;
    loop {
        match cast(&mut pair.a, sent, 500) {
            Ok(_) => sent += 1,
            Err(error) => {
                assert!(matches!(error.reason(), CastRefusal::Full(_)));
                let before = sent;
                run_on(&mut pair);
                if cast(&mut pair.a, sent, 500).is_err() {
                    assert_eq!(before, sent);
                    break;
                }
                sent += 1;
            }
        }
    }
    // The receiver holds at most its window, the sender at most its queue.
    let kept = pair.b.link.kept(Class::Normal);
    assert!((100 * 1024..=128 * 1024).contains(&kept), "{kept}");
    assert_eq!(pair.a.link.write_queue().0, 200);
    // Bulk, calls of the other side, their long replies, and heartbeats continue.
    let _ = cast(&mut pair.a, 77, 20_000).unwrap();
    for len in [10, 100_000] {
        let back = pair.b.link.call(Instant::ZERO, &CallOptions::new(1), vec![5; len].into(), 9).unwrap();
        run_on(&mut pair);
        let reply = pair.b.link.poll_reply(back, || 0).expect("an answer").expect("a reply");
        assert_eq!(reply.len(), len);
    }
    let ping = Instant::ZERO + Duration::from_secs(10);
    pair.a.link.handle_timeout(ping);
    let out = pair.a.output(ping);
    pair.b.input(ping, &out).unwrap();
    assert_eq!(frames(&pair.b.output(ping)), [(Kind::Pong, Class::Control)]);
    // Everything is delivered in order once it is taken.
    let (mut next, mut bulk) = (0_u32, 0);
    while let Some(message) = receive(&mut pair.b) {
        if message.meta.class == Class::Bulk {
            bulk += 1;
        } else {
            assert_eq!(message[..4], next.to_be_bytes());
            next += 1;
        }
        run_on(&mut pair);
    }
    assert_eq!((next, bulk), (sent, 1));
    assert_eq!(pair.b.link.kept(Class::Normal), 0);
}

#[test]
fn answers_overtake_what_waits_for_credit_and_nothing_else() {
    let mut pair = Pair::new(&small_windows());
    (pair.a.queue, pair.a.answer) = (true, false);
    // The window of the other side is used up.
    for number in 0..200 {
        let _ = cast(&mut pair.b, number, 500).unwrap();
    }
    run_on(&mut pair);
    assert!(pair.b.link.write_queue().0 > 50);
    let id = call(&mut pair.a, b"ask", 1).unwrap();
    run_on(&mut pair);
    assert_eq!(&pair.a.link.poll_reply(id, || 0).unwrap().unwrap()[..], b"ask");
    let mut next = 0_u32;
    while let Some(message) = receive(&mut pair.a) {
        assert_eq!(message[..4], next.to_be_bytes());
        next += 1;
        run_on(&mut pair);
    }
    assert_eq!(next, 200);
}

#[test]
fn a_call_given_up_before_it_left_never_leaves() {
    let mut pair = native();
    let before = call(&mut pair.a, b"before", 1).unwrap();
    let id = call(&mut pair.a, b"given up", 1).unwrap();
    let after = call(&mut pair.a, b"after", 1).unwrap();
    pair.a.link.cancel_call(id);
    let expired = pair.a.link.call(Instant::ZERO, &CallOptions::new(1).timeout(MS), b"x".into(), 1).unwrap();
    pair.a.link.handle_timeout(Instant::ZERO + MS);
    assert_eq!(
        pair.a.link.poll_reply(expired, || 0),
        Some(Err(CallError::DeadlineExceeded { outcome: Outcome::Expired, link: LinkWas::Connected }))
    );
    pair.run(Instant::ZERO);
    let seen: Vec<&[u8]> = pair.b.events.iter().map(|event| &event.2[..]).collect();
    assert_eq!(seen, [&b"before"[..], b"after"]);
    for id in [before, after] {
        assert!(pair.a.link.poll_reply(id, || 0).unwrap().is_ok());
    }
    assert_eq!(pair.a.link.write_queue(), (0, 0));
}

#[test]
fn a_long_call_given_up_in_mid_way_is_broken_off() {
    for expires in [false, true] {
        let mut pair = native();
        let options = CallOptions::new(1).timeout(MS * 50);
        let id = pair.a.link.call(Instant::ZERO, &options, vec![7; 1 << 20].into(), 1).unwrap();
        let first = one_batch(&mut pair.a);
        pair.b.input(Instant::ZERO, &first).unwrap();
        assert!(pair.b.reader.memory() >= 16 * 1024);
        if expires {
            pair.a.link.handle_timeout(Instant::ZERO + MS * 50);
            let never = CallError::DeadlineExceeded { outcome: Outcome::Expired, link: LinkWas::Connected };
            assert_eq!(pair.a.link.poll_reply(id, || 0), Some(Err(never)));
        } else {
            pair.a.link.cancel_call(id);
        }
        assert_eq!(pair.a.link.write_queue(), (1, 16), "its bytes are free here: the abort is left");
        let rest = pair.a.output(Instant::ZERO);
        assert_eq!(frames(&rest), [(Kind::Abort, Class::Bulk)]);
        pair.b.input(Instant::ZERO, &rest).unwrap();
        assert_eq!(pair.b.reader.memory(), 0, "and there");
        assert!(pair.b.events.is_empty());
        // The next long message is delivered.
        let id = pair.a.link.call(Instant::ZERO, &options, vec![8; 100_000].into(), 1).unwrap();
        run_on(&mut pair);
        assert_eq!(pair.a.link.poll_reply(id, || 0).unwrap().unwrap().len(), 100_000);
    }
}

#[test]
fn a_long_answer_nobody_wants_is_broken_off() {
    let mut pair = native();
    let id = call(&mut pair.a, b"large please", 1).unwrap();
    let out = pair.a.output(Instant::ZERO);
    (pair.b.answer, pair.b.handle) = (false, true);
    pair.b.input(Instant::ZERO, &out).unwrap();
    let inbound = pair.b.handled[0];
    pair.b.link.answer(inbound, Ok(vec![1; 3 << 20].into()));
    let first = one_batch(&mut pair.b);
    pair.a.input(Instant::ZERO, &first).unwrap();
    assert!(pair.a.reader.memory() > 0);
    pair.a.link.cancel_call(id);
    let cancel = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &cancel).unwrap();
    assert_eq!(pair.b.link.write_queue(), (1, 16), "the abort");
    let rest = pair.b.output(Instant::ZERO);
    assert_eq!(frames(&rest), [(Kind::Abort, Class::Bulk)]);
    pair.a.input(Instant::ZERO, &rest).unwrap();
    assert_eq!(pair.a.reader.memory(), 0);
    assert_eq!(pair.b.link.counters().answers_dropped, 1);
}

#[test]
fn the_bytes_of_a_late_long_answer_are_not_kept() {
    let mut pair = native();
    let id = call(&mut pair.a, b"x", 1).unwrap();
    let out = pair.a.output(Instant::ZERO);
    (pair.b.answer, pair.b.handle) = (false, true);
    pair.b.input(Instant::ZERO, &out).unwrap();
    let inbound = pair.b.handled[0];
    pair.b.link.answer(inbound, Ok(vec![1; 200_000].into()));
    // The cancel crosses the whole answer in transit.
    pair.a.link.cancel_call(id);
    let answer = pair.b.output(Instant::ZERO);
    for piece in answer.chunks(10_000) {
        pair.a.input(Instant::ZERO, piece).unwrap();
        assert!(pair.a.reader.memory() <= 17_000, "{}", pair.a.reader.memory());
    }
    assert_eq!(pair.a.link.counters().late_replies, 1);
}

#[test]
fn a_connection_lost_between_fragments_sends_the_message_again_whole() {
    let mut pair = native();
    let options = CallOptions::new(1);
    let id = pair.a.link.call(Instant::ZERO, &options, vec![7; 300_000].into(), 1).unwrap();
    let _ = cast(&mut pair.a, 9, 10).unwrap();
    let mut written = 0;
    loop {
        let mut batch = pair.a.link.begin_write(Instant::ZERO).expect("more");
        let take = batch.len().min(100_000 - written);
        let len = batch.len();
        batch.wrote(take);
        written += take;
        if take < len || written == 100_000 {
            pair.a.link.handle_disconnected(Instant::ZERO, Some(batch), Disconnect::PeerClosed);
            break;
        }
        let _more = pair.a.link.end_write(Instant::ZERO, batch);
    }
    assert_eq!(pair.a.link.write_queue().0, 1, "the cast had left, the call had not");
    let reader = pair.a.link.handle_connected(Instant::ZERO, Epoch::FIRST.next());
    (pair.a.reader, pair.a.buf) = (reader, RecvBuf::new());
    pair.b = End::new(&Config::default(), Role::Accepting);
    run_on(&mut pair);
    assert_eq!(pair.b.events.len(), 1);
    assert_eq!(pair.a.link.poll_reply(id, || 0).unwrap().unwrap().len(), 300_000);
}

#[test]
fn a_long_message_that_a_go_away_meets_half_way_goes_back() {
    let mut pair = native();
    let _ = cast(&mut pair.a, 9, 300_000).unwrap();
    let first = one_batch(&mut pair.a);
    pair.b.input(Instant::ZERO, &first).unwrap();
    pair.b.link.close(Instant::ZERO, MS * 50);
    let go_away = pair.b.output(Instant::ZERO);
    pair.a.input(Instant::ZERO, &go_away).unwrap();
    assert_eq!(frames(&pair.a.output(Instant::ZERO)), [(Kind::Abort, Class::Bulk)]);
    assert_eq!(pair.a.link.write_queue().0, 1);
}

#[test]
fn a_request_waits_until_there_is_room_for_its_reply() {
    let limit = QueueLimit { messages: 1024, bytes: 1_000 };
    let config = Config::builder().write_queue(limit).build().unwrap();
    let mut pair = Pair::new(&config);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(call(&mut pair.a, &[3; 400], 1).unwrap());
        let out = pair.a.output(Instant::ZERO);
        pair.b.input(Instant::ZERO, &out).unwrap();
    }
    let _ = cast(&mut pair.a, 5, 4).unwrap();
    let out = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &out).unwrap();
    assert_eq!(pair.b.events.len(), 3, "more answers have no room");
    assert!(pair.b.link.kept(Class::Normal) >= 4 * 400, "they wait, in order, and are counted");
    assert!(!pair.b.link.is_paused(), "and the reader goes on");
    // A request that is cancelled while it waits is never started.
    pair.a.link.cancel_call(ids[4]);
    let cancel = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &cancel).unwrap();
    assert!(!pair.b.link.wants_pass());
    let answers = pair.b.output(Instant::ZERO);
    assert!(pair.b.link.take_wake().attend && pair.b.link.wants_pass());
    pair.a.input(Instant::ZERO, &answers).unwrap();
    for _ in 0..4 {
        pair.b.pass(Instant::ZERO, 0).unwrap();
        run_on(&mut pair);
    }
    let requests = pair.b.events.iter().filter(|event| event.0).count();
    assert_eq!((requests, pair.b.events.last().map(|event| event.0)), (5, Some(false)));
    assert_eq!(pair.b.link.kept(Class::Normal), 0);
    for (i, id) in ids.into_iter().enumerate().filter(|(i, _)| *i != 4) {
        assert!(matches!(pair.a.link.poll_reply(id, || 0), Some(Ok(_))), "call {i}");
    }
}

#[test]
fn what_runs_is_bounded_even_if_nobody_wants_it() {
    let config = Config::builder().max_inbound(2).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.handle = true;
    for round in 0..5 {
        let id = call(&mut pair.a, b"x", 1).unwrap();
        pair.run(Instant::ZERO);
        pair.a.link.cancel_call(id);
        pair.run(Instant::ZERO);
        assert!(pair.b.handled.len() <= 2, "round {round}");
    }
    // The answers of both running handlers are cancelled. Another request starts when one of them ends.
    let wanted = call(&mut pair.a, b"wanted", 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 2);
    let first = pair.b.handled[0];
    assert_eq!(pair.b.link.poll_inbound(first, None), InboundState::Unwanted);
    pair.b.link.finish_inbound(first);
    assert!(pair.b.link.take_wake().attend && pair.b.link.wants_pass());
    pair.b.pass(Instant::ZERO, 0).unwrap();
    assert_eq!(pair.b.handled.len(), 3);
    let third = pair.b.handled[2];
    pair.b.link.answer(third, Ok(b"done".into()));
    pair.run(Instant::ZERO);
    assert_eq!(&pair.a.link.poll_reply(wanted, || 0).unwrap().unwrap()[..], b"done");
}

#[test]
fn messages_of_an_earlier_connection_take_of_the_new_window() {
    let mut pair = Pair::new(&small_windows());
    pair.a.queue = true;
    for number in 0..60 {
        let _ = cast(&mut pair.b, number, 500).unwrap();
    }
    run_on(&mut pair);
    let kept = pair.a.link.kept(Class::Normal);
    assert!(kept > 40_000);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    pair.a.reader = pair.a.link.handle_connected(Instant::ZERO, Epoch::FIRST.next());
    pair.a.buf = RecvBuf::new();
    pair.b = End::new(&small_windows(), Role::Accepting);
    run_on(&mut pair);
    for number in 60..160 {
        let _ = cast(&mut pair.b, number, 500).unwrap();
    }
    run_on(&mut pair);
    assert!(pair.a.link.kept(Class::Normal) <= 64 * 1024);
    let mut next = 0_u32;
    while let Some(message) = receive(&mut pair.a) {
        assert_eq!(message[..4], next.to_be_bytes());
        next += 1;
        run_on(&mut pair);
    }
    assert_eq!(next, 160);
}

#[test]
fn a_message_whose_fragments_stop_coming_is_given_up() {
    let mut pair = native();
    let _ = cast(&mut pair.a, 9, 300_000).unwrap();
    let first = one_batch(&mut pair.a);
    pair.b.input(Instant::ZERO, &first).unwrap();
    let minute = Instant::ZERO + Duration::from_secs(60);
    // Other traffic continues in the meantime.
    let _ = cast(&mut pair.a, 1, 10).unwrap();
    let out = one_batch(&mut pair.a);
    pair.b.input(Instant::ZERO + Duration::from_secs(59), &out).unwrap();
    assert_eq!(pair.b.link.poll_timeout(), Some((minute, Reason::SlowMessage)));
    pair.b.link.handle_timeout(minute);
    let ending = pair.b.link.poll_ending(minute);
    assert!(matches!(ending, Some(Ending::Abort(Disconnect::SlowMessage { .. }))), "{ending:?}");
}

#[test]
fn bulk_does_not_run_far_ahead_of_the_reader() {
    let config = Config::builder().bulk_ahead(128 * 1024).build().unwrap();
    let mut pair = Pair::new(&config);
    let _ = cast(&mut pair.a, 1, 2 << 20).unwrap();
    let out = pair.a.output(Instant::ZERO);
    assert!((128 * 1024..=192 * 1024).contains(&out.len()), "{}", out.len());
    assert!(call(&mut pair.a, b"small", 1).is_ok());
    assert_eq!(frames(&pair.a.output(Instant::ZERO)), [(Kind::Request, Class::Normal)]);
    pair.b.input(Instant::ZERO, &out).unwrap();
    let seen = pair.b.output(Instant::ZERO);
    assert!(frames(&seen).contains(&(Kind::Credit, Class::Control)));
    pair.a.input(Instant::ZERO, &seen).unwrap();
    assert!(!pair.a.output(Instant::ZERO).is_empty());
}

/// A frame about them would cost both sides a write and a read of their own for every 64 KiB of small messages.
#[test]
fn bytes_of_the_normal_class_are_told_with_grants_only() {
    let mut pair = native();
    let (mut bytes, mut rounds) = (0, 0);
    while pair.b.link.counters().grants == 0 {
        for _ in 0..200 {
            let _ = cast(&mut pair.a, 1, 500).unwrap();
        }
        let out = pair.a.output(Instant::ZERO);
        (bytes, rounds) = (bytes + out.len(), rounds + 1);
        pair.b.input(Instant::ZERO, &out).unwrap();
        let back = pair.b.output(Instant::ZERO);
        assert!(pair.b.link.counters().grants > 0 || back.is_empty(), "{:?}", frames(&back));
        pair.a.input(Instant::ZERO, &back).unwrap();
        assert!(rounds < 50, "half of the window is left: a grant is due");
    }
    // Half of the window of 4 MiB, in messages that cost 256 bytes more than their frames.
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn a_peer_with_a_small_window_gets_small_pieces() {
    let large = Config::builder().fragment(64 * 1024).build().unwrap();
    let mut pair =
        Pair { a: End::new(&large, Role::Dialing), b: End::new(&small_windows(), Role::Accepting) };
    // Queued before the peer's limits are known.
    let _ = cast(&mut pair.a, 1, 60_000).unwrap();
    let _ = cast(&mut pair.a, 2, 40_000).unwrap();
    run_on(&mut pair);
    let numbers: Vec<u8> = pair.b.events.iter().map(|event| event.2[3]).collect();
    assert_eq!(numbers, [1, 2]);
}
