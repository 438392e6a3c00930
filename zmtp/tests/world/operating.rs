//! Random operations on sockets of every pairing.
//!
//! `BOWLINE_SCHEDULES` sets the number of schedules for each pairing, `BOWLINE_SEED` the first seed; a
//! failure prints its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bowline_netsim::Random;
use bowline_zmtp::socket_type::SocketType;

use super::announced::Seen;
use super::operations::{Choices, Model, PAIRINGS};
use super::settling::Outcome;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn run(kinds: [SocketType; 2], seed: u64) -> Outcome {
    // The runs of two pairings with the same seed have nothing in common.
    let pairing = PAIRINGS.iter().position(|other| *other == kinds).unwrap_or_default() as u64;
    let mut random = Random::new(seed ^ 0x0b5e ^ pairing << 32);
    let choices = Choices(Box::new(move |bound| random.below(bound)));
    let mut model = Model::new(kinds, seed, choices);
    for _ in 0..80 {
        model.step();
    }
    model.finish()
}

fn add(all: &mut Seen, seen: Seen) {
    all.probes += seen.probes;
    all.welcomes += seen.welcomes;
    all.chosen += seen.chosen;
    all.conflated += seen.conflated;
    for at in 0..2 {
        all.let_in[at] += seen.let_in[at];
        all.refused[at] += seen.refused[at];
    }
}

#[test]
fn whatever_is_done_each_message_is_accounted_for() {
    let (count, first) = (number("BOWLINE_SCHEDULES", 30), number("BOWLINE_SEED", 1));
    let (mut failed, mut seen) = (Vec::new(), Seen::default());
    for kinds @ [one, other] in PAIRINGS {
        let (mut sent, mut came, mut ended) = (0, 0, 0);
        for seed in first..first + count {
            let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(kinds, seed))) else {
                eprintln!("{one} and {other}, BOWLINE_SEED={seed}");
                failed.push((one, other, seed));
                continue;
            };
            sent += outcome.sent;
            add(&mut seen, outcome.seen);
            came += outcome.came;
            ended += outcome.ended;
        }
        if count >= 20 {
            assert!(sent > 10 * count as usize && came * 20 > sent, "{one}, {other}: {came} of {sent} came");
            assert!(ended > count as usize, "{one}, {other}: {ended} connections were disturbed");
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    if count >= 20 {
        let mechanisms = 1 + usize::from(cfg!(feature = "curve"));
        let Seen { probes, welcomes, chosen, conflated, let_in, refused } = seen;
        assert!(probes > 100 && welcomes > 20 && chosen > 50 && conflated > 200, "{seen:?}");
        assert!(
            let_in[..mechanisms].iter().chain(&refused[..mechanisms]).all(|count| *count > 100),
            "{seen:?}"
        );
    }
}
