//! The handles, in their blocking form.

use std::ops::Deref;
use std::time::{Duration, Instant};

use bowline_core::body::{Body, Payload};
use bowline_core::error::{CallError, CastError, Outcome};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, CastOptions, LinkEvent, Message, Queued, Reply, Undelivered};
use bowline_driver::ClosedError;

use crate::park::{block_on, block_on_helping, block_on_until};

/// The other side of a link, with methods that wait.
///
/// What does not wait ([`state`](bowline_driver::Peer::state), `try_cast`, …) is the driver's own:
/// a blocking peer derefs to it.
#[derive(Debug)]
pub struct Peer<F: Framing = Native> {
    peer: bowline_driver::Peer<F>,
}

impl<F: Framing> Clone for Peer<F> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone() }
    }
}

impl<F: Framing> From<bowline_driver::Peer<F>> for Peer<F> {
    fn from(peer: bowline_driver::Peer<F>) -> Self {
        Self { peer }
    }
}

impl<F: Framing> Deref for Peer<F> {
    type Target = bowline_driver::Peer<F>;

    fn deref(&self) -> &bowline_driver::Peer<F> {
        &self.peer
    }
}

impl<F: Framing> Peer<F> {
    /// Calls the peer's `method` with the default deadline, and waits for the reply.
    ///
    /// # Errors
    /// See [`CallError`], whose `outcome()` says what became of the request.
    pub fn call<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Reply, CallError> {
        self.call_with(CallOptions::new(method), payload)
    }

    /// [`call`](Self::call) with options.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<'a>(
        &self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Reply, CallError> {
        let payload: Payload<'_> = payload.into();
        block_on_reply(&self.peer, self.peer.call_with(options, payload))
    }

    /// Begins a call and returns once its request is queued (at once, unless the link is at a
    /// limit), so that one thread can have many calls under way.
    ///
    /// # Errors
    /// As [`call`](Self::call), as far as they show before the request is queued.
    pub fn start_call<'a>(
        &self,
        options: CallOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Pending<F>, CallError> {
        let pending = block_on(self.peer.start_call(options, payload))?;
        Ok(Pending { pending, peer: self.peer.clone() })
    }

    /// Queues a message that wants no answer; waits for room in the write queue if its policy is
    /// to block.
    ///
    /// # Errors
    /// See [`CastError`], which carries the message back.
    pub fn cast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Queued, CastError> {
        let payload: Payload<'_> = payload.into();
        block_on(self.peer.cast(method, payload))
    }

    /// [`cast`](Self::cast) with options.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    pub fn cast_with<'a>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Queued, CastError> {
        let payload: Payload<'_> = payload.into();
        block_on(self.peer.cast_with(options, payload))
    }

    /// Queues messages to one method, one after another and under one lock where there is room:
    /// cheaper than one by one. Waits for room as [`cast`](Self::cast) does. How many were queued:
    /// fewer than there are if one cannot be.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), if it is the first that cannot be queued.
    pub fn cast_many<B: AsRef<[u8]>>(&self, method: u32, bodies: &[B]) -> Result<usize, CastError> {
        block_on(self.peer.cast_many(method, bodies))
    }

    /// [`cast`](Self::cast), and waits for what becomes of the message:
    /// [`Outcome::Written`](bowline_core::error::Outcome) where the protocol has no
    /// acknowledgement.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), and
    /// [`CastRefusal::Undelivered`](bowline_core::error::CastRefusal): the message is in the error
    /// then. After [`ConfigBuilder::cast_timeout`](bowline_core::config::ConfigBuilder::cast_timeout)
    /// (or the options' timeout) it is `Expired`, or `MaybeDelivered` if bytes of it had left or were
    /// being written.
    pub fn cast_and_wait<'a>(
        &self,
        method: u32,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Outcome, CastError> {
        let payload: Payload<'_> = payload.into();
        block_on(self.peer.cast_and_wait(method, payload))
    }

    /// [`cast_and_wait`](Self::cast_and_wait) with options.
    ///
    /// # Errors
    /// As [`cast_and_wait`](Self::cast_and_wait).
    pub fn cast_and_wait_with<'a>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Outcome, CastError> {
        let payload: Payload<'_> = payload.into();
        block_on(self.peer.cast_and_wait_with(options, payload))
    }

    /// Waits for the next errored message: one that could not be delivered, and that was given back
    /// to nobody else.
    ///
    /// # Errors
    /// The link is closed and every errored message was taken.
    pub fn next_errored(&self) -> Result<Undelivered, ClosedError> {
        block_on(self.peer.next_errored())
    }

    /// Waits for the next received message that no `on_message` took.
    ///
    /// # Errors
    /// The link is closed and everything received was taken.
    pub fn receive(&self) -> Result<Message, ClosedError> {
        block_on(self.peer.receive())
    }

    /// Waits for a received message, and appends it and those that wait with it, up to `most` in
    /// all, to `into`: one lock for all of them. How many; at least one unless `most` is 0.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_many(&self, into: &mut Vec<Message>, most: usize) -> Result<usize, ClosedError> {
        block_on(self.peer.receive_many(into, most))
    }

    /// The next message, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<Message>, ClosedError> {
        block_on_until(self.peer.receive(), after(timeout)).transpose()
    }

    /// The next errored message, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`next_errored`](Self::next_errored).
    pub fn next_errored_timeout(&self, timeout: Duration) -> Result<Option<Undelivered>, ClosedError> {
        block_on_until(self.peer.next_errored(), after(timeout)).transpose()
    }

    /// The next event, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn next_event_timeout(&self, timeout: Duration) -> Result<Option<LinkEvent>, ClosedError> {
        block_on_until(self.peer.next_event(), after(timeout)).transpose()
    }

    /// Received messages as an iterator, which ends when the link is closed.
    pub fn messages(&self) -> Messages<F> {
        Messages { peer: self.clone() }
    }

    /// Waits for the next event of the link.
    ///
    /// # Errors
    /// The link is closed and every event was taken.
    pub fn next_event(&self) -> Result<LinkEvent, ClosedError> {
        block_on(self.peer.next_event())
    }
}

/// Waits for a reply. The only call in flight is read for by its caller: that saves two hops between
/// threads.
fn block_on_reply<F: Framing>(
    peer: &bowline_driver::Peer<F>,
    reply: impl Future<Output = Result<Reply, CallError>>,
) -> Result<Reply, CallError> {
    block_on_helping(reply, |served| {
        let shared = peer.shared();
        if shared.with(|link| link.in_flight()) == 1
            && let Some(connection) = shared.connection()
        {
            connection.read_for(served);
        }
    })
}

/// When a wait ends; one that is longer than the clock can say is for ever.
fn after(timeout: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FOREVER)
}

/// A call under way. Dropping it cancels the call.
#[derive(Debug)]
#[must_use = "dropping a pending call cancels it"]
pub struct Pending<F: Framing = Native> {
    pending: bowline_driver::call::Pending<F>,
    peer: bowline_driver::Peer<F>,
}

impl<F: Framing> Pending<F> {
    /// Waits for the reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait(self) -> Result<Reply, CallError> {
        let Self { pending, peer } = self;
        block_on_reply(&peer, pending)
    }

    /// The call's id on the wire.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.pending.id()
    }
}

/// Received messages as an iterator.
#[derive(Debug)]
#[must_use = "iterators do nothing unless advanced"]
pub struct Messages<F: Framing = Native> {
    peer: Peer<F>,
}

impl<F: Framing> Iterator for Messages<F> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.peer.receive().ok()
    }
}

/// A request on a thread of the pool: it may take its time, and call back to its caller.
#[derive(Debug)]
pub struct Request<F: Framing = Native>(bowline_driver::Request<F>);

impl<F: Framing> Request<F> {
    pub(crate) fn new(request: bowline_driver::Request<F>) -> Self {
        Self(request)
    }

    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> Peer<F> {
        self.0.peer().clone().into()
    }

    /// The bytes, taken.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.0.into_body()
    }
}

impl<F: Framing> Deref for Request<F> {
    type Target = bowline_driver::Request<F>;

    fn deref(&self) -> &bowline_driver::Request<F> {
        &self.0
    }
}
