//! Receiving from peers in turn, one message each.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bowline_core::body::Body;

use super::notices::{Notice, Notices};
use super::{PipeId, Pipes};
use crate::inbox::Inbox;
use crate::message::Message;
use crate::pipe::Pipe;
use crate::sum::FREE;

/// Memory of an inbox that is kept while its peer sends nothing, bytes.
const KEEP: usize = 4 * 1024;

/// The receiving half of a socket: whose turn it is, and the inboxes that were taken out of the pipes.
///
/// A pipe's inbox is swapped out whole at the pipe's turn, and messages are decoded from it: the pipe's lock
/// is taken once per swap.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    turns: VecDeque<PipeId>,
    sources: BTreeMap<PipeId, Source>,
    /// Bytes of memory of messages from disconnected peers.
    left_behind: usize,
    /// Whether an inbox was taken out of a pipe since the last check.
    swapped: bool,
    /// An XPUB's notices of subscriptions.
    notices: Notices,
}

#[derive(Debug, Default)]
struct Source {
    inbox: Inbox,
    /// The part that is added at the front of its messages: its routing id.
    front: Option<Body>,
    /// Messages stay in the pipe until each is received.
    one_by_one: bool,
    /// Whether the inbox that was taken out exceeds the uncounted part of the limit.
    has_much: bool,
    /// Whether it is in the list of turns.
    listed: bool,
    /// Set after its pipe has ended: the bytes that count as left behind.
    gone: Option<usize>,
}

impl FairQueue {
    /// Adds that part at the front of messages from that pipe from now on.
    pub(crate) fn name(&mut self, id: PipeId, front: Body) {
        self.sources.entry(id).or_default().front = Some(front);
    }

    /// Messages were added to the inbox of a pipe.
    pub(crate) fn arrived(&mut self, id: PipeId, one_by_one: bool) {
        let source = self.sources.entry(id).or_default();
        source.one_by_one = one_by_one;
        if !core::mem::replace(&mut source.listed, true) {
            self.turns.push_back(id);
        }
    }

    /// Queues a notice for an XPUB's application, after those already queued. The notice has a placeholder in
    /// the pipe's inbox.
    pub(super) fn notify(&mut self, notice: Notice, one_by_one: bool) {
        let id = notice.pipe;
        self.notices.push(notice);
        self.arrived(id, one_by_one);
    }

    /// Removes the next message; returns its pipe.
    pub(crate) fn next(&mut self, pipes: &mut impl Pipes, message: &mut Message) -> Option<PipeId> {
        while let Some(id) = self.turns.pop_front() {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            self.swapped |= source.inbox.is_empty();
            if !self.notices.is_empty() && source.is_at_notice(pipes, id) {
                if self.next_notice(pipes, id, message) {
                    return Some(id);
                }
                continue;
            }
            let found = source.take(pipes, id, message);
            self.swapped |= source.inbox.is_empty();
            if found {
                if let Some(front) = &source.front {
                    message.push_front(front.clone());
                }
                self.turns.push_back(id);
                return Some(id);
            }
            source.listed = false;
            if source.inbox.memory() > KEEP {
                source.inbox = Inbox::new();
            }
            self.forget_if_over(id);
        }
        None
    }

    /// A pipe's next item is a notice. If that notice is the first of the queue, it is removed: returns true,
    /// unless it is void. Otherwise the pipe gets its turn again after the notices before it were received.
    fn next_notice(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        if self.notices.next_of() != Some(id) {
            source.listed = false;
            return false;
        }
        source.take(pipes, id, message);
        self.swapped |= source.inbox.is_empty();
        let found = self.notices.pop().is_some_and(|notice| notice.put_into(message));
        self.turns.push_back(id);
        self.list_notified();
        found
    }

    /// Gives a turn to the pipe whose notice is next.
    fn list_notified(&mut self) {
        if let Some(next) = self.notices.next_of()
            && let Some(source) = self.sources.get_mut(&next)
            && !core::mem::replace(&mut source.listed, true)
        {
            self.turns.push_back(next);
        }
    }

    /// Removes the next message of one peer.
    pub(crate) fn next_of(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        let found = self.sources.get_mut(&id).is_some_and(|source| source.take(pipes, id, message));
        self.swapped = true;
        self.forget_if_over(id);
        found
    }

    /// Whether there is a message of any peer.
    pub(crate) fn has_any(&self, pipes: &mut impl Pipes) -> bool {
        self.turns.iter().any(|id| self.has_any_of(pipes, *id))
    }

    /// Whether there is a message of one peer.
    pub(crate) fn has_any_of(&self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        self.sources.get(&id).is_some_and(|source| !source.inbox.is_empty())
            || pipes.with(id, |pipe| !pipe.inbox().is_empty()) == Some(true)
    }

    /// Whether an inbox was taken out of a pipe since the last call.
    pub(crate) fn take_swapped(&mut self) -> bool {
        core::mem::take(&mut self.swapped)
    }

    /// Drops all received messages. Returns the number of messages by pipe.
    pub(crate) fn clear_all(&mut self, pipes: &mut impl Pipes) -> Vec<(PipeId, usize)> {
        let (mut all, mut at) = (Vec::new(), 0);
        while let Some(id) = self.turns.get(at).copied() {
            let mut dropped = 0;
            if let Some(source) = self.sources.get_mut(&id) {
                while source.inbox.drop_oldest() {
                    dropped += 1;
                }
            }
            let cleared = pipes.with(id, |pipe| {
                pipe.forget_taken();
                pipe.clear_inbox()
            });
            dropped += cleared.unwrap_or(0);
            if dropped > 0 {
                all.push((id, dropped));
            }
            // A removed source also loses its turn.
            at += usize::from(!self.forget_if_over(id));
        }
        all
    }

    /// Removes a pipe that has ended and has no messages left. Returns true if it did.
    fn forget_if_over(&mut self, id: PipeId) -> bool {
        let Some(Source { inbox, gone: Some(bytes), .. }) = self.sources.get(&id) else { return false };
        let over = inbox.is_empty();
        if over {
            self.left_behind -= bytes;
            self.sources.remove(&id);
            self.turns.retain(|turn| *turn != id);
        }
        over
    }

    /// Handles the end of a pipe's connection. Messages that were not received are kept under the number
    /// `ghost`, which separates them from those of the next connection, if all such pipes together then hold
    /// at most `limit` bytes. Notices are always kept, but merged ([by peer](Notices::merge)) if they exceed
    /// it. Returns the number of dropped messages.
    pub(crate) fn leave(
        &mut self,
        pipes: &mut impl Pipes,
        id: PipeId,
        ghost: PipeId,
        limit: usize,
        by_peer: bool,
    ) -> usize {
        let mut source = self.sources.remove(&id).unwrap_or_default();
        let mut rest = Inbox::new();
        pipes.with(id, |pipe| {
            pipe.swap_inbox(&mut rest);
            pipe.forget_taken();
        });
        source.inbox.append(&mut rest);
        source.inbox.compact();
        self.notices.rename(id, ghost);
        let is_much = self.left_behind.saturating_add(source.inbox.held()) > limit;
        let dropped = if is_much { source.inbox.keep_notices(|_| true) } else { 0 };
        if source.inbox.is_empty() {
            self.turns.retain(|turn| *turn != id);
            return dropped;
        }
        match self.turns.iter_mut().find(|turn| **turn == id) {
            Some(turn) => *turn = ghost,
            None => self.turns.push_back(ghost),
        }
        source.inbox.compact();
        let bytes = source.inbox.held();
        (source.listed, source.gone) = (true, Some(bytes));
        self.left_behind += bytes;
        self.sources.insert(ghost, source);
        dropped + if is_much && self.notices.has_grown() { self.merge_notices(by_peer) } else { 0 }
    }

    /// Removes unnecessary notices of disconnected peers. Returns the number of messages that were dropped
    /// with them.
    fn merge_notices(&mut self, by_peer: bool) -> usize {
        self.notices.merge(by_peer);
        let mut dropped = 0;
        for (id, source) in &mut self.sources {
            let Some(held) = &mut source.gone else { continue };
            let void: Vec<bool> = self.notices.voids(*id).collect();
            if void.contains(&true) {
                dropped += source.inbox.keep_notices(|at| void.get(at) != Some(&true));
                source.inbox.compact();
                self.left_behind -= *held - source.inbox.held();
                *held = source.inbox.held();
            }
        }
        let sources = &self.sources;
        self.notices.forget_void(|id| sources.get(&id).is_some_and(|source| source.gone.is_some()));
        let gone: Vec<PipeId> =
            sources.iter().filter(|(_, source)| source.gone.is_some()).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget_if_over(id);
        }
        self.list_notified();
        dropped
    }
}

impl Source {
    /// Takes the inbox out of the pipe, if everything before it was received.
    fn fill(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        if self.inbox.is_empty() && self.gone.is_none() {
            pipes.with(id, |pipe| pipe.swap_inbox(&mut self.inbox));
            self.has_much = self.inbox.bytes() > FREE;
        }
    }

    /// Whether the placeholder of a notice is next.
    fn is_at_notice(&mut self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        if self.inbox.is_empty() && self.gone.is_none() && self.one_by_one {
            return pipes.with(id, |pipe| pipe.inbox().is_at_notice()) == Some(true);
        }
        self.fill(pipes, id);
        self.inbox.is_at_notice()
    }

    fn take(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        if self.inbox.is_empty() && self.gone.is_none() && self.one_by_one {
            // Until then newer messages may replace queued ones.
            return pipes.with(id, |pipe| pipe.receive_into(message)) == Some(true);
        }
        self.fill(pipes, id);
        let found = self.inbox.pop_into(message);
        if self.has_much && self.inbox.is_empty() {
            // Others may wait for it; for small amounts the next swap reports it.
            self.has_much = false;
            pipes.with(id, Pipe::forget_taken);
        }
        found
    }
}
