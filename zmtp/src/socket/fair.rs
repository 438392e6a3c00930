//! Receiving: one message from each peer in turn.

use alloc::collections::{BTreeMap, VecDeque};

use bowline_core::body::Body;

use super::{PipeId, Pipes};
use crate::inbox::Inbox;
use crate::message::Message;

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
}

#[derive(Debug, Default)]
struct Source {
    inbox: Inbox,
    /// What its messages get in front: its routing id.
    front: Option<Body>,
    /// Messages stay in the pipe until each is received.
    one_by_one: bool,
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

    /// The next message, and whose it is.
    pub(crate) fn next(&mut self, pipes: &mut impl Pipes, message: &mut Message) -> Option<PipeId> {
        while let Some(id) = self.turns.pop_front() {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if source.take(pipes, id, message) {
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

    /// The next message of one peer.
    pub(crate) fn next_of(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        let found = self.sources.get_mut(&id).is_some_and(|source| source.take(pipes, id, message));
        self.forget_if_over(id);
        found
    }

    /// Drops what came from all of them. How many messages that were.
    pub(crate) fn clear_all(&mut self, pipes: &mut impl Pipes) -> usize {
        let (mut dropped, mut at) = (0, 0);
        while let Some(id) = self.turns.get(at).copied() {
            if let Some(source) = self.sources.get_mut(&id) {
                while source.inbox.drop_oldest() {
                    dropped += 1;
                }
            }
            dropped += pipes.with(id, |pipe| pipe.clear_inbox()).unwrap_or(0);
            // A source that is forgotten loses its turn, too.
            at += usize::from(!self.forget_if_over(id));
        }
        dropped
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
    /// of all such pipes. How many messages were dropped.
    pub(crate) fn leave(&mut self, pipes: &mut impl Pipes, id: PipeId, ghost: PipeId, limit: usize) -> usize {
        let mut source = self.sources.remove(&id).unwrap_or_default();
        let mut rest = Inbox::new();
        pipes.with(id, |pipe| pipe.swap_inbox(&mut rest));
        source.inbox.append(&mut rest);
        source.inbox.compact();
        let bytes = source.inbox.memory();
        if source.inbox.is_empty() || self.left_behind.saturating_add(bytes) > limit {
            self.turns.retain(|turn| *turn != id);
            return source.inbox.messages();
        }
        match self.turns.iter_mut().find(|turn| **turn == id) {
            Some(turn) => *turn = ghost,
            None => self.turns.push_back(ghost),
        }
        (source.listed, source.gone) = (true, Some(bytes));
        self.left_behind += bytes;
        self.sources.insert(ghost, source);
        0
    }
}

impl Source {
    fn take(&mut self, pipes: &mut impl Pipes, id: PipeId, message: &mut Message) -> bool {
        if self.inbox.is_empty() && self.gone.is_none() && self.one_by_one {
            // What comes meanwhile may replace what waits.
            return pipes.with(id, |pipe| pipe.receive_into(message)) == Some(true);
        }
        if self.inbox.is_empty() && self.gone.is_none() {
            pipes.with(id, |pipe| pipe.swap_inbox(&mut self.inbox));
        }
        self.inbox.pop_into(message)
    }
}
