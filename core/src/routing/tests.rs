use alloc::vec;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);
const NOW: Instant = Instant::ZERO;

fn router(policy: Policy, routes: usize) -> (Router, Vec<RouteId>) {
    let mut router = Router::new(policy, Blacklist::new(2, S * 10), 7);
    let ids = (0..routes).map(|_| router.add()).collect();
    (router, ids)
}

fn picks(router: &mut Router, count: usize) -> Vec<RouteId> {
    (0..count).map(|_| router.pick(NOW, |_| true).unwrap()).collect()
}

#[test]
fn each_policy_chooses_as_it_says() {
    let (mut first, ids) = router(Policy::First, 3);
    assert_eq!(picks(&mut first, 3), [ids[0]; 3]);
    assert_eq!(first.pick(NOW, |id| id != ids[0]), Some(ids[1]));

    let (mut turns, ids) = router(Policy::RoundRobin, 3);
    assert_eq!(picks(&mut turns, 4), [ids[0], ids[1], ids[2], ids[0]]);
    assert_eq!(turns.pick(NOW, |id| id != ids[1]), Some(ids[2]), "the next that fits");
    assert_eq!(turns.pick(NOW, |_| true), Some(ids[0]));

    let (mut least, ids) = router(Policy::LeastInFlight, 3);
    assert_eq!(picks(&mut least, 4), [ids[0], ids[1], ids[2], ids[0]]);
    least.finished(NOW, ids[1], true);
    assert_eq!(least.pick(NOW, |_| true), Some(ids[1]));

    for policy in [Policy::Random, Policy::PowerOfTwo] {
        let (mut router, ids) = router(policy, 4);
        picks(&mut router, 400);
        let load: Vec<usize> = ids.iter().map(|&id| router.in_flight(id)).collect();
        let spread = load.iter().max().unwrap() - load.iter().min().unwrap();
        let most = if policy == Policy::Random { 60 } else { 8 };
        assert!(spread <= most, "{policy:?}: {load:?}");
    }
}

#[test]
fn routes_that_fail_are_left_alone_for_a_while() {
    let (mut router, ids) = router(Policy::First, 2);
    for _ in 0..2 {
        assert_eq!(router.pick(NOW, |_| true), Some(ids[0]));
        router.finished(NOW, ids[0], false);
    }
    assert!(router.is_blacklisted(NOW, ids[0]));
    assert_eq!(router.pick(NOW, |_| true), Some(ids[1]));
    router.finished(NOW, ids[1], false);
    router.finished(NOW + S, ids[1], false);
    assert_eq!(router.pick(NOW + S, |_| true), Some(ids[0]), "the one that is free first");
    assert_eq!(router.pick(NOW + S * 12, |_| true), Some(ids[0]), "expired");
    router.finished(NOW + S * 12, ids[0], true);
    router.finished(NOW + S * 12, ids[0], false);
    assert!(!router.is_blacklisted(NOW + S * 12, ids[0]), "failures in a row are what counts");
}

#[test]
fn a_key_stays_with_its_leader() {
    let (mut router, ids) = router(Policy::RoundRobin, 3);
    for _ in 0..3 {
        assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[0]));
    }
    assert_eq!(router.pick_for(NOW, "other", |_| true), Some(ids[1]));
    assert_eq!(router.pick_for(NOW, "topic", |id| id != ids[0]), Some(ids[2]));
    assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[2]), "it moved");
    router.set_leader("topic", ids[1]);
    assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[1]));
    assert!(router.remove(ids[1]) && !router.remove(ids[1]));
    assert_eq!(router.leader("topic"), None);
    for i in 0..leaders::MAX + 10 {
        router.set_leader(&alloc::format!("key {i}"), ids[0]);
    }
    assert_eq!(router.leaders.len().0, leaders::MAX);
    assert_eq!(router.leaders.len().1, leaders::MAX);
}

#[test]
fn a_leader_is_one_that_proved_it() {
    let (mut router, ids) = router(Policy::First, 3);
    assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[0]));
    assert_eq!(router.leader("topic"), None, "nothing is known yet");
    router.not_leader("topic", ids[0], Some(ids[2]));
    assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[2]), "the hint");
    assert_eq!(router.leader("topic"), None);
    router.set_leader("topic", ids[1]);
    router.not_leader("topic", ids[0], Some(ids[2]));
    assert_eq!(router.leader("topic"), Some(ids[1]), "what another says of itself changes nothing");
    router.not_leader("topic", ids[1], None);
    assert_eq!(router.leader("topic"), None);
}

#[test]
fn a_route_that_says_so_is_avoided() {
    let (mut router, ids) = router(Policy::First, 2);
    router.set_leader("topic", ids[0]);
    router.avoid(ids[0], NOW + S);
    assert!(!router.is_free(NOW, ids[0]) && !router.is_blacklisted(NOW, ids[0]));
    assert_eq!(router.pick_for(NOW, "topic", |_| true), Some(ids[1]));
    router.avoid(ids[1], NOW + S * 2);
    assert_eq!(router.pick(NOW, |_| true), Some(ids[0]), "the one that is free first");
    assert!(router.is_free(NOW + S, ids[0]));
}

#[test]
fn the_nearest_is_the_one_with_the_shortest_round_trips() {
    let (mut router, ids) = router(Policy::Nearest, 3);
    assert_eq!(picks(&mut router, 3), ids, "each is measured");
    for (id, millis) in ids.iter().zip([30, 10, 20]) {
        router.note_round_trip(NOW, *id, Duration::from_millis(millis));
        router.finished(NOW, *id, true);
    }
    assert_eq!(picks(&mut router, 3), [ids[1]; 3]);
    assert_eq!(router.pick(NOW, |id| id != ids[1]), Some(ids[2]));
    for _ in 0..20 {
        router.note_round_trip(NOW, ids[1], Duration::from_millis(50));
    }
    assert_eq!(router.pick(NOW, |_| true), Some(ids[2]), "it moved away");
    // After a minute each is measured again, once.
    let later = NOW + S * 61;
    let mut again: Vec<_> = (0..3).map(|_| router.pick(later, |_| true).unwrap()).collect();
    again.sort_unstable();
    assert_eq!(again, ids);
}

#[test]
fn a_second_attempt_goes_elsewhere_or_nowhere() {
    let (mut two, ids) = router(Policy::First, 2);
    assert_eq!(two.pick_other(NOW, ids[0], |_| true), Some(ids[1]));
    assert_eq!(two.pick_other(NOW, ids[0], |_| false), None);
    let (mut one, ids) = router(Policy::First, 1);
    assert_eq!(one.pick_other(NOW, ids[0], |_| true), None);
    let (mut none, _) = router(Policy::PowerOfTwo, 0);
    assert_eq!(none.pick(NOW, |_| true), None);
}

#[test]
fn the_second_attempt_waits_for_the_percentile() {
    let mut hedge = Hedge::new(Hedging::default());
    assert_eq!(hedge.delay(), S, "nothing is known yet");
    for i in 0..160_u32 {
        hedge.note(Duration::from_millis(if i % 10 == 0 { 100 } else { 10 }));
    }
    assert_eq!(hedge.delay(), Duration::from_millis(100));
    for _ in 0..256 {
        hedge.note(Duration::from_nanos(5));
    }
    assert_eq!(hedge.delay(), Duration::from_millis(1), "not earlier than that");
    assert_eq!((0..100).filter(|_| hedge.take()).count(), 5);
}

proptest! {
    /// In any order of events: a route is picked while there is one, only existing routes are picked, and the
    /// numbers of calls in flight are consistent.
    #[test]
    fn what_is_in_flight_adds_up(
        policy in prop::sample::select(vec![
            Policy::First, Policy::RoundRobin, Policy::Random, Policy::LeastInFlight, Policy::PowerOfTwo,
            Policy::Nearest,
        ]),
        ops in prop::collection::vec((0..7_u8, any::<u8>()), 1..200),
    ) {
        let (mut router, mut ids) = router(policy, 2);
        let (mut now, mut begun) = (NOW, Vec::new());
        for (op, pick) in ops {
            let at = usize::from(pick);
            match op {
                0 => ids.push(router.add()),
                1 if !ids.is_empty() => {
                    let id = ids.swap_remove(at % ids.len());
                    prop_assert!(router.remove(id));
                    begun.retain(|other| *other != id);
                }
                2 | 3 => {
                    let usable = |id: RouteId| id.0 % 3 != u64::from(pick % 3);
                    let picked = match pick % 2 {
                        0 => router.pick(now, usable),
                        _ => router.pick_for(now, "key", usable),
                    };
                    prop_assert_eq!(picked.is_some(), !ids.is_empty());
                    if let Some(id) = picked {
                        prop_assert!(ids.contains(&id));
                        begun.push(id);
                    }
                }
                4 | 5 if !begun.is_empty() => {
                    let id = begun.swap_remove(at % begun.len());
                    router.finished(now, id, op == 4);
                }
                _ => now += Duration::from_secs(u64::from(pick) / 16),
            }
            for &id in &ids {
                prop_assert_eq!(router.in_flight(id), begun.iter().filter(|other| **other == id).count());
            }
        }
    }
}
