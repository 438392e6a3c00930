//! The connected peers, and broadcasts to many of them.

use std::collections::{HashMap, HashSet};

use bowline_core::body::Payload;
use bowline_core::error::{CastError, CastRefusal, EncodeError};
use bowline_core::frame::Framing;
use bowline_core::link::{CastOptions, Queued, SharedCast};
use bowline_driver::PeerId;
use bowline_driver::sync::{Arc, Mutex};

use crate::peer_core::PeerCore;

/// The peers of one or more servers, whatever drives them: see [`Hub`](crate::Hub).
#[derive(Debug)]
pub struct HubCore<F: Framing>(Arc<Mutex<State<F>>>);

impl<F: Framing> Clone for HubCore<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Framing> Default for HubCore<F> {
    fn default() -> Self {
        let everybody = Members { ids: HashSet::new(), list: None };
        let state = State { peers: HashMap::new(), everybody, groups: HashMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }
}

#[derive(Debug)]
struct State<F: Framing> {
    peers: HashMap<PeerId, Member<F>>,
    everybody: Members<F>,
    groups: HashMap<String, Members<F>>,
}

#[derive(Debug)]
struct Member<F: Framing> {
    peer: PeerCore<F>,
    /// The framing of the peer's server: one value for all peers of that server.
    framing: Arc<F>,
    groups: HashSet<String>,
}

/// The receivers of a message, for iteration: rebuilt after a change.
type List<F> = Arc<[(PeerCore<F>, Arc<F>)]>;

#[derive(Debug)]
struct Members<F: Framing> {
    ids: HashSet<PeerId>,
    list: Option<List<F>>,
}

impl<F: Framing> Members<F> {
    fn insert(&mut self, id: PeerId) -> bool {
        self.list = None;
        self.ids.insert(id)
    }

    fn remove(&mut self, id: PeerId) -> bool {
        self.list = None;
        self.ids.remove(&id)
    }

    fn list(&mut self, peers: &HashMap<PeerId, Member<F>>) -> List<F> {
        let Self { ids, list } = self;
        let list = list.get_or_insert_with(|| {
            let members = ids.iter().filter_map(|id| peers.get(id));
            members.map(|member| (member.peer.clone(), Arc::clone(&member.framing))).collect()
        });
        Arc::clone(list)
    }
}

/// The result of a broadcast.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[must_use = "queued is not written, and some may have missed it"]
pub struct Broadcast {
    /// Number of links whose write queue took the message.
    pub queued: usize,
    /// Number of links that had no room for it, or cannot carry it.
    pub dropped: usize,
    /// Number of links that were over.
    pub gone: usize,
    /// The ids of the peers whose links had no room.
    pub missed: Vec<PeerId>,
    /// The peers whose links can never carry the message, by id, with the reason: their framing cannot
    /// express it, or it exceeds their size limit.
    pub refused: Vec<(PeerId, EncodeError)>,
}

/// Why a message to one peer was not queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The peer does not exist, or no longer exists.
    #[error("peer {0:?} is gone")]
    Gone(PeerId),
    /// The peer's link refused the message.
    #[error(transparent)]
    Cast(#[from] CastError),
}

impl PushError {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Cast(error) if error.is_retryable())
    }
}

impl<F: Framing> HubCore<F> {
    /// An empty hub.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of peers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().peers.len()
    }

    /// Whether there are no peers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peer with that id.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<PeerCore<F>> {
        self.0.lock().peers.get(&id).map(|member| member.peer.clone())
    }

    /// All peers.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerCore<F>> {
        self.0.lock().peers.values().map(|member| member.peer.clone()).collect()
    }

    /// Queues a message to one peer, if there is room.
    ///
    /// # Errors
    /// The peer does not exist, or its link refused the message (see [`PeerCore::try_cast`]).
    pub fn cast_to<'a>(
        &self,
        id: PeerId,
        method: u32,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Queued, PushError> {
        let peer = self.peer(id).ok_or(PushError::Gone(id))?;
        Ok(peer.try_cast(method, payload)?)
    }

    /// Queues a message to every peer.
    pub fn broadcast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Broadcast {
        self.broadcast_with(CastOptions::new(method), payload, |_| true)
    }

    /// Queues a message, with options, to every peer for which `wanted` returns true.
    pub fn broadcast_with<'a>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
        wanted: impl Fn(&PeerCore<F>) -> bool,
    ) -> Broadcast {
        let list = {
            let State { peers, everybody, .. } = &mut *self.0.lock();
            everybody.list(peers)
        };
        send(&list, options, payload.into(), wanted)
    }

    /// Queues a message to every peer in a group. A group without peers is not an error.
    pub fn publish<'a>(&self, group: &str, method: u32, payload: impl Into<Payload<'a>>) -> Broadcast {
        self.publish_with(group, CastOptions::new(method), payload, |_| true)
    }

    /// [`publish`](Self::publish) with options, to the peers of the group for which `wanted` returns true.
    pub fn publish_with<'a>(
        &self,
        group: &str,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
        wanted: impl Fn(&PeerCore<F>) -> bool,
    ) -> Broadcast {
        let list = {
            let State { peers, groups, .. } = &mut *self.0.lock();
            groups.get_mut(group).map(|members| members.list(peers))
        };
        list.map_or_else(Broadcast::default, |list| send(&list, options, payload.into(), wanted))
    }

    /// Adds a peer to a group. A group exists while it has peers. Returns `true` if the peer was added;
    /// `false` if it was in the group already, or does not exist. A peer that is gone is removed from all
    /// groups.
    pub fn join(&self, group: &str, id: PeerId) -> bool {
        let State { peers, groups, .. } = &mut *self.0.lock();
        let Some(member) = peers.get_mut(&id) else { return false };
        if !member.groups.insert(group.to_owned()) {
            return false;
        }
        let members =
            groups.entry(group.to_owned()).or_insert_with(|| Members { ids: HashSet::new(), list: None });
        members.insert(id)
    }

    /// Removes a peer from a group. Returns whether it was in the group.
    pub fn leave(&self, group: &str, id: PeerId) -> bool {
        let State { peers, groups, .. } = &mut *self.0.lock();
        if let Some(member) = peers.get_mut(&id) {
            member.groups.remove(group);
        }
        leave(groups, group, id)
    }

    /// The ids of the peers in a group, in no particular order.
    #[must_use]
    pub fn members(&self, group: &str) -> Vec<PeerId> {
        self.0
            .lock()
            .groups
            .get(group)
            .map(|members| members.ids.iter().copied().collect())
            .unwrap_or_default()
    }

    /// The names of all groups, in no particular order.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.0.lock().groups.keys().cloned().collect()
    }

    /// Adds a peer whose handshake is done.
    pub(crate) fn add(&self, peer: &PeerCore<F>, framing: &Arc<F>) {
        let State { peers, everybody, .. } = &mut *self.0.lock();
        let member = Member { peer: peer.clone(), framing: Arc::clone(framing), groups: HashSet::new() };
        if peers.insert(peer.id(), member).is_none() {
            everybody.insert(peer.id());
        }
    }

    /// Removes a peer whose link is over.
    pub(crate) fn remove(&self, id: PeerId) {
        let mut state = self.0.lock();
        let State { peers, everybody, groups } = &mut *state;
        let Some(member) = peers.remove(&id) else { return };
        everybody.remove(id);
        for group in &member.groups {
            leave(groups, group, id);
        }
        drop(state);
        // The last handle of the peer may be dropped here: not under the lock.
        drop(member);
    }
}

fn leave<F: Framing>(groups: &mut HashMap<String, Members<F>>, group: &str, id: PeerId) -> bool {
    let Some(members) = groups.get_mut(group) else { return false };
    let was = members.remove(id);
    if members.ids.is_empty() {
        groups.remove(group);
    }
    was
}

/// Encodes the message once for each framing, and queues it everywhere.
fn send<F: Framing>(
    list: &[(PeerCore<F>, Arc<F>)],
    options: CastOptions,
    payload: Payload<'_>,
    wanted: impl Fn(&PeerCore<F>) -> bool,
) -> Broadcast {
    let body = payload.into_bytes();
    let mut result = Broadcast::default();
    let mut encoded: Vec<(&Arc<F>, SharedCast)> = Vec::new();
    for (peer, framing) in list {
        if !wanted(peer) {
            continue;
        }
        // One framing per server: hardly ever more than one or two.
        let known = encoded.iter().position(|(known, _)| Arc::ptr_eq(known, framing));
        let index = known.unwrap_or_else(|| {
            encoded.push((framing, SharedCast::new(&**framing, options.clone(), body.clone())));
            encoded.len() - 1
        });
        let (now, shared) = (peer.cast_time(), &encoded[index].1);
        match peer.shared().with(|link| link.cast_shared(now, shared)) {
            Ok(_) => result.queued += 1,
            Err(error) => match error.into_reason() {
                CastRefusal::Closed => result.gone += 1,
                CastRefusal::Encode(error) => {
                    result.dropped += 1;
                    result.refused.push((peer.id(), error));
                }
                _ => {
                    result.dropped += 1;
                    result.missed.push(peer.id());
                }
            },
        }
    }
    result
}
