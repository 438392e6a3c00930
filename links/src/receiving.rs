//! Futures of the handles: receiving.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::frame::Framing;
use bowline_core::link::{Line, LinkEvent, Message, State, Undelivered, WaitTicket};
use bowline_driver::error::ReceiveError;

use crate::peer_core::PeerCore;

/// The future of the next errored message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextErrored<F: Framing> {
    peer: PeerCore<F>,
    ticket: Option<WaitTicket>,
}

impl<F: Framing> NextErrored<F> {
    pub(crate) fn new(peer: PeerCore<F>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for NextErrored<F> {
    type Output = Result<Undelivered, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Self { peer, ticket } = this;
        peer.0.shared.with(|link| match link.poll_errored(ticket, || cx.waker().clone()) {
            Some(undelivered) => Poll::Ready(Ok(undelivered)),
            None if link.state() == State::Closed => Poll::Ready(Err(ReceiveError::Closed)),
            None => Poll::Pending,
        })
    }
}

impl<F: Framing> Drop for NextErrored<F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(Line::Errored, ticket));
        }
    }
}

/// The future of the next received message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Receive<'a, F: Framing> {
    /// Borrowed where possible: counting a reference costs as much as the lock.
    peer: Cow<'a, PeerCore<F>>,
    ticket: Option<WaitTicket>,
}

impl<'a, F: Framing> Receive<'a, F> {
    pub(crate) fn new(peer: Cow<'a, PeerCore<F>>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for Receive<'_, F> {
    type Output = Result<Message, ReceiveError>;

    // Inlined into its caller, and received in place: each move of a message costs as much as everything
    // else.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut message = Message::empty();
        match self.get_mut().poll_into(&mut message, cx) {
            Polled::Received => Poll::Ready(Ok(message)),
            Polled::Closed => Poll::Ready(Err(ReceiveError::Closed)),
            Polled::Nothing => Poll::Pending,
        }
    }
}

/// The result of a look at the queue of received messages.
enum Polled {
    Received,
    Closed,
    Nothing,
}

impl<F: Framing> Receive<'_, F> {
    #[inline(never)]
    fn poll_into(&mut self, message: &mut Message, cx: &mut Context<'_>) -> Polled {
        let Self { peer, ticket } = self;
        peer.0.shared.with(|link| {
            if link.receive_into(message, ticket, || cx.waker().clone()) {
                Polled::Received
            } else if link.state() == State::Closed {
                Polled::Closed
            } else {
                Polled::Nothing
            }
        })
    }
}

impl<F: Framing> Drop for Receive<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(Line::Receive, ticket));
        }
    }
}

/// The future of the next event.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextEvent<F: Framing> {
    peer: PeerCore<F>,
    ticket: Option<WaitTicket>,
}

impl<F: Framing> NextEvent<F> {
    pub(crate) fn new(peer: PeerCore<F>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for NextEvent<F> {
    type Output = Result<LinkEvent, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Self { peer, ticket } = this;
        peer.0.shared.with(|link| match link.poll_event(ticket, || cx.waker().clone()) {
            Some(event) => Poll::Ready(Ok(event)),
            None if link.state() == State::Closed => Poll::Ready(Err(ReceiveError::Closed)),
            None => Poll::Pending,
        })
    }
}

impl<F: Framing> Drop for NextEvent<F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(Line::Events, ticket));
        }
    }
}

/// The result if it is available now. Does not wait, and leaves no waker behind.
pub(crate) fn now_or_never<T>(next: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut next = next;
    match Pin::new(&mut next).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
