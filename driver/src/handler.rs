//! Handlers: what users do with what comes in.

use std::borrow::Cow;
use std::fmt;
use std::task::Waker;
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::body::{Body, Payload};
use bowline_core::error::{CastError, Disconnect, Failure, Status};
use bowline_core::frame::{Framing, Meta};
use bowline_core::link::{CastOptions, Inbound, InboundState, Incoming, Message, Queued};
use bytes::Bytes;

use crate::handler_args::Context;
use crate::heavy::Turn;
use crate::inbox::{Consume, MessageHandler};
use crate::peer::Peer;
use crate::peer_core::{PeerCore, PeerId};
use crate::runtime::Runtime;
use crate::style::{HandlesMessages, Style};
use crate::sync::Arc;
use crate::workers::Workers;

/// A message as it lies in the receive buffer, for inline handlers.
pub type MessageRef<'b> = Incoming<'b>;
/// A request as it lies in the receive buffer, for inline handlers.
pub type RequestRef<'b> = Incoming<'b>;

type OnPeer<F> = Box<dyn Fn(&PeerCore<F>) + Send + Sync>;
type InlineMessage<F> = Box<dyn Fn(&ContextCore<'_, F>, MessageRef<'_>) -> Result<(), Failure> + Send + Sync>;
type OnDisconnect<F> = Box<dyn Fn(&PeerCore<F>, &Disconnect) + Send + Sync>;
type InlineRequest<F> =
    Box<dyn Fn(&ContextCore<'_, F>, RequestRef<'_>, &mut ReplyBuf<'_>) -> Result<(), Failure> + Send + Sync>;

/// What a message handler may return: nothing, or a `Result` whose error is counted and an event.
pub trait Handled {
    /// The same as a result.
    ///
    /// # Errors
    /// The handler's own.
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

/// What a link does with what comes in.
pub struct Handlers<F: Framing> {
    pub(crate) on_connect: Option<OnPeer<F>>,
    pub(crate) on_message: OnMessage<F>,
    pub(crate) on_disconnect: Option<OnDisconnect<F>>,
    pub(crate) on_request: OnRequest<F>,
    workers: Option<Arc<dyn Workers>>,
    /// Nothing but inline handlers is called where connections are read.
    tells_aside: bool,
}

/// The two kinds of message handler.
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

/// The two kinds of request handler.
pub(crate) enum OnRequest<F: Framing> {
    None,
    Inline(InlineRequest<F>),
    Ordinary(Box<dyn Ordinary<F>>),
}

/// Starts handling a request that may take its time: as a task, or on a pool of threads. Answers
/// through [`Handling::finish`].
pub trait Ordinary<F: Framing>: Send + Sync + 'static {
    /// Takes the request over.
    fn start(&self, request: RequestCore<F>);
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
            workers: None,
            tells_aside: false,
        }
    }
}

impl<F: Framing> Handlers<F> {
    /// Called when a connection is ready.
    pub fn on_connect<R: Runtime>(&mut self, f: impl Fn(&Peer<R, F>) + Send + Sync + 'static) {
        self.on_connect = Some(Box::new(move |peer| f(&peer.clone().into())));
    }

    /// What takes its time is run by `workers`.
    pub(crate) fn run_by<R: Runtime>(&mut self, workers: &<R::Style as Style>::Workers) {
        self.workers = Some(R::Style::run::<R>(workers));
        self.tells_aside = R::Style::TELLS_ASIDE;
    }

    /// Called for every message that wants no answer: in order, one at a time, elsewhere than where
    /// the connection is read.
    pub fn on_message<R, T>(&mut self, f: impl Fn(Peer<R, F>, Message) -> T + Send + Sync + 'static)
    where
        R: Runtime<Style: HandlesMessages<T>>,
        T: 'static,
    {
        self.on_message = OnMessage::Ordinary(Arc::new(MessageHandler::<R, _, T>::new(f)));
    }

    /// Called inline for every message that wants no answer.
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

    /// Handles every request by something that may take its time.
    pub fn on_request(&mut self, ordinary: Box<dyn Ordinary<F>>) {
        self.on_request = OnRequest::Ordinary(ordinary);
    }

    /// All of them are there: handlers may have so many threads.
    pub(crate) fn prepare(&self, threads: usize) {
        if let Some(workers) = &self.workers {
            workers.prepare(threads);
        }
    }

    /// Who calls what is not to be called where connections are read.
    pub(crate) fn workers_aside(&self) -> Option<&Arc<dyn Workers>> {
        self.workers.as_ref().filter(|_| self.tells_aside)
    }

    /// Who calls what a link tells in order; `None`: all of it is told where connections are read.
    pub(crate) fn workers_of_inbox(&self) -> Option<&Arc<dyn Workers>> {
        let tells = self.on_connect.is_some() || self.on_disconnect.is_some();
        let aside = self.on_message.is_ordinary() || (tells && self.tells_aside);
        self.workers.as_ref().filter(|_| aside)
    }

    /// Whether something waits for an `on_connect` that is called elsewhere than where the connection
    /// is read; and whether that are messages as well as requests. Messages that wait for their handler
    /// in the link's queue need not be held.
    pub(crate) fn held_by_connect(&self) -> Option<bool> {
        let messages = matches!(self.on_message, OnMessage::Inline(_));
        let waits = messages || !matches!(self.on_request, OnRequest::None);
        (self.on_connect.is_some() && waits).then_some(messages)
    }
}

/// What an inline handler may do besides answering, on any runtime: nothing that waits.
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

    /// Who sent it, by number.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer.id()
    }

    /// The other end's address.
    #[must_use]
    pub fn remote_addr(&self) -> Option<Address> {
        self.peer.remote_addr()
    }

    /// This end's address.
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

/// Where an inline handler writes its answer: straight into what goes to the socket.
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

    /// The answer's message type, on framings whose answers carry one (tcpstream); elsewhere any
    /// but 0 makes the answer a failure. Default 0.
    #[inline]
    pub fn set_method(&mut self, method: u32) {
        self.method = method;
    }

    /// The answer's message type.
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

/// A request that may take its time, on any runtime.
#[derive(Debug)]
pub struct RequestCore<F: Framing> {
    peer: PeerCore<F>,
    inbound: Inbound,
    meta: Meta,
    extensions: Option<Box<[u8]>>,
    body: Body,
}

impl<F: Framing> RequestCore<F> {
    pub(crate) fn new(peer: PeerCore<F>, inbound: Inbound, incoming: &Incoming<'_>) -> Self {
        Self {
            peer,
            inbound,
            meta: incoming.meta,
            extensions: (!incoming.extensions.is_empty()).then(|| incoming.extensions.into()),
            body: incoming.to_body(),
        }
    }

    /// Who asks, by number.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer.id()
    }

    /// Who asks.
    pub(crate) fn peer(&self) -> &PeerCore<F> {
        &self.peer
    }

    /// Method id (message type on tcpstream).
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// Call id on the wire (Seq on tcpstream).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.meta.id
    }

    /// The caller's attempt number, from 1; 0 where the framing carries none.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.meta.attempt
    }

    /// Time the caller had left when it asked.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.remaining_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }

    /// Encoded extensions, where there are any.
    #[must_use]
    pub fn extensions(&self) -> &[u8] {
        self.extensions.as_deref().unwrap_or_default()
    }

    /// The bytes.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The bytes, taken.
    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Whether the answer is not wanted any more: the caller gave up, its deadline passed, or its
    /// connection ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        Handling { peer: self.peer.clone(), inbound: self.inbound }.is_cancelled(None)
    }

    /// Takes the right to answer later, from anywhere; return [`Responder::later`] from the
    /// handler then.
    pub fn responder(&self) -> Responder<F> {
        Responder { handling: Some(self.handling()) }
    }

    /// For whoever runs the handler: how to answer once it returns.
    #[must_use]
    pub fn handling(&self) -> Handling<F> {
        Handling { peer: self.peer.clone(), inbound: self.inbound }
    }
}

/// A request being handled, as whoever runs its handler sees it.
#[derive(Debug)]
pub struct Handling<F: Framing> {
    peer: PeerCore<F>,
    inbound: Inbound,
}

impl<F: Framing> Clone for Handling<F> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), inbound: self.inbound }
    }
}

impl<F: Framing> Handling<F> {
    /// Whether the answer is not wanted any more; keeps `waker` for when that changes.
    #[must_use]
    pub fn is_cancelled(&self, waker: Option<Waker>) -> bool {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| link.poll_inbound(inbound, waker)) == InboundState::Unwanted
    }

    /// What the handler returned.
    pub fn finish(&self, result: Result<Answer, Failure>) {
        match result {
            Ok(Answer { kind: AnswerKind::Later, .. }) => {}
            Ok(Answer { kind: AnswerKind::Now(bytes), method }) => {
                self.answer(method, Ok(Payload::Owned(bytes)));
            }
            Err(failure) => self.answer(0, Err(failure)),
        }
    }

    /// Bytes that the answer is expected to take; `None` if nobody wants it any more.
    pub(crate) fn expected(&self) -> Option<usize> {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| match link.poll_inbound(inbound, None) {
            InboundState::Wanted => Some(link.expected_answer()),
            _ => None,
        })
    }

    /// A place in the line of those who do heavy work; `None` where there is none.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.peer.0.shared.turn()
    }

    /// Bytes that answers which no link has yet may take.
    pub(crate) fn spare_memory(&self) -> usize {
        self.peer.0.shared.spare_memory()
    }

    /// The handler was dropped, because nobody wants its answer any more.
    pub fn dropped(&self) {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| link.finish_inbound(inbound));
    }

    /// The handler panicked.
    pub fn panicked(&self) {
        self.answer(0, Err(Failure::new(Status::PANICKED, "the handler panicked")));
    }

    fn answer(&self, method: u32, answer: Result<Payload<'_>, Failure>) {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| link.answer_as(inbound, method, answer));
    }
}

/// What an ordinary handler returns: bytes of any kind convert into it.
#[derive(Debug)]
pub struct Answer {
    kind: AnswerKind,
    method: u32,
}

#[derive(Debug)]
enum AnswerKind {
    Now(Bytes),
    Later,
}

impl Answer {
    /// An answer with a message type, on framings whose answers carry one (tcpstream); elsewhere
    /// any but 0 makes the answer a failure. Without this it is 0.
    ///
    /// ```
    /// use bowline_driver::Answer;
    ///
    /// let answer = Answer::from("pong").with_method(7);
    /// ```
    #[must_use]
    pub fn with_method(mut self, method: u32) -> Self {
        self.method = method;
        self
    }
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Self { kind: AnswerKind::Now(bytes), method: 0 }
    }
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Box<[u8]>> for Answer {
    fn from(bytes: Box<[u8]>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Cow<'static, [u8]>> for Answer {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl From<Cow<'static, str>> for Answer {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<const N: usize> From<&'static [u8; N]> for Answer {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Body> for Answer {
    fn from(body: Body) -> Self {
        body.into_bytes().into()
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&'static str> for Answer {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Answer {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Bytes::new().into()
    }
}

/// The right to answer a request later, from anywhere, once.
///
/// Dropped without an answer, it tells the caller so ([`Status::NO_ANSWER`]).
#[derive(Debug)]
#[must_use = "a responder that is dropped answers with a failure"]
pub struct Responder<F: Framing> {
    handling: Option<Handling<F>>,
}

impl<F: Framing> Responder<F> {
    /// What the handler returns to say that this responder will answer.
    #[must_use]
    pub fn later(&self) -> Answer {
        Answer { kind: AnswerKind::Later, method: 0 }
    }

    /// Whether the answer is not wanted any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.handling.as_ref().is_none_or(|handling| handling.is_cancelled(None))
    }

    /// Answers.
    pub fn reply<'a>(self, payload: impl Into<Payload<'a>>) {
        self.reply_as(0, payload);
    }

    /// Answers with a message type, on framings whose answers carry one (tcpstream); elsewhere any
    /// but 0 is a failure.
    pub fn reply_as<'a>(mut self, method: u32, payload: impl Into<Payload<'a>>) {
        if let Some(handling) = self.handling.take() {
            handling.answer(method, Ok(payload.into()));
        }
    }

    /// Answers with a failure.
    pub fn fail(mut self, failure: impl Into<Failure>) {
        if let Some(handling) = self.handling.take() {
            handling.answer(0, Err(failure.into()));
        }
    }
}

impl<F: Framing> Drop for Responder<F> {
    fn drop(&mut self) {
        if let Some(handling) = self.handling.take() {
            handling.answer(0, Err(Failure::new(Status::NO_ANSWER, "no answer")));
        }
    }
}
