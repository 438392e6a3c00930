//! A request under way: the argument of handlers that may wait, and the right to answer it.

use std::task::Waker;
use std::time::Duration;

use bowline_core::auth::Identity;
use bowline_core::body::{Body, Payload};
use bowline_core::error::{Failure, Status};
use bowline_core::frame::{Framing, Meta};
use bowline_core::link::{Inbound, InboundState, Incoming};
use bowline_driver::PeerId;
use bowline_driver::handler_queue::Outlook;
use bowline_driver::heavy::Turn;

use crate::answer::{Answer, AnswerKind};
use crate::peer_core::PeerCore;

/// A request for a handler that may wait, on any runtime.
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

    /// The id of the caller.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer.id()
    }

    /// The caller.
    pub(crate) fn peer(&self) -> &PeerCore<F> {
        &self.peer
    }

    /// The identity of the caller: see [`PeerCore::identity`].
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.peer.identity()
    }

    /// The method id (the message type on tcpstream).
    #[must_use]
    pub fn method(&self) -> u32 {
        self.meta.method
    }

    /// The call id on the wire (the Seq on tcpstream).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.meta.id
    }

    /// The caller's attempt number, counted from 1; 0 if the framing does not carry one.
    #[must_use]
    pub fn attempt(&self) -> u8 {
        self.meta.attempt
    }

    /// The time that the caller had left when it sent the request.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta.remaining_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }

    /// The encoded extensions, empty if there are none.
    #[must_use]
    pub fn extensions(&self) -> &[u8] {
        self.extensions.as_deref().unwrap_or_default()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, by value.
    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Whether the answer is no longer needed: the caller gave up, its deadline passed, or its connection
    /// ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        Handling { peer: self.peer.clone(), inbound: self.inbound }.is_cancelled(None)
    }

    /// The right to answer later, from any task or thread. The handler then has to return
    /// [`Responder::later`].
    pub fn responder(&self) -> Responder<F> {
        Responder { handling: Some(self.handling()) }
    }

    /// The right to answer when the handler returns, for the code that runs the handler.
    #[must_use]
    pub fn handling(&self) -> Handling<F> {
        Handling { peer: self.peer.clone(), inbound: self.inbound }
    }
}

/// A request being handled, for the code that runs its handler.
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
    /// Whether the answer is no longer needed; keeps `waker`, which is woken when that changes.
    #[must_use]
    pub fn is_cancelled(&self, waker: Option<Waker>) -> bool {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| link.poll_inbound(inbound, waker)) == InboundState::Unwanted
    }

    /// The handler returned `result`.
    pub fn finish(&self, result: Result<Answer, Failure>) {
        self.finish_as(result, false);
    }

    /// As [`finish`](Self::finish), for handlers on threads: the thread that has the last answer of a
    /// connection writes it itself, without blocking, so that the answer does not wait for the reading
    /// thread.
    pub fn finish_and_write(&self, result: Result<Answer, Failure>) {
        self.finish_as(result, true);
    }

    fn finish_as(&self, result: Result<Answer, Failure>, writes: bool) {
        match result {
            Ok(Answer { kind, method }) => kind.send(|payload| self.answer(method, Ok(payload), writes)),
            Err(failure) => self.answer(0, Err(failure), writes),
        }
    }

    /// The expectation about the answer; `None` if the answer is no longer needed.
    #[must_use]
    pub fn outlook(&self) -> Option<Outlook> {
        let bytes = self.expected()?;
        let small = Outlook { bytes, spare: usize::MAX };
        Some(if small.is_small() { small } else { Outlook { spare: self.spare_memory(), ..small } })
    }

    /// The number of bytes that the answer is expected to take; `None` if it is no longer needed.
    pub(crate) fn expected(&self) -> Option<usize> {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| match link.poll_inbound(inbound, None) {
            InboundState::Wanted => Some(link.expected_answer()),
            _ => None,
        })
    }

    /// A place in the queue for heavy work; `None` where there is no such queue.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.peer.0.shared.turn()
    }

    /// The number of bytes left for answers that are not yet given to a link.
    pub(crate) fn spare_memory(&self) -> usize {
        self.peer.0.shared.spare_memory()
    }

    /// Memory that is kept for the handlers of all connections has grown or shrunk: see
    /// [`Shared::resize_beside`](bowline_driver::Shared::resize_beside).
    pub(crate) fn resize_blocks(&self, before: usize, after: usize) {
        self.peer.0.shared.resize_beside(before, after);
    }

    /// The handler was dropped, because its answer is no longer needed.
    pub fn dropped(&self) {
        let inbound = self.inbound;
        self.peer.0.shared.with(|link| link.finish_inbound(inbound));
    }

    /// The handler panicked.
    pub fn panicked(&self) {
        self.answer(0, Err(Failure::new(Status::PANICKED, "the handler panicked")), false);
    }

    fn answer(&self, method: u32, answer: Result<Payload<'_>, Failure>, writes: bool) {
        let inbound = self.inbound;
        self.peer.0.shared.with_inline_asleep(|link| {
            link.answer_as(inbound, method, answer);
            ((), writes && link.has_last_answer())
        });
    }
}

/// The right to answer a request later, once, from any task or thread.
///
/// If it is dropped without an answer, the caller gets the failure [`Status::NO_ANSWER`].
#[derive(Debug)]
#[must_use = "a responder that is dropped answers with a failure"]
pub struct Responder<F: Framing> {
    handling: Option<Handling<F>>,
}

impl<F: Framing> Responder<F> {
    /// The value that the handler returns to say that this responder will answer.
    #[must_use]
    pub fn later(&self) -> Answer {
        Answer { kind: AnswerKind::Later, method: 0 }
    }

    /// Whether the answer is no longer needed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.handling.as_ref().is_none_or(|handling| handling.is_cancelled(None))
    }

    /// As [`is_cancelled`](Self::is_cancelled), and `waker` is woken when the value changes, so that
    /// resources held for the answer can be freed. Only the last waker is kept.
    #[must_use]
    pub fn watch(&self, waker: Waker) -> bool {
        self.handling.as_ref().is_none_or(|handling| handling.is_cancelled(Some(waker)))
    }

    /// Answers.
    pub fn reply<'a>(self, payload: impl Into<Payload<'a>>) {
        self.reply_as(0, payload);
    }

    /// Answers with a message type, on framings whose answers carry one (tcpstream). On other framings any
    /// value but 0 turns the answer into a failure.
    pub fn reply_as<'a>(mut self, method: u32, payload: impl Into<Payload<'a>>) {
        if let Some(handling) = self.handling.take() {
            handling.answer(method, Ok(payload.into()), false);
        }
    }

    /// Answers with a failure.
    pub fn fail(mut self, failure: impl Into<Failure>) {
        if let Some(handling) = self.handling.take() {
            handling.answer(0, Err(failure.into()), false);
        }
    }
}

impl<F: Framing> Drop for Responder<F> {
    fn drop(&mut self) {
        if let Some(handling) = self.handling.take() {
            handling.answer(0, Err(Failure::new(Status::NO_ANSWER, "no answer")), false);
        }
    }
}
