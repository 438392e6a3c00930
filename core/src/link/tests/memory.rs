//! What counts as memory that a link holds.

use super::*;

/// What it holds besides its receive buffer.
fn held(link: &Link<Native, u32>) -> usize {
    link.holding().bytes - link.conn.reading.buffered
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
