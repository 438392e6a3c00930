//! The receive buffer: owned by the side that reads the socket, parsed in place.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

/// Room for the first read of a connection, in bytes.
const FIRST_READ: usize = 256;
/// Room for one read once a connection is busy, in bytes. Blocks of this size stay in the cache.
const BUSY_READ: usize = 64 * 1024;
/// A buffer that grew beyond this for one large frame is given back once it is empty.
const KEEP: usize = 4 * BUSY_READ;
/// Most messages of one run: what is known of them stays in the cache, too.
const RUN: usize = 512;
/// Unread bytes up to this many are moved to the front to make room; more only when they must be.
const CHEAP_MOVE: usize = 4 * 1024;

/// Where a message of a run lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its method id, which is kept here because it is wanted with it.
    pub(crate) method: u32,
    /// Where its body begins, and ends.
    pub(crate) body: usize,
    pub(crate) end: usize,
}

/// Bytes that came in and were not consumed yet, with room to read more behind them.
///
/// Read into [`spare`](Self::spare), then say how much came with [`filled`](Self::filled). The
/// memory is initialised once and reused; it grows with what actually arrives (never with what a
/// header claims) up to the largest frame, and shrinks again after one.
///
/// A parser looks at [`unread`](Self::unread). It [lends](Self::lend) the frame at the front to the
/// application in place, and takes it away with the next step ([`take_lent`](Self::take_lent), and
/// everything that takes bytes or makes room); a frame that was not taken comes again
/// ([`unlend`](Self::unlend)). Where a frame is not whole yet it says what it [wants](Self::want).
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
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Length of the frame lent out last; taken away at the next step.
    lent: usize,
    /// How many unread bytes the parser asked for.
    want: usize,
    /// The last read filled all the room it had.
    filled_up: bool,
    /// Where the messages of the run lent out last lie, counted from the front.
    run: Vec<Place>,
    /// A frame that does not lie in this buffer (put together from fragments, or kept back) and is
    /// lent out instead.
    aside: Option<Box<Bytes>>,
}

impl RecvBuf {
    /// A buffer without memory; the first [`spare`](Self::spare) sets it aside.
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
            if self.data.len() > KEEP {
                self.data = Vec::new();
            }
        }
        let unread = self.end - self.start;
        let room = self.data.len() - self.end;
        if self.start > 0 && (unread <= CHEAP_MOVE || room == 0) {
            self.data.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = unread;
        }
        if self.end == self.data.len() || (self.filled_up && self.data.len() < BUSY_READ) {
            self.grow();
        }
        &mut self.data[self.end..]
    }

    fn grow(&mut self) {
        let doubled = (self.data.len() * 2).max(FIRST_READ);
        let target = if doubled > BUSY_READ {
            // Beyond a block only as far as the frame under way needs, so that the final size is
            // the frame's, not the next power of two above it.
            doubled.min(self.want.max(BUSY_READ)).max(self.end + 1)
        } else {
            doubled
        };
        if self.data.is_empty() {
            self.data = vec![0; target];
        } else {
            self.data.resize(target, 0);
        }
    }

    /// Says that `n` bytes were read into the last [`spare`](Self::spare).
    ///
    /// # Panics
    /// If `n` is more than the room there was.
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.data.len() - self.end, "more bytes than there was room for");
        self.end += n;
        self.filled_up = self.end == self.data.len();
    }

    /// Whether the last read left no room, so that more may be waiting in the socket.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.filled_up
    }

    /// The bytes not consumed yet.
    #[must_use]
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.data[self.start + self.lent..self.end]
    }

    /// Bytes of memory set aside.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.data.len()
    }

    /// Takes away the first `bytes` unread bytes, for machines with a parser of their own.
    ///
    /// # Panics
    /// If that is more than there are.
    pub fn consume(&mut self, bytes: usize) {
        self.take_lent();
        assert!(bytes <= self.end - self.start, "more than there is");
        self.start += bytes;
    }

    /// The frame at the front, `len` unread bytes, is lent out: the next step takes it away. Does not take
    /// away a frame that was lent before.
    ///
    /// # Panics
    /// If that is more than there is, with debug assertions; without them the next step does.
    #[inline]
    pub fn lend(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start, "more than there is");
        self.lent = len;
        self.want = 0;
    }

    /// Lends out as many plain messages as there are at the front, `fits` allows and one run
    /// holds. The number of them, and of their bytes.
    #[inline]
    pub(crate) fn lend_run(
        &mut self,
        next: impl Fn(&[u8]) -> Option<Place>,
        fits: impl Fn(usize, usize) -> bool,
    ) -> (usize, usize) {
        self.run.clear();
        let unread = &self.data[self.start + self.lent..self.end];
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

    /// The run lent out last: its bytes, and where the messages lie in them.
    pub(crate) fn run(&self) -> (&[u8], &[Place]) {
        (&self.data[self.start..self.start + self.lent], &self.run)
    }

    /// The bytes from the front of the frame that was lent out last, and those behind it.
    #[must_use]
    #[inline]
    pub fn lent(&self) -> &[u8] {
        match &self.aside {
            Some(frame) => frame,
            None => &self.data[self.start..self.end],
        }
    }

    /// Lends out a frame that does not lie in this buffer: one that was sealed, say, and is open now. What it
    /// was made of has been [consumed](Self::consume).
    pub fn lend_aside(&mut self, frame: Bytes) {
        self.aside = Some(Box::new(frame));
    }

    /// The frame lent out, if it does not lie in this buffer.
    pub(crate) fn aside(&self) -> Option<&Bytes> {
        self.aside.as_deref()
    }

    /// Puts the frame lent out last back: the next step sees it again.
    pub fn unlend(&mut self) {
        self.lent = 0;
    }

    /// Takes away the frame lent out last.
    #[inline]
    pub fn take_lent(&mut self) {
        self.start += self.lent;
        self.lent = 0;
        if self.aside.is_some() {
            self.aside = None;
        }
    }

    /// The parser needs `bytes` unread bytes before it can go on: memory beyond 64 KiB is set aside no
    /// further than that, and not before the bytes that came need it.
    pub fn want(&mut self, bytes: usize) {
        self.want = bytes;
    }

    /// Gives the memory back if nothing is unread and it has not grown: then nothing much came, and
    /// it costs little to make it again.
    pub fn release_if_small(&mut self) {
        if self.data.len() <= FIRST_READ {
            self.release_if_empty();
        }
    }

    /// Gives the memory back while nothing is unread.
    pub fn release_if_empty(&mut self) {
        self.take_lent();
        if self.start == self.end {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buf: &mut RecvBuf, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buf.spare();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buf.filled(n);
            rest = &rest[n..];
        }
    }

    #[test]
    fn lent_bytes_stay_until_the_next_step() {
        let mut buf = RecvBuf::new();
        feed(&mut buf, b"abcdef");
        buf.lend(2);
        assert_eq!(buf.unread(), b"cdef");
        buf.unlend();
        assert_eq!(buf.unread(), b"abcdef");
        buf.lend(2);
        buf.take_lent();
        feed(&mut buf, b"g");
        assert_eq!(buf.unread(), b"cdefg");
    }

    #[test]
    fn memory_follows_what_arrives_not_what_is_claimed() {
        let mut buf = RecvBuf::new();
        buf.spare();
        assert_eq!(buf.capacity(), FIRST_READ);
        buf.want(100 << 20);
        feed(&mut buf, &[1; 100]);
        assert_eq!(buf.capacity(), FIRST_READ);
        feed(&mut buf, &vec![2; 1 << 20]);
        assert!(buf.capacity() <= 4 << 20, "{}", buf.capacity());
    }

    #[test]
    fn a_large_frame_ends_at_its_own_size_and_the_memory_is_given_back() {
        let mut buf = RecvBuf::new();
        let frame = vec![7; 3_000_000];
        buf.spare();
        buf.want(frame.len());
        feed(&mut buf, &frame);
        assert_eq!(buf.capacity(), frame.len());
        buf.lend(frame.len());
        buf.spare();
        assert!(buf.capacity() <= BUSY_READ);
    }

    #[test]
    fn only_a_buffer_that_has_not_grown_is_given_back_between_reads() {
        let mut small = RecvBuf::new();
        feed(&mut small, &[1; FIRST_READ]);
        small.release_if_small();
        assert_eq!(small.capacity(), FIRST_READ, "something is unread");
        small.consume(FIRST_READ);
        small.release_if_small();
        assert_eq!(small.capacity(), 0);
        let mut busy = RecvBuf::new();
        feed(&mut busy, &[1; FIRST_READ + 1]);
        busy.consume(FIRST_READ + 1);
        let capacity = busy.capacity();
        busy.release_if_small();
        assert_eq!(busy.capacity(), capacity, "a busy connection keeps its buffer");
        busy.release_if_empty();
        assert_eq!(busy.capacity(), 0);
    }
}
