//! Outcomes of casts: each waiting caller gets exactly one, whatever happens to connections.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::{Disconnect, Outcome};
use bowline_core::frame::{Class, Framing};
use bowline_core::link::{CastOptions, LinkEvent, Undelivered};
use bowline_core::machine::Machine;
use bowline_netsim::{NetConfig, Pair, Random};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// How the outcome of a cast is requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Waiting,
    Event,
    Not,
}

#[derive(Debug)]
struct Made {
    body: Vec<u8>,
    asked: Asked,
    /// Outcomes by return value, by event, and of returned messages.
    waited: Vec<Outcome>,
    events: Vec<Outcome>,
    back: Vec<Outcome>,
}

/// The casts of one end, by number, with their outcomes.
#[derive(Default)]
struct Casts(BTreeMap<u64, Made>);

impl Casts {
    fn cast<F: Framing>(
        &mut self,
        pair: &mut Pair<F>,
        side: usize,
        asked: Asked,
        class: Class,
        body: Vec<u8>,
    ) {
        let options = CastOptions::new(0).class(class).notify(asked == Asked::Event);
        let Ok(queued) = pair.cast(side, &options, body.clone()) else { return };
        if asked == Asked::Waiting {
            pair.ends[side].link.watch_outcome(queued.number, 0);
        }
        let made = Made { body, asked, waited: Vec::new(), events: Vec::new(), back: Vec::new() };
        assert!(self.0.insert(queued.number, made).is_none());
    }

    fn handed_back(&mut self, undelivered: Undelivered) {
        let made = self.0.get_mut(&undelivered.number).expect("a cast of ours");
        let (is, was) = (undelivered.body.len(), made.body.len());
        let what = (undelivered.number, undelivered.kind, undelivered.outcome, &undelivered.reason);
        assert!(undelivered.body[..] == made.body[..], "{is} bytes came back of {was}: {what:?}");
        made.back.push(undelivered.outcome);
    }

    /// Takes all outcomes so far.
    fn collect<F: Framing>(&mut self, pair: &mut Pair<F>, side: usize) {
        let link = &mut pair.ends[side].link;
        while let Some(event) = link.poll_event(&mut None, || 0) {
            match event {
                LinkEvent::MessageEnded { number, outcome }
                | LinkEvent::MessageFailed { number, outcome, .. } => {
                    self.0.get_mut(&number).expect("a cast of ours").events.push(outcome);
                }
                _ => {}
            }
        }
        for (number, made) in &mut self.0 {
            while let Some(ended) = link.poll_outcome(*number, || 0) {
                made.waited.push(match ended {
                    Ok(outcome) => outcome,
                    Err(undelivered) => {
                        assert!(undelivered.body[..] == made.body[..], "what comes back is what was given");
                        undelivered.outcome
                    }
                });
            }
        }
        while let Some(undelivered) = link.poll_errored(&mut None, || 0) {
            self.handed_back(undelivered);
        }
    }

    /// Closes the link at once, and takes the messages that it returns.
    fn close<F: Framing>(&mut self, pair: &mut Pair<F>, side: usize) {
        // A writer that still writes for a connection that is gone gives back its batch.
        pair.ends[side].slow_writer = false;
        pair.run_for(MS * 20);
        let now = pair.now();
        // No further connection: a closed accepting end would be replaced for it.
        pair.over = Some(Disconnect::LocalClose);
        pair.ends[side].link.close(now, Duration::ZERO);
        pair.run_for(Duration::from_micros(1));
        assert!(pair.ends[side].link.is_closed());
        for undelivered in pair.ends[side].link.take_undelivered() {
            self.handed_back(undelivered);
        }
        self.collect(pair, side);
    }

    /// Every cast has the expected outcomes, and no more.
    fn check(&self, what: &str) {
        for (number, made) in &self.0 {
            let told = |expected: &[usize], found: usize| {
                assert!(expected.contains(&found), "{what}, cast {number}: {made:?}");
            };
            match made.asked {
                Asked::Waiting => {
                    told(&[1], made.waited.len());
                    told(&[0], made.events.len() + made.back.len());
                }
                // By an event; a failed message is also returned, by `close` without an event.
                Asked::Event => {
                    told(&[0], made.waited.len());
                    told(&[1], made.events.len().max(made.back.len()));
                    assert!(made.back.is_empty() || made.events.is_empty() || made.back == made.events);
                }
                Asked::Not => {
                    told(&[0], made.waited.len());
                    told(&[0, 1], made.events.len());
                    told(&[0, 1], made.back.len());
                    assert!(made.back.is_empty() || made.events.is_empty() || made.back == made.events);
                }
            }
        }
    }

    fn outcome(made: &Made) -> Option<Outcome> {
        made.waited.iter().chain(&made.events).chain(&made.back).next().copied()
    }
}

fn body(n: u32, len: usize) -> Vec<u8> {
    let mut body = n.to_be_bytes().to_vec();
    body.resize(len.max(4), n as u8);
    body
}

fn session() -> Config {
    Config::builder()
        .delivery(Delivery::Session)
        .max_message(64 * 1024)
        .fragment(1024)
        .session_window(16 * 1024)
        .write_queue(QueueLimit { messages: 200, bytes: 256 * 1024 })
        .event_queue(10_000)
        .errored_queue(QueueLimit { messages: 10_000, bytes: 64 << 20 })
        .heartbeat(SECOND)
        .dead_after(SECOND * 3)
        .build()
        .expect("sound")
}

#[test]
fn an_acknowledgement_lost_with_its_connection_is_told_by_the_resume() {
    for (seed, slow) in [(1, false), (2, true)] {
        let mut random = Random::new(seed);
        let mut pair = Pair::new(&session(), NetConfig::default(), seed).reconnecting(MS * 2);
        pair.run_for(MS * 20);
        pair.ends[0].slow_writer = slow;
        let mut casts = Casts::default();
        for n in 0..200 {
            let asked = [Asked::Waiting, Asked::Event][n as usize % 2];
            casts.cast(&mut pair, 0, asked, Class::Normal, body(n, 20));
            // Delivered, and usually not acknowledged: acknowledgements are delayed by 25 ms.
            pair.run_for(Duration::from_micros(1_000 + random.below(19_000)));
            pair.cut();
            pair.run_for(MS * 10);
        }
        pair.run_for(SECOND);
        casts.collect(&mut pair, 0);
        assert_eq!(pair.ends[0].link.unacknowledged(), 0);
        assert_eq!(casts.0.len(), 200);
        for (number, made) in &casts.0 {
            assert_eq!(Casts::outcome(made), Some(Outcome::Acked), "cast {number}: {made:?}");
        }
        casts.close(&mut pair, 0);
        casts.check("closed");
    }
}

/// Casts of one end of a session, and all kinds of events of its connections; at the end it is closed at
/// once.
fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let net = NetConfig {
        max_write: [500, 5_000, 64 * 1024][random.below(3) as usize],
        max_read: [500, 5_000, 64 * 1024][random.below(3) as usize],
        window: [4_000, 30_000, 256 * 1024][random.below(3) as usize],
        ..NetConfig::default()
    };
    let mut pair = Pair::new(&session(), net, seed).reconnecting(MS * 2);
    let side = random.below(2) as usize;
    pair.run_for(MS * 20);
    let mut casts = Casts::default();
    for n in 0..40 {
        let asked = [Asked::Waiting, Asked::Event, Asked::Not][random.below(3) as usize];
        let class = [Class::Normal, Class::Bulk][random.below(2) as usize];
        let len = if random.below(4) == 0 { random.below(20_000) } else { random.below(300) };
        casts.cast(&mut pair, side, asked, class, body(n, len as usize));
        match random.below(24) {
            0..5 => pair.cut(),
            5 => pair.ends[side].slow_writer ^= true,
            // The other process dies (the casts of this one would be lost with it).
            6 if side == 0 => {
                pair.restart();
                pair.run_for(MS * 20);
            }
            7 => pair.ends[1 - side].takes ^= true,
            8 => casts.collect(&mut pair, side),
            _ => {}
        }
        pair.run_for(Duration::from_micros([0, 200, 3_000, 40_000][random.below(4) as usize]));
    }
    if pair.over.is_some() {
        // A process that died during a handshake: the simulated server has no second session to offer.
        return;
    }
    if random.below(2) == 0 {
        pair.ends[1 - side].takes = true;
        pair.run_for(SECOND * 20);
        casts.collect(&mut pair, side);
        let over = pair.over.is_some();
        for (number, made) in casts.0.iter().filter(|(_, made)| !over && made.asked != Asked::Not) {
            let link = &pair.ends[side].link;
            let state = (side, link.state(), link.unacknowledged(), link.write_queue(), pair.over.as_ref());
            assert!(Casts::outcome(made).is_some(), "{seed}, cast {number} of {state:?}: nothing was told");
        }
    }
    casts.close(&mut pair, side);
    casts.check(&format!("seed {seed}"));
    let ends = pair.past.iter().chain([&pair.ends[1 - side]]);
    let came: Vec<&Vec<u8>> = ends.flat_map(|end| &end.messages).collect();
    for (number, made) in &casts.0 {
        // A message that the peer acknowledged was delivered, or would be (a dead process delivers nothing).
        if Casts::outcome(made) == Some(Outcome::NeverSent) {
            assert!(!came.contains(&&made.body), "{seed}, cast {number} came and never left: {made:?}");
        }
    }
}

#[test]
fn every_cast_of_a_session_has_one_outcome_whatever_happens() {
    for seed in 0..600 {
        schedule(seed);
    }
}
