//! The links of a pool, and which of them is chosen, whatever drives them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::config::Config;
use bowline_core::error::{CallError, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{CallOptions, Reply};
use bowline_core::routing::{Blacklist, Hedge, Hedging, Policy, RouteId, Router};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::error::ConnectError;
use bowline_driver::sync::{Arc, Mutex};

use crate::call::Call;
use crate::peer_core::PeerCore;
use crate::recipe::{ClientParts, Recipe, random_seed};

/// How a pool is made, whatever drives it.
#[derive(Debug)]
pub(crate) struct PoolParts<F: Framing> {
    /// What its links are made of; the address is each endpoint's own.
    pub links: ClientParts<F>,
    /// Where they lead.
    pub endpoints: Vec<String>,
    /// Links to each endpoint.
    pub connections: usize,
    /// How one is chosen.
    pub policy: Policy,
    /// When one is left alone.
    pub blacklist: Blacklist,
    /// When a second attempt is made.
    pub hedging: Option<Hedging>,
}

impl<F: Framing> PoolParts<F> {
    /// One link to each endpoint, in turn.
    #[must_use]
    pub(crate) fn new(config: Config<F>) -> Self {
        Self {
            links: ClientParts::new("", config),
            endpoints: Vec::new(),
            connections: 1,
            policy: Policy::default(),
            blacklist: Blacklist::default(),
            hedging: None,
        }
    }
}

/// The links of a pool, whatever drives them.
#[derive(Debug)]
pub(crate) struct PoolCore<F: Framing, C> {
    recipe: Recipe<F>,
    connections: usize,
    state: Mutex<PoolState<C>>,
    hedge: Option<Mutex<Hedge>>,
}

#[derive(Debug)]
struct PoolState<C> {
    router: Router,
    routes: Vec<(RouteId, String, C)>,
}

/// A link that was chosen; tell it how it went, or drop it if nothing came of it.
#[derive(Debug)]
pub(crate) struct Lease<F: Framing, C> {
    core: Arc<PoolCore<F, C>>,
    route: RouteId,
    over: bool,
    /// The link.
    pub client: C,
    /// It was connected: a call need not wait for it, if that changes.
    pub connected: bool,
}

impl<F: Framing, C> Lease<F, C> {
    /// It is over; `ok`: as far as the link is concerned, it went well.
    pub(crate) fn finish(mut self, ok: bool) {
        self.over = true;
        self.core.state.lock().router.finished(clock::now(), self.route, ok);
    }
}

impl<F: Framing, C> Drop for Lease<F, C> {
    fn drop(&mut self) {
        if !self.over {
            self.core.state.lock().router.abandoned(self.route);
        }
    }
}

/// An answer, and the second link if it came over that.
pub(crate) type Answered<F, C> = (Result<Reply, CallError>, Option<Lease<F, C>>);

/// Whether an endpoint did its part, whatever the answer was.
fn went_well(result: &Result<Reply, CallError>) -> bool {
    !matches!(
        result,
        Err(CallError::NeverSent(_)
            | CallError::MaybeDelivered(_)
            | CallError::DeadlineExceeded { .. }
            | CallError::Closed)
    )
}

/// Whether the call may be made elsewhere: it provably never left, and there is time.
fn may_go_elsewhere(result: &Result<Reply, CallError>) -> bool {
    match result {
        Err(CallError::DeadlineExceeded { .. } | CallError::Encode(_)) => false,
        Err(error) => error.outcome() == Outcome::NeverSent,
        Ok(_) => false,
    }
}

impl<F: Framing, C: Clone + AsRef<PeerCore<F>>> PoolCore<F, C> {
    /// Opens the links of every endpoint.
    ///
    /// # Errors
    /// `open`'s.
    pub(crate) fn new(
        parts: PoolParts<F>,
        open: impl Fn(&Recipe<F>) -> Result<C, ConnectError>,
    ) -> Result<Arc<Self>, ConnectError> {
        let PoolParts { links, endpoints, connections, policy, blacklist, hedging } = parts;
        let router = Router::new(policy, blacklist, random_seed());
        let core = Arc::new(Self {
            recipe: links.into_recipe(),
            connections: connections.max(1),
            state: Mutex::new(PoolState { router, routes: Vec::new() }),
            hedge: hedging.map(|settings| Mutex::new(Hedge::new(settings))),
        });
        for endpoint in endpoints {
            core.add(&endpoint, &open)?;
        }
        Ok(core)
    }

    /// One more endpoint. False: it is there already.
    ///
    /// # Errors
    /// `open`'s.
    pub(crate) fn add(
        &self,
        endpoint: &str,
        open: impl Fn(&Recipe<F>) -> Result<C, ConnectError>,
    ) -> Result<bool, ConnectError> {
        let recipe = self.recipe.to_address(endpoint);
        let mut state = self.state.lock();
        if state.routes.iter().any(|(_, other, _)| other == endpoint) {
            return Ok(false);
        }
        for _ in 0..self.connections {
            let client = open(&recipe)?;
            let route = state.router.add();
            state.routes.push((route, endpoint.to_owned(), client));
        }
        Ok(true)
    }

    /// Takes an endpoint out: its links, to be closed.
    #[must_use]
    pub(crate) fn remove(&self, endpoint: &str) -> Vec<C> {
        let mut state = self.state.lock();
        let PoolState { router, routes } = &mut *state;
        let mut removed = Vec::new();
        routes.retain(|(route, other, client)| {
            let goes = other == endpoint;
            if goes {
                router.remove(*route);
                removed.push(client.clone());
            }
            !goes
        });
        removed
    }

    /// What the links are set to.
    #[must_use]
    pub(crate) fn config(&self) -> &Config<F> {
        self.recipe.config()
    }

    /// All links, taken out.
    #[must_use]
    pub(crate) fn take_all(&self) -> Vec<C> {
        let routes = std::mem::take(&mut self.state.lock().routes);
        routes.into_iter().map(|(_, _, client)| client).collect()
    }

    /// How many links there are.
    fn links(&self) -> usize {
        self.state.lock().routes.len()
    }

    /// All links.
    #[must_use]
    pub(crate) fn clients(&self) -> Vec<C> {
        self.state.lock().routes.iter().map(|(_, _, client)| client.clone()).collect()
    }

    /// The endpoints, in the order they were added.
    #[must_use]
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let mut endpoints: Vec<String> =
            self.state.lock().routes.iter().map(|(_, endpoint, _)| endpoint.clone()).collect();
        endpoints.dedup();
        endpoints
    }

    /// The endpoint that leads a key.
    #[must_use]
    pub(crate) fn leader(&self, key: &str) -> Option<String> {
        let state = self.state.lock();
        let leader = state.router.leader(key)?;
        state.routes.iter().find(|(route, ..)| *route == leader).map(|(_, endpoint, _)| endpoint.clone())
    }

    /// Somebody knows better who leads a key. False: that endpoint is not in the pool.
    pub(crate) fn set_leader(&self, key: &str, endpoint: &str) -> bool {
        let mut state = self.state.lock();
        let PoolState { router, routes } = &mut *state;
        let found = routes.iter().find(|(_, other, _)| other == endpoint);
        if let Some((route, ..)) = found {
            router.set_leader(key, *route);
        }
        found.is_some()
    }

    /// Chooses a link: for a key, or by the policy; `except` it, for a second attempt.
    #[must_use]
    pub(crate) fn pick(
        self: &Arc<Self>,
        key: Option<&str>,
        except: Option<&Lease<F, C>>,
    ) -> Option<Lease<F, C>> {
        let now = clock::now();
        let mut state = self.state.lock();
        let PoolState { router, routes } = &mut *state;
        let usable = |id: RouteId| {
            let found = routes.iter().find(|(route, ..)| *route == id);
            found.is_some_and(|(.., client)| client.as_ref().is_open())
        };
        let route = match (key, except) {
            (_, Some(first)) => router.pick_other(now, first.route, usable),
            (Some(key), None) => router.pick_for(now, key, usable),
            (None, None) => router.pick(now, usable),
        }?;
        let client = routes.iter().find(|(other, ..)| *other == route).map(|(.., client)| client.clone())?;
        let connected = client.as_ref().is_open();
        Some(Lease { core: Arc::clone(self), route, over: false, client, connected })
    }

    /// When a second attempt at a call is made, if it is made.
    #[must_use]
    pub(crate) fn hedge_at(&self, options: &CallOptions) -> Option<Instant> {
        let hedge = self.hedge.as_ref().filter(|_| options.is_idempotent())?;
        Some(clock::now() + hedge.lock().delay())
    }

    /// Whether there may be a second attempt now.
    #[must_use]
    pub(crate) fn may_hedge(&self) -> bool {
        self.hedge.as_ref().is_some_and(|hedge| hedge.lock().take())
    }

    /// A call that was begun then was answered.
    pub(crate) fn note_latency(&self, since: Instant) {
        if let Some(hedge) = &self.hedge {
            hedge.lock().note(clock::now().saturating_since(since));
        }
    }
}

/// One call over a pool: how it is made, and over which link it may be made next.
#[derive(Debug)]
pub(crate) struct Attempts<'k, F: Framing, C> {
    core: Arc<PoolCore<F, C>>,
    key: Option<&'k str>,
    options: CallOptions,
    begun: Instant,
    deadline: Instant,
    /// As many as there are links at the most.
    left: usize,
    hedge_at: Option<Instant>,
}

impl<'k, F: Framing, C: Clone + AsRef<PeerCore<F>>> Attempts<'k, F, C> {
    /// The first link. `None`: the pool has none.
    #[must_use]
    pub(crate) fn begin(
        core: &Arc<PoolCore<F, C>>,
        key: Option<&'k str>,
        options: CallOptions,
    ) -> Option<(Self, Lease<F, C>)> {
        let begun = clock::now();
        let lease = core.pick(key, None)?;
        let timeout = options.get_timeout().unwrap_or_else(|| core.config().call_timeout());
        // A key has one endpoint: no second attempt goes elsewhere.
        let hedge_at = if key.is_some() { None } else { core.hedge_at(&options) };
        let (deadline, left) = (begun + timeout, core.links());
        Some((Self { core: Arc::clone(core), key, options, begun, deadline, left, hedge_at }, lease))
    }

    /// How the call is made over that link: it does not wait for a connection while there are other
    /// links.
    pub(crate) fn options(&mut self, lease: &Lease<F, C>) -> CallOptions {
        self.left = self.left.saturating_sub(1);
        let left = self.deadline.saturating_since(clock::now());
        self.options.clone().timeout(left).fail_fast(lease.connected && self.left > 0)
    }

    /// When the call is made a second time, if it is.
    #[must_use]
    pub(crate) fn hedge_at(&self) -> Option<Instant> {
        self.hedge_at
    }

    /// A link for the second attempt, if there may be one.
    #[must_use]
    pub(crate) fn hedge(&self, first: &Lease<F, C>) -> Option<Lease<F, C>> {
        self.core.pick(None, Some(first)).filter(|_| self.core.may_hedge())
    }

    /// The call over `lease` ended; `other`: that link answered. The next link, if the call
    /// provably never left and may be made again.
    pub(crate) fn ended(
        &self,
        lease: Lease<F, C>,
        result: &Result<Reply, CallError>,
        other: Option<Lease<F, C>>,
    ) -> Option<Lease<F, C>> {
        if result.is_ok() {
            self.core.note_latency(self.begun);
        }
        let next = if self.left > 0 && may_go_elsewhere(result) {
            self.core.pick(None, Some(&lease)).or_else(|| self.core.pick(self.key, None))
        } else {
            None
        };
        let (answered, beaten) = match other {
            Some(other) => (other, Some(lease)),
            None => (lease, None),
        };
        answered.finish(went_well(result));
        // Slow is not broken: it says nothing.
        drop(beaten);
        next
    }
}

/// Two attempts at one call: the first answer wins, a failure waits for the other.
#[derive(Debug)]
pub(crate) struct Race<'a, F: Framing> {
    calls: [Call<'a, F>; 2],
    failed: [Option<CallError>; 2],
}

impl<'a, F: Framing> Race<'a, F> {
    /// Between these.
    #[must_use]
    pub(crate) fn new(first: Call<'a, F>, second: Call<'a, F>) -> Self {
        Self { calls: [first, second], failed: [None, None] }
    }
}

impl<F: Framing> Future for Race<'_, F> {
    /// The answer, and whether it is the second's; the first's error if both failed.
    type Output = (Result<Reply, CallError>, bool);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { calls, failed } = self.get_mut();
        for (index, call) in calls.iter_mut().enumerate() {
            if failed[index].is_some() {
                continue;
            }
            match Pin::new(call).poll(cx) {
                Poll::Ready(Ok(reply)) => return Poll::Ready((Ok(reply), index == 1)),
                Poll::Ready(Err(error)) => failed[index] = Some(error),
                Poll::Pending => {}
            }
        }
        match failed {
            [first @ Some(_), Some(_)] => match first.take() {
                Some(error) => Poll::Ready((Err(error), false)),
                None => Poll::Pending,
            },
            _ => Poll::Pending,
        }
    }
}
