//! The state of all sockets of a context at one moment.

use bowline_driver::runtime::Runtime;
use bowline_zmtp::pipe::{PipeStats, Role};
use bowline_zmtp::socket::SocketStats;

use crate::context::Context;
use crate::core::SocketCore;

/// The state of a pipe at one moment, as plain data.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PipeSnapshot {
    /// Its id.
    pub id: u64,
    /// Whether it was accepted; otherwise it connects.
    pub accepted: bool,
    /// The endpoint that it connects to, or the bound endpoint that it was accepted at.
    pub endpoint: String,
    /// The address of the other side, if it is known.
    pub address: Option<String>,
    /// Whether a connection is past its handshake.
    pub is_up: bool,
    /// Counters of the pipe.
    pub stats: PipeStats,
    /// Messages that wait to be sent.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Received messages that wait in the pipe.
    pub unreceived: usize,
    /// Their bytes.
    pub unreceived_bytes: usize,
    /// Bytes of memory allocated for waiting messages.
    pub memory: usize,
}

/// The state of a socket at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SocketSnapshot {
    /// Its name; empty if there is none.
    pub socket: String,
    /// Its type, as named in ZMTP.
    pub kind: &'static str,
    /// Counters of the socket.
    pub stats: SocketStats,
    /// Its pipes.
    pub pipes: Vec<PipeSnapshot>,
}

/// The state of all sockets of a context. Each socket is read at its own moment, under its own lock.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ContextSnapshot {
    /// Its name; empty if there is none.
    pub context: String,
    /// Its sockets, in the order in which they were made.
    pub sockets: Vec<SocketSnapshot>,
}

impl SocketCore {
    fn snapshot(&self) -> SocketSnapshot {
        let pipe = |info: crate::monitor::PipeInfo| PipeSnapshot {
            id: info.id.number(),
            accepted: info.role == Role::Accepting,
            endpoint: info.endpoint.to_string(),
            address: info.address.map(|address| address.to_string()),
            is_up: info.peer.is_some(),
            stats: info.stats,
            waiting: info.waiting,
            waiting_bytes: info.waiting_bytes,
            unreceived: info.unreceived,
            unreceived_bytes: info.unreceived_bytes,
            memory: info.memory,
        };
        SocketSnapshot {
            socket: self.name.clone(),
            kind: self.kind.name(),
            stats: self.stats(),
            pipes: self.pipes().into_iter().map(pipe).collect(),
        }
    }
}

impl<R: Runtime> Context<R> {
    /// The present state of all its sockets.
    #[must_use]
    pub fn snapshot(&self) -> ContextSnapshot {
        let sockets = self.core().members();
        let sockets = sockets.iter().map(|socket| socket.snapshot()).collect();
        ContextSnapshot { context: self.name().to_owned(), sockets }
    }

    /// Reports the sums over the sockets of each name to the `metrics` recorder: call it periodically, or
    /// before the metrics are read. The counters of sockets that are gone are no longer included, so these
    /// are gauges.
    #[cfg(feature = "metrics")]
    pub fn publish(&self) {
        let ContextSnapshot { context, sockets } = self.snapshot();
        let mut sums = std::collections::BTreeMap::<String, [u64; GAUGES.len()]>::new();
        for SocketSnapshot { socket, stats, pipes, .. } in sockets {
            let sums = sums.entry(socket).or_default();
            let mut add = |values: [u64; GAUGES.len()]| {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            };
            let drops = stats.overflowed + stats.discarded + stats.dropped;
            add([1, 0, 0, 0, 0, 0, 0, drops]);
            for pipe in pipes {
                let [waiting, unreceived, memory] =
                    [pipe.waiting_bytes, pipe.unreceived_bytes, pipe.memory].map(|bytes| bytes as u64);
                let up = u64::from(pipe.is_up);
                add([0, up, waiting, unreceived, memory, pipe.stats.sent, pipe.stats.received, 0]);
            }
        }
        // Sockets that are gone have gauges of zero.
        for socket in self.core().publish(sums.keys().cloned()) {
            sums.entry(socket).or_default();
        }
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        for (socket, sums) in sums {
            let names = [("context", context.clone()), ("socket", socket)];
            for (name, value) in GAUGES.into_iter().zip(sums) {
                metrics::gauge!(name, &names).set(value as f64);
            }
        }
    }
}

#[cfg(feature = "metrics")]
const GAUGES: [&str; 8] = [
    "bowline_zmtp_sockets",
    "bowline_zmtp_peers",
    "bowline_zmtp_send_queue_bytes",
    "bowline_zmtp_receive_queue_bytes",
    "bowline_zmtp_memory_bytes",
    "bowline_zmtp_messages_sent",
    "bowline_zmtp_messages_received",
    "bowline_zmtp_drops",
];
