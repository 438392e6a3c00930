//! Messages of several parts in a chunk, some of which are kept by reference.
//!
//! A frame of a chunk has at most one body by reference, at its end. Therefore a message with several of
//! them, or with bytes after one, is several frames: all but the last are [`Sent::Part`].

use alloc::vec::Vec;

use bytes::Bytes;

use super::chunk::{Chunk, External, Load, Sent};
use super::cursor::Cursor;

/// An incomplete message at the end of a chunk.
#[derive(Debug)]
pub(crate) struct Growing<'a> {
    chunk: &'a mut Chunk,
    /// The state of the chunk before the message.
    before: Extent,
    /// Where the current, unmarked frame begins in the chunk's own bytes.
    begun: usize,
    /// The chunk's last body by reference belongs to that frame.
    has_external: bool,
    whole: bool,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    bytes: usize,
    externals: usize,
    marks: usize,
    len: usize,
    owed: Load,
}

impl<'a> Growing<'a> {
    #[inline]
    pub(crate) fn new(chunk: &'a mut Chunk) -> Self {
        let before = Extent {
            bytes: chunk.bytes.len(),
            externals: chunk.externals.len(),
            marks: chunk.marks.len(),
            len: chunk.len,
            owed: chunk.owed,
        };
        Self { begun: before.bytes, before, chunk, has_external: false, whole: false }
    }

    /// The chunk's own bytes, and where the message begins in them.
    #[inline]
    pub(crate) fn buffer(&mut self) -> (&mut Vec<u8>, usize) {
        (&mut self.chunk.bytes, self.before.bytes)
    }

    /// Appends a body by reference.
    pub(crate) fn push_shared(&mut self, body: Bytes) {
        if body.is_empty() {
            return;
        }
        self.end_part();
        self.chunk.externals.push(External { at: self.chunk.bytes.len(), body });
        self.has_external = true;
    }

    /// The bytes up to the end of the frame's body by reference; `None` without one.
    #[inline]
    fn up_to_external(&self) -> Option<(usize, usize)> {
        let External { at, body } = self.chunk.externals.last().filter(|_| self.has_external)?;
        Some((*at, at - self.begun + body.len()))
    }

    /// Ends a frame after the last body by reference.
    fn end_part(&mut self) {
        if let Some((at, len)) = self.up_to_external() {
            self.chunk.mark(len, Sent::Part, 0);
            (self.begun, self.has_external) = (at, false);
        }
    }

    /// Completes the message. Returns its length on the wire.
    ///
    /// # Panics
    /// If bytes that were in the chunk before were removed, or the message is 4 GiB or longer.
    #[inline]
    pub(crate) fn finish(mut self, sent: Sent) -> usize {
        let own = self.chunk.bytes.len();
        assert!(own >= self.begun, "bytes of an earlier message, or part, were taken away");
        if self.up_to_external().is_some_and(|(at, _)| at < own) {
            self.end_part();
        }
        let len = self.up_to_external().map_or(own - self.begun, |(_, len)| len);
        assert!(u32::try_from(self.chunk.len + len).is_ok(), "a message of 4 GiB");
        self.chunk.mark(len, sent, 0);
        self.whole = true;
        self.chunk.len - self.before.len
    }
}

impl Drop for Growing<'_> {
    /// An incomplete message is discarded: the chunk is as it was before.
    #[inline]
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        let Extent { bytes, externals, marks, len, owed } = self.before;
        self.chunk.bytes.truncate(bytes);
        self.chunk.externals.truncate(externals);
        self.chunk.marks.truncate(marks);
        (self.chunk.len, self.chunk.owed) = (len, owed);
    }
}

impl Chunk {
    /// The number of messages that end in it.
    pub(crate) fn messages(&self) -> usize {
        self.marks.iter().filter(|mark| mark.sent != Sent::Part).count()
    }

    /// Calls `f` for each message, first to last: which message it is, the position of its first byte, and
    /// where it begins and ends, in bytes on the wire.
    pub(crate) fn for_each_whole(&self, mut f: impl FnMut(Sent, Cursor, usize, usize)) {
        let (mut cursor, mut start) = (Cursor::default(), 0);
        for mark in self.marks.iter().filter(|mark| mark.sent != Sent::Part) {
            let end = mark.end as usize;
            f(mark.sent, cursor, start, end);
            self.advance(&mut cursor, end - start);
            start = end;
        }
    }

    /// A chunk with the messages for which `keeps` is true, in order.
    pub(crate) fn keep_messages(&mut self, keeps: &[bool]) -> Self {
        let (mut kept, mut at) = (Self::default(), 0);
        self.for_each_frame(|frame| {
            if keeps[at] {
                kept.push_frame(&frame);
            }
            at += usize::from(frame.sent != Sent::Part);
        });
        kept
    }
}
