//! The memory of a server, counted over all its links.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use bowline_core::machine::Machine;
use bowline_core::memory::{Effects, Holding, MemoryPool, Verdict};

use crate::PeerId;
use crate::clock;
use crate::gate::Admission;
use crate::heavy::{HeavyWork, Turn};
use crate::shared::{CountMemory, Shared};
use crate::sync::{Arc, Mutex, Weak};

/// A [`MemoryPool`] behind a lock, and the links that draw from it.
///
/// No link's lock is held while the pool's is taken, or the other way round.
#[derive(Debug)]
pub struct ServerMemory {
    state: Mutex<State>,
    heavy: Arc<HeavyWork>,
}

struct State {
    pool: MemoryPool,
    links: HashMap<u64, Weak<dyn Counted>>,
    /// Links that were closed to make room and are not over.
    closing: HashMap<u64, Leaving>,
    /// Links that are over, while handlers still run for them.
    handled: HashMap<u64, Leaving>,
    closed: u64,
}

/// A link that is not counted by the pool any more: closing it would free nothing.
struct Leaving {
    link: Weak<dyn Counted>,
    /// The bytes that it still holds: mostly in batches being written, and in requests being handled.
    bytes: usize,
    /// Its place among the connections, given up with this.
    _admission: Option<Admission>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// A link that draws from the pool.
trait Counted: Send + Sync {
    /// It may hold `granted` bytes, and continue.
    fn resume(&self, granted: usize);
    /// It must end. Returns what it still holds.
    fn close(&self, held: usize, limit: usize) -> usize;
    /// The bytes that its handlers hold; `None` if none runs.
    fn handled(&self) -> Option<usize>;
}

impl<M: Machine<Token = Waker>> Counted for Shared<M> {
    fn resume(&self, granted: usize) {
        self.with(|machine| machine.handle_memory(clock::now(), Verdict::Granted(granted)));
    }

    fn close(&self, held: usize, limit: usize) -> usize {
        self.with(|machine| machine.close_for_memory(clock::now(), held, limit))
    }

    fn handled(&self) -> Option<usize> {
        self.look(|machine| machine.handled())
    }
}

/// Called with each report of a machine.
pub type WatchMemory = Box<dyn Fn(&Holding) + Send + Sync>;

/// The connection between a machine and its server's counter.
struct Seat {
    memory: Arc<ServerMemory>,
    id: PeerId,
    /// Called after each report.
    watch: Option<WatchMemory>,
}

impl CountMemory for Seat {
    fn report(&self, holding: Holding) -> Verdict {
        if let Some(watch) = &self.watch {
            watch(&holding);
        }
        self.memory.report(self.id.0, holding)
    }

    fn spare(&self) -> usize {
        self.memory.spare()
    }

    fn turn(&self) -> Turn {
        Turn::new(Arc::clone(&self.memory.heavy), self.id.0)
    }

    fn resize_beside(&self, before: usize, after: usize) {
        self.memory.resize_beside(before, after);
    }
}

impl ServerMemory {
    /// A server memory of `limit` bytes; the largest holder is closed if nothing is returned for `stall`.
    #[must_use]
    pub fn new(limit: usize, stall: Duration) -> Arc<Self> {
        let pool = MemoryPool::new(limit, stall);
        let (links, closing, handled) = (HashMap::new(), HashMap::new(), HashMap::new());
        let state = State { pool, links, closing, handled, closed: 0 };
        Arc::new(Self { state: Mutex::new(state), heavy: Arc::default() })
    }

    /// The queue for work that fills this memory, or makes answers that would.
    #[must_use]
    pub fn heavy_work(&self) -> &HeavyWork {
        &self.heavy
    }

    /// A place in the queue for heavy work, for a handshake with this number, which has no machine yet.
    #[must_use]
    pub fn turn_of(&self, handshake: u64) -> Turn {
        Turn::new(Arc::clone(&self.heavy), u64::MAX - handshake)
    }

    /// Counts what that machine holds from now on, until it is [over](Self::leave); `watch` is called with each
    /// report.
    pub fn count<M: Machine<Token = Waker>>(
        self: &Arc<Self>,
        id: PeerId,
        shared: &Arc<Shared<M>>,
        watch: Option<WatchMemory>,
    ) {
        let machine = Arc::downgrade(shared);
        self.state.lock().links.insert(id.0, machine);
        shared.set_memory(Arc::new(Seat { memory: Arc::clone(self), id, watch }));
        shared.with(Machine::count_memory);
    }

    /// The link is over. While handlers run for it, what they hold remains counted, and `admission` is kept.
    pub fn leave(&self, id: PeerId, admission: Option<Admission>) {
        let mut state = self.state.lock();
        let link = state.links.get(&id.0).or_else(|| state.closing.get(&id.0).map(|leaving| &leaving.link));
        let Some(link) = link.cloned() else { return };
        drop(state);
        // Before its memory is free for others.
        let bytes = link.upgrade().and_then(|link| link.handled());
        state = self.state.lock();
        if let Some(bytes) = bytes {
            state.pool.reserve(bytes);
            state.handled.insert(id.0, Leaving { link, bytes, _admission: admission });
        }
        state.links.remove(&id.0);
        let now = clock::now();
        let effects = match state.closing.remove(&id.0) {
            Some(leaving) => state.pool.unreserve(now, leaving.bytes),
            None => state.pool.remove(now, id.0),
        };
        self.apply(state, &effects);
        // The last handler may have ended meanwhile.
        self.check_handled(id.0);
    }

    /// A link that is over has made a report: a handler has ended.
    fn check_handled(&self, id: u64) {
        let Some(link) = self.state.lock().handled.get(&id).map(|leaving| leaving.link.clone()) else {
            return;
        };
        let bytes = link.upgrade().and_then(|link| link.handled());
        let mut state = self.state.lock();
        let Some(leaving) = state.handled.get_mut(&id) else { return };
        // Reports may overtake each other: handlers of a link that is over only end.
        let left = leaving.bytes.min(bytes.unwrap_or(0));
        let free = std::mem::replace(&mut leaving.bytes, left) - left;
        let over = if bytes.is_none() { state.handled.remove(&id) } else { None };
        let effects = state.pool.unreserve(clock::now(), free);
        self.apply(state, &effects);
        drop(over);
    }

    /// Something that is no link, such as a handshake, may hold `after` bytes, and not `before` any more; 0: it is over.
    pub fn resize_beside(&self, before: usize, after: usize) {
        let mut state = self.state.lock();
        if after > before {
            return state.pool.reserve(after - before);
        }
        let effects = state.pool.unreserve(clock::now(), before - after);
        self.apply(state, &effects);
    }

    /// Whether more is held than the limit allows.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let state = self.state.lock();
        state.pool.held() > state.pool.limit()
    }

    /// Bytes that are held, according to the links' reports.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.lock().pool.held()
    }

    /// Bytes available for a short time to data that is not part of a link yet: what is left, and at least a
    /// sixteenth of the limit.
    #[must_use]
    pub fn spare(&self) -> usize {
        let state = self.state.lock();
        let limit = state.pool.limit();
        limit.saturating_sub(state.pool.held()).max(limit / 16)
    }

    /// The number of links that were closed to make room.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.state.lock().closed
    }

    fn report(&self, id: u64, holding: Holding) -> Verdict {
        let mut state = self.state.lock();
        if !state.links.contains_key(&id) {
            // It is over, or was closed.
            let is_handled = state.handled.contains_key(&id);
            drop(state);
            if is_handled {
                self.check_handled(id);
            }
            return Verdict::Granted(usize::MAX);
        }
        let (verdict, effects) = state.pool.report(clock::now(), id, holding);
        self.apply(state, &effects);
        verdict
    }

    fn apply(&self, mut state: crate::sync::MutexGuard<'_, State>, effects: &Effects) {
        if *effects == Effects::default() {
            return;
        }
        let limit = state.pool.limit();
        state.closed += effects.closed.len() as u64;
        let find = |state: &State, id: u64| state.links.get(&id).and_then(Weak::upgrade);
        let resumed: Vec<_> =
            effects.resumed.iter().filter_map(|&(id, granted)| Some((find(&state, id)?, granted))).collect();
        let closed: Vec<_> =
            effects.closed.iter().filter_map(|&(id, held)| Some((id, find(&state, id)?, held))).collect();
        for (id, _) in &effects.closed {
            if let Some(link) = state.links.remove(id) {
                state.closing.insert(*id, Leaving { link, bytes: 0, _admission: None });
            }
        }
        drop(state);
        for (id, link, held) in closed {
            let left = link.close(held, limit);
            let state = &mut *self.state.lock();
            // It may be over by now.
            if let Some(leaving) = state.closing.get_mut(&id) {
                leaving.bytes = left;
                state.pool.reserve(left);
            }
        }
        for (link, granted) in resumed {
            link.resume(granted);
        }
    }
}
