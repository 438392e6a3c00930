//! Repeated calls, and their results when they cannot be repeated.

use super::*;
use crate::config::OnDisconnect;
use crate::error::Failure;

fn idempotent() -> CallOptions {
    CallOptions::new(1).timeout(MS * 10_000).idempotent(true)
}

fn reconnect(end: &mut End<Native>) {
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(Instant::ZERO, epoch);
    end.buf = RecvBuf::new();
    end.pass(Instant::ZERO, 0).unwrap();
}

/// The other side is a new process, which accepts messages of that many bytes.
fn another_peer(pair: &mut Pair<Native>, max_message: usize) {
    reconnect(&mut pair.a);
    let mut framing = Native::new();
    framing.set_max_message(max_message).unwrap();
    pair.b = End::new(&Config::with_framing(framing).build().unwrap(), Role::Accepting);
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
}

/// A call that was sent on one connection waits for its second attempt when the next connection ends, or
/// refuses it: it may have run.
#[test]
fn a_call_that_may_have_run_is_never_said_to_be_unsent() {
    for dies in [true, false] {
        let config = Config::builder().on_disconnect(OnDisconnect::Return).build().unwrap();
        let mut pair = Pair::new(&config);
        pair.b.answer = false;
        let id = pair.a.link.call(Instant::ZERO, &idempotent(), (&[7; 5_000]).into(), 1).unwrap();
        pair.run(Instant::ZERO);
        assert_eq!(pair.b.events.len(), 1);
        pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        assert_eq!(pair.a.link.poll_reply(id, || 1), None, "it is made again");
        if dies {
            reconnect(&mut pair.a);
            pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        } else {
            another_peer(&mut pair, 4_096);
        }
        let result = pair.a.link.poll_reply(id, || 1);
        assert!(matches!(result, Some(Err(CallError::MaybeDelivered(_)))), "{dies}: {result:?}");
    }
}

/// A request that was refused with a delay, and is too long for the peer that has connected since.
#[test]
fn a_request_that_waited_is_not_sent_to_a_peer_that_does_not_take_it() {
    let mut pair = native();
    pair.b.answer = false;
    let id = pair.a.link.call(Instant::ZERO, &idempotent(), (&[7; 5_000]).into(), 1).unwrap();
    pair.run(Instant::ZERO);
    pair.b.reader.fail(id.get(), &Failure::new(Status::BUSY, "").retry_after(MS * 100)).unwrap();
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    another_peer(&mut pair, 4_096);
    let later = Instant::ZERO + MS * 100;
    pair.a.link.handle_timeout(later);
    pair.run(later);
    let result = pair.a.link.poll_reply(id, || 1);
    assert!(matches!(result, Some(Err(CallError::Encode(_)))), "{result:?}");
}
