use alloc::string::String;
use alloc::vec::Vec;
use core::task::Poll;
use core::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const NOW: Instant = Instant::ZERO;

type Words = Batcher<&'static str, u8, u64, &'static str, u32>;

fn batcher(settings: Settings) -> Words {
    Batcher::new(settings, 42).expect("it can work")
}

fn lend(batcher: &mut Words, now: Instant) -> Batch<&'static str, u64, &'static str> {
    match batcher.poll_batch(now, || 0) {
        Step::Batch(batch) => batch,
        other => panic!("no batch: {other:?}"),
    }
}

fn waits(batcher: &mut Words, now: Instant) -> Option<Instant> {
    match batcher.poll_batch(now, || 0) {
        Step::Wait(until) => until,
        other => panic!("no wait: {other:?}"),
    }
}

/// All messages of the batch get positions from 0.
fn append(batcher: &mut Words, now: Instant) -> Vec<&'static str> {
    let mut batch = lend(batcher, now);
    let messages = batch.messages().to_vec();
    for index in 0..messages.len() {
        batch.answers().answer(index, Ok(index as u64));
    }
    batcher.end_batch(now, batch);
    messages
}

fn fail(batcher: &mut Words, now: Instant, failed: Failed<&'static str>) {
    let mut batch = lend(batcher, now);
    batch.answers().fail_rest(failed);
    batcher.end_batch(now, batch);
}

fn woken(batcher: &mut Words) -> Vec<u32> {
    let mut tokens = Vec::new();
    batcher.take_tokens(&mut tokens);
    tokens
}

#[test]
fn while_a_batch_is_under_way_the_next_one_gathers() {
    let mut batcher = batcher(Settings::default());
    assert_eq!(waits(&mut batcher, NOW), None);
    let _first = batcher.send(NOW, "first", 5).expect("room");
    assert_eq!(woken(&mut batcher), [0], "the driver");
    let mut batch = lend(&mut batcher, NOW);
    assert_eq!(batch.messages(), ["first"], "a lone message waits for nothing");
    let _second = batcher.send(NOW, "second", 6).expect("room");
    let _third = batcher.send(NOW, "third", 5).expect("room");
    assert!(waits(&mut batcher, NOW).is_some());
    batch.answers().answer(0, Ok(7));
    batcher.end_batch(NOW, batch);
    assert_eq!(append(&mut batcher, NOW), ["second", "third"]);
}

#[test]
fn a_message_longer_than_the_buffer_goes_alone() {
    let mut batcher = batcher(Settings::default().buffer_bytes(10));
    for (message, bytes) in [("a", 4), ("long", 30), ("b", 4)] {
        let _ = batcher.send_and_forget(NOW, message, bytes).expect("it waits");
    }
    assert_eq!(batcher.blocked(), 2);
    for message in ["a", "long", "b"] {
        assert_eq!(append(&mut batcher, NOW), [message]);
    }
}

#[test]
fn a_full_buffer_blocks_or_gives_the_message_back() {
    let mut batcher = batcher(Settings::default().buffer(1));
    let _ = batcher.send(NOW, "first", 5).expect("room");
    let refused = batcher.try_send(NOW, "second", 6).expect_err("full");
    assert_eq!((refused.message, refused.why), ("second", Refusal::BufferFull));
    assert!(refused.is_retryable());
    let blocked = batcher.send(NOW, "third", 5).expect("it waits");
    assert!(batcher.poll_send(blocked, || 3).is_pending());
    assert_eq!(append(&mut batcher, NOW), ["first"]);
    assert!(batcher.try_send(NOW, "late", 4).is_err(), "the one that waited is in the buffer");
    assert_eq!(append(&mut batcher, NOW), ["third"]);
    assert_eq!(woken(&mut batcher), [3], "once, with its result");
    assert_eq!(batcher.poll_send(blocked, || 3), Poll::Ready(Ok(0)));
}

#[test]
fn only_a_sender_that_is_alone_takes_the_drivers_turn() {
    let mut batcher = batcher(Settings::default());
    let one = batcher.send(NOW, "one", 3).expect("room");
    assert_eq!(batcher.take_turn(), None, "the driver does not wait yet");
    assert_eq!(append(&mut batcher, NOW), ["one"]);
    assert_eq!(batcher.poll_send(one, || 1), Poll::Ready(Ok(0)));
    assert_eq!(waits(&mut batcher, NOW), None);
    let _ = batcher.send(NOW, "alone", 5).expect("room");
    assert_eq!(batcher.take_turn(), Some(0));
    assert!(!batcher.has_tokens() && woken(&mut batcher).is_empty(), "the sender has it");
    let _ = batcher.send(NOW, "another", 7).expect("room");
    assert_eq!(append(&mut batcher, NOW), ["alone", "another"]);
    assert_eq!(waits(&mut batcher, NOW), None);
    let _ = batcher.send(NOW, "of several", 10).expect("room");
    assert_eq!(batcher.take_turn(), None, "the last batch had two");
    assert_eq!(woken(&mut batcher), [0], "the driver is woken");
}

#[test]
fn a_message_that_lingers_is_the_drivers() {
    let mut batcher = batcher(Settings::default().linger(MS));
    assert_eq!(waits(&mut batcher, NOW), None);
    let _ = batcher.send(NOW, "one", 3).expect("room");
    assert_eq!((batcher.take_turn(), woken(&mut batcher)), (None, [0].to_vec()));
}

#[test]
fn linger_ends_with_its_time_or_a_full_buffer() {
    let mut batcher = batcher(Settings::default().buffer(2).linger(MS * 10));
    let _ = batcher.send(NOW, "one", 3).expect("room");
    assert_eq!(waits(&mut batcher, NOW), Some(NOW + MS * 10));
    let _ = batcher.send(NOW + MS, "two", 3).expect("room");
    assert_eq!(woken(&mut batcher), [0], "full");
    assert_eq!(append(&mut batcher, NOW + MS), ["one", "two"]);
    let _ = batcher.send(NOW + MS * 2, "three", 5).expect("room");
    assert_eq!(append(&mut batcher, NOW + MS * 12), ["three"]);
}

#[test]
fn only_what_was_not_appended_is_tried_again_in_the_same_order() {
    let mut batcher = batcher(Settings::default().retries(Retries::Times(1)));
    let ids = ["a", "b", "c", "d"].map(|message| batcher.send(NOW, message, 1).expect("room"));
    let mut batch = lend(&mut batcher, NOW);
    batch.answers().answer(0, Err(Failed::not_appended("busy").retryable(true)));
    batch.answers().answer(1, Ok(9));
    batch.answers().answer(2, Err(Failed::maybe_appended("lost").retryable(true)));
    batch.answers().answer(3, Err(Failed::not_appended("busy").retryable(true)));
    batcher.end_batch(NOW, batch);
    assert_eq!(batcher.poll_send(ids[1], || 1), Poll::Ready(Ok(9)));
    assert_eq!(batcher.poll_send(ids[2], || 1), Poll::Ready(Err(SendError::MaybeAppended(Some("lost")))));

    let _late = batcher.send(NOW, "late", 4).expect("room");
    let at = waits(&mut batcher, NOW).expect("a retry");
    assert!(at >= NOW + MS * 400 && at <= NOW + MS * 500, "{at:?}");
    let mut batch = lend(&mut batcher, at);
    assert_eq!((batch.messages(), batch.attempt()), (&["a", "d"][..], 2), "what came meanwhile waits");
    batch.answers().answer(0, Err(Failed::not_appended("still busy").retryable(true)));
    batch.answers().answer(1, Ok(11));
    batcher.end_batch(at, batch);
    assert_eq!(batcher.poll_send(ids[0], || 1), Poll::Ready(Err(SendError::Failed("still busy"))));
    assert_eq!(append(&mut batcher, at), ["late"]);
}

#[test]
fn at_least_once_repeats_what_may_have_been_appended_and_never_denies_it() {
    let settings = Settings::default().retries(Retries::Times(1)).at_least_once(true);
    let mut batcher = batcher(settings);
    let id = batcher.send(NOW, "a", 1).expect("room");
    fail(&mut batcher, NOW, Failed::maybe_appended("lost").retryable(true));
    let at = waits(&mut batcher, NOW).expect("a retry");
    fail(&mut batcher, at, Failed::not_appended("refused"));
    assert_eq!(batcher.poll_send(id, || 1), Poll::Ready(Err(SendError::MaybeAppended(Some("lost")))));
}

#[test]
fn the_delivery_time_ends_a_wait_but_no_attempt() {
    let settings = Settings::default().retries(Retries::Unlimited).delivery_timeout(S);
    let mut batcher = batcher(settings);
    let first = batcher.send(NOW, "first", 5).expect("room");
    let mut batch = lend(&mut batcher, NOW);
    let second = batcher.send(NOW, "second", 6).expect("room");
    assert_eq!(batcher.next_timeout(), Some(NOW + S));
    batcher.handle_timeout(NOW + S);
    assert_eq!(batcher.poll_send(second, || 2), Poll::Ready(Err(SendError::Expired(None))));
    assert!(batcher.poll_send(first, || 1).is_pending(), "an attempt is made with it");
    batch.answers().fail_rest(Failed::not_appended("busy").retryable(true));
    batcher.end_batch(NOW + S, batch);
    assert_eq!(batcher.poll_send(first, || 1), Poll::Ready(Err(SendError::Expired(Some("busy")))));

    let third = batcher.send(NOW + S, "third", 5).expect("room");
    fail(&mut batcher, NOW + S, Failed::not_appended("busy").retryable(true));
    batcher.handle_timeout(NOW + S * 2);
    assert_eq!(batcher.poll_send(third, || 3), Poll::Ready(Err(SendError::Expired(Some("busy")))));
    assert_eq!((batcher.under_way(), batcher.kept()), (0, 0));
}

#[test]
fn results_come_in_order_and_hold_places_until_they_are_taken() {
    let settings = Settings::default().places(2).retries(Retries::Times(3));
    let mut batcher = batcher(settings);
    let (slow, other) = (batcher.add_receiver(), batcher.add_receiver());
    for (message, reference) in [("a", 1), ("b", 2)] {
        let sent = batcher.send_with_reference(NOW, message, 1, slow, reference).expect("room");
        assert_eq!(sent, Admission::Accepted);
    }
    let refused = batcher.try_send_with_reference(NOW, "c", 1, slow, 3).expect_err("no place");
    assert_eq!((refused.message, refused.why), (("c", 3), Refusal::BufferFull));
    let Ok(Admission::Waits(c)) = batcher.send_with_reference(NOW, "c", 1, slow, 3) else {
        panic!("it waits")
    };
    assert!(batcher.poll_admission(c, || 33).is_pending());
    assert!(batcher.poll_result(slow, || 30).is_pending());

    let mut batch = lend(&mut batcher, NOW);
    batch.answers().answer(0, Err(Failed::not_appended("busy").retryable(true)));
    batch.answers().answer(1, Ok(5));
    batcher.end_batch(NOW, batch);
    assert!(batcher.poll_result(slow, || 30).is_pending(), "b has its result, a comes first");
    let at = waits(&mut batcher, NOW).expect("a retry");
    assert_eq!(append(&mut batcher, at), ["a"]);
    assert_eq!(woken(&mut batcher), [30]);

    // A receiver that takes nothing delays only its own senders.
    for reference in 0..2 {
        batcher.try_send_with_reference(at, "x", 1, other, reference).expect("places of its own");
    }
    batcher.try_send_and_forget(at, "y", 1).expect("room");
    assert_eq!(append(&mut batcher, at), ["x", "x", "y"]);
    assert_eq!(batcher.blocked(), 1);

    let taken = |poll| match poll {
        Poll::Ready(Some(Sent { reference, message, result })) => (reference, message, result),
        _ => panic!("nothing to take"),
    };
    assert_eq!(taken(batcher.poll_result(slow, || 0)), (1, "a", Ok(0)));
    assert_eq!(woken(&mut batcher), [0, 33], "the driver, and who waited for a place");
    assert_eq!(batcher.poll_admission(c, || 33), Poll::Ready(Ok(())));
    assert_eq!(taken(batcher.poll_result(slow, || 0)), (2, "b", Ok(5)));
}

#[test]
fn a_receiver_that_goes_gives_messages_back() {
    let mut batcher = batcher(Settings::default().places(1));
    let receiver = batcher.add_receiver();
    let _ = batcher.send_with_reference(NOW, "a", 1, receiver, 1).expect("room");
    let Ok(Admission::Waits(b)) = batcher.send_with_reference(NOW, "b", 1, receiver, 2) else {
        panic!("b waits")
    };
    batcher.remove_receiver(NOW, receiver);
    let Poll::Ready(Err(refused)) = batcher.poll_admission(b, || 0) else { panic!("refused") };
    assert_eq!((refused.message, refused.why), (("b", Some(2)), Refusal::NoReceiver));
    let refused = batcher.send_with_reference(NOW, "c", 1, receiver, 3).expect_err("it is gone");
    assert_eq!(refused.why, Refusal::NoReceiver);
    assert_eq!(append(&mut batcher, NOW), ["a"]);
    assert_eq!((batcher.stats().appended, batcher.stats().discarded, batcher.kept()), (1, 1, 0));
}

#[test]
fn failures_of_what_was_forgotten_are_counted() {
    let mut batcher = batcher(Settings::default());
    for message in ["a", "b"] {
        let _ = batcher.send_and_forget(NOW, message, 1).expect("room");
    }
    fail(&mut batcher, NOW, Failed::not_appended("full"));
    let failures = batcher.take_failures().expect("two");
    assert_eq!((failures.count, failures.last), (2, SendError::Failed("full")));
    assert_eq!(batcher.take_failures(), None);
    assert_eq!(batcher.last_cause(), Some(&"full"));
}

#[test]
fn a_dropped_send_withdraws_its_message_unless_a_batch_took_it() {
    let mut batcher = batcher(Settings::default().buffer(1));
    let first = batcher.send(NOW, "first", 1).expect("room");
    let second = batcher.send(NOW, "second", 1).expect("it waits");
    let third = batcher.send(NOW, "third", 1).expect("it waits");
    assert_eq!(batcher.withdraw(NOW, second), Some("second"));
    assert_eq!(batcher.withdraw(NOW, first), Some("first"));
    assert_eq!((batcher.waiting(), batcher.blocked()), (1, 0), "third has the room");
    let batch = lend(&mut batcher, NOW);
    assert_eq!(batch.messages(), ["third"]);
    assert_eq!(batcher.withdraw(NOW, third), None);
    batcher.end_batch(NOW, batch);
    let stats = batcher.stats();
    assert_eq!((stats.withdrawn, stats.maybe_appended, stats.discarded), (1, 1, 1));
    assert_eq!(batcher.kept(), 0);
}

#[test]
fn a_close_tries_what_waits_once_and_at_once() {
    let mut batcher = batcher(Settings::default().buffer(2).retries(Retries::Unlimited));
    let ids = ["a", "b", "c", "d", "e"].map(|message| batcher.send(NOW, message, 1).expect("it waits"));
    fail(&mut batcher, NOW, Failed::not_appended("busy").retryable(true));
    assert!(waits(&mut batcher, NOW).expect("a retry") > NOW);
    let mut ticket = None;
    batcher.close(NOW, S * 2);
    assert_eq!(woken(&mut batcher), [0], "the driver");
    assert!(batcher.poll_closed(&mut ticket, || 9).is_pending());
    batcher.close(NOW, S * 5);
    let result = batcher.poll_send(ids[4], || 1);
    assert_eq!(result, Poll::Ready(Err(SendError::Closed(Some("busy")))), "it had no room");
    assert_eq!(batcher.try_send(NOW, "f", 1).expect_err("closing").why, Refusal::Closed);
    // The batch that waited for a retry, once; then what was in the buffer.
    fail(&mut batcher, NOW, Failed::not_appended("still").retryable(true));
    assert_eq!(batcher.poll_send(ids[0], || 1), Poll::Ready(Err(SendError::Closed(Some("still")))));
    assert_eq!(append(&mut batcher, NOW), ["c", "d"]);
    assert!(matches!(batcher.poll_batch(NOW, || 0), Step::Closed));
    assert_eq!(woken(&mut batcher), [9]);
    assert_eq!(batcher.poll_closed(&mut ticket, || 9), Poll::Ready(()));
}

#[test]
fn what_a_close_leaves_over_is_told() {
    let mut batcher = batcher(Settings::default());
    let first = batcher.send(NOW, "first", 1).expect("room");
    let batch = lend(&mut batcher, NOW);
    let second = batcher.send(NOW, "second", 1).expect("room");
    batcher.close(NOW, S * 2);
    assert_eq!(batcher.next_timeout(), Some(NOW + S * 2));
    assert!(!batcher.is_overdue(NOW + S));
    batcher.handle_timeout(NOW + S * 2);
    assert!(batcher.is_overdue(NOW + S * 2));
    assert_eq!(batcher.poll_send(second, || 1), Poll::Ready(Err(SendError::Closed(None))));
    batcher.end_batch(NOW + S * 2, batch);
    assert_eq!(batcher.poll_send(first, || 1), Poll::Ready(Err(SendError::MaybeAppended(None))));
    assert!(batcher.is_closed());
}

#[test]
fn what_only_waited_is_not_said_to_be_in_doubt() {
    let settings = || Settings::default().buffer(1).delivery_timeout(S * 5);
    // It expires.
    let mut one = batcher(settings());
    let _first = one.send(NOW, "first", 1).expect("room");
    let mut batch = lend(&mut one, NOW);
    let [second, third] = ["second", "third"].map(|message| one.send(NOW, message, 1).expect("it waits"));
    batch.answers().fail_rest(Failed::maybe_appended("lost"));
    one.end_batch(NOW, batch);
    assert_eq!((one.last_cause(), one.cause_of_waiting()), (Some(&"lost"), None));
    one.handle_timeout(NOW + S * 5);
    assert_eq!(one.poll_send(second, || 1), Poll::Ready(Err(SendError::Expired(None))));
    // It had no room, or waits, when the batcher is closed.
    one.give_up(NOW + S * 5);
    assert_eq!(one.poll_send(third, || 1), Poll::Ready(Err(SendError::Closed(None))));
    // A cause that says "not appended" is one for what waits, too.
    let mut one = batcher(settings());
    let _first = one.send(NOW, "first", 1).expect("room");
    fail(&mut one, NOW, Failed::not_appended("busy"));
    let second = one.send(NOW, "second", 1).expect("room");
    one.handle_timeout(NOW + S * 5);
    assert_eq!(one.poll_send(second, || 1), Poll::Ready(Err(SendError::Expired(Some("busy")))));
}

#[test]
fn what_made_a_message_doubtful_stays_its_cause() {
    let again = |failed: Failed<&'static str>| failed.retryable(true);
    let mut one = batcher(Settings::default().retries(Retries::Times(1)).at_least_once(true));
    let id = one.send(NOW, "message", 1).expect("room");
    fail(&mut one, NOW, again(Failed::maybe_appended("lost")));
    fail(&mut one, NOW + S, Failed::not_appended("busy"));
    assert_eq!(one.poll_send(id, || 1), Poll::Ready(Err(SendError::MaybeAppended(Some("lost")))));
    // And an attempt without an answer has no cause that says "not appended".
    let id = one.send(NOW + S, "message", 1).expect("room");
    fail(&mut one, NOW + S, again(Failed::not_appended("busy")));
    let batch = lend(&mut one, NOW + S * 2);
    one.end_batch(NOW + S * 2, batch);
    assert_eq!(one.poll_send(id, || 1), Poll::Ready(Err(SendError::MaybeAppended(None))));
}

#[test]
fn errors_say_their_own_level() {
    use alloc::string::ToString as _;
    use core::error::Error as _;
    let closed = crate::error::CallError::Closed;
    let error = SendError::Failed(closed.clone());
    assert_eq!(error.to_string(), "the message was not appended");
    assert_eq!(error.source().map(|source| source.to_string()), Some(closed.to_string()));
    assert!(SendError::<crate::error::CallError>::Closed(None).source().is_none());
    let refused = Refused::new(String::from("secret"), Refusal::BufferFull);
    assert!(!alloc::format!("{refused:?} {refused}").contains("secret"));
}
