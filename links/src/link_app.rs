//! The event handling of a link: it calls handlers, or fills the queue of received messages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use bowline_core::address::Address;
use bowline_core::auth::{Challenge, Credentials, CredentialsError, Identity, Shown};
use bowline_core::error::{Disconnect, Failure, Status};
use bowline_core::frame::Framing;
use bowline_core::layer::Secured;
use bowline_core::link::{Burst, Event, Incoming, Link, Reader};
use bowline_core::machine::Access;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;
use bowline_driver::app::{Application, Flow};
use bowline_driver::clock;
use bowline_driver::connection_info::ConnectionInfo;
use bowline_driver::observe;
use bowline_driver::shared::LazyGuard;
use bowline_driver::sync::{Arc, AtomicU64, Ordering};

use crate::auth::{Awaited, Verification};
use crate::handler::{ContextCore, Handlers, OnMessage, OnRequest, ReplyBuf};
use crate::inbox::{Inbox, News};
use crate::peer_core::{PeerCore, SharedLink};
use crate::request::RequestCore;

/// A callback for when a peer is past its handshake.
pub trait PeerWatch<F: Framing>: Send + Sync {
    /// The peer is past its handshake.
    fn ready(&self, peer: &PeerCore<F>);
}

/// The application of a message link.
pub struct LinkApp<F: Framing> {
    peer: PeerCore<F>,
    handlers: Arc<Handlers<F>>,
    /// Messages without a handler are kept in the receive queue (clients), or dropped and counted (servers,
    /// whose program could not receive from a peer that it does not know).
    keep_messages: bool,
    watch: Option<Arc<dyn PeerWatch<F>>>,
    /// When the application was told that the peer is connected, in nanoseconds; 0 after it was told that the
    /// peer is gone.
    told: AtomicU64,
    /// For handlers that are not called where the connection is read.
    inbox: Option<Arc<Inbox<F>>>,
    /// Authenticates the peer, on servers with a verifier.
    verification: Option<Arc<Verification>>,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    /// The layer's properties of the peer, until the verifier gets them.
    secured: Option<Arc<Secured>>,
    /// The pending decision whether the peer is let in.
    awaited: Option<Arc<Awaited>>,
    /// The identity of the peer, if authorisation needs it.
    identity: Option<Identity>,
}

impl ConnectionState {
    /// The connection no longer waits for the decision. Returns whether it did, in vain.
    fn end_question(&mut self) -> bool {
        self.awaited.take().is_some_and(|awaited| !awaited.end())
    }
}

impl<F: Framing> std::fmt::Debug for LinkApp<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkApp").field("peer", &self.peer.id()).finish_non_exhaustive()
    }
}

impl<F: Framing> LinkApp<F> {
    /// The application of `peer`'s link.
    #[must_use]
    pub fn new(peer: PeerCore<F>, handlers: Arc<Handlers<F>>, keep_messages: bool) -> Self {
        let inbox = Inbox::new(&peer, &handlers);
        let (watch, verification) = (None, None);
        Self { peer, handlers, keep_messages, watch, told: AtomicU64::new(0), inbox, verification }
    }

    /// Requires the peer to authenticate.
    #[must_use]
    pub(crate) fn verified(mut self, by: Option<Arc<Verification>>) -> Self {
        self.verification = by;
        self
    }

    /// `watch` is called when the peer is past its handshake.
    #[must_use]
    pub fn watched(mut self, watch: Arc<dyn PeerWatch<F>>) -> Self {
        self.watch = Some(watch);
        self
    }

    fn failed(&self, link: &mut Link<F, Waker>, status: Status) {
        link.note_failure(status);
        observe::handler_failed(self.peer.id(), status);
    }

    /// The peer's requests are not wanted any more: those that wait for a thread are dropped.
    fn forget_requests(&self) {
        if let OnRequest::Ordinary(handler) = &self.handlers.on_request {
            handler.forget(&self.peer);
        }
    }

    /// Tells the application that the peer is gone, if it was told before that it is connected.
    fn tell_gone(&self, cause: &Disconnect) {
        let since = self.told.swap(0, Ordering::Relaxed);
        if since == 0 {
            return;
        }
        observe::gone(clock::now().saturating_since(Instant::from_nanos(since)));
        if let Some(inbox) = &self.inbox {
            return inbox.push(News::Gone(cause.clone()));
        }
        if let Some(on_disconnect) = &self.handlers.on_disconnect {
            let called = catch_unwind(AssertUnwindSafe(|| on_disconnect(&self.peer, cause)));
            if called.is_err() {
                self.peer.shared().with(|link| self.failed(link, Status::PANICKED));
            }
        }
    }

    /// Tells the application that the peer is connected.
    fn tell_ready(&self, reader: &mut Reader<F>, access: &mut LazyGuard<'_, Link<F, Waker>>) {
        if let Some(inbox) = &self.inbox {
            if let Some(messages) = self.handlers.held_by_connect() {
                reader.hold(access, messages);
            }
            access.release();
            return inbox.push(News::Connected);
        }
        let Some(on_connect) = &self.handlers.on_connect else { return };
        let called = catch_unwind(AssertUnwindSafe(|| on_connect(&self.peer)));
        if called.is_err() {
            self.failed(access.machine(), Status::PANICKED);
        }
    }

    /// Queues a message for a handler that may wait.
    fn enqueue(&self, access: &mut LazyGuard<'_, Link<F, Waker>>, incoming: &Incoming<'_>) -> Flow {
        let Some(inbox) = self.inbox.as_ref().filter(|inbox| !inbox.is_lost()) else {
            access.machine().drop_message();
            return Flow::Continue;
        };
        if !access.machine().enqueue_received(incoming) {
            return Flow::Refuse;
        }
        if !inbox.runs() {
            access.release();
            inbox.start();
        }
        Flow::Continue
    }

    fn message(&self, access: &mut LazyGuard<'_, Link<F, Waker>>, incoming: Incoming<'_>) -> Flow {
        match &self.handlers.on_message {
            OnMessage::Ordinary(_) => self.enqueue(access, &incoming),
            OnMessage::Inline(on_message) => {
                access.release();
                let context = ContextCore::new(&self.peer);
                let called = catch_unwind(AssertUnwindSafe(|| on_message(&context, incoming)));
                match called {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => self.failed(access.machine(), failure.status),
                    Err(_) => self.failed(access.machine(), Status::PANICKED),
                }
                Flow::Continue
            }
            OnMessage::None if self.keep_messages => {
                if access.machine().enqueue_received(&incoming) {
                    Flow::Continue
                } else {
                    Flow::Refuse
                }
            }
            OnMessage::None => {
                access.machine().drop_message();
                Flow::Continue
            }
        }
    }

    fn messages(&self, access: &mut LazyGuard<'_, Link<F, Waker>>, mut run: Burst<'_>) {
        match &self.handlers.on_message {
            // Several are taken at once only if the peer keeps to a window: there is room for all of them.
            OnMessage::Ordinary(_) => {
                let Some(inbox) = self.inbox.as_ref().filter(|inbox| !inbox.is_lost()) else {
                    return run.for_each(|_| access.machine().drop_message());
                };
                access.machine().enqueue_burst(run);
                if !inbox.runs() {
                    access.release();
                    inbox.start();
                }
            }
            OnMessage::Inline(on_message) => {
                access.release();
                let context = ContextCore::new(&self.peer);
                // If one fails or panics, the others are still handled.
                while run.len() > 0 {
                    let called = catch_unwind(AssertUnwindSafe(|| {
                        run.by_ref().try_for_each(|incoming| on_message(&context, incoming))
                    }));
                    match called {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) => self.failed(access.machine(), failure.status),
                        Err(_) => self.failed(access.machine(), Status::PANICKED),
                    }
                    access.release();
                }
            }
            OnMessage::None if self.keep_messages => access.machine().enqueue_burst(run),
            OnMessage::None => run.for_each(|_| access.machine().drop_message()),
        }
    }

    /// Whether the program authorises the message or request. Costs one check if there is no such function.
    #[inline]
    fn may(
        &self,
        session: &ConnectionState,
        access: &mut LazyGuard<'_, Link<F, Waker>>,
        incoming: &Incoming<'_>,
    ) -> Result<(), Status> {
        match &self.handlers.authorize {
            None => Ok(()),
            Some(authorize) => {
                access.release();
                authorize.check(session.identity.as_ref(), incoming.method(), incoming.meta.class)
            }
        }
    }

    /// The peer may not send this message: it is counted as dropped and as a handler failure.
    #[cold]
    fn forbidden(&self, access: &mut LazyGuard<'_, Link<F, Waker>>, status: Status) -> Flow {
        let link = access.machine();
        link.drop_message();
        self.failed(link, status);
        Flow::Continue
    }

    /// The server sent a challenge: calls the program's credentials function, without the lock.
    #[cold]
    fn show(&self, access: &mut LazyGuard<'_, Link<F, Waker>>, challenge: &Challenge) {
        let source = access.machine().credential_source();
        access.release();
        let credentials = match source {
            None => Ok(Credentials::none()),
            Some(source) => catch_unwind(AssertUnwindSafe(|| source.credentials(challenge)))
                .unwrap_or_else(|_| Err(CredentialsError::unavailable("their source panicked"))),
        };
        access.machine().show(clock::now(), challenge, credentials);
    }

    /// The peer sent its credentials: asks the program.
    #[cold]
    fn verify(&self, session: &mut ConnectionState, shown: Shown) {
        let mut connection = ConnectionInfo::default();
        (connection.remote, connection.local) = (self.peer.remote_addr(), self.peer.local_addr());
        connection.secured = session.secured.take();
        // Without a verifier there was no challenge.
        if let Some(verification) = &self.verification {
            session.awaited = verification.ask(&self.peer, shown, connection);
        }
    }

    fn request(
        &self,
        reader: &mut Reader<F>,
        access: &mut LazyGuard<'_, Link<F, Waker>>,
        incoming: Incoming<'_>,
    ) -> Result<Flow, Disconnect> {
        match &self.handlers.on_request {
            OnRequest::Inline(handler) => {
                access.release();
                let context = ContextCore::new(&self.peer);
                let answered = reader.answer_as(incoming.id(), |out| {
                    let mut reply = ReplyBuf::new(out);
                    let call = AssertUnwindSafe(|| handler(&context, incoming, &mut reply));
                    catch_unwind(call)
                        .unwrap_or_else(|_| Err(Failure::new(Status::PANICKED, "the handler panicked")))?;
                    Ok(reply.method())
                });
                if answered.is_err() {
                    reader.note_unanswered(access, incoming.id());
                }
                Ok(Flow::Continue)
            }
            OnRequest::Ordinary(handler) => {
                let now = clock::now();
                let link = access.machine();
                let Some(inbound) = link.open_inbound(now, &incoming)? else {
                    return Ok(Flow::Refuse);
                };
                access.release();
                let request = RequestCore::new(self.peer.clone(), inbound, &incoming);
                let handling = request.handling();
                let started = catch_unwind(AssertUnwindSafe(|| handler.start(request)));
                if started.is_err() {
                    handling.panicked();
                }
                Ok(Flow::Continue)
            }
            OnRequest::None => {
                // If the framing cannot express a failure, the request may be meant as a plain message that
                // happens to carry a number.
                if !access.machine().profile().error_reply {
                    return Ok(self.message(access, incoming));
                }
                let failure = Failure::new(Status::NO_HANDLER, "no handler for requests");
                if reader.fail(incoming.id(), &failure).is_err() {
                    reader.note_unanswered(access, incoming.id());
                }
                Ok(Flow::Continue)
            }
        }
    }
}

impl<F: Framing> Application<Link<F, Waker>> for LinkApp<F> {
    type Session = ConnectionState;

    fn connected(&self, _: &Arc<SharedLink<F>>, _: Epoch, remote: Option<Address>) -> ConnectionState {
        observe::connected(self.peer.id(), remote.as_ref());
        self.peer.shared().with(|link| link.set_remote_addr(remote));
        ConnectionState::default()
    }

    fn secured(&self, session: &mut ConnectionState, secured: Arc<Secured>) {
        if self.verification.is_some() {
            session.secured = Some(secured);
        }
    }

    fn local_addr(&self, local: Address) {
        self.peer.shared().with(|link| link.set_local_addr(Some(local)));
    }

    fn event(
        &self,
        session: &mut ConnectionState,
        reader: &mut Reader<F>,
        access: &mut LazyGuard<'_, Link<F, Waker>>,
        event: Event<'_>,
    ) -> Result<Flow, Disconnect> {
        match event {
            Event::Ready | Event::Resumed => {
                session.end_question();
                if self.handlers.authorize.is_some() {
                    session.identity = access.machine().identity().cloned();
                }
                if matches!(event, Event::Resumed) {
                    return Ok(Flow::Continue);
                }
                access.release();
                // A session was lost, and a new one has begun.
                self.tell_gone(&Disconnect::SessionLost);
                self.told.store(clock::now().as_nanos().max(1), Ordering::Relaxed);
                observe::ready(self.peer.id());
                if let Some(watch) = &self.watch {
                    watch.ready(&self.peer);
                }
                self.tell_ready(reader, access);
                Ok(Flow::Continue)
            }
            Event::Message(incoming) => Ok(match self.may(session, access, &incoming) {
                Ok(()) => self.message(access, incoming),
                Err(status) => self.forbidden(access, status),
            }),
            Event::Burst(run) if self.handlers.authorize.is_some() => {
                for incoming in run {
                    match self.may(session, access, &incoming) {
                        Ok(()) => {
                            let flow = self.message(access, incoming);
                            debug_assert_eq!(flow, Flow::Continue, "bounded by the window");
                        }
                        Err(status) => drop(self.forbidden(access, status)),
                    }
                }
                Ok(Flow::Continue)
            }
            Event::Burst(run) => {
                self.messages(access, run);
                Ok(Flow::Continue)
            }
            Event::Request(incoming) => match self.may(session, access, &incoming) {
                Ok(()) => self.request(reader, access, incoming),
                Err(status) => {
                    if reader.fail(incoming.id(), &Failure::new(status, "")).is_err() {
                        reader.note_unanswered(access, incoming.id());
                    }
                    Ok(Flow::Continue)
                }
            },
            Event::Challenge(challenge) => {
                self.show(access, &challenge);
                Ok(Flow::Continue)
            }
            Event::Credentials(shown) => {
                access.release();
                self.verify(session, *shown);
                Ok(Flow::Continue)
            }
            _ => Ok(Flow::Continue),
        }
    }

    fn disconnected(&self, mut session: ConnectionState, cause: &Disconnect) {
        // The link itself refuses a peer if the decision takes too long.
        if session.end_question()
            && let (Some(verification), Disconnect::Denied(refusal)) = (&self.verification, cause)
        {
            verification.denied(self.peer.id(), self.peer.remote_addr(), refusal.clone());
        }
        let (cause, detached) =
            self.peer.shared().with(|link| (link.name_remote(cause.clone()), link.is_detached()));
        observe::disconnected(self.peer.id(), &cause);
        // A session outlives its connections: the peer is still there.
        if !detached {
            self.forget_requests();
            self.tell_gone(&cause);
        }
    }

    fn ended(&self, cause: &Disconnect) {
        self.forget_requests();
        self.tell_gone(cause);
    }

    fn is_busy(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.runs())
    }

    fn keep(&self, what: Box<dyn Send>) {
        match &self.inbox {
            Some(inbox) => inbox.keep(what),
            None => drop(what),
        }
    }
}
