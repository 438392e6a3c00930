//! The settings, and their checks.

use alloc::sync::Arc;
use core::time::Duration;

use super::{
    AcceptLimits, Config, Delivery, OnDisconnect, OnFailure, Overflow, QueueLimit, Settings, SocketOptions,
};
use super::{delivery, on_failure};
use crate::auth::{CredentialSource, Source};
use crate::error::ConfigError;
use crate::frame::native::{MAX_FRAGMENT, MIN_WINDOW, Native};
use crate::frame::{Calls, Framing};
use crate::layer::Layers;
use crate::preamble::Preamble;
use crate::proxy::Proxy;
use crate::supervisor::ReconnectPolicy;

/// The valid window sizes of a class.
const WINDOWS: core::ops::RangeInclusive<usize> = MIN_WINDOW as usize..=1 << 30;

/// Builds a [`Config`]; every setter replaces a default.
///
/// ```
/// use bowline_core::config::{Config, Overflow, QueueLimit};
/// use core::time::Duration;
///
/// let config = Config::builder()
///     .max_message(1024 * 1024)
///     .call_timeout(Duration::from_secs(2))
///     .write_queue(QueueLimit { messages: 100, bytes: 1024 * 1024 })
///     .write_overflow(Overflow::DropOldest)
///     .build()?;
/// assert_eq!(config.max_message(), 1024 * 1024);
///
/// // An error names the field, the value and the limit.
/// let error = Config::builder().heartbeat(Duration::ZERO).build().unwrap_err();
/// assert!(error.to_string().contains("heartbeat"));
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder<F: Framing = Native> {
    pub(super) framing: F,
    pub(super) max_message: Option<usize>,
    pub(super) settings: Settings,
}

impl<F: Framing> ConfigBuilder<F> {
    /// Maximum length of a message in bytes, both ways. Default 8 MiB (buffstreams: 4,096).
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Bounds of the write queue: calls and casts of each class, and, counted separately, answers. When it is
    /// full, it accepts nothing until half of it is free. Default 1,024 messages and 4 MiB.
    pub fn write_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.write_queue = limit;
        self
    }

    /// Handling of a message when the write queue is full. Default [`Overflow::Block`].
    pub fn write_overflow(mut self, policy: Overflow) -> Self {
        self.settings.write_overflow = policy;
        self
    }

    /// Bounds of the queue of received messages. Default 1,024 messages and 4 MiB. With flow control (native)
    /// and [`Overflow::Block`], the windows bound it instead.
    pub fn read_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.read_queue = limit;
        self
    }

    /// Handling of a received message when that queue is full. Default [`Overflow::Block`]: with flow
    /// control (native) the sender waits, and everything else continues. On other framings the socket is not
    /// read until there is room. If such a framing carries calls (tcpstream), that delays replies too;
    /// therefore, if the application has never received from the link, the newest message is dropped instead,
    /// counted and reported, and the messages in the queue are kept. An application that received before and
    /// stops still blocks the link: it should set a policy that drops.
    pub fn read_overflow(mut self, policy: Overflow) -> Self {
        self.settings.read_overflow = policy;
        self
    }

    /// Maximum number of events kept for the application; the oldest are dropped and counted. Default 1,024.
    pub fn event_queue(mut self, events: usize) -> Self {
        self.settings.event_queue = events;
        self
    }

    /// Bounds of the queue of errored messages: messages that could not be delivered and were not given back
    /// to a caller. Default 1,024 messages and 4 MiB.
    pub fn errored_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.errored_queue = limit;
        self
    }

    /// Handling of an outcome when that queue is full: [`Overflow::DropOldest`] (the default) or
    /// [`Overflow::DropNewest`]. It never blocks the link.
    pub fn errored_overflow(mut self, policy: Overflow) -> Self {
        self.settings.errored_overflow = policy;
        self
    }

    /// The delivery guarantee across connections. Default [`Delivery::AtMostOnce`].
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.settings.delivery = delivery;
        self
    }

    /// Handling of messages that are unsent when a connection ends. Default [`OnDisconnect::Keep`].
    pub fn on_disconnect(mut self, policy: OnDisconnect) -> Self {
        self.settings.on_disconnect = policy;
        self
    }

    /// Handling of a failed request on a framing without error replies (tcpstream). Default
    /// [`OnFailure::Silence`]: the caller waits until its own deadline.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.settings.on_failure = policy;
        self
    }

    /// Maximum time that a cast waits in the write queue; after it, the cast is not sent any more. Default:
    /// no limit. (Calls have deadlines.)
    pub fn expire_after(mut self, wait: Duration) -> Self {
        self.settings.expire_after = Some(wait);
        self
    }

    /// With [`Delivery::AtLeastOnce`]: the number of last written bytes of each class that are also sent
    /// again after the end of a connection, because the system may have lost them. Default 0.
    pub fn resend_window(mut self, bytes: usize) -> Self {
        self.settings.resend_window = bytes;
        self
    }

    /// In a session: maximum bytes that were sent and not acknowledged. At this limit nothing more is sent
    /// (one batch is always allowed), and the write queue fills up. Default 256 KiB.
    pub fn session_window(mut self, bytes: usize) -> Self {
        self.settings.session_window = bytes;
        self
    }

    /// How long an accepting side keeps a session without a connection. Default 60 s.
    pub fn session_expiry(mut self, time: Duration) -> Self {
        self.settings.session_expiry = time;
        self
    }

    /// Sessions that a server keeps without a connection at once. When there is one more, one ends:
    /// first those that never carried a message, then those of the address that has most, of which
    /// the one that carried least, and of those the one that has been without for longest. Default
    /// 1,024.
    pub fn max_detached(mut self, sessions: usize) -> Self {
        self.settings.max_detached = sessions;
        self
    }

    /// Maximum number of these sessions from one address (all Unix connections count as one address, and so
    /// do all in-process ones). Beyond it, one session of that address ends: the one that carried the fewest
    /// messages, and then the one that has been without a connection for longest. Default 512.
    pub fn max_detached_per_address(mut self, sessions: usize) -> Self {
        self.settings.max_detached_per_address = sessions;
        self
    }

    /// Maximum bytes that these sessions hold together, including messages that are queued for them while
    /// they have no connection. Beyond it, the largest session of the address whose sessions hold the most
    /// ends. Default 256 MiB.
    pub fn max_detached_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_detached_bytes = bytes;
        self
    }

    /// In a session: maximum delay of the acknowledgement of received frames (it is sent earlier after 64
    /// KiB, or a quarter of the window). Default 25 ms.
    pub fn ack_delay(mut self, delay: Duration) -> Self {
        self.settings.ack_delay = delay;
        self
    }

    /// Maximum number of retries of an idempotent call. Default 5.
    pub fn retry_limit(mut self, times: u32) -> Self {
        self.settings.retry_limit = times;
        self
    }

    /// Maximum bytes of requests of idempotent calls that are kept for retries; one is always kept. Calls
    /// beyond it are not retried once they were sent. Default 4 MiB.
    pub fn retry_buffer(mut self, bytes: usize) -> Self {
        self.settings.retry_buffer = bytes;
        self
    }

    /// The timeout of calls that set none. Default 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// The timeout of casts whose outcome is waited for (`cast_and_wait`) and that set none. It includes
    /// waiting for room, for a connection, and for the outcome. Other casts have no timeout (see
    /// [`expire_after`](Self::expire_after)). From 1 ms to 30 days; default 10 s.
    pub fn cast_timeout(mut self, timeout: Duration) -> Self {
        self.settings.cast_timeout = timeout;
        self
    }

    /// Maximum number of calls in flight per link; further calls wait until their deadline. Default 1,024.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.settings.max_in_flight = calls;
        self
    }

    /// Maximum number of the peer's requests that are handled at once. Default 1,024.
    pub fn max_inbound(mut self, requests: usize) -> Self {
        self.settings.max_inbound = requests;
        self
    }

    /// Maximum bytes of the peer's requests that are handled at once; one request of any size is always
    /// started. Further ones are not started (native: they wait within their window; on other framings
    /// reading pauses). Default 16 MiB.
    pub fn max_inbound_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_inbound_bytes = bytes;
        self
    }

    /// Maximum bytes that the answers of running handlers may take: a request is started only if the number
    /// of running requests times the largest recent answer (128 KiB before the first one, at least 4 KiB)
    /// stays within this limit, or if none is running. Inline answers are bounded by the write queue only.
    /// Default 16 MiB.
    pub fn answers_ahead(mut self, bytes: usize) -> Self {
        self.settings.answers_ahead = bytes;
        self
    }

    /// Maximum length of an answer in bytes; the caller of a longer one gets the status
    /// [`REPLY_TOO_LARGE`](crate::error::Status::REPLY_TOO_LARGE). Default: the maximum length of a message.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.settings.max_answer = Some(bytes);
        self
    }

    /// Maximum bytes of the peer's normal messages (casts and requests) that are kept before the application
    /// takes them; each message counts 256 bytes in addition (native). The peer knows the limit, and waits.
    /// From 64 KiB to 1 GiB; default 4 MiB.
    pub fn normal_window(mut self, bytes: u32) -> Self {
        self.settings.windows[0] = bytes;
        self
    }

    /// As [`normal_window`](Self::normal_window), for bulk messages; one message is always let in completely,
    /// even if it is longer. Default 4 MiB.
    pub fn bulk_window(mut self, bytes: u32) -> Self {
        self.settings.windows[1] = bytes;
        self
    }

    /// Longer messages are cut into fragments of this many bytes, and use the bulk class unless their options
    /// set another one (native). From 1 KiB to 64 KiB; default 16 KiB.
    pub fn fragment(mut self, bytes: usize) -> Self {
        self.settings.fragment = bytes;
        self
    }

    /// Maximum bulk bytes that are given to the system before the peer has reported that it read the earlier
    /// ones (native): the amount that may be in front of a small message in the socket. A smaller value keeps
    /// the latency of other messages low, a larger one uses a long fast line better: it limits bulk to this
    /// many bytes per round trip. At least 128 KiB; default 256 KiB.
    pub fn bulk_ahead(mut self, bytes: usize) -> Self {
        self.settings.bulk_ahead = bytes;
        self
    }

    /// Time limit for name resolution, dialing and the handshake together. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// The head start of one address over the next when several are tried (RFC 8305). Default 250 ms.
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.settings.attempt_delay = delay;
        self
    }

    /// A ping is sent when nothing was received from the peer for this time. Default 10 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// The peer counts as dead when nothing was received from it for this time. Default 30 s.
    pub fn dead_after(mut self, silence: Duration) -> Self {
        self.settings.dead_after = silence;
        self
    }

    /// The connection counts as dead when bytes wait and none could be written for this time. Default 20 s.
    pub fn write_stall(mut self, limit: Duration) -> Self {
        self.settings.write_stall = limit;
        self
    }

    /// Time limit for a message, from its first byte to its last. Default 60 s.
    pub fn message_timeout(mut self, limit: Duration) -> Self {
        self.settings.message_timeout = limit;
        self
    }

    /// How long closing, or dropping the last handle, waits for work under way. Default 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// When and how often to reconnect. Default: without limit, with full jitter, from 100 ms doubling to 30
    /// s.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.settings.reconnect = policy;
        self
    }

    /// The first call id. On tcpstream the ids of both sides must not overlap: the default is 2^63 when
    /// dialing and 2^63 + 2^62 when accepting. Native: 1.
    pub fn first_call_id(mut self, id: u64) -> Self {
        self.settings.first_call_id = Some(id);
        self
    }

    /// The seed of the jitter, for reproducible runs. Default: the system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Options set on every socket.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.settings.sockets = options;
        self
    }

    /// The source of a dialing side's credentials, for servers that ask for them. It is called for each
    /// connection. Default: no credentials.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.settings.credentials = Source(Some(Arc::new(source)));
        self
    }

    /// Secures connections by TLS: dialed ones with a `TlsClient`, accepted ones with a `TlsServer` (feature
    /// `tls`). Every connection of that kind is then secured, whatever its address is, including Unix
    /// sockets, in-process streams and streams of the program. Default: plain text; then `tls://` addresses
    /// are errors.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.settings.layers = core::mem::take(&mut self.settings.layers).and(tls.into());
        self
    }

    /// The limits of the accepting side for its connections.
    pub fn accept_limits(mut self, limits: AcceptLimits) -> Self {
        self.settings.accept = limits;
        self
    }

    /// Connects through these proxies. The environment is not read, unless the program does so with
    /// [`Proxy::from_env`]. Default: none. No effect with a connector or a stream of the program.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.settings.proxy = proxy.into();
        self
    }

    /// Steps to run on each dialed connection before the framing begins. Default: none.
    pub fn preamble(mut self, preamble: impl Into<Option<Preamble>>) -> Self {
        self.settings.preamble = preamble.into();
        self
    }

    /// Checks all settings.
    ///
    /// # Errors
    /// The first invalid setting, by name.
    pub fn build(mut self) -> Result<Config<F>, ConfigError> {
        if let Some(bytes) = self.max_message {
            self.framing.set_max_message(bytes)?;
        }
        let s = &self.settings;
        let positive = [
            ("write_queue.messages", s.write_queue.messages),
            ("write_queue.bytes", s.write_queue.bytes),
            ("read_queue.messages", s.read_queue.messages),
            ("read_queue.bytes", s.read_queue.bytes),
            ("event_queue", s.event_queue),
            ("errored_queue.messages", s.errored_queue.messages),
            ("errored_queue.bytes", s.errored_queue.bytes),
            ("session_window", s.session_window),
            ("max_in_flight", s.max_in_flight),
            ("max_inbound", s.max_inbound),
            ("max_inbound_bytes", s.max_inbound_bytes),
            ("answers_ahead", s.answers_ahead),
            ("max_answer", s.max_answer.unwrap_or(usize::MAX)),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(ConfigError::OutOfRange { field, value: 0, must: "at least 1" });
            }
        }
        for (field, value) in [("max_in_flight", s.max_in_flight), ("max_inbound", s.max_inbound)] {
            if value > 1 << 20 {
                return Err(ConfigError::OutOfRange { field, value: value as u64, must: "at most 1048576" });
            }
        }
        let bytes: [(_, _, core::ops::RangeInclusive<usize>, _); 4] = [
            ("normal_window", s.windows[0] as usize, WINDOWS, "between 65536 and 1073741824"),
            ("bulk_window", s.windows[1] as usize, WINDOWS, "between 65536 and 1073741824"),
            ("fragment", s.fragment, 1024..=MAX_FRAGMENT, "between 1024 and 65536"),
            ("bulk_ahead", s.bulk_ahead, 128 * 1024..=usize::MAX, "at least 131072"),
        ];
        for (field, value, range, must) in bytes {
            if !range.contains(&value) {
                return Err(ConfigError::OutOfRange { field, value: value as u64, must });
            }
        }
        let durations = [
            ("call_timeout", s.call_timeout),
            ("cast_timeout", s.cast_timeout),
            ("connect_timeout", s.connect_timeout),
            ("heartbeat", s.heartbeat),
            ("dead_after", s.dead_after),
            ("write_stall", s.write_stall),
            ("message_timeout", s.message_timeout),
            ("expire_after", s.expire_after.unwrap_or(s.message_timeout)),
            ("session_expiry", s.session_expiry),
            ("ack_delay", s.ack_delay),
        ];
        for (field, value) in durations {
            check_time(field, value)?;
        }
        s.accept.check()?;
        s.reconnect.check()?;
        if let Some(proxy) = &s.proxy {
            proxy.check()?;
        }
        if let Some(preamble) = &s.preamble {
            preamble.check()?;
        }
        let profile = self.framing.profile();
        if s.credentials.0.is_some() && !profile.handshake {
            return Err(ConfigError::Conflict {
                field: "credentials",
                why: "this framing has no handshake to show them in",
            });
        }
        delivery::check(s, &profile)?;
        on_failure::check(s, &profile)?;
        if s.delivery == Delivery::Session && s.ack_delay >= s.dead_after {
            return Err(ConfigError::Conflict { field: "ack_delay", why: "must be shorter than dead_after" });
        }
        if profile.heartbeat && s.dead_after <= s.heartbeat {
            return Err(ConfigError::Conflict {
                field: "dead_after",
                why: "must be longer than heartbeat, or a quiet peer is dead before it was asked",
            });
        }
        if profile.calls == Calls::ByRange && s.first_call_id.is_some_and(|id| id > u64::MAX - (1 << 62)) {
            return Err(ConfigError::OutOfRange {
                field: "first_call_id",
                value: s.first_call_id.unwrap_or_default(),
                must: "at most 2^64 - 2^62 - 1",
            });
        }
        Ok(Config { framing: self.framing, settings: Arc::new(self.settings) })
    }
}

/// Checks that a time is sensible as a limit.
pub(crate) fn check_time(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value < Duration::from_millis(1) || value > Duration::from_secs(30 * 86_400) {
        let value = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        return Err(ConfigError::OutOfRange { field, value, must: "between 1 ms and 30 days" });
    }
    Ok(())
}
