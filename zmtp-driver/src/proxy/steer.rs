//! Control and counters of a proxy.

use std::task::{Context, Poll, Waker};

use bowline_driver::sync::{AtomicBool, AtomicU64, Mutex, Ordering};
use bowline_zmtp::message::Message;

use super::{ProxyEnd, ProxyReason};

/// Counters of one direction of a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowStats {
    /// Messages that were passed on.
    pub messages: u64,
    /// The bytes of their parts.
    pub bytes: u64,
    /// Messages that the other socket refused for good, and that were dropped: over a limit, or for a peer
    /// that is gone or has no room.
    pub refused: u64,
}

/// Counters of a proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProxyStats {
    /// From the front socket to the back.
    pub forth: FlowStats,
    /// From the back socket to the front.
    pub back: FlowStats,
    /// Copies that the capturing socket did not accept.
    pub capture_lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct FlowCounters {
    messages: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
}

impl FlowCounters {
    pub(super) fn note_passed(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn stats(&self) -> FlowStats {
        FlowStats {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The state that the handles and the task of a proxy share.
#[derive(Debug)]
pub(super) struct Steer {
    paused: AtomicBool,
    stopped: AtomicBool,
    /// From the front, from the back.
    pub(super) counters: [FlowCounters; 2],
    capture_lost: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    task: Option<Waker>,
    ended: Option<(ProxyReason, Vec<Message>)>,
    waiting: Vec<Waker>,
}

impl Steer {
    pub(super) fn new(paused: bool) -> Self {
        Self {
            paused: AtomicBool::new(paused),
            stopped: AtomicBool::new(false),
            counters: [FlowCounters::default(), FlowCounters::default()],
            capture_lost: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        }
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.wake_task();
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake_task();
    }

    fn wake_task(&self) {
        // Without the lock.
        let task = self.state.lock().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Called by the task before it checks for work: it is woken when that changes.
    pub(super) fn register(&self, waker: &Waker) {
        self.state.lock().task = Some(waker.clone());
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn note_capture_lost(&self) {
        self.capture_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> ProxyStats {
        let [forth, back] = [self.counters[0].stats(), self.counters[1].stats()];
        ProxyStats { forth, back, capture_lost: self.capture_lost.load(Ordering::Relaxed) }
    }

    /// The task is over; the first reason counts.
    pub(super) fn end(&self, reason: ProxyReason, unsent: Vec<Message>) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some((reason, unsent));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The result, if it has ended.
    pub(super) fn take_ended(&self) -> Option<ProxyEnd> {
        let mut state = self.state.lock();
        let (reason, unsent) = state.ended.as_mut()?;
        Some(ProxyEnd { reason: *reason, unsent: std::mem::take(unsent), stats: self.stats() })
    }

    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<ProxyEnd> {
        if let Some(ended) = self.take_ended() {
            return Poll::Ready(ended);
        }
        let mut state = self.state.lock();
        if !state.waiting.iter().any(|kept| kept.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        drop(state);
        // It may have ended between the two checks.
        self.take_ended().map_or(Poll::Pending, Poll::Ready)
    }
}
