//! What counts as memory that a link holds.

use super::*;
use crate::config::Delivery;

fn cast(link: &mut Link<Native, u32>, body: &[u8]) {
    let _queued = link.cast(Instant::ZERO, &CastOptions::new(1), body.into()).unwrap();
}

/// What it holds besides its receive buffer.
fn held(link: &Link<Native, u32>) -> usize {
    link.holding().bytes - link.conn.reading.buffered()
}

#[test]
fn events_that_are_not_read_count_as_memory() {
    let mut pair = native();
    pair.b.link.count_memory();
    let (before, memory) = (held(&pair.b.link), pair.b.link.memory());
    for _ in 0..1_024 {
        pair.b.link.note_failure(Status::FAILED);
    }
    let grown = held(&pair.b.link) - before;
    assert!(grown >= 1_000 * 48, "{grown}");
    assert!(pair.b.link.memory() - memory >= grown);
    while pair.b.link.poll_event(&mut None, || 0).is_some() {}
    assert!(held(&pair.b.link) <= before);
}

#[test]
fn messages_handed_back_and_not_taken_count_as_memory() {
    let mut link: Link<Native, u32> = Link::new(Config::default(), Role::Dialing);
    link.count_memory();
    for _ in 0..100 {
        let _queued = link.cast(Instant::ZERO, &CastOptions::new(1), (&[7; 1_000]).into()).unwrap();
    }
    link.close(Instant::ZERO, Duration::ZERO);
    link.handle_timeout(Instant::ZERO);
    let back = link.take_undelivered();
    assert_eq!(back.len(), 100);
    let mut pair = native();
    pair.b.link.count_memory();
    let before = held(&pair.b.link);
    back.into_iter().for_each(|back| pair.b.link.fail_cast(back));
    let grown = held(&pair.b.link) - before;
    assert!(grown >= 100 * 1_000, "{grown}");
    while pair.b.link.poll_errored(&mut None, || 0).is_some() {}
    while pair.b.link.poll_event(&mut None, || 0).is_some() {}
    assert!(held(&pair.b.link) <= before);
}

#[test]
fn requests_without_a_body_that_run_count_as_memory() {
    let mut pair = native();
    pair.b.handle = true;
    pair.b.link.count_memory();
    let before = held(&pair.b.link);
    for _ in 0..100 {
        call(&mut pair.a, b"", 1).unwrap();
        pair.run(Instant::ZERO);
    }
    assert_eq!(pair.b.handled.len(), 100);
    let grown = held(&pair.b.link) - before;
    assert!(grown >= 100 * 48, "{grown}");
    for inbound in pair.b.handled.drain(..) {
        pair.b.link.finish_inbound(inbound);
    }
    assert!(held(&pair.b.link) <= before);
}

/// A connection that ends while two handlers hold short bodies of one block of its receive buffer.
fn handled_from_a_block(delivery: Delivery) -> Pair<Native> {
    let config = Config::builder().delivery(delivery).build().unwrap();
    let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
    b.link = Link::new(config, Role::Accepting);
    b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    let mut pair = Pair { a, b };
    (pair.b.queue, pair.b.handle) = (true, true);
    pair.b.link.count_memory();
    pair.run(Instant::ZERO);
    // Long reads, so that the buffer is a whole block.
    for _ in 0..200 {
        cast(&mut pair.a.link, &[1; 1_000]);
    }
    pair.run(Instant::ZERO);
    pair.b.link.drop_received();
    pair.run(Instant::ZERO);
    // Then one that fills a quarter of it.
    call(&mut pair.a, &[2; 200], 1).unwrap();
    (0..20).for_each(|_| cast(&mut pair.a.link, &[3; 1_000]));
    call(&mut pair.a, &[4; 200], 1).unwrap();
    let out = pair.a.output(Instant::ZERO);
    pair.b.input(Instant::ZERO, &out).unwrap();
    assert_eq!(pair.b.handled.len(), 2);
    let block = pair.b.bodies[0].block().expect("of the buffer").len();
    assert!(block >= 64 * 1024, "{block}");
    let unused = Reader::new(Native::new(), 1, crate::config::OnFailure::default());
    let reader = core::mem::replace(&mut pair.b.reader, unused);
    pair.b.link.retire_reader(Instant::ZERO, reader, core::mem::take(&mut pair.b.buf));
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    pair
}

/// What it holds besides events that were not read.
fn without_events(link: &Link<Native, u32>) -> usize {
    link.holding().bytes - link.events.memory()
}

#[test]
fn blocks_that_handlers_share_count_until_the_handlers_end() {
    const BLOCK: usize = 64 * 1024;
    let mut pair = handled_from_a_block(Delivery::AtMostOnce);
    let End { link, handled, bodies, .. } = &mut pair.b;
    assert_eq!(link.state(), State::Closed);
    link.drop_received();
    let requests = 2 * (200 + 128);
    assert_eq!((without_events(link), link.handled()), (BLOCK + requests, Some(BLOCK + requests)));
    while link.take_holding().is_some() {}
    bodies.pop();
    link.finish_inbound(handled[1]);
    assert!(link.has_wakes(), "a handler of a link that is over has ended");
    let events = link.events.memory();
    let said = link.take_holding().map(|holding| holding.bytes);
    assert_eq!(said, Some(BLOCK + requests / 2 + events));
    assert_eq!(link.handled(), Some(BLOCK + requests / 2));
    link.answer(handled[0], Ok(b"late".into()));
    assert!(link.take_holding().is_some());
    assert_eq!(link.handled(), None);
    // A verdict is no reason for another report.
    link.handle_memory(Instant::ZERO, crate::memory::Verdict::Granted(0));
    assert_eq!(link.take_holding(), None);
    bodies.clear();
    assert_eq!(without_events(link), 0);
}

#[test]
fn blocks_of_earlier_connections_of_a_session_count() {
    const BLOCK: usize = 64 * 1024;
    let mut pair = handled_from_a_block(Delivery::Session);
    let End { link, bodies, .. } = &mut pair.b;
    link.drop_received();
    let detached = link.holding().bytes;
    assert!(link.is_detached() && detached > BLOCK, "{detached}");
    let _reader = link.handle_connected(Instant::ZERO, link.epoch().next());
    assert!(link.holding().bytes >= detached && link.memory() > BLOCK);
    bodies.clear();
    assert!(link.holding().bytes <= detached - BLOCK);
}

#[test]
fn what_a_layer_holds_counts_while_its_connection_lasts() {
    let mut pair = native();
    pair.b.link.count_memory();
    let before = pair.b.link.holding().bytes;
    while pair.b.link.take_holding().is_some() {}
    pair.b.link.note_held_below(20_000);
    assert_eq!(pair.b.link.take_holding().map(|holding| holding.bytes), Some(before + 20_000));
    pair.b.link.handle_memory(Instant::ZERO, crate::memory::Verdict::Granted(64 * 1024));
    pair.b.link.note_held_below(30_000);
    assert_eq!(pair.b.link.take_holding(), None, "it is within what was granted");
    pair.b.link.note_held_below(0);
    assert_eq!(pair.b.link.take_holding().map(|holding| holding.bytes), Some(before));
    pair.b.link.note_held_below(40_000);
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    assert_eq!(without_events(&pair.b.link), 0);
}
