//! Sessions with cuts anywhere, stalls, second dials and restarts: no message is lost or duplicated.

use std::time::Duration;

use bowline_core::config::{Config, Delivery, QueueLimit};
use bowline_core::error::{CallError, CastRefusal, Disconnect, Outcome};
use bowline_core::frame::native::Native;
use bowline_core::frame::{Class, Framing, Kind, Meta, Profile, Step};
use bowline_core::link::{CallOptions, CastOptions, LinkEvent};
use bowline_netsim::{Direction, Given, NetConfig, Pair, PairCall, Random, Wants};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];

fn body(number: u32, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(len.max(4), number as u8);
    body
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().expect("four bytes"))
}

fn config(fragment: usize, window: usize) -> Config {
    Config::builder()
        .delivery(Delivery::Session)
        .max_message(64 * 1024)
        .fragment(fragment)
        .session_window(window)
        .normal_window(64 * 1024)
        .bulk_window(64 * 1024)
        .write_queue(QueueLimit { messages: 200, bytes: 256 * 1024 })
        .max_in_flight(40)
        .max_inbound(40)
        .heartbeat(SECOND)
        .dead_after(SECOND * 3)
        .build()
        .expect("sound")
}

/// The actions of both sides.
#[derive(Default)]
struct Script {
    next: u32,
    casts: [Vec<(u32, Class)>; 2],
    calls: Vec<(PairCall, usize, u32, Class)>,
}

impl Script {
    fn cast<F: Framing>(&mut self, pair: &mut Pair<F>, side: usize, class: Class, len: usize) {
        self.next += 1;
        // A third of them waits for the outcome, a third wants an event.
        let wants = [Wants::Failures, Wants::Event, Wants::Outcome][self.next as usize % 3];
        match pair.give(side, wants, CastOptions::new(1).class(class), 1, body(self.next, len)) {
            Ok(_) => self.casts[side].push((self.next, class)),
            Err(error) => assert!(matches!(error.reason(), CastRefusal::Full(_)), "{error}"),
        }
    }

    fn call<F: Framing>(&mut self, pair: &mut Pair<F>, side: usize, class: Class, len: usize) {
        self.next += 1;
        let options = CallOptions::new(1).class(class).timeout(SECOND * 10_000);
        match pair.call(side, &options, body(self.next, len)) {
            Ok(call) => self.calls.push((call, side, self.next, class)),
            Err(error) => assert!(matches!(error, CallError::Full(_)), "{error}"),
        }
    }

    /// No message lost or duplicated, order within each class, one answer for every call, and every requested
    /// outcome reported once.
    fn check<F: Framing>(&self, pair: &Pair<F>) {
        assert_eq!(pair.over, None);
        pair.check_ledger();
        for given in pair.ledger().casts() {
            let wanted = (given.wants != Wants::Failures).then_some(Outcome::Acked);
            assert_eq!(given.outcome(), wanted, "{} from side {}", given.number, given.side);
        }
        for (side, casts) in self.casts.iter().enumerate() {
            let numbers: Vec<u32> = pair.ends[1 - side].messages.iter().map(|body| number(body)).collect();
            for class in CLASSES {
                let sent: Vec<u32> = casts.iter().filter(|cast| cast.1 == class).map(|cast| cast.0).collect();
                let came: Vec<u32> = numbers.iter().copied().filter(|n| sent.contains(n)).collect();
                assert_eq!(came, sent, "side {side} {class:?}");
            }
            assert_eq!(numbers.len(), casts.len());
            let requests: Vec<u32> = pair.ends[1 - side].requests.iter().map(|body| number(body)).collect();
            for class in CLASSES {
                let made = self.calls.iter().filter(|call| call.1 == side && call.3 == class);
                let made: Vec<u32> = made.map(|call| call.2).collect();
                let came: Vec<u32> = requests.iter().copied().filter(|n| made.contains(n)).collect();
                assert!(came.windows(2).all(|pair| pair[0] < pair[1]), "twice, or out of order: {came:?}");
            }
        }
        for &(call, side, sent, _) in &self.calls {
            match pair.outcome(call) {
                None => assert!(pair.was_cancelled(call), "call {sent} has no outcome"),
                Some(Ok(reply)) => {
                    assert_eq!(number(reply), sent);
                    assert!(pair.ends[1 - side].requests.iter().any(|body| number(body) == sent));
                }
                Some(Err(error)) => panic!("call {sent}: {error}"),
            }
        }
        for (side, end) in pair.ends.iter().enumerate() {
            assert_eq!((end.link.in_flight(), end.link.write_queue()), (0, (0, 0)), "side {side}");
            assert_eq!((end.reader_memory(), end.link.unacknowledged()), (0, 0), "side {side}");
        }
    }
}

/// All kinds of messages, in both directions.
fn conversation<F: Framing>(pair: &mut Pair<F>) -> Script {
    let mut script = Script::default();
    pair.run_for(MS * 20);
    for round in 0..3 {
        for side in 0..2 {
            script.cast(pair, side, Class::Normal, 10);
            script.call(pair, side, Class::Normal, 20);
            script.cast(pair, side, Class::Bulk, 2_500);
            script.call(pair, side, Class::Bulk, 1_500 * round);
            script.cast(pair, side, Class::Normal, 1_100);
        }
        // Some calls are cancelled while being sent, before, or after.
        script.call(pair, round % 2, Class::Bulk, 2_000);
        if let Some(&(call, ..)) = script.calls.last() {
            pair.run_for(Duration::from_micros(300 * round as u64));
            pair.cancel(call);
        }
        pair.run_for(MS);
    }
    script
}

#[test]
fn cuts_at_every_byte_both_ways() {
    let net = NetConfig { max_write: 700, max_read: 900, ..NetConfig::default() };
    let config = config(1024, 8 * 1024);
    // The accepting side has no session before the handshake is done, and nothing to lose.
    let mut hello = Pair::new(&config, net, 1);
    hello.run_for(MS * 20);
    // The number of bytes of an undisturbed conversation.
    let mut whole = Pair::new(&config, net, 1).reconnecting(MS * 5).keeping_a_ledger();
    let script = conversation(&mut whole);
    whole.run_for(SECOND / 2);
    script.check(&whole);
    for direction in [Direction::ToServer, Direction::ToClient] {
        let carried = whole.carried(direction);
        assert!(carried > 15_000, "{carried}");
        for at in (hello.carried(direction) + 1..carried).step_by(if cfg!(debug_assertions) { 7 } else { 1 })
        {
            let mut pair = Pair::new(&config, net, at).reconnecting(MS * 5).keeping_a_ledger();
            pair.cut_at(direction, at);
            let script = conversation(&mut pair);
            pair.run_for(SECOND * 20);
            script.check(&pair);
        }
    }
}

#[test]
fn a_second_cut_while_what_was_lost_is_sent_again() {
    let net = NetConfig { max_write: 700, max_read: 900, ..NetConfig::default() };
    let config = config(1024, 8 * 1024);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut pair = Pair::new(&config, net, seed).reconnecting(MS * 5).keeping_a_ledger();
        let direction = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
        pair.cut_at(direction, 200 + random.below(20_000));
        let other = [Direction::ToServer, Direction::ToClient][random.below(2) as usize];
        pair.cut_next_at(other, random.below(6_000));
        let script = conversation(&mut pair);
        pair.run_for(SECOND * 20);
        script.check(&pair);
    }
}

/// One schedule: messages of both sides, pauses of both applications, and all kinds of events of a
/// connection.
fn schedule(seed: u64) {
    let mut random = Random::new(seed);
    let mut pick = |options: &[usize]| options[random.below(options.len() as u64) as usize];
    let (fragment, session_window) = (pick(&[1024, 5_000, 16_384]), pick(&[1, 4_096, 100_000]));
    let config = config(fragment, session_window);
    let net = NetConfig {
        max_write: pick(&[500, 5_000, 64 * 1024]),
        max_read: pick(&[500, 5_000, 64 * 1024]),
        window: pick(&[4_000, 30_000, 256 * 1024]),
        ..NetConfig::default()
    };
    let mut pair = Pair::new(&config, net, seed).reconnecting(MS * 2).keeping_a_ledger();
    let mut script = Script::default();
    pair.run_for(MS * 20);
    for _ in 0..random.below(80) {
        let side = random.below(2) as usize;
        let class = CLASSES[random.below(2) as usize];
        let len = match random.below(8) {
            0 => random.below(60_000) as usize,
            1 | 2 => random.below(6_000) as usize,
            _ => random.below(100) as usize,
        };
        match random.below(20) {
            0..6 => script.cast(&mut pair, side, class, len),
            6..11 => script.call(&mut pair, side, class, len),
            11 => {
                if !script.calls.is_empty() {
                    let at = random.below(script.calls.len() as u64) as usize;
                    pair.cancel(script.calls[at].0);
                }
            }
            12 => pair.ends[side].takes = !pair.ends[side].takes,
            13 => pair.ends[side].answers = !pair.ends[side].answers,
            14 => {
                pair.ends[side].slow_writer = random.below(2) == 0;
                pair.cut();
            }
            15 => pair.cut_next_at([Direction::ToServer, Direction::ToClient][side], random.below(5_000)),
            16 => pair.redial(),
            17 if random.below(4) == 0 => pair.fall_silent(),
            17 if random.below(4) == 0 => pair.jump(MS * random.below(5_000) as u32),
            18 => pair.run_for(MS * random.below(5) as u32),
            _ => pair.run_for(MS * random.below(100) as u32),
        }
        assert_eq!(pair.over, None);
    }
    for end in &mut pair.ends {
        (end.takes, end.answers) = (true, true);
    }
    pair.run_for(SECOND * 60);
    script.check(&pair);
    for peak in pair.peak {
        assert!(peak <= most_memory(session_window), "{peak} of {}", most_memory(session_window));
    }
}

/// The formula of `docs/guarantees.md`.
fn most_memory(session_window: usize) -> usize {
    let message = 64 * 1024 + 1024;
    let write = 3 * (256 * 1024 + 200 * 64 + message);
    let read = 2 * (64 * 1024 + message + 256) + 2 * message;
    let fixed = 5 * 128 * 1024 + 9 * 64 * 1024 + 2 * (64 * 1024 + message) + 2 * 40 * 512 + 16 * 1024;
    let session = 3 * session_window + 2 * 64 * 1024 + 2 * message;
    write + read + fixed + session
}

/// `BOWLINE_SCHEDULES` sets the number of schedules, `BOWLINE_SEED` the first seed. A failure prints its
/// seed: run it alone with `BOWLINE_SCHEDULES=1 BOWLINE_SEED=…`.
#[test]
fn random_schedules_lose_nothing_and_repeat_nothing() {
    let given = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let count: u64 = given("BOWLINE_SCHEDULES").unwrap_or(2_000);
    let first: u64 = given("BOWLINE_SEED").unwrap_or(1);
    for seed in first..first.saturating_add(count) {
        let run = std::panic::catch_unwind(|| schedule(seed));
        if let Err(panic) = run {
            eprintln!("seed {seed} fails: BOWLINE_SCHEDULES=1 BOWLINE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_restarted_peer_is_a_lost_session_and_everything_has_an_outcome() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let net = NetConfig { max_write: 700, max_read: 900, ..NetConfig::default() };
        let mut pair = Pair::new(&config(1024, 8 * 1024), net, seed).reconnecting(MS * 5).keeping_a_ledger();
        let mut script = Script::default();
        pair.run_for(MS * 20);
        for _ in 0..10 {
            script.cast(&mut pair, 0, CLASSES[random.below(2) as usize], random.below(3_000) as usize);
            script.call(&mut pair, 0, CLASSES[random.below(2) as usize], random.below(3_000) as usize);
            pair.run_for(Duration::from_micros(random.below(2_000)));
        }
        pair.restart();
        pair.run_for(SECOND * 10);
        // Reported once, returned unchanged, and nothing else reported.
        pair.check_ledger();
        let failed = |given: &&Given| match given.outcome() {
            None | Some(Outcome::Acked) => false,
            outcome => {
                assert_eq!(outcome, Some(Outcome::MaybeDelivered));
                true
            }
        };
        let old: Vec<u32> = pair.past[0].messages.iter().map(|body| number(body)).collect();
        let new: Vec<u32> = pair.ends[1].messages.iter().map(|body| number(body)).collect();
        let casts = pair.ledger().casts().iter();
        let back: Vec<u32> = casts.filter(failed).map(|given| number(&given.body)).collect();
        for (n, _) in &script.casts[0] {
            let times = [&old, &new].iter().filter(|came| came.contains(n)).count();
            assert!(times <= 1, "seed {seed}: {n} came twice");
            assert!(times == 1 || back.contains(n), "seed {seed}: {n} is lost without a word");
            assert!(
                !(new.contains(n) && back.contains(n)),
                "seed {seed}: {n} came to the new one and came back"
            );
        }
        for &(call, _, sent, _) in &script.calls {
            let requests = |end: &bowline_netsim::End<_>| {
                end.requests.iter().filter(|body| number(body) == sent).count()
            };
            let times = requests(&pair.past[0]) + requests(&pair.ends[1]);
            match pair.outcome(call) {
                Some(Ok(_)) => assert_eq!(times, 1),
                Some(Err(CallError::MaybeDelivered(Disconnect::SessionLost))) => assert!(times <= 1),
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        let events = pair.ends[0].events.iter();
        assert_eq!(events.filter(|event| matches!(event, LinkEvent::SessionLost { .. })).count(), 1);
    }
}

#[test]
fn a_session_that_nobody_takes_up_expires() {
    let mut pair = Pair::new(&config(1024, 8 * 1024), NetConfig::default(), 7);
    pair.cast(1, &CastOptions::new(1), body(1, 100)).expect("queued").number.to_string();
    pair.run_for(SECOND);
    pair.ends[1].takes = false;
    pair.cut();
    pair.run_for(SECOND);
    assert!(pair.ends[1].link.is_detached());
    let _ = pair.cast(1, &CastOptions::new(1), body(2, 100)).expect("queued");
    pair.run_for(SECOND * 60);
    assert!(!pair.ends[1].link.is_detached());
    assert_eq!(pair.ends[1].link.last_disconnect(), Some(&Disconnect::SessionExpired));
    let back = pair.ends[1].link.take_undelivered();
    assert_eq!(back.iter().map(|undelivered| number(&undelivered.body)).collect::<Vec<_>>(), [2]);
}

/// The native protocol with one error, as a wrapper around the written bytes.
#[derive(Clone, Debug)]
struct Broken {
    native: Native,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Sound,
    /// Acknowledges a frame that was not received.
    AcksOneMore,
    /// Claims to have one frame more than received: that one is skipped.
    ResumesOneMore,
    /// Claims to have one frame less than received: that one is sent again.
    ResumesOneLess,
    /// Never acknowledges anything.
    SkipsAcks,
}

impl Framing for Broken {
    fn profile(&self) -> Profile {
        self.native.profile()
    }

    fn max_message(&self) -> usize {
        self.native.max_message()
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), bowline_core::error::ConfigError> {
        self.native.set_max_message(bytes)
    }

    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, bowline_core::error::FrameError> {
        self.native.next_frame(unread)
    }

    fn begin(
        &self,
        out: &mut Vec<u8>,
        meta: &Meta,
        extensions: &[u8],
    ) -> Result<usize, bowline_core::error::EncodeError> {
        let id = match (meta.kind, self.how) {
            (Kind::Ack, How::AcksOneMore) => meta.id + 1,
            (Kind::Ack, How::SkipsAcks) => 0,
            _ => meta.id,
        };
        self.native.begin(out, &Meta { id, ..*meta }, extensions)
    }

    fn finish(
        &self,
        out: &mut Vec<u8>,
        mark: usize,
        external: usize,
    ) -> Result<(), bowline_core::error::EncodeError> {
        self.native.finish(out, mark, external)?;
        // A resume with a session: its last eight bytes are the number of received frames.
        let frame = &mut out[mark..];
        if frame[0] == 11 && frame[8..16] != [0; 8] {
            let (rest, received) = frame.split_last_chunk_mut::<8>().expect("a resume");
            assert_eq!(rest.len(), 32);
            let said = u64::from_be_bytes(*received);
            *received = match self.how {
                How::ResumesOneMore => said + 1,
                How::ResumesOneLess => said.saturating_sub(1),
                _ => said,
            }
            .to_be_bytes();
        }
        Ok(())
    }

    fn set_remaining(&self, frame: &mut [u8], remaining_ms: u32) {
        self.native.set_remaining(frame, remaining_ms);
    }

    fn set_class(&self, frame: &mut [u8], class: Class) {
        self.native.set_class(frame, class);
    }

    fn peek(&self, start: &[u8]) -> Option<Meta> {
        self.native.peek(start)
    }
}

/// Runs conversations with cuts over a protocol that may be broken. Returns whether all of them succeed.
fn holds(how: How) -> bool {
    let sound = config(1024, 8 * 1024);
    let config = Config::with_framing(Broken { native: Native::new(), how })
        .delivery(Delivery::Session)
        .fragment(1024)
        .session_window(8 * 1024)
        .write_queue(QueueLimit { messages: 200, bytes: 256 * 1024 })
        .max_message(sound.max_message())
        .build()
        .expect("sound");
    let net = NetConfig { max_write: 700, max_read: 900, ..NetConfig::default() };
    (0..60_u64).all(|round| {
        let run = std::panic::catch_unwind(|| {
            let mut pair = Pair::new(&config, net, round).reconnecting(MS * 5).keeping_a_ledger();
            let direction = [Direction::ToServer, Direction::ToClient][round as usize % 2];
            pair.cut_at(direction, 300 + round * 300);
            let script = conversation(&mut pair);
            pair.run_for(SECOND * 20);
            script.check(&pair);
        });
        run.is_ok()
    })
}

#[test]
fn the_checker_finds_what_is_broken() {
    assert!(holds(How::Sound), "nothing is wrong, and nothing is found");
    let found: Vec<How> = [How::AcksOneMore, How::ResumesOneMore, How::ResumesOneLess, How::SkipsAcks]
        .into_iter()
        .filter(|how| holds(*how))
        .collect();
    assert!(found.is_empty(), "not noticed: {found:?}");
}

#[test]
fn the_checker_finds_a_forgotten_fence() {
    let holds = |unfenced: bool| {
        (0..40_u64).all(|seed| {
            let run = std::panic::catch_unwind(|| {
                let net = NetConfig { max_write: 700, max_read: 900, ..NetConfig::default() };
                let mut pair =
                    Pair::new(&config(1024, 8 * 1024), net, seed).reconnecting(MS * 5).keeping_a_ledger();
                if unfenced {
                    pair = pair.forgetting_the_fence();
                }
                let mut script = conversation(&mut pair);
                for side in 0..2 {
                    script.cast(&mut pair, side, Class::Bulk, 5_000);
                    script.cast(&mut pair, side, Class::Normal, 100);
                }
                pair.run_for(Duration::from_micros(200 + seed * 40));
                pair.redial();
                pair.run_for(SECOND * 20);
                script.check(&pair);
            });
            run.is_ok()
        })
    };
    assert!(holds(false), "nothing is wrong, and nothing is found");
    assert!(!holds(true), "a connection taken up before the last one was closed goes unnoticed");
}
