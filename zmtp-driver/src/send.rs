//! Futures of sending.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::body::Payload;
use bowline_core::time::Instant;
use bowline_core::waiters::Ticket;
use bowline_driver::clock;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;
use bowline_zmtp::socket::Messages;

use crate::core::SocketCore;
use crate::error::{Refusal, SendError, SendManyError};
use crate::outgoing::Outgoing;

/// The future of a message being sent. If it is dropped before it is ready, no part of the message is sent.
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

    /// For a thread that must not wait: sends if that is possible at once.
    pub(crate) fn at_once(mut self) -> Result<(), SendError> {
        let message = self.message.take().unwrap_or_else(|| Outgoing::of_parts::<&[u8]>([]));
        match self.core.try_send(|socket, table| socket.send(table, message.parts())) {
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

    #[inline]
    /// # Panics
    /// After it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let message = this.message.as_ref().expect("polled after it was ready");
        let parts = message.parts();
        let reason =
            match this.core.poll_send(&mut this.ticket, cx, |socket, table| socket.send(table, parts)) {
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
                        if !this.core.place().within(|| alarm.poll(cx, *until)) {
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

/// The future of several messages being sent, in order. If it is dropped before it is ready, the [first
/// ones](Self::sent) stay sent.
#[must_use = "futures do nothing unless awaited"]
pub struct SendMany<'a, M> {
    core: &'a Arc<SocketCore>,
    messages: &'a [M],
    sent: usize,
    ticket: Option<Ticket>,
}

/// The number of messages sent under one lock.
const RUN: usize = 16;

impl<M> std::fmt::Debug for SendMany<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendMany").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl<'a, M> SendMany<'a, M>
where
    &'a M: Into<Outgoing<'a>>,
{
    pub(crate) fn new(core: &'a Arc<SocketCore>, messages: &'a [M]) -> Self {
        Self { core, messages, sent: 0, ticket: None }
    }

    /// How many of them are sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// For a thread that must not wait: sends what can be sent at once.
    pub(crate) fn at_once(mut self) -> Result<(), SendManyError> {
        while self.sent < self.messages.len() {
            let run = Run::new(self.messages, self.sent);
            let sent = &mut self.sent;
            let result = self.core.try_send(|socket, table| socket.send_run(table, &run, sent, run.end()));
            let reason = match result {
                Ok(()) => continue,
                Err(Refusal::Socket(bowline_zmtp::socket::SendError::WouldBlock)) => Refusal::WouldPark,
                Err(reason) => reason,
            };
            return Err(SendManyError::new(reason, self.sent));
        }
        Ok(())
    }
}

/// The next messages, converted: the conversion is the program's code, and is not called under the socket's
/// lock.
struct Run<'a> {
    first: usize,
    messages: [Option<Outgoing<'a>>; RUN],
}

impl<'a> Run<'a> {
    #[inline]
    fn new<M>(all: &'a [M], first: usize) -> Self
    where
        &'a M: Into<Outgoing<'a>>,
    {
        Self { first, messages: std::array::from_fn(|at| all.get(first + at).map(Into::into)) }
    }

    /// The end of the run.
    fn end(&self) -> usize {
        self.first + RUN
    }
}

impl Messages for Run<'_> {
    #[inline]
    fn with<R>(&self, at: usize, f: impl FnOnce(&[Payload<'_>]) -> R) -> Option<R> {
        self.messages.get(at - self.first)?.as_ref().map(|message| f(message.parts()))
    }
}

impl<'a, M> Future for SendMany<'a, M>
where
    &'a M: Into<Outgoing<'a>>,
{
    type Output = Result<(), SendManyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let messages = this.messages;
        while this.sent < messages.len() {
            let run = Run::new(messages, this.sent);
            let sent = &mut this.sent;
            let sending = this.core.poll_send(&mut this.ticket, cx, |socket, table| {
                socket.send_run(table, &run, sent, run.end())
            });
            match sending {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(SendManyError::new(reason, this.sent))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<M> Drop for SendMany<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.core.leave_senders(ticket);
        }
    }
}
