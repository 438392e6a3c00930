//! Connections before they are served: in their layer's handshake, or in their greeting.

use std::task::Waker;

use crate::gate::{Gate, Handshake};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

/// Whether a connection that is not served yet must end: to make room for newer ones, or because its server
/// is shut down.
#[derive(Debug, Default)]
pub struct Eviction {
    evicted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Eviction {
    /// A handshake begins; it is over when the returned [`Handshake`] is dropped.
    #[must_use]
    pub fn begin(gate: &Arc<Gate>) -> (Arc<Self>, Handshake) {
        let this = Arc::new(Self::default());
        let evicted = Arc::clone(&this);
        let handshake = gate.begin_handshake(move || {
            evicted.evict();
            true
        });
        (this, handshake)
    }

    /// The connection must end.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it must end; keeps the waker for when that changes.
    pub fn poll(&self, waker: &Waker) -> bool {
        *self.waker.lock() = Some(waker.clone());
        self.evicted.load(Ordering::Acquire)
    }
}
