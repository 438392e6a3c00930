//! Answers that wait to be written are bounded, however they are sent.

use super::*;
use crate::arena::Load;
use crate::body::Payload;
use crate::link::classes::CLASSES;
use crate::memory::{PATIENCE, Verdict, rounded};

const MIB: usize = 1 << 20;

/// The way in which a test answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Encoded by the reader.
    Inline,
    /// By a handler that is ready within the pass.
    AtOnce,
    /// By a handler that answers later.
    Later,
}

fn requests(config: &Config<impl Framing>, count: usize) -> Vec<u8> {
    let framing = config.framing();
    let mut out = Vec::new();
    for id in 1..=count as u64 {
        let meta = frame::Meta { method: 1, ..frame::Meta::new(frame::Kind::Request, id) };
        framing.encode(&mut out, &meta, &[], b"12345678").unwrap();
    }
    out
}

/// Reads `bytes` and answers the requests in them with `body`, in the given way. Returns the number of
/// started requests.
fn serve<F: Framing>(end: &mut End<F>, way: Way, mut bytes: &[u8], body: &bytes::Bytes) -> usize {
    let mut started = 0;
    loop {
        let room = end.buf.spare();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        end.buf.filled(n);
        bytes = &bytes[n..];
        started += pass(end, way, n, body);
        if bytes.is_empty() {
            return started;
        }
    }
}

fn pass<F: Framing>(end: &mut End<F>, way: Way, bytes: usize, body: &bytes::Bytes) -> usize {
    let (End { link, reader, buf, handled, .. }, mut started) = (end, 0);
    let mut access = &mut *link;
    Link::begin_input(reader, &mut access, Instant::ZERO, bytes);
    while let Next::Event(event) = Link::next_event(reader, &mut access, Instant::ZERO, buf).unwrap() {
        let Event::Request(m) = event else { continue };
        let inbound = match way {
            Way::Inline => {
                reader.answer(m.id(), Payload::Borrowed(body)).unwrap();
                started += 1;
                continue;
            }
            Way::AtOnce | Way::Later => access.open_inbound(Instant::ZERO, &m).unwrap(),
        };
        started += usize::from(inbound.is_some());
        match inbound {
            Some(inbound) if way == Way::AtOnce => access.answer(inbound, Ok(Payload::Owned(body.clone()))),
            Some(inbound) => handled.push(inbound),
            None if Link::<F, u32>::refuse(reader, buf) => {}
            None => break,
        }
    }
    Link::end_input(reader, &mut access, Instant::ZERO, buf);
    started
}

fn queued_by_class<F: Framing>(end: &End<F>) -> [usize; 2] {
    CLASSES.map(|class| end.link.arena.owed_in(class).bytes)
}

fn floods<F: Framing>(config: &Config<F>, way: Way, len: usize) {
    const COUNT: usize = 600;
    let mut end = End::new(config, Role::Accepting);
    if config.framing().profile().handshake {
        let mut peer = End::new(config, Role::Dialing);
        let hello = peer.output(Instant::ZERO);
        end.input(Instant::ZERO, &hello).unwrap();
    } else {
        end.pass(Instant::ZERO, 0).unwrap();
    }
    end.output(Instant::ZERO);
    assert_eq!(end.link.state(), State::Ready);
    let body = bytes::Bytes::from(alloc::vec![7; len]);
    let most = config.settings().write_queue.bytes + config.framing().max_message() + 128;
    let mut served = serve(&mut end, way, &requests(config, COUNT), &body);
    let (mut rounds, mut answered) = (0, 0);
    while answered < COUNT as u64 {
        rounds += 1;
        assert!(rounds < 10_000, "{way:?} {len}: stuck at {served} started, {answered} answered");
        // All running requests end at the same time, and the peer has read nothing in the meantime.
        for inbound in core::mem::take(&mut end.handled) {
            end.link.answer(inbound, Ok(Payload::Owned(body.clone())));
        }
        let queued = queued_by_class(&end);
        assert!(queued.iter().all(|&bytes| bytes <= most), "{way:?} {len}: {queued:?} of {most}");
        let ahead = if way == Way::Later { (128 * len).max(16 * MIB) } else { 0 };
        let held = end.link.answers.held().bytes;
        assert!(held <= ahead, "{way:?} {len}: {held} held");
        if held > 0 {
            assert_eq!(serve(&mut end, way, &[], &body), 0, "nothing starts while one is held");
        }
        // The peer takes one batch.
        if let Some(mut batch) = end.link.begin_write(Instant::ZERO) {
            let len = batch.len();
            batch.wrote(len);
            let _more = end.link.end_write(Instant::ZERO, batch);
        }
        served += serve(&mut end, way, &[], &body);
        answered = end.link.counters().answers;
    }
    assert_eq!(served, COUNT);
    assert!(end.link.answers.is_empty());
    assert_eq!(end.link.counters().answers_dropped, 0);
}

#[test]
fn finished_answers_are_bounded_in_each_way_of_answering() {
    for way in [Way::Inline, Way::AtOnce, Way::Later] {
        for len in [1, 10_000, 20_000, MIB] {
            // The peer of this test never reports what it has read.
            floods(&Config::builder().bulk_ahead(usize::MAX).build().unwrap(), way, len);
            floods(&Config::with_framing(Tcpstream::new()).max_message(2 * MIB).build().unwrap(), way, len);
        }
        let small = QueueLimit { messages: 4, bytes: 1000 };
        for len in [1, 900, 20_000, 100_000] {
            let config = Config::builder().bulk_ahead(usize::MAX).write_queue(small).max_message(100_000);
            floods(&config.build().unwrap(), way, len);
        }
    }
}

#[test]
fn small_answers_let_as_many_run_as_may() {
    let config = Config::default();
    let mut pair = Pair::new(&config);
    pair.b.handle = true;
    for _ in 0..1024 {
        call(&mut pair.a, b"x", 0).unwrap();
    }
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 128, "before an answer is known");
    let first = pair.b.handled.remove(0);
    pair.b.link.answer(first, Ok(b"small".into()));
    assert!(pair.b.link.wants_pass());
    pair.b.pass(Instant::ZERO, 0).unwrap();
    assert_eq!(pair.b.handled.len(), 1023, "all of the others run at once");
}

#[test]
fn large_answers_let_one_run_at_a_time() {
    let config = Config::builder().answers_ahead(MIB).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.handle = true;
    for _ in 0..20 {
        call(&mut pair.a, b"x", 0).unwrap();
    }
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 8);
    let large = alloc::vec![1; 2 * MIB];
    for inbound in core::mem::take(&mut pair.b.handled) {
        pair.b.link.answer(inbound, Ok((&large[..]).into()));
    }
    let mut answered = 8;
    while answered < 20 {
        while pair.b.handled.is_empty() {
            pair.run(Instant::ZERO);
            pair.b.pass(Instant::ZERO, 0).unwrap();
        }
        assert_eq!(pair.b.handled.len(), 1);
        let inbound = pair.b.handled.remove(0);
        pair.b.link.answer(inbound, Ok((&large[..]).into()));
        answered += 1;
    }
}

#[test]
fn an_answer_has_a_limit_of_its_own() {
    let config = Config::builder().max_answer(100).build().unwrap();
    let mut pair = Pair::new(&config);
    let inline = call(&mut pair.a, &[1; 200], 1).unwrap();
    pair.run(Instant::ZERO);
    pair.b.handle = true;
    let handled = call(&mut pair.a, b"x", 2).unwrap();
    let fits = call(&mut pair.a, b"x", 3).unwrap();
    pair.run(Instant::ZERO);
    let [first, second] = pair.b.handled[..] else { panic!() };
    pair.b.link.answer(first, Ok((&[1; 101][..]).into()));
    pair.b.link.answer(second, Ok((&[1; 100][..]).into()));
    pair.run(Instant::ZERO);
    for id in [inline, handled] {
        let Some(Err(CallError::Failed(failure))) = pair.a.link.poll_reply(id, || 0) else { panic!() };
        assert_eq!(failure.status, Status::REPLY_TOO_LARGE);
    }
    assert_eq!(pair.a.link.poll_reply(fits, || 0).unwrap().unwrap().len(), 100);
}

#[test]
fn a_held_answer_that_nobody_wants_is_dropped_and_counted() {
    let config = Config::builder().write_queue(QueueLimit { messages: 10, bytes: 1000 }).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.handle = true;
    let ids: Vec<_> = (0..3).map(|_| call(&mut pair.a, b"x", 0).unwrap()).collect();
    pair.run(Instant::ZERO);
    for inbound in core::mem::take(&mut pair.b.handled) {
        pair.b.link.answer(inbound, Ok((&[1; 1500][..]).into()));
    }
    assert_eq!(pair.b.link.counters().answers_held, 2);
    pair.a.link.cancel_call(ids[1]);
    let out = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &out).unwrap();
    assert_eq!(pair.b.link.counters().answers_dropped, 1);
    // The connection ends: the last held answer is dropped, and so is the queued one.
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!(pair.b.link.counters().answers_dropped, 3);
    assert_eq!(pair.b.link.answers.held(), Load::default());
}

#[test]
fn without_memory_requests_that_would_not_start_now_are_refused() {
    let config = Config::builder().answers_ahead(MIB).build().unwrap();
    let mut pair = Pair::new(&config);
    pair.b.handle = true;
    pair.b.link.count_memory();
    let calls: Vec<CallId> = (0..20).map(|_| call(&mut pair.a, b"x", 0).unwrap()).collect();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 8, "as many answers of 128 KiB");
    for (token, inbound) in (0..).zip(pair.b.handled.clone()) {
        assert_eq!(pair.b.link.poll_inbound(inbound, Some(token)), InboundState::Wanted);
    }
    let first = pair.b.handled.remove(0);
    pair.b.link.answer(first, Ok((&alloc::vec![1; MIB / 2][..]).into()));
    pair.b.link.take_tokens(&mut Vec::new());
    assert!(pair.b.link.take_holding().is_some_and(|holding| holding.answers >= MIB / 2));
    pair.b.link.handle_memory(Instant::ZERO, Verdict::Refuse(0));
    // Two answers of 512 KiB may be in progress.
    let mut woken = Vec::new();
    pair.b.link.take_tokens(&mut woken);
    woken.sort_unstable();
    assert_eq!(woken, [3, 4, 5, 6, 7]);
    let wanted: Vec<bool> = pair
        .b
        .handled
        .clone()
        .into_iter()
        .map(|inbound| pair.b.link.poll_inbound(inbound, None) == InboundState::Wanted)
        .collect();
    assert_eq!(wanted, [true, true, false, false, false, false, false]);
    // Their handlers end, and callers that have their outcome get no second one.
    for inbound in core::mem::take(&mut pair.b.handled).into_iter().skip(2) {
        pair.b.link.finish_inbound(inbound);
    }
    pair.run(Instant::ZERO);
    let refused = calls.iter().filter(|id| {
        let Some(Err(CallError::Failed(failure))) = pair.a.link.poll_reply(**id, || 0) else { return false };
        failure.status == Status::OUT_OF_MEMORY
    });
    assert_eq!(refused.count(), 6);
    assert_eq!(pair.b.link.counters().answers_dropped, 1, "the one that was made");
}

#[test]
fn an_answer_without_memory_starts_no_further_request_for_a_while() {
    let mut pair = Pair::new(&Config::default());
    pair.b.handle = true;
    pair.b.link.count_memory();
    for _ in 0..200 {
        call(&mut pair.a, b"x", 0).unwrap();
    }
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 128, "as many answers of 128 KiB");
    // All are answered while there is no memory: no further request starts, as its answer would have no room.
    let mut said = 0;
    for inbound in core::mem::take(&mut pair.b.handled) {
        pair.b.link.answer(inbound, Ok((&alloc::vec![1; MIB][..]).into()));
        if pair.b.link.take_holding().is_some() {
            pair.b.link.handle_memory(Instant::ZERO, Verdict::Refuse(0));
            said += 1;
        }
    }
    assert!(said > 0);
    for _ in 0..10 {
        pair.run(Instant::ZERO);
    }
    assert_eq!(pair.b.handled.len(), 0, "handlers that were started for nothing");
    // After a while it asks again, and then continues.
    let later = Instant::ZERO + PATIENCE;
    assert_eq!(pair.b.link.next_memory_check(), Some(later));
    pair.b.link.handle_timeout(later);
    assert!(pair.b.link.take_holding().is_some());
    pair.b.link.handle_memory(later, Verdict::Granted(0));
    pair.run(later);
    assert_eq!(pair.b.handled.len(), 16, "as many answers of 1 MiB");
}

#[test]
fn whoever_counts_is_told_that_the_peer_reads_a_long_answer() {
    let mut pair = Pair::new(&Config::default());
    pair.b.handle = true;
    pair.b.link.count_memory();
    call(&mut pair.a, b"x", 0).unwrap();
    pair.run(Instant::ZERO);
    let inbound = pair.b.handled.remove(0);
    pair.b.link.answer(inbound, Ok((&alloc::vec![1; 4 * MIB][..]).into()));
    let said = pair.b.link.take_holding().unwrap();
    pair.b.link.handle_memory(Instant::ZERO, Verdict::Granted(rounded(said.bytes)));
    let batch = pair.b.link.begin_write(Instant::ZERO).unwrap();
    pair.b.link.handle_progress(Instant::ZERO + PATIENCE / 4, 1000);
    assert!(pair.b.link.take_holding().is_none(), "not for each write");
    pair.b.link.handle_progress(Instant::ZERO + PATIENCE / 2, 2000);
    let now = pair.b.link.take_holding().unwrap();
    assert_eq!(now.taken, said.taken + 2000);
    drop(batch);
}

/// Incomplete answers to this side's calls count as memory, as incomplete messages do.
#[test]
fn an_answer_that_is_not_whole_counts_as_memory() {
    let mut pair = native();
    pair.b.answer = false;
    let id = call(&mut pair.a, b"x", 1).unwrap();
    pair.run(Instant::ZERO);
    pair.b.reader.answer(id.get(), alloc::vec![1; MIB].as_slice().into()).unwrap();
    pair.b.pass(Instant::ZERO, 0).unwrap();
    let out = pair.b.output(Instant::ZERO);
    pair.a.input(Instant::ZERO, &out).unwrap();
    let held =
        |link: &Link<Native, u32>| link.holding().bytes - link.conn.reading.buffered() - link.events.memory();
    assert!(held(&pair.a.link) > 200 * 1024, "{} of {}", held(&pair.a.link), out.len());
    assert_eq!(pair.a.link.kept(crate::frame::Class::Bulk), 0, "it takes nothing of the window");
    pair.run(Instant::ZERO);
    assert!(pair.a.link.poll_reply(id, || 0).is_some_and(|reply| reply.is_ok()));
    assert_eq!(held(&pair.a.link), 0);
}

/// An encoded answer waits for memory: when there is some, the writer is woken for it.
#[test]
fn memory_for_answers_wakes_the_writer() {
    let mut pair = native();
    pair.b.link.count_memory();
    let id = call(&mut pair.a, &alloc::vec![1; MIB / 4], 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!((pair.b.events.len(), pair.b.link.counters().answers_held), (1, 1));
    pair.b.link.take_holding().unwrap();
    let _ = pair.b.link.take_wake();
    assert!(pair.b.link.begin_write(Instant::ZERO).is_none());
    pair.b.link.handle_memory(Instant::ZERO, Verdict::Granted(MIB));
    assert!(pair.b.link.take_wake().write);
    pair.run(Instant::ZERO);
    assert!(pair.a.link.poll_reply(id, || 0).is_some_and(|reply| reply.is_ok()));
}
