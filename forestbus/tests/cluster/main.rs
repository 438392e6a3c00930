//! A client of a cluster against three model nodes, over simulated time: leaders killed at each step of a send, stale
//! hints, frozen nodes, minority leaders, all nodes down and back, a node of another cluster.
//!
//! `FORESTBUS_SEEDS` is how many seeds are run (1,000 by default), `FORESTBUS_SEED` runs a single one, and
//! `FORESTBUS_TRACE` prints what happens.

mod ledger;
mod model;
mod random;
mod sim;

use std::sync::atomic::{AtomicU64, Ordering};

use bowline_core::config::QueueLimit;
use bowline_forestbus::cluster::{Counters, NodeOrder, Settings};

use ledger::Audit;
use model::{NODES, STEPS};
use random::Random;
use sim::{App, Event, Fault, MS, Sim, TOPICS};

const BUSY: u64 = 25_000 * MS;

/// The faults in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scenario {
    Calm,
    KilledInASend,
    KilledLeaders,
    Frozen,
    Minority,
    AllDown,
    OtherCluster,
    Everything,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario::Calm,
    Scenario::KilledInASend,
    Scenario::KilledLeaders,
    Scenario::Frozen,
    Scenario::Minority,
    Scenario::AllDown,
    Scenario::OtherCluster,
    Scenario::Everything,
];

/// The seed chooses how the client is set up, and how nodes are named.
fn settings(seed: u64, random: &mut Random) -> (Settings, Vec<String>) {
    let (nodes, names): (Vec<String>, Vec<String>) = if random.chance(40) {
        // All on one host: names say nothing, and are learned or configured.
        (0..NODES).map(|n| (format!("host:{}", 4000 + n), format!("host:{}", 3000 + n))).unzip()
    } else {
        (0..NODES).map(|n| (format!("n{n}:4000"), format!("n{n}:3000"))).unzip()
    };
    let order = [NodeOrder::AsGiven, NodeOrder::Shuffled, NodeOrder::Nearest][(seed % 3) as usize];
    let mut settings = Settings::new(nodes.clone())
        .cluster_id("test")
        .order(order)
        .max_topics(4)
        .max_commands(200)
        .queues(4_000)
        .topic_queue(QueueLimit { messages: 300, bytes: 3_000 })
        .page(10);
    if random.chance(30) {
        for (name, node) in names.iter().zip(&nodes) {
            settings = settings.node_name(name, node);
        }
    }
    if random.chance(30) {
        settings = settings.preferred_node(&nodes[random.below(3) as usize]);
    }
    (settings, names)
}

fn faults(sim: &mut Sim, scenario: Scenario) {
    let at = |sim: &mut Sim| sim.random.between(1_500, 18_000) * MS;
    match scenario {
        Scenario::Calm => {}
        Scenario::KilledInASend => {
            let step = STEPS[sim.random.below(STEPS.len() as u64) as usize];
            sim.model.trap = Some((step, sim.random.below(20) as u32));
        }
        Scenario::KilledLeaders => {
            for _ in 0..3 {
                let wait = at(sim);
                sim.after(wait, Event::Fault(Fault::KillLeader));
            }
            let (wait, node) = (at(sim), sim.random.below(3) as usize);
            sim.after(wait, Event::Fault(Fault::Stop(node)));
        }
        Scenario::Frozen => {
            for _ in 0..2 {
                let wait = at(sim);
                sim.after(wait, Event::Fault(Fault::FreezeLeader));
            }
            let (wait, node) = (at(sim), sim.random.below(3) as usize);
            let spell = sim.random.between(200, 9_000) * MS;
            sim.after(wait, Event::Fault(Fault::Freeze(node)));
            sim.after(wait + spell, Event::Fault(Fault::Thaw(node)));
        }
        Scenario::Minority => {
            let wait = at(sim);
            let fault = if sim.random.chance(70) { Fault::CutLeader } else { Fault::Cut(0) };
            sim.after(wait, Event::Fault(fault));
            let spell = sim.random.between(500, 15_000) * MS;
            sim.after(wait + spell, Event::Fault(Fault::Heal));
            let wait = at(sim);
            sim.after(wait, Event::Fault(Fault::KillLeader));
        }
        Scenario::AllDown => {
            let wait = at(sim);
            for node in 0..NODES {
                let spell = sim.random.between(500, 9_000) * MS;
                let stopped = sim.random.chance(50);
                let fault = if stopped { Fault::Stop(node) } else { Fault::Kill(node) };
                sim.after(wait, Event::Fault(fault));
                sim.after(wait + spell + 700 * MS, Event::Fault(Fault::Start(node)));
            }
        }
        Scenario::OtherCluster => {
            let node = sim.random.below(3) as usize;
            let (wait, spell) = (at(sim), sim.random.between(500, 9_000) * MS);
            sim.after(wait, Event::Fault(Fault::Foreign(node, true)));
            sim.after(wait, Event::Fault(Fault::Break(node, 0)));
            sim.after(wait, Event::Fault(Fault::Break(node, 1)));
            sim.after(wait + spell, Event::Fault(Fault::Foreign(node, false)));
        }
        Scenario::Everything => {
            for scenario in &SCENARIOS[1..7] {
                if sim.random.chance(50) {
                    faults(sim, *scenario);
                }
            }
            for _ in 0..3 {
                let (wait, node) = (at(sim), sim.random.below(3) as usize);
                let lane = sim.random.below(2) as usize;
                sim.after(wait, Event::Fault(Fault::Break(node, lane)));
            }
            let wait = at(sim);
            sim.after(wait, Event::App(App::Close));
        }
    }
    if sim.random.chance(25) {
        let wait = at(sim);
        sim.after(wait, Event::Fault(Fault::Trim));
    }
}

fn run(seed: u64) -> (Audit, Sim) {
    let mut random = Random::new(seed ^ 0x5eed);
    let (settings, names) = settings(seed, &mut random);
    let mut sim = Sim::new(seed, settings.build().expect("sound settings"), names);
    let scenario = SCENARIOS[(seed % SCENARIOS.len() as u64) as usize];
    // The first leader.
    sim.run_until(1_500 * MS);
    faults(&mut sim, scenario);
    for _ in 0..60 {
        let wait = sim.random.below(BUSY - 5_000 * MS);
        let topic = usize::from(sim.random.chance(20));
        let app = if sim.random.chance(75) {
            let count = if sim.random.chance(70) { 1 } else { sim.random.between(2, 12) };
            App::Send { topic, count }
        } else {
            App::Read { topic }
        };
        // Some come together.
        for _ in 0..if sim.random.chance(10) { 5 } else { 1 } {
            sim.after(wait, Event::App(app));
        }
    }
    for topic in [0, 0, 1] {
        let wait = sim.random.below(5_000) * MS;
        sim.after(wait, Event::App(App::Follow { topic, from: 1 }));
    }
    sim.run_until(BUSY);
    sim.fault(Fault::Heal);
    sim.run_until(BUSY + 20_000 * MS);
    sim.fault(Fault::Heal);
    assert_eq!(sim.ledger.open(), 0, "commands without a result");
    // Errors that were hidden since the last fail-over show with the next message.
    for topic in 0..TOPICS.len() {
        sim.app(App::Send { topic, count: 1 });
        sim.app(App::Send { topic, count: 1 });
    }
    sim.run_until(BUSY + 60_000 * MS);
    let ends: Vec<i64> = sim.model.committed.iter().map(|log| log.len() as i64 + 1).collect();
    for (topic, position) in sim.ledger.positions() {
        assert_eq!(position, ends[topic], "a follower of {} is not at the end", TOPICS[topic]);
    }
    assert_eq!(sim.ledger.positions().count(), 3, "followers are lost");
    assert_eq!(sim.model.overwritten, 0, "sends came within 3 ms of each other");
    let audit = sim.ledger.audit(&sim.model.committed);

    // Nothing is kept after the end.
    for id in std::mem::take(&mut sim.followers) {
        sim.app(App::Cancel(id));
    }
    sim.app(App::Close);
    sim.app(App::Close);
    sim.run_until(BUSY + 61_000 * MS);
    let snapshot = sim.cluster.snapshot();
    assert_eq!(
        (snapshot.commands, snapshot.calls, snapshot.timers, snapshot.queued_bytes, snapshot.connections),
        (0, 0, 0, 0, 0)
    );
    (audit, sim)
}

/// What remains of a run: the audit, the client's counters, and how many leaders were killed at each step of a send.
type Outcome = (Audit, Counters, [u32; STEPS.len()]);

/// Runs the seeds below this number, on every core. Fails with the number of one that failed.
fn run_all(seeds: u64) -> Vec<Outcome> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return outcomes;
            }
            match std::panic::catch_unwind(|| run(seed)) {
                Ok((audit, sim)) => outcomes.push((audit, *sim.cluster.counters(), sim.model.sprung)),
                Err(_) => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                    next.store(seeds, Ordering::Relaxed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it catches panics")).collect()
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "seed {failed}: see above");
    outcomes
}

#[test]
fn every_command_has_one_true_result_and_followers_miss_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    if let Some(seed) = number("FORESTBUS_SEED") {
        let (audit, sim) = run(seed);
        println!("{audit:?}\n{:#?}", sim.cluster.snapshot());
        return;
    }
    let seeds = number("FORESTBUS_SEEDS").unwrap_or(1_000);
    let mut sums = Audit::default();
    let (mut counters, mut sprung) = (Vec::new(), [0; STEPS.len()]);
    for (audit, of_client, of_model) in run_all(seeds) {
        sums.sent += audit.sent;
        sums.in_doubt += audit.in_doubt;
        sums.in_doubt_appended += audit.in_doubt_appended;
        sums.failed += audit.failed;
        counters.push(of_client);
        for (sum, count) in sprung.iter_mut().zip(of_model) {
            *sum += count;
        }
    }
    println!("{sums:?}");
    let sum = |of: fn(&Counters) -> u64| counters.iter().map(of).sum::<u64>();
    // The schedules are worth something only if they get there.
    let reached = [
        ("maybe_appended", sum(|c| c.maybe_appended)),
        ("repeated", sum(|c| c.repeated)),
        ("expired", sum(|c| c.expired)),
        ("cancelled", sum(|c| c.cancelled)),
        ("holds", sum(|c| c.holds)),
        ("hints_followed", sum(|c| c.hints_followed)),
        ("hints_wrong", sum(|c| c.hints_wrong)),
        ("hints_unknown", sum(|c| c.hints_unknown)),
        ("cluster_id_mismatches", sum(|c| c.cluster_id_mismatches)),
        ("uncommitted_cut", sum(|c| c.uncommitted_cut)),
        ("trimmed", sum(|c| c.trimmed)),
        ("laggards_left", sum(|c| c.laggards_left)),
        ("probes", sum(|c| c.probes)),
        ("connections_closed", sum(|c| c.connections_closed)),
        ("dials_failed", sum(|c| c.dials_failed)),
        ("rounds_failed", sum(|c| c.rounds_failed)),
    ];
    println!("{reached:?}, leaders killed at each step of a send: {sprung:?}");
    if seeds >= 200 {
        for (name, count) in reached {
            assert!(count > 0, "no schedule came to {name}");
        }
        for (step, count) in STEPS.iter().zip(sprung) {
            assert!(count > 0, "no leader was killed when a send was {step:?}");
        }
        assert!(sums.in_doubt_appended > 0 && sums.in_doubt_appended < sums.in_doubt, "{sums:?}");
    }
}
