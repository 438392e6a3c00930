//! Queues of waiting callers, in order of arrival.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::num::NonZeroU64;

/// A place in a queue of waiting callers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(NonZeroU64);

/// The state of a [`Ticket`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Turn {
    /// The turn was not granted yet; the token is kept and returned when that changes.
    Waiting,
    /// The turn is granted: try again now. The ticket is used up.
    Granted,
    /// The deadline passed. The ticket is used up.
    Expired,
    /// The queue was closed, or never had that ticket. The ticket is used up.
    Closed,
}

#[derive(Debug)]
enum Entry<T> {
    Waiting(T),
    Granted,
    Expired,
    Closed,
    Gone,
}

/// A queue of waiting callers. `T` wakes a caller: a `Waker` in the drivers.
///
/// A caller [joins](Self::join) with a token and keeps the ticket. When one of them can proceed, the machine
/// [grants](Self::grant_one) the turn to the first one and gets its token, to be woken once the lock is
/// released ([`Machine::take_tokens`](crate::machine::Machine::take_tokens)). The caller then
/// [polls](Self::poll) and tries again. A caller that no longer waits [leaves](Self::leave); if it had the
/// turn, the machine grants it to the next.
///
/// An empty queue holds no memory; most queues stay empty.
///
/// ```
/// use bowline_core::waiters::{Turn, Waiters};
///
/// let mut line = Waiters::new();
/// let (first, second) = (line.join("first"), line.join("second"));
/// assert_eq!(line.poll(first, || "first again"), Turn::Waiting, "the newer token is kept");
///
/// assert_eq!(line.grant_one(), Some("first again"));
/// assert_eq!(line.poll(first, || "first"), Turn::Granted);
///
/// assert_eq!(line.grant_one(), Some("second"));
/// assert!(line.leave(second), "it had the turn: grant it to the next");
/// assert_eq!(line.grant_one(), None);
/// ```
#[derive(Debug)]
pub struct Waiters<T>(Option<Box<Queue<T>>>);

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Waiters<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self(None)
    }

    /// The number of waiting callers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.waiting)
    }

    /// The number of callers that were granted their turn and have not polled since.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.granted)
    }

    /// Takes a place at the end.
    pub fn join(&mut self, token: T) -> Ticket {
        let queue = self.0.get_or_insert_with(|| {
            Box::new(Queue { base: 0, entries: VecDeque::new(), waiting: 0, granted: 0 })
        });
        queue.join(token)
    }

    /// Whether the holder of `ticket` waits: the turn was not granted, the ticket did not expire and was not
    /// given up.
    #[must_use]
    pub fn is_waiting(&self, ticket: Ticket) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.is_waiting(ticket))
    }

    /// Grants the turn to the caller that has waited longest; returns its token, to be woken.
    #[inline]
    pub fn grant_one(&mut self) -> Option<T> {
        self.0.as_mut()?.grant_one()
    }

    /// The deadline of `ticket` passed; returns its token, to be woken, if it still waited.
    pub fn expire(&mut self, ticket: Ticket) -> Option<T> {
        self.0.as_mut()?.expire(ticket)
    }

    /// Closes the queue; `wake` gets every waiting token.
    pub fn close(&mut self, wake: impl FnMut(T)) {
        if let Some(queue) = &mut self.0 {
            queue.close(wake);
        }
    }

    /// The state of `ticket`. Any result but [`Turn::Waiting`] uses it up; a token is made, and kept in place
    /// of the last one, only with that result.
    pub fn poll(&mut self, ticket: Ticket, token: impl FnOnce() -> T) -> Turn {
        self.0.as_mut().map_or(Turn::Closed, |queue| queue.poll(ticket, token))
    }

    /// The holder of `ticket` no longer waits. Returns true if it had the turn, which is free again.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        self.0.as_mut().is_some_and(|queue| queue.leave(ticket))
    }
}

#[derive(Debug)]
struct Queue<T> {
    /// The ticket of the front entry, minus one.
    base: u64,
    entries: VecDeque<Entry<T>>,
    waiting: usize,
    granted: usize,
}

impl<T> Queue<T> {
    fn join(&mut self, token: T) -> Ticket {
        self.waiting += 1;
        self.entries.push_back(Entry::Waiting(token));
        // The first one is 1.
        Ticket(NonZeroU64::MIN.saturating_add(self.base + self.entries.len() as u64 - 1))
    }

    fn index(&self, ticket: Ticket) -> Option<usize> {
        let index = usize::try_from((ticket.0.get() - 1).checked_sub(self.base)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    fn is_waiting(&self, ticket: Ticket) -> bool {
        self.index(ticket).is_some_and(|index| matches!(self.entries[index], Entry::Waiting(_)))
    }

    fn grant_one(&mut self) -> Option<T> {
        let entry = self.entries.iter_mut().find(|entry| matches!(entry, Entry::Waiting(_)))?;
        let Entry::Waiting(token) = core::mem::replace(entry, Entry::Granted) else { return None };
        self.waiting -= 1;
        self.granted += 1;
        Some(token)
    }

    fn expire(&mut self, ticket: Ticket) -> Option<T> {
        let index = self.index(ticket)?;
        if !matches!(self.entries[index], Entry::Waiting(_)) {
            return None;
        }
        let Entry::Waiting(token) = core::mem::replace(&mut self.entries[index], Entry::Expired) else {
            return None;
        };
        self.waiting -= 1;
        Some(token)
    }

    fn close(&mut self, mut wake: impl FnMut(T)) {
        for entry in &mut self.entries {
            if let Entry::Waiting(_) = entry
                && let Entry::Waiting(token) = core::mem::replace(entry, Entry::Closed)
            {
                self.waiting -= 1;
                wake(token);
            }
        }
    }

    fn poll(&mut self, ticket: Ticket, token: impl FnOnce() -> T) -> Turn {
        let Some(index) = self.index(ticket) else { return Turn::Closed };
        let turn = match &mut self.entries[index] {
            Entry::Waiting(old) => {
                *old = token();
                return Turn::Waiting;
            }
            Entry::Granted => {
                self.granted -= 1;
                Turn::Granted
            }
            Entry::Expired => Turn::Expired,
            Entry::Closed | Entry::Gone => Turn::Closed,
        };
        self.remove(index);
        turn
    }

    fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(index) = self.index(ticket) else { return false };
        let had_turn = match self.entries[index] {
            Entry::Waiting(_) => {
                self.waiting -= 1;
                false
            }
            Entry::Granted => {
                self.granted -= 1;
                true
            }
            _ => false,
        };
        self.remove(index);
        had_turn
    }

    fn remove(&mut self, index: usize) {
        self.entries[index] = Entry::Gone;
        while matches!(self.entries.front(), Some(Entry::Gone)) {
            self.entries.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_in_order_and_a_turn_given_up_is_known() {
        let mut waiters = Waiters::new();
        let (a, b, c) = (waiters.join('a'), waiters.join('b'), waiters.join('c'));
        assert_eq!(waiters.poll(a, || 'A'), Turn::Waiting);
        assert_eq!(waiters.grant_one(), Some('A'));
        assert_eq!(waiters.grant_one(), Some('b'));
        assert!(waiters.leave(a), "a had the turn and gave it up");
        assert_eq!(waiters.poll(b, || 'b'), Turn::Granted);
        assert_eq!(waiters.expire(c), Some('c'));
        assert_eq!(waiters.expire(c), None);
        assert_eq!(waiters.poll(c, || 'c'), Turn::Expired);
        assert!(waiters.0.as_ref().is_some_and(|queue| queue.entries.is_empty()));
        assert_eq!((waiters.waiting(), waiters.granted()), (0, 0));
    }

    #[test]
    fn closing_wakes_everybody() {
        let mut waiters = Waiters::new();
        let a = waiters.join(1);
        let b = waiters.join(2);
        let mut woken = alloc::vec::Vec::new();
        waiters.close(|token| woken.push(token));
        assert_eq!(woken, [1, 2]);
        assert_eq!(waiters.poll(b, || 0), Turn::Closed);
        assert!(!waiters.leave(a));
        assert!(waiters.0.as_ref().is_some_and(|queue| queue.entries.is_empty()));
    }
}
