//! The other side of a link, with the methods that wait.

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

/// The other side of a link. Handlers get it to answer or call back, and may keep it to push messages later.
///
/// Cheap to clone. A handle does not keep the connection open: when the connection ends (on the accepting
/// side), or when the [`Client`](crate::Client) is dropped, its methods return errors.
///
/// The methods that never wait ([`try_cast`](PeerCore::try_cast), [`state`](PeerCore::state), …) are the same
/// on every runtime: a peer derefs to [`PeerCore`]. The methods that wait return futures on tokio, smol and
/// async-std, and block on threads ([`Wait`]).
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
    /// See [`CallError`]; its `outcome()` says whether the request may have been delivered.
    ///
    /// # Cancel safety
    /// Dropping the future frees the call's slot and cancels the call at the peer; a late reply is counted.
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

    /// Begins a call, and is ready as soon as the request is queued, which is at once unless the link is at a
    /// limit. This way one task or thread can have many calls under way.
    ///
    /// # Errors
    /// As [`call`](Self::call), for errors that occur before the request is queued.
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

    /// Queues a message that is not answered. Waits for room in the write queue if the overflow policy is to
    /// block. Queued does not mean written: dropped messages are reported as events of the link.
    ///
    /// # Errors
    /// See [`CastError`], which contains the message.
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

    /// Queues several messages to one method, in order and, where there is room, under one lock: cheaper than
    /// one call for each. Waits for room as [`cast`](Self::cast) does. Returns the number of queued messages,
    /// which is smaller than the number of bodies if one of them cannot be queued.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), if the first message cannot be queued.
    ///
    /// # Cancel safety
    /// Messages that were queued before the drop stay queued.
    pub fn cast_many<'a, B: AsRef<[u8]> + Sync>(
        &'a self,
        method: u32,
        bodies: &'a [B],
    ) -> Wait<R, impl Future<Output = Result<usize, CastError>> + Send + 'a> {
        R::Style::wait(self.core.cast_many(method, bodies), || self.core.try_cast_many(method, bodies))
    }

    /// [`cast`](Self::cast), and waits for the outcome of the message: [`Outcome::Written`] where the
    /// protocol has no acknowledgement.
    ///
    /// As [`cast`](Self::cast), and [`CastRefusal::Undelivered`](bowline_core::error::CastRefusal), with the
    /// message in the error. After
    /// [`ConfigBuilder::cast_timeout`](bowline_core::config::ConfigBuilder::cast_timeout) (or the timeout of
    /// the options) the outcome is [`Outcome::Expired`], or [`Outcome::MaybeDelivered`] if bytes of the
    /// message had been written or were being written.
    ///
    /// # Cancel safety
    /// Dropping the future before the message is queued casts nothing. Later, the message is sent like any
    /// other cast.
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

    /// Waits for the next received message that no `on_message` handler takes.
    ///
    /// # Errors
    /// The link is closed and every received message was taken.
    ///
    /// # Cancel safety
    /// A message is taken only when the future is ready: dropping it loses nothing.
    #[inline]
    pub fn receive(&self) -> Wait<R, Receive<'_, F>> {
        R::Style::wait(self.core.receive(), || there(self.core.try_receive()))
    }

    /// Waits for a received message, and appends it to `into`, together with other messages that are already
    /// there, up to `most` in total and under one lock. Returns their number, which is at least one unless
    /// `most` is 0.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive): no message is taken before the future is ready.
    pub fn receive_many<'a>(
        &'a self,
        into: &'a mut Vec<Message>,
        most: usize,
    ) -> Wait<R, impl Future<Output = Result<usize, ReceiveError>> + Send + 'a> {
        R::Style::wait(self.core.receive_many(into, most), || Err(ReceiveError::WouldPark))
    }

    /// Waits for the next errored message: a message that could not be delivered and was not given back to a
    /// caller. The queue is bounded; if it is full, the oldest messages are dropped and counted.
    ///
    /// # Errors
    /// The link is closed and every errored message was taken.
    ///
    /// # Cancel safety
    /// As [`receive`](Self::receive).
    pub fn next_errored(&self) -> Wait<R, NextErrored<F>> {
        R::Style::wait(self.core.next_errored(), || there(self.core.try_next_errored()))
    }

    /// Waits for the next [`LinkEvent`]. The queue is bounded; if it is full, the oldest events are dropped
    /// and counted.
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

    /// The received messages, until the link is closed: a stream on tokio, smol and async-std, an iterator on
    /// threads.
    pub fn messages(&self) -> Messages<R, F> {
        Messages { peer: self.clone(), receive: None }
    }
}

/// The result of an attempt without waiting, for a thread that must not wait.
fn there<T>(now: Result<Option<T>, ReceiveError>) -> Result<T, ReceiveError> {
    now?.ok_or(ReceiveError::WouldPark)
}

/// Waits for a reply. On threads, the caller of the only call in flight reads the socket itself, which saves
/// two switches between threads.
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

/// The result of `next`, or `None` after `timeout`.
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

/// A call under way. Await it, or [`wait`](Self::wait) for it. Dropping it cancels the call.
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
