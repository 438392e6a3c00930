//! Detached sessions: the sessions of a server that have no connection. Counts the memory that they hold, and
//! chooses which of them end when they exceed a limit.
//!
//! [`SessionTable`] counts and chooses, without knowing links; [`DetachedSessions`] keeps it up to date and
//! ends the chosen sessions.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use bowline_core::frame::Framing;
use bowline_driver::PeerId;
use bowline_driver::clock;
use bowline_driver::gate::Gate;
use bowline_driver::sync::{Arc, Mutex};

use crate::peer_core::SharedLink;

/// The limits on sessions without a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DetachedLimits {
    /// The number of sessions.
    pub sessions: usize,
    /// The number of sessions per address.
    pub per_address: usize,
    /// The bytes that all of them hold together.
    pub bytes: usize,
}

/// Sessions without a connection, counted in total and by the address of their last connection. Sessions
/// without an address (Unix sockets, in-process streams) count as one address.
#[derive(Debug)]
pub(crate) struct SessionTable<P> {
    limits: DetachedLimits,
    entries: HashMap<PeerId, Entry<P>>,
    addresses: HashMap<Option<IpAddr>, Held>,
    bytes: usize,
    added: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    sessions: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<P> {
    session: P,
    from: Option<IpAddr>,
    bytes: usize,
    /// The number of messages that the session carried, as a power of two: a peer that opens sessions to
    /// evict others has to send as much as those did. 0: nothing.
    carried: u32,
    /// Numbers the sessions in the order in which they lost their connections.
    since: u64,
}

impl<P> SessionTable<P> {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(limits: DetachedLimits) -> Self {
        Self { limits, entries: HashMap::new(), addresses: HashMap::new(), bytes: 0, added: 0 }
    }

    /// Whether the session is in the table.
    #[must_use]
    pub(crate) fn contains(&self, id: PeerId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Adds a session that lost its connection, holds `bytes`, and carried this many messages.
    pub(crate) fn insert(
        &mut self,
        id: PeerId,
        session: P,
        from: Option<IpAddr>,
        bytes: usize,
        carried: u64,
    ) {
        self.remove(id);
        self.added += 1;
        let carried = u64::BITS - carried.leading_zeros();
        self.entries.insert(id, Entry { session, from, bytes, carried, since: self.added });
        let held = self.addresses.entry(from).or_default();
        held.sessions += 1;
        held.bytes += bytes;
        self.bytes += bytes;
    }

    /// Removes a session that has a connection again, or is over.
    pub(crate) fn remove(&mut self, id: PeerId) -> Option<P> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes;
        if let Some(held) = self.addresses.get_mut(&entry.from) {
            held.sessions -= 1;
            held.bytes -= entry.bytes;
            if held.sessions == 0 {
                self.addresses.remove(&entry.from);
            }
        }
        Some(entry.session)
    }

    /// Updates the bytes that the session holds.
    pub(crate) fn set_bytes(&mut self, id: PeerId, bytes: usize) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        self.bytes = self.bytes - before + bytes;
        if let Some(held) = self.addresses.get_mut(&entry.from) {
            held.bytes = held.bytes - before + bytes;
        }
    }

    /// Removes and returns one session that must end, if a limit is exceeded. `measure` returns the bytes
    /// that a session holds now; `None` if it is over. Call it until it returns `None`: after an insert, with
    /// the new session's id, and after a session grew.
    pub(crate) fn pop_surplus(
        &mut self,
        came: Option<PeerId>,
        mut measure: impl FnMut(&P) -> Option<usize>,
    ) -> Option<P> {
        let from = came.and_then(|id| self.entries.get(&id)).map(|entry| entry.from);
        if let Some(from) = from
            && self.addresses.get(&from).is_some_and(|held| held.sessions > self.limits.per_address)
        {
            let of_address = self.entries.iter().filter(|(_, entry)| entry.from == from);
            let least = of_address.min_by_key(|(_, entry)| (entry.carried, entry.since));
            let id = least.map(|(id, _)| *id)?;
            return self.remove(id);
        }
        if self.entries.len() > self.limits.sessions {
            return self.pop_least();
        }
        while self.bytes > self.limits.bytes {
            let id = self.largest()?;
            // The table is not always notified when a session holds less than before.
            match measure(&self.entries.get(&id)?.session) {
                Some(bytes) if bytes < self.entries.get(&id)?.bytes => self.set_bytes(id, bytes),
                _ => return self.remove(id),
            }
        }
        None
    }

    /// Removes the session to end first: one that never carried a message, or one of the address that has the
    /// most sessions; among those the one that carried least, and then the one that has been without a
    /// connection for longest.
    fn pop_least(&mut self) -> Option<P> {
        let least = self.entries.iter().min_by_key(|(_, entry)| {
            let of_address = self.addresses.get(&entry.from).map_or(0, |held| held.sessions);
            (entry.carried > 0, Reverse(of_address), entry.carried, entry.since)
        });
        let id = least.map(|(id, _)| *id)?;
        self.remove(id)
    }

    /// The largest session of the address whose sessions hold the most bytes.
    fn largest(&self) -> Option<PeerId> {
        let largest = self.entries.iter().max_by_key(|(_, entry)| {
            let of_address = self.addresses.get(&entry.from).map_or(0, |held| held.bytes);
            (of_address, entry.bytes, Reverse(entry.since))
        });
        largest.map(|(id, _)| *id)
    }
}

/// The detached sessions of a server. The thread that changes what a session holds counts the change, when
/// the session loses its connection and whenever its size changes (the link reports it: see
/// [`ServerMemory::count`](bowline_driver::memory::ServerMemory::count)). The limits therefore hold at any
/// time, except for messages that are being queued at that moment.
///
/// Its lock is taken before the lock of a link, never while one is held.
#[derive(Debug)]
pub(crate) struct DetachedSessions<F: Framing> {
    gate: Arc<Gate>,
    table: Mutex<Table<F>>,
}

impl<F: Framing> DetachedSessions<F> {
    /// No sessions yet. `gate` counts those that are ended.
    #[must_use]
    pub(crate) fn new(limits: DetachedLimits, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { gate, table: Mutex::new(SessionTable::new(limits)) })
    }

    /// Updates the table from the present state of the link: the session lost its connection, its size
    /// changed, it has a connection again, or it is over. The reports may arrive in any order. If a limit is
    /// exceeded, sessions end, possibly this one.
    pub(crate) fn count(&self, id: PeerId, link: &Arc<SharedLink<F>>, from: Option<IpAddr>) {
        let mut table = self.table.lock();
        // Under this lock: if two threads count at once, the later one has the later number.
        let Some(counted) = link.look(|link| link.count_waiting()) else {
            let removed = table.remove(id);
            drop(table);
            drop(removed);
            return;
        };
        let comes = !table.contains(id);
        if comes {
            table.insert(id, Arc::clone(link), from, counted.bytes, counted.carried);
        } else {
            table.set_bytes(id, counted.bytes);
        }
        let over = surplus(&mut table, comes.then_some(id));
        drop(table);
        self.end(over);
    }

    /// The link is dropped.
    pub(crate) fn remove(&self, id: PeerId) {
        let removed = self.table.lock().remove(id);
        drop(removed);
    }

    /// Ends sessions: the server no longer waits for a new connection.
    fn end(&self, over: Vec<Arc<SharedLink<F>>>) {
        if over.is_empty() {
            return;
        }
        self.gate.note_sessions_evicted(over.len());
        for link in over {
            link.with(|link| link.expire_session(clock::now()));
        }
    }
}

type Table<F> = SessionTable<Arc<SharedLink<F>>>;

fn surplus<F: Framing>(table: &mut Table<F>, came: Option<PeerId>) -> Vec<Arc<SharedLink<F>>> {
    let measure =
        |link: &Arc<SharedLink<F>>| link.look(|link| link.count_waiting()).map(|counted| counted.bytes);
    std::iter::from_fn(|| table.pop_surplus(came, measure)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = usize::MAX;

    fn table(sessions: usize, per_address: usize, bytes: usize) -> SessionTable<u64> {
        SessionTable::new(DetachedLimits { sessions, per_address, bytes })
    }

    fn at(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    /// Inserts a session; returns the sessions that had to end.
    fn add(table: &mut SessionTable<u64>, id: u64, from: u8, bytes: usize, carried: u64) -> Vec<u64> {
        table.insert(PeerId(id), id, at(from), bytes, carried);
        std::iter::from_fn(|| table.pop_surplus(Some(PeerId(id)), |_| Some(ALL))).collect()
    }

    #[test]
    fn what_never_carried_a_message_goes_first() {
        let mut table = table(3, ALL, ALL);
        assert_eq!(add(&mut table, 1, 1, 10, 5), []);
        for id in 2..=3 {
            assert_eq!(add(&mut table, id, 2, 10, 0), []);
        }
        // The honest session is the oldest, and it stays whatever the addresses of the others are.
        assert_eq!(add(&mut table, 4, 2, 10, 0), [2]);
        assert_eq!(add(&mut table, 5, 3, 10, 0), [3]);
        assert_eq!(add(&mut table, 6, 1, 10, 0), [6], "of its own address: most are there");
        assert!(table.contains(PeerId(1)));
    }

    #[test]
    fn the_address_that_has_most_goes_first() {
        let mut table = table(4, ALL, ALL);
        assert_eq!(add(&mut table, 1, 1, 10, 1), []);
        for id in 2..=4 {
            assert_eq!(add(&mut table, id, 2, 10, 1_000), []);
        }
        assert_eq!(add(&mut table, 5, 2, 10, 3), [5], "the one that carried least");
        assert_eq!(add(&mut table, 6, 2, 10, 1_000), [2], "the one away for longest");
        assert_eq!(add(&mut table, 7, 3, 10, 1), [3], "not the newcomer");
    }

    #[test]
    fn sessions_are_limited_by_address() {
        let mut table = table(100, 2, ALL);
        assert_eq!(add(&mut table, 1, 1, 10, 9), []);
        assert_eq!(add(&mut table, 2, 1, 10, 0), []);
        assert_eq!(add(&mut table, 3, 1, 10, 9), [2]);
        assert_eq!(add(&mut table, 4, 1, 10, 9), [1]);
        assert_eq!(add(&mut table, 5, 2, 10, 0), [], "another address");
        assert_eq!((table.entries.len(), table.bytes), (3, 30));
    }

    #[test]
    fn bytes_are_counted_as_they_change() {
        let mut table = table(100, ALL, 1_000);
        for (id, from) in [(1, 1), (2, 2), (3, 2)] {
            assert_eq!(add(&mut table, id, from, 100, 1), []);
        }
        table.set_bytes(PeerId(1), 600);
        assert_eq!(table.pop_surplus(None, |_| Some(ALL)), None);
        table.set_bytes(PeerId(2), 450);
        // Together 1,150: 600 of one address, 550 of the other.
        assert_eq!(table.pop_surplus(None, |_| Some(ALL)), Some(1));
        assert_eq!((table.entries.len(), table.bytes), (2, 550));
        table.set_bytes(PeerId(3), 560);
        // A session that shrank without a report is measured again.
        assert_eq!(table.pop_surplus(None, |id| Some(if *id == 3 { 500 } else { ALL })), None);
        assert_eq!(table.bytes, 950);
        table.set_bytes(PeerId(3), 2_000);
        assert_eq!(table.pop_surplus(None, |_| Some(ALL)), Some(3));
        assert_eq!(table.remove(PeerId(2)), Some(2));
        assert_eq!((table.entries.len(), table.bytes, table.addresses.len()), (0, 0, 0));
    }
}
