//! Pipes of a socket, driven: what their connections tell goes to the socket.

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::error::Disconnect;
use bowline_core::supervisor::{DialFailure, Endpoint, Epoch, ReconnectPolicy, Supervisor};
use bowline_driver::dial::{DialObserver, Dialer};
use bowline_driver::runtime::Runtime;
use bowline_driver::shared::LazyGuard;
use bowline_driver::sync::Arc;
use bowline_driver::{Application, Flow, Shared, StartError};
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::PipeId;
use std::task::Waker;
use std::time::Duration;

use crate::core::SocketCore;

/// Passes on what one pipe tells.
pub(crate) struct PipeApp {
    pub(crate) core: Arc<SocketCore>,
    pub(crate) id: PipeId,
}

impl Application<Pipe<Waker>> for PipeApp {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Pipe<Waker>>>, _: Epoch, _: Option<Address>) {}

    fn event(
        &self,
        (): &mut (),
        _: &mut Reader,
        access: &mut LazyGuard<'_, Pipe<Waker>>,
        event: PipeEvent<'_>,
    ) -> Result<Flow, Disconnect> {
        // The socket's lock is taken before a pipe's.
        access.release();
        self.core.handle_event(self.id, event);
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), cause: &Disconnect) {
        self.core.disconnected(self.id, cause);
    }

    fn ended(&self, cause: &Disconnect) {
        self.core.ended(self.id, cause);
    }
}

/// How a socket dials.
#[derive(Clone, Debug)]
pub(crate) struct Dialing {
    pub(crate) policy: ReconnectPolicy,
    /// Look-up, dial and handshake together.
    pub(crate) timeout: Duration,
    pub(crate) sockets: SocketOptions,
}

struct Observer(SocketOptions);

impl DialObserver for Observer {
    fn socket_options(&self) -> SocketOptions {
        self.0
    }

    fn ready(&self, _: Epoch) {}
    fn round_failed(&self, _: &DialFailure) {}
    fn gave_up(&self, _: &Disconnect) {}
}

/// Connects in the background, again and again.
pub(crate) fn dial<R: Runtime>(
    core: &Arc<SocketCore>,
    endpoint: Endpoint,
    dialing: &Dialing,
) -> Result<PipeId, StartError> {
    let (id, pipe) = core.add(Role::Dialing);
    let supervisor = Supervisor::new(vec![endpoint], dialing.policy, dialing.timeout, random());
    let app = Arc::new(PipeApp { core: Arc::clone(core), id });
    let observer = Observer(dialing.sockets);
    let begun = R::spawn(Dialer::<R, _, _, _>::new(pipe, app, observer, supervisor));
    if let Err(error) = begun {
        core.ended(id, &Disconnect::LocalClose);
        return Err(error);
    }
    Ok(id)
}

/// Seeds jitter and made-up numbers: where the system has no randomness, all begin alike.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
