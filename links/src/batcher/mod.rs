//! The batcher's handles, once for all runtimes: what it is, is in [`bowline_core::batcher`].

use std::marker::PhantomData;
use std::time::Duration;

use bowline_core::batcher::{
    Batcher as Machine, Failures, Refusal, Refused, Retries, SendError, Settings, Stats,
};
use bowline_core::error::ConfigError;
use bowline_driver::StartError;
use bowline_driver::clock;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::{Style, Wait};
use bowline_driver::sync::Arc;

use crate::recipe::random_seed;

mod blocking;
mod calls;
#[cfg(all(test, bowline_loom))]
mod models;
mod observe;
mod results;
mod sending;
mod shared;
mod sink;
mod woken;

pub use blocking::{Blocking, BlockingSink};
pub use calls::{BatchCall, Caller, EachCall, Keyed, failed_call};
pub use results::{NextResult, SendResults};
pub use sending::{Closing, Forgetting, Referencing, Sending};
pub use sink::Sink;

use observe::Teller;
use shared::{Lent, Shared, drive};

/// What became of a message that was sent to a sink `S`.
pub type SendResult<S> = Result<<S as Sink>::Position, SendError<<S as Sink>::Error>>;

/// Gathers messages into batches while a batch is under way, and appends them to a [`Sink`]: a log, or calls
/// on a peer or a pool.
///
/// A lone message leaves at once; many senders share the round trips. One batch is under way at a time, so
/// the order of sending is kept. `T` is the type of references, which come back with the results of
/// messages that were [sent with one](Self::send_with_reference).
///
/// Cheap to clone; all clones are one batcher, and the last one to go closes it in the background, as
/// [`close`](Self::close) does.
///
/// The facade's `bowline::batcher` has an example.
pub struct Batcher<R: Runtime, S: Sink, T: Send + 'static = ()> {
    handle: Arc<Handle<S, T>>,
    runtime: PhantomData<fn() -> R>,
}

/// Closes the batcher when the last handle is dropped.
struct Handle<S: Sink, T: Send + 'static> {
    shared: Arc<Shared<S, T>>,
    close_within: Duration,
}

impl<S: Sink, T: Send + 'static> Drop for Handle<S, T> {
    fn drop(&mut self) {
        self.shared.with(|machine| machine.close(clock::now(), self.close_within));
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Clone for Batcher<R, S, T> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), runtime: PhantomData }
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> std::fmt::Debug for Batcher<R, S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<R: Runtime, S: Sink> Batcher<R, S, ()> {
    /// A builder for a batcher over `sink`.
    pub fn builder(sink: S) -> BatcherBuilder<R, S, ()> {
        BatcherBuilder {
            sink,
            settings: Settings::default(),
            close_within: Duration::from_secs(2),
            name: String::new(),
            on_failure: None,
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> Batcher<R, S, T> {
    /// Sends a message, and waits for its position. It waits for room if there is none.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the message unless a batch took it. Nothing is sent before the future
    /// is polled.
    pub fn send(&self, message: impl Into<S::Message>) -> Wait<R, Sending<R, S, T>> {
        let sending = Sending::new(&self.handle.shared, message.into());
        R::Style::wait_or(sending, Sending::would_park)
    }

    /// The same without waiting for room. What is returned is the position to come: await it, or
    /// [`wait`](Sending::wait) for it; dropping it withdraws the message unless a batch took it.
    ///
    /// # Errors
    /// [`Refusal::BufferFull`], [`Refusal::Closed`]; the message comes back.
    pub fn try_send(&self, message: impl Into<S::Message>) -> Result<Sending<R, S, T>, Refused<S::Message>> {
        let shared = &self.handle.shared;
        let (message, now) = (message.into(), clock::now());
        let bytes = shared.sink.size(&message);
        let id = shared.with(|machine| machine.try_send(now, message, bytes))?;
        Ok(Sending::sent(shared, id))
    }

    /// Sends a message whose result goes to `results`, with the message and `reference`. It waits for room, and
    /// for a place of `results`, if there is none.
    ///
    /// # Errors
    /// [`Refusal::Closed`], [`Refusal::NoReceiver`] if `results` are another batcher's or were dropped; message and
    /// reference come back.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready withdraws the message unless a batch took it; then its result
    /// comes all the same.
    pub fn send_with_reference(
        &self,
        message: impl Into<S::Message>,
        reference: T,
        results: &SendResults<R, S, T>,
    ) -> Wait<R, Referencing<S, T>> {
        let to = results.receiver_of(&self.handle.shared);
        let sending = Referencing::new(&self.handle.shared, message.into(), reference, to);
        R::Style::wait_or(sending, Referencing::would_park)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// [`Refusal::BufferFull`] too.
    pub fn try_send_with_reference(
        &self,
        message: impl Into<S::Message>,
        reference: T,
        results: &SendResults<R, S, T>,
    ) -> Result<(), Refused<(S::Message, T)>> {
        let (shared, message) = (&self.handle.shared, message.into());
        let Some(to) = results.receiver_of(shared) else {
            return Err(Refused { message: (message, reference), why: Refusal::NoReceiver });
        };
        let (now, bytes) = (clock::now(), shared.sink.size(&message));
        shared.with(|machine| machine.try_send_with_reference(now, message, bytes, to, reference))
    }

    /// Sends a message whose result is not waited for. Failures are counted, and told to
    /// [`on_failure`](BatcherBuilder::on_failure). It waits for room if there is none.
    ///
    /// # Errors
    /// [`Refusal::Closed`]; the message comes back.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready withdraws the message unless a batch took it.
    pub fn send_and_forget(&self, message: impl Into<S::Message>) -> Wait<R, Forgetting<S, T>> {
        let sending = Forgetting::new(&self.handle.shared, message.into());
        R::Style::wait_or(sending, Forgetting::would_park)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// [`Refusal::BufferFull`] too.
    pub fn try_send_and_forget(&self, message: impl Into<S::Message>) -> Result<(), Refused<S::Message>> {
        let (shared, message) = (&self.handle.shared, message.into());
        let (now, bytes) = (clock::now(), shared.sink.size(&message));
        shared.with(|machine| machine.try_send_and_forget(now, message, bytes))
    }

    /// A receiver for the results of messages with references. Each has places of its own: one that takes no results holds
    /// up its own senders, not the batcher.
    #[must_use = "results go to a receiver"]
    pub fn results(&self) -> SendResults<R, S, T> {
        SendResults::new(&self.handle.shared)
    }

    /// Takes no more messages, gives back those that wait for room, tries what was accepted once more, at once,
    /// and waits until everything has its outcome: within the builder's
    /// [`close_within`](BatcherBuilder::close_within). What is left then is
    /// [`Closed`](SendError::Closed), or [`MaybeAppended`](SendError::MaybeAppended) if it was under way. May be
    /// called several times, and at once. On an I/O thread, which must not wait, it returns at once, and closing goes on in
    /// the background.
    ///
    /// # Cancel safety
    /// Closing begins with the call, and goes on in the background.
    pub fn close(&self) -> Wait<R, Closing<S, T>> {
        let Handle { shared, close_within } = &*self.handle;
        shared.with(|machine| machine.close(clock::now(), *close_within));
        R::Style::wait_or(Closing::new(shared), drop)
    }

    /// Whether it is closed, and everything has its outcome.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.shared.with(|machine| machine.is_closed())
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.with(|machine| machine.stats())
    }

    /// Messages that wait in the buffer, and those that are under way.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        self.handle.shared.with(|machine| (machine.waiting(), machine.under_way()))
    }

    /// Why the last attempt that failed did, while none went well since.
    #[must_use]
    pub fn last_cause(&self) -> Option<S::Error> {
        self.handle.shared.with(|machine| machine.last_cause().cloned())
    }

    /// Where its messages go.
    #[must_use]
    pub fn sink(&self) -> &S {
        &self.handle.shared.sink
    }
}

/// A batcher could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBatcherError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its task cannot run.
    #[error(transparent)]
    Start(#[from] StartError),
}

type OnFailure<E> = Box<dyn Fn(&Failures<E>) + Send + Sync>;

/// Builds a [`Batcher`].
#[must_use]
pub struct BatcherBuilder<R: Runtime, S: Sink, T: Send + 'static = ()> {
    sink: S,
    settings: Settings,
    close_within: Duration,
    name: String,
    on_failure: Option<OnFailure<S::Error>>,
    runtime: PhantomData<fn() -> (R, T)>,
}

impl<R: Runtime, S: Sink, T: Send + 'static> std::fmt::Debug for BatcherBuilder<R, S, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatcherBuilder")
            .field("settings", &self.settings)
            .field("close_within", &self.close_within)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, S: Sink, T: Send + 'static> BatcherBuilder<R, S, T> {
    /// References are of that type. Default: `()`.
    pub fn references<U: Send + 'static>(self) -> BatcherBuilder<R, S, U> {
        let Self { sink, settings, close_within, name, on_failure, .. } = self;
        BatcherBuilder { sink, settings, close_within, name, on_failure, runtime: PhantomData }
    }

    /// What `tracing` and `metrics` know the batcher by. Default: nothing.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// All settings of the core at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// See [`Settings::buffer`]. Default 200 messages.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.settings = self.settings.buffer(messages);
        self
    }

    /// See [`Settings::buffer_bytes`]. Default 8 MiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.settings = self.settings.buffer_bytes(bytes);
        self
    }

    /// See [`Settings::linger`]. Default 0.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings = self.settings.linger(linger);
        self
    }

    /// See [`Settings::retries`]. Default: none.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.settings = self.settings.retries(retries);
        self
    }

    /// See [`Settings::at_least_once`]. Default: no.
    pub fn at_least_once(mut self, repeat: bool) -> Self {
        self.settings = self.settings.at_least_once(repeat);
        self
    }

    /// See [`Settings::delivery_timeout`]. Default 120 s.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.settings = self.settings.delivery_timeout(timeout);
        self
    }

    /// See [`Settings::places`]. Default 1,024 for each [receiver](Batcher::results).
    pub fn places(mut self, places: usize) -> Self {
        self.settings = self.settings.places(places);
        self
    }

    /// How long a close tries what was accepted. Default 2 s.
    pub fn close_within(mut self, limit: Duration) -> Self {
        self.close_within = limit;
        self
    }

    /// Is told of messages that were [sent and forgotten](Batcher::send_and_forget) and failed: how many since it was
    /// last told, and how the last one failed. It is called by the batcher's task, and must not block.
    pub fn on_failure(mut self, told: impl Fn(&Failures<S::Error>) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(told));
        self
    }

    /// Starts the batcher.
    ///
    /// # Errors
    /// A setting cannot work, or there is no runtime here.
    pub fn open(self) -> Result<Batcher<R, S, T>, OpenBatcherError> {
        let Self { sink, settings, close_within, name, on_failure, .. } = self;
        let machine = Machine::new(settings, random_seed())?;
        let shared = Arc::new(Shared::new(sink, machine));
        let lent = Lent::new(Arc::clone(&shared));
        R::spawn(drive(lent, R::timer, on_failure, Teller::new(name)))?;
        Ok(Batcher { handle: Arc::new(Handle { shared, close_within }), runtime: PhantomData })
    }
}
