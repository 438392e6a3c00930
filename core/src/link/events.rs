//! What happened on a link: counters, and a bounded queue of events.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;

use super::Link;
use super::waiting_lines::{Line, wait};
use crate::address::Address;
use crate::error::{Disconnect, Outcome, Status, Undeliverable};
use crate::frame::Framing;
use crate::supervisor::{Endpoint, Epoch};
use crate::waiters::Ticket;

/// Something that happened on a link and is no method's return value.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A connection is ready for messages.
    Connected {
        /// Which one.
        epoch: Epoch,
        /// The other end, as far as it is known.
        address: Option<Address>,
    },
    /// A connection ended.
    Disconnected {
        /// Which one.
        epoch: Epoch,
        /// Why.
        cause: Disconnect,
    },
    /// An attempt to connect failed: a look-up, a dial, or the handshake.
    ConnectFailed {
        /// What was tried.
        endpoint: Endpoint,
        /// At which of its addresses. `None`: there was none yet, its name was being looked up.
        address: Option<Address>,
        /// Which attempt it was, from 1, since the last healthy connection. Several addresses of one
        /// endpoint are one attempt.
        attempt: u32,
        /// Why.
        cause: Disconnect,
    },
    /// A reply came for a call that is over, or that never was.
    LateReply {
        /// Its call id.
        id: u64,
    },
    /// An answer could not be sent: its connection is gone, or the framing has no error reply.
    AnswerDropped {
        /// The request's id.
        id: u64,
    },
    /// A dial begins.
    Connecting {
        /// Where to.
        address: Address,
        /// Which attempt this is, from 1, since the last healthy connection.
        attempt: u32,
    },
    /// All endpoints were tried in vain, or the connection did not last: a wait begins.
    Retrying {
        /// Which attempt comes next.
        attempt: u32,
        /// How long the wait is.
        after: Duration,
        /// Why the last attempt failed, or the last connection ended.
        cause: Disconnect,
    },
    /// A cast that asked for it ([`CastOptions::notify`](super::CastOptions::notify)) ended well.
    MessageEnded {
        /// The number that queueing it returned.
        number: u64,
        /// How.
        outcome: Outcome,
    },
    /// A queued cast goes no further: returned, expired, given up, dropped by a policy. The message
    /// itself is with the caller that waits for its end, or an
    /// [errored message](super::Link::poll_errored), unless a policy dropped it.
    MessageFailed {
        /// The number that queueing it returned.
        number: u64,
        /// What became of it.
        outcome: Outcome,
        /// Why.
        reason: Undeliverable,
    },
    /// An idempotent call is made again because the peer turned it away.
    CallRetried {
        /// Its id.
        id: u64,
        /// Which attempt comes next.
        attempt: u32,
        /// After which wait.
        after: Duration,
        /// What the peer said.
        status: Status,
    },
    /// A message for many was not queued here, because the write queue was full.
    BroadcastDropped,
    /// Received messages wait and are not taken: the sender is being held up.
    SlowConsumer,
    /// A received message was dropped by the queue's policy, or because there is no receiver for it.
    MessageDropped,
    /// A handler failed.
    HandlerFailed {
        /// How.
        status: Status,
    },
    /// The peer will take no more requests on this connection.
    GoAway {
        /// Why.
        status: Status,
    },
    /// The session goes on with a new connection.
    Resumed {
        /// Which one.
        epoch: Epoch,
        /// Frames that are sent again.
        replayed: u64,
        /// Frames that the peer turned out to have: they are not sent again.
        already_there: u64,
    },
    /// The session is over: expired, unknown to the peer (which may have been restarted), or closed.
    /// What the peer did not acknowledge comes back as [failed messages](Self::MessageFailed), and
    /// calls end. A close by either side that leaves nothing unacknowledged is not one.
    SessionLost {
        /// Frames of messages and answers that the peer did not acknowledge.
        unacknowledged: u64,
    },
    /// The link is closed for good.
    Closed,
}

/// Numbers since the link was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// Connections that became ready.
    pub connections: u64,
    /// Calls begun.
    pub calls: u64,
    /// Calls that got a reply or an error reply.
    pub calls_replied: u64,
    /// Calls whose deadline passed.
    pub calls_expired: u64,
    /// Calls whose fate only the peer knows.
    pub calls_maybe_delivered: u64,
    /// Calls given up by their callers.
    pub calls_cancelled: u64,
    /// Casts queued.
    pub casts: u64,
    /// Casts dropped by a policy, and messages for many that found the write queue full.
    pub casts_dropped: u64,
    /// Casts refused under [`Overflow::Reject`](crate::config::Overflow::Reject) because the write
    /// queue was full.
    pub casts_refused: u64,
    /// Casts that could not be delivered, whatever the reason, dropped ones included.
    pub casts_failed: u64,
    /// Casts that waited for too long.
    pub casts_expired: u64,
    /// Casts that were sent again on another connection.
    pub casts_resent: u64,
    /// Calls that were made again.
    pub retries: u64,
    /// Errored messages dropped because the application did not take them.
    pub errored_dropped: u64,
    /// Messages received.
    pub messages: u64,
    /// Received messages dropped by the read queue's policy, or for want of a handler.
    pub messages_dropped: u64,
    /// Requests received.
    pub requests: u64,
    /// Answers (and error replies) queued.
    pub answers: u64,
    /// Answers that were finished while the write queue had no room for them, and waited for it.
    pub answers_held: u64,
    /// Answers that could not be sent.
    pub answers_dropped: u64,
    /// Handlers that failed or panicked.
    pub handler_failures: u64,
    /// Replies that no call waited for.
    pub late_replies: u64,
    /// Cancels received.
    pub cancels: u64,
    /// Long messages of ours that were broken off because they were cancelled or expired.
    pub aborts: u64,
    /// Frames of a session that were sent again.
    pub replayed: u64,
    /// Grants sent to the peer.
    pub grants: u64,
    /// Events dropped because the application did not read them.
    pub events_dropped: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

impl Counters {
    /// Nothing happened.
    pub(super) const ZERO: Self = Self {
        connections: 0,
        calls: 0,
        calls_replied: 0,
        calls_expired: 0,
        calls_maybe_delivered: 0,
        calls_cancelled: 0,
        casts: 0,
        casts_dropped: 0,
        casts_refused: 0,
        casts_failed: 0,
        casts_expired: 0,
        casts_resent: 0,
        retries: 0,
        errored_dropped: 0,
        messages: 0,
        messages_dropped: 0,
        requests: 0,
        answers: 0,
        answers_held: 0,
        answers_dropped: 0,
        handler_failures: 0,
        late_replies: 0,
        cancels: 0,
        aborts: 0,
        replayed: 0,
        grants: 0,
        events_dropped: 0,
        bytes_in: 0,
        bytes_out: 0,
    };
}

/// An event as it is kept: a third of the room of a [`LinkEvent`] for those that every link has, and for
/// those that come with each message.
#[derive(Debug)]
enum Kept {
    Connecting { address: Address, attempt: u32 },
    Connected { epoch: Epoch, address: Option<Address> },
    MessageEnded { number: u64, outcome: Outcome },
    MessageDropped,
    LateReply { id: u64 },
    AnswerDropped { id: u64 },
    Other(Box<LinkEvent>),
}

impl From<LinkEvent> for Kept {
    fn from(event: LinkEvent) -> Self {
        match event {
            LinkEvent::Connecting { address, attempt } => Self::Connecting { address, attempt },
            LinkEvent::Connected { epoch, address } => Self::Connected { epoch, address },
            LinkEvent::MessageEnded { number, outcome } => Self::MessageEnded { number, outcome },
            LinkEvent::MessageDropped => Self::MessageDropped,
            LinkEvent::LateReply { id } => Self::LateReply { id },
            LinkEvent::AnswerDropped { id } => Self::AnswerDropped { id },
            other => Self::Other(Box::new(other)),
        }
    }
}

impl From<Kept> for LinkEvent {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Connecting { address, attempt } => Self::Connecting { address, attempt },
            Kept::Connected { epoch, address } => Self::Connected { epoch, address },
            Kept::MessageEnded { number, outcome } => Self::MessageEnded { number, outcome },
            Kept::MessageDropped => Self::MessageDropped,
            Kept::LateReply { id } => Self::LateReply { id },
            Kept::AnswerDropped { id } => Self::AnswerDropped { id },
            Kept::Other(event) => *event,
        }
    }
}

impl Kept {
    fn is_boxed(&self) -> bool {
        matches!(self, Self::Other(_))
    }
}

/// Keeps the newest events.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    events: VecDeque<Kept>,
    /// How many of them are in memory of their own.
    boxed: usize,
}

impl EventQueue {
    /// True if the oldest had to go.
    pub(crate) fn push(&mut self, event: LinkEvent, limit: usize) -> bool {
        let full = self.events.len() >= limit;
        if full {
            self.pop_kept();
        }
        if self.events.capacity() < 2 && self.events.len() == self.events.capacity() {
            // Most links have one or two, and on many links they are not read.
            self.events.reserve_exact(1);
        }
        let kept = Kept::from(event);
        self.boxed += usize::from(kept.is_boxed());
        self.events.push_back(kept);
        full
    }

    pub(crate) fn pop(&mut self) -> Option<LinkEvent> {
        self.pop_kept().map(LinkEvent::from)
    }

    fn pop_kept(&mut self) -> Option<Kept> {
        let kept = self.events.pop_front()?;
        self.boxed -= usize::from(kept.is_boxed());
        Some(kept)
    }

    /// Bytes of the events that wait, without what their texts and causes hold.
    pub(crate) fn memory(&self) -> usize {
        self.events.len() * size_of::<Kept>() + self.boxed * size_of::<LinkEvent>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The next event, if there is one; otherwise keeps a token and a place in line, which the
    /// caller passes again next time (and gives up with
    /// [`leave`](Self::leave)`(Line::Events, ticket)`).
    pub fn poll_event(
        &mut self,
        ticket: &mut Option<Ticket>,
        token: impl FnOnce() -> T,
    ) -> Option<LinkEvent> {
        if let Some(event) = self.events.pop() {
            if let Some(ticket) = ticket.take() {
                self.leave(Line::Events, ticket);
            }
            return Some(event);
        }
        wait(&mut self.lines.events, ticket, token);
        None
    }

    pub(super) fn event(&mut self, event: LinkEvent) {
        if self.events.push(event, self.settings.event_queue) {
            self.counters.events_dropped += 1;
        }
        if let Some(token) = self.lines.events.grant_one() {
            self.wakes.caller(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::config::Overflow;

    #[test]
    fn events_come_out_as_they_went_in() {
        let address: Address = "tcp://127.0.0.1:7".parse().expect("an address");
        let (id, number, epoch, outcome) = (7, 8, Epoch::FIRST, Outcome::Dropped);
        let (attempt, status, cause) = (3, Status::SHUTTING_DOWN, Disconnect::PeerClosed);
        let reason = Undeliverable::Dropped(Overflow::DropOldest);
        let events = [
            LinkEvent::Connecting { address: address.clone(), attempt },
            LinkEvent::Connected { epoch, address: Some(address) },
            LinkEvent::Connected { epoch, address: None },
            LinkEvent::MessageEnded { number, outcome },
            LinkEvent::MessageDropped,
            LinkEvent::LateReply { id },
            LinkEvent::AnswerDropped { id },
            LinkEvent::Disconnected { epoch, cause },
            LinkEvent::MessageFailed { number, outcome, reason },
            LinkEvent::GoAway { status },
        ];
        let mut queue = EventQueue::default();
        for event in &events {
            assert!(!queue.push(event.clone(), events.len()));
        }
        assert!(queue.push(LinkEvent::SlowConsumer, events.len()), "one too many");
        let boxed = 4 * size_of::<LinkEvent>();
        assert_eq!(queue.memory(), events.len() * size_of::<Kept>() + boxed);
        let out: Vec<LinkEvent> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(out[..out.len() - 1], events[1..]);
        assert_eq!(out.last(), Some(&LinkEvent::SlowConsumer));
        assert_eq!(queue.memory(), 0);
    }

    #[test]
    fn an_idle_link_keeps_no_room_for_more_events_than_it_has() {
        assert!(size_of::<Kept>() <= 48, "{}", size_of::<Kept>());
        let mut queue = EventQueue::default();
        for room in [1, 2] {
            queue.push(LinkEvent::MessageDropped, 8);
            assert_eq!(queue.events.capacity(), room);
        }
    }
}
