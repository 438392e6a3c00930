//! The settings of a batcher.

use core::time::Duration;

use crate::error::ConfigError;
use crate::supervisor::SplitMix64;

/// The delay before the first retry, and the increase for each further one.
const RETRY_STEP: Duration = Duration::from_millis(500);
/// The maximum delay before a retry.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// The jitter shortens a delay by up to one part in this many.
const JITTER_PART: u64 = 5;

/// How often messages that were not appended are tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retries {
    /// At most this many times. The default is 0.
    Times(u32),
    /// Until the delivery time is over, or the batcher is closed.
    Unlimited,
}

impl Retries {
    /// Whether a retry is allowed after this many attempts.
    pub(super) fn allow(self, attempts: u32) -> bool {
        match self {
            Self::Times(times) => attempts <= times,
            Self::Unlimited => true,
        }
    }
}

/// The delay after this many failed attempts (from 1): 500 ms for each, up to 5 s, shortened by up to a
/// fifth.
pub(super) fn retry_wait(attempts: u32, random: &mut SplitMix64) -> Duration {
    let full = RETRY_STEP.saturating_mul(attempts).min(RETRY_CAP);
    let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos - random.below(nanos / JITTER_PART + 1))
}

/// The settings of a [`Batcher`](super::Batcher).
///
/// ```
/// use bowline_core::batcher::{Retries, Settings};
/// use core::time::Duration;
///
/// let settings = Settings::default()
///     .buffer(1_000)
///     .retries(Retries::Unlimited)
///     .delivery_timeout(Duration::from_secs(30));
/// assert!(settings.check().is_ok());
/// assert!(Settings::default().buffer(0).check().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Settings {
    pub(super) buffer: usize,
    pub(super) buffer_bytes: usize,
    pub(super) linger: Duration,
    pub(super) retries: Retries,
    pub(super) at_least_once: bool,
    pub(super) delivery_timeout: Duration,
    pub(super) places: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            buffer: 200,
            buffer_bytes: 8 * 1024 * 1024,
            linger: Duration::ZERO,
            retries: Retries::Times(0),
            at_least_once: false,
            delivery_timeout: Duration::from_secs(120),
            places: 1_024,
        }
    }
}

impl Settings {
    /// Maximum number of messages in the buffer, and in a batch; messages under way do not count. Default
    /// 200.
    pub const fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }

    /// Maximum bytes of the messages in the buffer; messages under way do not count. A longer message is
    /// accepted into an empty buffer, and sent alone. Default 8 MiB.
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How long the first message of a batch waits for further ones while no batch is under way. A full
    /// buffer and a close end the wait. Default 0: a batch leaves as soon as there is a message.
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How often messages that were not appended are tried again. Default: never.
    pub const fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Whether messages that may have been appended are also tried again, and may then be appended twice.
    /// Default: no.
    pub const fn at_least_once(mut self, repeat: bool) -> Self {
        self.at_least_once = repeat;
        self
    }

    /// How long a message is tried, from its acceptance. Default 120 s.
    pub const fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Maximum number of outstanding messages of one receiver: accepted, with results that were not taken.
    /// Their bytes are limited to twice [`buffer_bytes`](Self::buffer_bytes). Default 1,024.
    pub const fn places(mut self, places: usize) -> Self {
        self.places = places;
        self
    }

    /// Maximum bytes of outstanding messages of one receiver.
    pub(super) const fn place_bytes(&self) -> usize {
        self.buffer_bytes.saturating_mul(2)
    }

    /// How long messages are tried.
    #[must_use]
    pub const fn get_delivery_timeout(&self) -> Duration {
        self.delivery_timeout
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A limit is zero.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bounds = [("buffer", self.buffer), ("buffer_bytes", self.buffer_bytes), ("places", self.places)];
        match bounds.iter().find(|(_, value)| *value == 0) {
            Some(&(field, _)) => Err(ConfigError::OutOfRange { field, value: 0, must: "at least 1" }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_half_a_second_up_to_five_less_a_fifth() {
        let mut random = SplitMix64::new(3);
        for attempts in 1..30 {
            let full = Duration::from_millis(500 * u64::from(attempts)).min(RETRY_CAP);
            let waits: alloc::vec::Vec<_> = (0..200).map(|_| retry_wait(attempts, &mut random)).collect();
            assert!(waits.iter().all(|wait| *wait <= full && *wait >= full * 4 / 5), "{attempts}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait < full * 17 / 20), "the jitter reaches low");
            assert!(waits.iter().any(|wait| *wait > full * 19 / 20), "the jitter reaches high");
        }
    }

    #[test]
    fn retries_are_counted() {
        assert!(!Retries::Times(0).allow(1));
        assert!(Retries::Times(2).allow(2) && !Retries::Times(2).allow(3));
        assert!(Retries::Unlimited.allow(u32::MAX));
    }

    #[test]
    fn bounds_of_zero_are_refused() {
        for settings in [
            Settings::default().buffer(0),
            Settings::default().buffer_bytes(0),
            Settings::default().places(0),
        ] {
            assert!(matches!(settings.check(), Err(ConfigError::OutOfRange { value: 0, .. })));
        }
    }
}
