//! A batch, while an attempt is made to append it.

use alloc::vec::Vec;

use super::outcome::Failed;
use crate::time::Instant;

/// Messages that are appended in one attempt, and the answers to them.
///
/// It is lent: it has to come back with [`Batcher::end_batch`](super::Batcher::end_batch), whether all of
/// it was answered or not. What was not answered may have been appended.
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

    /// Bytes of the messages, as their senders said.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the delivery time of its last message is over: an answer after that is of use to none.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The answers, to be given.
    pub const fn answers(&mut self) -> &mut Answers<P, E> {
        &mut self.answers
    }

    /// The messages and, to be given, the answers.
    pub fn parts(&mut self) -> (&[M], &mut Answers<P, E>) {
        (&self.messages, &mut self.answers)
    }
}

/// The answers to the messages of a [`Batch`], each given once.
#[derive(Debug)]
pub struct Answers<P, E> {
    pub(super) given: Vec<Option<Result<P, Failed<E>>>>,
}

impl<P, E> Answers<P, E> {
    /// The message at `index` has this position, or failed. The first answer to a message holds. False: there
    /// is no such message, or it was answered.
    pub fn answer(&mut self, index: usize, answer: Result<P, Failed<E>>) -> bool {
        match self.given.get_mut(index) {
            Some(place @ None) => {
                *place = Some(answer);
                true
            }
            _ => false,
        }
    }

    /// All messages that were not answered failed.
    pub fn fail_rest(&mut self, failed: Failed<E>)
    where
        E: Clone,
    {
        for place in self.given.iter_mut().filter(|place| place.is_none()) {
            *place = Some(Err(failed.clone()));
        }
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// How many messages were not answered.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.given.iter().filter(|place| place.is_none()).count()
    }
}
