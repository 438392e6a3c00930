//! Blocks of memory for the futures of a handler, kept and used again.

use std::pin::Pin;
use std::sync::OnceLock;

use bowline_driver::sync::Mutex;

/// A future larger than this, in bytes, gets memory of its own each time.
const LARGEST: usize = 2 * 1024;

/// The maximum number of blocks that are kept.
const MOST: usize = 64;

/// Memory for one future, which is pinned in it from its first poll until it is dropped.
pub(crate) type Block<Fut> = Pin<Box<Option<Fut>>>;

/// Empty blocks for the futures of one handler.
///
/// The futures of a handler are of one type, so a block fits all of them. There is a place for each thread of the
/// runtime. A caller looks for a free place, beginning with that of its connection, and never waits: without a block it
/// allocates one, and without a place it drops its block. A block whose future is not ready belongs to that future's task
/// and does not come back.
pub(crate) struct FutureBlocks<Fut> {
    /// Made for the first block.
    places: OnceLock<Box<[Mutex<Place<Fut>>]>>,
}

struct Place<Fut> {
    block: Option<Block<Fut>>,
    /// Its block is counted, whether it is here or in use.
    is_counted: bool,
}

impl<Fut> FutureBlocks<Fut> {
    /// The bytes of a block.
    pub(crate) const SIZE: usize = size_of::<Option<Fut>>();

    pub(crate) fn new() -> Self {
        Self { places: OnceLock::new() }
    }

    /// An empty block, for a request of that connection.
    #[inline]
    pub(crate) fn take(&self, from: u64) -> Block<Fut> {
        let kept = || self.at(from, |place| place.block.take());
        // The compiler knows the size.
        if Self::SIZE <= LARGEST { kept() } else { None }.unwrap_or_else(|| Box::pin(None))
    }

    /// Keeps an empty block, where there is a place for it. `count` is called if it has to be counted from now on.
    #[inline]
    pub(crate) fn put(
        &self,
        from: u64,
        block: Block<Fut>,
        threads: impl FnOnce() -> usize,
        count: impl FnOnce(),
    ) {
        debug_assert!(block.is_none(), "its future is dropped");
        if Self::SIZE > LARGEST {
            return;
        }
        let make = |_| Mutex::new(Place { block: None, is_counted: false });
        let _ = self.places.get_or_init(|| (0..threads().clamp(1, MOST)).map(make).collect());
        let (mut block, mut count) = (Some(block), Some(count));
        let _ = self.at(from, |place| {
            if place.block.is_some() {
                return None;
            }
            place.block = block.take();
            if !std::mem::replace(&mut place.is_counted, true)
                && let Some(count) = count.take()
            {
                // Before `free` can see it.
                count();
            }
            Some(())
        });
    }

    /// The first result of `look`, over the places that no other thread has locked now.
    #[inline]
    fn at<T>(&self, from: u64, mut look: impl FnMut(&mut Place<Fut>) -> Option<T>) -> Option<T> {
        let places = self.places.get()?;
        // Modulo the number of places in any case.
        #[allow(clippy::cast_possible_truncation)]
        let first = from as usize % places.len();
        let (before, after) = places.split_at(first);
        after.iter().chain(before).find_map(|place| look(&mut *place.try_lock()?))
    }

    /// Frees the blocks. Returns how many are not counted any more.
    pub(crate) fn free(&self) -> usize {
        let places = self.places.get().map_or(&[][..], |places| places);
        let mut counted = 0;
        for place in places {
            let mut place = place.lock();
            counted += usize::from(std::mem::take(&mut place.is_counted));
            drop(place.block.take());
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Ready, ready};

    use super::*;

    type Blocks = FutureBlocks<Ready<u64>>;

    fn address<Fut>(block: &Block<Fut>) -> *const Option<Fut> {
        &raw const **block
    }

    /// Returns whether it was counted.
    fn put<Fut>(blocks: &FutureBlocks<Fut>, from: u64, block: Block<Fut>) -> bool {
        let is_counted = Cell::new(false);
        blocks.put(from, block, || 3, || is_counted.set(true));
        is_counted.get()
    }

    #[test]
    fn a_block_is_used_again_and_counted_once() {
        let blocks = Blocks::new();
        let mut block = blocks.take(7);
        let first = address(&block);
        for round in 0..3 {
            block.as_mut().set(Some(ready(round)));
            block.as_mut().set(None);
            assert_eq!(put(&blocks, 7, block), round == 0);
            block = blocks.take(8);
            assert_eq!(address(&block), first, "a block at another place is better than none");
        }
        assert!(!put(&blocks, 7, block));
        assert_eq!((blocks.free(), blocks.free()), (1, 0));
    }

    #[test]
    fn there_are_as_many_blocks_as_threads() {
        let blocks = Blocks::new();
        let taken: Vec<_> = (0..5).map(|from| blocks.take(from)).collect();
        let counted = taken.into_iter().filter_map(|block| put(&blocks, 1, block).then_some(()));
        assert_eq!(counted.count(), 3);
        assert_eq!(blocks.free(), 3);
    }

    #[test]
    fn blocks_of_large_futures_are_not_kept() {
        let blocks = FutureBlocks::<[u8; LARGEST + 1]>::new();
        assert!(!put(&blocks, 1, blocks.take(1)));
        assert!(blocks.places.get().is_none() && blocks.free() == 0);
    }

    #[test]
    fn a_block_that_comes_back_after_the_others_were_freed_is_counted_again() {
        let blocks = Blocks::new();
        assert!(put(&blocks, 1, blocks.take(1)));
        let in_use = blocks.take(1);
        assert_eq!(blocks.free(), 1);
        assert!(put(&blocks, 1, in_use));
        assert_eq!(blocks.free(), 1);
    }

    #[test]
    fn nobody_waits_for_a_place() {
        let blocks = Blocks::new();
        blocks.put(1, blocks.take(1), || 1, || {});
        let places = blocks.places.get().expect("made");
        let held = places[0].lock();
        let block = blocks.take(1);
        assert!(!put(&blocks, 1, block), "no place is free: it is dropped");
        assert!(held.block.is_some());
    }
}
