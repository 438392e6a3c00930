use alloc::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::routing::{Blacklist, Policy};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const NOW: Instant = Instant::ZERO;

fn router(policy: Policy, routes: usize) -> (Router, Vec<RouteId>) {
    let mut router = Router::new(policy, Blacklist::new(2, S * 10), 7);
    let ids = (0..routes).map(|_| router.add()).collect();
    (router, ids)
}

fn tries(next: Next) -> (RouteId, bool) {
    match next {
        Next::Try { route, patient } => (route, patient),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_round_tries_each_route_and_is_patient_at_the_end() {
    let (mut router, ids) = router(Policy::First, 3);
    let mut call = Attempts::new(AttemptRules::one_round(), None, NOW + S);
    assert_eq!(tries(call.begin(&mut router, NOW, |_| true)), (ids[0], false));
    let next = call.answered(&mut router, NOW, ids[0], Verdict::Elsewhere, |_| true);
    assert_eq!(tries(next), (ids[1], false));
    let next = call.answered(&mut router, NOW, ids[1], Verdict::Busy, |_| true);
    assert_eq!(tries(next), (ids[2], true), "there is no other");
    let next = call.answered(&mut router, NOW, ids[2], Verdict::Elsewhere, |_| true);
    assert_eq!(next, Next::GiveUp(GiveUp::AllTried));
    assert!(ids.iter().all(|id| router.in_flight(*id) == 0));
}

#[test]
fn without_a_healthy_route_the_last_attempt_waits() {
    let (mut router, ids) = router(Policy::First, 3);
    let mut call = Attempts::new(AttemptRules::one_round(), None, NOW + S);
    assert_eq!(tries(call.begin(&mut router, NOW, |id| id == ids[1])), (ids[1], false));
    let next = call.answered(&mut router, NOW, ids[1], Verdict::Elsewhere, |_| false);
    assert_eq!(tries(next), (ids[0], true), "one that was not tried");
    let next = call.answered(&mut router, NOW, ids[0], Verdict::Elsewhere, |_| true);
    assert_eq!(next, Next::GiveUp(GiveUp::AllTried));

    let (mut one, ids) = self::router(Policy::First, 1);
    let mut call = Attempts::new(AttemptRules::one_round(), None, NOW + S);
    assert_eq!(tries(call.begin(&mut one, NOW, |_| true)), (ids[0], true));
}

#[test]
fn hints_are_followed_and_cost_one_attempt_when_wrong() {
    let (mut router, ids) = router(Policy::First, 4);
    let mut call = Attempts::new(AttemptRules::until_deadline(), Some("t"), NOW + S * 10);
    let hint = |to: usize| Verdict::NotHere { hint: Some(ids[to]) };
    assert_eq!(tries(call.begin(&mut router, NOW, |_| true)).0, ids[0]);
    assert_eq!(tries(call.answered(&mut router, NOW, ids[0], hint(3), |_| true)).0, ids[3]);
    // It refers back to an endpoint that was tried: another one is tried.
    assert_eq!(tries(call.answered(&mut router, NOW, ids[3], hint(0), |_| true)).0, ids[1]);
    // Another call finds out.
    router.set_leader("t", ids[2]);
    let next = call.answered(&mut router, NOW, ids[1], Verdict::NotHere { hint: None }, |_| true);
    assert_eq!(tries(next).0, ids[2]);
    assert_eq!(call.answered(&mut router, NOW, ids[2], Verdict::Done, |_| true), Next::End);
    assert_eq!(router.leader("t"), Some(ids[2]));
}

#[test]
fn rounds_go_on_until_the_deadline_with_the_last_hint_first() {
    let (mut router, ids) = router(Policy::First, 2);
    let mut call = Attempts::new(AttemptRules::until_deadline(), Some("t"), NOW + S);
    assert_eq!(tries(call.begin(&mut router, NOW, |_| true)), (ids[0], false));
    let none = Verdict::NotHere { hint: None };
    assert_eq!(tries(call.answered(&mut router, NOW, ids[0], none, |_| true)), (ids[1], false));
    let back = Verdict::NotHere { hint: Some(ids[0]) };
    let Next::Wait(at) = call.answered(&mut router, NOW, ids[1], back, |_| true) else { panic!("a round") };
    assert!(at >= NOW + MS * 25 && at <= NOW + MS * 50, "{at:?}");
    assert_eq!(tries(call.resume(&mut router, at, |_| true)).0, ids[0]);
    let late = NOW + MS * 999;
    let next = call.answered(&mut router, late, ids[0], Verdict::Avoid(S), |_| true);
    assert_eq!(tries(next).0, ids[1]);
    assert!(!router.is_free(late, ids[0]));
    let next = call.answered(&mut router, late, ids[1], none, |_| true);
    assert_eq!(next, Next::GiveUp(GiveUp::Deadline), "too near");
    assert_eq!((call.made(), call.rounds()), (4, 2));
}

#[test]
fn a_budget_bounds_the_attempts() {
    let (mut router, ids) = router(Policy::First, 3);
    let mut call = Attempts::new(AttemptRules::one_round().budget(2), None, NOW + S);
    assert_eq!(tries(call.begin(&mut router, NOW, |_| true)), (ids[0], false));
    let next = call.answered(&mut router, NOW, ids[0], Verdict::Elsewhere, |_| true);
    assert_eq!(tries(next), (ids[1], true));
    let next = call.answered(&mut router, NOW, ids[1], Verdict::Elsewhere, |_| true);
    assert_eq!(next, Next::GiveUp(GiveUp::Budget));
}

#[test]
fn what_may_have_run_is_made_nowhere_else() {
    for (verdict, failures) in [(Verdict::Failed, 2), (Verdict::Over, 0)] {
        let (mut router, ids) = router(Policy::First, 2);
        for _ in 0..2 {
            let mut call = Attempts::new(AttemptRules::until_deadline(), Some("t"), NOW + S);
            let (route, _) = tries(call.begin(&mut router, NOW, |_| true));
            assert_eq!(call.answered(&mut router, NOW, route, verdict, |_| true), Next::End);
        }
        assert_eq!(router.is_blacklisted(NOW, ids[0]), failures == 2);
        assert_eq!((router.leader("t"), router.in_flight(ids[0])), (None, 0));
    }
    let mut none = Router::new(Policy::First, Blacklist::default(), 1);
    let mut call = Attempts::new(AttemptRules::default(), None, NOW + S);
    assert_eq!(call.begin(&mut none, NOW, |_| true), Next::GiveUp(GiveUp::NoRoutes));
}

fn verdict(ids: &[RouteId], op: u8, pick: u8) -> Verdict {
    let hint = ids.get(usize::from(pick) % (ids.len() + 1)).copied();
    match op % 12 {
        0 => Verdict::Done,
        1 => Verdict::Over,
        2 => Verdict::Failed,
        3..=5 => Verdict::Elsewhere,
        6 => Verdict::Busy,
        7 => Verdict::Avoid(MS * u32::from(pick)),
        _ => Verdict::NotHere { hint },
    }
}

proptest! {
    /// Whatever the routes answer: each is tried at most once in a round (only the patient attempt may use
    /// one again), the call ends by its deadline and within its budget, nothing stays in flight, and only a
    /// route that proved it is a leader.
    #[test]
    fn calls_end_and_leaders_have_proved_it(
        policy in prop::sample::select(vec![
            Policy::First, Policy::RoundRobin, Policy::Random, Policy::LeastInFlight, Policy::PowerOfTwo,
            Policy::Nearest,
        ]),
        routes in 0..5_usize,
        one_round in any::<bool>(),
        budget in prop::option::of(1..12_u32),
        answers in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..80),
    ) {
        let (mut router, ids) = router(policy, routes);
        let mut rules = if one_round { AttemptRules::one_round() } else { AttemptRules::until_deadline() };
        if let Some(budget) = budget {
            rules = rules.budget(budget);
        }
        let mut now = NOW;
        let mut proved = BTreeSet::new();
        let mut answers = answers.into_iter();
        let mut left = true;
        while left {
            let deadline = now + S;
            let mut call = Attempts::new(rules, Some("key"), deadline);
            let mut in_round = BTreeSet::new();
            let (mut made, mut round) = (0, 0);
            let up = |id: RouteId| !(id.0 + u64::from(made)).is_multiple_of(3);
            let mut next = call.begin(&mut router, now, up);
            loop {
                if let Some(leader) = router.leader("key") {
                    prop_assert!(proved.contains(&leader));
                }
                match next {
                    Next::Try { route, patient } => {
                        prop_assert!(now < deadline);
                        made += 1;
                        round += 1;
                        prop_assert!(round <= routes);
                        prop_assert!(made <= budget.unwrap_or(u32::MAX));
                        prop_assert!(in_round.insert(route) || patient, "twice in a round");
                        prop_assert!(!patient || one_round);
                                                for id in &ids {
                            prop_assert_eq!(router.in_flight(*id), usize::from(*id == route));
                        }
                        let Some((op, pick, time)) = answers.next() else {
                            router.abandoned(route);
                            left = false;
                            break;
                        };
                        now += MS * u32::from(time);
                        let verdict = verdict(&ids, op, pick);
                        if verdict == Verdict::Done {
                            proved.insert(route);
                        }
                        let up = |id: RouteId| !(id.0 + u64::from(op)).is_multiple_of(3);
                        next = call.answered(&mut router, now, route, verdict, up);
                    }
                    Next::Wait(at) => {
                        prop_assert!(!one_round && at >= now && at < deadline && at <= now + S);
                        (now, in_round, round) = (at, BTreeSet::new(), 0);
                        next = call.resume(&mut router, now, |_| true);
                    }
                    Next::End => break,
                    Next::GiveUp(why) => {
                        prop_assert_eq!(why == GiveUp::NoRoutes, routes == 0);
                        left = routes > 0 && answers.len() > 0;
                        break;
                    }
                }
            }
            prop_assert_eq!(call.made(), made);
            prop_assert!(ids.iter().all(|id| router.in_flight(*id) == 0));
        }
    }
}
