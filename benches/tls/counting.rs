//! What the receiving side counts, the same for every contender.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

/// The first byte of the body that says that the sender is done.
pub(crate) const LAST: u8 = 0xff;

/// Counts messages from the first to the last, and tells the rate at the end. One thread calls it at a time.
pub(crate) struct Counter {
    first: OnceLock<Instant>,
    count: AtomicU64,
    told: SyncSender<f64>,
}

impl Counter {
    pub(crate) fn new(told: SyncSender<f64>) -> Self {
        Self { first: OnceLock::new(), count: AtomicU64::new(0), told }
    }

    /// Takes note of one message.
    #[inline]
    pub(crate) fn message(&self, body: &[u8]) {
        if std::hint::black_box(body).first() == Some(&LAST) {
            return self.end();
        }
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            let _ = self.first.set(Instant::now());
        }
        self.count.store(count + 1, Ordering::Relaxed);
    }

    #[cold]
    fn end(&self) {
        let seconds = self.first.get().map_or(f64::MAX, |first| first.elapsed().as_secs_f64());
        let told = self.told.try_send(self.count.load(Ordering::Relaxed) as f64 / seconds);
        assert!(!matches!(told, Err(TrySendError::Full(_))), "the last message came twice");
    }
}
