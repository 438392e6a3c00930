//! Accepting for any machine: the accept loop, the limits of those who connect, stop and drain.
//!
//! A protocol supplies a [`Service`]: which machine serves a connection, and what is done with what
//! comes in. The [`Door`] counts who is inside and knows no runtime; an [`Acceptor`] runs the loop on
//! one. The servers of message links are a service (`links/src/link_service.rs`); `tests/second_server.rs` has one
//! of another protocol.

mod acceptor;
mod door;
mod eviction;
mod securing;

use std::io;
use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;

use crate::PeerId;
use crate::app::Application;
use crate::gate::Refused;
use crate::memory::WatchMemory;
use crate::shared::Shared;
use crate::sync::Arc;

pub(crate) use acceptor::is_out_of_resources;
pub use acceptor::{ACCEPT_PAUSE, Acceptor};
pub use door::{Accepting, Door, Inside, Stopped};
pub use eviction::Eviction;

/// What accepts connections: one protocol's side of a listener.
///
/// ```
/// use std::sync::Arc;
/// use std::task::Waker;
///
/// use bowline_core::machine::Machine;
/// use bowline_driver::accept::{Accepted, Service};
/// use bowline_driver::{Application, PeerId, Shared};
///
/// /// Serves each connection with a machine that `make` makes.
/// struct Serves<M, A> {
///     make: fn() -> M,
///     app: Arc<A>,
/// }
///
/// impl<M: Machine<Token = Waker>, A: Application<M>> Service for Serves<M, A> {
///     type Machine = M;
///     type App = A;
///     type Peer = Arc<Shared<M>>;
///
///     fn shared(peer: &Self::Peer) -> &Arc<Shared<M>> {
///         peer
///     }
///
///     fn accept(&self) -> Accepted<Self> {
///         let peer = Arc::new(Shared::new((self.make)()));
///         Accepted { id: PeerId::unique(), peer, app: Arc::clone(&self.app), has_handshake: false }
///     }
/// }
/// ```
pub trait Service: Sized + Send + Sync + 'static {
    /// What serves a connection.
    type Machine: Machine<Token = Waker>;
    /// What is done with its events.
    type App: Application<Self::Machine>;
    /// A handle of one connection's machine. `Arc<Shared<Self::Machine>>` will do.
    type Peer: Clone + Send + Sync;

    /// The machine behind its lock.
    fn shared(peer: &Self::Peer) -> &Arc<Shared<Self::Machine>>;

    /// A connection was let in: what serves it. [`gone`](Self::gone) follows once for each. Must not wait.
    fn accept(&self) -> Accepted<Self>;

    /// Called after the machine has said what it holds of the server's memory, without its lock.
    /// `None`, the default: there is nothing to do.
    fn watch_memory(&self, peer: &Self::Peer) -> Option<WatchMemory> {
        let _ = peer;
        None
    }

    /// That machine is over; `is_stopping`: the server shuts down. Must not wait.
    fn gone(&self, id: PeerId, peer: &Self::Peer, is_stopping: bool) {
        let _ = (id, peer, is_stopping);
    }

    /// The shutdown is over, and what came over that machine is still being handled
    /// ([`is_busy`](Application::is_busy)).
    fn unfinished(&self, id: PeerId, peer: &Self::Peer) {
        let _ = (id, peer);
    }

    /// Something happened to the accepting side as a whole. Must not wait. False: it cannot be told; that
    /// is counted.
    fn event(&self, event: ServerEvent) -> bool {
        let _ = event;
        true
    }
}

/// What serves a connection that was let in.
#[derive(Debug)]
pub struct Accepted<S: Service> {
    /// Its number: [`PeerId::unique`].
    pub id: PeerId,
    /// The machine's handle.
    pub peer: S::Peer,
    /// What is done with its events.
    pub app: Arc<S::App>,
    /// It counts as a handshake until [`is_ready`](Machine::is_ready) says otherwise: when handshakes
    /// take more memory than they may, the oldest is [aborted](Machine::abort).
    pub has_handshake: bool,
}

/// Something that happened to a server as a whole.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A connection could not be accepted, or served; accepting goes on. Out of descriptors or
    /// memory it waits a little first.
    AcceptFailed(io::Error),
    /// A connection was closed at once.
    Refused {
        /// Where it came from.
        from: Address,
        /// Which limit was reached.
        why: Refused,
    },
    /// A connection was closed because its layer's handshake (TLS) failed, or took too long.
    Insecure {
        /// Where it came from.
        from: Address,
        /// What was wrong.
        cause: Disconnect,
    },
}
