//! The settings of a socket.

use std::any::TypeId;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use bowline_core::config::{AcceptLimits, SocketOptions};
use bowline_core::layer::Layers;
use bowline_core::proxy::Proxy;
use bowline_core::supervisor::ReconnectPolicy;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Style;
use bowline_driver::sync::Arc;
use bowline_zmtp::mechanism::{Admission, Decision};
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::AuthRequest;

use crate::auth::{Authenticator, Later};
use crate::context::{Context, ContextCore, default_of};
use crate::core::SocketCore;
use crate::dial::{Dialing, random};
use crate::error::OpenError;
use crate::kind::Kind;
use crate::lifetime::Setup;
use crate::socket::Socket;

/// Makes a [`Socket`] with settings other than the defaults.
#[must_use]
pub struct SocketBuilder<R: Runtime, K: Kind> {
    options: Options,
    linger: Duration,
    dialing: Dialing,
    limits: Option<AcceptLimits>,
    name: String,
    context: Option<Arc<ContextCore>>,
    authenticator: Option<Authenticator>,
    types: PhantomData<fn() -> (R, K)>,
}

impl<R: Runtime, K: Kind> std::fmt::Debug for SocketBuilder<R, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<R: Runtime, K: Kind> SocketBuilder<R, K> {
    pub(crate) fn new() -> Self {
        let policy = ReconnectPolicy::default();
        let (timeout, sockets) = (Duration::from_secs(10), SocketOptions::default());
        let dialing = Dialing { policy, timeout, sockets, proxy: None, layers: Layers::default() };
        Self {
            options: Options::new(K::TYPE),
            linger: Duration::from_secs(5),
            dialing,
            limits: None,
            name: String::new(),
            context: None,
            authenticator: None,
            types: PhantomData,
        }
    }

    /// Sets the options of the protocol: see [`Options`].
    ///
    /// ```
    /// # use bowline_driver::runtime::Runtime;
    /// # fn example<R: Runtime>() -> Result<(), Box<dyn std::error::Error>> {
    /// use bowline_zmtp_driver::{Socket, kinds};
    ///
    /// let dealer = Socket::<R, kinds::Dealer>::builder().options(|options| options.routing_id("me")).open()?;
    /// # drop(dealer);
    /// # Ok(()) }
    /// ```
    pub fn options(mut self, set: impl FnOnce(Options) -> Options) -> Self {
        self.options = set(self.options);
        self
    }

    /// Sets the name of the socket in events, counters and the result of a shutdown. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the context that the socket belongs to. Default: the [default context](Context::default).
    pub fn context(mut self, context: &Context<R>) -> Self {
        self.context = Some(Arc::clone(context.core()));
        self
    }

    /// Sets how long closing waits for messages to be sent. Default 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets when and how often to reconnect. Default: without limit, with full jitter, from 100 ms doubling
    /// to 30 s.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.dialing.policy = policy;
        self
    }

    /// Sets the time limit for name resolution, dialing and handshake together. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.dialing.timeout = limit;
        self.options = self.options.handshake(limit);
        self
    }

    /// Sets the options of the system's sockets.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.dialing.sockets = options;
        self
    }

    /// Connects to `tcp://` endpoints through these proxies (as `ZMQ_SOCKS_PROXY` in libzmq). Default: none.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.dialing.proxy = proxy.into();
        self
    }

    /// Secures connections by TLS: with a `TlsClient` the dialed ones, with a `TlsServer` the accepted ones
    /// (feature `tls`). Both may be set. Every connection of the socket is then secured, over TCP or Unix
    /// sockets; pipes to sockets of the same process (`inproc`) are not connections. Endpoints are written as
    /// without TLS. Default: plain text.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.dialing.layers = self.dialing.layers.and(tls.into());
        self
    }

    /// Sets the limits of each bound endpoint: connections, their rate, handshakes, and the memory of
    /// incomplete messages. (Time limits are not among them: see [`Options`].) Default: those of the context.
    pub fn accept_limits(mut self, limits: AcceptLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Calls `decide` for each peer in its handshake, in place of another [`Admission`], with the peer's
    /// properties and credentials. It is called where the connection is read, and must not wait.
    pub fn authenticate(mut self, decide: impl Fn(&AuthRequest) -> Decision + Send + Sync + 'static) -> Self {
        self.options = self.options.admission(Admission::Ask);
        self.authenticator = Some(Authenticator::Now(Box::new(decide)));
        self
    }

    /// As [`authenticate`](Self::authenticate), with a future, for example for a database query. Each future
    /// is a task of the runtime; on threads a pool polls it, where it may also block.
    ///
    /// It is dropped when its connection ends, at the latest after the time limit of the
    /// [handshake](Options::handshake). If it panics, or cannot be run, the peer is refused with status 500
    /// (RFC 27). At most as many decisions are pending as handshakes are allowed at one endpoint
    /// ([`AcceptLimits::handshakes`]); further peers are disconnected, and may try again.
    pub fn authenticate_async<Fut>(
        mut self,
        decide: impl Fn(AuthRequest) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = Decision> + Send + 'static,
    {
        self.options = self.options.admission(Admission::Ask);
        let later = Later::new(Box::new(move |request| Box::pin(decide(request))), R::Style::workers::<R>());
        self.authenticator = Some(Authenticator::Later(later));
        self
    }

    /// Makes the socket.
    ///
    /// # Errors
    /// A setting is invalid; or the context is shut down, or has its maximum number of sockets.
    pub fn open(self) -> Result<Socket<R, K>, OpenError> {
        let Self { options, linger, dialing, limits, name, context, mut authenticator, .. } = self;
        let options = options.build()?;
        if let Some(proxy) = &dialing.proxy {
            proxy.check()?;
        }
        let seat = match context {
            Some(context) => context.reserve()?,
            // If the default context is shut down meanwhile, a new one takes its place.
            None => loop {
                if let Ok(seat) = default_of(TypeId::of::<R>()).reserve() {
                    break seat;
                }
            },
        };
        let limits = limits.unwrap_or(seat.context().limits);
        if let Some(Authenticator::Later(later)) = &mut authenticator {
            later.set_most(limits.handshakes());
        }
        let setup = Setup { options, kind: K::TYPE, linger, name, authenticator };
        let core = SocketCore::new(setup, random() as u32, seat);
        Ok(Socket::of(core, dialing, limits))
    }
}
