//! Which handler runs next, where handlers run on a bounded number of threads.
//!
//! Connections take turns, whatever they have asked for before others came, and those with few requests
//! here have every second turn. What handlers have in
//! hand is in no link yet, so that no link counts it: a handler whose answer is expected to be large
//! runs only while there is memory for it beside those that run, or none of them runs. It waits in
//! the queue meanwhile, and keeps no thread.

use std::collections::{BTreeSet, HashMap, VecDeque};
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

/// Jobs by connection, the oldest of each first. By turns comes the next connection, and one that has few
/// jobs here: one that asks for little does not wait for a job of each that asks for much.
struct Turns<J> {
    lines: HashMap<u64, Line<J>>,
    /// Connections with the names of their lines, the next one first. Those whose lines have ended are
    /// skipped.
    in_turn: VecDeque<(u64, u64)>,
    /// Connections by how few jobs they have: see [`Line::key`].
    fewest: BTreeSet<(u32, u64, u64)>,
    /// Of names and places.
    last: u64,
    is_turn_of_fewest: bool,
}

/// What waits of one connection.
struct Line<J> {
    from: u64,
    name: u64,
    /// Lines with about as many jobs take turns: this one has another place after each job.
    place: u64,
    first: J,
    behind: VecDeque<J>,
}

impl<J> Line<J> {
    fn key(&self) -> (u32, u64, u64) {
        // In powers of two: a line does not go first because it just had a turn.
        ((1 + self.behind.len()).ilog2(), self.place, self.from)
    }
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            in_turn: VecDeque::new(),
            fewest: BTreeSet::new(),
            last: 0,
            is_turn_of_fewest: true,
        }
    }
}

impl<J> Turns<J> {
    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn push(&mut self, from: u64, job: J) {
        if let Some(line) = self.lines.get_mut(&from) {
            let before = line.key();
            line.behind.push_back(job);
            if line.key() != before {
                self.fewest.remove(&before);
                self.fewest.insert(line.key());
            }
            return;
        }
        self.last += 1;
        let line = Line { from, name: self.last, place: self.last, first: job, behind: VecDeque::new() };
        self.in_turn.push_back((from, line.name));
        self.fewest.insert(line.key());
        self.lines.insert(from, line);
    }

    fn pop(&mut self) -> Option<(u64, J)> {
        self.is_turn_of_fewest = !self.is_turn_of_fewest;
        let from = if self.is_turn_of_fewest {
            self.fewest.first().map(|&(_, _, from)| from)
        } else {
            self.next_in_turn()
        }?;
        let line = self.lines.get_mut(&from)?;
        self.fewest.remove(&line.key());
        if let Some(next) = line.behind.pop_front() {
            self.last += 1;
            line.place = self.last;
            self.fewest.insert(line.key());
            return Some((from, std::mem::replace(&mut line.first, next)));
        }
        let line = self.lines.remove(&from)?;
        if self.lines.is_empty() {
            self.in_turn.clear();
        }
        Some((from, line.first))
    }

    /// The next connection, which goes to the end if it has more than one job.
    fn next_in_turn(&mut self) -> Option<u64> {
        loop {
            let (from, name) = self.in_turn.pop_front()?;
            let Some(line) = self.lines.get(&from).filter(|line| line.name == name) else { continue };
            if !line.behind.is_empty() {
                self.in_turn.push_back((from, name));
            }
            return Some(from);
        }
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
        assert_eq!(run(&mut queue)[..7], [0, 102, 100, 101, 1, 2, 3]);
        assert_eq!((queue.len(), queue.has_next()), (0, false));
        assert!(queue.waiting.fewest.is_empty() && queue.waiting.in_turn.is_empty());
    }

    #[test]
    fn who_asks_for_little_does_not_wait_for_one_job_of_each_other() {
        let mut queue = HandlerQueue::default();
        for job in 0..10 {
            (0..40).for_each(|from| queue.push(from, (from, job)));
        }
        let take = |queue: &mut HandlerQueue<(u64, usize)>, count: usize| -> Vec<u64> {
            (0..count).map(|_| queue.take().expect("one that waits").job().0).collect()
        };
        let had = |begun: &[u64], from: u64| begun.iter().filter(|&&other| other == from).count();
        let begun = take(&mut queue, 160);
        assert!((0..40).all(|from| had(&begun, from) >= 2), "they take turns: {begun:?}");
        (0..3).for_each(|job| queue.push(50, (50, job)));
        assert_eq!(had(&take(&mut queue, 8), 50), 3);
        // Those that come anew, again and again, have every second turn and no more.
        (100..140).for_each(|from| queue.push(from, (from, 0)));
        let begun = take(&mut queue, 40);
        assert!((20..=21).contains(&begun.iter().filter(|&&from| from < 40).count()), "{begun:?}");
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
