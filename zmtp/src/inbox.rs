//! Received messages that the application has not taken yet, in wire format.
//!
//! A pipe's reader appends runs of messages with one copy, under one lock. The receiver swaps a full inbox
//! for an empty one and decodes messages from its own inbox without the lock.
//!
//! Messages are stored in chunks, as frames of ZMTP 2.0 and later, so that the bytes of a conforming peer are
//! stored unchanged. A body of 16 KiB or more is read into its own allocation, which is passed to the
//! receiver without a copy; its frame in the chunk has a flag instead of a length.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bowline_core::body::{Body, Payload};
use bowline_core::config::QueueLimit;
use bytes::Bytes;

mod staged;

use crate::message::Message;
use crate::wire::{Frame, MORE, Version, put_header};
pub(crate) use staged::{Staged, check};

/// Smallest size of a body that gets its own allocation, bytes.
pub(crate) const LARGE: usize = 16 * 1024;
/// A chunk is not filled beyond this size unless one message requires it, bytes.
const CHUNK: usize = 64 * 1024;
/// Number of chunks whose memory is kept under load: as much as is read before receivers get their turn.
const SPARE: usize = 8;
/// Flag of a frame whose body is stored separately. Frames received from peers never have it here.
const APART: u8 = 0x80;
/// First byte of a notice's placeholder; the next four bytes are the notice's length.
const NOTICE: u8 = 0xc0;
/// Length of a notice's placeholder, bytes.
const PLACE: usize = 5;

/// Received messages, in order.
#[derive(Debug, Default)]
pub struct Inbox {
    chunks: VecDeque<Chunk>,
    large: VecDeque<Bytes>,
    /// The memory of fully read chunks, kept for reuse.
    spare: Vec<Vec<u8>>,
    messages: usize,
    /// The number of placeholders of notices among the items.
    notices: usize,
    bytes: usize,
}

/// An item of an inbox.
enum Item {
    Message(Message),
    /// The placeholder of a notice of that many bytes.
    Notice(usize),
}

/// A part that is removed.
enum Popped<'i> {
    Copied(&'i [u8]),
    Apart(Bytes),
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Read position in `bytes`.
    at: usize,
}

impl Inbox {
    /// Creates an empty inbox; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of messages.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes of all messages, including the headers of their frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it contains no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether its content reaches `limit`.
    #[must_use]
    pub fn is_full(&self, limit: &QueueLimit) -> bool {
        limit.is_reached(self.messages, self.bytes)
    }

    /// Allocated memory, bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>();
        let spare = self.spare.iter().map(Vec::capacity).sum::<usize>();
        chunks + spare + self.large.iter().map(Bytes::len).sum::<usize>()
    }

    /// Memory in use, bytes, including that of notices, which are stored elsewhere.
    pub(crate) fn held(&self) -> usize {
        self.memory().max(self.bytes)
    }

    /// Frees memory that is kept for reuse.
    pub fn trim(&mut self) {
        self.spare = Vec::new();
        if self.is_empty() {
            *self = Self::new();
        }
    }

    /// Shrinks the memory to the content: for an inbox that will not grow.
    pub(crate) fn compact(&mut self) {
        self.spare = Vec::new();
        for chunk in &mut self.chunks {
            chunk.bytes.drain(..chunk.at);
            chunk.bytes.shrink_to_fit();
            chunk.at = 0;
        }
    }

    fn chunk(&mut self, more: usize) -> &mut Vec<u8> {
        let has_room =
            self.chunks.back().is_some_and(|last| last.bytes.len() + more <= CHUNK || last.bytes.is_empty());
        if !has_room {
            let bytes = self.spare.pop().unwrap_or_default();
            self.chunks.push_back(Chunk { bytes, at: 0 });
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last].bytes
    }

    /// Appends whole messages, encoded for 2.0 and later and without bodies of [`LARGE`] bytes or more.
    pub(crate) fn append_run(&mut self, run: &[u8], messages: usize) {
        self.chunk(run.len()).extend_from_slice(run);
        self.messages += messages;
        self.bytes += run.len();
    }

    /// Appends an assembled message and empties `staged`.
    pub(crate) fn append_staged(&mut self, staged: &mut Staged) {
        self.chunk(staged.bytes.len()).extend_from_slice(&staged.bytes);
        self.large.extend(staged.large.drain(..));
        self.messages += 1;
        self.bytes += staged.bytes.len() + staged.body;
        staged.clear();
    }

    /// Appends a message: the parts of `envelope`, then those of `parts`. Owned parts of 16 KiB and more are
    /// kept by reference.
    pub(crate) fn push_parts(&mut self, envelope: &[&[u8]], parts: &[Payload<'_>]) {
        let count = envelope.len() + parts.len();
        let copied = |len: usize| Frame::HEADER + if len < LARGE { len } else { 0 };
        let front: usize = envelope.iter().map(|part| copied(part.len())).sum();
        let room = front + parts.iter().map(|part| copied(part.len())).sum::<usize>();
        let mut large = core::mem::take(&mut self.large);
        let chunk = self.chunk(room);
        let (start, mut apart) = (chunk.len(), 0);
        let mut put = |at: usize, part: &Payload<'_>| {
            let more = if at + 1 < count { MORE } else { 0 };
            let bytes = part.as_slice();
            if bytes.len() < LARGE {
                put_header(chunk, Version::V2, more, bytes.len());
                chunk.extend_from_slice(bytes);
            } else {
                chunk.push(APART | more);
                apart += bytes.len();
                large.push_back(part.clone().into_bytes());
            }
        };
        envelope.iter().enumerate().for_each(|(at, part)| put(at, &Payload::Borrowed(part)));
        parts.iter().enumerate().for_each(|(at, part)| put(envelope.len() + at, part));
        self.bytes += chunk.len() - start + apart;
        self.messages += 1;
        self.large = large;
    }

    /// Appends a message that is encoded for 3.1.
    pub(crate) fn push_encoded(&mut self, encoded: &[u8]) {
        if encoded.len() < LARGE {
            return self.append_run(encoded, 1);
        }
        let mut staged = Staged::default();
        let mut rest = encoded;
        while let Ok(Some(frame)) = Frame::parse(Version::V3_1, rest) {
            let Some(body) = rest.get(frame.header..frame.total()) else { break };
            staged.push(frame.more, body);
            rest = &rest[frame.total()..];
        }
        self.append_staged(&mut staged);
    }

    /// Appends a message of one or more parts.
    pub fn push<'p>(&mut self, parts: impl IntoIterator<Item = &'p [u8]>) {
        let mut staged = Staged::default();
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            staged.push(parts.peek().is_some(), part);
        }
        if staged.parts > 0 {
            self.append_staged(&mut staged);
        }
    }

    /// Moves the content to `empty` and takes over that inbox's memory.
    pub(crate) fn hand_over(&mut self, empty: &mut Self) {
        debug_assert!(empty.is_empty(), "its receiver has emptied it");
        let used = empty.chunks.drain(..).map(|chunk| chunk.bytes).chain(empty.spare.drain(..));
        used.for_each(|bytes| keep(&mut self.spare, bytes));
        if self.is_empty() {
            return;
        }
        core::mem::swap(&mut self.chunks, &mut empty.chunks);
        core::mem::swap(&mut self.large, &mut empty.large);
        empty.messages = core::mem::take(&mut self.messages);
        empty.notices = core::mem::take(&mut self.notices);
        empty.bytes = core::mem::take(&mut self.bytes);
    }

    /// Moves the content of `other` to the end.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        self.chunks.append(&mut other.chunks);
        self.large.append(&mut other.large);
        self.messages += core::mem::take(&mut other.messages);
        self.notices += core::mem::take(&mut other.notices);
        self.bytes += core::mem::take(&mut other.bytes);
    }

    /// Removes the oldest message and stores it in `message`, whose parts are replaced and whose memory is
    /// reused. Returns false and changes nothing if there is no message.
    ///
    /// A part of up to 118 bytes is copied into its [`Body`]; a part of 16 KiB or more is passed on without a
    /// copy; a part in between is copied into a new allocation.
    #[inline]
    pub fn pop_into(&mut self, message: &mut Message) -> bool {
        if self.messages == 0 {
            return false;
        }
        message.clear();
        self.pop(|part| match part {
            Popped::Copied(bytes) => message.push_copy(bytes),
            Popped::Apart(bytes) => message.push(Body::from(bytes)),
        });
        true
    }

    /// Reserves the place of a notice that the socket generated and stores elsewhere. Its `bytes` count here,
    /// so that they are subject to this peer's limit.
    pub(crate) fn push_notice(&mut self, bytes: usize) {
        let chunk = self.chunk(PLACE);
        chunk.push(NOTICE);
        chunk.extend_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes += PLACE + bytes;
        self.messages += 1;
        self.notices += 1;
    }

    /// Whether the placeholder of a notice is next.
    pub(crate) fn is_at_notice(&self) -> bool {
        self.notices > 0 && self.next_notice().is_some()
    }

    /// Bytes of the notice whose placeholder is next.
    fn next_notice(&self) -> Option<usize> {
        let mut unread = self.chunks.iter().map(|chunk| &chunk.bytes[chunk.at..]);
        let next = unread.find(|unread| !unread.is_empty())?;
        let (flags, rest) = next.split_first()?;
        let length = rest.first_chunk().filter(|_| *flags == NOTICE)?;
        Some(u32::from_le_bytes(*length) as usize)
    }

    /// Removes all items.
    fn take_all(&mut self) -> Vec<Item> {
        let mut all = Vec::with_capacity(self.messages);
        while !self.is_empty() {
            all.push(match self.next_notice() {
                Some(bytes) => {
                    self.drop_oldest();
                    Item::Notice(bytes)
                }
                None => {
                    let mut message = Message::new();
                    self.pop_into(&mut message);
                    Item::Message(message)
                }
            });
        }
        all
    }

    fn put_back(&mut self, item: &Item, staged: &mut Staged) {
        match item {
            Item::Notice(bytes) => self.push_notice(*bytes),
            Item::Message(message) => {
                staged.push_message(message);
                self.append_staged(staged);
            }
        }
    }

    /// Keeps only the newest message for each first part, and all notices. Returns the number of dropped
    /// messages.
    pub(crate) fn conflate(&mut self) -> usize {
        let all = self.take_all();
        let mut newest: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (at, item) in all.iter().enumerate() {
            if let Item::Message(message) = item {
                newest.insert(message[0].as_slice(), at);
            }
        }
        let mut staged = Staged::default();
        for (at, item) in all.iter().enumerate() {
            if let Item::Message(message) = item
                && newest.get(message[0].as_slice()) != Some(&at)
            {
                continue;
            }
            self.put_back(item, &mut staged);
        }
        all.len() - self.messages
    }

    /// Drops all messages, and the placeholders of those notices for which `keep` returns false; it is called
    /// with the notice's index, from 0. Returns the number of dropped messages.
    pub(crate) fn keep_notices(&mut self, mut keep: impl FnMut(usize) -> bool) -> usize {
        let messages = self.messages - self.notices;
        if self.notices == 0 {
            while self.drop_oldest() {}
            return messages;
        }
        let notices = self.take_all().into_iter().filter(|item| matches!(item, Item::Notice(_)));
        for (_, notice) in notices.enumerate().filter(|(at, _)| keep(*at)) {
            self.put_back(&notice, &mut Staged::default());
        }
        messages
    }

    /// Drops the oldest message, if there is one; otherwise returns false.
    pub fn drop_oldest(&mut self) -> bool {
        let any = self.messages > 0;
        if any {
            self.pop(|_| {});
        }
        any
    }

    #[inline]
    fn pop(&mut self, mut each: impl FnMut(Popped<'_>)) {
        let Self { chunks, large, spare, messages, notices, bytes } = self;
        while chunks.front().is_some_and(|chunk| chunk.at == chunk.bytes.len()) {
            chunks.pop_front();
        }
        let count = chunks.len();
        let Some(chunk) = chunks.front_mut() else { return };
        loop {
            let unread = &chunk.bytes[chunk.at..];
            let flags = unread[0];
            if flags & APART == 0 {
                // Appended bytes were validated before.
                let Ok(Some(frame)) = Frame::parse(Version::V2, unread) else { return };
                each(Popped::Copied(&unread[frame.header..frame.total()]));
                chunk.at += frame.total();
                *bytes -= frame.total();
            } else if flags == NOTICE {
                let Some(length) = unread[1..].first_chunk() else { return };
                *bytes -= PLACE + u32::from_le_bytes(*length) as usize;
                *notices -= 1;
                chunk.at += PLACE;
                break;
            } else {
                let body = large.pop_front().unwrap_or_default();
                chunk.at += 1;
                *bytes -= 1 + body.len();
                each(Popped::Apart(body));
            }
            if flags & MORE == 0 {
                break;
            }
        }
        *messages -= 1;
        if chunk.at == chunk.bytes.len() {
            let mut used = core::mem::take(&mut chunk.bytes);
            used.clear();
            chunk.at = 0;
            if count > 1 {
                chunks.pop_front();
                keep(spare, used);
            } else {
                chunk.bytes = used;
            }
        }
    }
}

/// Keeps the memory of a read chunk, if few are kept.
fn keep(spare: &mut Vec<Vec<u8>>, mut bytes: Vec<u8>) {
    if spare.len() < SPARE && (1..=2 * CHUNK).contains(&bytes.capacity()) {
        bytes.clear();
        spare.push(bytes);
    }
}

#[cfg(test)]
mod tests;
