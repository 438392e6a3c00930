//! Sinks whose appends block: each has a thread of its own.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};

use bowline_core::batcher::{Batch, Failed};
use bowline_core::time::Instant;
use bowline_driver::StartError;
use bowline_driver::sync::{Arc, Mutex};

use super::sink::Sink;

/// What a [`Batcher`](super::Batcher) appends to by calls that block: a file, a client of another database. [`Blocking`]
/// makes a [`Sink`] of it.
pub trait BlockingSink: Send + Sync + 'static {
    /// What is appended. A batch's messages are cloned for the thread: [`Bytes`](bytes::Bytes) and an
    /// [`Arc`](std::sync::Arc) are cheap to clone.
    type Message: Clone + Send + Sync + 'static;
    /// What an appended message gets.
    type Position: Send + 'static;
    /// Why one is not appended.
    type Error: Clone + Send + 'static;

    /// How many bytes a message is, for the bounds of the buffer.
    fn size(&self, message: &Self::Message) -> usize;

    /// Makes one attempt to append the messages, in their order. An answer for each, in that order: messages without one,
    /// and all of them if this panics, may have been appended. It should return by `deadline`.
    ///
    /// It goes on when a [close](super::Batcher::close) has no more time for it; its answers are of no use then.
    fn append(
        &self,
        messages: &[Self::Message],
        deadline: Instant,
    ) -> Vec<Result<Self::Position, Failed<Self::Error>>>;
}

/// A [`Sink`] that makes the calls of a [`BlockingSink`] on a thread of its own, one at a time. The thread ends with it,
/// after the call that it makes.
///
/// ```
/// use std::fs::File;
/// use std::io::Write;
///
/// use bowline_core::batcher::Failed;
/// use bowline_core::time::Instant;
/// use bowline_links::batcher::{Blocking, BlockingSink};
///
/// /// Lines of a file, on disk when their senders hear of it.
/// struct Lines(File);
///
/// impl BlockingSink for Lines {
///     type Message = String;
///     type Position = ();
///     type Error = String;
///
///     fn size(&self, line: &String) -> usize {
///         line.len() + 1
///     }
///
///     fn append(&self, lines: &[String], _: Instant) -> Vec<Result<(), Failed<String>>> {
///         let written = (&self.0).write_all((lines.join("\n") + "\n").as_bytes()).and_then(|()| self.0.sync_data());
///         // Some may be there, or not.
///         let answer = written.map_err(|error| Failed::maybe_appended(error.to_string()));
///         vec![answer; lines.len()]
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let path = std::env::temp_dir().join(format!("lines-{}", std::process::id()));
/// let sink = Blocking::new(Lines(File::create(&path)?))?;
/// # drop(sink);
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
pub struct Blocking<B: BlockingSink> {
    sink: Arc<B>,
    jobs: Sender<Job<B>>,
}

/// The calls of one batch.
struct Job<B: BlockingSink> {
    messages: Vec<B::Message>,
    deadline: Instant,
    answers: Arc<Answered<B>>,
}

type Given<B> = Vec<Result<<B as BlockingSink>::Position, Failed<<B as BlockingSink>::Error>>>;

/// What became of a job, for the task that waits for it.
struct Answered<B: BlockingSink>(Mutex<(Option<Given<B>>, Option<Waker>)>);

impl<B: BlockingSink> Answered<B> {
    fn give(&self, given: Given<B>) {
        let mut state = self.0.lock();
        state.0 = Some(given);
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<B: BlockingSink> Blocking<B> {
    /// With its thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn new(sink: B) -> Result<Self, StartError> {
        let (sink, (jobs, work)) = (Arc::new(sink), channel::<Job<B>>());
        let of_thread = Arc::clone(&sink);
        let run = move || {
            for Job { messages, deadline, answers } in work {
                let given = catch_unwind(AssertUnwindSafe(|| of_thread.append(&messages, deadline)));
                answers.give(given.unwrap_or_default());
            }
        };
        let thread = std::thread::Builder::new().name("bowline-blocking-sink".to_owned()).spawn(run);
        thread.map_err(|error| StartError::Thread(Arc::new(error)))?;
        Ok(Self { sink, jobs })
    }

    /// What makes the calls.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.sink
    }
}

impl<B: BlockingSink> std::fmt::Debug for Blocking<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

impl<B: BlockingSink> Sink for Blocking<B> {
    type Message = B::Message;
    type Position = B::Position;
    type Error = B::Error;

    fn size(&self, message: &B::Message) -> usize {
        self.sink.size(message)
    }

    async fn append(&self, batch: &mut Batch<B::Message, B::Position, B::Error>) {
        let (messages, deadline) = (batch.messages().to_vec(), batch.deadline());
        let answered = Arc::new(Answered(Mutex::new((None, None))));
        let job = Job { messages, deadline, answers: Arc::clone(&answered) };
        // The thread takes jobs as long as this is there: it does not panic.
        if self.jobs.send(job).is_err() {
            return;
        }
        let given = poll_fn(|cx| {
            let mut state = answered.0.lock();
            match state.0.take() {
                Some(given) => Poll::Ready(given),
                None => {
                    state.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        for (index, answer) in given.await.into_iter().enumerate() {
            batch.answers().answer(index, answer);
        }
    }
}
