//! Time in the core: a number that the caller passes.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign};
use core::time::Duration;

/// A point in time: nanoseconds since an origin that the caller chooses.
///
/// The core never reads a clock. A driver reads its clock once per batch of work and passes the time to every
/// method that needs a `now`; a simulation passes any value that does not go back (a smaller `now` is treated
/// as the last one).
///
/// ```
/// use bowline_core::time::Instant;
/// use core::time::Duration;
///
/// let start = Instant::from_nanos(5);
/// let later = start + Duration::from_millis(1);
/// assert_eq!(later.saturating_since(start), Duration::from_millis(1));
/// assert_eq!(start.saturating_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// Nanoseconds plus one, so that an `Option` of an instant is not larger than an instant: a link has a
    /// dozen of them.
    NonZeroU64,
);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// Later than any instant a program will see (584 years after the origin).
    pub const FAR_FUTURE: Self = Self(NonZeroU64::MAX);

    /// The instant `nanos` nanoseconds after the origin, at most [`FAR_FUTURE`](Self::FAR_FUTURE).
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_nanos()).finish()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

/// A duration in milliseconds as requests carry it: rounded up, so that the peer does not give up before the
/// caller does.
#[inline]
pub(crate) fn millis(duration: Duration) -> u32 {
    // Not from the total nanoseconds, which would need a 128-bit division.
    let millis = u64::from(duration.subsec_nanos().div_ceil(1_000_000));
    let millis = duration.as_secs().saturating_mul(1_000).saturating_add(millis);
    u32::try_from(millis).unwrap_or(u32::MAX).min(u32::MAX - 1)
}
