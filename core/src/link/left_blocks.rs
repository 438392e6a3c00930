//! Blocks of receive buffers whose connections have ended, which messages still hold.

use alloc::boxed::Box;
use alloc::sync::Weak;
use alloc::vec::Vec;

use super::Link;
use crate::frame::Framing;
use crate::recv_buf::{Block, RecvBuf};

/// The blocks that the receive buffers of ended connections left to messages. While the connection lasts, its
/// buffer counts them. Afterwards running handlers, and bodies that the application keeps, may still hold
/// them: they are counted here until they are free.
#[derive(Debug, Default)]
#[allow(clippy::box_collection, reason = "one word in place of three: most links have none")]
pub(super) struct LeftBlocks(Option<Box<Vec<Left>>>);

/// A block that belongs to the messages which hold it.
#[derive(Debug)]
struct Left {
    block: Weak<Vec<u8>>,
    len: usize,
}

impl Left {
    fn is_held(&self) -> bool {
        self.block.strong_count() > 0
    }
}

impl LeftBlocks {
    /// Adds the blocks of a connection that has ended. If there are more than `most`, which is more than
    /// handlers can hold, those left first are no longer counted.
    fn add(&mut self, blocks: Vec<Block>, most: usize) {
        self.forget_free();
        if blocks.is_empty() {
            return;
        }
        let left = self.0.get_or_insert_default();
        left.extend(
            blocks.iter().map(|block| Left { block: Block::downgrade(block), len: block.capacity() }),
        );
        left.drain(..left.len().saturating_sub(most));
    }

    /// Their bytes.
    pub(super) fn memory(&self) -> usize {
        let held = self.0.iter().flat_map(|left| left.iter()).filter(|left| left.is_held());
        held.map(|left| left.len).sum()
    }

    /// Forgets those that are free. Costs nothing if there are none.
    #[inline]
    pub(super) fn forget_free(&mut self) {
        if let Some(left) = &mut self.0 {
            left.retain(Left::is_held);
            self.0.take_if(|left| left.is_empty());
        }
    }
}

impl<F: Framing, T: Send + 'static> Link<F, T> {
    /// A connection has ended, and this was its receive buffer.
    pub(super) fn keep_left_blocks(&mut self, buf: RecvBuf) {
        // A handler holds one body, and so does the application of each message that it is given.
        let most = self.settings.max_inbound.saturating_add(1);
        self.history.left.add(buf.into_held(), most);
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use super::*;

    fn blocks(count: usize) -> Vec<Block> {
        (0..count).map(|_| Arc::new(vec![0; 1_000])).collect()
    }

    #[test]
    fn blocks_count_until_the_last_message_lets_go_of_them() {
        let mut left = LeftBlocks::default();
        left.add(Vec::new(), 10);
        assert!(left.0.is_none() && left.memory() == 0);
        let mut held = blocks(3);
        left.add(held.clone(), 10);
        let other = held[0].clone();
        assert_eq!(left.memory(), 3_000);
        held.truncate(1);
        assert_eq!(left.memory(), 1_000);
        drop(held);
        left.forget_free();
        assert_eq!(left.memory(), 1_000, "another message holds it as well");
        drop(other);
        left.forget_free();
        assert!(left.0.is_none());
    }

    #[test]
    fn the_number_of_blocks_is_bounded() {
        let mut left = LeftBlocks::default();
        let (first, second) = (blocks(4), blocks(4));
        left.add(first.clone(), 5);
        left.add(second.clone(), 5);
        assert_eq!(left.memory(), 5_000);
        drop(first);
        assert_eq!(left.memory(), 4_000);
        drop(second);
        assert_eq!(left.memory(), 0);
    }
}
