//! Receiving, and waiting for a message.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::RecvError;

use crate::core::SocketCore;
use crate::error::ReceiveError;

/// The next message. Dropped before it is ready, none is lost.
#[must_use = "futures do nothing unless awaited"]
pub struct Receive<'a, R: Runtime> {
    core: &'a Arc<SocketCore>,
    ticket: Option<Ticket>,
    until: Option<(Instant, Alarm<R::Timer>)>,
}

impl<R: Runtime> std::fmt::Debug for Receive<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receive").finish_non_exhaustive()
    }
}

impl<'a, R: Runtime> Receive<'a, R> {
    pub(crate) fn new(core: &'a Arc<SocketCore>, until: Option<Instant>) -> Self {
        let until = until.map(|until| (until, Alarm::new(R::timer())));
        Self { core, ticket: None, until }
    }

    /// On a thread that must not wait: what is there.
    pub(crate) fn at_once(self) -> Result<Message, ReceiveError> {
        let mut message = Message::new();
        match self.core.try_receive(&mut message) {
            Ok(_) => Ok(message),
            Err(ReceiveError::Socket(RecvError::WouldBlock)) => Err(ReceiveError::WouldPark),
            Err(error) => Err(error),
        }
    }
}

impl<R: Runtime> Future for Receive<'_, R> {
    type Output = Result<Message, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut message = Message::new();
        match this.core.poll_receive(&mut message, &mut this.ticket, cx) {
            Poll::Ready(received) => return Poll::Ready(received.map(|_| message)),
            Poll::Pending => {}
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

impl<R: Runtime> Drop for Receive<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.leave_receivers(ticket);
        }
    }
}
