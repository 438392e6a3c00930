//! Chooses what a lane sends now: as much as its budget and the peer's credit cover.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Gathered, Lane};
use crate::arena::chunk::{CHUNK, Chunk, Load};
use crate::arena::partial::Partial;
use crate::frame::Framing;
use crate::frame::native::MESSAGE_COST;

impl Lane {
    /// Takes up to about `budget` bytes that may be sent now, in order.
    pub(in crate::arena) fn take<F: Framing>(
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
            // Nothing waits that could overtake: the frames covered by the credit are taken in one piece.
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

    /// Takes the messages at the front of the queue that the credit covers.
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

    /// Takes the next fragment of the message under way.
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

    /// The credit that a large message needs to begin: enough for its first fragment.
    fn can_start(&self, frame: &Chunk, fragment: usize) -> bool {
        frame.ours().messages == 0 || self.flow.credit() >= frame.len().min(fragment) as u64 + MESSAGE_COST
    }

    /// Takes messages that waited for credit, as far as the credit covers them.
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

    /// Takes from the next chunk of the queue: messages without credit are put aside, messages that need none
    /// are taken.
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
            // For the next batch.
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

    /// Moves the frames of `chunk` that may be sent to `out`, and returns those that have to wait. If one
    /// waits (`waits`: an older one does), all later ones that take credit wait as well.
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
}
