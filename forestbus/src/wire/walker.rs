//! Finds the end of a CBOR item in bytes that arrive in pieces.

use alloc::format;

use bowline_core::error::FrameError;

use super::head::{self, Head, Read, major};

/// Largest nesting depth of containers (arrays and maps).
pub const MAX_DEPTH: usize = 16;

/// Why the bytes of an item are invalid. Offsets are relative to the item's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The lower five bits of a first byte are reserved.
    #[error("the byte {byte:#04x} at offset {at} begins no item: its additional information is reserved")]
    Reserved {
        /// Its offset.
        at: u64,
        /// The byte.
        byte: u8,
    },
    /// There is a break where no item of indefinite length is open.
    #[error("a break at offset {at}, where no item of indefinite length is open")]
    LoneBreak {
        /// Its offset.
        at: u64,
    },
    /// A map ends after a key.
    #[error("a map ends at offset {at} behind a key without a value")]
    OddMap {
        /// The offset of its end.
        at: u64,
    },
    /// Containers are nested too deeply.
    #[error("{value} levels of arrays and maps at offset {at}, limit {limit}")]
    TooDeep {
        /// The offset of the innermost.
        at: u64,
        /// The levels.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A length or count would make the item longer than permitted.
    #[error("{what} at offset {at} has a length of {value}, and {limit} bytes may come")]
    TooLong {
        /// The type that has the length.
        what: &'static str,
        /// Its offset.
        at: u64,
        /// The length: bytes of a string, items of a container (of a map: pairs).
        value: u64,
        /// The remaining permitted bytes of the item.
        limit: u64,
    },
    /// A chunk of a string of indefinite length is not a string of the same type and of definite length.
    #[error("{found} at offset {at} is no chunk of {expected}")]
    Chunk {
        /// The offset of the chunk.
        at: u64,
        /// The type that was found.
        found: &'static str,
        /// The type of the string.
        expected: &'static str,
    },
    /// There is a tag: the protocol uses none, and the servers misread what follows one.
    #[error("a tag at offset {at}")]
    Tag {
        /// Its offset.
        at: u64,
    },
    /// A simple value is encoded in two bytes although it has to be in one, or is reserved.
    #[error("the simple value {value} at offset {at} in two bytes (least 32)")]
    Simple {
        /// Its offset.
        at: u64,
        /// The value.
        value: u64,
    },
}

impl ItemError {
    /// Converts the error for the framing: `part` is the item's name, `base` its offset in the frame.
    #[cold]
    pub(super) fn in_frame(self, part: &'static str, base: usize) -> FrameError {
        match self {
            Self::TooLong { what, value, limit, .. } => FrameError::TooLong { field: what, value, limit },
            other => FrameError::other(format!("in the {part}, which begins at offset {base}: {other}")),
        }
    }
}

/// The progress of a [`Walker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// The item is complete; its length in bytes.
    Whole(usize),
    /// That many bytes, counted from the item's first one, are needed to continue; more than were passed in.
    Need(usize),
}

/// An open container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// That many items are missing (in a map: keys and values).
    Counted(u64),
    /// Items until a break.
    List,
    /// Keys and values until a break; `true`: a value is next.
    Pairs(bool),
}

/// Finds the end of one item and remembers its position, so that each byte of the item is examined once,
/// however the bytes arrive (the bytes of an incomplete head are examined again for each piece).
///
/// It checks that the item is well-formed, has at most [`MAX_DEPTH`] levels and no tags, and cannot exceed
/// the limit: a length is checked before any of the bytes that it announces is awaited. It allocates no
/// memory.
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
    /// The offset of the next head; beyond the available bytes while the end of a string is missing.
    at: usize,
    levels: [Level; MAX_DEPTH],
    depth: usize,
    /// Set in a string of indefinite length: its major type.
    chunks: Option<u8>,
    /// The minimum number of bytes after `at`: one for each missing item and break.
    owed: usize,
    heads: u64,
}

impl Walker {
    /// Creates a walker for an item of at most `limit` bytes, or of a quarter of `usize::MAX` if that is
    /// less.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        // So that no sum of an offset and `owed` can overflow.
        let limit = if limit > usize::MAX / 4 { usize::MAX / 4 } else { limit };
        Self { limit, at: 0, levels: [Level::List; MAX_DEPTH], depth: 0, chunks: None, owed: 1, heads: 0 }
    }

    /// The number of examined heads: the work that was done. At most one for each byte of the item, plus one
    /// for each call.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Continues the walk. `bytes` must begin with the item's first byte each time and contain at least the
    /// earlier bytes.
    ///
    /// # Errors
    /// [`ItemError`]: the item is invalid or not permitted. The walker must not be used again.
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

    /// Skips short strings and numbers in a container of definite length, except its last item and incomplete
    /// ones: most received bytes are of that kind. Everything else is left to [`step`](Self::step).
    #[inline]
    fn run(&mut self, bytes: &[u8]) {
        let top = self.depth.wrapping_sub(1);
        let Some(Level::Counted(items)) = self.levels.get_mut(top).filter(|_| self.chunks.is_none()) else {
            return;
        };
        let (mut at, mut left) = (self.at, *items);
        // The last possible end of the next item, if one byte follows for each item that is owed.
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

    /// The item has at least that many bytes.
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
                // The break replaces the item as owed.
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

    /// Skips a head that is followed by at least `owed` bytes.
    #[inline]
    fn advance(&mut self, len: usize, owed: usize) -> Result<(), ItemError> {
        self.at += len;
        self.owed = owed;
        self.need(self.at + self.owed).map(drop)
    }

    /// Skips an item without nested items, whose head is followed by `len` bytes.
    #[inline]
    fn skip(&mut self, head: usize, what: &'static str, len: u64) -> Result<(), ItemError> {
        let len = self.room_for(head, what, len, 1)?;
        self.advance(head + len, self.owed - 1)?;
        self.complete();
        Ok(())
    }

    /// The bytes that `count` announces, if they may follow a head in place of what is owed for it.
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
        // The break replaces the item as owed.
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

    /// An item is complete, and possibly the containers around it.
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

    /// Handles a break.
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

    /// Handles a chunk of a string of indefinite length, or the string's end.
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
