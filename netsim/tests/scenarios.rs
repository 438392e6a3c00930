//! A link over an unreliable network, in virtual time.

use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::{CallError, Disconnect, LinkWas, Outcome};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::frame::tcpstream::Tcpstream;
use bowline_core::link::{CallOptions, CastOptions};
use bowline_core::supervisor::ReconnectPolicy;
use bowline_netsim::{Direction, NetConfig, Sim};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn native() -> Config<Native> {
    let reconnect = ReconnectPolicy::backoff(MS * 5, MS * 100);
    Config::builder().reconnect(reconnect).build().expect("sound")
}

fn tcpstream() -> Config<Tcpstream> {
    let reconnect = ReconnectPolicy::backoff(MS * 5, MS * 100);
    Config::with_framing(Tcpstream::new()).reconnect(reconnect).build().expect("sound")
}

/// A network that accepts and delivers a few bytes at a time.
fn crumbs() -> NetConfig {
    NetConfig { max_write: 7, max_read: 5, ..NetConfig::default() }
}

fn conversation<F: Framing>(config: Config<F>, net: NetConfig, seed: u64) -> Vec<String> {
    let mut sim = Sim::new(config, net, seed);
    for i in 0..50_u8 {
        let _ = sim.call(CallOptions::new(1), &[i; 40]).expect("a place");
        let _ = sim.cast(&CastOptions::new(2), &[i; 30]).expect("room");
        if i == 20 {
            sim.cut();
        }
        sim.run_for(MS);
    }
    sim.run_for(Duration::from_secs(11));
    assert!(sim.outcomes().all(|outcome| outcome.is_some()));
    sim.trace().to_vec()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        let trace = conversation(native(), crumbs(), seed);
        assert_eq!(trace, conversation(native(), crumbs(), seed));
        assert_ne!(trace, conversation(native(), crumbs(), seed + 100));
        assert_eq!(conversation(tcpstream(), crumbs(), seed), conversation(tcpstream(), crumbs(), seed));
    }
}

/// The whole conversation over a connection that is cut at `at` bytes.
fn cut_conversation(direction: Direction, at: u64) -> (u64, bool) {
    let mut sim = Sim::new(native(), crumbs(), at);
    sim.cut_next_at(direction, at);
    let mut calls = Vec::new();
    for i in 0..4_u8 {
        calls.push(sim.call(CallOptions::new(1), &[i; 9]).expect("a place"));
        let _ = sim.cast(&CastOptions::new(2), &[100 + i; 5]).expect("room");
    }
    sim.run_for(Duration::from_secs(12));
    let connections = sim.client.link.counters().connections;

    let messages: Vec<u8> = sim.messages().map(|body| body[0]).collect();
    let requests: Vec<u8> = sim.requests().map(|body| body[0]).collect();
    let context = format!("cut {direction:?} at {at}: {:#?}", sim.trace());
    // No duplicates, in order, and no partial message.
    assert!(messages.windows(2).all(|pair| pair[0] < pair[1]), "{messages:?} {context}");
    assert!(requests.windows(2).all(|pair| pair[0] < pair[1]), "{requests:?} {context}");
    assert!(sim.messages().all(|body| body.len() == 5) && sim.requests().all(|body| body.len() == 9));
    let mut maybe = false;
    for (i, call) in calls.into_iter().enumerate() {
        let arrived = requests.contains(&(i as u8));
        match sim.outcome(call) {
            Some(Ok(reply)) => {
                assert_eq!(&reply[..], &[i as u8; 9], "{context}");
                assert!(arrived, "{context}");
            }
            Some(Err(CallError::MaybeDelivered(_))) => maybe = true,
            other => panic!("call {i}: {other:?} {context}"),
        }
    }
    (connections, maybe)
}

#[test]
fn a_cut_at_every_byte_leaves_every_call_with_its_outcome() {
    let (mut uncut, mut maybes) = (0, 0);
    for direction in [Direction::ToServer, Direction::ToClient] {
        for at in 1..400 {
            let (connections, maybe) = cut_conversation(direction, at);
            uncut += u32::from(connections == 1);
            maybes += u32::from(maybe);
        }
    }
    assert!(maybes > 50, "cuts did hit calls in flight: {maybes}");
    assert!(uncut > 50, "and some came after everything: {uncut}");
}

#[test]
fn a_half_open_peer_is_found_by_the_heartbeat() {
    let mut sim = Sim::new(native(), NetConfig::default(), 3);
    sim.run_for(MS * 50);
    sim.fall_silent();
    let call = sim.call(CallOptions::new(1).timeout(Duration::from_secs(60)), b"anybody?").expect("a place");
    sim.run_for(Duration::from_secs(40));
    let Some(Err(CallError::MaybeDelivered(Disconnect::DeadPeer { silent, .. }))) = sim.outcome(call) else {
        panic!("{:?}", sim.outcome(call));
    };
    assert!(*silent >= Duration::from_secs(30) && *silent < Duration::from_secs(31), "{silent:?}");
    let again = sim.call(CallOptions::new(1), b"hello again").expect("a place");
    sim.run_for(Duration::from_secs(1));
    assert!(matches!(sim.outcome(again), Some(Ok(_))), "on the next connection");
}

#[test]
fn an_idle_link_stays_up_by_its_heartbeat() {
    let mut sim = Sim::new(native(), NetConfig::default(), 4);
    sim.run_for(Duration::from_secs(3600));
    assert_eq!(sim.client.link.counters().connections, 1);
}

#[test]
fn calls_wait_for_a_server_that_is_away() {
    let mut sim = Sim::new(native(), NetConfig::default(), 5);
    sim.run_for(MS * 20);
    sim.set_reachable(false);
    sim.cut();
    sim.run_for(MS * 20);
    let patient = sim.call(CallOptions::new(1), b"patient").expect("a place");
    let hasty = sim.call(CallOptions::new(1).timeout(MS * 500), b"hasty").expect("a place");
    sim.run_for(Duration::from_secs(2));
    let Some(Err(CallError::DeadlineExceeded { outcome: Outcome::Expired, link })) = sim.outcome(hasty)
    else {
        panic!("{:?}", sim.outcome(hasty));
    };
    assert!(matches!(link, LinkWas::NotConnected { attempts: 1.., last: Some(_), .. }), "{link:?}");
    assert_eq!(sim.outcome(patient), None);
    sim.set_reachable(true);
    sim.run_for(Duration::from_secs(1));
    assert!(matches!(sim.outcome(patient), Some(Ok(_))));
    assert!(sim.requests().all(|body| body != b"hasty"), "what expired is not sent");
}

#[test]
fn closing_while_away_hands_back() {
    let mut sim = Sim::new(native(), NetConfig::default(), 6);
    sim.set_reachable(false);
    let _ = sim.cast(&CastOptions::new(9), b"mine").expect("room");
    sim.close(MS * 100);
    sim.run_for(Duration::from_secs(1));
    let undelivered = sim.client.link.take_undelivered();
    assert_eq!((undelivered.len(), &undelivered[0].body[..]), (1, &b"mine"[..]));
}

#[derive(Clone, Debug)]
enum Op {
    Call { len: usize, timeout: Option<u16> },
    Cast { len: usize },
    Wait { ms: u16 },
    Cut,
    Silence,
    Reachable(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..3_000, prop::option::of(1_u16..2_000))
            .prop_map(|(len, timeout)| Op::Call { len, timeout }),
        4 => (0_usize..30_000).prop_map(|len| Op::Cast { len }),
        6 => (0_u16..400).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::Cut),
        1 => Just(Op::Silence),
        1 => any::<bool>().prop_map(Op::Reachable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the network does: one outcome per call, no later than its deadline; no message delivered
    /// twice or out of order; consistent counters.
    #[test]
    fn every_schedule_ends_with_an_outcome_for_every_call(
        ops in prop::collection::vec(op(), 1..60),
        seed: u64,
        small: bool,
    ) {
        let net = if small { NetConfig { max_write: 64, max_read: 64, ..NetConfig::default() } } else { NetConfig::default() };
        let mut sim = Sim::new(native(), net, seed);
        let mut number = 0_u32;
        let mut body = |len: usize| {
            number += 1;
            let mut body = number.to_be_bytes().to_vec();
            body.resize(4 + len, 7);
            body
        };
        for op in ops {
            match op {
                Op::Call { len, timeout } => {
                    let mut options = CallOptions::new(1);
                    if let Some(ms) = timeout {
                        options = options.timeout(MS * u32::from(ms));
                    }
                    let _ = sim.call(options, &body(len));
                }
                Op::Cast { len } => {
                    let _ = sim.cast(&CastOptions::new(2), &body(len));
                }
                Op::Wait { ms } => sim.run_for(MS * u32::from(ms)),
                Op::Cut => sim.cut(),
                Op::Silence => sim.fall_silent(),
                Op::Reachable(reachable) => sim.set_reachable(reachable),
            }
            prop_assert!(
                sim.next_due().is_some() || sim.client.link.in_flight() == 0,
                "calls in flight and nothing due"
            );
        }
        sim.run_for(Duration::from_secs(11));
        prop_assert!(sim.outcomes().all(|outcome| outcome.is_some()), "{:#?}", sim.trace());
        for bodies in [sim.messages().collect::<Vec<_>>(), sim.requests().collect()] {
            // In order within each class: long ones are bulk.
            for long in [false, true] {
                let of_class = bodies.iter().filter(|body| (body.len() > 16 * 1024) == long);
                let numbers: Vec<u32> =
                    of_class.map(|body| u32::from_be_bytes(body[..4].try_into().expect("four bytes"))).collect();
                prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
            }
        }
        let counters = sim.client.link.counters();
        let ended = counters.calls_replied + counters.calls_expired + counters.calls_maybe_delivered;
        prop_assert_eq!(counters.calls, ended);
    }
}
