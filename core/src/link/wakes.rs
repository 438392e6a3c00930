//! Wakes that are due, and the time at which the driver comes by itself.

use alloc::vec::Vec;

use crate::machine::Wake;
use crate::time::Instant;

/// Callers and sides of the driver to be woken after the lock is released.
#[derive(Debug)]
pub(super) struct Wakes<T> {
    tokens: Vec<T>,
    /// The writing side sleeps: nothing waits to be written, and nothing is being written.
    writer_sleeps: bool,
    write: bool,
    attend: bool,
    /// When the reading side, which watches the time, wakes by itself.
    armed: Option<Instant>,
    /// It was woken since then: there may be something earlier to do.
    rearm: bool,
}

impl<T> Wakes<T> {
    /// The driver sleeps.
    pub(super) fn new() -> Self {
        Self {
            tokens: Vec::new(),
            writer_sleeps: true,
            write: false,
            attend: false,
            armed: None,
            rearm: false,
        }
    }

    /// Wakes a caller.
    #[inline]
    pub(super) fn caller(&mut self, token: T) {
        self.tokens.push(token);
    }

    /// Wakes callers.
    #[inline]
    pub(super) fn callers(&mut self, tokens: impl IntoIterator<Item = T>) {
        self.tokens.extend(tokens);
    }

    /// Frees the memory of an empty list.
    pub(super) fn trim(&mut self) {
        if self.tokens.is_empty() {
            self.tokens = Vec::new();
        }
    }

    /// Wakes the driver's reading side: reading can continue, or the connection may be over.
    #[inline]
    pub(super) fn attend(&mut self) {
        self.attend = true;
    }

    /// Wakes the reading side, if it would wake later than `at`.
    #[inline]
    pub(super) fn attend_before(&mut self, at: Instant) {
        if self.armed.is_none_or(|armed| at < armed) {
            self.attend = true;
        }
    }

    /// Wakes the driver's writing side, if it sleeps.
    pub(super) fn rouse_writer(&mut self) {
        self.writer_sleeps = false;
        self.write = true;
    }

    /// Records whether the writing side sleeps.
    #[inline]
    pub(super) fn note_writer(&mut self, sleeps: bool) {
        self.writer_sleeps = sleeps;
    }

    #[inline]
    pub(super) fn writer_sleeps(&self) -> bool {
        self.writer_sleeps
    }

    /// Records when the reading side wakes by itself.
    pub(super) fn arm(&mut self, at: Option<Instant>) {
        (self.armed, self.rearm) = (at, false);
    }

    /// Whether the reading side wakes later than `now`, and nothing was added since that was recorded.
    #[inline]
    pub(super) fn is_armed_past(&self, now: Instant) -> bool {
        self.armed.is_some_and(|at| now < at) && !self.rearm
    }

    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.attend || self.write || !self.tokens.is_empty()
    }

    /// The sides of the driver to be woken.
    #[inline]
    pub(super) fn take_sides(&mut self) -> Wake {
        let attend = core::mem::take(&mut self.attend);
        self.rearm |= attend;
        Wake { write: core::mem::take(&mut self.write), attend }
    }

    /// Moves the tokens of callers to the end of `into`.
    #[inline]
    pub(super) fn take_callers(&mut self, into: &mut Vec<T>) {
        into.append(&mut self.tokens);
    }
}
