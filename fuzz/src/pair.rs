//! A sequence of connections between two conforming ends.

use std::time::Duration;

use bowline_core::config::{Config, Delivery, OnDisconnect, Overflow, QueueLimit};
use bowline_core::error::{CallError, CastRefusal, Outcome};
use bowline_core::frame::Class;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions};
use bowline_core::machine::Machine;
use bowline_netsim::{Direction, MakeConduit, NetConfig, Pair, PairCall, PairCast, Wants};

use crate::{Input, tls};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// By then everything has ended: the longest deadline followed by the detection of a silent peer. Each
/// heartbeat until then has to be simulated.
const LONG_ENOUGH: Duration = Duration::from_secs(8);
/// Most pieces of the longest body: more of them find nothing, and each has to be simulated.
const PIECES: usize = 8;
/// Most operations in one run: longer inputs find nothing that several shorter ones do not.
const MOST: usize = 60;
const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];
const DIRECTIONS: [Direction; 2] = [Direction::ToServer, Direction::ToClient];
const WANTS: [Wants; 4] = [Wants::Failures, Wants::Event, Wants::Outcome, Wants::Outcome];

/// The configuration of a run, from the first bytes of its input.
struct Setting {
    delivery: Delivery,
    overflow: Overflow,
    on_disconnect: OnDisconnect,
    expire_after: Option<Duration>,
    fragment: usize,
    session_window: usize,
    /// The most bytes of one write or read.
    piece: usize,
    jitter: Duration,
    seed: u64,
    /// Both ends are closed while messages are under way.
    closes_at_once: bool,
}

impl Setting {
    fn read(input: &mut Input<'_>) -> Self {
        let (what, how, size, seed) = (input.byte(), input.byte(), input.byte(), input.byte());
        Self {
            delivery: if what % 4 == 0 { Delivery::AtMostOnce } else { Delivery::Session },
            overflow: [Overflow::Block, Overflow::DropNewest, Overflow::DropOldest, Overflow::Block]
                [usize::from(what >> 2) % 4],
            on_disconnect: [OnDisconnect::Keep, OnDisconnect::Return, OnDisconnect::Drop, OnDisconnect::Keep]
                [usize::from(what >> 4) % 4],
            expire_after: (what >> 6 == 3).then_some(MS * 50),
            fragment: 1024 + usize::from(how % 16) * 500,
            session_window: [1, 4 * 1024, 16 * 1024, 100 * 1024][usize::from(how >> 4) % 4],
            // Every piece takes time to simulate: small ones go with small messages.
            piece: 512 << (size % 6),
            jitter: if size >> 3 == 31 { MS } else { Duration::ZERO },
            closes_at_once: how >> 6 == 3,
            seed: u64::from(seed),
        }
    }

    fn pair(&self) -> Option<Pair<Native>> {
        let config = Config::builder()
            .delivery(self.delivery)
            .write_overflow(self.overflow)
            .on_disconnect(self.on_disconnect)
            .session_window(self.session_window)
            .max_message(64 * 1024)
            .write_queue(QueueLimit { messages: 40, bytes: 64 * 1024 })
            .normal_window(64 * 1024)
            .bulk_window(64 * 1024)
            .max_in_flight(20)
            .max_inbound(20)
            .max_inbound_bytes(64 * 1024)
            .heartbeat(SECOND / 2)
            .dead_after(SECOND * 3 / 2)
            .connect_timeout(SECOND)
            .fragment(self.fragment);
        let config = match self.expire_after {
            Some(wait) => config.expire_after(wait),
            None => config,
        };
        let config = config.build().ok()?;
        let Self { piece, jitter, .. } = *self;
        let net = NetConfig {
            max_write: piece,
            max_read: piece,
            window: 16 * piece,
            jitter,
            ..NetConfig::default()
        };
        Some(Pair::new(&config, net, self.seed).reconnecting(MS * 2).keeping_a_ledger())
    }
}

/// The actions in a run.
struct Run {
    pair: Pair<Native>,
    next: u32,
    casts: Vec<PairCast>,
    classes: Vec<(u32, usize, Class)>,
    calls: Vec<(PairCall, usize, u32)>,
    restarted: bool,
    /// The most bytes of a body.
    longest: usize,
}

impl Run {
    fn body(&mut self, len: usize) -> Vec<u8> {
        self.next += 1;
        let mut body = self.next.to_be_bytes().to_vec();
        body.resize(4 + len, self.next as u8);
        body
    }

    fn cast(&mut self, side: usize, class: Class, wants: Wants, len: usize) {
        let body = self.body(len);
        // A second method shows whether the method is returned with the message.
        let method = 1 + self.next % 3;
        match self.pair.give(side, wants, CastOptions::new(method).class(class), method, body.clone()) {
            Ok(cast) => {
                self.casts.push(cast);
                self.classes.push((self.next, side, class));
            }
            Err(error) => {
                let right = match error.reason() {
                    CastRefusal::Closed => self.pair.ends[side].link.is_closed(),
                    reason => matches!(reason, CastRefusal::Full(_) | CastRefusal::Undelivered { .. }),
                };
                assert!(right, "{error}");
                assert_eq!(error.into_body().as_deref(), Some(&body[..]), "handed back damaged");
            }
        }
    }

    fn call(&mut self, side: usize, class: Class, timeout: Duration, len: usize) {
        let body = self.body(len);
        match self.pair.call(side, &CallOptions::new(1).class(class).timeout(timeout), body) {
            Ok(call) => self.calls.push((call, side, self.next)),
            Err(CallError::Full(_)) => {}
            Err(error) => assert!(self.pair.ends[side].link.is_closed(), "{error}"),
        }
    }

    /// One operation.
    fn step(&mut self, op: u8, size: usize) {
        let (side, class) = (usize::from(op >> 7), CLASSES[usize::from(op >> 6) % 2]);
        let choice = usize::from(op >> 4) % 4;
        let len = match size {
            0..180 => size,
            180..250 => (size - 179) * 60,
            _ => (size - 248) * 5_000,
        };
        let len = len.min(self.longest);
        let pair = &mut self.pair;
        match op % 16 {
            0..=4 => self.cast(side, class, WANTS[choice], len),
            5 | 6 => self.call(side, class, [MS, MS * 100, SECOND, SECOND * 3][choice], len),
            7 if size.is_multiple_of(2) => {
                if let Some(&(call, ..)) = self.calls.get(size / 2) {
                    pair.cancel(call);
                }
            }
            7 => {
                if let Some(&cast) = self.casts.get(size / 2) {
                    pair.forget(cast);
                }
            }
            8 => pair.ends[side].takes = size.is_multiple_of(2),
            9 => pair.ends[side].answers = size.is_multiple_of(2),
            10 if choice == 0 => {
                pair.ends[side].slow_writer = size.is_multiple_of(2);
                pair.cut();
            }
            10 => pair.cut_at(DIRECTIONS[side], pair.carried(DIRECTIONS[side]) + (size * size) as u64 / 8),
            11 => pair.cut_next_at(DIRECTIONS[side], size as u64 * 8),
            12 if choice == 0 => pair.redial(),
            12 if choice == 1 && size.is_multiple_of(4) => pair.fall_silent(),
            12 if choice == 2 && size.is_multiple_of(8) => {
                self.restarted = true;
                pair.restart();
            }
            12 | 13 => pair.run_for(Duration::from_micros(size as u64 * 20)),
            _ => pair.run_for(MS * size as u32 / 2),
        }
    }

    /// Order within a class on every link, no duplicates, and exactly one outcome for every call.
    fn check(&self) {
        let Self { pair, .. } = self;
        assert_eq!(pair.over, None);
        pair.check_ledger();
        for (side, end) in
            pair.past.iter().map(|end| (0, end)).chain([(0, &pair.ends[1]), (1, &pair.ends[0])])
        {
            for class in CLASSES {
                let casts = self.classes.iter().filter(|cast| (cast.1, cast.2) == (side, class));
                let mut casts = casts.map(|cast| cast.0);
                for came in end.messages.iter().map(|body| number(body)) {
                    let is_of_it = self.classes.iter().any(|cast| cast.0 == came && cast.2 == class);
                    assert!(!is_of_it || casts.any(|number| number == came), "{came} is out of order");
                }
            }
        }
        for &(call, side, sent) in &self.calls {
            let handled = pair.past.iter().chain(&pair.ends).flat_map(|end| &end.requests);
            let times = handled.filter(|body| number(body) == sent).count();
            assert!(times <= 1, "call {sent} was handled {times} times");
            match pair.outcome(call) {
                // A process that died reports nothing to its callers.
                None => assert!(pair.was_cancelled(call) || (side == 1 && !pair.past.is_empty()), "{sent}"),
                Some(Ok(reply)) => assert_eq!((number(reply), times), (sent, 1), "another's reply"),
                Some(Err(error)) => {
                    assert!(
                        error.outcome() != Outcome::NeverSent || times == 0,
                        "{sent}: {error}, but it was handled"
                    );
                }
            }
        }
    }
}

fn number(body: &[u8]) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&body[..4]);
    u32::from_be_bytes(number)
}

/// Two ends that cast, call, cancel, and stop receiving or answering, over connections that are cut anywhere:
/// every awaited outcome is reported once, and correctly; returned messages equal the sent ones; and in a
/// session nothing is lost.
pub fn pair_ops(data: &[u8]) {
    run(data, None);
}

/// [`pair_ops`] with TLS between the ends and the network: what counts as written is decided by the driver's socket.
pub fn tls_pair_ops(data: &[u8]) {
    run(data, Some(tls::conduit));
}

fn run(data: &[u8], through: Option<MakeConduit>) {
    let mut input = Input(data);
    let setting = Setting::read(&mut input);
    let Some(mut pair) = setting.pair() else { return };
    if let Some(through) = through {
        pair = pair.through(through);
    }
    let mut run = Run {
        pair,
        next: 0,
        casts: Vec::new(),
        classes: Vec::new(),
        calls: Vec::new(),
        restarted: false,
        longest: setting.piece * PIECES,
    };
    run.pair.run_for(MS * 20);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let (op, size) = (input.byte(), usize::from(input.byte()));
        run.step(op, size);
    }
    for end in &mut run.pair.ends {
        (end.takes, end.answers) = (true, true);
    }
    if !setting.closes_at_once {
        run.pair.run_for(LONG_ENOUGH);
        run.check();
        let in_session = setting.delivery == Delivery::Session && !run.restarted;
        for given in run.pair.ledger().casts() {
            let outcome = given.outcome();
            let policy = matches!(outcome, Some(Outcome::Expired | Outcome::Dropped));
            let acked =
                outcome == Some(Outcome::Acked) || (outcome.is_none() && given.wants == Wants::Failures);
            assert!(!in_session || policy || acked, "{:?}: {outcome:?}", given.number);
            let side = 1 - given.side;
            let came = || run.pair.ends[side].messages.contains(&given.body);
            assert!(!in_session || policy || came(), "{} is lost", given.number);
        }
        for end in &run.pair.ends {
            assert_eq!(end.reader_memory(), 0, "nothing is under way any more");
        }
    }
    let (now, links) = (run.pair.now(), run.pair.past.len());
    for end in &mut run.pair.ends {
        end.link.close(now, if setting.closes_at_once { Duration::ZERO } else { SECOND });
    }
    run.pair.run_for(LONG_ENOUGH);
    // A dialing end that is not closed yet may find another link in the place of the closed one.
    let replaced = run.pair.past.len() > links;
    let [dialing, accepting] = &run.pair.ends;
    assert!(dialing.link.is_closed(), "closed, and it goes on");
    assert!(accepting.link.is_closed() || replaced, "closed, and it goes on");
    run.check();
}
