//! Finding and removing messages of a lane.

use alloc::collections::VecDeque;

use super::{Lane, Withdrawn};
use crate::arena::chunk::{Chunk, FrameRef, Load, Sent};

impl Lane {
    /// The waiting chunks, oldest first.
    fn waiting(&self) -> impl Iterator<Item = &Chunk> {
        let under_way = self.under_way.iter().map(|partial| &partial.frame);
        under_way.chain(self.held()).chain(&self.queue)
    }

    /// The first call of this side that waits or is under way.
    pub(in crate::arena) fn first_call(&self) -> Option<u64> {
        self.waiting().flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Call(id) => Some(id),
            _ => None,
        })
    }

    /// Whether the message waits or is under way.
    pub(in crate::arena) fn holds(&self, sent: Sent) -> bool {
        self.waiting().flat_map(Chunk::marks).any(|mark| mark.sent == sent)
    }

    /// Removes a message that was not sent completely; `taken` gets it if none of its bytes was sent.
    pub(in crate::arena) fn withdraw(
        &mut self,
        sent: Sent,
        mut taken: impl FnMut(&FrameRef<'_>),
    ) -> Withdrawn {
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

    /// Removes the oldest waiting casts, until `is_enough` returns true for the rest.
    pub(in crate::arena) fn take_oldest_casts(
        &mut self,
        is_enough: impl Fn(Load) -> bool,
        mut taken: impl FnMut(&FrameRef<'_>),
    ) {
        let mut left = self.ours;
        let held = self.aside.as_mut().map(|aside| &mut aside.held);
        for queue in held.into_iter().chain([&mut self.queue]) {
            let mut index = 0;
            while index < queue.len() && !is_enough(left) {
                if !queue[index].marks().iter().any(|mark| mark.sent.cast().is_some()) {
                    index += 1;
                    continue;
                }
                let mut kept = Chunk::default();
                queue[index].for_each_frame(|frame| {
                    if frame.sent.cast().is_some() && !is_enough(left) {
                        left.sub(Load { messages: 1, bytes: frame.end - frame.start });
                        taken(&frame);
                    } else {
                        kept.push_frame(&frame);
                    }
                });
                if kept.is_empty() {
                    queue.remove(index);
                } else {
                    queue[index] = kept;
                    index += 1;
                }
            }
        }
        self.recount();
    }

    /// Whether the long message waits or is under way.
    pub(in crate::arena) fn has_large(&self, sent: Sent) -> bool {
        self.waiting().any(|chunk| chunk.large && chunk.marks().iter().any(|mark| mark.sent == sent))
    }

    /// The message that was queued last.
    pub(in crate::arena) fn last_queued(&self) -> Option<Sent> {
        Some(self.queue.back()?.marks().last()?.sent)
    }

    /// The oldest cast that waits, is under way, or was written and is kept.
    pub(in crate::arena) fn oldest_kept_cast(&self) -> Option<u64> {
        self.written().chain(self.waiting()).flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Cast(number) => Some(number),
            _ => None,
        })
    }

    /// The oldest cast that waits, or is under way.
    pub(in crate::arena) fn oldest_unsent_cast(&self) -> Option<u64> {
        self.waiting().flat_map(Chunk::marks).find_map(|mark| mark.sent.cast())
    }

    /// The oldest cast that waits and is not under way.
    pub(in crate::arena) fn oldest_cast(&self) -> Option<u64> {
        self.held().chain(&self.queue).flat_map(Chunk::marks).find_map(|mark| match mark.sent {
            Sent::Cast(number) => Some(number),
            _ => None,
        })
    }
}

/// Removes one frame from a queue.
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
