use core::net::Ipv4Addr;

use super::*;

const MIB: usize = 1 << 20;

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn from(last: u8) -> Option<IpAddr> {
    Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
}

fn incoming(bytes: usize, since: u64, origin: u8) -> Holding {
    Holding { bytes, unfinished: Some(at(since)), origin: from(origin), ..Holding::default() }
}

fn answers(bytes: usize) -> Holding {
    Holding { bytes, answers: bytes, origin: from(1), ..Holding::default() }
}

/// The same, after the peer has read that much.
fn taken(taken: u64, bytes: usize) -> Holding {
    Holding { taken, ..answers(bytes) }
}

fn pool(limit: usize) -> MemoryPool {
    MemoryPool::new(limit, Duration::from_secs(60))
}

#[test]
fn what_fits_is_granted_in_steps_and_given_back() {
    let mut pool = pool(MIB);
    assert_eq!(pool.report(at(0), 1, incoming(FREE, 0, 1)).0, Verdict::Granted(0));
    assert_eq!(pool.report(at(0), 1, incoming(FREE + 1, 0, 1)).0, Verdict::Granted(STEP));
    assert_eq!(pool.report(at(0), 1, incoming(3 * STEP, 0, 1)).0, Verdict::Granted(3 * STEP));
    assert_eq!(pool.held(), 3 * STEP);
    assert_eq!(pool.report(at(0), 1, incoming(0, 0, 1)).0, Verdict::Granted(0));
    pool.reserve(100);
    assert_eq!(pool.held(), 100);
    assert_eq!(pool.unreserve(at(0), 100), Effects::default());
    assert_eq!(pool.held(), 0);
}

#[test]
fn turns_go_round_by_address_and_the_oldest_message_is_first() {
    let mut pool = pool(MIB);
    assert!(matches!(pool.report(at(0), 1, incoming(MIB, 0, 9)).0, Verdict::Granted(_)));
    // The first waiting link has the turn: it continues past the limit.
    let (verdict, _) = pool.report(at(1), 2, incoming(50_000, 30, 1));
    assert!(matches!(verdict, Verdict::Granted(_)), "{verdict:?}");
    for (id, since, origin) in [(3, 20, 1), (4, 10, 1), (5, 50, 2)] {
        let (verdict, effects) = pool.report(at(2), id, incoming(10_000, since, origin));
        assert_eq!((verdict, effects), (Verdict::Wait(0), Effects::default()));
    }
    // It continues while it makes progress, and the others wait.
    for millis in 0..30 {
        let now = at(100 * millis);
        let holding = incoming(100_000 + 10_000 * usize::try_from(millis).unwrap(), 30, 1);
        assert!(matches!(pool.report(now, 2, holding).0, Verdict::Granted(_)));
    }
    // Its message is whole and handed over: the other address is next, then the oldest of this one.
    let mut order = Vec::new();
    let mut last = 2;
    for _ in 0..3 {
        let effects = pool.remove(at(3000), last);
        let [(next, _)] = effects.resumed[..] else { panic!("{effects:?}") };
        order.push(next);
        last = next;
    }
    assert_eq!(order, [5, 4, 3]);
}

#[test]
fn a_turn_is_for_one_message() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, incoming(MIB, 0, 9));
    for kib in 1..=20 {
        let (verdict, _) = pool.report(at(kib), 2, incoming(usize::try_from(kib).unwrap() << 15, 1, 1));
        assert!(matches!(verdict, Verdict::Granted(_)), "{verdict:?}");
    }
    let (verdict, _) = pool.report(at(20), 3, incoming(50_000, 2, 2));
    assert!(matches!(verdict, Verdict::Wait(0)), "{verdict:?}");
    // It is whole, and the next has begun behind it: the other one has the turn.
    let (verdict, effects) = pool.report(at(21), 2, incoming(21 << 15, 21, 1));
    assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
    assert_eq!(effects.resumed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3], "{effects:?}");
}

#[test]
fn a_turn_is_not_for_answers() {
    let mut pool = pool(10 * MIB);
    pool.report(at(0), 1, answers(10 * MIB));
    for id in 2..40 {
        let now = at(id * 1_100);
        pool.report(now, 1, taken(id, 10 * MIB));
        // A request is incomplete, and those before it are answered.
        pool.report(now, id, incoming(17 * 1024, id * 1_100, 1));
        for len in [MIB, 2 * MIB, 4 * MIB] {
            let holding = Holding { answers: len, ..incoming(len + 17 * 1024, id * 1_100, 1) };
            let (verdict, effects) = pool.report(now, id, holding);
            assert!(
                matches!(verdict, Verdict::Refuse(granted) if granted <= 2 * STEP),
                "{verdict:?} {effects:?}"
            );
        }
    }
    assert!(pool.held() <= 11 * MIB, "{}", pool.held());
}

#[test]
fn a_turn_passes_on_from_who_makes_no_progress() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, incoming(MIB, 0, 9));
    assert!(matches!(pool.report(at(0), 2, incoming(50_000, 0, 1)).0, Verdict::Granted(_)));
    assert!(matches!(pool.report(at(500), 3, incoming(50_000, 0, 2)).0, Verdict::Wait(_)));
    // Waiting links ask again from time to time.
    assert!(matches!(pool.report(at(999), 3, incoming(50_000, 0, 2)).0, Verdict::Wait(_)));
    assert!(matches!(pool.report(at(1000), 3, incoming(50_000, 0, 2)).0, Verdict::Granted(_)));
}

#[test]
fn the_largest_holder_is_closed_when_nothing_moves() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, incoming(MIB / 4, 0, 9));
    pool.report(at(0), 2, incoming(MIB / 4 * 3, 0, 9));
    pool.report(at(0), 3, incoming(50_000, 0, 1));
    assert!(matches!(pool.report(at(1), 4, incoming(50_000, 0, 1)).0, Verdict::Wait(_)));
    let mut closed = Vec::new();
    for second in 1..=62 {
        // No link makes progress, whichever has the turn.
        for id in [3, 4] {
            closed.extend(pool.report(at(second * 1000), id, incoming(500_000, 0, 1)).1.closed);
        }
    }
    assert_eq!(closed.first(), Some(&(2, MIB / 4 * 3)), "{closed:?}");
}

#[test]
fn of_those_with_answers_the_largest_that_does_not_read_goes() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, answers(400_000));
    pool.report(at(0), 2, answers(500_000));
    // No link has had time to read yet: the answer is refused.
    assert_eq!(pool.report(at(999), 3, answers(300_000)), (Verdict::Refuse(0), Effects::default()));
    assert_eq!(pool.report(at(999), 3, answers(0)).0, Verdict::Granted(0));
    // The largest reads, the other does not.
    pool.report(at(1500), 2, taken(10_000, 490_000));
    let (verdict, effects) = pool.report(at(2000), 3, answers(300_000));
    assert!(matches!(verdict, Verdict::Granted(_)), "{verdict:?}");
    assert_eq!(effects.closed, [(1, 400_000)]);
    assert!(pool.held() <= MIB);
}

#[test]
fn what_is_refused_was_not_read() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, answers(400_000));
    pool.report(at(0), 2, answers(500_000));
    // The peers read nothing and send more and more requests: refusals reduce the number of their answers.
    for round in 1..=9 {
        for (id, bytes) in [(1, 400_000), (2, 500_000)] {
            let (verdict, _) = pool.report(at(100 * round), id, answers(bytes + 300_000));
            assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
            pool.report(at(100 * round), id, answers(bytes));
        }
    }
    // One of them reads a little of a long answer: it has no fewer answers, and reads.
    pool.report(at(999), 2, taken(1, 500_000));
    let (verdict, effects) = pool.report(at(1000), 3, answers(300_000));
    assert!(matches!(verdict, Verdict::Granted(_)), "{verdict:?}");
    assert_eq!(effects.closed, [(1, 400_000)]);
}

#[test]
fn what_is_refused_is_not_held() {
    let mut pool = pool(MIB);
    pool.report(at(0), 1, answers(1_000_000));
    let before = pool.held();
    for id in 2..10 {
        assert_eq!(pool.report(at(0), id, answers(300_000)).0, Verdict::Refuse(0));
        assert_eq!(pool.held(), before, "it refused the answer");
    }
    // They hold none, and report that when they ask again: closing them would free nothing.
    pool.report(at(900), 1, taken(1, 1_000_000));
    let (verdict, effects) = pool.report(at(1000), 10, answers(300_000));
    assert_eq!((verdict, effects.closed), (Verdict::Refuse(0), vec![]));
}

#[test]
fn what_was_read_before_links_stopped_is_bounded() {
    let mut pool = pool(MIB);
    let mut closed = 0;
    for id in 0..1000 {
        let (_, effects) = pool.report(at(1), id, incoming(60_000, 0, 1));
        closed += effects.closed.len();
        // A tenth, the memory of the link with the turn, and that of the last report.
        assert!(pool.held() <= MIB + MIB / 10 + 2 * STEP + 60_000, "{} held", pool.held());
    }
    assert!(closed > 900, "{closed}");
}

#[test]
fn sums_are_those_of_the_links_whatever_happens() {
    let mut random = crate::supervisor::SplitMix64::new(7);
    let mut next = move |below: u64| random.below(below);
    for _ in 0..200 {
        let mut pool = MemoryPool::new(MIB, Duration::from_secs(5));
        let mut now = 0;
        for _ in 0..300 {
            now += next(400);
            let id = next(20);
            let effects = match next(4) {
                0 => pool.remove(at(now), id),
                _ => {
                    let bytes = usize::try_from(next(200_000)).unwrap();
                    let answers = if next(2) == 0 { 0 } else { bytes };
                    let unfinished = (next(3) > 0).then(|| at(now / 2));
                    let origin = from(u8::try_from(id % 3).unwrap());
                    pool.report(
                        at(now),
                        id,
                        Holding { bytes, answers, unfinished, origin, ..Holding::default() },
                    )
                    .1
                }
            };
            for (id, granted) in effects.resumed {
                assert_eq!(pool.holders.get(&id).map(|holder| holder.granted), Some(granted));
            }
            for (id, _) in effects.closed {
                assert!(!pool.holders.contains_key(&id));
            }
            let granted: usize = pool.holders.values().map(|holder| holder.granted).sum();
            let beyond: usize = pool
                .holders
                .values()
                .map(|holder| holder.holding.bytes.saturating_sub(holder.granted.max(FREE)))
                .sum();
            assert_eq!((pool.granted, pool.beyond), (granted, beyond));
            let waiting = pool.holders.values().filter(|holder| holder.waits.is_some()).count();
            assert_eq!((pool.waiting(), pool.by_size.len()), (waiting, pool.holders.len()));
        }
        for id in 0..20 {
            pool.remove(at(now), id);
        }
        assert_eq!((pool.held(), pool.waiting()), (0, 0));
    }
}

/// A single link has the turn for one message after another. Memory that it took for the first counts once.
#[test]
fn a_link_that_has_the_turn_twice_took_each_message_once() {
    let mut pool = pool(4 * MIB);
    for (message, steps) in [(1, 1..=128), (129, 129..=256)] {
        for step in steps {
            pool.report(at(step), 1, incoming(usize::try_from(step).unwrap() * STEP, message, 1));
        }
    }
    let (verdict, effects) = pool.report(at(300), 2, incoming(50_000, 300, 2));
    assert_eq!((verdict, effects), (Verdict::Wait(0), Effects::default()));
}

/// Memory that a link took in its turn and has returned does not excuse memory that it holds later.
#[test]
fn a_turn_that_was_given_back_is_over() {
    let mut pool = pool(MIB);
    for step in 1..=64 {
        pool.report(at(step), 1, incoming(usize::try_from(step).unwrap() * STEP, 1, 1));
    }
    pool.report(at(100), 1, Holding { origin: from(1), ..Holding::default() });
    pool.report(at(101), 1, incoming(MIB, 101, 1));
    let closed = |pool: &mut MemoryPool, id| pool.report(at(102), id, incoming(60_000, id, 2)).1.closed;
    let closed = (2..10).flat_map(|id| closed(&mut pool, id)).count();
    assert_eq!(closed, 1, "{} are held", pool.held());
    assert!(pool.held() <= MIB + MIB / 10, "{}", pool.held());
}
