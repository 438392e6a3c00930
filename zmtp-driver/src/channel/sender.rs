//! The sending end of a channel.

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
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;

use super::ChannelStats;
use super::queue::{Closed, Entry, Shared};
use crate::core::new_poller;
use crate::error::{Refusal, SendError};
use crate::outgoing::Outgoing;

/// The sending end of a [channel](crate::channel()). Clones send to the same channel; when the last one is
/// dropped the channel closes.
pub struct Sender<R: Runtime> {
    shared: Arc<Shared>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> std::fmt::Debug for Sender<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<R: Runtime> Clone for Sender<R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<R: Runtime> Drop for Sender<R> {
    fn drop(&mut self) {
        self.shared.remove_sender();
    }
}

impl<R: Runtime> Sender<R> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.add_sender();
        Self { shared, runtime: PhantomData }
    }

    /// The same end for tasks or threads of another runtime.
    #[must_use]
    pub fn on<Other: Runtime>(&self) -> Sender<Other> {
        Sender::new(Arc::clone(&self.shared))
    }

    /// Sends a message. Waits for room if the buffer is a fixed one.
    ///
    /// # Errors
    /// The channel is closed; the error contains the message.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready sends nothing.
    pub fn send<'a>(&'a self, message: impl Into<Outgoing<'a>>) -> Wait<R, ChannelSend<'a, R>> {
        self.wait(message.into().into_message(), None)
    }

    /// [`send`](Self::send) for a received message: its parts are not copied.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn pass_on(&self, message: Message) -> Wait<R, ChannelSend<'_, R>> {
        self.wait(message, None)
    }

    /// [`send`](Self::send) for at most `timeout`.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Refusal::TimedOut`] after that time.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn send_timeout<'a>(
        &'a self,
        message: impl Into<Outgoing<'a>>,
        timeout: Duration,
    ) -> Wait<R, ChannelSend<'a, R>> {
        self.wait(message.into().into_message(), Some(clock::after(timeout)))
    }

    fn wait(&self, message: Message, until: Option<Instant>) -> Wait<R, ChannelSend<'_, R>> {
        let until = until.map(|until| (until, Alarm::new(R::timer())));
        let sending = ChannelSend { shared: &self.shared, entry: Some(Ok(message)), ticket: None, until };
        R::Style::wait_or(sending, ChannelSend::at_once)
    }

    /// [`send`](Self::send) if that needs no waiting.
    ///
    /// # Errors
    /// The channel is [full](Refusal::ChannelFull) or [closed](Refusal::ChannelClosed); the error contains
    /// the message.
    pub fn try_send<'a>(&self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        try_push(&self.shared, message.into().into_message(), Refusal::ChannelFull)
    }

    /// Closes the channel: no message is accepted any more. The messages in it can still be received; waiting
    /// senders get their messages back.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether no message is accepted any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// The counters of the channel.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats()
    }
}

fn try_push(shared: &Shared, message: Message, full: Refusal) -> Result<(), SendError> {
    let mut entry = Some(Ok(message));
    let reason = match shared.try_push(&mut entry) {
        Ok(true) => return Ok(()),
        Ok(false) => full,
        Err(Closed) => Refusal::ChannelClosed,
    };
    Err(refused(reason, entry))
}

fn refused(reason: Refusal, entry: Option<Entry>) -> SendError {
    SendError::new(reason, entry.and_then(Result::ok).unwrap_or_default())
}

/// The future of a message being sent to a channel. If it is dropped before it is ready, the message is not
/// sent.
#[must_use = "futures do nothing unless awaited"]
pub struct ChannelSend<'a, R: Runtime> {
    shared: &'a Arc<Shared>,
    entry: Option<Entry>,
    ticket: Option<Ticket>,
    until: Option<(Instant, Alarm<R::Timer>)>,
}

impl<R: Runtime> std::fmt::Debug for ChannelSend<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelSend").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl<R: Runtime> ChannelSend<'_, R> {
    /// For a thread that must not wait.
    fn at_once(mut self) -> Result<(), SendError> {
        match self.entry.take() {
            Some(Ok(message)) => try_push(self.shared, message, Refusal::WouldPark),
            _ => Ok(()),
        }
    }
}

impl<R: Runtime> Future for ChannelSend<'_, R> {
    type Output = Result<(), SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let reason = match this.shared.poll_push(&mut this.entry, &mut this.ticket, cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Closed)) => Refusal::ChannelClosed,
            Poll::Pending => match &mut this.until {
                Some((until, alarm)) => loop {
                    if clock::now() >= *until {
                        break Refusal::TimedOut;
                    }
                    if !alarm.poll(cx, *until) {
                        return Poll::Pending;
                    }
                },
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Err(refused(reason, this.entry.take())))
    }
}

impl<R: Runtime> Drop for ChannelSend<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.leave_senders(ticket);
        }
    }
}

/// The end into which a socket puts its messages.
#[derive(Debug)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    watcher: u64,
}

impl Outlet {
    pub(crate) fn new<R: Runtime>(sender: Sender<R>) -> Self {
        let shared = Arc::clone(&sender.shared);
        // Counted before the other end is gone.
        shared.add_sender();
        drop(sender);
        Self { shared, ticket: None, watcher: new_poller() }
    }

    /// Adds the entry, and leaves `None`; or keeps the waker for when there may be room.
    pub(crate) fn poll_push(
        &mut self,
        entry: &mut Option<Entry>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        self.shared.poll_push(entry, &mut self.ticket, cx)
    }

    /// Ready when there is no receiver any more.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_closed(self.watcher, cx)
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.leave_senders(ticket);
        }
        self.shared.leave_watchers(self.watcher);
        self.shared.remove_sender();
    }
}
