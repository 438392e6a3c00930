//! Futures of the handles: waiting for what comes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::frame::Framing;
use bowline_core::link::{Line, LinkEvent, Message, State, Undelivered, WaitTicket};
use bowline_driver::error::ReceiveError;

use crate::peer_core::PeerCore;

/// Waits for an errored message.
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

/// Waits for a received message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Receive<F: Framing> {
    peer: PeerCore<F>,
    ticket: Option<WaitTicket>,
}

impl<F: Framing> Receive<F> {
    pub(crate) fn new(peer: PeerCore<F>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for Receive<F> {
    type Output = Result<Message, ReceiveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Self { peer, ticket } = this;
        peer.0.shared.with(|link| match link.poll_receive(ticket, || cx.waker().clone()) {
            Some(message) => Poll::Ready(Ok(message)),
            None if link.state() == State::Closed => Poll::Ready(Err(ReceiveError::Closed)),
            None => Poll::Pending,
        })
    }
}

impl<F: Framing> Drop for Receive<F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(Line::Receive, ticket));
        }
    }
}

/// Waits for an event.
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

/// What is there now. Waits for nothing, and leaves nothing behind.
pub(crate) fn now_or_never<T>(next: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut next = next;
    match Pin::new(&mut next).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
