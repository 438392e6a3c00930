//! Chooses which of several links a message goes over. No IO.

use alloc::vec::Vec;
use core::time::Duration;

use crate::supervisor::SplitMix64;
use crate::time::Instant;

mod attempts;
mod hedge;
mod leaders;

pub use attempts::{AttemptRules, Attempts, GiveUp, Next, Verdict};
pub use hedge::{Hedge, Hedging};

use leaders::Leaders;

/// How a route is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// The first usable one, in the order in which they were added.
    First,
    /// Each in turn.
    #[default]
    RoundRobin,
    /// A random one.
    Random,
    /// The one with the fewest calls in flight; of several, the first.
    LeastInFlight,
    /// The better of two random ones, by calls in flight: nearly as even as comparing all of them, without
    /// all callers choosing the same idle link.
    PowerOfTwo,
    /// The one with the shortest recent round trips ([`Router::note_round_trip`]); each is measured again
    /// once per minute.
    Nearest,
}

/// When a route is avoided after failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Blacklist {
    /// Failures in a row. Default 3.
    pub failures: u32,
    /// How long the route is avoided. Default 10 s.
    pub expiry: Duration,
}

impl Default for Blacklist {
    fn default() -> Self {
        Self { failures: 3, expiry: Duration::from_secs(10) }
    }
}

impl Blacklist {
    /// Avoids a route for `expiry` after `failures` failures in a row.
    #[must_use]
    pub const fn new(failures: u32, expiry: Duration) -> Self {
        Self { failures, expiry }
    }
}

/// The id of a route of a [`Router`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(u64);

#[derive(Clone, Debug)]
struct Route {
    id: RouteId,
    in_flight: usize,
    failures: u32,
    blacklisted_until: Option<Instant>,
    /// Its endpoint asked not to be used until then.
    avoided_until: Option<Instant>,
    /// The smoothed time of its round trips.
    round_trip: Option<Duration>,
    /// When it is measured again.
    measure_at: Instant,
}

impl Route {
    fn is_blacklisted(&self, now: Instant) -> bool {
        self.blacklisted_until.is_some_and(|until| now < until)
    }

    /// When it is no longer black-listed or avoided.
    fn free_at(&self, now: Instant) -> Instant {
        let later = |until: Option<Instant>| until.filter(|until| now < *until).unwrap_or(Instant::ZERO);
        later(self.blacklisted_until).max(later(self.avoided_until))
    }

    fn is_free(&self, now: Instant) -> bool {
        self.free_at(now) == Instant::ZERO
    }

    /// The value that is smallest for the nearest route.
    fn distance(&self, now: Instant) -> (Duration, usize) {
        let measured = self.round_trip.filter(|_| now < self.measure_at);
        // A route that is being measured for the first time is not yet known to be near.
        let unknown = if now < self.measure_at { Duration::MAX } else { Duration::ZERO };
        (measured.unwrap_or(unknown), self.in_flight)
    }
}

/// How long a measured round-trip time is valid.
const MEASURED_FOR: Duration = Duration::from_secs(60);

/// Chooses routes, counts the calls in flight on each, and avoids those that failed.
///
/// A route that failed often enough in a row is black-listed for a while. If all are black-listed, the one
/// whose time ends first is used nevertheless. The same seed and inputs give the same choices.
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
    leaders: Leaders,
}

impl Router {
    /// A router without routes.
    #[must_use]
    pub fn new(policy: Policy, blacklist: Blacklist, seed: u64) -> Self {
        Self {
            policy,
            blacklist,
            random: SplitMix64::new(seed),
            routes: Vec::new(),
            next: 0,
            last_id: 0,
            leaders: Leaders::default(),
        }
    }

    /// Adds a route after the others.
    pub fn add(&mut self) -> RouteId {
        self.last_id += 1;
        let id = RouteId(self.last_id);
        self.routes.push(Route {
            id,
            in_flight: 0,
            failures: 0,
            blacklisted_until: None,
            avoided_until: None,
            round_trip: None,
            measure_at: Instant::ZERO,
        });
        id
    }

    /// Removes a route. Returns whether it was there.
    pub fn remove(&mut self, id: RouteId) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| route.id != id);
        self.leaders.forget_route(id);
        self.routes.len() < before
    }

    /// The number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are no routes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The number of calls in flight on a route.
    #[must_use]
    pub fn in_flight(&self, id: RouteId) -> usize {
        self.routes.iter().find(|route| route.id == id).map_or(0, |route| route.in_flight)
    }

    /// Whether a route is black-listed now.
    #[must_use]
    pub fn is_blacklisted(&self, now: Instant, id: RouteId) -> bool {
        self.routes.iter().any(|route| route.id == id && route.is_blacklisted(now))
    }

    /// Whether a route is neither black-listed nor avoided at its own request.
    #[must_use]
    pub fn is_free(&self, now: Instant, id: RouteId) -> bool {
        self.routes.iter().any(|route| route.id == id && route.is_free(now))
    }

    /// Chooses a route, and counts one more call in flight on it until [`finished`](Self::finished). Routes
    /// that are not `usable` are used only if none is. `None`: there are no routes.
    pub fn pick(&mut self, now: Instant, usable: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        let index = self.choose(now, &|route: &Route| route.is_free(now) && usable(route.id))?;
        self.begin(now, index)
    }

    /// As [`pick`](Self::pick), for a second attempt: a healthy, usable route other than `first`, or none.
    pub fn pick_other(
        &mut self,
        now: Instant,
        first: RouteId,
        usable: impl Fn(RouteId) -> bool,
    ) -> Option<RouteId> {
        self.pick_untried(now, &[first], usable)
    }

    /// A healthy, usable route that was not tried, or none.
    fn pick_untried(
        &mut self,
        now: Instant,
        tried: &[RouteId],
        usable: impl Fn(RouteId) -> bool,
    ) -> Option<RouteId> {
        let fit = |route: &Route| !tried.contains(&route.id) && route.is_free(now) && usable(route.id);
        let fitting: Vec<usize> = (0..self.routes.len()).filter(|&index| fit(&self.routes[index])).collect();
        let index = self.choose_among(now, &fitting)?;
        self.begin(now, index)
    }

    /// This route, if it exists and is healthy and usable.
    fn pick_this(&mut self, now: Instant, id: RouteId, usable: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        let index = self.routes.iter().position(|route| route.id == id)?;
        if !(self.routes[index].is_free(now) && usable(id)) {
            return None;
        }
        self.begin(now, index)
    }

    /// As [`pick`](Self::pick), for a key. All its messages go to its leader, or, while none is known, to the
    /// route of the first message, as long as that is usable and neither black-listed nor avoided.
    pub fn pick_for(&mut self, now: Instant, key: &str, usable: impl Fn(RouteId) -> bool) -> Option<RouteId> {
        if let Some(likely) = self.leaders.likely(key)
            && let Some(id) = self.pick_this(now, likely, &usable)
        {
            return Some(id);
        }
        let id = self.pick(now, usable)?;
        self.leaders.guess(key, id);
        Some(id)
    }

    /// The leader of a key: the route that has answered as such.
    #[must_use]
    pub fn leader(&self, key: &str) -> Option<RouteId> {
        self.leaders.proven(key)
    }

    /// Records that a route leads a key.
    pub fn set_leader(&mut self, key: &str, id: RouteId) {
        self.leaders.prove(key, id);
    }

    /// A route does not lead a key; `hint` may.
    pub fn not_leader(&mut self, key: &str, id: RouteId, hint: Option<RouteId>) {
        let hint = hint.filter(|hint| self.routes.iter().any(|route| route.id == *hint));
        self.leaders.refute(key, id, hint);
    }

    /// A route is not to be used until then, unless there is no other.
    pub fn avoid(&mut self, id: RouteId, until: Instant) {
        if let Some(route) = self.routes.iter_mut().find(|route| route.id == id) {
            route.avoided_until = Some(until);
        }
    }

    /// A round trip over a route took this long: for [`Policy::Nearest`], which uses the smoothed time.
    pub fn note_round_trip(&mut self, now: Instant, id: RouteId, took: Duration) {
        let Some(route) = self.routes.iter_mut().find(|route| route.id == id) else { return };
        // Smoothed as in TCP (RFC 6298).
        route.round_trip = Some(route.round_trip.map_or(took, |before| before / 8 * 7 + took / 8));
        route.measure_at = now + MEASURED_FOR;
    }

    /// A call over a route has ended; `ok`: it succeeded as far as the route is concerned.
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
            self.leaders.forget_route(id);
        }
    }

    /// A call over a route was cancelled, without a statement about the route.
    pub fn abandoned(&mut self, id: RouteId) {
        if let Some(route) = self.routes.iter_mut().find(|route| route.id == id) {
            route.in_flight = route.in_flight.saturating_sub(1);
        }
    }

    fn begin(&mut self, now: Instant, index: usize) -> Option<RouteId> {
        let route = self.routes.get_mut(index)?;
        route.in_flight += 1;
        if now >= route.measure_at {
            // This call measures it.
            route.measure_at = now + MEASURED_FOR;
        }
        Some(route.id)
    }

    fn choose(&mut self, now: Instant, fit: &dyn Fn(&Route) -> bool) -> Option<usize> {
        // Usually all routes are healthy: no list is needed then.
        if let Some(index) = self.propose(now)
            && fit(&self.routes[index])
        {
            return Some(index);
        }
        let fitting: Vec<usize> = (0..self.routes.len()).filter(|&index| fit(&self.routes[index])).collect();
        if !fitting.is_empty() {
            return self.choose_among(now, &fitting);
        }
        (0..self.routes.len()).min_by_key(|&index| self.routes[index].free_at(now))
    }

    /// The policy's choice if every route is healthy.
    fn propose(&mut self, now: Instant) -> Option<usize> {
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
            Policy::Nearest => (0..count).min_by_key(|&index| self.routes[index].distance(now))?,
        })
    }

    fn choose_among(&mut self, now: Instant, fitting: &[usize]) -> Option<usize> {
        let first = *fitting.first()?;
        Some(match self.policy {
            Policy::First => first,
            Policy::RoundRobin => {
                // The next route after the last one chosen.
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
            Policy::Nearest => *fitting.iter().min_by_key(|&&index| self.routes[index].distance(now))?,
        })
    }

    fn below(&mut self, count: usize) -> usize {
        // Below `count`, which is a usize.
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
