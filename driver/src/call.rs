//! Futures of the handles: calls, casts, receiving. Written once, polled by every runtime (and
//! by blocking threads, which park where a task would).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::body::Payload;
use bowline_core::config::Overflow;
use bowline_core::error::{CallError, CastError, CastRefusal, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{
    CallId, CallOptions, CastOptions, Line, LinkEvent, Message, Queued, Reply, State, Turn, WaitTicket,
};
use bowline_core::time::Instant;

use crate::clock;
use crate::error::ClosedError;
use crate::peer::Peer;

/// A call being begun; becomes [`Pending`] when its request is queued.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Starting<'a, F: Framing> {
    peer: Peer<F>,
    options: CallOptions,
    payload: Payload<'a>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    Waiting { ticket: WaitTicket, line: Line, deadline: Instant },
    Over,
}

impl<'a, F: Framing> Starting<'a, F> {
    pub(crate) fn new(peer: Peer<F>, options: CallOptions, payload: Payload<'a>) -> Self {
        Self { peer, options, payload, stage: Stage::New }
    }
}

impl<F: Framing> Future for Starting<'_, F> {
    type Output = Result<Pending<F>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let now = clock::now();
        let Starting { peer, options, payload, stage } = this;
        let timeout = options.get_timeout().unwrap_or(peer.0.call_timeout);
        let (deadline, ticket) = match *stage {
            Stage::New => (now + timeout, None),
            Stage::Waiting { ticket, line, deadline } => (deadline, Some((line, ticket))),
            Stage::Over => return Poll::Ready(Err(CallError::Closed)),
        };
        // The body is handed over by reference count or copied: it is still there after `Full`.
        let polled = peer.0.shared.with_inline(now, |link| {
            let mut turn = false;
            if let Some((line, ticket)) = ticket {
                match link.poll_turn(line, ticket, || cx.waker().clone()) {
                    Turn::Waiting => return (Poll::Pending, false),
                    Turn::Granted => turn = true,
                    Turn::Expired => {
                        let outcome = Outcome::NeverSent;
                        return (Poll::Ready(Err(CallError::DeadlineExceeded { outcome })), false);
                    }
                    _ => return (Poll::Ready(Err(CallError::Closed)), false),
                }
            }
            match link.call_until(now, deadline, options, payload.clone(), cx.waker().clone(), turn) {
                Ok(id) => {
                    let lone = link.in_flight() == 1;
                    (Poll::Ready(Ok(id)), lone)
                }
                Err(CallError::Full(_)) => {
                    let line = Line::Call(link.call_class(options, payload.len()));
                    let ticket = link.wait(now, line, deadline, cx.waker().clone());
                    if turn {
                        link.return_turn();
                    }
                    *stage = Stage::Waiting { ticket, line, deadline };
                    (Poll::Pending, false)
                }
                Err(error) => (Poll::Ready(Err(error)), false),
            }
        });
        if polled.is_ready() {
            *stage = Stage::Over;
        }
        polled.map_ok(|id| Pending { peer: peer.clone(), id: Some(id) })
    }
}

impl<F: Framing> Drop for Starting<'_, F> {
    fn drop(&mut self) {
        if let Stage::Waiting { ticket, line, .. } = self.stage {
            self.peer.0.shared.with(|link| link.leave(line, ticket));
        }
    }
}

/// A call under way: a future of its reply. Dropping it cancels the call.
#[derive(Debug)]
#[must_use = "dropping a pending call cancels it"]
pub struct Pending<F: Framing> {
    peer: Peer<F>,
    id: Option<CallId>,
}

impl<F: Framing> Pending<F> {
    /// The call's id on the wire.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.id.map(CallId::get)
    }
}

impl<F: Framing> Future for Pending<F> {
    type Output = Result<Reply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(id) = this.id else { return Poll::Ready(Err(CallError::Closed)) };
        match this.peer.0.shared.with(|link| link.poll_reply(id, || cx.waker().clone())) {
            Some(result) => {
                this.id = None;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl<F: Framing> Drop for Pending<F> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.peer.0.shared.with(|link| link.cancel_call(id));
        }
    }
}

/// A call from its beginning to its reply.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Call<'a, F: Framing>(CallStage<'a, F>);

#[derive(Debug)]
enum CallStage<'a, F: Framing> {
    Starting(Starting<'a, F>),
    Pending(Pending<F>),
}

impl<'a, F: Framing> Call<'a, F> {
    pub(crate) fn new(starting: Starting<'a, F>) -> Self {
        Self(CallStage::Starting(starting))
    }
}

impl<F: Framing> Future for Call<'_, F> {
    type Output = Result<Reply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match &mut this.0 {
            CallStage::Starting(starting) => match Pin::new(starting).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // The request took this task's waker along: the reply wakes it.
                Poll::Ready(Ok(pending)) => {
                    this.0 = CallStage::Pending(pending);
                    Poll::Pending
                }
            },
            CallStage::Pending(pending) => Pin::new(pending).poll(cx),
        }
    }
}

/// A cast that waits for room.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Cast<'a, F: Framing> {
    peer: Peer<F>,
    options: CastOptions,
    payload: Option<Payload<'a>>,
    ticket: Option<(Line, WaitTicket)>,
}

impl<'a, F: Framing> Cast<'a, F> {
    pub(crate) fn new(peer: Peer<F>, options: CastOptions, payload: Payload<'a>) -> Self {
        Self { peer, options, payload: Some(payload), ticket: None }
    }
}

impl<F: Framing> Future for Cast<'_, F> {
    type Output = Result<Queued, CastError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Cast { peer, options, payload, ticket } = this;
        let Some(body) = payload.clone() else {
            return Poll::Ready(Err(CastError::new(CastRefusal::Closed, None)));
        };
        let polled = peer.0.shared.with(|link| {
            if let Some((line, held)) = *ticket {
                match link.poll_turn(line, held, || cx.waker().clone()) {
                    Turn::Waiting => return Poll::Pending,
                    _ => *ticket = None,
                }
            }
            let line = Line::Room(link.cast_class(options, body.len()));
            match link.cast(Instant::ZERO, options, body) {
                Err(error)
                    if matches!(error.reason, CastRefusal::Full(_))
                        && link.write_overflow() == Overflow::Block =>
                {
                    let waker = cx.waker().clone();
                    let place = link.wait(Instant::ZERO, line, Instant::FAR_FUTURE, waker);
                    *ticket = Some((line, place));
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        });
        if polled.is_ready() {
            *payload = None;
        }
        polled
    }
}

impl<F: Framing> Drop for Cast<'_, F> {
    fn drop(&mut self) {
        if let Some((line, ticket)) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(line, ticket));
        }
    }
}

/// Waits for a received message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Receive<F: Framing> {
    peer: Peer<F>,
    ticket: Option<WaitTicket>,
}

impl<F: Framing> Receive<F> {
    pub(crate) fn new(peer: Peer<F>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for Receive<F> {
    type Output = Result<Message, ClosedError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Self { peer, ticket } = this;
        peer.0.shared.with(|link| match link.poll_receive(ticket, || cx.waker().clone()) {
            Some(message) => Poll::Ready(Ok(message)),
            None if link.state() == State::Closed => Poll::Ready(Err(ClosedError)),
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
    peer: Peer<F>,
    ticket: Option<WaitTicket>,
}

impl<F: Framing> NextEvent<F> {
    pub(crate) fn new(peer: Peer<F>) -> Self {
        Self { peer, ticket: None }
    }
}

impl<F: Framing> Future for NextEvent<F> {
    type Output = Result<LinkEvent, ClosedError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Self { peer, ticket } = this;
        peer.0.shared.with(|link| match link.poll_event(ticket, || cx.waker().clone()) {
            Some(event) => Poll::Ready(Ok(event)),
            None if link.state() == State::Closed => Poll::Ready(Err(ClosedError)),
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
