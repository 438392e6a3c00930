//! The batcher's handles, for all runtimes. [`bowline_core::batcher`] describes the batcher itself.

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
mod driving;
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

use driving::DrivingTask;
use observe::Teller;
use shared::{Lent, Shared, drive};

/// The result of a message that was sent to a sink `S`.
pub type SendResult<S> = Result<<S as Sink>::Position, SendError<<S as Sink>::Error>>;

/// Gathers messages into batches while another batch is under way, and appends them to a [`Sink`]: a log, or
/// calls on a peer or a pool.
///
/// A single message is sent at once; many senders share round trips. One batch is under way at a time, so the
/// order of sending is kept. `T` is the type of references, which come back with the results of messages that
/// were [sent with one](Self::send_with_reference).
///
/// Cheap to clone; all clones are one batcher. Dropping the last clone closes it in the background, as
/// [`close`](Self::close) does.
///
/// `bowline::batcher` has an example.
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
    /// Sends a message and waits for its position. Waits for room in the buffer first if it is full.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the message unless it is already part of a batch. The message is sent
    /// when the future is first polled, not before.
    pub fn send(&self, message: impl Into<S::Message>) -> Wait<R, Sending<R, S, T>> {
        let sending = Sending::new(&self.handle.shared, message.into());
        R::Style::wait_or(sending, Sending::would_park)
    }

    /// As [`send`](Self::send), without waiting for room. Await the returned value, or
    /// [`wait`](Sending::wait) for it, to get the position; dropping it withdraws the message unless it is
    /// already part of a batch.
    ///
    /// # Errors
    /// [`Refusal::BufferFull`], [`Refusal::Closed`]; the error contains the message.
    pub fn try_send(&self, message: impl Into<S::Message>) -> Result<Sending<R, S, T>, Refused<S::Message>> {
        let shared = &self.handle.shared;
        let (message, now) = (message.into(), clock::now());
        let bytes = shared.sink.size(&message);
        let id = shared.with(|machine| machine.try_send(now, message, bytes))?;
        Ok(Sending::sent(shared, id))
    }

    /// Sends a message whose result goes to `results`, together with the message and `reference`. Waits if
    /// the buffer is full, or if `results` has no free place.
    ///
    /// # Errors
    /// [`Refusal::Closed`]; [`Refusal::NoReceiver`] if `results` belongs to another batcher or was dropped.
    /// The error contains the message and the reference.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready withdraws the message unless it is already part of a batch; if
    /// it is, its result is delivered to `results` as usual.
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

    /// As [`send_with_reference`](Self::send_with_reference), without waiting.
    ///
    /// # Errors
    /// As [`send_with_reference`](Self::send_with_reference), and [`Refusal::BufferFull`].
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

    /// Sends a message without waiting for its result. Failures are counted and reported to
    /// [`on_failure`](BatcherBuilder::on_failure). Waits for room in the buffer if it is full.
    ///
    /// # Errors
    /// [`Refusal::Closed`]; the error contains the message.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready withdraws the message unless it is already part of a batch.
    pub fn send_and_forget(&self, message: impl Into<S::Message>) -> Wait<R, Forgetting<S, T>> {
        let sending = Forgetting::new(&self.handle.shared, message.into());
        R::Style::wait_or(sending, Forgetting::would_park)
    }

    /// As [`send_and_forget`](Self::send_and_forget), without waiting.
    ///
    /// # Errors
    /// As [`send_and_forget`](Self::send_and_forget), and [`Refusal::BufferFull`].
    pub fn try_send_and_forget(&self, message: impl Into<S::Message>) -> Result<(), Refused<S::Message>> {
        let (shared, message) = (&self.handle.shared, message.into());
        let (now, bytes) = (clock::now(), shared.sink.size(&message));
        shared.with(|machine| machine.try_send_and_forget(now, message, bytes))
    }

    /// Creates a receiver for the results of messages with references. Each receiver has its own places: a
    /// receiver whose results are not taken delays its own senders only, not the batcher.
    #[must_use = "results go to a receiver"]
    pub fn results(&self) -> SendResults<R, S, T> {
        SendResults::new(&self.handle.shared)
    }

    /// Closes the batcher. New messages are refused, messages that wait for room are given back, accepted
    /// messages are tried once more without delay, and the future is ready when every message has its
    /// outcome, at the latest after the builder's [`close_within`](BatcherBuilder::close_within). Messages
    /// that remain then get [`Closed`](SendError::Closed), or [`MaybeAppended`](SendError::MaybeAppended) if
    /// they were under way. May be called several times, also concurrently. On an I/O thread, which must not wait, it
    /// returns at once, and closing continues in the background.
    ///
    /// # Cancel safety
    /// Closing begins with the call, and goes on in the background.
    pub fn close(&self) -> Wait<R, Closing<S, T>> {
        let Handle { shared, close_within } = &*self.handle;
        shared.with(|machine| machine.close(clock::now(), *close_within));
        R::Style::wait_or(Closing::new(shared), drop)
    }

    /// Whether the batcher is closed and every message has its outcome.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.shared.with(|machine| machine.is_closed())
    }

    /// Counters since the batcher was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.handle.shared.with(|machine| machine.stats())
    }

    /// The number of messages in the buffer, and the number of messages under way.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        self.handle.shared.with(|machine| (machine.waiting(), machine.under_way()))
    }

    /// The error of the last failed attempt, if no attempt succeeded since.
    #[must_use]
    pub fn last_cause(&self) -> Option<S::Error> {
        self.handle.shared.with(|machine| machine.last_cause().cloned())
    }

    /// The sink that messages are appended to.
    #[must_use]
    pub fn sink(&self) -> &S {
        &self.handle.shared.sink
    }
}

/// Why a batcher could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBatcherError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The batcher's task could not be started.
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
    /// Sets the type of references. Default: `()`.
    pub fn references<U: Send + 'static>(self) -> BatcherBuilder<R, S, U> {
        let Self { sink, settings, close_within, name, on_failure, .. } = self;
        BatcherBuilder { sink, settings, close_within, name, on_failure, runtime: PhantomData }
    }

    /// Sets the name by which `tracing` and `metrics` know the batcher. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets all settings of the core at once.
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

    /// Sets how long a close tries the accepted messages. Default 2 s.
    pub fn close_within(mut self, limit: Duration) -> Self {
        self.close_within = limit;
        self
    }

    /// Sets a function that is called when messages that were [sent and forgotten](Batcher::send_and_forget)
    /// failed: with the number of failures since the last call, and the error of the last one. The batcher's
    /// task calls it, or a sender [in place of the task](Sink::SENDERS_MAY_POLL); it must not block.
    pub fn on_failure(mut self, told: impl Fn(&Failures<S::Error>) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(told));
        self
    }

    /// Starts the batcher.
    ///
    /// # Errors
    /// A setting is invalid, or no runtime is running on this thread.
    pub fn open(self) -> Result<Batcher<R, S, T>, OpenBatcherError> {
        let Self { sink, settings, close_within, name, on_failure, .. } = self;
        let machine = Machine::new(settings, random_seed())?;
        let shared = Arc::new(Shared::new(sink, machine));
        let lent = Lent::new(Arc::clone(&shared));
        shared.driving.begin(drive(lent, R::timer, on_failure, Teller::new(name)));
        R::spawn(DrivingTask(Arc::clone(&shared)))?;
        Ok(Batcher { handle: Arc::new(Handle { shared, close_within }), runtime: PhantomData })
    }
}
