//! Sending to one peer after another.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

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
    /// Who refused messages that came back: they are longer than the peers that are there take. Not told yet.
    unfit: Vec<PipeId>,
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

    /// Who refused messages that came back, one for each: those were dropped.
    pub(crate) fn take_unfit(&mut self) -> Vec<PipeId> {
        core::mem::take(&mut self.unfit)
    }

    /// Sends what came back, as far as there is room. The last pipe that got something.
    pub(crate) fn flush(&mut self, pipes: &mut impl Pipes, targets: &[PipeId]) -> Option<PipeId> {
        let mut last = None;
        while let Some(message) = self.returned.pop_front() {
            let sent = {
                let parts: Vec<_> = message.iter().map(|part| Payload::from(part.clone())).collect();
                self.offer(pipes, targets, &[], &parts)
            };
            match sent {
                Ok(Some(id)) => last = Some(id),
                Ok(None) => {
                    self.returned.push_front(message);
                    break;
                }
                // It is within our limits: it was sent before. Nothing behind it waits for a peer with others.
                Err((id, _)) => self.unfit.push(id),
            }
        }
        last
    }

    /// Whether any peer has room for a message of so many bytes.
    pub(crate) fn has_room(&self, pipes: &mut impl Pipes, targets: &[PipeId], bytes: usize) -> bool {
        targets.iter().any(|id| pipes.with_out(*id, |pipe| pipe.has_room_for(bytes)) == Some(true))
    }

    /// Whether any peer takes messages, if only when it has room: not all are about to go.
    pub(crate) fn has_open(pipes: &mut impl Pipes, targets: &[PipeId]) -> bool {
        targets.iter().any(|id| pipes.with_out(*id, |pipe| pipe.is_open()) == Some(true))
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
            && let Some(id) = self.offer(pipes, targets, envelope, parts).map_err(|(_, refusal)| refusal)?
        {
            return Ok(Balanced::To(id));
        }
        match options.overflow {
            // What came back goes first, and nobody takes it.
            _ if !self.returned.is_empty() || !Self::has_open(pipes, targets) => Err(SendError::WouldBlock),
            Overflow::AsType => Err(SendError::WouldBlock),
            Overflow::Reject => Err(SendError::Full),
            Overflow::DropNewest => Ok(Balanced::Dropped),
            Overflow::DropOldest => self.replace(pipes, targets, envelope, parts),
        }
    }

    /// Queues a message with the next peer, in place of older ones.
    fn replace(
        &mut self,
        pipes: &mut impl Pipes,
        targets: &[PipeId],
        envelope: &[&[u8]],
        parts: &[Payload<'_>],
    ) -> Result<Balanced, SendError> {
        for step in 0..targets.len() {
            let at = self.cursor.wrapping_add(step) % targets.len();
            let mut dropped = 0;
            let replaced = pipes.with_out(targets[at], |pipe| {
                loop {
                    match pipe.send(envelope, parts) {
                        // As many as it takes: a long message may take the place of several short ones.
                        Err(Refusal::Full) if pipe.drop_oldest() => dropped += 1,
                        // It is the sum of all pipes that is reached. One message is not too many.
                        Err(Refusal::Full) => return pipe.send_beyond_limit(envelope, parts),
                        sent => return sent,
                    }
                }
            });
            if replaced == Some(Ok(())) {
                self.cursor = at + 1;
                return Ok(Balanced::Replaced(targets[at], dropped));
            }
        }
        Err(SendError::WouldBlock)
    }

    /// Queues a message with the next peer that takes it. The limits of all that are there may be too narrow for it, if
    /// they are sockets of this process.
    fn offer(
        &mut self,
        pipes: &mut impl Pipes,
        targets: &[PipeId],
        envelope: &[&[u8]],
        parts: &[Payload<'_>],
    ) -> Result<Option<PipeId>, (PipeId, Refusal)> {
        let (mut is_full, mut refused) = (false, None);
        for step in 0..targets.len() {
            let at = self.cursor.wrapping_add(step) % targets.len();
            match pipes.with_out(targets[at], |pipe| pipe.send(envelope, parts)) {
                Some(Ok(())) => {
                    self.cursor = at + 1;
                    return Ok(Some(targets[at]));
                }
                None | Some(Err(Refusal::Closed)) => {}
                Some(Err(Refusal::Full)) => is_full = true,
                Some(Err(refusal)) => refused = Some((targets[at], refusal)),
            }
        }
        // One that is full takes it later.
        match refused {
            Some(refused) if !is_full => Err(refused),
            _ => Ok(None),
        }
    }
}
