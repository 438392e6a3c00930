//! Storage of messages: slots that are reused, and lists through them.
//!
//! A message is in one queue (waiting for room, waiting, under way). A message with a reference is also in
//! its receiver's order, from its acceptance until its result is taken. Both are lists linked through the
//! slots, so that removal takes constant time and nothing is allocated per message.

use alloc::vec::Vec;

use super::outcome::SendError;
use crate::time::Instant;

const NONE: u32 = u32::MAX;

/// The id of a message of a [`Batcher`](super::Batcher) whose sender waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SendId {
    index: u32,
    generation: u32,
}

/// The state of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Free,
    /// Waits for a place of its receiver.
    NoPlace,
    /// Waits for room in the buffer.
    NoRoom,
    /// In the buffer.
    Waiting,
    /// In the batch.
    UnderWay,
    /// Its result waits to be taken.
    Done,
    /// It was refused, and waits to be given back.
    Refused,
}

/// The owner of the result.
#[derive(Debug)]
pub(super) enum Owner<R> {
    /// A sender that waits for it.
    Sender,
    /// None: it was sent and forgotten, and failures are counted.
    Forgotten,
    /// None any more: its owner no longer waits.
    Gone,
    /// This receiver.
    Receiver { line: u32, reference: R },
}

#[derive(Clone, Copy, Debug)]
struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    const OUT: Self = Self { prev: NONE, next: NONE };
}

/// Which of a slot's two lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chain {
    Queue = 0,
    Order = 1,
}

/// A list of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    chain: Chain,
    head: u32,
    tail: u32,
    pub(super) len: usize,
    /// Bytes of its messages.
    pub(super) bytes: usize,
}

impl List {
    pub(super) const fn new(chain: Chain) -> Self {
        Self { chain, head: NONE, tail: NONE, len: 0, bytes: 0 }
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Takes the whole list, which is empty afterwards.
    pub(super) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new(self.chain))
    }
}

#[derive(Debug)]
pub(super) struct Slot<M, R, P, E, T> {
    generation: u32,
    links: [Links; 2],
    pub(super) state: State,
    pub(super) owner: Owner<R>,
    /// The sender of a message without a result was told that it was accepted.
    pub(super) told: bool,
    /// After a failed attempt it may have been appended.
    pub(super) maybe: bool,
    pub(super) bytes: usize,
    pub(super) accepted: Instant,
    pub(super) message: Option<M>,
    /// Why the last attempt failed; once it may have been appended, the last attempt after which it may.
    pub(super) cause: Option<E>,
    pub(super) result: Option<Result<P, SendError<E>>>,
    pub(super) token: Option<T>,
}

#[derive(Debug)]
pub(super) struct Slots<M, R, P, E, T> {
    slots: Vec<Slot<M, R, P, E, T>>,
    free: u32,
    used: usize,
}

impl<M, R, P, E, T> Slots<M, R, P, E, T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, used: 0 }
    }

    /// The number of messages that are kept.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) fn insert(&mut self, message: M, bytes: usize, owner: Owner<R>) -> u32 {
        self.used += 1;
        if self.free != NONE {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            self.free = slot.links[0].next;
            slot.links = [Links::OUT; 2];
            slot.owner = owner;
            slot.bytes = bytes;
            slot.message = Some(message);
            return index;
        }
        // One for each caller that waits, and for each message that is kept: never four billion.
        let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
        assert!(index != NONE, "four billion messages");
        self.slots.push(Slot {
            generation: 0,
            links: [Links::OUT; 2],
            state: State::Free,
            owner,
            told: false,
            maybe: false,
            bytes,
            accepted: Instant::ZERO,
            message: Some(message),
            cause: None,
            result: None,
            token: None,
        });
        index
    }

    /// Frees the slot, which is in no list.
    pub(super) fn release(&mut self, index: u32) -> Owner<R> {
        self.used -= 1;
        let free = self.free;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Free;
        slot.told = false;
        slot.maybe = false;
        slot.message = None;
        slot.cause = None;
        slot.result = None;
        slot.token = None;
        slot.links[0].next = free;
        self.free = index;
        core::mem::replace(&mut slot.owner, Owner::Gone)
    }

    pub(super) fn id(&self, index: u32) -> SendId {
        SendId { index, generation: self.slots[index as usize].generation }
    }

    /// The slot of the message, if it still has one.
    pub(super) fn find(&self, id: SendId) -> Option<u32> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation && slot.state != State::Free).then_some(id.index)
    }

    pub(super) fn next(&self, list: &List, index: u32) -> Option<u32> {
        let next = self[index].links[list.chain as usize].next;
        (next != NONE).then_some(next)
    }

    pub(super) fn push(&mut self, list: &mut List, index: u32) {
        let chain = list.chain as usize;
        let slot = &mut self.slots[index as usize];
        slot.links[chain] = Links { prev: list.tail, next: NONE };
        list.len += 1;
        list.bytes += slot.bytes;
        match list.tail {
            NONE => list.head = index,
            tail => self.slots[tail as usize].links[chain].next = index,
        }
        list.tail = index;
    }

    /// Removes a slot from a list that contains it.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let chain = list.chain as usize;
        let slot = &mut self.slots[index as usize];
        let Links { prev, next } = core::mem::replace(&mut slot.links[chain], Links::OUT);
        list.len -= 1;
        list.bytes -= slot.bytes;
        match prev {
            NONE => list.head = next,
            prev => self.slots[prev as usize].links[chain].next = next,
        }
        match next {
            NONE => list.tail = prev,
            next => self.slots[next as usize].links[chain].prev = prev,
        }
    }

    pub(super) fn pop(&mut self, list: &mut List) -> Option<u32> {
        let index = list.front()?;
        self.unlink(list, index);
        Some(index)
    }
}

impl<M, R, P, E, T> core::ops::Index<u32> for Slots<M, R, P, E, T> {
    type Output = Slot<M, R, P, E, T>;

    fn index(&self, index: u32) -> &Self::Output {
        &self.slots[index as usize]
    }
}

impl<M, R, P, E, T> core::ops::IndexMut<u32> for Slots<M, R, P, E, T> {
    fn index_mut(&mut self, index: u32) -> &mut Self::Output {
        &mut self.slots[index as usize]
    }
}
