//! Whether a socket can send or receive, for callers that wait without a message: for several sockets at
//! once, or as a proxy.
//!
//! They are watchers and not in the queues of callers: a watcher that is notified takes no one's turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bowline_core::body::Payload;
use bowline_core::waiters::Ticket;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{PipeId, Pipes, RecvError};
use bowline_zmtp::socket_type::SocketType;

use super::{SocketCore, State};
use crate::error::{ReceiveError, Refusal};

/// The event that a caller waits for, and whether it is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interest {
    /// A message can be received; or none ever will be, because the socket is closed.
    pub(crate) recv: bool,
    /// A message would be accepted; or none ever will be, because the socket is closed.
    pub(crate) send: bool,
}

impl Interest {
    pub(crate) const RECV: Self = Self { recv: true, send: false };
    pub(crate) const SEND: Self = Self { recv: false, send: true };

    pub(crate) fn any(self) -> bool {
        self.recv || self.send
    }
}

/// A number for a new poller.
pub(crate) fn new_poller() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl SocketCore {
    /// The part of `want` that is true. If none is, the waker is called when that may have changed, unless
    /// the [poller](new_poller) left.
    pub(crate) fn poll_ready(&self, poller: u64, want: Interest, cx: &mut Context<'_>) -> Interest {
        self.with(|state| {
            let there = state.ready(want);
            if !there.any() {
                match state.pollers.iter_mut().find(|(number, _)| *number == poller) {
                    Some((_, waker)) => waker.clone_from(cx.waker()),
                    None => state.pollers.push((poller, cx.waker().clone())),
                }
                if want.send && state.socket.waits_for_room() {
                    state.watch_room(&self.room);
                }
            }
            there
        })
    }

    /// The part of `want` that is true.
    pub(crate) fn ready(&self, want: Interest) -> Interest {
        self.with(|state| state.ready(want))
    }

    /// Sends a message of these parts, or keeps the waker for when that may be possible.
    pub(crate) fn poll_send_parts(
        &self,
        parts: &[Payload<'_>],
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        self.poll_send(ticket, cx, |socket, table| socket.send(table, parts))
    }

    /// Sends a message of these parts, if that needs no waiting.
    pub(crate) fn try_send_parts(&self, parts: &[Payload<'_>]) -> Result<(), Refusal> {
        self.try_send(|socket, table| socket.send(table, parts))
    }

    /// Receives into `message`, or keeps the waker for when there may be a message.
    pub(crate) fn poll_receive_into(
        &self,
        message: &mut Message,
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<PipeId, ReceiveError>> {
        self.poll_receive(ticket, cx, |state| state.receive(message))
    }

    /// The next message, if there is one.
    pub(crate) fn try_take(&self) -> Result<Option<Message>, ReceiveError> {
        let mut message = Message::new();
        match self.try_receive(|state| state.receive(&mut message)) {
            Ok(_) => Ok(Some(message)),
            Err(ReceiveError::Socket(RecvError::WouldBlock)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a poller.
    pub(crate) fn leave_pollers(&self, poller: u64) {
        self.with(|state| state.pollers.retain(|(number, _)| *number != poller));
    }
}

impl State {
    fn ready(&mut self, want: Interest) -> Interest {
        let Self { socket, table, is_closing, .. } = self;
        Interest {
            recv: want.recv && (socket.can_recv(table) || *is_closing),
            send: want.send && (*is_closing || socket.can_send(table)),
        }
    }

    pub(super) fn wake_pollers(&mut self) {
        self.table.wakers.extend(self.pollers.drain(..).map(|(_, waker)| waker));
    }

    pub(super) fn watch(&mut self, waker: &Waker) {
        if !self.watchers.iter().any(|kept| kept.will_wake(waker)) {
            self.watchers.push(waker.clone());
        }
    }

    /// A message was sent or received: in types that take turns, the other operation is possible now.
    pub(super) fn note_turn(&mut self) {
        if matches!(self.socket.kind(), SocketType::Req | SocketType::Rep) {
            self.wake_pollers();
        }
    }

    /// Room in any of the pipes that messages go to ends the wait of a sender; of an XSUB, which sends to
    /// all, room in every full one.
    pub(super) fn watch_room(&mut self, room: &Waker) {
        let needs_all = self.socket.kind() == SocketType::XSub;
        let mut watched = false;
        for id in self.socket.targets() {
            self.table.with_out(*id, |pipe| {
                if !needs_all || pipe.is_full() {
                    pipe.watch_room(room.clone());
                    watched = true;
                }
            });
        }
        if needs_all && !watched {
            // It got room a moment later.
            self.table.wakers.push(room.clone());
        }
    }
}
