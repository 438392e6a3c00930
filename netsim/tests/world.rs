//! Machines of a custom protocol, in three processes, over connections that break.

use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_netsim::{Direction, NetConfig, Random, World};

#[path = "../../tests/machines/shout.rs"]
mod shout;

use shout::{PATIENCE, Shout, ShoutError};

const MS: Duration = Duration::from_millis(1);

/// A network on which a connection can fall silent in the middle of a line.
fn net() -> NetConfig {
    NetConfig { max_write: 40, max_read: 17, ..NetConfig::default() }
}

/// Three processes, each of which sends lines to the two others: six machines that send and six that answer.
/// Wherever connections are cut, every line comes back once, in order; its receiver got the lines in that
/// order, repeated ones only after a cut.
struct Three {
    world: World<Shout<u32>>,
    random: Random,
    /// The lines that each pair sent and received back.
    pairs: Vec<Talk>,
}

struct Talk {
    says: usize,
    answers: usize,
    said: Vec<String>,
    back: Vec<String>,
    arrived: Vec<String>,
    cuts: usize,
}

impl Three {
    fn new(seed: u64) -> Self {
        let mut world = World::new(net(), seed, ());
        let mut pairs = Vec::new();
        for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let (says, answers) = (world.add(Shout::saying()), world.add(Shout::answering()));
            world.keep_connected(says, answers, MS * (1 + from + to));
            let (said, back, arrived) = Default::default();
            pairs.push(Talk { says, answers, said, back, arrived, cuts: 0 });
        }
        Self { world, random: Random::new(seed ^ 0x7a1c), pairs }
    }

    fn disturb(&mut self) {
        let at = self.random.below(self.pairs.len() as u64) as usize;
        let bytes = self.random.below(600);
        let Self { world, random, pairs } = self;
        let talk = &mut pairs[at];
        let direction = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
        talk.cuts += 1;
        match random.below(9) {
            0 => world.cut(talk.says),
            1 => world.cut_at(talk.says, direction, bytes),
            2 => world.cut_next_at(talk.says, direction, bytes),
            3 => world.fall_silent(talk.answers),
            4 => world.disconnect(talk.says, Disconnect::Reopened),
            5 => {
                world.set_slow_writer(talk.says, random.below(2) == 0);
                world.set_slow_writer(talk.answers, random.below(2) == 0);
            }
            6 => {
                // Its process dies: the lines that it received and did not answer are lost.
                let mut dead = world.replace(talk.answers, Shout::answering());
                take(&mut dead, &mut talk.arrived);
            }
            7 => world.jump(MS * 300),
            _ => {
                for _ in 0..20 {
                    let number = talk.said.len();
                    let line = format!("{at} says {number} {}", "x".repeat(random.below(80) as usize));
                    let now = world.now();
                    if world.machine_mut(talk.says).say(now, &line) {
                        talk.said.push(line);
                    }
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        self.world.run_for(time);
        for talk in &mut self.pairs {
            take(self.world.machine_mut(talk.says), &mut talk.back);
            take(self.world.machine_mut(talk.answers), &mut talk.arrived);
        }
    }

    fn check(&self) {
        for talk in &self.pairs {
            let capitals: Vec<_> = talk.said.iter().map(|line| line.to_uppercase()).collect();
            assert_eq!(talk.back, capitals, "every line comes back once, in order");
            assert_eq!(self.world.machine(talk.says).unanswered(), 0);
            // Each line was received; repeated lines were repeated in order.
            let mut next = 0;
            let mut repeats = 0;
            for line in &talk.arrived {
                let number = talk.said.iter().position(|said| said == line).expect("it was said");
                assert!(number <= next, "line {next} was left out before {line}");
                repeats += usize::from(number < next);
                next = next.max(number + 1);
            }
            assert_eq!(next, talk.said.len(), "every line was heard");
            assert!(repeats == 0 || talk.cuts > 0);
            for (_, cause) in self.world.ended(talk.says).iter().chain(self.world.ended(talk.answers)) {
                if let Disconnect::Foreign(error) = cause {
                    let error = error.downcast_ref::<ShoutError>();
                    assert!(matches!(error, Some(ShoutError::Cut | ShoutError::NoAnswer)), "{cause}");
                }
            }
        }
    }
}

fn take(machine: &mut Shout<u32>, into: &mut Vec<String>) {
    let mut ticket = None;
    while let std::task::Poll::Ready(Some(line)) = machine.poll_hear(&mut ticket, || 0) {
        into.push(line);
    }
}

#[test]
fn three_processes_hear_every_line_back_whatever_breaks() {
    let mut said = 0;
    for seed in 0..60 {
        let mut three = Three::new(seed);
        for _ in 0..120 {
            three.disturb();
            let time = MS * three.random.below(40) as u32;
            three.run(time);
        }
        for talk in &three.pairs {
            three.world.set_slow_writer(talk.says, false);
            three.world.set_slow_writer(talk.answers, false);
        }
        three.run(PATIENCE * 6);
        three.check();
        said += three.pairs.iter().map(|talk| talk.said.len()).sum::<usize>();
    }
    assert!(said > 10_000, "{said}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut three = Three::new(seed);
        for _ in 0..60 {
            three.disturb();
            three.run(MS * 20);
        }
        three.pairs.iter().map(|talk| (talk.arrived.clone(), talk.back.len())).collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_machine_may_be_connected_to_one_after_another() {
    let mut world: World<Shout<u32>> = World::new(NetConfig::default(), 1, ());
    let says = world.add(Shout::saying());
    let (first, second) = (world.add(Shout::answering()), world.add(Shout::answering()));
    let now = world.now();
    for line in ["one", "two"] {
        assert!(world.machine_mut(says).say(now, line));
    }
    world.connect(says, first);
    world.run_for(MS * 100);
    world.connect(says, second);
    let now = world.now();
    assert!(world.machine_mut(says).say(now, "three"));
    world.run_for(MS * 100);
    let heard = |world: &mut World<Shout<u32>>, end| {
        let mut lines = Vec::new();
        take(world.machine_mut(end), &mut lines);
        lines
    };
    assert_eq!(heard(&mut world, first), ["one", "two"]);
    assert_eq!(heard(&mut world, second), ["three"]);
    assert_eq!(heard(&mut world, says), ["ONE", "TWO", "THREE"]);
    assert_eq!(world.ended(says)[0].1, Disconnect::Superseded);
    assert_eq!(world.ended(first)[0].1, Disconnect::PeerClosed);
    assert!(!world.is_connected(first) && world.is_connected(second));
}

#[test]
fn silence_is_an_error_of_the_machines_own() {
    let mut world: World<Shout<u32>> = World::new(NetConfig::default(), 1, ());
    let (says, answers) = (world.add(Shout::saying()), world.add(Shout::answering()));
    world.connect(says, answers);
    world.run_for(MS * 10);
    world.fall_silent(says);
    let now = world.now();
    assert!(world.machine_mut(says).say(now, "anybody there?"));
    world.run_for(PATIENCE * 2);
    let [(at, cause)] = world.ended(says) else { panic!() };
    assert_eq!(*at, now + PATIENCE);
    assert_eq!(*cause, Disconnect::foreign(ShoutError::NoAnswer));
}
