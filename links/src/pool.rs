//! Several links to one target, with a policy that chooses between them.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::Poll;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, CastRefusal, Failure, LinkWas, Outcome};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, Queued, Reply, Undelivered};
use bowline_core::routing::{AttemptRules, Blacklist, GiveUp, Hedging, Policy};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::error::ConnectError;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_driver::to_address::ToAddress;

use crate::batcher::Keyed;
use crate::client::{Client, ClientBuilder};
use crate::monitor::Monitor;
use crate::peer_core::PeerCore;
use crate::pool_core::{Answered, Lease, Move, PoolCall, PoolCore, PoolParts, Race, ReadRedirect, Redirect};

/// Several links to one target: to several endpoints, or several to one endpoint.
///
/// Each message goes over one link, which the [`Policy`] chooses. Links that are not connected, and endpoints
/// that failed several times in a row, are avoided while there are others. Order holds on each link, not over
/// the pool. Cheap to clone; all clones are one pool, and dropping the last clone closes its links.
pub struct Pool<R: Runtime, F: Framing = Native> {
    core: Arc<PoolCore<F, Client<R, F>>>,
}

impl<R: Runtime, F: Framing> Clone for Pool<R, F> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Pool<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.core.endpoints()).finish()
    }
}

impl<R: Runtime, F: Framing> AsRef<PeerCore<F>> for Client<R, F> {
    fn as_ref(&self) -> &PeerCore<F> {
        (**self).as_ref()
    }
}

impl<R: Runtime> Pool<R, Native> {
    /// A builder for a pool of links over Bowline's own protocol.
    pub fn builder() -> PoolBuilder<R, Native> {
        PoolBuilder { parts: PoolParts::new(crate::defaults::default_config()), runtime: PhantomData }
    }
}

impl<R: Runtime, F: Framing> Pool<R, F> {
    /// A builder for a pool with other settings or another framing.
    pub fn with_config(config: Config<F>) -> PoolBuilder<R, F> {
        PoolBuilder { parts: PoolParts::new(config), runtime: PhantomData }
    }

    /// Calls over one of the links. A call whose request was provably never sent is tried over another link.
    ///
    /// # Errors
    /// As [`Peer::call`](crate::Peer::call); [`CallError::Closed`] without endpoints.
    ///
    /// # Cancel safety
    /// As [`Peer::call`](crate::Peer::call).
    pub fn call<'a>(
        &'a self,
        method: u32,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Reply, CallError>> + Send + 'a> {
        self.routed(None, CallOptions::new(method), payload.into())
    }

    /// [`call`](Self::call) with options. With hedging, an idempotent call that is slow is repeated over
    /// another link; the first answer wins, and the other call is cancelled.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub fn call_with<'a>(
        &'a self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Reply, CallError>> + Send + 'a> {
        self.routed(None, options, payload.into())
    }

    /// [`call_with`](Self::call_with) for a key: all calls of a key go to one endpoint, its leader, while
    /// that endpoint is usable. An endpoint becomes the leader when it has answered a call of the key; with
    /// [`redirects`](PoolBuilder::redirects), when it has answered and the answer says that the key belongs
    /// there. Until then the calls go where the first one went.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub fn call_for<'a>(
        &'a self,
        key: &'a str,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Reply, CallError>> + Send + 'a> {
        self.routed(Some(key), options, payload.into())
    }

    /// A caller for one key, for users that make many calls, such as a batcher.
    #[must_use]
    pub fn for_key(&self, key: impl Into<String>) -> Keyed<R, F> {
        Keyed::new(self.clone(), key.into())
    }

    fn routed<'a>(
        &'a self,
        key: Option<&'a str>,
        options: CallOptions,
        payload: Payload<'a>,
    ) -> Wait<R, impl Future<Output = Result<Reply, CallError>> + Send + 'a> {
        R::Style::wait(self.route(key, None, options, payload), || Err(CallError::WouldPark))
    }

    /// Makes a call, with `rules` instead of the pool's.
    pub(crate) async fn route(
        &self,
        key: Option<&str>,
        rules: Option<AttemptRules>,
        options: CallOptions,
        payload: Payload<'_>,
    ) -> Result<Reply, CallError> {
        let (mut call, mut next) = PoolCall::begin(&self.core, key, rules, options);
        let mut last = None;
        loop {
            next = match next {
                Move::Try(lease, options) => {
                    let (result, other) = match call.hedge_at() {
                        Some(at) => Self::hedged(&call, &lease, at, &options, &payload).await,
                        None => (lease.client.as_ref().call_with(options, payload.clone()).await, None),
                    };
                    let next = call.ended(lease, &result, other);
                    last = Some(result);
                    next
                }
                Move::Wait(at) => {
                    let mut alarm = Alarm::new(R::timer());
                    std::future::poll_fn(|cx| alarm.poll_until(cx, at)).await;
                    call.resume()
                }
                Move::End(why) => return last.unwrap_or_else(|| Err(never_tried(why))),
            };
        }
    }

    /// Makes the call, and repeats it over another link if it is not answered by `at`. Also returns the other
    /// link, if that one answered.
    async fn hedged(
        call: &PoolCall<'_, F, Client<R, F>>,
        lease: &Lease<F, Client<R, F>>,
        at: Instant,
        options: &CallOptions,
        payload: &Payload<'_>,
    ) -> Answered<F, Client<R, F>> {
        let mut first = lease.client.as_ref().call_with(options.clone(), payload.clone());
        let mut alarm = Alarm::new(R::timer());
        let early = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = Pin::new(&mut first).poll(cx) {
                return Poll::Ready(Some(result));
            }
            alarm.poll_until(cx, at).map(|()| None)
        });
        if let Some(result) = early.await {
            return (result, None);
        }
        let Some(other) = call.hedge(lease) else { return (first.await, None) };
        let options = call.options_of_second(options);
        let second = other.client.as_ref().call_with(options, payload.clone());
        let (result, by_other) = Race::new(first, second).await;
        (result, by_other.then_some(other))
    }

    /// Queues a message over one of the links. Waits for room in its write queue if the overflow policy is to
    /// block.
    ///
    /// # Errors
    /// As [`Peer::cast`](crate::Peer::cast); [`CastRefusal::Closed`] without endpoints.
    ///
    /// # Cancel safety
    /// As [`Peer::cast`](crate::Peer::cast).
    pub fn cast<'a>(
        &'a self,
        method: u32,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Queued, CastError>> + Send + 'a> {
        self.cast_with(CastOptions::new(method), payload)
    }

    /// [`cast`](Self::cast) with options.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    ///
    /// # Cancel safety
    /// As [`cast`](Self::cast).
    pub fn cast_with<'a>(
        &'a self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Queued, CastError>> + Send + 'a> {
        let payload = payload.into();
        let back = payload.clone();
        let would_park = || Err(CastError::new(CastRefusal::WouldPark, Some(back.into_bytes())));
        R::Style::wait(self.route_cast(options, payload), would_park)
    }

    async fn route_cast(&self, options: CastOptions, payload: Payload<'_>) -> Result<Queued, CastError> {
        let Some(lease) = self.core.pick(None) else {
            return Err(CastError::new(CastRefusal::Closed, Some(payload.into_bytes())));
        };
        let result = lease.client.as_ref().cast_with(options, payload).await;
        let closed = matches!(&result, Err(error) if *error.reason() == CastRefusal::Closed);
        lease.finish(!closed);
        result
    }

    /// Adds an endpoint, which is connected in the background. `false`: it is in the pool already.
    ///
    /// # Errors
    /// The address is invalid, or no runtime is running on this thread.
    pub fn add(&self, endpoint: impl ToAddress) -> Result<bool, ConnectError> {
        let endpoint = &endpoint.to_address();
        self.core.add(endpoint, Client::open)
    }

    /// Removes an endpoint; its links finish the work under way. Returns whether it was in the pool.
    #[must_use = "an endpoint that is not there cannot be removed"]
    pub fn remove(&self, endpoint: &str) -> bool {
        let removed = self.core.remove(endpoint);
        removed.iter().for_each(|client| client.begin_close());
        !removed.is_empty()
    }

    /// The endpoints, in the order they were added.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.core.endpoints()
    }

    /// The links, in the order of their endpoints.
    #[must_use]
    pub fn clients(&self) -> Vec<Client<R, F>> {
        self.core.clients()
    }

    /// The endpoint that leads a key, if one is known.
    #[must_use]
    pub fn leader(&self, key: &str) -> Option<String> {
        self.core.leader(key)
    }

    /// Sets the endpoint that leads a key. `false`: that endpoint is not in the pool.
    pub fn set_leader(&self, key: &str, endpoint: &str) -> bool {
        self.core.set_leader(key, endpoint)
    }

    /// Waits until at least one link is connected.
    ///
    /// # Errors
    /// No link can be connected, or the pool has no links.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn ready(&self) -> Wait<R, impl Future<Output = Result<(), ConnectError>> + Send> {
        R::Style::wait(self.any_ready(), || Err(ConnectError::WouldPark))
    }

    async fn any_ready(&self) -> Result<(), ConnectError> {
        let clients = self.clients();
        let mut waiting: Vec<_> = clients.iter().map(|client| Box::pin(client.connected())).collect();
        let mut last = ConnectError::Closed;
        std::future::poll_fn(|cx| {
            let mut index = 0;
            while index < waiting.len() {
                match waiting[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => {
                        last = error;
                        drop(waiting.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            if waiting.is_empty() { Poll::Ready(Err(last.clone())) } else { Poll::Pending }
        })
        .await
    }

    /// Closes every link, and waits for the work under way, for at most the linger time.
    ///
    /// # Cancel safety
    /// If the future is dropped, closing continues in the background.
    pub fn close(self) -> Wait<R, impl Future<Output = Vec<Undelivered>> + Send> {
        let clients = self.core.take_all();
        clients.iter().for_each(|client| client.begin_close());
        let until = clock::after(self.core.config().linger());
        let closed = async move {
            let mut undelivered = Vec::new();
            for client in clients {
                undelivered.extend(client.ended(until).await);
            }
            undelivered
        };
        R::Style::wait(closed, Vec::new)
    }
}

/// The error of a call that was made over no link.
fn never_tried(why: GiveUp) -> CallError {
    match why {
        GiveUp::Deadline => CallError::DeadlineExceeded {
            outcome: Outcome::Expired,
            link: LinkWas::NotConnected { attempts: 0, last: None },
        },
        _ => CallError::Closed,
    }
}

/// Builds a [`Pool`].
#[must_use]
pub struct PoolBuilder<R: Runtime, F: Framing = Native> {
    parts: PoolParts<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for PoolBuilder<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl<R: Runtime, F: Framing> PoolBuilder<R, F> {
    /// Adds an endpoint.
    pub fn endpoint(mut self, address: impl ToAddress) -> Self {
        let address = &address.to_address();
        self.parts.endpoints.push(address.to_owned());
        self
    }

    /// Sets the number of links to each endpoint. Default 1.
    pub fn connections(mut self, links: usize) -> Self {
        self.parts.connections = links;
        self
    }

    /// Sets how a link is chosen. Default [`Policy::RoundRobin`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.parts.policy = policy;
        self
    }

    /// Sets when an endpoint is avoided. Default: for 10 s after 3 failures in a row.
    pub fn blacklist(mut self, blacklist: Blacklist) -> Self {
        self.parts.blacklist = blacklist;
        self
    }

    /// Repeats idempotent calls that are slow over another link. Off by default.
    pub fn hedging(mut self, hedging: Hedging) -> Self {
        self.parts.hedging = Some(hedging);
        self
    }

    /// Sets a function that reads from the answers to [`Pool::call_for`] whether the endpoint was the right
    /// one. If it was not, the call is tried at the endpoint that the answer names, or else at the others, in
    /// rounds with a back-off between them, until its deadline; then the last answer is returned. `read` is
    /// called for replies and for failures that the endpoint answered with, on the caller's task or thread;
    /// it must not block.
    pub fn redirects(
        mut self,
        read: impl Fn(Result<&Reply, &Failure>) -> Redirect + Send + Sync + 'static,
    ) -> Self {
        self.parts.redirects = Some(ReadRedirect::new(read));
        self
    }

    /// Sets how often a call for a key is tried. Default: every link once; with
    /// [`redirects`](Self::redirects), until its deadline.
    pub fn attempts(mut self, rules: AttemptRules) -> Self {
        self.parts.rules = Some(rules);
        self
    }

    /// Registers the links with `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.links.monitor(monitor, label);
        self
    }

    /// Sets everything that the links are made of, handlers included, except the builder's addresses.
    pub fn links(mut self, builder: ClientBuilder<R, F>) -> Self {
        self.parts.links = builder.into_parts();
        self
    }

    /// Opens the links, which connect in the background.
    ///
    /// # Errors
    /// An address is invalid, or no runtime is running on this thread.
    pub fn open(self) -> Result<Pool<R, F>, ConnectError> {
        Ok(Pool { core: PoolCore::new(self.parts, Client::open)? })
    }
}
