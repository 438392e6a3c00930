//! The end of a channel that messages are put into.

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

/// The end of a [channel](crate::channel()) that messages are put into. Clones are ends of the same channel; when the
/// last is dropped the channel closes.
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

    /// Puts a message in. Waits for room where the buffer is a fixed one.
    ///
    /// # Errors
    /// The channel is closed; the message is in the error.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready puts nothing in.
    pub fn send<'a>(&'a self, message: impl Into<Outgoing<'a>>) -> Wait<R, ChannelSend<'a, R>> {
        self.wait(message.into().into_message(), None)
    }

    /// [`send`](Self::send) for a message as it was received: its parts are not copied.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub fn pass_on(&self, message: Message) -> Wait<R, ChannelSend<'_, R>> {
        self.wait(message, None)
    }

    /// [`send`](Self::send), for at most so long.
    ///
    /// # Errors
    /// As there; [`Refusal::TimedOut`] after that time.
    ///
    /// # Cancel safety
    /// As there.
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
    /// The channel is [full](Refusal::ChannelFull) or [closed](Refusal::ChannelClosed); the message is in the error.
    pub fn try_send<'a>(&self, message: impl Into<Outgoing<'a>>) -> Result<(), SendError> {
        try_push(&self.shared, message.into().into_message(), Refusal::ChannelFull)
    }

    /// Nothing goes into the channel any more. What is in it can still be received; senders that wait get their
    /// messages back.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether nothing goes in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// What the channel has done so far.
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

/// A message that is being put into a channel. Dropped before it is ready, it is not.
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
    /// On a thread that must not wait.
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

/// The end that a socket puts its messages into.
#[derive(Debug)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    watcher: u64,
}

impl Outlet {
    pub(crate) fn new<R: Runtime>(sender: Sender<R>) -> Self {
        let shared = Arc::clone(&sender.shared);
        // It counts as an end before the other is gone.
        shared.add_sender();
        drop(sender);
        Self { shared, ticket: None, watcher: new_poller() }
    }

    /// Puts the entry in, and leaves `None`; or keeps the waker for when there may be room.
    pub(crate) fn poll_push(
        &mut self,
        entry: &mut Option<Entry>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        self.shared.poll_push(entry, &mut self.ticket, cx)
    }

    /// Ready when nobody takes anything out of the channel any more.
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
