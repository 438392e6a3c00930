//! A socket behind its lock: its pipes, and the callers that wait for them.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::task::{Wake, Waker};
use std::time::Duration;

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::waiters::Waiters;
use bowline_driver::place::Place;
use bowline_driver::sync::{Arc, Mutex, MutexGuard, Weak};
use bowline_driver::{Shared, clock};
use bowline_zmtp::mechanism::Decision;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{Pipe, PipeEvent, Role};
use bowline_zmtp::socket::{PipeId, Pipes, Socket, SocketStats};
use bowline_zmtp::socket_type::SocketType;

use crate::auth::Authenticator;
use crate::context::Seat;
use crate::inproc::{self, Inproc};
use crate::lifetime::{CloseAll, Setup};
use crate::monitor::Monitor;
use crate::observe::Label;

#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod dropped;
#[cfg(test)]
mod dropped_turns;
#[cfg(test)]
mod model;
mod peers;
mod readiness;
mod waiting;

pub(crate) use readiness::{Interest, new_poller};

/// A pipe behind its lock.
pub(crate) type SharedPipe = Shared<Pipe<Waker>>;

/// The state that all handles of a socket share, for any runtime of its pipes.
///
/// The socket's lock is taken before a pipe's, never after it. Wakers are called after both are released.
pub(crate) struct SocketCore {
    pub(crate) options: Arc<Options>,
    pub(crate) kind: SocketType,
    /// It sends one message at a time, and then waits for one.
    is_lone: bool,
    /// How long closing waits for messages to be sent.
    pub(crate) linger: Duration,
    /// The name that the program gave it.
    pub(crate) name: String,
    seat: Seat,
    pub(crate) monitor: Monitor,
    /// The owner of its listeners, while there are handles.
    handle: OnceLock<Weak<dyn CloseAll>>,
    state: Mutex<State>,
    /// Called when a full pipe has room again.
    room: Waker,
    /// Decides which peers are let in, if the options require that.
    pub(crate) authenticator: Option<Authenticator>,
}

pub(crate) struct State {
    pub(crate) socket: Socket,
    pub(crate) table: Table,
    senders: Waiters<Waker>,
    receivers: Waiters<Waker>,
    /// Tasks that wait for a change of the peers: for one to be ready, or for the last one to be gone.
    watchers: Vec<Waker>,
    /// Callers that wait for the socket to be ready, by number.
    pollers: Vec<(u64, Waker)>,
    /// The number of accept loops, and of pipes that are driven.
    running: usize,
    pub(crate) is_closing: bool,
}

/// The pipes of a socket, and the wakers to be called after its lock is released.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) pipes: BTreeMap<PipeId, Entry>,
    wakers: Vec<Waker>,
    lone: Lone,
    /// Pipes with a batch that the sender writes.
    piles: Vec<(PipeId, Arc<SharedPipe>)>,
}

/// The pipe whose task is not woken, because the sender writes.
#[derive(Default)]
enum Lone {
    /// Tasks are woken.
    #[default]
    Nothing,
    Wanted,
    Pipe(PipeId, Arc<SharedPipe>),
}

/// A pipe of a socket.
pub(crate) struct Entry {
    pub(crate) pipe: Arc<SharedPipe>,
    /// Of a pipe to another socket of this process.
    pub(crate) inproc: Option<Inproc>,
}

impl Pipes for Table {
    type Token = Waker;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Waker>) -> R) -> Option<R> {
        let Self { pipes, wakers, .. } = self;
        pipes.get(&id).map(|entry| entry.pipe.with_wakers(wakers, f))
    }

    #[inline]
    fn with_out<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Waker>) -> R) -> Option<R> {
        let Self { pipes, wakers, lone, piles } = self;
        let out = pipes.get(&id)?.out();
        if matches!(lone, Lone::Nothing) {
            let (result, has_pile) = out.with_wakers(wakers, |pipe| {
                let result = f(pipe);
                (result, pipe.has_pile())
            });
            if has_pile {
                piles.push((id, Arc::clone(out)));
            }
            return Some(result);
        }
        if let Lone::Pipe(_, earlier) = std::mem::replace(lone, Lone::Pipe(id, Arc::clone(out)))
            && !Arc::ptr_eq(&earlier, out)
        {
            earlier.with_wakers(wakers, |_| ());
        }
        Some(out.look(f))
    }
}

impl Entry {
    /// The pipe that takes messages for the peer.
    fn out(&self) -> &Arc<SharedPipe> {
        match self.inproc.as_ref().and_then(|inproc| inproc.joint.as_ref()) {
            Some(joint) => &joint.pipe,
            None => &self.pipe,
        }
    }
}

impl std::fmt::Debug for SocketCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketCore").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Wakes the senders of a socket.
struct Room(Weak<SocketCore>);

impl Wake for Room {
    fn wake(self: Arc<Self>) {
        if let Some(core) = self.0.upgrade() {
            core.with(|state| {
                state.socket.flush(&mut state.table);
                state.grant_sender();
                state.wake_pollers();
            });
        }
    }
}

impl SocketCore {
    pub(crate) fn new(setup: Setup, seed: u32, seat: Seat) -> Arc<Self> {
        let Setup { options, kind, linger, name, authenticator } = setup;
        let state = State {
            socket: Socket::new(Arc::clone(&options), seed),
            table: Table::default(),
            senders: Waiters::new(),
            receivers: Waiters::new(),
            watchers: Vec::new(),
            pollers: Vec::new(),
            running: 0,
            is_closing: false,
        };
        let label = Label { context: seat.context().name.clone(), socket: name.clone(), kind };
        let core = Arc::new_cyclic(|weak| Self {
            is_lone: matches!(options.kind(), SocketType::Req | SocketType::Rep),
            options,
            kind,
            linger,
            name,
            seat,
            monitor: Monitor::new(label),
            handle: OnceLock::new(),
            state: Mutex::new(state),
            room: Waker::from(Arc::new(Room(Weak::clone(weak)))),
            authenticator,
        });
        if !core.seat.take(&core) {
            core.begin_close(Duration::ZERO);
        }
        core
    }

    /// Sets the owner of the listeners: called once, when the socket is made.
    pub(crate) fn set_handle(&self, handle: Weak<dyn CloseAll>) {
        // There is one handle for each socket.
        let _ = self.handle.set(handle);
    }

    /// Where its tasks run.
    pub(crate) fn place(&self) -> Place {
        self.seat.context().place()
    }

    /// The socket is closed: its context has room for another one.
    pub(crate) fn leave_context(&self) {
        self.seat.leave();
    }

    /// Closes the socket and its listeners.
    pub(crate) fn close_all(self: &Arc<Self>, linger: Duration) {
        match self.handle.get().and_then(Weak::upgrade) {
            Some(handle) => handle.close_all(linger),
            None => self.begin_close(linger),
        }
    }

    /// Calls `f` under the lock, then calls the wakers.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        // Nothing was sent, or the pipes' tasks were woken to write it.
        state.table.piles.clear();
        if !state.table.wakers.is_empty() || state.socket.has_events() {
            self.settle(state);
        }
        result
    }

    /// Releases the lock, reports events, and calls the wakers.
    #[inline(never)]
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.table.wakers);
        let events: Vec<_> = std::iter::from_fn(|| state.socket.take_event()).collect();
        drop(state);
        events.into_iter().for_each(|event| self.monitor.tell(event));
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Calls `f` under the lock, for a caller that holds another one: the wakers are added to `wakers`, to be
    /// called after that is released.
    pub(crate) fn with_wakers<R>(&self, wakers: &mut Vec<Waker>, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        state.table.piles.clear();
        wakers.append(&mut state.table.wakers);
        if state.socket.has_events() {
            // It reports the events.
            wakers.push(self.room.clone());
        }
        result
    }

    /// A new pipe. If the socket is closing, the pipe is closed, and [ends](Self::ended) soon.
    pub(crate) fn add(&self, role: Role) -> (PipeId, Arc<SharedPipe>) {
        self.with(|state| self.add_to(state, role, None))
    }

    pub(crate) fn add_to(
        &self,
        state: &mut State,
        role: Role,
        inproc: Option<Inproc>,
    ) -> (PipeId, Arc<SharedPipe>) {
        let id = state.socket.add(role);
        (id, self.make_pipe(state, id, role, inproc))
    }

    fn make_pipe(
        &self,
        state: &mut State,
        id: PipeId,
        role: Role,
        inproc: Option<Inproc>,
    ) -> Arc<SharedPipe> {
        let mut pipe = Pipe::new(Arc::clone(&self.options), role).with_sums(state.socket.sums());
        #[cfg(feature = "curve")]
        {
            // Without randomness there is no key: no connection is better than one that can be guessed.
            pipe = pipe.with_entropy(|bytes| getrandom::fill(bytes).expect("the system has randomness"));
        }
        if state.is_closing {
            pipe.close(clock::now(), Duration::ZERO);
        }
        let pipe = Arc::new(Shared::new(pipe));
        state.table.pipes.insert(id, Entry { pipe: Arc::clone(&pipe), inproc });
        // Without `immediate` it accepts messages before there is a peer.
        state.grant_sender();
        state.wake_watchers();
        pipe
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.with(|state| state.is_closing)
    }

    /// A pipe reports an event.
    pub(crate) fn handle_event(self: &Arc<Self>, id: PipeId, event: PipeEvent<'_>) {
        if let PipeEvent::Authenticate(request) = event {
            return self.authenticate(id, request);
        }
        if matches!(event, PipeEvent::Messages { was_empty: false, .. }) {
            return;
        }
        self.with(|state| state.handle(id, event));
    }

    /// The program's decision about a peer.
    pub(crate) fn decide(&self, id: PipeId, connection: u64, decision: Decision) {
        self.with(|state| state.table.with(id, |pipe| pipe.decide(connection, decision)));
    }

    /// The connection of a pipe ended.
    pub(crate) fn disconnected(&self, id: PipeId, cause: &Disconnect) {
        self.forget_decision(id);
        self.with(|state| {
            state.socket.connection_ended(id, cause);
            state.socket.disconnected(&mut state.table, id, cause.clone());
            state.forget_if_closed(id);
            state.note_change();
        });
    }

    /// There will be no further connection of a pipe.
    pub(crate) fn ended(&self, id: PipeId, cause: &Disconnect) {
        self.with(|state| state.end(id, cause));
    }

    /// The attempts to connect a pipe are used up, or cannot succeed.
    pub(crate) fn gave_up(&self, id: PipeId, cause: &Disconnect) {
        self.with(|state| state.socket.gave_up(id, cause.clone()));
    }

    /// Subscribes to a topic, or joins a group.
    pub(crate) fn subscribe(&self, topic: &[u8]) {
        self.with(|state| state.socket.subscribe(&mut state.table, topic));
    }

    /// Ends a subscription. `false`: there is none.
    pub(crate) fn unsubscribe(&self, topic: &[u8]) -> bool {
        self.with(|state| state.socket.unsubscribe(&mut state.table, topic))
    }

    /// Subscriptions of the peers of a publisher.
    pub(crate) fn subscriptions(&self) -> usize {
        self.with(|state| state.socket.subscriptions())
    }

    pub(crate) fn stats(&self) -> SocketStats {
        let mut stats = self.with(|state| state.socket.stats());
        stats.events_lost += self.monitor.lost();
        stats
    }

    /// Whether the handshake of a pipe is done; `None`: the pipe is gone.
    pub(crate) fn is_ready(&self, id: PipeId) -> Option<bool> {
        self.with(|state| state.table.with(id, |pipe| pipe.peer().is_some()))
    }

    /// The waker is called when a peer arrives, leaves or subscribes.
    pub(crate) fn watch(&self, waker: &Waker) {
        self.with(|state| state.watch(waker));
    }

    /// Ends one pipe, after its waiting messages were sent, or after the linger time.
    pub(crate) fn close_pipe(self: &Arc<Self>, id: PipeId) {
        let is_alone = self.with(|state| {
            state.table.with(id, |pipe| pipe.close(clock::now(), self.linger));
            state.table.pipes.get(&id).is_some_and(Entry::waits_for_binding)
        });
        if is_alone {
            inproc::retire(self, id);
        }
    }

    /// Refuses new messages, and ends every pipe when its waiting messages were sent, or after the linger
    /// time.
    pub(crate) fn begin_close(self: &Arc<Self>, linger: Duration) {
        let alone: Vec<PipeId> = self.with(|state| {
            let State { table, senders, receivers, watchers, is_closing, .. } = state;
            *is_closing = true;
            senders.close(|waker| table.wakers.push(waker));
            receivers.close(|waker| table.wakers.push(waker));
            table.wakers.append(watchers);
            let ids: Vec<PipeId> = table.pipes.keys().copied().collect();
            for id in ids {
                table.with(id, |pipe| pipe.close(clock::now(), linger));
            }
            state.wake_watchers();
            let State { table, .. } = state;
            let alone = table.pipes.iter().filter(|(_, entry)| entry.waits_for_binding());
            alone.map(|(id, _)| *id).collect()
        });
        alone.into_iter().for_each(|id| inproc::retire(self, id));
    }

    /// Whether the socket is closing, and every pipe and task is gone. Otherwise the waker is called when
    /// that may have changed.
    pub(crate) fn poll_closed(&self, waker: &Waker) -> bool {
        self.watch(waker);
        self.with(|state| state.is_closing && state.table.pipes.is_empty() && state.running == 0)
    }

    /// The messages that no peer got, of a closed socket.
    pub(crate) fn take_unsent(&self) -> Vec<Message> {
        self.with(|state| state.socket.take_returned().collect())
    }
}

impl SocketCore {
    /// A part of it runs from now on.
    pub(crate) fn begin_run(&self) {
        self.with(|state| state.running += 1);
    }

    /// That part runs no longer.
    pub(crate) fn end_run(&self) {
        self.with(|state| {
            state.running -= 1;
            if state.running == 0 {
                state.wake_watchers();
            }
        });
    }
}

impl State {
    /// There will be no further connection of a pipe.
    pub(crate) fn end(&mut self, id: PipeId, cause: &Disconnect) {
        if self.table.pipes.contains_key(&id) {
            self.socket.ended(&mut self.table, id, cause.clone());
            self.table.pipes.remove(&id);
        }
        self.note_change();
    }

    /// Passes an event of a pipe to the socket, and wakes the callers that wait for it.
    pub(crate) fn handle(&mut self, id: PipeId, event: PipeEvent<'_>) {
        let (is_ready, has_messages) = match &event {
            PipeEvent::Ready(_) => (true, false),
            PipeEvent::Messages { was_empty, .. } => (false, *was_empty),
            // For an XPUB subscriptions are messages.
            _ => (false, true),
        };
        self.socket.handle_event(&mut self.table, id, event);
        if is_ready {
            self.grant_sender();
        }
        if has_messages {
            self.grant_receiver();
        }
        self.wake_watchers();
    }

    #[inline]
    fn grant_sender(&mut self) {
        if let Some(waker) = self.senders.grant_one() {
            self.table.wakers.push(waker);
        }
    }

    #[inline]
    fn grant_receiver(&mut self) {
        if let Some(waker) = self.receivers.grant_one() {
            self.table.wakers.push(waker);
        }
    }

    fn wake_watchers(&mut self) {
        self.table.wakers.append(&mut self.watchers);
        self.wake_pollers();
    }

    /// Peers changed: all waiting callers check again.
    pub(crate) fn note_change(&mut self) {
        self.grant_sender();
        self.grant_receiver();
        self.wake_watchers();
    }

    fn forget_if_closed(&mut self, id: PipeId) {
        if self.table.with(id, |pipe| pipe.is_closed()) == Some(true) {
            self.table.pipes.remove(&id);
        }
    }
}
