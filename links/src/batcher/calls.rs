//! Batches as calls on a peer or a pool.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::batcher::{Answers, Batch, Failed};
use bowline_core::body::Payload;
use bowline_core::error::{CallError, Outcome, Status};
use bowline_core::frame::Framing;
use bowline_core::frame::native::Native;
use bowline_core::link::{CallOptions, Reply};
use bowline_core::routing::AttemptRules;
use bowline_core::time::Instant;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Mutex;

use super::sink::Sink;
use super::woken::Wakers;
use crate::call::Call;
use crate::client::Client;
use crate::peer::Peer;
use crate::peer_core::PeerCore;
use crate::pool::Pool;

/// A handle that makes calls: a peer, a client, a pool, or a pool [for a key](Pool::for_key).
pub trait Caller: Send + Sync + 'static {
    /// The future of one call.
    type Call<'a>: Future<Output = Result<Reply, CallError>> + Send + Unpin
    where
        Self: 'a;

    /// Whether a sender may poll the future: see [`Sink::SENDERS_MAY_POLL`].
    const SENDERS_MAY_POLL: bool = false;

    /// Begins a call. Polling the future never blocks, on any runtime.
    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> Self::Call<'a>;
}

impl<F: Framing> Caller for PeerCore<F> {
    type Call<'a> = Call<'a, F>;

    const SENDERS_MAY_POLL: bool = true;

    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> Call<'a, F> {
        self.call_with(options, payload)
    }
}

impl<R: Runtime, F: Framing> Caller for Peer<R, F> {
    type Call<'a> = Call<'a, F>;

    const SENDERS_MAY_POLL: bool = true;

    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> Call<'a, F> {
        (**self).begin_call(options, payload)
    }
}

impl<R: Runtime, F: Framing> Caller for Client<R, F> {
    type Call<'a> = Call<'a, F>;

    const SENDERS_MAY_POLL: bool = true;

    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> Call<'a, F> {
        (**self).begin_call(options, payload)
    }
}

type BoxCall<'a> = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'a>>;

impl<R: Runtime, F: Framing> Caller for Pool<R, F> {
    type Call<'a> = BoxCall<'a>;

    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> BoxCall<'a> {
        Box::pin(self.route(None, None, options, payload))
    }
}

/// The calls of a pool for one key. Each call makes one round over the links of the pool, whatever the pool's
/// rules are, because the batcher that makes the calls retries by itself.
pub struct Keyed<R: Runtime, F: Framing = Native> {
    pool: Pool<R, F>,
    key: String,
}

impl<R: Runtime, F: Framing> Keyed<R, F> {
    pub(crate) const fn new(pool: Pool<R, F>, key: String) -> Self {
        Self { pool, key }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> &Pool<R, F> {
        &self.pool
    }
}

impl<R: Runtime, F: Framing> Clone for Keyed<R, F> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), key: self.key.clone() }
    }
}

impl<R: Runtime, F: Framing> std::fmt::Debug for Keyed<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("pool", &self.pool).field("key", &self.key).finish()
    }
}

impl<R: Runtime, F: Framing> Caller for Keyed<R, F> {
    type Call<'a> = BoxCall<'a>;

    fn begin_call<'a>(&'a self, options: CallOptions, payload: Payload<'a>) -> BoxCall<'a> {
        let rules = Some(AttemptRules::one_round());
        Box::pin(self.pool.route(Some(&self.key), rules, options, payload))
    }
}

/// The default meaning of a failed call for its message; a sink can [override it](EachCall::failures). If the
/// peer answered with a failure, the message was not appended, unless the failure says that the handler had
/// begun and did not finish.
pub fn failed_call(error: CallError) -> Failed<CallError> {
    let retryable = error.is_retryable();
    match error.outcome() {
        Outcome::NeverSent | Outcome::Expired => Failed::not_appended(error).retryable(retryable),
        Outcome::Replied => match &error {
            CallError::Failed(failure) if broke_off(failure.status) => {
                Failed::maybe_appended(error).retryable(true)
            }
            _ => Failed::not_appended(error).retryable(retryable),
        },
        // At-least-once sends the message again.
        _ => Failed::maybe_appended(error).retryable(true),
    }
}

type ReadFailure = fn(CallError) -> Failed<CallError>;

/// Whether a handler that ended with this status may have appended the message.
const fn broke_off(status: Status) -> bool {
    matches!(
        status,
        Status::DEADLINE_EXCEEDED
            | Status::PANICKED
            | Status::REPLY_TOO_LARGE
            | Status::NO_ANSWER
            | Status::OUT_OF_MEMORY
    )
}

/// The options of a call that is useful until `deadline`. If the options set no timeout, the link's default
/// timeout applies regardless of the deadline: it bounds one attempt.
fn until(options: &CallOptions, deadline: Instant) -> CallOptions {
    let left = deadline.saturating_since(clock::now());
    match options.get_timeout() {
        Some(timeout) if timeout > left => options.clone().timeout(left),
        _ => options.clone(),
    }
}

/// A [`Sink`] of calls: each message is the body of one call, all calls of a batch are in flight at once, and
/// the position of a message is its reply.
///
/// On a link the calls are sent in the order of the messages. Over a pool without a key they go over several
/// links, and order does not hold. `M` is the type of messages: any type that can be read as bytes.
pub struct EachCall<C, M = Vec<u8>> {
    caller: C,
    options: CallOptions,
    failures: ReadFailure,
    /// Kept, so that they are not allocated for each batch.
    wakers: Mutex<Wakers>,
    messages: PhantomData<fn(M)>,
}

impl<C: Caller, M: AsRef<[u8]>> EachCall<C, M> {
    /// Calls of `method`.
    pub fn new(caller: C, method: u32) -> Self {
        Self::with_options(caller, CallOptions::new(method))
    }

    /// Calls with the given options.
    pub fn with_options(caller: C, options: CallOptions) -> Self {
        Self { caller, options, failures: failed_call, wakers: Mutex::default(), messages: PhantomData }
    }

    /// Sets how a failed call is read for its message. Default: [`failed_call`]. Use it to make a status of
    /// your peer that means "not now" retryable.
    #[must_use]
    pub fn failures(mut self, read: fn(CallError) -> Failed<CallError>) -> Self {
        self.failures = read;
        self
    }
}

impl<C, M> std::fmt::Debug for EachCall<C, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EachCall").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<C: Caller, M: AsRef<[u8]> + Send + Sync + 'static> Sink for EachCall<C, M> {
    type Message = M;
    type Position = Reply;
    type Error = CallError;

    const SENDERS_MAY_POLL: bool = C::SENDERS_MAY_POLL;

    fn size(&self, message: &M) -> usize {
        message.as_ref().len()
    }

    async fn append(&self, batch: &mut Batch<M, Reply, CallError>) {
        let options = until(&self.options, batch.deadline());
        let (messages, answers) = batch.parts();
        let mut calls = Vec::with_capacity(messages.len());
        for message in messages {
            calls.push(Some(self.caller.begin_call(options.clone(), Payload::from(message.as_ref()))));
        }
        let mut wakers = std::mem::take(&mut *self.wakers.lock());
        // First poll: in the order of the messages, which is the order of sending. Later polls: the woken
        // ones.
        wakers.begin(calls.len());
        let (mut left, mut ready) = (calls.len(), Vec::with_capacity(calls.len()));
        poll_fn(|cx| {
            loop {
                wakers.take(&mut ready, cx.waker());
                if ready.is_empty() {
                    return if left == 0 { Poll::Ready(()) } else { Poll::Pending };
                }
                for index in ready.drain(..) {
                    let Some(place) = calls.get_mut(index) else { continue };
                    let Some(call) = place else { continue };
                    if let Poll::Ready(result) =
                        Pin::new(call).poll(&mut Context::from_waker(wakers.of(index)))
                    {
                        answers.answer(index, result.map_err(self.failures));
                        *place = None;
                        left -= 1;
                    }
                }
            }
        })
        .await;
        wakers.end();
        *self.wakers.lock() = wakers;
    }
}

/// A [`Sink`] of calls: a batch is one call. The program encodes the messages into its body, and decodes the
/// positions from its reply.
pub struct BatchCall<C, M, P, Enc, Dec> {
    caller: C,
    options: CallOptions,
    encode: Enc,
    decode: Dec,
    failures: ReadFailure,
    /// The buffer is reused.
    body: Mutex<Vec<u8>>,
    messages: PhantomData<fn(M) -> P>,
}

/// Buffers up to this size are kept for the next body.
const KEPT_BODY: usize = 1 << 20;

impl<C, M, P, Enc, Dec> BatchCall<C, M, P, Enc, Dec>
where
    C: Caller,
    M: AsRef<[u8]> + Send + Sync + 'static,
    P: Send + 'static,
    Enc: Fn(&[M], &mut Vec<u8>) + Send + Sync + 'static,
    Dec: Fn(&Reply, &mut Answers<P, CallError>) + Send + Sync + 'static,
{
    /// One call with `options` for a batch. `encode` writes the messages into an empty body. `decode` reads
    /// from the reply one answer for each message, in order; a message without an answer counts as possibly
    /// appended.
    pub fn new(caller: C, options: CallOptions, encode: Enc, decode: Dec) -> Self {
        let (body, failures) = (Mutex::new(Vec::new()), failed_call as ReadFailure);
        Self { caller, options, encode, decode, failures, body, messages: PhantomData }
    }

    /// Sets how a failed call is read for its messages. Default: [`failed_call`]. Use it to make a status of
    /// your peer that means "not now" retryable.
    #[must_use]
    pub fn failures(mut self, read: fn(CallError) -> Failed<CallError>) -> Self {
        self.failures = read;
        self
    }
}

impl<C, M, P, Enc, Dec> std::fmt::Debug for BatchCall<C, M, P, Enc, Dec> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchCall").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<C, M, P, Enc, Dec> Sink for BatchCall<C, M, P, Enc, Dec>
where
    C: Caller,
    M: AsRef<[u8]> + Send + Sync + 'static,
    P: Send + 'static,
    Enc: Fn(&[M], &mut Vec<u8>) + Send + Sync + 'static,
    Dec: Fn(&Reply, &mut Answers<P, CallError>) + Send + Sync + 'static,
{
    type Message = M;
    type Position = P;
    type Error = CallError;

    const SENDERS_MAY_POLL: bool = C::SENDERS_MAY_POLL;

    fn size(&self, message: &M) -> usize {
        message.as_ref().len()
    }

    async fn append(&self, batch: &mut Batch<M, P, CallError>) {
        let options = until(&self.options, batch.deadline());
        let (messages, answers) = batch.parts();
        let mut body = std::mem::take(&mut *self.body.lock());
        body.clear();
        (self.encode)(messages, &mut body);
        let result = self.caller.begin_call(options, Payload::from(&body[..])).await;
        match result {
            Ok(reply) => (self.decode)(&reply, answers),
            Err(error) => answers.fail_rest((self.failures)(error)),
        }
        if body.capacity() <= KEPT_BODY {
            *self.body.lock() = body;
        }
    }
}
