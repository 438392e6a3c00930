//! Futures of senders and of closes. Poll-based: blocking threads park between polls.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::batcher::{Admission, Admitted, ReceiverId, Refusal, Refused, SendError, SendId};
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;

use super::SendResult;
use super::shared::Shared;
use super::sink::Sink;

enum State<M> {
    New(M),
    Sent(SendId),
    Over,
}

/// The future of a message that was sent, or is sent when this is first polled. Its output is the position.
/// Dropping it withdraws the message unless it is already part of a batch.
#[must_use = "dropping it withdraws the message"]
pub struct Sending<R: Runtime, S: Sink, T: Send + 'static> {
    shared: Arc<Shared<S, T>>,
    state: State<S::Message>,
    runtime: PhantomData<fn() -> R>,
}

// The message is never pinned.
impl<R: Runtime, S: Sink, T: Send + 'static> Unpin for Sending<R, S, T> {}

impl<R: Runtime, S: Sink, T: Send + 'static> std::fmt::Debug for Sending<R, S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Sending<R, S, T> {
    pub(super) fn new(shared: &Arc<Shared<S, T>>, message: S::Message) -> Self {
        Self { shared: Arc::clone(shared), state: State::New(message), runtime: PhantomData }
    }

    pub(super) fn sent(shared: &Arc<Shared<S, T>>, id: SendId) -> Self {
        Self { shared: Arc::clone(shared), state: State::Sent(id), runtime: PhantomData }
    }

    /// On a thread that must not wait: the result if it is there. Else a message that no batch took is withdrawn, and
    /// one that a batch took is left to it.
    pub(super) fn would_park(mut self) -> SendResult<S> {
        let id = match std::mem::replace(&mut self.state, State::Over) {
            State::New(_) => return Err(SendError::WouldPark),
            State::Sent(id) => id,
            State::Over => return Err(SendError::Closed(None)),
        };
        let now = clock::now();
        let (result, withdrawn) = self.shared.with(|machine| {
            // A message whose delivery time is over has its outcome before it is asked for.
            machine.handle_timeout(now);
            match machine.poll_send(id, || Waker::noop().clone()) {
                Poll::Ready(result) => (result, None),
                Poll::Pending => match machine.withdraw(now, id) {
                    Some(message) => (Err(SendError::WouldPark), Some(message)),
                    None => (Err(SendError::MaybeAppended(None)), None),
                },
            }
        });
        // Dropped when the machine is not locked any more.
        drop(withdrawn);
        result
    }

    /// Waits for the position. On an I/O thread, which must not wait, it returns at once: the result if it is there,
    /// [`WouldPark`](SendError::WouldPark) after withdrawing a message that no batch took, and
    /// [`MaybeAppended(None)`](SendError::MaybeAppended) for one that a batch took.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the message unless it is already part of a batch.
    pub fn wait(self) -> Wait<R, Self> {
        R::Style::wait_or(self, Self::would_park)
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Future for Sending<R, S, T> {
    type Output = SendResult<S>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = &*this.shared;
        let (polled, id) = match std::mem::replace(&mut this.state, State::Over) {
            State::New(message) => shared.send(message, cx),
            State::Sent(id) => (shared.poll_send(id, cx), Some(id)),
            State::Over => (Poll::Ready(Err(SendError::Closed(None))), None),
        };
        if polled.is_pending() {
            this.state = id.map_or(State::Over, State::Sent);
        }
        polled
    }
}

impl<S: Sink, T: Send + 'static> Shared<S, T> {
    /// Sends a message, and polls for its result. A sender that is alone makes the attempt itself, if the sink allows it.
    pub(super) fn send(
        &self,
        message: S::Message,
        cx: &Context<'_>,
    ) -> (Poll<SendResult<S>>, Option<SendId>) {
        let (now, bytes) = (clock::now(), self.sink.size(&message));
        let (polled, id, turn) = self.with(|machine| {
            let Ok(id) = machine.send(now, message, bytes) else {
                let cause = machine.cause_of_waiting().cloned();
                return (Poll::Ready(Err(SendError::Closed(cause))), None, None);
            };
            match if S::SENDERS_MAY_POLL { machine.take_turn() } else { None } {
                Some(task) => (Poll::Pending, Some(id), Some(task)),
                None => (machine.poll_send(id, || cx.waker().clone()), Some(id), None),
            }
        });
        let (Some(id), Some(task)) = (id, turn) else { return (polled, id) };
        self.driving.poll_by_sender(&task);
        (self.poll_send(id, cx), Some(id))
    }

    pub(super) fn poll_send(&self, id: SendId, cx: &Context<'_>) -> Poll<SendResult<S>> {
        self.with(|machine| machine.poll_send(id, || cx.waker().clone()))
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Drop for Sending<R, S, T> {
    fn drop(&mut self) {
        if let State::Sent(id) = self.state {
            let withdrawn = self.shared.with(|machine| machine.withdraw(clock::now(), id));
            // Dropped after the machine's lock is released.
            drop(withdrawn);
        }
    }
}

/// A message, and the receiver of its result if it has a reference.
type Addressed<S, T> = (<S as Sink>::Message, Option<(T, ReceiverId)>);

/// A message and its reference.
type Referenced<S, T> = (<S as Sink>::Message, T);

/// A message that waits to be accepted; if it has a reference, its result goes to a receiver.
struct Admit<S: Sink, T: Send + 'static> {
    shared: Arc<Shared<S, T>>,
    state: State<Addressed<S, T>>,
}

impl<S: Sink, T: Send + 'static> Admit<S, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Admitted<S::Message, T>> {
        let shared = &*self.shared;
        let id = match std::mem::replace(&mut self.state, State::Over) {
            State::New((message, to)) => {
                let (now, bytes) = (clock::now(), shared.sink.size(&message));
                let sent = shared.with(|machine| match to {
                    None => machine
                        .send_and_forget(now, message, bytes)
                        .map_err(|Refused { message, why }| Refused { message: (message, None), why }),
                    Some((reference, to)) => {
                        machine.send_with_reference(now, message, bytes, to, reference).map_err(|refused| {
                            let (message, reference) = refused.message;
                            Refused { message: (message, Some(reference)), why: refused.why }
                        })
                    }
                });
                match sent {
                    Ok(Admission::Accepted) => return Poll::Ready(Ok(())),
                    Ok(Admission::Waits(id)) => id,
                    Err(refused) => return Poll::Ready(Err(refused)),
                }
            }
            State::Sent(id) => id,
            State::Over => return Poll::Ready(Ok(())),
        };
        let polled = shared.with(|machine| machine.poll_admission(id, || cx.waker().clone()));
        if polled.is_pending() {
            self.state = State::Sent(id);
        }
        polled
    }
}

impl<S: Sink, T: Send + 'static> Admit<S, T> {
    /// For a thread that must not wait: the message is accepted at once or refused.
    fn now(&mut self) -> Admitted<S::Message, T> {
        let State::New((message, to)) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        let (now, bytes) = (clock::now(), self.shared.sink.size(&message));
        let parks = |why| if why == Refusal::BufferFull { Refusal::WouldPark } else { why };
        self.shared.with(|machine| match to {
            None => machine
                .try_send_and_forget(now, message, bytes)
                .map_err(|Refused { message, why }| Refused { message: (message, None), why: parks(why) }),
            Some((reference, to)) => {
                machine.try_send_with_reference(now, message, bytes, to, reference).map_err(|refused| {
                    let (message, reference) = refused.message;
                    Refused { message: (message, Some(reference)), why: parks(refused.why) }
                })
            }
        })
    }
}

impl<S: Sink, T: Send + 'static> Drop for Admit<S, T> {
    fn drop(&mut self) {
        if let State::Sent(id) = self.state {
            let withdrawn = self.shared.with(|machine| machine.withdraw(clock::now(), id));
            drop(withdrawn);
        }
    }
}

/// The future of a message without a result: ready when the message is accepted. See
/// [`send_and_forget`](super::Batcher::send_and_forget).
#[must_use = "nothing is sent before it is awaited"]
pub struct Forgetting<S: Sink, T: Send + 'static>(Admit<S, T>);

/// The future of a message with a reference: ready when the message is accepted. See
/// [`send_with_reference`](super::Batcher::send_with_reference).
#[must_use = "nothing is sent before it is awaited"]
pub struct Referencing<S: Sink, T: Send + 'static>(Result<Admit<S, T>, Option<Referenced<S, T>>>);

// Messages and references are never pinned.
impl<S: Sink, T: Send + 'static> Unpin for Forgetting<S, T> {}
impl<S: Sink, T: Send + 'static> Unpin for Referencing<S, T> {}

impl<S: Sink, T: Send + 'static> std::fmt::Debug for Forgetting<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forgetting").finish_non_exhaustive()
    }
}

impl<S: Sink, T: Send + 'static> std::fmt::Debug for Referencing<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Referencing").finish_non_exhaustive()
    }
}

impl<S: Sink, T: Send + 'static> Forgetting<S, T> {
    pub(super) fn new(shared: &Arc<Shared<S, T>>, message: S::Message) -> Self {
        Self(Admit { shared: Arc::clone(shared), state: State::New((message, None)) })
    }

    /// For a thread that must not wait: fails as if there was no room, unless there is room.
    pub(super) fn would_park(mut self) -> Result<(), Refused<S::Message>> {
        match self.0.now() {
            Ok(()) => Ok(()),
            Err(Refused { message: (message, _), why }) => Err(Refused { message, why }),
        }
    }
}

impl<S: Sink, T: Send + 'static> Future for Forgetting<S, T> {
    type Output = Result<(), Refused<S::Message>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(|Refused { message: (message, _), why }| Refused { message, why })
    }
}

impl<S: Sink, T: Send + 'static> Referencing<S, T> {
    pub(super) fn new(
        shared: &Arc<Shared<S, T>>,
        message: S::Message,
        reference: T,
        to: Option<ReceiverId>,
    ) -> Self {
        Self(match to {
            Some(to) => {
                let state = State::New((message, Some((reference, to))));
                Ok(Admit { shared: Arc::clone(shared), state })
            }
            None => Err(Some((message, reference))),
        })
    }

    pub(super) fn would_park(self) -> Result<(), Refused<(S::Message, T)>> {
        match self.0 {
            Ok(mut admit) => admit.now().map_err(with_reference),
            Err(Some(message)) => Err(Refused { message, why: Refusal::NoReceiver }),
            Err(None) => Ok(()),
        }
    }
}

impl<S: Sink, T: Send + 'static> Future for Referencing<S, T> {
    type Output = Result<(), Refused<(S::Message, T)>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(admit) => admit.poll(cx).map_err(with_reference),
            Err(message) => Poll::Ready(match message.take() {
                Some(message) => Err(Refused { message, why: Refusal::NoReceiver }),
                None => Ok(()),
            }),
        }
    }
}

fn with_reference<M, T>(refused: Refused<(M, Option<T>)>) -> Refused<(M, T)> {
    match refused {
        Refused { message: (message, Some(reference)), why } => {
            Refused { message: (message, reference), why }
        }
        Refused { .. } => unreachable!("it was sent with a reference"),
    }
}

/// The future of a close: ready when every message has its outcome.
#[must_use = "closing goes on in the background unless it is awaited"]
pub struct Closing<S: Sink, T: Send + 'static> {
    shared: Arc<Shared<S, T>>,
    ticket: Option<Ticket>,
}

impl<S: Sink, T: Send + 'static> std::fmt::Debug for Closing<S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing").finish_non_exhaustive()
    }
}

impl<S: Sink, T: Send + 'static> Closing<S, T> {
    pub(super) fn new(shared: &Arc<Shared<S, T>>) -> Self {
        Self { shared: Arc::clone(shared), ticket: None }
    }
}

impl<S: Sink, T: Send + 'static> Future for Closing<S, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, ticket } = &mut *self;
        shared.with(|machine| machine.poll_closed(ticket, || cx.waker().clone()))
    }
}

impl<S: Sink, T: Send + 'static> Drop for Closing<S, T> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let Self { shared, ticket } = self;
            shared.with(|machine| machine.leave_close(ticket));
        }
    }
}
