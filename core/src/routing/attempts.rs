//! One call over several routes: where it is tried, and where next.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{RouteId, Router};
use crate::time::Instant;

/// How often a call is tried.
///
/// ```
/// use bowline_core::routing::AttemptRules;
/// use core::time::Duration;
///
/// let patient = AttemptRules::until_deadline().backoff(Duration::from_millis(20), Duration::from_secs(1));
/// assert_ne!(patient, AttemptRules::one_round());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct AttemptRules {
    one_round: bool,
    base: Duration,
    cap: Duration,
    budget: u32,
}

impl Default for AttemptRules {
    fn default() -> Self {
        Self::one_round()
    }
}

impl AttemptRules {
    /// Every route once. The very last attempt may wait for its link to be connected.
    pub const fn one_round() -> Self {
        let (base, cap) = (Duration::from_millis(50), Duration::from_secs(1));
        Self { one_round: true, base, cap, budget: u32::MAX }
    }

    /// One round after another until the deadline, with a back-off between them. No attempt waits for its
    /// link.
    pub const fn until_deadline() -> Self {
        let rules = Self::one_round();
        Self { one_round: false, ..rules }
    }

    /// Sets the wait after the first round, and the maximum wait: it doubles from round to round, and is
    /// shortened by up to a half. Default 50 ms and 1 s.
    pub const fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap) = (base, cap);
        self
    }

    /// Sets the maximum number of attempts in all rounds together. Default: limited by the deadline only.
    pub const fn budget(mut self, attempts: u32) -> Self {
        self.budget = attempts;
        self
    }

    /// The wait after this many rounds (from 1).
    fn wait(&self, rounds: u32, router: &mut Router) -> Duration {
        let full = self.base.saturating_mul(1 << rounds.saturating_sub(1).min(30)).min(self.cap);
        let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos - router.random.below(nanos / 2 + 1))
    }
}

/// The meaning of an answer, or of its absence, for the route and for the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// The route answered: it leads the key.
    Done,
    /// The call is over, without a statement about the route: it was cancelled, or cannot be made anywhere.
    Over,
    /// The route failed, and the call may have run: it is not tried elsewhere.
    Failed,
    /// The route failed, and the call did not run.
    Elsewhere,
    /// The route has no room, and the call did not run.
    Busy,
    /// The call must be made over another route, possibly the given one. It did not run.
    NotHere {
        /// A route that may be the right one: tried next if it was not tried in this round.
        hint: Option<RouteId>,
    },
    /// The route is not to be used for this time. The call did not run.
    Avoid(Duration),
}

/// The next step of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Next {
    /// Make the call over this route, which counts it as in flight until [`Attempts::answered`],
    /// [`Router::finished`] or [`Router::abandoned`].
    Try {
        /// The route.
        route: RouteId,
        /// There is no other route: the call may wait for its link to be connected.
        patient: bool,
    },
    /// A round is over; call [`Attempts::resume`] at this time to begin the next one.
    Wait(Instant),
    /// The last answer is the result.
    End,
    /// The call is given up; the last answer, if there was one, is the result.
    GiveUp(GiveUp),
}

/// Why a call is given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum GiveUp {
    /// There are no routes.
    NoRoutes,
    /// Every route was tried.
    AllTried,
    /// The deadline passed, or is too near for another round.
    Deadline,
    /// The maximum number of attempts was made.
    Budget,
}

impl GiveUp {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::NoRoutes)
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoutes => "there are no routes",
            Self::AllTried => "every route was tried",
            Self::Deadline => "the deadline is over",
            Self::Budget => "as many attempts were made as may be",
        })
    }
}

impl core::error::Error for GiveUp {}

/// One call over the routes of a [`Router`]: in a round each route is tried at most once. The first one is
/// the key's leader, or the policy's choice; then the hints follow, then the others by the policy.
///
/// A route becomes the leader of a key by its [`Verdict::Done`], not before. Nothing is allocated before the
/// first failure.
///
/// ```
/// use bowline_core::routing::{AttemptRules, Attempts, Blacklist, Next, Policy, Router, Verdict};
/// use bowline_core::time::Instant;
/// use core::time::Duration;
///
/// let now = Instant::ZERO;
/// let mut router = Router::new(Policy::First, Blacklist::default(), 42);
/// let (a, _, c) = (router.add(), router.add(), router.add());
/// let deadline = now + Duration::from_secs(10);
/// let mut call = Attempts::new(AttemptRules::until_deadline(), Some("topic"), deadline);
///
/// assert_eq!(call.begin(&mut router, now, |_| true), Next::Try { route: a, patient: false });
/// let there = Verdict::NotHere { hint: Some(c) };
/// assert_eq!(call.answered(&mut router, now, a, there, |_| true), Next::Try { route: c, patient: false });
/// assert_eq!(router.leader("topic"), None);
/// assert_eq!(call.answered(&mut router, now, c, Verdict::Done, |_| true), Next::End);
/// assert_eq!(router.leader("topic"), Some(c));
/// ```
#[derive(Clone, Debug)]
pub struct Attempts<'k> {
    rules: AttemptRules,
    key: Option<&'k str>,
    deadline: Instant,
    /// The routes tried in this round.
    tried: Vec<RouteId>,
    hint: Option<RouteId>,
    /// Attempts in this round, and in total.
    in_round: usize,
    made: u32,
    rounds: u32,
}

impl<'k> Attempts<'k> {
    /// A call that was not tried yet.
    pub const fn new(rules: AttemptRules, key: Option<&'k str>, deadline: Instant) -> Self {
        Self { rules, key, deadline, tried: Vec::new(), hint: None, in_round: 0, made: 0, rounds: 0 }
    }

    /// The key of the call.
    #[must_use]
    pub const fn key(&self) -> Option<&'k str> {
        self.key
    }

    /// The deadline of the call.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The number of attempts that were begun.
    #[must_use]
    pub const fn made(&self) -> u32 {
        self.made
    }

    /// The number of finished rounds.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The first attempt. A route that is not `usable` is used only if none is.
    pub fn begin(&mut self, router: &mut Router, now: Instant, usable: impl Fn(RouteId) -> bool) -> Next {
        if router.is_empty() {
            return Next::GiveUp(GiveUp::NoRoutes);
        }
        if let Some(why) = self.over(now) {
            return Next::GiveUp(why);
        }
        let hint = self.hint.take();
        let hinted = hint.and_then(|hint| router.pick_this(now, hint, &usable));
        let picked = hinted.or_else(|| match self.key {
            Some(key) => router.pick_for(now, key, &usable),
            None => router.pick(now, &usable),
        });
        self.attempt(router, picked, usable)
    }

    /// Begins the next round, when its time has come.
    pub fn resume(&mut self, router: &mut Router, now: Instant, usable: impl Fn(RouteId) -> bool) -> Next {
        self.tried.clear();
        self.in_round = 0;
        self.begin(router, now, usable)
    }

    /// The attempt over `route` has ended with this verdict.
    pub fn answered(
        &mut self,
        router: &mut Router,
        now: Instant,
        route: RouteId,
        verdict: Verdict,
        usable: impl Fn(RouteId) -> bool,
    ) -> Next {
        match verdict {
            Verdict::Done => {
                router.finished(now, route, true);
                if let Some(key) = self.key {
                    router.set_leader(key, route);
                }
                return Next::End;
            }
            Verdict::Over => {
                router.abandoned(route);
                return Next::End;
            }
            Verdict::Failed => {
                router.finished(now, route, false);
                return Next::End;
            }
            Verdict::Elsewhere => router.finished(now, route, false),
            Verdict::Busy => router.finished(now, route, true),
            Verdict::NotHere { hint } => {
                router.finished(now, route, true);
                if let Some(key) = self.key {
                    router.not_leader(key, route, hint);
                }
                self.hint = hint.filter(|hint| *hint != route);
            }
            Verdict::Avoid(time) => {
                router.finished(now, route, true);
                router.avoid(route, now + time);
            }
        }
        self.tried.push(route);
        self.next(router, now, usable)
    }

    fn next(&mut self, router: &mut Router, now: Instant, usable: impl Fn(RouteId) -> bool) -> Next {
        if let Some(why) = self.over(now) {
            return Next::GiveUp(why);
        }
        if self.in_round < router.len() {
            let untried = |hint: &RouteId| !self.tried.contains(hint);
            // A leader that other calls have found meanwhile is as good as a hint.
            let learned = self.key.and_then(|key| router.leaders.likely(key));
            let hints = [self.hint.filter(untried), learned.filter(untried)];
            let mut picked =
                hints.into_iter().flatten().find_map(|hint| router.pick_this(now, hint, &usable));
            picked = picked.or_else(|| router.pick_untried(now, &self.tried, &usable));
            if picked.is_none() && self.rules.one_round {
                // No route is healthy: the last attempt waits for one.
                self.in_round = router.len() - 1;
                let tried = &self.tried;
                picked = router.pick_untried(now, tried, |_| true).or_else(|| router.pick(now, &usable));
            }
            if picked.is_some() {
                return self.attempt(router, picked, usable);
            }
        }
        self.rounds += 1;
        if self.rules.one_round {
            return Next::GiveUp(GiveUp::AllTried);
        }
        let at = now + self.rules.wait(self.rounds, router);
        if at >= self.deadline { Next::GiveUp(GiveUp::Deadline) } else { Next::Wait(at) }
    }

    fn over(&self, now: Instant) -> Option<GiveUp> {
        if now >= self.deadline {
            return Some(GiveUp::Deadline);
        }
        (self.made >= self.rules.budget).then_some(GiveUp::Budget)
    }

    fn attempt(
        &mut self,
        router: &Router,
        picked: Option<RouteId>,
        usable: impl Fn(RouteId) -> bool,
    ) -> Next {
        let Some(route) = picked else { return Next::GiveUp(GiveUp::NoRoutes) };
        self.in_round += 1;
        self.made += 1;
        let last = self.in_round >= router.len() || self.made >= self.rules.budget;
        Next::Try { route, patient: self.rules.one_round && (last || !usable(route)) }
    }
}

#[cfg(test)]
mod tests;
