//! One pending decision of the program: whether a peer is let in.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::auth::{Decision, Refusal, RefusalCode};
use bowline_driver::PeerId;
use bowline_driver::sync::{Arc, Mutex};

/// Whether a decision is still needed, and the wakers to wake when it no longer is.
#[derive(Debug, Default)]
pub(crate) struct Awaited(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The link has got the decision.
    is_decided: bool,
    is_over: bool,
    waker: Option<Waker>,
}

impl Awaited {
    /// Marks the decision as no longer needed and wakes the watchers. Returns whether it was made in time.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.0.lock();
        state.is_over = true;
        let (is_decided, waker) = (state.is_decided, state.waker.take());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        is_decided
    }

    /// The link gets the decision, for which it still waits.
    pub(crate) fn note_decided(&self) {
        self.0.lock().is_decided = true;
    }

    fn poll_over(&self, waker: Option<&Waker>) -> bool {
        let mut state = self.0.lock();
        if !state.is_over {
            state.waker = waker.cloned().or_else(|| state.waker.take());
        }
        state.is_over
    }
}

/// The function that receives the decision.
type Take = Box<dyn FnOnce(Decision) + Send + Sync>;

/// The right to decide about one peer. It can be moved to any thread; the peer waits until the decision or
/// until its handshake times out. Dropping it without a decision refuses the peer with
/// [`UNAVAILABLE`](RefusalCode::UNAVAILABLE).
pub struct Deciding {
    peer: PeerId,
    awaited: Arc<Awaited>,
    take: Option<Take>,
}

impl fmt::Debug for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deciding").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Deciding {
    pub(crate) fn new(peer: PeerId, awaited: Arc<Awaited>, take: Take) -> Self {
        Self { peer, awaited, take: Some(take) }
    }

    /// The peer that waits for the decision.
    #[must_use]
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Whether the decision is no longer needed because the connection is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.awaited.poll_over(None)
    }

    /// As [`is_over`](Self::is_over); `waker` is woken when the value changes.
    pub fn watch(&self, waker: &Waker) -> bool {
        self.awaited.poll_over(Some(waker))
    }

    /// Decides: lets the peer in, or refuses it.
    pub fn decide(mut self, decision: Decision) {
        self.take_decision(decision);
    }

    fn take_decision(&mut self, decision: Decision) {
        if let Some(take) = self.take.take() {
            take(decision);
        }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        self.take_decision(Err(undecided("not decided")));
    }
}

/// The refusal when no decision could be made.
fn undecided(why: &str) -> Refusal {
    Refusal::new(RefusalCode::UNAVAILABLE).text(why)
}

/// The task of a decision whose future is not ready at once. It ends with the connection at the latest.
pub(crate) struct Asking<Fut> {
    future: Option<Pin<Box<Fut>>>,
    deciding: Deciding,
}

impl<Fut> Asking<Fut> {
    pub(crate) fn new(future: Fut, deciding: Deciding) -> Self {
        Self { future: Some(Box::pin(future)), deciding }
    }
}

impl<Fut: Future<Output = Decision>> Future for Asking<Fut> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.deciding.watch(cx.waker()) {
            return Poll::Ready(());
        }
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(decision)) => this.deciding.take_decision(decision),
            Err(_) => this.deciding.take_decision(Err(undecided("the verifier panicked"))),
        }
        Poll::Ready(())
    }
}

impl<Fut> Drop for Asking<Fut> {
    /// A panic in the destructor of the program's future is not passed on.
    fn drop(&mut self) {
        let future = self.future.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}
