//! Gathers messages into batches while another batch is under way: without IO, for any log or link.
//!
//! One batch is under way at a time, and the next one gathers meanwhile: a lone sender does not wait, and
//! many senders share round trips. The order is that of acceptance, in the batches and in the results of each
//! receiver.
//!
//! | state of a message | meaning |
//! |---|---|
//! | waits for a place | only with a reference: its receiver has the maximum number of outstanding results |
//! | waits for room | the buffer is full; served in order of arrival, without overtaking |
//! | accepted | its delivery time begins |
//! | waiting | in the buffer, until the batch under way is over; its sender can withdraw it |
//! | under way | in the batch, also between retries |
//! | done | it has its one outcome: a position, or a [`SendError`] |
//!
//! Waiting callers leave their message in the batcher, which moves it on by itself: a caller is woken once,
//! with the outcome.

use alloc::vec::Vec;

use crate::supervisor::SplitMix64;
use crate::time::Instant;
use crate::waiters::Waiters;

mod admit;
mod batch;
mod closing;
mod drive;
mod outcome;
mod receivers;
mod send;
mod settings;
mod slots;
#[cfg(test)]
mod tests;

pub use batch::{Answers, Batch};
pub use drive::Step;
pub use outcome::{Failed, Failures, Refusal, Refused, SendError, Sent, Stats};
pub use receivers::ReceiverId;
pub use send::{Admission, Admitted};
pub use settings::{Retries, Settings};
pub use slots::SendId;

use receivers::Receivers;
use slots::{Chain, List, Slots};

/// The state of the batch under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There is no batch.
    Idle,
    /// An attempt is being made.
    Lent,
    /// It waits for its next attempt, which is due at this time.
    Retry { at: Instant },
}

/// Gathers messages into batches. `M` is the message, `R` the reference that comes back with a result, `P`
/// the position, `E` the sink's error, `T` the token that wakes a caller.
///
/// Like the link it reads no clock and calls no waker: the time is an argument, and the tokens of callers
/// that can proceed come out of [`take_tokens`](Self::take_tokens). The driver takes a batch with
/// [`poll_batch`](Self::poll_batch), makes one attempt, gives the batch back with
/// [`end_batch`](Self::end_batch), and calls [`handle_timeout`](Self::handle_timeout) at
/// [`next_timeout`](Self::next_timeout).
///
/// ```
/// use bowline_core::batcher::{Batcher, Settings, Step};
/// use bowline_core::time::Instant;
/// use std::task::Poll;
///
/// let now = Instant::ZERO;
/// let mut batcher: Batcher<&str, u8, u64, String, u32> = Batcher::new(Settings::default(), 42)?;
/// let first = batcher.send(now, "one", 3).expect("there is room");
/// assert!(batcher.poll_send(first, || 1).is_pending());
/// let receiver = batcher.add_receiver();
/// let _accepted = batcher.send_with_reference(now, "two", 3, receiver, 7).expect("there is room");
///
/// let Step::Batch(mut batch) = batcher.poll_batch(now, || 0) else { panic!("there are messages") };
/// assert_eq!(batch.messages(), ["one", "two"]);
/// batch.answers().answer(0, Ok(100));
/// batch.answers().answer(1, Ok(101));
/// batcher.end_batch(now, batch);
///
/// assert_eq!(batcher.poll_send(first, || 1), Poll::Ready(Ok(100)));
/// let Poll::Ready(Some(sent)) = batcher.poll_result(receiver, || 2) else { panic!("it was sent") };
/// assert_eq!((sent.reference, sent.message, sent.result), (7, "two", Ok(101)));
/// # Ok::<(), bowline_core::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Batcher<M, R, P, E, T> {
    settings: Settings,
    random: SplitMix64,
    now: Instant,
    slots: Slots<M, R, P, E, T>,
    /// Messages that wait for room.
    no_room: List,
    /// The buffer.
    waiting: List,
    /// The batch.
    under_way: List,
    receivers: Receivers<T>,
    phase: Phase,
    /// The number of attempts made with the batch.
    attempts: u32,
    /// The batcher is closing: the time at which the rest is given up.
    closing: Option<Instant>,
    /// The error of the last failed attempt, if no attempt succeeded since.
    last_cause: Option<E>,
    /// After that attempt, its message may have been appended.
    last_is_maybe: bool,
    failures: Option<Failures<E>>,
    stats: Stats,
    driver: Option<T>,
    /// The driver's token, while it is to be woken for a new message.
    hurried: Option<T>,
    /// The number of messages of the last batch.
    last_batch: usize,
    closers: Waiters<T>,
    wakes: Vec<T>,
    /// Kept to reuse its vectors.
    spare: Option<Batch<M, P, E>>,
}

impl<M, R, P, E: Clone, T> Batcher<M, R, P, E, T> {
    /// An empty batcher. `seed` is for the jitter of retries.
    ///
    /// # Errors
    /// The error of [`Settings::check`].
    pub fn new(settings: Settings, seed: u64) -> Result<Self, crate::error::ConfigError> {
        settings.check()?;
        Ok(Self {
            settings,
            random: SplitMix64::new(seed),
            now: Instant::ZERO,
            slots: Slots::new(),
            no_room: List::new(Chain::Queue),
            waiting: List::new(Chain::Queue),
            under_way: List::new(Chain::Queue),
            receivers: Receivers::new(),
            phase: Phase::Idle,
            attempts: 0,
            closing: None,
            last_cause: None,
            last_is_maybe: false,
            failures: None,
            stats: Stats::default(),
            driver: None,
            hurried: None,
            last_batch: 0,
            closers: Waiters::new(),
            wakes: Vec::new(),
            spare: Some(Batch::new()),
        })
    }

    /// Takes the tokens of callers that can proceed, to be woken after the batcher's lock is released.
    pub fn take_tokens(&mut self, tokens: &mut Vec<T>) {
        tokens.extend(self.hurried.take());
        tokens.append(&mut self.wakes);
    }

    /// The driver's token, if it is to be woken for the message that was just sent, and its sender may do the driver's
    /// work instead: the message is the only one, the last batch had one message too, and the batch is due. Otherwise
    /// the token is left to [`take_tokens`](Self::take_tokens).
    ///
    /// With several senders the driver gathers larger batches, because they send while it is being woken.
    pub fn take_turn(&mut self) -> Option<T> {
        let is_alone = self.waiting.len == 1 && self.no_room.len == 0 && self.last_batch <= 1;
        if is_alone && self.settings.linger.is_zero() { self.hurried.take() } else { None }
    }

    /// Whether there are such tokens.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.wakes.is_empty() || self.hurried.is_some()
    }

    /// The settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Counters since the batcher was made.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The number of messages in the buffer.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting.len
    }

    /// The bytes of the messages in the buffer.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting.bytes
    }

    /// The number of messages in the batch, also between retries.
    #[must_use]
    pub const fn under_way(&self) -> usize {
        self.under_way.len
    }

    /// The number of messages that wait for room, or for a place of their receiver.
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.no_room.len + self.receivers.no_place()
    }

    /// The number of messages that are kept: without an outcome, or with an outcome that was not taken.
    #[must_use]
    pub const fn kept(&self) -> usize {
        self.slots.used()
    }

    /// The error of the last failed attempt, if no attempt succeeded since.
    #[must_use]
    pub const fn last_cause(&self) -> Option<&E> {
        self.last_cause.as_ref()
    }

    /// Why a message that no attempt was made with was not appended: the [last cause](Self::last_cause), unless that
    /// says of its own message that it may have been appended.
    #[must_use]
    pub fn cause_of_waiting(&self) -> Option<&E> {
        self.last_cause.as_ref().filter(|_| !self.last_is_maybe)
    }

    fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }
}
