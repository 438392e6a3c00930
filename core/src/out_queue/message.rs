//! Messages of an out-queue: while they are built, and when the machine decides about them.

use alloc::vec::Vec;

use super::Fate;
use crate::arena::{Chunk, Cursor, EXTERNAL_FROM, Growing};
use crate::body::Payload;

/// A message being built at the end of an [`OutQueue`](super::OutQueue).
#[derive(Debug)]
pub struct OutMessage<'q>(pub(super) Growing<'q>);

impl OutMessage<'_> {
    /// Appends a copy of the bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.buffer().0.extend_from_slice(bytes);
    }

    /// The buffer for copied bytes, for encoders that write into one, and the position of the message's first
    /// byte in it. Earlier messages are before it; bodies by reference are not in it. Append bytes, or
    /// rewrite what this message appended; do not remove any.
    pub fn buffer(&mut self) -> (&mut Vec<u8>, usize) {
        self.0.buffer()
    }

    /// Appends a body: an owned one of 16 KiB or more by reference, others as a copy.
    pub fn body<'p>(&mut self, body: impl Into<Payload<'p>>) {
        match body.into() {
            Payload::Owned(bytes) if bytes.len() >= EXTERNAL_FROM => self.0.push_shared(bytes),
            payload => self.put(payload.as_slice()),
        }
    }
}

/// A message of an [`OutQueue`](super::OutQueue), for the decisions of its machine.
#[derive(Clone, Copy, Debug)]
pub struct OutMessageRef<'q> {
    pub(super) number: u64,
    pub(super) fate: Fate,
    pub(super) chunk: &'q Chunk,
    pub(super) cursor: Cursor,
    pub(super) len: usize,
}

impl<'q> OutMessageRef<'q> {
    /// The number that it was pushed with.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How far it was sent.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Its length on the wire, bytes.
    // There is no `is_empty`, because a message without bytes is not queued.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its encoded bytes, in order.
    pub fn parts(&self) -> impl Iterator<Item = &'q [u8]> {
        let Self { chunk, mut cursor, mut len, .. } = *self;
        core::iter::from_fn(move || {
            let mut out = [&[][..]; 1];
            if len == 0 || chunk.slices(&cursor, &mut out) == 0 {
                return None;
            }
            let part = &out[0][..out[0].len().min(len)];
            chunk.advance(&mut cursor, part.len());
            len -= part.len();
            Some(part)
        })
    }

    /// Its encoded bytes, copied into one vector.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        self.parts().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}
