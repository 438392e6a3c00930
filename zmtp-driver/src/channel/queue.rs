//! The content of a channel, and the callers that wait for it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bowline_core::waiters::{Ticket, Turn, Waiters};
use bowline_driver::sync::{Arc, Mutex};
use bowline_zmtp::message::Message;

use super::{Buffer, BufferKind, ChannelStats};
use crate::error::ReceiveError;

/// The result of a receiver: a message, or an error of the socket behind the channel.
pub(crate) type Entry = Result<Message, ReceiveError>;

/// The state that the ends of a channel share.
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    buffer: Buffer,
    entries: VecDeque<Entry>,
    bytes: usize,
    closed: bool,
    senders: usize,
    receivers: usize,
    send_line: Waiters<Waker>,
    recv_line: Waiters<Waker>,
    /// Watchers of the close, by number.
    watchers: Vec<(u64, Waker)>,
    stats: ChannelStats,
    /// To be called after the lock is released.
    wakers: Wakers,
}

/// Wakers to be called: usually one or two, without an allocation.
#[derive(Debug, Default)]
struct Wakers {
    few: [Option<Waker>; 2],
    more: Vec<Waker>,
}

impl Wakers {
    fn push(&mut self, waker: Waker) {
        match self.few.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(waker),
            None => self.more.push(waker),
        }
    }

    fn is_empty(&self) -> bool {
        self.few[0].is_none()
    }

    fn wake(self) {
        self.few.into_iter().flatten().chain(self.more).for_each(Waker::wake);
    }
}

/// The channel accepts nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closed;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// A channel without ends: each end counts itself.
    pub(crate) fn new(buffer: Buffer) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            buffer,
            entries: VecDeque::new(),
            bytes: 0,
            closed: false,
            senders: 0,
            receivers: 0,
            send_line: Waiters::new(),
            recv_line: Waiters::new(),
            watchers: Vec::new(),
            stats: ChannelStats::default(),
            wakers: Wakers::default(),
        })))
    }

    /// Calls `f` under the lock, then calls the wakers.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock();
        let result = f(&mut state);
        if state.wakers.is_empty() {
            return result;
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.wake();
        result
    }

    pub(crate) fn add_sender(&self) {
        self.with(|state| state.senders += 1);
    }

    pub(crate) fn add_receiver(&self) {
        self.with(|state| state.receivers += 1);
    }

    pub(crate) fn remove_sender(&self) {
        self.with(|state| {
            state.senders -= 1;
            if state.senders == 0 {
                state.close();
            }
        });
    }

    pub(crate) fn remove_receiver(&self) {
        // The messages are dropped without the lock.
        let unread = self.with(|state| {
            state.receivers -= 1;
            if state.receivers > 0 {
                return VecDeque::new();
            }
            state.close();
            state.bytes = 0;
            let entries = std::mem::take(&mut state.entries);
            state.stats.unread += entries.iter().filter(|entry| entry.is_ok()).count() as u64;
            entries
        });
        drop(unread);
    }

    /// Closes the channel if there is only one receiver. `false`: there are more.
    pub(crate) fn close_if_last_receiver(&self) -> bool {
        self.with(|state| {
            let is_last = state.receivers <= 1;
            if is_last {
                state.close();
            }
            is_last
        })
    }

    /// For the only receiver: closes the channel and takes all entries out.
    pub(crate) fn take_if_last(&self) -> VecDeque<Entry> {
        self.with(|state| {
            if state.receivers > 1 {
                return VecDeque::new();
            }
            state.close();
            state.bytes = 0;
            let entries = std::mem::take(&mut state.entries);
            state.stats.received += entries.iter().filter(|entry| entry.is_ok()).count() as u64;
            entries
        })
    }

    pub(crate) fn close(&self) {
        self.with(State::close);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    pub(crate) fn stats(&self) -> ChannelStats {
        self.with(|state| {
            let waiting = state.entries.iter().filter(|entry| entry.is_ok()).count();
            ChannelStats { waiting, waiting_bytes: state.bytes, ..state.stats }
        })
    }

    /// Adds the entry, and leaves `None`; or keeps the waker for when there may be room.
    pub(crate) fn poll_push(
        &self,
        entry: &mut Option<Entry>,
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        self.with(|state| {
            let ready = state.poll_room(ticket, cx);
            if ready == Poll::Ready(Ok(())) {
                if let Some(entry) = entry.take() {
                    state.push(entry);
                }
                state.grant_sender();
            }
            ready
        })
    }

    /// Adds the entry if there is room and no sender waits for it. `false`: there is none.
    pub(crate) fn try_push(&self, entry: &mut Option<Entry>) -> Result<bool, Closed> {
        self.with(|state| {
            if state.closed {
                return Err(Closed);
            }
            let may = state.buffer.never_waits()
                || (state.has_room() && state.send_line.waiting() + state.send_line.granted() == 0);
            if may && let Some(entry) = entry.take() {
                state.push(entry);
            }
            Ok(may)
        })
    }

    pub(crate) fn leave_senders(&self, ticket: Ticket) {
        self.with(|state| {
            if state.send_line.leave(ticket) {
                state.grant_sender();
            }
        });
    }

    /// The oldest entry, or the end; or keeps the waker for when there is one.
    pub(crate) fn poll_pop(&self, ticket: &mut Option<Ticket>, cx: &mut Context<'_>) -> Poll<Option<Entry>> {
        self.with(|state| {
            let has_turn = match *ticket {
                Some(held) => match state.recv_line.poll(held, || cx.waker().clone()) {
                    Turn::Waiting => return Poll::Pending,
                    _ => true,
                },
                // Waiting receivers go first.
                None => state.recv_line.waiting() + state.recv_line.granted() == 0,
            };
            *ticket = None;
            if (has_turn || state.closed)
                && let Some(entry) = state.pop()
            {
                return Poll::Ready(Some(entry));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            *ticket = Some(state.recv_line.join(cx.waker().clone()));
            Poll::Pending
        })
    }

    /// The oldest entry, if there is one and no receiver waits for it.
    pub(crate) fn try_pop(&self) -> Result<Option<Entry>, Closed> {
        self.with(|state| {
            let is_free = state.closed || state.entries.len() > state.recv_line.granted();
            match is_free.then(|| state.pop()).flatten() {
                None if state.closed => Err(Closed),
                found => Ok(found),
            }
        })
    }

    pub(crate) fn leave_receivers(&self, ticket: Ticket) {
        self.with(|state| {
            if state.recv_line.leave(ticket) {
                state.grant_receiver();
            }
        });
    }

    /// The waker is called when the channel is closed, unless the watcher left.
    pub(crate) fn poll_closed(&self, watcher: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|state| {
            if state.closed {
                return Poll::Ready(());
            }
            match state.watchers.iter_mut().find(|(number, _)| *number == watcher) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.watchers.push((watcher, cx.waker().clone())),
            }
            Poll::Pending
        })
    }

    /// Removes a watcher.
    pub(crate) fn leave_watchers(&self, watcher: u64) {
        self.with(|state| state.watchers.retain(|(number, _)| *number != watcher));
    }
}

impl State {
    fn has_room(&self) -> bool {
        !self.buffer.is_reached(self.entries.len(), self.bytes)
    }

    /// Whether the caller whose turn it is can add a message now.
    fn poll_room(&mut self, ticket: &mut Option<Ticket>, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let has_turn = match *ticket {
            Some(held) => match self.send_line.poll(held, || cx.waker().clone()) {
                Turn::Waiting => return Poll::Pending,
                _ => true,
            },
            None => self.send_line.waiting() + self.send_line.granted() == 0,
        };
        *ticket = None;
        if self.closed {
            return Poll::Ready(Err(Closed));
        }
        if self.buffer.never_waits() || (has_turn && self.has_room()) {
            return Poll::Ready(Ok(()));
        }
        *ticket = Some(self.send_line.join(cx.waker().clone()));
        Poll::Pending
    }

    fn push(&mut self, entry: Entry) {
        let bytes = entry.as_ref().map_or(0, Message::bytes);
        match self.buffer.kind {
            BufferKind::Fixed => {}
            BufferKind::Sliding => {
                while !self.has_room() {
                    let Some(oldest) = self.take_oldest() else { break };
                    self.stats.dropped += u64::from(oldest.is_ok());
                }
            }
            BufferKind::Dropping if !self.has_room() => {
                self.stats.dropped += u64::from(entry.is_ok());
                return;
            }
            BufferKind::Dropping => {}
        }
        self.stats.sent += u64::from(entry.is_ok());
        self.bytes += bytes;
        self.entries.push_back(entry);
        self.grant_receiver();
    }

    fn take_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.as_ref().map_or(0, Message::bytes);
        Some(entry)
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.take_oldest()?;
        self.stats.received += u64::from(entry.is_ok());
        self.grant_sender();
        self.grant_receiver();
        Some(entry)
    }

    /// Grants a turn to the first waiting sender, if there is room for it in addition to those granted
    /// before.
    fn grant_sender(&mut self) {
        let granted = self.send_line.granted();
        if !self.buffer.is_reached(self.entries.len() + granted, self.bytes)
            && let Some(waker) = self.send_line.grant_one()
        {
            self.wakers.push(waker);
        }
    }

    /// Grants a turn to the first waiting receiver, if there is an entry for it in addition to those granted
    /// before.
    fn grant_receiver(&mut self) {
        if self.entries.len() > self.recv_line.granted()
            && let Some(waker) = self.recv_line.grant_one()
        {
            self.wakers.push(waker);
        }
    }

    fn close(&mut self) {
        let Self { closed, send_line, recv_line, watchers, wakers, .. } = self;
        if std::mem::replace(closed, true) {
            return;
        }
        send_line.close(|waker| wakers.push(waker));
        recv_line.close(|waker| wakers.push(waker));
        watchers.drain(..).for_each(|(_, waker)| wakers.push(waker));
    }
}
