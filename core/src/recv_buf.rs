//! The receive buffer: owned by the side that reads the socket, parsed in place.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Deref;

use bytes::Bytes;

use crate::body::{Body, INLINE_BODY};

mod blocks;

pub(crate) use blocks::Blocks;
use blocks::is_held;

/// Room for the first read of a connection, in bytes.
const FIRST_READ: usize = 256;
/// Room for one read of a busy connection, in bytes. Blocks of this size stay in the processor cache.
const BUSY_READ: usize = 64 * 1024;
/// A buffer that grew beyond this for one large frame is freed once it is empty.
const KEEP: usize = 4 * BUSY_READ;
/// Maximum number of messages in one run: their positions stay in the cache, too.
const RUN: usize = 512;
/// Up to this many unread bytes are moved to the front to make room; more only if necessary.
const CHEAP_MOVE: usize = 4 * 1024;
/// Limit of the bytes of the blocks with messages kept by reference that are watched for reuse. If that many are
/// still in use, messages of further blocks are copied, unless they make up most of their block. A block that grew
/// for a long message is watched like the others: allocating a new block of that size for each message of 64 KiB
/// costs more than reading it.
const WATCHED_BYTES: usize = blocks::MOST * BUSY_READ;
/// Limit of the bytes of the blocks of assembled messages that are watched for reuse: eight messages of 64 KiB with
/// their headers.
const WHOLE_BYTES: usize = WATCHED_BYTES + BUSY_READ;

/// A block of receive memory: shared with the messages that are kept by reference.
pub(crate) type Block = Arc<Vec<u8>>;
/// The blocks of messages that were assembled from fragments.
pub(crate) type WholeBlocks = Blocks<WHOLE_BYTES>;

/// The position of a message in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its method id, stored here because it is used together with the position.
    pub(crate) method: u32,
    /// The start and end of its body.
    pub(crate) body: usize,
    pub(crate) end: usize,
}

/// Received bytes that were not consumed yet, with room to read more after them.
///
/// Read into [`spare`](Self::spare), then report the number of bytes with [`filled`](Self::filled). The
/// memory is initialised once and reused; it grows with the bytes that arrive (never by the length that a
/// header claims) up to the largest frame, and shrinks again afterwards.
///
/// A parser looks at [`unread`](Self::unread). It [marks](Self::lend) the frame at the front as given to the
/// application in place, and the next step removes it ([`take_lent`](Self::take_lent), and every method that
/// consumes bytes or makes room); a frame that was not taken is returned again ([`unlend`](Self::unlend)).
/// For an incomplete frame the parser says how many bytes it [needs](Self::want).
///
/// Bytes can be kept without a copy: [`keep`](Self::keep) makes a [`Body`] that holds the block of memory
/// that contains them. The buffer then continues in another block, and reuses the first one when the last
/// such body is dropped.
///
/// ```
/// use bowline_core::recv_buf::RecvBuf;
///
/// let mut buf = RecvBuf::new();
/// buf.spare()[..6].copy_from_slice(b"one\ntw");
/// buf.filled(6);
/// let line = buf.unread().iter().position(|&byte| byte == b'\n').unwrap() + 1;
/// buf.lend(line);
/// assert_eq!(&buf.lent()[..line], b"one\n");
/// buf.take_lent();
/// assert_eq!(buf.unread(), b"tw");
/// ```
#[derive(Debug, Default)]
pub struct RecvBuf {
    /// Allocated with the first read.
    block: Option<Block>,
    /// Blocks that were left to the messages that hold them.
    watched: Blocks<WATCHED_BYTES>,
    /// Blocks of assembled messages. They are apart from the others, so that long messages that the application
    /// keeps do not make it copy short ones.
    whole: WholeBlocks,
    /// Messages may hold the block even if they are a small part of it: see [`Source`].
    is_plenty: bool,
    start: usize,
    end: usize,
    /// The length of the frame given out last; the next step removes it.
    lent: usize,
    /// The number of unread bytes that the parser needs.
    want: usize,
    /// The last read filled all available room.
    filled_up: bool,
    /// The positions of the messages of the run given out last, counted from the front.
    run: Vec<Place>,
    /// A frame outside of this buffer (assembled from fragments, or kept back) that is given out instead.
    aside: Option<Box<Frame>>,
}

impl RecvBuf {
    /// A buffer without memory; the first [`spare`](Self::spare) allocates it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read into; never empty.
    pub fn spare(&mut self) -> &mut [u8] {
        self.take_lent();
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.block.take_if(|block| block.len() > KEEP);
        }
        if self.block.as_mut().is_some_and(|block| Arc::get_mut(block).is_none()) {
            self.leave_block();
        }
        let Self { block, start, end, filled_up, want, .. } = self;
        let data = Arc::get_mut(block.get_or_insert_default()).expect("its only holder");
        let unread = *end - *start;
        let room = data.len() - *end;
        if *start > 0 && (unread <= CHEAP_MOVE || room == 0) {
            data.copy_within(*start..*end, 0);
            *start = 0;
            *end = unread;
        }
        if *end == data.len() || (*filled_up && data.len() < BUSY_READ) {
            grow(data, *end, *want);
        }
        &mut data[*end..]
    }

    /// Messages hold the block by reference: leaves it to them, and continues in another one.
    #[cold]
    fn leave_block(&mut self) {
        let Some(old) = self.block.take() else { return };
        let unread = &old[self.start..self.end];
        let mut next = self.watched.take_free(|_| true).unwrap_or_default();
        let data = Arc::get_mut(&mut next).expect("its only holder");
        // As much room as before: about the same amount is expected.
        let room = old.len().clamp(FIRST_READ, KEEP).max(unread.len() + 1);
        if data.len() < room {
            *data = vec![0; room];
        }
        data[..unread.len()].copy_from_slice(unread);
        (self.start, self.end) = (0, unread.len());
        self.block = Some(next);
        // Without room for it, what messages hold of it is most of it.
        self.watched.watch(old);
    }

    /// Reports that `n` bytes were read into the last [`spare`](Self::spare).
    ///
    /// # Panics
    /// If `n` exceeds that room.
    pub fn filled(&mut self, n: usize) {
        let room = self.data().len() - self.end;
        assert!(n <= room, "more bytes than there was room for");
        self.end += n;
        self.filled_up = n == room;
        let len = self.data().len();
        self.is_plenty = self.watched.can_watch(len) && len <= BUSY_READ && self.end - self.start >= len / 4;
    }

    /// Whether the last read filled all room, so that the socket may have more bytes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled_up
    }

    /// The bytes that were not consumed yet.
    #[must_use]
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.data()[self.start + self.lent..self.end]
    }

    #[inline]
    fn data(&self) -> &[u8] {
        match &self.block {
            Some(block) => block,
            None => &[],
        }
    }

    /// Bytes of memory set aside, blocks that messages hold included: at most eight that were read into, and 512 KiB,
    /// and at most eight of assembled messages, and 576 KiB.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.data().len() + self.watched.bytes() + self.whole.bytes()
    }

    /// Whether the buffer itself has more than this many bytes.
    pub(crate) fn is_longer_than(&self, bytes: usize) -> bool {
        self.data().len() > bytes
    }

    /// The bytes that were not consumed yet, and the memory for messages that are assembled from them.
    pub(crate) fn unread_and_whole(&mut self) -> (&[u8], &mut WholeBlocks) {
        let unread = match &self.block {
            Some(block) => &block[self.start + self.lent..self.end],
            None => &[][..],
        };
        (unread, &mut self.whole)
    }

    /// Frees the blocks of assembled messages that nothing holds.
    pub(crate) fn free_whole(&mut self) {
        self.whole.keep_held();
    }

    /// Leaves the blocks of assembled messages to their holders alone.
    pub(crate) fn forget_whole(&mut self) {
        self.whole = Blocks::default();
    }

    /// Whether there is memory for blocks of assembled messages.
    pub(crate) fn has_whole(&self) -> bool {
        self.whole.is_used()
    }

    /// The block of this buffer, for keeping bytes by reference.
    #[inline]
    pub(crate) fn source(&self) -> Option<Source<'_>> {
        Some(Source { block: self.block.as_ref()?, is_plenty: self.is_plenty })
    }

    /// Keeps some of the bytes of [`lent`](Self::lent), or of [`unread`](Self::unread): by reference if they
    /// are in this buffer and not too much of its memory is already held by few bytes; otherwise as a copy.
    ///
    /// ```
    /// use bowline_core::recv_buf::RecvBuf;
    ///
    /// let mut buf = RecvBuf::new();
    /// buf.spare()[..200].fill(7);
    /// buf.filled(200);
    /// let body = buf.keep(&buf.unread()[..150]);
    /// buf.consume(200);
    /// buf.spare().fill(0);
    /// assert_eq!(body[..], [7; 150]);
    /// ```
    #[must_use]
    pub fn keep(&self, bytes: &[u8]) -> Body {
        match self.source() {
            Some(source) => source.keep(bytes),
            None => Body::copy_from(bytes),
        }
    }

    /// Removes the first `bytes` unread bytes, for machines with their own parser.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn consume(&mut self, bytes: usize) {
        self.take_lent();
        assert!(bytes <= self.end - self.start, "more than there is");
        self.start += bytes;
    }

    /// Marks the frame at the front, `len` unread bytes, as given to the application: the next step removes
    /// it. Does not remove a frame that was given out before.
    ///
    /// # Panics
    /// If there are fewer bytes: with debug assertions here, otherwise in the next step.
    #[inline]
    pub fn lend(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start, "more than there is");
        self.lent = len;
        self.want = 0;
    }

    /// Gives out the plain messages at the front, as many as `fits` allows and one run holds. Returns their
    /// number, and the number of their bytes.
    #[inline]
    pub(crate) fn lend_run(
        &mut self,
        next: impl Fn(&[u8]) -> Option<Place>,
        fits: impl Fn(usize, usize) -> bool,
    ) -> (usize, usize) {
        self.run.clear();
        let unread = match &self.block {
            Some(block) => &block[self.start + self.lent..self.end],
            None => &[][..],
        };
        let mut at = 0;
        while let Some(Place { method, body, end }) = next(&unread[at..])
            && self.run.len() < RUN
            && fits(self.run.len() + 1, at + end)
        {
            self.run.push(Place { method, body: at + body, end: at + end });
            at += end;
        }
        if at > 0 {
            self.lend(at);
        }
        (self.run.len(), at)
    }

    /// The run given out last: its bytes, and the positions of the messages in them.
    pub(crate) fn run(&self) -> (&[u8], &[Place]) {
        (&self.data()[self.start..self.start + self.lent], &self.run)
    }

    /// The bytes from the start of the frame that was given out last.
    #[must_use]
    #[inline]
    pub fn lent(&self) -> &[u8] {
        match &self.aside {
            Some(frame) => frame,
            None => &self.data()[self.start..self.end],
        }
    }

    /// Gives out a frame that is not in this buffer, for example a decrypted one. The bytes that it was made
    /// of have been [consumed](Self::consume).
    pub fn lend_aside(&mut self, frame: Bytes) {
        self.lend_frame(Frame::Bytes(frame));
    }

    /// As [`lend_aside`](Self::lend_aside).
    pub(crate) fn lend_frame(&mut self, frame: Frame) {
        self.aside = Some(Box::new(frame));
    }

    /// The frame that was given out, if it is not in this buffer.
    pub(crate) fn aside(&self) -> Option<&Frame> {
        self.aside.as_deref()
    }

    /// Puts back the frame that was given out last: the next step sees it again.
    pub fn unlend(&mut self) {
        self.lent = 0;
    }

    /// Removes the frame that was given out last.
    #[inline]
    pub fn take_lent(&mut self) {
        self.start += self.lent;
        self.lent = 0;
        if self.aside.is_some() {
            self.aside = None;
        }
    }

    /// The parser needs `bytes` unread bytes to continue: memory beyond 64 KiB is allocated only up to that,
    /// and only as bytes arrive.
    pub fn want(&mut self, bytes: usize) {
        self.want = bytes;
    }

    /// Frees the memory if nothing is unread and it has not grown: then little was received, and allocating
    /// it again is cheap. Not if the last read filled it: the next one needs more room.
    pub fn release_if_small(&mut self) {
        if self.data().len() <= FIRST_READ && !self.filled_up {
            self.release_if_empty();
        }
    }

    /// The connection is over: the blocks that messages hold, without those of assembled messages, which are
    /// counted with their messages.
    pub(crate) fn into_held(mut self) -> Vec<Block> {
        (self.start, self.end, self.lent) = (0, 0, 0);
        self.release_if_empty();
        self.watched.iter().cloned().collect()
    }

    /// Gives the memory back while nothing is unread. Blocks that messages hold stay counted: they are in memory
    /// until those are dropped, and as many as before may be held.
    pub fn release_if_empty(&mut self) {
        self.take_lent();
        if self.start == self.end {
            if let Some(block) = self.block.take().filter(is_held) {
                self.watched.watch(block);
            }
            self.watched.keep_held();
            let Self { watched, whole, .. } = core::mem::take(self);
            *self = Self { watched, whole, ..Self::new() };
        }
    }
}

/// A whole frame outside of the receive buffer.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Bytes(Bytes),
    /// Assembled in a block. `is_watched`: the receive buffer counts the block.
    Block {
        block: Block,
        is_watched: bool,
    },
}

impl Frame {
    /// Keeps some of its bytes: a long body by reference.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Body {
        match self {
            _ if bytes.len() <= INLINE_BODY => Body::copy_from(bytes),
            Self::Bytes(frame) => Body::from(frame.slice_ref(bytes)),
            Self::Block { block, is_watched } => Body::of_frame(block, bytes, *is_watched),
        }
    }

    /// Whether the receive buffer counts its memory.
    pub(crate) fn is_watched(&self) -> bool {
        matches!(self, Self::Block { is_watched: true, .. })
    }

    /// From now on its memory is counted where the frame is.
    pub(crate) fn count_here(&mut self) {
        if let Self::Block { is_watched, .. } = self {
            *is_watched = false;
        }
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(frame) => frame,
            Self::Block { block, .. } => block,
        }
    }
}

/// Makes room after the first `end` bytes; an incomplete frame needs `want`.
fn grow(data: &mut Vec<u8>, end: usize, want: usize) {
    let doubled = (data.len() * 2).max(FIRST_READ);
    let target = if doubled > BUSY_READ {
        // Beyond a block only as far as the incomplete frame needs, so that the final size is the frame's,
        // not the next power of two.
        doubled.min(want.max(BUSY_READ)).max(end + 1)
    } else {
        doubled
    };
    if data.is_empty() {
        *data = vec![0; target];
    } else {
        data.reserve_exact(target.saturating_sub(data.len()));
        data.resize(target, 0);
    }
}

/// The block of a receive buffer that contains the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'b> {
    block: &'b Block,
    /// Most of it was filled by the last read, and few blocks are held: memory is not held repeatedly by
    /// single small messages.
    is_plenty: bool,
}

impl Source<'_> {
    /// Keeps bytes of the block.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Body {
        if bytes.len() <= INLINE_BODY || !(self.is_plenty || self.is_most(bytes.len())) {
            return Body::copy_from(bytes);
        }
        Body::of_block(self.block, bytes)
    }

    /// The block, if `bytes` of it are to be kept together and make up most of it. The rest, which is kept
    /// with them, is at most as large, and is known from their number.
    pub(crate) fn of_most(&self, bytes: usize) -> Option<&Block> {
        (self.is_plenty && self.is_most(bytes)).then_some(self.block)
    }

    fn is_most(&self, bytes: usize) -> bool {
        bytes >= self.block.len() / 2
    }
}

#[cfg(test)]
mod tests;
