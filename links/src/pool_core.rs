//! The links of a pool, and the choice between them, for any runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::{CallError, Failure, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{CallOptions, Reply};
use bowline_core::routing::{AttemptRules, Blacklist, Hedge, Hedging, Next, Policy, RouteId, Router};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::error::ConnectError;
use bowline_driver::sync::{Arc, Mutex};

use crate::call::Call;
use crate::peer_core::PeerCore;
use crate::recipe::{ClientParts, Recipe, random_seed};

mod call;

pub(crate) use call::{Move, PoolCall};

/// Where the calls of a key have to go, according to an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Redirect {
    /// The endpoint that answered leads the key.
    Here,
    /// Not to this endpoint, but to the named one, if it is known and in the pool. The request was not
    /// handled.
    NotHere(Option<String>),
    /// Not to this endpoint for this time: it is shutting down or overloaded. The request was not handled.
    Avoid(Duration),
}

/// Reads a [`Redirect`] from an answer.
#[derive(Clone)]
pub(crate) struct ReadRedirect(Arc<ReadAnswer>);

type ReadAnswer = dyn Fn(Result<&Reply, &Failure>) -> Redirect + Send + Sync;

impl ReadRedirect {
    /// Wraps the program's function.
    pub(crate) fn new(read: impl Fn(Result<&Reply, &Failure>) -> Redirect + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl std::fmt::Debug for ReadRedirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadRedirect")
    }
}

/// The parts of which a pool is built, for any runtime.
#[derive(Debug)]
pub(crate) struct PoolParts<F: Framing> {
    /// The parts of its links, except the address, which comes from each endpoint.
    pub links: ClientParts<F>,
    /// The endpoints.
    pub endpoints: Vec<String>,
    /// The number of links to each endpoint.
    pub connections: usize,
    /// How a link is chosen.
    pub policy: Policy,
    /// When an endpoint is avoided.
    pub blacklist: Blacklist,
    /// When a second attempt is made.
    pub hedging: Option<Hedging>,
    /// How often a call for a key is tried, if it was set.
    pub rules: Option<AttemptRules>,
    /// Reads from answers where a key belongs.
    pub redirects: Option<ReadRedirect>,
}

impl<F: Framing> PoolParts<F> {
    /// One link to each endpoint, used in turn.
    #[must_use]
    pub(crate) fn new(config: Config<F>) -> Self {
        Self {
            links: ClientParts::new("", config),
            endpoints: Vec::new(),
            connections: 1,
            policy: Policy::default(),
            blacklist: Blacklist::default(),
            hedging: None,
            rules: None,
            redirects: None,
        }
    }
}

/// The links of a pool, for any runtime.
#[derive(Debug)]
pub(crate) struct PoolCore<F: Framing, C> {
    recipe: Recipe<F>,
    connections: usize,
    state: Mutex<PoolState<C>>,
    hedge: Option<Mutex<Hedge>>,
    rules: AttemptRules,
    redirects: Option<ReadRedirect>,
}

#[derive(Debug)]
struct PoolState<C> {
    router: Router,
    routes: Vec<(RouteId, String, C)>,
}

/// A chosen link. Report the result of its use, or drop it if it was not used.
#[derive(Debug)]
pub(crate) struct Lease<F: Framing, C> {
    core: Arc<PoolCore<F, C>>,
    route: RouteId,
    since: Instant,
    over: bool,
    /// The link.
    pub client: C,
}

impl<F: Framing, C> Lease<F, C> {
    /// The use is over; `ok`: it succeeded as far as the link is concerned.
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

/// An answer, and the second link if the answer came over it.
pub(crate) type Answered<F, C> = (Result<Reply, CallError>, Option<Lease<F, C>>);

impl<F: Framing, C: Clone + AsRef<PeerCore<F>>> PoolCore<F, C> {
    /// Opens the links of every endpoint.
    ///
    /// # Errors
    /// The error of `open`.
    pub(crate) fn new(
        parts: PoolParts<F>,
        open: impl Fn(&Recipe<F>) -> Result<C, ConnectError>,
    ) -> Result<Arc<Self>, ConnectError> {
        let PoolParts { links, endpoints, connections, policy, blacklist, hedging, rules, redirects } = parts;
        // With redirects, a call waits until an endpoint accepts it.
        let default =
            if redirects.is_some() { AttemptRules::until_deadline() } else { AttemptRules::one_round() };
        let router = Router::new(policy, blacklist, random_seed());
        let core = Arc::new(Self {
            recipe: links.into_recipe(),
            connections: connections.max(1),
            state: Mutex::new(PoolState { router, routes: Vec::new() }),
            hedge: hedging.map(|settings| Mutex::new(Hedge::new(settings))),
            rules: rules.unwrap_or(default),
            redirects,
        });
        for endpoint in endpoints {
            core.add(&endpoint, &open)?;
        }
        Ok(core)
    }

    /// Adds an endpoint. `false`: it is in the pool already.
    ///
    /// # Errors
    /// The error of `open`.
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
        // All or none: if one fails, the links that were opened before are dropped, which closes them.
        let clients = (0..self.connections).map(|_| open(&recipe)).collect::<Result<Vec<C>, _>>()?;
        for client in clients {
            let route = state.router.add();
            state.routes.push((route, endpoint.to_owned(), client));
        }
        Ok(true)
    }

    /// Removes an endpoint; returns its links, to be closed.
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

    /// The settings of the links.
    #[must_use]
    pub(crate) fn config(&self) -> &Config<F> {
        self.recipe.config()
    }

    /// Removes and returns all links.
    #[must_use]
    pub(crate) fn take_all(&self) -> Vec<C> {
        let routes = std::mem::take(&mut self.state.lock().routes);
        routes.into_iter().map(|(_, _, client)| client).collect()
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

    /// Sets the endpoint that leads a key. `false`: that endpoint is not in the pool.
    pub(crate) fn set_leader(&self, key: &str, endpoint: &str) -> bool {
        let mut state = self.state.lock();
        let PoolState { router, routes } = &mut *state;
        let found = routes.iter().find(|(_, other, _)| other == endpoint);
        if let Some((route, ..)) = found {
            router.set_leader(key, *route);
        }
        found.is_some()
    }

    /// Chooses a link by the policy; not the one of `except`, for a second attempt.
    #[must_use]
    pub(crate) fn pick(self: &Arc<Self>, except: Option<&Lease<F, C>>) -> Option<Lease<F, C>> {
        let picked = self.route(|router, now, usable| match except {
            Some(first) => router.pick_other(now, first.route, usable),
            None => router.pick(now, usable),
        });
        let (route, now, client) = picked;
        Some(self.lease(route?, now, client?))
    }

    fn lease(self: &Arc<Self>, route: RouteId, since: Instant, client: C) -> Lease<F, C> {
        Lease { core: Arc::clone(self), route, since, over: false, client }
    }

    /// Lets the router choose; returns the route, the time, and the link of the route.
    fn route<T: Routed>(
        &self,
        choose: impl FnOnce(&mut Router, Instant, &dyn Fn(RouteId) -> bool) -> T,
    ) -> (T, Instant, Option<C>) {
        let now = clock::now();
        let mut state = self.state.lock();
        let PoolState { router, routes } = &mut *state;
        let usable = |id: RouteId| {
            let found = routes.iter().find(|(route, ..)| *route == id);
            found.is_some_and(|(.., client)| client.as_ref().is_open())
        };
        let chosen = choose(router, now, &usable);
        let client = chosen.route().and_then(|id| routes.iter().find(|(route, ..)| *route == id));
        let client = client.map(|(.., client)| client.clone());
        (chosen, now, client)
    }

    /// The first of the links to an endpoint, if it is in the pool.
    fn route_to(&self, endpoint: &str) -> Option<RouteId> {
        let state = self.state.lock();
        state.routes.iter().find(|(_, other, _)| other == endpoint).map(|(route, ..)| *route)
    }

    /// When a second attempt at the call is made, if hedging applies to it.
    #[must_use]
    pub(crate) fn hedge_at(&self, options: &CallOptions) -> Option<Instant> {
        let hedge = self.hedge.as_ref().filter(|_| options.is_idempotent())?;
        Some(clock::now() + hedge.lock().delay())
    }

    /// Whether the budget allows a second attempt now.
    #[must_use]
    pub(crate) fn may_hedge(&self) -> bool {
        self.hedge.as_ref().is_some_and(|hedge| hedge.lock().take())
    }

    /// A call that was begun at `since` was answered.
    pub(crate) fn note_latency(&self, since: Instant) {
        if let Some(hedge) = &self.hedge {
            hedge.lock().note(clock::now().saturating_since(since));
        }
    }
}

/// A choice made by the router.
trait Routed {
    /// The route that was chosen.
    fn route(&self) -> Option<RouteId>;
}

impl Routed for Option<RouteId> {
    fn route(&self) -> Option<RouteId> {
        *self
    }
}

impl Routed for Next {
    fn route(&self) -> Option<RouteId> {
        match self {
            Self::Try { route, .. } => Some(*route),
            _ => None,
        }
    }
}

/// Two attempts at one call: the first reply wins; after a failure the other attempt is awaited.
#[derive(Debug)]
pub(crate) struct Race<'a, F: Framing> {
    calls: [Call<'a, F>; 2],
    failed: [Option<CallError>; 2],
}

impl<'a, F: Framing> Race<'a, F> {
    /// A race between two calls.
    #[must_use]
    pub(crate) fn new(first: Call<'a, F>, second: Call<'a, F>) -> Self {
        Self { calls: [first, second], failed: [None, None] }
    }
}

impl<F: Framing> Future for Race<'_, F> {
    /// The answer, and whether it came from the second call. If both failed: the error of the first one,
    /// unless only the second one may have run; then the error of the second one.
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
        let may_have_run =
            |error: &CallError| !matches!(error.outcome(), Outcome::NeverSent | Outcome::Expired);
        match failed {
            [Some(first), Some(second)] => {
                let error = if may_have_run(second) && !may_have_run(first) { second } else { first };
                Poll::Ready((Err(error.clone()), false))
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bowline_core::error::Disconnect;
    use bowline_core::frame::tcpstream::Tcpstream;
    use bowline_core::link::{Link, Role};
    use bowline_core::machine::Machine;
    use bowline_core::recv_buf::RecvBuf;
    use bowline_core::supervisor::Epoch;

    use super::*;

    /// A handle that can be counted.
    #[derive(Clone, Debug)]
    struct Opened(Arc<PeerCore<Tcpstream>>, #[expect(dead_code, reason = "counted")] Arc<()>);

    impl AsRef<PeerCore<Tcpstream>> for Opened {
        fn as_ref(&self) -> &PeerCore<Tcpstream> {
            &self.0
        }
    }

    /// A link without a connection.
    fn link() -> PeerCore<Tcpstream> {
        let config = Config::with_framing(Tcpstream::new()).build().unwrap();
        PeerCore::new(Link::new(config, Role::Dialing))
    }

    /// How many links there are.
    fn links(pool: &PoolCore<Tcpstream, Opened>) -> usize {
        pool.state.lock().routes.len()
    }

    /// The request is written, and the connection ends before the answer arrives.
    fn lose(peer: &PeerCore<Tcpstream>) {
        peer.shared().with(|link| {
            let now = clock::now();
            let (mut reader, mut buf) = (link.handle_connected(now, Epoch::FIRST), RecvBuf::new());
            let ready = Link::next_event(&mut reader, &mut &mut *link, now, &mut buf);
            assert!(ready.is_ok());
            let mut batch = link.begin_write(now).expect("a request");
            batch.wrote(batch.len());
            let _more = link.end_write(now, batch);
            link.handle_disconnected(now, None, Disconnect::PeerClosed);
        });
    }

    #[test]
    fn an_endpoint_whose_links_cannot_all_be_opened_leaves_none() {
        let config = Config::with_framing(Tcpstream::new()).build().unwrap();
        let mut parts = PoolParts::new(config);
        parts.connections = 3;
        let pool = PoolCore::<Tcpstream, Opened>::new(parts, |_| unreachable!("no endpoint yet")).unwrap();
        let (alive, opened) = (Arc::new(()), std::cell::Cell::new(0));
        let mut fail_at = 2;
        let open = |fail_at: u32| {
            opened.set(opened.get() + 1);
            if opened.get() == fail_at {
                return Err(ConnectError::WouldPark);
            }
            Ok(Opened(Arc::new(link()), Arc::clone(&alive)))
        };
        assert!(pool.add("127.0.0.1:1", |_| open(fail_at)).is_err());
        assert_eq!((links(&pool), Arc::strong_count(&alive)), (0, 1), "the one before was dropped");
        // The endpoint is not in the pool, and may be added later.
        fail_at = 0;
        assert_eq!(pool.add("127.0.0.1:1", |_| open(fail_at)).ok(), Some(true));
        assert_eq!((links(&pool), Arc::strong_count(&alive)), (3, 4));
    }

    #[test]
    fn of_two_attempts_the_one_that_may_have_run_is_told() {
        for lost in [0, 1] {
            let peers = [link(), link()];
            let [first, second] = [0, 1].map(|at| peers[at].call(1, "x"));
            let mut race = Race::new(first, second);
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut race).poll(cx).is_pending());
            lose(&peers[lost]);
            let other = &peers[1 - lost];
            other.shared().with(|link| link.give_up(clock::now(), Disconnect::NotConnected));
            let Poll::Ready((Err(error), false)) = Pin::new(&mut race).poll(cx) else {
                panic!("both have failed")
            };
            assert_eq!(error, CallError::MaybeDelivered(Disconnect::PeerClosed), "attempt {lost}");
        }
    }
}
