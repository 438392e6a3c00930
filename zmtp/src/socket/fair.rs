//! Receiving: one message from each peer in turn.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bowline_core::body::Body;

use super::notices::{Notice, Notices};
use super::{PipeId, Pipes};
use crate::inbox::Inbox;
use crate::message::Message;
use crate::pipe::Pipe;
use crate::sum::FREE;

/// What is kept of an inbox's memory while its peer says nothing, bytes.
const KEEP: usize = 4 * 1024;

/// The receiving half of a socket: whose turn it is, and what was taken out of the pipes already.
///
/// A pipe's inbox is swapped out whole when its turn comes, and messages are decoded from what was taken:
/// a pipe's lock is taken once for each swap.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    turns: VecDeque<PipeId>,
    sources: BTreeMap<PipeId, Source>,
    /// Bytes of memory of what peers that are gone left.
    left_behind: usize,
    /// Something was taken out of a pipe since that was asked last.
    swapped: bool,
    /// What an XPUB is to be told of subscriptions.
    notices: Notices,
}

#[derive(Debug, Default)]
struct Source {
    inbox: Inbox,
    /// What its messages get in front: its routing id.
    front: Option<Body>,
    /// Messages stay in the pipe until each is received.
    one_by_one: bool,
    /// What was taken out of the pipe is more than what is free of the sum.
    has_much: bool,
    /// It has a turn.
    listed: bool,
    /// Its pipe is gone: so many bytes count as left behind.
    gone: Option<usize>,
}

impl FairQueue {
    /// What comes over a pipe from now on gets that part in front.
    pub(crate) fn name(&mut self, id: PipeId, front: Body) {
        self.sources.entry(id).or_default().front = Some(front);
    }

    /// Messages are in the inbox of a pipe.
    pub(crate) fn arrived(&mut self, id: PipeId, one_by_one: bool) {
        let source = self.sources.entry(id).or_default();
        source.one_by_one = one_by_one;
        if !core::mem::replace(&mut source.listed, true) {
            self.turns.push_back(id);
        }
    }

    /// An XPUB is to be told of a subscription, behind everything that it is to be told already. The notice has a place
    /// in the inbox of the pipe.
    pub(super) fn notify(&mut self, notice: Notice, one_by_one: bool) {
        let id = notice.pipe;
        self.notices.push(notice);
        self.arrived(id, one_by_one);
    }

    /// The next message, and whose it is.
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

    /// A notice is what a pipe has next. If it is that one's turn it is taken out: true, unless it is void. Otherwise
    /// the pipe has its turn again when those before it were received.
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

    /// Whose notice is next has a turn.
    fn list_notified(&mut self) {
        if let Some(next) = self.notices.next_of()
            && let Some(source) = self.sources.get_mut(&next)
            && !core::mem::replace(&mut source.listed, true)
        {
            self.turns.push_back(next);
        }
    }

    /// The next message of one peer.
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

    /// Whether something was taken out of a pipe since this was asked last.
    pub(crate) fn take_swapped(&mut self) -> bool {
        core::mem::take(&mut self.swapped)
    }

    /// Drops what came from all of them. From whom that were how many messages.
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
            // A source that is forgotten loses its turn, too.
            at += usize::from(!self.forget_if_over(id));
        }
        all
    }

    /// Forgets a pipe that is gone and has left nothing more. True: it did.
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

    /// The connection of a pipe is gone. What came over it and was not received is kept under the number
    /// `ghost`, so that it is not taken for what comes over the next connection, if it is at most `limit` bytes
    /// of all such pipes. Notices are kept in any case, merged ([by peer](Notices::merge)) if they are more. How many messages
    /// were dropped.
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

    /// Of what peers that are gone left, notices that are not needed go. How many messages went with them.
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
    /// Takes out what the pipe has, if everything before it was received.
    fn fill(&mut self, pipes: &mut impl Pipes, id: PipeId) {
        if self.inbox.is_empty() && self.gone.is_none() {
            pipes.with(id, |pipe| pipe.swap_inbox(&mut self.inbox));
            self.has_much = self.inbox.bytes() > FREE;
        }
    }

    /// Whether the place of a notice comes next.
    fn is_at_notice(&mut self, pipes: &mut impl Pipes, id: PipeId) -> bool {
        if self.inbox.is_empty() && self.gone.is_none() && self.one_by_one {
            return pipes.with(id, |pipe| pipe.inbox().is_at_notice()) == Some(true);
        }
        self.fill(pipes, id);
        self.inbox.is_at_notice()
    }

    fn take(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        if self.inbox.is_empty() && self.gone.is_none() && self.one_by_one {
            // What comes meanwhile may replace what waits.
            return pipes.with(id, |pipe| pipe.receive_into(message)) == Some(true);
        }
        self.fill(pipes, id);
        let found = self.inbox.pop_into(message);
        if self.has_much && self.inbox.is_empty() {
            // Others may wait for it; of little, the next swap tells.
            self.has_much = false;
            pipes.with(id, Pipe::forget_taken);
        }
        found
    }
}
