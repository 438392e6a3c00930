//! Batches that come back when their connection is over, and deadlines that pass while a message is in one.

use super::*;
use crate::arena::Batch;
use crate::config::Delivery;
use crate::frame::buffstreams::Buffstreams;

fn cast<F: Framing>(end: &mut End<F>, body: &[u8]) -> u64 {
    end.link.cast(Instant::ZERO, &CastOptions::new(0), body.into()).unwrap().number
}

fn reconnect<F: Framing>(end: &mut End<F>) {
    let epoch = end.link.epoch().next();
    end.reader = end.link.handle_connected(Instant::ZERO, epoch);
    end.buf = RecvBuf::new();
    end.pass(Instant::ZERO, 0).unwrap();
}

/// A link that sends again what was being written, on its second connection; the batch of the first is
/// still with its writer.
fn with_a_late_batch() -> (Pair<Tcpstream>, Batch) {
    let limit = QueueLimit { messages: 1_000, bytes: 4_096 };
    let config = Config::with_framing(Tcpstream::new()).write_queue(limit);
    let config = config.delivery(Delivery::AtLeastOnce { retry_limit: 3 }).build().unwrap();
    let mut pair = Pair::new(&config);
    cast(&mut pair.a, b"late");
    let late = pair.a.link.begin_write(Instant::ZERO).unwrap();
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    reconnect(&mut pair.a);
    (pair, late)
}

#[test]
fn a_late_batch_costs_the_next_connection_no_answer() {
    let (mut pair, late) = with_a_late_batch();
    pair.a.handle = true;
    let calls: Vec<CallId> = (0..3).map(|_| call(&mut pair.b, b"x", 1).unwrap()).collect();
    let out = pair.b.output(Instant::ZERO);
    pair.a.input(Instant::ZERO, &out).unwrap();
    for inbound in core::mem::take(&mut pair.a.handled) {
        pair.a.link.answer(inbound, Ok([7; 5_000].as_slice().into()));
    }
    assert_eq!(pair.a.link.counters().answers_held, 2, "there is room for one of them");
    let _more = pair.a.link.end_write(Instant::ZERO, late);
    pair.run(Instant::ZERO);
    for id in calls {
        assert!(pair.b.link.poll_reply(id, || 0).is_some_and(|reply| reply.is_ok()));
    }
    assert_eq!(pair.a.link.counters().answers_dropped, 0);
}

#[test]
fn a_late_batch_makes_no_call_of_the_next_connection_wait() {
    let (mut pair, late) = with_a_late_batch();
    let options = CallOptions::new(1).fail_fast(true);
    let id = pair.a.link.call(Instant::ZERO, &options, b"x".as_slice().into(), 1).unwrap();
    let _more = pair.a.link.end_write(Instant::ZERO, late);
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    let result = pair.a.link.poll_reply(id, || 0);
    assert!(matches!(result, Some(Err(CallError::NeverSent(_)))), "{result:?}");
}

/// A writer that noticed late stopped in the middle of a message: the peer saw its beginning, if it sees
/// bytes at all.
#[test]
fn half_a_message_of_a_late_batch_was_never_sent() {
    fn outcome<F: Framing>(framing: F) -> Outcome {
        let mut end = End::new(&Config::with_framing(framing).build().unwrap(), Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        let number = cast(&mut end, b"half of it");
        end.link.watch_outcome(number, 1);
        let mut late = end.link.begin_write(Instant::ZERO).unwrap();
        end.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
        late.wrote(5);
        let _more = end.link.end_write(Instant::ZERO, late);
        let back = end.link.poll_outcome(number, || 1).unwrap().unwrap_err();
        assert_eq!(&back.body[..], b"half of it");
        back.outcome
    }
    assert_eq!(outcome(Buffstreams::new()), Outcome::NeverSent);
    assert_eq!(outcome(Raw::new()), Outcome::MaybeDelivered);
}
