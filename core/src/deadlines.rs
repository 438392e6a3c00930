//! Deadlines: a FIFO for each timeout in use, and a heap for the others.
//!
//! Most calls of a program share a few timeouts, and deadlines with one timeout arrive in order: a push is an
//! append, and the next deadline is at the front (3 ns; a heap takes 50). Entries of ended calls stay until
//! they reach the front or until the list is swept, so that a list is never longer than twice its live
//! entries plus a constant.

use alloc::boxed::Box;
use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use crate::time::Instant;

/// The number of distinct timeouts that get a FIFO.
const CLASSES: usize = 8;
/// A FIFO shorter than this is not swept.
const SWEEP_FROM: usize = 64;

/// Many deadlines, by keys that the machine chooses.
///
/// A deadline is not removed when its call ends: the key is returned when it is due, and the machine finds
/// that it no longer matters. The number of such entries is limited by a sweep, for which each push passes
/// the number of live keys.
///
/// ```
/// use bowline_core::deadlines::Deadlines;
/// use bowline_core::time::Instant;
/// use core::time::Duration;
/// use std::collections::BTreeSet;
///
/// let now = Instant::ZERO;
/// let second = Duration::from_secs(1);
/// let mut calls = BTreeSet::new();
/// let mut deadlines = Deadlines::new();
/// for id in [1_u64, 2] {
///     calls.insert(id);
///     deadlines.push(now, second, id, || calls.len(), |id| calls.contains(id));
/// }
/// calls.remove(&1); // answered
/// assert_eq!(deadlines.next(), Some(now + second));
///
/// let late = now + 2 * second;
/// let mut expired = Vec::new();
/// while let Some(id) = deadlines.pop_due(late) {
///     if calls.remove(&id) {
///         expired.push(id);
///     }
/// }
/// assert_eq!(expired, [2]);
/// ```
#[derive(Debug)]
pub struct Deadlines<K> {
    classes: Vec<Fifo<K>>,
    /// The FIFO that was used last; it is usually used next, too.
    last: usize,
    /// Boxed: usually there is none.
    #[allow(clippy::box_collection, reason = "one word in place of three")]
    heap: Option<Box<Heap<K>>>,
}

type Heap<K> = BinaryHeap<Reverse<(Instant, K)>>;

#[derive(Debug)]
struct Fifo<K> {
    timeout: Duration,
    entries: VecDeque<(Instant, K)>,
    /// The length at which entries of ended calls are swept.
    sweep_at: usize,
}

impl<K> Fifo<K> {
    /// Adds a key that is due after all others.
    #[inline(always)]
    fn push(
        &mut self,
        at: Instant,
        key: K,
        live_count: impl Fn() -> usize,
        live: impl Fn(&K) -> bool + Copy,
    ) {
        while self.entries.front().is_some_and(|(_, key)| !live(key)) {
            self.entries.pop_front();
        }
        // The live keys are counted only if the list may have outgrown them.
        if self.entries.len() >= self.sweep_at {
            self.sweep(live_count, live);
        }
        self.entries.push_back((at, key));
    }

    /// Removes dead entries. Rare, and not inlined into `push`.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self, live_count: impl Fn() -> usize, live: impl Fn(&K) -> bool) {
        let most = 2 * live_count();
        if self.entries.len() > most {
            self.entries.retain(|(_, key)| live(key));
        }
        self.sweep_at = most.max(self.entries.len()).max(SWEEP_FROM);
    }
}

impl<K: Copy + Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// No deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self { classes: Vec::new(), last: 0, heap: None }
    }

    /// Adds `key`, due `timeout` after `now`, and returns the deadline. `live` says whether an older key
    /// still matters, `live_count` how many do (an overestimate is harmless): a list with more than twice as
    /// many entries is swept.
    #[inline(always)]
    pub fn push(
        &mut self,
        now: Instant,
        timeout: Duration,
        key: K,
        live_count: impl Fn() -> usize,
        live: impl Fn(&K) -> bool + Copy,
    ) -> Instant {
        let at = now + timeout;
        if let Some(fifo) = self.classes.get_mut(self.last)
            && fifo.timeout == timeout
            && fifo.entries.back().is_none_or(|&(last, _)| last <= at)
        {
            fifo.push(at, key, live_count, live);
            return at;
        }
        self.push_elsewhere(at, timeout, key, live_count, live);
        at
    }

    #[inline(never)]
    fn push_elsewhere(
        &mut self,
        at: Instant,
        timeout: Duration,
        key: K,
        live_count: impl Fn() -> usize,
        live: impl Fn(&K) -> bool + Copy,
    ) {
        let class = match self.classes.iter().position(|fifo| fifo.timeout == timeout) {
            Some(class) => Some(class),
            // An empty FIFO can be used for another timeout.
            None => match self.classes.iter().position(|fifo| fifo.entries.is_empty()) {
                Some(class) => {
                    self.classes[class].timeout = timeout;
                    Some(class)
                }
                None if self.classes.len() < CLASSES => {
                    // Most have one.
                    self.classes.reserve_exact(1);
                    self.classes.push(Fifo { timeout, entries: VecDeque::new(), sweep_at: SWEEP_FROM });
                    Some(self.classes.len() - 1)
                }
                None => None,
            },
        };
        let in_order =
            class.is_some_and(|class| self.classes[class].entries.back().is_none_or(|&(last, _)| last <= at));
        match class {
            Some(class) if in_order => {
                self.last = class;
                self.classes[class].push(at, key, live_count, live);
            }
            _ => {
                let heap = self.heap.get_or_insert_default();
                if heap.len() >= SWEEP_FROM && heap.len() > 2 * live_count() {
                    heap.retain(|Reverse((_, key))| live(key));
                }
                heap.push(Reverse((at, key)));
            }
        }
    }

    /// Removes the keys that no longer matter, and frees the memory of empty lists.
    pub fn trim(&mut self, live: impl Fn(&K) -> bool) {
        for fifo in &mut self.classes {
            fifo.entries.retain(|(_, key)| live(key));
            fifo.entries.shrink_to_fit();
            fifo.sweep_at = SWEEP_FROM;
        }
        if let Some(heap) = &mut self.heap {
            heap.retain(|Reverse((_, key))| live(key));
            heap.shrink_to_fit();
        }
        self.heap.take_if(|heap| heap.is_empty());
        if self.classes.iter().all(|fifo| fifo.entries.is_empty()) {
            (self.classes, self.last) = (Vec::new(), 0);
        }
    }

    /// The earliest deadline; it may be that of a key that no longer matters.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let fifos = self.classes.iter().filter_map(|fifo| fifo.entries.front().map(|&(at, _)| at));
        let odd = self.heap.as_ref().and_then(|heap| heap.peek());
        fifos.chain(odd.map(|Reverse((at, _))| *at)).min()
    }

    /// Takes a key that is due at `now`, the earliest of its list first. Keys that no longer matter are
    /// returned as well.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        for fifo in &mut self.classes {
            if fifo.entries.front().is_some_and(|&(at, _)| at <= now) {
                return fifo.entries.pop_front().map(|(_, key)| key);
            }
        }
        let heap = self.heap.as_mut()?;
        if heap.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            return heap.pop().map(|Reverse((_, key))| key);
        }
        None
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.heap.as_ref().map_or(0, |heap| heap.len())
            + self.classes.iter().map(|fifo| fifo.entries.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn keys_come_out_when_they_are_due() {
        let mut deadlines = Deadlines::new();
        let now = Instant::ZERO;
        deadlines.push(now, MS * 10, 1, || 0, |_| true);
        deadlines.push(now, MS * 5, 2, || 0, |_| true);
        assert_eq!(deadlines.next(), Some(now + MS * 5));
        assert_eq!(deadlines.pop_due(now + MS * 4), None);
        assert_eq!(deadlines.pop_due(now + MS * 20), Some(1));
        assert_eq!(deadlines.pop_due(now + MS * 20), Some(2));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn ended_calls_behind_a_long_one_do_not_pile_up() {
        let mut deadlines = Deadlines::new();
        for key in 0..100_000_u64 {
            // Only key 0 and the newest are live: the first call is a long one.
            deadlines.push(Instant::from_nanos(key), MS, key, || 2, |&k| k == 0 || k + 1 >= key);
        }
        assert!(deadlines.len() <= 2 * SWEEP_FROM, "{}", deadlines.len());
    }

    #[test]
    fn trimming_keeps_what_lives_and_its_order() {
        let mut deadlines = Deadlines::new();
        let now = Instant::ZERO;
        for key in 0..200_u32 {
            deadlines.push(now, MS * (1 + key % 10), key, || 1_000, |_| true);
        }
        assert!(deadlines.heap.is_some(), "more timeouts than lists");
        deadlines.trim(|key| key % 50 == 7);
        assert_eq!(deadlines.len(), 4);
        assert_eq!(deadlines.next(), Some(now + MS * 8));
        deadlines.push(now, MS * 2, 1_000, || 5, |_| true);
        let later = now + MS * 20;
        let mut due: Vec<u32> = core::iter::from_fn(|| deadlines.pop_due(later)).collect();
        due.sort_unstable();
        assert_eq!(due, [7, 57, 107, 157, 1_000]);
        deadlines.trim(|_| unreachable!("it is empty"));
        assert!(deadlines.classes.capacity() == 0 && deadlines.heap.is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(timeouts in prop::collection::vec((0_u64..20, 0_u64..30), 1..200)) {
            let mut deadlines = Deadlines::new();
            let mut model = Vec::new();
            let mut now = Instant::ZERO;
            for (key, &(step, timeout)) in timeouts.iter().enumerate() {
                now += MS * u32::try_from(step).unwrap();
                let timeout = MS * u32::try_from(timeout).unwrap();
                model.push((now + timeout, key));
                deadlines.push(now, timeout, key, || usize::MAX / 2, |_| true);
                prop_assert_eq!(deadlines.next(), model.iter().map(|&(at, _)| at).min());
                while let Some(key) = deadlines.pop_due(now) {
                    let index = model.iter().position(|&(_, k)| k == key).unwrap();
                    prop_assert!(model.remove(index).0 <= now);
                }
                prop_assert!(model.iter().all(|&(at, _)| at > now));
            }
        }
    }
}
