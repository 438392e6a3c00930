//! Futures of the handles: casts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bowline_core::body::Payload;
use bowline_core::config::Overflow;
use bowline_core::error::{CastError, CastRefusal, Outcome};
use bowline_core::frame::Framing;
use bowline_core::link::{CastOptions, Line, Queued, Turn, WaitTicket};
use bowline_core::time::Instant;
use bowline_driver::clock;

use crate::peer_core::PeerCore;

/// Once this many bytes of casts wait, the caller that queues the last of them writes them: one batch.
pub(crate) const PILE_OF_CASTS: usize = 64 * 1024;

/// The future of a cast that waits for room.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Cast<'a, F: Framing> {
    peer: &'a PeerCore<F>,
    options: CastOptions,
    payload: Option<Payload<'a>>,
    ticket: Option<(Line, WaitTicket)>,
}

impl<'a, F: Framing> Cast<'a, F> {
    // Inlined with its callers: see `CastOptions::new`.
    #[inline(always)]
    pub(crate) fn new(peer: &'a PeerCore<F>, options: CastOptions, payload: Payload<'a>) -> Self {
        Self { peer, options, payload: Some(payload), ticket: None }
    }
}

impl<F: Framing> Future for Cast<'_, F> {
    type Output = Result<Queued, CastError>;

    // Inlined into its caller: returning the result through memory would cost as much as everything else.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let queued = this.cast_plain();
        if queued.number > 0 {
            return Poll::Ready(Ok(queued));
        }
        this.poll_other(cx, None)
    }
}

impl<F: Framing> Cast<'_, F> {
    /// The fast path; returns number 0 if the cast needs the slow path.
    #[inline(never)]
    fn cast_plain(&mut self) -> Queued {
        let Cast { peer, options, payload, ticket } = self;
        let Some(body) = payload.as_ref().filter(|_| ticket.is_none()) else {
            return Queued { number: 0, bytes: 0 };
        };
        let queued = peer.0.shared.with_stream(|link| {
            let queued = link.cast_in_registers(options, body.as_slice());
            (queued, link.is_piling_up(PILE_OF_CASTS))
        });
        if queued.number > 0 {
            *payload = None;
        }
        queued
    }

    /// The deadline of a cast whose outcome is waited for, if it begins now.
    fn deadline(&self) -> Instant {
        clock::now() + self.options.get_timeout().unwrap_or(self.peer.0.cast_timeout)
    }

    #[cold]
    fn leave(&mut self) {
        if let Some((line, ticket)) = self.ticket.take() {
            self.peer.0.shared.with(|link| link.leave(line, ticket));
        }
    }

    /// The slow path: the cast waits for room, has special options, or has its outcome waited for until
    /// `watched`.
    #[inline(never)]
    fn poll_other(
        &mut self,
        cx: &mut Context<'_>,
        watched: Option<Instant>,
    ) -> Poll<Result<Queued, CastError>> {
        let Cast { peer, options, payload, ticket } = self;
        let Some(body) = payload.clone() else {
            return Poll::Ready(Err(CastError::new(CastRefusal::Closed, None)));
        };
        let now = if watched.is_some() { clock::now() } else { peer.cast_time() };
        let deadline = watched.unwrap_or(Instant::FAR_FUTURE);
        let polled = peer.0.shared.with_stream(|link| {
            if let Some((line, held)) = *ticket {
                match link.poll_turn(line, held, || cx.waker().clone()) {
                    Turn::Waiting => return (Poll::Pending, false),
                    Turn::Expired => {
                        *ticket = None;
                        return (
                            Poll::Ready(Err(link.expired_cast(options, body.into_bytes().into()).into())),
                            false,
                        );
                    }
                    _ => *ticket = None,
                }
            }
            let class = link.cast_class(options, body.len());
            let line = Line::Room(class);
            match link.cast(now, options, body) {
                Err(error)
                    if matches!(error.reason(), CastRefusal::Full(_))
                        && link.write_overflow() == Overflow::Block =>
                {
                    let waker = cx.waker().clone();
                    let place = link.wait(now, line, deadline, waker);
                    *ticket = Some((line, place));
                    (Poll::Pending, false)
                }
                result => {
                    if let Ok(queued) = &result
                        && watched.is_some()
                    {
                        let (left, waker) = (deadline.saturating_since(now), cx.waker().clone());
                        link.watch_outcome_for(now, left, class, queued.number, waker);
                    }
                    (Poll::Ready(result), link.is_piling_up(PILE_OF_CASTS))
                }
            }
        });
        if polled.is_ready() {
            *payload = None;
        }
        polled
    }
}

impl<F: Framing> Cast<'_, F> {
    /// Queues the message if there is room now; otherwise the error contains it.
    pub(crate) fn now(mut self) -> Result<Queued, CastError> {
        match Pin::new(&mut self).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(self.back()),
        }
    }

    fn back(&mut self) -> CastError {
        let body = self.payload.take().map(Payload::into_bytes);
        CastError::new(CastRefusal::WouldPark, body)
    }
}

impl<F: Framing> Drop for Cast<'_, F> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.leave();
        }
    }
}

/// The future of a cast that waits for the outcome of its message.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct CastAndWait<'a, F: Framing> {
    cast: Cast<'a, F>,
    /// The deadline of the wait; set on the first poll.
    deadline: Option<Instant>,
    /// The message, for the error that gives it back.
    kept: Option<Payload<'a>>,
    number: Option<u64>,
    bytes: usize,
}

impl<'a, F: Framing> CastAndWait<'a, F> {
    pub(crate) fn new(cast: Cast<'a, F>) -> Self {
        let kept = cast.payload.clone();
        Self { cast, deadline: None, kept, number: None, bytes: 0 }
    }

    /// Gives the message back: it was not queued.
    pub(crate) fn back(mut self) -> CastError {
        self.cast.back()
    }

    /// The bytes that the message takes on the wire; 0 until it is queued.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<F: Framing> Future for CastAndWait<'_, F> {
    type Output = Result<Outcome, CastError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(number) = this.number else {
            let deadline = match this.deadline {
                Some(deadline) => deadline,
                None => *this.deadline.insert(this.cast.deadline()),
            };
            return match this.cast.poll_other(cx, Some(deadline)) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // The link has this task's waker.
                Poll::Ready(Ok(queued)) => {
                    (this.number, this.bytes) = (Some(queued.number), queued.bytes);
                    Poll::Pending
                }
            };
        };
        match this.cast.peer.0.shared.with(|link| link.poll_outcome(number, || cx.waker().clone())) {
            None => Poll::Pending,
            Some(ended) => {
                this.number = None;
                let kept = this.kept.take();
                let options = &this.cast.options;
                Poll::Ready(ended.map_err(|undelivered| {
                    // The message as the caller gave it: while a message is being written, the link holds no
                    // copy.
                    let given = kept.map(|kept| kept.into_bytes().into());
                    match given {
                        Some(body) => undelivered.with_given(options, body).into(),
                        None => undelivered.into(),
                    }
                }))
            }
        }
    }
}

impl<F: Framing> Drop for CastAndWait<'_, F> {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.cast.peer.0.shared.with(|link| link.forget_outcome(number));
        }
    }
}
