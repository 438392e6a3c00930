//! Futures of receiving.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{PeerId, PipeId, RecvError};

use crate::core::{SocketCore, State};
use crate::error::ReceiveError;

/// A caller that waits for a message.
struct Waiting<'a, R: Runtime> {
    core: &'a Arc<SocketCore>,
    ticket: Option<Ticket>,
    until: Option<(Instant, Alarm<R::Timer>)>,
}

impl<'a, R: Runtime> Waiting<'a, R> {
    fn new(core: &'a Arc<SocketCore>, until: Option<Instant>) -> Self {
        let until = until.map(|until| (until, Alarm::new(R::timer())));
        Self { core, ticket: None, until }
    }

    #[inline]
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        receive: impl FnOnce(&mut State) -> Result<T, ReceiveError>,
    ) -> Poll<Result<T, ReceiveError>> {
        if let Poll::Ready(received) = self.core.poll_receive(&mut self.ticket, cx, receive) {
            return Poll::Ready(received);
        }
        let Some((until, alarm)) = &mut self.until else { return Poll::Pending };
        loop {
            if clock::now() >= *until {
                return Poll::Ready(Err(ReceiveError::TimedOut));
            }
            if !self.core.place().within(|| alarm.poll(cx, *until)) {
                return Poll::Pending;
            }
        }
    }

    /// For a thread that must not wait: a message that is available.
    fn at_once<T>(
        self,
        receive: impl FnOnce(&mut State) -> Result<T, ReceiveError>,
    ) -> Result<T, ReceiveError> {
        match self.core.try_receive(receive) {
            Err(ReceiveError::Socket(RecvError::WouldBlock)) => Err(ReceiveError::WouldPark),
            result => result,
        }
    }
}

impl<R: Runtime> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.leave_receivers(ticket);
        }
    }
}

/// The future of the next message. If it is dropped before it is ready, no message is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct Receive<'a, R: Runtime>(Waiting<'a, R>);

impl<'a, R: Runtime> Receive<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, until: Option<Instant>) -> Self {
        Self(Waiting::new(core, until))
    }

    pub(crate) fn at_once(self) -> Result<Message, ReceiveError> {
        let mut message = Message::new();
        self.0.at_once(|state| state.receive(&mut message)).map(|_| message)
    }
}

impl<R: Runtime> Future for Receive<'_, R> {
    type Output = Result<Message, ReceiveError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Moved as seldom as possible: a message is larger than a processor moves at once.
        let mut message = Message::new();
        match self.get_mut().0.poll(cx, |state| state.receive(&mut message)) {
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(message)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The future of the next message and its sender. If it is dropped before it is ready, no message is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct ReceiveFrom<'a, R: Runtime>(Waiting<'a, R>);

impl<'a, R: Runtime> ReceiveFrom<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>) -> Self {
        Self(Waiting::new(core, None))
    }

    pub(crate) fn at_once(self) -> Result<(PeerId, Message), ReceiveError> {
        self.0.at_once(one_from)
    }
}

fn one_from(state: &mut State) -> Result<(PeerId, Message), ReceiveError> {
    let mut message = Message::new();
    state.receive(&mut message).map(|pipe| (state.socket.peer_id(pipe), message))
}

impl<R: Runtime> Future for ReceiveFrom<'_, R> {
    type Output = Result<(PeerId, Message), ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.poll(cx, one_from)
    }
}

/// The future of the next message, received into an existing one. If it is dropped before it is ready, no
/// message is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct ReceiveInto<'a, R: Runtime> {
    waiting: Waiting<'a, R>,
    message: &'a mut Message,
}

impl<'a, R: Runtime> ReceiveInto<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, message: &'a mut Message) -> Self {
        Self { waiting: Waiting::new(core, None), message }
    }

    pub(crate) fn at_once(self) -> Result<(), ReceiveError> {
        let Self { waiting, message } = self;
        waiting.at_once(|state| state.receive(message).map(drop))
    }
}

impl<R: Runtime> Future for ReceiveInto<'_, R> {
    type Output = Result<(), ReceiveError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, message } = self.get_mut();
        waiting.poll(cx, |state| state.receive(message).map(drop))
    }
}

/// The future of the next messages. If it is dropped before it is ready, no message is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct ReceiveMany<'a, R: Runtime> {
    waiting: Waiting<'a, R>,
    into: &'a mut Vec<Message>,
    most: usize,
}

impl<'a, R: Runtime> ReceiveMany<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, into: &'a mut Vec<Message>, most: usize) -> Self {
        Self { waiting: Waiting::new(core, None), into, most }
    }

    pub(crate) fn at_once(self) -> Result<usize, ReceiveError> {
        let Self { waiting, into, most } = self;
        waiting.at_once(|state| state.receive_many(into, most))
    }
}

impl<R: Runtime> Future for ReceiveMany<'_, R> {
    type Output = Result<usize, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, into, most } = self.get_mut();
        waiting.poll(cx, |state| state.receive_many(into, *most))
    }
}

/// The future of the next message, passed to a function. If it is dropped before it is ready, no message is
/// lost.
#[must_use = "futures do nothing unless awaited"]
pub struct ReceiveWith<'a, R: Runtime, F> {
    waiting: Waiting<'a, R>,
    function: Option<F>,
}

// Nothing in it is pinned.
impl<R: Runtime, F> Unpin for ReceiveWith<'_, R, F> {}

thread_local! {
    /// The message that is passed to functions.
    static LENT: RefCell<Message> = const { RefCell::new(Message::new()) };
}

/// Receives a message and passes it to the function, without a lock.
fn lend<T>(
    receive: impl FnOnce(&mut Message) -> Poll<Result<PipeId, ReceiveError>>,
    function: &mut Option<impl FnOnce(&Message) -> T>,
) -> Poll<Result<T, ReceiveError>> {
    assert!(function.is_some(), "polled after it was ready");
    let lend = |message: &mut Message| {
        let received = ready!(receive(message));
        let lent = received
            .and_then(|_| function.take().map(|function| function(message)).ok_or(ReceiveError::Closed));
        message.clear();
        Poll::Ready(lent)
    };
    LENT.with(|lent| match lent.try_borrow_mut() {
        Ok(mut message) => lend(&mut message),
        // The function received a message itself.
        Err(_) => lend(&mut Message::new()),
    })
}

impl<'a, R: Runtime, T, F: FnOnce(&Message) -> T> ReceiveWith<'a, R, F> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, function: F) -> Self {
        Self { waiting: Waiting::new(core, None), function: Some(function) }
    }

    pub(crate) fn at_once(self) -> Result<T, ReceiveError> {
        let Self { waiting, mut function } = self;
        match lend(|message| Poll::Ready(waiting.at_once(|state| state.receive(message))), &mut function) {
            Poll::Ready(lent) => lent,
            Poll::Pending => Err(ReceiveError::WouldPark),
        }
    }
}

impl<R: Runtime, T, F: FnOnce(&Message) -> T> Future for ReceiveWith<'_, R, F> {
    type Output = Result<T, ReceiveError>;

    /// # Panics
    /// After it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, function } = self.get_mut();
        lend(|message| waiting.poll(cx, |state| state.receive(message)), function)
    }
}

impl<R: Runtime, F> std::fmt::Debug for ReceiveWith<'_, R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveWith").finish_non_exhaustive()
    }
}

impl<R: Runtime> std::fmt::Debug for Receive<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receive").finish_non_exhaustive()
    }
}

impl<R: Runtime> std::fmt::Debug for ReceiveFrom<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveFrom").finish_non_exhaustive()
    }
}

impl<R: Runtime> std::fmt::Debug for ReceiveInto<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveInto").finish_non_exhaustive()
    }
}

impl<R: Runtime> std::fmt::Debug for ReceiveMany<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveMany").field("most", &self.most).finish_non_exhaustive()
    }
}
