//! Events of a link: counters, and a bounded queue.

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

/// Something that happened on a link and is not the return value of a method.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// A connection is ready for messages.
    Connected {
        /// The number of the connection.
        epoch: Epoch,
        /// The address of the other side, if it is known.
        address: Option<Address>,
    },
    /// A connection ended.
    Disconnected {
        /// The number of the connection.
        epoch: Epoch,
        /// The reason.
        cause: Disconnect,
    },
    /// An attempt to connect failed: name resolution, dialing, or the handshake.
    ConnectFailed {
        /// The endpoint.
        endpoint: Endpoint,
        /// The address that was tried. `None` if the name was not resolved yet.
        address: Option<Address>,
        /// The number of the attempt, counted from 1 since the last healthy connection. Several addresses of
        /// one endpoint are one attempt.
        attempt: u32,
        /// The reason.
        cause: Disconnect,
    },
    /// A reply was received for a call that has ended, or that never existed.
    LateReply {
        /// The id of the call.
        id: u64,
    },
    /// An answer could not be sent: its connection has ended, or the framing has no error reply.
    AnswerDropped {
        /// The id of the request.
        id: u64,
    },
    /// A dial begins.
    Connecting {
        /// The address.
        address: Address,
        /// The number of the attempt, counted from 1 since the last healthy connection.
        attempt: u32,
    },
    /// A wait begins, because all endpoints failed or the connection did not last.
    Retrying {
        /// The number of the next attempt.
        attempt: u32,
        /// The length of the wait.
        after: Duration,
        /// Why the last attempt failed, or the last connection ended.
        cause: Disconnect,
    },
    /// A cast with [`CastOptions::notify`](super::CastOptions::notify) succeeded.
    MessageEnded {
        /// The number that was returned when it was queued.
        number: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// A queued cast failed: it was returned, expired, given up, or dropped by a policy. The message is given
    /// to the caller that waits for its outcome, or else becomes an [errored
    /// message](super::Link::poll_errored), unless a policy dropped it.
    MessageFailed {
        /// The number that was returned when it was queued.
        number: u64,
        /// The outcome.
        outcome: Outcome,
        /// The reason.
        reason: Undeliverable,
    },
    /// An idempotent call is retried because the peer refused to start it.
    CallRetried {
        /// The id of the call.
        id: u64,
        /// The number of the next attempt.
        attempt: u32,
        /// The wait before it.
        after: Duration,
        /// The peer's status.
        status: Status,
    },
    /// A broadcast message was not queued on this link, because the write queue was full.
    BroadcastDropped,
    /// Received messages are not taken by the application: the sender is being blocked.
    SlowConsumer,
    /// A received message was dropped by the queue's policy, or because there is no handler for it.
    MessageDropped,
    /// A handler failed.
    HandlerFailed {
        /// The status of the failure.
        status: Status,
    },
    /// The peer will take no more requests on this connection.
    GoAway {
        /// The reason.
        status: Status,
    },
    /// The session continues on a new connection.
    Resumed {
        /// The number of the connection.
        epoch: Epoch,
        /// The number of frames that are sent again.
        replayed: u64,
        /// The number of frames that the peer had already received, and that are not sent again.
        already_there: u64,
    },
    /// The session is over: expired, unknown to the peer (which may have been restarted), or closed. Messages
    /// that the peer did not acknowledge are reported as [failed](Self::MessageFailed), and calls end. A
    /// close by either side that leaves nothing unacknowledged is not reported as a lost session.
    SessionLost {
        /// The number of frames of messages and answers that the peer did not acknowledge.
        unacknowledged: u64,
    },
    /// The link is closed for good.
    Closed,
}

/// Counters since the link was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// Connections that became ready.
    pub connections: u64,
    /// Calls that were begun.
    pub calls: u64,
    /// Calls that got a reply or an error reply.
    pub calls_replied: u64,
    /// Calls whose deadline passed.
    pub calls_expired: u64,
    /// Calls that may have been delivered, without an answer.
    pub calls_maybe_delivered: u64,
    /// Calls that were cancelled by their callers.
    pub calls_cancelled: u64,
    /// Casts queued.
    pub casts: u64,
    /// Casts dropped by a policy, and broadcast messages that found the write queue full.
    pub casts_dropped: u64,
    /// Casts refused under [`Overflow::Reject`](crate::config::Overflow::Reject) because the write
    /// queue was full.
    pub casts_refused: u64,
    /// Casts that could not be delivered for any reason, including those that were dropped.
    pub casts_failed: u64,
    /// Casts that waited too long.
    pub casts_expired: u64,
    /// Casts that were sent again on another connection.
    pub casts_resent: u64,
    /// Retries of calls.
    pub retries: u64,
    /// Errored messages dropped because the application did not take them.
    pub errored_dropped: u64,
    /// Messages received.
    pub messages: u64,
    /// Received messages dropped by the read queue's policy, or because there is no handler.
    pub messages_dropped: u64,
    /// Requests received.
    pub requests: u64,
    /// Answers (and error replies) queued.
    pub answers: u64,
    /// Answers that were finished while the write queue had no room for them, and had to wait.
    pub answers_held: u64,
    /// Answers that could not be sent.
    pub answers_dropped: u64,
    /// Handlers that failed or panicked.
    pub handler_failures: u64,
    /// Replies that no call waited for.
    pub late_replies: u64,
    /// Cancels received.
    pub cancels: u64,
    /// Long messages of this side that were aborted because they were cancelled or expired.
    pub aborts: u64,
    /// Frames of a session that were sent again.
    pub replayed: u64,
    /// Grants sent to the peer.
    pub grants: u64,
    /// Events dropped because the application did not take them.
    pub events_dropped: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

impl Counters {
    /// All counters at 0.
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

/// An event as it is stored: a third of the size of a [`LinkEvent`] for the events of every link, and for
/// those of each message.
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
    /// Returns true if the oldest event was dropped.
    pub(crate) fn push(&mut self, event: LinkEvent, limit: usize) -> bool {
        let full = self.events.len() >= limit;
        if full {
            self.pop_kept();
        }
        if self.events.capacity() < 2 && self.events.len() == self.events.capacity() {
            // Most links have one or two, and many links' events are not read.
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
    /// The next event, if there is one; otherwise keeps a token and a place in the queue of waiting callers,
    /// which the caller passes again in the next call (and gives up with
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
