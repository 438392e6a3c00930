//! TLS between two simulated ends: what links say of their casts holds over it, at any split, delay and cut.
//!
//! The ends write through the driver's own socket for layers (`LayeredConduit`), so that what counts as written is decided
//! by the code that decides it on real sockets. `BOWLINE_SCHEDULES=10000 cargo test --release -p bowline-tls-tests --test
//! simulated random` runs more schedules; `BOWLINE_SEED` says the first seed.

#[path = "../../../tls/tests/common/mod.rs"]
mod certificates;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::{Disconnect, Outcome};
use bowline_core::frame::length_prefixed::LengthPrefixed;
use bowline_core::frame::{Class, Framing};
use bowline_core::layer::{AcceptLayer, DialLayer};
use bowline_core::link::CastOptions;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_netsim::{Conduit, Direction, LayeredConduit, Net, NetConfig, Pair, PairCast, Random, Wants};
use bowline_tls::{TlsClient, TlsError, TlsServer};

use certificates::Authority;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn settings() -> &'static (TlsClient, TlsServer) {
    static SETTINGS: OnceLock<(TlsClient, TlsServer)> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let ca = Authority::new("the root");
        let client = TlsClient::builder().roots(ca.roots()).name("server.test").build().expect("sound");
        (client, TlsServer::builder().identity(ca.issue(&["server.test"])).build().expect("sound"))
    })
}

/// TLS over a simulated network. That it breaks in any way but by a cut is a mistake of one of the ends.
#[derive(Debug)]
struct Tls(LayeredConduit);

/// TLS on each connection.
fn tls(out: Direction) -> Box<dyn Conduit> {
    let (client, server) = settings();
    let layer = match out {
        Direction::ToServer => client.dial(&"server.test:1".parse().expect("an address")),
        Direction::ToClient => server.accept(),
    };
    Box::new(Tls(LayeredConduit::new(out, layer.expect("sound"))))
}

fn honest<T>(result: Result<T, Disconnect>) -> Result<T, Disconnect> {
    if let Err(cause) = &result {
        let found = TlsError::of(cause);
        let is_cut = matches!(found, Some(TlsError::Truncated { .. } | TlsError::Silent));
        assert!(is_cut, "between two honest ends: {cause:?}");
    }
    result
}

impl Conduit for Tls {
    fn work(&mut self, now: Instant, net: &mut Net) -> Result<(), Disconnect> {
        honest(self.0.work(now, net))
    }

    fn write(&mut self, now: Instant, net: &mut Net, bytes: &[&[u8]]) -> Result<usize, Disconnect> {
        honest(self.0.write(now, net, bytes))
    }

    fn read(&mut self, now: Instant, net: &mut Net, into: &mut [u8]) -> Result<Option<usize>, Disconnect> {
        honest(self.0.read(now, net, into))
    }

    fn take_moved(&mut self) -> bool {
        self.0.take_moved()
    }
}

/// A body of that size at least, which no other number has.
fn body(number: u32, size: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(size.max(4), number as u8);
    body
}

/// How often each body arrived at the accepting ends.
fn arrived<F: Framing>(pair: &Pair<F>) -> BTreeMap<Vec<u8>, usize> {
    let mut arrived = BTreeMap::new();
    for end in pair.past.iter().chain([&pair.ends[1]]) {
        for body in &end.messages {
            *arrived.entry(body.clone()).or_default() += 1;
        }
    }
    arrived
}

/// Closes the dialing end for good: what was not told so far is told now.
fn close<F: Framing>(pair: &mut Pair<F>) {
    let now = pair.now();
    pair.over = Some(Disconnect::LocalClose);
    pair.ends[0].link.close(now, Duration::ZERO);
    pair.run_for(MS);
    assert!(pair.ends[0].link.is_closed());
}

const SIZES: [usize; 8] = [4, 110, 1_000, 5_000, 16_380, 16_400, 40_000, 70_000];

/// Casts of all sizes over a connection that is cut after so many bytes, which all arrive before the cut is seen. The
/// outcomes.
fn cut_after(bytes: u64, seed: u64) -> Vec<Outcome> {
    let config = Config::with_framing(LengthPrefixed::new())
        .write_queue(QueueLimit { messages: 100, bytes: 16 << 20 })
        .build()
        .expect("sound");
    let piece = [700, 4_096, 100_000][seed as usize % 3];
    let net = NetConfig { max_write: piece, max_read: piece, window: 8 * piece, ..NetConfig::default() };
    let mut pair = Pair::new(&config, net, seed).through(tls).keeping_a_ledger();
    pair.cut_at(Direction::ToServer, bytes);
    let mut casts: Vec<PairCast> = Vec::new();
    for (number, size) in (0..).zip(SIZES.iter().cycle().take(24)) {
        let given = pair.give(0, Wants::Outcome, CastOptions::new(0), 0, body(number, *size));
        casts.push(given.expect("room"));
        if number % 5 == 0 {
            pair.run_for(Duration::from_micros(300));
        }
    }
    pair.run_for(SECOND);
    close(&mut pair);
    pair.check_ledger();
    let arrived = arrived(&pair);
    let mut outcomes = Vec::new();
    for given in pair.ledger().casts() {
        let outcome = given.outcome().expect("it is waited for");
        let times = arrived.get(&given.body).copied().unwrap_or(0);
        match outcome {
            // Its records had left, and what has left arrives here.
            Outcome::Written => {
                assert_eq!(times, 1, "cut after {bytes}: {} bytes are lost", given.body.len())
            }
            Outcome::NeverSent => assert_eq!(times, 0),
            _ => {}
        }
        outcomes.push(outcome);
    }
    outcomes
}

#[test]
fn what_is_written_has_left_in_its_records_at_any_cut() {
    let all: usize = SIZES.iter().sum::<usize>() * 3;
    // Every cut in release.
    let step = if cfg!(debug_assertions) { 1_409 } else { 41 };
    let (mut written, mut never_sent, mut seed) = (0, 0, 0);
    for bytes in (0..all as u64 + 10_000).step_by(step) {
        seed += 1;
        let outcomes = cut_after(bytes, seed);
        let whole = outcomes.iter().filter(|outcome| **outcome == Outcome::Written).count();
        let none = outcomes.iter().filter(|outcome| **outcome == Outcome::NeverSent).count();
        // Those that left in part, by a record or more.
        assert!(outcomes.len() - whole - none <= 1, "{outcomes:?}");
        assert!(
            outcomes[..whole].iter().all(|outcome| *outcome == Outcome::Written),
            "in order: {outcomes:?}"
        );
        (written, never_sent) = (written + whole, never_sent + none);
    }
    assert!(written > 100 && never_sent > 100, "{written} and {never_sent}");
    assert_eq!(cut_after(u64::MAX, 1), [Outcome::Written; 24], "without a cut");
}

fn session() -> Config {
    Config::builder()
        .delivery(Delivery::Session)
        .max_message(64 * 1024)
        .fragment(4 * 1024)
        .session_window(64 * 1024)
        .write_queue(QueueLimit { messages: 200, bytes: 1 << 20 })
        .event_queue(10_000)
        .errored_queue(QueueLimit { messages: 10_000, bytes: 64 << 20 })
        .heartbeat(SECOND)
        .dead_after(SECOND * 3)
        .build()
        .expect("sound")
}

fn net(random: &mut Random) -> NetConfig {
    NetConfig {
        max_write: [500, 5_000, 64 * 1024][random.below(3) as usize],
        max_read: [500, 5_000, 64 * 1024][random.below(3) as usize],
        window: [4_000, 30_000, 256 * 1024][random.below(3) as usize],
        ..NetConfig::default()
    }
}

/// Casts from both ends, and everything that can happen to their connections; at the end all is well again.
fn schedule<F: Framing>(config: &Config<F>, seed: u64, secured: bool) {
    let mut random = Random::new(seed);
    let net = net(&mut random);
    let mut pair = Pair::new(config, net, seed).reconnecting(MS * 2).keeping_a_ledger();
    if secured {
        pair = pair.through(tls);
    }
    let in_session = matches!(config.delivery(), Delivery::Session);
    pair.run_for(MS * 20);
    for number in 0..40 {
        let side = usize::from(in_session) & random.below(2) as usize;
        let wants = [Wants::Failures, Wants::Event, Wants::Outcome][random.below(3) as usize];
        let class = [Class::Normal, Class::Bulk][usize::from(in_session) & random.below(2) as usize];
        let size = if random.below(4) == 0 { random.below(40_000) } else { random.below(300) } as usize;
        let options = CastOptions::new(0).class(class);
        // An accepting end between two sessions has no link that would take it.
        let _ = pair.give(side, wants, options, 0, body(number, size));
        match random.below(16) {
            0..4 => pair.cut(),
            4 => {
                let direction = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
                pair.cut_next_at(direction, random.below(3_000));
                pair.cut();
            }
            5 if in_session => pair.redial(),
            6 => pair.ends[0].slow_writer ^= true,
            7 => pair.ends[1].takes ^= true,
            _ => {}
        }
        pair.run_for(Duration::from_micros([0, 200, 3_000, 40_000][random.below(4) as usize]));
    }
    pair.ends[0].slow_writer = false;
    pair.ends[1].takes = true;
    pair.run_for(SECOND * 20);
    let what = format!("seed {seed}, secured: {secured}");
    assert_eq!(pair.over, None, "{what}");
    pair.check_ledger();
    let arrived = arrived(&pair);
    for given in pair.ledger().casts() {
        let outcome = given.outcome();
        if in_session {
            let is_told =
                outcome == Some(Outcome::Acked) || (outcome.is_none() && given.wants == Wants::Failures);
            assert!(is_told, "{what}: cast {} ended as {outcome:?}", given.number);
            let came = given.side == 1 || arrived.contains_key(&given.body);
            assert!(came, "{what}: cast {} is lost", given.number);
        } else if given.wants == Wants::Outcome {
            assert!(outcome.is_some(), "{what}: cast {} was never told", given.number);
        }
    }
}

#[test]
fn random_schedules_end_as_those_of_plain_links_do() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let (count, first) = (number("BOWLINE_SCHEDULES").unwrap_or(12), number("BOWLINE_SEED").unwrap_or(0));
    let at_most_once = Config::with_framing(LengthPrefixed::new());
    let at_most_once =
        at_most_once.event_queue(10_000).errored_queue(QueueLimit { messages: 10_000, bytes: 64 << 20 });
    let again = at_most_once.clone().delivery(Delivery::AtLeastOnce { retry_limit: 50 });
    let (at_most_once, again) = (at_most_once.build().expect("sound"), again.build().expect("sound"));
    for seed in first..first + count {
        for secured in [false, true] {
            schedule(&session(), seed, secured);
            schedule(&at_most_once, seed, secured);
            schedule(&again, seed, secured);
        }
    }
}

/// Where nothing is cut, the same is said of every cast, with TLS and without.
#[test]
fn without_cuts_the_ledger_is_that_of_plain_links() {
    for seed in 0..6 {
        let ledgers = [false, true].map(|secured| {
            let mut random = Random::new(seed);
            let net = net(&mut random);
            let mut pair = Pair::new(&session(), net, seed).keeping_a_ledger();
            if secured {
                pair = pair.through(tls);
            }
            pair.run_for(MS * 50);
            for number in 0..40 {
                let side = random.below(2) as usize;
                let wants = [Wants::Failures, Wants::Event, Wants::Outcome][random.below(3) as usize];
                let size = random.below(30_000) as usize;
                pair.give(side, wants, CastOptions::new(0), 0, body(number, size)).expect("room");
                pair.run_for(Duration::from_micros(random.below(5_000)));
            }
            pair.run_for(SECOND * 5);
            pair.check_ledger();
            pair.ledger().casts().to_vec()
        });
        assert_eq!(ledgers[0].len(), 40);
        assert!(ledgers[0] == ledgers[1], "seed {seed}");
    }
}
