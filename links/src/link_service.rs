//! Message links as a service of the acceptor: settings, handlers, and the connected peers.

use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::config::{Config, Delivery};
use bowline_core::frame::Framing;
use bowline_core::link::{Link, Role, Undelivered};
use bowline_driver::PeerId;
use bowline_driver::accept::{Accepted, Door, ServerEvent, Service};
use bowline_driver::gate::Gate;
use bowline_driver::memory::WatchMemory;
use bowline_driver::place::Place;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::{Arc, AtomicBool, Mutex, Ordering};

use crate::auth::{Verification, Verifier};
use crate::detached::{DetachedLimits, DetachedSessions};
use crate::handler::Handlers;
use crate::hub_core::HubCore;
use crate::link_app::{LinkApp, PeerWatch};
use crate::monitor::Monitor;
use crate::peer_core::{PeerCore, SharedLink};
use crate::server_events::{OnEvent, ServerEvents};
use crate::writers::writers_left;

/// The parts of which a server is built.
pub(crate) struct ServerParts<F: Framing> {
    /// The settings.
    pub config: Config<F>,
    /// The handlers.
    pub handlers: Handlers<F>,
    /// The connected peers; the server's own hub unless it shares one.
    pub hub: HubCore<F>,
    pub(crate) place: Place,
    on_event: Option<OnEvent>,
    monitor: Option<(Monitor, Arc<str>)>,
    /// Authenticates peers, if that is required.
    pub(crate) verifier: Option<Verifier>,
}

impl<F: Framing> std::fmt::Debug for ServerParts<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerParts").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<F: Framing> ServerParts<F> {
    /// Parts without handlers.
    #[must_use]
    pub(crate) fn new(config: Config<F>) -> Self {
        let (handlers, hub, place) = (Handlers::default(), HubCore::new(), Place::default());
        Self { config, handlers, hub, place, on_event: None, monitor: None, verifier: None }
    }

    /// Sets the function that is called for events of the server as a whole.
    pub(crate) fn on_event(&mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) {
        self.on_event = Some(Box::new(f));
    }

    /// Registers the server's links with `monitor` under `label`.
    pub(crate) fn monitor(&mut self, monitor: &Monitor, label: &str) {
        self.monitor = Some((monitor.clone(), label.into()));
    }
}

/// The work of one connection that was cut off when the time of a shutdown was over.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Cut {
    /// The peer of the connection.
    pub peer: PeerId,
    /// The address of the peer.
    pub remote: Option<Address>,
    /// Requests that were not answered: their ids on the wire.
    pub requests: Vec<u64>,
    /// Messages to the peer that were not sent.
    pub undelivered: Vec<Undelivered>,
    /// Number of received messages that `on_message` had not finished. They are still handed over while the
    /// process runs.
    pub unhandled: usize,
}

/// The result of a shutdown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Drained {
    /// Number of connections that ended during the shutdown.
    pub connections: usize,
    /// The connections that had work under way when the time was over.
    pub cut: Vec<Cut>,
}

/// The service behind the connections of a message server.
pub(crate) struct LinkService<F: Framing> {
    config: Config<F>,
    handlers: Arc<Handlers<F>>,
    members: Arc<Members<F>>,
    events: Arc<ServerEvents>,
    monitor: Option<(Monitor, Arc<str>)>,
    detached: Arc<DetachedSessions<F>>,
    verification: Option<Arc<Verification>>,
    cut: Mutex<Vec<Cut>>,
    /// Peers whose writers had not given everything back when they were cut off.
    late: Mutex<Vec<(PeerId, PeerCore<F>)>>,
}

impl<F: Framing> std::fmt::Debug for LinkService<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkService").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<F: Framing> LinkService<F> {
    /// An acceptor for this service.
    #[must_use]
    pub(crate) fn door(parts: ServerParts<F>) -> Arc<Door<Self>> {
        let ServerParts { config, handlers, hub, on_event, monitor, verifier, .. } = parts;
        handlers.prepare();
        let gate = Gate::new(*config.accept_limits(), config.message_timeout());
        let events = ServerEvents::new(Arc::clone(&gate), on_event, &handlers);
        let verification = verifier.map(|verifier| {
            Verification::new(verifier, *config.accept_limits(), Arc::clone(&gate), Arc::clone(&events))
        });
        let limits = DetachedLimits {
            sessions: config.max_detached(),
            per_address: config.max_detached_per_address(),
            bytes: config.max_detached_bytes(),
        };
        let detached = DetachedSessions::new(limits, Arc::clone(&gate));
        let members = Arc::new(Members { framing: Arc::new(config.framing().clone()), hub });
        let handlers = Arc::new(handlers);
        let (cut, late) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        Door::new(
            gate,
            Self { config, handlers, members, events, monitor, detached, verification, cut, late },
        )
    }

    /// The settings.
    #[must_use]
    pub(crate) fn config(&self) -> &Config<F> {
        &self.config
    }

    /// The connected peers.
    #[must_use]
    pub(crate) fn hub(&self) -> &HubCore<F> {
        &self.members.hub
    }

    /// Prepares the next connection of `peer`: it has to authenticate, if the server has a verifier.
    pub(crate) fn challenge(&self, peer: &PeerCore<F>) {
        if let Some(verification) = &self.verification {
            verification.challenge(peer);
        }
    }

    /// Returns, once, what was cut off since the shutdown began.
    pub(crate) async fn take_cut<R: Runtime>(&self) -> Vec<Cut> {
        let late = std::mem::take(&mut *self.late.lock());
        for (id, peer) in late {
            writers_left::<R, F>(&peer).await;
            let undelivered = peer.shared().with(|link| link.take_undelivered());
            if !undelivered.is_empty() {
                self.note_cut(id, &peer, |cut| cut.undelivered.extend(undelivered));
            }
        }
        std::mem::take(&mut self.cut.lock())
    }

    fn note_cut(&self, id: PeerId, peer: &PeerCore<F>, note: impl FnOnce(&mut Cut)) {
        let mut cut = self.cut.lock();
        if let Some(cut) = cut.iter_mut().find(|cut| cut.peer == id) {
            return note(cut);
        }
        let (requests, undelivered) = (Vec::new(), Vec::new());
        let mut new = Cut { peer: id, remote: peer.remote_addr(), requests, undelivered, unhandled: 0 };
        note(&mut new);
        cut.push(new);
    }
}

impl<F: Framing> Service for LinkService<F> {
    type Machine = Link<F, Waker>;
    type App = LinkApp<F>;
    type Peer = PeerCore<F>;

    fn shared(peer: &PeerCore<F>) -> &Arc<SharedLink<F>> {
        peer.shared()
    }

    fn accept(&self) -> Accepted<Self> {
        let link = Link::new(self.config.clone(), Role::Accepting);
        let peer = PeerCore::new(link);
        let watch = Arc::clone(&self.members) as Arc<dyn PeerWatch<F>>;
        self.challenge(&peer);
        let app = LinkApp::new(peer.clone(), Arc::clone(&self.handlers), false);
        let app = Arc::new(app.watched(watch).verified(self.verification.clone()));
        if let Some((monitor, label)) = &self.monitor {
            monitor.watch_as(Arc::clone(label), &peer);
        }
        let has_handshake = self.config.framing().profile().handshake;
        Accepted { id: peer.id(), peer, app, has_handshake }
    }

    /// Reports changes of sessions without a connection to their table.
    fn watch_memory(&self, peer: &PeerCore<F>) -> Option<WatchMemory> {
        if !matches!(self.config.delivery(), Delivery::Session) {
            return None;
        }
        // Neither keeps the other alive: the link ends with its connection, the table with the server.
        let (detached, link) = (Arc::downgrade(&self.detached), Arc::downgrade(peer.shared()));
        let id = peer.id();
        // Whether the last report was that of a session without a connection. Reports may overtake each
        // other; the table reads the state from the link itself.
        let was_detached = AtomicBool::new(false);
        Some(Box::new(move |holding| {
            let was_detached = was_detached.swap(holding.is_detached, Ordering::AcqRel);
            if (holding.is_detached || was_detached)
                && let (Some(detached), Some(link)) = (detached.upgrade(), link.upgrade())
            {
                detached.count(id, &link, holding.origin);
            }
        }))
    }

    fn gone(&self, id: PeerId, peer: &PeerCore<F>, is_stopping: bool) {
        self.members.hub.remove(id);
        self.detached.remove(id);
        if let Some(verification) = &self.verification {
            verification.remove(id);
        }
        if is_stopping {
            let (requests, undelivered, is_late) =
                peer.shared().with(|link| (link.take_cut(), link.take_undelivered(), link.has_late_writes()));
            if is_late {
                self.late.lock().push((id, peer.clone()));
            }
            if !requests.is_empty() || !undelivered.is_empty() {
                self.note_cut(id, peer, |cut| (cut.requests, cut.undelivered) = (requests, undelivered));
            }
        }
    }

    fn unfinished(&self, id: PeerId, peer: &PeerCore<F>) {
        let unhandled = peer.shared().with(|link| link.unhandled());
        if unhandled > 0 {
            self.note_cut(id, peer, |cut| cut.unhandled = unhandled);
        }
    }

    fn event(&self, event: ServerEvent) -> bool {
        self.events.hand_over(event)
    }
}

/// Adds a peer to the hub when its handshake is done.
struct Members<F: Framing> {
    framing: Arc<F>,
    hub: HubCore<F>,
}

impl<F: Framing> PeerWatch<F> for Members<F> {
    fn ready(&self, peer: &PeerCore<F>) {
        self.hub.add(peer, &self.framing);
    }
}
