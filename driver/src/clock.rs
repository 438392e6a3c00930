//! The process's clock, as instants of the core.

use std::sync::OnceLock;
use std::time::Instant as StdInstant;

use bowline_core::time::Instant;

fn origin() -> StdInstant {
    static ORIGIN: OnceLock<StdInstant> = OnceLock::new();
    // One second back, so that no time in the process is before the origin.
    *ORIGIN.get_or_init(|| {
        let now = StdInstant::now();
        now.checked_sub(std::time::Duration::from_secs(1)).unwrap_or(now)
    })
}

/// The time now. In models the time passes when they set it.
#[cfg(bowline_loom)]
#[must_use]
pub fn now() -> Instant {
    Instant::from_nanos(MODEL_NOW.load(std::sync::atomic::Ordering::Relaxed))
}

/// The time of models, in nanoseconds.
#[cfg(bowline_loom)]
pub static MODEL_NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// The time now.
#[cfg(not(bowline_loom))]
#[must_use]
pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(stopped) = simulated::now() {
        return stopped;
    }
    let nanos = StdInstant::now().saturating_duration_since(origin()).as_nanos();
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The same point in time as an instant of the standard library.
#[must_use]
pub fn to_std(at: Instant) -> StdInstant {
    let offset = std::time::Duration::from_nanos(at.as_nanos());
    // Out of range: later than any caller waits.
    origin()
        .checked_add(offset)
        .unwrap_or_else(|| StdInstant::now() + std::time::Duration::from_secs(86_400 * 365))
}

/// The time after `wait`; one that is out of range is forever.
#[must_use]
pub fn after(wait: std::time::Duration) -> Instant {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(now().as_nanos().saturating_add(nanos))
}

/// A clock that stands still until the test moves it, for the thread of that test.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Duration;

    use bowline_core::time::Instant;

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<Instant> {
        NOW.get()
    }

    /// Stops the clock of this thread.
    pub(crate) fn stop() {
        NOW.set(Some(super::now()));
    }

    /// Moves the clock of this thread forward.
    ///
    /// # Panics
    /// If it was not stopped.
    pub(crate) fn pass(time: Duration) {
        NOW.set(Some(NOW.get().expect("a stopped clock") + time));
    }
}
