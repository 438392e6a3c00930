//! What is told to `tracing` and `metrics`, where the features of those names are on: changes of
//! state, never single messages.

use bowline_core::address::Address;
use bowline_core::error::{Disconnect, Status};

use crate::peer::PeerId;
use crate::server_core::ServerEvent;

/// A socket is there; its handshake may not be done.
pub(crate) fn connected(peer: PeerId, remote: Option<&Address>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "bowline", peer = peer.0, remote = remote.map(tracing::field::display), "connected");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_connections_total").increment(1);
    let _ = (peer, remote);
}

/// A link is past its handshake.
pub(crate) fn ready(peer: PeerId) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "bowline", peer = peer.0, "ready");
    #[cfg(feature = "metrics")]
    metrics::gauge!("bowline_links_ready").increment(1);
    let _ = peer;
}

/// A connection is over.
pub(crate) fn disconnected(peer: PeerId, cause: &Disconnect) {
    #[cfg(feature = "tracing")]
    match cause {
        Disconnect::PeerClosed | Disconnect::GoneAway | Disconnect::LocalClose | Disconnect::Reopened => {
            tracing::info!(target: "bowline", peer = peer.0, %cause, "disconnected");
        }
        _ => tracing::warn!(target: "bowline", peer = peer.0, %cause, "disconnected"),
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_disconnects_total").increment(1);
    let _ = (peer, cause);
}

/// A link that was ready for so long is not any more; a session outlives its connections.
pub(crate) fn gone(lifetime: std::time::Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::gauge!("bowline_links_ready").decrement(1);
        metrics::histogram!("bowline_connection_seconds").record(lifetime.as_secs_f64());
    }
    let _ = lifetime;
}

/// A dial begins.
pub(crate) fn dialing(address: &Address, attempt: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "bowline", %address, attempt, "dialing");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_dials_total").increment(1);
    let _ = (address, attempt);
}

/// All endpoints were tried in vain.
pub(crate) fn round_failed(cause: &Disconnect) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "bowline", %cause, "no endpoint could be connected");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_dial_rounds_failed_total").increment(1);
    let _ = cause;
}

/// A handler failed, or panicked.
pub(crate) fn handler_failed(peer: PeerId, status: Status) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "bowline", peer = peer.0, status = status.0, "a handler failed");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_handler_failures_total").increment(1);
    let _ = (peer, status);
}

/// Something happened to a server as a whole.
pub(crate) fn server_event(event: &ServerEvent) {
    match event {
        ServerEvent::AcceptFailed(error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(target: "bowline", %error, "accepting a connection failed");
            #[cfg(feature = "metrics")]
            metrics::counter!("bowline_accept_errors_total").increment(1);
            let _ = error;
        }
        ServerEvent::Refused { from, why } => {
            #[cfg(feature = "tracing")]
            tracing::warn!(target: "bowline", %from, ?why, "connection refused");
            #[cfg(feature = "metrics")]
            metrics::counter!("bowline_connections_refused_total").increment(1);
            let _ = (from, why);
        }
    }
}
