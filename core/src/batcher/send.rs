//! Messages in, and what their senders learn.

use core::task::Poll;

use super::Batcher;
use super::outcome::{Refusal, Refused, SendError};
use super::receivers::ReceiverId;
use super::slots::{Owner, SendId, State};
use crate::time::Instant;

/// What a message's own sender learns, when it may have waited for room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Admission {
    /// It was accepted.
    Accepted,
    /// It waits for room: ask with [`Batcher::poll_admission`], or take it back.
    Waits(SendId),
}

/// Whether a message was accepted that may have waited for room. If not it comes back, with its reference.
pub type Admitted<M, R> = Result<(), Refused<(M, Option<R>)>>;

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// Sends a message of `bytes` bytes, which waits for room if there is none. Its result comes from
    /// [`poll_send`](Self::poll_send); a sender that goes away [withdraws](Self::withdraw) it.
    ///
    /// # Errors
    /// The batcher is closing; the message comes back.
    pub fn send(&mut self, now: Instant, message: M, bytes: usize) -> Result<SendId, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Sender, true).map_err(without_owner)?;
        Ok(self.slots.id(index))
    }

    /// The same for a sender that does not wait for room.
    ///
    /// # Errors
    /// There is no room, others wait for it, or the batcher is closing; the message comes back.
    pub fn try_send(&mut self, now: Instant, message: M, bytes: usize) -> Result<SendId, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Sender, false).map_err(without_owner)?;
        Ok(self.slots.id(index))
    }

    /// Sends a message whose result goes to `receiver`, with the reference and the message. It waits for
    /// room, and for a place of the receiver, if there is none.
    ///
    /// # Errors
    /// The batcher is closing, or the receiver is gone; message and reference come back.
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

    /// The same for a sender that does not wait for room or a place.
    ///
    /// # Errors
    /// There is no room or place, others wait for it, the batcher is closing, or the receiver is gone;
    /// message and reference come back.
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

    /// Sends a message whose result is not waited for: failures are counted. It waits for room if there is
    /// none.
    ///
    /// # Errors
    /// The batcher is closing; the message comes back.
    pub fn send_and_forget(
        &mut self,
        now: Instant,
        message: M,
        bytes: usize,
    ) -> Result<Admission, Refused<M>> {
        let index = self.offer(now, message, bytes, Owner::Forgotten, true).map_err(without_owner)?;
        Ok(self.admission(index))
    }

    /// The same for a sender that does not wait for room.
    ///
    /// # Errors
    /// There is no room, others wait for it, or the batcher is closing; the message comes back.
    pub fn try_send_and_forget(&mut self, now: Instant, message: M, bytes: usize) -> Result<(), Refused<M>> {
        self.offer(now, message, bytes, Owner::Forgotten, false).map(drop).map_err(without_owner)
    }

    /// The result of a message that was [sent](Self::send). A token is kept, in place of the last one,
    /// while there is none. Asked again after its result, it is told to be closed.
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

    /// Whether a message that waits for room was accepted. A token is kept, in place of the last one, while
    /// that is open.
    ///
    /// # Errors
    /// The batcher closed, or the receiver went away, before there was room; the message comes back, and
    /// its reference.
    pub fn poll_admission(&mut self, id: SendId, token: impl FnOnce() -> T) -> Poll<Admitted<M, R>> {
        // It was accepted, and is over already.
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

    /// The sender of a message goes away. If no batch took the message, and the sender was not told that it
    /// was accepted, it is withdrawn and comes back. Else it takes its course: the result of a message that
    /// was [sent](Self::send) is discarded.
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
