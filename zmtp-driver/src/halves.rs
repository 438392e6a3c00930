//! The halves of a socket: one sends, the other receives.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Tasks, Threads, Wait};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use crate::error::{ReceiveError, Refusal, SendError};
use crate::kind::{Receives, Sends};
use crate::outgoing::Outgoing;
use crate::receive::Receive;
use crate::send::Send as SendMessage;
use crate::socket::{Handle, Socket};

/// The sending half of a socket: see [`Socket::split`]. Clones send through the same socket.
///
/// The socket stays open until both halves, and all other handles, are dropped.
pub struct SendHalf<R: Runtime, K: Sends> {
    handle: Arc<Handle<R>>,
    /// The place in the queue of a [`poll_send`](Self::poll_send) that was not ready.
    ticket: Option<Ticket>,
    kind: PhantomData<fn() -> K>,
}

/// The receiving half of a socket: see [`Socket::split`].
///
/// On async runtimes it is a `Stream`, on threads an `Iterator`, of messages and errors. It ends when the
/// socket is closed. The socket stays open until both halves, and all other handles, are dropped.
pub struct RecvHalf<R: Runtime, K: Receives> {
    handle: Arc<Handle<R>>,
    /// The place in the queue of a [`poll_recv`](Self::poll_recv) that was not ready.
    ticket: Option<Ticket>,
    kind: PhantomData<fn() -> K>,
}

impl<R: Runtime, K: Sends> Clone for SendHalf<R, K> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), ticket: None, kind: PhantomData }
    }
}

impl<R: Runtime, K: Sends> std::fmt::Debug for SendHalf<R, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("type", &K::TYPE).finish_non_exhaustive()
    }
}

impl<R: Runtime, K: Receives> std::fmt::Debug for RecvHalf<R, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("type", &K::TYPE).finish_non_exhaustive()
    }
}

impl<R: Runtime, K: Sends + Receives> Socket<R, K> {
    /// Splits the socket into a sending and a receiving half, for two tasks or threads.
    ///
    /// ```
    /// # use bowline_driver::runtime::Runtime;
    /// # fn example<R: Runtime>() -> Result<(), Box<dyn std::error::Error>> {
    /// use bowline_zmtp_driver::{Socket, kinds};
    ///
    /// let (sender, mut receiver) = Socket::<R, kinds::Dealer>::new().split();
    /// let other = sender.clone();
    /// drop((sender, other));
    /// assert!(receiver.try_recv()?.is_none(), "the socket is open as long as there is a half");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn split(self) -> (SendHalf<R, K>, RecvHalf<R, K>) {
        (self.clone().into(), self.into())
    }
}

impl<R: Runtime, K: Receives> Socket<R, K> {
    /// The received messages: a `Stream` on async runtimes, an `Iterator` on threads.
    #[must_use]
    pub fn messages(&self) -> RecvHalf<R, K> {
        self.clone().into()
    }
}

impl<R: Runtime, K: Sends> From<Socket<R, K>> for SendHalf<R, K> {
    fn from(socket: Socket<R, K>) -> Self {
        Self { handle: socket.handle, ticket: None, kind: PhantomData }
    }
}

impl<R: Runtime, K: Receives> From<Socket<R, K>> for RecvHalf<R, K> {
    fn from(socket: Socket<R, K>) -> Self {
        Self { handle: socket.handle, ticket: None, kind: PhantomData }
    }
}

impl<R: Runtime, K: Sends> SendHalf<R, K> {
    /// As [`Socket::send`].
    ///
    /// # Errors
    /// As [`Socket::send`].
    ///
    /// # Cancel safety
    /// As [`Socket::send`].
    pub fn send<'a>(&'a mut self, message: impl Into<Outgoing<'a>>) -> Wait<R, SendMessage<'a, R>> {
        self.leave();
        let sending = SendMessage::new(&self.handle.core, message.into(), None);
        R::Style::wait_or(sending, SendMessage::at_once)
    }

    /// As [`Socket::send_timeout`].
    ///
    /// # Errors
    /// As [`Socket::send_timeout`].
    ///
    /// # Cancel safety
    /// As [`Socket::send_timeout`].
    pub fn send_timeout<'a>(
        &'a mut self,
        message: impl Into<Outgoing<'a>>,
        timeout: Duration,
    ) -> Wait<R, SendMessage<'a, R>> {
        self.leave();
        let sending = SendMessage::new(&self.handle.core, message.into(), Some(clock::after(timeout)));
        R::Style::wait_or(sending, SendMessage::at_once)
    }

    /// As [`Socket::try_send`].
    ///
    /// # Errors
    /// As [`Socket::try_send`].
    pub fn try_send<'a>(&mut self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        self.leave();
        let message = message.into();
        let sent = self.handle.core.try_send_parts(message.parts());
        sent.map_err(|reason| SendError::new(reason, message.into_message()))
    }

    /// Sends the message; otherwise keeps the task's waker for when that may be possible: call it again then,
    /// with the message. Until it is called again, or this half sends otherwise or is dropped, other senders
    /// wait behind it.
    ///
    /// # Errors
    /// Nothing was sent.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, message: &Outgoing<'_>) -> Poll<Result<(), Refusal>> {
        self.handle.core.poll_send_parts(message.parts(), &mut self.ticket, cx)
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.handle.core.leave_senders(ticket);
        }
    }
}

impl<R: Runtime, K: Sends> Drop for SendHalf<R, K> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<R: Runtime, K: Receives> RecvHalf<R, K> {
    /// As [`Socket::recv`].
    ///
    /// # Errors
    /// As [`Socket::recv`].
    ///
    /// # Cancel safety
    /// As [`Socket::recv`].
    pub fn recv(&mut self) -> Wait<R, Receive<'_, R>> {
        self.leave();
        R::Style::wait_or(Receive::new(&self.handle.core, None), Receive::at_once)
    }

    /// As [`Socket::recv_timeout`].
    ///
    /// # Errors
    /// As [`Socket::recv_timeout`].
    ///
    /// # Cancel safety
    /// As [`Socket::recv_timeout`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Wait<R, Receive<'_, R>> {
        self.leave();
        R::Style::wait_or(Receive::new(&self.handle.core, Some(clock::after(timeout))), Receive::at_once)
    }

    /// As [`Socket::try_recv`].
    ///
    /// # Errors
    /// As [`Socket::try_recv`].
    pub fn try_recv(&mut self) -> Result<Option<Message>, ReceiveError> {
        self.leave();
        self.handle.core.try_take()
    }

    /// The next message; otherwise keeps the task's waker for when there may be one: call it again then.
    /// Until it is called again, or this half receives otherwise or is dropped, a message may stay reserved
    /// for it.
    ///
    /// # Errors
    /// As [`Socket::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReceiveError>> {
        let mut message = Message::new();
        self.handle
            .core
            .poll_receive_into(&mut message, &mut self.ticket, cx)
            .map(|received| received.map(|_| message))
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.handle.core.leave_receivers(ticket);
        }
    }
}

impl<R: Runtime, K: Receives> Drop for RecvHalf<R, K> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A socket that is closed has no more items.
fn item(received: Result<Message, ReceiveError>) -> Option<Result<Message, ReceiveError>> {
    if received == Err(ReceiveError::Closed) { None } else { Some(received) }
}

impl<R: Runtime<Style: Tasks>, K: Receives> futures_core::Stream for RecvHalf<R, K> {
    type Item = Result<Message, ReceiveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(item)
    }
}

impl<R: Runtime<Style: Threads>, K: Receives> Iterator for RecvHalf<R, K>
where
    for<'a> R::Style: Style<Wait<Receive<'a, R>> = Result<Message, ReceiveError>>,
{
    type Item = Result<Message, ReceiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        item(self.recv())
    }
}
