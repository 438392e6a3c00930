//! Finds where a CBOR item ends, in bytes that arrive in pieces.

use alloc::format;

use bowline_core::error::FrameError;

use super::head::{self, Head, Read, major};

/// Most containers (arrays and maps) around an item.
pub const MAX_DEPTH: usize = 16;

/// What is wrong with the bytes of an item. Offsets count from the item's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// A first byte whose lower five bits have no meaning.
    #[error("the byte {byte:#04x} at offset {at} begins no item: its additional information is reserved")]
    Reserved {
        /// Where it stands.
        at: u64,
        /// The byte.
        byte: u8,
    },
    /// A break where no item of indefinite length is open.
    #[error("a break at offset {at}, where no item of indefinite length is open")]
    LoneBreak {
        /// Where it stands.
        at: u64,
    },
    /// A map ends behind a key.
    #[error("a map ends at offset {at} behind a key without a value")]
    OddMap {
        /// Where it ends.
        at: u64,
    },
    /// Containers in containers, too many.
    #[error("{value} levels of arrays and maps at offset {at}, limit {limit}")]
    TooDeep {
        /// Where the innermost begins.
        at: u64,
        /// The levels.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A length or count that would make the item longer than it may be.
    #[error("{what} at offset {at} has a length of {value}, and {limit} bytes may come")]
    TooLong {
        /// What has that length.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// The length: bytes of a string, items of a container (of a map: pairs).
        value: u64,
        /// How many bytes of the item may still come.
        limit: u64,
    },
    /// A chunk of a string of indefinite length that is no string of the same type and of definite length.
    #[error("{found} at offset {at} is no chunk of {expected}")]
    Chunk {
        /// Where it begins.
        at: u64,
        /// What it is.
        found: &'static str,
        /// What it is in.
        expected: &'static str,
    },
    /// A tag: nothing here has one, and the servers read past it in the wrong way.
    #[error("a tag at offset {at}")]
    Tag {
        /// Where it stands.
        at: u64,
    },
    /// A simple value in two bytes that has to be written in one, or is reserved.
    #[error("the simple value {value} at offset {at} in two bytes (least 32)")]
    Simple {
        /// Where it stands.
        at: u64,
        /// The value.
        value: u64,
    },
}

impl ItemError {
    /// As the framing says it: `part` is the item's name, which begins `base` bytes into the frame.
    #[cold]
    pub(super) fn in_frame(self, part: &'static str, base: usize) -> FrameError {
        match self {
            Self::TooLong { what, value, limit, .. } => FrameError::TooLong { field: what, value, limit },
            other => FrameError::other(format!("in the {part}, which begins at offset {base}: {other}")),
        }
    }
}

/// How far a [`Walker`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// The item is whole, and so long.
    Whole(usize),
    /// So many bytes, counted from the item's first one, are needed before the walk can go on; more
    /// than there were.
    Need(usize),
}

/// A container that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// So many items are to come (of a map: keys and values).
    Counted(u64),
    /// Items until a break.
    List,
    /// Keys and values until a break; `true`: a value is next.
    Pairs(bool),
}

/// Finds the end of one item, and remembers where it stopped: each byte of the item is looked at once,
/// however it arrives (of a head that is cut, its bytes once more for each piece).
///
/// It checks that the item is well-formed, at most [`MAX_DEPTH`] levels deep, without tags, and that it
/// cannot get longer than the limit: what a length announces is compared before a byte of it is waited
/// for. It holds no memory of its own beside itself.
///
/// # Example
///
/// ```
/// use bowline_forestbus::wire::{Walk, Walker};
///
/// let item = b"\x82\x01\x63abc and what follows"; // [1, "abc"]
/// let mut walker = Walker::new(1024);
/// assert_eq!(walker.walk(&item[..1]), Ok(Walk::Need(3)));
/// assert_eq!(walker.walk(&item[..3]), Ok(Walk::Need(6)));
/// assert_eq!(walker.walk(item), Ok(Walk::Whole(6)));
/// ```
#[derive(Clone, Debug)]
pub struct Walker {
    limit: usize,
    /// Where the next head begins; beyond the bytes that are there while a string's end is missing.
    at: usize,
    levels: [Level; MAX_DEPTH],
    depth: usize,
    /// In a string of indefinite length, of this major type.
    chunks: Option<u8>,
    /// The least number of bytes behind `at`: one for each item and break that is to come.
    owed: usize,
    heads: u64,
}

impl Walker {
    /// For an item of at most `limit` bytes, or a quarter of what a `usize` can say.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        // So that no sum of a place and what is owed can overflow.
        let limit = if limit > usize::MAX / 4 { usize::MAX / 4 } else { limit };
        Self { limit, at: 0, levels: [Level::List; MAX_DEPTH], depth: 0, chunks: None, owed: 1, heads: 0 }
    }

    /// How many heads were looked at: the work that was done. At most one for each byte of the item, and
    /// one for each call.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Walks on. `bytes` begin with the item's first byte each time; more of them than before, or the same.
    ///
    /// # Errors
    /// [`ItemError`]: the item is none, or none that may come. The walker is of no more use.
    pub fn walk(&mut self, bytes: &[u8]) -> Result<Walk, ItemError> {
        loop {
            if self.owed == 0 {
                let whole = self.at <= bytes.len();
                return Ok(if whole { Walk::Whole(self.at) } else { Walk::Need(self.at) });
            }
            self.run(bytes);
            let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) else {
                return self.need(self.at + self.owed);
            };
            self.heads += 1;
            match head::read(rest) {
                Read::Head(head) => self.step(head, rest[0])?,
                Read::Need(len) => return self.need(self.at + len + self.owed - 1),
                Read::Reserved(byte) => return Err(ItemError::Reserved { at: self.at as u64, byte }),
            }
        }
    }

    /// Passes over short strings and numbers in a container that announced its items, but for the last one and
    /// what is not whole: most of what comes is that. What cannot be passed over here is left to [`step`](Self::step).
    #[inline]
    fn run(&mut self, bytes: &[u8]) {
        let top = self.depth.wrapping_sub(1);
        let Some(Level::Counted(items)) = self.levels.get_mut(top).filter(|_| self.chunks.is_none()) else {
            return;
        };
        let (mut at, mut left) = (self.at, *items);
        // Where the next item may end at the latest, with a byte behind it for each that is owed.
        let mut end = bytes.len().min((self.limit + 1).saturating_sub(self.owed));
        while left > 1 {
            let Some(&[first, second]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { break };
            let len = match first {
                0x00..=0x17 | 0x20..=0x37 => 1,
                0x18 | 0x38 => 2,
                0x40..=0x57 | 0x60..=0x77 => 1 + usize::from(first & 31),
                0x58 | 0x78 => 2 + usize::from(second),
                _ => break,
            };
            if at + len > end {
                break;
            }
            (at, left) = (at + len, left - 1);
            end = bytes.len().min(end + 1);
        }
        let passed = *items - left;
        *items = left;
        self.heads += passed;
        self.owed -= passed as usize;
        self.at = at;
    }

    /// The item has at least so many bytes.
    fn need(&self, least: usize) -> Result<Walk, ItemError> {
        if least > self.limit {
            let (at, value, limit) = (self.at as u64, least as u64, self.limit as u64);
            return Err(ItemError::TooLong { what: "item", at, value, limit });
        }
        Ok(Walk::Need(least))
    }

    #[inline]
    fn step(&mut self, head: Head, first: u8) -> Result<(), ItemError> {
        let at = self.at as u64;
        if let Some(kind) = self.chunks {
            return self.chunk(kind, head, first);
        }
        match (head.major, head.argument) {
            (major::UNSIGNED | major::NEGATIVE, _) => self.skip(head.len, "an integer", 0),
            (major::BYTES, Some(len)) => self.skip(head.len, "a byte string", len),
            (major::TEXT, Some(len)) => self.skip(head.len, "a text string", len),
            (major::BYTES | major::TEXT, None) => {
                // The break is owed in place of the item.
                self.advance(head.len, self.owed)?;
                self.chunks = Some(head.major);
                Ok(())
            }
            (major::ARRAY, Some(count)) => self.open(head.len, "an array", count, 1),
            (major::MAP, Some(count)) => self.open(head.len, "a map", count, 2),
            (major::ARRAY, None) => self.open_indefinite(Level::List),
            (major::MAP, None) => self.open_indefinite(Level::Pairs(false)),
            (major::TAG, _) => Err(ItemError::Tag { at }),
            (_, None) => self.close(),
            (_, Some(value)) if head.len == 2 && value < 32 => Err(ItemError::Simple { at, value }),
            _ => self.skip(head.len, "a simple value", 0),
        }
    }

    /// Passes over a head, with `owed` bytes at least behind it.
    #[inline]
    fn advance(&mut self, len: usize, owed: usize) -> Result<(), ItemError> {
        self.at += len;
        self.owed = owed;
        self.need(self.at + self.owed).map(drop)
    }

    /// Passes over an item without items in it, whose head is followed by `len` bytes.
    #[inline]
    fn skip(&mut self, head: usize, what: &'static str, len: u64) -> Result<(), ItemError> {
        let len = self.room_for(head, what, len, 1)?;
        self.advance(head + len, self.owed - 1)?;
        self.complete();
        Ok(())
    }

    /// How many bytes `count` announces, if they may come behind a head in place of what is owed for it.
    #[inline]
    fn room_for(&self, head: usize, what: &'static str, count: u64, each: u64) -> Result<usize, ItemError> {
        let room = self.limit.saturating_sub(self.at + head + self.owed - 1);
        match count.checked_mul(each).and_then(|bytes| usize::try_from(bytes).ok()) {
            Some(bytes) if bytes <= room => Ok(bytes),
            _ => Err(ItemError::TooLong { what, at: self.at as u64, value: count, limit: room as u64 }),
        }
    }

    fn open(&mut self, head: usize, what: &'static str, count: u64, each: u64) -> Result<(), ItemError> {
        self.check_depth()?;
        let items = self.room_for(head, what, count, each)?;
        self.advance(head, self.owed - 1 + items)?;
        if items == 0 {
            self.complete();
        } else {
            self.push(Level::Counted(items as u64));
        }
        Ok(())
    }

    fn open_indefinite(&mut self, level: Level) -> Result<(), ItemError> {
        self.check_depth()?;
        // The break is owed in place of the item.
        self.advance(1, self.owed)?;
        self.push(level);
        Ok(())
    }

    fn check_depth(&self) -> Result<(), ItemError> {
        if self.depth == MAX_DEPTH {
            let (at, limit) = (self.at as u64, MAX_DEPTH as u64);
            return Err(ItemError::TooDeep { at, value: limit + 1, limit });
        }
        Ok(())
    }

    fn push(&mut self, level: Level) {
        self.levels[self.depth] = level;
        self.depth += 1;
    }

    /// An item is over, and with it perhaps those around it.
    #[inline]
    fn complete(&mut self) {
        while let Some(top) = self.depth.checked_sub(1) {
            match &mut self.levels[top] {
                Level::Counted(1) => self.depth = top,
                Level::Counted(items) => {
                    *items -= 1;
                    return;
                }
                // The next item was not owed: only the break is.
                Level::List => {
                    self.owed += 1;
                    return;
                }
                Level::Pairs(value) => {
                    *value = !*value;
                    self.owed += 1;
                    return;
                }
            }
        }
    }

    /// A break.
    fn close(&mut self) -> Result<(), ItemError> {
        let at = self.at as u64;
        let top = self.depth.checked_sub(1).ok_or(ItemError::LoneBreak { at })?;
        match self.levels[top] {
            Level::Counted(_) => Err(ItemError::LoneBreak { at }),
            Level::Pairs(true) => Err(ItemError::OddMap { at }),
            Level::List | Level::Pairs(false) => {
                self.depth = top;
                self.advance(1, self.owed - 1)?;
                self.complete();
                Ok(())
            }
        }
    }

    /// A chunk of a string of indefinite length, or its end.
    fn chunk(&mut self, kind: u8, head: Head, first: u8) -> Result<(), ItemError> {
        if first == head::BREAK {
            self.chunks = None;
            self.advance(1, self.owed - 1)?;
            self.complete();
            return Ok(());
        }
        let what = head::kind_of(kind << 5);
        let Some(len) = head.argument.filter(|_| head.major == kind) else {
            let (at, found) = (self.at as u64, head::kind_of(first));
            return Err(ItemError::Chunk { at, found, expected: what });
        };
        let len = self.room_for(head.len, "a chunk", len, 1)?;
        self.advance(head.len + len, self.owed)
    }
}

#[cfg(test)]
mod tests;
