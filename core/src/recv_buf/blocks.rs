//! Blocks of memory that messages hold by reference, and that are used again when nothing holds them.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::Block;

/// The number of blocks that are watched.
pub(super) const MOST: usize = 8;

/// Blocks that were left to the messages that hold them, watched until nothing holds them: at most eight, and
/// `BYTES` bytes. Has no memory of its own until a block is watched.
#[derive(Debug, Default)]
pub(crate) struct Blocks<const BYTES: usize>(Option<Box<[Option<Block>; MOST]>>);

impl<const BYTES: usize> Blocks<BYTES> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Block> {
        self.0.iter().flat_map(|slots| slots.iter().flatten())
    }

    /// Whether there is memory for a list of blocks.
    pub(super) fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes of memory of the blocks, held or not.
    pub(super) fn bytes(&self) -> usize {
        self.iter().map(|block| block.capacity()).sum()
    }

    /// Whether there is room for a block of this many bytes.
    fn has_room_for(&self, bytes: usize) -> bool {
        fits::<BYTES>(self.iter(), bytes)
    }

    /// The same once the blocks that nothing holds are freed.
    pub(super) fn can_watch(&self, bytes: usize) -> bool {
        fits::<BYTES>(self.iter().filter(|block| is_held(block)), bytes)
    }

    /// Watches a block. As many of the blocks that nothing holds are freed as it needs. `false`: there is no room,
    /// and the block belongs to its holders alone.
    pub(crate) fn watch(&mut self, block: Block) -> bool {
        let bytes = block.capacity();
        if !self.can_watch(bytes) {
            return false;
        }
        while !self.has_room_for(bytes) && self.take_free(|_| true).is_some() {}
        let Some(slot) = self.0.get_or_insert_default().iter_mut().find(|slot| slot.is_none()) else {
            return false;
        };
        *slot = Some(block);
        true
    }

    /// A block that nothing holds, of a size that is accepted.
    pub(crate) fn take_free(&mut self, accepts: impl Fn(usize) -> bool) -> Option<Block> {
        let is_free = |block: &mut Block| Arc::get_mut(block).is_some() && accepts(block.capacity());
        self.0.as_mut()?.iter_mut().find_map(|slot| slot.take_if(&is_free))
    }

    /// Frees the blocks that nothing holds.
    pub(super) fn keep_held(&mut self) {
        while self.take_free(|_| true).is_some() {}
        self.0.take_if(|slots| slots.iter().all(Option::is_none));
    }
}

fn fits<'b, const BYTES: usize>(blocks: impl Iterator<Item = &'b Block>, more: usize) -> bool {
    let (count, bytes) =
        blocks.fold((0, more), |(count, bytes), block| (count + 1, bytes.saturating_add(block.capacity())));
    count < MOST && bytes <= BYTES
}

/// Whether messages hold it.
pub(super) fn is_held(block: &Block) -> bool {
    Arc::strong_count(block) > 1
}
