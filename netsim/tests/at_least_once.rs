//! Sending again on a framing without acknowledgement: what is promised, and what is not.

use std::time::Duration;

use bowline_core::config::{Config, Delivery};
use bowline_core::error::Outcome;
use bowline_core::frame::Framing;
use bowline_core::frame::buffstreams::Buffstreams;
use bowline_core::link::CastOptions;
use bowline_netsim::{Direction, NetConfig, Pair, Random};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Every byte in release.
const STEP: usize = if cfg!(debug_assertions) { 11 } else { 1 };

fn config(delivery: Delivery, window: usize) -> Config<Buffstreams> {
    Config::with_framing(Buffstreams::new()).delivery(delivery).resend_window(window).build().expect("sound")
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

/// Forty casts from the dialing end, with cuts; what every accepting end received, in order, and
/// the casts whose outcome was said to be a failure.
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
    // Every connection dies before the batch is through.
    pair.cut_at(Direction::ToServer, 1_000);
    for _ in 0..40 {
        pair.cut_next_at(Direction::ToServer, 1_000);
        pair.run_for(MS);
    }
    let errored: Vec<_> = std::iter::from_fn(|| pair.ends[0].link.poll_errored(&mut None, || 0)).collect();
    assert_eq!(errored.len(), 3);
    assert!(errored.iter().all(|u| u.attempts == 3 && u.outcome == Outcome::MaybeDelivered), "{errored:?}");
}
