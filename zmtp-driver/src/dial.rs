//! Drives the pipes of a socket, and passes their events to the socket.

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;
use bowline_core::error::Disconnect;
use bowline_core::layer::{DialLayer, Layers};
use bowline_core::proxy::Proxy;
use bowline_core::supervisor::{DialFailure, Epoch, ReconnectPolicy, Supervisor};
use bowline_driver::dial::{DialObserver, Dialer, Source};
use bowline_driver::runtime::Runtime;
use bowline_driver::shared::LazyGuard;
use bowline_driver::sync::Arc;
use bowline_driver::{Application, Flow, Shared, StartError};
use bowline_zmtp::pipe::{Pipe, PipeEvent, Reader, Role};
use bowline_zmtp::socket::{PipeId, SocketEvent};
use std::task::Waker;
use std::time::Duration;

use crate::core::{SharedPipe, SocketCore};
use crate::endpoint::ToDial;
use crate::lifetime::Running;

/// Passes on the events of one pipe.
pub(crate) struct PipeApp {
    pub(crate) core: Running,
    pub(crate) id: PipeId,
    pub(crate) role: Role,
    /// The endpoint that it connects to, or the bound endpoint that it was accepted at.
    pub(crate) endpoint: Arc<str>,
}

impl Drop for PipeApp {
    /// Called however the pipe's driver ends.
    fn drop(&mut self) {
        self.core.forget_decision(self.id);
        self.core.ended(self.id, &Disconnect::LocalClose);
        self.core.monitor.forget(self.id);
    }
}

impl PipeApp {
    /// The cause with the address of the other side, if it concerns the socket.
    fn named(&self, cause: &Disconnect) -> Disconnect {
        let address = self.core.monitor.origin(self.id).and_then(|origin| origin.address);
        match address {
            Some(address) => cause.clone().at(address),
            None => cause.clone(),
        }
    }
}

impl Application<Pipe<Waker>> for PipeApp {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Pipe<Waker>>>, _: Epoch, remote: Option<Address>) {
        let monitor = &self.core.monitor;
        monitor.set_origin(self.id, &self.endpoint, remote.clone());
        if self.role == Role::Accepting {
            let endpoint = Arc::clone(&self.endpoint);
            monitor.tell(SocketEvent::Accepted { pipe: self.id, endpoint, from: remote });
        }
    }

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
        self.core.disconnected(self.id, &self.named(cause));
    }

    fn ended(&self, cause: &Disconnect) {
        self.core.ended(self.id, &self.named(cause));
    }
}

/// The dialing settings of a socket.
#[derive(Clone, Debug)]
pub(crate) struct Dialing {
    pub(crate) policy: ReconnectPolicy,
    /// The time limit for name resolution, dialing and handshake together.
    pub(crate) timeout: Duration,
    pub(crate) sockets: SocketOptions,
    pub(crate) proxy: Option<Proxy>,
    /// The layers of dialed and accepted connections.
    pub(crate) layers: Layers,
}

struct Observer {
    app: Arc<PipeApp>,
    sockets: SocketOptions,
    layer: Option<Arc<dyn DialLayer>>,
    source: Option<Source>,
}

impl DialObserver for Observer {
    fn socket_options(&self) -> SocketOptions {
        self.sockets
    }

    fn layer(&self) -> Option<Arc<dyn DialLayer>> {
        self.layer.clone()
    }

    fn source(&self) -> Option<Source> {
        self.source.clone()
    }

    fn dialing(&self, address: &Address, attempt: u32) {
        let (pipe, address) = (self.app.id, address.clone());
        self.app.core.monitor.tell(SocketEvent::Dialing { pipe, address, attempt });
    }

    fn attempt_failed(&self, attempt: u32, failure: &DialFailure) {
        let (pipe, failure) = (self.app.id, failure.clone());
        self.app.core.monitor.tell(SocketEvent::DialFailed { pipe, attempt, failure });
    }

    fn waiting(&self, attempt: u32, after: Duration, cause: &Disconnect) {
        let (pipe, cause) = (self.app.id, cause.clone());
        self.app.core.monitor.tell(SocketEvent::Retrying { pipe, attempt, after, cause });
    }

    fn ready(&self, _: Epoch) {}

    // Its attempts were reported.
    fn round_failed(&self, _: &DialFailure) {}

    fn gave_up(&self, cause: &Disconnect) {
        self.app.core.gave_up(self.app.id, cause);
    }
}

/// Connects a new pipe in the background, and reconnects it. `name` is the endpoint as the program wrote it.
pub(crate) fn dial<R: Runtime>(
    core: &Arc<SocketCore>,
    (id, pipe): (PipeId, Arc<SharedPipe>),
    name: &str,
    to: ToDial,
    dialing: &Dialing,
) -> Result<PipeId, StartError> {
    let ToDial { endpoint, sockets, source } = to;
    let mut supervisor = Supervisor::new(vec![endpoint], dialing.policy, dialing.timeout, random());
    supervisor.set_proxy(dialing.proxy.clone());
    let name: Arc<str> = name.into();
    core.monitor.set_origin(id, &name, None);
    let app = Arc::new(PipeApp { core: Running::new(core), id, role: Role::Dialing, endpoint: name });
    let observer = Observer { app: Arc::clone(&app), sockets, layer: dialing.layers.dial.clone(), source };
    let dialer = Dialer::<R, _, _, _>::new(pipe, app, observer, supervisor);
    // If it cannot be started, it is dropped, and the pipe ends.
    core.place().within(|| R::spawn(dialer))?;
    Ok(id)
}

/// A seed for jitter and generated ids: if the system has no randomness, it is constant.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
