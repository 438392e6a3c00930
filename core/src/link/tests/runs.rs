//! Messages that arrive in runs and wait to be received, compared with a plain list.

use proptest::prelude::*;

use super::*;
use crate::frame::Class;
use crate::link::classes::cost;

/// Operations on a receiving link.
#[derive(Clone, Debug)]
enum Step {
    /// That many messages of that length arrive at once.
    Come(u8, u16),
    /// One message arrives that is not part of a run.
    ComeApart(u16),
    /// That many are received one by one.
    Receive(u8),
    /// That many are received together.
    Take(u8),
    /// Kept ones are dropped, except every n-th.
    Forget(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..200u8, 0..400u16).prop_map(|(count, len)| Step::Come(count, len)),
        (0..400u16).prop_map(Step::ComeApart),
        (1..100u8).prop_map(Step::Receive),
        (1..100u8).prop_map(Step::Take),
        (1..20u8).prop_map(Step::Forget),
    ]
}

/// A body of that length that contains its number.
fn numbered(number: u32, len: u16) -> Vec<u8> {
    let mut body = vec![number as u8; usize::from(len)];
    let number = number.to_be_bytes();
    let known = body.len().min(number.len());
    body[..known].copy_from_slice(&number[..known]);
    body
}

/// A message that is not part of a run: its frame has extensions.
fn apart(end: &mut End<Native>, body: &[u8]) -> bool {
    let mut extensions = crate::frame::native::Extensions::new();
    extensions.push(200, b"x").expect("short");
    let options = CastOptions::new(1).extensions(extensions.into_bytes());
    end.link.cast(Instant::ZERO, &options, body.into()).is_ok()
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = native();
        pair.b.queue = true;
        let mut expected = alloc::collections::VecDeque::new();
        let (mut kept, mut taken) = (Vec::new(), Vec::new());
        let mut number = 0;
        for step in steps {
            match step {
                Step::Come(count, len) => {
                    for _ in 0..count {
                        let body = numbered(number, len);
                        if pair.a.link.cast(Instant::ZERO, &CastOptions::new(number), (&body).into()).is_ok() {
                            expected.push_back((number, body));
                            number += 1;
                        }
                    }
                }
                Step::ComeApart(len) => {
                    let body = numbered(number, len);
                    if apart(&mut pair.a, &body) {
                        expected.push_back((1, body));
                        number += 1;
                    }
                }
                Step::Receive(most) => {
                    for _ in 0..most {
                        taken.extend(pair.b.link.poll_receive(&mut None, || 0));
                        // The wakers that it left in the queue are not needed.
                        pair.b.tokens();
                    }
                }
                Step::Take(most) => {
                    pair.b.link.take_received(usize::from(most), &mut taken);
                }
                Step::Forget(every) => {
                    let mut at = 0;
                    kept.retain(|_| {
                        at += 1;
                        at % usize::from(every) == 0
                    });
                }
            }
            for message in taken.drain(..) {
                let (method, body) = expected.pop_front().expect("it was sent");
                prop_assert_eq!((message.method(), &message.body[..]), (method, &body[..]));
                kept.push((message, body));
            }
            pair.run(Instant::ZERO);
            prop_assert!(kept.iter().all(|(message, body)| message.body[..] == body[..]));
            let depth = pair.b.link.received.depth();
            let waiting = expected.iter().take(depth.messages);
            prop_assert_eq!(depth.bytes, waiting.map(|(_, body)| body.len()).sum::<usize>() + extensions(&pair.b));
        }
        let mut rest = Vec::new();
        while !expected.is_empty() {
            prop_assert!(pair.b.link.take_received(usize::MAX, &mut rest) > 0, "the rest comes");
            for message in rest.drain(..) {
                let (method, body) = expected.pop_front().expect("it was sent");
                prop_assert_eq!((message.method(), &message.body[..]), (method, &body[..]));
            }
            pair.run(Instant::ZERO);
        }
        prop_assert_eq!(pair.b.link.received.depth(), Depth { messages: 0, bytes: 0 });
        prop_assert!(pair.b.link.inflows.iter().all(|inflow| inflow.kept() == 0), "nothing is counted as kept");
    }
}

/// Bytes of extensions of the messages that wait.
fn extensions(end: &End<Native>) -> usize {
    end.link.received.extensions()
}

#[test]
fn a_run_costs_what_its_messages_cost() {
    let mut pair = native();
    pair.b.queue = true;
    for number in 0..50 {
        let _ = pair.a.link.cast(Instant::ZERO, &CastOptions::new(number), (&[7; 100]).into()).unwrap();
    }
    pair.b.input(Instant::ZERO, &pair.a.output(Instant::ZERO)).unwrap();
    let all = pair.b.link.kept(Class::Normal);
    let mut taken = Vec::new();
    pair.b.link.take_received(1, &mut taken);
    let one = all - pair.b.link.kept(Class::Normal);
    assert_eq!((all, one > cost(100)), (50 * one, true));
}

#[test]
fn the_receivers_that_wait_are_woken_by_a_run() {
    let mut pair = native();
    pair.b.queue = true;
    let mut tickets = [None, None, None];
    for (token, ticket) in (1..).zip(&mut tickets) {
        assert!(pair.b.link.poll_receive(ticket, || token).is_none());
    }
    for _ in 0..20 {
        let _ = pair.a.link.cast(Instant::ZERO, &CastOptions::new(1), (&[7; 100]).into()).unwrap();
    }
    pair.b.input(Instant::ZERO, &pair.a.output(Instant::ZERO)).unwrap();
    assert_eq!(pair.b.tokens(), [1, 2, 3]);
}
