use super::*;
use crate::error::{PeerError, TransportKind};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

fn supervisor(endpoints: &[&str], policy: ReconnectPolicy) -> Supervisor {
    let endpoints = endpoints.iter().map(|e| e.parse().unwrap()).collect();
    let mut supervisor = Supervisor::new(endpoints, policy, S * 10, 1);
    supervisor.start(Instant::ZERO);
    supervisor
}

fn refused() -> TransportError {
    TransportError { kind: TransportKind::Refused, message: "refused".into() }
}

fn dial(supervisor: &mut Supervisor) -> (AttemptId, SocketAddr) {
    match supervisor.poll_action() {
        Some(Action::Dial { attempt, address }) => (attempt, address),
        other => panic!("wanted a dial, got {other:?}"),
    }
}

fn fail(supervisor: &mut Supervisor, now: Instant) -> SocketAddr {
    let (attempt, address) = dial(supervisor);
    assert_eq!(supervisor.handle_dialed(now, attempt, Err(refused())), Dialed::Discard);
    address
}

fn up(supervisor: &mut Supervisor, now: Instant) -> Epoch {
    let (attempt, _) = dial(supervisor);
    let Dialed::Use(epoch) = supervisor.handle_dialed(now, attempt, Ok(())) else { panic!() };
    supervisor.handle_ready(now, epoch);
    epoch
}

#[test]
fn every_endpoint_is_tried_before_the_first_wait() {
    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], ReconnectPolicy::default());
    let ports: Vec<u16> = (0..3).map(|_| fail(&mut s, Instant::ZERO).port()).collect();
    assert_eq!(ports, [1, 2, 3]);
    assert!(matches!(s.poll_action(), Some(Action::RoundFailed { .. })));
    let (at, reason) = s.poll_timeout().unwrap();
    assert_eq!(reason, Reason::Reconnect);
    assert!(at <= Instant::ZERO + Duration::from_millis(100));
    s.handle_timeout(at);
    assert_eq!(fail(&mut s, at).port(), 1);
}

#[test]
fn one_deadline_covers_dial_and_handshake() {
    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::fixed(S));
    let (attempt, _) = dial(&mut s);
    let Dialed::Use(epoch) = s.handle_dialed(Instant::ZERO + S * 9, attempt, Ok(())) else { panic!() };
    let (at, _) = s.poll_timeout().unwrap();
    assert_eq!(at, Instant::ZERO + S * 10);
    s.handle_timeout(at);
    let cause = Disconnect::ConnectTimeout { limit: S * 10 };
    assert_eq!(s.poll_action(), Some(Action::Close { epoch, cause: cause.clone() }));
    assert_eq!(s.poll_action(), Some(Action::RoundFailed { cause: cause.clone() }));
    s.handle_down(at, epoch, &cause);
    assert_eq!(s.poll_timeout(), Some((at + S, Reason::Reconnect)), "a stale epoch changes nothing");
}

#[test]
fn addresses_race_and_losers_are_abandoned() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::default());
    let Some(Action::Resolve { attempt, .. }) = s.poll_action() else { panic!() };
    let addresses = ["[::1]:1".parse().unwrap(), "1.1.1.1:1".parse().unwrap()];
    s.handle_resolved(Instant::ZERO, attempt, Ok(&addresses));
    let (slow, address) = dial(&mut s);
    assert!(address.is_ipv6());
    assert_eq!(s.poll_action(), None);
    let (at, _) = s.poll_timeout().unwrap();
    assert_eq!(at, Instant::ZERO + Duration::from_millis(250));
    s.handle_timeout(at);
    let (fast, _) = dial(&mut s);
    assert!(matches!(s.handle_dialed(at, fast, Ok(())), Dialed::Use(_)));
    assert_eq!(s.poll_action(), Some(Action::Abandon { attempt: slow }));
    assert_eq!(s.handle_dialed(at, slow, Ok(())), Dialed::Discard);
}

#[test]
fn the_last_good_answer_serves_while_the_resolver_is_down() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    let Some(Action::Resolve { attempt, .. }) = s.poll_action() else { panic!() };
    let address: SocketAddr = "1.1.1.1:1".parse().unwrap();
    s.handle_resolved(Instant::ZERO, attempt, Ok(&[address]));
    assert_eq!(fail(&mut s, Instant::ZERO), address);
    s.poll_action();
    s.handle_timeout(Instant::ZERO + S);
    let Some(Action::Resolve { attempt, .. }) = s.poll_action() else { panic!("looked up again") };
    s.handle_resolved(Instant::ZERO + S, attempt, Err(refused()));
    assert_eq!(dial(&mut s).1, address);
}

#[test]
fn accept_then_kick_makes_no_storm_and_health_resets_the_wait() {
    let policy = ReconnectPolicy::backoff(S, S * 64);
    let mut s = supervisor(&["127.0.0.1:1"], policy);
    let mut now = Instant::ZERO;
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        let epoch = up(&mut s, now);
        now += Duration::from_millis(1);
        s.handle_down(now, epoch, &Disconnect::PeerClosed);
        let (at, reason) = s.poll_timeout().unwrap();
        assert_eq!(reason, Reason::Reconnect);
        waited += at.saturating_since(now);
        now = at;
        s.handle_timeout(now);
    }
    assert!(waited > S * 100, "{waited:?}");
    let epoch = up(&mut s, now);
    now += S * 10;
    s.handle_down(now, epoch, &Disconnect::PeerClosed);
    assert!(matches!(s.poll_action(), Some(Action::Dial { .. })), "at once after a healthy spell");
    assert_eq!(s.rounds_failed(), 0);
}

#[test]
fn what_cannot_get_better_is_given_up() {
    let version = PeerError::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 2 };
    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::default());
    let (attempt, _) = dial(&mut s);
    let Dialed::Use(epoch) = s.handle_dialed(Instant::ZERO, attempt, Ok(())) else { panic!() };
    s.handle_down(Instant::ZERO, epoch, &version.into());
    assert!(matches!(s.poll_action(), Some(Action::RoundFailed { .. })));
    assert!(matches!(s.poll_action(), Some(Action::GaveUp { .. })));
    assert!(s.is_stopped());

    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::fixed(S).max_rounds(2));
    fail(&mut s, Instant::ZERO);
    s.poll_action();
    s.handle_timeout(Instant::ZERO + S);
    fail(&mut s, Instant::ZERO + S);
    s.poll_action();
    assert!(matches!(s.poll_action(), Some(Action::GaveUp { .. })));
}

#[test]
fn a_resolver_that_never_answers_is_bounded() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    let Some(Action::Resolve { attempt, .. }) = s.poll_action() else { panic!() };
    let (at, _) = s.poll_timeout().unwrap();
    assert_eq!(at, Instant::ZERO + S * 10);
    s.handle_timeout(at);
    assert_eq!(s.poll_action(), Some(Action::Abandon { attempt }));
    assert!(matches!(s.poll_action(), Some(Action::RoundFailed { .. })));
}

proptest! {
    /// Whatever happens, it goes on: an action, a timeout or an attempt is always pending, there
    /// is at most one connection, waits stay under the cap, and the same seed gives the same.
    #[test]
    fn it_always_goes_on(
        endpoints in 1_usize..4,
        ops in prop::collection::vec((0_u8..7, 0_u64..3_000), 1..200),
        seed: u64,
    ) {
        let mut logs = Vec::new();
        for _ in 0..2 {
            let names = (0..endpoints).map(|i| alloc::format!("h{i}:1").parse().unwrap()).collect();
            let policy = ReconnectPolicy::backoff(Duration::from_millis(100), S * 5);
            let mut s = Supervisor::new(names, policy, S * 10, seed);
            let (mut now, mut log) = (Instant::ZERO, Vec::new());
            let (mut resolving, mut dialing) = (Vec::new(), Vec::new());
            let mut connected: Option<Epoch> = None;
            s.start(now);
            for &(op, ms) in &ops {
                while let Some(action) = s.poll_action() {
                    log.push(alloc::format!("{action:?}"));
                    match action {
                        Action::Resolve { attempt, .. } => resolving.push(attempt),
                        Action::Dial { attempt, .. } => dialing.push(attempt),
                        Action::Abandon { attempt } => {
                            resolving.retain(|&a| a != attempt);
                            dialing.retain(|&a| a != attempt);
                        }
                        Action::Close { epoch, .. } => prop_assert_eq!(connected.take(), Some(epoch)),
                        Action::RoundFailed { .. } => {}
                        Action::GaveUp { .. } => prop_assert!(false, "never gives up here"),
                    }
                }
                prop_assert!(
                    s.poll_timeout().is_some() || connected.is_some() || !dialing.is_empty(),
                    "stuck in {:?}", s.state
                );
                now += Duration::from_millis(ms);
                match op {
                    0 => if let Some(attempt) = resolving.pop() {
                        let addresses = ["[::1]:1".parse().unwrap(), "1.1.1.1:1".parse().unwrap()];
                        s.handle_resolved(now, attempt, Ok(&addresses));
                    },
                    1 => if let Some(attempt) = resolving.pop() {
                        s.handle_resolved(now, attempt, Err(refused()));
                    },
                    2 => if let Some(attempt) = dialing.pop()
                        && let Dialed::Use(epoch) = s.handle_dialed(now, attempt, Ok(()))
                    {
                        prop_assert!(connected.replace(epoch).is_none());
                    },
                    3 => if let Some(attempt) = dialing.pop() {
                        s.handle_dialed(now, attempt, Err(refused()));
                    },
                    4 => if let Some(epoch) = connected { s.handle_ready(now, epoch) },
                    5 => if let Some(epoch) = connected.take() {
                        s.handle_down(now, epoch, &Disconnect::PeerClosed);
                    },
                    _ => {
                        s.handle_timeout(now);
                        if let State::Waiting { until } = s.state {
                            prop_assert!(until.saturating_since(now) <= S * 5);
                        }
                    }
                }
            }
            logs.push(log);
        }
        prop_assert_eq!(&logs[0], &logs[1]);
    }
}
