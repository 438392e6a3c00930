//! Events and metrics, if the features `tracing` and `metrics` are on: state changes, never single messages.

use bowline_core::address::Address;
#[cfg(feature = "tracing")]
use bowline_core::error::Chain;
use bowline_core::error::{Disconnect, Status};
use bowline_core::supervisor::DialFailure;

use crate::PeerId;
use crate::accept::ServerEvent;

/// A socket is connected; its handshake may not be done.
pub fn connected(peer: PeerId, remote: Option<&Address>) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "bowline", peer = peer.0, remote = remote.map(tracing::field::display), "connected");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_connections_total").increment(1);
    let _ = (peer, remote);
}

/// The handshake of a link is done.
pub fn ready(peer: PeerId) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "bowline", peer = peer.0, "ready");
    #[cfg(feature = "metrics")]
    metrics::gauge!("bowline_links_ready").increment(1);
    let _ = peer;
}

/// A connection is over.
pub fn disconnected(peer: PeerId, cause: &Disconnect) {
    #[cfg(feature = "tracing")]
    match cause {
        Disconnect::PeerClosed | Disconnect::GoneAway | Disconnect::LocalClose | Disconnect::Reopened => {
            tracing::info!(target: "bowline", peer = peer.0, cause = %Chain(cause), "disconnected");
        }
        _ => tracing::warn!(target: "bowline", peer = peer.0, cause = %Chain(cause), "disconnected"),
    }
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_disconnects_total").increment(1);
    let _ = (peer, cause);
}

/// A link that was ready for this time has ended; a session outlives its connections.
pub fn gone(lifetime: std::time::Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::gauge!("bowline_links_ready").decrement(1);
        metrics::histogram!("bowline_connection_seconds").record(lifetime.as_secs_f64());
    }
    let _ = lifetime;
}

/// A dial begins.
pub fn dialing(address: &Address, attempt: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "bowline", %address, attempt, "dialing");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_dials_total").increment(1);
    let _ = (address, attempt);
}

/// A dial, a name resolution or a handshake failed.
pub fn dial_failed(failure: &DialFailure, attempt: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "bowline", at = %failure.place(), attempt, cause = %Chain(&failure.cause), "dial failed"
    );
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_dials_failed_total").increment(1);
    let _ = (failure, attempt);
}

/// All endpoints failed; `failure` is that of the last one.
pub fn round_failed(failure: &DialFailure) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "bowline", cause = %Chain(failure), "no endpoint could be connected");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_dial_rounds_failed_total").increment(1);
    let _ = failure;
}

/// A handler failed, or panicked.
pub fn handler_failed(peer: PeerId, status: Status) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "bowline", peer = peer.0, status = status.0, "a handler failed");
    #[cfg(feature = "metrics")]
    metrics::counter!("bowline_handler_failures_total").increment(1);
    let _ = (peer, status);
}

/// An event of a server as a whole.
pub fn server_event(event: &ServerEvent) {
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
        ServerEvent::Insecure { from, cause } => {
            #[cfg(feature = "tracing")]
            tracing::warn!(target: "bowline", %from, cause = %Chain(cause), "a connection could not be secured");
            #[cfg(feature = "metrics")]
            metrics::counter!("bowline_connections_insecure_total").increment(1);
            let _ = (from, cause);
        }
        ServerEvent::Denied { peer, from, refusal } => {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                target: "bowline", peer = peer.0, from = from.as_ref().map(tracing::field::display), %refusal,
                "a peer was not let in"
            );
            #[cfg(feature = "metrics")]
            metrics::counter!("bowline_peers_denied_total").increment(1);
            let _ = (peer, from, refusal);
        }
    }
}
