//! Sending, and waiting for a peer with room.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;

use crate::core::SocketCore;
use crate::error::{Refusal, SendError};
use crate::outgoing::Outgoing;

/// A message that is being sent. Dropped before it is ready, nothing of the message is sent.
#[must_use = "futures do nothing unless awaited"]
pub struct Send<'a, R: Runtime> {
    core: &'a Arc<SocketCore>,
    message: Option<Outgoing<'a>>,
    ticket: Option<Ticket>,
    until: Option<(Instant, Alarm<R::Timer>)>,
}

impl<R: Runtime> std::fmt::Debug for Send<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Send").field("message", &self.message).finish_non_exhaustive()
    }
}

impl<'a, R: Runtime> Send<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, message: Outgoing<'a>, until: Option<Instant>) -> Self {
        let until = until.map(|until| (until, Alarm::new(R::timer())));
        Self { core, message: Some(message), ticket: None, until }
    }

    /// On a thread that must not wait: sent if that is possible at once.
    pub(crate) fn at_once(mut self) -> Result<(), SendError> {
        let message = self.message.take().unwrap_or_else(|| Outgoing::of_parts::<&[u8]>([]));
        match self.core.try_send(message.parts()) {
            Ok(()) => Ok(()),
            Err(Refusal::Socket(bowline_zmtp::socket::SendError::WouldBlock)) => {
                Err(SendError::new(Refusal::WouldPark, message.into_message()))
            }
            Err(reason) => Err(SendError::new(reason, message.into_message())),
        }
    }
}

impl<R: Runtime> Future for Send<'_, R> {
    type Output = Result<(), SendError>;

    /// # Panics
    /// After it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let message = this.message.as_ref().expect("polled after it was ready");
        let reason = match this.core.poll_send(message.parts(), &mut this.ticket, cx) {
            Poll::Ready(Ok(())) => {
                this.message = None;
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(reason)) => reason,
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
        let message = this.message.take().map(Outgoing::into_message).unwrap_or_default();
        Poll::Ready(Err(SendError::new(reason, message)))
    }
}

impl<R: Runtime> Drop for Send<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.leave_senders(ticket);
        }
    }
}
