//! One call over a pool, for any runtime: the core decides about the attempts.

use bowline_core::error::{CallError, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{CallOptions, Reply};
use bowline_core::routing::{AttemptRules, Attempts, GiveUp, Next, RouteId, Router, Verdict};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::sync::Arc;

use super::{Lease, PoolCore, ReadRedirect, Redirect};
use crate::peer_core::PeerCore;

/// The next step of a call over a pool.
#[derive(Debug)]
pub(crate) enum Move<F: Framing, C> {
    /// Make the call over this link, with these options.
    Try(Lease<F, C>, CallOptions),
    /// Wait until then, then [resume](PoolCall::resume).
    Wait(Instant),
    /// Return the last answer; without one, the pool has no links, or no time is left.
    End(GiveUp),
}

/// One call over a pool: how it is made, and which link it may use next.
#[derive(Debug)]
pub(crate) struct PoolCall<'k, F: Framing, C> {
    core: Arc<PoolCore<F, C>>,
    attempts: Attempts<'k>,
    options: CallOptions,
    begun: Instant,
    hedge_at: Option<Instant>,
}

impl<'k, F: Framing, C: Clone + AsRef<PeerCore<F>>> PoolCall<'k, F, C> {
    /// The call, and its first step.
    #[must_use]
    pub(crate) fn begin(
        core: &Arc<PoolCore<F, C>>,
        key: Option<&'k str>,
        rules: Option<AttemptRules>,
        options: CallOptions,
    ) -> (Self, Move<F, C>) {
        let timeout = options.get_timeout().unwrap_or_else(|| core.config().call_timeout());
        // A key has one endpoint: no second attempt elsewhere.
        let hedge_at = if key.is_some() { None } else { core.hedge_at(&options) };
        let default = if key.is_some() { core.rules } else { AttemptRules::one_round() };
        let rules = rules.unwrap_or(default);
        let begun = clock::now();
        let attempts = Attempts::new(rules, key, begun + timeout);
        let mut call = Self { core: Arc::clone(core), attempts, options, begun, hedge_at };
        let first = call.go_on(|attempts, router, now, usable| attempts.begin(router, now, usable));
        (call, first)
    }

    /// The next round of attempts, when its time has come.
    #[must_use]
    pub(crate) fn resume(&mut self) -> Move<F, C> {
        self.go_on(|attempts, router, now, usable| attempts.resume(router, now, usable))
    }

    fn go_on(
        &mut self,
        next: impl FnOnce(&mut Attempts<'k>, &mut Router, Instant, &dyn Fn(RouteId) -> bool) -> Next,
    ) -> Move<F, C> {
        let attempts = &mut self.attempts;
        let (next, now, client) = self.core.route(|router, now, usable| next(attempts, router, now, usable));
        match (next, client) {
            (Next::Try { route, patient }, Some(client)) => {
                let left = self.attempts.deadline().saturating_since(now);
                // A call does not wait for a connection while there are other links.
                let options = self.options.clone().timeout(left).fail_fast(!patient);
                Move::Try(self.core.lease(route, now, client), options)
            }
            (Next::Wait(at), _) => Move::Wait(at),
            (Next::GiveUp(why), _) => Move::End(why),
            // A route without a link: it was removed from the pool.
            (Next::Try { .. } | Next::End, _) => Move::End(GiveUp::AllTried),
        }
    }

    /// The options of the second attempt: within the remaining time.
    pub(crate) fn options_of_second(&self, options: &CallOptions) -> CallOptions {
        options.clone().timeout(self.attempts.deadline().saturating_since(clock::now()))
    }

    /// When the call is repeated, if it is.
    #[must_use]
    pub(crate) fn hedge_at(&self) -> Option<Instant> {
        self.hedge_at
    }

    /// A link for the second attempt, if one is allowed.
    #[must_use]
    pub(crate) fn hedge(&self, first: &Lease<F, C>) -> Option<Lease<F, C>> {
        self.core.pick(Some(first)).filter(|_| self.core.may_hedge())
    }

    /// The call over `lease` ended; `other` is the other link if that one answered. Returns the next step.
    pub(crate) fn ended(
        &mut self,
        lease: Lease<F, C>,
        result: &Result<Reply, CallError>,
        other: Option<Lease<F, C>>,
    ) -> Move<F, C> {
        let verdict = self.verdict(result);
        if result.is_ok() {
            self.core.note_latency(self.begun);
        }
        let (mut answered, beaten) = match other {
            Some(other) => (other, Some(lease)),
            None => (lease, None),
        };
        answered.over = true;
        let (route, since) = (answered.route, answered.since);
        let next = self.go_on(|attempts, router, now, usable| {
            if matches!(result, Ok(_) | Err(CallError::Failed(_))) {
                router.note_round_trip(now, route, now.saturating_since(since));
            }
            attempts.answered(router, now, route, verdict, usable)
        });
        // A slow link is not a failed one: report nothing.
        drop(beaten);
        next
    }

    fn verdict(&self, result: &Result<Reply, CallError>) -> Verdict {
        let answer = match result {
            Ok(reply) => Ok(reply),
            Err(CallError::Failed(failure)) => Err(failure),
            Err(_) => return verdict(result),
        };
        let Some(ReadRedirect(read)) = self.core.redirects.as_ref().filter(|_| self.attempts.key().is_some())
        else {
            return verdict(result);
        };
        match read(answer) {
            Redirect::Here => Verdict::Done,
            Redirect::NotHere(endpoint) => {
                Verdict::NotHere { hint: endpoint.and_then(|endpoint| self.core.route_to(&endpoint)) }
            }
            Redirect::Avoid(time) => Verdict::Avoid(time),
        }
    }
}

/// The verdict about the endpoint, and whether the call may be made elsewhere, for a result without redirect:
/// it may if its request was provably never sent.
fn verdict(result: &Result<Reply, CallError>) -> Verdict {
    match result {
        Ok(_) | Err(CallError::Failed(_)) => Verdict::Done,
        Err(CallError::Encode(_)) => Verdict::Over,
        Err(CallError::NeverSent(_) | CallError::Closed) => Verdict::Elsewhere,
        Err(CallError::MaybeDelivered(_) | CallError::DeadlineExceeded { .. }) => Verdict::Failed,
        Err(error) if error.outcome() == Outcome::NeverSent => Verdict::Busy,
        Err(_) => Verdict::Over,
    }
}
