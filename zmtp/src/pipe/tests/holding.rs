//! Memory that a pipe holds, and the time limit of a message.

use bowline_core::memory::Verdict;

use super::*;
use crate::sum::Sums;

fn pull() -> Options {
    Options::new(SocketType::Pull)
}

/// A pipe of a PULL with shares of `sums`, whose handshake is done.
fn sharing(options: Options, sums: &Sums) -> Driven {
    let pipe = Pipe::new(options.build().unwrap(), Role::Accepting).with_sums(sums.clone());
    let mut driven = Driven::of(pipe);
    driven.feed(&hello("PUSH"));
    driven
}

#[test]
fn a_message_that_trickles_in_is_too_slow_and_whole_ones_are_not() {
    let limit = SECOND * 60;
    let mut slow = ready(pull().message_timeout(Some(limit)), "PUSH");
    slow.feed(&frame(MORE, b"first part"));
    let mut begun = frame(0, &[7; 1000]);
    begun.truncate(100);
    for byte in begun {
        if slow.ended.is_none() {
            slow.feed(&[byte]);
            slow.pass_time(SECOND);
        }
    }
    assert_eq!(slow.ended, Some(Disconnect::SlowMessage { limit }));
    assert_eq!((slow.now.saturating_since(Instant::ZERO), slow.pipe.stats().half_received), (limit, 1));

    // A pipe that always has an incomplete message, but not always the same one.
    let mut busy = ready(pull().message_timeout(Some(limit)), "PUSH");
    let whole = frame(0, b"abcdef");
    busy.feed(&whole[..3]);
    for _ in 0..100 {
        busy.feed(&[&whole[3..], &whole[..3]].concat());
        busy.pass_time(SECOND);
        busy.received();
    }
    assert_eq!((busy.ended.clone(), busy.pipe.stats().received), (None, 100));
    // A pipe that waits for its receiver does not count as slow.
    let tight = QueueLimit { messages: 2, bytes: 1 << 20 };
    let options = pull().receive_limit(tight).message_timeout(Some(limit)).heartbeat(None);
    let mut waiting = ready(options, "PUSH");
    waiting.feed(&[&whole[..], &whole, &whole, &whole[..4]].concat());
    assert!(waiting.pipe.is_paused());
    waiting.pass_time(limit * 3);
    assert_eq!(waiting.ended, None);
    waiting.received();
    waiting.received();
    waiting.received();
    waiting.pass_time(limit - SECOND);
    waiting.feed(&whole[4..]);
    assert_eq!((waiting.ended.clone(), waiting.pipe.stats().received), (None, 4));
}

#[test]
fn pipes_stop_reading_when_all_together_hold_too_much() {
    let sums = Sums::new(1 << 20, 60_000);
    let mut pipes = [sharing(pull(), &sums), sharing(pull(), &sums), sharing(pull(), &sums)];
    let message = frame(0, &[7; 10_000]);
    for _ in 0..5 {
        pipes[0].feed(&message);
        pipes[1].feed(&message);
    }
    let received = |pipes: &[Driven; 3]| [0, 1, 2].map(|at: usize| pipes[at].pipe.stats().received);
    assert!(pipes[0].pipe.is_paused() && pipes[1].pipe.is_paused());
    assert!(received(&pipes)[0] + received(&pipes)[1] < 10, "{:?}", received(&pipes));
    let [_, drawn] = sums.drawn();
    assert!((60_000..=120_000).contains(&drawn), "{drawn}");
    // A pipe that holds little continues.
    for _ in 0..3 {
        pipes[2].feed(&frame(0, b"small"));
    }
    assert!(!pipes[2].pipe.is_paused() && received(&pipes)[2] == 3);
    // Messages that the receiver has taken out count until its next swap.
    let first = pipes[0].received();
    assert!(!first.is_empty() && !sums.received.as_ref().unwrap().take_eased());
    assert!(pipes[0].pipe.is_paused());
    let mut all = first.len();
    for _ in 0..5 {
        all += pipes[0].received().len();
        pipes[1].received();
        if sums.received.as_ref().unwrap().take_eased() {
            pipes.iter_mut().for_each(|driven| {
                driven.pipe.resume_reading();
                driven.work();
            });
        }
    }
    assert_eq!((all, received(&pipes)), (5, [5, 5, 3]), "nothing is lost");
    pipes.iter_mut().for_each(|driven| _ = driven.received());
    assert_eq!(sums.drawn(), [0, 0]);
}

#[test]
fn a_large_message_is_not_completed_while_others_wait_to_be_received() {
    let sums = Sums::new(1 << 20, 60_000);
    let (mut full, mut large) = (sharing(pull(), &sums), sharing(pull(), &sums));
    let message = frame(0, &[7; 10_000]);
    let long = frame(0, &vec![7; 300_000]);
    large.feed(&long[..20_000]);
    while !full.pipe.is_paused() {
        full.feed(&message);
    }
    large.feed(&long[20_000..]);
    assert!(large.pipe.is_paused() && large.pipe.reading_bytes() <= 100_000);
    let (mut received, mut eased) = (full.received().len(), 0);
    while large.pipe.stats().received == 0 {
        received += full.received().len();
        if sums.received.as_ref().unwrap().take_eased() {
            eased += 1;
            full.pipe.resume_reading();
            large.pipe.resume_reading();
            full.work();
            large.work();
        }
        assert!(received < 100);
        large.received();
    }
    assert_eq!((eased, large.pipe.unfinished_bytes()), (1, 0));
}

#[test]
fn the_memory_of_the_endpoint_is_asked_for_what_is_not_whole() {
    let mut driven = ready(pull(), "PUSH");
    driven.pipe.count_memory();
    assert_eq!(driven.pipe.take_holding(), None);
    let message = frame(0, &vec![7; 300_000]);
    driven.feed(&message[..100_000]);
    let holding = driven.pipe.take_holding().expect("it holds more than what is free");
    assert!(holding.bytes >= 90_000 && holding.unfinished.is_some(), "{holding:?}");
    driven.pipe.handle_memory(driven.now, Verdict::Wait(0));
    driven.pass(0);
    assert!(driven.pipe.is_paused());
    assert_eq!(driven.pipe.poll_timeout().map(|(at, _)| at), Some(driven.now + SECOND), "it asks again");
    driven.pass_time(SECOND);
    assert!(driven.pipe.take_holding().is_some());
    driven.pipe.handle_memory(driven.now, Verdict::Granted(1 << 20));
    driven.work();
    assert!(!driven.pipe.is_paused());
    driven.feed(&message[100_000..]);
    assert_eq!(driven.pipe.stats().received, 1);
    let whole = driven.pipe.take_holding().expect("the message is whole, which counts");
    assert_eq!((whole.bytes, whole.unfinished), (0, None), "it is under the sum of the socket now");
    driven.pipe.handle_memory(driven.now, Verdict::Granted(0));
    driven.received();
    assert_eq!(driven.pipe.take_holding(), None);
    // A verdict is no reason to report again.
    for verdict in [Verdict::Granted(1 << 20), Verdict::Wait(0), Verdict::Granted(usize::MAX)] {
        driven.pipe.handle_memory(driven.now, verdict);
        assert_eq!(driven.pipe.take_holding(), None, "{verdict:?}");
    }
    driven.pipe.count_memory();
    // A connection that has to end has that as its cause.
    driven.feed(&message[..100_000]);
    let left = driven.pipe.close_for_memory(driven.now, 100_000, 50_000);
    assert!(left >= 90_000, "{left}");
    driven.work();
    assert_eq!(driven.ended, Some(Disconnect::ServerMemory { held: 100_000, limit: 50_000 }));
    assert_eq!(driven.pipe.unfinished_bytes(), 0);
}

#[test]
fn reading_on_in_a_long_message_is_heavy_until_it_is_whole() {
    let mut driven = ready(pull(), "PUSH");
    driven.feed(&frame(0, &[7; 60_000]));
    assert!(!driven.pipe.is_heavy(), "what is whole is not");
    // One long part, and many short ones.
    let part = frame(MORE, &[7; 10_000]);
    for message in [frame(0, &vec![7; 300_000]), [part.repeat(20), frame(0, b"last")].concat()] {
        driven.feed(&message[..60_000]);
        assert!(!driven.pipe.is_heavy());
        driven.feed(&message[60_000..120_000]);
        assert!(driven.pipe.is_heavy());
        driven.feed(&message[120_000..]);
        assert!(!driven.pipe.is_heavy());
    }
    assert_eq!(driven.received().len(), 3);
    driven.feed(&frame(MORE, &vec![7; 100_000]));
    assert!(driven.pipe.is_heavy());
    driven.end(Disconnect::PeerClosed);
    assert!(!driven.pipe.is_heavy(), "what had come of it is gone");
}

#[test]
fn what_waits_in_the_receive_buffer_and_below_it_counts_for_the_endpoint() {
    let mut driven = ready(pull(), "PUSH");
    driven.pipe.count_memory();
    let message = frame(0, &[7; 15_000]);
    let began = driven.now;
    driven.feed(&message[..12_000]);
    let holding = driven.pipe.take_holding().expect("it holds more than what is free");
    assert_eq!((holding.bytes, holding.unfinished), (12_000, Some(began)));
    driven.pipe.handle_memory(driven.now, Verdict::Granted(64 * 1024));
    // The next message has begun: it is another one that is incomplete.
    driven.now += SECOND;
    driven.feed(&[&message[12_000..], &message[..14_000]].concat());
    assert_eq!((driven.pipe.stats().received, driven.pipe.unfinished_bytes()), (1, 14_000));
    driven.pipe.note_held_below(70_000);
    let holding = driven.pipe.take_holding().expect("it holds more than it was granted");
    assert_eq!((holding.bytes, holding.unfinished), (84_000, Some(began + SECOND)));
    driven.pipe.handle_memory(driven.now, Verdict::Granted(128 * 1024));
    driven.feed(&message[14_000..]);
    driven.pipe.note_held_below(0);
    let holding = driven.pipe.take_holding().expect("it is returned");
    assert_eq!((holding.bytes, holding.unfinished), (0, None));
    driven.pipe.handle_memory(driven.now, Verdict::Granted(0));
    // It goes with the connection.
    driven.pipe.note_held_below(20_000);
    driven.end(Disconnect::PeerClosed);
    assert_eq!(driven.pipe.unfinished_bytes(), 0);
}
