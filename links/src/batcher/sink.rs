//! The sink: the destination of batches.

use std::future::Future;

use bowline_core::batcher::Batch;

/// The destination of a [`Batcher`](super::Batcher): a log, or calls on a peer or a pool
/// ([`EachCall`](super::EachCall), [`BatchCall`](super::BatchCall)).
///
/// ```
/// use std::sync::Mutex;
///
/// use bowline_core::batcher::{Batch, Failed};
/// use bowline_links::batcher::Sink;
///
/// /// Keeps lines in memory, up to a number.
/// struct Lines(Mutex<Vec<String>>);
///
/// impl Sink for Lines {
///     type Message = String;
///     type Position = usize;
///     type Error = &'static str;
///
///     fn size(&self, message: &String) -> usize {
///         message.len()
///     }
///
///     async fn append(&self, batch: &mut Batch<String, usize, &'static str>) {
///         let (messages, answers) = batch.parts();
///         let mut lines = self.0.lock().unwrap();
///         for (index, message) in messages.iter().enumerate() {
///             let full = lines.len() >= 1_000;
///             answers.answer(index, if full { Err(Failed::not_appended("full")) } else { Ok(lines.len()) });
///             if !full {
///                 lines.push(message.clone());
///             }
///         }
///     }
/// }
/// ```
pub trait Sink: Send + Sync + 'static {
    /// The type of messages.
    type Message: Send + Sync + 'static;
    /// The position of an appended message, for example its index in a log, or the reply to a call.
    type Position: Send + 'static;
    /// The reason why a message was not appended. It is cloned for each message of a batch.
    type Error: Clone + Send + 'static;

    /// Whether senders may poll the future of [`append`](Self::append), with the waker of the batcher's task. `true` saves
    /// a wake-up for each message of a sender that is the only one: it makes the attempt itself, where it would have
    /// woken the task. Later polls are the task's. The future must then not use what exists only in a task of its
    /// runtime, such as the runtime's timers and sockets. The sinks for links and for logs over links allow it.
    const SENDERS_MAY_POLL: bool = false;

    /// The size of a message in bytes, for the bounds of the buffer.
    fn size(&self, message: &Self::Message) -> usize;

    /// Makes one attempt to append the messages, in order, and sets the answers. Messages without an answer
    /// count as possibly appended. The attempt should finish by the batch's [`deadline`](Batch::deadline):
    /// messages that expire meanwhile get their outcome when it finishes.
    ///
    /// The batcher's task polls the future (on threads: an I/O thread), or a sender
    /// [if that is allowed](Self::SENDERS_MAY_POLL), so it must not block. The future is
    /// dropped when a [close](super::Batcher::close) has no more time.
    fn append(
        &self,
        batch: &mut Batch<Self::Message, Self::Position, Self::Error>,
    ) -> impl Future<Output = ()> + Send;
}
