//! A batch: bytes that the writer of the socket takes from the queue for a time.

use alloc::collections::VecDeque;

use super::chunk::{Chunk, Fate, FrameRef, Sent};
use super::cursor::Cursor;
use crate::body::Payload;
use crate::frame::Class;

/// Whole frames that were taken from the write queue to be written to the socket.
///
/// Write [`slices`](Self::slices), report the progress with [`wrote`](Self::wrote), and give the batch back
/// to `end_write` of the machine that it came from, either completely written, or incomplete if another
/// writer is to continue. If the connection is over, give it to `handle_disconnected` instead.
#[derive(Debug)]
pub struct Batch {
    pub(super) chunk: Chunk,
    pub(super) class: Class,
    /// The generation of the connection that it was taken for.
    pub(super) generation: u64,
    pub(super) written: usize,
    /// How many of the written bytes were counted when it was given back before.
    counted: usize,
    cursor: Cursor,
    /// The whole messages whose last fragments are in the batch, in order. Until these fragments are written,
    /// the messages have not been sent.
    pub(super) finished: VecDeque<Chunk>,
}

impl Batch {
    /// A batch of bytes that are not in a queue. Owned bytes ([`Bytes`](bytes::Bytes), `Vec<u8>`, a
    /// [`Body`](crate::body::Body) of more than 118 bytes) are kept by reference, whatever their length; a
    /// slice is copied.
    ///
    /// A machine that sends more than a few fixed bytes should keep them in an
    /// [`OutQueue`](crate::out_queue::OutQueue), which makes batches itself.
    ///
    /// ```
    /// use bowline_core::Batch;
    /// use bytes::Bytes;
    ///
    /// let greeting = Bytes::from_static(b"hello");
    /// let batch = Batch::from_bytes(greeting.clone());
    /// let mut slices = [&[][..]; 1];
    /// batch.slices(&mut slices);
    /// assert_eq!(slices[0].as_ptr(), greeting.as_ptr(), "not copied");
    /// ```
    #[must_use]
    pub fn from_bytes<'p>(bytes: impl Into<Payload<'p>>) -> Self {
        let mut chunk = Chunk::default();
        match bytes.into() {
            Payload::Borrowed(bytes) => chunk.push_encoded(Sent::Control, bytes, 0),
            Payload::Owned(bytes) => chunk.push_shared(Sent::Control, bytes),
        }
        Self::new(chunk, Class::Normal, 0)
    }

    pub(crate) fn new(chunk: Chunk, class: Class, generation: u64) -> Self {
        let finished = VecDeque::new();
        Self { chunk, class, generation, written: 0, counted: 0, cursor: Cursor::default(), finished }
    }

    /// The generation of the connection that it was taken for.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The chunk of a batch that is over.
    pub(crate) fn into_chunk(self) -> Chunk {
        self.chunk
    }

    /// Bytes of memory allocated for it.
    pub(crate) fn memory(&self) -> usize {
        self.chunk.capacity()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether the batch has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Bytes that it keeps in memory: its own, and the whole messages that end in it.
    pub(super) fn keeps(&self) -> usize {
        self.chunk.len() + self.finished.iter().map(Chunk::len).sum::<usize>()
    }

    /// The number of bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether every byte was written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.written == self.chunk.len()
    }

    /// The number of bytes written since the last call.
    pub(crate) fn take_written(&mut self) -> usize {
        let new = self.written - self.counted;
        self.counted = self.written;
        new
    }

    /// Whether it consists of control frames only.
    pub(crate) fn is_control(&self) -> bool {
        self.class == Class::Control
    }

    /// Visits its frames, each with its [`Fate`], and, if it is the last fragment of a long message, with the
    /// whole message.
    pub(super) fn for_each_message(&mut self, mut f: impl FnMut(FrameRef<'_>, Option<Chunk>, Fate)) {
        let Self { chunk, finished, written, .. } = self;
        chunk.for_each_frame(|frame| {
            let is_last = |whole: &Chunk| whole.marks().first().is_some_and(|mark| mark.sent == frame.sent);
            let whole = if finished.front().is_some_and(is_last) { finished.pop_front() } else { None };
            let fate = match (frame.start, frame.end) {
                (_, end) if end <= *written => Fate::Left,
                (start, _) if start < *written => Fate::InPart,
                _ => Fate::Unsent,
            };
            f(frame, whole, fate);
        });
    }

    /// The number of cancels in it.
    pub(crate) fn cancels(&self) -> usize {
        self.chunk.marks().iter().filter(|mark| matches!(mark.sent, Sent::Cancel(_))).count()
    }

    /// The numbers of the casts that end in it.
    pub(crate) fn casts(&self) -> impl Iterator<Item = u64> {
        self.chunk.marks().iter().filter_map(|mark| mark.sent.cast())
    }

    /// The ids of the calls whose requests end in it.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u64> {
        self.chunk.marks().iter().filter_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        })
    }

    /// Fills `out` with the next bytes to write, in order, and returns the number of slices. If `out` is too
    /// short, the slices are not all of the batch: large bodies are separate slices between the small
    /// messages.
    pub fn slices<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        self.chunk.slices(&self.cursor, out)
    }

    /// Reports that the socket took the next `n` bytes.
    ///
    /// # Panics
    /// If `n` exceeds the number of unwritten bytes.
    pub fn wrote(&mut self, n: usize) {
        self.chunk.advance(&mut self.cursor, n);
        self.written += n;
    }
}
