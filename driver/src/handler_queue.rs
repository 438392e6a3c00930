//! Which handler runs next, where handlers run on a bounded number of threads.
//!
//! Connections take turns, whatever they have asked for before others came. What handlers have in
//! hand is in no link yet, so that no link counts it: a handler whose answer is expected to be large
//! runs only while there is memory for it beside those that run, or none of them runs. It waits in
//! the queue meanwhile, and keeps no thread.

use std::collections::{HashMap, VecDeque};
use std::fmt;

/// Answers of at most so many bytes are not counted: all threads together make little of them. A
/// link's first answer is expected to be as long.
const SMALL: usize = 128 * 1024;

/// What is expected of an answer before its handler runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// Bytes that it takes.
    pub bytes: usize,
    /// Bytes that all answers in hand may take.
    pub spare: usize,
}

impl Outlook {
    /// Whether nothing has to be asked.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.bytes <= SMALL
    }
}

/// Jobs of handlers that wait for a thread. It has no threads and no lock itself.
pub struct HandlerQueue<J> {
    waiting: Turns<J>,
    /// Those whose answers had no room when they were looked at.
    large: Turns<J>,
    /// Of those, the ones whose turn it was, oldest first.
    next_large: VecDeque<Taken<J>>,
    /// No large one is looked at until one that runs is over.
    is_blocked: bool,
    /// Bytes of large answers that are being made.
    in_hand: usize,
    /// Whether a large one goes first.
    is_turn_of_large: bool,
    len: usize,
}

/// A job that was taken out, to be looked at.
#[derive(Debug)]
pub struct Taken<J> {
    from: u64,
    place: Place,
    job: J,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Waiting,
    Large,
    Next,
}

impl<J> Taken<J> {
    /// What was queued.
    pub fn job(&self) -> &J {
        &self.job
    }

    /// It is over with, or small.
    pub fn into_job(self) -> J {
        self.job
    }
}

impl<J> fmt::Debug for HandlerQueue<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerQueue")
            .field("len", &self.len)
            .field("in_hand", &self.in_hand)
            .finish_non_exhaustive()
    }
}

impl<J> Default for HandlerQueue<J> {
    fn default() -> Self {
        Self {
            waiting: Turns::default(),
            large: Turns::default(),
            next_large: VecDeque::new(),
            is_blocked: false,
            in_hand: 0,
            is_turn_of_large: false,
            len: 0,
        }
    }
}

impl<J> HandlerQueue<J> {
    /// How many jobs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A job of that connection waits for a thread.
    pub fn push(&mut self, from: u64, job: J) {
        self.len += 1;
        self.waiting.push(from, job);
    }

    /// Whether there is one that can be [taken](Self::take) now.
    #[must_use]
    pub fn has_next(&self) -> bool {
        !self.waiting.is_empty() || self.has_large()
    }

    fn has_large(&self) -> bool {
        !(self.is_blocked || self.large.is_empty() && self.next_large.is_empty())
    }

    /// Takes out the one whose turn it is, to be looked at: it runs at once if it is small, and by
    /// the word of [`begin`](Self::begin) if not.
    pub fn take(&mut self) -> Option<Taken<J>> {
        let large_first = self.has_large() && (self.is_turn_of_large || self.waiting.is_empty());
        self.is_turn_of_large = !large_first;
        let taken = if large_first {
            self.next_large.pop_front().or_else(|| {
                let (from, job) = self.large.pop()?;
                Some(Taken { from, place: Place::Large, job })
            })
        } else {
            self.waiting.pop().map(|(from, job)| Taken { from, place: Place::Waiting, job })
        }?;
        self.len -= 1;
        Some(taken)
    }

    /// Whether a job may run that is not small: it is given back if so, and
    /// [`end`](Self::end) has to follow; otherwise it waits again.
    pub fn begin(&mut self, taken: Taken<J>, outlook: Outlook) -> Option<J> {
        let Taken { from, place, job } = taken;
        if self.in_hand == 0 || self.in_hand.saturating_add(outlook.bytes) <= outlook.spare {
            self.in_hand = self.in_hand.saturating_add(outlook.bytes);
            return Some(job);
        }
        self.len += 1;
        self.is_blocked = true;
        match place {
            Place::Waiting => self.large.push(from, job),
            // Its turn came: what is smaller does not overtake it again and again.
            Place::Large => self.next_large.push_back(Taken { from, place: Place::Next, job }),
            Place::Next => self.next_large.push_front(Taken { from, place: Place::Next, job }),
        }
        None
    }

    /// A job that was allowed with that outlook is over.
    pub fn end(&mut self, outlook: Outlook) {
        self.in_hand = self.in_hand.saturating_sub(outlook.bytes);
        self.is_blocked = false;
    }

    /// Takes out all that wait.
    pub fn drain(&mut self) -> Vec<J> {
        self.len = 0;
        let mut jobs: Vec<J> = self.next_large.drain(..).map(Taken::into_job).collect();
        while let Some((_, job)) = self.large.pop().or_else(|| self.waiting.pop()) {
            jobs.push(job);
        }
        jobs
    }
}

/// Jobs by connection: the oldest of each in turn.
struct Turns<J> {
    /// One of each connection that has any, the next one first.
    first: VecDeque<(u64, J)>,
    /// What is behind it: there is a line for each connection in `first`.
    behind: HashMap<u64, VecDeque<J>>,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self { first: VecDeque::new(), behind: HashMap::new() }
    }
}

impl<J> Turns<J> {
    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn push(&mut self, from: u64, job: J) {
        if let Some(line) = self.behind.get_mut(&from) {
            line.push_back(job);
            return;
        }
        self.behind.insert(from, VecDeque::new());
        self.first.push_back((from, job));
    }

    fn pop(&mut self) -> Option<(u64, J)> {
        let (from, job) = self.first.pop_front()?;
        match self.behind.get_mut(&from).and_then(VecDeque::pop_front) {
            Some(next) => self.first.push_back((from, next)),
            None => drop(self.behind.remove(&from)),
        }
        Some((from, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn outlook(mib: usize) -> Outlook {
        Outlook { bytes: mib * MIB, spare: 4 * MIB }
    }

    /// Takes out jobs, each of so many MiB, as long as one may run.
    fn run(queue: &mut HandlerQueue<(u64, usize)>) -> Vec<u64> {
        let mut running = Vec::new();
        while let Some(taken) = queue.take() {
            let (name, mib) = *taken.job();
            if mib == 0 || queue.begin(taken, outlook(mib)).is_some() {
                running.push(name);
            }
        }
        running
    }

    #[test]
    fn connections_take_turns() {
        let mut queue = HandlerQueue::default();
        for job in 0..100 {
            queue.push(1, (job, 0));
        }
        queue.push(2, (100, 0));
        queue.push(2, (101, 0));
        queue.push(3, (102, 0));
        assert_eq!(run(&mut queue)[..7], [0, 100, 102, 1, 101, 2, 3]);
        assert_eq!((queue.len(), queue.has_next()), (0, false));
        assert!(queue.waiting.behind.is_empty());
    }

    #[test]
    fn large_answers_wait_for_memory_and_small_ones_do_not() {
        let mut queue = HandlerQueue::default();
        for job in 0..6 {
            queue.push(1, (job, 1));
        }
        queue.push(2, (10, 0));
        assert_eq!(run(&mut queue), [0, 10, 1, 2, 3]);
        queue.push(2, (11, 0));
        assert_eq!(run(&mut queue), [11]);
        assert_eq!((queue.len(), queue.has_next()), (2, false));
        queue.end(outlook(1));
        assert_eq!(run(&mut queue), [4]);
        for _ in 0..4 {
            queue.end(outlook(1));
        }
        assert_eq!(run(&mut queue), [5]);
        assert_eq!((queue.len(), queue.in_hand), (0, MIB));
    }

    #[test]
    fn one_that_is_larger_than_all_there_is_runs_alone_and_is_not_overtaken_for_ever() {
        let mut queue = HandlerQueue::default();
        queue.push(1, (1, 1));
        queue.push(2, (2, 9));
        queue.push(3, (3, 1));
        assert_eq!(run(&mut queue), [1, 3]);
        for job in 4..10 {
            queue.push(job, (job, 1));
        }
        // Those that came later are looked at once, and find room as long as there is some.
        assert_eq!(run(&mut queue), [4, 5]);
        queue.end(outlook(1));
        assert_eq!(run(&mut queue), [], "it is the large one's turn");
        for _ in 0..2 {
            queue.end(outlook(1));
            assert_eq!(run(&mut queue), []);
        }
        queue.end(outlook(1));
        assert_eq!(run(&mut queue), [2]);
        assert_eq!(queue.drain().len(), 4);
        assert!(queue.is_empty());
    }
}
