//! Received messages that the application has not taken yet: a bounded queue with an overflow policy.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Link, LinkEvent};
use crate::body::Body;
use crate::config::{Overflow, QueueLimit};
use crate::error::Disconnect;
use crate::frame::{Calls, Class, Framing, Kind, Meta};
use crate::link::reader::{Burst, Incoming, Rest};
use crate::link::runs::{Run, Size};
use crate::waiters::Ticket;

/// A received message, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The metadata of its frame.
    pub meta: Meta,
    /// The encoded extensions, if there are any.
    pub extensions: Option<Box<[u8]>>,
    /// The body.
    pub body: Body,
}

impl Message {
    /// Method id or message type.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// The Seq of the message (tcpstream); otherwise 0.
    #[must_use]
    pub fn seq(&self) -> u64 {
        if self.meta.kind == Kind::Numbered { self.meta.id } else { 0 }
    }

    /// An empty message, to be [received into](Link::receive_into).
    #[must_use]
    pub fn empty() -> Self {
        Self { meta: Meta::default(), extensions: None, body: Body::empty() }
    }

    /// The bytes that it holds.
    #[inline]
    fn held(&self) -> usize {
        self.body.len() + self.extensions.as_ref().map_or(0, |extensions| extensions.len())
    }

    /// Its length, if the receive buffer counts its memory. Extensions are a copy, and such a message is counted
    /// in its queue, too.
    #[inline]
    pub(super) fn counted_with_buffer(&self) -> Option<usize> {
        (self.body.is_watched() && self.extensions.is_none()).then_some(self.body.len())
    }
}

impl core::ops::Deref for Message {
    type Target = [u8];

    #[inline]
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
    entries: VecDeque<Entry>,
    /// A run that was taken completely: its memory is reused.
    spare: Option<Box<Run>>,
    messages: usize,
    bytes: usize,
    /// The number of messages that left the queue since the link was made.
    taken: u64,
    /// The application has received from this queue before, or has a handler for it.
    taken_from: bool,
    /// A handler takes them, one at a time.
    is_handled: bool,
    /// The message that it is handling.
    in_hand: Option<InHand>,
}

/// A queue entry.
#[derive(Debug)]
enum Entry {
    /// A message, and its cost in the window.
    One(Message, u64),
    /// Several messages that were received together.
    Run(Box<Run>),
}

/// A message being handled: it counts as waiting.
#[derive(Clone, Copy, Debug)]
struct InHand {
    class: Class,
    cost: u64,
    bytes: usize,
    /// The receive buffer counts its memory.
    is_watched: bool,
}

impl ReceiveQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn depth(&self) -> super::Depth {
        super::Depth { messages: self.messages, bytes: self.bytes }
    }

    /// Bytes of the extensions of waiting messages.
    #[cfg(test)]
    pub(super) fn extensions(&self) -> usize {
        let length = |message: &Message| message.held() - message.body.len();
        self.entries
            .iter()
            .map(|entry| if let Entry::One(message, _) = entry { length(message) } else { 0 })
            .sum()
    }

    pub(super) fn memory(&self) -> usize {
        let in_hand = self.in_hand.map_or(0, |in_hand| in_hand.bytes);
        self.bytes + in_hand + self.messages * size_of::<Entry>()
    }

    /// Whether a handler has a message that it took.
    pub(super) fn is_in_hand(&self) -> bool {
        self.in_hand.is_some()
    }

    /// Whether a handler still has work.
    pub(super) fn is_being_handled(&self) -> bool {
        self.is_handled && (self.in_hand.is_some() || !self.is_empty())
    }

    fn is_full(&self, limit: QueueLimit) -> bool {
        limit.is_reached(self.messages, self.bytes)
    }

    fn is_low(&self, limit: QueueLimit) -> bool {
        !limit.low_mark().is_reached(self.messages, self.bytes)
    }

    fn push(&mut self, message: Message, cost: u64) {
        self.bytes += message.held();
        self.messages += 1;
        self.entries.push_back(Entry::One(message, cost));
    }

    /// Keeps a run; returns its cost.
    fn push_run(&mut self, rest: &Rest<'_>) -> u64 {
        let mut run = self.spare.take().unwrap_or_default();
        let Size { messages, bytes, cost } = run.fill(rest);
        self.messages += messages;
        self.bytes += bytes;
        self.entries.push_back(Entry::Run(run));
        cost
    }

    /// The receive buffer goes with its connection, and what messages hold of its blocks is counted with it: those
    /// that wait get memory of their own.
    pub(super) fn detach(&mut self) {
        for entry in &mut self.entries {
            match entry {
                Entry::One(message, _) => message.body.detach_from_block(),
                Entry::Run(run) => run.detach(),
            }
        }
    }

    /// The receive buffer does not count messages any more.
    pub(super) fn count_here(&mut self) {
        for entry in &mut self.entries {
            if let Entry::One(message, _) = entry {
                message.body.count_here();
            }
        }
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.is_watched = false;
        }
    }

    /// Frees the memory of an empty queue.
    pub(super) fn trim(&mut self) {
        if self.entries.is_empty() {
            (self.entries, self.spare) = (VecDeque::new(), None);
        }
    }

    fn pop(&mut self) -> Option<(Message, u64)> {
        let mut message = Message::empty();
        let cost = self.pop_into(&mut message)?;
        Some((message, cost))
    }

    /// Moves the oldest message to `into`; returns its cost in the window.
    #[inline]
    fn pop_into(&mut self, into: &mut Message) -> Option<u64> {
        let cost = match self.entries.front_mut()? {
            Entry::Run(run) => {
                let cost = run.take_into(into)?;
                if run.is_done() {
                    self.drop_run();
                }
                cost
            }
            Entry::One(..) => self.pop_one(into)?,
        };
        self.bytes -= into.held();
        self.messages -= 1;
        self.taken += 1;
        Some(cost)
    }

    #[inline(never)]
    fn pop_one(&mut self, into: &mut Message) -> Option<u64> {
        let Entry::One(message, cost) = self.entries.pop_front()? else { return None };
        *into = message;
        Some(cost)
    }

    /// The run at the front is empty.
    #[cold]
    fn drop_run(&mut self) {
        if let Some(Entry::Run(mut run)) = self.entries.pop_front() {
            run.clear();
            self.spare = Some(run);
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// Keeps a message until it is received. `false`: there is no room, and the policy is to wait; the caller
    /// must refuse the event, and reading pauses.
    #[must_use]
    pub fn enqueue_received(&mut self, incoming: &Incoming<'_>) -> bool {
        if self.received.is_full(self.settings.read_queue) && !self.is_bounded_by_window() {
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
                    // As many as necessary: many short ones may have filled the queue.
                    while self.received.is_full(self.settings.read_queue)
                        && let Some((message, cost)) = self.received.pop()
                    {
                        self.note_taken_out(&message);
                        self.release(message.meta.class, cost);
                        self.drop_message();
                    }
                }
                Overflow::Disconnect => {
                    self.drop_message();
                    self.conn.abort_for(Disconnect::Overflow { queue: "read" });
                    self.wakes.attend();
                    return true;
                }
            }
        }
        self.received.push(Message::from(incoming), incoming.cost);
        self.note_counted_with_buffer(incoming.counted_with_buffer());
        self.after_keeping(incoming.meta.class, incoming.cost, 1);
        true
    }

    /// Keeps the messages of a run until they are received. Runs are within their window, so that there is
    /// room; if the queue has another policy, it is applied.
    pub fn enqueue_burst(&mut self, run: Burst<'_>) {
        let messages = run.len();
        let rest = run.clone().into_rest();
        if !Run::is_worth(&rest) || !self.is_bounded_by_window() {
            for incoming in run {
                let kept = self.enqueue_received(&incoming);
                debug_assert!(kept, "bounded by the window");
            }
            return;
        }
        let cost = self.received.push_run(&rest);
        self.after_keeping(Class::Normal, cost, messages);
    }

    /// Whether a sender that respects the window cannot exceed the queue.
    fn is_bounded_by_window(&self) -> bool {
        self.framing.profile().flow_control && self.settings.read_overflow == Overflow::Block
    }

    /// This many more messages wait to be received.
    fn after_keeping(&mut self, class: Class, cost: u64, messages: usize) {
        if self.framing.profile().flow_control {
            let inflow = self.inflows.get_mut(class);
            inflow.keep(cost);
            if inflow.is_nearly_full() {
                self.tell_slow_consumer();
            }
        }
        for _ in 0..messages {
            let Some(token) = self.lines.receive.grant_one() else { break };
            self.wakes.caller(token);
        }
    }

    /// Whether the application never receives, so that waiting would block the replies behind the messages
    /// forever: on framings without flow control that carry calls. Without calls only the sender is blocked,
    /// which is the purpose of back-pressure.
    fn has_no_receiver(&self) -> bool {
        let profile = self.framing.profile();
        let waits = self.lines.receive.waiting() + self.lines.receive.granted() > 0;
        profile.calls != Calls::None && !profile.flow_control && !self.received.taken_from && !waits
    }

    /// Received messages are not taken: reported once, until all were taken.
    fn tell_slow_consumer(&mut self) {
        if !core::mem::replace(&mut self.slow_consumer, true) {
            self.event(LinkEvent::SlowConsumer);
        }
    }

    /// A message was received that has no handler.
    pub fn drop_message(&mut self) {
        self.counters.messages_dropped += 1;
        self.event(LinkEvent::MessageDropped);
    }

    /// The oldest waiting message; otherwise keeps a token and a place in the queue of waiting callers, which
    /// the caller passes again in the next call (or gives up with `leave(Line::Receive, ticket)`).
    pub fn poll_receive(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<Message> {
        let mut message = Message::empty();
        self.receive_into(&mut message, ticket, token).then_some(message)
    }

    /// [`poll_receive`](Self::poll_receive) into an existing message. Returns whether there was one.
    #[inline]
    pub fn receive_into(
        &mut self,
        into: &mut Message,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> bool {
        if !self.take_message(into) {
            super::waiting_lines::wait(&mut self.lines.receive, ticket, token);
            return false;
        }
        if let Some(ticket) = ticket.take() {
            self.leave(super::Line::Receive, ticket);
        }
        true
    }

    /// Moves up to `most` waiting messages to the end of `into`, oldest first. Returns their number.
    pub fn take_received(&mut self, most: usize, into: &mut Vec<Message>) -> usize {
        let before = into.len();
        let next = || {
            let mut message = Message::empty();
            self.take_message(&mut message).then_some(message)
        };
        into.extend(core::iter::from_fn(next).take(most));
        into.len() - before
    }

    #[inline]
    fn take_message(&mut self, into: &mut Message) -> bool {
        let Some(cost) = self.received.pop_into(into) else { return false };
        self.received.taken_from = true;
        self.note_taken_out(into);
        self.release(into.meta.class, cost);
        self.after_taking_message();
        true
    }

    /// From now on a handler takes the received messages, with [`take_to_handle`](Self::take_to_handle). Closing
    /// waits for it, for at most the linger time.
    pub fn handle_messages(&mut self) {
        (self.received.taken_from, self.received.is_handled) = (true, true);
    }

    /// As [`receive_into`](Self::receive_into), for a handler, which has finished the message that it took before. The
    /// taken message counts as waiting until the handler takes the next one or calls
    /// [`end_handling`](Self::end_handling), so that the memory of unfinished messages is bounded.
    pub fn take_to_handle(
        &mut self,
        into: &mut Message,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> bool {
        self.end_handling();
        let Some(cost) = self.received.pop_into(into) else {
            super::waiting_lines::wait(&mut self.lines.receive, ticket, token);
            return false;
        };
        let (class, bytes, is_watched) = (into.meta.class, into.held(), into.counted_with_buffer().is_some());
        self.received.in_hand = Some(InHand { class, cost, bytes, is_watched });
        if let Some(ticket) = ticket.take() {
            self.leave(super::Line::Receive, ticket);
        }
        self.after_taking_message();
        true
    }

    /// The handler has finished the message that it took.
    pub fn end_handling(&mut self) {
        let Some(in_hand) = self.received.in_hand.take() else { return };
        if in_hand.is_watched {
            self.forget_counted_with_buffer(in_hand.bytes);
        }
        self.release(in_hand.class, in_hand.cost);
        self.note_handler_ended();
        self.note_memory();
        // This may have been the last thing that was waited for.
        if self.closing.is_some() {
            self.wakes.attend();
        }
    }

    /// The number of messages that were put into the receive queue since the link was made.
    #[must_use]
    pub fn messages_kept(&self) -> u64 {
        self.received.taken + self.received.messages as u64
    }

    /// How many of those were taken, or dropped by the queue's policy.
    #[must_use]
    pub fn messages_taken(&self) -> u64 {
        self.received.taken
    }

    /// The number of received messages that a handler has not finished.
    #[must_use]
    pub fn unhandled(&self) -> usize {
        self.received.messages + usize::from(self.received.in_hand.is_some())
    }

    /// Waiting messages will not be taken: they are dropped, counted, and reported as events.
    pub fn drop_received(&mut self) {
        while let Some((message, cost)) = self.received.pop() {
            self.note_taken_out(&message);
            self.release(message.meta.class, cost);
            self.drop_message();
        }
        self.after_taking_message();
        self.note_memory();
    }

    #[inline]
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
