//! One priority class of the write queue: what waits in it, and how much of it may go.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::chunk::{CHUNK, Chunk, Fate, FrameRef, Load, Mark, Sent};
use super::outflow::Outflow;
use super::partial::Partial;
use crate::frame::native::MESSAGE_COST;
use crate::frame::{Class, Framing};

/// What is gathered for a batch.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) chunk: Chunk,
    pub(super) finished: VecDeque<Chunk>,
}

/// Where a message was when it was withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Withdrawn {
    /// It waited: no byte of it left.
    Waiting,
    /// Some of its fragments left: the peer has to be told that no more come.
    UnderWay { class: Class, message: u64 },
    /// It is not here.
    Gone,
}

/// Chunks beside the queue.
#[derive(Debug, Default)]
struct Aside {
    /// Calls and casts, older than the queue, that answers have overtaken: they wait for credit.
    held: VecDeque<Chunk>,
    /// What was written last, oldest first, where it is to be sent again.
    written: VecDeque<Chunk>,
}

#[derive(Debug)]
pub(super) struct Lane {
    class: Class,
    /// What waits, oldest first. A large message has a chunk of its own.
    queue: VecDeque<Chunk>,
    under_way: Option<Box<Partial>>,
    /// Mostly there is nothing in it.
    aside: Option<Box<Aside>>,
    ours: Load,
    owed: Load,
    pub(super) flow: Outflow,
}

impl Lane {
    pub(super) fn new(class: Class) -> Self {
        Self {
            class,
            queue: VecDeque::new(),
            under_way: None,
            aside: None,
            ours: Load::default(),
            owed: Load::default(),
            flow: Outflow::UNLIMITED,
        }
    }

    /// Calls and casts that wait.
    #[inline]
    pub(super) fn ours(&self) -> Load {
        self.ours
    }

    /// Answers and cancels that wait.
    pub(super) fn owed(&self) -> Load {
        self.owed
    }

    /// Gives back the memory of empty queues.
    pub(super) fn trim(&mut self) {
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

    /// Bytes that were lent of a message that is under way: it is kept whole until its end.
    pub(super) fn lent_of_message(&self) -> usize {
        self.under_way.as_ref().map_or(0, |partial| partial.at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ours.messages == 0 && self.owed.messages == 0
    }

    pub(super) fn memory(&self) -> usize {
        let under_way = self.under_way.iter().map(|partial| &partial.frame);
        self.held().chain(&self.queue).chain(self.written()).chain(under_way).map(Chunk::capacity).sum()
    }

    /// The chunk that takes a further frame of about that many copied bytes.
    #[inline]
    pub(super) fn tail(&mut self, bytes: usize, most: usize, spare: &mut Vec<Chunk>) -> &mut Chunk {
        if !self.queue.back().is_some_and(|chunk| chunk.has_room(bytes, most)) {
            self.queue.push_back(spare.pop().unwrap_or_default());
        }
        // There is one: it was pushed above if there was none.
        let last = self.queue.len() - 1;
        let chunk = &mut self.queue[last];
        chunk.reserve(bytes);
        chunk
    }

    /// The newest chunk, if it takes so many bytes more without growing.
    #[inline]
    pub(super) fn last_with_room(&mut self, bytes: usize) -> Option<&mut Chunk> {
        self.queue.back_mut().filter(|chunk| chunk.has_memory(bytes))
    }

    #[inline]
    pub(super) fn note_pushed(&mut self, sent: Sent, bytes: usize) {
        let load = Load { messages: usize::from(bytes > 0), bytes };
        if sent.takes_credit() {
            self.ours.add(load);
        } else {
            self.owed.add(load);
        }
    }

    /// Several messages of ours were pushed.
    pub(super) fn note_many(&mut self, load: Load) {
        self.ours.add(load);
    }

    /// Appends a chunk as it is.
    pub(super) fn push_chunk(&mut self, chunk: Chunk) {
        self.ours.add(chunk.ours());
        self.owed.add(chunk.owed());
        self.queue.push_back(chunk);
    }

    /// Adds a chunk as it is, in front of everything that waits.
    pub(super) fn insert_chunk(&mut self, chunk: Chunk) {
        self.ours.add(chunk.ours());
        self.owed.add(chunk.owed());
        let front = if self.is_none_held() { &mut self.queue } else { self.held_mut() };
        front.push_front(chunk);
    }

    /// Keeps a chunk that was written, and lets go of older ones beyond the window.
    pub(super) fn keep_written(&mut self, chunk: Chunk, window: usize) -> Vec<Chunk> {
        let written = &mut self.aside.get_or_insert_default().written;
        written.push_back(chunk);
        let mut bytes: usize = written.iter().map(Chunk::len).sum();
        let mut old = Vec::new();
        // The last `window` bytes, in whole chunks.
        while let Some(first) = written.front()
            && bytes - first.len() >= window
        {
            bytes -= first.len();
            old.extend(written.pop_front());
        }
        old
    }

    /// The connection died: the messages that the last `window` written bytes belong to come back in
    /// front, as far as `keep` wants them. Those before are done.
    pub(super) fn restore_written(
        &mut self,
        window: usize,
        keep: &mut impl FnMut(&mut FrameRef<'_>, Fate) -> bool,
    ) {
        let mut again = Vec::new();
        let written = self.aside.as_mut().map(|aside| core::mem::take(&mut aside.written));
        // Bytes from the beginning of a chunk to the end of everything.
        let mut left: usize = written.iter().flatten().map(Chunk::len).sum();
        for mut chunk in written.into_iter().flatten() {
            let mut kept = Chunk::default();
            let len = chunk.len();
            chunk.for_each_frame(|mut frame| {
                let behind = left - frame.end;
                if behind < window && frame.sent != Sent::Part && keep(&mut frame, Fate::Left) {
                    kept.push_frame(&frame);
                }
            });
            left -= len;
            if !kept.is_empty() {
                again.push(kept);
            }
        }
        if !again.is_empty() {
            self.restore(again);
        }
    }

    /// Appends the frames of `local`, in the last chunk if there is room.
    pub(super) fn append(&mut self, local: &mut Chunk, spare: &mut Vec<Chunk>) {
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

    /// Takes up to about `budget` bytes that may go now, in order.
    pub(super) fn take<F: Framing>(
        &mut self,
        framing: &F,
        budget: usize,
        fragment: usize,
        next_message: &mut u64,
        spare: &mut Vec<Chunk>,
    ) -> Option<Gathered> {
        if !self.flow.is_open() {
            return None;
        }
        if self.under_way.is_none() && self.is_none_held() {
            let front = self.queue.front().filter(|chunk| !chunk.is_empty())?;
            let (cost, len) = (front.cost(), front.len());
            if !front.large && len <= budget.max(CHUNK) && self.flow.credit() >= cost {
                let chunk = self.queue.pop_front()?;
                self.flow.spend(cost, len);
                self.ours.sub(chunk.ours());
                self.owed.sub(chunk.owed());
                return Some(Gathered { chunk, finished: VecDeque::new() });
            }
            // Nothing that could overtake waits: what the credit covers goes in one piece.
            if front.can_split() && len <= budget.max(CHUNK) && self.owed.messages == 0 {
                return self.take_covered(spare);
            }
        }
        let mut out = Gathered { chunk: spare.pop().unwrap_or_default(), finished: VecDeque::new() };
        while out.chunk.len() < budget && self.flow.is_open() {
            let progress = if self.under_way.is_some() {
                self.take_fragment(framing, fragment, &mut out)
            } else {
                self.take_held(next_message, fragment, &mut out.chunk)
                    || self.take_queued(next_message, fragment, &mut out.chunk)
            };
            if !progress {
                break;
            }
        }
        if out.chunk.is_empty() {
            spare.push(out.chunk);
            return None;
        }
        Some(out)
    }

    /// The messages at the front of the queue that there is credit for.
    fn take_covered(&mut self, spare: &mut Vec<Chunk>) -> Option<Gathered> {
        let credit = self.flow.credit();
        let front = self.queue.front_mut()?;
        let covered = front.covered_by(credit);
        if covered == 0 {
            return None;
        }
        let rest = front.split_off(covered, spare.pop().unwrap_or_default());
        let chunk = core::mem::replace(front, rest);
        self.flow.spend(chunk.cost(), chunk.len());
        self.ours.sub(chunk.ours());
        Some(Gathered { chunk, finished: VecDeque::new() })
    }

    /// The next fragment of the message under way.
    fn take_fragment<F: Framing>(&mut self, framing: &F, fragment: usize, out: &mut Gathered) -> bool {
        let Some(partial) = &mut self.under_way else { return false };
        let n = partial.rest().min(fragment);
        let cost = partial.cost(n);
        if self.flow.credit() < cost {
            return false;
        }
        let bytes = partial.cut(framing, self.class, n, &mut out.chunk);
        self.flow.spend(cost, bytes);
        let done = partial.rest() == 0;
        let load = Load { messages: usize::from(done), bytes: n };
        if partial.sent.takes_credit() {
            self.ours.sub(load);
        } else {
            self.owed.sub(load);
        }
        if done && let Some(partial) = self.under_way.take() {
            out.finished.push_back(partial.frame);
        }
        true
    }

    fn start(&mut self, frame: Chunk, next_message: &mut u64) {
        self.under_way = Some(Box::new(Partial::new(frame, *next_message)));
        *next_message += 1;
    }

    /// Credit that a large message needs before it begins: enough for its first fragment.
    fn can_start(&self, frame: &Chunk, fragment: usize) -> bool {
        frame.ours().messages == 0 || self.flow.credit() >= frame.len().min(fragment) as u64 + MESSAGE_COST
    }

    /// What waits for credit, as far as there is some.
    fn take_held(&mut self, next_message: &mut u64, fragment: usize, out: &mut Chunk) -> bool {
        let held = self.aside.as_mut().and_then(|aside| aside.held.pop_front());
        let Some(mut chunk) = held else { return false };
        if chunk.large {
            if self.can_start(&chunk, fragment) {
                self.start(chunk, next_message);
                return true;
            }
            self.held_mut().push_front(chunk);
            return false;
        }
        let before = out.len();
        let rest = self.sift(&mut chunk, false, out);
        if !rest.is_empty() {
            self.held_mut().push_front(rest);
        }
        out.len() > before
    }

    /// The next chunk of the queue: what has no credit is put aside, what needs none goes.
    fn take_queued(&mut self, next_message: &mut u64, fragment: usize, out: &mut Chunk) -> bool {
        let Some(mut chunk) = self.queue.pop_front() else { return false };
        if chunk.is_empty() {
            self.queue.push_front(chunk);
            return false;
        }
        if chunk.large {
            let waits = chunk.ours().messages > 0 && !self.is_none_held();
            if !waits && self.can_start(&chunk, fragment) {
                self.start(chunk, next_message);
            } else {
                self.held_mut().push_back(chunk);
            }
            return true;
        }
        if !out.is_empty() && out.len() + chunk.len() > CHUNK {
            // Next time.
            self.queue.push_front(chunk);
            return false;
        }
        let mut waits = self.sift(&mut chunk, !self.is_none_held(), out);
        if waits.is_empty() {
            return true;
        }
        let held = self.held_mut();
        match held.back_mut() {
            Some(last) if last.has_room(waits.len(), CHUNK) => last.append(&mut waits),
            _ => held.push_back(waits),
        }
        true
    }

    /// Moves the frames of `chunk` that may go to `out`; returns those that have to wait. Once one
    /// waits (`waits`: an older one does), all behind it do that take credit.
    fn sift(&mut self, chunk: &mut Chunk, mut waits: bool, out: &mut Chunk) -> Chunk {
        let mut rest = Chunk::default();
        let flow = &mut self.flow;
        chunk.for_each_frame(|frame| {
            let len = frame.end - frame.start;
            let cost = if frame.sent.takes_credit() { len as u64 + MESSAGE_COST } else { 0 };
            waits = waits || cost > flow.credit();
            if waits && cost > 0 {
                rest.push_frame(&frame);
            } else {
                flow.spend(cost, len);
                out.push_frame(&frame);
            }
        });
        self.ours.sub(chunk.ours());
        self.ours.add(rest.ours());
        self.owed.sub(chunk.owed());
        rest
    }

    /// What was lent and has not left comes back, in front of everything, with what waits to be
    /// gone on with. The next connection begins without fragments.
    pub(super) fn restore(&mut self, unsent: Vec<Chunk>) {
        let mut all: VecDeque<Chunk> = unsent.into();
        all.extend(self.under_way.take().map(|partial| partial.frame));
        all.extend(self.aside.as_mut().into_iter().flat_map(|aside| aside.held.drain(..)));
        all.append(&mut self.queue);
        self.queue = all;
        self.recount();
        self.flow = Outflow::UNLIMITED;
    }

    /// Puts casts that were lent back in front of the first younger one. Of framings without fragments:
    /// no message is under way.
    pub(super) fn insert_by_number(&mut self, chunks: Vec<Chunk>) {
        let first_of = |chunk: &Chunk| chunk.marks().iter().find_map(|mark| mark.sent.cast());
        let Some(first) = chunks.first().and_then(first_of) else { return };
        debug_assert!(self.under_way.is_none() && self.is_none_held(), "in front of what was begun");
        let is_younger = |mark: &Mark| mark.sent.cast().is_some_and(|number| number > first);
        let mut older = core::mem::take(&mut self.queue);
        let at = older.iter().position(|chunk| chunk.marks().iter().any(is_younger));
        let mut younger = at.map(|at| older.split_off(at)).unwrap_or_default();
        if let Some(mixed) = younger.front_mut() {
            // What was written before that batch waits in the chunk that later casts were added to.
            let (mut before, mut behind) = (Chunk::default(), Chunk::default());
            mixed.for_each_frame(|frame| {
                let is_behind = !behind.is_empty() || frame.sent.cast().is_some_and(|number| number > first);
                if is_behind { &mut behind } else { &mut before }.push_frame(&frame);
            });
            if !before.is_empty() {
                *mixed = behind;
                older.push_back(before);
            }
        }
        older.extend(chunks);
        older.append(&mut younger);
        self.queue = older;
        self.recount();
    }

    /// Nothing that takes credit goes out any more on this connection. The number of the message
    /// that was begun and goes back.
    pub(super) fn hold_back(&mut self) -> Option<u64> {
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

    /// Keeps the waiting frames that `keep` wants, in order; frames longer than `fragment` get a
    /// chunk of their own. What is under way is left alone.
    pub(super) fn retain(
        &mut self,
        fragment: usize,
        keep: &mut impl FnMut(&mut super::FrameRef<'_>) -> bool,
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

    /// The waiting chunks, oldest first.
    fn waiting(&self) -> impl Iterator<Item = &Chunk> {
        let under_way = self.under_way.iter().map(|partial| &partial.frame);
        under_way.chain(self.held()).chain(&self.queue)
    }

    /// The first of our calls that waits, or is under way.
    pub(super) fn first_call(&self) -> Option<u64> {
        self.waiting().flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        })
    }

    /// Whether that message waits, or is under way.
    pub(super) fn holds(&self, sent: Sent) -> bool {
        self.waiting().flat_map(Chunk::marks).any(|mark| mark.sent == sent)
    }

    /// Takes a message that has not left out again; `taken` gets it if no byte of it had.
    pub(super) fn withdraw(&mut self, sent: Sent, mut taken: impl FnMut(&FrameRef<'_>)) -> Withdrawn {
        if let Some(partial) = &self.under_way
            && partial.sent == sent
        {
            let (message, begun) = (partial.message, partial.at > 0);
            if let Some(mut partial) = self.under_way.take() {
                partial.frame.for_each_frame(|frame| taken(&frame));
            }
            self.recount();
            let class = self.class;
            return if begun { Withdrawn::UnderWay { class, message } } else { Withdrawn::Waiting };
        }
        let held = self.aside.as_mut().map(|aside| &mut aside.held);
        if held.is_some_and(|held| remove(held, sent, &mut taken))
            || remove(&mut self.queue, sent, &mut taken)
        {
            self.recount();
            return Withdrawn::Waiting;
        }
        Withdrawn::Gone
    }

    /// Whether a long message with that name waits or is under way.
    pub(super) fn has_large(&self, sent: Sent) -> bool {
        self.waiting().any(|chunk| chunk.large && chunk.marks().iter().any(|mark| mark.sent == sent))
    }

    /// What was queued last.
    pub(super) fn last_queued(&self) -> Option<Sent> {
        Some(self.queue.back()?.marks().last()?.sent)
    }

    /// The oldest cast that waits, is under way, or was written and is kept.
    pub(super) fn oldest_kept_cast(&self) -> Option<u64> {
        self.written().chain(self.waiting()).flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Cast(number) => Some(number),
            _ => None,
        })
    }

    /// The oldest cast that waits (what is under way does not).
    pub(super) fn oldest_cast(&self) -> Option<u64> {
        self.held().chain(&self.queue).flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Cast(number) => Some(number),
            _ => None,
        })
    }
}

/// Takes one frame out of a queue.
fn remove(queue: &mut VecDeque<Chunk>, sent: Sent, taken: &mut impl FnMut(&FrameRef<'_>)) -> bool {
    let holds = |chunk: &Chunk| chunk.marks().iter().any(|mark| mark.sent == sent);
    let Some(index) = queue.iter().position(holds) else { return false };
    let mut kept = Chunk::default();
    queue[index].for_each_frame(|frame| {
        if frame.sent == sent {
            taken(&frame);
        } else {
            kept.push_frame(&frame);
        }
    });
    queue[index] = kept;
    if queue[index].is_empty() {
        queue.remove(index);
    }
    true
}
