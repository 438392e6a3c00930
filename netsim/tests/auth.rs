//! Authentication over connections that are cut anywhere: a decision about one connection never admits
//! another, and no message of a session is lost or duplicated.

use std::time::Duration;

use bowline_core::auth::{Challenge, Credentials, Decision, Identity, RefusalCode, Shown};
use bowline_core::config::{Config, Delivery};
use bowline_core::link::{CastOptions, State};
use bowline_netsim::{Direction, NetConfig, Pair, Random};

const MS: Duration = Duration::from_millis(1);

fn config(delivery: Delivery) -> Config {
    Config::builder()
        .delivery(delivery)
        .credentials(|challenge: &Challenge| {
            Credentials::new([challenge.bytes(), &challenge.session().to_be_bytes()].concat())
        })
        .heartbeat(MS * 1_000)
        .dead_after(MS * 3_000)
        .build()
        .expect("sound")
}

/// Accepts a peer that answers the challenge of this connection.
fn verify(shown: &Shown) -> Decision {
    let challenge = shown.challenge();
    let right = [challenge.bytes(), &challenge.session().to_be_bytes()].concat();
    if shown.credentials().as_bytes() == right {
        Ok(Identity::new("alice").into())
    } else {
        Err(RefusalCode::WRONG.into())
    }
}

fn nobody(_: &Shown) -> Decision {
    Err(RefusalCode::WRONG.into())
}

/// Both sides cast; all of it arrives once and in order.
fn converse(pair: &mut Pair<bowline_core::frame::native::Native>) {
    for number in 0..6_u8 {
        for side in 0..2 {
            let _ = pair.cast(side, &CastOptions::new(1), &[number; 600][..]).expect("room");
        }
        pair.run_for(MS * 3);
    }
    pair.run_for(MS * 20_000);
    for end in &pair.ends {
        assert_eq!(end.link.state(), State::Ready);
        let numbers: Vec<u8> = end.messages.iter().map(|body| body[0]).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }
    assert_eq!(pair.ends[1].link.identity().map(Identity::name), Some("alice"));
}

fn net() -> NetConfig {
    NetConfig { max_write: 70, max_read: 90, ..NetConfig::default() }
}

#[test]
fn cuts_at_every_byte_of_the_handshake_and_behind_it() {
    let config = config(Delivery::Session);
    let mut whole = Pair::verifying(&config, net(), 1, verify).reconnecting(MS * 5);
    converse(&mut whole);
    assert_eq!(whole.ends[1].shown.len(), 1);
    for direction in [Direction::ToServer, Direction::ToClient] {
        for at in 1..700 {
            let mut pair = Pair::verifying(&config, net(), at, verify).reconnecting(MS * 5);
            // The next connection, which continues the session, is cut there.
            pair.run_for(MS * 30);
            assert_eq!(pair.ends[0].link.state(), State::Ready);
            pair.cut_next_at(direction, at);
            pair.cut();
            converse(&mut pair);
            let connections = pair.ends[0].link.counters().connections;
            assert!(connections >= 2, "{connections}");
            // Each was verified with its own challenge: no decision is reused.
            assert!(pair.ends[1].shown.len() as u64 >= connections);
            let mut challenges: Vec<_> =
                pair.ends[1].shown.iter().map(|shown| shown.challenge().bytes().to_vec()).collect();
            challenges.dedup();
            assert_eq!(challenges.len(), pair.ends[1].shown.len());
        }
    }
}

#[test]
fn random_cuts_lose_nothing() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut pair = Pair::verifying(&config(Delivery::Session), net(), seed, verify).reconnecting(MS * 5);
        pair.run_for(MS * 30);
        for _ in 0..random.below(8) {
            let direction = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
            match random.below(4) {
                0 => pair.cut_next_at(direction, random.below(900)),
                1 => pair.redial(),
                2 => pair.fall_silent(),
                _ => pair.cut(),
            }
            pair.run_for(MS * random.below(60) as u32);
        }
        converse(&mut pair);
    }
}

#[test]
fn who_is_refused_gets_nothing_however_the_bytes_come() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let net = NetConfig {
            max_write: 1 + random.below(100) as usize,
            max_read: 1 + random.below(100) as usize,
            ..NetConfig::default()
        };
        let mut pair = Pair::verifying(&config(Delivery::AtMostOnce), net, seed, nobody);
        let _ = pair.cast(0, &CastOptions::new(1), &b"early"[..]).expect("room");
        let _ = pair.cast(1, &CastOptions::new(1), &b"early"[..]).expect("room");
        pair.run_for(MS * 5_000);
        assert!(pair.over.is_some(), "seed {seed}");
        assert!(pair.ends.iter().all(|end| end.messages.is_empty() && end.link.identity().is_none()));
        let told = pair.ends[0].link.last_disconnect().expect("it ended");
        let refused = bowline_core::error::Disconnect::Refused(RefusalCode::WRONG.into());
        assert_eq!(told, &refused, "seed {seed}");
    }
}
