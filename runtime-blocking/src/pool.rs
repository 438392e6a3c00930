//! Several links to one target, and which of them a message goes over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bowline_core::body::Payload;
use bowline_core::config::Config;
use bowline_core::error::{CallError, CastError, CastRefusal};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, Queued, Reply, Undelivered};
use bowline_core::routing::{Blacklist, Hedging, Policy};
use bowline_core::time::Instant;
use bowline_driver::ToAddress;
use bowline_driver::pool_core::{Answered, Attempts, Lease, PoolCore, PoolParts, Race};
use bowline_driver::{ConnectError, Monitor, clock};

use crate::client::{Client, ClientBuilder};
use crate::park::{block_on, block_on_until};

impl<F: Framing> AsRef<bowline_driver::Peer<F>> for Client<F> {
    fn as_ref(&self) -> &bowline_driver::Peer<F> {
        self
    }
}

/// Several links to one target: to several endpoints, or several to one.
///
/// Each message goes over one of them, chosen by the [`Policy`]; links that are not connected, and
/// endpoints that failed several times in a row, are left alone while there are others. Order holds
/// on each link, not over the pool. Cheap to clone; all clones are one pool, and the last one to go
/// closes its links.
///
/// ```
/// use bowline_blocking::{Pool, Server};
/// use bowline_core::routing::Policy;
///
/// let serve = || -> Result<Server, Box<dyn std::error::Error>> {
///     let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0")?;
///     server.start()?;
///     Ok(server)
/// };
/// let (one, other) = (serve()?, serve()?);
/// let pool = Pool::builder()
///     .endpoint(&one.local_addr().to_string())
///     .endpoint(&other.local_addr().to_string())
///     .policy(Policy::LeastInFlight)
///     .open()?;
/// assert_eq!(&pool.call(1, b"hello")?[..], b"hello");
/// pool.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool<F: Framing = Native> {
    core: Arc<PoolCore<F, Client<F>>>,
}

impl<F: Framing> Clone for Pool<F> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl Pool<Native> {
    /// A builder for a pool of links over Bowline's own protocol.
    pub fn builder() -> PoolBuilder<Native> {
        PoolBuilder { parts: PoolParts::new(bowline_driver::defaults::default_config()) }
    }
}

impl<F: Framing> Pool<F> {
    /// A builder for a pool with other settings or another framing.
    pub fn with_config(config: Config<F>) -> PoolBuilder<F> {
        PoolBuilder { parts: PoolParts::new(config) }
    }

    /// Calls over one of the links. A call that provably never left goes to another.
    ///
    /// # Errors
    /// As [`Peer::call`](crate::Peer::call); [`CallError::Closed`] without endpoints.
    pub fn call<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Reply, CallError> {
        self.call_with(CallOptions::new(method), payload)
    }

    /// [`call`](Self::call) with options. With hedging, an idempotent call that takes its time is
    /// made a second time over another link; the first answer wins, and the other call is
    /// cancelled.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<'a>(
        &self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Reply, CallError> {
        self.route(None, options, payload.into())
    }

    /// [`call_with`](Self::call_with) for a key: all calls of a key go to one endpoint, its leader,
    /// for as long as that can be used.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_for<'a>(
        &self,
        key: &str,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Reply, CallError> {
        self.route(Some(key), options, payload.into())
    }

    fn route(
        &self,
        key: Option<&str>,
        options: CallOptions,
        payload: Payload<'_>,
    ) -> Result<Reply, CallError> {
        let (mut attempts, mut lease) = Attempts::begin(&self.core, key, options).ok_or(CallError::Closed)?;
        loop {
            let options = attempts.options(&lease);
            let (result, other) = match attempts.hedge_at() {
                Some(at) => Self::hedged(&attempts, &lease, at, &options, &payload),
                None => (lease.client.call_with(options, payload.clone()), None),
            };
            match attempts.ended(lease, &result, other) {
                Some(next) => lease = next,
                None => return result,
            }
        }
    }

    /// Makes the call, and again elsewhere when it takes until `at`. The other link, if that
    /// answered.
    fn hedged(
        attempts: &Attempts<'_, F, Client<F>>,
        lease: &Lease<F, Client<F>>,
        at: Instant,
        options: &CallOptions,
        payload: &Payload<'_>,
    ) -> Answered<F, Client<F>> {
        let mut first = bowline_driver::Peer::call_with(&lease.client, options.clone(), payload.clone());
        if let Some(result) = block_on_until(&mut first, clock::to_std(at)) {
            return (result, None);
        }
        let Some(other) = attempts.hedge(lease) else { return (block_on(first), None) };
        let second = bowline_driver::Peer::call_with(&other.client, options.clone(), payload.clone());
        let (result, by_other) = block_on(Race::new(first, second));
        (result, by_other.then_some(other))
    }

    /// Queues a message over one of the links, waiting for room in its write queue if its policy is
    /// to block.
    ///
    /// # Errors
    /// As [`Peer::cast`](crate::Peer::cast); [`CastRefusal::Closed`] without endpoints.
    pub fn cast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Queued, CastError> {
        self.cast_with(CastOptions::new(method), payload)
    }

    /// [`cast`](Self::cast) with options.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    pub fn cast_with<'a>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Queued, CastError> {
        let payload = payload.into();
        let Some(lease) = self.core.pick(None, None) else {
            return Err(CastError::new(CastRefusal::Closed, Some(payload.into_bytes())));
        };
        let result = lease.client.cast_with(options, payload);
        let closed = matches!(&result, Err(error) if *error.reason() == CastRefusal::Closed);
        lease.finish(!closed);
        result
    }

    /// One more endpoint, connected in the background. False: it is there already.
    ///
    /// # Errors
    /// The address cannot work, or the system has no threads or descriptors left.
    pub fn add(&self, endpoint: impl ToAddress) -> Result<bool, ConnectError> {
        let endpoint = &endpoint.to_address();
        self.core.add(endpoint, Client::open)
    }

    /// Takes an endpoint out, and lets its links finish what is under way. Whether it was there.
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
    pub fn clients(&self) -> Vec<Client<F>> {
        self.core.clients()
    }

    /// The endpoint that leads a key, if one does.
    #[must_use]
    pub fn leader(&self, key: &str) -> Option<String> {
        self.core.leader(key)
    }

    /// Somebody knows better who leads a key. False: that endpoint is not in the pool.
    pub fn set_leader(&self, key: &str, endpoint: &str) -> bool {
        self.core.set_leader(key, endpoint)
    }

    /// Waits until at least one link is connected.
    ///
    /// # Errors
    /// No link can be connected, or there is none.
    pub fn ready(&self) -> Result<(), ConnectError> {
        let clients = self.clients();
        let mut waiting: Vec<_> = clients.iter().map(|client| Box::pin(client.poll_ready())).collect();
        let mut last = ConnectError::Closed;
        block_on(std::future::poll_fn(|cx| {
            let mut index = 0;
            while index < waiting.len() {
                match Pin::as_mut(&mut waiting[index]).poll(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => {
                        last = error;
                        drop(waiting.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            if waiting.is_empty() { Poll::Ready(Err(last.clone())) } else { Poll::Pending }
        }))
    }

    /// Closes every link, and waits for what is under way, for at most their linger.
    pub fn close(self) -> Vec<Undelivered> {
        let clients = self.core.take_all();
        clients.iter().for_each(|client| client.begin_close());
        clients.into_iter().flat_map(Client::close).collect()
    }
}

/// Builds a [`Pool`].
#[derive(Debug)]
#[must_use]
pub struct PoolBuilder<F: Framing = Native> {
    parts: PoolParts<F>,
}

impl<F: Framing> PoolBuilder<F> {
    /// A place to connect to.
    pub fn endpoint(mut self, address: impl ToAddress) -> Self {
        let address = &address.to_address();
        self.parts.endpoints.push(address.to_owned());
        self
    }

    /// Links to each endpoint. Default 1.
    pub fn connections(mut self, links: usize) -> Self {
        self.parts.connections = links;
        self
    }

    /// How a link is chosen. Default [`Policy::RoundRobin`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.parts.policy = policy;
        self
    }

    /// When an endpoint is left alone. Default: for 10 s after 3 failures in a row.
    pub fn blacklist(mut self, blacklist: Blacklist) -> Self {
        self.parts.blacklist = blacklist;
        self
    }

    /// Idempotent calls that take their time are made a second time, elsewhere. Off by default.
    pub fn hedging(mut self, hedging: Hedging) -> Self {
        self.parts.hedging = Some(hedging);
        self
    }

    /// The links are seen by `monitor` under `label`.
    pub fn monitor(mut self, monitor: &Monitor, label: &str) -> Self {
        self.parts.links.monitor(monitor, label);
        self
    }

    /// What the links are made of, handlers included: everything but the builder's addresses.
    pub fn links(mut self, builder: ClientBuilder<F>) -> Self {
        self.parts.links = builder.into_parts();
        self
    }

    /// Opens the links, which connect in the background.
    ///
    /// # Errors
    /// An address cannot work, or the system has no threads or descriptors left.
    pub fn open(self) -> Result<Pool<F>, ConnectError> {
        Ok(Pool { core: PoolCore::new(self.parts, Client::open)? })
    }
}
