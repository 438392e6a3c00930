//! Observing open links, without keeping them alive.

use std::collections::{BTreeMap, HashMap};

use bowline_core::frame::Framing;
use bowline_core::link::{LinkStats, State};
use bowline_driver::PeerId;
use bowline_driver::clock;
use bowline_driver::sync::{Arc, Mutex, Weak};

use crate::peer_core::{PeerCore, PeerInner};

/// Observes links, by label, while they exist.
///
/// Cheap to clone; all clones are one monitor. Give it to the builders of clients and servers, or
/// [`watch`](Self::watch) a peer. It holds links weakly and costs them nothing between snapshots; a snapshot
/// takes the lock of each link for a moment.
///
/// ```
/// use bowline_links::Monitor;
///
/// let monitor = Monitor::new();
/// // Builders take it: `Client::builder(address).monitor(&monitor, "orders")`.
/// assert_eq!(monitor.open_as("orders"), 0);
/// for link in monitor.snapshot().links {
///     println!("{}: {:?}", link.label, link.stats.state);
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Monitor(Arc<Registry>);

#[derive(Debug, Default)]
pub(crate) struct Registry {
    links: Mutex<HashMap<PeerId, Watched>>,
    /// Labels whose figures a recorder has.
    #[cfg(feature = "metrics")]
    published: Mutex<std::collections::BTreeSet<String>>,
}

#[derive(Clone)]
struct Watched {
    label: Arc<str>,
    link: Weak<dyn Watch>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.label.fmt(f)
    }
}

/// A link that can be observed, whatever its framing.
trait Watch: Send + Sync {
    fn stats(&self) -> LinkStats;
    fn remote(&self) -> Option<String>;
}

impl<F: Framing> Watch for PeerInner<F> {
    fn stats(&self) -> LinkStats {
        self.shared.with(|link| link.stats(clock::now()))
    }

    fn remote(&self) -> Option<String> {
        self.shared.with(|link| link.remote_addr().map(ToString::to_string))
    }
}

/// Removes a link from its monitor's list when the link is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Weak<Registry>,
    id: PeerId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.links.lock().remove(&self.id);
        }
    }
}

/// The state of one link at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LinkSnapshot {
    /// The id of the link.
    pub id: u64,
    /// The label of the link.
    pub label: String,
    /// The address of the other side, if it is known.
    pub remote: Option<String>,
    /// State, counters and queues of the link.
    pub stats: LinkStats,
}

/// The state of all links. Each link is read at its own moment, under its own lock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Number of open links by label; labels without open links are left out.
    pub open: BTreeMap<String, usize>,
    /// Every link that is not closed, by id.
    pub links: Vec<LinkSnapshot>,
}

impl Monitor {
    /// A monitor without links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Observes a link under `label` while it exists. A link has one monitor: the one that was given last.
    pub fn watch<F: Framing>(&self, label: &str, peer: &PeerCore<F>) {
        self.watch_as(label.into(), peer);
    }

    pub(crate) fn watch_as<F: Framing>(&self, label: Arc<str>, peer: &PeerCore<F>) {
        let link = Arc::downgrade(&peer.0) as Weak<dyn Watch>;
        self.0.links.lock().insert(peer.id(), Watched { label, link });
        let registration = Registration { registry: Arc::downgrade(&self.0), id: peer.id() };
        let before = peer.0.monitored.lock().replace(registration);
        // If the same monitor is given again, the new entry stays.
        if let Some(mut before) = before {
            if before.registry.ptr_eq(&Arc::downgrade(&self.0)) {
                before.registry = Weak::new();
            }
            drop(before);
        }
    }

    /// All existing links, collected under the lock and used outside of it.
    fn links(&self) -> Vec<(PeerId, Arc<str>, Arc<dyn Watch>)> {
        let links = self.0.links.lock();
        let alive = links.iter().filter_map(|(id, watched)| {
            watched.link.upgrade().map(|link| (*id, Arc::clone(&watched.label), link))
        });
        alive.collect()
    }

    /// The number of links that are not closed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.links().iter().filter(|(_, _, link)| link.stats().state != State::Closed).count()
    }

    /// The number of links under `label` that are not closed.
    #[must_use]
    pub fn open_as(&self, label: &str) -> usize {
        let links = self.links();
        let named = links.iter().filter(|(_, other, _)| &**other == label);
        named.filter(|(_, _, link)| link.stats().state != State::Closed).count()
    }

    /// The state of all links that are not closed, as plain data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (id, label, link) in self.links() {
            let stats = link.stats();
            if stats.state == State::Closed {
                continue;
            }
            *snapshot.open.entry(label.to_string()).or_insert(0) += 1;
            let (label, remote) = (label.to_string(), link.remote());
            snapshot.links.push(LinkSnapshot { id: id.0, label, remote, stats });
        }
        snapshot.links.sort_by_key(|link| link.id);
        snapshot
    }

    /// Reports the sums over the links of each label to the `metrics` recorder. Call it periodically, or
    /// before the metrics are read. The counters of links that were dropped are no longer included, so these
    /// are gauges, except the histogram of round-trip times. A label without links has gauges of zero.
    #[cfg(feature = "metrics")]
    pub fn publish(&self) {
        let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
        for LinkSnapshot { label, stats, .. } in self.snapshot().links {
            if let Some(round_trip) = stats.round_trip {
                metrics::histogram!("bowline_round_trip_seconds", "label" => label.clone())
                    .record(round_trip.as_secs_f64());
            }
            let sums = sums.entry(label).or_default();
            let c = &stats.counters;
            let drops = c.casts_dropped + c.messages_dropped + c.answers_dropped + c.errored_dropped;
            let values = [
                1,
                stats.in_flight as u64,
                stats.handling as u64,
                stats.write_queue.bytes as u64,
                stats.read_queue.bytes as u64,
                stats.memory as u64,
                c.bytes_in,
                c.bytes_out,
                c.calls,
                c.casts,
                c.messages,
                c.requests,
                c.connections,
                drops,
            ];
            for (sum, value) in sums.0.iter_mut().zip(values) {
                *sum += value;
            }
        }
        let mut published = self.0.published.lock();
        for label in published.iter().filter(|label| !sums.contains_key(*label)).cloned().collect::<Vec<_>>()
        {
            sums.insert(label, Sums::default());
        }
        published.extend(sums.keys().cloned());
        drop(published);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
        for (label, sums) in sums {
            for (name, value) in GAUGES.into_iter().zip(sums.0) {
                metrics::gauge!(name, "label" => label.clone()).set(value as f64);
            }
        }
    }
}

#[cfg(feature = "metrics")]
#[derive(Default)]
struct Sums([u64; GAUGES.len()]);

#[cfg(feature = "metrics")]
const GAUGES: [&str; 14] = [
    "bowline_links_open",
    "bowline_calls_in_flight",
    "bowline_requests_handled",
    "bowline_write_queue_bytes",
    "bowline_read_queue_bytes",
    "bowline_memory_bytes",
    "bowline_bytes_in",
    "bowline_bytes_out",
    "bowline_calls",
    "bowline_casts",
    "bowline_messages",
    "bowline_requests",
    "bowline_connections",
    "bowline_drops",
];
