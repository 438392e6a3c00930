//! What a server is made of, whatever drives it: settings, handlers, and who is connected.

use std::collections::HashMap;
use std::io;
use std::task::Waker;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::frame::Framing;
use bowline_core::link::{Link, Role, Undelivered};
use bowline_core::machine::Machine;

use crate::detached::{DetachedLimits, DetachedSessions};
use crate::gate::{Admission, Gate, Handshake, Refused};
use crate::handler::Handlers;
use crate::hub_core::HubCore;
use crate::link_app::{LinkApp, PeerWatch};
use crate::monitor::Monitor;
use crate::peer_core::{PeerCore, PeerId};
use crate::sync::{Arc, Mutex, Weak};
use crate::{clock, observe};

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
}

type OnEvent = Box<dyn Fn(&ServerEvent) + Send + Sync>;

/// What a server is built from.
pub struct ServerParts<F: Framing> {
    /// Its settings.
    pub config: Config<F>,
    /// Its handlers.
    pub handlers: Handlers<F>,
    /// Who is connected; a hub of its own unless it shares one.
    pub hub: HubCore<F>,
    on_event: Option<OnEvent>,
    monitor: Option<(Monitor, Arc<str>)>,
}

impl<F: Framing> std::fmt::Debug for ServerParts<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerParts").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<F: Framing> ServerParts<F> {
    /// Without handlers.
    #[must_use]
    pub fn new(config: Config<F>) -> Self {
        Self { config, handlers: Handlers::default(), hub: HubCore::new(), on_event: None, monitor: None }
    }

    /// Called when something happens to the server as a whole; must not wait.
    pub fn on_event(&mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) {
        self.on_event = Some(Box::new(f));
    }

    /// Its links are seen by `monitor` under `label`.
    pub fn monitor(&mut self, monitor: &Monitor, label: &str) {
        self.monitor = Some((monitor.clone(), label.into()));
    }
}

/// What was cut when a server was shut down before everything was finished.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Cut {
    /// Whose connection it was.
    pub peer: PeerId,
    /// Its other end.
    pub remote: Option<Address>,
    /// Requests that the peer got no answer to: their ids on the wire.
    pub requests: Vec<u64>,
    /// Messages to the peer that did not leave.
    pub undelivered: Vec<Undelivered>,
}

/// How a shutdown went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that ended during the shutdown.
    pub connections: usize,
    /// Those that had something under way when their time was over.
    pub cut: Vec<Cut>,
}

/// What a server is made of, whatever drives it.
pub struct ServerCore<F: Framing> {
    config: Config<F>,
    framing: Arc<F>,
    handlers: Arc<Handlers<F>>,
    hub: HubCore<F>,
    gate: Arc<Gate>,
    on_event: Option<OnEvent>,
    monitor: Option<(Monitor, Arc<str>)>,
    detached: Arc<DetachedSessions<F>>,
    state: Mutex<State<F>>,
}

impl<F: Framing> std::fmt::Debug for ServerCore<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCore").field("config", &self.config).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State<F: Framing> {
    peers: HashMap<PeerId, PeerCore<F>>,
    handshakes: HashMap<PeerId, Handshake>,
    /// Nothing new is accepted.
    deaf: bool,
    stopping: bool,
    drained: Drained,
    /// Accept loops that still hold the listening socket.
    accepting: usize,
    wakers: Vec<Waker>,
}

impl<F: Framing> ServerCore<F> {
    /// Nobody is connected.
    #[must_use]
    pub fn new(parts: ServerParts<F>) -> Arc<Self> {
        let ServerParts { config, mut handlers, hub, on_event, monitor } = parts;
        handlers.prepare(config.handler_threads());
        let state = State {
            peers: HashMap::new(),
            handshakes: HashMap::new(),
            deaf: false,
            stopping: false,
            drained: Drained::default(),
            accepting: 0,
            wakers: Vec::new(),
        };
        let gate = Gate::new(*config.accept_limits(), config.message_timeout());
        let limits = DetachedLimits {
            sessions: config.max_detached(),
            per_address: config.max_detached_per_address(),
            bytes: config.max_detached_bytes(),
        };
        let detached = DetachedSessions::new(limits, Arc::clone(&gate));
        Arc::new(Self {
            framing: Arc::new(config.framing().clone()),
            gate,
            handlers: Arc::new(handlers),
            config,
            hub,
            on_event,
            monitor,
            detached,
            state: Mutex::new(state),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config<F> {
        &self.config
    }

    /// Who is let in.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Who is connected.
    #[must_use]
    pub fn hub(&self) -> &HubCore<F> {
        &self.hub
    }

    /// A socket was accepted. `None`: it has to be closed.
    #[must_use]
    pub fn admit(&self, from: &Address) -> Option<Admission> {
        match self.gate.admit(from) {
            Ok(admission) => Some(admission),
            Err(why) => {
                self.tell(&ServerEvent::Refused { from: from.clone(), why });
                None
            }
        }
    }

    /// Accepting, or serving, one connection failed; the next may not.
    pub fn accept_failed(&self, error: io::Error) {
        self.gate.note_error();
        self.tell(&ServerEvent::AcceptFailed(error));
    }

    fn tell(&self, event: &ServerEvent) {
        observe::server_event(event);
        if let Some(on_event) = &self.on_event {
            // A handler's panic is its own: accepting goes on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| on_event(event)));
        }
    }

    /// A connection was let in: its peer and application. `None` while stopping.
    #[must_use]
    pub fn accept(self: &Arc<Self>) -> Option<(PeerCore<F>, Arc<LinkApp<F>>)> {
        let link = Link::new(self.config.clone(), Role::Accepting);
        let peer = PeerCore::new(link, self.config.linger());
        let watch = Arc::clone(self) as Arc<dyn PeerWatch<F>>;
        let app = Arc::new(LinkApp::new(peer.clone(), Arc::clone(&self.handlers), false).watched(watch));
        let handshake = self.config.framing().profile().handshake.then(|| {
            let shared = Arc::downgrade(peer.shared());
            self.gate.begin_handshake(move || {
                if let Some(shared) = Weak::upgrade(&shared) {
                    shared.with(|link| link.abort(clock::now(), Disconnect::HandshakeCrowd));
                }
            })
        });
        let mut state = self.state.lock();
        if state.stopping {
            return None;
        }
        state.peers.insert(peer.id(), peer.clone());
        self.gate.memory().count(peer.id(), peer.shared(), &self.detached);
        if let Some(handshake) = handshake {
            state.handshakes.insert(peer.id(), handshake);
        }
        drop(state);
        if let Some((monitor, label)) = &self.monitor {
            monitor.watch_as(Arc::clone(label), &peer);
        }
        Some((peer, app))
    }

    /// A link is over.
    pub fn gone(&self, peer: &PeerCore<F>) {
        self.hub.remove(peer.id());
        self.detached.remove(peer.id());
        self.gate.memory().remove(peer.id());
        let mut state = self.state.lock();
        let handshake = state.handshakes.remove(&peer.id());
        let known = state.peers.remove(&peer.id()).is_some();
        if known && state.stopping {
            state.drained.connections += 1;
            let (requests, undelivered) =
                peer.shared().with(|link| (link.take_cut(), link.take_undelivered()));
            if !requests.is_empty() || !undelivered.is_empty() {
                let (peer, remote) = (peer.id(), peer.remote_addr());
                state.drained.cut.push(Cut { peer, remote, requests, undelivered });
            }
        }
        let wakers = if state.peers.is_empty() { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        drop(handshake);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Everybody who is connected, in a handshake, or has a session that waits for its next
    /// connection.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerCore<F>> {
        self.state.lock().peers.values().cloned().collect()
    }

    /// The sessions that have no connection.
    #[must_use]
    pub fn detached(&self) -> &Arc<DetachedSessions<F>> {
        &self.detached
    }

    /// Accepts nothing new from now on; those who are connected stay.
    pub fn stop_accepting(&self) {
        let mut state = self.state.lock();
        state.deaf = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes nothing new, and lets every connection finish what is under way for at most `linger`.
    pub fn begin_shutdown(&self, linger: Duration) {
        let mut state = self.state.lock();
        (state.deaf, state.stopping) = (true, true);
        let wakers = std::mem::take(&mut state.wakers);
        let peers: Vec<PeerCore<F>> = state.peers.values().cloned().collect();
        drop(state);
        let now = clock::now();
        for peer in &peers {
            peer.shared().with(|link| link.close(now, linger));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it accepts nothing more; keeps a waker for when that changes, or when the last
    /// connection is gone.
    pub fn poll_deaf(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if !state.deaf {
            keep(&mut state.wakers, waker);
        }
        state.deaf
    }

    /// An accept loop runs until what is returned is dropped.
    #[must_use]
    pub fn accepting(self: &Arc<Self>) -> Accepting<F> {
        self.state.lock().accepting += 1;
        Accepting { core: Arc::clone(self) }
    }

    /// Ready when it was shut down, every connection is over and the listening socket closed: how
    /// that went.
    pub fn poll_stopped(&self, waker: &Waker) -> Option<Drained> {
        let mut state = self.state.lock();
        if state.stopping && state.peers.is_empty() && state.accepting == 0 {
            return Some(std::mem::take(&mut state.drained));
        }
        keep(&mut state.wakers, waker);
        None
    }
}

impl<F: Framing> PeerWatch<F> for ServerCore<F> {
    fn ready(&self, peer: &PeerCore<F>) {
        let handshake = self.state.lock().handshakes.remove(&peer.id());
        drop(handshake);
        self.hub.add(peer, &self.framing);
    }
}

/// An accept loop; drop it after the listening socket.
#[derive(Debug)]
pub struct Accepting<F: Framing> {
    core: Arc<ServerCore<F>>,
}

impl<F: Framing> Drop for Accepting<F> {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        state.accepting -= 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn keep(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|kept| kept.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Whether the system, not one connection, is the trouble (EMFILE, ENFILE, ENOBUFS, ENOMEM).
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 105 | 12)) || error.kind() == io::ErrorKind::OutOfMemory
}
