//! The frames of a session that were sent and not acknowledged, in wire order.
//!
//! Frames are numbered by counting: the frames of a batch get the next numbers when the batch is taken.
//! Chunks are kept as they were written, so that what is sent again is identical, byte for byte.

use alloc::collections::VecDeque;

use super::chunk::{Chunk, FrameRef, Sent};

/// The unacknowledged chunks of a session.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Written on this connection, not acknowledged; the frames before `first` are gone.
    written: VecDeque<Chunk>,
    /// To be written again on this connection, after those.
    again: VecDeque<Chunk>,
    /// The whole long messages whose last fragments are among these frames, by the number of that fragment,
    /// to be able to give them back.
    finished: VecDeque<(u64, Chunk)>,
    /// The number of frames before the first one of `written`.
    first: u64,
    /// The number of frames that were numbered.
    lent: u64,
    acked: u64,
    /// The frame up to which acknowledgements were reported to the link. Frames of a batch that is still
    /// being written are reported when the batch is given back: until then the replay does not have their
    /// marks.
    told: u64,
    /// Bytes that were taken and are not acknowledged, by whole chunks.
    bytes: usize,
    window: usize,
    /// A batch that was still being written when its connection ended: its place in `again` and its
    /// generation. Nothing is sent again until the writer gives it back.
    missing: Option<Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    at: usize,
    generation: u64,
}

/// A batch of an ended session that was still being written when its connection ended, and that the writer
/// has not given back yet.
#[derive(Debug)]
pub(super) struct Abandoned {
    pub(super) generation: u64,
    /// This many of its frames, counted from the first one, were acknowledged.
    pub(super) acked: u64,
    /// The whole long messages whose last fragments are in it, in order, if it was written for the second
    /// time. (A batch that is written for the first time has them itself.)
    pub(super) finished: VecDeque<Chunk>,
}

/// Calls `each` for every frame of `chunks` that is acknowledged (its number is at most `acked`) and was not
/// reported before (its number is above `told`). `first` frames come before `chunks`. Acknowledged frames
/// that are not in `chunks` are in a batch that is being written: they are reported when it is given back.
fn tell<'c>(
    chunks: impl IntoIterator<Item = &'c Chunk>,
    first: u64,
    acked: u64,
    told: &mut u64,
    mut each: impl FnMut(Sent),
) {
    let mut number = first;
    for chunk in chunks {
        if *told >= acked {
            return;
        }
        for mark in chunk.marks() {
            number += 1;
            if number > *told && number <= acked {
                each(mark.sent);
                *told = number;
            }
        }
    }
}

/// The number of frames in a chunk.
fn count(chunk: &Chunk) -> u64 {
    chunk.marks().len() as u64
}

impl Replay {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            written: VecDeque::new(),
            again: VecDeque::new(),
            finished: VecDeque::new(),
            first: 0,
            lent: 0,
            acked: 0,
            told: 0,
            bytes: 0,
            window,
            missing: None,
        }
    }

    /// Whether more frames may be taken.
    pub(super) fn is_open(&self) -> bool {
        self.missing.is_none() && self.bytes < self.window
    }

    /// Whether something is to be written again.
    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty() || self.missing.is_some()
    }

    /// The number of frames sent.
    pub(super) fn lent(&self) -> u64 {
        self.lent
    }

    /// The number of frames that wait for their acknowledgement.
    pub(crate) fn unacked(&self) -> u64 {
        self.lent - self.acked
    }

    /// Bytes that were taken and are not acknowledged, by whole chunks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the long messages that are kept whole.
    pub(super) fn finished_bytes(&self) -> usize {
        self.finished.iter().map(|(_, whole)| whole.len()).sum()
    }

    pub(super) fn memory(&self) -> usize {
        let finished = self.finished.iter().map(|(_, chunk)| chunk);
        self.written.iter().chain(&self.again).chain(finished).map(Chunk::capacity).sum()
    }

    /// A chunk is taken for the first time.
    pub(super) fn note_lent(&mut self, chunk: &Chunk) {
        self.lent += count(chunk);
        self.bytes += chunk.len();
    }

    /// The next chunk to be written again.
    pub(super) fn next_again(&mut self) -> Option<Chunk> {
        if self.missing.is_some() { None } else { self.again.pop_front() }
    }

    /// A chunk was written. Returns the chunk if the peer has acknowledged all of it already; `acked` is
    /// called for each of its acknowledged frames.
    pub(super) fn note_written(
        &mut self,
        chunk: Chunk,
        finished: VecDeque<Chunk>,
        acked: impl FnMut(Sent),
    ) -> Option<Chunk> {
        self.note_finished(&chunk, finished);
        self.written.push_back(chunk);
        tell(&self.written, self.first, self.acked, &mut self.told, acked);
        if self.written.len() == 1 { self.pop_acked() } else { None }
    }

    /// Records the long messages that end in the last chunk of `written`.
    fn note_finished(&mut self, chunk: &Chunk, finished: VecDeque<Chunk>) {
        if finished.is_empty() {
            return;
        }
        let mut number = self.first + self.written.iter().map(count).sum::<u64>();
        self.number_finished(chunk, finished, &mut number);
    }

    fn number_finished(&mut self, chunk: &Chunk, mut finished: VecDeque<Chunk>, number: &mut u64) {
        for mark in chunk.marks() {
            *number += 1;
            let is_last = |whole: &Chunk| whole.marks().first().is_some_and(|first| first.sent == mark.sent);
            if finished.front().is_some_and(is_last)
                && let Some(whole) = finished.pop_front()
            {
                self.finished.push_back((*number, whole));
            }
        }
    }

    /// Removes the first chunk, if all of it is acknowledged.
    fn pop_acked(&mut self) -> Option<Chunk> {
        let n = count(self.written.front()?);
        if self.first + n > self.acked {
            return None;
        }
        self.first += n;
        let chunk = self.written.pop_front()?;
        self.bytes = self.bytes.saturating_sub(chunk.len());
        while self.finished.front().is_some_and(|(number, _)| *number <= self.first) {
            self.finished.pop_front();
        }
        Some(chunk)
    }

    /// The peer acknowledged `received` frames in total; `each` is called for every frame that this
    /// acknowledges for the first time. `false`: the value is invalid.
    #[must_use]
    pub(crate) fn ack(&mut self, received: u64, each: impl FnMut(Sent), mut done: impl FnMut(Chunk)) -> bool {
        if received < self.acked || received > self.lent {
            return false;
        }
        self.acked = received;
        tell(&self.written, self.first, received, &mut self.told, each);
        while let Some(chunk) = self.pop_acked() {
            done(chunk);
        }
        true
    }

    /// The connection ended while this chunk was being written: every unacknowledged frame is to be written
    /// again. `missing` is the generation of the batch that is still being written, if there is one.
    pub(super) fn detach(&mut self, lent: Option<(Chunk, VecDeque<Chunk>)>, missing: Option<u64>) {
        if let Some((chunk, finished)) = lent {
            self.note_finished(&chunk, finished);
            self.written.push_back(chunk);
        } else if let Some(generation) = missing {
            self.missing = Some(Missing { at: self.written.len(), generation });
        }
        self.written.append(&mut self.again);
        self.again = core::mem::take(&mut self.written);
    }

    /// The peer's resume says that it has received `received` frames in total. `each` is called for every
    /// frame that this acknowledges for the first time; the frames after them are written again. Returns how
    /// many those are; `None`: the value is invalid.
    pub(crate) fn resume(
        &mut self,
        received: u64,
        each: impl FnMut(Sent),
        done: impl FnMut(Chunk),
    ) -> Option<u64> {
        if received < self.acked || received > self.lent {
            return None;
        }
        self.acked = received;
        if self.missing.is_none() {
            self.trim(each, done);
        }
        Some(self.lent - received)
    }

    /// Whether the batch is the missing one.
    pub(super) fn misses(&self, generation: u64) -> bool {
        self.missing.is_some_and(|missing| missing.generation == generation)
    }

    /// The missing batch was given back; `each` is called for every acknowledged frame that was not reported
    /// before.
    pub(super) fn return_late(
        &mut self,
        chunk: Chunk,
        finished: VecDeque<Chunk>,
        each: impl FnMut(Sent),
        done: impl FnMut(Chunk),
    ) {
        let Some(missing) = self.missing.take() else { return };
        // Its place is after everything that was written before it.
        let mut number = self.first + self.again.iter().take(missing.at).map(count).sum::<u64>();
        self.number_finished(&chunk, finished, &mut number);
        self.again.insert(missing.at.min(self.again.len()), chunk);
        self.trim(each, done);
    }

    /// Frees the memory of empty queues.
    pub(super) fn release_empty(&mut self) {
        for queue in [&mut self.written, &mut self.again] {
            if queue.is_empty() {
                *queue = VecDeque::new();
            }
        }
        if self.finished.is_empty() {
            self.finished = VecDeque::new();
        }
    }

    /// Removes acknowledged frames from those to be written again, and calls `each` for those that were not
    /// reported before.
    fn trim(&mut self, each: impl FnMut(Sent), mut done: impl FnMut(Chunk)) {
        let received = self.acked;
        // Nothing was written on this connection so far: all sent frames are in `again`.
        tell(&self.again, self.first, received, &mut self.told, each);
        while let Some(mut chunk) = self.again.pop_front() {
            let n = count(&chunk);
            if self.first + n <= received {
                self.first += n;
                self.bytes = self.bytes.saturating_sub(chunk.len());
                done(chunk);
                continue;
            }
            let mut number = self.first;
            let mut rest = Chunk::default();
            chunk.for_each_frame(|frame| {
                number += 1;
                if number > received {
                    rest.push_frame(&frame);
                }
            });
            self.first = received;
            self.bytes = self.bytes.saturating_sub(chunk.len() - rest.len());
            self.again.push_front(rest);
            break;
        }
        while self.finished.front().is_some_and(|(number, _)| *number <= received) {
            self.finished.pop_front();
        }
    }

    /// The session is lost. `lost` is called for every message, whole, whose last frame the peer has not
    /// acknowledged; `acked` for every acknowledged frame that was not reported before. Returns the batch
    /// that is still being written, if there is one.
    pub(crate) fn lose(
        mut self,
        mut acked: impl FnMut(Sent),
        mut lost: impl FnMut(&FrameRef<'_>),
    ) -> Option<Abandoned> {
        self.written.append(&mut self.again);
        let here: u64 = self.written.iter().map(count).sum();
        let elsewhere = self.lent - self.first - here;
        let mut number = self.first;
        let mut abandoned = None;
        for (at, mut chunk) in self.written.into_iter().enumerate() {
            if let Some(missing) = self.missing.take_if(|missing| missing.at == at) {
                abandoned = Some(missing.abandon(number, elsewhere, self.acked, &mut self.finished));
                number += elsewhere;
            }
            chunk.for_each_frame(|frame| {
                number += 1;
                if number <= self.acked {
                    if number > self.told {
                        acked(frame.sent);
                    }
                    return;
                }
                if matches!(frame.sent, Sent::Part | Sent::Abort) {
                    return;
                }
                // Earlier ones are acknowledged.
                while self.finished.front().is_some_and(|(last, _)| *last < number) {
                    self.finished.pop_front();
                }
                match self.finished.front_mut() {
                    Some((last, whole)) if *last == number => {
                        whole.for_each_frame(|frame| lost(&frame));
                        self.finished.pop_front();
                    }
                    _ => lost(&frame),
                }
            });
        }
        let missing = self.missing.map(|at| at.abandon(number, elsewhere, self.acked, &mut self.finished));
        abandoned.or(missing)
    }
}

impl Missing {
    /// The batch has `count` frames after the first `before`; `acked` frames are acknowledged in total.
    fn abandon(
        self,
        before: u64,
        count: u64,
        acked: u64,
        finished: &mut VecDeque<(u64, Chunk)>,
    ) -> Abandoned {
        let from = finished.partition_point(|(number, _)| *number <= before);
        let to = finished.partition_point(|(number, _)| *number <= before + count);
        Abandoned {
            generation: self.generation,
            acked: acked.saturating_sub(before).min(count),
            finished: finished.drain(from..to).map(|(_, whole)| whole).collect(),
        }
    }
}
