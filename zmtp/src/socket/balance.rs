//! Sending to one peer after another.

use alloc::collections::VecDeque;

use bowline_core::body::Payload;

use super::{PipeId, Pipes, SendError};
use crate::message::Message;
use crate::options::{Options, Overflow};
use crate::pipe::{Refusal, check_message};

/// Whose turn it is to be sent a message, and messages that came back from peers that are gone.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    cursor: usize,
    /// Oldest first. While there are any nothing else is sent, so that order is kept and they are as many as
    /// the pipes that they come from could hold.
    returned: VecDeque<Message>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Balanced {
    /// It is in the queue of that pipe.
    To(PipeId),
    /// It was dropped, because the policy says so.
    Dropped,
    /// It is in the queue of that pipe, in place of so many older ones.
    Replaced(PipeId, u64),
}

impl Balancer {
    /// A message came back.
    pub(crate) fn give_back(&mut self, message: Message) {
        self.returned.push_back(message);
    }

    /// How many messages came back and wait.
    pub(crate) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Takes the messages that came back: there will be nobody to send them to.
    pub(crate) fn take_returned(&mut self) -> VecDeque<Message> {
        core::mem::take(&mut self.returned)
    }

    /// Sends what came back, as far as there is room. The last pipe that got something.
    pub(crate) fn flush(&mut self, pipes: &mut impl Pipes, targets: &[PipeId]) -> Option<PipeId> {
        let mut last = None;
        while let Some(message) = self.returned.pop_front() {
            let sent = {
                let parts: alloc::vec::Vec<_> =
                    message.iter().map(|part| Payload::from(part.clone())).collect();
                self.offer(pipes, targets, &[], &parts)
            };
            match sent {
                Ok(Some(id)) => last = Some(id),
                // A limit cannot be broken now: it was sent before.
                _ => {
                    self.returned.push_front(message);
                    break;
                }
            }
        }
        last
    }

    /// Whether any peer has room.
    pub(crate) fn has_room(&self, pipes: &mut impl Pipes, targets: &[PipeId]) -> bool {
        targets.iter().any(|id| pipes.with(*id, |pipe| pipe.has_room()) == Some(true))
    }

    /// Queues a message with the next peer that has room for it.
    pub(crate) fn send(
        &mut self,
        pipes: &mut impl Pipes,
        targets: &[PipeId],
        options: &Options,
        envelope: &[&[u8]],
        parts: &[Payload<'_>],
    ) -> Result<Balanced, SendError> {
        check_message(options, envelope, parts)?;
        if !self.returned.is_empty() {
            self.flush(pipes, targets);
        }
        if self.returned.is_empty()
            && let Some(id) = self.offer(pipes, targets, envelope, parts)?
        {
            return Ok(Balanced::To(id));
        }
        match options.overflow {
            // What came back goes first, and nobody takes it.
            _ if targets.is_empty() || !self.returned.is_empty() => Err(SendError::WouldBlock),
            Overflow::AsType => Err(SendError::WouldBlock),
            Overflow::Reject => Err(SendError::Full),
            Overflow::DropNewest => Ok(Balanced::Dropped),
            Overflow::DropOldest => {
                let id = targets[self.cursor % targets.len()];
                self.cursor = self.cursor.wrapping_add(1);
                let mut dropped = 0;
                let replaced = pipes.with(id, |pipe| {
                    // As many as it takes: a long message may take the place of several short ones.
                    while pipe.is_full() && pipe.drop_oldest() {
                        dropped += 1;
                    }
                    pipe.send_beyond_limit(envelope, parts)
                });
                match replaced {
                    Some(Ok(())) => Ok(Balanced::Replaced(id, dropped)),
                    _ => Err(SendError::WouldBlock),
                }
            }
        }
    }

    fn offer(
        &mut self,
        pipes: &mut impl Pipes,
        targets: &[PipeId],
        envelope: &[&[u8]],
        parts: &[Payload<'_>],
    ) -> Result<Option<PipeId>, SendError> {
        for step in 0..targets.len() {
            let at = self.cursor.wrapping_add(step) % targets.len();
            match pipes.with(targets[at], |pipe| pipe.send(envelope, parts)) {
                Some(Ok(())) => {
                    self.cursor = at + 1;
                    return Ok(Some(targets[at]));
                }
                None | Some(Err(Refusal::Full | Refusal::Closed)) => {}
                Some(Err(refusal)) => return Err(refusal.into()),
            }
        }
        Ok(None)
    }
}
