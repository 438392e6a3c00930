//! The application of a machine: the receiver of its events.

use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::layer::Secured;
use bowline_core::machine::Machine;
use bowline_core::supervisor::Epoch;

use crate::Shared;
use crate::shared::LazyGuard;
use crate::sync::Arc;

/// Whether the application took an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Taken: continue with the next one.
    Continue,
    /// There is no room for it: it is returned again when the machine can continue.
    Refuse,
}

/// The application's side of a machine: it handles each event.
///
/// Called on the task or thread that reads the socket, without the lock.
///
/// ```
/// use std::sync::Arc;
/// use std::task::Waker;
///
/// use bowline_core::address::Address;
/// use bowline_core::error::Disconnect;
/// use bowline_core::machine::{Epoch, Machine};
/// use bowline_driver::{Application, Flow, LazyGuard, Shared};
///
/// /// Counts the events of any machine.
/// struct Counts(std::sync::atomic::AtomicUsize);
///
/// impl<M: Machine<Token = Waker>> Application<M> for Counts {
///     type Session = ();
///
///     fn connected(&self, _: &Arc<Shared<M>>, _: Epoch, _: Option<Address>) {}
///
///     fn event(
///         &self,
///         (): &mut (),
///         _: &mut M::Reader,
///         _: &mut LazyGuard<'_, M>,
///         _: M::Event<'_>,
///     ) -> Result<Flow, Disconnect> {
///         self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         Ok(Flow::Continue)
///     }
///
///     fn disconnected(&self, (): (), _: &Disconnect) {}
/// }
/// ```
pub trait Application<M: Machine<Token = Waker>>: Send + Sync + 'static {
    /// Its state per connection.
    type Session: Send;

    /// A connection is established (its handshake may not be done).
    fn connected(&self, shared: &Arc<Shared<M>>, epoch: Epoch, remote: Option<Address>) -> Self::Session;

    /// The address of this side of the connection, if it is known; called right before
    /// [`connected`](Self::connected).
    fn local_addr(&self, local: Address) {
        let _ = local;
    }

    /// The properties of the peer in a layer such as TLS; called before the first [event](Self::event) of a
    /// connection that has a layer.
    fn secured(&self, session: &mut Self::Session, secured: Arc<Secured>) {
        let _ = (session, secured);
    }

    /// Handles an event. `access` may hold the lock; release it before calling user code.
    ///
    /// # Errors
    /// Why the connection must be closed.
    fn event(
        &self,
        session: &mut Self::Session,
        reader: &mut M::Reader,
        access: &mut LazyGuard<'_, M>,
        event: M::Event<'_>,
    ) -> Result<Flow, Disconnect>;

    /// The connection has ended, and the machine has been told.
    fn disconnected(&self, session: Self::Session, cause: &Disconnect);

    /// The machine is closed: there is no further connection.
    fn ended(&self, cause: &Disconnect) {
        let _ = cause;
    }

    /// Whether messages of a machine that is over are still being handled, or wait for their handler.
    fn is_busy(&self) -> bool {
        false
    }

    /// The machine is over: drop `what` when none of its messages is being handled any more, which may be at
    /// once. It is the machine's place in its server's limits.
    fn keep(&self, what: Box<dyn Send>) {
        drop(what);
    }
}
