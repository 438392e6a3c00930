//! Events of clients for `tracing` and `metrics`, if these features are on: connections to nodes, by client,
//! never single messages. The links below report their own events.

use bowline_core::error::Disconnect;
use bowline_forestbus::cluster::{Lane, NodeCause};

/// A connection to a node, of a client with this name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    pub(crate) client: &'a str,
    pub(crate) node: &'a str,
    pub(crate) lane: Lane,
}

/// An event of a connection, and its counter.
macro_rules! tell {
    ($level:ident, $to:ident, $counter:literal, $($rest:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(
            target: "bowline", client = $to.client, node = $to.node, lane = %$to.lane, $($rest)*
        );
        #[cfg(feature = "metrics")]
        metrics::counter!($counter, "client" => $to.client.to_owned(), "node" => $to.node.to_owned()).increment(1);
        let To { client, node, lane } = $to;
        let _ = (client, node, lane);
    }};
}

#[cfg(feature = "tracing")]
use bowline_core::error::Chain;

/// A node is being dialed.
pub(crate) fn dialing(to: To<'_>) {
    tell!(debug, to, "bowline_forestbus_dials_total", "dialing a node");
}

/// A node is connected. Its cluster's id was not checked yet.
pub(crate) fn connected(to: To<'_>) {
    tell!(debug, to, "bowline_forestbus_connections_total", "connected to a node");
}

/// A node could not be connected.
pub(crate) fn dial_failed(to: To<'_>, cause: &Disconnect) {
    tell!(warn, to, "bowline_forestbus_dials_failed_total", cause = %Chain(cause), "a node was not reached");
    let _ = cause;
}

/// A connection ended.
pub(crate) fn lost(to: To<'_>, cause: &Disconnect) {
    tell!(warn, to, "bowline_forestbus_connections_lost_total", cause = %Chain(cause), "the connection to a node ended");
    let _ = cause;
}

/// This side closed a connection.
pub(crate) fn closed(to: To<'_>, cause: &NodeCause) {
    match cause {
        // Not caused by the node.
        NodeCause::Disconnected => {
            tell!(
                debug,
                to,
                "bowline_forestbus_connections_closed_total",
                "the connection to a node was closed"
            );
        }
        cause => {
            tell!(
                warn, to, "bowline_forestbus_connections_closed_total", cause = %Chain(cause),
                "the connection to a node was closed"
            );
            let _ = cause;
        }
    }
}
