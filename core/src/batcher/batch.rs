//! A batch, during an attempt to append it.

use alloc::vec::Vec;

use super::outcome::Failed;
use crate::time::Instant;

/// The messages of one attempt, and the answers to them.
///
/// It must be given back with [`Batcher::end_batch`](super::Batcher::end_batch), whether all messages were
/// answered or not. Messages without an answer count as possibly appended.
#[derive(Debug)]
#[must_use = "a batch that does not come back stops its batcher"]
pub struct Batch<M, P, E> {
    pub(super) messages: Vec<M>,
    pub(super) answers: Answers<P, E>,
    pub(super) slots: Vec<u32>,
    pub(super) attempt: u32,
    pub(super) deadline: Instant,
    pub(super) bytes: usize,
}

impl<M, P, E> Batch<M, P, E> {
    pub(super) const fn new() -> Self {
        Self {
            messages: Vec::new(),
            answers: Answers { given: Vec::new() },
            slots: Vec::new(),
            attempt: 0,
            deadline: Instant::ZERO,
            bytes: 0,
        }
    }

    /// The messages, in the order of sending.
    #[must_use]
    pub fn messages(&self) -> &[M] {
        &self.messages
    }

    /// The total size of the messages, as their senders gave it.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the attempt, counted from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the delivery time of its last message ends: an answer after that is ignored.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The answers, to be set.
    pub const fn answers(&mut self) -> &mut Answers<P, E> {
        &mut self.answers
    }

    /// The messages, and the answers to be set.
    pub fn parts(&mut self) -> (&[M], &mut Answers<P, E>) {
        (&self.messages, &mut self.answers)
    }
}

/// The answers to the messages of a [`Batch`]. Each can be set once.
#[derive(Debug)]
pub struct Answers<P, E> {
    pub(super) given: Vec<Option<Result<P, Failed<E>>>>,
}

impl<P, E> Answers<P, E> {
    /// Sets the position of the message at `index`, or its failure. The first answer to a message counts.
    /// `false`: there is no such message, or it was answered already.
    pub fn answer(&mut self, index: usize, answer: Result<P, Failed<E>>) -> bool {
        match self.given.get_mut(index) {
            Some(place @ None) => {
                *place = Some(answer);
                true
            }
            _ => false,
        }
    }

    /// Sets a failure for all messages that were not answered.
    pub fn fail_rest(&mut self, failed: Failed<E>)
    where
        E: Clone,
    {
        for place in self.given.iter_mut().filter(|place| place.is_none()) {
            *place = Some(Err(failed.clone()));
        }
    }

    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The number of messages that were not answered.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.given.iter().filter(|place| place.is_none()).count()
    }
}
