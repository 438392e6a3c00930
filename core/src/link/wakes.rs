//! Who has to be woken, and when the driver comes by itself.

use alloc::vec::Vec;

use crate::machine::Wake;
use crate::time::Instant;

/// Callers and sides of the driver that have to be woken once the lock is released.
#[derive(Debug)]
pub(super) struct Wakes<T> {
    tokens: Vec<T>,
    /// Nothing waits to be written and nothing is being written: the writing side sleeps.
    writer_sleeps: bool,
    write: bool,
    attend: bool,
    /// When the reading side, which watches the time, comes by itself.
    armed: Option<Instant>,
    /// It was woken since it said so: there may be something earlier to do.
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

    /// A caller.
    #[inline]
    pub(super) fn caller(&mut self, token: T) {
        self.tokens.push(token);
    }

    /// Callers.
    #[inline]
    pub(super) fn callers(&mut self, tokens: impl IntoIterator<Item = T>) {
        self.tokens.extend(tokens);
    }

    /// Gives the memory of an empty list back.
    pub(super) fn trim(&mut self) {
        if self.tokens.is_empty() {
            self.tokens = Vec::new();
        }
    }

    /// The driver's reading side: reading can go on, or the connection may be over.
    #[inline]
    pub(super) fn attend(&mut self) {
        self.attend = true;
    }

    /// The reading side, if it would come later than `at` by itself.
    #[inline]
    pub(super) fn attend_before(&mut self, at: Instant) {
        if self.armed.is_none_or(|armed| at < armed) {
            self.attend = true;
        }
    }

    /// The driver's writing side, which sleeps.
    pub(super) fn rouse_writer(&mut self) {
        self.writer_sleeps = false;
        self.write = true;
    }

    /// The writing side sleeps from now on, or is at work.
    #[inline]
    pub(super) fn note_writer(&mut self, sleeps: bool) {
        self.writer_sleeps = sleeps;
    }

    #[inline]
    pub(super) fn writer_sleeps(&self) -> bool {
        self.writer_sleeps
    }

    /// The reading side comes by itself at that time.
    pub(super) fn arm(&mut self, at: Option<Instant>) {
        (self.armed, self.rearm) = (at, false);
    }

    /// Whether the reading side comes later than `now`, and nothing was added since it said when.
    #[inline]
    pub(super) fn is_armed_past(&self, now: Instant) -> bool {
        self.armed.is_some_and(|at| now < at) && !self.rearm
    }

    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.attend || self.write || !self.tokens.is_empty()
    }

    /// The sides of the driver that are to be woken.
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
