//! Futures of the handles: calls. Written once, polled by every runtime (and by blocking threads,
//! which park where a task would), like those of `cast.rs` and `next.rs`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::body::Payload;
use bowline_core::error::{CallError, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, Line, Reply, Turn, WaitTicket};
use bowline_core::time::Instant;

use crate::clock;
use crate::peer::Peer;

/// Bytes of requests that are written before all who call have called: so that both sides work at
/// the same time.
const PILE_OF_CALLS: usize = 8 * 1024;

/// A call being begun; becomes [`Pending`] when its request is queued.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Starting<'a, F: Framing> {
    /// Goes on to the pending call.
    peer: Option<Peer<F>>,
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
    #[inline]
    pub(crate) fn new(peer: Peer<F>, options: CallOptions, payload: Payload<'a>) -> Self {
        Self { peer: Some(peer), options, payload, stage: Stage::New }
    }
}

impl<F: Framing> Future for Starting<'_, F> {
    type Output = Result<Pending<F>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Starting { peer: held, options, payload, stage } = this;
        let Some(peer) = held else { return Poll::Ready(Err(CallError::Closed)) };
        let timeout = options.get_timeout().unwrap_or(peer.0.call_timeout);
        let (deadline, ticket) = match *stage {
            Stage::New => (None, None),
            Stage::Waiting { ticket, line, deadline } => (Some(deadline), Some((line, ticket))),
            Stage::Over => return Poll::Ready(Err(CallError::Closed)),
        };
        // The body is handed over by reference count or copied: it is still there after `Full`.
        let polled = peer.0.shared.with_inline(|link| {
            let now = link.call_time(clock::now);
            let deadline = deadline.unwrap_or(now + timeout);
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
            match link.call_until(now, deadline, options, payload.clone(), |_| cx.waker().clone(), turn) {
                Ok(id) => {
                    let write = link.in_flight() == 1 || link.is_piling_up(PILE_OF_CALLS);
                    (Poll::Ready(Ok(id)), write)
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
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                *stage = Stage::Over;
                // It is there: it was borrowed above.
                let peer = held.take().ok_or(CallError::Closed);
                Poll::Ready(result.and_then(|id| Ok(Pending { peer: peer?, id: Some(id) })))
            }
        }
    }
}

impl<F: Framing> Drop for Starting<'_, F> {
    fn drop(&mut self) {
        if let (Stage::Waiting { ticket, line, .. }, Some(peer)) = (&self.stage, &self.peer) {
            let (ticket, line) = (*ticket, *line);
            peer.0.shared.with(|link| link.leave(line, ticket));
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

    #[inline(always)]
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
    #[inline]
    pub(crate) fn new(starting: Starting<'a, F>) -> Self {
        Self(CallStage::Starting(starting))
    }
}

impl<F: Framing> Future for Call<'_, F> {
    type Output = Result<Reply, CallError>;

    #[inline]
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
