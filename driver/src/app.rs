//! What happens with what comes in.

use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::supervisor::Epoch;

use crate::Shared;
use crate::connection_info::PeerCertificates;
use crate::shared::LazyGuard;
use crate::sync::Arc;

/// Whether an event was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Taken: the next one, please.
    Continue,
    /// There is no room for it: it comes again when the machine says so.
    Refuse,
}

/// The application's side of a machine: what it does with each event.
///
/// Runs on the task or thread that reads the socket, without the lock.
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
    /// What it keeps per connection.
    type Session: Send;

    /// A connection is there (its handshake may not be done).
    fn connected(&self, shared: &Arc<Shared<M>>, epoch: Epoch, remote: Option<Address>) -> Self::Session;

    /// The address of this end of the connection that [`connected`](Self::connected) told of, said
    /// right before it where it is known.
    fn local_addr(&self, local: Address) {
        let _ = local;
    }

    /// What the peer showed below the protocol, and was found to be good there: for a layer such as TLS to say, before
    /// the first [event](Self::event) of the connection.
    fn peer_certificates(&self, session: &mut Self::Session, certificates: PeerCertificates) {
        let _ = (session, certificates);
    }

    /// Something came in. `access` may hold the lock; release it before calling into user code.
    ///
    /// # Errors
    /// Why the connection has to be closed.
    fn event(
        &self,
        session: &mut Self::Session,
        reader: &mut M::Reader,
        access: &mut LazyGuard<'_, M>,
        event: M::Event<'_>,
    ) -> Result<Flow, Disconnect>;

    /// The connection is gone and the machine knows.
    fn disconnected(&self, session: Self::Session, cause: &Disconnect);

    /// The machine is closed: there is no further connection.
    fn ended(&self, cause: &Disconnect) {
        let _ = cause;
    }

    /// Whether something of a machine that is over is still being handled, or waits for that.
    fn is_busy(&self) -> bool {
        false
    }

    /// The machine is over: `what` is dropped when nothing of it is being handled any more, which may be
    /// at once. It is what the machine took of its server's limits.
    fn keep(&self, what: Box<dyn Send>) {
        drop(what);
    }
}
