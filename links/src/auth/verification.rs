//! The pending decisions of one server: how many run at once, and how many links each identity has.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::auth::{Decision, Grant, Identity, Refusal, RefusalCode, Shown};
use bowline_core::config::AcceptLimits;
use bowline_core::frame::Framing;
use bowline_core::link::Link;
use bowline_core::supervisor::Epoch;
use bowline_driver::PeerId;
use bowline_driver::accept::ServerEvent;
use bowline_driver::clock;
use bowline_driver::connection_info::ConnectionInfo;
use bowline_driver::gate::Gate;
use bowline_driver::sync::{Arc, Mutex, Weak};

use super::{Attempt, Awaited, Deciding, Verifier};
use crate::peer_core::PeerCore;
use crate::server_events::ServerEvents;

/// The delay that is sent to a peer when too many other decisions are pending.
const LATER: Duration = Duration::from_secs(1);

/// The verifier of a server, and the identities of the peers that it let in.
pub(crate) struct Verification {
    verifier: Verifier,
    limits: AcceptLimits,
    gate: Arc<Gate>,
    events: Arc<ServerEvents>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of peers whose decision is pending.
    deciding: usize,
    /// The number of links per identity name, and the identity of each link.
    links: HashMap<String, usize>,
    names: HashMap<PeerId, String>,
}

impl std::fmt::Debug for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verification").finish_non_exhaustive()
    }
}

impl Verification {
    pub(crate) fn new(
        verifier: Verifier,
        limits: AcceptLimits,
        gate: Arc<Gate>,
        events: Arc<ServerEvents>,
    ) -> Arc<Self> {
        Arc::new(Self { verifier, limits, gate, events, state: Mutex::default() })
    }

    /// Prepares the next connection of a link: the peer is required to authenticate.
    pub(crate) fn challenge<F: Framing>(&self, peer: &PeerCore<F>) {
        let mut challenge = [0; 32];
        let random = getrandom::fill(&mut challenge).is_ok();
        peer.shared().with(|link| {
            // Without randomness there is no challenge, and no peer is let in.
            link.require_credentials();
            if random {
                link.challenge(challenge);
            }
        });
    }

    /// A peer sent its credentials: asks the program. The caller must end the returned value with the
    /// connection.
    pub(crate) fn ask<F: Framing>(
        self: &Arc<Self>,
        peer: &PeerCore<F>,
        shown: Shown,
        connection: ConnectionInfo,
    ) -> Option<Arc<Awaited>> {
        let (epoch, id, from) = (shown.challenge().epoch(), peer.id(), connection.remote.clone());
        let Some(place) = self.place() else {
            let refusal = Refusal::new(RefusalCode::BUSY).text("too many are being verified");
            let refusal = refusal.retry_after(LATER);
            peer.shared().with(|link| link.decide(clock::now(), epoch, Err(refusal.clone())));
            self.denied(id, from, refusal);
            return None;
        };
        let (this, link) = (Arc::clone(self), Arc::downgrade(peer.shared()));
        let awaited: Arc<Awaited> = Arc::default();
        let awaits = Arc::clone(&awaited);
        let take = move |decision: Decision| {
            drop(place);
            let shared = Weak::upgrade(&link);
            let refused = shared.and_then(|shared| {
                shared.with(|link| {
                    if !link.is_deciding(epoch) {
                        return None;
                    }
                    awaits.note_decided();
                    this.decide(link, id, epoch, decision)
                })
            });
            if let Some(refusal) = refused {
                this.denied(id, from, refusal);
            }
        };
        let deciding = Deciding::new(id, Arc::clone(&awaited), Box::new(take));
        let attempt = Attempt::new(shown, connection);
        // A verifier that panics drops `deciding`, which refuses the peer.
        let called = catch_unwind(AssertUnwindSafe(|| (self.verifier)(attempt, deciding)));
        drop(called);
        Some(awaited)
    }

    /// Reserves one of the limited places for pending decisions, if one is free.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.deciding >= self.limits.verifications {
            return None;
        }
        state.deciding += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Runs under the lock of the link, which waits for the decision, so that the link's identity and the
    /// counts agree. Returns the refusal that was sent to the peer, if the peer was not let in.
    fn decide<F: Framing>(
        &self,
        link: &mut Link<F, Waker>,
        id: PeerId,
        epoch: Epoch,
        decision: Decision,
    ) -> Option<Refusal> {
        let mut state = self.state.lock();
        let decision = decision.and_then(|grant| state.admit(id, grant, self.limits.per_identity));
        let refusal = decision.as_ref().err().cloned();
        let is_let_in = link.decide(clock::now(), epoch, decision);
        state.note(id, link.identity().map(Identity::name));
        drop(state);
        // The link itself refuses a peer that asks for the session of another identity.
        (!is_let_in).then(|| refusal.unwrap_or_else(|| RefusalCode::OTHER_IDENTITY.into()))
    }

    /// A peer was not let in: counts and reports it. Called without the lock of the link.
    pub(crate) fn denied(&self, peer: PeerId, from: Option<Address>, refusal: Refusal) {
        self.gate.note_denied();
        self.events.tell(ServerEvent::Denied { peer, from, refusal });
    }

    /// Removes a link that is over.
    pub(crate) fn remove(&self, id: PeerId) {
        self.state.lock().note(id, None);
    }
}

/// The place of a peer whose decision is pending.
struct Place(Arc<Verification>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().deciding -= 1;
    }
}

impl State {
    /// Whether the identity may have this link in addition to its others.
    fn admit(&self, id: PeerId, grant: Grant, per_identity: usize) -> Decision {
        let name = grant.identity.name();
        let most = grant.connections.unwrap_or(per_identity);
        let own = usize::from(self.names.get(&id).is_some_and(|held| held == name));
        if self.links.get(name).map_or(0, |links| links - own) >= most {
            return Err(Refusal::new(RefusalCode::BUSY).text("too many connections of this identity"));
        }
        Ok(grant)
    }

    /// Assigns the link to the identity `name`, or to none.
    fn note(&mut self, id: PeerId, name: Option<&str>) {
        if self.names.get(&id).map(String::as_str) == name {
            return;
        }
        if let Some(old) = self.names.remove(&id)
            && let Some(links) = self.links.get_mut(&old)
        {
            *links -= 1;
            if *links == 0 {
                self.links.remove(&old);
            }
        }
        if let Some(name) = name {
            *self.links.entry(name.to_owned()).or_default() += 1;
            self.names.insert(id, name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_identity_and_one_of_ones_own_is_none_more() {
        let mut state = State::default();
        let bob = || Grant::new(Identity::new("bob")).connections(2);
        let (first, second, third) = (PeerId(1), PeerId(2), PeerId(3));
        for id in [first, second] {
            assert!(state.admit(id, bob(), 9).is_ok());
            state.note(id, Some("bob"));
        }
        assert_eq!(state.admit(third, bob(), 9).map_err(|refusal| refusal.code), Err(RefusalCode::BUSY));
        assert!(state.admit(first, bob(), 9).is_ok(), "its session goes on");
        assert!(state.admit(third, Grant::new(Identity::new("eve")), 1).is_ok());
        state.note(first, Some("eve"));
        assert!(state.admit(third, bob(), 9).is_ok());
        for id in [first, second, third] {
            state.note(id, None);
        }
        assert!(state.links.is_empty() && state.names.is_empty());
    }
}
