//! A link's other side, as handlers see it.

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
    pub(crate) linger: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) cast_timeout: Duration,
    /// Casts expire: casting needs the time.
    timed_casts: bool,
    pub(crate) monitored: Mutex<Option<Registration>>,
}

/// The other side of a link: what a handler answers to, calls back, or keeps to push to later.
///
/// Cheap to clone. Holding one keeps nothing open: when its connection ends (on the accepting
/// side) or its [`Client`](crate::Client) is dropped, its methods say so.
#[derive(Debug)]
pub struct PeerCore<F: Framing>(pub(crate) Arc<PeerInner<F>>);

impl<F: Framing> Clone for PeerCore<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Framing> PeerCore<F> {
    pub(crate) fn new(link: Link<F, Waker>, linger: Duration) -> Self {
        let (call_timeout, cast_timeout) = (link.call_timeout(), link.cast_timeout());
        let timed_casts = link.expire_after().is_some();
        Self(Arc::new(PeerInner {
            shared: Arc::new(Shared::new(link)),
            id: PeerId::unique(),
            linger,
            call_timeout,
            cast_timeout,
            timed_casts,
            monitored: Mutex::new(None),
        }))
    }

    /// The machine behind its lock, for what drives it.
    #[must_use]
    pub fn shared(&self) -> &Arc<SharedLink<F>> {
        &self.0.shared
    }

    /// Its number, unique in this process.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// The address of the other end of the present connection, or of the last.
    #[must_use]
    pub fn remote_addr(&self) -> Option<Address> {
        self.0.shared.with(|link| link.remote_addr().cloned())
    }

    /// What TLS knows of the peer: its certificates, the protocol agreed upon. `None` without a connection, or where that is
    /// plain text.
    #[must_use]
    pub fn secured(&self) -> Option<Arc<Secured>> {
        self.0.shared.connection()?.secured()
    }

    /// The address of this end of the present connection, or of the last.
    #[must_use]
    pub fn local_addr(&self) -> Option<Address> {
        self.0.shared.with(|link| link.local_addr().cloned())
    }

    /// Who the peer is, as the server's verifier said it. `None` on a client, where the server asks nobody, and
    /// before the peer was let in.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.0.shared.with(|link| link.identity().cloned())
    }

    /// The peer has to go: it is told why, its connection is closed, and its session is over. Its side sees
    /// [`Disconnect::Refused`], and this one [`Disconnect::Denied`]. It may come again, and is
    /// asked who it is then: tell the verifier first.
    pub fn withdraw(&self, refusal: impl Into<Refusal>) {
        self.0.shared.with(|link| link.withdraw(clock::now(), refusal.into()));
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.shared.with(|link| link.state())
    }

    /// Whether what is sent goes out now: connected, and the peer has not said go-away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.shared.with(|link| link.is_open())
    }

    /// Numbers since the link was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.shared.with(|link| link.counters())
    }

    /// The link as it is now: state, counters, queues, round trip.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.0.shared.with(|link| link.stats(clock::now()))
    }

    /// Why the last connection ended, if one did.
    #[must_use]
    pub fn last_disconnect(&self) -> Option<Disconnect> {
        self.0.shared.with(|link| link.last_disconnect().cloned())
    }

    /// [`Peer::call`](crate::Peer::call) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn call<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Call<'a, F> {
        self.call_with(CallOptions::new(method), payload)
    }

    /// [`Peer::call_with`](crate::Peer::call_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn call_with<'a>(&'a self, options: CallOptions, payload: impl Into<Payload<'a>>) -> Call<'a, F> {
        Call::new(self, options, payload.into())
    }

    /// [`Peer::start_call`](crate::Peer::start_call) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn start_call<'a>(&self, options: CallOptions, payload: impl Into<Payload<'a>>) -> Starting<'a, F> {
        Starting::new(self.clone(), options, payload.into())
    }

    /// [`Peer::cast`](crate::Peer::cast) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline(always)]
    pub fn cast<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> Cast<'a, F> {
        self.cast_with(CastOptions::new(method), payload)
    }

    /// [`Peer::cast_with`](crate::Peer::cast_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline(always)]
    pub fn cast_with<'a>(&'a self, options: CastOptions, payload: impl Into<Payload<'a>>) -> Cast<'a, F> {
        Cast::new(self, options, payload.into())
    }

    /// [`cast`](Self::cast) that never waits: inline handlers may use it.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), and when there is no room now.
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
    /// As that.
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

    /// [`cast_many`](Self::cast_many) that never waits.
    ///
    /// # Errors
    /// As [`try_cast`](Self::try_cast), if it is the first that cannot be queued.
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
        self.0.shared.with_inline(|link| {
            let count = link.cast_plain_many(options, bodies);
            (count, link.is_piling_up(PILE_OF_CASTS))
        })
    }

    /// [`Peer::cast_and_wait`](crate::Peer::cast_and_wait) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    pub fn cast_and_wait<'a>(&'a self, method: u32, payload: impl Into<Payload<'a>>) -> CastAndWait<'a, F> {
        self.cast_and_wait_with(CastOptions::new(method), payload)
    }

    /// [`Peer::cast_and_wait_with`](crate::Peer::cast_and_wait_with) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    pub fn cast_and_wait_with<'a>(
        &'a self,
        options: CastOptions,
        payload: impl Into<Payload<'a>>,
    ) -> CastAndWait<'a, F> {
        CastAndWait::new(Cast::new(self, options, payload.into()))
    }

    /// A cast looks at no clock unless it can expire.
    #[inline]
    pub(crate) fn cast_time(&self) -> Instant {
        if self.0.timed_casts { clock::now() } else { Instant::ZERO }
    }

    /// [`Peer::next_errored`](crate::Peer::next_errored) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    pub fn next_errored(&self) -> NextErrored<F> {
        NextErrored::new(self.clone())
    }

    /// The errored message that waits, if one does; never waits.
    ///
    /// # Errors
    /// As [`next_errored`](Self::next_errored).
    pub fn try_next_errored(&self) -> Result<Option<Undelivered>, ReceiveError> {
        now_or_never(self.next_errored()).transpose()
    }

    /// The received message that waits, if one does; never waits.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Option<Message>, ReceiveError> {
        now_or_never(self.receive()).transpose()
    }

    /// The event that waits, if one does; never waits.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn try_next_event(&self) -> Result<Option<LinkEvent>, ReceiveError> {
        now_or_never(self.next_event()).transpose()
    }

    /// A new connection is wanted now: a wait for the next attempt ends, and a connection that is up
    /// is closed for a new one. What did not leave goes out on that.
    pub fn reconnect_now(&self) {
        self.0.shared.with(|link| link.reconnect_now());
    }

    /// [`Peer::receive`](crate::Peer::receive) as a future, on any runtime.
    ///
    /// # Errors
    /// As that.
    #[inline]
    pub fn receive(&self) -> Receive<'_, F> {
        Receive::new(Cow::Borrowed(self))
    }

    /// The same, for what outlives this handle.
    pub(crate) fn receive_owned(&self) -> Receive<'static, F> {
        Receive::new(Cow::Owned(self.clone()))
    }

    /// [`Peer::receive_many`](crate::Peer::receive_many) as a future, on any runtime.
    ///
    /// # Errors
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
    /// As that.
    pub fn next_event(&self) -> NextEvent<F> {
        NextEvent::new(self.clone())
    }

    /// Closes the link at once: what is under way is cut off, and its callers learn it.
    pub fn abort(&self) {
        self.0.shared.with(|link| link.abort(clock::now(), Disconnect::LocalClose));
    }

    /// How long closing waits for what is under way.
    pub(crate) fn linger(&self) -> Duration {
        self.0.linger
    }

    /// Begins to close the link: what is under way is finished, for at most the configured
    /// linger; nothing new is taken. Does not wait.
    pub fn begin_close(&self) {
        let linger = self.0.linger;
        self.0.shared.with(|link| link.close(clock::now(), linger));
    }
}
