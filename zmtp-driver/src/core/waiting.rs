//! Sending and receiving, and the callers that wait for their turn.

use std::task::{Context, Poll};

use bowline_core::waiters::{Ticket, Turn};
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{PipeId, RecvError, SendError, Socket};

#[cfg(test)]
mod late;

use super::{Lone, SharedPipe, SocketCore, State, Table};
use crate::error::{ReceiveError, Refusal};

impl SocketCore {
    /// Sends, or keeps the waker for when it may be possible. `send` is called when it is the caller's turn,
    /// and again when there may be room.
    pub(crate) fn poll_send(
        &self,
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&mut Socket, &mut Table) -> Result<(), SendError>,
    ) -> Poll<Result<(), Refusal>> {
        self.and_write(|state| {
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
            match send(&mut state.socket, &mut state.table) {
                Err(SendError::WouldBlock) => {
                    *ticket = Some(state.senders.join(cx.waker().clone()));
                    state.watch_room(&self.room);
                    Poll::Pending
                }
                result => {
                    state.grant_sender();
                    state.note_turn();
                    Poll::Ready(result.map_err(Refusal::Socket))
                }
            }
        })
    }

    /// Sends if that needs no waiting.
    pub(crate) fn try_send(
        &self,
        send: impl FnOnce(&mut Socket, &mut Table) -> Result<(), SendError>,
    ) -> Result<(), Refusal> {
        self.and_write(|state| {
            if state.is_closing {
                return Err(Refusal::Closed);
            }
            // Waiting senders go first.
            if state.senders.waiting() > 0 {
                return Err(Refusal::Socket(SendError::WouldBlock));
            }
            let sent = send(&mut state.socket, &mut state.table).map_err(Refusal::Socket);
            state.note_turn();
            sent
        })
    }

    /// Calls `f` under the lock. Then the sender writes what is best written at once: the message of a REQ or
    /// a REP, after which nothing else will be sent for a while; and a batch that the connection's task has
    /// not begun to write.
    #[inline]
    fn and_write<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        if !self.is_lone {
            let (result, piles) = self.with(|state| {
                let result = f(state);
                (result, std::mem::take(&mut state.table.piles))
            });
            for (id, pipe) in piles {
                self.write(id, &pipe);
            }
            return result;
        }
        let (result, lone) = self.with(|state| {
            state.table.lone = Lone::Wanted;
            let result = f(state);
            (result, std::mem::take(&mut state.table.lone))
        });
        if let Lone::Pipe(id, pipe) = lone {
            self.write(id, &pipe);
        }
        result
    }

    /// Writes waiting bytes of a pipe, as many as its socket takes at once.
    fn write(&self, id: PipeId, pipe: &SharedPipe) {
        pipe.with_inline(|_| ((), true));
        // The connection may have ended while the messages were being written.
        if pipe.look(|pipe| pipe.peer().is_none() || pipe.late().is_any()) {
            self.collect_late(id, pipe);
        }
    }

    /// Messages that a pipe got back after its connection had ended.
    fn collect_late(&self, id: PipeId, pipe: &SharedPipe) {
        self.with(|state| {
            if state.table.pipes.contains_key(&id) {
                state.socket.collect_unsent(&mut state.table, id);
            } else {
                let mut messages = Vec::new();
                let late = pipe.look(|pipe| {
                    pipe.take_unsent(|message| messages.push(message));
                    pipe.take_late()
                });
                state.socket.collect_late(&mut state.table, id, messages, late);
            }
            state.note_change();
        });
    }

    /// A waiting caller leaves.
    pub(crate) fn leave_senders(&self, ticket: Ticket) {
        self.with(|state| {
            if state.senders.leave(ticket) {
                state.grant_sender();
            }
        });
    }

    /// Receives, or keeps the waker for when there may be a message.
    pub(crate) fn poll_receive<T>(
        &self,
        ticket: &mut Option<Ticket>,
        cx: &mut Context<'_>,
        receive: impl FnOnce(&mut State) -> Result<T, ReceiveError>,
    ) -> Poll<Result<T, ReceiveError>> {
        self.with(|state| {
            if let Some(held) = *ticket
                && state.receivers.poll(held, || cx.waker().clone()) == Turn::Waiting
            {
                return Poll::Pending;
            }
            *ticket = None;
            match receive(state) {
                Err(ReceiveError::Socket(RecvError::WouldBlock)) => {
                    *ticket = Some(state.receivers.join(cx.waker().clone()));
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        })
    }

    /// Receives an available message.
    pub(crate) fn try_receive<T>(
        &self,
        receive: impl FnOnce(&mut State) -> Result<T, ReceiveError>,
    ) -> Result<T, ReceiveError> {
        self.with(receive)
    }

    /// A waiting caller leaves.
    pub(crate) fn leave_receivers(&self, ticket: Ticket) {
        self.with(|state| {
            if state.receivers.leave(ticket) {
                state.grant_receiver();
            }
        });
    }
}

impl State {
    /// Takes the next message.
    #[inline]
    pub(crate) fn receive(&mut self, message: &mut Message) -> Result<PipeId, ReceiveError> {
        match self.socket.recv(&mut self.table, message) {
            Ok(id) => {
                // There may be more, for the next waiting caller.
                self.grant_receiver();
                self.note_turn();
                Ok(id)
            }
            Err(RecvError::WouldBlock) if self.is_closing => Err(ReceiveError::Closed),
            Err(error) => {
                if error == RecvError::PeerLost {
                    self.note_turn();
                }
                Err(ReceiveError::Socket(error))
            }
        }
    }

    /// Takes at least one and at most `most` messages.
    pub(crate) fn receive_many(
        &mut self,
        into: &mut Vec<Message>,
        most: usize,
    ) -> Result<usize, ReceiveError> {
        let mut count = 0;
        while count < most {
            // Received in place.
            into.push(Message::new());
            let last = into.len() - 1;
            match self.socket.recv(&mut self.table, &mut into[last]) {
                Ok(_) => count += 1,
                Err(error) => {
                    into.pop();
                    if error == RecvError::PeerLost {
                        self.note_turn();
                    }
                    match error {
                        // Reported by the next call, if it still holds.
                        _ if count > 0 => break,
                        RecvError::WouldBlock if self.is_closing => return Err(ReceiveError::Closed),
                        error => return Err(ReceiveError::Socket(error)),
                    }
                }
            }
        }
        // There may be more, for the next waiting caller.
        self.grant_receiver();
        self.note_turn();
        Ok(count)
    }
}
