//! Message links as what accepts connections: settings, handlers, and who is connected.

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
use bowline_driver::workers::Aside;

use crate::auth::{Verification, Verifier};
use crate::detached::{DetachedLimits, DetachedSessions};
use crate::handler::Handlers;
use crate::hub_core::HubCore;
use crate::link_app::{LinkApp, PeerWatch};
use crate::monitor::Monitor;
use crate::peer_core::{PeerCore, SharedLink};
use crate::writers::writers_left;

type OnEvent = Box<dyn Fn(&ServerEvent) + Send + Sync>;

/// So many events wait to be told at most, where they are not told in place.
const MOST_EVENTS: usize = 1024;

/// Who gets the events.
enum Events {
    Nobody,
    InPlace(OnEvent),
    Aside(Aside<ServerEvent>),
}

/// What a server is built from.
pub(crate) struct ServerParts<F: Framing> {
    /// Its settings.
    pub config: Config<F>,
    /// Its handlers.
    pub handlers: Handlers<F>,
    /// Who is connected; a hub of its own unless it shares one.
    pub hub: HubCore<F>,
    pub(crate) place: Place,
    on_event: Option<OnEvent>,
    monitor: Option<(Monitor, Arc<str>)>,
    /// Decides about peers, if they have to say who they are.
    pub(crate) verifier: Option<Verifier>,
}

impl<F: Framing> std::fmt::Debug for ServerParts<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerParts").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<F: Framing> ServerParts<F> {
    /// Without handlers.
    #[must_use]
    pub(crate) fn new(config: Config<F>) -> Self {
        let (handlers, hub, place) = (Handlers::default(), HubCore::new(), Place::default());
        Self { config, handlers, hub, place, on_event: None, monitor: None, verifier: None }
    }

    /// Called when something happens to the server as a whole.
    pub(crate) fn on_event(&mut self, f: impl Fn(&ServerEvent) + Send + Sync + 'static) {
        self.on_event = Some(Box::new(f));
    }

    /// Its links are seen by `monitor` under `label`.
    pub(crate) fn monitor(&mut self, monitor: &Monitor, label: &str) {
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
    /// Messages of the peer that came and that `on_message` was not done with. They are handed over all
    /// the same while the process runs.
    pub unhandled: usize,
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

/// What serves the connections of a message server.
pub(crate) struct LinkService<F: Framing> {
    config: Config<F>,
    handlers: Arc<Handlers<F>>,
    members: Arc<Members<F>>,
    events: Events,
    monitor: Option<(Monitor, Arc<str>)>,
    detached: Arc<DetachedSessions<F>>,
    verification: Option<Arc<Verification>>,
    cut: Mutex<Vec<Cut>>,
    /// Those whose writers had not given everything back when they were cut.
    late: Mutex<Vec<(PeerId, PeerCore<F>)>>,
}

impl<F: Framing> std::fmt::Debug for LinkService<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkService").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<F: Framing> LinkService<F> {
    /// A door behind which links serve.
    #[must_use]
    pub(crate) fn door(parts: ServerParts<F>) -> Arc<Door<Self>> {
        let ServerParts { config, handlers, hub, on_event, monitor, verifier, .. } = parts;
        handlers.prepare();
        let events = match (on_event, handlers.workers_aside()) {
            (None, _) => Events::Nobody,
            (Some(on_event), None) => Events::InPlace(on_event),
            (Some(on_event), Some(workers)) => {
                Events::Aside(Aside::new(workers, MOST_EVENTS, move |event| on_event(event)))
            }
        };
        let gate = Gate::new(*config.accept_limits(), config.message_timeout());
        let verification =
            verifier.map(|verifier| Verification::new(verifier, *config.accept_limits(), Arc::clone(&gate)));
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

    /// Its settings.
    #[must_use]
    pub(crate) fn config(&self) -> &Config<F> {
        &self.config
    }

    /// Who is connected.
    #[must_use]
    pub(crate) fn hub(&self) -> &HubCore<F> {
        &self.members.hub
    }

    /// Prepares the next connection of `peer`: it has to say who it is, if anybody has.
    pub(crate) fn challenge(&self, peer: &PeerCore<F>) {
        if let Some(verification) = &self.verification {
            verification.challenge(peer);
        }
    }

    /// What was cut since the shutdown began, once.
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
        let peer = PeerCore::new(link, self.config.linger());
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

    /// A session without a connection is counted as such.
    fn watch_memory(&self, peer: &PeerCore<F>) -> Option<WatchMemory> {
        if !matches!(self.config.delivery(), Delivery::Session) {
            return None;
        }
        // Neither keeps the other: the link ends with its connection, the table with the server.
        let (detached, link) = (Arc::downgrade(&self.detached), Arc::downgrade(peer.shared()));
        let id = peer.id();
        // Whether the last report was that of a session without a connection. Reports may overtake each
        // other; the table looks at the link itself.
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
        match &self.events {
            Events::Nobody => true,
            Events::InPlace(on_event) => {
                on_event(&event);
                true
            }
            Events::Aside(aside) => aside.push(event),
        }
    }
}

/// Those who are past their handshake.
struct Members<F: Framing> {
    framing: Arc<F>,
    hub: HubCore<F>,
}

impl<F: Framing> PeerWatch<F> for Members<F> {
    fn ready(&self, peer: &PeerCore<F>) {
        self.hub.add(peer, &self.framing);
    }
}
