//! Futures of the handles: calls. They are poll-based, so that every runtime can poll them (blocking threads
//! park between polls), like those of `cast.rs` and `receiving.rs`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::body::Payload;
use bowline_core::error::CallError;
use bowline_core::frame::Framing;
use bowline_core::link::{CallId, CallOptions, Line, Reply, Turn, WaitTicket};
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::layered::Pile;

use crate::peer_core::PeerCore;

/// Bytes of requests that are written before every caller that is about to call has called, so that both
/// sides work at the same time.
const PILE_OF_CALLS: Pile = Pile::new(8 * 1024);

/// A place in the queue of callers, for a call that there is no room for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    ticket: WaitTicket,
    line: Line,
    deadline: Instant,
}

impl Wait {
    /// The caller's future was dropped.
    #[cold]
    fn leave<F: Framing>(self, peer: &PeerCore<F>) {
        peer.0.shared.with(|link| link.leave(self.line, self.ticket));
    }
}

/// Fast path: queues the request of a call if there is room and it has no special options. `None`: nothing
/// was done, use [`begin`].
// The result fits into registers.
#[inline(never)]
fn begin_plain<F: Framing>(
    peer: &PeerCore<F>,
    options: &CallOptions,
    payload: &Payload<'_>,
    cx: &mut Context<'_>,
) -> Option<CallId> {
    let timeout = options.get_timeout().unwrap_or(peer.0.call_timeout);
    let body = payload.as_slice();
    let pile = PILE_OF_CALLS.bytes(peer.0.is_layered);
    peer.0.shared.with_inline(|link| {
        let now = link.call_time(clock::now);
        let call = link.call_plain(now, timeout, options, body, |_| cx.waker().clone());
        let write = call.is_some() && (link.in_flight() == 1 || link.is_piling_up(pile));
        (call, write)
    })
}

/// Slow path: queues the request of any call, or waits in the queue for room.
#[inline(never)]
fn begin<F: Framing>(
    peer: &PeerCore<F>,
    options: &CallOptions,
    payload: &Payload<'_>,
    wait: &mut Option<Wait>,
    cx: &mut Context<'_>,
) -> Poll<Result<CallId, CallError>> {
    let timeout = options.get_timeout().unwrap_or(peer.0.call_timeout);
    let pile = PILE_OF_CALLS.bytes(peer.0.is_layered);
    // The body is passed by reference count or copied: it is still available after `Full`.
    peer.0.shared.with_inline(|link| {
        let now = link.call_time(clock::now);
        let mut turn = false;
        let deadline = match wait.take() {
            None => now + timeout,
            Some(held) => {
                match link.poll_turn(held.line, held.ticket, || cx.waker().clone()) {
                    Turn::Waiting => {
                        *wait = Some(held);
                        return (Poll::Pending, false);
                    }
                    Turn::Granted => turn = true,
                    Turn::Expired => {
                        return (Poll::Ready(Err(link.deadline_passed())), false);
                    }
                    _ => return (Poll::Ready(Err(CallError::Closed)), false),
                }
                held.deadline
            }
        };
        match link.call_until(now, deadline, options, payload.clone(), |_| cx.waker().clone(), turn) {
            Ok(id) => {
                let write = link.in_flight() == 1 || link.is_piling_up(pile);
                (Poll::Ready(Ok(id)), write)
            }
            Err(CallError::Full(_)) => {
                let line = Line::Call(link.call_class(options, payload.len()));
                let ticket = link.wait(now, line, deadline, cx.waker().clone());
                if turn {
                    link.return_turn();
                }
                *wait = Some(Wait { ticket, line, deadline });
                (Poll::Pending, false)
            }
            Err(error) => {
                if turn {
                    link.return_turn();
                }
                (Poll::Ready(Err(error)), false)
            }
        }
    })
}

/// The reply of a call, if it has arrived.
// Inlined, and the reply is written directly to its destination: each return would copy it.
#[inline(always)]
fn poll_reply<F: Framing>(
    peer: &PeerCore<F>,
    call: CallId,
    cx: &mut Context<'_>,
) -> Poll<Result<Reply, CallError>> {
    let mut polled = Poll::Pending;
    peer.0.shared.with(|link| {
        if let Some(result) = link.poll_reply(call, || cx.waker().clone()) {
            polled = Poll::Ready(result);
        }
    });
    polled
}

/// The caller no longer waits for the call.
#[cold]
fn cancel<F: Framing>(peer: &PeerCore<F>, call: CallId) {
    peer.0.shared.with(|link| link.cancel_call(call));
}

/// The future of a call being begun: its output is a [`Pending`], as soon as the request is queued.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Starting<'a, F: Framing> {
    /// Moves on into the pending call.
    peer: Option<PeerCore<F>>,
    options: CallOptions,
    payload: Payload<'a>,
    wait: Option<Wait>,
}

impl<'a, F: Framing> Starting<'a, F> {
    #[inline]
    pub(crate) fn new(peer: PeerCore<F>, options: CallOptions, payload: Payload<'a>) -> Self {
        Self { peer: Some(peer), options, payload, wait: None }
    }
}

impl<F: Framing> Future for Starting<'_, F> {
    type Output = Result<Pending<F>, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Starting { peer: held, options, payload, wait } = self.get_mut();
        let Some(peer) = held else { return Poll::Ready(Err(CallError::Closed)) };
        let begun = match wait {
            None => begin_plain(peer, options, payload, cx),
            Some(_) => None,
        };
        let polled = match begun {
            Some(id) => Poll::Ready(Ok(id)),
            None => begin(peer, options, payload, wait, cx),
        };
        polled.map(|result| {
            // Always present: it was borrowed above.
            let peer = held.take().ok_or(CallError::Closed)?;
            Ok(Pending { peer, id: Some(result?) })
        })
    }
}

impl<F: Framing> Drop for Starting<'_, F> {
    fn drop(&mut self) {
        if let (Some(wait), Some(peer)) = (self.wait.take(), &self.peer) {
            wait.leave(peer);
        }
    }
}

/// A call under way: the future of its reply. Dropping it cancels the call.
#[derive(Debug)]
#[must_use = "dropping a pending call cancels it"]
pub struct Pending<F: Framing> {
    peer: PeerCore<F>,
    id: Option<CallId>,
}

impl<F: Framing> Pending<F> {
    pub(crate) fn peer(&self) -> &PeerCore<F> {
        &self.peer
    }

    /// The call's id on the wire.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.id.map(CallId::get)
    }
}

impl<F: Framing> Future for Pending<F> {
    type Output = Result<Reply, CallError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(id) = this.id else { return Poll::Ready(Err(CallError::Closed)) };
        let polled = poll_reply(&this.peer, id, cx);
        if polled.is_ready() {
            this.id = None;
        }
        polled
    }
}

impl<F: Framing> Drop for Pending<F> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            cancel(&self.peer, id);
        }
    }
}

/// The future of a call, from its beginning to its reply.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Call<'a, F: Framing> {
    peer: &'a PeerCore<F>,
    options: CallOptions,
    payload: Payload<'a>,
    wait: Option<Wait>,
    id: Option<CallId>,
    over: bool,
}

impl<'a, F: Framing> Call<'a, F> {
    #[inline]
    pub(crate) fn new(peer: &'a PeerCore<F>, options: CallOptions, payload: Payload<'a>) -> Self {
        Self { peer, options, payload, wait: None, id: None, over: false }
    }

    #[inline(never)]
    fn begin_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, CallError>> {
        let Self { peer, options, payload, wait, id, over } = self;
        if *over {
            return Poll::Ready(Err(CallError::Closed));
        }
        match begin(peer, options, payload, wait, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                *over = true;
                Poll::Ready(Err(error))
            }
            // The request was queued with this task's waker: the reply wakes it.
            Poll::Ready(Ok(call)) => {
                (*id, *payload) = (Some(call), Payload::Borrowed(&[]));
                Poll::Pending
            }
        }
    }
}

impl<F: Framing> Future for Call<'_, F> {
    type Output = Result<Reply, CallError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(id) = this.id {
            let polled = poll_reply(this.peer, id, cx);
            if polled.is_ready() {
                (this.id, this.over) = (None, true);
            }
            return polled;
        }
        if this.wait.is_none()
            && !this.over
            && let Some(id) = begin_plain(this.peer, &this.options, &this.payload, cx)
        {
            (this.id, this.payload) = (Some(id), Payload::Borrowed(&[]));
            return Poll::Pending;
        }
        this.begin_other(cx)
    }
}

impl<F: Framing> Drop for Call<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            cancel(self.peer, id);
        }
        if let Some(wait) = self.wait.take() {
            wait.leave(self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bowline_core::config::Config;
    use bowline_core::link::{Link, Role};

    use super::*;

    #[test]
    fn a_call_that_cannot_use_its_turn_gives_it_to_the_next() {
        let config = Config::builder().max_in_flight(1).build().unwrap();
        let peer = PeerCore::new(Link::new(config, Role::Dialing));
        let cx = &mut Context::from_waker(Waker::noop());
        let call = |options| Call::new(&peer, options, Payload::Borrowed(b"x"));
        let mut first = call(CallOptions::new(1));
        let mut broken = call(CallOptions::new(1).extensions(vec![1, 2, 3]));
        let mut last = call(CallOptions::new(1));
        for call in [&mut first, &mut broken, &mut last] {
            assert!(Pin::new(call).poll(cx).is_pending());
        }
        assert!(broken.wait.is_some() && last.wait.is_some(), "there is one place");
        drop(first);
        assert!(matches!(Pin::new(&mut broken).poll(cx), Poll::Ready(Err(CallError::Encode(_)))));
        assert!(Pin::new(&mut last).poll(cx).is_pending());
        assert!(last.id.is_some(), "it has the place");
    }
}
