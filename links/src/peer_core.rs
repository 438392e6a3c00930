//! The other side of a link, as handlers see it.

use std::borrow::Cow;
use std::task::Waker;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::auth::{Identity, Refusal};
use bowline_core::body::Payload;
#[allow(unused_imports, reason = "for the documentation")]
use bowline_core::error::Outcome;
use bowline_core::error::{CastError, Disconnect};
use bowline_core::frame::Framing;
use bowline_core::layer::Secured;
use bowline_core::link::{
    CallOptions, CastOptions, Counters, Link, LinkEvent, LinkStats, Message, Queued, State, Undelivered,
};
use bowline_core::machine::Machine;
use bowline_core::time::Instant;
use bowline_driver::error::ReceiveError;
use bowline_driver::sync::{Arc, Mutex};
use bowline_driver::{PeerId, Shared, clock};

use crate::call::{Call, Starting};
use crate::cast::{Cast, CastAndWait, PILE_OF_CASTS};
use crate::monitor::Registration;
use crate::receiving::{NextErrored, NextEvent, Receive, now_or_never};

/// A link's machine behind its lock.
pub(crate) type SharedLink<F> = Shared<Link<F, Waker>>;

#[derive(Debug)]
pub(crate) struct PeerInner<F: Framing> {
    pub(crate) shared: Arc<SharedLink<F>>,
    pub(crate) id: PeerId,
    pub(crate) call_timeout: Duration,
    pub(crate) cast_timeout: Duration,
    /// Casts expire, so that casting needs the time.
    timed_casts: bool,
    /// Each write ends a record of a layer.
    pub(crate) is_layered: bool,
    pub(crate) monitored: Mutex<Option<Registration>>,
}

/// The other side of a link, with the methods that do not depend on the runtime. Handlers get it to answer or
/// call back, and may keep it to push messages later.
///
/// Cheap to clone. A handle does not keep the connection open: when the connection ends (on the accepting
/// side), or when the [`Client`](crate::Client) is dropped, its methods return errors.
#[derive(Debug)]
pub struct PeerCore<F: Framing>(pub(crate) Arc<PeerInner<F>>);

impl<F: Framing> Clone for PeerCore<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Framing> PeerCore<F> {
    pub(crate) fn new(link: Link<F, Waker>) -> Self {
        let (call_timeout, cast_timeout) = (link.call_timeout(), link.cast_timeout());
        let (timed_casts, is_layered) = (link.expire_after().is_some(), link.is_layered());
        Self(Arc::new(PeerInner {
            shared: Arc::new(Shared::new(link)),
            id: PeerId::unique(),
            call_timeout,
            cast_timeout,
            timed_casts,
            is_layered,
            monitored: Mutex::new(None),
        }))
    }

    /// The machine behind its lock, for its driver.
    #[must_use]
    pub fn shared(&self) -> &Arc<SharedLink<F>> {
        &self.0.shared
    }

    /// The id of the peer, unique in this process.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// The address of the other side of the current connection, or of the last one.
    #[must_use]
    pub fn remote_addr(&self) -> Option<Address> {
        self.0.shared.with(|link| link.remote_addr().cloned())
    }

    /// The TLS properties of the peer: its certificates, the negotiated protocol. `None` without a
    /// connection, or if it is in plain text.
    #[must_use]
    pub fn secured(&self) -> Option<Arc<Secured>> {
        self.0.shared.connection()?.secured()
    }

    /// The address of this side of the current connection, or of the last one.
    #[must_use]
    pub fn local_addr(&self) -> Option<Address> {
        self.0.shared.with(|link| link.local_addr().cloned())
    }

    /// The identity of the peer, as the server's verifier granted it. `None` on a client, on a server without
    /// a verifier, and before the peer was let in.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.0.shared.with(|link| link.identity().cloned())
    }

    /// Withdraws the peer's permission: tells it the reason, closes its connection and ends its session. The
    /// peer sees [`Disconnect::Refused`], this side [`Disconnect::Denied`]. The peer may connect again and
    /// has to authenticate then: change the verifier's data first.
    pub fn withdraw(&self, refusal: impl Into<Refusal>) {
        self.0.shared.with(|link| link.withdraw(clock::now(), refusal.into()));
    }

    /// The state of the link.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.shared.with(|link| link.state())
    }

    /// Whether messages are sent now: the link is connected, and the peer has not sent a go-away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.shared.with(|link| link.is_open())
    }

    /// Counters since the link was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.shared.with(|link| link.counters())
    }

    /// The present state of the link: counters, queues, round-trip time.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.0.shared.with(|link| link.stats(clock::now()))
    }

    /// The reason why the last connection ended, if one did.
    #[must_use]
    pub fn last_disconnect(&self) -> Option<Disconnect> {
        self.0.shared.with(|link| link.last_disconnect().cloned())
    }

    /// [`Peer::call`](crate::Peer::call) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::call`](crate::Peer::call).
    #[inline]
    pub fn call<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Call<'a, F> {
        self.call_with(CallOptions::new(method), payload)
    }

    /// [`Peer::call_with`](crate::Peer::call_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::call_with`](crate::Peer::call_with).
    #[inline]
    pub fn call_with<'a>(&'a self, options: CallOptions, payload: impl Into<Payload<'a>>) -> Call<'a, F> {
        Call::new(self, options, payload.into())
    }

    /// [`Peer::start_call`](crate::Peer::start_call) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::start_call`](crate::Peer::start_call).
    #[inline]
    pub fn start_call<'a>(&self, options: CallOptions, payload: impl Into<Payload<'a>>) -> Starting<'a, F> {
        Starting::new(self.clone(), options, payload.into())
    }

    /// [`Peer::cast`](crate::Peer::cast) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::cast`](crate::Peer::cast).
    #[inline(always)]
    pub fn cast<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Cast<'a, F> {
        self.cast_with(CastOptions::new(method), payload)
    }

    /// [`Peer::cast_with`](crate::Peer::cast_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::cast_with`](crate::Peer::cast_with).
    #[inline(always)]
    pub fn cast_with<'a>(&'a self, options: CastOptions, payload: impl Into<Payload<'a>>) -> Cast<'a, F> {
        Cast::new(self, options, payload.into())
    }

    /// As [`cast`](Self::cast), but never waits, so that inline handlers may use it.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), and if there is no room now.
    #[inline]
    pub fn try_cast<'a>(&self, method: u32, payload: impl Into<Payload<'a>>) -> Result<Queued, CastError> {
        self.try_cast_with(CastOptions::new(method), payload)
    }

    /// [`try_cast`](Self::try_cast) with options.
    ///
    /// # Errors
    /// As [`try_cast`](Self::try_cast).
    #[inline]
    pub fn try_cast_with<'a>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> Result<Queued, CastError> {
        let now = self.cast_time();
        self.0.shared.with(|link| link.cast(now, &options, payload.into()))
    }

    /// [`Peer::cast_many`](crate::Peer::cast_many) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::cast_many`](crate::Peer::cast_many).
    pub async fn cast_many<B: AsRef<[u8]>>(&self, method: u32, bodies: &[B]) -> Result<usize, CastError> {
        let (options, mut queued) = (CastOptions::new(method), 0);
        while let Some(next) = bodies.get(queued) {
            let count = self.cast_plain_many(&options, &bodies[queued..]);
            queued += count;
            if count == 0 {
                match self.cast(method, next.as_ref()).await {
                    Ok(_) => queued += 1,
                    Err(error) if queued == 0 => return Err(error),
                    Err(_) => break,
                }
            }
        }
        Ok(queued)
    }

    /// As [`cast_many`](Self::cast_many), but never waits.
    ///
    /// # Errors
    /// As [`try_cast`](Self::try_cast), if the first message cannot be queued.
    pub fn try_cast_many<B: AsRef<[u8]>>(&self, method: u32, bodies: &[B]) -> Result<usize, CastError> {
        let (options, mut queued) = (CastOptions::new(method), 0);
        while let Some(next) = bodies.get(queued) {
            let count = self.cast_plain_many(&options, &bodies[queued..]);
            queued += count;
            if count == 0 {
                match self.try_cast(method, next.as_ref()) {
                    Ok(_) => queued += 1,
                    Err(error) if queued == 0 => return Err(error),
                    Err(_) => break,
                }
            }
        }
        Ok(queued)
    }

    fn cast_plain_many<B: AsRef<[u8]>>(&self, options: &CastOptions, bodies: &[B]) -> usize {
        self.0.shared.with_stream(|link| {
            let count = link.cast_plain_many(options, bodies);
            (count, link.is_piling_up(PILE_OF_CASTS))
        })
    }

    /// [`Peer::cast_and_wait`](crate::Peer::cast_and_wait) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::cast_and_wait`](crate::Peer::cast_and_wait).
    pub fn cast_and_wait<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> CastAndWait<'a, F> {
        self.cast_and_wait_with(CastOptions::new(method), payload)
    }

    /// [`Peer::cast_and_wait_with`](crate::Peer::cast_and_wait_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::cast_and_wait_with`](crate::Peer::cast_and_wait_with).
    pub fn cast_and_wait_with<'a>(
        &'a self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> CastAndWait<'a, F> {
        CastAndWait::new(Cast::new(self, options, payload.into()))
    }

    /// Reads no clock unless casts can expire.
    #[inline]
    pub(crate) fn cast_time(&self) -> Instant {
        if self.0.timed_casts { clock::now() } else { Instant::ZERO }
    }

    /// [`Peer::next_errored`](crate::Peer::next_errored) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::next_errored`](crate::Peer::next_errored).
    pub fn next_errored(&self) -> NextErrored<F> {
        NextErrored::new(self.clone())
    }

    /// The next errored message, if there is one; never waits.
    ///
    /// # Errors
    /// As [`next_errored`](Self::next_errored).
    pub fn try_next_errored(&self) -> Result<Option<Undelivered>, ReceiveError> {
        now_or_never(self.next_errored()).transpose()
    }

    /// The next received message, if there is one; never waits.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Option<Message>, ReceiveError> {
        now_or_never(self.receive()).transpose()
    }

    /// The next event, if there is one; never waits.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn try_next_event(&self) -> Result<Option<LinkEvent>, ReceiveError> {
        now_or_never(self.next_event()).transpose()
    }

    /// Requests a new connection now: a wait for the next attempt ends, and an open connection is closed and
    /// replaced. Messages that were not sent go out on the new connection.
    pub fn reconnect_now(&self) {
        self.0.shared.with(|link| link.reconnect_now());
    }

    /// [`Peer::receive`](crate::Peer::receive) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::receive`](crate::Peer::receive).
    #[inline]
    pub fn receive(&self) -> Receive<'_, F> {
        Receive::new(Cow::Borrowed(self))
    }

    /// As [`receive`](Self::receive), for a future that outlives this handle.
    pub(crate) fn receive_owned(&self) -> Receive<'static, F> {
        Receive::new(Cow::Owned(self.clone()))
    }

    /// [`Peer::receive_many`](crate::Peer::receive_many) as a future, on any runtime.
    ///
    /// As [`Peer::receive_many`](crate::Peer::receive_many).
    /// As that.
    pub async fn receive_many(&self, into: &mut Vec<Message>, most: usize) -> Result<usize, ReceiveError> {
        if most == 0 {
            return Ok(0);
        }
        into.push(self.receive().await?);
        Ok(1 + self.0.shared.with(|link| link.take_received(most - 1, into)))
    }

    /// [`Peer::next_event`](crate::Peer::next_event) as a future, on any runtime.
    ///
    /// # Errors
    /// As [`Peer::next_event`](crate::Peer::next_event).
    pub fn next_event(&self) -> NextEvent<F> {
        NextEvent::new(self.clone())
    }

    /// Closes the link at once: work under way is cut off, and its callers get errors.
    pub fn abort(&self) {
        self.0.shared.with(|link| link.abort(clock::now(), Disconnect::LocalClose));
    }

    /// How long closing waits for work under way.
    pub(crate) fn linger(&self) -> Duration {
        self.0.shared.look(|link| link.linger())
    }

    /// Begins to close the link: refuses new messages and calls, and finishes those under way for at most the
    /// configured linger time. Does not wait.
    pub fn begin_close(&self) {
        self.0.shared.with(|link| {
            let linger = link.linger();
            link.close(clock::now(), linger);
        });
    }
}
