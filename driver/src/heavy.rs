//! Limits how many tasks of a server do heavy work at once.
//!
//! A runtime's threads run the ready tasks in turn, and a turn lasts as long as the task works. A task that
//! needs a short answer waits for all tasks that were ready before it: with hundreds of connections in the
//! middle of long messages, or thousands of handlers that make long answers, for seconds. Therefore a task
//! that is about to do heavy work joins the queue of [`HeavyWork`]: as many tasks as the runtime has threads
//! are called at a time, and each does its piece of work at its next poll, after all tasks that were ready
//! before it was called. A task that does no heavy work then waits for a few pieces at most. Turns alternate
//! between the next connection and the one with the fewest waiting tasks, so that a connection with little
//! work does not have to wait for a piece of every other one.
//!
//! Heavy work is: reading the rest of a long, incomplete message; reading on a connection whose answers are
//! long; and the work of a handler after it was woken, if its connection's answers are long, or of unknown
//! size.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, MutexGuard};

/// Tasks that wait for their turn, and the tasks that have it.
#[derive(Debug)]
pub struct HeavyWork {
    line: Mutex<Line>,
}

struct Line {
    /// The maximum number of tasks that have their turn at once.
    at_once: usize,
    wake: fn(Waker),
    last: u64,
    order: Order,
    waiting: HashMap<u64, Waker>,
    called: HashSet<u64>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("waiting", &self.waiting.len())
            .field("called", &self.called.len())
            .finish_non_exhaustive()
    }
}

impl Line {
    /// Calls the next tasks, as far as there are places, and releases the lock.
    fn call(mut line: MutexGuard<'_, Self>) {
        let (wakers, wake) = (line.next(), line.wake);
        drop(line);
        wakers.into_iter().for_each(wake);
    }

    fn next(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.called.len() < self.at_once
            && let Some(ticket) = self.order.pop()
        {
            if let Some(waker) = self.waiting.remove(&ticket) {
                self.called.insert(ticket);
                wakers.push(waker);
            }
        }
        wakers
    }
}

impl Default for HeavyWork {
    /// For one thread that runs tasks in the order in which they were woken.
    fn default() -> Self {
        let (order, waiting, called) = (Order::default(), HashMap::new(), HashSet::new());
        let line = Line { at_once: 1, wake: Waker::wake, last: 0, order, waiting, called };
        Self { line: Mutex::new(line) }
    }
}

impl HeavyWork {
    /// Configures it for a runtime with this many threads: that many tasks do heavy work at once. `wake`
    /// wakes a task, if possible after all ready ones.
    pub fn run_by(&self, threads: usize, wake: fn(Waker)) {
        let mut line = self.line.lock();
        (line.at_once, line.wake) = (threads.max(1), wake);
    }

    /// The number of waiting tasks.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.line.lock().waiting.len()
    }
}

/// A task's place in the queue of [`HeavyWork`]; it is given up when this is dropped.
#[derive(Debug)]
pub struct Turn {
    work: Arc<HeavyWork>,
    from: u64,
    ticket: Option<u64>,
}

impl Turn {
    /// Not in the queue yet, for a task of connection `from`.
    #[must_use]
    pub fn new(work: Arc<HeavyWork>, from: u64) -> Self {
        Self { work, from, ticket: None }
    }

    /// Ready if this task was called: it works now, and then calls [`end`](Self::end). Otherwise it is in the
    /// queue, and is woken when it is called. It is never ready at the first poll, so that all ready tasks
    /// get their turn in between.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.work.line.lock();
        let Some(ticket) = self.ticket else {
            line.last += 1;
            let ticket = line.last;
            self.ticket = Some(ticket);
            line.order.push(self.from, ticket);
            line.waiting.insert(ticket, cx.waker().clone());
            Line::call(line);
            return Poll::Pending;
        };
        if let Some(waker) = line.waiting.get_mut(&ticket) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The work is done, or is not needed any more: calls other tasks.
    pub fn end(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut line = self.work.line.lock();
        line.waiting.remove(&ticket);
        line.called.remove(&ticket);
        Line::call(line);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tickets by connection; those of dropped tasks stay until it would be their turn.
#[derive(Default)]
struct Order {
    of: HashMap<u64, Tickets>,
    /// Connections by their places, and by the number of their tickets.
    by_place: BTreeSet<(u64, u64)>,
    by_number: BTreeSet<(usize, u64, u64)>,
    last_place: u64,
    /// The last one was called by its place.
    was_by_place: bool,
}

struct Tickets {
    place: u64,
    tickets: VecDeque<u64>,
}

impl Order {
    fn push(&mut self, from: u64, ticket: u64) {
        let mut line = self.take(from).unwrap_or_else(|| {
            self.last_place += 1;
            Tickets { place: self.last_place, tickets: VecDeque::new() }
        });
        line.tickets.push_back(ticket);
        self.put(from, line);
    }

    fn pop(&mut self) -> Option<u64> {
        self.was_by_place = !self.was_by_place;
        let from = if self.was_by_place {
            self.by_place.first().map(|&(_, from)| from)
        } else {
            self.by_number.first().map(|&(_, _, from)| from)
        }?;
        let mut line = self.take(from)?;
        let ticket = line.tickets.pop_front();
        if !line.tickets.is_empty() {
            self.last_place += 1;
            self.put(from, Tickets { place: self.last_place, ..line });
        }
        ticket
    }

    fn take(&mut self, from: u64) -> Option<Tickets> {
        let line = self.of.remove(&from)?;
        self.by_place.remove(&(line.place, from));
        self.by_number.remove(&(line.tickets.len(), line.place, from));
        Some(line)
    }

    fn put(&mut self, from: u64, line: Tickets) {
        self.by_place.insert((line.place, from));
        self.by_number.insert((line.tickets.len(), line.place, from));
        self.of.insert(from, line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Task {
        turn: Turn,
        woken: Arc<Woken>,
        seen: u64,
    }

    impl Task {
        fn new(work: &Arc<HeavyWork>, from: u64) -> Self {
            Self { turn: Turn::new(Arc::clone(work), from), woken: Arc::default(), seen: 0 }
        }

        fn poll(&mut self) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.turn.poll(&mut Context::from_waker(&waker)).is_ready()
        }

        /// Whether it was woken since the last call.
        fn is_woken(&mut self) -> bool {
            let woken = self.woken.0.load(Ordering::Relaxed);
            std::mem::replace(&mut self.seen, woken) < woken
        }
    }

    #[test]
    fn a_turn_is_never_taken_before_others_that_are_ready() {
        let work = Arc::new(HeavyWork::default());
        let mut tasks = [1, 1, 2].map(|from| Task::new(&work, from));
        let [a, b, c] = &mut tasks;
        assert!(!a.poll() && a.is_woken(), "alone, and called: but at the next poll");
        assert!(!b.poll() && !b.is_woken());
        assert!(!c.poll() && !c.is_woken());
        assert!(a.poll(), "its turn");
        assert!(!b.poll() && !c.poll(), "woken for something else");
        a.turn.end();
        assert!(b.is_woken() && !c.is_woken());
        assert!(!a.poll(), "behind the others");
        assert!(b.poll());
        b.turn.end();
        assert!(c.is_woken() && !a.is_woken() && c.poll());
        c.turn.end();
        assert!(a.is_woken() && a.poll());
    }

    #[test]
    fn who_has_little_goes_first_and_connections_take_turns() {
        let mut order = Order::default();
        for ticket in 0..5 {
            order.push(1, ticket);
            order.push(2, 10 + ticket);
        }
        order.push(3, 20);
        let mut popped: Vec<u64> = (0..4).map(|_| order.pop().expect("one")).collect();
        assert_eq!(popped, [0, 20, 10, 1], "by place, least, by place, least (1 and 2 have as many)");
        // A connection that always has one task gets every second place, and no more.
        for _ in 0..4 {
            order.push(3, 20);
            popped.extend([order.pop(), order.pop()].map(|ticket| ticket.expect("one")));
        }
        assert_eq!(popped[4..].iter().filter(|&&ticket| ticket == 20).count(), 4, "{popped:?}");
        assert_eq!(popped[4..].iter().filter(|&&ticket| ticket < 20).count(), 4, "{popped:?}");
        while order.pop().is_some() {}
        assert!(order.of.is_empty() && order.by_place.is_empty() && order.by_number.is_empty());
    }

    #[test]
    fn connections_take_turns_and_as_many_work_as_there_are_threads() {
        let work = Arc::new(HeavyWork::default());
        work.run_by(2, Waker::wake);
        let mut many: Vec<Task> = (0..100).map(|_| Task::new(&work, 1)).collect();
        let mut other = Task::new(&work, 2);
        for task in &mut many {
            assert!(!task.poll());
        }
        assert!(!other.poll());
        assert_eq!(
            many.iter_mut().filter(|task| task.seen < task.woken.0.load(Ordering::Relaxed)).count(),
            2
        );
        assert_eq!(work.waiting(), 99);
        many[0].turn.end();
        many[1].turn.end();
        assert!(other.is_woken(), "it is not behind all hundred of another");
        assert!(other.poll());
    }

    #[test]
    fn tasks_that_go_leave_no_gap() {
        let work = Arc::new(HeavyWork::default());
        let mut tasks: Vec<Task> = (0..10).map(|from| Task::new(&work, from)).collect();
        for task in &mut tasks {
            task.poll();
        }
        // A waiting task is dropped, then the one that was called.
        drop(tasks.remove(1));
        drop(tasks.remove(0));
        assert!(tasks[0].is_woken() && tasks[0].poll());
        assert_eq!(work.waiting(), 7);
        drop(tasks);
        let line = work.line.lock();
        assert_eq!((line.waiting.len(), line.called.len(), line.order.of.len()), (0, 0, 0));
    }
}
