//! The receiving end of a channel.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Tasks, Threads, Wait};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use super::ChannelStats;
use super::queue::{Closed, Entry, Shared};
use crate::core::new_poller;
use crate::error::ReceiveError;

/// The receiving end of a [channel](crate::channel()). Clones receive from the same channel, each message
/// once; when the last one is dropped the channel closes, and the messages in it are dropped and counted.
///
/// On async runtimes it is a `Stream`, on threads an `Iterator`, of messages and errors, which ends with the
/// channel.
pub struct Receiver<R: Runtime> {
    shared: Arc<Shared>,
    /// The place in the queue of a [`poll_recv`](Self::poll_recv) that was not ready.
    ticket: Option<Ticket>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for Receiver<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<R: Runtime> Clone for Receiver<R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<R: Runtime> Drop for Receiver<R> {
    fn drop(&mut self) {
        self.leave();
        self.shared.remove_receiver();
    }
}

impl<R: Runtime> Receiver<R> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.add_receiver();
        Self { shared, ticket: None, runtime: PhantomData }
    }

    /// The same end for tasks or threads of another runtime.
    #[must_use]
    pub fn on<Other: Runtime>(&self) -> Receiver<Other> {
        Receiver::new(Arc::clone(&self.shared))
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`ReceiveError::Closed`]: the channel is closed, and every message in it was received. Also errors of a socket behind the channel: that the peer of a REQ is lost.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub fn recv(&mut self) -> Wait<R, ChannelReceive<'_, R>> {
        self.wait(None)
    }

    /// [`recv`](Self::recv) for at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); [`ReceiveError::TimedOut`] after that time.
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Wait<R, ChannelReceive<'_, R>> {
        self.wait(Some(clock::after(timeout)))
    }

    fn wait(&mut self, until: Option<Instant>) -> Wait<R, ChannelReceive<'_, R>> {
        self.leave();
        let until = until.map(|until| (until, Alarm::new(R::timer())));
        let receiving = ChannelReceive { shared: &self.shared, ticket: None, until };
        R::Style::wait_or(receiving, ChannelReceive::at_once)
    }

    /// The next message, if there is one; never waits.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Message>, ReceiveError> {
        self.leave();
        match self.shared.try_pop() {
            Ok(entry) => entry.transpose(),
            Err(Closed) => Err(ReceiveError::Closed),
        }
    }

    /// The next message; otherwise keeps the task's waker for when there may be one: call it again then.
    /// Until it is called again, or this end is dropped, a message may stay reserved for it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReceiveError>> {
        self.shared.poll_pop(&mut self.ticket, cx).map(or_closed)
    }

    /// Closes the channel: no message is accepted any more. The messages in it can still be received; waiting
    /// senders get their messages back.
    pub fn close(&self) {
        self.shared.close();
    }

    /// The counters of the channel.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats()
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.leave_receivers(ticket);
        }
    }
}

fn or_closed(entry: Option<Entry>) -> Entry {
    entry.unwrap_or(Err(ReceiveError::Closed))
}

impl<R: Runtime<Style: Tasks>> futures_core::Stream for Receiver<R> {
    type Item = Result<Message, ReceiveError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.shared.poll_pop(&mut this.ticket, cx)
    }
}

impl<R: Runtime<Style: Threads>> Iterator for Receiver<R>
where
    for<'a> R::Style: Style<Wait<ChannelReceive<'a, R>> = Result<Message, ReceiveError>>,
{
    type Item = Result<Message, ReceiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let received = self.recv();
        (received != Err(ReceiveError::Closed)).then_some(received)
    }
}

/// The future of the next message of a channel. If it is dropped before it is ready, no message is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct ChannelReceive<'a, R: Runtime> {
    shared: &'a Arc<Shared>,
    ticket: Option<Ticket>,
    until: Option<(Instant, Alarm<R::Timer>)>,
}

impl<R: Runtime> std::fmt::Debug for ChannelReceive<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelReceive").finish_non_exhaustive()
    }
}

impl<R: Runtime> ChannelReceive<'_, R> {
    /// For a thread that must not wait: the message that is available.
    fn at_once(self) -> Result<Message, ReceiveError> {
        match self.shared.try_pop() {
            Ok(Some(entry)) => entry,
            Ok(None) => Err(ReceiveError::WouldPark),
            Err(Closed) => Err(ReceiveError::Closed),
        }
    }
}

impl<R: Runtime> Future for ChannelReceive<'_, R> {
    type Output = Result<Message, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(entry) = this.shared.poll_pop(&mut this.ticket, cx) {
            return Poll::Ready(or_closed(entry));
        }
        let Some((until, alarm)) = &mut this.until else { return Poll::Pending };
        loop {
            if clock::now() >= *until {
                return Poll::Ready(Err(ReceiveError::TimedOut));
            }
            if !alarm.poll(cx, *until) {
                return Poll::Pending;
            }
        }
    }
}

impl<R: Runtime> Drop for ChannelReceive<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.leave_receivers(ticket);
        }
    }
}

/// The end from which a socket takes its messages.
#[derive(Debug)]
pub(crate) struct Inlet {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    watcher: u64,
}

impl Inlet {
    pub(crate) fn new<R: Runtime>(receiver: Receiver<R>) -> Self {
        let shared = Arc::clone(&receiver.shared);
        // Counted before the other end is gone.
        shared.add_receiver();
        drop(receiver);
        Self { shared, ticket: None, watcher: new_poller() }
    }

    /// The oldest entry, or the end; or keeps the waker for when there is one.
    pub(crate) fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Option<Entry>> {
        self.shared.poll_pop(&mut self.ticket, cx)
    }

    /// Ready when no message is accepted any more.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_closed(self.watcher, cx)
    }

    /// Closes the channel, unless other receivers use it. The messages in it can still be taken.
    pub(crate) fn close_if_last(&self) -> bool {
        self.shared.close_if_last_receiver()
    }

    /// This end takes nothing any more. Returns the rest, if there is no other end to take it.
    pub(crate) fn end(self) -> Vec<Message> {
        self.shared.take_if_last().into_iter().filter_map(Result::ok).collect()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.leave_receivers(ticket);
        }
        self.shared.leave_watchers(self.watcher);
        self.shared.remove_receiver();
    }
}
