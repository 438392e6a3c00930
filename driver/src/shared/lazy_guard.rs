//! The lock of a machine for the thread that reads its connection.

use std::task::Waker;

use bowline_core::machine::{Access, Machine};

use super::{Shared, State, holding, settle, wake};
use crate::sync::MutexGuard;

/// The reader's access to the machine: takes the lock on first use, keeps it over a run of replies, and
/// releases it before application code runs.
#[derive(Debug)]
pub struct LazyGuard<'a, M: Machine<Token = Waker>> {
    pub(super) shared: &'a Shared<M>,
    pub(super) guard: Option<MutexGuard<'a, State<M>>>,
    pub(super) tokens: &'a mut Vec<Waker>,
}

impl<M: Machine<Token = Waker>> LazyGuard<'_, M> {
    /// Releases the lock, if it is held, and wakes the tasks to be woken.
    pub fn release(&mut self) {
        if let Some(mut state) = self.guard.take() {
            if !state.machine.has_wakes() {
                return;
            }
            // The reader writes after its pass: see `Shared::write_inline`.
            let writer = state.writer.take();
            let mut wakers = settle(&mut state, self.tokens);
            wakers[0] = None;
            state.writer = writer;
            let said = holding(&mut state);
            drop(state);
            wake(wakers, self.tokens);
            self.shared.say(said);
        }
    }
}

impl<M: Machine<Token = Waker>> Access<M> for LazyGuard<'_, M> {
    fn machine(&mut self) -> &mut M {
        &mut self.guard.get_or_insert_with(|| self.shared.state.lock()).machine
    }
}

impl<M: Machine<Token = Waker>> Drop for LazyGuard<'_, M> {
    fn drop(&mut self) {
        self.release();
    }
}
