//! One priority class of the write queue: its waiting messages, and how many of their bytes may be sent.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::arena::chunk::{CHUNK, Chunk, FrameRef, Load, Sent};
use crate::arena::partial::Partial;
use crate::arena::send_credit::SendCredit;
use crate::frame::Class;

mod find;
mod restore;
mod take;

/// The frames that are collected for a batch.
#[derive(Debug, Default)]
pub(in crate::arena) struct Gathered {
    pub(in crate::arena) chunk: Chunk,
    pub(in crate::arena) finished: VecDeque<Chunk>,
}

/// Where a message was when it was withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Withdrawn {
    /// In the queue: none of its bytes was sent.
    Waiting,
    /// Some of its fragments were sent: the peer must be told that no more follow.
    UnderWay { class: Class, message: u64 },
    /// It is not in this lane.
    Gone,
}

/// Chunks beside the queue.
#[derive(Debug, Default)]
struct Aside {
    /// Calls and casts, older than the queue, that answers have overtaken: they wait for credit.
    held: VecDeque<Chunk>,
    /// The last written chunks, oldest first, if they are to be sent again on the next connection.
    written: VecDeque<Chunk>,
}

#[derive(Debug)]
pub(in crate::arena) struct Lane {
    class: Class,
    /// The waiting chunks, oldest first. A large message has a chunk of its own.
    queue: VecDeque<Chunk>,
    under_way: Option<Box<Partial>>,
    /// Boxed: usually there is none.
    aside: Option<Box<Aside>>,
    ours: Load,
    owed: Load,
    pub(in crate::arena) flow: SendCredit,
}

impl Lane {
    pub(in crate::arena) const fn new(class: Class) -> Self {
        Self {
            class,
            queue: VecDeque::new(),
            under_way: None,
            aside: None,
            ours: Load::NONE,
            owed: Load::NONE,
            flow: SendCredit::UNLIMITED,
        }
    }

    /// Waiting calls and casts.
    #[inline]
    pub(in crate::arena) fn ours(&self) -> Load {
        self.ours
    }

    /// Waiting answers and cancels.
    pub(in crate::arena) fn owed(&self) -> Load {
        self.owed
    }

    /// Aborts that wait. Walks over everything that does.
    pub(in crate::arena) fn aborts(&self) -> usize {
        let marks = self.held().chain(&self.queue).flat_map(Chunk::marks);
        marks.filter(|mark| mark.sent == Sent::Abort).count()
    }

    /// Whether it is as new, apart from the peer's grants.
    pub(in crate::arena) fn is_unused(&self) -> bool {
        let holds = self.queue.capacity() > 0 || self.under_way.is_some() || self.aside.is_some();
        !holds && self.flow.is_unused()
    }

    /// Frees the memory of empty queues.
    pub(in crate::arena) fn trim(&mut self) {
        if self.queue.iter().all(Chunk::is_empty) {
            self.queue = VecDeque::new();
        }
        self.aside.take_if(|aside| aside.held.iter().chain(&aside.written).all(Chunk::is_empty));
    }

    fn held(&self) -> impl Iterator<Item = &Chunk> {
        self.aside.iter().flat_map(|aside| &aside.held)
    }

    fn is_none_held(&self) -> bool {
        self.aside.as_ref().is_none_or(|aside| aside.held.is_empty())
    }

    fn held_mut(&mut self) -> &mut VecDeque<Chunk> {
        &mut self.aside.get_or_insert_default().held
    }

    fn written(&self) -> impl Iterator<Item = &Chunk> {
        self.aside.iter().flat_map(|aside| &aside.written)
    }

    /// The bytes of a message under way that are in batches: the message is kept whole until its end.
    pub(in crate::arena) fn lent_of_message(&self) -> usize {
        self.under_way.as_ref().map_or(0, |partial| partial.at)
    }

    pub(in crate::arena) fn is_empty(&self) -> bool {
        self.ours.messages == 0 && self.owed.messages == 0
    }

    pub(in crate::arena) fn memory(&self) -> usize {
        let under_way = self.under_way.iter().map(|partial| &partial.frame);
        self.held().chain(&self.queue).chain(self.written()).chain(under_way).map(Chunk::capacity).sum()
    }

    /// The chunk that takes a further frame of about this many copied bytes.
    #[inline]
    pub(in crate::arena) fn tail(&mut self, bytes: usize, most: usize, spare: &mut Vec<Chunk>) -> &mut Chunk {
        if !self.queue.back().is_some_and(|chunk| chunk.has_room(bytes, most)) {
            self.queue.push_back(spare.pop().unwrap_or_default());
        }
        // There is one: it was pushed above if there was none.
        let last = self.queue.len() - 1;
        let chunk = &mut self.queue[last];
        chunk.reserve(bytes);
        chunk
    }

    /// The newest chunk, if it takes this many more bytes without growing.
    #[inline]
    pub(in crate::arena) fn last_with_room(&mut self, bytes: usize) -> Option<&mut Chunk> {
        self.queue.back_mut().filter(|chunk| chunk.has_memory(bytes))
    }

    #[inline]
    pub(in crate::arena) fn note_pushed(&mut self, sent: Sent, bytes: usize) {
        let load = Load { messages: usize::from(bytes > 0), bytes };
        if sent.takes_credit() {
            self.ours.add(load);
        } else {
            self.owed.add(load);
        }
    }

    /// Records that several messages of this side were pushed.
    pub(in crate::arena) fn note_many(&mut self, load: Load) {
        self.ours.add(load);
    }

    /// Appends a chunk unchanged.
    pub(in crate::arena) fn push_chunk(&mut self, chunk: Chunk) {
        // A chunk that was made for a message that could not be encoded: it must not stay in front of others.
        if self.queue.back().is_some_and(Chunk::is_empty) {
            self.queue.pop_back();
        }
        self.ours.add(chunk.ours());
        self.owed.add(chunk.owed());
        self.queue.push_back(chunk);
    }

    /// Inserts a chunk unchanged, in front of everything that waits.
    pub(in crate::arena) fn insert_chunk(&mut self, chunk: Chunk) {
        self.ours.add(chunk.ours());
        self.owed.add(chunk.owed());
        let front = if self.is_none_held() { &mut self.queue } else { self.held_mut() };
        front.push_front(chunk);
    }

    /// Appends the frames of `local`, in the last chunk if there is room.
    pub(in crate::arena) fn append(&mut self, local: &mut Chunk, spare: &mut Vec<Chunk>) {
        self.ours.add(local.ours());
        self.owed.add(local.owed());
        match self.queue.back_mut() {
            Some(last) if last.has_room(local.len(), CHUNK) => {
                last.reserve(local.len());
                last.append(local);
            }
            _ => {
                let fresh = spare.pop().unwrap_or_default();
                self.queue.push_back(core::mem::replace(local, fresh));
            }
        }
    }

    /// From now on nothing that takes credit is sent on this connection. Returns the number of the message
    /// that was begun and is put back.
    pub(in crate::arena) fn hold_back(&mut self) -> Option<u64> {
        self.flow.stopped = true;
        let partial = self.under_way.take_if(|partial| partial.sent.takes_credit())?;
        let begun = (partial.at > 0).then_some(partial.message);
        self.held_mut().push_front(partial.frame);
        self.recount();
        begun
    }

    fn recount(&mut self) {
        (self.ours, self.owed) = (Load::default(), Load::default());
        let Self { aside, queue, ours, owed, .. } = self;
        for chunk in aside.iter().flat_map(|aside| &aside.held).chain(&*queue) {
            ours.add(chunk.ours());
            owed.add(chunk.owed());
        }
        if let Some(partial) = &self.under_way {
            let load = Load { messages: 1, bytes: partial.rest() };
            if partial.sent.takes_credit() { self.ours.add(load) } else { self.owed.add(load) }
        }
    }

    /// Keeps the waiting frames for which `keep` returns true, in order; frames longer than `fragment` get a
    /// chunk of their own. The message under way is not changed.
    pub(in crate::arena) fn retain(
        &mut self,
        fragment: usize,
        keep: &mut impl FnMut(&mut FrameRef<'_>) -> bool,
        mut recycle: impl FnMut(Chunk),
    ) {
        let held = self.aside.as_mut().map(|aside| &mut aside.held);
        for queue in held.into_iter().chain([&mut self.queue]) {
            for mut chunk in core::mem::take(queue) {
                let mut run = Chunk::default();
                let large = chunk.large;
                let mut keeps_all = false;
                chunk.for_each_frame(|mut frame| {
                    if !keep(&mut frame) {
                        return;
                    }
                    if large {
                        keeps_all = true;
                    } else if frame.end - frame.start > fragment {
                        if !run.is_empty() {
                            queue.push_back(core::mem::take(&mut run));
                        }
                        let mut alone = Chunk::default();
                        alone.push_frame(&frame);
                        alone.large = true;
                        queue.push_back(alone);
                    } else {
                        run.push_frame(&frame);
                    }
                });
                if keeps_all {
                    queue.push_back(chunk);
                    continue;
                }
                recycle(chunk);
                if !run.is_empty() {
                    queue.push_back(run);
                }
            }
        }
        self.recount();
    }
}
