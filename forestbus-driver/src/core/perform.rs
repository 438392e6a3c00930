//! Performs the outputs of a cluster: one thread at a time, without the lock.

use std::collections::VecDeque;
use std::task::Waker;

use bowline_core::error::Disconnect;
use bowline_driver::clock;
use bowline_driver::sync::{Arc, MutexGuard};
use bowline_forestbus::cluster::CallId;

use super::{Action, Core, State};
use crate::desk::Desk;
use crate::observe;

/// Maximum number of outputs taken under one lock.
pub(super) const BATCH: usize = 64;
/// After this many batches a caller leaves the rest to the keeper, to continue itself.
const BATCHES: usize = 16;

/// The work to do without the lock, in order.
pub(super) type Actions = VecDeque<(Arc<Desk>, Action)>;

/// The rest of the work that one thread took.
#[derive(Default)]
pub(super) struct Left {
    pub(super) actions: Actions,
    pub(super) wakers: VecDeque<Waker>,
    /// Calls that were not made, and whether they may have been sent.
    pub(super) failed: Vec<(CallId, bool, Disconnect)>,
}

/// A call was being made when its thread panicked.
#[derive(Debug, thiserror::Error)]
#[error("making the call panicked")]
struct Panicked;

/// One thread's turn. If it ends early, because a waker or an observer of the program panicked, its remaining
/// work is given back, and the keeper continues.
struct Turn<'a> {
    core: &'a Core,
    left: Left,
    /// The call being made.
    making: Option<CallId>,
    is_done: bool,
}

impl Turn<'_> {
    fn perform(&mut self) {
        while let Some(waker) = self.left.wakers.pop_front() {
            waker.wake();
        }
        while let Some((desk, action)) = self.left.actions.pop_front() {
            match action {
                Action::Call { call, request } => {
                    self.making = Some(call);
                    if let Err(cause) = desk.call(&self.core.codec, call, &request) {
                        self.left.failed.push((call, false, cause));
                    }
                    self.making = None;
                }
                Action::Forget(call) => desk.forget(call),
                Action::Close { at, cause } => {
                    desk.close();
                    self.core.observe(at, |to| observe::closed(to, &cause));
                }
            }
        }
        self.is_done = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let panicked = self.making.map(|call| (call, true, Disconnect::foreign(Panicked)));
        self.left.failed.extend(panicked);
        let mut state = self.core.state.lock();
        state.left = std::mem::take(&mut self.left);
        state.performing = false;
        let keeper = state.keeper.waker.take();
        drop(state);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }
}

/// Simulates a thread that panics with `left` undone.
#[cfg(all(test, not(bowline_loom)))]
pub(super) fn give_back(core: &Core, left: Left) {
    drop(Turn { core, left, making: None, is_done: false });
}

impl Core {
    /// Performs the cluster's outputs, unless another thread is doing so already, which then does the rest.
    pub(super) fn settle<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.performing {
            return;
        }
        state.performing = true;
        for _ in 0..BATCHES {
            let mut left = Left { actions: std::mem::take(&mut state.spare), ..Left::default() };
            state.take_outputs(&mut left.actions, &mut left.wakers);
            if left.actions.is_empty() && left.wakers.is_empty() {
                state.spare = left.actions;
                state.performing = false;
                return;
            }
            drop(state);
            let mut turn = Turn { core: self, left, making: None, is_done: false };
            turn.perform();
            let Left { actions, failed, .. } = std::mem::take(&mut turn.left);
            drop(turn);
            state = self.state.lock();
            state.spare = actions;
            for (call, sent, cause) in failed {
                state.cluster.call_failed(clock::now(), call, sent, cause);
            }
        }
        state.performing = false;
        let keeper = state.keeper.waker.take();
        drop(state);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_follows_the_rules() {
        bowline_error_rules::walk!(Panicked, [Panicked]);
    }
}
