//! Every setting, and what makes no sense.

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

/// Windows that a class may have.
const WINDOWS: core::ops::RangeInclusive<usize> = MIN_WINDOW as usize..=1 << 30;

/// Builds a [`Config`]; every setter replaces a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct ConfigBuilder<F: Framing = Native> {
    pub(super) framing: F,
    pub(super) max_message: Option<usize>,
    pub(super) settings: Settings,
}

impl<F: Framing> ConfigBuilder<F> {
    /// Longest message in bytes, both ways. Default 8 MiB (buffstreams: 4,096).
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Bounds of the write queue: calls and casts of each class, and (apart from them) answers.
    /// Once full, it takes no more until half of it is free. Default 1,024 messages and 4 MiB.
    pub fn write_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.write_queue = limit;
        self
    }

    /// What happens to a message when the write queue is full. Default [`Overflow::Block`].
    pub fn write_overflow(mut self, policy: Overflow) -> Self {
        self.settings.write_overflow = policy;
        self
    }

    /// Bounds of the queue of received messages. Default 1,024 messages and 4 MiB. With flow
    /// control (native) and [`Overflow::Block`], the windows bound it instead.
    pub fn read_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.read_queue = limit;
        self
    }

    /// What happens to a received message when that queue is full. Default [`Overflow::Block`]:
    /// with flow control (native) the sender waits, and everything else goes on. On other framings
    /// the socket is not read until there is room. Where such a framing carries calls (tcpstream)
    /// that holds up replies too: as long as the application has never received from the link, the newest
    /// message is dropped instead, counted and reported, and what fits into the queue is kept. A
    /// link that received before and stops is still held up: it should drop.
    pub fn read_overflow(mut self, policy: Overflow) -> Self {
        self.settings.read_overflow = policy;
        self
    }

    /// Events kept until the application reads them; the oldest are dropped and counted. Default 1,024.
    pub fn event_queue(mut self, events: usize) -> Self {
        self.settings.event_queue = events;
        self
    }

    /// Bounds of the queue of messages that could not be delivered and were not given back
    /// in another way. Default 1,024 messages and 4 MiB.
    pub fn errored_queue(mut self, limit: QueueLimit) -> Self {
        self.settings.errored_queue = limit;
        self
    }

    /// What happens when that queue is full: [`Overflow::DropOldest`] (the default) or
    /// [`Overflow::DropNewest`]. It never holds anything up.
    pub fn errored_overflow(mut self, policy: Overflow) -> Self {
        self.settings.errored_overflow = policy;
        self
    }

    /// What is promised of messages across connections. Default [`Delivery::AtMostOnce`].
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.settings.delivery = delivery;
        self
    }

    /// What becomes of messages that never left when a connection ends. Default
    /// [`OnDisconnect::Keep`].
    pub fn on_disconnect(mut self, policy: OnDisconnect) -> Self {
        self.settings.on_disconnect = policy;
        self
    }

    /// What becomes of a request that failed, on a framing that cannot say so (tcpstream). Default
    /// [`OnFailure::Silence`]: the caller waits until its own deadline.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.settings.on_failure = policy;
        self
    }

    /// A cast that waits in the write queue for longer is not sent any more. Default: it waits
    /// for as long as it takes. (Calls have deadlines.)
    pub fn expire_after(mut self, wait: Duration) -> Self {
        self.settings.expire_after = Some(wait);
        self
    }

    /// With [`Delivery::AtLeastOnce`]: so many bytes of each class that were written last are sent
    /// again, too, when a connection dies, since the system may have lost them. Default 0.
    pub fn resend_window(mut self, bytes: usize) -> Self {
        self.settings.resend_window = bytes;
        self
    }

    /// In a session: bytes that are kept until the peer acknowledges them; nothing more is sent
    /// when so many are (one batch is always let out), and the write queue fills up. Default
    /// 256 KiB.
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

    /// How many of them may have come from one address (Unix and in-process ones count as one
    /// address). When there is one more, one of that address ends: the one that carried least, and
    /// of those the one that has been without for longest. Default 512.
    pub fn max_detached_per_address(mut self, sessions: usize) -> Self {
        self.settings.max_detached_per_address = sessions;
        self
    }

    /// Bytes that they may hold together at any time, what is queued for them while they have no
    /// connection included. Beyond, the largest session ends of the address whose sessions hold
    /// most. Default 256 MiB.
    pub fn max_detached_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_detached_bytes = bytes;
        self
    }

    /// In a session: how long the peer may wait at most for the acknowledgement of what it sent
    /// (it comes earlier when 64 KiB, or a quarter of the window, came in). Default 25 ms.
    pub fn ack_delay(mut self, delay: Duration) -> Self {
        self.settings.ack_delay = delay;
        self
    }

    /// How often an idempotent call is tried again after the first time. Default 5.
    pub fn retry_limit(mut self, times: u32) -> Self {
        self.settings.retry_limit = times;
        self
    }

    /// Bytes of requests of idempotent calls that are kept to be tried again; one is always kept.
    /// Calls over it are not tried again once they left. Default 4 MiB.
    pub fn retry_buffer(mut self, bytes: usize) -> Self {
        self.settings.retry_buffer = bytes;
        self
    }

    /// Deadline of a call that names none. Default 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// Deadline of a cast whose end is waited for (`cast_and_wait`) and that names none: waiting for
    /// room, for a connection, and for the end together. A cast whose end is not waited for has none (see
    /// [`expire_after`](Self::expire_after)). From 1 ms to 30 days; default 10 s.
    pub fn cast_timeout(mut self, timeout: Duration) -> Self {
        self.settings.cast_timeout = timeout;
        self
    }

    /// Calls in flight per link; the next waits under its own deadline. Default 1,024.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.settings.max_in_flight = calls;
        self
    }

    /// Requests of the peer that are handled at once. Default 1,024.
    pub fn max_inbound(mut self, requests: usize) -> Self {
        self.settings.max_inbound = requests;
        self
    }

    /// Bytes of the peer's requests that are handled at once; one is always let in. Further ones
    /// are not started (native: they wait inside their window; elsewhere reading pauses).
    /// Default 16 MiB.
    pub fn max_inbound_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_inbound_bytes = bytes;
        self
    }

    /// Bytes that the answers of running handlers may take: a request starts only while the number
    /// of running requests times the largest answer given lately (128 KiB before there was one, at
    /// least 4 KiB) stays within this, or none runs. Requests answered inline are bounded by the
    /// write queue alone. Default 16 MiB.
    pub fn answers_ahead(mut self, bytes: usize) -> Self {
        self.settings.answers_ahead = bytes;
        self
    }

    /// Longest answer in bytes; the caller of a longer one gets the status
    /// [`REPLY_TOO_LARGE`](crate::error::Status::REPLY_TOO_LARGE). Default: as long as a message.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.settings.max_answer = Some(bytes);
        self
    }

    /// Most bytes of the peer's normal messages (casts and requests) that are kept here before
    /// the application takes them, 256 more for each counted (native). The peer knows, and waits.
    /// From 64 KiB to 1 GiB; default 4 MiB.
    pub fn normal_window(mut self, bytes: u32) -> Self {
        self.settings.windows[0] = bytes;
        self
    }

    /// The same for bulk messages; one message is let in whole, even if it is longer. Default
    /// 4 MiB.
    pub fn bulk_window(mut self, bytes: u32) -> Self {
        self.settings.windows[1] = bytes;
        self
    }

    /// Longer messages are cut into pieces of so many bytes, and go to the bulk class unless their
    /// options name another (native). From 1 KiB to 64 KiB; default 16 KiB.
    pub fn fragment(mut self, bytes: usize) -> Self {
        self.settings.fragment = bytes;
        self
    }

    /// Bulk bytes that are handed to the system before the peer has said that it read those
    /// before (native): what a small message may find in front of it in the socket. Less keeps
    /// others quick, more keeps a long fat line busy: it limits bulk to so much per round trip.
    /// At least 128 KiB; default 256 KiB.
    pub fn bulk_ahead(mut self, bytes: usize) -> Self {
        self.settings.bulk_ahead = bytes;
        self
    }

    /// Time for resolving, dialing and the handshake together. Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Head start of one address over the next (RFC 8305). Default 250 ms.
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.settings.attempt_delay = delay;
        self
    }

    /// The peer is asked for a sign of life after so long without any byte from it. Default 10 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// The peer counts as dead after so long without any byte from it. Default 30 s.
    pub fn dead_after(mut self, silence: Duration) -> Self {
        self.settings.dead_after = silence;
        self
    }

    /// The connection counts as dead when bytes wait and none could be written for so long.
    /// Default 20 s.
    pub fn write_stall(mut self, limit: Duration) -> Self {
        self.settings.write_stall = limit;
        self
    }

    /// A message must be whole so long after its first byte came. Default 60 s.
    pub fn message_timeout(mut self, limit: Duration) -> Self {
        self.settings.message_timeout = limit;
        self
    }

    /// How long closing, or dropping the last handle, waits for what is under way. Default 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// When and how often to connect again. Default: for ever, full jitter, 100 ms doubling to
    /// 30 s.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.settings.reconnect = policy;
        self
    }

    /// The first call id. On tcpstream our ids must not meet the peer's: the default is 2^63 when
    /// dialing and 2^63 + 2^62 when accepting. Native: 1.
    pub fn first_call_id(mut self, id: u64) -> Self {
        self.settings.first_call_id = Some(id);
        self
    }

    /// Seed of the jitter, for runs that can be repeated. Default: the system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Options set on every socket.
    pub fn sockets(mut self, options: SocketOptions) -> Self {
        self.settings.sockets = options;
        self
    }

    /// Where a dialing side's credentials come from, for servers that ask for them: asked anew for each
    /// connection. Default: it shows none.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.settings.credentials = Source(Some(Arc::new(source)));
        self
    }

    /// Connections are secured by TLS: with a `TlsClient` those that are dialed, with a `TlsServer` those that are
    /// accepted (feature `tls`). From then on every connection of that kind is, whatever its address looks like, Unix and
    /// in-process ones and streams of the program's own included. Default: plain text; `tls://` addresses are errors then.
    pub fn tls(mut self, tls: impl Into<Layers>) -> Self {
        self.settings.layers = core::mem::take(&mut self.settings.layers).and(tls.into());
        self
    }

    /// What the accepting side allows those who connect to it.
    pub fn accept_limits(mut self, limits: AcceptLimits) -> Self {
        self.settings.accept = limits;
        self
    }

    /// Connections are made through those proxies; the environment has no say, unless the program asks it
    /// ([`Proxy::from_env`]). Default: none. Over a connector or a stream of the program's own it has no effect.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.settings.proxy = proxy.into();
        self
    }

    /// What is done on each connection that is dialed, before the framing begins. Default: nothing.
    pub fn preamble(mut self, preamble: impl Into<Option<Preamble>>) -> Self {
        self.settings.preamble = preamble.into();
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first setting that cannot work, by name.
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

/// A time that makes sense as a limit.
pub(crate) fn check_time(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value < Duration::from_millis(1) || value > Duration::from_secs(30 * 86_400) {
        let value = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        return Err(ConfigError::OutOfRange { field, value, must: "between 1 ms and 30 days" });
    }
    Ok(())
}
