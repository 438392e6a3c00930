//! The machines that an accepting side serves, from when they are admitted until they are over.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::task::Waker;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::time::Instant;

use super::eviction::Eviction;
use super::{Accepted, ServerEvent, Service, tell};
use crate::PeerId;
use crate::app::Application;
use crate::clock;
use crate::gate::{Admission, Gate, Handshake};
use crate::sync::{Arc, Mutex, Weak};

/// The connections of a [`Service`], counted and limited.
pub struct Door<S: Service> {
    service: S,
    gate: Arc<Gate>,
    state: Mutex<State<S>>,
}

struct State<S: Service> {
    inside: HashMap<PeerId, S::Peer>,
    /// No new connections are accepted.
    is_deaf: bool,
    /// A shutdown has begun; the time at which it no longer waits for work under way.
    stopping: Option<Instant>,
    /// Machines that are over, but have messages that are still being handled.
    busy: HashMap<PeerId, S::Peer>,
    /// The number of machines that ended since the shutdown began.
    ended: usize,
    /// The number of accept loops that still hold the listening socket.
    accepting: usize,
    /// Connections in the handshake of their layer, which are not served yet.
    securing: BTreeMap<u64, Arc<Eviction>>,
    last_securing: u64,
    wakers: Vec<Waker>,
}

impl<S: Service> std::fmt::Debug for Door<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<S: Service> Door<S> {
    /// A door without connections. The gate decides which connections are admitted.
    #[must_use]
    pub fn new(gate: Arc<Gate>, service: S) -> Arc<Self> {
        let state = State {
            inside: HashMap::new(),
            is_deaf: false,
            stopping: None,
            busy: HashMap::new(),
            ended: 0,
            accepting: 0,
            securing: BTreeMap::new(),
            last_securing: 0,
            wakers: Vec::new(),
        };
        Arc::new(Self { service, gate, state: Mutex::new(state) })
    }

    /// The service of admitted connections.
    #[must_use]
    pub fn service(&self) -> &S {
        &self.service
    }

    /// The gate, which decides which connections are admitted.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// A socket was accepted. `None`: it must be closed.
    #[must_use]
    pub fn admit(&self, from: &Address) -> Option<Admission> {
        match self.gate.admit(from) {
            Ok(admission) => Some(admission),
            Err(why) => {
                self.tell(ServerEvent::Refused { from: from.clone(), why });
                None
            }
        }
    }

    /// Accepting, or serving, one connection failed; the next one may succeed.
    pub fn accept_failed(&self, error: io::Error) {
        self.gate.note_error();
        self.tell(ServerEvent::AcceptFailed(error));
    }

    /// The handshake of a connection's layer failed: it was closed.
    pub(super) fn insecure(&self, from: &Address, cause: Disconnect) {
        self.gate.note_insecure();
        self.tell(ServerEvent::Insecure { from: from.clone(), cause });
    }

    /// The handshake of a connection's layer begins; it is over when the returned value is dropped. `None`
    /// during a shutdown.
    pub(super) fn begin_securing(self: &Arc<Self>) -> Option<Seated<S>> {
        let (eviction, handshake) = Eviction::begin(&self.gate);
        let mut state = self.state.lock();
        if state.stopping.is_some() {
            return None;
        }
        state.last_securing += 1;
        let number = state.last_securing;
        state.securing.insert(number, Arc::clone(&eviction));
        drop(state);
        Some(Seated { door: Arc::clone(self), number, eviction, handshake: Some(handshake) })
    }

    fn tell(&self, event: ServerEvent) {
        tell(&self.gate, event, |event| self.service.event(event));
    }

    /// A connection was admitted: creates the machine that serves it, which is counted until the returned
    /// value is dropped, and its application. `None` during a shutdown.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<(Inside<S>, Arc<S::App>)> {
        if self.state.lock().stopping.is_some() {
            return None;
        }
        let Accepted { id, peer, app, has_handshake } = self.service.accept();
        let handshake = has_handshake.then(|| {
            let shared = Arc::downgrade(S::shared(&peer));
            self.gate.begin_handshake(move || {
                Weak::upgrade(&shared).is_some_and(|shared| {
                    shared.with(|machine| {
                        // Its driver may not have reported yet that the handshake is done.
                        let is_done = machine.was_ready();
                        if !is_done {
                            machine.abort(clock::now(), Disconnect::HandshakeCrowd);
                        }
                        !is_done
                    })
                })
            })
        });
        let mut state = self.state.lock();
        if state.stopping.is_some() {
            // The shutdown began meanwhile: the new machine is reported as gone, like every other one.
            drop(state);
            self.service.gone(id, &peer, true);
            return None;
        }
        state.inside.insert(id, peer.clone());
        self.gate.memory().count(id, S::shared(&peer), self.service.watch_memory(&peer));
        drop(state);
        let seat = Seat { door: Arc::clone(self), id, admission: None };
        Some((Inside { seat: Some(seat), peer, app: Arc::clone(&app), handshake }, app))
    }

    /// All peers inside.
    #[must_use]
    pub fn inside(&self) -> Vec<S::Peer> {
        self.state.lock().inside.values().cloned().collect()
    }

    fn leave(&self, id: PeerId, peer: &S::Peer, is_busy: bool) {
        let is_stopping = self.state.lock().stopping.is_some();
        self.service.gone(id, peer, is_stopping);
        let mut state = self.state.lock();
        if state.inside.remove(&id).is_some() && is_stopping {
            state.ended += 1;
        }
        if is_busy {
            state.busy.insert(id, peer.clone());
        }
        let wakers = if state.inside.is_empty() { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// All callbacks about that machine were made: its place in the limits is free, unless requests of it are
    /// still being handled.
    fn forget(&self, id: PeerId, admission: Option<Admission>) {
        self.gate.memory().leave(id, admission);
        let mut state = self.state.lock();
        state.busy.remove(&id);
        let is_last = state.busy.is_empty() && state.stopping.is_some();
        let wakers = if is_last { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Stops accepting; existing connections stay.
    pub fn stop_accepting(&self) {
        let mut state = self.state.lock();
        state.is_deaf = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Accepts nothing new, and lets every connection finish work under way for at most `linger`.
    pub fn begin_shutdown(&self, linger: Duration) {
        let until = clock::after(linger);
        let mut state = self.state.lock();
        state.is_deaf = true;
        state.stopping = Some(state.stopping.map_or(until, |earlier| earlier.min(until)));
        let wakers = std::mem::take(&mut state.wakers);
        let peers: Vec<S::Peer> = state.inside.values().cloned().collect();
        let securing: Vec<Arc<Eviction>> = state.securing.values().cloned().collect();
        drop(state);
        // They have no work under way.
        securing.iter().for_each(|eviction| eviction.evict());
        let now = clock::now();
        for peer in &peers {
            S::shared(peer).with(|machine| machine.close(now, linger));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing more is accepted; keeps a waker for when that changes, or when the last connection is
    /// gone.
    pub fn poll_deaf(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if !state.is_deaf {
            keep(&mut state.wakers, waker);
        }
        state.is_deaf
    }

    /// An accept loop runs until the returned value is dropped.
    #[must_use]
    pub fn accepting(self: &Arc<Self>) -> Accepting<S> {
        self.state.lock().accepting += 1;
        Accepting { door: Arc::clone(self) }
    }

    /// After a shutdown, when every connection is over and the listening socket is closed: returns, once, how
    /// many connections ended during it. Messages that are still being handled are waited for until the time
    /// of the shutdown is over.
    pub fn poll_stopped(&self, now: Instant, waker: &Waker) -> Stopped {
        let mut state = self.state.lock();
        let is_empty = state.inside.is_empty() && state.accepting == 0 && state.securing.is_empty();
        let over = state.stopping.filter(|_| is_empty);
        if !over.is_some_and(|until| state.busy.is_empty() || now >= until) {
            keep(&mut state.wakers, waker);
            return Stopped::NotYet(over);
        }
        // Taken, not copied: of several callers that wait for the end of a shutdown, one reports it.
        let (ended, busy) = (std::mem::take(&mut state.ended), std::mem::take(&mut state.busy));
        drop(state);
        for (id, peer) in &busy {
            self.service.unfinished(*id, peer);
        }
        Stopped::Yes(ended)
    }
}

/// The result of [`Door::poll_stopped`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The number of connections that ended.
    Yes(usize),
    /// Not yet. The waker is called when that changes, but not when this time comes.
    NotYet(Option<Instant>),
}

/// A machine that is inside; dropping it gives the machine up, if it is not over.
pub struct Inside<S: Service> {
    seat: Option<Seat<S>>,
    peer: S::Peer,
    app: Arc<S::App>,
    handshake: Option<Handshake>,
}

/// What a machine uses of the limits, until none of its messages is being handled. Requests that are being
/// handled keep it after that: see [`ServerMemory::leave`](crate::memory::ServerMemory::leave).
struct Seat<S: Service> {
    door: Arc<Door<S>>,
    id: PeerId,
    /// Given up with it, when no handler runs any more.
    admission: Option<Admission>,
}

impl<S: Service> Drop for Seat<S> {
    fn drop(&mut self) {
        self.door.forget(self.id, self.admission.take());
    }
}

impl<S: Service> std::fmt::Debug for Inside<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.seat.as_ref().map(|seat| seat.id);
        f.debug_struct("Inside").field("id", &id).finish_non_exhaustive()
    }
}

impl<S: Service> Inside<S> {
    /// The machine's handle.
    #[must_use]
    pub fn peer(&self) -> &S::Peer {
        &self.peer
    }

    /// The machine has only one connection, which was admitted with this value.
    pub(super) fn keep(&mut self, admission: Admission) {
        if let Some(seat) = &mut self.seat {
            seat.admission = Some(admission);
        }
    }

    /// Must be called after each step of its connection, because a handshake may be done.
    #[inline]
    pub fn note_driven(&mut self) {
        if self.handshake.is_some() && S::shared(&self.peer).look(|machine| machine.was_ready()) {
            self.handshake = None;
        }
    }

    /// Must be called when its connection is over and the machine may wait for the next one: the handshake no
    /// longer counts, even if the connection ended at the moment when the handshake was done.
    pub fn note_disconnected(&mut self) {
        self.handshake = None;
    }
}

impl<S: Service> Drop for Inside<S> {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        S::shared(&self.peer).with(|machine| machine.give_up(clock::now(), Disconnect::LocalClose));
        seat.door.leave(seat.id, &self.peer, self.app.is_busy());
        self.app.keep(Box::new(seat));
    }
}

/// A connection in the handshake of its layer.
pub(super) struct Seated<S: Service> {
    door: Arc<Door<S>>,
    number: u64,
    eviction: Arc<Eviction>,
    handshake: Option<Handshake>,
}

impl<S: Service> Seated<S> {
    /// A number that is unique for the door.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it must end; keeps the waker for when that changes.
    pub(super) fn is_evicted(&self, waker: &Waker) -> bool {
        self.eviction.poll(waker)
    }

    /// The connection holds this many bytes in its layer: if all handshakes together hold too much, the oldest
    /// ones are evicted.
    pub(super) fn note_held(&mut self, bytes: usize) {
        if let Some(handshake) = &mut self.handshake {
            handshake.note_held(bytes);
        }
    }

    /// The handshake is over.
    pub(super) fn leave(&mut self) {
        self.handshake = None;
    }
}

impl<S: Service> Drop for Seated<S> {
    fn drop(&mut self) {
        let mut state = self.door.state.lock();
        state.securing.remove(&self.number);
        let is_last = state.securing.is_empty() && state.stopping.is_some();
        let wakers = if is_last { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// An accept loop; drop it after the listening socket.
#[derive(Debug)]
pub struct Accepting<S: Service> {
    door: Arc<Door<S>>,
}

impl<S: Service> Drop for Accepting<S> {
    fn drop(&mut self) {
        let mut state = self.door.state.lock();
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

#[cfg(test)]
mod tests;
