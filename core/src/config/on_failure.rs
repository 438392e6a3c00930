//! The result of a failed request for its caller, on framings without error replies.

use super::Settings;
use crate::error::ConfigError;
use crate::frame::{Calls, Profile};

/// Handling of a failed request on a framing that carries calls but no error replies (tcpstream). A
/// request fails if its handler returns an error or panics, if its responder is dropped, or if its answer
/// cannot be sent. In each case the failure is counted and reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// Nothing is sent: the caller waits until its own deadline.
    #[default]
    Silence,
    /// The connection is closed ([`Disconnect::HandlerFailed`](crate::error::Disconnect)). The caller learns
    /// at once that there will be no answer, and so does every other caller on the connection.
    Disconnect,
    /// The text of the failure ([`Failure::body`](crate::error::Failure)) is sent as the answer, with this
    /// message type, by which the caller can recognise it.
    Answer {
        /// The message type.
        method: u32,
    },
}

/// Checks that the policy fits the framing.
pub(super) fn check(settings: &Settings, profile: &Profile) -> Result<(), ConfigError> {
    let why = match (profile.error_reply, profile.calls) {
        _ if settings.on_failure == OnFailure::Silence => return Ok(()),
        (true, _) => "this framing answers failures as such",
        (_, Calls::None) => "this framing carries no calls",
        _ => return Ok(()),
    };
    Err(ConfigError::Conflict { field: "on_failure", why })
}
