//! Messages that wait behind a request that cannot start, on a connection that ends.

use super::*;
use crate::config::Delivery;

fn config(delivery: Delivery) -> Config<Native> {
    Config::builder().max_inbound_bytes(1).delivery(delivery).build().unwrap()
}

/// One request runs at `b`, another waits for its end, and a cast waits behind that.
fn waiting(delivery: Delivery) -> Pair<Native> {
    let config = config(delivery);
    let (a, mut b) = (End::new(&config, Role::Dialing), End::new(&config, Role::Accepting));
    b.link = Link::new(config, Role::Accepting);
    b.link.offer_session(SessionIdentity { id: 5, token: [7; 16] });
    b.reader = b.link.handle_connected(Instant::ZERO, Epoch::FIRST);
    b.handle = true;
    let mut pair = Pair { a, b };
    pair.run(Instant::ZERO);
    for body in [b"runs", b"wait"] {
        call(&mut pair.a, body, 1).unwrap();
    }
    let _queued = pair.a.link.cast(Instant::ZERO, &CastOptions::new(7), b"behind".as_slice().into()).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!((pair.b.handled.len(), pair.b.events.len()), (1, 0));
    pair
}

/// Ends the connection of `b`. Returns the delivered messages.
fn end(b: &mut End<Native>, cause: &Disconnect) -> Vec<(u32, Vec<u8>)> {
    let (now, mut over) = (Instant::ZERO, Vec::new());
    let End { link, reader, buf, .. } = b;
    let mut access = &mut *link;
    while let Some(event) = Link::next_leftover(reader, &mut access, now, buf, cause) {
        let Event::Message(message) = event else { panic!("{event:?}") };
        over.push((message.method(), message.body.to_vec()));
    }
    Link::end_input(reader, &mut access, now, buf);
    let reader = core::mem::replace(reader, Reader::new(Native::default(), 1, Default::default()));
    link.retire_reader(now, reader, core::mem::take(buf));
    link.handle_disconnected(now, None, cause.clone());
    over
}

#[test]
fn they_are_handed_over_where_there_is_no_session() {
    for cause in [Disconnect::PeerClosed, Disconnect::LocalClose] {
        let mut pair = waiting(Delivery::AtMostOnce);
        let over = end(&mut pair.b, &cause);
        assert_eq!(over, [(7, b"behind".to_vec())], "{cause:?}");
        let counters = pair.b.link.counters();
        assert_eq!((counters.messages, counters.messages_dropped, counters.requests), (1, 0, 1));
    }
}

#[test]
fn they_wait_for_the_next_connection_of_a_session() {
    let mut pair = waiting(Delivery::Session);
    assert_eq!(end(&mut pair.b, &Disconnect::PeerClosed), []);
    assert_eq!(pair.b.link.counters().messages_dropped, 0);
}

#[test]
fn they_are_handed_over_where_the_session_ends_with_its_connection() {
    let mut pair = waiting(Delivery::Session);
    let over = end(&mut pair.b, &Disconnect::LocalClose);
    assert_eq!(over, [(7, b"behind".to_vec())]);
    let counters = pair.b.link.counters();
    assert_eq!((counters.messages, counters.messages_dropped), (1, 0));
}
