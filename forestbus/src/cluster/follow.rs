//! Followers: each committed message of a topic exactly once, without gaps.
//!
//! A long poll returns when the commit index of its node reaches the position. The returned messages may
//! include uncommitted ones, which a new leader may replace. A follower therefore passes on only the message
//! at its position, which the node waited for, and those up to the commit index that the same node had
//! reported *before* the poll was sent: an index that is reported later may belong to a log in which the
//! messages have been replaced. A node is asked for its commit index before the first page and after each
//! page that was truncated.

use alloc::string::String;

use bowline_core::machine::Epoch;
use bowline_core::time::Instant;

use super::command::{Kind, State};
use super::error::{ClusterError, NodeCause, ReplyError};
use super::output::{CommandId, Followed, NodeId, Output, Page, TopicName};
use super::topics::TopicId;
use super::{Cluster, Work, checks};
use crate::protocol::{self, Index, Received, Request, TopicDetails};

#[derive(Debug)]
pub(super) struct Follow {
    pub(super) topic: TopicId,
    pub(super) name: TopicName,
    /// The index of the next message to pass on.
    pub(super) position: Index,
    /// Since when it has been at that position.
    pub(super) position_since: Instant,
    node: Option<NodeId>,
    /// Of its connection.
    epoch: Epoch,
    phase: Phase,
    /// The largest commit index that the node has reported on this connection.
    commit: Index,
    ready: Option<Followed>,
    truncated: Option<ClusterError>,
    /// The log ended before the position: the follower is halted until it is rewound.
    halted: bool,
    /// Set while the node lacks messages that other nodes have.
    pub(super) behind: Option<Behind>,
}

/// A node that lags behind others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Behind {
    pub(super) since: Instant,
    /// The commit index of the others at that time.
    pub(super) others: Index,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Poll,
    AskCommit,
}

impl Follow {
    pub(super) fn new(topic: TopicId, name: TopicName, position: Index, now: Instant) -> Self {
        Self {
            topic,
            name,
            position,
            position_since: now,
            node: None,
            epoch: Epoch::NONE,
            phase: Phase::AskCommit,
            commit: 0,
            ready: None,
            truncated: None,
            halted: false,
            behind: None,
        }
    }

    pub(super) fn is_polling(&self) -> bool {
        self.phase == Phase::Poll
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// Whether the end of the logs is meaningful for its position.
    pub(super) fn is_reading(&self) -> bool {
        !self.halted && self.ready.is_none()
    }

    pub(super) fn ready_messages(&self) -> usize {
        match &self.ready {
            Some(Followed::Page(page)) => page.messages.len(),
            _ => 0,
        }
    }

    pub(super) fn goes_to(&mut self, node: NodeId, epoch: Epoch) {
        if (self.node, self.epoch) != (Some(node), epoch) {
            self.leaves();
            (self.node, self.epoch) = (Some(node), epoch);
        }
    }

    /// The node's reports about its log are valid for this connection only.
    pub(super) fn leaves(&mut self) {
        self.node = None;
        self.phase = Phase::AskCommit;
        self.commit = 0;
        self.behind = None;
    }

    pub(super) fn request(&self, cluster_id: String, page: u32) -> Request {
        match self.phase {
            Phase::Poll => Request::Receive(protocol::Receive {
                cluster_id,
                topic: self.name.clone(),
                id: self.position,
                quantity: i64::from(page.max(2)),
                wait: true,
            }),
            Phase::AskCommit => Request::TopicDetails { topic: self.name.clone() },
        }
    }

    fn moves_to(&mut self, position: Index, now: Instant) {
        self.position = position;
        self.position_since = now;
    }
}

impl Cluster {
    /// Takes the messages of a follower, or the report that some are gone. Call it after [`Output::Ready`];
    /// the follower then continues to read. `None`: nothing is available now.
    ///
    /// # Errors
    /// [`Truncated`](ClusterError::Truncated), once: the follower is halted until it is
    /// [rewound](Self::rewind) or cancelled.
    pub fn take(&mut self, now: Instant, follower: CommandId) -> Option<Result<Followed, ClusterError>> {
        self.at(now);
        let command = self.commands.get_mut(&follower)?;
        let Kind::Follow(follow) = &mut command.kind else { return None };
        if let Some(ready) = follow.ready.take() {
            if command.state == State::Idle {
                command.state = State::Runnable;
                self.work.push_back(Work::Go(follower));
                self.run();
            }
            return Some(Ok(ready));
        }
        follow.truncated.take().map(Err)
    }

    /// Moves a follower to another index, and discards messages that were not taken. Returns whether there is
    /// such a follower and `to` is at least 1.
    pub fn rewind(&mut self, now: Instant, follower: CommandId, to: Index) -> bool {
        self.at(now);
        let Some(command) = self.commands.get(&follower) else { return false };
        let state = command.state;
        if to < 1 || !matches!(command.kind, Kind::Follow(_)) {
            return false;
        }
        if let State::Out { call, .. } = state {
            self.give_up_call(follower, call);
        }
        let now = self.now;
        let Some(command) = self.commands.get_mut(&follower) else { return false };
        let Kind::Follow(follow) = &mut command.kind else { return false };
        follow.moves_to(to, now);
        follow.ready = None;
        follow.truncated = None;
        follow.halted = false;
        self.timers.clear(super::Key::Deadline(follower));
        if matches!(state, State::Out { .. } | State::Idle) {
            follow.leaves();
            command.tries = super::Tries::default();
            command.state = State::Runnable;
            self.work.push_back(Work::Go(follower));
        }
        self.run();
        true
    }

    /// Handles the reply to a long poll.
    pub(super) fn follow_received(
        &mut self,
        id: CommandId,
        node: NodeId,
        received: Received,
    ) -> Result<(), ReplyError> {
        if !self.is_fine(id, node, &received.status) {
            return Ok(());
        }
        let now = self.now;
        let Some(command) = self.commands.get_mut(&id) else { return Ok(()) };
        let Kind::Follow(follow) = &mut command.kind else { return Ok(()) };
        let position = follow.position;
        if let Err(error) = received.check_from(position) {
            self.failed(id, node, NodeCause::BadReply(error.into()));
            return Err(error.into());
        }
        let (mut messages, next) = (received.messages, received.next_id);
        if messages.is_empty() && next == 0 {
            self.failed(id, node, NodeCause::CommitUnknown);
            return Ok(());
        }
        if messages.is_empty() && next == position {
            self.avoid(node);
            self.failed(id, node, NodeCause::Stopping);
            return Ok(());
        }
        command.tries = super::Tries::default();
        command.state = State::Idle;
        self.timers.clear(super::Key::Deadline(id));
        if messages.is_empty() {
            follow.moves_to(next, now);
            follow.ready = Some(Followed::Trimmed { from: position, to: next });
            self.counters.trimmed += 1;
        } else {
            // The node waited for the first message, so it is committed.
            follow.commit = follow.commit.max(position);
            let committed = usize::try_from(follow.commit - position).unwrap_or(usize::MAX).saturating_add(1);
            if committed < messages.len() {
                self.counters.uncommitted_cut += (messages.len() - committed) as u64;
                messages.truncate(committed);
                follow.phase = Phase::AskCommit;
                // The next page is requested when this one is taken; the commit index is requested now.
                command.state = State::Runnable;
                self.work.push_back(Work::Go(id));
            }
            self.counters.pages += 1;
            self.counters.messages_followed += messages.len() as u64;
            let page = Page { first: position, messages, node };
            follow.moves_to(page.next(), now);
            follow.ready = Some(Followed::Page(page));
        }
        self.good(node);
        self.outputs.push_back(Output::Ready { follower: id });
        Ok(())
    }

    /// Handles the commit index of the node whose page was truncated.
    pub(super) fn follow_details(
        &mut self,
        id: CommandId,
        node: NodeId,
        details: TopicDetails,
    ) -> Result<(), ReplyError> {
        if !self.is_fine(id, node, &details.status) {
            return Ok(());
        }
        if let Err(error) = checks::bounds(details.bounds) {
            self.failed(id, node, NodeCause::BadReply(error.clone()));
            return Err(error);
        }
        let Some(command) = self.commands.get_mut(&id) else { return Ok(()) };
        let Kind::Follow(follow) = &mut command.kind else { return Ok(()) };
        follow.commit = follow.commit.max(details.bounds.commit);
        follow.phase = Phase::Poll;
        if follow.ready.is_some() {
            command.state = State::Idle;
        } else {
            command.state = State::Runnable;
            self.work.push_back(Work::Go(id));
        }
        Ok(())
    }

    /// The logs of most nodes end before a follower's position.
    pub(super) fn truncate_follow(&mut self, id: CommandId, last: Index) {
        let Some(command) = self.commands.get(&id) else { return };
        match command.state {
            State::Out { call, .. } => self.give_up_call(id, call),
            State::Waiting(node) => {
                let at = super::LaneId { node, lane: command.lane() };
                self.lane(at).waiting.remove(&id);
            }
            _ => {}
        }
        self.timers.clear(super::Key::Attempt(id));
        self.timers.clear(super::Key::Deadline(id));
        let Some(command) = self.commands.get_mut(&id) else { return };
        let Kind::Follow(follow) = &mut command.kind else { return };
        command.state = State::Idle;
        let (topic, position) = (follow.name.clone(), follow.position);
        follow.truncated = Some(ClusterError::Truncated { topic, position, last });
        follow.halted = true;
        follow.leaves();
        self.counters.truncated += 1;
        self.outputs.push_back(Output::Ready { follower: id });
    }
}
