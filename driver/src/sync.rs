//! Locks and atomics in one place, so that a model checker can replace them: with `--cfg bowline_loom` they
//! are loom's, and `tests/models.rs` tries every interleaving of threads.

#[cfg(not(bowline_loom))]
use std::sync as imp;

#[cfg(bowline_loom)]
use loom::sync as imp;

pub use imp::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
// Reference counts are not part of the models, and loom's cannot be made `Arc<dyn …>`.
pub use std::sync::{Arc, Weak};

use std::sync::{PoisonError, TryLockError};

/// A guard of [`Mutex`].
pub type MutexGuard<'a, T> = imp::MutexGuard<'a, T>;

/// A lock that a panic does not poison: handlers run outside of it, and the machine behind it is consistent
/// whenever it is unlocked.
#[derive(Debug, Default)]
pub struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    #[cfg(not(bowline_loom))]
    pub const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// A lock around `value`.
    #[cfg(bowline_loom)]
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
