//! A counting allocator: allocations of a thread, and memory currently held, by side.
//!
//! A test or benchmark makes it its allocator:
//!
//! ```
//! use bowline_counting::{Counting, Side, allocations, held};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let before = allocations();
//! let boxed = Box::new([0_u8; 100]);
//! assert_eq!(allocations() - before, 1);
//!
//! // Memory that is allocated while a side is entered is attributed to that side, whichever thread frees it.
//! let entered = Side::A.enter();
//! let kept = vec![0_u8; 1000];
//! drop(entered);
//! drop(boxed);
//! assert_eq!((held(Side::A).bytes, held(Side::A).blocks), (1000, 1));
//! drop(kept);
//! assert_eq!(held(Side::A).bytes, 0);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Blocks up to this size, in bytes, are counted by their exact size; longer ones together.
const EXACT: usize = 8 * 1024;
/// No side, A, B.
const SIDES: usize = 3;

/// The owner of allocated memory. Threads belong to no side until they [enter](Self::enter) one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// One of two: a server, say.
    A = 1,
    /// The other one.
    B = 2,
}

impl Side {
    /// Attributes this thread's allocations to that side until the returned guard is dropped.
    #[must_use = "it counts until it is dropped"]
    pub fn enter(self) -> Entered {
        Entered { before: SIDE.replace(self as usize) }
    }
}

/// A side that is entered.
#[derive(Debug)]
pub struct Entered {
    before: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        SIDE.set(self.before);
    }
}

std::thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static SIDE: Cell<usize> = const { Cell::new(0) };
}

static BYTES: [AtomicI64; SIDES] = [const { AtomicI64::new(0) }; SIDES];
static BLOCKS: [[AtomicI64; EXACT + 1]; SIDES] = [const { [const { AtomicI64::new(0) }; EXACT + 1] }; SIDES];

static ALL: AtomicU64 = AtomicU64::new(0);

/// Allocations of all threads, since the process began.
#[must_use]
pub fn all_allocations() -> u64 {
    ALL.load(Relaxed)
}

/// Allocations of this thread, since it began.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// The memory that a side holds now.
#[must_use]
pub fn held(side: Side) -> Held {
    let counts = &BLOCKS[side as usize];
    let by_size = counts.iter().enumerate().map(|(size, count)| (size, count.load(Relaxed)));
    let by_size: Vec<(usize, i64)> = by_size.filter(|(_, count)| *count != 0).collect();
    Held {
        bytes: BYTES[side as usize].load(Relaxed),
        blocks: by_size.iter().map(|(_, count)| count).sum(),
        by_size,
    }
}

/// Memory that is held: as it was asked for, without what an allocator adds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Bytes.
    pub bytes: i64,
    /// Blocks.
    pub blocks: i64,
    /// Blocks of each size. Those above 8 KiB are together, as if they had one byte more than that.
    pub by_size: Vec<(usize, i64)>,
}

impl Held {
    /// The memory held in addition to that time's.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut by_size: Vec<(usize, i64)> = Vec::new();
        let less = before.by_size.iter().map(|(size, count)| (*size, -count));
        for (size, count) in self.by_size.iter().copied().chain(less) {
            match by_size.iter_mut().find(|(other, _)| *other == size) {
                Some((_, sum)) => *sum += count,
                None => by_size.push((size, count)),
            }
        }
        by_size.retain(|(_, count)| *count != 0);
        by_size.sort_unstable();
        Self { bytes: self.bytes - before.bytes, blocks: self.blocks - before.blocks, by_size }
    }

    /// The bytes that glibc's allocator takes for it on 64-bit systems: a word for each block, in steps of 16,
    /// at least 32.
    #[must_use]
    pub fn with_overhead(&self) -> i64 {
        let words =
            |(size, count): &(usize, i64)| (((size + 8).next_multiple_of(16).max(32)) - size) as i64 * count;
        self.bytes + self.by_size.iter().map(words).sum::<i64>()
    }
}

impl fmt::Display for Held {
    /// Largest first: `2 × 1024 + 1 × 64 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (size, count)) in self.by_size.iter().rev().enumerate() {
            let plus = if index == 0 { "" } else { " + " };
            write!(f, "{plus}{count} × {size}")?;
        }
        f.write_str(" bytes")
    }
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counting;

/// The block that holds `layout` behind a note of its side, and where it begins in that.
fn noted(layout: Layout) -> Option<(Layout, usize)> {
    Layout::new::<usize>().extend(layout).ok()
}

fn count(side: usize, size: usize, by: i64) {
    BYTES[side].fetch_add(by * size as i64, Relaxed);
    BLOCKS[side][size.min(EXACT)].fetch_add(by, Relaxed);
}

// SAFETY: blocks are those of the system's allocator, longer by a word in front, which keeps the alignment that was
// asked for; each is freed by the layout that it was made with. Counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = noted(layout) else { return std::ptr::null_mut() };
        // SAFETY: it is not empty, because of the note.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        ALL.fetch_add(1, Relaxed);
        let side = SIDE.get();
        count(side, layout.size(), 1);
        // SAFETY: the block begins with room for a word, aligned for one, and is longer than `offset`.
        unsafe {
            block.cast::<usize>().write(side);
            block.add(offset)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, offset)) = noted(layout) else { return };
        // SAFETY: the pointer came from `alloc` above with this layout: so far into its block, which begins with
        // the note.
        unsafe {
            let block = pointer.sub(offset);
            count(block.cast::<usize>().read(), layout.size(), -1);
            System.dealloc(block, whole);
        }
    }
}
