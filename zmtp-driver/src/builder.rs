//! Settings of a socket.

use std::marker::PhantomData;
use std::time::Duration;

use bowline_core::config::{AcceptLimits, SocketOptions};
use bowline_core::supervisor::ReconnectPolicy;
use bowline_driver::runtime::Runtime;
use bowline_zmtp::error::OptionError;
use bowline_zmtp::mechanism::{Admission, Decision};
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::AuthRequest;

use crate::core::{Authenticator, SocketCore};
use crate::dial::{Dialing, random};
use crate::kind::Kind;
use crate::socket::Socket;

/// Makes a [`Socket`] with other settings than the default ones.
#[must_use]
pub struct SocketBuilder<R: Runtime, K: Kind> {
    options: Options,
    linger: Duration,
    dialing: Dialing,
    limits: AcceptLimits,
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
        let dialing = Dialing { policy, timeout: Duration::from_secs(10), sockets: SocketOptions::default() };
        Self {
            options: Options::new(K::TYPE),
            linger: Duration::from_secs(5),
            dialing,
            limits: AcceptLimits::default(),
            authenticator: None,
            types: PhantomData,
        }
    }

    /// What the protocol knows: see [`Options`].
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

    /// How long closing waits for what is to be sent. Default 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// When and how often to connect again. Default: for ever, full jitter, 100 ms doubling to 30 s.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.dialing.policy = policy;
        self
    }

    /// Look-up, dial and handshake together. Default 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.dialing.timeout = limit;
        self.options = self.options.handshake(limit);
        self
    }

    /// What the system's sockets are set to.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.dialing.sockets = options;
        self
    }

    /// The limits of each bound endpoint.
    pub fn accept_limits(mut self, limits: AcceptLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks `decide` about each peer in its handshake, in place of another [`Admission`]: with what the peer said of
    /// itself. It is called where the connection is read, and must not wait.
    pub fn authenticate(mut self, decide: impl Fn(&AuthRequest) -> Decision + Send + Sync + 'static) -> Self {
        self.options = self.options.admission(Admission::Ask);
        self.authenticator = Some(Box::new(decide));
        self
    }

    /// Makes the socket.
    ///
    /// # Errors
    /// A setting cannot work.
    pub fn open(self) -> Result<Socket<R, K>, OptionError> {
        let options = self.options.build()?;
        let core = SocketCore::new(options, self.linger, random() as u32, self.authenticator);
        Ok(Socket::of(core, self.dialing, self.limits))
    }
}
