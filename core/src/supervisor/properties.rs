//! Properties under arbitrary inputs in any order.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use proptest::prelude::*;

use super::*;
use crate::error::PeerError;

const CAP: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Op {
    Resolved {
        pick: usize,
        addresses: Option<u16>,
    },
    Dialed {
        pick: usize,
        ok: bool,
    },
    Ready,
    Down {
        version: bool,
    },
    /// Results of abandoned actions, events of earlier epochs.
    Late,
    Timeout,
    /// Sleeps until the supervisor's next timeout.
    Sleep,
    ReconnectNow,
    SetEndpoints {
        first: u16,
        count: u16,
    },
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    let addresses = prop_oneof![Just(None), (0..100_u16).prop_map(Some), (1..4_u16).prop_map(Some)];
    prop_oneof![
        4 => (0..9_usize, addresses).prop_map(|(pick, addresses)| Op::Resolved { pick, addresses }),
        6 => (0..9_usize, any::<bool>()).prop_map(|(pick, ok)| Op::Dialed { pick, ok }),
        3 => Just(Op::Ready),
        3 => (0..6).prop_map(|dice| Op::Down { version: dice == 0 }),
        2 => Just(Op::Late),
        4 => Just(Op::Timeout),
        4 => Just(Op::Sleep),
        1 => Just(Op::ReconnectNow),
        1 => (0..4_u16, 1..4_u16).prop_map(|(first, count)| Op::SetEndpoints { first, count }),
    ]
}

fn endpoints(first: u16, count: u16) -> Vec<Endpoint> {
    let name = |port| match port % 2 {
        0 => Endpoint::Name { host: format!("host{port}"), port },
        _ => SocketAddr::from(([127, 0, 0, 1], port)).into(),
    };
    (first..first + count).map(name).collect()
}

fn error() -> TransportError {
    TransportError::new(TransportKind::Refused, "refused")
}

/// A driver that performs every action and checks it.
struct Driver {
    supervisor: Supervisor,
    now: Instant,
    log: Vec<String>,
    resolving: Vec<(AttemptId, u16)>,
    dialing: Vec<AttemptId>,
    abandoned: Vec<AttemptId>,
    connected: Option<(Epoch, bool)>,
    newest: Epoch,
    /// Ports (which identify the endpoints) tried since the last wait began.
    tried: BTreeSet<u16>,
    waiting: Option<Instant>,
    gave_up: bool,
    /// Every action is fetched before anything else happens, so that no result crosses an abandon or a close.
    prompt: bool,
}

impl Driver {
    fn new(seed: u64, count: u16, prompt: bool) -> Self {
        let policy = ReconnectPolicy::backoff(Duration::from_millis(100), CAP);
        let timeout = Duration::from_secs(10);
        Self {
            supervisor: Supervisor::new(endpoints(0, count), policy, timeout, seed),
            now: Instant::ZERO,
            log: Vec::new(),
            resolving: Vec::new(),
            dialing: Vec::new(),
            abandoned: Vec::new(),
            connected: None,
            newest: Epoch::NONE,
            tried: BTreeSet::new(),
            waiting: None,
            gave_up: false,
            prompt,
        }
    }

    fn act(&mut self) -> Result<(), TestCaseError> {
        while let Some(action) = self.supervisor.poll_action() {
            self.log.push(format!("{:?} {action:?}", self.now));
            prop_assert!(!self.gave_up, "nothing comes after giving up");
            match action {
                Action::Resolve { attempt, port, .. } => {
                    self.tried.insert(port);
                    self.resolving.push((attempt, port));
                }
                Action::Dial { attempt, address, .. } => {
                    self.tried.insert(address.port());
                    self.dialing.push(attempt);
                }
                Action::Abandon { attempt } => {
                    let before = self.resolving.len() + self.dialing.len();
                    self.resolving.retain(|(other, _)| *other != attempt);
                    self.dialing.retain(|other| *other != attempt);
                    let known = self.resolving.len() + self.dialing.len() + 1 == before;
                    prop_assert!(known || !self.prompt);
                    self.abandoned.push(attempt);
                }
                Action::Close { epoch, .. } => {
                    let closed = self.connected.take().map(|(epoch, _)| epoch);
                    prop_assert!(closed == Some(epoch) || !self.prompt && closed.is_none());
                }
                Action::AttemptFailed { attempt, .. } => prop_assert!(attempt > 0),
                Action::RoundFailed { .. } => prop_assert!(!self.supervisor.last_round().is_empty()),
                Action::Waiting { attempt, until, .. } => {
                    prop_assert!(attempt > 1);
                    prop_assert!(!self.prompt || self.supervisor.next_attempt_at() == Some(until));
                }
                Action::GaveUp { .. } => self.gave_up = true,
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) {
        let (s, now) = (&mut self.supervisor, self.now);
        match *op {
            Op::Resolved { pick, addresses } if !self.resolving.is_empty() => {
                let (attempt, port) = self.resolving.swap_remove(pick % self.resolving.len());
                let list = |count| {
                    (0..count).map(|i: u16| match i % 3 {
                        0 => SocketAddr::from(([i, 0, 0, 0, 0, 0, 0, 1], port)),
                        _ => SocketAddr::from(([10, 0, 0, i.to_be_bytes()[1]], port)),
                    })
                };
                let found = addresses.map(|count| list(count).collect::<Vec<_>>());
                s.handle_resolved(now, attempt, found.as_deref().ok_or_else(error));
            }
            Op::Dialed { pick, ok } if !self.dialing.is_empty() => {
                let attempt = self.dialing.swap_remove(pick % self.dialing.len());
                let result = if ok { Ok(()) } else { Err(error()) };
                let dialed = s.handle_dialed(now, attempt, result);
                let used = matches!(dialed, Dialed::Use(_));
                assert!(used == ok || !self.prompt && !used, "what was not abandoned is wanted");
                if let Dialed::Use(epoch) = dialed {
                    assert_eq!(self.connected.replace((epoch, false)), None, "two connections");
                    assert_eq!(epoch, self.newest.next());
                    self.newest = epoch;
                }
            }
            Op::Ready => {
                if let Some((epoch, ready)) = &mut self.connected {
                    s.handle_ready(now, *epoch);
                    *ready = true;
                }
            }
            Op::Down { version } => {
                if let Some((epoch, _)) = self.connected.take() {
                    let wrong = PeerError::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 2 };
                    let cause = if version { wrong.into() } else { Disconnect::PeerClosed };
                    s.handle_down(now, epoch, &cause);
                }
            }
            Op::Late => {
                for &attempt in &self.abandoned {
                    s.handle_resolved(now, attempt, Ok(&[([9, 9, 9, 9], 9).into()]));
                    assert_eq!(s.handle_dialed(now, attempt, Ok(())), Dialed::Discard);
                }
                let old = if self.connected.is_some() { Epoch::NONE } else { self.newest };
                s.handle_ready(now, old);
                s.handle_down(now, old, &Disconnect::PeerClosed);
            }
            Op::Timeout => s.handle_timeout(now),
            Op::Sleep => {
                if let Some((at, _)) = s.poll_timeout() {
                    self.now = self.now.max(at);
                    s.handle_timeout(self.now);
                    let (next, again) = (s.poll_timeout(), s.actions.len());
                    s.handle_timeout(self.now);
                    // One dial for each call while several are due; otherwise a second call has no effect.
                    assert!(
                        matches!(s.state, State::Trying(_))
                            || (s.poll_timeout(), s.actions.len()) == (next, again)
                    );
                }
            }
            Op::ReconnectNow => s.reconnect_now(now),
            Op::SetEndpoints { first, count } => s.set_endpoints(now, endpoints(first, count)).unwrap(),
            Op::Stop => s.stop(),
            Op::Resolved { .. } | Op::Dialed { .. } => {}
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let s = &self.supervisor;
        let up = self.connected.is_some_and(|(_, ready)| ready);
        prop_assert!(s.poll_timeout().is_some() || up || s.is_stopped(), "stuck in {:?}", s.state);
        prop_assert!(self.dialing.len() <= endpoints::MAX_ADDRESSES && self.resolving.len() <= 1);
        let per_endpoint = endpoints::MAX_ADDRESSES + 2;
        prop_assert!(s.failures.len() <= 4 * per_endpoint);
        let waiting = s.next_attempt_at();
        if let Some(until) = waiting
            && waiting != self.waiting
        {
            prop_assert!(until.saturating_since(self.now) <= CAP);
            let all: BTreeSet<u16> = s.endpoints().iter().map(port).collect();
            prop_assert!(self.tried.is_superset(&all), "waits with {:?} of {all:?} tried", self.tried);
            self.tried.clear();
        }
        self.waiting = waiting;
        if s.is_stopped() {
            let none = self.dialing.is_empty() && self.resolving.is_empty() && self.connected.is_none();
            prop_assert!(none, "something goes on after the end");
        }
        Ok(())
    }
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint {
        Endpoint::Address(address) => address.port(),
        Endpoint::Name { port, .. } => *port,
    }
}

fn run(seed: u64, count: u16, ops: &[(Op, u64)]) -> Result<Vec<String>, TestCaseError> {
    let mut driver = Driver::new(seed, count, true);
    driver.supervisor.start(driver.now);
    for (op, ms) in ops {
        driver.act()?;
        driver.check()?;
        driver.now += Duration::from_millis(*ms);
        driver.apply(op);
    }
    driver.act()?;
    driver.check()?;
    driver.apply(&Op::Stop);
    driver.act()?;
    driver.check()?;
    Ok(driver.log)
}

proptest! {
    /// It continues until `stop` is called, with at most one connection, within all bounds; it waits only
    /// after every endpoint was tried, and repeats the same actions with the same seed.
    #[test]
    fn it_always_goes_on(
        seed: u64,
        count in 1_u16..4,
        ops in prop::collection::vec((op(), 0_u64..12_000), 1..200),
    ) {
        prop_assert_eq!(run(seed, count, &ops)?, run(seed, count, &ops)?);
    }

    /// Actions that the driver does not fetch do not accumulate.
    #[test]
    fn actions_that_are_not_fetched_are_withdrawn(
        seed: u64,
        count in 1_u16..4,
        ops in prop::collection::vec((op(), 0_u64..12_000), 1..200),
        fetched in prop::collection::vec(0..20_u8, 200),
    ) {
        let mut driver = Driver::new(seed, count, false);
        driver.supervisor.start(driver.now);
        for ((op, ms), fetched) in ops.iter().zip(fetched) {
            if fetched == 0 {
                driver.act()?;
            }
            driver.now += Duration::from_millis(*ms);
            driver.apply(op);
            prop_assert!(driver.supervisor.actions.len() <= 3 * endpoints::MAX_ADDRESSES + 5);
        }
    }
}
