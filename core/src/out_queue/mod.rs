//! A protocol's write queue: messages in order, from which the driver takes one batch at a time.
//!
//! One of the tools for [machines](crate::machine::Machine) of other crates. [`OutQueue`] keeps encoded
//! messages in chunks of 64 KiB and large bodies by reference, knows where each message ends, and keeps whole
//! messages when a connection ends. The link's own queue does more (two classes with credit, fragments,
//! sessions) and is written for its [`Framing`](crate::frame::Framing); both use the same chunks and the same
//! [`Batch`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

mod message;
mod sealed;

pub use crate::arena::{Fate, QueueLimit};
pub use message::{OutMessage, OutMessageRef};

use crate::arena::{Batch, CHUNK, Chunk, Growing, Load, Sent, recycle};
use crate::frame::Class;

/// Messages that wait to be written, in the order in which they were pushed.
///
/// A message has a number that the machine chooses and that need not be unique: it is passed back when the
/// queue asks about the message. The queue itself has no limit: check [`is_full`](Self::is_full) before a
/// push, and let senders wait in a [`Waiters`](crate::waiters::Waiters) queue.
///
/// Beside the messages there is a queue for bytes that belong to the connection (greetings, heartbeats): they
/// go out first, between two batches of messages, and are dropped when the connection ends.
///
/// A machine forwards its [`begin_write`](crate::machine::Machine::begin_write),
/// [`end_write`](crate::machine::Machine::end_write) and
/// [`handle_disconnected`](crate::machine::Machine::handle_disconnected), and calls
/// [`take_wake`](Self::take_wake) in its own.
///
/// ```
/// use bowline_core::out_queue::{Fate, OutQueue};
/// use bytes::Bytes;
///
/// let mut queue = OutQueue::new();
/// let body = Bytes::from(vec![7; 20_000]);
/// queue.push(1, 8, |message| {
///     message.put(&[0, 0, 0x4e, 0x20]);
///     message.body(&body); // by reference
///     message.put(b"\r\n");
/// });
/// queue.push_slice(2, b"\0\0\0\x02hi\r\n");
/// assert!(queue.take_wake(), "the driver slept, and there is something to write");
///
/// // The driver writes some of it, and the connection dies.
/// let mut batch = queue.begin_write(true).unwrap();
/// batch.wrote(5_000);
/// queue.disconnect(Some(batch), |message| {
///     assert_eq!(message.fate(), if message.number() == 1 { Fate::InPart } else { Fate::Unsent });
///     true // keep it
/// });
///
/// // On the next connection both go out whole.
/// let mut batch = queue.begin_write(true).unwrap();
/// assert_eq!(batch.len(), 4 + 20_000 + 2 + 8);
/// batch.wrote(batch.len());
/// let mut left = Vec::new();
/// queue.end_write(batch, |message| {
///     left.push(message.number());
///     false
/// });
/// assert_eq!(left, [1, 2]);
/// assert!(queue.is_empty());
/// ```
#[derive(Debug)]
pub struct OutQueue {
    /// Bytes that belong to the present connection.
    connection: Chunk,
    /// Messages, oldest first.
    queue: VecDeque<Chunk>,
    waiting: Load,
    spare: Vec<Chunk>,
    /// A batch that was given back before it was completely written.
    returned: Option<Box<Batch>>,
    /// The messages of the current batch, as they were before they were sealed.
    plain: Option<Box<Chunk>>,
    lent: Lent,
    /// Counts connections, so that a batch of an earlier one is recognised.
    generation: u64,
    /// A writer still holds messages of an earlier connection: nothing may overtake them.
    missing: bool,
    /// The driver found nothing to write, and sleeps.
    idle: bool,
    wake: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lent {
    Nothing,
    Connection,
    Messages,
}

impl Default for OutQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl OutQueue {
    /// An empty queue, which holds no memory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connection: Chunk::default(),
            queue: VecDeque::new(),
            waiting: Load::default(),
            spare: Vec::new(),
            returned: None,
            plain: None,
            lent: Lent::Nothing,
            generation: 0,
            missing: false,
            idle: true,
            wake: false,
        }
    }

    /// Waiting messages, without those in the current batch.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.waiting.messages
    }

    /// Their bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.waiting.bytes
    }

    /// Whether the waiting messages reach `limit`.
    #[must_use]
    pub fn is_full(&self, limit: &QueueLimit) -> bool {
        limit.is_reached(self.waiting.messages, self.waiting.bytes)
    }

    /// Whether nothing waits and nothing is being written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.messages == 0 && self.connection.is_empty() && !self.is_lent() && !self.missing
    }

    /// Whether a batch is being written, or was given back incomplete.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.lent != Lent::Nothing || self.returned.is_some()
    }

    /// Bytes of allocated memory (without the current batch, with bodies by reference).
    #[must_use]
    pub fn memory(&self) -> usize {
        let chunks = self.queue.iter().chain(&self.spare).chain([&self.connection]);
        let returned = self.returned.as_ref().map_or(0, |batch| batch.memory());
        let plain = self.plain.as_ref().map_or(0, |chunk| chunk.capacity());
        chunks.map(Chunk::capacity).sum::<usize>() + returned + plain
    }

    /// Frees memory that is kept for reuse: for a machine that was quiet for a while.
    pub fn trim(&mut self) {
        self.spare = Vec::new();
        if self.connection.is_empty() {
            self.connection = Chunk::default();
        }
        if self.waiting.messages == 0 {
            self.queue = VecDeque::new();
        }
    }

    /// Appends the message that `fill` builds; `copied` is about the number of its bytes that will be copied.
    /// Returns its length on the wire in bytes. A message without bytes is not queued.
    ///
    /// # Panics
    /// If the message is 4 GiB or longer, or `fill` removes bytes that are not part of its message.
    pub fn push(&mut self, number: u64, copied: usize, fill: impl FnOnce(&mut OutMessage<'_>)) -> usize {
        match self.try_push(number, copied, |message| {
            fill(message);
            Ok::<_, Infallible>(())
        }) {
            Ok(len) => len,
            Err(never) => match never {},
        }
    }

    /// As [`push`](Self::push), for a message whose construction may fail: after an error of `fill` the queue
    /// is unchanged.
    ///
    /// # Errors
    /// The messages of `fill`.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn try_push<E>(
        &mut self,
        number: u64,
        copied: usize,
        fill: impl FnOnce(&mut OutMessage<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        if !self.queue.back().is_some_and(|chunk| chunk.has_room(copied, CHUNK)) {
            self.queue.push_back(self.spare.pop().unwrap_or_default());
        }
        let last = self.queue.len() - 1;
        let chunk = &mut self.queue[last];
        chunk.reserve(copied);
        let added = compose(chunk, Sent::Cast(number), fill)?;
        self.waiting.add(Load { messages: usize::from(added > 0), bytes: added });
        self.note_pushed(added);
        Ok(added)
    }

    /// Appends a copy of an encoded message.
    pub fn push_slice(&mut self, number: u64, encoded: &[u8]) {
        self.push(number, encoded.len(), |message| message.put(encoded));
    }

    /// Appends bytes that belong to the present connection, after those appended before.
    pub fn push_connection(&mut self, encoded: &[u8]) {
        if self.connection.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            self.connection = spare;
        }
        self.connection.reserve(encoded.len());
        self.connection.push_encoded(Sent::Control, encoded, 0);
        self.note_pushed(encoded.len());
    }

    fn note_pushed(&mut self, added: usize) {
        if self.idle && added > 0 {
            (self.idle, self.wake) = (false, true);
        }
    }

    /// Whether the driver's writing side must be woken: it found nothing to write, and there is something
    /// now. For [`Wake::write`](crate::machine::Wake::write).
    pub fn take_wake(&mut self) -> bool {
        core::mem::take(&mut self.wake)
    }

    /// Whether [`take_wake`](Self::take_wake) would return true.
    #[must_use]
    #[inline]
    pub fn has_wake(&self) -> bool {
        self.wake
    }

    /// Takes the next batch of bytes to write; `messages` says whether messages may be sent (not before the
    /// end of a handshake). `None`: a batch is being written, or there is nothing to write now.
    pub fn begin_write(&mut self, messages: bool) -> Option<Batch> {
        if self.lent != Lent::Nothing {
            return None;
        }
        let batch = match self.returned.take() {
            Some(batch) => Some(*batch),
            None => self.next_batch(messages),
        };
        match &batch {
            Some(batch) => {
                self.lent = if batch.is_control() { Lent::Connection } else { Lent::Messages };
                self.idle = false;
            }
            None => self.idle = true,
        }
        batch
    }

    fn next_batch(&mut self, messages: bool) -> Option<Batch> {
        if !self.connection.is_empty() {
            let chunk = core::mem::take(&mut self.connection);
            return Some(Batch::new(chunk, Class::Control, self.generation));
        }
        if !messages || self.missing || self.waiting.messages == 0 {
            return None;
        }
        let chunk = self.queue.pop_front()?;
        self.waiting.sub(load(&chunk));
        Some(Batch::new(chunk, Class::Normal, self.generation))
    }

    /// Whether [`begin_write`](Self::begin_write) would return a batch.
    #[must_use]
    pub fn has_batch(&self, messages: bool) -> bool {
        let waits = messages && !self.missing && self.waiting.messages > 0;
        self.lent == Lent::Nothing && (self.returned.is_some() || !self.connection.is_empty() || waits)
    }

    /// Whether the batch belongs to an ended connection: it comes back late.
    #[must_use]
    pub fn is_late(&self, batch: &Batch) -> bool {
        batch.generation() != self.generation
    }

    /// Takes a batch back, for [`Machine::end_write`](crate::machine::Machine::end_write).
    ///
    /// If it is completely written, `each` is called for every message, which was [sent](Fate::Left). If not,
    /// the rest is taken next. If its connection has ended meanwhile, the messages are treated as by
    /// [`disconnect`](Self::disconnect), and those for which `each` returns true return to their place.
    pub fn end_write(&mut self, batch: Batch, mut each: impl FnMut(OutMessageRef<'_>) -> bool) {
        if batch.generation() != self.generation || self.lent == Lent::Nothing {
            if !batch.is_control() {
                self.missing = false;
                self.restore(batch, each);
            }
            return;
        }
        self.lent = Lent::Nothing;
        if !batch.is_done() {
            self.returned = Some(Box::new(batch));
            return;
        }
        let (written, control) = (batch.written(), batch.is_control());
        let chunk = batch.into_chunk();
        if !control {
            for_each(&chunk, written, |message| _ = each(message));
            if let Some(plain) = self.plain.take() {
                recycle(&mut self.spare, *plain);
            }
        }
        recycle(&mut self.spare, chunk);
        // Its writer may be another than the driver, which found nothing meanwhile and sleeps.
        self.idle |= !self.has_batch(true);
    }

    /// The connection has ended, for
    /// [`Machine::handle_disconnected`](crate::machine::Machine::handle_disconnected): `lent` is the batch
    /// that was being written, if the driver has it.
    ///
    /// Waiting messages stay. `keep` is called for each message of the batch, oldest first; if it returns
    /// true, the message is sent again, complete, before everything that waits. If a writer still holds the
    /// batch, no message is taken until [`end_write`](Self::end_write), so that the order is kept. Bytes that
    /// belonged to the connection are dropped.
    pub fn disconnect(&mut self, lent: Option<Batch>, keep: impl FnMut(OutMessageRef<'_>) -> bool) {
        let out = core::mem::replace(&mut self.lent, Lent::Nothing);
        self.connection.clear();
        let stale = lent.as_ref().is_some_and(|batch| batch.generation() != self.generation);
        let here = lent.is_some() && !stale;
        self.generation += 1;
        if out == Lent::Messages && !here {
            self.missing = true;
        } else if stale {
            self.missing = false;
        }
        let returned = self.returned.take().map(|batch| *batch);
        if let Some(batch) = lent.or(returned).filter(|batch| !batch.is_control()) {
            self.restore(batch, keep);
        }
        self.idle = true;
        self.wake = self.waiting.messages > 0;
    }

    /// Puts the messages of a batch for which `keep` returns true in front of everything that waits.
    fn restore(&mut self, batch: Batch, keep: impl FnMut(OutMessageRef<'_>) -> bool) {
        let written = batch.written();
        let kept = match self.plain.take() {
            Some(plain) => self.sift_unsealed(*plain, &batch.into_chunk(), written, keep),
            None => self.sift(batch.into_chunk(), written, keep),
        };
        if let Some(chunk) = kept {
            let load = load(&chunk);
            self.waiting.add(load);
            self.queue.push_front(chunk);
            self.note_pushed(load.bytes);
        }
    }

    /// Keeps the waiting messages for which `keep` returns true, in order. To drop all: `|_| false`.
    pub fn retain(&mut self, mut keep: impl FnMut(OutMessageRef<'_>) -> bool) {
        for chunk in core::mem::take(&mut self.queue) {
            self.waiting.sub(load(&chunk));
            if let Some(kept) = self.sift_waiting(chunk, &mut keep) {
                self.waiting.add(load(&kept));
                self.queue.push_back(kept);
            }
        }
    }

    /// Drops the oldest waiting message; `dropped` is called with it. Copies the rest of its chunk. `false`:
    /// there is none.
    pub fn drop_oldest(&mut self, dropped: impl FnOnce(OutMessageRef<'_>)) -> bool {
        let Some(chunk) = self.queue.pop_front() else { return false };
        self.waiting.sub(load(&chunk));
        let mut dropped = Some(dropped);
        let kept = self.sift_waiting(chunk, |message| match dropped.take() {
            Some(dropped) => {
                dropped(message);
                false
            }
            None => true,
        });
        if let Some(kept) = kept {
            self.waiting.add(load(&kept));
            self.queue.push_front(kept);
        }
        dropped.is_none()
    }

    fn sift_waiting(
        &mut self,
        chunk: Chunk,
        mut keep: impl FnMut(OutMessageRef<'_>) -> bool,
    ) -> Option<Chunk> {
        self.sift(chunk, 0, |message| keep(OutMessageRef { fate: Fate::Waiting, ..message }))
    }

    /// The messages of a chunk for which `keep` returns true; `None` if there are none.
    fn sift(
        &mut self,
        mut chunk: Chunk,
        written: usize,
        mut keep: impl FnMut(OutMessageRef<'_>) -> bool,
    ) -> Option<Chunk> {
        let mut keeps = Vec::new();
        for_each(&chunk, written, |message| keeps.push(keep(message)));
        if !keeps.contains(&true) {
            recycle(&mut self.spare, chunk);
            return None;
        }
        if !keeps.contains(&false) {
            return Some(chunk);
        }
        let kept = chunk.keep_messages(&keeps);
        recycle(&mut self.spare, chunk);
        Some(kept)
    }
}

fn load(chunk: &Chunk) -> Load {
    Load { messages: chunk.messages(), bytes: chunk.len() }
}

/// Encodes one message at the end of `chunk`.
fn compose<E>(
    chunk: &mut Chunk,
    sent: Sent,
    fill: impl FnOnce(&mut OutMessage<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut message = OutMessage(Growing::new(chunk));
    fill(&mut message)?;
    Ok(message.0.finish(sent))
}

fn for_each(chunk: &Chunk, written: usize, mut f: impl FnMut(OutMessageRef<'_>)) {
    chunk.for_each_whole(|sent, cursor, start, end| {
        let fate = match (start, end) {
            (_, end) if end <= written => Fate::Left,
            (start, _) if start < written => Fate::InPart,
            _ => Fate::Unsent,
        };
        let number = sent.cast().unwrap_or_default();
        f(OutMessageRef { number, fate, chunk, cursor, len: end - start });
    });
}

#[cfg(test)]
mod tests;
