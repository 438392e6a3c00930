//! The other side of a link, with methods that wait.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::body::Payload;
#[allow(unused_imports, reason = "for the documentation")]
use bowline_core::error::Outcome;
use bowline_core::error::{CallError, CastError};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, LinkEvent, Message, Reply, Undelivered};
use bowline_driver::clock;
use bowline_driver::error::ReceiveError;
use bowline_driver::pump::Alarm;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Tasks, Threads, Wait};

use crate::call::{self, Call};
use crate::cast::{Cast, CastAndWait};
use crate::peer_core::PeerCore;
use crate::receiving::{NextErrored, NextEvent, Receive};

/// The other side of a link: what a handler answers to, calls back, or keeps to push to later.
///
/// Cheap to clone. Holding one keeps nothing open: when its connection ends (on the accepting
/// side) or its [`Client`](crate::Client) is dropped, its methods say so.
///
/// What never waits ([`try_cast`](PeerCore::try_cast), [`state`](PeerCore::state), …) is the same on
/// every runtime: a peer derefs to [`PeerCore`]. What waits is awaited on tokio, smol and async-std, and
/// parks on threads ([`Wait`]).
pub struct Peer<R: Runtime, F: Framing = Native> {
    core: PeerCore<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> Clone for Peer<R, F> {
    #[inline]
    fn clone(&self) -> Self {
        self.core.clone().into()
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Peer<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> From<PeerCore<F>> for Peer<R, F> {
    #[inline]
    fn from(core: PeerCore<F>) -> Self {
        Self { core, runtime: PhantomData }
    }
}

impl<R: Runtime, F: Framing> Deref for Peer<R, F> {
    type Target = PeerCore<F>;

    #[inline]
    fn deref(&self) -> &PeerCore<F> {
        &self.core
    }
}

impl<R: Runtime, F: Framing> AsRef<PeerCore<F>> for Peer<R, F> {
    fn as_ref(&self) -> &PeerCore<F> {
        &self.core
    }
}

impl<R: Runtime, F: Framing> Peer<R, F> {
    /// Calls the peer's `method` with the default deadline.
    ///
    /// # Errors
    /// See [`CallError`], whose `outcome()` says what became of
    /// the request.
    ///
    /// # Cancel safety
    /// Dropping the future frees the call's slot and tells the peer; a late reply is counted.
    #[inline]
    pub fn call<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Wait<R, Call<'a, F>> {
        self.call_with(CallOptions::new(method), payload)
    }

    /// [`call`](Self::call) with options.
    #[inline]
    pub fn call_with<'a>(
        &'a self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, Call<'a, F>> {
        wait_for_reply::<R, F, _>(&self.core, self.core.call_with(options, payload))
    }

    /// Begins a call and returns as soon as its request is queued, which is at once unless the
    /// link is at a limit. Many calls can be under way from one task or thread so.
    ///
    /// # Errors
    /// As [`call`](Self::call), as far as they show before the request is queued.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready makes no call.
    #[inline]
    pub fn start_call<'a>(
        &'a self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, impl Future<Output = Result<Pending<R, F>, CallError>> + Send + 'a> {
        let starting = self.core.start_call(options, payload);
        R::Style::wait(async move { Ok(Pending::new(starting.await?)) }, || Err(CallError::WouldPark))
    }

    /// Queues a message that wants no answer; waits for room in the write queue if its policy is
    /// to block. Queued is not written: see the link's events for what is dropped.
    ///
    /// # Errors
    /// See [`CastError`], which carries the message back.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready casts nothing.
    #[inline(always)]
    pub fn cast<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Wait<R, Cast<'a, F>> {
        self.cast_with(CastOptions::new(method), payload)
    }

    /// [`cast`](Self::cast) with options.
    #[inline(always)]
    pub fn cast_with<'a>(
        &'a self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, Cast<'a, F>> {
        R::Style::wait_or(self.core.cast_with(options, payload), Cast::now)
    }

    /// Queues messages to one method, one after another and under one lock where there is room:
    /// cheaper than one by one. Waits for room as [`cast`](Self::cast) does. How many were queued:
    /// fewer than there are if one cannot be.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), if it is the first that cannot be queued.
    ///
    /// # Cancel safety
    /// What is queued stays queued.
    pub fn cast_many<'a, B: AsRef<[u8]> + Sync>(
        &'a self,
        method: u32,
        bodies: &'a [B],
    ) -> Wait<R, impl Future<Output = Result<usize, CastError>> + Send + 'a> {
        R::Style::wait(self.core.cast_many(method, bodies), || self.core.try_cast_many(method, bodies))
    }

    /// [`cast`](Self::cast), and waits for what becomes of the message: [`Outcome::Written`] where
    /// the protocol has no acknowledgement.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), and [`CastRefusal::Undelivered`](bowline_core::error::CastRefusal):
    /// the message is in the error then.
    /// After [`ConfigBuilder::cast_timeout`](bowline_core::config::ConfigBuilder::cast_timeout) (or
    /// the options' timeout) it is [`Outcome::Expired`], or [`Outcome::MaybeDelivered`] if bytes of
    /// it had left or were being written.
    ///
    /// # Cancel safety
    /// Dropping the future before the message is queued casts nothing; later, the message goes on
    /// like one whose end is not waited for.
    pub fn cast_and_wait<'a>(
        &'a self,
        method: u32,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, CastAndWait<'a, F>> {
        self.cast_and_wait_with(CastOptions::new(method), payload)
    }

    /// [`cast_and_wait`](Self::cast_and_wait) with options.
    pub fn cast_and_wait_with<'a>(
        &'a self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Wait<R, CastAndWait<'a, F>> {
        let cast = self.core.cast_and_wait_with(options, payload);
        R::Style::wait_or(cast, |cast| Err(cast.back()))
    }

    /// The next received message that no `on_message` took.
    ///
    /// # Errors
    /// The link is closed and everything received was taken.
    ///
    /// # Cancel safety
    /// A message is taken only when the future is ready: dropping it loses nothing.
    #[inline]
    pub fn receive(&self) -> Wait<R, Receive<'_, F>> {
        R::Style::wait(self.core.receive(), || there(self.core.try_receive()))
    }

    /// Waits for a received message, and appends it and those that wait with it, up to `most` in
    /// all, to `into`: one lock for all of them. How many; at least one unless `most` is 0.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive): nothing is taken before the future is ready.
    pub fn receive_many<'a>(
        &'a self,
        into: &'a mut Vec<Message>,
        most: usize,
    ) -> Wait<R, impl Future<Output = Result<usize, ReceiveError>> + Send + 'a> {
        R::Style::wait(self.core.receive_many(into, most), || Err(ReceiveError::WouldPark))
    }

    /// The next errored message: one that could not be delivered, and that was not given back to a caller
    /// else. The queue is bounded; unread, its oldest are dropped and counted.
    ///
    /// # Errors
    /// The link is closed and every errored message was taken.
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn next_errored(&self) -> Wait<R, NextErrored<F>> {
        R::Style::wait(self.core.next_errored(), || there(self.core.try_next_errored()))
    }

    /// The next [`LinkEvent`]. The queue is bounded; unread, its
    /// oldest are dropped and counted.
    ///
    /// # Errors
    /// The link is closed and every event was taken.
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn next_event(&self) -> Wait<R, NextEvent<F>> {
        R::Style::wait(self.core.next_event(), || there(self.core.try_next_event()))
    }

    /// The next message, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn receive_timeout(
        &self,
        timeout: Duration,
    ) -> Wait<R, impl Future<Output = Result<Option<Message>, ReceiveError>> + Send + use<R, F>> {
        within::<R, _>(timeout, self.core.receive_owned())
    }

    /// The next errored message ([`next_errored`](Self::next_errored)), or `None` if none came within
    /// `timeout`.
    ///
    /// # Errors
    /// As [`next_errored`](Self::next_errored).
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn next_errored_timeout(
        &self,
        timeout: Duration,
    ) -> Wait<R, impl Future<Output = Result<Option<Undelivered>, ReceiveError>> + Send + use<R, F>> {
        within::<R, _>(timeout, self.core.next_errored())
    }

    /// The next event ([`next_event`](Self::next_event)), or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn next_event_timeout(
        &self,
        timeout: Duration,
    ) -> Wait<R, impl Future<Output = Result<Option<LinkEvent>, ReceiveError>> + Send + use<R, F>> {
        within::<R, _>(timeout, self.core.next_event())
    }

    /// Received messages, which end when the link is closed: a stream on tokio, smol and async-std, an
    /// iterator on threads.
    pub fn messages(&self) -> Messages<R, F> {
        Messages { peer: self.clone(), receive: None }
    }
}

/// What was there, for a thread that must not wait.
fn there<T>(now: Result<Option<T>, ReceiveError>) -> Result<T, ReceiveError> {
    now?.ok_or(ReceiveError::WouldPark)
}

/// Waits for a reply. On threads, the caller of the only call in flight reads for itself: that saves
/// two hops between threads.
fn wait_for_reply<R: Runtime, F: Framing, Fut>(peer: &PeerCore<F>, reply: Fut) -> Wait<R, Fut>
where
    Fut: Future<Output = Result<Reply, CallError>>,
{
    let help = |served: &dyn Fn() -> bool| {
        let shared = peer.shared();
        if shared.with(|link| link.in_flight()) == 1
            && let Some(connection) = shared.connection()
        {
            connection.read_for(served);
        }
    };
    R::Style::wait_helping(reply, || Err(CallError::WouldPark), help)
}

/// What `next` says, or `None` if it said nothing within `timeout`.
#[allow(clippy::type_complexity, reason = "an unnamed future, waited for")]
fn within<R: Runtime, T>(
    timeout: Duration,
    mut next: impl Future<Output = Result<T, ReceiveError>> + Unpin + Send,
) -> Wait<R, impl Future<Output = Result<Option<T>, ReceiveError>> + Send> {
    let within = async move {
        let mut alarm = Alarm::new(R::timer());
        let deadline = clock::after(timeout);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut next).poll(cx) {
                return Poll::Ready(output.map(Some));
            }
            while clock::now() < deadline {
                if !alarm.poll(cx, deadline) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(Ok(None))
        })
        .await
    };
    R::Style::wait(within, || Err(ReceiveError::WouldPark))
}

/// A call under way: await it, or [`wait`](Self::wait) for it. Dropping it cancels the call.
#[must_use = "dropping a pending call cancels it"]
pub struct Pending<R: Runtime, F: Framing = Native> {
    call: call::Pending<F>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Pending<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl<R: Runtime, F: Framing> Pending<R, F> {
    fn new(call: call::Pending<F>) -> Self {
        Self { call, runtime: PhantomData }
    }

    /// The call's id on the wire.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.call.id()
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// See [`CallError`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub fn wait(self) -> Wait<R, Self> {
        let peer = self.call.peer().clone();
        wait_for_reply::<R, F, _>(&peer, self)
    }
}

impl<R: Runtime, F: Framing> Future for Pending<R, F> {
    type Output = Result<Reply, CallError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.call).poll(cx)
    }
}

/// Received messages: see [`Peer::messages`].
#[must_use = "nothing is received unless it is asked for"]
pub struct Messages<R: Runtime, F: Framing = Native> {
    peer: Peer<R, F>,
    receive: Option<Receive<'static, F>>,
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Messages<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<R: Runtime<Style: Tasks>, F: Framing> futures_core::Stream for Messages<R, F> {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = &mut *self;
        let receive = this.receive.get_or_insert_with(|| this.peer.core.receive_owned());
        let polled = Pin::new(receive).poll(cx);
        if polled.is_ready() {
            this.receive = None;
        }
        polled.map(Result::ok)
    }
}

impl<R: Runtime<Style: Threads>, F: Framing> Iterator for Messages<R, F>
where
    R::Style: for<'a> Style<Wait<Receive<'a, F>> = Result<Message, ReceiveError>>,
{
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.peer.receive().ok()
    }
}
