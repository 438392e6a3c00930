//! Events of sockets for `tracing` and `metrics`, if these features are on: by context and socket, never for
//! single messages.

use bowline_zmtp::socket::SocketEvent;
use bowline_zmtp::socket_type::SocketType;

/// The socket that the events belong to.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) context: String,
    pub(crate) socket: String,
    pub(crate) kind: SocketType,
}

/// Reports an event of a socket.
pub(crate) fn event(label: &Label, event: &SocketEvent) {
    #[cfg(feature = "tracing")]
    trace(label, event);
    #[cfg(feature = "metrics")]
    count(label, event);
    let Label { context, socket, kind } = label;
    let _ = (context, socket, kind, event);
}

#[cfg(feature = "tracing")]
fn trace(label: &Label, event: &SocketEvent) {
    use bowline_core::error::Chain;
    use tracing::field::display;

    macro_rules! tell {
        ($level:ident, $($rest:tt)*) => {
            tracing::$level!(
                target: "bowline", context = label.context, socket = label.socket, kind = %label.kind, $($rest)*
            )
        };
    }
    match event {
        SocketEvent::Listening { endpoint } => tell!(info, %endpoint, "listening"),
        SocketEvent::Unbound { endpoint } => tell!(info, %endpoint, "unbound"),
        SocketEvent::Accepted { pipe, endpoint, from } => {
            tell!(debug, pipe = pipe.number(), %endpoint, from = from.as_ref().map(display), "accepted");
        }
        SocketEvent::AcceptRefused { endpoint, from, limit } => {
            tell!(warn, %endpoint, %from, ?limit, "a peer was not accepted");
        }
        SocketEvent::AcceptFailed { endpoint, error } => {
            tell!(warn, %endpoint, %error, "accepting a peer failed");
        }
        SocketEvent::Insecure { endpoint, from, cause } => {
            tell!(warn, %endpoint, %from, cause = %Chain(cause), "a peer could not be secured");
        }
        SocketEvent::Dialing { pipe, address, attempt } => {
            tell!(debug, pipe = pipe.number(), %address, attempt, "dialing a peer");
        }
        SocketEvent::DialFailed { pipe, attempt, failure } => {
            let cause = Chain(&failure.cause);
            tell!(debug, pipe = pipe.number(), attempt, at = %failure.place(), %cause, "a peer was not reached");
        }
        SocketEvent::Retrying { pipe, attempt, after, cause } => {
            tell!(debug, pipe = pipe.number(), attempt, ?after, cause = %Chain(cause), "dialing again after a wait");
        }
        SocketEvent::Retired { pipe, cause } => {
            tell!(info, pipe = pipe.number(), cause = %Chain(cause), "a pipe is over");
        }
        SocketEvent::HandshakeFailed { pipe, why } => {
            tell!(warn, pipe = pipe.number(), why = %Chain(why), status = why.status(), "a handshake failed");
        }
        SocketEvent::PeerUp(pipe, peer) => {
            let theirs = peer.socket_type.map(display);
            tell!(info, pipe = pipe.number(), version = %peer.version, theirs, "a peer is there");
        }
        SocketEvent::PeerDown(pipe, cause) => {
            tell!(info, pipe = pipe.number(), cause = %Chain(cause), "a peer went");
        }
        SocketEvent::PeerRefused(pipe, error) => {
            tell!(warn, pipe = pipe.number(), %error, "a peer was refused");
        }
        SocketEvent::Dropped { pipe, count, why } => {
            tell!(warn, pipe = pipe.number(), count, ?why, "messages were dropped");
        }
        _ => {}
    }
}

#[cfg(feature = "metrics")]
fn count(label: &Label, event: &SocketEvent) {
    let names = || [("context", label.context.clone()), ("socket", label.socket.clone())];
    let one = |name: &'static str| metrics::counter!(name, &names()).increment(1);
    match event {
        SocketEvent::Accepted { .. } => one("bowline_zmtp_accepted_total"),
        SocketEvent::AcceptRefused { .. } => one("bowline_zmtp_accepts_refused_total"),
        SocketEvent::AcceptFailed { .. } => one("bowline_zmtp_accept_errors_total"),
        SocketEvent::Insecure { .. } => one("bowline_zmtp_insecure_total"),
        SocketEvent::Dialing { .. } => one("bowline_zmtp_dials_total"),
        SocketEvent::DialFailed { .. } => one("bowline_zmtp_dials_failed_total"),
        SocketEvent::HandshakeFailed { .. } => one("bowline_zmtp_handshakes_failed_total"),
        SocketEvent::PeerUp(..) => one("bowline_zmtp_peers_up_total"),
        SocketEvent::PeerDown(..) => one("bowline_zmtp_peers_down_total"),
        SocketEvent::PeerRefused(..) => one("bowline_zmtp_peers_refused_total"),
        SocketEvent::Dropped { count, .. } => {
            metrics::counter!("bowline_zmtp_messages_dropped_total", &names()).increment(*count as u64);
        }
        _ => {}
    }
}
