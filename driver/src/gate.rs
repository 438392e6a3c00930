//! Admission of connections: the accepting side's limits, counted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::config::{AcceptLimits, HANDSHAKE_COST};
use bowline_core::time::Instant;

use crate::memory::ServerMemory;
use crate::sync::{Arc, Mutex};

/// Counters of a listener since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AcceptCounters {
    /// Connections admitted.
    pub accepted: u64,
    /// Connections closed at once, because of the maximum number of connections.
    pub refused_full: u64,
    /// Connections closed at once, because of the maximum number per address.
    pub refused_per_address: u64,
    /// Connections that could not be accepted, or served; accepting continued.
    pub errors: u64,
    /// Peers that the server's verification refused: because of missing or wrong credentials, or for another
    /// reason of the verifier; because too many decisions were pending
    /// ([`AcceptLimits::verifications`](bowline_core::config::AcceptLimits::verifications)), or theirs took
    /// too long; because they asked for the session of another identity; or because the identity has too many connections
    /// ([`AcceptLimits::per_identity`](bowline_core::config::AcceptLimits::per_identity)).
    pub denied: u64,
    /// Connections closed in their handshake, to make room for newer ones.
    pub evicted: u64,
    /// Connections closed because their layer's handshake (TLS) failed, or took too long.
    pub insecure: u64,
    /// Sessions without a connection that ended because of their limits, or to make room.
    pub sessions_evicted: u64,
    /// Connections closed because the server's memory limit was reached
    /// ([`AcceptLimits::memory`](bowline_core::config::AcceptLimits::memory)).
    pub closed_for_memory: u64,
    /// Events that were not reported, because too many waited for `on_event`.
    pub events_dropped: u64,
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// [`AcceptLimits::connections`] was reached.
    Full,
    /// [`AcceptLimits::per_address`] was reached.
    PerAddress,
}

/// The admission control of one listener.
#[derive(Debug)]
pub struct Gate {
    limits: AcceptLimits,
    memory: Arc<ServerMemory>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Connections without an address: Unix sockets and in-process streams.
    local: usize,
    handshakes: BTreeMap<u64, UnderWay>,
    /// What they may hold, in bytes.
    handshake_bytes: usize,
    /// What those may hold that were told to end, by their numbers.
    evicted_bytes: BTreeMap<u64, usize>,
    last_handshake: u64,
    /// The number of connections that may be accepted now, in billionths.
    tokens: u64,
    at: Instant,
    counters: AcceptCounters,
}

/// A handshake that may have to make room for newer ones.
struct UnderWay {
    evict: Box<dyn FnOnce() -> bool + Send>,
    /// What it may hold.
    bytes: usize,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnderWay").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// One connection, in billionths.
const ONE: u64 = 1_000_000_000;

impl Gate {
    /// A gate with these limits. A received message may take `message_timeout` unless the limits say
    /// otherwise.
    #[must_use]
    pub fn new(limits: AcceptLimits, message_timeout: Duration) -> Arc<Self> {
        let state = State {
            open: 0,
            by_address: HashMap::new(),
            local: 0,
            handshakes: BTreeMap::new(),
            handshake_bytes: 0,
            evicted_bytes: BTreeMap::new(),
            last_handshake: 0,
            tokens: u64::from(limits.burst) * ONE,
            at: Instant::ZERO,
            counters: AcceptCounters::default(),
        };
        let memory = ServerMemory::new(limits.memory, limits.message.unwrap_or(message_timeout));
        Arc::new(Self { limits, memory, state: Mutex::new(state) })
    }

    /// The memory of the admitted connections.
    #[must_use]
    pub fn memory(&self) -> &Arc<ServerMemory> {
        &self.memory
    }

    /// Whether the rate limit allows a connection now (`None`), or when it does.
    pub fn poll_rate(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let (rate, burst) = (u64::from(self.limits.per_second), u64::from(self.limits.burst) * ONE);
        let passed = now.saturating_since(state.at).as_nanos();
        let earned = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(rate);
        state.tokens = state.tokens.saturating_add(earned).min(burst);
        state.at = now;
        if state.tokens >= ONE {
            return None;
        }
        let wait = (ONE - state.tokens).div_ceil(rate);
        Some(now + std::time::Duration::from_nanos(wait))
    }

    /// A connection was accepted: admits it, until the returned value is dropped.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn admit(self: &Arc<Self>, from: &Address) -> Result<Admission, Refused> {
        let mut state = self.state.lock();
        state.tokens = state.tokens.saturating_sub(ONE);
        if state.open >= self.limits.connections {
            state.counters.refused_full += 1;
            return Err(Refused::Full);
        }
        let address = from.ip();
        let State { by_address, local, .. } = &mut *state;
        let here = match address {
            Some(ip) => by_address.entry(ip).or_insert(0),
            None => local,
        };
        if *here >= self.limits.per_address {
            state.counters.refused_per_address += 1;
            return Err(Refused::PerAddress);
        }
        *here += 1;
        state.open += 1;
        state.counters.accepted += 1;
        Ok(Admission { gate: Arc::clone(self), address })
    }

    /// A handshake begins. If room is needed for newer ones, `evict` is called to end it; it returns false if
    /// the handshake is done already and nothing was ended.
    pub fn begin_handshake(self: &Arc<Self>, evict: impl FnOnce() -> bool + Send + 'static) -> Handshake {
        let bytes = HANDSHAKE_COST;
        self.memory.resize_beside(0, bytes);
        let mut state = self.state.lock();
        state.last_handshake += 1;
        let number = state.last_handshake;
        state.handshakes.insert(number, UnderWay { evict: Box::new(evict), bytes });
        state.handshake_bytes += bytes;
        drop(state);
        self.make_room_for_handshakes();
        Handshake { gate: Arc::clone(self), number }
    }

    /// Ends the oldest handshakes while all together hold too much.
    fn make_room_for_handshakes(&self) {
        while let Some(evict) = self.surplus_handshake() {
            if evict() {
                self.state.lock().counters.evicted += 1;
            }
        }
    }

    /// The oldest handshake, if there are too many. While the server's memory is spent, handshakes may have a
    /// sixteenth of it at most, because no connection makes room for them. One handshake may always go on.
    fn surplus_handshake(&self) -> Option<Box<dyn FnOnce() -> bool + Send>> {
        let AcceptLimits { handshake_memory, memory, .. } = self.limits;
        let most = if self.memory.is_spent() { handshake_memory.min(memory / 16) } else { handshake_memory };
        let mut state = self.state.lock();
        if state.handshake_bytes <= most || state.handshakes.len() <= 1 {
            return None;
        }
        let (number, UnderWay { evict, bytes }) = state.handshakes.pop_first()?;
        state.handshake_bytes -= bytes;
        state.evicted_bytes.insert(number, bytes);
        Some(evict)
    }

    /// Accepting, or serving, one connection failed; the next one may succeed.
    pub fn note_error(&self) {
        self.state.lock().counters.errors += 1;
    }

    /// A peer was refused by the server's verification.
    pub fn note_denied(&self) {
        self.state.lock().counters.denied += 1;
    }

    /// A connection could not be secured.
    pub fn note_insecure(&self) {
        self.state.lock().counters.insecure += 1;
    }

    /// Too many events wait to be reported: one is dropped.
    pub fn note_event_dropped(&self) {
        self.state.lock().counters.events_dropped += 1;
    }

    /// This many sessions without a connection ended because of their limits, or to make room.
    pub fn note_sessions_evicted(&self, sessions: usize) {
        self.state.lock().counters.sessions_evicted += sessions as u64;
    }

    /// Counters since it was made.
    #[must_use]
    pub fn counters(&self) -> AcceptCounters {
        let closed_for_memory = self.memory.closed();
        AcceptCounters { closed_for_memory, ..self.state.lock().counters }
    }

    /// The number of admitted connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.lock().open
    }
}

/// An admitted connection; drop it when the connection is over.
#[derive(Debug)]
pub struct Admission {
    gate: Arc<Gate>,
    address: Option<IpAddr>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.open -= 1;
        match self.address {
            None => state.local -= 1,
            Some(ip) => {
                if let Some(here) = state.by_address.get_mut(&ip) {
                    *here -= 1;
                    if *here == 0 {
                        state.by_address.remove(&ip);
                    }
                }
            }
        }
    }
}

/// A handshake under way; drop it when it is over.
#[derive(Debug)]
pub struct Handshake {
    gate: Arc<Gate>,
    number: u64,
}

impl Handshake {
    /// Its connection holds this many bytes in layers over its socket, in addition to [`HANDSHAKE_COST`]. If
    /// all handshakes together hold too much, the oldest ones end, perhaps this one.
    pub fn note_held(&mut self, held: usize) {
        let bytes = HANDSHAKE_COST.saturating_add(held);
        let mut state = self.gate.state.lock();
        let before = state.resize(self.number, bytes);
        drop(state);
        if before != bytes {
            self.gate.memory.resize_beside(before, bytes);
            self.gate.make_room_for_handshakes();
        }
    }
}

impl State {
    /// A handshake may hold this many bytes. Returns how many it could before.
    fn resize(&mut self, number: u64, bytes: usize) -> usize {
        if let Some(under_way) = self.handshakes.get_mut(&number) {
            let before = std::mem::replace(&mut under_way.bytes, bytes);
            self.handshake_bytes = self.handshake_bytes - before + bytes;
            return before;
        }
        self.evicted_bytes.get_mut(&number).map_or(bytes, |before| std::mem::replace(before, bytes))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        let before = state.resize(self.number, 0);
        let ended = state.handshakes.remove(&self.number);
        state.evicted_bytes.remove(&self.number);
        drop(state);
        drop(ended);
        self.gate.memory.resize_beside(before, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(last: u8) -> Address {
        Address::Tcp(([10, 0, 0, last], 1).into())
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let mut limits = AcceptLimits::default();
        (limits.connections, limits.per_address) = (3, 2);
        let gate = Gate::new(limits, MINUTE);
        let one = gate.admit(&address(1)).unwrap();
        let _two = gate.admit(&address(1)).unwrap();
        assert_eq!(gate.admit(&address(1)).unwrap_err(), Refused::PerAddress);
        let _three = gate.admit(&Address::Inproc("x".into())).unwrap();
        assert_eq!(gate.admit(&address(2)).unwrap_err(), Refused::Full);
        drop(one);
        let _four = gate.admit(&address(1)).unwrap();
        let counters = gate.counters();
        assert_eq!((counters.accepted, counters.refused_full, counters.refused_per_address), (4, 1, 1));
    }

    #[test]
    fn the_rate_is_an_average_after_a_burst() {
        let mut limits = AcceptLimits::default();
        (limits.per_second, limits.burst) = (100, 5);
        let gate = Gate::new(limits, MINUTE);
        let (mut now, mut accepted) = (Instant::ZERO, 0);
        let end = Instant::ZERO + Duration::from_secs(1);
        while now < end {
            match gate.poll_rate(now) {
                None => {
                    accepted += 1;
                    drop(gate.admit(&address(1)));
                }
                Some(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert!((104..=106).contains(&accepted), "{accepted}");
    }

    #[test]
    fn the_oldest_handshake_makes_room() {
        let mut limits = AcceptLimits::default();
        limits.handshake_memory = 2 * HANDSHAKE_COST;
        let gate = Gate::new(limits, MINUTE);
        let evicted = Arc::new(AtomicUsize::new(0));
        let begin = |number: usize| {
            let evicted = Arc::clone(&evicted);
            gate.begin_handshake(move || {
                // The fourth is done, and has not reported it yet.
                if number != 4 {
                    evicted.store(number, Ordering::Relaxed);
                }
                number != 4
            })
        };
        let _first = begin(1);
        let second = begin(2);
        let _third = begin(3);
        assert_eq!(evicted.load(Ordering::Relaxed), 1);
        drop(second);
        let _fourth = begin(4);
        assert_eq!((evicted.load(Ordering::Relaxed), gate.counters().evicted), (1, 1));
        let _fifth = begin(5);
        assert_eq!((evicted.load(Ordering::Relaxed), gate.counters().evicted), (3, 2));
        let _sixth = begin(6);
        assert_eq!((evicted.load(Ordering::Relaxed), gate.counters().evicted), (3, 2), "none was ended");
    }

    /// Handshakes of a gate, and the numbers of those that were evicted.
    type Evicted = Arc<Mutex<Vec<usize>>>;

    fn begin(gate: &Arc<Gate>, evicted: &Evicted, number: usize) -> Handshake {
        let evicted = Arc::clone(evicted);
        gate.begin_handshake(move || {
            evicted.lock().push(number);
            true
        })
    }

    #[test]
    fn handshakes_count_with_what_they_hold() {
        let mut limits = AcceptLimits::default();
        limits.handshake_memory = 8 * HANDSHAKE_COST;
        let (gate, evicted) = (Gate::new(limits, MINUTE), Evicted::default());
        let mut all: Vec<Handshake> = (0..5).map(|number| begin(&gate, &evicted, number)).collect();
        assert_eq!(gate.memory().held(), 5 * HANDSHAKE_COST);
        all[1].note_held(3 * HANDSHAKE_COST);
        assert_eq!((gate.memory().held(), evicted.lock().len()), (8 * HANDSHAKE_COST, 0));
        all[2].note_held(2 * HANDSHAKE_COST);
        assert_eq!(*evicted.lock(), [0, 1], "the oldest ones, although one of them would nearly do");
        drop(all.drain(..2));
        assert_eq!(gate.memory().held(), 5 * HANDSHAKE_COST);
        // What is returned makes room.
        all[0].note_held(0);
        let mut more: Vec<Handshake> = (5..10).map(|number| begin(&gate, &evicted, number)).collect();
        assert_eq!(evicted.lock().len(), 2);
        all[2].note_held(100 * HANDSHAKE_COST);
        assert_eq!(*evicted.lock(), [0, 1, 2, 3, 4], "itself as well");
        // The newest one may go on, whatever it holds.
        more[4].note_held(100 * HANDSHAKE_COST);
        assert_eq!(*evicted.lock(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        drop((all, more));
        assert_eq!((gate.memory().held(), gate.state.lock().handshake_bytes), (0, 0));
    }

    #[test]
    fn while_the_memory_is_spent_handshakes_have_a_sixteenth_of_it() {
        let mut limits = AcceptLimits::default();
        (limits.memory, limits.handshake_memory) = (64 * HANDSHAKE_COST, 32 * HANDSHAKE_COST);
        let (gate, evicted) = (Gate::new(limits, MINUTE), Evicted::default());
        let mut all: Vec<Handshake> = (0..32).map(|number| begin(&gate, &evicted, number)).collect();
        assert!(evicted.lock().is_empty() && !gate.memory().is_spent());
        // As connections do.
        gate.memory().resize_beside(0, 40 * HANDSHAKE_COST);
        assert!(gate.memory().is_spent());
        all.push(begin(&gate, &evicted, 32));
        assert_eq!(*evicted.lock(), (0..29).collect::<Vec<_>>(), "four are left");
        drop(all);
    }
}
