//! Results of messages with references.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::batcher::{ReceiverId, Sent};
use bowline_driver::ReceiveError;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Tasks, Threads, Wait};
use bowline_driver::sync::Arc;

use super::shared::Shared;
use super::sink::Sink;

type SentOf<S, T> = Sent<<S as Sink>::Message, T, <S as Sink>::Position, <S as Sink>::Error>;

/// Receives the results of messages that were [sent with a reference](super::Batcher::send_with_reference),
/// in the order of sending.
///
/// Taking a result frees its place. When the receiver is dropped, messages that wait for room or for a place
/// are given back to their senders, and the results of the others are discarded. It is a stream on async
/// runtimes and an iterator on threads; both end when the batcher is closed and every result was taken.
#[must_use = "results go to a receiver"]
pub struct SendResults<R: Runtime, S: Sink, T: Send + 'static = ()> {
    shared: Arc<Shared<S, T>>,
    id: ReceiverId,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, S: Sink, T: Send + 'static> std::fmt::Debug for SendResults<R, S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendResults").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> SendResults<R, S, T> {
    pub(super) fn new(shared: &Arc<Shared<S, T>>) -> Self {
        let id = shared.with(|machine| machine.add_receiver());
        Self { shared: Arc::clone(shared), id, runtime: PhantomData }
    }

    /// The id of the receiver, if it belongs to the batcher `shared`.
    pub(super) fn receiver_of(&self, shared: &Arc<Shared<S, T>>) -> Option<ReceiverId> {
        Arc::ptr_eq(&self.shared, shared).then_some(self.id)
    }

    /// Waits for the next result, in the order of sending.
    ///
    /// # Errors
    /// [`ReceiveError::Closed`]: the batcher is closed, and every result was taken.
    ///
    /// # Cancel safety
    /// Safe: no result is lost.
    pub fn recv(&mut self) -> Wait<R, NextResult<'_, S, T>> {
        let next = NextResult { shared: &self.shared, id: self.id };
        R::Style::wait_or(next, |next| next.now().unwrap_or(Err(ReceiveError::WouldPark)))
    }

    /// The next result, if it is available; never waits.
    pub fn try_recv(&mut self) -> Option<SentOf<S, T>> {
        NextResult { shared: &self.shared, id: self.id }.now()?.ok()
    }

    /// The number of accepted messages whose result was not taken yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.shared.with(|machine| machine.outstanding(self.id))
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Drop for SendResults<R, S, T> {
    fn drop(&mut self) {
        self.shared.with(|machine| machine.remove_receiver(clock::now(), self.id));
    }
}

/// The future of the next result of a [`SendResults`].
#[must_use = "nothing is received unless it is awaited"]
pub struct NextResult<'a, S: Sink, T: Send + 'static> {
    shared: &'a Shared<S, T>,
    id: ReceiverId,
}

impl<S: Sink, T: Send + 'static> std::fmt::Debug for NextResult<'_, S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextResult").finish_non_exhaustive()
    }
}

impl<S: Sink, T: Send + 'static> NextResult<'_, S, T> {
    fn poll_with(&self, waker: &Waker) -> Poll<Result<SentOf<S, T>, ReceiveError>> {
        let polled = self.shared.with(|machine| machine.poll_result(self.id, || waker.clone()));
        polled.map(|sent| sent.ok_or(ReceiveError::Closed))
    }

    fn now(&self) -> Option<Result<SentOf<S, T>, ReceiveError>> {
        match self.poll_with(Waker::noop()) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }
}

impl<S: Sink, T: Send + 'static> Future for NextResult<'_, S, T> {
    type Output = Result<SentOf<S, T>, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx.waker())
    }
}

impl<R: Runtime<Style: Tasks>, S: Sink, T: Send + 'static> futures_core::Stream for SendResults<R, S, T> {
    type Item = SentOf<S, T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        NextResult { shared: &self.shared, id: self.id }.poll_with(cx.waker()).map(Result::ok)
    }
}

// The future of `recv` borrows, so that its type cannot be named here; `recv` is therefore not used.
impl<R: Runtime<Style: Threads>, S: Sink, T: Send + 'static> Iterator for SendResults<R, S, T>
where
    for<'a> R::Style: Style<Wait<NextResult<'a, S, T>> = Result<SentOf<S, T>, ReceiveError>>,
{
    type Item = SentOf<S, T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv().ok()
    }
}
