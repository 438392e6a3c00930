//! The memory of assembled messages is used again, and counted once.

use alloc::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::memory::{MemoryPool, Verdict};

const LONG: usize = 64 * 1024;
/// The most that a receive buffer keeps for assembled messages, and the buffer itself.
const MOST: usize = 9 * LONG + LONG;

fn cast(end: &mut End<Native>, body: &[u8]) -> bool {
    end.link.cast(Instant::ZERO, &CastOptions::new(1), body.into()).is_ok()
}

fn receive(end: &mut End<Native>) -> Option<Message> {
    let message = end.link.poll_receive(&mut None, || 0);
    // The wakers that it left are not needed.
    end.tokens();
    message
}

/// A pair that moves long messages to the queue of `b`.
fn pair() -> Pair<Native> {
    let mut pair = native();
    pair.b.queue = true;
    pair.b.link.count_memory();
    pair.b.link.handle_memory(Instant::ZERO, Verdict::Granted(16 << 20));
    pair
}

/// One long message, received.
fn one(pair: &mut Pair<Native>, byte: u8, now: Instant) -> Message {
    assert!(cast(&mut pair.a, &[byte; LONG]));
    pair.run(now);
    receive(&mut pair.b).expect("it was sent")
}

/// Bytes that the link counts besides a receive buffer of 64 KiB that nothing is in.
fn counted(end: &End<Native>) -> usize {
    end.link.holding().bytes.saturating_sub(end.buf.capacity().min(LONG))
}

#[test]
fn a_message_is_assembled_in_the_memory_of_one_that_was_dropped() {
    let mut pair = pair();
    let mut blocks = Vec::new();
    let mut held = VecDeque::new();
    for round in 0..100 {
        let message = one(&mut pair, round, Instant::ZERO);
        blocks.push(message.body.block().map(|block| alloc::sync::Arc::as_ptr(block) as usize));
        held.push_back((round, message));
        if held.len() > 3 {
            held.pop_front();
        }
        assert!(held.iter().all(|(byte, message)| message.body[..] == [*byte; LONG]));
    }
    assert!(blocks.iter().all(Option::is_some), "in blocks");
    blocks.sort_unstable();
    blocks.dedup();
    assert!(blocks.len() <= 5, "{} blocks", blocks.len());
}

#[test]
fn a_long_message_is_counted_once_wherever_it_is() {
    let mut pair = pair();
    assert!(cast(&mut pair.a, &[1; LONG]));
    pair.run(Instant::ZERO);
    let queued = counted(&pair.b);
    assert!((LONG..LONG + 2_048).contains(&queued), "in the queue: {queued}");
    let message = receive(&mut pair.b).unwrap();
    let taken = counted(&pair.b);
    assert!((LONG..LONG + 2_048).contains(&taken), "its block is kept: {taken}");
    drop(message);
    assert!((LONG..LONG + 2_048).contains(&counted(&pair.b)), "for the next one");
    // Handed to a handler.
    pair.b.link.handle_messages();
    assert!(cast(&mut pair.a, &[1; LONG]));
    pair.run(Instant::ZERO);
    let mut message = Message::empty();
    assert!(pair.b.link.take_to_handle(&mut message, &mut None, || 0));
    assert!((LONG..LONG + 2_048).contains(&counted(&pair.b)), "in hand: {}", counted(&pair.b));
    pair.b.link.end_handling();
    assert!((LONG..LONG + 2_048).contains(&counted(&pair.b)));
    assert_eq!(pair.b.link.counted_with_buffer(), 0);
}

#[test]
fn a_long_request_is_counted_once_while_its_handler_runs() {
    let mut pair = pair();
    pair.b.handle = true;
    call(&mut pair.a, &[1; LONG], 1).unwrap();
    pair.run(Instant::ZERO);
    assert_eq!(pair.b.handled.len(), 1);
    let running = counted(&pair.b);
    assert!((LONG..LONG + 2_048).contains(&running), "{running}");
    assert_eq!(pair.b.link.counted_with_buffer(), LONG);
    for inbound in pair.b.handled.drain(..) {
        pair.b.link.finish_inbound(inbound);
    }
    assert_eq!(pair.b.link.counted_with_buffer(), 0);
}

/// Lets time pass until the next deadline of `b`, as a driver does.
fn wait(end: &mut End<Native>) -> Instant {
    let (at, _) = end.link.poll_timeout().expect("there are heartbeats");
    end.link.handle_timeout(at);
    let End { link, reader, buf, .. } = end;
    Link::release_memory(reader, &mut &mut *link, buf);
    at
}

#[test]
fn the_memory_is_freed_soon_after_the_last_message() {
    let mut pair = pair();
    let kept = one(&mut pair, 1, Instant::ZERO);
    drop(one(&mut pair, 2, Instant::ZERO));
    let at = Instant::ZERO + MS * 50;
    drop(one(&mut pair, 3, at));
    assert!(cast(&mut pair.a, &[4; LONG]));
    pair.run(at);
    assert!(counted(&pair.b) >= 2 * LONG);
    assert_eq!(wait(&mut pair.b), at + MS * 100);
    assert_eq!(pair.b.buf.capacity(), 0);
    // What waits for the application is counted where it is, and what the application holds is its own.
    let waiting = pair.b.link.holding().bytes;
    assert!((LONG..LONG + 2_048).contains(&waiting), "{waiting}");
    assert_eq!(receive(&mut pair.b).unwrap().body[..], [4; LONG]);
    assert!(pair.b.link.holding().bytes < 2_048);
    assert_eq!(kept.body[..], [1; LONG]);
    // Nothing is waited for any more but heartbeats.
    assert!(wait(&mut pair.b) > at + MS * 1_000);
}

#[test]
fn a_server_without_memory_gets_it_back_at_once() {
    let mut pair = pair();
    let now = Instant::ZERO + MS;
    drop(one(&mut pair, 1, now));
    assert!(pair.b.link.holding().bytes > LONG);
    pair.b.link.handle_memory(now, Verdict::Wait(LONG));
    assert_eq!(wait(&mut pair.b), now);
    assert!(pair.b.link.holding().bytes < 2_048, "{}", pair.b.link.holding().bytes);
}

#[test]
fn free_memory_is_no_reason_to_ask_for_more() {
    let mut pair = pair();
    // Of a size that does not suit the next message.
    drop(one(&mut pair, 1, Instant::ZERO));
    while pair.b.link.take_holding().is_some() {}
    let (now, granted) = (Instant::ZERO, pair.b.link.holding().bytes + 4 * 1024);
    pair.b.link.handle_memory(now, Verdict::Granted(granted));
    assert!(cast(&mut pair.a, &[2; 24 * 1024]));
    pair.run(now);
    assert!(pair.b.link.holding().bytes <= granted, "{}", pair.b.link.holding().bytes);
    assert_eq!(receive(&mut pair.b).unwrap().body[..], [2; 24 * 1024]);
}

#[test]
fn what_waits_is_counted_when_the_connection_is_over() {
    let mut pair = pair();
    assert!(cast(&mut pair.a, &[1; LONG]));
    pair.run(Instant::ZERO);
    pair.b.link.handle_disconnected(Instant::ZERO, None, Disconnect::PeerClosed);
    pair.b.buf = RecvBuf::new();
    let waiting = pair.b.link.holding().bytes;
    assert!((LONG..LONG + 2_048).contains(&waiting), "{waiting}");
    assert_eq!(receive(&mut pair.b).unwrap().body[..], [1; LONG]);
    assert!(pair.b.link.holding().bytes < 2_048, "{}", pair.b.link.holding().bytes);
}

#[test]
fn kept_memory_does_not_make_a_link_heavy() {
    let mut pair = pair();
    let held: Vec<_> = (0..4).map(|byte| one(&mut pair, byte, Instant::ZERO)).collect();
    drop(held);
    assert!(pair.b.link.conn.reading.buffered() > 4 * LONG);
    assert!(!pair.b.link.is_heavy());
}

#[test]
fn blocks_that_short_messages_share_do_not_make_a_link_heavy() {
    let mut pair = pair();
    let mut held = Vec::new();
    for _ in 0..8 {
        for _ in 0..200 {
            assert!(cast(&mut pair.a, &[1; 1_000]));
        }
        pair.run(Instant::ZERO);
        held.extend(core::iter::from_fn(|| receive(&mut pair.b)));
    }
    assert!(pair.b.link.conn.reading.buffered() > 2 * LONG);
    assert!(!pair.b.link.is_heavy());
}

#[test]
fn the_memory_for_what_has_not_arrived_is_counted() {
    let mut pair = pair();
    drop(one(&mut pair, 1, Instant::ZERO));
    let before = pair.b.link.holding().bytes;
    assert!(cast(&mut pair.a, &[2; LONG]));
    let out = pair.a.output(Instant::ZERO);
    // One fragment: the message is being assembled in the block of the last one.
    pair.b.input(Instant::ZERO, &out[..20 * 1024]).unwrap();
    assert!(pair.b.reader.memory() >= LONG, "{}", pair.b.reader.memory());
    let after = pair.b.link.holding().bytes;
    assert!(after >= before, "{before}, {after}");
    pair.b.input(Instant::ZERO, &out[20 * 1024..]).unwrap();
    assert_eq!(receive(&mut pair.b).unwrap().body[..], [2; LONG]);
}

/// New memory takes no room in the server before it is written to. Many links that receive long messages at a
/// time would else take, at the same moment, so much more than was granted to them that the server closes some.
#[test]
fn many_long_messages_at_a_time_close_no_link() {
    let mut pool = MemoryPool::new(64 << 20, Duration::from_secs(60));
    let body = vec![7; 3 << 20];
    let mut links: Vec<(Pair<Native>, Vec<u8>, usize)> = (0..60)
        .map(|_| {
            let mut pair = Pair::new(&Config::builder().bulk_ahead(usize::MAX).build().unwrap());
            pair.b.link.count_memory();
            assert!(cast(&mut pair.a, &body));
            let out = pair.a.output(Instant::ZERO);
            (pair, out, 0)
        })
        .collect();
    // More than the limit allows arrives, piece by piece, at all links at the same time.
    for _ in 0..48 {
        let mut resumed = Vec::new();
        for (id, (pair, out, sent)) in links.iter_mut().enumerate() {
            if pair.b.link.is_paused() {
                continue;
            }
            // Grants, and what they allow.
            let back = pair.b.output(Instant::ZERO);
            pair.a.input(Instant::ZERO, &back).unwrap();
            out.extend(pair.a.output(Instant::ZERO));
            let piece = &out[*sent..out.len().min(*sent + LONG)];
            *sent += piece.len();
            pair.b.input(Instant::ZERO, piece).unwrap();
            while let Some(holding) = pair.b.link.take_holding() {
                assert!(holding.bytes <= *sent + 4 * LONG, "{} of {sent} received", holding.bytes);
                let (verdict, effects) = pool.report(Instant::ZERO, id as u64, holding);
                assert_eq!(effects.closed, []);
                resumed.extend(effects.resumed);
                pair.b.link.handle_memory(Instant::ZERO, verdict);
            }
        }
        for (id, granted) in resumed {
            links[id as usize].0.b.link.handle_memory(Instant::ZERO, Verdict::Granted(granted));
        }
    }
    assert!(pool.waiting() > 50, "{} wait", pool.waiting());
}

/// Operations on a receiving link.
#[derive(Clone, Debug)]
enum Step {
    /// That many messages of that length arrive.
    Come(u8, u32),
    /// That many are received.
    Receive(u8),
    /// Kept ones are dropped, except every n-th.
    Forget(u8),
    /// A deadline passes.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u8, prop_oneof![Just(65_536), 10_000..150_000u32, 0..2_000u32])
            .prop_map(|(count, len)| Step::Come(count, len)),
        4 => (1..12u8).prop_map(Step::Receive),
        2 => (1..20u8).prop_map(Step::Forget),
        1 => Just(Step::Wait),
    ]
}

/// A body that contains its number everywhere.
fn numbered(number: u32, len: u32) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(len as usize).collect()
}

proptest! {
    /// Messages stay what they were while others are assembled; memory is bounded, and counted at least as what it is.
    #[test]
    fn messages_that_are_held_are_never_overwritten(steps in proptest::collection::vec(step(), 1..40)) {
        let mut pair = pair();
        let (mut waiting, mut kept) = (VecDeque::new(), Vec::<(Message, Vec<u8>)>::new());
        let mut number = 0x0101_0101;
        for step in steps {
            match step {
                Step::Come(count, len) => {
                    for _ in 0..count {
                        let body = numbered(number, len);
                        if cast(&mut pair.a, &body) {
                            waiting.push_back(body);
                            number += 0x0001_0203;
                        }
                    }
                }
                Step::Receive(most) => {
                    for _ in 0..most {
                        let Some(message) = receive(&mut pair.b) else { break };
                        // Bulk and normal messages are apart: each class is in order.
                        let is_it = |body: &Vec<u8>| body[..] == message.body[..];
                        let at = waiting.iter().position(is_it);
                        prop_assert!(at.is_some(), "a message that was not sent");
                        kept.push((message, waiting.remove(at.unwrap_or(0)).unwrap()));
                    }
                }
                Step::Forget(every) => {
                    let mut at = 0;
                    kept.retain(|_| {
                        at += 1;
                        at % usize::from(every) == 0
                    });
                }
                Step::Wait => {
                    if pair.b.link.next_blocks_end().is_some() {
                        wait(&mut pair.b);
                    }
                }
            }
            pair.run(Instant::ZERO);
            prop_assert!(kept.iter().all(|(message, body)| message.body[..] == body[..]));
            prop_assert!(pair.b.buf.capacity() <= MOST + 8 * LONG, "{}", pair.b.buf.capacity());
            let (depth, holding) = (pair.b.link.received.depth(), pair.b.link.holding().bytes);
            prop_assert!(holding >= pair.b.buf.capacity().max(depth.bytes), "{holding}, {depth:?}");
            prop_assert!(pair.b.link.counted_with_buffer() <= depth.bytes.min(MOST));
            if depth.messages == 0 {
                prop_assert_eq!(pair.b.link.counted_with_buffer(), 0);
            }
        }
    }
}
