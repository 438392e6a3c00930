//! What came in and was not received yet, as it came: whole messages in the form of the wire.
//!
//! A pipe's reader appends runs of messages here with one copy, under one lock. The receiver swaps
//! a full inbox for an empty one and decodes messages from its own, without the lock.
//!
//! Messages stand in chunks, frames as ZMTP 2.0 and later write them, so that what an honest peer sends
//! is kept as it is. A body of 16 KiB or more has memory of its own, into which it was read, and which
//! goes on to the receiver without being copied; its frame here has a flag instead of a length.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bowline_core::body::Body;
use bowline_core::config::QueueLimit;
use bytes::Bytes;

use crate::error::ZmtpError;
use crate::message::Message;
use crate::options::Options;
use crate::wire::{Frame, MORE, Version, put_header};

/// Bodies from here on have memory of their own, bytes.
pub(crate) const LARGE: usize = 16 * 1024;
/// A chunk is not filled beyond this if it need not be, bytes.
const CHUNK: usize = 64 * 1024;
/// The flag of a frame whose body does not stand behind it. Peers' flags never have it here.
const APART: u8 = 0x80;

/// Messages that came in, in order.
#[derive(Debug, Default)]
pub struct Inbox {
    chunks: VecDeque<Chunk>,
    large: VecDeque<Bytes>,
    /// A chunk that was read to its end, for the next one.
    spare: Vec<u8>,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// What was read.
    at: usize,
}

impl Inbox {
    /// Without messages and memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages it holds.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Their bytes, with the headers of their frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether what it holds reaches `limit`.
    #[must_use]
    pub fn is_full(&self, limit: &QueueLimit) -> bool {
        limit.is_reached(self.messages, self.bytes)
    }

    /// Bytes of memory set aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>();
        chunks + self.spare.capacity() + self.large.iter().map(Bytes::len).sum::<usize>()
    }

    /// Gives memory back that is kept for reuse.
    pub fn trim(&mut self) {
        self.spare = Vec::new();
        if self.is_empty() {
            *self = Self::new();
        }
    }

    /// Keeps no more memory than what it holds: for one that will not grow.
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
            let bytes = core::mem::take(&mut self.spare);
            self.chunks.push_back(Chunk { bytes, at: 0 });
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last].bytes
    }

    /// Appends whole messages, encoded as 2.0 and later write them and without [`LARGE`] bodies.
    pub(crate) fn append_run(&mut self, run: &[u8], messages: usize) {
        self.chunk(run.len()).extend_from_slice(run);
        self.messages += messages;
        self.bytes += run.len();
    }

    /// Appends a message that was put together, which is none afterwards.
    pub(crate) fn append_staged(&mut self, staged: &mut Staged) {
        self.chunk(staged.bytes.len()).extend_from_slice(&staged.bytes);
        self.large.extend(staged.large.drain(..));
        self.messages += 1;
        self.bytes += staged.bytes.len() + staged.body;
        staged.clear();
    }

    /// Appends a message of one part, or more.
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

    /// Appends what `other` holds, which is empty afterwards.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        self.chunks.append(&mut other.chunks);
        self.large.append(&mut other.large);
        self.messages += core::mem::take(&mut other.messages);
        self.bytes += core::mem::take(&mut other.bytes);
    }

    /// Takes the oldest message out, into `message`, whose parts are replaced and whose memory is reused.
    /// False, and nothing is changed, if there is none.
    ///
    /// A part of up to 118 bytes is copied into its [`Body`], one of 16 KiB and more is handed over, one
    /// between is copied into memory of its own.
    pub fn pop_into(&mut self, message: &mut Message) -> bool {
        if self.messages == 0 {
            return false;
        }
        message.clear();
        self.pop(|part| message.push(part));
        true
    }

    /// Keeps the newest message of each first part only. How many were dropped.
    pub(crate) fn conflate(&mut self) -> usize {
        let mut all = Vec::with_capacity(self.messages);
        let mut message = Message::new();
        while self.pop_into(&mut message) {
            all.push(core::mem::take(&mut message));
        }
        let mut newest: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (at, message) in all.iter().enumerate() {
            newest.insert(message[0].as_slice(), at);
        }
        let mut staged = Staged::default();
        for (at, message) in all.iter().enumerate() {
            if newest.get(message[0].as_slice()) != Some(&at) {
                continue;
            }
            for (place, part) in message.iter().enumerate() {
                let more = place + 1 < message.len();
                match part.len() {
                    LARGE.. => staged.push_large(more, part.clone().into_bytes()),
                    _ => staged.push(more, part),
                }
            }
            self.append_staged(&mut staged);
        }
        all.len() - self.messages
    }

    /// Drops the oldest message, if there is one.
    pub fn drop_oldest(&mut self) -> bool {
        let any = self.messages > 0;
        if any {
            self.pop(|_| {});
        }
        any
    }

    fn pop(&mut self, mut each: impl FnMut(Body)) {
        let Self { chunks, large, spare, messages, bytes } = self;
        while chunks.front().is_some_and(|chunk| chunk.at == chunk.bytes.len()) {
            chunks.pop_front();
        }
        let count = chunks.len();
        let Some(chunk) = chunks.front_mut() else { return };
        loop {
            let unread = &chunk.bytes[chunk.at..];
            let flags = unread[0];
            if flags & APART == 0 {
                // What was appended was parsed before.
                let Ok(Some(frame)) = Frame::parse(Version::V2, unread) else { return };
                each(Body::copy_from(&unread[frame.header..frame.total()]));
                chunk.at += frame.total();
                *bytes -= frame.total();
            } else {
                let body = large.pop_front().unwrap_or_default();
                chunk.at += 1;
                *bytes -= 1 + body.len();
                each(Body::from(body));
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
                *spare = used;
            } else {
                chunk.bytes = used;
            }
        }
    }
}

/// A message that is being put together: it is not whole yet, or its frames have to be written anew.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    bytes: Vec<u8>,
    large: Vec<Bytes>,
    parts: usize,
    /// Bytes of the bodies, in all, that are kept apart.
    body: usize,
    /// Bytes of all bodies.
    size: usize,
}

impl Staged {
    /// Whether there is nothing of a message.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts == 0
    }

    /// Whether one more frame with a body of that many bytes keeps the message within its limits.
    pub(crate) fn check(&self, body: usize, options: &Options) -> Result<(), ZmtpError> {
        check(self.parts + 1, self.size, body, options)
    }

    pub(crate) fn push(&mut self, more: bool, body: &[u8]) {
        if body.len() >= LARGE {
            return self.push_large(more, Bytes::copy_from_slice(body));
        }
        put_header(&mut self.bytes, Version::V2, if more { MORE } else { 0 }, body.len());
        self.bytes.extend_from_slice(body);
        self.parts += 1;
        self.size += body.len();
    }

    pub(crate) fn push_large(&mut self, more: bool, body: Bytes) {
        self.bytes.push(APART | if more { MORE } else { 0 });
        self.parts += 1;
        self.size += body.len();
        self.body += body.len();
        self.large.push(body);
    }

    /// Forgets the message. A little memory is kept.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > CHUNK {
            self.bytes = Vec::new();
        }
        self.large.clear();
        (self.parts, self.body, self.size) = (0, 0, 0);
    }
}

/// Whether a message keeps within its limits with a frame of `body` bytes that makes it `parts` parts, of
/// which those before have `size` bytes.
pub(crate) fn check(parts: usize, size: usize, body: usize, options: &Options) -> Result<(), ZmtpError> {
    let bytes = size.saturating_add(body);
    if bytes > options.max_message {
        let (value, limit) = (bytes as u64, options.max_message as u64);
        return Err(ZmtpError::TooLong { field: "message", value, limit });
    }
    if parts > options.max_parts {
        let (value, limit) = (parts as u64, options.max_parts as u64);
        return Err(ZmtpError::TooMany { field: "parts of a message", value, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(message: &Message) -> Vec<usize> {
        message.iter().map(|part| part.len()).collect()
    }

    #[test]
    fn a_large_body_is_handed_over_and_not_copied() {
        let mut inbox = Inbox::new();
        let body = Bytes::from(alloc::vec![7; LARGE]);
        let mut staged = Staged::default();
        staged.push(true, b"head");
        staged.push_large(true, body.clone());
        staged.push(false, b"");
        inbox.append_staged(&mut staged);
        assert!(staged.is_empty());
        assert_eq!((inbox.messages(), inbox.bytes()), (1, 2 + 4 + 1 + LARGE + 2));
        let mut message = Message::new();
        assert!(inbox.pop_into(&mut message));
        assert_eq!(sizes(&message), [4, LARGE, 0]);
        assert_eq!(message[1].as_ptr(), body.as_ptr());
        assert_eq!((inbox.messages(), inbox.bytes()), (0, 0));
        assert!(!inbox.pop_into(&mut message) && message.len() == 3, "nothing is changed");
    }

    #[test]
    fn what_one_holds_comes_behind_what_another_does() {
        let (mut one, mut two, mut message) = (Inbox::new(), Inbox::new(), Message::new());
        for size in [1, LARGE] {
            one.push([&alloc::vec![0; size][..]]);
            two.push([&alloc::vec![0; size + 1][..]]);
        }
        assert!(one.pop_into(&mut message), "the first chunk was read in part");
        one.append(&mut two);
        one.append(&mut Inbox::new());
        one.compact();
        assert_eq!(one.memory(), one.bytes());
        assert!(two.is_empty() && !two.pop_into(&mut message));
        let mut left = Vec::new();
        while one.pop_into(&mut message) {
            left.extend(sizes(&message));
        }
        assert_eq!(left, [LARGE, 2, LARGE + 1]);
        assert_eq!((one.messages(), one.bytes()), (0, 0));
    }

    #[test]
    fn the_newest_of_each_first_part_stays_where_it_is() {
        let (mut inbox, mut message) = (Inbox::new(), Message::new());
        let large = alloc::vec![7; LARGE];
        for parts in [&[&b"a"[..], b"1"][..], &[b"b", &large], &[b"a", b"2", b""], &[b"c"], &[b"b", b"3"]] {
            inbox.push(parts.iter().copied());
        }
        assert_eq!(inbox.conflate(), 2);
        let mut left = Vec::new();
        while inbox.pop_into(&mut message) {
            left.push((message[0].to_vec(), message.len()));
        }
        assert_eq!(left, [(b"a".to_vec(), 3), (b"c".to_vec(), 1), (b"b".to_vec(), 2)]);
        assert_eq!((inbox.conflate(), inbox.bytes()), (0, 0));
    }

    #[test]
    fn chunks_are_used_again() {
        let mut inbox = Inbox::new();
        let mut message = Message::new();
        for _ in 0..3 {
            for _ in 0..2000 {
                inbox.push([&[1; 100][..]]);
            }
            while inbox.pop_into(&mut message) {
                assert_eq!(sizes(&message), [100]);
            }
        }
        assert!(inbox.memory() <= 4 * CHUNK, "{}", inbox.memory());
        inbox.trim();
        assert_eq!(inbox.memory(), 0);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![0_usize..300, LARGE - 1..LARGE + 2], 1..5), 0..40),
            takes in proptest::collection::vec(any::<bool>(), 80),
        ) {
            let (mut inbox, mut message) = (Inbox::new(), Message::new());
            let (mut pushed, mut popped) = (0, 0);
            for take in takes.into_iter().chain([true].into_iter().cycle()) {
                if !take && pushed < messages.len() {
                    let parts: Vec<_> = messages[pushed].iter().map(|size| alloc::vec![3; *size]).collect();
                    inbox.push(parts.iter().map(|part| &part[..]));
                    pushed += 1;
                } else if inbox.pop_into(&mut message) {
                    prop_assert_eq!(&sizes(&message), &messages[popped]);
                    popped += 1;
                } else if take && popped == pushed {
                    break;
                }
                prop_assert_eq!(inbox.messages(), pushed - popped);
            }
            prop_assert_eq!(inbox.bytes(), 0);
        }
    }
}
