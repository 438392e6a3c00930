//! Sinks whose appends block: each has its own thread.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};

use bowline_core::batcher::{Batch, Failed};
use bowline_core::time::Instant;
use bowline_driver::StartError;
use bowline_driver::sync::{Arc, Mutex};

use super::sink::Sink;

/// A sink that a [`Batcher`](super::Batcher) appends to with blocking calls: a file, or a blocking database
/// client. [`Blocking`] turns it into a [`Sink`].
pub trait BlockingSink: Send + Sync + 'static {
    /// The type of messages. The messages of a batch are cloned for the thread: [`Bytes`](bytes::Bytes) and
    /// [`Arc`](std::sync::Arc) are cheap to clone.
    type Message: Clone + Send + Sync + 'static;
    /// The position that an appended message gets.
    type Position: Send + 'static;
    /// The reason why a message was not appended.
    type Error: Clone + Send + 'static;

    /// The size of a message in bytes, for the bounds of the buffer.
    fn size(&self, message: &Self::Message) -> usize;

    /// Makes one attempt to append the messages, in order, and returns one answer for each message in the
    /// same order. Messages without an answer count as possibly appended, and so do all messages if this
    /// panics. The call should return by `deadline`.
    ///
    /// The call is not interrupted when a [close](super::Batcher::close) runs out of time; its answers are
    /// then ignored.
    fn append(
        &self,
        messages: &[Self::Message],
        deadline: Instant,
    ) -> Vec<Result<Self::Position, Failed<Self::Error>>>;
}

/// A [`Sink`] that makes the calls of a [`BlockingSink`] on a thread of its own, one at a time. When it is
/// dropped, the thread ends after the current call.
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

/// The call for one batch.
struct Job<B: BlockingSink> {
    messages: Vec<B::Message>,
    deadline: Instant,
    answers: Arc<Answered<B>>,
}

type Given<B> = Vec<Result<<B as BlockingSink>::Position, Failed<<B as BlockingSink>::Error>>>;

/// The answers of a job, for the task that waits for them.
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
    /// Starts the thread.
    ///
    /// # Errors
    /// The system could not start a thread.
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

    /// The sink whose calls are made.
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
        // The thread takes jobs as long as the channel exists: it does not panic.
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
