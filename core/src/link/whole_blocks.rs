//! The blocks of messages that were assembled from fragments.
//!
//! The receive buffer keeps such a block when its message is dropped, and the next message is assembled in it:
//! for each long message, memory from the system would cost as much as reading the message. The buffer counts these
//! blocks, held or not, as long as it keeps them, and the queues do not count the messages in them a second time. The
//! blocks are freed soon after the last long message, and at once if the server lacks memory.

use alloc::boxed::Box;
use core::time::Duration;

use super::Link;
use super::received::Message;
use crate::frame::Framing;
use crate::time::Instant;

/// How long blocks are kept after the last message that was assembled.
const KEPT: Duration = Duration::from_millis(100);

/// What a link knows of the blocks that its receive buffer keeps.
#[derive(Debug)]
pub(super) struct KeptBlocks {
    /// When they are freed; `None`: now.
    until: Option<Instant>,
    /// The bytes of messages in them that are in a queue of the link, or being handled.
    queued: usize,
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// The receive buffer keeps the block of a message.
    pub(super) fn note_kept_block(&mut self, now: Instant) {
        let until = now + KEPT;
        match &mut self.conn.reading.kept_blocks {
            Some(blocks) => blocks.until = Some(until),
            none => {
                *none = Some(Box::new(KeptBlocks { until: Some(until), queued: 0 }));
                self.wakes.attend_before(until);
            }
        }
    }

    pub(super) fn next_blocks_end(&self) -> Option<Instant> {
        self.conn.reading.kept_blocks.as_ref().and_then(|blocks| blocks.until)
    }

    /// If it is time to free the blocks, they are not waited for again: the driver frees them.
    pub(super) fn check_blocks(&mut self, now: Instant) {
        if let Some(blocks) = &mut self.conn.reading.kept_blocks {
            blocks.until.take_if(|until| now >= *until);
        }
    }

    /// Whether the blocks are to be freed now.
    pub(super) fn frees_blocks(&self) -> bool {
        self.conn.reading.kept_blocks.as_ref().is_none_or(|blocks| blocks.until.is_none())
    }

    /// The server lacks memory: the driver frees the blocks at once.
    pub(super) fn hasten_blocks(&mut self, now: Instant) {
        if let Some(blocks) = &mut self.conn.reading.kept_blocks {
            blocks.until = Some(now);
            self.wakes.attend();
        }
    }

    /// Bytes of queued messages that the receive buffer counts.
    pub(super) fn counted_with_buffer(&self) -> usize {
        self.conn.reading.kept_blocks.as_ref().map_or(0, |blocks| blocks.queued)
    }

    /// A message of this many bytes is in a queue, and the receive buffer counts its memory.
    pub(super) fn note_counted_with_buffer(&mut self, bytes: Option<usize>) {
        if let (Some(bytes), Some(blocks)) = (bytes, &mut self.conn.reading.kept_blocks) {
            blocks.queued += bytes;
        }
    }

    /// Such a message is not in a queue any more.
    #[cold]
    pub(super) fn forget_counted_with_buffer(&mut self, bytes: usize) {
        if let Some(blocks) = &mut self.conn.reading.kept_blocks {
            blocks.queued = blocks.queued.saturating_sub(bytes);
        }
    }

    /// A message was taken from the queue.
    #[inline]
    pub(super) fn note_taken_out(&mut self, message: &Message) {
        if let Some(bytes) = message.counted_with_buffer() {
            self.forget_counted_with_buffer(bytes);
        }
    }

    /// The receive buffer keeps none of the blocks any more: messages in them are counted where they are.
    pub(super) fn count_blocks_apart(&mut self) {
        if self.conn.reading.kept_blocks.take().is_some_and(|blocks| blocks.queued > 0) {
            self.received.count_here();
            self.inbound.count_here();
        }
    }
}
