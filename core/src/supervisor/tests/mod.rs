use alloc::string::ToString;

use super::*;
use crate::auth::{Refusal, RefusalCode};
use crate::error::Chain;
use crate::error::{PeerError, TransportKind};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

mod names;
mod proxies;

fn supervisor(endpoints: &[&str], policy: ReconnectPolicy) -> Supervisor {
    let endpoints = endpoints.iter().map(|e| e.parse().unwrap()).collect();
    let mut supervisor = Supervisor::new(endpoints, policy, S * 10, 1);
    supervisor.start(Instant::ZERO);
    supervisor
}

fn refused() -> TransportError {
    TransportError::new(TransportKind::Refused, "refused")
}

/// The next action, except those that only report failed attempts and waits.
fn todo(supervisor: &mut Supervisor) -> Option<Action> {
    let is_news = |action: &Action| matches!(action, Action::AttemptFailed { .. } | Action::Waiting { .. });
    core::iter::from_fn(|| supervisor.poll_action()).find(|action| !is_news(action))
}

fn round_failed(supervisor: &mut Supervisor) -> Option<Disconnect> {
    match todo(supervisor) {
        Some(Action::RoundFailed { failure }) => Some(failure.cause),
        _ => None,
    }
}

fn dial(supervisor: &mut Supervisor) -> (AttemptId, SocketAddr) {
    match todo(supervisor) {
        Some(Action::Dial { attempt, address, .. }) => (attempt, address.socket_addr().unwrap()),
        other => panic!("wanted a dial, got {other:?}"),
    }
}

fn fail(supervisor: &mut Supervisor, now: Instant) -> SocketAddr {
    let (attempt, address) = dial(supervisor);
    assert_eq!(supervisor.handle_dialed(now, attempt, Err(refused())), Dialed::Discard);
    address
}

fn connected(supervisor: &mut Supervisor, now: Instant) -> Epoch {
    let (attempt, _) = dial(supervisor);
    let Dialed::Use(epoch) = supervisor.handle_dialed(now, attempt, Ok(())) else { panic!() };
    epoch
}

fn up(supervisor: &mut Supervisor, now: Instant) -> Epoch {
    let epoch = connected(supervisor, now);
    supervisor.handle_ready(now, epoch);
    epoch
}

fn resolve(supervisor: &mut Supervisor) -> AttemptId {
    match todo(supervisor) {
        Some(Action::Resolve { attempt, .. }) => attempt,
        other => panic!("wanted a look-up, got {other:?}"),
    }
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

fn version() -> Disconnect {
    PeerError::Version { ours_min: 1, ours_max: 1, theirs_min: 2, theirs_max: 2 }.into()
}

fn timed_out() -> Disconnect {
    Disconnect::ConnectTimeout { limit: S * 10 }
}

fn at(time: Duration) -> Instant {
    Instant::ZERO + time
}

fn timeout(supervisor: &mut Supervisor) -> Instant {
    let (at, _) = supervisor.poll_timeout().unwrap();
    supervisor.handle_timeout(at);
    at
}

#[test]
fn every_endpoint_is_tried_before_the_first_wait() {
    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], ReconnectPolicy::default());
    let ports: Vec<u16> = (0..3).map(|_| fail(&mut s, Instant::ZERO).port()).collect();
    assert_eq!(ports, [1, 2, 3]);
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
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
    assert_eq!(todo(&mut s), Some(Action::Close { epoch, cause: cause.clone() }));
    assert_eq!(round_failed(&mut s), Some(cause.clone()));
    s.handle_down(at, epoch, &cause);
    assert_eq!(s.poll_timeout(), Some((at + S, Reason::Reconnect)), "a stale epoch changes nothing");
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
    assert!(matches!(todo(&mut s), Some(Action::Dial { .. })), "at once after a healthy spell");
    assert_eq!(s.rounds_failed(), 0);
}

#[test]
fn what_cannot_get_better_is_given_up() {
    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::default());
    let (attempt, _) = dial(&mut s);
    let Dialed::Use(epoch) = s.handle_dialed(Instant::ZERO, attempt, Ok(())) else { panic!() };
    s.handle_down(Instant::ZERO, epoch, &version());
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
    assert!(matches!(todo(&mut s), Some(Action::GaveUp { .. })));
    assert!(s.is_stopped());

    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::fixed(S).max_rounds(2));
    fail(&mut s, Instant::ZERO);
    todo(&mut s);
    s.handle_timeout(Instant::ZERO + S);
    fail(&mut s, Instant::ZERO + S);
    todo(&mut s);
    assert!(matches!(todo(&mut s), Some(Action::GaveUp { .. })));
}

#[test]
fn a_round_that_fails_tells_of_every_attempt() {
    let mut s = supervisor(&["127.0.0.1:1", "host:2", "127.0.0.1:3"], ReconnectPolicy::never());
    assert_eq!((s.rounds_failed(), s.attempt(), s.last_error()), (0, 1, None));
    fail(&mut s, Instant::ZERO);
    let attempt = resolve(&mut s);
    s.handle_resolved(Instant::ZERO, attempt, Ok(&[]));
    assert!(s.last_round().is_empty(), "the round is not over");
    let epoch = connected(&mut s, Instant::ZERO);
    s.handle_down(Instant::ZERO, epoch, &version());
    assert_eq!(round_failed(&mut s), Some(version()));
    assert_eq!(todo(&mut s), Some(Action::GaveUp { cause: version() }));
    assert_eq!((s.rounds_failed(), s.attempt(), s.last_error()), (1, 3, Some(&version())));
    let told: Vec<_> = s.last_round().iter().map(|failure| Chain(failure).to_string()).collect();
    assert_eq!(
        told,
        [
            "could not connect to 127.0.0.1:1: 127.0.0.1:1 refused the connection: refused",
            "could not connect to host:2: host:2 could not be looked up: the name has no addresses",
            "could not connect to 127.0.0.1:3: the peer broke the protocol: no common protocol version: ours 1..=1, theirs 2..=2",
        ]
    );
    assert_eq!(s.last_round()[2].address, Some("127.0.0.1:3".parse().unwrap()));
}

#[test]
fn one_endpoint_that_may_get_better_is_reason_enough_to_go_on() {
    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::fixed(S));
    fail(&mut s, Instant::ZERO);
    let epoch = connected(&mut s, Instant::ZERO);
    s.handle_down(Instant::ZERO, epoch, &version());
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
    assert_eq!(s.next_attempt_at(), Some(at(S)));
    timeout(&mut s);
    for _ in 0..2 {
        let epoch = connected(&mut s, at(S));
        s.handle_down(at(S), epoch, &version());
    }
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
    assert_eq!(todo(&mut s), Some(Action::GaveUp { cause: version() }));
}

#[test]
fn endpoints_that_kick_are_all_tried_and_then_waited_for() {
    for cause in [Disconnect::PeerClosed, Disconnect::GoneAway] {
        let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::fixed(S));
        for _ in 0..2 {
            assert_eq!(s.next_attempt_at(), None);
            let epoch = up(&mut s, Instant::ZERO);
            s.handle_down(at(MS), epoch, &cause);
        }
        assert_eq!(s.next_attempt_at(), Some(at(S + MS)), "{cause:?}");
        assert_eq!(todo(&mut s), None, "connections there were: no round failed");
    }
}

#[test]
fn after_a_healthy_spell_the_same_endpoint_comes_first_unless_it_goes_away() {
    for (cause, port) in [(Disconnect::PeerClosed, 1), (Disconnect::GoneAway, 2)] {
        let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::default());
        let epoch = up(&mut s, Instant::ZERO);
        s.handle_down(at(S * 10), epoch, &cause);
        assert_eq!(s.attempt(), 1);
        assert_eq!(dial(&mut s).1.port(), port);
        assert_eq!(s.last_error(), Some(&cause));
    }
}

#[test]
fn what_this_side_closes_or_may_not_reconnect_stays_down() {
    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::default());
    let epoch = connected(&mut s, Instant::ZERO);
    s.handle_down(Instant::ZERO, epoch, &Disconnect::LocalClose);
    assert_eq!(todo(&mut s), Some(Action::GaveUp { cause: Disconnect::LocalClose }));

    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::never());
    let epoch = up(&mut s, Instant::ZERO);
    s.handle_down(at(S * 60), epoch, &Disconnect::PeerClosed);
    assert_eq!(todo(&mut s), Some(Action::GaveUp { cause: Disconnect::PeerClosed }));
    s.start(at(S * 60));
    s.reconnect_now(at(S * 60));
    assert_eq!((todo(&mut s), s.poll_timeout()), (None, None));
}

#[test]
fn reconnect_now_ends_a_wait_but_does_not_shorten_the_next() {
    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::fixed(S));
    s.reconnect_now(Instant::ZERO);
    fail(&mut s, Instant::ZERO);
    todo(&mut s);
    s.reconnect_now(at(MS));
    s.reconnect_now(at(MS));
    fail(&mut s, at(MS));
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
    assert_eq!((todo(&mut s), s.rounds_failed()), (None, 2));
    assert_eq!(s.next_attempt_at(), Some(at(S + MS)));
}

#[test]
fn stop_abandons_whatever_there_is() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::default());
    s.stop();
    assert_eq!(todo(&mut s), None, "a look-up that was not fetched never happens");

    let mut s = supervisor(&["host:1"], ReconnectPolicy::default());
    let attempt = resolve(&mut s);
    s.stop();
    assert_eq!(todo(&mut s), Some(Action::Abandon { attempt }));
    s.handle_resolved(Instant::ZERO, attempt, Ok(&addresses(&["1.1.1.1:1"])));
    assert_eq!((todo(&mut s), s.poll_timeout()), (None, None));

    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::default());
    let epoch = up(&mut s, Instant::ZERO);
    s.stop();
    s.stop();
    assert_eq!(todo(&mut s), Some(Action::Close { epoch, cause: Disconnect::LocalClose }));
    s.handle_down(Instant::ZERO, epoch, &Disconnect::PeerClosed);
    assert_eq!((todo(&mut s), s.is_stopped()), (None, true));
}

#[test]
fn other_endpoints_are_tried_at_once_but_the_same_ones_do_not_end_a_wait() {
    let list = |list: &[&str]| list.iter().map(|e| e.parse().unwrap()).collect::<Vec<Endpoint>>();
    let mut s = supervisor(&["127.0.0.1:1", "127.0.0.1:2"], ReconnectPolicy::fixed(S));
    assert!(s.set_endpoints(Instant::ZERO, Vec::new()).is_err());
    let (first, _) = dial(&mut s);
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:3", "127.0.0.1:4"])).unwrap();
    assert_eq!(todo(&mut s), Some(Action::Abandon { attempt: first }));
    assert_eq!(fail(&mut s, Instant::ZERO).port(), 3);
    // The dial under way continues; the round starts again, so the new address gets its turn.
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:4", "127.0.0.1:5"])).unwrap();
    assert_eq!(fail(&mut s, Instant::ZERO).port(), 4);
    assert_eq!(fail(&mut s, Instant::ZERO).port(), 5);
    todo(&mut s);
    assert_eq!(s.next_attempt_at(), Some(at(S)));
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:5", "127.0.0.1:4"])).unwrap();
    assert_eq!(s.next_attempt_at(), Some(at(S)));
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:5", "127.0.0.1:6"])).unwrap();
    let epoch = up(&mut s, Instant::ZERO);
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:7"])).unwrap();
    assert_eq!((todo(&mut s), s.poll_timeout()), (None, None), "what works is kept");
    s.handle_down(Instant::ZERO, epoch, &Disconnect::PeerClosed);
    let epoch = connected(&mut s, Instant::ZERO);
    s.set_endpoints(Instant::ZERO, list(&["127.0.0.1:8"])).unwrap();
    assert_eq!(todo(&mut s), Some(Action::Close { epoch, cause: Disconnect::LocalClose }));
    assert_eq!(dial(&mut s).1.port(), 8);
}

#[test]
fn time_does_not_go_back() {
    let mut s = supervisor(&["127.0.0.1:1"], ReconnectPolicy::fixed(S));
    s.handle_timeout(at(S * 5));
    fail(&mut s, at(S));
    assert_eq!(s.next_attempt_at(), Some(at(S * 6)));
}

#[test]
fn actions_that_nobody_fetches_do_not_pile_up() {
    let mut s = supervisor(&["127.0.0.1:1", "host:2"], ReconnectPolicy::default());
    while s.rounds_failed() < 100 {
        timeout(&mut s);
        assert!(s.actions.len() <= 64 + 3, "{:?}", s.actions);
    }
    let left: Vec<_> = core::iter::from_fn(|| s.poll_action()).collect();
    let (news, rest) = left.split_at(64);
    assert!(news.iter().all(|action| matches!(action, Action::AttemptFailed { .. })), "{news:?}");
    assert!(matches!(&news[63], Action::AttemptFailed { attempt: 200, .. }), "the newest are kept");
    assert!(matches!(rest, [Action::RoundFailed { .. }, Action::Waiting { attempt: 201, .. }]), "{rest:?}");
}

#[test]
fn each_failed_attempt_is_told_with_its_address_and_cause() {
    let mut s = supervisor(&["10.0.0.1:1", "host:2"], ReconnectPolicy::fixed(S));
    let mut told = Vec::new();
    let mut listen = |s: &mut Supervisor| {
        core::iter::from_fn(|| s.poll_action())
            .filter(|action| match action {
                Action::AttemptFailed { attempt, failure } => {
                    told.push((*attempt, failure.address.clone(), failure.cause.clone()));
                    false
                }
                _ => true,
            })
            .collect::<Vec<_>>()
    };
    let Some(Action::Dial { attempt, .. }) = listen(&mut s).pop() else { panic!() };
    s.handle_dialed(Instant::ZERO, attempt, Err(refused()));
    let Some(Action::Resolve { attempt, .. }) = listen(&mut s).pop() else { panic!() };
    s.handle_resolved(Instant::ZERO, attempt, Ok(&addresses(&["10.0.0.2:2"])));
    let Some(Action::Dial { attempt, .. }) = listen(&mut s).pop() else { panic!() };
    let Dialed::Use(epoch) = s.handle_dialed(Instant::ZERO, attempt, Ok(())) else { panic!() };
    s.handle_down(Instant::ZERO, epoch, &Disconnect::PeerClosed);
    let cause = Disconnect::PeerClosed;
    let until = Instant::ZERO + S;
    let [Action::RoundFailed { failure }, Action::Waiting { attempt: 3, .. }] = &listen(&mut s)[..] else {
        panic!()
    };
    assert_eq!((&failure.cause, s.next_attempt_at()), (&cause, Some(until)));
    s.handle_timeout(until);
    let epoch = {
        let Some(Action::Dial { attempt, .. }) = listen(&mut s).pop() else { panic!() };
        let Dialed::Use(epoch) = s.handle_dialed(until, attempt, Ok(())) else { panic!() };
        s.handle_ready(until, epoch);
        epoch
    };
    // A connection that was established and did not last is no failed attempt, but it is a reason to wait.
    s.handle_down(until, epoch, &Disconnect::PeerClosed);
    assert!(listen(&mut s).iter().all(|action| !matches!(action, Action::RoundFailed { .. })));
    let (one, two): (Address, Address) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    let refused = Disconnect::Transport(refused().at(one.clone()));
    assert_eq!(told, [(1, Some(one), refused), (2, Some(two), cause)]);
}

#[test]
fn a_policy_may_stop_at_a_refusal_or_a_rejection() {
    let policy = ReconnectPolicy::fixed(S).stop_when_refused();
    let mut stops = supervisor(&["10.0.0.1:1", "10.0.0.2:1"], policy);
    fail(&mut stops, Instant::ZERO);
    assert!(!stops.is_stopped(), "there is another endpoint");
    fail(&mut stops, Instant::ZERO);
    assert!(stops.is_stopped());

    let mut waits = supervisor(&["10.0.0.1:1"], ReconnectPolicy::fixed(S).stop_when_rejected());
    fail(&mut waits, Instant::ZERO);
    assert!(!waits.is_stopped());
    while todo(&mut waits).is_some() {}
    waits.handle_timeout(Instant::ZERO + S);
    let epoch = connected(&mut waits, Instant::ZERO + S);
    waits.handle_down(Instant::ZERO + S, epoch, &PeerError::SecondHello.into());
    assert!(waits.is_stopped());
}

fn denied(refusal: Refusal) -> Disconnect {
    Disconnect::Refused(refusal)
}

/// A handshake that ends with that cause. Returns when the next attempt is made, if there is one.
fn turned_away(supervisor: &mut Supervisor, now: Instant, cause: &Disconnect) -> Option<Instant> {
    let epoch = connected(supervisor, now);
    supervisor.handle_down(now, epoch, cause);
    supervisor.next_attempt_at()
}

#[test]
fn a_refusal_that_nothing_helps_against_ends_dialing_unless_the_policy_goes_on() {
    let wrong = denied(RefusalCode::WRONG.into());
    let mut stops = supervisor(&["10.0.0.1:1"], ReconnectPolicy::fixed(S));
    assert_eq!(turned_away(&mut stops, Instant::ZERO, &wrong), None);
    assert!(stops.is_stopped());
    assert_eq!(round_failed(&mut stops), Some(wrong.clone()));

    let mut goes_on = supervisor(&["10.0.0.1:1"], ReconnectPolicy::fixed(S).retry_when_denied());
    assert_eq!(turned_away(&mut goes_on, Instant::ZERO, &wrong), Some(Instant::ZERO + S));

    // Another endpoint may accept this side.
    let mut two = supervisor(&["10.0.0.1:1", "10.0.0.2:1"], ReconnectPolicy::fixed(S));
    assert_eq!(turned_away(&mut two, Instant::ZERO, &wrong), None);
    assert!(!two.is_stopped());
    fail(&mut two, Instant::ZERO);
    assert_eq!(two.next_attempt_at(), Some(Instant::ZERO + S), "one of them may be about to start");
}

#[test]
fn advice_is_heeded_within_bounds() {
    let after = |secs| denied(Refusal::new(RefusalCode::APPLICATION).retry_after(S * secs));
    let policy = ReconnectPolicy::fixed(S * 2).longest_advice(S * 60);
    for (advice, waits) in [(1, 2), (30, 30), (1_000_000, 60)] {
        let mut s = supervisor(&["10.0.0.1:1"], policy);
        assert_eq!(turned_away(&mut s, Instant::ZERO, &after(advice)), Some(Instant::ZERO + S * waits));
    }
    // The endpoint with the shortest advised delay determines the time.
    let mut two = supervisor(&["10.0.0.1:1", "10.0.0.2:1"], policy);
    turned_away(&mut two, Instant::ZERO, &after(50));
    assert_eq!(turned_away(&mut two, Instant::ZERO, &after(20)), Some(Instant::ZERO + S * 20));
    // Advice of one round does not apply to the next.
    let now = Instant::ZERO + S * 20;
    while todo(&mut two).is_some() {}
    two.handle_timeout(now);
    fail(&mut two, now);
    fail(&mut two, now);
    assert_eq!(two.next_attempt_at(), Some(now + S * 2));
}

#[test]
fn a_withdrawn_identity_does_not_come_back_at_once() {
    let healthy = S * 100;
    let withdrawn = denied(Refusal::new(RefusalCode::WITHDRAWN).retry_after(S * 7));
    let mut s = supervisor(&["10.0.0.1:1"], ReconnectPolicy::fixed(S));
    let epoch = up(&mut s, Instant::ZERO);
    s.handle_down(Instant::ZERO + healthy, epoch, &withdrawn);
    assert_eq!(s.next_attempt_at(), Some(Instant::ZERO + healthy + S * 7));

    let mut s = supervisor(&["10.0.0.1:1"], ReconnectPolicy::fixed(S));
    let epoch = up(&mut s, Instant::ZERO);
    s.handle_down(Instant::ZERO + healthy, epoch, &denied(RefusalCode::FORBIDDEN.into()));
    assert!(s.is_stopped());
}
