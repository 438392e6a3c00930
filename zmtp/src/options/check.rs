//! Validation of options.

use alloc::sync::Arc;
use core::time::Duration;

use super::{Heartbeat, MAX_HANDSHAKE, MAX_ROUTING_ID, Options};
use crate::error::OptionError;
use crate::mechanism::Mechanism;
use crate::socket_type::SocketType;

/// The longest TTL of a PING that libzmq understands, tenths of a second.
const MAX_TTL: u64 = 655;

impl Options {
    /// Validates all options.
    ///
    /// # Errors
    /// Names the first invalid option.
    pub fn build(mut self) -> Result<Arc<Self>, OptionError> {
        let at_most = |field, value: usize, limit: usize| match value <= limit {
            true => Ok(()),
            false => Err(OptionError { field, value: value as u64, limit: limit as u64 }),
        };
        let at_least = |field, value: usize, limit: usize| match value >= limit {
            true => Ok(()),
            false => Err(OptionError { field, value: value as u64, limit: limit as u64 }),
        };
        at_most("routing id length", self.routing_id.len(), MAX_ROUTING_ID)?;
        if self.routing_id.first() == Some(&0) {
            return Err(OptionError { field: "first byte of the routing id", value: 0, limit: 1 });
        }
        use SocketType::{Dealer, Pub, Pull, Push, Sub, XPub, XSub};
        if self.conflate && !matches!(self.kind, Push | Pull | Pub | Sub | XPub | XSub | Dealer) {
            return Err(OptionError { field: "conflate, where messages have envelopes", value: 1, limit: 0 });
        }
        at_most("domain length", self.domain.len(), 255)?;
        if let Mechanism::PlainClient { username, password } = &self.mechanism {
            at_most("PLAIN user name length", username.len(), 255)?;
            at_most("PLAIN password length", password.len(), 255)?;
        }
        if matches!(self.mechanism, Mechanism::PlainServer) && self.admission.is_none() {
            return Err(OptionError { field: "PLAIN server without an admission rule", value: 0, limit: 1 });
        }
        #[cfg(feature = "curve")]
        self.check_curve()?;
        for (name, _) in &self.metadata {
            at_least("property name length", name.len(), 1)?;
            at_most("property name length", name.len(), 255)?;
        }
        at_most("metadata length", self.own_metadata().len(), MAX_HANDSHAKE - 16)?;
        for (messages, bytes, limit) in [
            ("send limit, messages", "send limit, bytes", self.send_limit),
            ("receive limit, messages", "receive limit, bytes", self.receive_limit),
        ] {
            at_least(messages, limit.messages, 1)?;
            at_least(bytes, limit.bytes, 1)?;
        }
        at_least("sum of what waits to be sent", self.send_sum, 1)?;
        at_least("sum of what waits to be received", self.receive_sum, 1)?;
        if self.message_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(OptionError { field: "time for a message", value: 0, limit: 1 });
        }
        at_least("max parts", self.max_parts, 1)?;
        // A queue refuses messages of 4 GiB or more; this leaves room for headers.
        at_most("max message", self.max_message, 3 << 30)?;
        at_most("max parts", self.max_parts, 1 << 20)?;
        if self.kind.is_single_part() {
            // A RADIO's message is preceded by its group.
            let group = matches!(self.kind, SocketType::Radio | SocketType::Dish);
            self.max_parts = self.max_parts.min(1 + usize::from(group));
        }
        if let Some(heartbeat) = self.heartbeat {
            if heartbeat.interval.is_zero() || heartbeat.timeout.is_zero() {
                return Err(OptionError { field: "heartbeat interval or timeout", value: 0, limit: 1 });
            }
            let ttl = tenths(heartbeat.ttl);
            if ttl > MAX_TTL {
                let field = "heartbeat TTL in tenths of a second";
                return Err(OptionError { field, value: ttl, limit: MAX_TTL });
            }
        }
        Ok(Arc::new(self))
    }

    #[cfg(feature = "curve")]
    fn check_curve(&self) -> Result<(), OptionError> {
        let wrong = |field| Err(OptionError { field, value: 0, limit: 1 });
        match &self.mechanism {
            Mechanism::CurveServer { .. } if self.admission.is_none() && self.allowed_keys.is_none() => {
                wrong("CURVE server without an admission rule or keys")
            }
            Mechanism::CurveClient { secret_key, server_key } if !secret_key.goes_with(server_key) => {
                wrong("CURVE server key, which is no key")
            }
            _ => Ok(()),
        }
    }
}

/// Tenths of a second, rounded up, so that a duration above zero does not become zero.
fn tenths(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(100)).unwrap_or(u64::MAX)
}

impl Heartbeat {
    /// The TTL in a PING's unit.
    pub(crate) fn ttl_on_the_wire(&self) -> u16 {
        u16::try_from(tenths(self.ttl).min(MAX_TTL)).unwrap_or_default()
    }
}
