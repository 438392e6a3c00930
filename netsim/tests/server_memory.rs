//! Several links of one server under one memory limit, in random schedules.

use std::time::Duration;

use bowline_core::config::{Config, QueueLimit};
use bowline_core::error::Outcome;
use bowline_core::link::{CallOptions, CastOptions};
use bowline_core::machine::Machine;
use bowline_core::memory::{Effects, FREE, MemoryPool, STEP, Verdict};
use bowline_core::time::Instant;
use bowline_netsim::{NetConfig, Pair, Random, Wants};

const MS: Duration = Duration::from_millis(1);
const LINKS: usize = 12;
const LIMIT: usize = 2 << 20;
/// Memory outside of the limit: a tenth of it was read before links stopped, and each link has its uncounted
/// memory, a batch that is being written, and a receive buffer of 64 KiB.
const SLACK: usize = LIMIT / 10 + LINKS * (FREE + 2 * STEP);

/// Memory that links may hold beyond the limit, by their own count: bytes read before they stopped, one
/// message of the link with the turn, and the uncounted memory of each.
const BEYOND: usize = LIMIT / 10 + 2 * MESSAGE + LINKS * FREE;
/// The longest message.
const MESSAGE: usize = 256 * 1024;

/// The server: the accepting ends, and the pool that they draw from.
struct Server {
    pairs: Vec<Pair<bowline_core::frame::native::Native>>,
    pool: MemoryPool,
    closed: usize,
}

impl Server {
    fn new(seed: u64) -> Self {
        let config = Config::builder()
            .max_message(MESSAGE)
            .normal_window(512 * 1024)
            .bulk_window(512 * 1024)
            .write_queue(QueueLimit { messages: 1_000, bytes: 1 << 20 })
            .errored_queue(QueueLimit { messages: 10_000, bytes: 64 << 20 })
            .event_queue(10_000)
            .build()
            .expect("sound");
        let pair = |n| Pair::new(&config, NetConfig::default(), seed * 100 + n).keeping_a_ledger();
        let mut pairs: Vec<_> = (0..LINKS as u64).map(pair).collect();
        for pair in &mut pairs {
            pair.ends[1].link.count_memory();
        }
        Self { pairs, pool: MemoryPool::new(LIMIT, Duration::from_secs(5)), closed: 0 }
    }

    /// A driver's reaction to the reports of links.
    fn serve(&mut self) {
        for id in 0..LINKS {
            while let Some(holding) = self.pairs[id].ends[1].link.take_holding() {
                let now = self.pairs[id].now();
                if self.pairs[id].over.is_some() {
                    break;
                }
                let (verdict, effects) = self.pool.report(now, id as u64, holding);
                self.apply(now, effects);
                self.pairs[id].ends[1].link.handle_memory(now, verdict);
            }
        }
    }

    fn apply(&mut self, now: Instant, effects: Effects) {
        for (id, granted) in effects.resumed {
            self.pairs[id as usize].ends[1].link.handle_memory(now, Verdict::Granted(granted));
        }
        for (id, held) in effects.closed {
            self.closed += 1;
            self.pairs[id as usize].ends[1].link.close_for_memory(now, held, LIMIT);
        }
    }

    fn held(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.over.is_none()).map(|pair| pair.ends[1].memory()).sum()
    }

    /// The memory that links hold by their own count, reported or not.
    fn counted(&self) -> usize {
        let open = self.pairs.iter().filter(|pair| pair.over.is_none());
        open.map(|pair| pair.ends[1].link.holding().bytes).sum()
    }

    /// Lets all links run for that time, in small steps, and checks that they stay within the limit.
    fn run_for(&mut self, time: Duration, what: &str) {
        let mut left = time;
        while !left.is_zero() {
            let slice = left.min(Duration::from_micros(100));
            left -= slice;
            for id in 0..LINKS {
                self.pairs[id].run_for(slice);
                self.serve();
                if self.pairs[id].over.is_some() {
                    let now = self.pairs[id].now();
                    let effects = self.pool.remove(now, id as u64);
                    self.apply(now, effects);
                }
            }
            let counted = self.counted();
            assert!(counted <= LIMIT + BEYOND, "{what}: links hold {counted} bytes");
            let (held, pool) = (self.held(), self.pool.held());
            assert!(held <= LIMIT + SLACK, "{what}: {held} bytes, {pool} by the pool");
        }
    }
}

fn schedule(seed: u64) -> (usize, usize) {
    let mut random = Random::new(seed);
    let mut server = Server::new(seed);
    let what = format!("seed {seed}");
    server.run_for(MS * 20, &what);
    let mut peak = 0;
    for n in 0..120_u32 {
        let at = random.below(LINKS as u64) as usize;
        let pair = &mut server.pairs[at];
        pair.ends[1].takes = random.below(40) == 0;
        pair.ends[0].takes = random.below(2) == 0;
        let len = [200, 120_000, 250_000][random.below(3) as usize];
        let mut body = n.to_be_bytes().to_vec();
        body.resize(len, 7);
        if random.below(4) == 0 {
            let _ = pair.call(0, &CallOptions::new(1).timeout(Duration::from_secs(2)), body);
        } else {
            let wants = [Wants::Failures, Wants::Event, Wants::Outcome][random.below(3) as usize];
            let side = usize::from(random.below(4) == 0);
            let _ = pair.give(side, wants, CastOptions::new(0), 0, body);
        }
        server.run_for(Duration::from_micros([0, 300, 2_000][random.below(3) as usize]), &what);
        peak = peak.max(server.held());
    }
    for pair in &mut server.pairs {
        (pair.ends[0].takes, pair.ends[1].takes) = (true, true);
    }
    server.run_for(Duration::from_millis(1_500), &what);
    for pair in server.pairs.iter().filter(|pair| pair.over.is_none()) {
        pair.check_ledger();
        let written = |given: &bowline_netsim::Given| given.outcome() == Some(Outcome::Written);
        let asked = |given: &&bowline_netsim::Given| given.wants != Wants::Failures;
        assert!(pair.ledger().casts().iter().filter(asked).all(written), "{what}: not all is written");
    }
    (peak, server.closed)
}

#[test]
fn links_of_one_server_stay_within_its_limit() {
    let runs: Vec<_> = (0..8).map(schedule).collect();
    // The limit is effective: it is reached, and usually no link is closed.
    assert!(runs.iter().filter(|(peak, _)| *peak > LIMIT / 2).count() > 3, "{runs:?}");
}
