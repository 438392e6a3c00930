//! The messages that are queued for one peer.

use alloc::vec::Vec;

use bowline_core::body::{Body, Payload};
use bowline_core::out_queue::{OutMessage, OutMessageRef};

use super::Pipe;
use crate::inbox::LARGE;
use crate::message::Message;
use crate::options::Options;
use crate::wire::{Frame, MORE, Version, put_header};

/// Why a pipe does not take a message. The message is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue has reached its limit ([`Options::send_limit`] or [`Options::send_sum`]).
    #[error("the pipe is full")]
    Full,
    /// The pipe is closed or closing.
    #[error("the pipe is closed")]
    Closed,
    /// The message has no parts.
    #[error("the message has no parts")]
    Empty,
    /// The message has more parts than [`Options::max_parts`].
    #[error("the message has {value} parts, limit {limit}")]
    Parts {
        /// The number of parts.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// The message is longer than [`Options::max_message`].
    #[error("the message has {value} bytes, limit {limit}")]
    TooLong {
        /// Bytes of its parts.
        value: usize,
        /// The limit, bytes.
        limit: usize,
    },
}

/// The fate of messages that a writer had when their connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Late {
    /// Messages that were not completely sent, were for that connection's peer only, and were dropped.
    pub dropped: usize,
    /// Messages were completely sent, and none are queued after them.
    pub left: bool,
}

impl Late {
    /// Whether there is something to report.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.dropped > 0 || self.left
    }
}

/// Bytes of one batch.
const PILE: usize = 64 * 1024;

/// The number of a queued message: its encoding.
const fn tag(version: Version) -> u64 {
    match version {
        Version::V1 => 1,
        _ => 2,
    }
}

const fn version_of(tag: u64) -> Version {
    match tag {
        1 => Version::V1,
        _ => Version::V3_1,
    }
}

/// Checks that a message can be sent at all: its parts, and those that a socket adds at the front.
#[inline]
pub(crate) fn check_message(
    options: &Options,
    envelope: &[&[u8]],
    parts: &[Payload<'_>],
) -> Result<usize, Refusal> {
    if parts.is_empty() {
        return Err(Refusal::Empty);
    }
    let (value, limit) = (envelope.len() + parts.len(), options.max_parts);
    if value > limit {
        return Err(Refusal::Parts { value, limit });
    }
    let front = envelope.iter().map(|part| part.len()).fold(0, usize::saturating_add);
    let value = parts.iter().map(Payload::len).fold(front, usize::saturating_add);
    let limit = options.max_message;
    if value > limit {
        return Err(Refusal::TooLong { value, limit });
    }
    Ok(value)
}

/// Whether a part is kept by reference.
pub(crate) fn is_shared(part: &Payload<'_>) -> bool {
    matches!(part, Payload::Owned(bytes) if bytes.len() >= LARGE)
}

/// Encodes a message.
#[inline]
fn encode(out: &mut OutMessage<'_>, version: Version, envelope: &[&[u8]], parts: &[Payload<'_>]) {
    for part in envelope {
        let buffer = out.buffer().0;
        put_header(buffer, version, MORE, part.len());
        buffer.extend_from_slice(part);
    }
    for (at, part) in parts.iter().enumerate() {
        let more = if at + 1 < parts.len() { MORE } else { 0 };
        put_header(out.buffer().0, version, more, part.len());
        match part {
            Payload::Borrowed(bytes) => out.put(bytes),
            Payload::Owned(bytes) => out.body(bytes),
        }
    }
}

/// The parts of an encoded message.
pub(crate) fn parts(version: Version, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let frame = Frame::parse(version, bytes).ok()??;
        let part = bytes.get(frame.header..frame.total())?;
        bytes = &bytes[frame.total()..];
        Some(part)
    })
}

/// Whether the first part of an encoded message equals `first`.
fn begins_with(message: OutMessageRef<'_>, first: &[u8]) -> bool {
    let mut slices = message.parts();
    let head = slices.next().unwrap_or_default();
    let Ok(Some(frame)) = Frame::parse(version_of(message.number()), head) else { return false };
    if frame.body != first.len() {
        return false;
    }
    match head.get(frame.header..frame.total()) {
        Some(body) => body == first,
        // The part is kept by reference.
        None => slices.next().is_some_and(|body| body == first),
    }
}

impl<T> Pipe<T> {
    /// Queues a message: the parts of `envelope`, then those of `parts`. Owned parts of 16 KiB and more are
    /// kept by reference, others are copied. The message is sent completely or not at all, once there is a
    /// peer.
    ///
    /// # Errors
    /// The pipe is full or closed, or the message exceeds a limit. Nothing is queued then.
    #[inline]
    pub fn send(&mut self, envelope: &[&[u8]], parts: &[Payload<'_>]) -> Result<(), Refusal> {
        if self.direct.is_some() {
            return self.send_direct(envelope, parts);
        }
        let bytes = check_message(&self.options, envelope, parts)?;
        self.admit(bytes, || parts.first().map(Payload::as_slice))?;
        self.queue(bytes, envelope, parts);
        Ok(())
    }

    /// Checks that a message with that first part may be queued: there is room, or there will be once the
    /// messages that it replaces are removed.
    #[inline]
    fn admit<'m>(&mut self, bytes: usize, first: impl FnOnce() -> Option<&'m [u8]>) -> Result<(), Refusal> {
        if self.closed || self.closing.is_some() {
            return Err(Refusal::Closed);
        }
        if let Some(first) = first().filter(|_| self.options.conflate) {
            let (messages, bytes) = self.out_of_date(first);
            let (waiting, limit) = (&self.out, &self.options.send_limit);
            if limit.is_reached(waiting.messages() - messages, waiting.bytes() - bytes) {
                return Err(Refusal::Full);
            }
            if messages > 0 {
                self.out.retain(|message| !begins_with(message, first));
                self.stats.conflated += messages as u64;
            }
        }
        match self.out.is_full(&self.options.send_limit) || self.is_short_of_sum(bytes) {
            true => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    /// The queued messages that begin with that part: their number and bytes.
    fn out_of_date(&mut self, first: &[u8]) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        self.out.retain(|message| {
            if begins_with(message, first) {
                messages += 1;
                bytes += message.len();
            }
            true
        });
        (messages, bytes)
    }

    /// As [`send`](Self::send), but ignores the queue's limits: for messages that come back from another
    /// pipe.
    ///
    /// # Errors
    /// As [`send`](Self::send), except [`Refusal::Full`].
    pub fn send_beyond_limit(&mut self, envelope: &[&[u8]], parts: &[Payload<'_>]) -> Result<(), Refusal> {
        if self.closed || self.closing.is_some() {
            return Err(Refusal::Closed);
        }
        let bytes = check_message(&self.options, envelope, parts)?;
        if self.direct.is_some() {
            self.arrive(|inbox| inbox.push_parts(envelope, parts));
        } else {
            self.queue(bytes, envelope, parts);
        }
        Ok(())
    }

    #[inline]
    fn queue(&mut self, bytes: usize, envelope: &[&[u8]], parts: &[Payload<'_>]) {
        let version = self.encoding;
        let shared: usize = parts.iter().filter(|part| is_shared(part)).map(Payload::len).sum();
        let copied = bytes - shared + Frame::HEADER * (envelope.len() + parts.len());
        self.out.push(tag(version), copied, |message| encode(message, version, envelope, parts));
        self.settle_sent();
    }

    /// Queues an encoded message, for peers of 2.0 and later.
    ///
    /// # Errors
    /// The pipe is full or closed.
    pub(crate) fn send_encoded(&mut self, encoded: &[u8]) -> Result<(), Refusal> {
        if self.direct.is_some() {
            return self.send_direct_encoded(encoded);
        }
        self.admit(encoded.len(), || parts(Version::V3_1, encoded).next())?;
        if self.encoding == Version::V1 {
            let parts: Vec<_> = parts(Version::V3_1, encoded).map(Payload::Borrowed).collect();
            return self.send_beyond_limit(&[], &parts);
        }
        self.out.push_slice(tag(self.encoding), encoded);
        self.settle_sent();
        Ok(())
    }

    /// Whether the queue has reached its limit: this pipe's or that of all pipes of its socket.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        if let Some(direct) = &self.direct {
            return self.inbox.is_full(&direct.limit) || self.is_received_sum_spent();
        }
        self.out.is_full(&self.options.send_limit) || self.is_short_of_sum(1)
    }

    /// Whether a full batch is queued and nothing is being written, so that the sender may write it itself.
    #[must_use]
    #[inline]
    pub fn has_pile(&self) -> bool {
        self.out.bytes() >= PILE && !self.out.is_lent() && self.is_past_handshake()
    }

    /// Whether a message can be queued.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether a message of that many bytes can be queued that replaces no other.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.is_open() && !self.is_full() && (self.direct.is_some() || !self.is_short_of_sum(bytes))
    }

    /// Whether it takes messages when there is room: it is not ending.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed && self.closing.is_none() && !self.is_ending()
    }

    /// Number of queued messages, without those that are being written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.messages()
    }

    /// Their bytes on the wire.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.out.bytes()
    }

    /// Whether nothing is queued and nothing is being written.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    /// Hands out `token` ([`take_tokens`](bowline_core::machine::Machine::take_tokens)) when half of the
    /// queue is free or the pipe is closed. A later token replaces an earlier one.
    pub fn watch_room(&mut self, token: T) {
        self.room = Some(token);
        self.note_room();
    }

    /// A pipe that is ending has no room: its waiter would ask again and again.
    fn has_room_again(&self) -> bool {
        if self.closed || self.closing.is_some() || self.is_ending() {
            return self.closed;
        }
        match &self.direct {
            Some(direct) => !self.inbox.is_full(&direct.limit.low_mark()) && !self.is_received_sum_spent(),
            None => !self.out.is_full(&self.options.send_limit.low_mark()) && !self.is_short_of_sum(1),
        }
    }

    pub(super) fn note_room(&mut self) {
        self.settle_sent();
        if self.room.is_some() && self.has_room_again() {
            self.tokens.extend(self.room.take());
        }
    }

    /// Removes the messages that were not completely sent, oldest first: queued ones and, after the
    /// connection has ended, the one that was partly sent. A batch that is being written stays, and may come
    /// back later.
    pub fn take_unsent(&mut self, mut each: impl FnMut(Message)) {
        self.out.retain(|message| {
            let bytes = message.to_vec();
            let parts = parts(version_of(message.number()), &bytes).map(Body::copy_from);
            each(parts.collect());
            false
        });
        self.note_room();
    }

    /// The fate of a batch that came back late, if it has not been reported yet; the socket [collects
    /// it](crate::socket::Socket::collect_unsent).
    #[must_use]
    pub fn late(&self) -> Late {
        self.late
    }

    /// As [`late`](Self::late), and marks it as reported.
    pub fn take_late(&mut self) -> Late {
        core::mem::take(&mut self.late)
    }

    /// Drops the oldest queued message. Returns false if there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let dropped = match self.direct {
            Some(_) => self.inbox.drop_oldest(),
            None => self.out.drop_oldest(|_| {}),
        };
        self.settle_sent();
        self.settle_received();
        dropped
    }

    /// The peer of the new connection uses that version.
    pub(super) fn encode_for(&mut self, version: Version) {
        self.encoding = version;
        // Queued messages may be from before, and so may those that a writer has.
        self.mixed = !self.out.is_empty();
    }

    /// Whether a kept message has an encoding other than the peer's.
    pub(super) fn is_other_encoding(encoding: Version, number: u64) -> bool {
        number != tag(encoding)
    }

    /// Re-encodes queued messages where necessary. Rare: the peer was replaced by one of another version.
    pub(super) fn recode(&mut self) {
        let want = self.encoding;
        let mut other = false;
        self.out.retain(|message| {
            other |= Self::is_other_encoding(want, message.number());
            true
        });
        self.mixed = false;
        if !other {
            return;
        }
        let mut all = Vec::new();
        self.out.retain(|message| {
            all.push((message.number(), message.to_vec()));
            false
        });
        for (number, bytes) in all {
            if Self::is_other_encoding(want, number) {
                let parts: Vec<_> = parts(version_of(number), &bytes).map(Payload::Borrowed).collect();
                self.out.push(tag(want), bytes.len(), |message| encode(message, want, &[], &parts));
            } else {
                self.out.push_slice(number, &bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::QueueLimit;
    use crate::pipe::Role;
    use crate::socket_type::SocketType;

    fn pipe(limit: QueueLimit) -> Pipe<u32> {
        let options = Options::new(SocketType::Dealer).send_limit(limit).max_parts(3).max_message(100);
        Pipe::new(options.build().unwrap(), Role::Dialing)
    }

    fn unsent(pipe: &mut Pipe<u32>) -> Vec<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        pipe.take_unsent(|message| all.push(message.iter().map(|part| part.to_vec()).collect()));
        all
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_leaves_nothing() {
        let mut pipe = pipe(QueueLimit { messages: 2, bytes: 1000 });
        assert_eq!(pipe.send(&[], &[]), Err(Refusal::Empty));
        let part = || Payload::from(b"x");
        let four = pipe.send(&[b""], &[part(), part(), part()]);
        assert_eq!(four, Err(Refusal::Parts { value: 4, limit: 3 }));
        let long = pipe.send(&[b"x"], &[Payload::from(&[0; 100])]);
        assert_eq!(long, Err(Refusal::TooLong { value: 101, limit: 100 }));
        assert!(pipe.is_drained());
        assert_eq!(pipe.send(&[b"id", b""], &[part()]), Ok(()));
        assert_eq!(pipe.send(&[], &[part()]), Ok(()));
        assert_eq!(pipe.send(&[], &[part()]), Err(Refusal::Full));
        assert_eq!(unsent(&mut pipe), [vec![b"id".to_vec(), vec![], b"x".to_vec()], vec![b"x".to_vec()]]);
        assert_eq!(pipe.waiting(), 0);
    }

    #[test]
    fn who_waits_for_room_is_woken_when_half_of_it_is_there() {
        use bowline_core::machine::Machine;
        let mut pipe = pipe(QueueLimit { messages: 4, bytes: 1000 });
        let mut woken = Vec::new();
        pipe.watch_room(1);
        pipe.take_tokens(&mut woken);
        assert_eq!(woken, [1], "there is room");
        while pipe.send(&[], &[b"x".into()]).is_ok() {}
        pipe.watch_room(2);
        assert!(pipe.drop_oldest());
        pipe.note_room();
        pipe.take_tokens(&mut woken);
        assert_eq!(woken, [1]);
        unsent(&mut pipe);
        pipe.take_tokens(&mut woken);
        assert_eq!(woken, [1, 2]);
    }

    #[test]
    fn the_newest_message_of_each_first_part_is_kept() {
        let options = Options::new(SocketType::Push)
            .conflate(true)
            .send_limit(QueueLimit { messages: 3, bytes: 1 << 20 });
        let mut pipe: Pipe<u32> = Pipe::new(options.build().unwrap(), Role::Dialing);
        let large = bytes::Bytes::from(vec![7; LARGE]);
        for _ in 0..2 {
            for parts in [&["a".into(), "1".into()][..], &[Payload::from(&large)], &["b".into()]] {
                pipe.send(&[], parts).unwrap();
            }
        }
        pipe.send(&[], &["a".into(), "2".into()]).unwrap();
        assert_eq!(pipe.send(&[], &["c".into()]), Err(Refusal::Full));
        let firsts: Vec<_> =
            unsent(&mut pipe).into_iter().map(|parts| (parts[0].len(), parts.len())).collect();
        assert_eq!(firsts, [(LARGE, 1), (1, 1), (1, 2)]);
        assert_eq!(pipe.stats().conflated, 4);
    }

    #[test]
    fn a_queue_for_one_version_is_encoded_anew_for_another() {
        let mut pipe = pipe(QueueLimit { messages: 10, bytes: 1000 });
        pipe.send(&[b"id"], &[b"new".into()]).unwrap();
        pipe.encode_for(Version::V1);
        pipe.send(&[], &[b"old".into()]).unwrap();
        assert!(pipe.mixed);
        pipe.recode();
        let batch = pipe.out.begin_write(true).unwrap();
        let mut slices = [&[][..]];
        batch.slices(&mut slices);
        assert_eq!(slices[0], b"\x03\x01id\x04\x00new\x04\x00old");
        pipe.out.disconnect(Some(batch), |_| true);
        assert_eq!(unsent(&mut pipe).len(), 2);
    }
}
