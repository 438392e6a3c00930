//! A socket behind its lock: pipes, and the callers that wait for them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bowline_core::body::Payload;
use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_core::waiters::{Ticket, Turn, Waiters};
use bowline_driver::sync::{Arc, Mutex, Weak};
use bowline_driver::{Shared, clock};
use bowline_zmtp::mechanism::Decision;
use bowline_zmtp::message::Message;
use bowline_zmtp::options::Options;
use bowline_zmtp::pipe::{AuthRequest, Pipe, PipeEvent, Role};
use bowline_zmtp::socket::{PipeId, Pipes, RecvError, SendError, Socket, SocketEvent, SocketStats};

use crate::error::{ReceiveError, Refusal};

/// A pipe behind its lock.
pub(crate) type SharedPipe = Shared<Pipe<Waker>>;

/// What all handles of a socket share, whatever runtime drives its pipes.
///
/// The socket's lock is taken before a pipe's, never after it. Wakers are called when both are released.
pub(crate) struct SocketCore {
    pub(crate) options: Arc<Options>,
    /// How long closing waits for what is to be sent.
    pub(crate) linger: Duration,
    state: Mutex<State>,
    /// Called when a pipe that was full has room.
    room: Waker,
    /// Decides which peers are let in, where the options ask.
    authenticator: Option<Authenticator>,
}

/// Decides about a peer.
pub(crate) type Authenticator = Box<dyn Fn(&AuthRequest) -> Decision + Send + Sync>;

struct State {
    socket: Socket,
    table: Table,
    senders: Waiters<Waker>,
    receivers: Waiters<Waker>,
    /// Tasks that wait for a change of the peers: for one to be ready, for the last to be gone.
    watchers: Vec<Waker>,
    is_closing: bool,
}

/// The pipes of a socket, and the wakers to be called when its lock is released.
#[derive(Default)]
struct Table {
    pipes: BTreeMap<PipeId, Arc<SharedPipe>>,
    wakers: Vec<Waker>,
}

impl Pipes for Table {
    type Token = Waker;

    fn with<R>(&mut self, id: PipeId, f: impl FnOnce(&mut Pipe<Waker>) -> R) -> Option<R> {
        let Self { pipes, wakers } = self;
        pipes.get(&id).map(|pipe| pipe.with_wakers(wakers, f))
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
            });
        }
    }
}

impl SocketCore {
    pub(crate) fn new(
        options: Arc<Options>,
        linger: Duration,
        seed: u32,
        authenticator: Option<Authenticator>,
    ) -> Arc<Self> {
        let state = State {
            socket: Socket::new(Arc::clone(&options), seed),
            table: Table::default(),
            senders: Waiters::new(),
            receivers: Waiters::new(),
            watchers: Vec::new(),
            is_closing: false,
        };
        Arc::new_cyclic(|weak| Self {
            options,
            linger,
            state: Mutex::new(state),
            room: Waker::from(Arc::new(Room(Weak::clone(weak)))),
            authenticator,
        })
    }

    /// Works under the lock, then calls the wakers.
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        let wakers = std::mem::take(&mut state.table.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// A new pipe. Of a socket that closes it is closed, and soon [ended](Self::ended).
    pub(crate) fn add(&self, role: Role) -> (PipeId, Arc<SharedPipe>) {
        self.with(|state| {
            let id = state.socket.add(role);
            let mut pipe = Pipe::new(Arc::clone(&self.options), role);
            #[cfg(feature = "curve")]
            {
                // Without randomness there is no key to be had: better no connection than one that can be guessed.
                pipe = pipe.with_entropy(|bytes| getrandom::fill(bytes).expect("the system has randomness"));
            }
            if state.is_closing {
                pipe.close(clock::now(), Duration::ZERO);
            }
            let pipe = Arc::new(Shared::new(pipe));
            state.table.pipes.insert(id, Arc::clone(&pipe));
            (id, pipe)
        })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.with(|state| state.is_closing)
    }

    /// A pipe tells something.
    pub(crate) fn handle_event(&self, id: PipeId, event: PipeEvent<'_>) {
        if let PipeEvent::Authenticate(request) = &event {
            return self.authenticate(id, request);
        }
        let (is_ready, has_messages) = match &event {
            PipeEvent::Ready(_) => (true, false),
            PipeEvent::Messages { was_empty, .. } => (false, *was_empty),
            // Subscriptions are messages for an XPUB.
            _ => (false, true),
        };
        if matches!(event, PipeEvent::Messages { was_empty: false, .. }) {
            return;
        }
        self.with(|state| {
            state.socket.handle_event(&mut state.table, id, event);
            if is_ready {
                state.grant_sender();
                state.wake_watchers();
            }
            if has_messages {
                state.grant_receiver();
                state.wake_watchers();
            }
        });
    }

    /// Asks the program, without a lock. A panic of its function is a refusal.
    fn authenticate(&self, id: PipeId, request: &AuthRequest) {
        let decide = || self.authenticator.as_ref().map(|authenticator| authenticator(request));
        let decided = catch_unwind(AssertUnwindSafe(decide));
        // RFC 27: 500 is an error of the server's.
        let decision = decided.ok().flatten().unwrap_or(Decision::Refuse { status: 500 });
        self.with(|state| state.table.with(id, |pipe| pipe.decide(request.connection, decision)));
    }

    /// The connection of a pipe ended.
    pub(crate) fn disconnected(&self, id: PipeId, cause: &Disconnect) {
        self.with(|state| {
            state.socket.disconnected(&mut state.table, id, cause.clone());
            state.forget_if_closed(id);
            state.note_change();
        });
    }

    /// There will be no further connection of a pipe.
    pub(crate) fn ended(&self, id: PipeId, cause: &Disconnect) {
        self.with(|state| {
            if state.table.pipes.contains_key(&id) {
                state.socket.disconnected(&mut state.table, id, cause.clone());
                state.table.pipes.remove(&id);
            }
            state.note_change();
        });
    }

    /// Sends, or keeps the waker for when it may be possible.
    pub(crate) fn poll_send(
        &self,
        parts: &[Payload<'_>],
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        self.with(|state| {
            if state.is_closing {
                return Poll::Ready(Err(Refusal::Closed));
            }
            let is_next = match *ticket {
                Some(held) => match state.senders.poll(held, || cx.waker().clone()) {
                    Turn::Waiting => return Poll::Pending,
                    _ => true,
                },
                None => state.senders.waiting() + state.senders.granted() == 0,
            };
            *ticket = None;
            if !is_next {
                *ticket = Some(state.senders.join(cx.waker().clone()));
                return Poll::Pending;
            }
            match state.socket.send(&mut state.table, parts) {
                Err(SendError::WouldBlock) => {
                    *ticket = Some(state.senders.join(cx.waker().clone()));
                    state.watch_room(&self.room);
                    Poll::Pending
                }
                result => {
                    state.grant_sender();
                    Poll::Ready(result.map_err(Refusal::Socket))
                }
            }
        })
    }

    /// Sends if that needs no waiting.
    pub(crate) fn try_send(&self, parts: &[Payload<'_>]) -> Result<(), Refusal> {
        self.with(|state| {
            if state.is_closing {
                return Err(Refusal::Closed);
            }
            // Those that wait are first.
            if state.senders.waiting() > 0 {
                return Err(Refusal::Socket(SendError::WouldBlock));
            }
            state.socket.send(&mut state.table, parts).map_err(Refusal::Socket)
        })
    }

    /// A caller that waited goes away.
    pub(crate) fn leave_senders(&self, ticket: Ticket) {
        self.with(|state| {
            if state.senders.leave(ticket) {
                state.grant_sender();
            }
        });
    }

    /// Receives, or keeps the waker for when there may be something.
    pub(crate) fn poll_receive(
        &self,
        message: &mut Message,
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<PipeId, ReceiveError>> {
        self.with(|state| {
            if let Some(held) = *ticket
                && state.receivers.poll(held, || cx.waker().clone()) == Turn::Waiting
            {
                return Poll::Pending;
            }
            *ticket = None;
            match state.receive(message) {
                Err(ReceiveError::Socket(RecvError::WouldBlock)) => {
                    *ticket = Some(state.receivers.join(cx.waker().clone()));
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        })
    }

    /// Receives what is there.
    pub(crate) fn try_receive(&self, message: &mut Message) -> Result<PipeId, ReceiveError> {
        self.with(|state| state.receive(message))
    }

    /// A caller that waited goes away.
    pub(crate) fn leave_receivers(&self, ticket: Ticket) {
        self.with(|state| {
            if state.receivers.leave(ticket) {
                state.grant_receiver();
            }
        });
    }

    /// Subscribes to a topic, or joins a group.
    pub(crate) fn subscribe(&self, topic: &[u8]) {
        self.with(|state| state.socket.subscribe(&mut state.table, topic));
    }

    /// Ends a subscription. False: there is none.
    pub(crate) fn unsubscribe(&self, topic: &[u8]) -> bool {
        self.with(|state| state.socket.unsubscribe(&mut state.table, topic))
    }

    /// Subscriptions of the peers of a publisher.
    pub(crate) fn subscriptions(&self) -> usize {
        self.with(|state| state.socket.subscriptions())
    }

    pub(crate) fn stats(&self) -> SocketStats {
        self.with(|state| state.socket.stats())
    }

    pub(crate) fn take_event(&self) -> Option<SocketEvent> {
        self.with(|state| state.socket.take_event())
    }

    /// Whether a pipe is past its handshake; `None`: it is gone.
    pub(crate) fn is_ready(&self, id: PipeId) -> Option<bool> {
        self.with(|state| state.table.with(id, |pipe| pipe.peer().is_some()))
    }

    /// The waker is called when a peer comes, goes or subscribes.
    pub(crate) fn watch(&self, waker: &Waker) {
        self.with(|state| {
            if !state.watchers.iter().any(|kept| kept.will_wake(waker)) {
                state.watchers.push(waker.clone());
            }
        });
    }

    /// Ends one pipe, after what waits in it was sent, or the linger time.
    pub(crate) fn close_pipe(&self, id: PipeId) {
        self.with(|state| state.table.with(id, |pipe| pipe.close(clock::now(), self.linger)));
    }

    /// Takes nothing new, and ends every pipe when what waits in it was sent, or after the linger time.
    pub(crate) fn begin_close(&self, linger: Duration) {
        self.with(|state| {
            let State { table, senders, receivers, is_closing, .. } = state;
            *is_closing = true;
            senders.close(|waker| table.wakers.push(waker));
            receivers.close(|waker| table.wakers.push(waker));
            let ids: Vec<PipeId> = table.pipes.keys().copied().collect();
            for id in ids {
                table.with(id, |pipe| pipe.close(clock::now(), linger));
            }
        });
    }

    /// Whether it closes, and every pipe is gone. Otherwise the waker is called when that may be so.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> bool {
        self.watch(cx.waker());
        self.with(|state| state.is_closing && state.table.pipes.is_empty())
    }

    /// Messages that no peer got, of a socket that is closed.
    pub(crate) fn take_unsent(&self) -> Vec<Message> {
        self.with(|state| state.socket.take_returned().collect())
    }
}

impl State {
    fn receive(&mut self, message: &mut Message) -> Result<PipeId, ReceiveError> {
        match self.socket.recv(&mut self.table, message) {
            Ok(id) => {
                // There may be more, for the next that waits.
                self.grant_receiver();
                Ok(id)
            }
            Err(RecvError::WouldBlock) if self.is_closing => Err(ReceiveError::Closed),
            Err(error) => Err(ReceiveError::Socket(error)),
        }
    }

    fn grant_sender(&mut self) {
        self.table.wakers.extend(self.senders.grant_one());
    }

    fn grant_receiver(&mut self) {
        self.table.wakers.extend(self.receivers.grant_one());
    }

    fn wake_watchers(&mut self) {
        self.table.wakers.append(&mut self.watchers);
    }

    /// Peers changed: whatever waits looks again.
    fn note_change(&mut self) {
        self.grant_sender();
        self.grant_receiver();
        self.wake_watchers();
    }

    fn forget_if_closed(&mut self, id: PipeId) {
        if self.table.with(id, |pipe| pipe.is_closed()) == Some(true) {
            self.table.pipes.remove(&id);
        }
    }

    /// Room in any of the pipes that messages go to ends the wait of a sender.
    fn watch_room(&mut self, room: &Waker) {
        for id in self.socket.targets() {
            self.table.with(*id, |pipe| pipe.watch_room(room.clone()));
        }
    }
}
