//! Names: look-ups, and races between their addresses.

use super::*;

#[test]
fn addresses_race_and_losers_are_abandoned() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::default());
    let Some(Action::Resolve { attempt, .. }) = todo(&mut s) else { panic!() };
    let addresses = ["[::1]:1".parse().unwrap(), "1.1.1.1:1".parse().unwrap()];
    s.handle_resolved(Instant::ZERO, attempt, Ok(&addresses));
    let (slow, address) = dial(&mut s);
    assert!(address.is_ipv6());
    assert_eq!(todo(&mut s), None);
    let (at, _) = s.poll_timeout().unwrap();
    assert_eq!(at, Instant::ZERO + Duration::from_millis(250));
    s.handle_timeout(at);
    let (fast, _) = dial(&mut s);
    assert!(matches!(s.handle_dialed(at, fast, Ok(())), Dialed::Use(_)));
    assert_eq!(todo(&mut s), Some(Action::Abandon { attempt: slow }));
    assert_eq!(s.handle_dialed(at, slow, Ok(())), Dialed::Discard);
}

#[test]
fn the_last_good_answer_serves_while_the_resolver_is_down() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    let Some(Action::Resolve { attempt, .. }) = todo(&mut s) else { panic!() };
    let address: SocketAddr = "1.1.1.1:1".parse().unwrap();
    s.handle_resolved(Instant::ZERO, attempt, Ok(&[address]));
    assert_eq!(fail(&mut s, Instant::ZERO), address);
    todo(&mut s);
    s.handle_timeout(Instant::ZERO + S);
    let Some(Action::Resolve { attempt, .. }) = todo(&mut s) else { panic!("looked up again") };
    s.handle_resolved(Instant::ZERO + S, attempt, Err(refused()));
    assert_eq!(dial(&mut s).1, address);
}

#[test]
fn a_resolver_that_never_answers_is_bounded() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    let Some(Action::Resolve { attempt, .. }) = todo(&mut s) else { panic!() };
    let (at, _) = s.poll_timeout().unwrap();
    assert_eq!(at, Instant::ZERO + S * 10);
    s.handle_timeout(at);
    assert_eq!(todo(&mut s), Some(Action::Abandon { attempt }));
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
}

#[test]
fn addresses_take_turns_every_250_ms_or_as_soon_as_one_fails() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::default());
    let attempt = resolve(&mut s);
    let given = addresses(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "2.2.2.2:1"]);
    s.handle_resolved(at(MS), attempt, Ok(&given));
    assert_eq!(dial(&mut s).1, given[0]);
    s.handle_timeout(at(MS * 250));
    assert_eq!(todo(&mut s), None, "a timeout that comes early is harmless");
    assert_eq!(timeout(&mut s), at(MS * 251));
    let (second, address) = dial(&mut s);
    assert_eq!(address, given[2], "the other family");
    s.handle_dialed(at(MS * 300), second, Err(refused()));
    assert_eq!(dial(&mut s).1, given[1], "at once after a failure");
    assert_eq!(timeout(&mut s), at(MS * 550));
    assert_eq!(dial(&mut s).1, given[3]);
    assert_eq!(timeout(&mut s), at(S * 10), "nothing left but the deadline");
    let abandoned = core::iter::from_fn(|| todo(&mut s).filter(|a| matches!(a, Action::Abandon { .. })));
    assert_eq!(abandoned.count(), 3);
    let failed: Vec<_> = s
        .last_round()
        .iter()
        .map(|f| (f.address.clone().unwrap().socket_addr().unwrap(), f.cause.clone()))
        .collect();
    let late = |index: usize| (given[index], timed_out());
    assert_eq!(failed, [(given[2], refused().at(Address::from(given[2])).into()), late(0), late(1), late(3)]);
}

#[test]
fn a_silent_resolver_does_not_keep_the_last_good_answer_back() {
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    let attempt = resolve(&mut s);
    let old = addresses(&["1.1.1.1:1"]);
    s.handle_resolved(at(S), attempt, Ok(&old));
    fail(&mut s, at(S));
    todo(&mut s);
    assert_eq!(timeout(&mut s), at(S * 2));
    let attempt = resolve(&mut s);
    assert_eq!(timeout(&mut s), at(MS * 3_800));
    assert_eq!(fail(&mut s, at(S * 4)), old[0]);
    assert_eq!(todo(&mut s), None, "the look-up may still do better");
    let new = addresses(&["1.1.1.1:1", "2.2.2.2:1"]);
    s.handle_resolved(at(S * 5), attempt, Ok(&new));
    assert_eq!(fail(&mut s, at(S * 5)), new[1], "and does, without dialing the old one twice");
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
}

#[test]
fn an_old_answer_and_a_new_one_make_no_more_dials_than_one() {
    let many = |net: u8| (1..=64).map(|i| ([10, 0, net, i], 1).into()).collect::<Vec<SocketAddr>>();
    let mut s = supervisor(&["host:1"], ReconnectPolicy::fixed(S));
    s.set_attempt_delay(Duration::ZERO);
    let attempt = resolve(&mut s);
    s.handle_resolved(Instant::ZERO, attempt, Ok(&many(0)));
    for _ in 0..64 {
        fail(&mut s, Instant::ZERO);
    }
    todo(&mut s);
    timeout(&mut s);
    let attempt = resolve(&mut s);
    timeout(&mut s);
    for _ in 0..30 {
        fail(&mut s, at(S * 3));
    }
    s.handle_resolved(at(S * 3), attempt, Ok(&many(1)));
    for _ in 30..64 {
        fail(&mut s, at(S * 3));
    }
    assert!(matches!(todo(&mut s), Some(Action::RoundFailed { .. })));
    assert_eq!(s.last_round().len(), 64);
}
