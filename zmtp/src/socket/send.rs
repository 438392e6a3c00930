//! Sending, by socket type.

use alloc::vec::Vec;

use bowline_core::body::{Body, Payload};

use super::balance::{Balanced, Balancer};
use super::{Drop, Entry, Pattern, Pipes, SendError, Socket};
use crate::options::{Options, Overflow};
use crate::pipe::{Pipe, Refusal, check_message, is_shared};
use crate::socket_type::SocketType;
use crate::wire::{MORE, Version, put_header};

/// Longest name of a group, bytes.
const MAX_GROUP: usize = 255;

/// A sequence of messages to send.
pub trait Messages {
    /// Calls `f` with the parts of the message at that index; returns `None` after the last message.
    fn with<R>(&self, at: usize, f: impl FnOnce(&[Payload<'_>]) -> R) -> Option<R>;
}

impl Socket {
    /// Sends a message, all of its parts or none. It is then in a pipe's queue, or it was dropped where the
    /// type or the [policy](Options::overflow) demands it, which is counted.
    ///
    /// The message begins with the routing id in a ROUTER, SERVER and PEER, and with the group in a RADIO.
    ///
    /// # Errors
    /// Nothing was sent. [`WouldBlock`](SendError::WouldBlock) if the type waits for room or for a peer.
    pub fn send(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        let kind = self.options.kind;
        if !kind.sends() {
            return Err(SendError::NotSupported(kind));
        }
        match &mut self.pattern {
            Pattern::Plain => {
                let Self { balancer, targets, options, stats, .. } = self;
                let sent = balancer.send(pipes, targets, options, &[], parts);
                stats.overflowed += match sent {
                    Ok(Balanced::Dropped) => 1,
                    Ok(Balanced::Replaced(_, dropped)) => dropped,
                    _ => 0,
                };
                self.note_unfit();
                sent.map(drop)
            }
            Pattern::Req(_) => {
                let sent = self.send_request(pipes, parts);
                // Replies to earlier requests may have been dropped.
                self.resume_reading(pipes);
                sent
            }
            Pattern::Rep(_) => self.send_reply(pipes, parts),
            Pattern::Router(_) => self.send_to_id(pipes, parts),
            Pattern::Publisher(_) => self.publish(pipes, parts),
            Pattern::Subscriber(_) => self.send_upstream(pipes, parts),
        }
    }

    /// Sends the messages from index `sent` up to `end`. If there is one peer only and the type needs no
    /// decision for each message, they are queued under one lock.
    ///
    /// # Errors
    /// As [`send`](Self::send); `sent` is advanced by the number of messages that were sent.
    pub fn send_run(
        &mut self,
        pipes: &mut impl Pipes,
        messages: &impl Messages,
        sent: &mut usize,
        end: usize,
    ) -> Result<(), SendError> {
        if let (Pattern::Plain, [only]) = (&self.pattern, &self.targets[..])
            && self.options.kind.sends()
            && self.balancer.returned() == 0
        {
            let run = pipes.with_out(*only, |pipe| {
                while *sent < end {
                    let queued = messages.with(*sent, |parts| {
                        check_message(&self.options, &[], parts)?;
                        pipe.send(&[], parts)
                    });
                    match queued {
                        None => return Ok(()),
                        Some(Ok(())) => *sent += 1,
                        Some(Err(refusal)) => return Err(refusal),
                    }
                }
                Ok(())
            });
            // The handling of a full queue depends on the policy.
            if let Some(Err(refusal)) = run
                && !matches!(refusal, Refusal::Full | Refusal::Closed)
            {
                return Err(refusal.into());
            }
        }
        while *sent < end {
            match messages.with(*sent, |parts| self.send(pipes, parts)) {
                None => break,
                Some(result) => result?,
            }
            *sent += 1;
        }
        Ok(())
    }

    fn send_request(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        let Pattern::Req(req) = &mut self.pattern else { return Ok(()) };
        let kind = self.options.kind;
        if req.pending.is_some_and(|pending| !pending.lost) && !self.options.req_relaxed {
            return Err(SendError::State(kind));
        }
        let number = self.options.req_correlate.then(|| req.number());
        let number_bytes = number.map(u32::to_le_bytes);
        let envelope: &[&[u8]] = match &number_bytes {
            Some(number) => &[number, b""],
            None => &[b""],
        };
        let bytes = check_message(&self.options, envelope, parts)?;
        // The earlier request is given up only if the new one is sent.
        if !self.balancer.has_room(pipes, &self.targets, bytes) {
            match self.options.overflow {
                _ if !Balancer::has_open(pipes, &self.targets) => return Err(SendError::WouldBlock),
                Overflow::AsType => return Err(SendError::WouldBlock),
                Overflow::Reject => return Err(SendError::Full),
                Overflow::DropNewest => {
                    self.stats.overflowed += 1;
                    return Ok(());
                }
                Overflow::DropOldest => {}
            }
        }
        let came_back = req.pending.and_then(|pending| pending.came_back);
        // A returned request is given up for this one.
        let given_up = self.balancer.take_returned().len();
        // Replies to requests that were given up must not be taken for the reply to this one.
        let stray = self.fair.clear_all(pipes);
        if let Some(id) = came_back {
            self.note_dropped(id, given_up, Drop::GivenUp);
        }
        for (id, count) in stray {
            self.note_dropped(id, count, Drop::Stray);
        }
        let Pattern::Req(req) = &mut self.pattern else { return Ok(()) };
        match self.balancer.send(pipes, &self.targets, &self.options, envelope, parts)? {
            Balanced::To(id) => req.asked(id, number),
            Balanced::Replaced(id, dropped) => {
                self.stats.overflowed += dropped;
                req.asked(id, number);
            }
            Balanced::Dropped => self.stats.overflowed += 1,
        }
        Ok(())
    }

    fn send_reply(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        let Pattern::Rep(rep) = &mut self.pattern else { return Ok(()) };
        let Some(id) = rep.asking else { return Err(SendError::State(self.options.kind)) };
        // Most requests have only a delimiter, or a few ids before it.
        let (mut few, mut many) = ([&[][..]; 4], Vec::new());
        let front = match few.get_mut(..rep.envelope.len()) {
            Some(few) => few,
            None => {
                many.resize(rep.envelope.len(), &[][..]);
                &mut many
            }
        };
        front.iter_mut().zip(rep.envelope.iter()).for_each(|(slot, part)| *slot = part.as_slice());
        check_message(&self.options, front, parts)?;
        rep.asking = None;
        let up = !rep.has_left && self.entries.get(&id).is_some_and(Entry::is_up);
        let sent = if up { pipes.with_out(id, |pipe| pipe.send(front, parts)) } else { None };
        if sent != Some(Ok(())) {
            self.note_dropped(id, 1, Drop::Unanswerable);
        }
        Ok(())
    }

    fn send_to_id(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        let Pattern::Router(router) = &self.pattern else { return Ok(()) };
        let (kind, mandatory) = (self.options.kind, self.options.router_mandatory);
        let [id, parts @ ..] = parts else { return Err(SendError::Envelope(kind, 0)) };
        if parts.is_empty() {
            return Err(SendError::Envelope(kind, 1));
        }
        check_message(&self.options, &[], parts)?;
        let Some(pipe) = router.route(id.as_slice()) else {
            if mandatory {
                return Err(SendError::Unroutable(Body::copy_from(id.as_slice())));
            }
            self.stats.discarded += 1;
            return Ok(());
        };
        match pipes.with_out(pipe, |pipe| push(pipe, &self.options, |pipe| pipe.send(&[], parts))) {
            Some(Ok(Pushed::Whole)) => Ok(()),
            Some(Ok(Pushed::Dropped)) => {
                self.stats.overflowed += 1;
                Ok(())
            }
            Some(Ok(Pushed::Instead(dropped))) => {
                self.stats.overflowed += dropped;
                Ok(())
            }
            None | Some(Err(Refusal::Full | Refusal::Closed)) if mandatory => Err(SendError::Full),
            Some(Err(Refusal::Full | Refusal::Closed)) | None => {
                self.stats.overflowed += 1;
                Ok(())
            }
            Some(Err(refusal)) => Err(refusal.into()),
        }
    }

    fn publish(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        let Pattern::Publisher(publisher) = &mut self.pattern else { return Ok(()) };
        let options = &self.options;
        check_message(options, &[], parts)?;
        let first = parts[0].as_slice();
        let receivers = if options.kind == SocketType::Radio {
            match parts.len() {
                2 if first.len() <= MAX_GROUP => publisher.members(first),
                2 => return Err(SendError::Group(first.len())),
                count => return Err(SendError::Envelope(options.kind, count)),
            }
        } else {
            publisher.matching(first, options.invert_matching)
        };
        if receivers.is_empty() {
            self.stats.discarded += 1;
            return Ok(());
        }
        let blocks = options.pub_nodrop || options.overflow == Overflow::Reject;
        if blocks && receivers.iter().any(|id| pipes.with_out(*id, |pipe| pipe.is_full()) == Some(true)) {
            return Err(SendError::Full);
        }
        // Encoded once for all peers, unless a part can be shared without a copy.
        let shares = receivers.len() == 1 || parts.iter().any(is_shared);
        if !shares {
            encode(parts, &mut self.scratch);
        }
        for id in receivers {
            let pushed = pipes.with_out(*id, |pipe| {
                push(pipe, options, |pipe| match shares {
                    true => pipe.send(&[], parts),
                    false => pipe.send_encoded(&self.scratch),
                })
            });
            self.stats.overflowed += match pushed {
                Some(Ok(Pushed::Whole)) => 0,
                Some(Ok(Pushed::Instead(dropped))) => dropped,
                _ => 1,
            };
        }
        Ok(())
    }

    /// Sends a subscription of an XSUB, or a message to the application of an XPUB.
    fn send_upstream(&mut self, pipes: &mut impl Pipes, parts: &[Payload<'_>]) -> Result<(), SendError> {
        check_message(&self.options, &[], parts)?;
        if let [part] = parts {
            match part.as_slice() {
                [1, topic @ ..] => {
                    self.subscribe(pipes, topic);
                    return Ok(());
                }
                [0, topic @ ..] => {
                    self.unsubscribe(pipes, topic);
                    return Ok(());
                }
                _ => {}
            }
        }
        let Self { entries, options, stats, .. } = self;
        let up = || entries.iter().filter(|(_, entry)| entry.peer.is_some()).map(|(id, _)| *id);
        let waits = matches!(options.overflow, Overflow::AsType | Overflow::Reject);
        if waits && up().any(|id| pipes.with_out(id, |pipe| pipe.is_full()) == Some(true)) {
            return match options.overflow {
                Overflow::Reject => Err(SendError::Full),
                _ => Err(SendError::WouldBlock),
            };
        }
        let mut has_peer = false;
        for id in up() {
            let pushed = pipes.with_out(id, |pipe| push(pipe, options, |pipe| pipe.send(&[], parts)));
            has_peer |= matches!(pushed, Some(Ok(_)));
            stats.overflowed += match pushed {
                Some(Ok(Pushed::Instead(dropped))) => dropped,
                Some(Ok(Pushed::Dropped)) => 1,
                _ => 0,
            };
        }
        stats.discarded += u64::from(!has_peer);
        Ok(())
    }

    /// Subscribes a SUB or XSUB to a topic, or joins a DISH to a group, at every current and future peer.
    ///
    /// A topic that was subscribed to several times has to be [unsubscribed](Self::unsubscribe) as often.
    pub fn subscribe(&mut self, pipes: &mut impl Pipes, topic: &[u8]) {
        if let Pattern::Subscriber(own) = &mut self.pattern {
            own.add(topic);
            self.spread(pipes, true, topic);
        }
    }

    /// Ends a subscription. Returns false if there is none.
    pub fn unsubscribe(&mut self, pipes: &mut impl Pipes, topic: &[u8]) -> bool {
        let Pattern::Subscriber(own) = &mut self.pattern else { return false };
        let is_last = own.remove(topic);
        if is_last {
            self.spread(pipes, false, topic);
        }
        is_last
    }
}

/// The fate of a message for one particular pipe.
enum Pushed {
    Whole,
    /// Queued; that many older messages were dropped for it.
    Instead(u64),
    Dropped,
}

/// Queues a message with a pipe; a full pipe is handled as the policy demands.
fn push<T>(
    pipe: &mut Pipe<T>,
    options: &Options,
    mut send: impl FnMut(&mut Pipe<T>) -> Result<(), Refusal>,
) -> Result<Pushed, Refusal> {
    match (send(pipe), options.overflow) {
        (Ok(()), _) => Ok(Pushed::Whole),
        (Err(Refusal::Full), Overflow::DropNewest) => Ok(Pushed::Dropped),
        (Err(Refusal::Full), Overflow::DropOldest) => {
            // As many as necessary: the limit counts bytes, too.
            let mut dropped = 0;
            while pipe.drop_oldest() {
                dropped += 1;
                match send(pipe) {
                    Err(Refusal::Full) => {}
                    sent => return sent.map(|()| Pushed::Instead(dropped)),
                }
            }
            // The limit of all pipes together is reached by other pipes: the message is queued nevertheless.
            Ok(Pushed::Instead(dropped + 1))
        }
        (Err(refusal), _) => Err(refusal),
    }
}

/// Encodes a message for peers of 2.0 and later.
fn encode(parts: &[Payload<'_>], out: &mut Vec<u8>) {
    out.clear();
    for (at, part) in parts.iter().enumerate() {
        let more = if at + 1 < parts.len() { MORE } else { 0 };
        put_header(out, Version::V3_1, more, part.len());
        out.extend_from_slice(part.as_slice());
    }
}
