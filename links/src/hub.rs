//! The connected peers, as handles of their runtime.

use std::marker::PhantomData;
use std::ops::Deref;

use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_driver::PeerId;
use bowline_driver::runtime::Runtime;

use crate::hub_core::HubCore;
use crate::peer::Peer;

/// The peers of one or more servers, by id and in groups.
///
/// Cheap to clone; all clones are one hub. Every server has a hub; give one hub to several servers to push to
/// the peers of all of them. A peer is in the hub from the end of its handshake until its link is over.
///
/// A broadcast is encoded once, and no method of a hub waits. A peer whose write queue is full follows its
/// own overflow policy; with [`Overflow::Block`](bowline_core::config::Overflow::Block) it misses the
/// message, which its counters, an event of its link and the result of the broadcast report.
pub struct Hub<R: Runtime, F: Framing = Native> {
    core: HubCore<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> Hub<R, F> {
    /// An empty hub.
    #[must_use]
    pub fn new() -> Self {
        HubCore::new().into()
    }

    /// The peer with that id.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<Peer<R, F>> {
        self.core.peer(id).map(Into::into)
    }

    /// All peers.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer<R, F>> {
        self.core.peers().into_iter().map(Into::into).collect()
    }
}

impl<R: Runtime, F: Framing> From<HubCore<F>> for Hub<R, F> {
    fn from(core: HubCore<F>) -> Self {
        Self { core, runtime: PhantomData }
    }
}

impl<R: Runtime, F: Framing> Default for Hub<R, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime, F: Framing> Clone for Hub<R, F> {
    fn clone(&self) -> Self {
        self.core.clone().into()
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Hub<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("peers", &self.len()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Deref for Hub<R, F> {
    type Target = HubCore<F>;

    fn deref(&self) -> &HubCore<F> {
        &self.core
    }
}
