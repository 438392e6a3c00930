//! Accepting for any machine: the accept loop, limits on connections, stop and drain.
//!
//! A protocol supplies a [`Service`]: which machine serves a connection, and what handles its events. The
//! [`Door`] counts the machines being served and knows no runtime; an [`Acceptor`] runs the loop on one. The
//! servers of message links are a service (`links/src/link_service.rs`); `tests/second_server.rs` has one of
//! another protocol.

mod acceptor;
mod door;
mod eviction;
mod securing;

use std::io;
use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::auth::Refusal;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;

use crate::PeerId;
use crate::app::Application;
use crate::gate::{Gate, Refused};
use crate::memory::WatchMemory;
use crate::observe;
use crate::shared::Shared;
use crate::sync::Arc;

pub(crate) use acceptor::is_out_of_resources;
pub use acceptor::{ACCEPT_PAUSE, Acceptor};
pub use door::{Accepting, Door, Inside, Stopped};
pub use eviction::Eviction;

/// One protocol's side of a listener: serves accepted connections.
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
    /// The machine that serves a connection.
    type Machine: Machine<Token = Waker>;
    /// The application that handles its events.
    type App: Application<Self::Machine>;
    /// A handle of one connection's machine, for example `Arc<Shared<Self::Machine>>`.
    type Peer: Clone + Send + Sync;

    /// The machine behind its lock.
    fn shared(peer: &Self::Peer) -> &Arc<Shared<Self::Machine>>;

    /// A connection was admitted: returns what serves it. [`gone`](Self::gone) is called once for each. Must
    /// not wait.
    fn accept(&self) -> Accepted<Self>;

    /// A function that is called after the machine has reported what it holds of the server's memory, without
    /// its lock. By default `None`.
    fn watch_memory(&self, peer: &Self::Peer) -> Option<WatchMemory> {
        let _ = peer;
        None
    }

    /// The machine is over; `is_stopping`: the server is shutting down. Must not wait.
    fn gone(&self, id: PeerId, peer: &Self::Peer, is_stopping: bool) {
        let _ = (id, peer, is_stopping);
    }

    /// The shutdown is over, and messages of that machine are still being handled
    /// ([`is_busy`](Application::is_busy)).
    fn unfinished(&self, id: PeerId, peer: &Self::Peer) {
        let _ = (id, peer);
    }

    /// An event of the accepting side as a whole. Must not wait. `false`: the event could not be reported;
    /// that is counted.
    fn event(&self, event: ServerEvent) -> bool {
        let _ = event;
        true
    }
}

/// The service of an admitted connection.
#[derive(Debug)]
pub struct Accepted<S: Service> {
    /// Its id: [`PeerId::unique`].
    pub id: PeerId,
    /// The machine's handle.
    pub peer: S::Peer,
    /// The application that handles its events.
    pub app: Arc<S::App>,
    /// The connection counts as a handshake until [`is_ready`](Machine::is_ready): if handshakes exceed their
    /// memory, the oldest one is [aborted](Machine::abort).
    pub has_handshake: bool,
}

/// An event of a server as a whole.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A connection could not be accepted, or served; accepting continues, after a short pause if the system
    /// is out of descriptors or memory.
    AcceptFailed(io::Error),
    /// A connection was closed at once.
    Refused {
        /// The address of the peer.
        from: Address,
        /// The limit that was reached.
        why: Refused,
    },
    /// A connection was closed because its layer's handshake (TLS) failed, or took too long.
    Insecure {
        /// The address of the peer.
        from: Address,
        /// The reason.
        cause: Disconnect,
    },
    /// A peer was not let in: because of its credentials, for another reason of the verifier, or because of a
    /// limit ([`AcceptCounters::denied`](crate::gate::AcceptCounters::denied) counts the same).
    Denied {
        /// The number of the connection.
        peer: PeerId,
        /// The address of the peer, if it is known.
        from: Option<Address>,
        /// The refusal that was sent to the peer.
        refusal: Refusal,
    },
}

/// Reports an event: it is traced, counted in the metrics, and passed to the program by `hand_over`, which returns
/// `false` if it could not be passed; the gate counts that. Call this without a lock, because it may run code of the
/// program.
pub fn tell(gate: &Gate, event: ServerEvent, hand_over: impl FnOnce(ServerEvent) -> bool) {
    observe::server_event(&event);
    // A panic in the program's code is ignored: accepting continues.
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hand_over(event)));
    if let Ok(false) = told {
        gate.note_event_dropped();
    }
}
