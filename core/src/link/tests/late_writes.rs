//! Batches that come back when their connection is over, and deadlines that pass while a message is in one.

use super::*;
use crate::arena::Batch;
use crate::config::{Delivery, OnDisconnect};
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

/// A link that repeats a batch, on its second connection; the batch of the first connection is still with its
/// writer.
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

/// A writer that noticed the end late stopped in the middle of a message: the peer received at most its
/// beginning.
#[test]
fn half_a_message_of_a_late_batch_was_never_sent() {
    fn outcome<F: Framing>(framing: F) -> Outcome {
        let config = Config::with_framing(framing).on_disconnect(OnDisconnect::Return).build().unwrap();
        let mut end = End::new(&config, Role::Dialing);
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

/// A message whose deadline passes while it, or a fragment of it, is being written expires when its
/// connection has ended.
#[test]
fn what_comes_back_too_late_expires() {
    const WAIT: Duration = Duration::from_secs(1);
    for (len, taken) in [(10, 0), (10, 5), (100_000, 0), (100_000, 1)] {
        let config = Config::builder().expire_after(WAIT).on_disconnect(OnDisconnect::Keep).build().unwrap();
        let mut pair = Pair::new(&config);
        let number = cast(&mut pair.a, &alloc::vec![7; len]);
        pair.a.link.watch_outcome(number, 1);
        let mut batch = pair.a.link.begin_write(Instant::ZERO).unwrap();
        batch.wrote(if taken == 1 { batch.len() } else { taken });
        let batch = match taken {
            // Its first fragments are sent, and others have not been taken yet.
            1 => {
                let _more = pair.a.link.end_write(Instant::ZERO, batch);
                None
            }
            _ => Some(batch),
        };
        // Others are cast in the meantime, and unwatched ones are forgotten.
        let later = Instant::ZERO + WAIT / 2;
        let _queued = pair.a.link.cast(later, &CastOptions::new(0), b"later".as_slice().into()).unwrap();
        let over = Instant::ZERO + WAIT;
        pair.a.link.handle_timeout(over);
        assert_eq!(pair.a.link.poll_outcome(number, || 1), None, "it may be on its way");
        pair.a.link.handle_disconnected(over, batch, Disconnect::PeerClosed);
        let back = pair.a.link.poll_outcome(number, || 1).unwrap().unwrap_err();
        assert_eq!((back.outcome, back.body.len()), (Outcome::Expired, len), "{taken} bytes were taken");
        assert_eq!(pair.a.link.counters().casts_expired, 1);
        reconnect(&mut pair.a);
        pair.b = End::new(&config, Role::Accepting);
        pair.b.pass(Instant::ZERO, 0).unwrap();
        pair.run(over);
        assert_eq!(pair.b.events.len(), 1, "the one whose time is not over");
    }
}

/// A message whose caller was woken because its time was over, and that came back when the link ended, is
/// reported to its caller and not also returned by `close`.
#[test]
fn what_is_about_to_be_told_is_not_handed_back_besides() {
    let mut end = End::new(&Config::with_framing(Buffstreams::new()).build().unwrap(), Role::Dialing);
    end.pass(Instant::ZERO, 0).unwrap();
    let number = cast(&mut end, b"late");
    end.link.watch_outcome_for(Instant::ZERO, MS, frame::Class::Normal, number, 1);
    let batch = end.link.begin_write(Instant::ZERO).unwrap();
    end.link.handle_timeout(Instant::ZERO + MS);
    assert_eq!(end.tokens(), [1]);
    end.link.handle_disconnected(Instant::ZERO + MS, Some(batch), Disconnect::PeerClosed);
    end.link.give_up(Instant::ZERO + MS, Disconnect::PeerClosed);
    assert_eq!(end.link.take_undelivered(), []);
    let told = end.link.poll_outcome(number, || 1).unwrap().unwrap_err();
    assert_eq!((told.number, told.outcome), (number, Outcome::MaybeDelivered));
}

/// A written message that is sent again because the system may have lost it is sent regardless of its
/// deadline.
#[test]
fn what_is_sent_again_does_not_expire() {
    const WAIT: Duration = Duration::from_secs(1);
    for dies in [WAIT / 2, WAIT * 2] {
        let config = Config::with_framing(Buffstreams::new()).expire_after(WAIT).resend_window(1_000);
        let config = config.delivery(Delivery::AtLeastOnce { retry_limit: 3 }).build().unwrap();
        let mut end = End::new(&config, Role::Dialing);
        end.pass(Instant::ZERO, 0).unwrap();
        let options = CastOptions::new(0).notify(true);
        let _queued = end.link.cast(Instant::ZERO, &options, b"again".as_slice().into()).unwrap();
        let first = end.output(Instant::ZERO);
        for at in [WAIT / 2, WAIT, WAIT * 2] {
            if at == dies {
                end.link.handle_disconnected(Instant::ZERO + at, None, Disconnect::PeerClosed);
            }
            end.link.handle_timeout(Instant::ZERO + at);
        }
        reconnect(&mut end);
        assert_eq!(end.output(Instant::ZERO + WAIT * 3), first);
        assert_eq!(end.link.counters().casts_expired, 0);
    }
}

/// A client whose connection ended while a writer had the cast `one`; it is connected again, and has cast
/// `two`.
fn with_a_late_cast() -> (Pair<Native>, Batch, u64) {
    let mut pair = native();
    let number = cast(&mut pair.a, b"one");
    pair.a.link.watch_outcome(number, 1);
    let late = pair.a.link.begin_write(Instant::ZERO).unwrap();
    pair.a.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    cast(&mut pair.a, b"two");
    pair.b = End::new(&Config::default(), Role::Accepting);
    reconnect(&mut pair.a);
    pair.b.pass(Instant::ZERO, 0).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.a.link.state(), State::Ready);
    (pair, late, number)
}

fn bodies<F: Framing>(end: &End<F>) -> Vec<&[u8]> {
    end.events.iter().map(|(_, _, body)| &body[..]).collect()
}

#[test]
fn what_never_left_goes_out_on_the_next_connection_however_late_its_writer_is() {
    let (mut pair, late, number) = with_a_late_cast();
    assert_eq!(bodies(&pair.b), Vec::<&[u8]>::new(), "it would overtake what the writer has");
    assert!(!pair.a.link.is_drained());
    let _more = pair.a.link.end_write(Instant::ZERO, late);
    pair.run(Instant::ZERO);
    assert_eq!(bodies(&pair.b), [b"one", b"two"]);
    assert_eq!(pair.a.link.poll_outcome(number, || 1), Some(Ok(Outcome::Written)));
    assert!(pair.a.link.poll_errored(&mut None, || 0).is_none());
}

#[test]
fn what_left_with_a_late_writer_is_not_repeated() {
    let (mut pair, mut late, number) = with_a_late_cast();
    late.wrote(late.len());
    let _more = pair.a.link.end_write(Instant::ZERO, late);
    pair.run(Instant::ZERO);
    assert_eq!(bodies(&pair.b), [b"two"]);
    assert_eq!(pair.a.link.poll_outcome(number, || 1), Some(Ok(Outcome::Written)));
}

/// A stream whose write never returns delays its link for no longer than the stall limit.
#[test]
fn a_writer_that_does_not_come_back_is_given_up() {
    let (mut pair, late, number) = with_a_late_cast();
    let stall = Config::default().settings().write_stall;
    let due = Instant::ZERO + stall;
    let mut now = Instant::ZERO;
    while now < due {
        now = pair.a.link.poll_timeout().unwrap().0;
        assert!(now <= due);
        pair.a.link.handle_timeout(now);
        pair.b.link.handle_timeout(now);
        assert!(bodies(&pair.b).is_empty());
        if now < due {
            pair.run(now);
        }
    }
    assert!(pair.a.link.take_wake().write);
    pair.run(now);
    assert_eq!(bodies(&pair.b), [b"two"]);
    assert!(pair.a.link.poll_timeout().unwrap().0 > now);
    // If it returns after all, its messages are handed back.
    let _more = pair.a.link.end_write(now, late);
    let back = pair.a.link.poll_outcome(number, || 1).unwrap().unwrap_err();
    assert_eq!((back.outcome, &back.body[..]), (Outcome::NeverSent, &b"one"[..]));
    pair.run(now);
    assert_eq!(bodies(&pair.b), [b"two"]);
}
