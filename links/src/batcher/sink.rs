//! Where batches go.

use std::future::Future;

use bowline_core::batcher::Batch;

/// What a [`Batcher`](super::Batcher) appends to: a log, or calls on a peer or a pool ([`EachCall`](super::EachCall),
/// [`BatchCall`](super::BatchCall)).
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
    /// What is appended.
    type Message: Send + Sync + 'static;
    /// What an appended message gets: its index, the reply to it.
    type Position: Send + 'static;
    /// Why one is not appended. It is cloned for each message of a batch.
    type Error: Clone + Send + 'static;

    /// How many bytes a message is, for the bounds of the buffer.
    fn size(&self, message: &Self::Message) -> usize;

    /// Makes one attempt to append the messages, in their order, and gives the answers. What has no answer when
    /// it is done may have been appended. It should be done by the batch's [`deadline`](Batch::deadline): messages
    /// whose time is over meanwhile have their outcome when it ends.
    ///
    /// The future is polled by the batcher's task, on threads by an I/O thread: it must not block. It is dropped when
    /// a [close](super::Batcher::close) has no more time.
    fn append(
        &self,
        batch: &mut Batch<Self::Message, Self::Position, Self::Error>,
    ) -> impl Future<Output = ()> + Send;
}
