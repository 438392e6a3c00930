//! Decides which endpoint to connect to, and when. No IO.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::address::Address;
use crate::config::Config;
use crate::error::{ConfigError, Disconnect, TransportError, TransportKind};
use crate::frame::Framing;
use crate::proxy::Proxy;
use crate::reason::Reason;
use crate::time::Instant;

mod actions;
mod backoff;
mod endpoints;
mod failures;
mod plan;
mod rounds;
mod trying;
mod types;

pub use backoff::{ReconnectPolicy, SplitMix64};
pub use endpoints::Endpoint;
pub use types::{Action, AttemptId, DialFailure, Dialed, Epoch};

use actions::Actions;
pub(crate) use backoff::Delay;
use failures::Failures;
use plan::{OwnPlan, Plan};
use trying::Trying;

#[derive(Clone, Debug)]
enum State {
    Idle,
    /// One endpoint is being tried.
    Trying(Box<Trying>),
    /// A connection before the end of its handshake.
    Handshaking {
        epoch: Epoch,
        address: Address,
        give_up_at: Instant,
    },
    /// A ready connection.
    Up {
        epoch: Epoch,
        address: Address,
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    Stopped,
}

/// Keeps one connection after another: resolves names, dials (racing addresses, RFC 8305), waits.
///
/// Without IO: [`poll_action`](Self::poll_action) says what to do, the `handle_*` methods take the results,
/// in any order; results of abandoned actions are ignored. An action that was not fetched and has become
/// useless is withdrawn, so that actions do not accumulate.
///
/// - One deadline covers name resolution, dialing and handshake of an endpoint.
/// - All endpoints are tried before the first wait; a round begins with the endpoint after the one that
///   failed last.
/// - After a connection that was ready for [`ReconnectPolicy::healthy_after`], the next attempt is made at
///   once (with the same endpoint first, unless it sent a go-away), and waits start from the minimum. A
///   connection that ended earlier counts as a failed attempt, whatever the cause.
/// - Names are resolved at every attempt. The last good answer is used if the resolver fails, and in addition
///   if it is slow (1.8 s, at most half the connect timeout).
///
/// ```
/// use bowline_core::supervisor::{Action, Dialed, Endpoint, ReconnectPolicy, Supervisor};
/// use bowline_core::time::Instant;
/// use core::time::Duration;
///
/// let endpoint: Endpoint = "127.0.0.1:7001".parse()?;
/// let timeout = Duration::from_secs(10);
/// let mut supervisor = Supervisor::new(vec![endpoint], ReconnectPolicy::default(), timeout, 42);
/// supervisor.start(Instant::ZERO);
/// let Some(Action::Dial { attempt, .. }) = supervisor.poll_action() else { panic!() };
/// let Dialed::Use(epoch) = supervisor.handle_dialed(Instant::ZERO, attempt, Ok(())) else { panic!() };
/// supervisor.handle_ready(Instant::ZERO, epoch);
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Supervisor {
    endpoints: Box<[Endpoint]>,
    /// The last good answer for each endpoint, in case the resolver is down. Empty before the first one.
    answers: Box<[Vec<Address>]>,
    plan: Plan,
    proxy: Option<Proxy>,
    random: SplitMix64,
    state: State,
    actions: Actions,
    /// The latest `now`; time does not go back.
    now: Instant,
    /// The endpoint being tried or connected to, or else the one to try next.
    endpoint: usize,
    /// Whether that endpoint is in the list (it may have been removed while connected).
    listed: bool,
    /// The number of endpoints tried in this round.
    tried: usize,
    /// Whether any failure of this round may be temporary.
    retryable: bool,
    failures: Failures,
    last_error: Option<Box<Disconnect>>,
    rounds_failed: u32,
    attempts: u32,
    last_id: u64,
    epoch: Epoch,
}

impl Supervisor {
    /// A supervisor of at least one endpoint (with an empty list it gives up at once). `connect_timeout`
    /// covers name resolution, dialing and handshake together. `seed` is the seed of the jitter, the only
    /// randomness: the same seed and inputs give the same actions and times.
    #[must_use]
    pub fn new(
        endpoints: Vec<Endpoint>,
        policy: ReconnectPolicy,
        connect_timeout: Duration,
        seed: u64,
    ) -> Self {
        let attempt_delay = Duration::from_millis(250);
        Self::after(endpoints, Plan::Own(Box::new(OwnPlan { policy, connect_timeout, attempt_delay })), seed)
    }

    /// As [`new`](Self::new), with the policy and the times of a link's settings, which stay shared.
    #[must_use]
    pub fn with_config<F: Framing>(endpoints: Vec<Endpoint>, config: &Config<F>, seed: u64) -> Self {
        Self::after(endpoints, Plan::Shared(Arc::clone(config.settings())), seed)
    }

    fn after(endpoints: Vec<Endpoint>, plan: Plan, seed: u64) -> Self {
        Self {
            answers: Box::default(),
            endpoints: endpoints.into(),
            plan,
            proxy: None,
            random: SplitMix64::new(seed),
            state: State::Idle,
            actions: Actions::default(),
            now: Instant::ZERO,
            endpoint: 0,
            listed: true,
            tried: 0,
            retryable: false,
            failures: Failures::default(),
            last_error: None,
            rounds_failed: 0,
            attempts: 0,
            last_id: 0,
            epoch: Epoch::NONE,
        }
    }

    /// Sets the head start of one address over the next. Default 250 ms.
    pub fn set_attempt_delay(&mut self, delay: Duration) {
        let (policy, connect_timeout) = (*self.plan.policy(), self.plan.connect_timeout());
        self.plan = Plan::Own(Box::new(OwnPlan { policy, connect_timeout, attempt_delay: delay }));
    }

    /// Sets the proxies to dial through from the next attempt on: instead of an endpoint its
    /// [entrance](Proxy::entrance) is resolved and dialed; the endpoint's own name is not resolved. The
    /// driver runs the steps that make the proxies connect further, as a part of the handshake
    /// ([`Proxy::steps`]).
    pub fn set_proxy(&mut self, proxy: Option<Proxy>) {
        self.proxy = proxy;
    }

    /// The proxies that are dialed through.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The endpoints, in the order in which they are tried.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The number of rounds over all endpoints that failed since the last healthy connection.
    #[must_use]
    pub fn rounds_failed(&self) -> u32 {
        self.rounds_failed
    }

    /// The failures of the last failed round: each dialed address and each failed name resolution, in order.
    /// Empty before the first such round and after a healthy connection.
    #[must_use]
    pub fn last_round(&self) -> &[DialFailure] {
        self.failures.last_round()
    }

    /// Why the last dial, name resolution or connection failed.
    #[must_use]
    pub fn last_error(&self) -> Option<&Disconnect> {
        self.last_error.as_deref()
    }

    /// The number of the attempt, counted from 1 over all endpoints since the last healthy connection ended;
    /// 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempts
    }

    /// When the current wait between two rounds ends.
    #[must_use]
    pub fn next_attempt_at(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// Whether there will be no further attempt.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// The next action; call it until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop()
    }

    /// Begins. Only the first call has an effect: a stopped supervisor stays stopped.
    pub fn start(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.state, State::Idle) {
            self.try_next(now);
        }
    }

    /// Ends a wait early. Later waits are as long as without this call.
    pub fn reconnect_now(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.state, State::Waiting { .. }) {
            self.try_next(now);
        }
    }

    /// Ends everything: current actions are abandoned, a connection is closed.
    pub fn stop(&mut self) {
        match core::mem::replace(&mut self.state, State::Stopped) {
            State::Trying(trying) => self.abandon(&trying),
            State::Handshaking { epoch, .. } | State::Up { epoch, .. } => {
                self.actions.push(Action::Close { epoch, cause: Disconnect::LocalClose });
            }
            State::Idle | State::Waiting { .. } | State::Stopped => {}
        }
    }

    /// Replaces the endpoints. The last good answers of those that stay are kept.
    ///
    /// A ready connection is kept even if its endpoint is no longer in the list; an attempt or a handshake is
    /// not, and the first endpoint of the new list follows at once. A wait ends if there is an endpoint that
    /// was not in the list before, and continues otherwise, so that setting the same list again does not
    /// shorten it.
    ///
    /// # Errors
    /// The list is empty; nothing changes.
    pub fn set_endpoints(&mut self, now: Instant, endpoints: Vec<Endpoint>) -> Result<(), ConfigError> {
        let now = self.advance(now);
        if endpoints.is_empty() {
            return Err(ConfigError::Conflict { field: "endpoints", why: "at least one is needed" });
        }
        if *endpoints == *self.endpoints {
            return Ok(());
        }
        let index_in = |list: &[Endpoint], endpoint| list.iter().position(|other| other == endpoint);
        let current = self.endpoints.get(self.endpoint).filter(|_| self.listed);
        let current = current.and_then(|current| index_in(&endpoints, current));
        let added = endpoints.iter().position(|endpoint| !self.endpoints.contains(endpoint));
        if !self.answers.is_empty() {
            let answer = |endpoint| Some(self.answers[index_in(&self.endpoints, endpoint)?].clone());
            self.answers = endpoints.iter().map(|endpoint| answer(endpoint).unwrap_or_default()).collect();
        }
        self.endpoints = endpoints.into();
        self.endpoint = current.unwrap_or(0);
        self.begin_round();
        match &self.state {
            State::Trying(trying) if current.is_none() => {
                let trying = trying.clone();
                self.abandon(&trying);
                self.try_next(now);
            }
            State::Handshaking { epoch, .. } if current.is_none() => {
                let cause = Disconnect::LocalClose;
                self.actions.push(Action::Close { epoch: *epoch, cause });
                self.try_next(now);
            }
            State::Waiting { .. } => {
                if let Some(added) = added {
                    self.endpoint = added;
                    self.try_next(now);
                }
            }
            State::Up { .. } => self.listed = current.is_some(),
            State::Idle | State::Trying(_) | State::Handshaking { .. } | State::Stopped => {}
        }
        Ok(())
    }

    /// The name of an endpoint was resolved. At most 64 addresses are used.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<&[SocketAddr], TransportError>,
    ) {
        let now = self.advance(now);
        let State::Trying(trying) = &mut self.state else { return };
        if !trying.resolved(attempt) {
            return;
        }
        let error = match result {
            Ok([]) => Some(TransportError::new(TransportKind::Resolve, "the name has no addresses")),
            Ok(addresses) => {
                if self.answers.is_empty() {
                    self.answers = self.endpoints.iter().map(|_| Vec::new()).collect();
                }
                self.answers[self.endpoint] =
                    endpoints::interleave(addresses).into_iter().map(Into::into).collect();
                None
            }
            Err(error) => Some(error),
        };
        // This answer, or the last good one if there is none now.
        trying.offer(self.answers.get(self.endpoint).map_or(&[], Vec::as_slice));
        if let Some(error) = error {
            let error = match self.endpoints.get(self.endpoint) {
                Some(endpoint) => error.at(self.entrance(endpoint).unwrap_or(endpoint).clone()),
                None => error,
            };
            self.note(None, error.into(), true);
        }
        self.dial_next(now);
    }

    /// A dial ended. After `Ok`, the result says what to do with the socket.
    pub fn handle_dialed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<(), TransportError>,
    ) -> Dialed {
        let now = self.advance(now);
        let State::Trying(trying) = &mut self.state else { return Dialed::Discard };
        let Some(address) = trying.dialed(now, attempt) else { return Dialed::Discard };
        match result {
            Ok(()) => {
                let losers = trying.clone();
                self.abandon(&losers);
                self.epoch = self.epoch.next();
                let (epoch, give_up_at) = (self.epoch, losers.give_up_at);
                self.state = State::Handshaking { epoch, address, give_up_at };
                Dialed::Use(epoch)
            }
            Err(error) => {
                let cause = Disconnect::from(error.at(address.clone()));
                self.note(Some(address), cause, true);
                self.dial_next(now);
                Dialed::Discard
            }
        }
    }

    /// The handshake of a connection is done.
    pub fn handle_ready(&mut self, now: Instant, epoch: Epoch) {
        let since = self.advance(now);
        if let State::Handshaking { epoch: current, address, .. } = &self.state
            && *current == epoch
        {
            self.state = State::Up { epoch, address: address.clone(), since };
            // Usually there is nothing to do for a long time now.
            self.actions.trim();
            self.failures.trim();
        }
    }

    /// A connection ended, before or after it was ready. Earlier epochs are ignored.
    pub fn handle_down(&mut self, now: Instant, epoch: Epoch, cause: &Disconnect) {
        let now = self.advance(now);
        let (address, since) = match &self.state {
            State::Handshaking { epoch: current, address, .. } if *current == epoch => {
                (address.clone(), None)
            }
            State::Up { epoch: current, address, since } if *current == epoch => {
                (address.clone(), Some(*since))
            }
            _ => return,
        };
        let policy = self.plan.policy();
        let never = matches!(policy.delay, Delay::Never) && since.is_some();
        let refused = matches!(cause, Disconnect::Refused(_));
        let over = refused && since.is_some() && !policy.goes_on_after(cause);
        let is_healthy = since.is_some_and(|since| now.saturating_since(since) >= policy.healthy_after);
        if never || over || *cause == Disconnect::LocalClose {
            self.last_error = Some(Box::new(cause.clone()));
            self.give_up(cause.clone());
        } else if *cause == Disconnect::Reopened || (!refused && is_healthy) {
            self.rounds_failed = 0;
            self.attempts = 0;
            self.failures = Failures::default();
            self.last_error = Some(Box::new(cause.clone()));
            self.begin_round();
            if *cause == Disconnect::GoneAway {
                self.walk_on();
            }
            self.try_next(now);
        } else {
            // The end of a connection that was ready is reported by the link itself.
            let cause = cause.clone().at(address.clone());
            self.note(Some(address), cause.clone(), since.is_none());
            self.endpoint_failed(now, cause, since.is_none());
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        match &self.state {
            State::Trying(trying) => Some((trying.poll_timeout(), Reason::Handshake)),
            State::Handshaking { give_up_at, .. } => Some((*give_up_at, Reason::Handshake)),
            State::Waiting { until } => Some((*until, Reason::Reconnect)),
            State::Idle | State::Up { .. } | State::Stopped => None,
        }
    }

    /// Time has passed. May be called early or twice.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        let cause = Disconnect::ConnectTimeout { limit: self.plan.connect_timeout() };
        match &mut self.state {
            State::Trying(trying) if now >= trying.give_up_at => {
                let trying = trying.clone();
                self.abandon(&trying);
                if trying.resolving.is_some() {
                    self.note(None, cause.clone(), true);
                }
                for (_, address) in &trying.dialing {
                    self.note(Some(address.clone()), cause.clone(), true);
                }
                self.endpoint_failed(now, cause, true);
            }
            State::Trying(trying) => {
                if trying.falls_back(now) {
                    trying.offer(self.answers.get(self.endpoint).map_or(&[], Vec::as_slice));
                }
                self.dial_next(now);
            }
            State::Handshaking { epoch, address, give_up_at } if now >= *give_up_at => {
                let (epoch, address) = (*epoch, address.clone());
                self.actions.push(Action::Close { epoch, cause: cause.clone() });
                self.note(Some(address), cause.clone(), true);
                self.endpoint_failed(now, cause, true);
            }
            State::Waiting { until } if now >= *until => self.try_next(now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
