//! Which of several links a message goes over: pure.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::supervisor::SplitMix64;
use crate::time::Instant;

mod hedge;

pub use hedge::{Hedge, Hedging};

/// How a route is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The first that can be used, in the order they were added.
    First,
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest calls in flight; of several, the first.
    LeastInFlight,
    /// The better of two chosen at random, by calls in flight: nearly as even as looking at all,
    /// and no herd after the one that looks idle.
    PowerOfTwo,
}

/// When a route is left alone after failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Blacklist {
    /// Failures in a row. Default 3.
    pub failures: u32,
    /// For how long. Default 10 s.
    pub expiry: Duration,
}

impl Default for Blacklist {
    fn default() -> Self {
        Self { failures: 3, expiry: Duration::from_secs(10) }
    }
}

impl Blacklist {
    /// After `failures` in a row, for `expiry`.
    #[must_use]
    pub const fn new(failures: u32, expiry: Duration) -> Self {
        Self { failures, expiry }
    }
}

/// Names a route of a [`Router`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(u64);

#[derive(Clone, Debug)]
struct Route {
    id: RouteId,
    in_flight: usize,
    failures: u32,
    blacklisted_until: Option<Instant>,
}

impl Route {
    fn is_blacklisted(&self, now: Instant) -> bool {
        self.blacklisted_until.is_some_and(|until| now < until)
    }
}

/// Keys that have a leader at once; when there is one more, the oldest is forgotten.
const MAX_LEADERS: usize = 4_096;

/// Chooses routes, counts what is in flight on each, and leaves those alone that failed.
///
/// A route that failed often enough in a row is black-listed for a while. When nothing else is left,
/// the one whose time is over first is used all the same: trying is better than failing. The same
/// seed and inputs give the same choices.
///
/// ```
/// use bowline_core::routing::{Blacklist, Policy, Router};
/// use bowline_core::time::Instant;
///
/// let mut router = Router::new(Policy::RoundRobin, Blacklist::default(), 42);
/// let (a, b) = (router.add(), router.add());
/// let now = Instant::ZERO;
/// assert_eq!(router.pick(now, |_| true), Some(a));
/// assert_eq!(router.pick(now, |_| true), Some(b));
/// router.finished(now, a, true);
/// ```
#[derive(Clone, Debug)]
pub struct Router {
    policy: Policy,
    blacklist: Blacklist,
    random: SplitMix64,
    routes: Vec<Route>,
    next: usize,
    last_id: u64,
    leaders: BTreeMap<String, RouteId>,
    leaders_by_age: VecDeque<String>,
}

impl Router {
    /// Without routes.
    #[must_use]
    pub fn new(policy: Policy, blacklist: Blacklist, seed: u64) -> Self {
        Self {
            policy,
            blacklist,
            random: SplitMix64::new(seed),
            routes: Vec::new(),
            next: 0,
            last_id: 0,
            leaders: BTreeMap::new(),
            leaders_by_age: VecDeque::new(),
        }
    }

    /// One more route, behind the others.
    pub fn add(&mut self) -> RouteId {
        self.last_id += 1;
        let id = RouteId(self.last_id);
        self.routes.push(Route { id, in_flight: 0, failures: 0, blacklisted_until: None });
        id
    }

    /// Takes a route out. Whether it was there.
    pub fn remove(&mut self, id: RouteId) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| route.id != id);
        self.forget_leader(id);
        self.routes.len() < before
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// What is in flight on a route.
    #[must_use]
    pub fn in_flight(&self, id: RouteId) -> usize {
        self.routes.iter().find(|route| route.id == id).map_or(0, |route| route.in_flight)
    }

    /// Whether a route is left alone now.
    #[must_use]
    pub fn is_blacklisted(&self, now: Instant, id: RouteId) -> bool {
        self.routes.iter().any(|route| route.id == id && route.is_blacklisted(now))
    }

    /// Chooses a route, and counts one more in flight on it until [`finished`](Self::finished).
    /// Routes that are not `usable` are used only if none is. `None`: there are no routes.
    pub fn pick(&mut self, now: Instant, usable: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        let index = self.choose(now, &|route: &Route| !route.is_blacklisted(now) && usable(route.id))?;
        self.begin(index)
    }

    /// The same for a second attempt: a healthy, usable route other than `first`, or none.
    pub fn pick_other(
        &mut self,
        now: Instant,
        first: RouteId,
        usable: impl Fn(RouteId) -> bool,
    ) -> Option<RouteId> {
        let fit = |route: &Route| route.id != first && !route.is_blacklisted(now) && usable(route.id);
        let fitting: Vec<usize> = (0..self.routes.len()).filter(|&index| fit(&self.routes[index])).collect();
        let index = self.choose_among(&fitting)?;
        self.begin(index)
    }

    /// The same for a key, which stays with the route that it got first (its leader) for as long as
    /// that is usable and not black-listed.
    pub fn pick_for(&mut self, now: Instant, key: &str, usable: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        if let Some(leader) = self.leader(key)
            && let Some(index) = self.routes.iter().position(|route| route.id == leader)
            && !self.routes[index].is_blacklisted(now)
            && usable(leader)
        {
            return self.begin(index);
        }
        let id = self.pick(now, usable)?;
        self.set_leader(key, id);
        Some(id)
    }

    /// The leader of a key.
    #[must_use]
    pub fn leader(&self, key: &str) -> Option<RouteId> {
        self.leaders.get(key).copied()
    }

    /// The application knows better who leads a key.
    pub fn set_leader(&mut self, key: &str, id: RouteId) {
        if let Some(leader) = self.leaders.get_mut(key) {
            *leader = id;
            return;
        }
        if self.leaders.len() >= MAX_LEADERS
            && let Some(oldest) = self.leaders_by_age.pop_front()
        {
            self.leaders.remove(&oldest);
        }
        self.leaders.insert(key.into(), id);
        self.leaders_by_age.push_back(key.into());
    }

    /// What was begun on a route is over; `ok`: as far as the route is concerned, it went well.
    pub fn finished(&mut self, now: Instant, id: RouteId, ok: bool) {
        let Self { routes, blacklist, .. } = &mut *self;
        let Some(route) = routes.iter_mut().find(|route| route.id == id) else { return };
        route.in_flight = route.in_flight.saturating_sub(1);
        if ok {
            route.failures = 0;
            route.blacklisted_until = None;
            return;
        }
        route.failures = route.failures.saturating_add(1);
        if route.failures >= blacklist.failures {
            route.blacklisted_until = Some(now + blacklist.expiry);
            self.forget_leader(id);
        }
    }

    /// What was begun on a route was given up: it says nothing about the route.
    pub fn abandoned(&mut self, id: RouteId) {
        if let Some(route) = self.routes.iter_mut().find(|route| route.id == id) {
            route.in_flight = route.in_flight.saturating_sub(1);
        }
    }

    fn begin(&mut self, index: usize) -> Option<RouteId> {
        let route = self.routes.get_mut(index)?;
        route.in_flight += 1;
        Some(route.id)
    }

    fn forget_leader(&mut self, id: RouteId) {
        self.leaders.retain(|_, leader| *leader != id);
        let leaders = &self.leaders;
        self.leaders_by_age.retain(|key| leaders.contains_key(key));
    }

    fn choose(&mut self, now: Instant, fit: &dyn Fn(&Route) -> bool) -> Option<usize> {
        // All are fit, as a rule: no list then.
        if let Some(index) = self.propose()
            && fit(&self.routes[index])
        {
            return Some(index);
        }
        let fitting: Vec<usize> = (0..self.routes.len()).filter(|&index| fit(&self.routes[index])).collect();
        if !fitting.is_empty() {
            return self.choose_among(&fitting);
        }
        let until = |index: &usize| self.routes[*index].blacklisted_until.filter(|until| now < *until);
        (0..self.routes.len()).min_by_key(|index| until(index).unwrap_or(Instant::ZERO))
    }

    /// What the policy wants if every route is fit.
    fn propose(&mut self) -> Option<usize> {
        let count = self.routes.len();
        if count == 0 {
            return None;
        }
        Some(match self.policy {
            Policy::First => 0,
            Policy::RoundRobin => {
                let index = self.next % count;
                self.next = index + 1;
                index
            }
            Policy::Random => self.below(count),
            Policy::LeastInFlight => (0..count).min_by_key(|&index| self.routes[index].in_flight)?,
            Policy::PowerOfTwo => {
                let (one, other) = (self.below(count), self.below(count));
                if self.routes[other].in_flight < self.routes[one].in_flight { other } else { one }
            }
        })
    }

    fn choose_among(&mut self, fitting: &[usize]) -> Option<usize> {
        let first = *fitting.first()?;
        Some(match self.policy {
            Policy::First => first,
            Policy::RoundRobin => {
                // The next one behind the one whose turn it was.
                let next = self.next;
                let index = fitting.iter().copied().find(|&index| index >= next).unwrap_or(first);
                self.next = index + 1;
                index
            }
            Policy::Random => fitting[self.below(fitting.len())],
            Policy::LeastInFlight => *fitting.iter().min_by_key(|&&index| self.routes[index].in_flight)?,
            Policy::PowerOfTwo => {
                let (one, other) = (fitting[self.below(fitting.len())], fitting[self.below(fitting.len())]);
                if self.routes[other].in_flight < self.routes[one].in_flight { other } else { one }
            }
        })
    }

    fn below(&mut self, count: usize) -> usize {
        // Below `count`, which is a usize.
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
