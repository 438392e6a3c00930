//! Hedging: when an idempotent call is repeated over another route.

use core::time::Duration;

use crate::budget::RetryBudget;

/// Whether and when a second attempt is made (Dean and Barroso, "The tail at scale").
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Hedging {
    /// The share of calls, between 0 and 1, that are answered before a second attempt is made. Default 0.95.
    pub percentile: f64,
    /// The minimum delay of a second attempt. Default 1 ms.
    pub at_least: Duration,
    /// The maximum delay, which is also used until enough latencies are known. Default 1 s.
    pub at_most: Duration,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { percentile: 0.95, at_least: Duration::from_millis(1), at_most: Duration::from_secs(1) }
    }
}

/// The number of latencies that are kept.
const SAMPLES: usize = 256;
/// The number of latencies needed for an estimate.
const ENOUGH: usize = 16;
/// The percentile is recomputed after this many more.
const REFRESH: usize = 16;

/// The latencies of recent calls, and the budget of second attempts.
#[derive(Clone, Debug)]
pub struct Hedge {
    settings: Hedging,
    budget: RetryBudget,
    /// The latest ones, in nanoseconds, in a ring.
    samples: [u64; SAMPLES],
    count: usize,
    delay: Duration,
}

impl Hedge {
    /// No latencies yet.
    #[must_use]
    pub fn new(settings: Hedging) -> Self {
        let delay = settings.at_most;
        Self { settings, budget: RetryBudget::default(), samples: [0; SAMPLES], count: 0, delay }
    }

    /// The delay of the second attempt after the first one.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Whether a second attempt is allowed now; takes from the budget.
    pub fn take(&mut self) -> bool {
        self.budget.take()
    }

    /// A call was answered after this time.
    pub fn note(&mut self, latency: Duration) {
        self.budget.give();
        self.samples[self.count % SAMPLES] = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        if self.count >= ENOUGH && self.count.is_multiple_of(REFRESH) {
            self.delay = self.percentile().clamp(self.settings.at_least, self.settings.at_most);
        }
    }

    fn percentile(&self) -> Duration {
        let mut known = self.samples;
        let known = &mut known[..self.count.min(SAMPLES)];
        // Between 0 and the length less one.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = (known.len() as f64 * self.settings.percentile.clamp(0.0, 1.0)) as usize;
        let index = index.min(known.len() - 1);
        Duration::from_nanos(*known.select_nth_unstable(index).1)
    }
}
