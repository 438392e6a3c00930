//! Sending to peers in turn.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bowline_core::body::Payload;

use super::{PipeId, Pipes, SendError};
use crate::message::Message;
use crate::options::{Options, Overflow};
use crate::pipe::{Refusal, check_message};

/// Which peer gets the next message, and the messages that came back from disconnected peers.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    cursor: usize,
    /// Oldest first. While there are any, nothing else is sent, so that order is preserved and their number
    /// is bounded by what the pipes that they come from could hold.
    returned: VecDeque<Message>,
    /// Pipes that refused returned messages because the messages exceed their peers' limits. Not reported
    /// yet.
    unfit: Vec<PipeId>,
}

/// The fate of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Balanced {
    /// Queued in that pipe.
    To(PipeId),
    /// Dropped, as the policy demands.
    Dropped,
    /// Queued in that pipe, in place of that many older messages.
    Replaced(PipeId, u64),
}

impl Balancer {
    /// Takes a message that came back.
    pub(crate) fn give_back(&mut self, message: Message) {
        self.returned.push_back(message);
    }

    /// Number of returned messages.
    pub(crate) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Removes the returned messages: there will be no peer to send them to.
    pub(crate) fn take_returned(&mut self) -> VecDeque<Message> {
        core::mem::take(&mut self.returned)
    }

    /// The pipes that refused returned messages, one entry for each message; those messages were dropped.
    pub(crate) fn take_unfit(&mut self) -> Vec<PipeId> {
        core::mem::take(&mut self.unfit)
    }

    /// Sends returned messages as far as there is room. Returns the last pipe that got one.
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
                // The message is within this socket's limits, since it was sent before. The messages after it
                // must not wait for a peer with other limits.
                Err((id, _)) => self.unfit.push(id),
            }
        }
        last
    }

    /// Whether any peer has room for a message of that many bytes.
    pub(crate) fn has_room(&self, pipes: &mut impl Pipes, targets: &[PipeId], bytes: usize) -> bool {
        targets.iter().any(|id| pipes.with_out(*id, |pipe| pipe.has_room_for(bytes)) == Some(true))
    }

    /// Whether any peer accepts messages, now or when it has room: not all are ending.
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
            // Returned messages go first, and no peer takes them.
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
                        // As many as necessary: a long message may replace several short ones.
                        Err(Refusal::Full) if pipe.drop_oldest() => dropped += 1,
                        // The limit of all pipes together is reached. It may be exceeded by one message.
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

    /// Queues a message with the next peer that takes it. If all peers are sockets of this process, the
    /// message may exceed the limits of each.
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
        // A full pipe takes it later.
        match refused {
            Some(refused) if !is_full => Err(refused),
            _ => Ok(None),
        }
    }
}
