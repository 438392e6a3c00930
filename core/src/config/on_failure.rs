//! What a caller learns of a failed request where frames cannot say so.

use super::Settings;
use crate::error::ConfigError;
use crate::frame::{Calls, Profile};

/// What becomes of a request that failed, on a framing that carries calls and has no error replies
/// (tcpstream): its handler returned an error or panicked, let go of its responder, or gave an
/// answer that cannot be sent. In each case the failure is counted and reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// Nothing is sent: the caller waits until its own deadline.
    #[default]
    Silence,
    /// The connection is closed ([`Disconnect::HandlerFailed`](crate::error::Disconnect)): the
    /// caller learns at once that there will be no answer, and so does every other caller on it.
    Disconnect,
    /// The text of the failure ([`Failure::body`](crate::error::Failure)) is sent as the answer,
    /// with this message type, which the caller can tell from those of answers.
    Answer {
        /// The message type.
        method: u32,
    },
}

/// Whether the framing has a use for it.
pub(super) fn check(settings: &Settings, profile: &Profile) -> Result<(), ConfigError> {
    let why = match (profile.error_reply, profile.calls) {
        _ if settings.on_failure == OnFailure::Silence => return Ok(()),
        (true, _) => "this framing answers failures as such",
        (_, Calls::None) => "this framing carries no calls",
        _ => return Ok(()),
    };
    Err(ConfigError::Conflict { field: "on_failure", why })
}
