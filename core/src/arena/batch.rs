//! A batch: bytes lent to the task or thread that writes the socket.

use alloc::collections::VecDeque;

use super::chunk::{Chunk, Fate, FrameRef, Sent};
use super::cursor::Cursor;
use crate::body::Payload;
use crate::frame::Class;

/// A run of whole frames on loan to the side that writes the socket.
///
/// Write [`slices`](Self::slices), say how far it got with [`wrote`](Self::wrote), and give it
/// back to `end_write` of the machine it came from: wholly written or, if another writer shall go
/// on, not. On a dead connection it goes to `handle_disconnected` instead.
#[derive(Debug)]
pub struct Batch {
    pub(super) chunk: Chunk,
    pub(super) class: Class,
    /// Which connection it was lent for.
    pub(super) generation: u64,
    pub(super) written: usize,
    /// How many of those were counted when it was given back before.
    counted: usize,
    cursor: Cursor,
    /// Messages whose last fragments are in it, whole, in order: until those are written, the
    /// messages have not left.
    pub(super) finished: VecDeque<Chunk>,
}

impl Batch {
    /// A batch of bytes that stand in no queue. Owned ones ([`Bytes`](bytes::Bytes), `Vec<u8>`, a
    /// [`Body`](crate::body::Body) of more than 118 bytes) are kept by reference, however few; a slice is
    /// copied.
    ///
    /// A machine that sends more than a few fixed bytes keeps them in an
    /// [`OutQueue`](crate::out_queue::OutQueue), which lends batches itself.
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

    /// Which connection it was lent for.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Its bytes, when it is over.
    pub(crate) fn into_chunk(self) -> Chunk {
        self.chunk
    }

    /// Bytes of memory set aside for it.
    pub(crate) fn memory(&self) -> usize {
        self.chunk.capacity()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether it has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Bytes that it keeps in memory: its own, and messages as a whole that end in it.
    pub(super) fn keeps(&self) -> usize {
        self.chunk.len() + self.finished.iter().map(Chunk::len).sum::<usize>()
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether every byte was written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.written == self.chunk.len()
    }

    /// Bytes written since this was asked last.
    pub(crate) fn take_written(&mut self) -> usize {
        let new = self.written - self.counted;
        self.counted = self.written;
        new
    }

    /// Whether it has none but control frames.
    pub(crate) fn is_control(&self) -> bool {
        self.class == Class::Control
    }

    /// Walks over its frames: each with the long message that it is the last fragment of, whole, if it
    /// is one, and with how far it got.
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

    /// How many cancels are in it.
    pub(crate) fn cancels(&self) -> usize {
        self.chunk.marks().iter().filter(|mark| matches!(mark.sent, Sent::Cancel(_))).count()
    }

    /// The casts that end in it, by number.
    pub(crate) fn casts(&self) -> impl Iterator<Item = u64> {
        self.chunk.marks().iter().filter_map(|mark| mark.sent.cast())
    }

    /// The calls whose requests end in it, by id.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u64> {
        self.chunk.marks().iter().filter_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        })
    }

    /// Fills `out` with what is to be written next, in order; returns how many slices those are
    /// (not necessarily all: large bodies stand apart from the small messages between them).
    pub fn slices<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        self.chunk.slices(&self.cursor, out)
    }

    /// The socket took the next `n` bytes.
    ///
    /// # Panics
    /// If that is more than there are.
    pub fn wrote(&mut self, n: usize) {
        self.chunk.advance(&mut self.cursor, n);
        self.written += n;
    }
}
