//! From one endpoint to the next, from one round to the next.

use super::{Action, AttemptId, DialFailure, Endpoint, State, Supervisor, Trying};
use alloc::boxed::Box;

use crate::address::Address;
use crate::error::Disconnect;
use crate::time::Instant;

impl Supervisor {
    /// Time does not go back.
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The proxy to dial instead of the endpoint, if there is one.
    pub(super) fn entrance(&self, endpoint: &Endpoint) -> Option<&Endpoint> {
        self.proxy.as_ref()?.entrance(endpoint)
    }

    /// Nothing was tried yet in the new round.
    pub(super) fn begin_round(&mut self) {
        self.tried = 0;
        self.retryable = false;
        self.failures.clear();
    }

    /// Moves to the next endpoint, unless the current one was removed and the next is in its place already.
    pub(super) fn walk_on(&mut self) {
        if self.listed {
            self.endpoint = (self.endpoint + 1) % self.endpoints.len().max(1);
        }
    }

    /// Tries the current endpoint.
    pub(super) fn try_next(&mut self, now: Instant) {
        self.listed = true;
        let Some(endpoint) = self.endpoints.get(self.endpoint).cloned() else {
            return self.give_up(Disconnect::LocalClose);
        };
        self.attempts = self.attempts.saturating_add(1);
        let limit = self.plan.connect_timeout();
        let entrance = self.entrance(&endpoint).cloned().unwrap_or_else(|| endpoint.clone());
        let mut trying = Trying::new(endpoint, now, limit);
        match entrance {
            Endpoint::Address(address) => trying.offer(&[address]),
            Endpoint::Name { host, port } => {
                self.last_id += 1;
                let attempt = AttemptId(self.last_id);
                let answered = self.answers.get(self.endpoint).is_some_and(|answer| !answer.is_empty());
                trying.resolve(now, attempt, limit, answered);
                self.actions.push(Action::Resolve { attempt, host, port });
            }
        }
        self.state = State::Trying(Box::new(trying));
        self.dial_next(now);
    }

    /// Dials the next address if it is due; moves to the next endpoint if no address can succeed any more.
    pub(super) fn dial_next(&mut self, now: Instant) {
        let State::Trying(trying) = &mut self.state else { return };
        let attempt = AttemptId(self.last_id + 1);
        if let Some(address) = trying.dial_next(now, attempt, self.plan.attempt_delay()) {
            self.last_id += 1;
            let endpoint = trying.endpoint.clone();
            self.actions.push(Action::Dial { attempt, address, endpoint });
        } else if trying.is_exhausted() {
            // An exhausted endpoint without an address had a failed name resolution.
            let cause = self.last_error.as_deref().cloned();
            let cause = cause.unwrap_or(Disconnect::ConnectTimeout { limit: self.plan.connect_timeout() });
            self.endpoint_failed(now, cause, true);
        }
    }

    /// Records a failure of the current endpoint. `tell`: no other event reports it.
    pub(super) fn note(&mut self, address: Option<Address>, cause: Disconnect, tell: bool) {
        self.last_error = Some(Box::new(cause.clone()));
        if self.listed
            && let Some(endpoint) = self.endpoints.get(self.endpoint).cloned()
        {
            let via = self.entrance(&endpoint).cloned();
            let failure = DialFailure { endpoint, address, via, cause };
            self.failures.push(failure.clone());
            if tell {
                self.actions.push_news(Action::AttemptFailed { attempt: self.attempts, failure });
            }
        }
    }

    /// An endpoint failed (or closed the connection early): tries the next one, or waits.
    ///
    /// `report`: a caller that waits for the first connection must be told of a round that ends this way.
    pub(super) fn endpoint_failed(&mut self, now: Instant, cause: Disconnect, report: bool) {
        self.walk_on();
        if self.listed {
            self.retryable |= self.plan.policy().goes_on_after(&cause);
            self.failures.heed(self.plan.policy().advice(&cause));
            self.tried += 1;
        }
        if self.tried < self.endpoints.len() {
            return self.try_next(now);
        }
        self.rounds_failed = self.rounds_failed.saturating_add(1);
        let (retryable, advice) = (self.retryable, self.failures.advice());
        self.failures.end_round();
        self.begin_round();
        // Actions of the last round that were not fetched are replaced by those of this round.
        self.actions.forget_rounds();
        if report && let Some(failure) = self.last_round().last().cloned() {
            self.actions.push(Action::RoundFailed { failure });
        }
        match self.plan.policy().wait(self.rounds_failed, &mut self.random) {
            Some(wait) if retryable => {
                let (until, attempt) = (now + wait.max(advice), self.attempts.saturating_add(1));
                self.state = State::Waiting { until };
                self.actions.push(Action::Waiting { attempt, until, cause });
            }
            _ => self.give_up(cause),
        }
    }

    pub(super) fn give_up(&mut self, cause: Disconnect) {
        self.state = State::Stopped;
        self.actions.push(Action::GaveUp { cause });
    }

    /// Abandons name resolutions and dials; those not fetched yet are removed.
    pub(super) fn abandon(&mut self, trying: &Trying) {
        for attempt in trying.attempts() {
            if !self.actions.withdraw(attempt) {
                self.actions.push(Action::Abandon { attempt });
            }
        }
    }
}
