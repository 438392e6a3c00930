//! The parts of a client, for any runtime.

use std::io;
use std::task::{Context, Poll, Waker};

use bowline_core::config::{Config, SocketOptions};
use bowline_core::error::{ConfigError, Disconnect};
use bowline_core::frame::Framing;
use bowline_core::layer::DialLayer;
use bowline_core::link::{Link, Role};
use bowline_core::preamble::Preamble;
use bowline_core::supervisor::{DialFailure, Endpoint, Epoch, ReconnectPolicy, Supervisor};
use bowline_driver::clock;
use bowline_driver::dial::DialObserver;
use bowline_driver::error::ConnectError;
use bowline_driver::observe;
use bowline_driver::place::Place;
use bowline_driver::stream::{Connector, Stream};
use bowline_driver::sync::{Arc, Mutex};

use crate::defaults::no_handlers;
use crate::handler::Handlers;
use crate::link_app::LinkApp;
use crate::monitor::Monitor;
use crate::peer_core::PeerCore;

/// The progress of connecting, for callers that wait for it.
#[derive(Debug, Default)]
pub(crate) struct First {
    state: Mutex<FirstState>,
}

#[derive(Debug, Default)]
struct FirstState {
    ready: bool,
    over: bool,
    /// Allocated while it is needed: a connected client has none.
    awaited: Option<Box<Awaited>>,
}

#[derive(Debug, Default)]
struct Awaited {
    failed: Option<ConnectError>,
    gave_up: Option<ConnectError>,
    wakers: Vec<Waker>,
}

impl FirstState {
    fn awaited(&mut self) -> &mut Awaited {
        self.awaited.get_or_insert_default()
    }

    fn wait(&mut self, cx: &mut Context<'_>) {
        self.awaited().wakers.push(cx.waker().clone());
    }
}

impl First {
    fn update(&self, f: impl FnOnce(&mut FirstState)) {
        let mut state = self.state.lock();
        f(&mut state);
        let wakers = state.awaited.as_mut().map(|awaited| std::mem::take(&mut awaited.wakers));
        if state.ready {
            // From now on `poll` returns `Ok`, so that no caller reads the errors.
            state.awaited = None;
        }
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ready when connected. With `patient`, failed rounds are not the end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, patient: bool) -> Poll<Result<(), ConnectError>> {
        let mut state = self.state.lock();
        if state.ready {
            return Poll::Ready(Ok(()));
        }
        let awaited = state.awaited.as_ref();
        let end = awaited
            .and_then(|awaited| if patient { awaited.gave_up.as_ref() } else { awaited.failed.as_ref() });
        if let Some(error) = end {
            return Poll::Ready(Err(error.clone()));
        }
        if state.over {
            return Poll::Ready(Err(ConnectError::Closed));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Ready when the link's task has ended.
    pub(crate) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.over {
            return Poll::Ready(());
        }
        state.wait(cx);
        Poll::Pending
    }

    /// The link's task has ended.
    pub(crate) fn set_over(&self) {
        self.update(|state| state.over = true);
    }
}

/// Reports the dialing of a client with this configuration to [`First`].
#[derive(Debug)]
pub(crate) struct FirstObserver<F: Framing> {
    first: Arc<First>,
    config: Config<F>,
    connects: Connects,
}

impl<F: Framing> FirstObserver<F> {
    /// Reports dialing to `first`.
    #[must_use]
    pub(crate) fn new(first: Arc<First>, recipe: &Recipe<F>) -> Self {
        Self { first, config: recipe.config.clone(), connects: recipe.connects.clone() }
    }
}

impl<F: Framing> DialObserver for FirstObserver<F> {
    fn socket_options(&self) -> SocketOptions {
        *self.config.sockets()
    }

    fn connector(&self) -> Option<&Connector> {
        self.connects.0.as_ref()
    }

    fn preamble(&self) -> Option<&Preamble> {
        self.config.preamble()
    }

    fn layer(&self) -> Option<Arc<dyn DialLayer>> {
        self.config.layers().dial.clone()
    }

    fn ready(&self, _: Epoch) {
        self.first.update(|state| state.ready = true);
    }

    fn round_failed(&self, failure: &DialFailure) {
        observe::round_failed(failure);
        let error = ConnectError::Failed(Box::new(failure.clone()));
        self.first.update(|state| state.awaited().failed = Some(error));
    }

    fn gave_up(&self, _: &Disconnect) {
        // The last round reported its error. Otherwise this side closed the link.
        self.first.update(|state| {
            let awaited = state.awaited();
            let error = awaited.failed.get_or_insert(ConnectError::Closed);
            awaited.gave_up = Some(error.clone());
        });
    }
}

impl<F: Framing> Drop for FirstObserver<F> {
    fn drop(&mut self) {
        self.first.set_over();
    }
}

/// The program's connector, if there is one.
#[derive(Clone, Default)]
struct Connects(Option<Connector>);

impl std::fmt::Debug for Connects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "a connector" } else { "the runtime" })
    }
}

/// The parts of which a client is built: addresses, settings and handlers.
#[derive(Debug)]
pub(crate) struct ClientParts<F: Framing> {
    addresses: Vec<String>,
    /// The settings.
    pub config: Config<F>,
    /// The handlers.
    pub handlers: Handlers<F>,
    monitor: Option<(Monitor, Arc<str>)>,
    connects: Connects,
    /// Where the link's tasks run.
    pub(crate) place: Place,
    is_once: bool,
}

impl<F: Framing> ClientParts<F> {
    /// Parts without handlers.
    #[must_use]
    pub(crate) fn new(address: &str, config: Config<F>) -> Self {
        Self {
            addresses: vec![address.to_owned()],
            config,
            handlers: Handlers::default(),
            monitor: None,
            connects: Connects::default(),
            place: Place::default(),
            is_once: false,
        }
    }

    /// Adds another endpoint.
    pub(crate) fn endpoint(&mut self, address: &str) {
        self.addresses.push(address.to_owned());
    }

    /// Registers the link with `monitor` under `label`.
    pub(crate) fn monitor(&mut self, monitor: &Monitor, label: &str) {
        self.monitor = Some((monitor.clone(), label.into()));
    }

    /// Sets the program's connector.
    pub(crate) fn connector(&mut self, connector: Connector) {
        self.connects = Connects(Some(connector));
    }

    /// Runs the link over one stream, and ends it with the stream.
    pub(crate) fn over(&mut self, stream: Stream) {
        let stream = Mutex::new(Some(stream));
        self.connector(Arc::new(move |_| {
            let stream = stream.lock().take().ok_or_else(|| io::ErrorKind::NotConnected.into());
            Box::pin(std::future::ready(stream))
        }));
        self.is_once = true;
    }

    /// A recipe, to assemble the client more than once.
    #[must_use]
    pub(crate) fn into_recipe(self) -> Recipe<F> {
        let Self { addresses, config, mut handlers, monitor, connects, place, is_once } = self;
        handlers.leave_unused_workers();
        handlers.prepare();
        let handlers = if handlers.are_none() { no_handlers() } else { Arc::new(handlers) };
        Recipe { addresses, config, handlers, monitor, connects, place, is_once }
    }
}

/// A recipe from which a link can be made, any number of times.
#[derive(Debug)]
pub struct Recipe<F: Framing> {
    addresses: Vec<String>,
    config: Config<F>,
    handlers: Arc<Handlers<F>>,
    monitor: Option<(Monitor, Arc<str>)>,
    connects: Connects,
    place: Place,
    is_once: bool,
}

impl<F: Framing> Clone for Recipe<F> {
    fn clone(&self) -> Self {
        Self {
            addresses: self.addresses.clone(),
            config: self.config.clone(),
            handlers: Arc::clone(&self.handlers),
            monitor: self.monitor.clone(),
            connects: self.connects.clone(),
            place: self.place.clone(),
            is_once: self.is_once,
        }
    }
}

impl<F: Framing> Recipe<F> {
    /// The first address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// The same recipe for another address.
    #[must_use]
    pub fn to_address(&self, address: &str) -> Self {
        Self { addresses: vec![address.to_owned()], ..self.clone() }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config<F> {
        &self.config
    }

    /// Where the link's tasks run.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Makes the peer, its application, and the supervisor that keeps it connected.
    ///
    /// # Errors
    /// An address is invalid.
    pub fn assemble(&self) -> Result<Assembled<F>, ConfigError> {
        let Self { addresses, config, handlers, monitor, connects, is_once, .. } = self;
        let endpoints: Vec<Endpoint> =
            addresses.iter().map(|address| config.dialed(address)?.parse()).collect::<Result<_, _>>()?;
        let seed = config.seed().unwrap_or_else(random_seed);
        let mut supervisor = if *is_once {
            Supervisor::new(endpoints, ReconnectPolicy::never(), config.connect_timeout(), seed)
        } else {
            Supervisor::with_config(endpoints, config, seed)
        };
        // With the program's connector no proxy is used.
        if connects.0.is_none() {
            supervisor.set_proxy(config.proxy().cloned());
        }
        let mut link = Link::new(config.clone(), Role::Dialing);
        // The jitter of retries is seeded as well.
        link.set_seed(seed);
        let peer = PeerCore::new(link);
        if let Some((monitor, label)) = monitor {
            monitor.watch_as(Arc::clone(label), &peer);
        }
        let app = Arc::new(LinkApp::new(peer.clone(), Arc::clone(handlers), true));
        Ok(Assembled { peer, app, supervisor })
    }
}

/// An assembled client, for a runtime to drive.
#[derive(Debug)]
pub struct Assembled<F: Framing> {
    /// The handle.
    pub peer: PeerCore<F>,
    /// Handles everything that is received.
    pub app: Arc<LinkApp<F>>,
    /// Decides when and where to connect.
    pub supervisor: Supervisor,
}

/// A seed from the system, for jitter and shuffling that should differ between processes. Not for secrets.
#[must_use]
pub fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // Jitter needs no secrets: the clock is sufficient if the system has no randomness.
        Err(_) => clock::now().as_nanos(),
    }
}
