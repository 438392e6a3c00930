//! One memory limit over all links of a server.
//!
//! Limits that suit one link multiply with thousands of links. A [`MemoryPool`] distributes the memory of a
//! server in steps of 64 KiB: a link that holds more than [`FREE`] bytes draws from it, and returns what it
//! no longer needs. The pool reads no clock and calls no link; its decisions say which links may continue,
//! and which have to be closed.
//!
//! When the limit is reached:
//!
//! * **Received messages.** Links that want more stop reading. One of them at a time has the *turn*: it may
//!   exceed the limit until its message is complete. Turns rotate over the addresses, the oldest incomplete
//!   message first, and pass on after a second without progress. If nothing was returned for as long as a
//!   message may take, the largest holder is closed.
//! * **Finished answers.** The largest holder whose peer has read nothing for a second is closed at once. If
//!   there is none, the answer that does not fit is refused: its caller gets an error.
//! * Bytes that were read before a link stopped may exceed the limit; beyond a tenth of it, the largest
//!   holder is closed at once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::time::Instant;

/// Bytes that a link may hold without drawing from the pool.
pub const FREE: usize = 8 * 1024;
/// Bytes that are drawn at a time.
pub const STEP: usize = 64 * 1024;
/// A peer that has read nothing for this time, while there was something to write, counts as one that does
/// not read; a message without progress for this time loses its turn.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How many of the largest holders are checked to find one that does not read.
const LOOKED_AT: usize = 64;

/// Memory that a link holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// All of it, in bytes.
    pub bytes: usize,
    /// Finished answers, in bytes.
    pub answers: usize,
    /// The number of written bytes that the peer has read. Bytes that were dropped do not count.
    pub taken: u64,
    /// When the oldest incomplete message began.
    pub unfinished: Option<Instant>,
    /// The address of the peer; `None` for local peers without an address.
    pub origin: Option<IpAddr>,
    /// The link is a session without a connection.
    pub is_detached: bool,
}

/// The answer to a link's report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may hold this many bytes.
    Granted(usize),
    /// It may hold this many bytes, which is less than it does: it must not read until it may hold more.
    Wait(usize),
    /// It may hold this many bytes: it must refuse the answers that do not fit.
    Refuse(usize),
}

/// The effects of an event in a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effects {
    /// Links that waited and may continue, and how many bytes they may hold.
    pub resumed: Vec<(u64, usize)>,
    /// Links to close, and how many bytes they held. The pool has removed them.
    pub closed: Vec<(u64, usize)>,
}

#[derive(Debug)]
struct Holder {
    holding: Holding,
    granted: usize,
    /// When its peer last read something, or its answers began.
    took: Instant,
    /// Its place among the waiting links.
    waits: Option<(Option<IpAddr>, Instant)>,
}

impl Holder {
    /// Memory that it holds beyond its grant.
    fn beyond(&self) -> usize {
        self.holding.bytes.saturating_sub(self.granted.max(FREE))
    }

    fn counted(&self) -> usize {
        self.granted + self.beyond()
    }
}

/// The link that may exceed the limit to complete its message.
#[derive(Clone, Copy, Debug)]
struct Turn {
    id: u64,
    /// When that message began; `None`: the next one that begins.
    message: Option<Instant>,
    /// When it last made progress.
    progress: Instant,
    /// Bytes that it held before.
    before: usize,
}

/// Memory that the link with the turn last drew for its message, and has not returned since.
#[derive(Clone, Copy, Debug)]
struct Took {
    id: u64,
    /// Bytes that it held before.
    before: usize,
    bytes: usize,
}

/// A server's memory, distributed to its links. See the module's documentation.
///
/// ```
/// use bowline_core::memory::{Holding, MemoryPool};
/// use bowline_core::time::Instant;
/// use core::time::Duration;
///
/// let mut pool = MemoryPool::new(64 * 1024 * 1024, Duration::from_secs(60));
/// let now = Instant::ZERO;
/// // Link 1 says that it holds a mebibyte, and learns how much it may hold without asking again.
/// let (verdict, effects) = pool.report(now, 1, Holding { bytes: 1024 * 1024, ..Holding::default() });
/// assert!(pool.held() >= 1024 * 1024 && pool.waiting() == 0);
/// # drop((verdict, effects));
/// ```
#[derive(Debug)]
pub struct MemoryPool {
    limit: usize,
    /// How long nothing may be returned while a link waits.
    stall: Duration,
    holders: BTreeMap<u64, Holder>,
    /// Links by what they hold.
    by_size: BTreeSet<(usize, u64)>,
    /// The sum of all grants, and of what is held beyond them.
    granted: usize,
    beyond: usize,
    /// Used by handshakes, not by links.
    reserved: usize,
    /// The waiting links, by address and by the age of their messages.
    waiting: BTreeMap<Option<IpAddr>, BTreeSet<(Instant, u64)>>,
    /// The address that had the last turn.
    last_origin: Option<Option<IpAddr>>,
    turn: Option<Turn>,
    last_turn: Option<Took>,
    /// When something was last returned, or no link waited.
    moved: Instant,
}

impl MemoryPool {
    /// A pool of `limit` bytes. The largest holder is closed if nothing was returned for `stall` while a link
    /// waits.
    #[must_use]
    pub fn new(limit: usize, stall: Duration) -> Self {
        Self {
            limit,
            stall,
            holders: BTreeMap::new(),
            by_size: BTreeSet::new(),
            granted: 0,
            beyond: 0,
            reserved: 0,
            waiting: BTreeMap::new(),
            last_origin: None,
            turn: None,
            last_turn: None,
            moved: Instant::ZERO,
        }
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are held, according to the links' reports.
    #[must_use]
    pub fn held(&self) -> usize {
        self.granted + self.beyond + self.reserved
    }

    /// The number of links that wait for memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// Something other than a link uses this many bytes, until they are [returned](Self::unreserve).
    pub fn reserve(&mut self, bytes: usize) {
        self.reserved += bytes;
    }

    /// Returns reserved bytes.
    pub fn unreserve(&mut self, now: Instant, bytes: usize) -> Effects {
        self.reserved = self.reserved.saturating_sub(bytes);
        let mut effects = Effects::default();
        self.admit(now, &mut effects);
        effects
    }

    /// A link reports what it holds.
    pub fn report(&mut self, now: Instant, id: u64, holding: Holding) -> (Verdict, Effects) {
        let mut effects = Effects::default();
        if self.waiting.is_empty() {
            self.moved = now;
        }
        self.take_note(now, id, holding);
        let wanted = rounded(holding.bytes);
        let granted = self.granted_to(id);
        if wanted <= granted {
            self.set_granted(id, wanted);
            if wanted < granted {
                self.moved = now;
            }
            self.end_turn_of(id);
            self.stop_waiting(id);
            self.admit(now, &mut effects);
            return (Verdict::Granted(wanted), effects);
        }
        // A turn is for an incoming message, not for answers that are made meanwhile.
        let by_answers = holding.answers * 2 > holding.bytes;
        if self.fits(id, wanted) || (!by_answers && self.continues_turn(now, id, &holding)) {
            self.set_granted(id, wanted);
            self.stop_waiting(id);
            return (Verdict::Granted(wanted), effects);
        }
        if by_answers {
            self.close_those_who_do_not_read(now, (id, wanted), &mut effects);
            if self.holders.contains_key(&id) && self.fits(id, wanted) {
                self.set_granted(id, wanted);
                return (Verdict::Granted(wanted), effects);
            }
        } else {
            self.wait(id);
            self.admit(now, &mut effects);
            self.give_turn(now, &mut effects);
            if let Some(at) = effects.resumed.iter().position(|(other, _)| *other == id) {
                let (_, granted) = effects.resumed.remove(at);
                return (Verdict::Granted(granted), effects);
            }
            if now.saturating_since(self.moved) >= self.stall {
                self.moved = now;
                self.close_largest(&mut effects);
            }
            while self.is_far_beyond() && self.close_largest(&mut effects) {}
        }
        if !effects.closed.is_empty() {
            self.admit(now, &mut effects);
        }
        let granted = self.granted_to(id);
        if !by_answers {
            return (Verdict::Wait(granted), effects);
        }
        self.note_refused(now, id);
        (Verdict::Refuse(granted), effects)
    }

    /// A link is over: its memory is free.
    pub fn remove(&mut self, now: Instant, id: u64) -> Effects {
        let mut effects = Effects::default();
        if self.forget(id).is_some() {
            self.moved = now;
            self.admit(now, &mut effects);
            self.give_turn(now, &mut effects);
        }
        effects
    }

    /// Whether that link may hold this much within the limit.
    fn fits(&self, id: u64, wanted: usize) -> bool {
        let others = self.held() - self.counted(id);
        others + wanted <= self.limit
    }

    /// Whether the links read more, before they stopped, than the limit leaves room for. What the link in
    /// turn drew for its message does not count, nor what the previous one drew: its message is complete, but
    /// may not be taken yet.
    fn is_far_beyond(&self) -> bool {
        let passed = self.turn.as_ref().map_or(0, |turn| self.taken_since(turn.id, turn.before))
            + self.last_turn.map_or(0, |took| took.bytes);
        self.held().saturating_sub(passed) > self.limit + self.limit / 10
    }

    fn taken_since(&self, id: u64, before: usize) -> usize {
        self.counted(id).saturating_sub(before)
    }

    /// A link holds more or less than before: what it returns of its last message is no longer counted for
    /// the turn, whatever it draws later.
    fn note_change(&mut self, id: u64) {
        if let Some(took) = self.last_turn.filter(|took| took.id == id) {
            let bytes = took.bytes.min(self.taken_since(id, took.before));
            self.last_turn = Some(Took { bytes, ..took });
        }
    }

    fn counted(&self, id: u64) -> usize {
        self.holders.get(&id).map_or(0, Holder::counted)
    }

    fn granted_to(&self, id: u64) -> usize {
        self.holders.get(&id).map_or(0, |holder| holder.granted)
    }

    fn take_note(&mut self, now: Instant, id: u64, holding: Holding) {
        let new = Holder { holding: Holding::default(), granted: 0, took: now, waits: None };
        let holder = self.holders.entry(id).or_insert(new);
        self.by_size.remove(&(holder.holding.bytes, id));
        self.by_size.insert((holding.bytes, id));
        // Fewer answers may mean that some were refused, which says nothing about the peer.
        if holding.taken > holder.holding.taken || holder.holding.answers == 0 {
            holder.took = now;
        }
        self.beyond -= holder.beyond();
        holder.holding = holding;
        self.beyond += holder.beyond();
        self.note_change(id);
    }

    /// It refuses what does not fit: from now on it holds what it may.
    fn note_refused(&mut self, now: Instant, id: u64) {
        let Some(holder) = self.holders.get(&id) else { return };
        let (holding, refused) = (holder.holding, holder.beyond());
        let (bytes, answers) = (holding.bytes - refused, holding.answers.saturating_sub(refused));
        self.take_note(now, id, Holding { bytes, answers, ..holding });
    }

    fn set_granted(&mut self, id: u64, granted: usize) {
        let Some(holder) = self.holders.get_mut(&id) else { return };
        self.granted = self.granted - holder.granted + granted;
        self.beyond -= holder.beyond();
        holder.granted = granted;
        self.beyond += holder.beyond();
        self.note_change(id);
    }

    fn forget(&mut self, id: u64) -> Option<Holder> {
        self.stop_waiting(id);
        self.set_granted(id, 0);
        let holder = self.holders.remove(&id)?;
        self.beyond -= holder.beyond();
        self.by_size.remove(&(holder.holding.bytes, id));
        self.turn.take_if(|turn| turn.id == id);
        self.last_turn.take_if(|took| took.id == id);
        Some(holder)
    }

    fn wait(&mut self, id: u64) {
        let Some(holder) = self.holders.get_mut(&id).filter(|holder| holder.waits.is_none()) else { return };
        // Links without an incomplete message come after all that have one.
        let since = holder.holding.unfinished.unwrap_or(Instant::from_nanos(u64::MAX / 2));
        holder.waits = Some((holder.holding.origin, since));
        self.waiting.entry(holder.holding.origin).or_default().insert((since, id));
    }

    fn stop_waiting(&mut self, id: u64) {
        let Some((origin, since)) = self.holders.get_mut(&id).and_then(|holder| holder.waits.take()) else {
            return;
        };
        if let Some(line) = self.waiting.get_mut(&origin) {
            line.remove(&(since, id));
            if line.is_empty() {
                self.waiting.remove(&origin);
            }
        }
    }

    /// The next link in turn: the oldest one of the address after the last.
    fn next_waiting(&self) -> Option<u64> {
        let behind = self.last_origin.and_then(|last| {
            use core::ops::Bound::{Excluded, Unbounded};
            self.waiting.range((Excluded(last), Unbounded)).next()
        });
        let (_, line) = behind.or_else(|| self.waiting.first_key_value())?;
        line.first().map(|(_, id)| *id)
    }

    fn resume(&mut self, id: u64, effects: &mut Effects) {
        let Some(holder) = self.holders.get(&id) else { return };
        let (origin, wanted) = (holder.holding.origin, rounded(holder.holding.bytes + STEP));
        self.stop_waiting(id);
        self.last_origin = Some(origin);
        self.set_granted(id, wanted);
        effects.resumed.push((id, wanted));
    }

    /// Lets waiting links continue, as far as there is room.
    fn admit(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(id) = self.next_waiting() {
            let Some(holder) = self.holders.get(&id) else { return };
            let wanted = rounded(holder.holding.bytes + STEP);
            if !self.fits(id, wanted) {
                return;
            }
            self.moved = now;
            self.resume(id, effects);
        }
    }

    /// Gives the turn to the next waiting link, unless a link has it and makes progress.
    fn give_turn(&mut self, now: Instant, effects: &mut Effects) {
        if self.turn.is_some_and(|turn| now.saturating_since(turn.progress) < PATIENCE) {
            return;
        }
        self.end_turn();
        if let Some(id) = self.next_waiting() {
            let before = self.counted(id);
            self.resume(id, effects);
            let message = self.holders.get(&id).and_then(|holder| holder.holding.unfinished);
            self.turn = Some(Turn { id, message, progress: now, before });
        }
    }

    /// Whether that link has the turn, for the message that it is still receiving.
    fn continues_turn(&mut self, now: Instant, id: u64, holding: &Holding) -> bool {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id) else { return false };
        match holding.unfinished {
            Some(began) if turn.message.is_none_or(|message| began <= message) => {
                (turn.message, turn.progress) = (Some(began), now);
                true
            }
            // The message is complete: the next one needs a turn of its own.
            _ => {
                self.end_turn();
                false
            }
        }
    }

    fn end_turn(&mut self) {
        if let Some(Turn { id, before, .. }) = self.turn.take() {
            self.last_turn = Some(Took { id, before, bytes: self.taken_since(id, before) });
        }
    }

    fn end_turn_of(&mut self, id: u64) {
        let is_done = |holder: &Holder| holder.holding.unfinished.is_none();
        if self.turn.is_some_and(|turn| turn.id == id) && self.holders.get(&id).is_none_or(is_done) {
            self.end_turn();
        }
    }

    /// Closes the largest of the links whose peers do not read their answers, until this much fits.
    fn close_those_who_do_not_read(&mut self, now: Instant, more: (u64, usize), effects: &mut Effects) {
        while !self.fits(more.0, more.1) {
            let stuck = self.by_size.iter().rev().take(LOOKED_AT).find(|(_, id)| {
                self.holders.get(id).is_some_and(|holder| {
                    // A holder without a grant would free nothing.
                    holder.granted > 0
                        && holder.holding.answers > 0
                        && now.saturating_since(holder.took) >= PATIENCE
                })
            });
            let Some(&(bytes, id)) = stuck else { return };
            self.moved = now;
            self.close(id, bytes, effects);
        }
    }

    fn close_largest(&mut self, effects: &mut Effects) -> bool {
        let Some(&(bytes, id)) = self.by_size.last() else { return false };
        self.close(id, bytes, effects);
        true
    }

    fn close(&mut self, id: u64, bytes: usize, effects: &mut Effects) {
        self.forget(id);
        effects.resumed.retain(|(resumed, _)| *resumed != id);
        effects.closed.push((id, bytes));
    }
}

/// The bytes to draw for a link that holds this many bytes.
#[must_use]
pub const fn rounded(bytes: usize) -> usize {
    if bytes <= FREE { 0 } else { bytes.div_ceil(STEP) * STEP }
}

#[cfg(test)]
mod tests;
