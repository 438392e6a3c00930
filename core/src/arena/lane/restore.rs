//! Messages that return to a lane after the end of a connection.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Lane;
use crate::arena::chunk::{Chunk, Fate, FrameRef, Mark, Sent};
use crate::arena::send_credit::SendCredit;

impl Lane {
    /// Keeps a written chunk, and returns older ones beyond the window.
    pub(in crate::arena) fn keep_written(&mut self, chunk: Chunk, window: usize) -> Vec<Chunk> {
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

    /// The connection ended: the messages in the last `window` written bytes return to the front of the
    /// queue, as far as `keep` returns true for them. Earlier ones are done.
    pub(in crate::arena) fn restore_written(
        &mut self,
        window: usize,
        keep: &mut impl FnMut(&mut FrameRef<'_>, Fate) -> bool,
    ) {
        let mut again = Vec::new();
        let written = self.aside.as_mut().map(|aside| core::mem::take(&mut aside.written));
        // Bytes from the start of a chunk to the end of all chunks.
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

    /// Unsent frames of the last batch return to the front of the queue, and with them the message under way.
    /// The next connection begins without fragments.
    pub(in crate::arena) fn restore(&mut self, unsent: Vec<Chunk>) {
        let mut all: VecDeque<Chunk> = unsent.into();
        all.extend(self.under_way.take().map(|partial| partial.frame));
        all.extend(self.aside.as_mut().into_iter().flat_map(|aside| aside.held.drain(..)));
        all.append(&mut self.queue);
        self.queue = all;
        self.recount();
        self.flow = SendCredit::UNLIMITED;
    }

    /// Puts casts of a batch back in front of the first younger one. Only for framings without fragments: no
    /// message is under way.
    pub(in crate::arena) fn insert_by_number(&mut self, chunks: Vec<Chunk>) {
        let first_of = |chunk: &Chunk| chunk.marks().iter().find_map(|mark| mark.sent.cast());
        let Some(first) = chunks.first().and_then(first_of) else { return };
        debug_assert!(self.under_way.is_none() && self.is_none_held(), "in front of what was begun");
        let is_younger = |mark: &Mark| mark.sent.cast().is_some_and(|number| number > first);
        let mut older = core::mem::take(&mut self.queue);
        let at = older.iter().position(|chunk| chunk.marks().iter().any(is_younger));
        let mut younger = at.map(|at| older.split_off(at)).unwrap_or_default();
        if let Some(mixed) = younger.front_mut() {
            // Frames that were written before this batch wait in the chunk that later casts were added to.
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
}
