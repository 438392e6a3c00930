//! Every limit and default, in one place.

use alloc::sync::Arc;
use core::time::Duration;

pub use crate::arena::QueueLimit;
use crate::auth::Source;
use crate::error::ConfigError;
use crate::frame::Framing;
use crate::frame::native::Native;
use crate::layer::Layers;
use crate::preamble::Preamble;
use crate::proxy::Proxy;
use crate::supervisor::ReconnectPolicy;

mod accept;
mod builder;
mod delivery;
mod on_failure;
pub mod settings;
mod sockets;

pub use accept::{AcceptLimits, HANDSHAKE_COST};
pub use builder::ConfigBuilder;
pub(crate) use builder::check_time;
pub use delivery::{Delivery, OnDisconnect, Overflow};
pub use on_failure::OnFailure;
pub use sockets::SocketOptions;

/// The settings of a link. Built and checked by [`Config::builder`], cheap to clone.
///
/// ```
/// use bowline_core::config::Config;
/// use core::time::Duration;
///
/// let config = Config::builder().call_timeout(Duration::from_secs(2)).build()?;
/// assert_eq!(config.call_timeout(), Duration::from_secs(2));
/// assert!(Config::builder().max_in_flight(0).build().is_err());
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config<F: Framing = Native> {
    framing: F,
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) write_queue: QueueLimit,
    pub(crate) write_overflow: Overflow,
    pub(crate) read_queue: QueueLimit,
    pub(crate) read_overflow: Overflow,
    pub(crate) event_queue: usize,
    pub(crate) errored_queue: QueueLimit,
    pub(crate) errored_overflow: Overflow,
    pub(crate) delivery: Delivery,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) on_failure: OnFailure,
    pub(crate) expire_after: Option<Duration>,
    pub(crate) resend_window: usize,
    pub(crate) retry_limit: u32,
    pub(crate) retry_buffer: usize,
    pub(crate) session_window: usize,
    pub(crate) session_expiry: Duration,
    pub(crate) max_detached: usize,
    pub(crate) max_detached_per_address: usize,
    pub(crate) max_detached_bytes: usize,
    pub(crate) ack_delay: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) cast_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_inbound: usize,
    pub(crate) max_inbound_bytes: usize,
    pub(crate) answers_ahead: usize,
    /// `None`: the maximum length of a message.
    pub(crate) max_answer: Option<usize>,
    /// The windows of the normal class and of bulk.
    pub(crate) windows: [u32; 2],
    pub(crate) fragment: usize,
    pub(crate) bulk_ahead: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_delay: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) dead_after: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) message_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) reconnect: ReconnectPolicy,
    pub(crate) first_call_id: Option<u64>,
    pub(crate) seed: Option<u64>,
    pub(crate) sockets: SocketOptions,
    pub(crate) accept: AcceptLimits,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) preamble: Option<Preamble>,
    pub(crate) credentials: Source,
    /// The layers between sockets and links.
    pub(crate) layers: Layers,
}

/// The default window of a class: 4 MiB.
const WINDOW: u32 = 4 << 20;
/// 1,024 messages and 4 MiB.
const QUEUE: QueueLimit = QueueLimit { messages: 1024, bytes: 4 << 20 };

impl Default for Settings {
    fn default() -> Self {
        Self {
            write_queue: QUEUE,
            write_overflow: Overflow::Block,
            read_queue: QUEUE,
            read_overflow: Overflow::Block,
            event_queue: 1024,
            errored_queue: QUEUE,
            errored_overflow: Overflow::DropOldest,
            delivery: Delivery::AtMostOnce,
            on_disconnect: OnDisconnect::Keep,
            on_failure: OnFailure::Silence,
            expire_after: None,
            resend_window: 0,
            retry_limit: 5,
            retry_buffer: 4 << 20,
            session_window: 256 * 1024,
            session_expiry: Duration::from_secs(60),
            max_detached: 1024,
            max_detached_per_address: 512,
            max_detached_bytes: 256 << 20,
            ack_delay: Duration::from_millis(25),
            call_timeout: Duration::from_secs(10),
            cast_timeout: Duration::from_secs(10),
            max_in_flight: 1024,
            max_inbound: 1024,
            max_inbound_bytes: 16 << 20,
            answers_ahead: 16 << 20,
            max_answer: None,
            windows: [WINDOW; 2],
            fragment: 16 * 1024,
            bulk_ahead: 256 * 1024,
            connect_timeout: Duration::from_secs(10),
            attempt_delay: Duration::from_millis(250),
            heartbeat: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            write_stall: Duration::from_secs(20),
            message_timeout: Duration::from_secs(60),
            linger: Duration::from_secs(5),
            reconnect: ReconnectPolicy::default(),
            first_call_id: None,
            seed: None,
            sockets: SocketOptions::default(),
            accept: AcceptLimits::default(),
            proxy: None,
            preamble: None,
            credentials: Source::default(),
            layers: Layers::default(),
        }
    }
}

impl Config<Native> {
    /// A builder for Bowline's own protocol, with the default limits.
    pub fn builder() -> ConfigBuilder<Native> {
        Self::with_framing(Native::new())
    }
}

impl Default for Config<Native> {
    fn default() -> Self {
        Self { framing: Native::new(), settings: Arc::default() }
    }
}

impl<F: Framing> Config<F> {
    /// A builder for another framing, with the default limits.
    pub fn with_framing(framing: F) -> ConfigBuilder<F> {
        ConfigBuilder { framing, max_message: None, settings: Settings::default() }
    }

    /// A builder that starts with these settings.
    pub fn to_builder(&self) -> ConfigBuilder<F> {
        ConfigBuilder { framing: self.framing.clone(), max_message: None, settings: (*self.settings).clone() }
    }

    /// The framing.
    #[must_use]
    pub fn framing(&self) -> &F {
        &self.framing
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The maximum length of a message in bytes, both ways.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.framing.max_message()
    }

    /// The timeout of calls that set none.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.settings.call_timeout
    }

    /// The timeout of casts whose outcome is waited for and that set none.
    #[must_use]
    pub fn cast_timeout(&self) -> Duration {
        self.settings.cast_timeout
    }

    /// The time limit for dialing and the handshake together.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout
    }

    /// The head start of one address over the next when several are tried (RFC 8305).
    #[must_use]
    pub fn attempt_delay(&self) -> Duration {
        self.settings.attempt_delay
    }

    /// How long closing waits for work under way.
    #[must_use]
    pub fn linger(&self) -> Duration {
        self.settings.linger
    }

    /// How long no byte can be written before the connection counts as dead.
    #[must_use]
    pub fn write_stall(&self) -> Duration {
        self.settings.write_stall
    }

    /// The time limit for a message, from its first byte to its last.
    #[must_use]
    pub fn message_timeout(&self) -> Duration {
        self.settings.message_timeout
    }

    /// When and how often to reconnect.
    pub fn reconnect(&self) -> &ReconnectPolicy {
        &self.settings.reconnect
    }

    /// The seed of the jitter, if one was set.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.settings.seed
    }

    /// The delivery guarantee across connections.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.settings.delivery
    }

    /// The maximum number of sessions without a connection, on an accepting side.
    #[must_use]
    pub fn max_detached(&self) -> usize {
        self.settings.max_detached
    }

    /// The maximum number of these sessions from one address.
    #[must_use]
    pub fn max_detached_per_address(&self) -> usize {
        self.settings.max_detached_per_address
    }

    /// The maximum bytes that these sessions hold together.
    #[must_use]
    pub fn max_detached_bytes(&self) -> usize {
        self.settings.max_detached_bytes
    }

    /// The maximum time that a cast waits in the write queue.
    #[must_use]
    pub fn expire_after(&self) -> Option<Duration> {
        self.settings.expire_after
    }

    /// The limits of the accepting side for its connections.
    #[must_use]
    pub fn accept_limits(&self) -> &AcceptLimits {
        &self.settings.accept
    }

    /// The proxies that connections go through.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.settings.proxy.as_ref()
    }

    /// The steps that run on each connection before the framing begins.
    #[must_use]
    pub fn preamble(&self) -> Option<&Preamble> {
        self.settings.preamble.as_ref()
    }

    /// The same settings with connections secured by TLS: see [`ConfigBuilder::tls`].
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        settings.layers = core::mem::take(&mut settings.layers).and(tls.into());
        self
    }

    /// The layers between sockets and links.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.settings.layers
    }

    /// The address to dial, without the prefix `tls://`.
    ///
    /// # Errors
    /// The prefix requires TLS, but there are no TLS settings, or they are those of a server.
    pub fn dialed<'a>(&self, address: &'a str) -> Result<&'a str, ConfigError> {
        self.settings.layers.dialed(address)
    }

    /// The address to listen at, without the prefix `tls://`.
    ///
    /// # Errors
    /// The prefix requires TLS, but there are no TLS settings, or they are those of a client.
    pub fn listened<'a>(&self, address: &'a str) -> Result<&'a str, ConfigError> {
        self.settings.layers.listened(address)
    }

    /// Options set on every socket.
    #[must_use]
    pub fn sockets(&self) -> &SocketOptions {
        &self.settings.sockets
    }
}
