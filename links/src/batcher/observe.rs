//! Batchers in `tracing` and `metrics`, if these features are on: events for failed attempts and for the end,
//! counters once for each batch, nothing for a single message.

use bowline_core::batcher::Stats;

/// Reports the changes since its last report.
#[derive(Debug)]
pub(super) struct Teller {
    /// The name that the program gave the batcher.
    name: String,
    told: Stats,
}

impl Teller {
    pub(super) fn new(name: String) -> Self {
        Self { name, told: Stats::default() }
    }

    /// Whether a feature is on that receives reports.
    pub(super) const fn is_heard() -> bool {
        cfg!(any(feature = "tracing", feature = "metrics"))
    }

    /// An attempt is over; `again` is the number of messages that are tried again.
    pub(super) fn attempted(&mut self, stats: Stats, again: usize) {
        #[cfg(feature = "tracing")]
        {
            let failed = stats.failed - self.told.failed;
            let maybe_appended = stats.maybe_appended - self.told.maybe_appended;
            if failed + maybe_appended > 0 || again > 0 {
                tracing::warn!(
                    target: "bowline", batcher = self.name, failed, maybe_appended, again,
                    "messages of a batch were not appended"
                );
            }
        }
        #[cfg(feature = "metrics")]
        metrics::counter!("bowline_batch_attempts_total", "batcher" => self.name.clone()).increment(1);
        self.count(stats);
        let _ = again;
    }

    /// The batcher is closed.
    pub(super) fn closed(&mut self, stats: Stats) {
        #[cfg(feature = "tracing")]
        {
            let Stats { appended, failed, maybe_appended, expired, closed: left, .. } = stats;
            tracing::info!(
                target: "bowline", batcher = self.name, appended, failed, maybe_appended, expired, left,
                "a batcher was closed"
            );
        }
        self.count(stats);
    }

    /// Counts the outcomes of messages since the last report.
    fn count(&mut self, stats: Stats) {
        #[cfg(feature = "metrics")]
        for (outcome, now, before) in [
            ("appended", stats.appended, self.told.appended),
            ("failed", stats.failed, self.told.failed),
            ("maybe_appended", stats.maybe_appended, self.told.maybe_appended),
            ("expired", stats.expired, self.told.expired),
            ("closed", stats.closed, self.told.closed),
        ] {
            if now > before {
                let labels = [("batcher", self.name.clone()), ("outcome", outcome.to_owned())];
                metrics::counter!("bowline_batch_messages_total", &labels).increment(now - before);
            }
        }
        self.told = stats;
        // Without the features the fields are unused.
        let _ = &self.name;
    }
}
