//! Sending, for the callers of a batcher.

use core::task::Poll;

use super::Batcher;
use super::outcome::{Refusal, Refused, SendError};
use super::receivers::ReceiverId;
use super::slots::{Owner, SendId, State};
use crate::time::Instant;

/// The answer to a sender whose message may have to wait for room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Admission {
    /// It was accepted.
    Accepted,
    /// It waits for room: poll with [`Batcher::poll_admission`], or withdraw it.
    Waits(SendId),
}

/// The result for a message that may have waited for room. The error contains the message and its reference.
pub type Admitted<M, R> = Result<(), Refused<(M, Option<R>)>>;

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// Sends a message of `bytes` bytes, which waits for room if there is none. Take its result with
    /// [`poll_send`](Self::poll_send); a sender that no longer waits must [withdraw](Self::withdraw) it.
    ///
    /// # Errors
    /// The batcher is closing; the error contains the message.
    pub fn send(&mut self, now: Instant, message: M, bytes: usize) -> Result<SendId, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Sender, true).map_err(without_owner)?;
        Ok(self.slots.id(index))
    }

    /// As [`send`](Self::send), without waiting for room.
    ///
    /// # Errors
    /// There is no room, other messages wait for it, or the batcher is closing; the error contains the
    /// message.
    pub fn try_send(&mut self, now: Instant, message: M, bytes: usize) -> Result<SendId, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Sender, false).map_err(without_owner)?;
        Ok(self.slots.id(index))
    }

    /// Sends a message whose result goes to `receiver`, with the reference and the message. It waits if there
    /// is no room, or no free place of the receiver.
    ///
    /// # Errors
    /// The batcher is closing, or the receiver does not exist; the error contains message and reference.
    pub fn send_with_reference(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
        receiver: ReceiverId,
        reference: R,
    ) -> Result<Admission, Refused<(M, R)>> {
        self.referenced(now, message, bytes, receiver, reference, true)
    }

    /// As [`send_with_reference`](Self::send_with_reference), without waiting for room or a place.
    ///
    /// # Errors
    /// There is no room or place, other messages wait for it, the batcher is closing, or the receiver does
    /// not exist; the error contains message and reference.
    pub fn try_send_with_reference(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
        receiver: ReceiverId,
        reference: R,
    ) -> Result<(), Refused<(M, R)>> {
        self.referenced(now, message, bytes, receiver, reference, false).map(drop)
    }

    fn referenced(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
        receiver: ReceiverId,
        reference: R,
        wait: bool,
    ) -> Result<Admission, Refused<(M, R)>> {
        let Some(line) = self.receivers.find(receiver) else {
            self.stats.refused += 1;
            return Err(Refused::new((message, reference), Refusal::NoReceiver));
        };
        match self.offer(now, message, bytes, Owner::Receiver { line, reference }, wait) {
            Ok(index) => Ok(self.admission(index)),
            Err(Refused { message: (message, Owner::Receiver { reference, .. }), why }) => {
                Err(Refused::new((message, reference), why))
            }
            Err(_) => unreachable!("the owner comes back as it was given"),
        }
    }

    /// Sends a message without a result: failures are counted. It waits for room if there is none.
    ///
    /// # Errors
    /// The batcher is closing; the error contains the message.
    pub fn send_and_forget(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
    ) -> Result<Admission, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Forgotten, true).map_err(without_owner)?;
        Ok(self.admission(index))
    }

    /// As [`send_and_forget`](Self::send_and_forget), without waiting for room.
    ///
    /// # Errors
    /// There is no room, other messages wait for it, or the batcher is closing; the error contains the
    /// message.
    pub fn try_send_and_forget(&mut self, now: Instant, message: M, bytes: usize) -> Result<(), Refused<M>> {
        self.offer(now, message, bytes, Owner::Forgotten, false).map(drop).map_err(without_owner)
    }

    /// The result of a message that was [sent](Self::send). While there is none, a token is kept, which
    /// replaces the last one. After the result was taken, a further poll returns [`SendError::Closed`].
    pub fn poll_send(&mut self, id: SendId, token: impl FnOnce() -> T) -> Poll<Result<P, SendError<E>>> {
        let Some(index) = self.slots.find(id) else { return Poll::Ready(Err(SendError::Closed(None))) };
        let slot = &mut self.slots[index];
        match slot.state {
            State::Done => {
                let result = slot.result.take().unwrap_or(Err(SendError::Closed(None)));
                self.slots.release(index);
                Poll::Ready(result)
            }
            State::Refused => {
                self.slots.release(index);
                Poll::Ready(Err(SendError::Closed(self.cause_of_waiting().cloned())))
            }
            _ => {
                slot.token = Some(token());
                Poll::Pending
            }
        }
    }

    /// Whether a message that waits for room was accepted. While this is open, a token is kept, which
    /// replaces the last one.
    ///
    /// # Errors
    /// The batcher was closed, or the receiver removed, before there was room; the error contains the message
    /// and its reference.
    pub fn poll_admission(&mut self, id: SendId, token: impl FnOnce() -> T) -> Poll<Admitted<M, R>> {
        // It was accepted, and is done already.
        let Some(index) = self.slots.find(id) else { return Poll::Ready(Ok(())) };
        let slot = &mut self.slots[index];
        match slot.state {
            State::NoPlace | State::NoRoom => {
                slot.token = Some(token());
                Poll::Pending
            }
            State::Refused => {
                let message = slot.message.take();
                let why = if self.closing.is_some() { Refusal::Closed } else { Refusal::NoReceiver };
                let reference = match self.slots.release(index) {
                    Owner::Receiver { reference, .. } => Some(reference),
                    _ => None,
                };
                match message {
                    Some(message) => Poll::Ready(Err(Refused::new((message, reference), why))),
                    None => Poll::Ready(Ok(())),
                }
            }
            _ => {
                slot.told = true;
                slot.token = None;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// The sender of a message no longer waits. If the message is not part of a batch yet, and the sender was
    /// not told that it was accepted, it is withdrawn and returned. Otherwise it continues: the result of a
    /// message that was [sent](Self::send) is discarded.
    pub fn withdraw(&mut self, now: Instant, id: SendId) -> Option<M> {
        self.tick(now);
        let index = self.slots.find(id)?;
        let slot = &mut self.slots[index];
        slot.token = None;
        match slot.state {
            State::Refused => {}
            State::NoPlace | State::NoRoom => self.leave_line(index),
            State::Waiting if !slot.told => {
                self.stats.withdrawn += 1;
                self.slots.unlink(&mut self.waiting, index);
                self.leave_receiver(index);
            }
            State::UnderWay if matches!(slot.owner, Owner::Sender) => {
                slot.owner = Owner::Gone;
                return None;
            }
            State::Done if matches!(slot.owner, Owner::Sender) => {
                self.stats.discarded += 1;
                self.slots.release(index);
                return None;
            }
            _ => return None,
        }
        let message = self.slots[index].message.take();
        self.slots.release(index);
        self.admit();
        self.wake_if_over();
        message
    }
}

fn without_owner<M, R>(refused: Refused<(M, Owner<R>)>) -> Refused<M> {
    Refused::new(refused.message.0, refused.why)
}
