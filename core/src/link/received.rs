//! Received messages that nobody took yet: a bounded queue with a policy.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::flow::lane;
use super::{Link, LinkEvent};
use crate::body::Body;
use crate::config::{Overflow, QueueLimit};
use crate::error::Disconnect;
use crate::frame::{Calls, Framing, Kind, Meta};
use crate::link::reader::Incoming;
use crate::waiters::Ticket;

/// A received message, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// What its frame says.
    pub meta: Meta,
    /// Encoded extensions, where there are any.
    pub extensions: Option<Box<[u8]>>,
    /// Its bytes.
    pub body: Body,
}

impl Message {
    /// Method id or message type.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// The Seq it carries (tcpstream); 0 elsewhere.
    #[must_use]
    pub fn seq(&self) -> u64 {
        if self.meta.kind == Kind::Numbered { self.meta.id } else { 0 }
    }
}

impl core::ops::Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

impl From<&Incoming<'_>> for Message {
    fn from(incoming: &Incoming<'_>) -> Self {
        Self {
            meta: incoming.meta,
            extensions: (!incoming.extensions.is_empty()).then(|| incoming.extensions.into()),
            body: incoming.to_body(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ReceiveQueue {
    /// With what each costs of the window.
    messages: VecDeque<(Message, u64)>,
    bytes: usize,
    /// Somebody has received a message at some time.
    taken_from: bool,
}

impl ReceiveQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn depth(&self) -> super::Depth {
        super::Depth { messages: self.messages.len(), bytes: self.bytes }
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes + self.messages.len() * size_of::<(Message, u64)>()
    }

    fn is_full(&self, limit: QueueLimit) -> bool {
        limit.is_reached(self.messages.len(), self.bytes)
    }

    fn is_low(&self, limit: QueueLimit) -> bool {
        !limit.low_mark().is_reached(self.messages.len(), self.bytes)
    }

    fn pop(&mut self) -> Option<(Message, u64)> {
        let (message, cost) = self.messages.pop_front()?;
        self.bytes -= message.body.len();
        Some((message, cost))
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Keeps a message for whoever receives. False: there is no room, and the policy is to wait;
    /// the caller refuses the event and reading pauses.
    #[must_use]
    pub fn enqueue_received(&mut self, incoming: &Incoming<'_>) -> bool {
        let bounded_by_window =
            self.framing.profile().flow_control && self.settings.read_overflow == Overflow::Block;
        if self.received.is_full(self.settings.read_queue) && !bounded_by_window {
            match self.settings.read_overflow {
                Overflow::Block if self.has_no_receiver() => {
                    self.drop_message();
                    return true;
                }
                Overflow::Block => {
                    self.conn.paused_for_receive = true;
                    self.tell_slow_consumer();
                    return false;
                }
                Overflow::Reject | Overflow::DropNewest => {
                    self.drop_message();
                    return true;
                }
                Overflow::DropOldest => {
                    if let Some((message, cost)) = self.received.pop() {
                        self.release(message.meta.class, cost);
                    }
                    self.drop_message();
                }
                Overflow::Disconnect => {
                    self.drop_message();
                    self.conn.abort = Some(Disconnect::Overflow { queue: "read" });
                    self.wake = true;
                    return true;
                }
            }
        }
        self.received.bytes += incoming.body.len();
        self.received.messages.push_back((incoming.into(), incoming.cost));
        if self.framing.profile().flow_control {
            let inflow = &mut self.inflow[lane(incoming.meta.class)];
            inflow.keep(incoming.cost);
            if inflow.is_nearly_full() {
                self.tell_slow_consumer();
            }
        }
        if let Some(token) = self.receive_line.grant_one() {
            self.tokens.push(token);
        }
        true
    }

    /// Nobody receives, so that to wait would hold up the replies behind for ever: where frames
    /// have no flow control of their own, and carry calls. Without calls nothing is held up but the
    /// sender, which back-pressure is for.
    fn has_no_receiver(&self) -> bool {
        let profile = self.framing.profile();
        let waits = self.receive_line.waiting() + self.receive_line.granted() > 0;
        profile.calls != Calls::None && !profile.flow_control && !self.received.taken_from && !waits
    }

    /// Nobody takes what was received: said once, until everything was taken.
    fn tell_slow_consumer(&mut self) {
        if !core::mem::replace(&mut self.slow_consumer, true) {
            self.event(LinkEvent::SlowConsumer);
        }
    }

    /// A message came for which nobody is there.
    pub fn drop_message(&mut self) {
        self.counters.messages_dropped += 1;
        self.event(LinkEvent::MessageDropped);
    }

    /// The oldest message that waits; otherwise keeps a token and a place in line, which the
    /// caller passes again next time (or gives up with `leave(Line::Receive, ticket)`).
    pub fn poll_receive(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<Message> {
        let Some(message) = self.take_message() else {
            super::wait(&mut self.receive_line, ticket, token);
            return None;
        };
        if let Some(ticket) = ticket.take() {
            self.leave(super::Line::Receive, ticket);
        }
        Some(message)
    }

    /// Moves up to `most` messages that wait to the end of `into`, oldest first. How many.
    pub fn take_received(&mut self, most: usize, into: &mut Vec<Message>) -> usize {
        let before = into.len();
        into.extend(core::iter::from_fn(|| self.take_message()).take(most));
        into.len() - before
    }

    fn take_message(&mut self) -> Option<Message> {
        let (message, cost) = self.received.pop()?;
        self.received.taken_from = true;
        self.release(message.meta.class, cost);
        if self.slow_consumer && self.received.is_empty() {
            self.slow_consumer = false;
        }
        if self.conn.paused_for_receive && self.received.is_low(self.settings.read_queue) {
            self.conn.paused_for_receive = false;
            self.wake = true;
        }
        Some(message)
    }
}
