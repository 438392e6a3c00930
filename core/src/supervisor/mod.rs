//! Which endpoint to connect to, and when: pure.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::error::{Disconnect, TransportError};
use crate::machine::Reason;
use crate::time::Instant;

mod backoff;
mod endpoints;

pub use backoff::ReconnectPolicy;
pub use endpoints::Endpoint;

use backoff::SplitMix64;

/// Numbers a link's connections, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Before the first connection.
    pub const NONE: Self = Self(0);
    /// The first connection.
    pub const FIRST: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Numbers name look-ups and dials, so that late results are known as such.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(u64);

/// What the driver has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Look a name up and tell [`Supervisor::handle_resolved`].
    Resolve {
        /// Whose result it is.
        attempt: AttemptId,
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Connect and tell [`Supervisor::handle_dialed`].
    Dial {
        /// Whose result it is.
        attempt: AttemptId,
        /// Where to.
        address: SocketAddr,
    },
    /// Forget that look-up or dial; its result does not matter any more.
    Abandon {
        /// Which.
        attempt: AttemptId,
    },
    /// Close that connection: its handshake took too long, or the link is stopped.
    Close {
        /// Which.
        epoch: Epoch,
        /// Why.
        cause: Disconnect,
    },
    /// All endpoints were tried in vain. Another round follows unless `GaveUp` does.
    RoundFailed {
        /// Why the last of them failed.
        cause: Disconnect,
    },
    /// There will be no further attempt.
    GaveUp {
        /// Why the last one failed.
        cause: Disconnect,
    },
}

/// What to do with a socket that was connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialed {
    /// It is the link's connection now, with that epoch.
    Use(Epoch),
    /// Another was faster, or nobody waits for it any more: close it.
    Discard,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    /// One endpoint is being tried.
    Trying(Trying),
    /// A connection whose handshake is not done.
    Handshaking {
        epoch: Epoch,
        give_up_at: Instant,
    },
    /// A connection that works.
    Up {
        epoch: Epoch,
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
    Stopped,
}

#[derive(Clone, Debug)]
struct Trying {
    give_up_at: Instant,
    resolving: Option<AttemptId>,
    dialing: Vec<AttemptId>,
    /// Addresses not tried yet.
    addresses: VecDeque<SocketAddr>,
    /// When the next address gets its chance although the last one still may succeed.
    next_at: Instant,
    last_error: Option<Disconnect>,
}

/// Keeps one connection after another: resolves, dials (racing addresses, RFC 8305), waits.
///
/// Pure: [`poll_action`](Self::poll_action) says what to do, the `handle_*` methods take what came
/// of it, in any order; results of what was abandoned are ignored. One deadline covers look-up,
/// dial and handshake of an endpoint. All endpoints are tried before the first wait.
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
    endpoints: Vec<Endpoint>,
    /// The last good answer for each endpoint, for when the resolver is down.
    answers: Vec<Vec<SocketAddr>>,
    policy: ReconnectPolicy,
    connect_timeout: Duration,
    attempt_delay: Duration,
    random: SplitMix64,
    state: State,
    actions: VecDeque<Action>,
    /// The endpoint to try next, and how many were tried since the last wait.
    next_endpoint: usize,
    tried: usize,
    /// Whether any failure of this round may go away by itself.
    retryable: bool,
    rounds_failed: u32,
    next_attempt: u64,
    epoch: Epoch,
}

impl Supervisor {
    /// Of at least one endpoint (an empty list gives up at once). `seed` makes the jitter.
    #[must_use]
    pub fn new(
        endpoints: Vec<Endpoint>,
        policy: ReconnectPolicy,
        connect_timeout: Duration,
        seed: u64,
    ) -> Self {
        Self {
            answers: vec![Vec::new(); endpoints.len()],
            endpoints,
            policy,
            connect_timeout,
            attempt_delay: Duration::from_millis(250),
            random: SplitMix64::new(seed),
            state: State::Idle,
            actions: VecDeque::new(),
            next_endpoint: 0,
            tried: 0,
            retryable: false,
            rounds_failed: 0,
            next_attempt: 0,
            epoch: Epoch::NONE,
        }
    }

    /// Head start of one address over the next. Default 250 ms.
    pub fn set_attempt_delay(&mut self, delay: Duration) {
        self.attempt_delay = delay;
    }

    /// Rounds over all endpoints that failed since the last healthy connection.
    #[must_use]
    pub fn rounds_failed(&self) -> u32 {
        self.rounds_failed
    }

    /// Whether there will be no further attempt.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// What to do next; ask until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Begins.
    pub fn start(&mut self, now: Instant) {
        if matches!(self.state, State::Idle) {
            self.try_next(now);
        }
    }

    /// Ends a wait early.
    pub fn reconnect_now(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            self.try_next(now);
        }
    }

    /// Ends everything.
    pub fn stop(&mut self) {
        match core::mem::replace(&mut self.state, State::Stopped) {
            State::Trying(trying) => self.abandon(&trying),
            State::Handshaking { epoch, .. } | State::Up { epoch, .. } => {
                self.actions.push_back(Action::Close { epoch, cause: Disconnect::LocalClose });
            }
            State::Idle | State::Waiting { .. } | State::Stopped => {}
        }
    }

    /// Tries the next endpoint.
    fn try_next(&mut self, now: Instant) {
        let Some(endpoint) = self.endpoints.get(self.next_endpoint).cloned() else {
            self.state = State::Stopped;
            let cause = Disconnect::LocalClose;
            self.actions.push_back(Action::GaveUp { cause });
            return;
        };
        let mut trying = Trying {
            give_up_at: now + self.connect_timeout,
            resolving: None,
            dialing: Vec::new(),
            addresses: VecDeque::new(),
            next_at: now,
            last_error: None,
        };
        match endpoint {
            Endpoint::Address(address) => trying.addresses.push_back(address),
            Endpoint::Name { host, port } => {
                let attempt = self.attempt();
                trying.resolving = Some(attempt);
                self.actions.push_back(Action::Resolve { attempt, host, port });
            }
        }
        self.state = State::Trying(trying);
        self.dial_next(now);
    }

    fn attempt(&mut self) -> AttemptId {
        self.next_attempt += 1;
        AttemptId(self.next_attempt)
    }

    /// Dials the next address if it is its turn; moves on if none can succeed any more.
    fn dial_next(&mut self, now: Instant) {
        let attempt = AttemptId(self.next_attempt + 1);
        let State::Trying(trying) = &mut self.state else { return };
        if (trying.dialing.is_empty() || now >= trying.next_at)
            && let Some(address) = trying.addresses.pop_front()
        {
            self.next_attempt += 1;
            trying.dialing.push(attempt);
            trying.next_at = now + self.attempt_delay;
            self.actions.push_back(Action::Dial { attempt, address });
        }
        if trying.resolving.is_none() && trying.dialing.is_empty() && trying.addresses.is_empty() {
            let cause = trying.last_error.take();
            let cause = cause.unwrap_or(Disconnect::ConnectTimeout { limit: self.connect_timeout });
            self.endpoint_failed(now, cause, true);
        }
    }

    /// The names of an endpoint were looked up.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<&[SocketAddr], TransportError>,
    ) {
        let State::Trying(trying) = &mut self.state else { return };
        if trying.resolving != Some(attempt) {
            return;
        }
        trying.resolving = None;
        let answer = &mut self.answers[self.next_endpoint];
        match result {
            Ok(addresses) if !addresses.is_empty() => *answer = endpoints::interleave(addresses),
            Ok(_) => {}
            Err(error) => trying.last_error = Some(error.into()),
        }
        // The last good answer, if the resolver has none now.
        trying.addresses.extend(answer.iter().copied());
        if trying.addresses.is_empty() && trying.last_error.is_none() {
            trying.last_error = Some(Disconnect::Transport(TransportError {
                kind: crate::error::TransportKind::Resolve,
                message: "the name has no addresses".into(),
            }));
        }
        self.dial_next(now);
    }

    /// A dial ended. With `Ok` the answer says what to do with the socket.
    pub fn handle_dialed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<(), TransportError>,
    ) -> Dialed {
        let State::Trying(trying) = &mut self.state else { return Dialed::Discard };
        let Some(index) = trying.dialing.iter().position(|&dialing| dialing == attempt) else {
            return Dialed::Discard;
        };
        trying.dialing.remove(index);
        match result {
            Ok(()) => {
                let give_up_at = trying.give_up_at;
                let losers = trying.clone();
                self.abandon(&losers);
                self.epoch = self.epoch.next();
                self.state = State::Handshaking { epoch: self.epoch, give_up_at };
                Dialed::Use(self.epoch)
            }
            Err(error) => {
                trying.last_error = Some(error.into());
                // The next address need not wait for its turn.
                trying.next_at = now;
                self.dial_next(now);
                Dialed::Discard
            }
        }
    }

    fn abandon(&mut self, trying: &Trying) {
        for &attempt in trying.resolving.iter().chain(&trying.dialing) {
            self.actions.push_back(Action::Abandon { attempt });
        }
    }

    /// The handshake of a connection is done.
    pub fn handle_ready(&mut self, now: Instant, epoch: Epoch) {
        if matches!(self.state, State::Handshaking { epoch: current, .. } if current == epoch) {
            self.state = State::Up { epoch, since: now };
        }
    }

    /// A connection ended.
    pub fn handle_down(&mut self, now: Instant, epoch: Epoch, cause: &Disconnect) {
        match self.state {
            State::Handshaking { epoch: current, .. } if current == epoch => {
                self.endpoint_failed(now, cause.clone(), true);
            }
            State::Up { epoch: current, since } if current == epoch => {
                let healthy = now.saturating_since(since) >= self.policy.healthy_after;
                if healthy {
                    self.rounds_failed = 0;
                }
                if matches!(self.policy.delay, backoff::Delay::Never) || *cause == Disconnect::LocalClose {
                    self.state = State::Stopped;
                    self.actions.push_back(Action::GaveUp { cause: cause.clone() });
                } else if healthy || *cause == Disconnect::GoneAway {
                    // At once, all endpoints, this one first.
                    self.tried = 0;
                    self.retryable = false;
                    self.try_next(now);
                } else {
                    self.endpoint_failed(now, cause.clone(), false);
                }
            }
            _ => {}
        }
    }

    /// An endpoint was tried in vain (or kicked us out): the next, or a wait.
    fn endpoint_failed(&mut self, now: Instant, cause: Disconnect, report: bool) {
        self.retryable |= cause.is_retryable();
        self.tried += 1;
        self.next_endpoint = (self.next_endpoint + 1) % self.endpoints.len().max(1);
        if self.tried < self.endpoints.len() {
            self.try_next(now);
            return;
        }
        self.tried = 0;
        self.rounds_failed = self.rounds_failed.saturating_add(1);
        let retryable = core::mem::take(&mut self.retryable);
        if report {
            self.actions.push_back(Action::RoundFailed { cause: cause.clone() });
        }
        match self.policy.wait(self.rounds_failed, &mut self.random) {
            Some(wait) if retryable => self.state = State::Waiting { until: now + wait },
            _ => {
                self.state = State::Stopped;
                self.actions.push_back(Action::GaveUp { cause });
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        match &self.state {
            State::Trying(trying) => {
                let next = (!trying.addresses.is_empty()).then_some(trying.next_at);
                let at = next.map_or(trying.give_up_at, |next| next.min(trying.give_up_at));
                Some((at, Reason::Handshake))
            }
            State::Handshaking { give_up_at, .. } => Some((*give_up_at, Reason::Handshake)),
            State::Waiting { until } => Some((*until, Reason::Reconnect)),
            State::Idle | State::Up { .. } | State::Stopped => None,
        }
    }

    /// Time has passed. May be called early or twice.
    pub fn handle_timeout(&mut self, now: Instant) {
        let limit = self.connect_timeout;
        match &self.state {
            State::Trying(trying) if now >= trying.give_up_at => {
                let trying = trying.clone();
                self.abandon(&trying);
                let cause = trying.last_error.unwrap_or(Disconnect::ConnectTimeout { limit });
                self.endpoint_failed(now, cause, true);
            }
            State::Trying(_) => self.dial_next(now),
            State::Handshaking { epoch, give_up_at } if now >= *give_up_at => {
                let cause = Disconnect::ConnectTimeout { limit };
                self.actions.push_back(Action::Close { epoch: *epoch, cause: cause.clone() });
                self.endpoint_failed(now, cause, true);
            }
            State::Waiting { until } if now >= *until => self.try_next(now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
