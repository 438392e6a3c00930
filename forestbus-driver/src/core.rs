//! A cluster behind its lock: takes commands, and performs the cluster's outputs.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bowline_core::config::Config;
use bowline_core::error::Disconnect;
use bowline_core::machine::Epoch;
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::place::Place;
use bowline_driver::sync::{Arc, Mutex};
use bowline_forestbus::cluster::{
    Answer, CallId, Cluster, ClusterError, CommandId, Followed, Lane, NodeCause, NodeId, Output, Snapshot,
};
use bowline_forestbus::protocol::{Index, Request};
use bowline_forestbus::wire::{CborRpc, Codec};
use bytes::Bytes;

#[cfg(all(test, bowline_loom))]
mod models;
mod perform;
#[cfg(all(test, not(bowline_loom)))]
mod tests;

use crate::desk::Desk;
use crate::observe::{self, To};
use perform::{Actions, BATCH, Left};

/// The state that a client's handles, its connections and its keeper share.
///
/// The lock is held while the cluster decides, and never while something is encoded, decoded, written or
/// read. Outputs are performed by one thread at a time, in order: at once by the thread that caused them,
/// unless another thread is performing outputs already.
pub(crate) struct Core {
    state: Mutex<State>,
    /// The name by which `tracing` and `metrics` know the client.
    name: String,
    pub(crate) codec: Codec,
    limits: Limits,
    /// The settings of links to nodes.
    pub(crate) link: Config<CborRpc>,
    pub(crate) place: Place,
}

/// Limits from the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum number of items of a list.
    pub(crate) items: usize,
    /// Maximum bytes of one send's messages.
    pub(crate) send: usize,
    /// The default deadline of a command.
    pub(crate) deadline: Duration,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("place", &self.place).finish_non_exhaustive()
    }
}

struct State {
    cluster: Cluster,
    /// Callers that wait for their results.
    waiting: HashMap<CommandId, Waiting>,
    desks: HashMap<(NodeId, Lane), (Epoch, Arc<Desk>)>,
    /// A thread is performing outputs.
    performing: bool,
    keeper: KeeperState,
    /// There is no handle left, or the runtime has ended.
    is_over: bool,
    /// Kept for reuse.
    spare: Actions,
    /// The work that a thread left when it panicked while performing outputs.
    left: Left,
}

#[derive(Default)]
struct KeeperState {
    waker: Option<Waker>,
    /// When it checks the time again.
    sleeps_until: Option<Instant>,
    /// Connections that it has to make.
    opens: Vec<Open>,
}

/// A connection to be made.
pub(crate) struct Open {
    pub(crate) at: At,
    pub(crate) address: String,
    pub(crate) desk: Arc<Desk>,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) node: NodeId,
    pub(crate) lane: Lane,
    pub(crate) epoch: Epoch,
}

/// Work that is done without the lock.
enum Action {
    Call { call: CallId, request: Request },
    Forget(CallId),
    Close { at: At, cause: NodeCause },
}

/// A waiting caller.
#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    result: Option<Result<Answer, ClusterError>>,
    /// A follower without further messages.
    ended: bool,
}

impl Core {
    pub(crate) fn new(
        cluster: Cluster,
        name: String,
        codec: Codec,
        limits: Limits,
        link: Config<CborRpc>,
        place: Place,
    ) -> Self {
        let state = State {
            cluster,
            waiting: HashMap::new(),
            desks: HashMap::new(),
            performing: false,
            keeper: KeeperState::default(),
            is_over: false,
            spare: Actions::new(),
            left: Left::default(),
        };
        Self { state: Mutex::new(state), name, codec, limits, link, place }
    }

    /// Calls `f` with the cluster, and performs its outputs.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Cluster, Instant) -> T) -> T {
        let mut state = self.state.lock();
        let output = f(&mut state.cluster, clock::now());
        self.settle(state);
        output
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state.lock().cluster.snapshot()
    }

    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.state.lock().cluster.address(node).map(str::to_owned)
    }

    pub(crate) fn leader(&self, topic: &str) -> Option<NodeId> {
        self.state.lock().cluster.leader(topic)
    }

    /// Checks whether a send can be encoded at all, independently of nodes.
    ///
    /// # Errors
    /// More messages than allowed in a list, or more bytes than allowed in a request.
    pub(crate) fn check_send(&self, topic: &str, messages: &[Bytes]) -> Result<(), ClusterError> {
        let too_large = |what, value, limit| Err(ClusterError::TooLarge { what, value, limit });
        if messages.len() > self.limits.items {
            return too_large("messages", messages.len(), self.limits.items);
        }
        // Including the heads of its items, and its keys.
        let bytes = messages.iter().map(|message| message.len() + head(message.len())).sum::<usize>();
        let (bytes, limit) = (bytes + topic.len() + KEYS, self.link.max_message());
        if bytes > limit { too_large("bytes of a request", bytes, limit) } else { Ok(()) }
    }

    /// The maximum length in bytes of a message for the topic.
    pub(crate) fn max_record(&self, topic: &str) -> usize {
        let request = self.link.max_message().saturating_sub(topic.len() + KEYS + head(usize::MAX));
        request.min(self.limits.send)
    }

    /// The default deadline of a command.
    pub(crate) fn deadline(&self) -> Duration {
        self.limits.deadline
    }

    /// Begins a command. Take its result with [`poll_result`](Self::poll_result).
    pub(crate) fn begin(
        &self,
        f: impl FnOnce(&mut Cluster, Instant) -> Result<CommandId, ClusterError>,
    ) -> Result<CommandId, ClusterError> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(ClusterError::Closed);
        }
        let begun = f(&mut state.cluster, clock::now());
        if let Ok(id) = begun {
            state.waiting.insert(id, Waiting::default());
        }
        self.settle(state);
        begun
    }

    /// A command's result; the waker is woken when it is available.
    pub(crate) fn poll_result(
        &self,
        id: CommandId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, ClusterError>> {
        let mut state = self.state.lock();
        let Some(waiting) = state.waiting.get_mut(&id) else { return Poll::Ready(Err(ClusterError::Closed)) };
        match waiting.result.take() {
            Some(result) => {
                state.waiting.remove(&id);
                Poll::Ready(result)
            }
            None => {
                keep(&mut waiting.waker, cx);
                Poll::Pending
            }
        }
    }

    /// A command is no longer waited for: cancels it.
    pub(crate) fn abandon(&self, id: CommandId) {
        let mut state = self.state.lock();
        if state.waiting.remove(&id).is_some() {
            state.cluster.cancel(clock::now(), id);
        }
        self.settle(state);
    }

    /// The next item of a follower; `None` when it is over.
    pub(crate) fn poll_followed(
        &self,
        id: CommandId,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Followed, ClusterError>>> {
        let mut state = self.state.lock();
        let State { cluster, waiting, .. } = &mut *state;
        let Some(waiting) = waiting.get_mut(&id).filter(|waiting| !waiting.ended) else {
            return Poll::Ready(None);
        };
        let taken = cluster.take(clock::now(), id).or_else(|| {
            let result = waiting.result.take()?;
            Some(Err(result.err().unwrap_or(ClusterError::Closed)))
        });
        if taken.is_none() {
            keep(&mut waiting.waker, cx);
            return Poll::Pending;
        }
        // It is paused, or over.
        waiting.ended = matches!(taken, Some(Err(_)));
        self.settle(state);
        Poll::Ready(taken)
    }

    /// A follower continues at another index. Returns whether it can.
    pub(crate) fn rewind(&self, id: CommandId, to: Index) -> bool {
        let mut state = self.state.lock();
        let can = state.cluster.rewind(clock::now(), id, to);
        if can && let Some(waiting) = state.waiting.get_mut(&id) {
            waiting.ended = false;
        }
        self.settle(state);
        can
    }

    /// The end: every command ends, and later ones are refused.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        state.cluster.close(clock::now());
        let keeper = state.keeper.waker.take();
        self.settle(state);
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// The keeper's turn: does what is due, and returns the connections to be made. `None`: it is over.
    pub(crate) fn keep(&self, cx: &mut Context<'_>) -> Option<Vec<Open>> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        keep(&mut state.keeper.waker, cx);
        let now = clock::now();
        if state.cluster.next_timeout().is_some_and(|at| at <= now) {
            state.cluster.handle_timeout(now);
        }
        self.settle(state);
        Some(std::mem::take(&mut self.state.lock().keeper.opens))
    }

    /// When the keeper has to check the time again.
    pub(crate) fn sleep_until(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let at = state.cluster.next_timeout();
        state.keeper.sleeps_until = at;
        at
    }

    /// Reports a connection to `tracing` and `metrics`, if they are enabled.
    pub(crate) fn observe(&self, at: At, tell: impl FnOnce(To<'_>)) {
        if cfg!(any(feature = "tracing", feature = "metrics")) {
            let node = self.address(at.node).unwrap_or_default();
            tell(To { client: &self.name, node: &node, lane: at.lane });
        }
    }

    pub(crate) fn connected(&self, at: At) {
        self.observe(at, observe::connected);
        let At { node, lane, epoch } = at;
        self.with(|cluster, now| cluster.connected(now, node, lane, epoch));
    }

    pub(crate) fn dial_failed(&self, at: At, cause: Disconnect) {
        self.observe(at, |to| observe::dial_failed(to, &cause));
        let At { node, lane, epoch } = at;
        self.gone(at, |cluster, now| cluster.dial_failed(now, node, lane, epoch, cause));
    }

    pub(crate) fn disconnected(&self, at: At, cause: Disconnect) {
        self.observe(at, |to| observe::lost(to, &cause));
        let At { node, lane, epoch } = at;
        self.gone(at, |cluster, now| cluster.disconnected(now, node, lane, epoch, cause));
    }

    /// Reports the end of a connection, and drops its desk.
    fn gone(&self, At { node, lane, epoch }: At, report: impl FnOnce(&mut Cluster, Instant)) {
        let mut state = self.state.lock();
        let desk = state.desk(node, lane, epoch);
        if desk.is_some() {
            state.desks.remove(&(node, lane));
        }
        report(&mut state.cluster, clock::now());
        self.settle(state);
    }
}

impl State {
    /// Delivers results at once, and returns the work to do without the lock.
    fn take_outputs(&mut self, actions: &mut Actions, wakers: &mut VecDeque<Waker>) {
        let mut opens = false;
        actions.append(&mut self.left.actions);
        wakers.append(&mut self.left.wakers);
        for (call, sent, cause) in self.left.failed.drain(..) {
            self.cluster.call_failed(clock::now(), call, sent, cause);
        }
        while actions.len() < BATCH
            && let Some(output) = self.cluster.poll_output()
        {
            match output {
                Output::Open { node, lane, epoch } => {
                    let (at, desk) = (At { node, lane, epoch }, Arc::new(Desk::default()));
                    self.desks.insert((node, lane), (epoch, Arc::clone(&desk)));
                    let address = self.cluster.address(node).unwrap_or_default().to_owned();
                    self.keeper.opens.push(Open { at, address, desk });
                    opens = true;
                }
                Output::Close { node, lane, epoch, cause } => {
                    if let Some(desk) = self.desk(node, lane, epoch) {
                        self.desks.remove(&(node, lane));
                        actions.push_back((desk, Action::Close { at: At { node, lane, epoch }, cause }));
                    }
                }
                Output::Call { node, lane, epoch, call, request, .. } => {
                    if let Some(desk) = self.desk(node, lane, epoch) {
                        actions.push_back((desk, Action::Call { call, request }));
                    }
                }
                Output::Forget { node, lane, epoch, call } => {
                    if let Some(desk) = self.desk(node, lane, epoch) {
                        actions.push_back((desk, Action::Forget(call)));
                    }
                }
                Output::Done { command, result } => {
                    if let Some(waiting) = self.waiting.get_mut(&command) {
                        waiting.result = Some(result);
                        wakers.extend(waiting.waker.take());
                    }
                }
                Output::Ready { follower } => {
                    if let Some(waiting) = self.waiting.get_mut(&follower) {
                        wakers.extend(waiting.waker.take());
                    }
                }
                _ => {}
            }
        }
        let next = self.cluster.next_timeout();
        let is_earlier = next.is_some_and(|next| self.keeper.sleeps_until.is_none_or(|until| next < until));
        if opens || is_earlier {
            if is_earlier {
                self.keeper.sleeps_until = next;
            }
            wakers.extend(self.keeper.waker.take());
        }
    }

    /// The desk of a connection, if it is the present one.
    fn desk(&self, node: NodeId, lane: Lane, epoch: Epoch) -> Option<Arc<Desk>> {
        let (present, desk) = self.desks.get(&(node, lane))?;
        (*present == epoch).then(|| Arc::clone(desk))
    }
}

/// The minimum number of bytes of a send other than its messages, its topic and the cluster's id.
const KEYS: usize = 48;

/// The number of bytes of a string's head.
fn head(len: usize) -> usize {
    match len {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 5,
    }
}

/// Keeps the task's waker.
fn keep(kept: &mut Option<Waker>, cx: &Context<'_>) {
    match kept {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *kept = Some(cx.waker().clone()),
    }
}
