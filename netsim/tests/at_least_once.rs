//! Repeated messages on a framing without acknowledgements: what is and is not guaranteed.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::{Disconnect, Outcome};
use bowline_core::frame::Framing;
use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::link::CastOptions;
use bowline_core::machine::Machine;
use bowline_netsim::{Direction, NetConfig, Pair, Random, Told, Wants};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Every byte in release builds.
const STEP: usize = if cfg!(debug_assertions) { 11 } else { 1 };

fn config(delivery: Delivery, window: usize) -> Config<Buffstreams> {
    Config::with_framing(Buffstreams::new()).delivery(delivery).resend_window(window).build().expect("sound")
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

/// Forty casts of the dialing end, with cuts. Returns the messages that every accepting end received, in
/// order, and the casts whose outcome was a failure.
fn run<F: Framing>(config: &Config<F>, seed: u64, cuts: &[u64]) -> (Vec<Vec<u32>>, Vec<(u32, Outcome)>) {
    let net = NetConfig { max_write: 300, max_read: 200, window: 900, ..NetConfig::default() };
    let mut pair = Pair::new(config, net, seed).reconnecting(MS * 3);
    let mut random = Random::new(seed);
    let mut cuts = cuts.iter();
    if let Some(&at) = cuts.next() {
        pair.cut_at(Direction::ToServer, at);
    }
    for n in 0..40_u32 {
        let mut body = n.to_be_bytes().to_vec();
        body.resize(10 + random.below(300) as usize, 7);
        let _ = pair.cast(0, &CastOptions::new(0), body).expect("room");
        if n % 10 == 5 {
            pair.run_for(Duration::from_micros(random.below(3_000)));
            if let Some(&at) = cuts.next() {
                pair.cut_next_at(Direction::ToServer, at);
            }
        }
    }
    pair.run_for(SECOND * 10);
    let errored = std::iter::from_fn(|| pair.ends[0].link.poll_errored(&mut None, || 0));
    let errored = errored.map(|undelivered| (number(&undelivered.body), undelivered.outcome)).collect();
    let ends = pair.past.iter().chain([&pair.ends[1]]);
    let came = ends.map(|end| end.messages.iter().map(|body| number(body)).collect()).collect();
    (came, errored)
}

#[test]
fn at_least_once_with_a_window_loses_nothing_at_any_cut() {
    let config = config(Delivery::AtLeastOnce { retry_limit: 100 }, 1 << 20);
    for at in (0..6_000).step_by(STEP) {
        let (came, errored) = run(&config, at, &[at, at / 3]);
        assert!(errored.is_empty());
        for connection in &came {
            assert!(
                connection.windows(2).all(|pair| pair[0] < pair[1]),
                "in order on each connection: {came:?}"
            );
        }
        let mut all: Vec<u32> = came.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..40).collect::<Vec<_>>(), "cut at {at}");
    }
}

#[test]
fn at_most_once_repeats_nothing_at_any_cut() {
    let config = config(Delivery::AtMostOnce, 0);
    for at in (0..6_000).step_by(STEP) {
        let (came, errored) = run(&config, at, &[at, at / 3]);
        assert!(errored.is_empty());
        let mut all: Vec<u32> = came.into_iter().flatten().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "cut at {at}: something came twice");
        assert!(all.contains(&39), "what was cast last goes out on the last connection");
    }
}

#[test]
fn a_message_that_fails_again_and_again_is_handed_back() {
    let config = config(Delivery::AtLeastOnce { retry_limit: 2 }, 0);
    let net = NetConfig { max_write: 300, max_read: 200, window: 900, ..NetConfig::default() };
    let mut pair = Pair::new(&config, net, 3).reconnecting(MS * 3);
    for n in 0..3_u32 {
        let mut body = n.to_be_bytes().to_vec();
        body.resize(2_000, 7);
        let _ = pair.cast(0, &CastOptions::new(0), body).expect("room");
    }
    // Every connection ends before the batch is written.
    pair.cut_at(Direction::ToServer, 1_000);
    for _ in 0..40 {
        pair.cut_next_at(Direction::ToServer, 1_000);
        pair.run_for(MS);
    }
    let errored: Vec<_> = std::iter::from_fn(|| pair.ends[0].link.poll_errored(&mut None, || 0)).collect();
    assert_eq!(errored.len(), 3);
    assert!(errored.iter().all(|u| u.attempts == 3 && u.outcome == Outcome::MaybeDelivered), "{errored:?}");
}

/// Casts of one end with cuts, late writers, and a close: the outcome of each, and the received messages.
fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let mut pick = |from: &[usize]| from[random.below(from.len() as u64) as usize];
    let retry_limit = pick(&[0, 1, 3, 100]) as u32;
    let window = pick(&[0, 0, 500, 1 << 20]);
    let mut config = Config::with_framing(Buffstreams::new())
        .delivery(Delivery::AtLeastOnce { retry_limit })
        .resend_window(window)
        .event_queue(10_000)
        .errored_queue(QueueLimit { messages: 10_000, bytes: 64 << 20 });
    if pick(&[0, 1]) == 1 {
        config = config.expire_after(MS * 8);
    }
    let config = config.build().expect("sound");
    let net =
        NetConfig { max_write: pick(&[100, 2_000]), max_read: 200, window: 900, ..NetConfig::default() };
    let mut pair = Pair::new(&config, net, seed).reconnecting(MS * 3).keeping_a_ledger();
    pair.run_for(MS * 20);
    for n in 0..30_u32 {
        let wants = [Wants::Failures, Wants::Event, Wants::Outcome][random.below(3) as usize];
        let mut body = n.to_be_bytes().to_vec();
        body.resize(10 + random.below(400) as usize, 7);
        let cast = pair.give(0, wants, CastOptions::new(0), 0, body).expect("room");
        match random.below(16) {
            0..5 => pair.cut(),
            5 => pair.ends[0].slow_writer ^= true,
            6 => pair.ends[1].takes ^= true,
            7 => pair.forget(cast),
            _ => {}
        }
        pair.run_for(Duration::from_micros([0, 300, 2_000, 9_000][random.below(4) as usize]));
    }
    pair.ends[0].slow_writer = false;
    pair.ends[1].takes = true;
    if random.below(2) == 0 {
        pair.run_for(SECOND * 5);
        let ends = pair.past.iter().chain([&pair.ends[1]]);
        let came: BTreeSet<u32> = ends.flat_map(|end| &end.messages).map(|body| number(body)).collect();
        for given in pair.ledger().casts() {
            // With a window and attempts for all of it, a message arrives or its failure is reported.
            let promised = window == 1 << 20 && retry_limit == 100;
            let failed = |told: &Told| !matches!(told, Told::Outcome(Ok(_)) | Told::Ended(_));
            let arrived = came.contains(&number(&given.body)) || given.told.iter().any(failed);
            assert!(!promised || arrived, "seed {seed} is lost: {given:?}, {came:?}");
            let told = given.wants == Wants::Failures || given.outcome().is_some();
            assert!(told, "seed {seed}, cast {}: nothing was told", given.number);
        }
    }
    pair.run_for(MS * 20);
    if random.below(2) == 0 {
        // Closed while messages wait to be sent again.
        pair.give(0, Wants::Event, CastOptions::new(0), 0, vec![9; 1_500]).expect("room");
        pair.run_for(Duration::from_micros(random.below(3_000)));
        pair.cut();
        pair.run_for(MS);
    }
    let now = pair.now();
    pair.over = Some(Disconnect::LocalClose);
    pair.ends[0].link.close(now, Duration::ZERO);
    pair.run_for(MS);
    assert!(pair.ends[0].link.is_closed());
    pair.check_ledger();
    for given in pair.ledger().casts() {
        for told in &given.told {
            if let Told::Outcome(Err(back)) | Told::Errored(back) | Told::HandedBack(back) = told {
                assert!(back.attempts <= retry_limit + 1, "seed {seed}: {back:?}");
            }
        }
    }
}

#[test]
fn every_cast_that_is_sent_again_has_one_outcome_and_no_attempt_too_many() {
    for seed in 0..1_000 {
        schedule(seed);
    }
}
