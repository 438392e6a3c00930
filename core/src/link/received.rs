//! Received messages that the application has not taken yet: a bounded queue with a policy.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::classes::lane;
use super::{Link, LinkEvent};
use crate::body::Body;
use crate::config::{Overflow, QueueLimit};
use crate::error::Disconnect;
use crate::frame::{Calls, Class, Framing, Kind, Meta};
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

    /// Bytes that it holds.
    fn held(&self) -> usize {
        self.body.len() + self.extensions.as_ref().map_or(0, |extensions| extensions.len())
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
    /// Messages that left the queue, since the link was made.
    taken: u64,
    /// The application has received a message at some time, or a handler is there for them.
    taken_from: bool,
    /// A handler takes them, one at a time.
    is_handled: bool,
    /// The one that it is at.
    in_hand: Option<InHand>,
}

/// A message that is being handled: it counts as if it still waited.
#[derive(Clone, Copy, Debug)]
struct InHand {
    class: Class,
    cost: u64,
    bytes: usize,
}

impl ReceiveQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn depth(&self) -> super::Depth {
        super::Depth { messages: self.messages.len(), bytes: self.bytes }
    }

    pub(super) fn memory(&self) -> usize {
        let in_hand = self.in_hand.map_or(0, |in_hand| in_hand.bytes);
        self.bytes + in_hand + self.messages.len() * size_of::<(Message, u64)>()
    }

    /// Whether a handler has something to do yet.
    pub(super) fn is_being_handled(&self) -> bool {
        self.is_handled && (self.in_hand.is_some() || !self.messages.is_empty())
    }

    fn is_full(&self, limit: QueueLimit) -> bool {
        limit.is_reached(self.messages.len(), self.bytes)
    }

    fn is_low(&self, limit: QueueLimit) -> bool {
        !limit.low_mark().is_reached(self.messages.len(), self.bytes)
    }

    fn pop(&mut self) -> Option<(Message, u64)> {
        let (message, cost) = self.messages.pop_front()?;
        self.bytes -= message.held();
        self.taken += 1;
        Some((message, cost))
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Keeps a message until it is received. False: there is no room, and the policy is to wait;
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
                    self.conn.paused.for_receive = true;
                    self.tell_slow_consumer();
                    return false;
                }
                Overflow::Reject | Overflow::DropNewest => {
                    self.drop_message();
                    return true;
                }
                Overflow::DropOldest => {
                    // As many as it takes: short ones may have filled the queue that a long one is for.
                    while self.received.is_full(self.settings.read_queue)
                        && let Some((message, cost)) = self.received.pop()
                    {
                        self.release(message.meta.class, cost);
                        self.drop_message();
                    }
                }
                Overflow::Disconnect => {
                    self.drop_message();
                    self.conn.abort = Some(Disconnect::Overflow { queue: "read" });
                    self.wakes.attend();
                    return true;
                }
            }
        }
        let message = Message::from(incoming);
        self.received.bytes += message.held();
        self.received.messages.push_back((message, incoming.cost));
        if self.framing.profile().flow_control {
            let inflow = &mut self.inflow[lane(incoming.meta.class)];
            inflow.keep(incoming.cost);
            if inflow.is_nearly_full() {
                self.tell_slow_consumer();
            }
        }
        if let Some(token) = self.lines.receive.grant_one() {
            self.wakes.caller(token);
        }
        true
    }

    /// The application does not receive, so that to wait would hold up the replies behind for ever: where frames
    /// have no flow control of their own, and carry calls. Without calls nothing is held up but the
    /// sender, which back-pressure is for.
    fn has_no_receiver(&self) -> bool {
        let profile = self.framing.profile();
        let waits = self.lines.receive.waiting() + self.lines.receive.granted() > 0;
        profile.calls != Calls::None && !profile.flow_control && !self.received.taken_from && !waits
    }

    /// The application does not take what was received: said once, until everything was taken.
    fn tell_slow_consumer(&mut self) {
        if !core::mem::replace(&mut self.slow_consumer, true) {
            self.event(LinkEvent::SlowConsumer);
        }
    }

    /// A message came for which there is no receiver.
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
            super::waiting_lines::wait(&mut self.lines.receive, ticket, token);
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
        self.after_taking_message();
        Some(message)
    }

    /// A handler takes the messages that come in, with [`poll_to_handle`](Self::poll_to_handle).
    /// Closing waits for it, for at most the linger time.
    pub fn handle_messages(&mut self) {
        (self.received.taken_from, self.received.is_handled) = (true, true);
    }

    /// [`poll_receive`](Self::poll_receive) for a handler, which is done with the message it took before. The
    /// one that it takes counts as if it still waited, until it asks for the next one or says
    /// [`end_handling`](Self::end_handling): what is received and not dealt with stays bounded.
    pub fn poll_to_handle(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<Message> {
        self.end_handling();
        let Some((message, cost)) = self.received.pop() else {
            super::waiting_lines::wait(&mut self.lines.receive, ticket, token);
            return None;
        };
        let class = message.meta.class;
        self.received.in_hand = Some(InHand { class, cost, bytes: message.held() });
        if let Some(ticket) = ticket.take() {
            self.leave(super::Line::Receive, ticket);
        }
        self.after_taking_message();
        Some(message)
    }

    /// The handler is done with the message that it took.
    pub fn end_handling(&mut self) {
        let Some(in_hand) = self.received.in_hand.take() else { return };
        self.release(in_hand.class, in_hand.cost);
        self.note_memory();
        // That may have been the last that was waited for.
        if self.closing.is_some() {
            self.wakes.attend();
        }
    }

    /// Messages that were kept to be received, since the link was made.
    #[must_use]
    pub fn messages_kept(&self) -> u64 {
        self.received.taken + self.received.messages.len() as u64
    }

    /// How many of those were taken, or dropped by the queue's policy.
    #[must_use]
    pub fn messages_taken(&self) -> u64 {
        self.received.taken
    }

    /// Messages that were received and that a handler is not done with.
    #[must_use]
    pub fn unhandled(&self) -> usize {
        self.received.messages.len() + usize::from(self.received.in_hand.is_some())
    }

    /// The messages that wait will not be taken: they are dropped, counted, and events.
    pub fn drop_received(&mut self) {
        while let Some((message, cost)) = self.received.pop() {
            self.release(message.meta.class, cost);
            self.drop_message();
        }
        self.after_taking_message();
        self.note_memory();
    }

    fn after_taking_message(&mut self) {
        if self.slow_consumer && self.received.is_empty() {
            self.slow_consumer = false;
        }
        if self.conn.paused.for_receive && self.received.is_low(self.settings.read_queue) {
            self.conn.paused.for_receive = false;
            self.wakes.attend();
        }
    }
}
