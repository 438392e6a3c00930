//! All sockets of a context at one moment.

use bowline_driver::runtime::Runtime;
use bowline_zmtp::pipe::{PipeStats, Role};
use bowline_zmtp::socket::SocketStats;

use crate::context::Context;
use crate::core::SocketCore;

/// A pipe at one moment, as plain data.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PipeSnapshot {
    /// Its number.
    pub id: u64,
    /// Whether it was accepted; otherwise it connects.
    pub accepted: bool,
    /// Where it connects to, or which bound endpoint it came to.
    pub endpoint: String,
    /// The address at the other end, where that is known.
    pub address: Option<String>,
    /// Whether a connection is past its handshake.
    pub is_up: bool,
    /// What it has done so far.
    pub stats: PipeStats,
    /// Messages that wait to be sent.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Messages that came and wait in the pipe.
    pub unreceived: usize,
    /// Their bytes.
    pub unreceived_bytes: usize,
    /// Bytes of memory that are set aside for what waits.
    pub memory: usize,
}

/// A socket at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SocketSnapshot {
    /// What it is called; empty without a name.
    pub socket: String,
    /// Its type, as ZMTP says it.
    pub kind: &'static str,
    /// What it has done so far.
    pub stats: SocketStats,
    /// Its pipes.
    pub pipes: Vec<PipeSnapshot>,
}

/// All sockets of a context (each at a moment of its own: no two are looked at under one lock).
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ContextSnapshot {
    /// What it is called; empty without a name.
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
    /// What all of its sockets do now.
    #[must_use]
    pub fn snapshot(&self) -> ContextSnapshot {
        let sockets = self.core().members();
        let sockets = sockets.iter().map(|socket| socket.snapshot()).collect();
        ContextSnapshot { context: self.name().to_owned(), sockets }
    }

    /// Tells the `metrics` recorder what the sockets of each name add up to now: call it now and then, or when somebody
    /// asks for the figures. What sockets that are gone had counted goes with them, so these are gauges.
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
