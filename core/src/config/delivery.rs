//! Delivery guarantees, and policies for full queues.

use super::Settings;
use crate::error::ConfigError;
use crate::frame::Profile;

/// Handling of a message when a queue has no room for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The sender waits (on the receiving side: the socket is not read).
    #[default]
    Block,
    /// The sender gets the message back with an error. On the receiving side there is no caller to return it
    /// to, and this is the same as `DropNewest`.
    Reject,
    /// The new message is dropped, counted and reported.
    DropNewest,
    /// The oldest waiting message is dropped, counted and reported.
    DropOldest,
    /// The connection is closed; a session ends with it.
    Disconnect,
}

/// The delivery guarantee of a link across its connections.
///
/// ```
/// use bowline_core::config::{Config, Delivery};
/// use bowline_core::frame::raw::Raw;
///
/// let session = Config::builder().delivery(Delivery::Session).build()?;
/// // A framing that cannot keep a promise refuses it.
/// assert!(Config::with_framing(Raw::new()).delivery(Delivery::Session).build().is_err());
/// # drop(session);
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Delivery {
    /// A message that was sent is never repeated.
    #[default]
    AtMostOnce,
    /// For framings without acknowledgements: if a write fails, the messages of that batch are sent again on
    /// the next connection, complete and in order, before the messages that were not tried yet; the peer may
    /// receive some of them twice. A message that was sent once and repeated `retry_limit` times becomes an
    /// [errored message](crate::link::Link::poll_errored). Bytes that the system accepted and lost are still
    /// lost; [`resend_window`](super::ConfigBuilder::resend_window) reduces that risk.
    AtLeastOnce {
        /// How often a message is sent again.
        retry_limit: u32,
    },
    /// A session that both sides share and that outlives its connections: after a reconnect it continues
    /// where it was, so that each message (calls, answers and casts, both ways) is handed over exactly once
    /// and in order within its class, while both processes live. Native only; both sides must configure it.
    /// An accepting side keeps a session without a connection for
    /// [`session_expiry`](super::ConfigBuilder::session_expiry).
    Session,
}

impl Delivery {
    /// [`AtLeastOnce`](Self::AtLeastOnce) with the limit of clj-tcp: 5 repetitions.
    #[must_use]
    pub const fn at_least_once() -> Self {
        Self::AtLeastOnce { retry_limit: 5 }
    }
}

/// Handling of unsent messages when a connection ends ([`Delivery::AtMostOnce`]). Calls that are not kept
/// end with [`CallError::NeverSent`](crate::error::CallError::NeverSent).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// They are sent on the next connection.
    #[default]
    Keep,
    /// They are given back, as errored messages.
    Return,
    /// They are dropped, counted and reported.
    Drop,
}

/// Checks that the delivery settings fit together, and fit the framing.
pub(super) fn check(settings: &Settings, profile: &Profile) -> Result<(), ConfigError> {
    let conflict = |field, why| Err(ConfigError::Conflict { field, why });
    if !matches!(settings.errored_overflow, Overflow::DropOldest | Overflow::DropNewest) {
        return conflict("errored_overflow", "must be DropOldest or DropNewest: no caller waits for it");
    }
    if matches!(settings.delivery, Delivery::AtLeastOnce { .. }) {
        if profile.flow_control {
            return conflict("delivery", "AtLeastOnce is for framings that cannot tell what arrived");
        }
        if settings.on_disconnect != OnDisconnect::Keep {
            return conflict("on_disconnect", "AtLeastOnce keeps what did not leave");
        }
    } else if settings.delivery == Delivery::Session {
        if !profile.flow_control {
            return conflict("delivery", "a session needs frames that say what arrived: the native protocol");
        }
        if settings.on_disconnect != OnDisconnect::Keep {
            return conflict("on_disconnect", "a session keeps what did not leave");
        }
        if !matches!(settings.read_overflow, Overflow::Block | Overflow::Disconnect) {
            return conflict(
                "read_overflow",
                "a session drops nothing that it acknowledged: Block, or Disconnect",
            );
        }
    }
    if !matches!(settings.delivery, Delivery::AtLeastOnce { .. }) && settings.resend_window > 0 {
        return conflict("resend_window", "is for AtLeastOnce: otherwise what left is never repeated");
    }
    Ok(())
}
