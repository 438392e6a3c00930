//! Handlers: the program's functions for received messages and requests.

use std::fmt;

use bowline_core::address::Address;
use bowline_core::auth::Identity;
use bowline_core::body::Payload;
use bowline_core::error::{CastError, Disconnect, Failure};
use bowline_core::frame::Framing;
use bowline_core::link::{CastOptions, Incoming, Message, Queued};
use bowline_driver::PeerId;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Returns, Style};
use bowline_driver::sync::Arc;
use bowline_driver::workers::Workers;

use crate::answer::Answer;
use crate::auth::Authorize;
use crate::handler_args::{Context, Request};
use crate::inbox::{Consume, MessageHandler};
use crate::peer::Peer;
use crate::peer_core::PeerCore;
use crate::request::{RequestCore, Responder};
use crate::request_handler::RequestHandler;

/// A message in the receive buffer, for inline handlers.
pub type MessageRef<'b> = Incoming<'b>;
/// A request in the receive buffer, for inline handlers.
pub type RequestRef<'b> = Incoming<'b>;

type OnPeer<F> = Box<dyn Fn(&PeerCore<F>) + Send + Sync>;
type InlineMessage<F> = Box<dyn Fn(&ContextCore<'_, F>, MessageRef<'_>) -> Result<(), Failure> + Send + Sync>;
type OnDisconnect<F> = Box<dyn Fn(&PeerCore<F>, &Disconnect) + Send + Sync>;
type InlineRequest<F> =
    Box<dyn Fn(&ContextCore<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure> + Send + Sync>;

/// The return types of a message handler: `()`, or a `Result`, whose error is counted and reported as an
/// event.
pub trait Handled {
    /// Converts into a result.
    ///
    /// # Errors
    /// The handler's failure.
    fn into_result(self) -> Result<(), Failure>;
}

impl Handled for () {
    fn into_result(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Into<Failure>> Handled for Result<(), E> {
    fn into_result(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// The handlers of a link.
pub struct Handlers<F: Framing> {
    pub(crate) on_connect: Option<OnPeer<F>>,
    pub(crate) on_message: OnMessage<F>,
    pub(crate) on_disconnect: Option<OnDisconnect<F>>,
    pub(crate) on_request: OnRequest<F>,
    pub(crate) authorize: Option<Authorize>,
    workers: Option<Arc<dyn Workers>>,
    /// The number of threads that the workers may use, where they need threads.
    threads: usize,
    /// No handler other than inline ones is called where connections are read.
    tells_aside: bool,
}

/// The kinds of message handlers.
pub(crate) enum OnMessage<F: Framing> {
    None,
    Inline(InlineMessage<F>),
    Ordinary(Arc<dyn Consume<F>>),
}

impl<F: Framing> OnMessage<F> {
    pub(crate) fn ordinary(&self) -> Option<&Arc<dyn Consume<F>>> {
        match self {
            Self::Ordinary(consume) => Some(consume),
            _ => None,
        }
    }

    pub(crate) fn is_ordinary(&self) -> bool {
        self.ordinary().is_some()
    }
}

/// The kinds of request handlers.
pub(crate) enum OnRequest<F: Framing> {
    None,
    Inline(InlineRequest<F>),
    Ordinary(Box<dyn Ordinary<F>>),
}

/// Starts a handler that may wait: as a task, or on a pool of threads. It answers through
/// [`Handling::finish`](crate::request::Handling::finish).
pub(crate) trait Ordinary<F: Framing>: Send + Sync + 'static {
    /// Takes the request.
    fn start(&self, request: RequestCore<F>);

    /// That peer is gone: its requests that have not begun are dropped, and memory that is kept for the next
    /// requests is freed.
    fn forget(&self, peer: &PeerCore<F>) {
        let _ = peer;
    }
}

/// A function that takes requests and answers at any later time.
struct Later<H>(H);

impl<F: Framing, H: Fn(RequestCore<F>) + Send + Sync + 'static> Ordinary<F> for Later<H> {
    fn start(&self, request: RequestCore<F>) {
        (self.0)(request);
    }
}

impl<F: Framing> fmt::Debug for Handlers<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

impl<F: Framing> Default for Handlers<F> {
    fn default() -> Self {
        Self {
            on_connect: None,
            on_message: OnMessage::None,
            on_disconnect: None,
            on_request: OnRequest::None,
            authorize: None,
            workers: None,
            threads: 16,
            tells_aside: false,
        }
    }
}

impl<F: Framing> Handlers<F> {
    /// Called when a connection is ready.
    pub fn on_connect<R: Runtime>(&mut self, f: impl Fn(&Peer<R, F>) + Send + Sync + 'static) {
        self.on_connect = Some(Box::new(move |peer| f(&peer.clone().into())));
    }

    /// Handlers that may wait are run by workers of this runtime.
    pub(crate) fn run_by<R: Runtime>(&mut self) {
        self.workers = Some(R::Style::workers::<R>());
        self.tells_aside = R::Style::TELLS_ASIDE;
    }

    /// Called for every message, in order, one at a time, not where the connection is read.
    pub fn on_message<R, T>(&mut self, f: impl Fn(Peer<R, F>, Message) -> T + Send + Sync + 'static)
    where
        R: Runtime<Style: Returns<T, Output: Handled>>,
        T: 'static,
    {
        self.on_message = OnMessage::Ordinary(Arc::new(MessageHandler::<R, _, T>::new(f)));
    }

    /// Called inline for every message.
    pub fn on_message_inline<R: Runtime, H: Handled>(
        &mut self,
        f: impl Fn(&Context<'_, R, F>, MessageRef<'_>) -> H + Send + Sync + 'static,
    ) {
        self.on_message = OnMessage::Inline(Box::new(move |context, message| {
            f(&Context::new(context), message).into_result()
        }));
    }

    /// Called when a connection that was ready has ended.
    pub fn on_disconnect<R: Runtime>(
        &mut self,
        f: impl Fn(&Peer<R, F>, &Disconnect) + Send + Sync + 'static,
    ) {
        self.on_disconnect = Some(Box::new(move |peer, cause| f(&peer.clone().into(), cause)));
    }

    /// Called inline for every request.
    pub fn on_request_inline<R: Runtime>(
        &mut self,
        f: impl Fn(&Context<'_, R, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure>
        + Send
        + Sync
        + 'static,
    ) {
        self.on_request = OnRequest::Inline(Box::new(move |context, request, reply| {
            f(&Context::new(context), request, reply)
        }));
    }

    /// Handles every request by a function that may wait.
    pub fn on_request<R, T, A>(&mut self, f: impl Fn(Request<R, F>) -> T + Send + Sync + 'static)
    where
        R: Runtime<Style: Returns<T, Output = Result<A, Failure>>>,
        T: 'static,
        A: Into<Answer> + 'static,
    {
        let workers = self.workers_aside().cloned();
        self.on_request = OnRequest::Ordinary(Box::new(RequestHandler::<R, _, T, _>::new(f, workers)));
    }

    /// Takes every request inline; the answer may follow later.
    pub fn on_request_later<R: Runtime>(
        &mut self,
        f: impl Fn(Request<R, F>, Responder<F>) + Send + Sync + 'static,
    ) {
        self.on_request = OnRequest::Ordinary(Box::new(Later(move |request: RequestCore<F>| {
            let responder = request.responder();
            f(request.into(), responder);
        })));
    }

    /// The workers that run handlers that may wait.
    pub(crate) fn workers(&self) -> Option<&Arc<dyn Workers>> {
        self.workers.as_ref()
    }

    /// Sets how many threads the handlers may use, where they need threads.
    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// All handlers are set. Without handlers that may wait, the workers are not used.
    pub(crate) fn leave_unused_workers(&mut self) {
        if self.calls_nobody() {
            self.workers = None;
        }
    }

    fn calls_nobody(&self) -> bool {
        self.on_connect.is_none()
            && self.on_disconnect.is_none()
            && matches!(self.on_message, OnMessage::None)
            && matches!(self.on_request, OnRequest::None)
    }

    /// Whether these do the same as no handlers.
    pub(crate) fn are_none(&self) -> bool {
        self.calls_nobody() && self.workers.is_none() && self.authorize.is_none()
    }

    /// All handlers are set.
    pub(crate) fn prepare(&self) {
        if let Some(workers) = &self.workers {
            workers.prepare(self.threads);
        }
    }

    /// The workers for callbacks that must not be called where connections are read.
    pub(crate) fn workers_aside(&self) -> Option<&Arc<dyn Workers>> {
        self.workers.as_ref().filter(|_| self.tells_aside)
    }

    /// The workers that call the link's handlers in order; `None` if all are called where connections are
    /// read.
    pub(crate) fn workers_of_inbox(&self) -> Option<&Arc<dyn Workers>> {
        let tells = self.on_connect.is_some() || self.on_disconnect.is_some();
        let aside = self.on_message.is_ordinary() || (tells && self.tells_aside);
        self.workers.as_ref().filter(|_| aside)
    }

    /// Whether requests must be held until an `on_connect` has returned that is not called where the
    /// connection is read; the value says whether messages must be held as well. Messages that wait for their
    /// handler in the link's queue need not be held.
    pub(crate) fn held_by_connect(&self) -> Option<bool> {
        let messages = matches!(self.on_message, OnMessage::Inline(_));
        let waits = messages || !matches!(self.on_request, OnRequest::None);
        (self.on_connect.is_some() && waits).then_some(messages)
    }
}

/// The operations of an inline handler besides answering, on any runtime. None of them waits.
#[derive(Debug)]
pub struct ContextCore<'a, F: Framing> {
    peer: &'a PeerCore<F>,
}

impl<'a, F: Framing> ContextCore<'a, F> {
    pub(crate) fn new(peer: &'a PeerCore<F>) -> Self {
        Self { peer }
    }

    pub(crate) fn peer(&self) -> &'a PeerCore<F> {
        self.peer
    }

    /// The id of the sender.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer.id()
    }

    /// The identity of the sender: see [`PeerCore::identity`].
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.peer.identity()
    }

    /// The address of the other side.
    #[must_use]
    pub fn remote_addr(&self) -> Option<Address> {
        self.peer.remote_addr()
    }

    /// The address of this side.
    #[must_use]
    pub fn local_addr(&self) -> Option<Address> {
        self.peer.local_addr()
    }

    /// Queues a message to the sender if there is room.
    ///
    /// # Errors
    /// See [`PeerCore::try_cast`].
    pub fn try_cast<'p>(&self, method: u32, payload: impl Into<Payload<'p>>) -> Result<Queued, CastError> {
        self.peer.try_cast(method, payload)
    }

    /// [`try_cast`](Self::try_cast) with options, such as the Seq of a tcpstream message.
    ///
    /// # Errors
    /// See [`PeerCore::try_cast`].
    pub fn try_cast_with<'p>(
        &self,
        options: CastOptions,
        payload: impl Into<Payload<'p>>,
    ) -> Result<Queued, CastError> {
        self.peer.try_cast_with(options, payload)
    }
}

/// The answer of an inline handler. Its bytes are written directly into the bytes to send.
#[derive(Debug)]
pub struct ReplyBuf<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    method: u32,
}

impl<'a> ReplyBuf<'a> {
    /// An answer that begins where `out` ends.
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, method: 0 }
    }

    /// Appends bytes to the answer.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sets the message type of the answer, on framings whose answers carry one (tcpstream). On other
    /// framings any value but 0 turns the answer into a failure. Default 0.
    #[inline]
    pub fn set_method(&mut self, method: u32) {
        self.method = method;
    }

    /// The message type of the answer.
    #[must_use]
    #[inline]
    pub fn method(&self) -> u32 {
        self.method
    }

    /// The answer so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.out[self.start..]
    }

    /// Empties the answer.
    pub fn clear(&mut self) {
        self.out.truncate(self.start);
    }
}

impl std::io::Write for ReplyBuf<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
