//! Chooses the next handler to run, on a bounded number of threads.
//!
//! Connections take turns, however many requests they sent earlier, and those with few requests get every
//! second turn. The results that running handlers hold are not part of a link yet, so that no link counts
//! them: a handler whose answer is expected to be large runs only while there is memory for it in addition to
//! the running ones, or if none runs. Meanwhile it waits in the queue, and uses no thread.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;

/// Answers of up to this many bytes are not counted: those of all threads together are small. This is also
/// the expected size of a link's first answer.
const SMALL: usize = 128 * 1024;

/// Entries of ended queues that are always left to be skipped.
const FEW: usize = 64;

/// The expected answer of a handler before it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// The expected size in bytes.
    pub bytes: usize,
    /// Bytes available for all answers in progress.
    pub spare: usize,
}

impl Outlook {
    /// Whether no permission is needed.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.bytes <= SMALL
    }
}

/// Handlers that wait for a thread. The queue itself has no threads and no lock.
pub struct HandlerQueue<J> {
    waiting: Turns<J>,
    /// Handlers whose answers had no room when they were checked.
    large: Turns<J>,
    /// Those of them whose turn it was, oldest first.
    next_large: VecDeque<Taken<J>>,
    /// No large handler is checked until a running one ends.
    is_blocked: bool,
    /// Bytes of large answers in progress.
    in_hand: usize,
    /// Whether a large one goes first.
    is_turn_of_large: bool,
    len: usize,
}

/// A job that was taken out, to be checked.
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
    /// The job.
    pub fn job(&self) -> &J {
        &self.job
    }

    /// The job, if it is cancelled or small.
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
    /// The number of waiting jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a job of that connection.
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

    /// Takes out the next job, to be checked: a small one runs at once, others ask [`begin`](Self::begin).
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

    /// Whether a job that is not small may run: if so, it is returned, and [`end`](Self::end) must be called
    /// when it ends; otherwise it waits again.
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
            // It keeps its turn: smaller ones must not overtake it again and again.
            Place::Large => self.next_large.push_back(Taken { from, place: Place::Next, job }),
            Place::Next => self.next_large.push_front(Taken { from, place: Place::Next, job }),
        }
        None
    }

    /// A job that was allowed with that outlook has ended.
    pub fn end(&mut self, outlook: Outlook) {
        self.in_hand = self.in_hand.saturating_sub(outlook.bytes);
        self.is_blocked = false;
    }

    /// Takes out all waiting jobs of that connection.
    pub fn remove(&mut self, from: u64) -> Vec<J> {
        let mut jobs = Vec::new();
        for taken in std::mem::take(&mut self.next_large) {
            if taken.from == from {
                jobs.push(taken.job);
            } else {
                self.next_large.push_back(taken);
            }
        }
        jobs.extend(self.large.remove(from));
        jobs.extend(self.waiting.remove(from));
        self.len -= jobs.len();
        jobs
    }

    /// Takes out all waiting jobs.
    pub fn drain(&mut self) -> Vec<J> {
        self.len = 0;
        let mut jobs: Vec<J> = self.next_large.drain(..).map(Taken::into_job).collect();
        while let Some((_, job)) = self.large.pop().or_else(|| self.waiting.pop()) {
            jobs.push(job);
        }
        jobs
    }
}

/// Jobs by connection, oldest first. Turns alternate between the next connection and the one with the fewest
/// jobs: a connection with few requests does not have to wait for a job of every connection with many.
struct Turns<J> {
    lines: HashMap<u64, Line<J>>,
    /// Connections with the ids of their queues, the next one first. Entries of ended queues are skipped.
    in_turn: VecDeque<(u64, u64)>,
    /// Connections ordered by their number of jobs: see [`Line::key`].
    fewest: BTreeSet<(u32, u64, u64)>,
    /// The last id or place assigned.
    last: u64,
    is_turn_of_fewest: bool,
}

/// The waiting jobs of one connection.
struct Line<J> {
    from: u64,
    name: u64,
    /// Queues of about the same length take turns: this one gets another place after each job.
    place: u64,
    first: J,
    behind: VecDeque<J>,
}

impl<J> Line<J> {
    fn key(&self) -> (u32, u64, u64) {
        // In powers of two: a queue does not go first just because it had a turn.
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

    /// Takes out the jobs of a connection.
    fn remove(&mut self, from: u64) -> Vec<J> {
        let Some(line) = self.lines.remove(&from) else { return Vec::new() };
        self.fewest.remove(&line.key());
        // Entries of ended queues are skipped; here they would pile up while no job is taken.
        if self.in_turn.len() > 2 * self.lines.len() + FEW {
            let lines = &self.lines;
            self.in_turn.retain(|(from, name)| lines.get(from).is_some_and(|line| line.name == *name));
        }
        let mut jobs = vec![line.first];
        jobs.extend(line.behind);
        jobs
    }

    /// The next connection, which moves to the end if it has more than one job.
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
        // New connections get every second turn and no more.
        (100..140).for_each(|from| queue.push(from, (from, 0)));
        let begun = take(&mut queue, 40);
        assert!((20..=21).contains(&begun.iter().filter(|&&from| from < 40).count()), "{begun:?}");
    }

    #[test]
    fn jobs_of_a_connection_that_ended_leave_the_queue_and_nothing_of_them_stays() {
        let mut queue = HandlerQueue::default();
        for job in 0..3 {
            queue.push(1, (job, 9));
            queue.push(2, (10 + job, 0));
        }
        // One that is large runs, one of connection 1 had its turn, and one was checked.
        queue.push(3, (20, 1));
        assert_eq!(run(&mut queue), [0, 10, 11, 12]);
        assert_eq!(queue.remove(1).iter().map(|(job, _)| *job).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((queue.len(), queue.remove(1).len(), queue.remove(7).len()), (1, 0, 0));
        queue.end(outlook(9));
        assert_eq!(run(&mut queue), [20]);
        // While no job is taken, connections come and go.
        queue.push(4, (0, 0));
        for from in 100..10_000 {
            queue.push(from, (from, 0));
            assert_eq!(queue.remove(from).len(), 1);
        }
        assert!(queue.waiting.in_turn.len() <= 3 + FEW && queue.waiting.fewest.len() == 1);
        queue.push(5, (1, 0));
        assert_eq!((run(&mut queue), queue.len()), (vec![0, 1], 0));
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
        // Later jobs are checked once, and run as long as there is room.
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
