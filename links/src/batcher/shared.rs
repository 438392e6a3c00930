//! The batcher behind its lock, and the task that drives it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bowline_core::batcher::{Batch, Batcher as Machine, Step};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Timer;
use bowline_driver::sync::{Arc, Mutex};
use bowline_driver::workers::{FAIR_SHARE, Yield};

use super::OnFailure;
use super::driving::Driving;
use super::observe::Teller;
use super::sink::Sink;

type MachineOf<S, T> = Machine<<S as Sink>::Message, T, <S as Sink>::Position, <S as Sink>::Error, Waker>;
type BatchOf<S> = Batch<<S as Sink>::Message, <S as Sink>::Position, <S as Sink>::Error>;

pub(super) struct Shared<S: Sink, T> {
    pub(super) sink: S,
    pub(super) driving: Driving,
    machine: Mutex<MachineOf<S, T>>,
}

impl<S: Sink, T> Shared<S, T> {
    pub(super) fn new(sink: S, machine: MachineOf<S, T>) -> Self {
        Self { sink, driving: Driving::default(), machine: Mutex::new(machine) }
    }

    /// Calls `work` with the locked machine, then wakes the tasks that can proceed, after the lock is
    /// released.
    #[inline]
    pub(super) fn with<U>(&self, work: impl FnOnce(&mut MachineOf<S, T>) -> U) -> U {
        let mut machine = self.machine.lock();
        let output = work(&mut machine);
        if machine.has_tokens() {
            wake(|tokens| {
                machine.take_tokens(tokens);
                drop(machine);
            });
        }
        output
    }
}

thread_local! {
    /// Reused, so that waking many tasks allocates nothing.
    static TOKENS: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

/// Vectors with a larger capacity are not kept.
const KEPT_TOKENS: usize = 4096;

/// Wakes the tasks that `take` collects. A waker may re-enter this function: the cell holds no vector
/// meanwhile.
fn wake(take: impl FnOnce(&mut Vec<Waker>)) {
    let mut tokens = TOKENS.try_with(Cell::take).unwrap_or_default();
    take(&mut tokens);
    tokens.drain(..).for_each(Waker::wake);
    if tokens.capacity() <= KEPT_TOKENS {
        // A thread that is ending keeps nothing.
        let _ = TOKENS.try_with(|kept| kept.set(tokens));
    }
}

/// The batch that was taken from the machine, if there is one. It is given back however the task ends: when
/// the batcher or its runtime ends, or when the sink panics.
pub(super) struct Lent<S: Sink, T> {
    shared: Arc<Shared<S, T>>,
    batch: Option<BatchOf<S>>,
}

impl<S: Sink, T> Lent<S, T> {
    pub(super) fn new(shared: Arc<Shared<S, T>>) -> Self {
        Self { shared, batch: None }
    }

    fn give_back(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.shared.with(|machine| machine.end_batch(clock::now(), batch));
        }
    }
}

impl<S: Sink, T> Drop for Lent<S, T> {
    fn drop(&mut self) {
        // The task that drives the batcher has ended.
        self.shared.with(|machine| machine.give_up(clock::now()));
        self.give_back();
    }
}

/// Appends one batch after the other, until the batcher is closed.
///
/// `timer` is called on the first poll, because timers must be created inside their runtime.
pub(super) async fn drive<C: Timer, S: Sink, T: Send>(
    mut lent: Lent<S, T>,
    timer: fn() -> C,
    on_failure: Option<OnFailure<S::Error>>,
    mut teller: Teller,
) {
    let shared = Arc::clone(&lent.shared);
    let mut alarm = Alarm::new(timer());
    let mut batches = 0_u32;
    loop {
        let next = poll_fn(|cx| {
            loop {
                let step = shared.with(|machine| machine.poll_batch(clock::now(), || cx.waker().clone()));
                let at = match step {
                    Step::Batch(batch) => return Poll::Ready(Some(batch)),
                    Step::Closed => return Poll::Ready(None),
                    Step::Wait(at) => at,
                };
                if at.is_none_or(|at| wait_until(&shared, &mut alarm, cx, at).is_pending()) {
                    return Poll::Pending;
                }
            }
        });
        let next = next.await;
        let is_closed = next.is_none();
        if let Some(batch) = next {
            let batch = lent.batch.insert(batch);
            attempt(&shared, &mut alarm, batch).await;
            lent.give_back();
            if Teller::is_heard() {
                let (stats, again) = shared.with(|machine| (machine.stats(), machine.under_way()));
                teller.attempted(stats, again);
            }
        }
        if let Some(told) = &on_failure
            && let Some(failures) = shared.with(|machine| machine.take_failures())
        {
            // A panic in the program's function is ignored.
            let _ = catch_unwind(AssertUnwindSafe(|| told(&failures)));
        }
        if is_closed {
            teller.closed(shared.with(|machine| machine.stats()));
            return;
        }
        batches = batches.wrapping_add(1);
        if batches.is_multiple_of(FAIR_SHARE) {
            Yield::default().await;
        }
    }
}

/// Ready at that time. Only the batcher's task sets the alarm: if a sender polls and the alarm is not set early enough,
/// the task is woken to set it.
fn wait_until<S: Sink, T: Send>(
    shared: &Shared<S, T>,
    alarm: &mut Alarm<impl Timer>,
    cx: &mut Context<'_>,
    at: Instant,
) -> Poll<()> {
    if !shared.driving.is_by_sender() {
        return alarm.poll_until(cx, at);
    }
    if clock::now() >= at {
        return Poll::Ready(());
    }
    if !alarm.is_set_until(at) {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

/// Runs until the attempt is over, or a close has no more time for it. Messages that wait may expire
/// meanwhile.
async fn attempt<S: Sink, T: Send>(
    shared: &Shared<S, T>,
    alarm: &mut Alarm<impl Timer>,
    batch: &mut BatchOf<S>,
) {
    let mut append = pin!(shared.sink.append(batch));
    let over = poll_fn(|cx| {
        // After a panic, messages without an answer count as possibly appended; the batcher continues.
        let polled = catch_unwind(AssertUnwindSafe(|| append.as_mut().poll(cx)));
        if polled.map_or(true, |polled| polled.is_ready()) {
            return Poll::Ready(());
        }
        loop {
            let (overdue, next) = shared.with(|machine| {
                let now = clock::now();
                machine.handle_timeout(now);
                machine.watch(|| cx.waker().clone());
                (machine.is_overdue(now), machine.next_timeout())
            });
            if overdue {
                return Poll::Ready(());
            }
            if next.is_none_or(|at| wait_until(shared, alarm, cx, at).is_pending()) {
                return Poll::Pending;
            }
        }
    });
    over.await;
}
